"""Exercise 13: transposed convolution, in one dimension.   (after lesson 11)

A convolution with stride makes its input shorter:   x_t = sum_i y_(t stride + i) w_i. As a matrix,
x = A y. The transposed convolution is y = A^T x: it makes its input longer, by the same kernel.

    x (T,), w (k,)  ->  y ((T - 1) stride + k,)

Write it. Start from (A^T x)_s = sum over t of A_ts x_t.

Check it:  python lessons/exercises/ex13_conv_transpose.py       (--hint, --solution)
      or:  python -m tinygen.exercises 13                        (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def conv_transpose(x, w, stride):
    """x (T,), w (k,) -> y ((T - 1) stride + k,)"""
    raise NotImplementedError("your turn")
