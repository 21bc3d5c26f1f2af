"""Exercise 21: the derivative of a derivative rule.   (after lesson 07)

The rule of y = tanh(x) is dx = g (1 - y^2): a function of g and, through y, of x. A gradient
penalty differentiates it once more. Given gg, the gradient of some loss with respect to dx, write

    dg = the gradient with respect to g          all arrays of one shape
    dx = the gradient with respect to x

Check the first derivative again: dy/dx = 1 - y^2.

Check it:  python lessons/exercises/ex21_second_derivative.py       (--hint, --solution)
      or:  python -m tinygen.exercises 21                           (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def tanh_backward_backward(gg, g, y):
    """gg, g, y = tanh(x) (...) -> dg, dx (...)"""
    raise NotImplementedError("your turn")
