"""Exercise 14: the derivative of looking up rows in a table.   (after lesson 16)

    y = W[ids]       a table W (V, D), ids (N,) whole numbers 0..V-1, y (N, D)
    g                the gradient of a loss with respect to y, (N, D)

Write dW (V, D). Start from dW_v = the sum of g_n over all n with ids_n = v.

Check it:  python lessons/exercises/ex14_gather.py       (--hint, --solution)
      or:  python -m tinygen.exercises 14                (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def gather_backward(g, ids, V):
    """g (N, D), ids (N,) -> dW (V, D)"""
    raise NotImplementedError("your turn")
