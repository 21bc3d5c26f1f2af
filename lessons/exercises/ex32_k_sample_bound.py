"""Exercise 32: the k-sample bound of ln p(x).   (after lesson 25)

    logw (B, k)     ln p(x, z_i) - ln q(z_i | x) for k samples z_i of each of B examples
    bound           ln of the mean of the k weights e^logw, for each example, in nats

Write it so that weights of e^-1000 do no harm. Source: Burda et al. 2016, eq. 8.

Check it:  python lessons/exercises/ex32_k_sample_bound.py       (--hint, --solution)
      or:  python -m tinygen.exercises 32                        (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def k_sample_bound(logw):
    """(B, k) -> (B,)"""
    raise NotImplementedError("your turn")
