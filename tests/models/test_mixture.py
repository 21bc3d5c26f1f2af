"""Mixtures of Gaussians: an exact density, an exact posterior, and EM that only climbs."""
import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.known import Mixture2D
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.models.approximate.mixture import GaussianMixture, k_means_plus_plus
from tinygen.optim import Adam, cosine

KINDS = ["full", "diagonal", "tied"]
ALL = pytest.mark.parametrize("kind", KINDS)
D, K = 2, 3


def values(x):
    return tg.to_numpy(x)


def blobs(N=120, seed=0):
    """Three clouds of unlike shapes and sizes, slightly touching; float64 (N, 2)"""
    rng = np.random.default_rng(seed)
    roots = np.array([[[1, 0], [0.8, 0.4]], [[0.5, 0], [0, 1.2]], [[0.7, 0.3], [0, 0.7]]])
    k = rng.choice(3, N, p=[0.5, 0.3, 0.2])
    return np.array([[0, 0], [4, 1], [1, 4.0]])[k] \
        + np.einsum("nd,nde->ne", rng.normal(size=(N, 2)), roots[k])


def random_model(kind, seed=0, D=D, K=K):
    """A float64 model whose every parameter matters."""
    backend.seed(seed)
    model, rng = GaussianMixture(D, K, kind), np.random.default_rng(seed)
    for p in model.parameters():
        p.data = xp.asarray(rng.normal(size=p.shape) * 0.7)
    return model


def parts(model):
    """pi (K,), mu (K, D), Sigma (K, D, D), as NumPy arrays"""
    pi, S = np.exp(values(model.logits)), values(model.covariances())
    if model.covariance == "diagonal":
        S = S[:, :, None] * np.eye(S.shape[1])
    return pi / pi.sum(), values(model.mu), np.broadcast_to(S, (len(pi), *S.shape[1:]))


def joint_by_hand(model, x):
    """ln pi_k N(x; mu_k, Sigma_k) -> (B, K)"""
    columns = []
    for pi, mu, S in zip(*parts(model)):
        d = x - mu
        columns.append(math.log(pi) - 0.5 * ((d @ np.linalg.inv(S) * d).sum(1) + len(S) * math.log(
            2 * math.pi) + np.linalg.slogdet(S)[1]))
    return np.stack(columns, 1)


def log_sum(a):
    return np.log(np.exp(a).sum(1))


X = blobs()


# --- the density and the posterior ----------------------------------------------------------------

@ALL
def test_log_prob_is_the_sum_over_components(kind):
    for D, K in ((1, 1), (2, 3), (5, 4)):
        model, x = random_model(kind, D=D, K=K), np.random.default_rng(1).normal(size=(9, D))
        joint = joint_by_hand(model, x)
        assert np.allclose(values(model.log_joint(x)), joint, rtol=0, atol=1e-11)
        assert np.allclose(values(model.log_prob(x)), log_sum(joint), rtol=0, atol=1e-11)
        r = values(model.encode(x))
        assert np.allclose(r, np.exp(joint - log_sum(joint)[:, None]), rtol=0, atol=1e-12)


@ALL
def test_p_integrates_to_one(kind):
    """Sums on a grid of a smooth density converge faster than any power of the step."""
    model = random_model(kind)
    mu, S = parts(model)[1:]
    reach = abs(mu).max() + 9 * math.sqrt(np.linalg.eigvalsh(S).max())
    line = np.linspace(-reach, reach, 600)
    x = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    with tg.no_grad():
        p = np.exp(values(model.log_prob(x)))
    assert abs(p.sum() * (line[1] - line[0]) ** 2 - 1) < 1e-10


@pytest.mark.parametrize("name", ["ring", "pinwheel"])
def test_a_known_world_is_one(name):
    world = Mixture2D(name)
    model = GaussianMixture(2, world.K)
    model.set(world.weights, world.modes, world.covariances)
    x = world.sample(50, np.random.default_rng(0)).astype("float64")
    assert np.allclose(values(model.log_prob(x)), world.log_prob(x), rtol=0, atol=1e-9)
    assert np.allclose(values(model.covariances()), world.covariances, rtol=1e-10, atol=1e-14)


