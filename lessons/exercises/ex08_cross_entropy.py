"""Exercise 8: cross-entropy of logits, and its derivative.   (after lesson 08)

    logits (B, K)    any numbers
    labels (B,)      the right class of each row, 0..K-1
    loss             the mean over the B rows of -ln softmax(logits)[label], a number, in nats

Write the loss, for logits up to 10^4 in size, and its gradient with respect to the logits. Start
from -ln softmax(l)[k] = ln sum_j e^(l_j) - l_k.

Check it:  python lessons/exercises/ex08_cross_entropy.py       (--hint, --solution)
      or:  python -m tinygen.exercises 8                        (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def cross_entropy(logits, labels):
    """(B, K), (B,) -> a number"""
    raise NotImplementedError("your turn")


def cross_entropy_backward(logits, labels):
    """(B, K), (B,) -> (B, K)"""
    raise NotImplementedError("your turn")
