"""Distributions against their formulas, their own samples, and each other.

A mean over n draws lies within 4 standard errors, 4 s / sqrt(n), of its expectation in all but one
of 16,000 cases; s is the draws' own standard deviation.
"""
import numpy as np
import pytest

import tinygen as tg
from tinygen import gradcheck
from tinygen.distributions import (Bernoulli, Categorical, DiscretizedLogistic, LogisticMixture,
                                   Normal)
from tinygen.engine import backend
from tinygen.engine.backend import to_numpy, xp
from tinygen.evaluation import bits_per_dim

N = 100_000
MU, LOGVAR = np.array([0.3, -2.0, 5.0]), np.array([0.0, -1.5, 1.2])
LOGITS = np.array([[0.5, -1.0, 2.0, 0.0], [0.0, 0.0, 0.0, -3.0]])
OTHER = np.array([[0.0, 1.0, 1.0, -1.0], [2.0, -2.0, 0.5, 0.5]])

PAIRS = {                                           # p and q of each family
    Normal: [(MU, LOGVAR), (MU + [1, 0, -2], LOGVAR - [1, -1, 0.5])],
    Bernoulli: [(LOGITS,), (OTHER,)],
    Categorical: [(LOGITS,), (OTHER,)]}
families = pytest.mark.parametrize("family", PAIRS, ids=lambda f: f.__name__)


def arrays(*values, dtype="float32"):
    return [xp.asarray(np.asarray(v, dtype=dtype)) for v in values]


def pair(family, dtype="float32"):
    return [family(*arrays(*parameters, dtype=dtype)) for parameters in PAIRS[family]]


