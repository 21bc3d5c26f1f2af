"""Measures on samples: each against a closed form, and each able to say no."""
import math

import numpy as np
import pytest

from tinygen import samples
from tinygen.datasets.known import Glyphs, Mixture2D, TinyBits
from tinygen.engine.backend import xp


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- modes ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", ["ring", "grid"])
def test_a_perfect_sampler_finds_all_modes_and_98_889_percent(shape, rng):
    """C9: 1 - exp(-9/2); more than that is a sampler too narrow, which is collapse of its own."""
    world, n = Mixture2D(shape), 200_000
    share = 1 - math.exp(-4.5)
    assert round(100 * share, 3) == 98.889
    found, inside = samples.modes_found(world, xp.asarray(world.sample(n, rng)))
    assert found == world.K and abs(inside - share) < 4 * math.sqrt(share * (1 - share) / n)
    found, inside = samples.modes_found(world, np.repeat(world.modes[[0, 3]], 50, axis=0))
    assert (found, inside) == (2, 1.0)
    assert samples.modes_found(world, 100 + world.modes) == (0, 0.0)


@pytest.mark.parametrize("n", [3, 40, 2000])
def test_expected_modes_is_what_true_samples_hit(n, rng):
    p = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
    hits = [len(np.unique(rng.choice(5, n, p=p))) for _ in range(400)]
    assert abs(np.mean(hits) - samples.expected_modes(p, n)) < 4 * 1 / math.sqrt(400)
    assert samples.expected_modes(p, 1) == pytest.approx(1)


def test_expected_modes_of_glyphs(rng):
    """All but the templates that are told apart by fewer flips than noise makes, 0.1 %."""
    world = Glyphs()
    found = len(world.modes_found(world.sample(2000, rng)))
    assert abs(found - samples.expected_modes(np.exp(world.log_prior), 2000)) < 15


def test_reverse_kl_of_true_samples_is_its_bias(rng):
    p, n = np.array([0.4, 0.3, 0.2, 0.1]), 1000
    found = [samples.reverse_kl(rng.multinomial(n, p), p) for _ in range(2000)]
    kl, bias = np.mean(found, axis=0)
    assert bias == pytest.approx(3 / (2 * n)) and abs(kl / bias - 1) < 0.1
    collapsed, _ = samples.reverse_kl([n, 0, 0, 0], p)
    assert collapsed == pytest.approx(-math.log(0.4))


# --- memory ---------------------------------------------------------------------------------------

def test_nearest_is_a_plain_search(rng):
    y, x = rng.normal(size=(1500, 3)), rng.normal(size=(40, 3))
    i, d = samples.nearest(xp.asarray(y), x)
    plain = np.linalg.norm(y[:, None] - x, axis=-1)
    assert (i == plain.argmin(1)).all() and np.allclose(d, plain.min(1))


def test_copies_are_memorised_and_new_draws_are_not(rng):
    train, test, new = (rng.normal(size=(500, 2)) for _ in range(3))
    assert samples.memorised(train[:300], train, test) == 1.0
    assert abs(samples.memorised(new, train, test) - 0.5) < 4 * math.sqrt(1 / (6 * 500)) * 1.5
    assert samples.memorised(new + 50, train, test) == 0.0
    assert samples.memorised(test, train, test) == pytest.approx(0.5)       # ties count half


def test_auroc_is_the_chance_that_the_known_scores_more(rng):
    a, b = rng.integers(0, 5, 30), rng.integers(0, 6, 20)
    pairs = [(i > j) + 0.5 * (i == j) for i in a for j in b]
    assert samples.auroc(a, b) == pytest.approx(np.mean(pairs))
    assert samples.auroc(np.array([2.0]), np.array([-np.inf])) == 1


# --- two samples ----------------------------------------------------------------------------------

def test_frechet_between_gaussians_in_closed_form(rng):
    """Commuting covariances: |m|^2 + sum (s - t)^2"""
    n, s, t, m = 40_000, np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 0.5]), np.array([1.0, 0, 2])
    x, y = s * rng.normal(size=(n, 3)), m + t * rng.normal(size=(n, 3))
    closed = m @ m + ((s - t) ** 2).sum()
    assert samples.frechet(x, y) == pytest.approx(closed, abs=0.1)
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))            # a rotation changes no distance
    assert samples.frechet(x @ Q, y @ Q) == pytest.approx(samples.frechet(x, y), rel=1e-9)
    assert samples.frechet(x, y) == pytest.approx(samples.frechet(y, x), rel=1e-9)
    assert abs(samples.frechet(x, x)) < 1e-9
    assert samples.frechet(x, x + m) == pytest.approx(m @ m, abs=1e-9)


def test_precision_and_recall_tell_quality_from_coverage(rng):
    world = Mixture2D("ring", s=0.05)
    x, y = world.sample(1000, rng), world.sample(1000, rng)
    floor = samples.precision_recall(x, y)
    assert min(floor) > 0.9
    half = y[world.nearest_mode(y) < 4]                     # collapse: precise, but half is missing
    precision, recall = samples.precision_recall(x, half)
    assert precision > 0.9 and 0.4 < recall < 0.6
    precision, recall = samples.precision_recall(x, np.concatenate([y, 30 + y]))
    assert 0.4 < precision < 0.6 and recall > 0.9
    assert samples.precision_recall(x[:500], x[:500]) == (1.0, 1.0)


