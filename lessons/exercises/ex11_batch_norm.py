"""Exercise 11: the derivative of batch norm.   (after lesson 09)

    n = (x - mu) s,   s = 1 / sqrt(var + 1e-5)       x, n (N, D)
    y = n W + b                                      W, b (D,)

mu and var, the mean of (x - mu)^2, are taken over each column of x: over the batch.
Given g (N, D), the gradient with respect to y, write dx, dW and db. Start from dn = g W; n depends
on x directly, through mu, and through s.

Check it:  python lessons/exercises/ex11_batch_norm.py       (--hint, --solution)
      or:  python -m tinygen.exercises 11                    (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def backward(g, x, W):
    """g, x (N, D), W (D,) -> dx (N, D), dW (D,), db (D,)"""
    raise NotImplementedError("your turn")
