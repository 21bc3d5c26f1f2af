"""Exercise 29: a sample that gradients pass through.   (after lesson 24)

    z ~ N(mu, s^2),  s^2 = e^logvar,  as a function of mu, logvar and noise eps ~ N(0, 1)

Write z, and, given g, the gradient of a loss with respect to z, those with respect to mu and
logvar. All arrays have one shape. Source: Kingma & Welling 2014, section 2.4.

Check it:  python lessons/exercises/ex29_reparameterisation.py       (--hint, --solution)
      or:  python -m tinygen.exercises 29                            (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def sample(mu, logvar, eps):
    """-> z"""
    raise NotImplementedError("your turn")


def sample_backward(g, mu, logvar, eps):
    """-> dmu, dlogvar"""
    raise NotImplementedError("your turn")
