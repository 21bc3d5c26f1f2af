"""Exercise 25: the masks of a MADE with one hidden layer.   (after lesson 14)

    order (D,)     order[i] is the rank of x_i, 0..D-1
    degrees (H,)   the degree of a hidden unit: the highest rank that it may see

Output i is the logit of p(x_i = 1 | all x of a lower rank). A mask is 1 where a weight may stay and
0 where it is cut: from inputs to hidden units (D, H), from hidden units to outputs (H, D). No path
may lead from x_j to output i unless order[j] < order[i]; no other weight is cut.

Check it:  python lessons/exercises/ex25_made_mask.py       (--hint, --solution)
      or:  python -m tinygen.exercises 25                   (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def masks(order, degrees):
    """order (D,), degrees (H,) -> (D, H) and (H, D), of 0 and 1"""
    raise NotImplementedError("your turn")
