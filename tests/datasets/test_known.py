"""Known worlds prove themselves: probabilities sum to one, samples follow them, entropies agree.

Oracles: enumeration, integration on a grid, closed forms, and brute sums written a second way.
"""
import math

import numpy as np
import pytest

from tinygen.datasets.exact import Mixture
from tinygen.datasets.known import SHAPES, Glyphs, Mixture2D, TinyBits, Words
from tinygen.datasets.syllables import END, FAMILIES, START


@pytest.fixture(scope="module")
def glyphs():
    return Glyphs()


@pytest.fixture(scope="module")
def words():
    return Words()


def rng(seed=0):
    return np.random.default_rng(seed)


def chi_square(counts, p):
    """Pearson's statistic in standard deviations above its mean; rare cells are pooled into one."""
    expected = p * counts.sum()
    rare = expected < 10
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def assert_entropy(world, x):
    """-mean log p(x) is within 4 standard errors of world.entropy()."""
    nll = -world.log_prob(x)
    value, error = world.entropy()
    off = (nll.mean() - value) / math.hypot(nll.std() / math.sqrt(len(nll)), error)
    assert abs(off) < 4, f"entropy {value} but samples give {nll.mean()}, {off:.1f} errors away"


# ---------------------------------------------------------------- points in the plane

def plane(world, step):
    """Grid points (N, 2) that cover the mass, and the sides of the grid.

    Trapezoids whose step is the s of a Gaussian integrate it to 1e-8.
    """
    margin = 8 * np.sqrt(np.linalg.eigvalsh(world.covariances).max())
    low, high = world.modes.min(0) - margin, world.modes.max(0) + margin
    sides = [np.arange(a, b, step) for a, b in zip(low, high)]
    return np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2), sides


STEPS = {"ring": 0.01, "grid": 0.05, "moons": 0.08, "spiral": 0.08, "pinwheel": 0.07}


