"""Exercise 23: Adam, with its bias correction.   (after lesson 10)

    m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
    p <- p - lr m^ / (sqrt(v^) + eps),   m^ and v^: m and v corrected for having started at 0

t = 1, 2, ... counts the steps. After t steps the weights in m add up to 1 - b1^t. Write one step.
It gives new arrays and leaves its arguments as they are. Source: Kingma & Ba 2015, algorithm 1.

Check it:  python lessons/exercises/ex23_adam.py       (--hint, --solution)
      or:  python -m tinygen.exercises 23              (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def step(p, g, m, v, t, lr, b1, b2, eps):
    """-> the new p, m and v"""
    raise NotImplementedError("your turn")
