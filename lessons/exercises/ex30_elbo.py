"""Exercise 30: the lower bound of ln p(x) that a VAE climbs.   (after lesson 24)

    ELBO = E_q[ln p(x | z)] - KL(q(z | x) || p(z)),   the expectation by one sample of z

    x (B, D)            binary pixels;  logits (B, D), of p(x = 1 | z), from the decoder
    mu, logvar (B, Z)   of q(z | x), from the encoder;  p(z) = N(0, 1)

Write the ELBO of each example, in nats. Start from ln p(x | z): the sum over pixels of
ln sigmoid(l) where x is 1, and of ln(1 - sigmoid(l)) where it is 0.

Check it:  python lessons/exercises/ex30_elbo.py       (--hint, --solution)
      or:  python -m tinygen.exercises 30              (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def elbo(x, logits, mu, logvar):
    """(B, D), (B, D), (B, Z), (B, Z) -> (B,)"""
    raise NotImplementedError("your turn")
