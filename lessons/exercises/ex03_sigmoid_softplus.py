"""Exercise 3: sigmoid and softplus, for every x, and their derivatives.   (after lesson 06)

    sigmoid(x)  = 1 / (1 + e^-x)        softplus(x) = ln(1 + e^x)

are right on paper and overflow in a computer: e^800 is infinite. Write both so that x = 800 and
x = -800 give the right numbers, and the two rules dx = g dy/dx, for sigmoid from its result y.

Check it:  python lessons/exercises/ex03_sigmoid_softplus.py       (--hint, --solution)
      or:  python -m tinygen.exercises 3                           (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def sigmoid(x):
    """(...) -> (...)"""
    raise NotImplementedError("your turn")


def softplus(x):
    """(...) -> (...)"""
    raise NotImplementedError("your turn")


def sigmoid_backward(g, y):
    """g, y = sigmoid(x) (...) -> dx (...)"""
    raise NotImplementedError("your turn")


def softplus_backward(g, x):
    """g, x (...) -> dx (...)"""
    raise NotImplementedError("your turn")
