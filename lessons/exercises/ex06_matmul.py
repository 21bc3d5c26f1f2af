"""Exercise 6: the derivative rules of a matrix product.   (after lesson 07)

    z_mn = sum_k x_mk y_kn       x (M, K), y (K, N), z (M, N)
    g    the gradient of a loss with respect to z, (M, N)

Write dx (M, K) and dy (K, N). Start from one element: dx_mk = sum over all z of g dz/dx_mk.

Check it:  python lessons/exercises/ex06_matmul.py       (--hint, --solution)
      or:  python -m tinygen.exercises 6                 (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def matmul_backward(g, x, y):
    """g (M, N), x (M, K), y (K, N) -> dx (M, K), dy (K, N)"""
    raise NotImplementedError("your turn")
