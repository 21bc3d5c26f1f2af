"""Exercise 15: the derivative of max, ties included.   (after lesson 08)

    y = x.max(-1)     x (..., K), y (...)
    g (...)           the gradient of a loss with respect to y

Write dx. Where several elements of a row tie for the largest, the max has a kink and no one slope
is right; we agree that they share g equally.

Check it:  python lessons/exercises/ex15_max.py       (--hint, --solution)
"""
import numpy as np


def max_backward(g, x):
    """g (...), x (..., K) -> dx (..., K)"""
    raise NotImplementedError("your turn")


if __name__ == "__main__":
    from tinygen.exercises import main
    raise SystemExit(main(__file__))
