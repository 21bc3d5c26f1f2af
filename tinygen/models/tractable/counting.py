"""Models that are estimated by counting, without a gradient: the lowest rungs of the ladder.

    x (B, D)    examples;  K bins or components, w_k their weights
    x (B, T)    names as ids below V, 0 the boundary;  logits (B, T, V) of x_t given those before
    fit(x)      estimates from all of x at once and gives the model back
Tables are float64, so that counts and their sums are exact, and are buffers, so that state_dict has
them. log_prob answers in the type of float x, of other x (B, D) in float32, of names in float64.
"""
import math
import warnings

import numpy

from ...distributions import Bernoulli
from ...engine.backend import host_rng, uniform, xp
from ...engine.elementwise import where
from ...engine.fused import cross_entropy, embedding
from ...engine.reductions import logsumexp, softmax, sum
from ...engine.shaping import concatenate
from ...engine.tensor import Tensor, no_grad, tensor
from ...nn.linear import check_sizes, number
from ..branches import Tractable, as_count, as_ids, check_levels, drawn

LARGEST = 1 << 26               # cells of a table: 512 MiB
LEAST = 1e-3                    # examples that a component must answer for to be estimated


def _check_table(name, base, power, smoothing):
    if base > 1 and power > math.log2(LARGEST) / math.log2(base):
        raise ValueError(f"{name}: a table of {base}^{power} cells; needs at most {LARGEST:,}: "
                         "counting does not scale, so cut it coarser")
    if not 0 <= number(smoothing) <= 1e15:
        raise ValueError(f"{name}: smoothing is {smoothing!r}; needs a number from 0 to 1e15")


def _check_clip(name, clip):
    if not 0 < number(clip) < 0.5:
        raise ValueError(f"{name}: clip is {clip!r}; needs a number above 0 and below 0.5, so that "
                         "no example is impossible")


def _examples(model, x, low=-math.inf, high=math.inf):
    """x (B, D) as floats, an array; ValueError for another shape, NaN, and what is out of range."""
    x = xp.asarray(x.data if isinstance(x, Tensor) else x)
    name = type(model).__name__
    if x.ndim != 2 or x.shape[1] != model.D or not len(x):
        raise ValueError(f"{name}: x has shape {x.shape}; needed (B, {model.D}), one example a row "
                         "and at least one")
    x = x if x.dtype == "float64" else x.astype("float32")
    if not (xp.isfinite(x) & (x >= low) & (x <= high)).all():
        raise ValueError(f"{name}: x has NaN, infinity or values outside {low} to {high}; needed "
                         "finite numbers in that range, so clean or rescale the data")
    return x


def _log_table(p):
    """ln p, and -inf where p is 0."""
    with numpy.errstate(divide="ignore"):
        return xp.log(p)


def _draw(p, n):
    """n indices k with probability p_k, by the inverse of the cumulative sum."""
    ends = xp.cumsum(p)
    k = xp.searchsorted(ends, uniform(n, "float64") * ends[-1], side="right")
    return xp.minimum(k, len(p) - 1)


# --- densities ------------------------------------------------------------------------------------

