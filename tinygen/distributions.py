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
from .engine.elementwise import exp, log, sigmoid, softplus, tanh, where
from .engine.fused import cross_entropy
from .engine.reductions import log_softmax, logsumexp, softmax, sum
from .engine.shaping import broadcast_to, expand_dims
from .engine.tensor import Tensor, no_grad
from .nn.linear import check_sizes

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


def _check_chances(x):
    """ValueError for an x that has NaN or a value outside [0, 1]."""
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"Bernoulli: x runs from {float(x.min()):g} to {float(x.max()):g}; needs "
                         "values from 0 to 1, so divide pixels by 255, or threshold them")


def _drawn(shape, own):
    """(*shape, *own), where a number counts as a shape of one axis."""
    return (*(shape if hasattr(shape, "__iter__") else (shape,)), *own)


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
        """x l - softplus(l). ValueError unless 0 <= x <= 1; a grey x, the chance of a 1, gives the
        expectation over its binarizations. The check is one look at x at each call: on a GPU it
        waits for x, as `fit` waits for each loss."""
        _check_chances(xp.asarray(_data(x)))
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

    def _log_probs(self, weight):
        """ln p of every x, but 0 where its weight is 0: there weight ln p is 0, also for p = 0"""
        return where(weight > 0, log_softmax(self.logits), 0.0)

    def entropy(self):
        p = softmax(self.logits)
        return -sum(p * self._log_probs(p), -1)

    def kl(self, q):
        """sum p (ln p - ln q)"""
        _check_family(self, q)
        p = softmax(self.logits)
        return sum(p * (self._log_probs(p) - q._log_probs(p)), -1)


class _Levels:
    """What distributions over x in 0 .. levels - 1 share: sums over all x, on a leading axis."""

    def _log_probs(self):
        """ln P of every x, (levels, *own shape)"""
        return self.log_prob(xp.arange(self.levels).reshape(-1, *(1,) * len(self.shape)))

    def entropy(self):
        logp = self._log_probs()
        return -sum(exp(logp) * logp, 0)

    def kl(self, q):
        """sum P (ln P - ln Q)"""
        _check_family(self, q)
        if q.levels != self.levels:
            raise ValueError(f"kl: {self.levels} levels cannot be compared with {q.levels}")
        logp = self._log_probs()
        return sum(exp(logp) * (logp - q._log_probs()), 0)


class DiscretizedLogistic(_Levels):
    """P(x) = sigmoid((x + 1/2 - mu) / s) - sigmoid((x - 1/2 - mu) / s), s = e^log_s, x whole
    numbers 0 .. levels - 1: a logistic density, integrated over the unit around each x. The first x
    has also what lies below it, the last what lies above. mu and s are in levels; elementwise.
    Source: Salimans et al. 2017, eq. 2, there with pixels scaled to [-1, 1]."""

    def __init__(self, mu, log_s, levels=256):
        self.mu = _parameter("DiscretizedLogistic", mu)
        self.log_s = _parameter("DiscretizedLogistic", log_s)
        self.shape = _shape("DiscretizedLogistic: mu and log_s", self.mu.shape, self.log_s.shape)
        check_sizes("DiscretizedLogistic", 2, levels=levels)
        self.levels = levels

    def log_prob(self, x):
        """-softplus(-b) - softplus(a) + ln(1 - e^-w),   b, a the arguments above, w = b - a = 1/s

        The same number as ln(sigmoid(b) - sigmoid(a)), but no difference of near equals. The last
        x lacks the term of b, the first that of a, both the third: ln tanh(w/2) + softplus(-w)."""
        x = xp.asarray(_data(x))
        if not ((x >= 0) & (x < self.levels) & (x == xp.floor(x))).all():
            raise ValueError(f"DiscretizedLogistic: x from {float(x.min()):g} to {float(x.max()):g}"
                             f"; needs whole numbers 0..{self.levels - 1}, not yet scaled")
        x, above, below = x.astype(self.mu.dtype), x > 0, x < self.levels - 1
        w = exp(-self.log_s)
        a, b = (x - 0.5 - self.mu) * w, (x + 0.5 - self.mu) * w
        inside = log(tanh(0.5 * w)) + softplus(-w)
        return inside * (above & below) - softplus(-b) * below - softplus(a) * above

    def sample(self, shape=()):
        """mu + s ln(u / (1 - u)), u uniform, rounded and kept in range"""
        mu, s = _data(self.mu), exp(_data(self.log_s))
        u = xp.clip(backend.uniform(_drawn(shape, self.shape), mu.dtype), 1e-7, 1 - 1e-7)
        return xp.clip(xp.rint(mu + s * (xp.log(u) - xp.log(1 - u))), 0, self.levels - 1)


class LogisticMixture(_Levels):
    """P(x) = sum_k p_k P_k(x), p = softmax(logits), P_k a DiscretizedLogistic(mu_k, log_s_k).

    logits, mu, log_s (..., K), x (...). Source: Salimans et al. 2017, eq. 1."""

    def __init__(self, logits, mu, log_s, levels=256):
        parts = [_parameter("LogisticMixture", p) for p in (logits, mu, log_s)]
        shape = _shape("LogisticMixture: logits, mu and log_s", *(p.shape for p in parts))
        if not shape:
            raise ValueError("LogisticMixture: logits, mu and log_s are one number each; needs an "
                             "axis of K parts")
        self.logits, mu, log_s = (broadcast_to(p, shape) for p in parts)
        self.parts = DiscretizedLogistic(mu, log_s, levels)
        self.levels, self.shape = levels, shape[:-1]

    def log_prob(self, x):
        parts = self.parts.log_prob(expand_dims(xp.asarray(_data(x)), -1))
        return logsumexp(log_softmax(self.logits) + parts, -1)

    def sample(self, shape=()):
        """k ~ p, then x ~ P_k"""
        k = Categorical(self.logits).sample(shape)
        chosen = expand_dims(k, -1) == xp.arange(self.logits.shape[-1])
        return (self.parts.sample(shape) * chosen).sum(axis=-1)
