"""H(p) = -E log p(x): four worlds whose p(x) we know exactly, so every model has a floor to reach.

    Mixture2D   points in the plane            a sum over Gaussians
    Glyphs      noisy pictures of digits       a sum over templates
    TinyBits    noisy bars and stripes         the same, few enough pixels to list all
    Words       names made of syllables        a sum over the ways to split a name

Each offers `sample(n, rng)`, exact `log_prob(x)` and `entropy()`, in nats per example. Data live on
the host, so this file is plain NumPy: examples are float32, probabilities float64.

Letters: n or B examples, D numbers each, K components, k a component, T templates, s a standard
deviation, eps the chance that a pixel flips.
"""
import inspect
import math
from bisect import bisect
from collections import defaultdict
from functools import cached_property
from itertools import accumulate

import numpy as np

from .exact import Mixture, check_draw, discrete_entropy, in_blocks, whole
from .glyphs import draw_templates
from .syllables import END, FAMILIES, START, grammar


# ---------------------------------------------------------------- points in the plane

# Each shape returns complex means (arms, components per arm) and covariances that broadcast to
# (arms, components per arm, 2, 2).

def ring(radius=1.0, s=0.01):
    """Eight far-apart components on a circle."""
    return radius * np.exp(2j * np.pi * np.arange(8) / 8)[:, None], s ** 2 * np.eye(2)


def grid(spacing=2.0, s=0.05):
    """Five rows of five far-apart components."""
    ticks = spacing * np.arange(-2, 3)
    return (ticks + 1j * ticks[:, None]).reshape(25, 1), s ** 2 * np.eye(2)


def moons(s=0.1):
    """Two half circles, each reaching into the other."""
    upper = np.exp(1j * np.linspace(0, np.pi, 16))
    return np.stack([upper, 1 + 0.5j - upper]), s ** 2 * np.eye(2)


def spiral(s=0.08):
    """Two arms r = angle / pi, a square root keeping the components evenly spread along them."""
    angle = 3 * np.pi * np.sqrt(np.linspace(0.02, 1, 40))
    arm = angle / np.pi * np.exp(1j * angle)
    return np.stack([arm, -arm]), s ** 2 * np.eye(2)


def pinwheel(s=0.08):
    """Five blades that turn as they leave the centre, of components 4 s long and s wide."""
    r = np.linspace(0.7, 2.2, 4)
    turn = np.exp(1j * (2 * np.pi * np.arange(5)[:, None] / 5 + 0.6 * r))
    along = (1 + 0.6j * r) * turn / abs(1 + 0.6j * r)              # the direction of d(r turn) / dr
    axes = np.stack([np.stack([along.real, -along.imag], -1),
                     np.stack([along.imag, along.real], -1)], -2)                  # (5, 4, 2, 2)
    return r * turn, axes * (16 * s ** 2, s ** 2) @ axes.swapaxes(-1, -2)


SHAPES = {shape.__name__: shape for shape in (ring, grid, moons, spiral, pinwheel)}


