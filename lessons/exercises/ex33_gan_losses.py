"""Exercise 33: the losses of the two players.   (after lesson 28)

    D(x) = sigmoid(l): the critic's belief that x is real
    critic loss     = -E ln D(real) - E ln(1 - D(fake))
    generator loss  = -E ln D(fake), the non-saturating one

Given logits, write both as means over the batch, for logits of any size.
Source: Goodfellow et al. 2014, section 3.

Check it:  python lessons/exercises/ex33_gan_losses.py       (--hint, --solution)
      or:  python -m tinygen.exercises 33                    (tells a SyntaxError, too)
"""
import numpy as np

if __name__ == "__main__":                      # stands first, so that errors below are told
    from tinygen.exercises import main
    raise SystemExit(main(__file__))


def critic_loss(real, fake):
    """logits of real examples (B,), of generated ones (B,) -> a number"""
    raise NotImplementedError("your turn")


def generator_loss(fake):
    """logits of generated examples (B,) -> a number"""
    raise NotImplementedError("your turn")
