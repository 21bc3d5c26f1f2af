"""Exercise 2: the derivative rule of tanh.   (after lesson 05)

    y = tanh(x) = (e^x - e^-x) / (e^x + e^-x), elementwise
    g  the gradient of a loss with respect to y, given; the shape of y

A rule gives dx = g dy/dx. Write it with y alone: the forward pass has already paid for it.

Check it:  python lessons/exercises/ex02_tanh.py       (--hint, --solution)
      or:  python -m tinygen.exercises 2               (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def tanh_backward(g, y):
    """g, y (...) -> dx (...)"""
    raise NotImplementedError("your turn")