class Histogram(Tractable):
    """p(x) = (n_k + a) / ((N + a K) volume) for x in bin k of K equal boxes; 0 outside.   x (B, D)

    low, high   a number per axis, so D = len(low): meant for 1 or 2, as K = bins^D
    smoothing   a; with 0 an empty bin has density 0
    An edge belongs to the bin above it, `high` to the last. fit raises where data lie outside.
    Source: Bishop 2006, eq. 2.241."""

    def __init__(self, low, high, bins=50, smoothing=1.0):
        self.low, self.high = ([number(v) for v in numpy.ravel(edge)] for edge in (low, high))
        self.D, self.bins, self.smoothing = len(self.low), bins, smoothing
        check_sizes("Histogram", bins=bins)
        _check_table("Histogram", bins, self.D, smoothing)
        if not self.low or len(self.high) != self.D or not all(
                0 < b - a < math.inf for a, b in zip(self.low, self.high)):
            raise ValueError(f"Histogram: low {low} and high {high}; needs low < high on each axis")
        self.volume = math.prod((b - a) / bins for a, b in zip(self.low, self.high))
        self.p = tensor(xp.full(bins ** self.D, 1 / bins ** self.D))

    def _bin(self, x):
        """x (B, D) -> the index k (B,) of its bin, and whether it lies in any"""
        k, inside = 0, True
        for d, (a, b) in enumerate(zip(self.low, self.high)):
            column = x[:, d].astype("float64")
            i = xp.floor((column - a) / (b - a) * self.bins)
            k = k * self.bins + xp.clip(i, 0, self.bins - 1).astype("int64")
            inside = inside & (column >= a) & (column <= b)
        return k, inside

    def fit(self, x):
        """Counts x (N, D)."""
        k, inside = self._bin(_examples(self, x))
        if not inside.all():
            raise ValueError(f"Histogram: {len(k) - int(inside.sum())} of {len(k)} examples lie "
                             f"outside {self.low} to {self.high}; widen the range")
        n = xp.bincount(k, minlength=len(self.p)) + self.smoothing
        self.p.data[...] = n / n.sum()
        return self

    def log_prob(self, x):
        x = _examples(self, x)
        k, inside = self._bin(x)
        log_p = _log_table(self.p.data)[k] - math.log(self.volume)
        return Tensor(xp.where(inside, log_p, -math.inf).astype(x.dtype))

    def sample(self, n):
        """A bin k ~ p_k, then a point anywhere in it.   (n, D)"""
        k, u = _draw(self.p.data, n), uniform((n, self.D), "float64")
        for d in reversed(range(self.D)):
            a, b = self.low[d], self.high[d]
            u[:, d] = a + (k % self.bins + u[:, d]) / self.bins * (b - a)
            k = k // self.bins
        return u.astype("float32")


class IndependentBernoulli(Tractable):
    """p(x) = prod_d p_d^x_d (1 - p_d)^(1 - x_d),   p_d = mean of x_d, kept in [clip, 1 - clip]

    x in [0, 1]. As ln p is linear in x, for grey levels, each the chance of a 1, log_prob(x) is the
    exact expectation over their binarizations, and fit(x) counts all of them at once."""

    def __init__(self, D, clip=1e-4):
        check_sizes("IndependentBernoulli", D=D)
        _check_clip("IndependentBernoulli", clip)
        self.D, self.clip = D, clip
        self.p = tensor(xp.full(D, 0.5))

    def fit(self, x):
        x = _examples(self, x, 0, 1)
        self.p.data[...] = xp.clip(x.mean(axis=0, dtype="float64"), self.clip, 1 - self.clip)
        return self

    def log_prob(self, x):
        x, p = _examples(self, x, 0, 1), self.p.data
        logits = Tensor((xp.log(p) - xp.log(1 - p)).astype(x.dtype))
        return sum(Bernoulli(logits).log_prob(x), 1)

    def sample(self, n):
        return (uniform((n, self.D)) < self.p.data).astype("float32")


