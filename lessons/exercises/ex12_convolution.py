"""Exercise 12: convolution in one dimension, and its derivatives.   (after lesson 11)

    y_t = sum_i x_(t + i) w_i       x (L,), w (k,), y (L - k + 1,)

(the kernel is not turned around: strictly, a cross-correlation, as in every neural network).
Given g, the gradient with respect to y, write dx (L,) and dw (k,) too. Start from dx_s = sum over
all t and i with t + i = s of g_t w_i.

Check it:  python lessons/exercises/ex12_convolution.py       (--hint, --solution)
      or:  python -m tinygen.exercises 12                     (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def convolve(x, w):
    """x (L,), w (k,) -> y (L - k + 1,)"""
    raise NotImplementedError("your turn")


def convolve_backward(g, x, w):
    """g (L - k + 1,), x (L,), w (k,) -> dx (L,), dw (k,)"""
    raise NotImplementedError("your turn")