@ALL
def test_samples_have_the_moments_of_p(kind):
    n, model = 40_000, random_model(kind)
    x, (pi, mu, S) = values(model.sample(n)), parts(model)
    mean = pi @ mu
    C = np.einsum("k,kde->de", pi, S) + (pi[:, None] * (mu - mean)).T @ (mu - mean)
    assert (abs(x.mean(0) - mean) < 5 * np.sqrt(np.diag(C) / n)).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None]
    assert (abs(products.mean(0) - C) < 5 * products.std(0) / math.sqrt(n)).all()


def test_samples_fall_where_p_says():
    """Chi-square of which component is most likely, 99.9 % point 13.8 at 2 degrees of freedom; a
    model of other weights fails it."""
    model, n = random_model("full"), 4000
    x = model.sample(n)
    other = random_model("full")
    other.logits.data[0] += 0.5

    def chi2(m):                        # r sums to n pi_k in expectation, whatever the overlap
        r, pi = values(m.encode(x)), parts(m)[0]
        d = (r.sum(0) - n * pi)[:-1]
        return d @ np.linalg.solve(np.cov(r.T)[:-1, :-1] * n, d)
    assert chi2(model) < 13.8 < chi2(other)


def test_decode_is_the_mean_of_the_components():
    model = random_model("tied")
    assert np.allclose(values(model.decode(xp.eye(K))), values(model.mu))
    r = np.array([[0.2, 0.3, 0.5]])
    assert np.allclose(values(model.decode(xp.asarray(r))), r @ values(model.mu))


# --- bounds ---------------------------------------------------------------------------------------

LOG_R = np.random.default_rng(7).normal(size=(4, K))


def test_elbo_is_log_p_less_the_kl_to_the_posterior():
    model, x = random_model("full"), X[:4]
    posterior, r = values(model.encode(x)), np.exp(LOG_R) / np.exp(LOG_R).sum(1, keepdims=True)
    kl = (r * np.log(r / posterior)).sum(1)
    elbo = values(model.elbo(x, xp.asarray(LOG_R)))
    assert kl.min() > 0.1
    assert np.allclose(elbo + kl, values(model.log_prob(x)), rtol=0, atol=1e-11)
    assert np.allclose(values(model.elbo(x)), values(model.log_prob(x)), rtol=0, atol=1e-11)


def bound_by_enumeration(model, x, k):
    """E of log_prob_bound(x, k, LOG_R), over all K^k draws of the components"""
    r = np.exp(LOG_R) / np.exp(LOG_R).sum(1, keepdims=True)
    ratio, total = np.exp(joint_by_hand(model, x)) / r, 0
    for z in map(list, itertools.product(range(K), repeat=k)):
        total = total + r[:, z].prod(1) * np.log(ratio[:, z].mean(1))
    return total


def test_the_bound_rises_with_k_from_the_elbo_and_stays_below_ln_p():
    """In exact expectation up to k = 6; draws agree within 4 standard errors."""
    model, x, n = random_model("full"), X[:4], 4000
    bounds = [bound_by_enumeration(model, x, k) for k in range(1, 7)]
    assert np.allclose(bounds[0], values(model.elbo(x, xp.asarray(LOG_R))), rtol=0, atol=1e-11)
    assert (np.diff(bounds, axis=0) > 1e-4).all()
    assert (bounds[-1] < values(model.log_prob(x))).all()
    for k in (1, 3, 6):
        drawn = values(model.log_prob_bound(np.repeat(x, n, 0), k, xp.asarray(np.repeat(
            LOG_R, n, 0)))).reshape(4, n)
        assert (abs(drawn.mean(1) - bounds[k - 1]) < 4 * drawn.std(1) / math.sqrt(n)).all()


def test_every_bound_is_ln_p_where_q_is_the_posterior():
    model = random_model("diagonal")
    for k in (1, 2, 9):
        assert np.allclose(values(model.log_prob_bound(X, k)), values(model.log_prob(X)),
                           rtol=0, atol=1e-11)


# --- EM -------------------------------------------------------------------------------------------

