"""The three branches of the taxonomy, and what a model on each must offer.   x: B examples

Source of the taxonomy: Goodfellow 2016, "NIPS tutorial: generative adversarial networks", figure 9.
"""
from numbers import Integral

from ..engine.backend import xp
from ..engine.reductions import mean
from ..engine.tensor import Tensor
from ..nn import Module


class Tractable(Module):
    """Explicit density, tractable.   log_prob(x) -> (B,), exact, nats;   sample(n)"""
    branch = "explicit, tractable"

    def loss(self, x):
        """-mean log_prob(x), nats per example: maximum likelihood"""
        return -mean(self.log_prob(x))


class Approximate(Module):
    """Explicit density, approximate.   elbo(x) -> (B,), a lower bound of ln p(x), nats;
    log_prob_bound(x, k), tighter;   encode(x), decode(z), sample(n)"""
    branch = "explicit, approximate"

    def loss(self, x):
        """-mean elbo(x), nats per example"""
        return -mean(self.elbo(x))


class Implicit(Module):
    """Implicit density.   sample(n);   critic_loss(x), generator_loss(n)"""
    branch = "implicit"

    def log_prob(self, x):
        self._refuse("log_prob")

    def elbo(self, x):
        self._refuse("elbo")

    def log_prob_bound(self, x, k=1):
        self._refuse("log_prob_bound")

    def _refuse(self, asked):
        raise NotImplementedError(
            f"{asked}: {type(self).__name__} has no density to evaluate: p_theta is given only by "
            "its sampler x = G(z), and G is not inverted; judge its samples instead")


def as_count(model, n, least=0):
    """n, how many to draw: ValueError unless a whole number of at least `least`."""
    if not isinstance(n, Integral) or n < least:
        raise ValueError(f"{type(model).__name__}: asked for {n!r} draws; needs a whole number of "
                         f"at least {least}")
    return int(n)


def as_batch(model, x):
    """x as an array of the backend, or the Tensor it is: (B, D) with B at least 1, else ValueError.
    Numbers that are not float32 become the type of the weights."""
    x = x if isinstance(x, Tensor) else xp.asarray(x)
    if x.ndim != 2 or x.shape[1] != model.D or not len(x):
        raise ValueError(f"{type(model).__name__}: x has shape {tuple(x.shape)}; needed "
                         f"(B, {model.D}), one example a row and at least one")
    return x if x.dtype == "float32" else x.astype(model.parameters()[0].dtype)
