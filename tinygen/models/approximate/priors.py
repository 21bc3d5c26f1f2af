"""Priors p(z) of latent-variable models: what a code z is before any x is seen.

    z (..., Z)   latents;   q  a Normal over z;   K components
    log_prob(z)  ln p(z), nats, (..., Z) -> (...)
    kl(q, z)     KL(q || p), nats: by latent (B, Z) where it has a closed form, else one column
                 (B, 1), estimated at the one z ~ q. Its sum over the last axis is a VAE's rate
    sample(n)    (n, Z)
"""
from ...distributions import LN_2PI, Categorical, Normal
from ...engine.backend import normal
from ...engine.elementwise import exp
from ...engine.reductions import log_softmax, logsumexp, sum
from ...engine.shaping import split
from ...engine.tensor import no_grad, tensor
from ...nn import Module, init
from ...nn.linear import check_sizes


class StandardNormal:
    """p(z) = N(0, I): nothing to learn."""

    def __init__(self, latent):
        self.latent = latent

    def log_prob(self, z):
        return -0.5 * (sum(z * z, -1) + self.latent * LN_2PI)

    def kl(self, q, z):
        return q.kl()

    def sample(self, n):
        return normal((n, self.latent))


class MixturePrior(Module):
    """p(z) = sum_k pi_k N(z; mu_k, diag s_k^2), everything learned.   pi = softmax(logits) (K,)

    Components start at random places as wide as N(0, I) is."""

    def __init__(self, latent, K):
        check_sizes("MixturePrior", latent=latent, K=K)
        self.logits = init.constant((K,))
        self.mu, self.logvar = init.normal((K, latent), std=1.0), init.constant((K, latent), -1.0)

    def components(self):
        """A Normal of shape (K, Z)"""
        return Normal(self.mu, self.logvar)

    def log_prob(self, z):
        """(z - mu)^2 / s^2 is multiplied out, so that it costs two products of matrices and no
        array (..., K, Z); float32 loses about 1e-7 |mu / s|^2 nats by it."""
        p = self.components()
        precision = exp(-p.logvar)
        squares = z * z @ precision.T - 2 * (z @ (p.mu * precision).T) + sum(
            p.mu * p.mu * precision + p.logvar, -1)                                 # (..., K)
        return logsumexp(log_softmax(self.logits) - 0.5 * squares, -1) - 0.5 * LN_2PI * z.shape[-1]

    def kl(self, q, z):
        """ln q(z) - ln p(z): a KL to a mixture has no closed form."""
        return (sum(q.log_prob(z), -1) - self.log_prob(z)).reshape(-1, 1)

    def sample(self, n):
        with no_grad():
            p, k = self.components(), Categorical(self.logits).sample(n)
            return Normal(p.mu[k], p.logvar[k]).sample()


class VampPrior(MixturePrior):
    """p(z) = sum_k pi_k q(z | u_k): a mixture of the encoder's guesses about K pseudo-inputs.

    u (K, D) is learned, from the examples given. Differs from the source in that the
    weights are learned too, and u is not kept in the range of x.
    Source: Tomczak & Welling 2018, eq. 9."""

    def __init__(self, encoder, u):
        self.encoder, self.u = encoder, tensor(u, requires_grad=True)
        if self.u.ndim != 2 or not len(self.u):
            raise ValueError(f"VampPrior: pseudo-inputs of shape {tuple(self.u.shape)}; needs "
                             "(K, D), one a row and at least one")
        self.logits = init.constant((len(u),))

    def components(self):
        return Normal(*split(self.encoder(self.u), 2, axis=-1))