def started(kind, x=X, k=K, seed=0, **settings):
    backend.seed(seed)
    model = GaussianMixture(x.shape[1], k, kind, **settings)
    model.start(x)
    return model


@ALL
def test_one_component_is_the_mean_and_the_covariance(kind):
    """ln p = -(D ln 2 pi + ln|S| + D) / 2 at the maximum, reached in one step."""
    model, S = started(kind, k=1), np.cov(X.T, bias=True)
    model.em_step(X)
    if kind == "diagonal":
        S = np.diag(np.diag(S))
    assert np.allclose(parts(model)[1], X.mean(0)) and np.allclose(parts(model)[2], S)
    exact = -0.5 * (D * math.log(2 * math.pi) + np.linalg.slogdet(S)[1] + D)
    assert abs(-float(model.loss(X)) - exact) < 1e-11


@ALL
def test_a_step_is_the_mean_under_the_responsibilities(kind):
    model = started(kind)
    r, before = values(model.encode(X)), values(model.log_prob(X)).mean()
    assert abs(model.em_step(X) - before) < 1e-12
    pi, mu, S = parts(model)
    n = r.sum(0)
    assert np.allclose(pi, n / len(X)) and np.allclose(mu, r.T @ X / n[:, None])
    each = np.array([np.cov(X.T, aweights=r[:, k], ddof=0) for k in range(K)])
    if kind == "diagonal":
        each = each * np.eye(D)
    if kind == "tied":
        each = np.broadcast_to(np.einsum("k,kde->de", n / n.sum(), each), each.shape)
    assert np.allclose(S, each)


@ALL
@pytest.mark.parametrize("seed", range(5))
def test_em_never_lowers_the_likelihood(kind, seed):
    """Also with more components than the data need, and down at the floor."""
    x, k = blobs([120, 60, 40, 30, 12][seed], seed), [3, 6, 2, 8, 5][seed]
    model = started(kind, x, k, seed, floor=[1e-6, 1e-6, 1e-6, 1e-3, 1e-2][seed])
    log_p = model.fit_em(x, steps=60, tol=-1.0)["log_prob"]
    assert len(log_p) == 60 and math.isfinite(log_p[-1])
    assert np.diff(log_p).min() > -1e-12 and log_p[-1] > log_p[0] + 0.01
    assert model.degenerate()["empty"] == []


@ALL
def test_em_stops_where_every_parameter_has_no_slope(kind):
    model = started(kind)
    history = model.fit_em(X, steps=3000, tol=1e-14)
    model.loss(X).backward()
    assert len(history["step"]) < 3000
    assert all(abs(values(p.grad)).max() < 1e-5 for p in model.parameters())


def test_em_reaches_the_floor_of_a_known_world():
    """The excess over H(p_data) is about parameters / 2 N = 47 / 8000 = .006 nats, and once more on
    the examples it was fitted to, the other way."""
    world = Mixture2D("ring")
    x, test = (world.sample(4000, np.random.default_rng(i)).astype("float64") for i in (0, 1))
    model = max((started("full", x, 8, seed) for seed in range(4)),
                key=lambda m: m.fit_em(x, 20)["log_prob"][-1])
    kl = (world.log_prob(test) - values(model.log_prob(test))).mean()
    assert 0 < kl < 0.02
    assert model.degenerate() == {"collapsed": [], "empty": []}
    _, mu, _ = parts(model)
    assert sorted(world.nearest_mode(mu)) == list(range(8))


# --- by gradient ----------------------------------------------------------------------------------

@ALL
def test_log_prob_passes_gradcheck(kind):
    model = random_model(kind)

    def f(x, *parameters):
        for name, p in zip(model.named_parameters(), parameters):
            setattr(model, name, p)
        return model.log_prob(x)
    tg.gradcheck(f, xp.asarray(X[:5]), *[p.data for p in model.parameters()])


@ALL
def test_the_elbo_at_the_posterior_has_the_gradient_of_ln_p(kind):
    model, gradients = random_model(kind), []
    for f in (model.log_prob, model.elbo):
        gradients.append(tg.grad(f(X).mean(), model.parameters()))
    for g, h in zip(*gradients):
        assert np.allclose(values(g), values(h), rtol=0, atol=1e-12) and values(g).any()


