"""Exercise 9: ln sum e^x over the last axis, and its derivative.   (after lesson 08)

    y = ln(sum_i e^(x_i))     x (..., K), y (...)
    g (...)                   the gradient of a loss with respect to y

The sum of probabilities that are known by their logarithms: every mixture needs it. Write it so
that x of 1000 or of -1000 does no harm, and the gradient with respect to x.

Check it:  python lessons/exercises/ex09_logsumexp.py       (--hint, --solution)
      or:  python -m tinygen.exercises 9                    (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def logsumexp(x):
    """(..., K) -> (...)"""
    raise NotImplementedError("your turn")


def logsumexp_backward(g, x):
    """g (...), x (..., K) -> dx (..., K)"""
    raise NotImplementedError("your turn")