def test_the_mmd_test_keeps_its_level_and_has_power(rng):
    p = [samples.mmd_test(*rng.normal(size=(2, 30, 2)), rng, permutations=60)[1]
         for _ in range(200)]
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200)
    assert abs(np.mean(p) - 0.5) < 0.1
    x, y = rng.normal(size=(2, 60, 2))
    assert samples.mmd_test(x, y + 1, rng)[1] == pytest.approx(1 / 201)
    assert samples.mmd_test(x, 3 * y, rng)[1] < 0.05        # same mean
    assert samples.mmd_test(np.ones((9, 2)), np.ones((4, 2)), rng) == (0, 1)


def test_mmd_is_its_sum(rng):
    x, y, width = rng.normal(size=(5, 2)), rng.normal(size=(7, 2)), 0.8

    def k(a, b):
        return math.exp(-((a - b) ** 2).sum() / (2 * width ** 2))
    plain = (np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
             + np.mean([k(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
             - 2 * np.mean([k(a, b) for a in x for b in y]))
    assert samples.mmd_test(x, y, rng, 1, width)[0] == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("m", [-2.0, 0.5, 3.0])
def test_wasserstein_between_shifted_gaussians_is_the_shift(m, rng):
    """C12: W1(N(0, 1), N(m, 1)) = |m|"""
    x = rng.normal(size=1000)
    assert samples.wasserstein_1d(rng.permutation(x), xp.asarray(x + m)) == pytest.approx(abs(m))
    assert samples.wasserstein_1d(x, m + rng.normal(size=1000)) == pytest.approx(abs(m), abs=0.3)


def test_jensen_shannon_of_steps_on_a_line():
    """Shares (1/2, 1/2) and (1/4, 3/4) of the line [0, 1], by hand; 0 and ln 2 at the ends"""
    p, q = np.repeat([[1.0, 1.0], [0.5, 1.5]], 50, axis=1)
    m = np.array([0.375, 0.625])
    by_hand = 0.5 * (0.5 * np.log(0.5 / m) + np.array([0.25, 0.75]) * np.log(
        np.array([0.25, 0.75]) / m)).sum()
    assert samples.jensen_shannon(p, q, 0.01) == pytest.approx(by_hand, abs=1e-12)
    assert samples.jensen_shannon(q, q, 0.01) == pytest.approx(0, abs=1e-12)
    apart = np.repeat([2.0, 0.0], 50)
    assert samples.jensen_shannon(apart, apart[::-1], 0.01) == pytest.approx(math.log(2))


# --- features -------------------------------------------------------------------------------------

def test_features_of_a_small_classifier_tell_collapse(rng):
    world = TinyBits(4)
    x, factors = world.sample(4000, rng, return_factors=True)
    real, other = world.sample(500, rng), world.sample(500, rng)
    model = samples.train_classifier(x, factors["orientation"], steps=200, hidden=(32, 16), rng=rng)
    y, truth = world.sample(1000, rng, return_factors=True)
    assert (model.labels(y) == truth["orientation"]).mean() > 0.85
    assert model.features(y).shape == (1000, 16)
    floor = samples.compare(model, real, other)
    collapsed = samples.compare(model, real, real[world.factors["orientation"][
        world.nearest_template(real)] == 0])
    assert collapsed["frechet"] > 5 * floor["frechet"]
    assert collapsed["recall"] < floor["recall"] - 0.1


# --- mistakes -------------------------------------------------------------------------------------

x = np.zeros((4, 2))


@pytest.mark.parametrize("sentence, call", [
    (r"nearest: given shapes \(4, 2\), \(4, 3\)", lambda: samples.nearest(x, np.zeros((4, 3)))),
    (r"nearest: given shapes \(4, 2\), \(0, 2\)", lambda: samples.nearest(x, x[:0])),
    (r"modes_found: given shapes \(0, 2\); needs rows \(n, D\), at least one",
     lambda: samples.modes_found(Mixture2D("ring"), x[:0])),
    (r"compare: given shapes \(4, 2\), \(0, 2\); needs rows \(n, D\), at least one",
     lambda: samples.compare(samples.Classifier(2, 3, (4,)), x, x[:0])),
    ("nearest: .* without NaN or infinity", lambda: samples.memorised(x * np.nan, x, x)),
    ("frechet: given a single row", lambda: samples.frechet(x, x[:1])),
    ("mmd_test: given a single row", lambda: samples.mmd_test(x, x[:1], None)),
    ("more than k = 4", lambda: samples.precision_recall(x, x, k=4)),
    ("given 4 and 3 numbers", lambda: samples.wasserstein_1d(x[:, 0], x[:3, 0])),
    (r"reverse_kl: counts \(2,\) of 0 samples", lambda: samples.reverse_kl([0, 0], [0.5, 0.5])),
    (r"reverse_kl: counts \(2,\)", lambda: samples.reverse_kl([1, 0], [1.0])),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
