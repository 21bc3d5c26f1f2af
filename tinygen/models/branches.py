"""The three branches of the taxonomy, and what a model on each must offer.   x: B examples

Source of the taxonomy: Goodfellow 2016, "NIPS tutorial: generative adversarial networks", figure 9.
"""
import math
from numbers import Integral

from ..distributions import Categorical
from ..engine.backend import xp
from ..engine.reductions import mean
from ..engine.tensor import Tensor
from ..nn import Module
from ..nn.linear import number


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


def as_batch(model, x, shape=None):
    """x as an array of the backend, or the Tensor it is: (B, *shape), (B, D) if no shape is given,
    with B at least 1, else ValueError. Numbers that are not float32 become the type of the weights.
    """
    x, shape = x if isinstance(x, Tensor) else xp.asarray(x), shape or (model.D,)
    if tuple(x.shape[1:]) != shape or not len(x):
        raise ValueError(f"{type(model).__name__}: x has shape {tuple(x.shape)}; needed "
                         f"(B, {', '.join(map(str, shape))}), one example a row and at least one")
    if x.dtype == "float32":
        return x
    dtype = (model.parameters() or [x])[0].dtype
    return x.astype(dtype if dtype.kind == "f" else "float32")


def as_labels(model, labels, n, classes):
    """labels as integers (n,), 0..classes-1, else ValueError; None for a model without classes."""
    name = type(model).__name__
    if classes is None and labels is None:
        return None
    if classes is None:
        raise ValueError(f"{name}: given labels, but made without classes; leave them out")
    if labels is None:
        raise ValueError(f"{name}: made for {classes} classes; needs labels ({n},)")
    labels = xp.asarray(labels)
    if labels.shape != (n,) or n and labels.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels are {labels.dtype} of shape {labels.shape}; needs "
                         f"integers ({n},), one for each example")
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"{name}: labels run from {int(labels.min())} to {int(labels.max())}; "
                         f"needs 0 to {classes - 1}")
    return labels.astype("int64")


def as_ids(model, x):
    """x as int64 (B, T), an array: ValueError unless it holds whole numbers 0..V-1."""
    x = xp.asarray(x.data if isinstance(x, Tensor) else x)
    if x.ndim != 2 or not x.size or x.dtype.kind not in "biuf":
        raise ValueError(f"{type(model).__name__}: x is {x.dtype} of shape {x.shape}; needs ids "
                         "(B, T), one sequence a row and at least one")
    check_levels(model, x if x.dtype.kind == "f" else x.astype("int64"), model.V)
    return x.astype("int64")


def check_levels(model, x, k):
    """ValueError unless x, a Tensor or an array, holds whole numbers 0..k-1."""
    x = x.data if isinstance(x, Tensor) else x
    wrong = ~((x >= 0) & (x < k) & (x == xp.floor(x)))
    if wrong.any():
        raise ValueError(f"{type(model).__name__}: x holds {float(x[wrong][0]):g}; needs whole "
                         f"numbers from 0 to {k - 1}{', so binarize it' if k == 2 else ''}")


def drawn(logits, temperature, top_k):
    """A token for each row of logits, an array (n, V) -> (n,)"""
    V = logits.shape[1]
    if not 1e-30 <= number(temperature) < math.inf:
        raise ValueError(f"sample: temperature is {temperature!r}; needs a number of at least 1e-30"
                         " (top_k=1 takes the likeliest)")
    if top_k is not None:
        if not isinstance(top_k, Integral) or not 1 <= top_k <= V:
            raise ValueError(f"sample: top_k is {top_k!r}; needs a whole number from 1 to {V}")
        logits = xp.where(logits < xp.sort(logits, axis=1)[:, -top_k, None], -math.inf, logits)
    return Categorical(logits / temperature).sample()
