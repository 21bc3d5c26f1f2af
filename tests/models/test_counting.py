"""Models by counting: exact densities, EM that only climbs, and the closed forms C1 and C3."""
import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.known import Mixture2D, TinyBits, Words
from tinygen.datasets.mnist import load_mnist
from tinygen.datasets.text import Vocabulary, contexts, padded, read_names
from tinygen.distributions import Bernoulli
from tinygen.evaluation import dependency_map
from tinygen.models.tractable.counting import (Histogram, IndependentBernoulli, LanguageModel,
                                               MixtureOfBernoullis, NGram, until_boundary)
from tinygen.models.tractable.recurrent import ContextMLP
from tinygen.optim import Adam, cosine

DATA = Path(os.environ.get("TINYGEN_DATA", "nowhere"))
needs_names = pytest.mark.skipif(not (DATA / "names.txt").exists(),
                                 reason="TINYGEN_DATA names no folder with names.txt")
needs_mnist = pytest.mark.skipif(not (DATA / "mnist").is_dir(),
                                 reason="TINYGEN_DATA names no folder with mnist/")


def log_prob(model, x):
    return tg.to_numpy(model.log_prob(x))


def states(D, dtype="float64"):
    """Every binary vector -> (2^D, D)"""
    return (np.arange(2 ** D)[:, None] >> np.arange(D) & 1).astype(dtype)


def deviation(counts, p):
    """Pearson's chi-square of counts against p, in standard deviations above its mean; what is
    expected fewer than 10 times is pooled."""
    rare = p * counts.sum() < 10
    seen = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum() + 1e-12) * counts.sum()
    freedom = len(seen) - 1
    return (((seen - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def counted(x, K):
    """How often each state occurs in bits x (n, D)"""
    return np.bincount((tg.to_numpy(x) @ (1 << np.arange(x.shape[1]))).astype(int), minlength=K)


# --- histograms -----------------------------------------------------------------------------------

@pytest.mark.parametrize("low, high", [([-3], [2]), ([-2, 0], [2, 5])])
@pytest.mark.parametrize("smoothing", [0, 1, 0.3])
def test_a_histogram_integrates_to_one(low, high, smoothing):
    rng, D = np.random.default_rng(0), len(low)
    model = Histogram(low, high, bins=7, smoothing=smoothing)
    model.fit(rng.uniform(low, high, (100, D)))
    sides = [np.linspace(a, b, 70, endpoint=False) + (b - a) / 140 for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*sides), -1).reshape(-1, D)       # 10 points a bin and axis
    p = np.exp(log_prob(model, grid))
    assert p.sum() * np.prod(np.subtract(high, low)) / len(grid) == pytest.approx(1, abs=1e-12)
    assert p.max() > 1.3 * p.mean() and (p.min() == 0) == (smoothing == 0 and D == 2)


def test_a_histogram_is_its_formula():
    x = np.array([[0.5], [0.6], [1.0], [3.9], [4.0]])
    model = Histogram([0], [4], bins=4, smoothing=0.5).fit(x)
    expected = np.log(np.array([2, 1, 0, 2]) + 0.5) - math.log(5 + 0.5 * 4)
    assert np.allclose(log_prob(model, np.array([[0.0], [1.0], [2.5], [4.0]])), expected,
                       rtol=1e-14)
    assert (log_prob(model, np.array([[-0.001], [4.001]])) == -math.inf).all()
    assert log_prob(model, np.array([[1.5]], dtype="float32")).dtype == np.float32
    assert log_prob(Histogram([0], [4]), np.array([[3.3]])) == pytest.approx(-math.log(4))


def test_an_axis_is_not_taken_for_another():
    x = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]])
    model = Histogram([0, 0], [1, 1], bins=2, smoothing=0).fit(x)
    assert np.allclose(np.exp(log_prob(model, x[[0, 3]])), [3, 1])


