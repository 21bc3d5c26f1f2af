"""Exercise 22: gradient descent with momentum.   (after lesson 10)

    v <- momentum v + g        p <- p - lr v

p parameters, g their gradient, v the velocity, all of one shape. Write one step. It gives new
arrays and leaves its arguments as they are.

Check it:  python lessons/exercises/ex22_momentum.py       (--hint, --solution)
      or:  python -m tinygen.exercises 22                  (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def step(p, g, v, lr, momentum):
    """-> the new p, the new v"""
    raise NotImplementedError("your turn")