@pytest.mark.parametrize("name", SHAPES)
def test_mixture_sums_to_one_and_entropy_is_its_integral(name):
    world = Mixture2D(name)
    log_p = world.log_prob(plane(world, STEPS[name])[0])
    p = np.exp(log_p) * STEPS[name] ** 2
    assert abs(p.sum() - 1) < 1e-7
    value, error = world.entropy()
    assert abs(-(p * log_p).sum() - value) < 4 * error + 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_mixture_log_prob_is_the_sum_over_gaussians(name):
    world = Mixture2D(name)
    world.log_prior = rng(1).normal(size=world.K)
    x = world.sample(20, rng(2)).astype(float)
    p = 0
    for weight, mode, covariance in zip(world.weights, world.modes, world.covariances):
        squared = ((x - mode) @ np.linalg.inv(covariance) * (x - mode)).sum(1)
        p += weight * np.exp(-squared / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    assert np.allclose(world.log_prob(x), np.log(p), rtol=1e-9)
    assert abs(world.weights.sum() - 1) < 1e-12


@pytest.mark.parametrize("name, K, s, published", [("ring", 8, 0.01, -4.2930),
                                                   ("grid", 25, 0.05, 0.06529)])
def test_far_apart_components_have_the_closed_entropy(name, K, s, published):
    world = Mixture2D(name)
    value, error = world.entropy()
    assert error == 0 and value == pytest.approx(math.log(K) + 1 + math.log(2 * math.pi * s ** 2))
    assert value == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_mixture_entropy_matches_samples(name):
    world = Mixture2D(name)
    assert_entropy(world, world.sample(20_000, rng(3)))


@pytest.mark.parametrize("name", ["moons", "spiral", "pinwheel"])
def test_mixture_samples_follow_the_density(name):
    world, cell = Mixture2D(name), 4
    points, sides = plane(world, 0.05)
    sides = [side[:len(side) // cell * cell] for side in sides]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(world.log_prob(points)) * 0.05 ** 2
    shape = [len(side) // cell for side in sides]
    p = p.reshape(shape[0], cell, shape[1], cell).sum((1, 3)).ravel()
    edges = [np.append(side[::cell], side[-1] + 0.05) - 0.025 for side in sides]

    def deviation(x):
        return chi_square(np.histogram2d(*x.T, bins=edges)[0].ravel(), p)

    assert abs(deviation(world.sample(20_000, rng(4)))) < 5
    assert deviation(Mixture2D(name, scale=1.03).sample(20_000, rng(4))) > 10    # it can fail


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_a_perfect_sampler_is_within_three_sigmas_as_often_as_it_should(name):
    world, n = Mixture2D(name), 100_000
    share = 1 - math.exp(-4.5)
    x, factors = world.sample(n, rng(5), return_factors=True)
    assert abs(world.within(x).mean() - share) < 4 * math.sqrt(share * (1 - share) / n)
    assert (world.nearest_mode(x) == factors["component"]).all()
    assert not world.within(np.full((1, 2), 50.0), sigmas=10).any()


def test_within_measures_along_each_covariance():
    world = Mixture2D("pinwheel")
    x = rng(26).uniform(-2.5, 2.5, size=(500, 2))
    sigmas = [[math.sqrt((row - mode) @ np.linalg.solve(covariance, row - mode))
               for mode, covariance in zip(world.modes, world.covariances)] for row in x]
    assert (world.within(x) == (np.min(sigmas, axis=1) <= 3)).all()
    assert (world.nearest_mode(x) == np.argmin(sigmas, axis=1)).all()
    assert 0.1 < world.within(x).mean() < 0.9


@pytest.mark.parametrize("name", SHAPES)
def test_scale_stretches_the_plane(name):
    one, three = Mixture2D(name), Mixture2D(name, scale=3.0)
    x = one.sample(50, rng(6)).astype(float)
    assert np.allclose(three.log_prob(3 * x), one.log_prob(x) - 2 * math.log(3))
    assert three.entropy()[0] == pytest.approx(one.entropy()[0] + 2 * math.log(3), abs=0.02)


def test_shapes_are_where_they_should_be():
    assert np.allclose(np.linalg.norm(Mixture2D("ring", radius=2.0).modes, axis=1), 2)
    assert sorted(set(Mixture2D("grid").modes.ravel())) == [-4, -2, 0, 2, 4]
    arms = {name: len(set(Mixture2D(name).factors["arm"])) for name in SHAPES}
    assert arms == {"ring": 8, "grid": 25, "moons": 2, "spiral": 2, "pinwheel": 5}


# ---------------------------------------------------------------- binary pictures

@pytest.mark.parametrize("size", [16, 28])
def test_templates_are_distinct_and_clear_of_the_border(size):
    world = Glyphs(size)
    assert world.templates.shape == (540, size * size) and world.templates.dtype == np.float32
    assert set(np.unique(world.templates)) == {0, 1}
    assert len(np.unique(world.templates, axis=0)) == 540
    inner = world.templates.reshape(540, size, size)[:, 1:-1, 1:-1]
    assert inner.sum() == world.templates.sum()
    table = np.stack([world.factors[f] for f in ("digit", "slant", "thickness", "shift")], axis=1)
    assert table.max(0).tolist() == [9, 2, 1, 8] and len(np.unique(table, axis=0)) == 540


def test_factors_do_what_they_say(glyphs):
    pictures = glyphs.templates.reshape(10, 3, 2, 9, 16, 16)
    assert (pictures[:, :, 1].sum((-1, -2)) > 1.2 * pictures[:, :, 0].sum((-1, -2))).all()
    for shift in range(9):
        dx, dy = shift % 3 - 1, shift // 3 - 1
        moved = np.roll(pictures[:, :, :, 4], (dy, dx), axis=(-2, -1))
        assert (pictures[:, :, :, shift] == moved).all()
    top, bottom = pictures[1, :, 0, 4, :8], pictures[1, :, 0, 4, 8:]
    lean = [(part.sum(1) @ np.arange(16)) / part.sum((1, 2)) for part in (top, bottom)]
    assert (np.diff(lean[0] - lean[1]) > 0).all()              # the top moves right with slant


def test_templates_are_far_enough_apart_to_tell(glyphs):
    t = glyphs.templates
    apart = (t[:, None] != t[None]).sum(-1)
    np.fill_diagonal(apart, 999)
    assert apart.min() >= 9
    # Bhattacharyya: H(k | x) <= mean_i log(1 + sum_j c^d_ij), c = 2 sqrt(eps (1 - eps)), so the
    # entropy's unseen overlaps are far below anything a lesson prints.
    c = 2 * math.sqrt(glyphs.eps * (1 - glyphs.eps))
    bound = np.log1p((c ** apart.astype(float)).sum(1)).mean()
    value, error = glyphs.entropy()
    known = math.log(540) - 256 * (0.02 * math.log(0.02) + 0.98 * math.log(0.98))
    assert bound < 1e-5 and known - bound <= value <= known and error < 1e-5


def test_glyphs_log_prob_is_the_sum_over_templates(glyphs):
    x = glyphs.sample(5, rng(7))
    for row, log_p in zip(x, glyphs.log_prob(x)):
        chance = np.where(row == glyphs.templates, 0.98, 0.02)
        assert log_p == pytest.approx(math.log(chance.prod(1).mean()), rel=1e-10)


def test_glyphs_entropy_matches_samples(glyphs):
    assert_entropy(glyphs, glyphs.sample(5_000, rng(8)))


def test_glyphs_posterior_finds_the_template_drawn(glyphs):
    x, factors = glyphs.sample(500, rng(9), return_factors=True)
    posterior = glyphs.posterior(x)
    assert posterior.shape == (500, 540) and np.allclose(posterior.sum(1), 1, atol=1e-12)
    best = posterior.argmax(1)
    assert (best == glyphs.nearest_template(x)).all()
    for name, drawn in factors.items():
        assert (glyphs.factors[name][best] == drawn).all()


def test_pixels_flip_with_chance_eps():
    world = Glyphs(eps=0.1)
    x, _ = world.sample(2_000, rng(10), return_factors=True)
    flips = np.abs(x - world.templates[world.nearest_template(x)])
    assert abs(flips.mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / flips.size)
    assert np.abs(flips.mean(0) - 0.1).max() < 5 * math.sqrt(0.1 * 0.9 / len(x))


def test_modes_found_counts_templates_and_nothing_else(glyphs):
    assert (glyphs.modes_found(glyphs.templates) == np.arange(540)).all()
    some = np.array([3, 77, 200, 539])
    true = np.abs(glyphs.templates[some.repeat(200)] - (rng(11).random((800, 256)) < 0.02))
    assert (glyphs.modes_found(true) == some).all()
    assert len(glyphs.modes_found((rng(12).random((500, 256)) < 0.5).astype(float))) == 0
    corner = np.maximum(glyphs.templates, np.eye(256)[0])               # one pixel wrong in each
    assert len(glyphs.modes_found(corner, within=1)) == 540
    assert len(glyphs.modes_found(corner, within=0)) == 0
    x = glyphs.sample(20_000, rng(13))
    near = np.abs(x - glyphs.templates[glyphs.nearest_template(x)]).sum(1) <= glyphs.most_flips()
    assert near.mean() > 0.999 - 4 * math.sqrt(0.001 / 20_000)
    assert len(glyphs.modes_found(x)) == 540


def test_a_prior_of_our_own():
    world, prior = TinyBits(3), rng(14).random(16) + 0.1
    prior[5] = 0
    uniform = world.entropy()[0]
    with np.errstate(divide="ignore"):
        world.log_prior = np.log(prior) + 7                    # any logs: they are normalised
    _, factors = world.sample(20_000, rng(15), return_factors=True)
    k = factors["orientation"] * 8 + factors["lines"]
    assert abs(chi_square(np.bincount(k, minlength=16), prior / prior.sum())) < 5 and 5 not in k
    assert abs(np.exp(world.log_prob(world.states())).sum() - 1) < 1e-12
    assert world.entropy()[0] != pytest.approx(uniform, abs=1e-3)
    assert_entropy(world, world.sample(20_000, rng(16)))


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_tiny_bits_sum_to_one(size, eps):
    world = TinyBits(size, eps)
    states = world.states()
    assert len(np.unique(states, axis=0)) == 2 ** (size * size)
    assert abs(np.exp(world.log_prob(states)).sum() - 1) < 1e-12


def test_tiny_bits_samples_follow_the_density():
    world, code = TinyBits(3), 1 << np.arange(9)
    p = np.exp(world.log_prob(world.states()))

    def deviation(x):
        return chi_square(np.bincount((x @ code).astype(int), minlength=512), p)

    assert abs(deviation(world.sample(50_000, rng(17)))) < 5
    assert deviation(TinyBits(3, eps=0.055).sample(50_000, rng(17))) > 8         # it can fail


@pytest.mark.parametrize("size", [3, 4])
def test_tiny_bits_entropy(size):
    world = TinyBits(size)
    exact, error = world.entropy()
    assert error == 0
    assert_entropy(world, world.sample(20_000, rng(18)))
    sampled, error = Mixture.entropy(world)                    # the way that Glyphs takes
    assert 0 < error < 0.01 and abs(sampled - exact) < 4 * error


def test_tiny_bits_templates_are_bars_and_stripes():
    world = TinyBits(4, eps=1e-9)
    pictures = world.templates.reshape(-1, 4, 4)
    rows = world.factors["orientation"] == 0
    assert (pictures[rows] == pictures[rows][:, :, :1]).all()
    assert (pictures[~rows] == pictures[~rows][:, :1]).all()
    lit = np.where(rows[:, None], pictures[:, :, 0], pictures[:, 0])
    assert (lit @ (1 << np.arange(4)) == world.factors["lines"]).all()
    assert math.exp(world.log_prob(np.zeros((1, 16)))[0]) == pytest.approx(2 / 32)
    assert np.unique(world.templates, axis=0).shape[0] == 30
    assert world.posterior(np.ones((1, 16)))[0, [15, 31]] == pytest.approx([0.5, 0.5])


# ---------------------------------------------------------------- names

def parses(words, name, state=START):
    """The probability of every parse of the rest of a name, one by one."""
    if state == END:
        return [1.0] if name == "" else []
    return [p * rest for text, following, p in words.arcs[state] if name.startswith(text)
            for rest in parses(words, name[len(text):], following)]


def test_words_sum_to_one(words):
    for arcs in words.arcs.values():
        assert sum(p for *_, p in arcs) == pytest.approx(1, abs=1e-12)
    assert abs(np.exp(words.log_prob(list(words.support))).sum() - 1) < 1e-10


def test_words_log_prob_adds_up_the_parses(words):
    names = words.sample(200, rng(19)) + ["hana", "hanara", "hanaeha", "yunari"]
    counts = [len(parses(words, name)) for name in names]
    assert max(counts) > 1 and min(counts) >= 1
    expected = [math.log(sum(parses(words, name))) for name in names]
    assert np.allclose(words.log_prob(names), expected, rtol=1e-12)


def test_words_entropy_matches_samples(words):
    value, error = words.entropy()
    assert error == 0 and 8 < value < 12
    assert_entropy(words, words.sample(10_000, rng(20)))


def test_words_samples_follow_the_grammar(words):
    names = list(words.support)
    index = {name: i for i, name in enumerate(names)}
    counts = np.bincount([index[name] for name in words.sample(20_000, rng(21))],
                         minlength=len(names))
    p = np.exp(words.log_prob(names))
    keys = np.array([sum(map(ord, name)) % 97 for name in names])        # 97 cells, by spelling
    assert abs(chi_square(np.bincount(keys, counts), np.bincount(keys, p))) < 5
    wrong = np.bincount(keys, np.full(len(p), 1 / len(p)))
    assert chi_square(np.bincount(keys, counts), wrong) > 10             # it can fail


def test_words_factors_spell_the_name(words):
    names, factors = words.sample(300, rng(22), return_factors=True)
    assert ["".join(parts) for parts in factors["syllables"]] == names
    assert [list(FAMILIES)[f] for f in factors["family"]] == [p[0] for p in factors["syllables"]]
    assert {len(parts) for parts in factors["syllables"]} == {2, 3}
    assert set("".join(names)) <= set(words.alphabet)


def test_a_syllable_depends_on_the_one_before(words):
    after = {tone: {own for own in ("eo", "a") for text, _, p in words.arcs[1, tone, True]
                    if text == "s" + own and p > 0.02} for tone in ("bright", "dark")}
    assert after == {"bright": {"a"}, "dark": {"eo"}}                    # vowel harmony
    assert not any(text[0] == "r" for text, *_ in words.arcs[1, "dark", False])
    assert not any(text[0] in "aeiou" for text, *_ in words.arcs[1, "dark", True])


def test_a_bigram_cannot_reach_the_floor(words):
    """The best table p(letter | letter before) still pays more nats than the grammar does."""
    counts = {}
    for name, p in words.support.items():
        for pair in zip("^" + name, name + "$"):
            counts[pair] = counts.get(pair, 0) + p
    before = {}
    for (first, _), p in counts.items():
        before[first] = before.get(first, 0) + p
    nll = -sum(p * math.log(p / before[first]) for (first, _), p in counts.items())
    assert nll > words.entropy()[0] + 3


def test_impossible_names(words):
    log_p = words.log_prob(["", "kim", "Kimminjun", "kimminjunx", "zzz"])
    assert (log_p == -np.inf).all() and log_p.dtype == np.float64


# ---------------------------------------------------------------- every world

WORLDS = [lambda: Mixture2D("moons"), Glyphs, TinyBits]


@pytest.mark.parametrize("make", WORLDS)
def test_dtypes_empty_batches_and_repeats(make):
    world = make()
    x, factors = world.sample(6, rng(23), return_factors=True)
    assert x.dtype == np.float32 and x.shape == (6, world.D)
    assert all(f.shape == (6,) and f.dtype.kind == "i" for f in factors.values())
    assert (x == make().sample(6, rng(23))).all()
    assert world.log_prob(x).dtype == np.float64
    assert (world.log_prob(x) == world.log_prob(x.astype(np.float64))).all()
    assert world.entropy() == make().entropy()
    empty, factors = world.sample(0, rng(), return_factors=True)
    assert empty.shape == (0, world.D) and all(f.shape == (0,) for f in factors.values())
    assert world.log_prob(empty).shape == (0,) and world.posterior(empty).shape == (0, world.K)


def test_blocks_do_not_show():
    world = Mixture2D("spiral")
    x = world.sample(9_000, rng(24))
    assert np.allclose(world.log_prob(x)[[0, 4095, 4096, 8999]],
                       world.log_prob(x[[0, 4095, 4096, 8999]]), rtol=1e-12)


def test_words_empty_batches_and_repeats(words):
    assert words.sample(0, rng()) == [] and words.log_prob([]).shape == (0,)
    assert words.sample(0, rng(), return_factors=True)[1]["family"].shape == (0,)
    assert words.sample(9, rng(25)) == Words().sample(9, rng(25))


@pytest.mark.parametrize("error, sentence, call", [
    (ValueError, "choose from ring, grid, moons, spiral, pinwheel", lambda: Mixture2D("square")),
    (TypeError, r"takes \(radius=1.0, s=0.01\) and scale", lambda: Mixture2D("ring", spacing=1)),
    (ValueError, "s=0, needs a positive", lambda: Mixture2D("ring", s=0)),
    (ValueError, "scale=nan", lambda: Mixture2D("ring", scale=math.nan)),
    (ValueError, r"Mixture2D.log_prob: got shape \(3,\), needs \(B, 2\)",
     lambda: Mixture2D("ring").log_prob(np.zeros(3))),
    (ValueError, "NaN or infinity", lambda: Mixture2D("ring").within([[np.nan, 0.0]])),
    (TypeError, "needs real numbers", lambda: Mixture2D("ring").nearest_mode([["a", "b"]])),
    (ValueError, "sample: n: got -1", lambda: TinyBits().sample(-1, rng())),
    (TypeError, "sample: n: got 2.5, needs an integer", lambda: TinyBits().sample(2.5, rng())),
    (TypeError, "needs a Generator", lambda: TinyBits().sample(2, 0)),
    (TypeError, "needs a Generator", lambda: Words().sample(2, None)),
    (ValueError, "Words.sample: n: got -2", lambda: Words().sample(-2, rng())),
    (ValueError, "TinyBits.log_prob: pixels must be 0 or 1",
     lambda: TinyBits().log_prob(np.full((1, 9), 0.5))),
    (ValueError, r"got shape \(1, 9\), needs \(B, 16\)",
     lambda: TinyBits(4).posterior(np.zeros((1, 9)))),
    (ValueError, "size: got 5, needs an integer from 3 to 4", lambda: TinyBits(5)),
    (TypeError, "Glyphs: size: got 16.0, needs an integer", lambda: Glyphs(16.0)),
    (ValueError, "Glyphs: size: got 8", lambda: Glyphs(8)),
    (ValueError, "eps=0.5, needs 0 < eps < 0.5", lambda: Glyphs(eps=0.5)),
    (ValueError, "eps=0, needs", lambda: TinyBits(eps=0)),
    (ValueError, r"log_prior: got shape \(1,\) .* needs 16 logs",
     lambda: setattr(TinyBits(), "log_prior", [0.0])),
    (ValueError, "or NaN or all -inf", lambda: setattr(TinyBits(), "log_prior", [np.nan] * 16)),
    (TypeError, "got 'kim', needs a list of names", lambda: Words().log_prob("kim")),
    (TypeError, "needs a list of names, each a str", lambda: Words().log_prob([3])),
])
def test_bad_input_gets_one_sentence(error, sentence, call):
    with pytest.raises(error, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
