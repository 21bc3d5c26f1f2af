"""Exercise 5: the way back of broadcasting.   (after lesson 06)

In y = x + b, x (4, 2, 3) and b (1, 3), NumPy stretches b: it puts a new axis in front and repeats
it along every axis where it has size 1. So each element of b was used 8 times, and

    db_k = the sum of g over all places where b_k was used

    g      the gradient of a loss with respect to y, of the stretched shape
    shape  what the argument's shape was before it was stretched: (1, 3)

Check it:  python lessons/exercises/ex05_broadcasting.py       (--hint, --solution)
      or:  python -m tinygen.exercises 5                       (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def unbroadcast(g, shape):
    """g of a stretched shape -> an array of this shape"""
    raise NotImplementedError("your turn")