class MixtureOfBernoullis(Tractable):
    """p(x) = sum_k w_k prod_d p_kd^x_d (1 - p_kd)^(1 - x_d),   x of 0 and 1, by EM

    p_kd stays in [clip, 1 - clip], where the clipped mean is best, so that EM still never lowers
    the likelihood. Source: Bishop 2006, section 9.3.3."""

    def __init__(self, D, K, clip=1e-4):
        check_sizes("MixtureOfBernoullis", D=D, K=K)
        _check_clip("MixtureOfBernoullis", clip)
        self.D, self.K, self.clip, self.curve = D, K, clip, []
        self.w = tensor(xp.full(K, 1 / K))
        self.p = tensor(xp.asarray(host_rng().uniform(0.25, 0.75, (K, D))))

    def _log_joint(self, x):
        """ln w_k + ln p(x | k)   (B, K)"""
        p = self.p.data
        per_one, none = xp.log(p) - xp.log(1 - p), xp.log(1 - p).sum(axis=1)
        return x @ per_one.T.astype(x.dtype) + (none + _log_table(self.w.data)).astype(x.dtype)

    def log_prob(self, x):
        return Tensor(logsumexp(self._log_joint(_bits(self, x)), 1))

    def responsibilities(self, x):
        """r_k = p(k | x)   (B, D) -> (B, K)"""
        return softmax(self._log_joint(_bits(self, x)), 1)

    def em_step(self, x):
        """E: r = responsibilities(x).   M: w_k = mean of r_k,  p_k = mean of x weighted by r_k.

        Gives the mean of ln p(x) before it. A component that answers for less than LEAST examples
        keeps its p_k. Memory: x as floats and r (N, K)."""
        x = _bits(self, x)
        joint = self._log_joint(x)
        r = softmax(joint, 1)
        n = r.sum(axis=0, dtype="float64")
        p = (r.T @ x) / xp.maximum(n, LEAST)[:, None]
        p = xp.where(n[:, None] < LEAST, self.p.data, xp.clip(p, self.clip, 1 - self.clip))
        self.w.data[...], self.p.data[...] = n / n.sum(), p
        return float(logsumexp(joint, 1).mean(dtype="float64"))

    def fit(self, x, steps=100, tolerance=1e-4):
        """EM from components started at examples, until a step gains less than `tolerance` nats per
        example; `curve` keeps mean ln p(x) before each step. Warns of components left empty."""
        x = _bits(self, x)
        check_sizes("MixtureOfBernoullis", steps=steps)
        self._start(x)
        self.curve = [self.em_step(x)]
        for _ in range(steps - 1):
            self.curve.append(self.em_step(x))
            if self.curve[-1] - self.curve[-2] < tolerance:
                break
        empty = int((self.w.data * len(x) < 1).sum())
        if empty:
            warnings.warn(f"MixtureOfBernoullis: {empty} of {self.K} components answer for less "
                          "than one example; start with fewer, or from another seed", stacklevel=2)
        return self

    def _start(self, x):
        """p_k: an example, the mean and noise, averaged; the noise keeps equal examples apart."""
        if len(x) < self.K:
            raise ValueError(f"MixtureOfBernoullis: {self.K} components for {len(x)} examples; "
                             "needs at least as many examples")
        own = x[xp.asarray(host_rng().choice(len(x), self.K, replace=False))]
        p = (own + x.mean(axis=0) + uniform((self.K, self.D))) / 3
        self.p.data[...] = xp.clip(p, self.clip, 1 - self.clip)
        self.w.data[...] = 1 / self.K

    def sample(self, n):
        p = self.p.data[_draw(self.w.data, n)]
        return (uniform((n, self.D)) < p).astype("float32")


def _bits(model, x):
    x = _examples(model, x, 0, 1)
    check_levels(model, x, 2)
    return x


# --- names ----------------------------------------------------------------------------------------

class LanguageModel(Tractable):
    """p(x) = prod_t p(x_t | x_1 ... x_t-1), up to and with the first boundary.   x (B, T) ids

    A row is a name, its boundary 0, and filling that does not count: y of datasets.text.padded.
    A model offers conditionals(x) -> logits (B, T, V), x as ids or as floats, one-hot (B, T, V);
    start(n), the state before the first character; and step(ids (n,), state) -> (logits (n, V) of
    what follows ids, the next state), with which it samples."""

    def log_prob(self, x):
        """ln p(x) of whole names, in nats.   (B, T) -> (B,)"""
        x = _names(self, x)
        nll = cross_entropy(self.conditionals(x), x, reduction="none")
        return -sum(where(until_boundary(x), nll, 0.0), 1)

    def sample(self, n, longest=100, temperature=1.0, top_k=None):
        """n names (n, T), as log_prob takes them; those without an end after `longest` characters
        are cut there. Logits are divided by the temperature (below 1, likely names are likelier),
        and all but the top_k largest dropped."""
        check_sizes("sample", longest=longest)
        x, ids, state = [], xp.zeros(as_count(self, n), dtype="int64"), self.start(n)
        open_ended = ids == 0
        with no_grad():
            while open_ended.any() and len(x) < longest:
                logits, state = self.step(ids, state)
                ids = drawn(logits.data, temperature, top_k) * open_ended
                open_ended = open_ended & (ids != 0)
                x.append(ids)
        return xp.stack([*x, xp.zeros_like(ids)], axis=1)


