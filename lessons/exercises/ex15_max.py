"""Exercise 15: the derivative of max, ties included.   (after lesson 08)

    y = x.max(-1)     x (..., K), y (...)
    g (...)           the gradient of a loss with respect to y

Write dx. Where several elements of a row tie for the largest, the max has a kink and no one slope
is right; we agree that they share g equally.

Check it:  python lessons/exercises/ex15_max.py       (--hint, --solution)
      or:  python -m tinygen.exercises 15             (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def max_backward(g, x):
    """g (...), x (..., K) -> dx (..., K)"""
    raise NotImplementedError("your turn")
