"""Exercise 7: softmax along the last axis, and its derivative.   (after lesson 06)

    x  (..., K)    inputs
    y  (..., K)    y_i = e^(x_i) / sum_j e^(x_j): each row adds up to 1
    g  (..., K)    the gradient of a loss with respect to y, given

Write y, for any x up to 10^4 in size, and the gradient of the loss with respect to x:

    dx_i = sum_j g_j dy_j/dx_i

Check it:  python lessons/exercises/ex07_softmax.py       (--hint, --solution)
      or:  python -m tinygen.exercises 7                  (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def softmax(x):
    """(..., K) -> (..., K)"""
    raise NotImplementedError("your turn")


def softmax_backward(g, y):
    """g, y (..., K) -> dx (..., K)"""
    raise NotImplementedError("your turn")
