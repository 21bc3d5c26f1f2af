"""Exercise 31: one step of EM.   (after lesson 21)

    p(x) = sum_k weights_k N(x; means_k, variances_k),    x (N,), the others (K,)

E: responsibilities r_nk = p(k | x_n).   M: the weights, means and variances that maximise
sum_nk r_nk ln(weights_k N(x_n; means_k, variances_k)). Write one step.
Source: Dempster et al. 1977.

Check it:  python lessons/exercises/ex31_em_step.py       (--hint, --solution)
      or:  python -m tinygen.exercises 31                 (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def em_step(x, weights, means, variances):
    """-> responsibilities (N, K), and the new weights, means and variances (K,)"""
    raise NotImplementedError("your turn")
