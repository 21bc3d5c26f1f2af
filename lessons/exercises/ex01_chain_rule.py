"""Exercise 1: the chain rule, by hand.   (after lesson 05)

    a = w x + b        x, w, b, t: numbers, or arrays of one length, treated element by element
    h = tanh(a)
    loss = (h - t)^2

Write the derivatives of the loss with respect to x, w and b. Start from the chain rule:

    d loss / dw = d loss / dh * dh / da * da / dw          dh / da = 1 - h^2

Check it:  python lessons/exercises/ex01_chain_rule.py       (--hint, --solution)
      or:  python -m tinygen.exercises 1                     (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def gradients(x, w, b, t):
    """-> dx, dw, db, each of the length of x"""
    h = np.tanh(w * x + b)
    raise NotImplementedError("your turn")