def recorded(family, dtype="float32"):
    """p and q on Tensors that require a gradient."""
    return [family(*(tg.tensor(a, requires_grad=True, dtype=dtype) for a in parameters))
            for parameters in PAIRS[family]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def near(draws, expected):
    """The mean over axis 0 is within 4 standard errors of what is expected."""
    draws = to_numpy(draws).astype(float)
    error = abs(draws.mean(0) - expected) / (draws.std(0) / np.sqrt(len(draws)) + 1e-12)
    assert (error < 4).all(), f"off by {error.max():.1f} standard errors"


# --- log_prob -------------------------------------------------------------------------------------

def test_normal_density():
    x = np.array([0.0, -2.5, 3.0])
    s = np.exp(LOGVAR / 2)
    want = np.log(np.exp(-(x - MU) ** 2 / (2 * s ** 2)) / np.sqrt(2 * np.pi * s ** 2))
    p, x32 = pair(Normal)[0], *arrays(x)
    np.testing.assert_allclose(to_numpy(p.log_prob(x32)), want, rtol=1e-5)
    assert float(Normal(0.0, 0.0).log_prob(tg.tensor(0.0))) == pytest.approx(-0.9189385)


def test_bernoulli_probabilities():
    p, = arrays(LOGITS)
    for x in 0, 1:
        s = sigmoid(LOGITS)
        got = Bernoulli(p).log_prob(xp.full(LOGITS.shape, x, dtype="float32"))
        np.testing.assert_allclose(to_numpy(got), np.log(s ** x * (1 - s) ** (1 - x)), rtol=1e-5)


def test_categorical_probabilities():
    x = np.array([2, 3])
    got = pair(Categorical)[0].log_prob(xp.asarray(x))
    np.testing.assert_allclose(to_numpy(got), np.log(softmax(LOGITS))[[0, 1], x], rtol=1e-5)


def test_densities_integrate_to_one():
    p = pair(Normal, "float64")[0]
    grid = np.linspace(-12, 12, 4001)[:, None] * np.exp(LOGVAR / 2) + MU
    density = np.exp(to_numpy(p.log_prob(xp.asarray(grid))))
    np.testing.assert_allclose(density.sum(0) * (grid[1] - grid[0]), 1, rtol=1e-12)


@pytest.mark.parametrize("family, outcomes, shape", [
    (Bernoulli, [0.0, 1.0], (2, 4)), (Categorical, [0, 1, 2, 3], (2,))])
def test_probabilities_sum_to_one(family, outcomes, shape):
    p = pair(family, "float64")[0]
    total = sum(np.exp(to_numpy(p.log_prob(xp.asarray(x)))) for x in outcomes)
    np.testing.assert_allclose(total, np.ones(shape), rtol=1e-12)


# --- samples --------------------------------------------------------------------------------------

def test_normal_samples_have_the_mean_and_the_variance():
    x = to_numpy(pair(Normal)[0].sample(N)).astype(float)
    assert x.shape == (N, 3)
    near(x, MU)
    near((x - MU) ** 2, np.exp(LOGVAR))
    near((x - MU) ** 4, 3 * np.exp(LOGVAR) ** 2)
    z = (x - MU) / np.exp(LOGVAR / 2)
    near(z[:, [0, 1, 2]] * z[:, [1, 2, 0]], 0)              # elements are independent


def test_bernoulli_samples_are_ones_with_probability_s():
    x = pair(Bernoulli)[0].sample((N,))
    assert x.shape == (N, 2, 4) and set(np.unique(to_numpy(x))) == {0, 1}
    near(x, sigmoid(LOGITS))


def test_categorical_samples_have_the_probabilities():
    x = to_numpy(pair(Categorical)[0].sample((N,)))
    assert x.shape == (N, 2) and x.dtype.kind == "i"
    near(x[:, :, None] == np.arange(4), softmax(LOGITS))


def test_the_gumbel_trick_survives_a_uniform_number_of_exactly_0(monkeypatch):
    monkeypatch.setattr(backend, "uniform", lambda shape, dtype: xp.zeros(shape, dtype=dtype))
    assert to_numpy(pair(Categorical)[0].sample(3)).tolist() == [[2, 0]] * 3


@families
def test_samples_are_arrays_of_the_asked_shape_and_repeat_from_a_seed(family):
    p = recorded(family)[0]
    own = {Normal: (3,), Bernoulli: (2, 4), Categorical: (2,)}[family]
    for shape, want in ((), own), (5, (5, *own)), ((2, 3), (2, 3, *own)):
        assert p.sample(shape).shape == want and isinstance(p.sample(shape), xp.ndarray)
    tg.seed(7)
    a, b = to_numpy(p.sample(99)), to_numpy(p.sample(99))
    tg.seed(7)
    assert (to_numpy(p.sample(99)) == a).all() and (a != b).any()


def test_reparameterised_gradients_are_right_on_average():
    """E[x^2] = mu^2 + s^2 has the gradients 2 mu and, with respect to logvar, s^2."""
    n = 20_000
    mu, logvar = (tg.tensor(np.tile(a, (n, 1)), requires_grad=True) for a in (MU, LOGVAR))
    x = Normal(mu, logvar).rsample()
    (x * x).sum().backward()
    near(mu.grad, 2 * MU)
    near(logvar.grad, np.exp(LOGVAR))


def test_rsample_is_mu_plus_s_eps():
    """With the same seed, and so the same eps."""
    mu, logvar = tg.tensor(MU, requires_grad=True), tg.tensor(LOGVAR, requires_grad=True)
    tg.seed(3)
    x = Normal(mu, logvar).rsample(4)
    tg.seed(3)
    eps = to_numpy(backend.normal((4, 3), "float64"))
    np.testing.assert_allclose(to_numpy(x), MU + np.exp(LOGVAR / 2) * eps, rtol=1e-12)
    tg.seed(3)
    assert (to_numpy(Normal(mu, logvar).sample(4)) == to_numpy(x)).all()
    assert gradcheck(lambda mu, logvar: Normal(mu, logvar).rsample(4), mu, logvar)


# --- entropy and KL -------------------------------------------------------------------------------

@families
def test_entropy_is_minus_the_mean_of_log_prob(family):
    p = pair(family, "float64")[0]
    near(-p.log_prob(p.sample(N)), to_numpy(p.entropy()))


@families
def test_kl_is_the_mean_of_the_difference_of_log_probs(family):
    p, q = pair(family, "float64")
    x = p.sample(N)
    near(p.log_prob(x) - q.log_prob(x), to_numpy(p.kl(q)))
    assert (to_numpy(p.kl(q)) > 0).all() and (to_numpy(q.kl(p)) != to_numpy(p.kl(q))).all()
    np.testing.assert_allclose(to_numpy(p.kl(p)), 0, atol=1e-15)


def test_entropy_and_kl_by_their_formulas():
    s2, (p, q) = np.exp(LOGVAR), pair(Normal, "float64")
    mu_q, s2_q = PAIRS[Normal][1][0], np.exp(PAIRS[Normal][1][1])
    want = ((s2 + (MU - mu_q) ** 2) / s2_q - 1 - np.log(s2 / s2_q)) / 2
    np.testing.assert_allclose(to_numpy(p.kl(q)), want, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(p.kl()), to_numpy(p.kl(Normal(0.0, 0.0))), rtol=1e-12)
    np.testing.assert_allclose(to_numpy(p.entropy()), np.log(2 * np.pi * np.e * s2) / 2, rtol=1e-12)
    s, r, (p, q) = sigmoid(LOGITS), sigmoid(OTHER), pair(Bernoulli, "float64")
    np.testing.assert_allclose(to_numpy(p.entropy()), -s * np.log(s) - (1 - s) * np.log(1 - s))
    np.testing.assert_allclose(to_numpy(p.kl(q)),
                               s * np.log(s / r) + (1 - s) * np.log((1 - s) / (1 - r)))
    s, r, (p, q) = softmax(LOGITS), softmax(OTHER), pair(Categorical, "float64")
    np.testing.assert_allclose(to_numpy(p.entropy()), -(s * np.log(s)).sum(-1))
    np.testing.assert_allclose(to_numpy(p.kl(q)), (s * np.log(s / r)).sum(-1))
    uniform = Categorical(*arrays(np.zeros(8)))
    assert float(uniform.entropy()) == pytest.approx(np.log(8))


def test_an_impossible_category_counts_for_nothing():
    logits = tg.tensor([0.0, 0.0, -np.inf], requires_grad=True)
    p, q = Categorical(logits), Categorical(xp.asarray([0.0, np.log(3.0), -np.inf]))
    value = p.entropy() + p.kl(q)
    assert value.item() == pytest.approx(-np.log(3 / 16) / 2)
    value.backward()
    assert to_numpy(logits.grad) == pytest.approx([np.log(3) / 4, -np.log(3) / 4, 0])
    assert float(q.kl(Categorical(xp.asarray([0.0, -np.inf, 0.0])))) == np.inf


# --- gradients ------------------------------------------------------------------------------------

@families
def test_gradients_of_log_prob_entropy_and_kl(family):
    (p, q), n = PAIRS[family], len(PAIRS[family][0])
    parameters = arrays(*p, *q, dtype="float64")
    assert gradcheck(lambda *a: family(*a).entropy(), *parameters[:n])
    assert gradcheck(lambda *a: family(*a[:n]).kl(family(*a[n:])), *parameters)
    if family is Categorical:
        x = xp.asarray([2, 3])
        assert gradcheck(lambda *a: family(*a).log_prob(x), *parameters[:n])
    else:
        x, = arrays(np.full(p[0].shape, 0.25), dtype="float64")
        assert gradcheck(lambda *a: family(*a[:-1]).log_prob(a[-1]), *parameters[:n], x)
    if family is Normal:
        assert gradcheck(lambda *a: family(*a).kl(), *parameters[:n])


# --- dtype, extremes, broadcasting ----------------------------------------------------------------

@families
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_keep_the_dtype_of_the_parameters(family, dtype):
    for (p, q), kind in (pair(family, dtype), xp.ndarray), (recorded(family, dtype), tg.Tensor):
        x = p.sample()
        results = [p.log_prob(x), p.entropy(), p.kl(q)]
        results += [p.rsample()] if family is Normal else []
        assert all(isinstance(y, kind) and y.dtype == dtype for y in results)
        assert family is Categorical or x.dtype == dtype
    sum(y.sum() for y in results).backward()
    parameters = [a for d in (p, q) for a in vars(d).values() if isinstance(a, tg.Tensor)]
    assert all(a.grad.dtype == dtype for a in parameters)


@pytest.mark.parametrize("family", [Bernoulli, Categorical])
def test_logits_of_ten_thousand_give_finite_numbers_and_gradients(family):
    logits = np.array([1e4, -1e4], "f")
    p = family(tg.tensor(logits, requires_grad=True))
    q = family(tg.tensor(-logits, requires_grad=True))
    sure = p.sample(1000)
    if family is Bernoulli:
        assert (to_numpy(sure) == [1, 0]).all()
        x, impossible, kl = tg.tensor([1.0, 0.0]), tg.tensor([0.0, 1.0]), 1e4
    else:
        assert (to_numpy(sure) == 0).all()
        x, impossible, kl = 0, 1, 2e4
    for y, want in [(p.log_prob(x), 0), (p.log_prob(impossible), -kl),
                    (p.entropy(), 0), (p.kl(q), kl)]:
        np.testing.assert_allclose(to_numpy(y), want, atol=1e-6)
        y.sum().backward()
        assert np.isfinite(to_numpy(p.logits.grad)).all()
    assert np.isfinite(to_numpy(q.logits.grad)).all()


def test_a_very_narrow_normal_is_finite():
    p = Normal(*arrays(0.0, -150.0))
    assert float(p.log_prob(xp.asarray(0.0, dtype="float32"))) == pytest.approx(75 - 0.9189385)
    assert float(p.kl(p)) == 0


@families
def test_a_batch_of_samples_meets_the_parameters_by_broadcasting(family):
    p = pair(family)[0]
    x = p.sample((6, 5))
    together = to_numpy(p.log_prob(x))
    assert together.shape == x.shape
    np.testing.assert_allclose(together[3, 2], to_numpy(p.log_prob(x[3, 2])), rtol=1e-6)
    many = family(*(xp.broadcast_to(a, (6, 5, *a.shape)) for a in arrays(*PAIRS[family][0])))
    np.testing.assert_allclose(together, to_numpy(many.log_prob(x)), rtol=1e-6)
    np.testing.assert_allclose(to_numpy(many.log_prob(x[0, 0]))[4, 4], together[0, 0], rtol=1e-6)


@pytest.mark.parametrize("mu, logvar", [((3,), (5, 3)), ((5, 3), (3,)), ((5, 1), (1, 3)),
                                        ((), (5, 3)), ((5, 3), ())])
def test_mu_and_logvar_broadcast_and_every_element_has_noise_of_its_own(mu, logvar):
    p = Normal(xp.zeros(mu, dtype="float32"), xp.zeros(logvar, dtype="float32"))
    x = to_numpy(p.rsample(2))
    assert x.shape == (2, 5, 3) and len(np.unique(x)) == 30
    assert p.entropy().shape == p.kl().shape == p.log_prob(x[0, 0, 0].item()).shape == (5, 3)
    np.testing.assert_allclose(to_numpy(p.entropy()), 1.4189385, rtol=1e-6)


def test_numbers_serve_as_parameters():
    x = tg.tensor([1.0, -2.0], requires_grad=True)
    y = Normal(x, 0).log_prob(0.0)                                      # -x^2 / 2 - ln(2 pi) / 2
    y.sum().backward()
    assert y.dtype == "float32" and to_numpy(x.grad).tolist() == [-1, 2]
    assert Normal(0, np.float64(1)).sample(3).dtype == "float32"
    assert Bernoulli(0).sample(3).shape == (3,)


# --- discretized logistics ------------------------------------------------------------------------

CENTRES = np.array([-40.0, 0.0, 17.3, 128.0, 254.9, 300.0])
LOG_S = np.array([2.0, -4.0, 0.5, 6.0, -1.0, 3.0])


def logistic(dtype="float64", levels=256):
    return DiscretizedLogistic(*arrays(CENTRES, LOG_S, dtype=dtype), levels=levels)


def mixture(dtype="float64", levels=256):
    """Two elements, three parts each."""
    parameters = np.array([0.5, -1.0, 2.0, 0, 0, -3]), CENTRES, LOG_S
    return LogisticMixture(*arrays(*(a.reshape(2, 3) for a in parameters), dtype=dtype),
                           levels=levels)


def probabilities(p):
    """(levels, *shape)"""
    x = np.arange(p.levels).reshape(-1, *[1] * len(p.shape))
    return np.exp(to_numpy(p.log_prob(xp.asarray(x))))


@pytest.mark.parametrize("make", [logistic, mixture])
@pytest.mark.parametrize("levels", [2, 3, 256])
def test_probabilities_of_all_levels_sum_to_one(make, levels):
    np.testing.assert_allclose(probabilities(make(levels=levels)).sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(probabilities(make("float32", levels)).sum(0), 1, rtol=2e-6)


def test_a_level_has_the_logistic_density_over_its_unit_and_the_ends_have_the_tails():
    edges = np.concatenate([[-np.inf], np.arange(255) + 0.5, [np.inf]])[:, None]
    with np.errstate(over="ignore"):
        want = np.diff(sigmoid((edges - CENTRES) / np.exp(LOG_S)), axis=0)
    np.testing.assert_allclose(probabilities(logistic()), want, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(probabilities(logistic("float32")), want, rtol=2e-4, atol=1e-9)


def test_float32_holds_where_the_difference_of_sigmoids_would_be_0():
    """Far out P is e^-|b| (e^w - 1), and very wide the density 1 / 4s."""
    far = DiscretizedLogistic(*arrays(0.0, 0.0))
    np.testing.assert_allclose(float(far.log_prob(200)), -199.5 + np.log1p(-np.exp(-1)), rtol=1e-6)
    wide = DiscretizedLogistic(*arrays(128.0, 14.0))
    np.testing.assert_allclose(float(wide.log_prob(128)), -14 - np.log(4), rtol=1e-6)
    mu, log_s = (tg.tensor(a, requires_grad=True) for a in ([1e4, -1e4, 128.0], [-7.0, -7.0, -7.0]))
    y = DiscretizedLogistic(mu, log_s).log_prob(xp.asarray([3, 200, 128]))
    y.sum().backward()
    assert all(np.isfinite(to_numpy(a)).all() for a in (y, mu.grad, log_s.grad))
    assert abs(y[2].item()) < 1e-6


def test_a_mixture_is_the_weighted_sum_of_its_parts():
    p = mixture()
    parts = probabilities(logistic()).reshape(256, 2, 3)
    want = (softmax(np.array([[0.5, -1.0, 2.0], [0, 0, -3]])) * parts).sum(-1)
    np.testing.assert_allclose(probabilities(p), want, rtol=1e-12)


@pytest.mark.parametrize("make", [logistic, mixture])
def test_levels_are_drawn_by_their_probabilities(make):
    p = make("float32", levels=4) if make is mixture else DiscretizedLogistic(*arrays(
        [0.2, 2.0, 9.0], [0.0, 0.5, 2.0]), levels=4)
    x = to_numpy(p.sample(N))
    assert x.shape == (N, *p.shape) and x.dtype == "float32"
    for level, want in enumerate(probabilities(p)):
        assert (want > 0).all()
        near(x == level, want)


@pytest.mark.parametrize("make", [logistic, mixture])
def test_entropy_kl_and_gradients_of_levels(make):
    p = make(levels=6)
    x = xp.asarray(np.arange(np.prod(p.shape)) % 6).reshape(p.shape)
    family, parts = type(p), p if make is logistic else p.parts
    values = [parts.mu, parts.log_s * 0.1 + 1]
    values = values if make is logistic else [p.logits, *values]
    p, q = family(*values, levels=6), family(*(v + 0.3 for v in values), levels=6)
    P, Q = probabilities(p), probabilities(q)
    np.testing.assert_allclose(to_numpy(p.entropy()), -(P * np.log(P)).sum(0), atol=1e-14)
    np.testing.assert_allclose(to_numpy(p.kl(q)), (P * np.log(P / Q)).sum(0), atol=1e-14)
    assert gradcheck(lambda *a: family(*a, levels=6).log_prob(x), *values)
    assert gradcheck(lambda *a: family(*a, levels=6).entropy(), *values)


def test_uniform_levels_are_8_bits_and_scaling_costs_ln_256():
    """C10: bits/dim = (nll / D + ln 256) / ln 2, nll of data scaled to [0, 1]."""
    uniform, D = Categorical(*arrays(np.zeros(256), dtype="float64")), 784
    assert bits_per_dim(D * float(uniform.entropy()), D) == pytest.approx(8, rel=1e-12)
    nll_scaled = 0.0                                            # the density of U(0, 1)^D is 1
    assert bits_per_dim(nll_scaled + D * np.log(256), D) == pytest.approx(8, rel=1e-12)


# --- mistakes -------------------------------------------------------------------------------------

@pytest.mark.parametrize("mistake, error, message", [
    (lambda: Normal([1.0], [0.0]), TypeError, "Normal: needs a Tensor or an array.* got list"),
    (lambda: Normal(0.0, None), TypeError, "Normal: .* got NoneType"),
    (lambda: Bernoulli(xp.arange(3)), TypeError, "Bernoulli: .* got int64"),
    (lambda: Bernoulli(0.0).log_prob(255), ValueError, "Bernoulli: x runs from 255 to 255; needs "
     "values from 0 to 1, so divide pixels by 255, or threshold them"),
    (lambda: Bernoulli(0.0).log_prob(xp.asarray([0, 0.5, 1, -3])), ValueError, "from -3 to 1; ne"),
    (lambda: Bernoulli(0.0).log_prob(tg.tensor([0, np.nan])), ValueError, "from nan to nan; needs"),
    (lambda: Categorical(0.0), ValueError, "Categorical: .* needs an axis of K logits"),
    (lambda: Normal(xp.zeros(2), xp.zeros(3)), ValueError,
     r"Normal: mu and logvar: shapes \(2,\) and \(3,\) do not broadcast"),
    (lambda: pair(Categorical)[0].log_prob(xp.zeros(3, dtype=int)), ValueError,
     r"Categorical: .* shapes \(3,\) and \(2,\) do not broadcast"),
    (lambda: pair(Categorical)[0].log_prob(4), ValueError, "labels run from 4 to 4; 4 logits need"),
    (lambda: pair(Categorical)[0].log_prob(0.5), ValueError, "integer labels"),
    (lambda: pair(Normal)[0].kl(pair(Bernoulli)[0]), TypeError,
     "kl: a Normal needs another to be compared with, got a Bernoulli"),
    (lambda: pair(Categorical)[0].kl(pair(Bernoulli)[0]), TypeError, "kl: a Categorical"),
    (lambda: pair(Bernoulli)[0].kl(None), TypeError, "kl: a Bernoulli .* got a NoneType"),
    (lambda: DiscretizedLogistic(0.0, 0.0, levels=1), ValueError, "levels is 1; needs a whole"),
    (lambda: logistic().log_prob(256), ValueError, "x from 256 to 256; needs whole numbers 0..255"),
    (lambda: mixture().log_prob(xp.asarray([0.5, 1])), ValueError, "from 0.5 to 1; .* not yet sc"),
    (lambda: logistic().kl(logistic(levels=9)), ValueError, "256 levels cannot be compared with 9"),
    (lambda: logistic().kl(mixture()), TypeError, "kl: a DiscretizedLogistic needs another"),
    (lambda: LogisticMixture(0.0, 0.0, 0.0), ValueError, "LogisticMixture: .* needs an axis of K"),
])
def test_mistakes_are_told_in_one_sentence(mistake, error, message):
    with pytest.raises(error, match=message) as raised:
        mistake()
    assert "\n" not in str(raised.value)
