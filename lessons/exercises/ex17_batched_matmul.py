"""Exercise 17: the derivative rules of many matrix products at once.   (after lesson 07)

    z = x @ y       x (B, M, K), z (B, M, N);   y (B, K, N), or (K, N): one matrix for all B
    g               the gradient of a loss with respect to z, (B, M, N)

Write dx and dy, of the shapes of x and y. Start from exercise 6.

Check it:  python lessons/exercises/ex17_batched_matmul.py       (--hint, --solution)
      or:  python -m tinygen.exercises 17                        (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def matmul_backward(g, x, y):
    """g (B, M, N), x (B, M, K), y (B, K, N) or (K, N) -> dx, dy, of the shapes of x and y"""
    raise NotImplementedError("your turn")