@pytest.mark.once
@ALL
def test_gradient_and_em_reach_the_same_likelihood(kind):
    em, model = started(kind), started(kind)
    em.fit_em(X, steps=1000, tol=1e-14)
    optimizer = Adam(model.parameters(), cosine(0.1, 500))
    for _ in range(500):
        optimizer.zero_grad()
        model.loss(X).backward()
        optimizer.step()
    assert abs(float(model.loss(X)) - float(em.loss(X))) < 1e-9


# --- degenerate components ------------------------------------------------------------------------

POINTS = np.array([[0, 0], [0, 0.1], [0.1, 0], [0.1, 0.1], [5, 5]])


@ALL
def test_a_component_that_collapses_stops_at_the_floor_and_is_named(kind):
    model = GaussianMixture(2, 2, kind, floor=1e-4)
    S = np.full((2, 2), 0.01) if kind == "diagonal" else 0.01 * np.array([np.eye(2)] * 2)
    model.set(np.ones(2) / 2, np.array([[0.0, 0], [5, 5]]), xp.asarray(
        S[:1] if kind == "tied" else S))
    log_p = model.fit_em(POINTS, steps=20, tol=-1.0)["log_prob"]
    assert np.diff(log_p).min() > -1e-12
    if kind == "tied":                              # the others' spread keeps it up
        assert model.degenerate() == {"collapsed": [], "empty": []}
    else:
        assert model.degenerate() == {"collapsed": [1], "empty": []}
        assert np.allclose(parts(model)[2][1], 1e-4 * np.eye(2))


