"""Exercise 28: KL(N(mu, s^2) || N(0, 1)).   (after lesson 23)

    q(z) = N(mu, s^2),  s^2 = e^logvar,  for each of the Z units of each example; p(z) = N(0, 1)
    KL(q || p) = E_q[ln q(z) - ln p(z)],   ln N(z; mu, s^2) = -((z - mu)^2 / s^2 + ln(2 pi s^2)) / 2

Write the KL in closed form, in nats, summed over the units of each example.

Check it:  python lessons/exercises/ex28_gaussian_kl.py       (--hint, --solution)
      or:  python -m tinygen.exercises 28                     (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def gaussian_kl(mu, logvar):
    """(B, Z), (B, Z) -> (B,)"""
    raise NotImplementedError("your turn")