def test_samples_of_a_histogram_fall_into_its_bins():
    x = Mixture2D("moons").sample(2000, np.random.default_rng(0))
    model = Histogram(x.min(0), x.max(0), bins=10, smoothing=0.2).fit(x)
    y = model.sample(20_000)
    assert y.shape == (20_000, 2) and y.dtype == np.float32 and model.sample(0).shape == (0, 2)
    counts = np.bincount(tg.to_numpy(model._bin(y)[0]), minlength=100)
    p = tg.to_numpy(model.p)
    assert abs(deviation(counts, p)) < 5 < deviation(counts, p.reshape(10, 10).T.reshape(-1))
    inner = tg.to_numpy(y)                       # and evenly within: the place in a bin is uniform
    place = (inner - x.min(0)) / (x.max(0) - x.min(0)) * 10 % 1
    assert abs(deviation(np.histogram(place, 20, (0, 1))[0], np.full(20, 0.05))) < 5


# --- bits -----------------------------------------------------------------------------------------

def fitted(name):
    x = TinyBits(3).sample(500, np.random.default_rng(0)).astype("float64")
    model = IndependentBernoulli(9) if name == "independent" else MixtureOfBernoullis(9, 6)
    return model.fit(x)


@pytest.mark.parametrize("name", ["independent", "mixture"])
def test_the_probabilities_of_all_states_sum_to_one(name):
    p = np.exp(log_prob(fitted(name), states(9)))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-12 and p.max() > 1.3 * p.mean()


@pytest.mark.parametrize("name", ["independent", "mixture"])
def test_samples_follow_the_density(name):
    model = fitted(name)
    model.p.data[:, ...] = 0.6 * model.p.data + 0.1
    p, x = np.exp(log_prob(model, states(9))), model.sample(20_000)
    assert x.dtype == np.float32 and x.shape == (20_000, 9)
    assert abs(deviation(counted(x, 512), p)) < 5
    model.p.data[..., 0] += 0.1
    assert deviation(counted(x, 512), np.exp(log_prob(model, states(9)))) > 8      # it can fail