def until_boundary(x, boundary=0):
    """True for what counts of x (B, T): everything up to and with the first boundary"""
    end = x == boundary
    return xp.cumsum(end, axis=1) - end == 0


def shifted(x, n=1):
    """n boundaries, then x without its last: what comes before each x_t.
    ids (B, T) -> (B, T + n - 1), or one-hot floats (B, T, V) -> (B, T + n - 1, V)"""
    start = xp.zeros((x.shape[0], n, *x.shape[2:]), dtype=x.dtype)
    if x.ndim == 3:
        start[..., 0] = 1.0
    return concatenate([start, x[:, :-1]], axis=1)


def _names(model, x):
    """x (B, T) as int64 ids with a boundary in each row, an array; else ValueError."""
    x = as_ids(model, x)
    if not (x == 0).any(axis=1).all():
        raise ValueError(f"{type(model).__name__}: a row has no boundary 0; end every name with "
                         "one, as datasets.text.padded does")
    return x


class MarkovModel(LanguageModel):
    """p(x_t | the last `context` characters), boundaries standing before the first.

    A subclass offers forward(contexts (..., context), one-hot too) -> logits (..., V)."""

    def contexts(self, x):
        """(B, T) -> (B, T, context), what each x_t is told from"""
        T = x.shape[1]
        window = xp.arange(T)[:, None] + xp.arange(self.context)
        return shifted(x, self.context)[:, window]

    def conditionals(self, x):
        return self(self.contexts(x))

    def start(self, n):
        return xp.zeros((n, self.context), dtype="int64")

    def step(self, ids, state):
        state = xp.concatenate([state, ids[:, None]], axis=1)[:, 1:]
        return self(state), state


class NGram(MarkovModel):
    """p(x_t | c) = (n_c,x + a) / (n_c + a V), c the n - 1 characters before, a the smoothing

    n = 2 is the bigram table. A context that was never seen is followed by any character alike.
    Unsmoothed, a name with an unseen step has log_prob -inf, and one-hot x is of no use, as 0 inf
    is not a number. The table has V^n cells. Source: Lidstone 1920, Laplace for a = 1."""

    def __init__(self, V, n=2, smoothing=1.0):
        check_sizes("NGram", V=V, n=n)
        _check_table("NGram", V, n, smoothing)
        self.V, self.context, self.smoothing = V, n - 1, smoothing
        self.log_p = tensor(xp.full((V ** (n - 1), V), -math.log(V)))

    def _row(self, contexts):
        """The index of a context in the table: its ids as the digits of a number"""
        return (contexts * self.V ** xp.arange(self.context - 1, -1, -1)).sum(axis=-1)

    def fit(self, x):
        """Counts every step of the names x (N, T), the last to the boundary included."""
        x = _names(self, x)
        cells = (self._row(self.contexts(x)) * self.V + x)[until_boundary(x)]
        n = xp.bincount(cells, minlength=self.log_p.size).reshape(self.log_p.shape)
        n = n + self.smoothing
        n[n.sum(axis=1) == 0] = 1.0
        self.log_p.data[...] = _log_table(n / n.sum(axis=1, keepdims=True))
        return self

    def forward(self, contexts):
        """ln p of what follows; the outer product of one-hot floats, V^(n - 1) numbers, picks it"""
        if contexts.dtype.kind in "iu":
            return embedding(self.log_p, self._row(contexts))
        rows = xp.ones((*contexts.shape[:-2], 1), dtype=contexts.dtype)
        for i in range(self.context):
            rows = (rows[..., None] * contexts[..., i, None, :]).reshape(*contexts.shape[:-2], -1)
        return rows @ self.log_p