@ALL
def test_gradient_stops_at_the_floor_too(kind):
    x = xp.asarray(np.zeros((4, 2)))
    model = started(kind, x, 2, floor=1e-2)
    for p in model.parameters():
        p.data = p.data + 0.1
    optimizer = Adam(model.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    bound = -math.log(2 * math.pi * 1e-2)           # -(D ln 2 pi floor) / 2
    assert bound - 0.05 < -float(model.loss(x)) <= bound + 1e-12
    assert model.degenerate()["collapsed"] == [0, 1]


@ALL
def test_an_empty_component_stays_and_is_named(kind):
    model = started(kind)
    mu, S = parts(model)[1:]
    far = mu.copy()
    far[2] = 1e3
    model.mu.data = xp.asarray(far)
    log_p = model.fit_em(X, steps=20, tol=-1.0)["log_prob"]
    assert np.diff(log_p).min() > -1e-12 and model.degenerate()["empty"] == [2]
    assert values(model.mu)[2].tolist() == [1e3, 1e3]
    if kind != "tied":
        assert np.allclose(parts(model)[2][2], S[2])
    assert all(np.isfinite(values(p)).all() for p in model.parameters())


def test_examples_that_are_all_alike_are_handled():
    x = np.ones((5, 3))
    model = started("full", x, 2)
    model.fit_em(x)
    assert model.degenerate()["collapsed"] == [0, 1]
    assert abs(-float(model.loss(x)) + 1.5 * math.log(2 * math.pi * 1e-6)) < 1e-6


# --- k-means++ ------------------------------------------------------------------------------------

def test_the_next_mean_comes_with_chance_of_its_squared_distance():
    """Pairs from 0, 1, 3 in proportion 1/3 times d^2 / sum d^2. Chi-square, 5 degrees of freedom:
    99.9 % point 20.5; chances of d instead of d^2 fail it."""
    x, n = xp.asarray(np.array([[0.0], [1], [3]])), 2000
    pairs = [tuple(values(k_means_plus_plus(x, 2)[0])[:, 0].tolist()) for _ in range(n)]

    def chi2(power):
        total = 0
        for a in (0.0, 1.0, 3.0):
            norm = sum(abs(a - c) ** power for c in (0, 1, 3))
            for b in {0.0, 1.0, 3.0} - {a}:
                expected = n / 3 * abs(a - b) ** power / norm
                total += (pairs.count((a, b)) - expected) ** 2 / expected
        return total
    assert chi2(2) < 20.5 < chi2(1)
    assert all(a != b for a, b in pairs)


def test_it_leaves_the_mean_squared_distance():
    means, left = k_means_plus_plus(xp.asarray(X), 5)
    d2 = ((X[:, None] - values(means)) ** 2).sum(2).min(1)
    assert abs(left - d2.mean()) < 1e-12
    assert all((X == mean).all(1).any() for mean in values(means))


# --- types, state and mistakes --------------------------------------------------------------------

@ALL
def test_shapes_types_and_branch(kind):
    x = X.astype("float32")
    model = started(kind, x)
    model.fit_em(x, steps=20)
    assert model.branch == "explicit, approximate"
    for y in (model.elbo(x), model.log_prob(x), model.log_prob_bound(x, 3)):
        assert y.shape == (len(x),) and y.dtype == np.float32
    assert model.encode(x).shape == (len(x), K) and model.encode(x).dtype == np.float32
    assert model.loss(x).shape == () and model.loss(x).dtype == np.float32
    y = model.sample(5)
    assert isinstance(y, xp.ndarray) and y.shape == (5, D) and y.dtype == np.float32
    assert all(p.dtype == np.float32 for p in model.parameters())
    double = started(kind)
    double.fit_em(X, steps=20)
    assert abs(float(model.loss(x)) - float(double.loss(X))) < 1e-4
    other = GaussianMixture(D, K, kind)
    other.load_state_dict(model.state_dict())
    assert (values(other.log_prob(x)) == values(model.log_prob(x))).all()


@pytest.mark.parametrize("sentence, call", [
    ("GaussianMixture: k is 0; needs a whole number", lambda m: GaussianMixture(2, 0)),
    ("covariance 'round', floor 1e-06; needs", lambda m: GaussianMixture(2, 1, "round")),
    ("floor 0; needs .* a variance above 0", lambda m: GaussianMixture(2, 1, floor=0)),
    ("2 examples for 3 components; needs at least", lambda m: m.start(np.zeros((2, 2)))),
    ("2 examples for 3 components; needs at least", lambda m: m.fit_em(np.zeros((2, 2)))),
    ("without NaN or infinity", lambda m: m.start(np.full((9, 2), np.nan))),
    (r"x has shape \(5, 4\); needed \(B, 2\)", lambda m: m.log_prob(np.zeros((5, 4)))),
    (r"x has shape \(5, 4\); needed \(B, 2\)", lambda m: m.start(np.zeros((5, 4)))),
    ("log_prob_bound: k is 0; needs a whole", lambda m: m.log_prob_bound(np.zeros((2, 2)), 0)),
    ("log_prob_bound: k is 1.5; needs a whole", lambda m: m.log_prob_bound(np.zeros((2, 2)), 1.5)),
    ("weights are .*; needs numbers from 0 up, not all of them 0",
     lambda m: m.set(np.array([1.0, -1.0, 1.0]), np.zeros((3, 2)), np.array([np.eye(2)] * 3))),
    ("weights are .*; needs numbers from 0 up, not all of them 0",
     lambda m: m.set(np.zeros(3), np.zeros((3, 2)), np.array([np.eye(2)] * 3))),
    ("a covariance is not symmetric", lambda m: m.set(
        np.ones(3), np.zeros((3, 2)), np.array([np.eye(2), np.eye(2), [[1, 0.5], [0.4, 1]]]))),
    ("covariance 1 is singular", lambda m: m.set(np.ones(3), np.zeros((3, 2)), np.array(
        [np.eye(2), np.ones((2, 2)), np.eye(2)]))),
    (r"given \(2, 2\); needs \(3, 2\), finite",
     lambda m: m.set(np.ones(3), np.zeros((2, 2)), np.zeros((3, 2, 2)))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call(GaussianMixture(2, 3))


def test_a_batch_may_be_smaller_than_the_mixture():
    """For one step of an optimizer, as the docstring of loss says, and a weight may be 0."""
    model = GaussianMixture(2, 3)
    model.set(np.array([1.0, 0.0, 1.0]), np.eye(3)[:, :2], np.array([np.eye(2)] * 3))
    model.loss(np.full((1, 2), 2.0)).backward()
    assert values(model.mu.grad)[[0, 2]].all() and np.isfinite(values(model.logits.grad)).all()
