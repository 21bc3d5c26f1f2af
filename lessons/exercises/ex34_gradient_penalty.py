"""Exercise 34: the gradient penalty of WGAN-GP.   (after lesson 31)

    slopes (B, D)    the gradient of the critic with respect to each of B examples
    penalty          weight times the mean over examples of (|slope| - 1)^2

Write it, and its derivative with respect to the slopes. Source: Gulrajani et al. 2017, eq. 3.

Check it:  python lessons/exercises/ex34_gradient_penalty.py       (--hint, --solution)
      or:  python -m tinygen.exercises 34                          (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def penalty(slopes, weight):
    """(B, D) -> a number"""
    raise NotImplementedError("your turn")


def penalty_backward(slopes, weight):
    """(B, D) -> (B, D)"""
    raise NotImplementedError("your turn")
