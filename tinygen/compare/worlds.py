"""What the models of the table learn from, and how samples of it are judged.

A world's split is one and the same for every model and every seed: what differs between seeds is
the model's first weights, its batches and its samples. Data live on the host.
"""
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.known import Glyphs, Mixture2D, Words
from ..datasets.mnist import load_mnist, thresholded
from ..datasets.text import Vocabulary, padded, unpadded

PROBED = 2000                   # examples that a linear probe is fitted to


@dataclass
class World:
    """One world, split.   x (N, D), names as ids (N, T) with the boundary 0

    source      what x was drawn from, with its exact log_prob; None where nobody knows it
    strange     inputs of the same kind that p_data does not make
    probed      (x, factors): what a linear probe is fitted to; factors are integers (N,) by name
    factors     those of the test examples
    dims        numbers in an example: what bits/dim divide by
    samples     how many a model is asked for"""
    train: Any
    test: Any
    strange: Any
    probed: Any
    factors: Any
    dims: float
    samples: int
    source: Any = None
    side: int = 0               # of a picture
    vocabulary: Any = None      # of names

    def log_p_data(self, x):
        """ln p_data(x) (B,), nats; None where it is not known"""
        if self.source is None:
            return None
        x = unpadded(x, self.vocabulary) if self.vocabulary else x
        return self.source.log_prob(x)

    def judged(self, x):
        """{ln p_data: its mean over the samples that are possible, found: how many modes they hit,
        possible: the share of them that p_data could well have made}

        Modes are templates of Glyphs, Gaussians of Mixture2D, different possible names of Words;
        possible are a picture within the flips of 99.9 % of true ones of some template, a point
        within 3 sigma of some mode (98.9 % of true ones are), a name of the grammar. For names the
        first number is over the possible alone: of others ln p_data is -inf."""
        if self.source is None:
            return {}
        log_p = self.log_p_data(x)
        if isinstance(self.source, Words):
            possible = np.isfinite(log_p)
            found = len({tuple(row) for row in np.asarray(x)[possible].tolist()})
            log_p = log_p[possible]
        elif isinstance(self.source, Mixture2D):
            possible = self.source.within(x)
            found = len(np.unique(self.source.nearest_mode(x)[possible]))
        else:
            found = len(self.source.modes_found(x))
            nearest = self.source.templates[self.source.nearest_template(x)]
            possible = abs(x - nearest).sum(1) <= self.source.most_flips()
        return {"ln p_data(samples)": float(log_p.mean()) if len(log_p) else None, "found": found,
                "possible %": 100 * float(possible.mean())}


def _drawn(source, rng, quick, train):
    """The parts of a World that come out of a known source"""
    n, m = (100, 40) if quick else (train, 1000)
    x = source.sample(n, rng)
    test, factors = source.sample(m, rng, return_factors=True)
    return x, test, factors, source.sample(min(n, PROBED), rng, return_factors=True)


def glyphs(quick=False):
    """Glyphs(16); strange are its pictures transposed."""
    source, rng = Glyphs(), np.random.default_rng(2026)
    x, test, factors, probed = _drawn(source, rng, quick, 50_000)
    return World(x, test, transposed(test, 16), probed, factors, 256, 10 if quick else 500, source,
                 side=16)


def transposed(x, side):
    return x.reshape(-1, side, side).swapaxes(1, 2).reshape(len(x), -1)


def mixture2d(quick=False):
    """The pinwheel of five blades; strange are points spread evenly over its square."""
    source, rng = Mixture2D("pinwheel"), np.random.default_rng(2026)
    x, test, factors, probed = _drawn(source, rng, quick, 50_000)
    strange = rng.uniform(-3.5, 3.5, test.shape).astype("float32")
    return World(x, test, strange, (probed[0], {"blade": probed[1]["arm"]}),
                 {"blade": factors["arm"]}, 2, 10 if quick else 1000, source)


def words(quick=False):
    """Names; strange are names with their letters shuffled. bits/dim are bits per character."""
    source, rng = Words(), np.random.default_rng(2026)
    x, test, factors, probed = _drawn(source, rng, quick, 20_000)
    vocabulary = Vocabulary(source.alphabet, boundary=".")
    strange = ["".join(rng.permutation(list(name))) for name in test]
    strange = [name for name in strange if name not in source.support]
    ids = (padded(names, vocabulary)[1] for names in (x, test, strange, probed[0]))
    train, held_out, strange, first = ids
    return World(train, held_out, strange, (first, {"family": probed[1]["family"]}),
                 {"family": factors["family"]}, float(np.mean([len(n) + 1 for n in test])),
                 10 if quick else 1000, source, vocabulary=vocabulary)


def mnist(quick=False):
    """MNIST, pixels above 127; strange are its pictures transposed. p_data is not known."""
    digits = load_mnist()
    n, m = (100, 40) if quick else (None, 1000)
    x, test = thresholded(digits.train_images[:n]), thresholded(digits.test_images[:m])
    return World(x, test, transposed(test, 28), (x[:PROBED], {
        "digit": digits.train_labels[:len(x[:PROBED])].astype(int)}),
        {"digit": digits.test_labels[:m].astype(int)}, 784, 10 if quick else 500, side=28)


WORLDS = {f.__name__: functools.cache(f) for f in (glyphs, mixture2d, words, mnist)}