@pytest.mark.parametrize("name", ["independent", "mixture"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_bits_of_any_type_compute_in_float32(name, dtype):
    model = fitted(name)
    y = log_prob(model, states(9, dtype))
    assert y.dtype == np.float32 and np.allclose(y, log_prob(model, states(9)), rtol=1e-5)
    assert float(model.loss(states(9, dtype)).item()) == pytest.approx(-y.mean(), rel=1e-5)


def test_independent_bernoullis_are_the_means():
    x = np.array([[1, 0, 1], [1, 0, 0]])
    p = tg.to_numpy(IndependentBernoulli(3, clip=0.01).fit(x).p)
    assert p.tolist() == [0.99, 0.01, 0.5]


def test_grey_levels_give_the_expectation_over_binarizations():
    model, x = fitted("independent"), np.random.default_rng(1).random(9)
    chance = np.where(states(9) == 1, x, 1 - x).prod(1)
    assert log_prob(model, x[None])[0] == pytest.approx(chance @ log_prob(model, states(9)))


@needs_mnist
def test_c3_independent_bernoullis_on_dynamic_mnist():
    """205.817 by the means of the first 50,000; 45.534 is the entropy of binarization itself."""
    mnist = load_mnist()
    train, test = (x.reshape(len(x), -1) / np.float32(255)
                   for x in (mnist.train_images[:50_000], mnist.test_images))
    model = IndependentBernoulli(784, clip=1e-4).fit(train)
    assert -log_prob(model, test).mean(dtype="float64") == pytest.approx(205.817, abs=5e-4)
    test = np.clip(test.astype("float64"), 1e-12, 1 - 1e-12)
    noise = tg.to_numpy(Bernoulli(tg.tensor(np.log(test / (1 - test)))).entropy())
    assert noise.sum(1).mean() == pytest.approx(45.534, abs=5e-4)


# --- EM -------------------------------------------------------------------------------------------

def test_em_never_lowers_the_likelihood():
    x = TinyBits(3).sample(400, np.random.default_rng(0)).astype("float64")
    for K, clip in ((1, 1e-4), (5, 1e-4), (12, 1e-4), (8, 0.2)):
        model = MixtureOfBernoullis(9, K, clip).fit(x, steps=60, tolerance=-1.0)
        curve = np.append(model.curve, log_prob(model, x).mean())
        assert len(curve) == 61 and (np.diff(curve) > -1e-12).all()
        assert K == 1 or curve[-1] - curve[0] > 0.1 * (clip < 0.1)
        p = tg.to_numpy(model.p)
        assert clip <= p.min() and p.max() <= 1 - clip


def test_one_component_is_the_independent_model():
    x = TinyBits(3).sample(300, np.random.default_rng(0)).astype("float64")
    model, other = MixtureOfBernoullis(9, 1).fit(x, 2), IndependentBernoulli(9).fit(x)
    assert np.allclose(log_prob(model, x), log_prob(other, x), rtol=1e-12)


def test_responsibilities_are_bayes_rule():
    model, x = fitted("mixture"), states(9)
    w, p = tg.to_numpy(model.w), tg.to_numpy(model.p)
    joint = w * np.where(x[:, None] == 1, p, 1 - p).prod(2)
    r = tg.to_numpy(model.responsibilities(x))
    assert np.allclose(r, joint / joint.sum(1, keepdims=True), atol=1e-12)
    assert np.allclose(log_prob(model, x), np.log(joint.sum(1)), rtol=1e-12)


def test_em_finds_components_that_are_far_apart():
    rng, p = np.random.default_rng(0), np.array([[0.9] * 6 + [0.1] * 6, [0.1] * 6 + [0.9] * 6])
    k = (rng.random(4000) < 0.3).astype(int)
    model = MixtureOfBernoullis(12, 2).fit((rng.random((4000, 12)) < p[k]).astype("float64"))
    order = np.argsort(-tg.to_numpy(model.w))
    assert np.allclose(tg.to_numpy(model.w)[order], [0.7, 0.3], atol=0.03)
    assert np.allclose(tg.to_numpy(model.p)[order], p, atol=0.05)


def test_em_stops_when_it_gains_little():
    x = TinyBits(3).sample(300, np.random.default_rng(0))
    model = MixtureOfBernoullis(9, 4).fit(x, steps=500, tolerance=1e-3)
    gains = np.diff(model.curve)
    assert len(gains) < 400 and gains[-1] < 1e-3 and (gains[:-1] >= 1e-3).all()


def test_a_component_left_empty_keeps_its_place_and_is_told():
    """Far from every example: its responsibilities underflow to 0, and 0 / 0 must not spread."""
    x = np.ones((50, 400))
    model = MixtureOfBernoullis(400, 2)
    model.p.data[0], model.p.data[1] = 0.9, 1e-3
    before = model.em_step(x)
    assert tg.to_numpy(model.w).tolist() == [1, 0]
    assert (tg.to_numpy(model.p)[1] == 1e-3).all()
    assert model.em_step(x) > before and np.isfinite(log_prob(model, x)).all()
    with pytest.warns(UserWarning, match="components answer for less than one example"):
        MixtureOfBernoullis(2, 40).fit(states(2).repeat(10, 0))


def test_fit_starts_anew():
    rng, samples = np.random.default_rng(0), [TinyBits(3).sample(200, np.random.default_rng(0))]
    samples.append((rng.random((200, 9)) < 0.2).astype("float32"))
    twice, once = MixtureOfBernoullis(9, 3).fit(samples[1]), MixtureOfBernoullis(9, 3)
    found = []
    for model in (twice, once):
        tg.seed(1)
        found.append(tg.to_numpy(model.fit(samples[0]).p))
    assert (found[0] == found[1]).all()


def test_equal_examples_are_no_division_by_zero():
    model = MixtureOfBernoullis(3, 2)
    model._start(tg.xp.ones((5, 3)))
    assert (model.p.data[0] != model.p.data[1]).all()       # or EM could never part them
    model.fit(np.ones((5, 3)))
    assert np.allclose(log_prob(model, np.ones((1, 3))), 3 * math.log1p(-1e-4))


# --- n-grams --------------------------------------------------------------------------------------

NAMES = ["ab", "a", "ba", "abb", "bab", "b", "aab", "abab"]
VOCABULARY = Vocabulary(NAMES, boundary=".")


def ids(names, vocabulary=VOCABULARY):
    return padded(names, vocabulary)[1]


def all_names(longest, V=3):
    """Every name of up to `longest` characters, the empty one too, as ids (N, longest + 1)"""
    rows = [row for n in range(longest + 1) for row in product(range(1, V), repeat=n)]
    return np.array([row + (0,) * (longest + 1 - len(row)) for row in rows])


def tail(model, longest, V=3):
    """The probability of all names longer than that: no boundary in the first longest + 1 places"""
    x = np.array(list(product(range(1, V), repeat=longest + 1)))
    logp = tg.to_numpy(tg.log_softmax(model.conditionals(tg.xp.asarray(x))))
    return np.exp(np.take_along_axis(logp, x[..., None], 2)[..., 0].sum(1)).sum()


@pytest.mark.parametrize("n, smoothing", [(1, 0), (2, 0), (2, 1), (3, 0.5), (4, 0.1), (6, 0)])
def test_names_sum_to_one(n, smoothing):
    model = NGram(3, n, smoothing).fit(ids(NAMES))
    for longest in (0, 1, 5):
        p = np.exp(log_prob(model, all_names(longest)))
        assert abs(p.sum() + tail(model, longest) - 1) < 1e-12 and p.sum() < 1 + 1e-12


def test_a_bigram_table_is_its_formula():
    model = NGram(3, 2, smoothing=0.5).fit(ids(NAMES))
    text = "".join("." + name for name in NAMES) + "."
    for name in ["ab", "bb", "aaa"]:
        framed = "." + name + "."
        expected = [(text.count(a + b) + (text.count("bbb") if a + b == "bb" else 0) + 0.5)
                    / (text[:-1].count(a) + 0.5 * 3) for a, b in zip(framed, framed[1:])]
        assert log_prob(model, ids([name]))[0] == pytest.approx(math.log(np.prod(expected)))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_an_n_gram_table_is_counted_as_by_hand(n):
    model = NGram(3, n, smoothing=0.0).fit(ids(NAMES))
    x, y = contexts(NAMES, VOCABULARY, max(n - 1, 1))
    x = x[:, :n - 1]
    nats = 0.0
    for context, character in zip(x, y):
        same = (x == context).all(1)
        nats -= math.log((same & (y == character)).sum() / same.sum())
    assert -log_prob(model, ids(NAMES)).sum() == pytest.approx(nats, rel=1e-12)


def test_filling_does_not_count():
    model = NGram(3, 3, 0.1).fit(ids(NAMES))
    wide = np.pad(ids(NAMES), ((0, 0), (0, 4)))
    assert (log_prob(model, wide) == log_prob(model, ids(NAMES))).all()
    wide[:, -1] = 2                                         # whatever comes after the boundary
    assert (log_prob(model, wide) == log_prob(model, ids(NAMES))).all()
    assert (tg.to_numpy(NGram(3, 3, 0.1).fit(wide).log_p) == tg.to_numpy(model.log_p)).all()
    assert tg.to_numpy(until_boundary(tg.xp.asarray([[1, 0, 0, 2], [0, 1, 0, 0]]))).tolist() == [
        [True, True, False, False], [True, False, False, False]]


def test_before_it_has_counted_every_step_is_alike():
    assert np.allclose(log_prob(NGram(3), ids(["ab"])), -3 * math.log(3))


def test_what_was_never_seen():
    model = NGram(3, 2, 0).fit(ids(["ab", "a"]))
    assert log_prob(model, ids(["b"])).tolist() == [-math.inf]
    deep = NGram(3, 3, 0).fit(ids(["ab"]))
    rows = np.exp(tg.to_numpy(deep.log_p))
    assert np.allclose(rows.sum(1), 1) and (rows[8] == pytest.approx(1 / 3))


def test_counting_on_other_bits_is_the_same():
    x = ids(NAMES)
    for dtype in ("uint8", "int32"):
        assert (tg.to_numpy(NGram(3, 4, 1).fit(x.astype(dtype)).log_p)
                == tg.to_numpy(NGram(3, 4, 1).fit(x).log_p)).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_n_gram_sees_the_n_minus_1_characters_before(n):
    model = NGram(3, n, 0.5).fit(ids(NAMES))
    x = np.random.default_rng(0).random((4, 5, 3))
    alive = dependency_map(model, x) > 0 if n > 1 else np.zeros((5, 5), bool)
    back = np.arange(5)[:, None] - np.arange(5)
    assert (alive == ((back > 0) & (back < n))).all()
    one_hot = np.eye(3)[ids(NAMES)]
    assert np.allclose(tg.to_numpy(model.conditionals(tg.xp.asarray(one_hot))),
                       tg.to_numpy(model.conditionals(tg.xp.asarray(ids(NAMES)))), rtol=1e-12)


def count_names(x, longest):
    """How often each of all_names(longest) occurs among samples x (n, T), longer ones last"""
    rows = {tuple(row): i for i, row in enumerate(all_names(longest))}
    keys = (tuple(row[:longest + 1]) for row in np.pad(tg.to_numpy(x), ((0, 0), (0, longest + 1))))
    return np.bincount([rows.get(key, len(rows)) for key in keys], minlength=len(rows) + 1)


def test_sampled_names_follow_the_density():
    model = NGram(3, 3, 0.5).fit(ids(NAMES))
    p = np.exp(log_prob(model, all_names(5)))
    p, x = np.append(p, tail(model, 5)), model.sample(20_000)
    assert x.shape[0] == 20_000 and x.dtype == np.int64
    assert abs(deviation(count_names(x, 5), p)) < 5
    other = NGram(3, 2, 0.5).fit(ids(NAMES))
    p = np.append(np.exp(log_prob(other, all_names(5))), tail(other, 5))
    assert deviation(count_names(x, 5), p) > 10                             # it can fail


def test_temperature_sharpens_the_conditionals():
    model, cold = NGram(3, 2, 0.5).fit(ids(NAMES)), NGram(3, 2)
    logits = tg.to_numpy(model.log_p) / 0.5
    cold.log_p.data[...] = tg.xp.asarray(logits)
    p = np.append(np.exp(log_prob(cold, all_names(5))), tail(cold, 5))
    assert abs(deviation(count_names(model.sample(20_000, temperature=0.5), 5), p)) < 5
    assert deviation(count_names(model.sample(20_000), 5), p) > 10


def test_top_k_of_one_takes_the_likeliest():
    model = NGram(3, 2, 0.5).fit(ids(NAMES))
    x = tg.to_numpy(model.sample(20, top_k=1))
    before = np.pad(x, ((0, 0), (1, 0)))[:, :-1]
    likeliest = tg.to_numpy(model.log_p).argmax(1)[before]
    counts = tg.to_numpy(until_boundary(tg.xp.asarray(x)))
    assert x.any() and (x == likeliest)[counts].all()


def test_names_are_cut_at_the_longest():
    model = NGram(3, 2, 0.0).fit(ids(NAMES))
    model.log_p.data[:, 0] -= 50.0                          # there is hardly an end
    x = tg.to_numpy(model.sample(50, longest=4))
    assert x.shape == (50, 5) and (x[:, -1] == 0).all() and (x[:, :4] > 0).all()
    assert model.sample(0).shape[0] == 0 and np.isfinite(log_prob(model, model.sample(5))).all()


@pytest.mark.once
def test_more_context_comes_nearer_to_the_known_distribution():
    world = Words()
    vocabulary = Vocabulary(world.alphabet, boundary=".")
    train, test = (ids(world.sample(n, np.random.default_rng(n)), vocabulary) for n in (9000, 2000))
    nats = [-log_prob(NGram(len(vocabulary), n, 0.1).fit(train), test).mean() for n in range(1, 5)]
    assert (np.diff(nats) < -0.5).all() and nats[-1] > world.entropy()[0]


# --- C1 -------------------------------------------------------------------------------------------

def softmax_regression(x, V, steps=600):
    """Nats per character of logits = one-hot(context) W + b after training on every pair of x;
    the 228,146 pairs of names.txt are 27^2 kinds, weighted by their counts."""
    n = np.exp(tg.to_numpy(NGram(V, 2, 0).fit(x).log_p))
    y, counts = tg.to_numpy(until_boundary(tg.xp.asarray(x))), np.zeros((V, V))
    before = np.pad(x, ((0, 0), (1, 0)))[:, :-1]
    np.add.at(counts, (before[y], x[y]), 1)
    assert np.allclose(counts, n * counts.sum(1, keepdims=True))
    model = ContextMLP(V, context=1, embedding=V, hidden=())
    model.embedding.W.data[...] = tg.xp.eye(V)                      # the input is one-hot
    weights = tg.tensor(counts / counts.sum(), dtype="float32")
    # Steps whose logits lead to 0 probability go on for ever: nothing old may slow them down.
    adam = Adam(model.layers.parameters(), cosine(0.3, steps), betas=(0.9, 0.95), eps=1e-12)
    contexts_of_one = tg.xp.arange(V)[:, None]
    for _ in range(steps):
        adam.zero_grad()
        loss = -tg.sum(weights * tg.log_softmax(model(contexts_of_one)))
        loss.backward(adam.params)
        adam.step()
    return loss.item()


@pytest.mark.once
def test_softmax_regression_converges_to_the_bigram_table():
    world = Words()
    vocabulary = Vocabulary(world.alphabet, boundary=".")
    x = ids(world.sample(3000, np.random.default_rng(0)), vocabulary)
    characters = tg.to_numpy(until_boundary(tg.xp.asarray(x))).sum()
    table = -log_prob(NGram(len(vocabulary), 2, 0).fit(x), x).sum() / characters
    assert softmax_regression(x, len(vocabulary)) == pytest.approx(table, abs=1e-6)


@needs_names
def test_c1_bigrams_of_the_real_names():
    names = read_names("names.txt")
    x = ids(names, Vocabulary(names, boundary="."))
    assert tg.to_numpy(until_boundary(tg.xp.asarray(x))).sum() == 228_146
    for smoothing, nats in ((0, 2.454014), (1, 2.454577)):
        model = NGram(27, 2, smoothing).fit(x)
        assert -log_prob(model, x).sum() / 228_146 == pytest.approx(nats, abs=6e-7)
    assert softmax_regression(x, 27) == pytest.approx(2.454014, abs=1e-6)


# --- saving and mistakes --------------------------------------------------------------------------

@pytest.mark.parametrize("make, x", [
    (lambda: Histogram([0], [2], 4), np.array([[0.5], [1.7], [1.8]])),
    (lambda: IndependentBernoulli(3), states(3)[1:]), (lambda: NGram(3, 3), ids(NAMES)),
    (lambda: MixtureOfBernoullis(3, 2), states(3)[3:])])
def test_what_was_counted_is_saved(make, x):
    model, other = make(), make()
    assert model.fit(x) is model and model.branch == "explicit, tractable"
    assert not model.parameters()
    assert (log_prob(other, x) != log_prob(model, x)).any()
    other.load_state_dict(model.state_dict())
    assert (log_prob(other, x) == log_prob(model, x)).all()
    tg.seed(5)
    first = tg.to_numpy(model.sample(9))
    tg.seed(5)
    assert (tg.to_numpy(other.sample(9)) == first).all()


NAN = np.array([[0.5, math.nan]])


@pytest.mark.parametrize("sentence, call", [
    (r"Histogram: low \[0\] and high \[0\]; needs low < high", lambda: Histogram([0], [0])),
    ("needs low < high on each axis", lambda: Histogram([0, 1], [2])),
    ("needs low < high on each axis", lambda: Histogram([], [])),
    ("bins is 0; needs a whole number of at least 1", lambda: Histogram([0], [1], 0)),
    ("smoothing is -1; needs a number from 0 to 1e15", lambda: Histogram([0], [1], smoothing=-1)),
    (r"a table of 1000\^3 cells; needs at most", lambda: Histogram([0] * 3, [1] * 3, 1000)),
    (r"1 of 2 examples lie outside \[0.0\] to \[1.0\]; widen the range",
     lambda: Histogram([0], [1]).fit([[0.5], [1.5]])),
    ("x has NaN, infinity or values outside", lambda: Histogram([0, 0], [1, 1]).log_prob(NAN)),
    ("x has NaN, infinity or values outside", lambda: Histogram([0, 0], [1, 1]).fit(NAN)),
    (r"Histogram: x has shape \(3,\); needed \(B, 1\)", lambda: Histogram([0], [1]).fit([0.5] * 3)),
    (r"x has shape \(0, 1\); needed .* at least one",
     lambda: Histogram([0], [1]).fit(states(1)[:0])),
    ("D is 0; needs a whole number", lambda: IndependentBernoulli(0)),
    ("clip is 0; needs a number above 0 and below 0.5", lambda: IndependentBernoulli(2, clip=0)),
    ("clip is 0.5; needs a number above 0", lambda: MixtureOfBernoullis(2, 2, clip=0.5)),
    ("values outside 0 to 1; needed finite", lambda: IndependentBernoulli(2).fit([[0, 255]])),
    ("x has NaN", lambda: IndependentBernoulli(2).fit(NAN)),
    ("x holds 0.5; needs whole numbers from 0 to 1, so binarize it",
     lambda: MixtureOfBernoullis(2, 1).fit([[0.5, 0]])),
    ("3 components for 2 examples; needs at least as many",
     lambda: MixtureOfBernoullis(2, 3).fit([[1, 0], [0, 1]])),
    ("K is 1.5; needs a whole number", lambda: MixtureOfBernoullis(2, 1.5)),
    ("n is 0; needs a whole number", lambda: NGram(3, 0)),
    *[(rf"NGram: a table of 27\^{n} cells; needs at most 67,108,864", lambda n=n: NGram(27, n))
      for n in (6, 1000, 10 ** 7)],
    (r"Histogram: a table of 50\^10000 cells", lambda: Histogram([0] * 10 ** 4, [1] * 10 ** 4)),
    ("a table of 27.1000.*0 cells", lambda: NGram(27, 10 ** 400)),
    *[(f"smoothing is {a!r}; needs", lambda a=a: NGram(3, 2, a))
      for a in (-1, math.inf, math.nan, 2e15, "a", None, 10 ** 400)],
    ("clip is 'a'; needs", lambda: IndependentBernoulli(2, clip="a")),
    *[("Histogram: low .* and high .*; needs low < high",
       lambda low=low, high=high: Histogram(low, high))
      for low, high in (("a", 1), (-1e308, 1e308), (1, 0), (0, None))],
    ("steps is 0; needs", lambda: MixtureOfBernoullis(2, 1).fit([[1, 0]], steps=0)),
    ("NGram: x holds 0.5; needs whole numbers", lambda: NGram(3).fit(np.full((2, 2), 0.5))),
    (r"x is int64 of shape \(0, 4\); needs", lambda: NGram(3).fit(np.zeros((0, 4), int))),
    ("x holds 3; needs whole numbers from 0 to 2", lambda: NGram(3).log_prob(np.array([[3, 0]]))),
    ("x holds -1; needs whole numbers from 0 to 2", lambda: NGram(3).fit(np.array([[-1, 0]]))),
    ("a row has no boundary 0; end every name", lambda: NGram(3).fit(np.array([[1, 0], [1, 2]]))),
    *[(f"temperature is {t!r}; needs a number of at least 1e-30",
       lambda t=t: NGram(3).sample(2, temperature=t)) for t in (1e-320, 0, "hot")],
    *[(f"longest is {n!r}; needs", lambda n=n: NGram(3).sample(2, longest=n))
      for n in (0, 2.5, None)],
    ("top_k is 4; needs a whole number from 1 to 3", lambda: NGram(3).sample(2, top_k=4)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_rung_is_a_language_model():
    assert issubclass(NGram, LanguageModel) and issubclass(ContextMLP, LanguageModel)
