"""Exercise 27: an affine coupling, its log-determinant and its inverse.   (after lesson 19)

    x = (x_a, x_b)                  the two halves of each example
    z_a = x_a,   z_b = x_b e^s + t,   s, t = net(x_a)

    logdet (B,)    ln |det dz/dx|, for each example

net gives s and t, each of the shape of x_a. Write z and logdet, and the way back from z to x.
Source: Dinh et al. 2017, eqs. 4 to 8.

Check it:  python lessons/exercises/ex27_coupling.py       (--hint, --solution)
      or:  python -m tinygen.exercises 27                  (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def forward(x, net):
    """x (B, D), D even -> z (B, D), logdet (B,)"""
    raise NotImplementedError("your turn")


def inverse(z, net):
    """z (B, D) -> x (B, D)"""
    raise NotImplementedError("your turn")
