"""Variational autoencoders:   p(x) = integral of p(x | z) p(z) dz,   p(z) = N(0, I)

    x (B, D)   examples;   z (B, Z) latents;   q(z | x) = N(mu(x), s(x)^2), the encoder's guess
    elbo(x) = E_q[ln p(x | z)] - KL(q(z | x) || p(z)) = ln p(x) - KL(q(z | x) || p(z | x))
"""
import math

from ...distributions import Bernoulli, Normal
from ...engine.backend import normal, xp
from ...engine.elementwise import tanh
from ...engine.reductions import logsumexp, sum
from ...engine.shaping import split, stack
from ...engine.tensor import no_grad
from ...nn import mlp
from ..branches import Approximate, as_batch


class VAE(Approximate):
    """x -> MLP -> (mu, ln s^2);   z = mu + s eps;   z -> MLP -> logits of x.

    Source: Kingma & Welling 2014, eq. 10 and appendix C."""

    def __init__(self, D, latent=20, hidden=(200, 200), activation=tanh):
        self.D, self.latent = D, latent
        self.encoder = mlp((D, *hidden, 2 * latent), activation)
        self.decoder = mlp((latent, *reversed(hidden), D), activation)

    def encode(self, x):
        """x (B, D) -> q(z | x), a Normal of shape (B, Z)"""
        mu, logvar = split(self.encoder(as_batch(self, x)), 2, axis=-1)
        return Normal(mu, logvar)

    def decode(self, z):
        """z (..., Z) -> p(x | z), a Bernoulli of shape (..., D)"""
        return Bernoulli(self.decoder(z))

    def elbo(self, x, beta=1.0):
        """ln p(x | z) - beta KL(q(z | x) || p(z)), one z ~ q(z | x).   (B, D) -> (B,)

        A lower bound of ln p(x) for beta = 1. Raising beta from 0 to 1 early in training lets z be
        used before the KL prunes it. Source of the warm-up: Sønderby et al. 2016, section 2.3."""
        x = as_batch(self, x)
        q = self.encode(x)
        return sum(self.decode(q.rsample()).log_prob(x), -1) - beta * sum(q.kl(), -1)

    def log_prob_bound(self, x, k=64):
        """ln 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q: a lower bound of ln p(x) that rises with k,
        in expectation.   (B, D) -> (B,)

        Under no_grad() memory holds one sample's activations at a time, else all k.
        Source: Burda et al. 2016, eq. 8."""
        if k < 1:
            raise ValueError(f"log_prob_bound: k is {k}; needs at least one sample")
        x = as_batch(self, x)
        q, prior = self.encode(x), Normal(xp.zeros(1, x.dtype), xp.zeros(1, x.dtype))
        terms = []
        for _ in range(k):
            z = q.rsample()
            terms.append(sum(self.decode(z).log_prob(x), -1)
                         + sum(prior.log_prob(z) - q.log_prob(z), -1))
        return logsumexp(stack(terms), axis=0) - math.log(k)

    def sample(self, n):
        """z ~ p(z), then x ~ p(x | z).   (n, D)"""
        with no_grad():
            return self.decode(normal((n, self.latent))).sample()
