"""Exercise 16: attention, and its derivatives.   (after lesson 17)

    y = softmax(q k^T / sqrt(d)) v       q (T, d), k (S, d), v (S, d), y (T, d)

Each row of q asks; the softmax, along the row, says how much each of the S keys answers; y is the
weighted sum of their values. Given g, the gradient with respect to y, write dq, dk and dv too.

Check it:  python lessons/exercises/ex16_attention.py       (--hint, --solution)
      or:  python -m tinygen.exercises 16                   (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def attention(q, k, v):
    """q (T, d), k (S, d), v (S, d) -> y (T, d)"""
    raise NotImplementedError("your turn")


def attention_backward(g, q, k, v):
    """g, q (T, d), k, v (S, d) -> dq (T, d), dk (S, d), dv (S, d)"""
    raise NotImplementedError("your turn")
