"""Probability distributions over the last axes of arrays; everything in nats.

    log_prob(x)     ln p(x), elementwise: sum it over an example's axes yourself
    sample(shape)   a draw without gradient, an array (*shape, *p's own shape)
    rsample(shape)  a draw that gradients pass through: x as a function of parameters and noise
    entropy()       -E ln p(x), elementwise
    p.kl(q)         E_p[ln p(x) - ln q(x)], elementwise, q of the same family
Parameters are Tensors, arrays or numbers; they broadcast against each other and against x.
"""
import math

from .engine import backend
from .engine.backend import xp
from .engine.elementwise import exp, sigmoid, softplus
from .engine.fused import cross_entropy
from .engine.reductions import log_softmax, sum
from .engine.shaping import broadcast_to
from .engine.tensor import Tensor, no_grad

LN_2PI = math.log(2 * math.pi)


def _data(x):
    return x.data if isinstance(x, Tensor) else x


def _parameter(name, x):
    """x, where a number becomes an array; TypeError unless it is made of floats."""
    if isinstance(x, (int, float)):
        return xp.asarray(x, dtype="float32")
    kind = getattr(x, "dtype", type(x).__name__)
    if not hasattr(kind, "kind") or kind.kind != "f":
        raise TypeError(f"{name}: needs a Tensor or an array of floats, or a number; got {kind}")
    return x


def _shape(name, *shapes):
    """The shape of all together; ValueError where they do not broadcast."""
    try:
        return xp.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast: sizes "
                         "must be equal or 1, compared from the right") from None


def _drawn(shape, own):
    """(*shape, *own), where an int counts as a shape of one axis."""
    return (*((shape,) if isinstance(shape, int) else shape), *own)


def _check_family(p, q):
    if type(q) is not type(p):
        raise TypeError(f"kl: a {type(p).__name__} needs another to be compared with, got a "
                        f"{type(q).__name__}; average p.log_prob(x) - q.log_prob(x) over samples")


class Normal:
    """p(x) = exp(-(x - mu)^2 / (2 s^2)) / sqrt(2 pi s^2), s^2 = e^logvar, elementwise"""

    def __init__(self, mu, logvar):
        self.mu, self.logvar = _parameter("Normal", mu), _parameter("Normal", logvar)
        self.shape = _shape("Normal: mu and logvar", self.mu.shape, self.logvar.shape)

    def log_prob(self, x):
        """-(z^2 + ln s^2 + ln 2 pi) / 2, z = (x - mu) / s"""
        z = (x - self.mu) * exp(-0.5 * self.logvar)
        return -0.5 * (z * z + self.logvar + LN_2PI)

    def rsample(self, shape=()):
        """x = mu + s eps, eps ~ N(0, 1). Source: Kingma & Welling 2014, section 2.4."""
        eps = backend.normal(_drawn(shape, self.shape), self.mu.dtype)
        return self.mu + exp(0.5 * self.logvar) * eps

    def sample(self, shape=()):
        with no_grad():
            return _data(self.rsample(shape))

    def entropy(self):
        """(ln s^2 + ln 2 pi + 1) / 2"""
        return broadcast_to(0.5 * (self.logvar + (LN_2PI + 1)), self.shape)

    def kl(self, q=None):
        """((s^2 + (mu - mu_q)^2) / s_q^2 - 1 - ln(s^2 / s_q^2)) / 2;   q = N(0, 1) when not given.
        Source: Kingma & Welling 2014, appendix B."""
        if q is None:
            return 0.5 * (exp(self.logvar) + self.mu * self.mu - 1 - self.logvar)
        _check_family(self, q)
        z = (self.mu - q.mu) * exp(-0.5 * q.logvar)
        d = self.logvar - q.logvar
        return 0.5 * (exp(d) + z * z - 1 - d)


class Bernoulli:
    """p(x) = s^x (1 - s)^(1 - x), s = sigmoid(logits), x in {0, 1}, elementwise"""

    def __init__(self, logits):
        self.logits = _parameter("Bernoulli", logits)

    def log_prob(self, x):
        """x l - softplus(l)"""
        return x * self.logits - softplus(self.logits)

    def sample(self, shape=()):
        """1 where u < s, u uniform"""
        logits = _data(self.logits)
        u = backend.uniform(_drawn(shape, logits.shape), logits.dtype)
        return (u < sigmoid(logits)).astype(logits.dtype)

    def entropy(self):
        """softplus(l) - s l"""
        return softplus(self.logits) - self.logits * sigmoid(self.logits)

    def kl(self, q):
        """s (l - l_q) - softplus(l) + softplus(l_q)"""
        _check_family(self, q)
        s = sigmoid(self.logits)
        return s * (self.logits - q.logits) - softplus(self.logits) + softplus(q.logits)


class Categorical:
    """p(x) = softmax(logits)[x], x an integer in 0..K-1.   logits (..., K), x (...)"""

    def __init__(self, logits):
        self.logits = _parameter("Categorical", logits)
        if self.logits.ndim < 1:
            raise ValueError("Categorical: logits is one number; needs an axis of K logits")

    def log_prob(self, x):
        """l[x] - logsumexp(l)"""
        x, (*own, K) = xp.asarray(_data(x)), self.logits.shape
        shape = _shape("Categorical: x and all but the last axis of logits", x.shape, tuple(own))
        return -cross_entropy(broadcast_to(self.logits, (*shape, K)), xp.broadcast_to(x, shape),
                              reduction="none")

    def sample(self, shape=()):
        """argmax(l - ln(-ln u)), u uniform: the Gumbel trick. Source: Gumbel 1954."""
        logits = _data(self.logits)
        u = backend.uniform(_drawn(shape, logits.shape), logits.dtype)
        return xp.argmax(logits - xp.log(-xp.log(u + 1e-20)), axis=-1)

    def entropy(self):
        logp = log_softmax(self.logits)
        return -sum(exp(logp) * logp, -1)

    def kl(self, q):
        """sum p (ln p - ln q)"""
        _check_family(self, q)
        logp = log_softmax(self.logits)
        return sum(exp(logp) * (logp - log_softmax(q.logits)), -1)
