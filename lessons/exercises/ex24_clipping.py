"""Exercise 24: gradients clipped by their norm.   (after lesson 10)

    norm = the length of all gradients together, as if they were one long vector
    g <- g max_norm / norm, for each, where norm > max_norm; else they stay as they are

Source: Pascanu et al. 2013, algorithm 1.

Check it:  python lessons/exercises/ex24_clipping.py       (--hint, --solution)
      or:  python -m tinygen.exercises 24                  (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def clip(grads, max_norm):
    """a list of arrays -> the list of clipped arrays, and the norm before"""
    raise NotImplementedError("your turn")