class Mixture2D(Mixture):
    """p(x) = sum_k p(k) N(x; mode_k, covariance_k), x in the plane, K modes that draw a shape.

    Settings beside `name` are those of the shape (`ring(radius, s)`, `grid(spacing, s)`, ...) and
    `scale`, which multiplies everything. Factors: component, and the arm it lies on.
    """
    def __init__(self, name, scale=1.0, **settings):
        if name not in SHAPES:
            raise ValueError(f"Mixture2D: no shape {name!r}, choose from {', '.join(SHAPES)}")
        accepted = inspect.signature(SHAPES[name])
        if not set(settings) <= set(accepted.parameters):
            raise TypeError(f"Mixture2D: {name!r} takes {accepted} and scale, got {settings}")
        for setting, value in {"scale": scale, **settings}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"Mixture2D: {setting}={value}, needs a positive number")
        means, covariances = SHAPES[name](**settings)
        arms, per_arm = means.shape
        self.name = name
        self.modes = scale * np.stack([means.real, means.imag], axis=-1).reshape(-1, 2)
        self.covariances = scale ** 2 * np.broadcast_to(
            covariances, (arms, per_arm, 2, 2)).reshape(-1, 2, 2)
        self._root = np.linalg.cholesky(self.covariances)                            # (K, 2, 2)
        k = np.arange(arms * per_arm)
        super().__init__(2, len(k), {"component": k, "arm": k // per_arm})

    @property
    def weights(self):
        return np.exp(self.log_prior)

    def _draw(self, k, rng):
        noise = rng.standard_normal((len(k), 2))
        return self.modes[k] + np.einsum("nij,nj->ni", self._root[k], noise)

    def _sigmas(self, x):
        """|L^-1 (x - mode)| with L L' = covariance: how many sigmas from each mode -> (B, K)."""
        white = np.linalg.inv(self._root) @ (x.T - self.modes[:, :, None])            # (K, 2, B)
        return np.sqrt((white ** 2).sum(axis=1)).T

    def _log_det(self):
        return 2 * np.log(self._root.diagonal(axis1=1, axis2=2)).sum(axis=-1)

    def _log_likelihood(self, x):
        return -0.5 * (self._sigmas(x) ** 2 + self._log_det()) - math.log(2 * math.pi)

    def _noise_entropy(self):
        return 1 + math.log(2 * math.pi) + 0.5 * self._log_det()

    def nearest_mode(self, x):
        """argmin_k of the distance to mode k in sigmas -> (B,) indices."""
        x = self._check(x, "nearest_mode")
        return in_blocks(lambda x: self._sigmas(x).argmin(axis=1), x)

    def within(self, x, sigmas=3):
        """Is x at most `sigmas` from its nearest mode? -> (B,) booleans.

        Of true samples 1 - exp(-sigmas^2 / 2) are (98.889 % at 3), more where components overlap.
        """
        x = self._check(x, "within")
        return in_blocks(lambda x: self._sigmas(x).min(axis=1) <= sigmas, x)


# ---------------------------------------------------------------- binary pictures

class NoisyTemplates(Mixture):
    """x = template k with each pixel flipped with chance eps: p(x | k) = eps^d (1 - eps)^(D - d).

    d is the Hamming distance between x and template k, an integer. Pixels are 0 and 1.
    """
    def __init__(self, templates, factors, eps):
        if not 0 < eps < 0.5:
            raise ValueError(f"{type(self).__name__}: eps={eps}, needs 0 < eps < 0.5")
        self.templates, self.eps = templates, eps                                       # (T, D)
        super().__init__(templates.shape[1], len(templates), factors)

    def _check(self, x, asker):
        x = super()._check(x, asker)
        if not ((x == 0) | (x == 1)).all():
            raise ValueError(f"{type(self).__name__}.{asker}: pixels must be 0 or 1, round them")
        return x

    def _draw(self, k, rng):
        return np.abs(self.templates[k] - (rng.random((len(k), self.D)) < self.eps))

    def _distance(self, x):
        """d = sum x + sum t - 2 x . t -> (B, T); float32 holds these integers exactly."""
        x = x.astype(np.float32)
        return x.sum(axis=1)[:, None] + self.templates.sum(axis=1) - 2 * x @ self.templates.T

    def _log_likelihood(self, x):
        d = self._distance(x).astype(np.float64)
        return d * math.log(self.eps) + (self.D - d) * math.log1p(-self.eps)

    def _noise_entropy(self):
        return np.full(self.K, self.D * discrete_entropy(np.array([self.eps, 1 - self.eps])))

    def nearest_template(self, x):
        """argmin_t of the Hamming distance, the first on a tie -> (B,) indices."""
        x = self._check(x, "nearest_template")
        return in_blocks(lambda x: self._distance(x).argmin(axis=1), x)

    def modes_found(self, x, within=None):
        """The templates that x hits: sorted distinct indices.

        A row hits its nearest template if at most `within` pixels differ; left out, most_flips().
        """
        x = self._check(x, "modes_found")
        within = self.most_flips() if within is None else within
        near = in_blocks(lambda x: self._distance(x).min(axis=1) <= within, x)
        return np.unique(self.nearest_template(x)[near])

    def most_flips(self):
        """The least w with P(flips <= w) >= 0.999, flips ~ Binomial(D, eps): at least 99.9 % of
        true samples are as near to a template."""
        D, eps = self.D, self.eps
        chances = [math.comb(D, w) * eps ** w * (1 - eps) ** (D - w) for w in range(D + 1)]
        return int(np.searchsorted(np.cumsum(chances), 0.999))


class Glyphs(NoisyTemplates):
    """Pictures of the ten digits: p(x) = sum over 540 templates, x (B, size * size).

    Factors: digit, slant, thickness, shift (see glyphs.py); templates are told apart by all four.
    """
    def __init__(self, size=16, eps=0.02):
        self.size = whole(size, 16, 32, "Glyphs: size")
        super().__init__(*draw_templates(size), eps)


class TinyBits(NoisyTemplates):
    """Bars and stripes (MacKay 2003): choose rows or columns, light each with chance 1/2.

    Factors: orientation (0 rows, 1 columns) and lines, whose bit i says if line i is lit. The blank
    and the full picture each appear under both orientations, so they are twice as likely.
    """
    def __init__(self, size=3, eps=0.05):
        self.size = whole(size, 3, 4, "TinyBits: size")
        lines = np.arange(2 ** size)
        lit = (lines[:, None] >> np.arange(size) & 1).astype(np.float32)
        rows = np.repeat(lit[:, :, None], size, axis=2)
        templates = np.concatenate([rows, rows.transpose(0, 2, 1)]).reshape(-1, size * size)
        factors = {"orientation": np.repeat([0, 1], len(lines)), "lines": np.tile(lines, 2)}
        super().__init__(templates, factors, eps)

    def states(self):
        """Every picture there is -> (2^D, D)."""
        return (np.arange(2 ** self.D)[:, None] >> np.arange(self.D) & 1).astype(np.float32)

    def entropy(self):
        """-sum_x p(x) log p(x) over all 2^D pictures -> (nats per example, 0.0)."""
        return float(discrete_entropy(np.exp(self.log_prob(self.states())))), 0.0


# ---------------------------------------------------------------- names

class Words:
    """p(name) = sum over its parses of prod p(syllable | the one before); see syllables.py.

    A name with two parses: "hana" is "ha" + "na" and "han" + "a". Names are str, lower case.
    Factors: family, an index into FAMILIES, and syllables, the parts as drawn.
    """
    def __init__(self):
        self.arcs = grammar()
        self._reach = {state: list(accumulate(p for *_, p in arcs))
                       for state, arcs in self.arcs.items()}
        self.alphabet = "".join(sorted({c for arcs in self.arcs.values() for text, *_ in arcs
                                        for c in text}))

    def _walk(self, rng):
        """Take arcs by their probability from START to END -> the texts on the way."""
        state, parts = START, []
        while state != END:
            last = len(self.arcs[state]) - 1
            text, state, _ = self.arcs[state][bisect(self._reach[state], rng.random(), hi=last)]
            parts.append(text)
        return tuple(parts)

    def sample(self, n, rng, return_factors=False):
        """n names -> list of str; with return_factors also their family (n,) and syllables."""
        check_draw(n, rng, "Words.sample")
        parses = [self._walk(rng) for _ in range(n)]
        family = np.array([list(FAMILIES).index(parts[0]) for parts in parses], dtype=int)
        names = ["".join(parts) for parts in parses]
        return (names, {"family": family, "syllables": parses}) if return_factors else names

    @cached_property
    def support(self):
        """Every possible name -> its probability.

        Dynamic programming: parses that spell the same letters and reach the same state are added
        up before they go on. The grammar has no loops, so this ends.
        """
        names, ahead = defaultdict(float), {("", START): 1.0}
        while ahead:
            reached = defaultdict(float)
            for (prefix, state), p in ahead.items():
                for text, following, q in self.arcs[state]:
                    if following == END:
                        names[prefix + text] += p * q
                    else:
                        reached[prefix + text, following] += p * q
            ahead = reached
        return dict(names)

    def log_prob(self, names):
        """log p(name), -inf if the grammar cannot make it -> (B,) nats."""
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"Words.log_prob: got {names!r:.60}, needs a list of names, each a str")
        p = np.array([self.support.get(name, 0.0) for name in names], dtype=float)
        return np.log(p, where=p > 0, out=np.full(len(p), -np.inf))

    def entropy(self):
        """-sum p log p over every possible name -> (nats per name, 0.0)."""
        return float(discrete_entropy(np.array(list(self.support.values())))), 0.0
