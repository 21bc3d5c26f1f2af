"""Exercise 4: the derivative rules of sum and mean.   (after lesson 06)

    y = x.sum(axis)  or  x.mean(axis)      axis: a number, also counted from the end, or None (all)
    g                the gradient of a loss with respect to y: its shape lacks that axis

Write dx, of the shape of x, for both. Start from dx_i = sum_j g_j dy_j/dx_i.

Check it:  python lessons/exercises/ex04_sum_mean.py       (--hint, --solution)
      or:  python -m tinygen.exercises 4                   (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def sum_backward(g, x, axis):
    """g of the shape of x.sum(axis) -> dx of the shape of x"""
    raise NotImplementedError("your turn")


def mean_backward(g, x, axis):
    """g of the shape of x.mean(axis) -> dx of the shape of x"""
    raise NotImplementedError("your turn")
