"""PPCA and factor analysis: three ways to one likelihood, and bounds held against ln p itself.

The oracle is written without latents: p(x) = N(b, W'W + diag psi), by NumPy's own determinant.
"""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine.backend import xp
from tinygen.models.approximate.ppca import PPCA, FactorAnalysis
from tinygen.optim import Adam, cosine

D, Z = 4, 2
BOTH = pytest.mark.parametrize("kind", [PPCA, FactorAnalysis])


def data(N=100, noise=0.7, seed=0, D=D):
    """N examples of a linear-Gaussian world whose two directions explain unlike much; float64"""
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.normal(size=(D, D)))[0][:Z] * [[2.0], [1.0]]
    return rng.normal(size=(N, Z)) @ W + noise * rng.normal(size=(N, D)) + 0.3


def untrained(kind, seed=0):
    """A model in float64 with a guess q that has little to do with its posterior."""
    tg.seed(seed)
    model = kind(D, Z)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = xp.asarray(rng.normal(size=p.shape) * 0.6)
    return model


def values(x):
    return tg.to_numpy(x)


def parts(model):
    """W, b, and psi (D,), as NumPy arrays"""
    return (values(model.decoder.W), values(model.decoder.b),
            np.broadcast_to(np.exp(values(model.logvar)), D))


def gaussian(x, mean, C):
    """ln N(x; mean, C), nats (B,)"""
    d = x - mean
    return -0.5 * ((d @ np.linalg.inv(C) * d).sum(1) + np.linalg.slogdet(C)[1]
                   + len(C) * math.log(2 * math.pi))


def log_p(model, x):
    W, b, psi = parts(model)
    return gaussian(x, b, W.T @ W + np.diag(psi))


X = data()


# --- the density and the posterior ----------------------------------------------------------------

@BOTH
def test_log_prob_is_that_of_the_gaussian(kind):
    for seed in range(3):
        model = untrained(kind, seed)
        assert np.allclose(values(model.log_prob(X)), log_p(model, X), rtol=0, atol=1e-11)


@BOTH
def test_the_posterior_is_bayes_rule(kind):
    """ln p(x) = ln p(x | z) + ln p(z) - ln p(z | x), at every z."""
    model = untrained(kind)
    W, b, psi = parts(model)
    m, G = map(values, model.posterior(X))
    z = np.random.default_rng(1).normal(size=(len(X), Z))
    joint = [gaussian(x[None], zi @ W + b, np.diag(psi))[0] for x, zi in zip(X, z)] \
        + gaussian(z, np.zeros(Z), np.eye(Z))
    assert np.allclose(joint - gaussian(z, m, G), log_p(model, X), rtol=0, atol=1e-11)


@BOTH
def test_log_prob_has_the_derivatives_of_ln_p(kind):
    model = untrained(kind)

    def f(x, W, b, logvar):
        model.decoder.W, model.decoder.b, model.logvar = W, b, logvar
        return model.log_prob(x)
    tg.gradcheck(f, xp.asarray(X[:5]), model.decoder.W.data, model.decoder.b.data,
                 model.logvar.data, order=1)


@BOTH
def test_turning_the_latents_changes_nothing(kind):
    model, other = untrained(kind), kind(D, Z)
    W, b, psi = parts(model)
    R = np.linalg.qr(np.random.default_rng(2).normal(size=(Z, Z)))[0]
    other.set(R @ W, b, psi[:1] if kind is PPCA else psi, "float64")
    assert np.allclose(values(other.log_prob(X)), log_p(model, X), rtol=0, atol=1e-11)
    G = values(other.posterior(X)[1])
    assert abs(G - np.diag(np.diag(G))).max() < 1e-12 and G[0, 0] < G[1, 1]
    assert abs(values(other.gap(X))).max() < 1e-12


@BOTH
def test_samples_have_the_moments_of_p(kind):
    n, model = 40_000, untrained(kind)
    x, (W, b, psi) = values(model.sample(n)), parts(model)
    C = W.T @ W + np.diag(psi)
    errors = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C ** 2) / n)   # of a product of two x_i
    assert (abs(np.cov(x.T) - C) < 5 * errors).all()
    assert (abs(x.mean(0) - b) < 5 * np.sqrt(np.diag(C) / n)).all()


# --- the ELBO, term by term (C5) ------------------------------------------------------------------

@BOTH
def test_elbo_and_gap_make_ln_p(kind):
    for seed in range(3):
        model = untrained(kind, seed)
        reconstruction, rate = map(values, model.terms(X))
        gap = values(model.gap(X))
        assert gap.min() > 0.1 and rate.min() > 0
        assert np.allclose(reconstruction - rate, values(model.elbo(X)), rtol=0, atol=1e-12)
        assert np.allclose(reconstruction - rate + gap, log_p(model, X), rtol=0, atol=1e-11)


def many(f, copies):
    """Mean (4,) and standard error (4,) of a random f(x), x: the first four of X over and over."""
    with tg.no_grad():
        y = values(f(xp.asarray(np.repeat(X[:4], copies, axis=0)))).reshape(4, copies)
    return y.mean(1), y.std(1) / math.sqrt(copies)


@BOTH
def test_the_terms_are_the_means_of_what_they_say(kind):
    model, n = untrained(kind), 20_000

    def drawn(x):
        return model.decode(model.encode(x).rsample()).log_prob(x).sum(1)

    def log_ratio(x):                                   # ln q(z | x) - ln p(z), z ~ q
        q = model.encode(x)
        z = q.rsample()
        return (q.log_prob(z) + 0.5 * (z * z + math.log(2 * math.pi))).sum(1)
    for f, exact in zip((drawn, log_ratio), model.terms(X[:4])):
        mean, error = many(f, n)
        assert (abs(mean - values(exact)) < 4 * error).all()
        assert (abs(mean - values(exact) - 0.5) > 4 * error).any()


@BOTH
def test_the_bound_rises_with_k_from_the_elbo_and_stays_below_ln_p(kind):
    model = untrained(kind, seed=1)
    elbo, exact = values(model.elbo(X[:4])), log_p(model, X[:4])
    means, errors = zip(*(many(lambda x, k=k: model.log_prob_bound(x, k), 2000)
                          for k in (1, 4, 16, 64)))
    assert (abs(means[0] - elbo) < 4 * errors[0]).all()         # k = 1 is the ELBO
    for low, high, e, f in zip(means, means[1:], errors, errors[1:]):
        assert (high - low).mean() > math.sqrt((e ** 2 + f ** 2).sum())     # 4 errors of the mean
        assert (high - low > -4 * np.hypot(e, f)).all()
    for mean, error in zip(means, errors):
        assert (mean < exact + 4 * error).all()
    assert (exact - means[-1] < 0.5 * (exact - elbo)).all()


def test_every_bound_is_ln_p_where_q_is_the_posterior():
    model = PPCA(D, Z)
    model.fit_closed(X)
    for k in (1, 2, 7):
        assert np.allclose(values(model.log_prob_bound(X, k)), log_p(model, X), rtol=0, atol=1e-11)


@BOTH
def test_elbo_and_bound_pass_gradcheck(kind):
    model = untrained(kind)
    for bound in (lambda: model.elbo(X[:3]), lambda: model.log_prob_bound(X[:3], 3)):
        def f(W, logvar, V, q_logvar):
            model.decoder.W, model.logvar, model.encoder.W, model.q_logvar = W, logvar, V, q_logvar
            return bound()
        tg.gradcheck(f, model.decoder.W.data, model.logvar.data, model.encoder.W.data,
                     model.q_logvar.data, order=1)


# --- three ways to one likelihood (C4) ------------------------------------------------------------

def nats(model, x=X):
    return float(values(model.log_prob(x)).mean())


def closed_log_p(x):
    """-(sum ln l_i over Z, (D - Z) ln s^2, D ln 2 pi, D) / 2: Tipping & Bishop 1999, eq. 4 at the
    maximum"""
    l = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    s2 = l[Z:].mean()
    return -0.5 * (np.log(l[:Z]).sum() + (D - Z) * math.log(s2) + D * math.log(2 * math.pi) + D)


def as_linear_vae(model, x, steps=900):
    for p in model.parameters():
        p.data = p.data.astype("float64")
    optimizer = Adam(model.parameters(), cosine(0.1, steps), betas=(0.9, 0.99))
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def linear_vae():
    """PPCA of X, trained by gradient"""
    tg.seed(0)
    return as_linear_vae(PPCA(D, Z), X)


def one_factor():
    """Four readings of one number, with unlike gains and noises; float64"""
    rng = np.random.default_rng(3)
    return rng.normal(size=(200, 1)) * [1, 1.5, 0.7, 1.2] \
        + rng.normal(size=(200, 4)) * [0.7, 0.5, 1.2, 1.0]


def test_the_closed_form_is_that_of_tipping_and_bishop():
    model = PPCA(D, Z)
    model.fit_closed(X)
    W, b, psi = parts(model)
    l, U = np.linalg.eigh(np.cov(X.T, bias=True))
    assert np.allclose(b, X.mean(0)) and np.allclose(psi, l[:D - Z].mean())
    assert np.allclose(W.T @ W, U[:, -Z:] * (l[-Z:] - psi[0]) @ U[:, -Z:].T, rtol=0, atol=1e-12)
    assert abs(nats(model) - closed_log_p(X)) < 1e-12


@pytest.mark.once
def test_closed_form_em_and_linear_vae_agree(linear_vae):
    """All are at a maximum, so a parameter that is off by 1e-6 costs 1e-12 nats."""
    em = PPCA(D, Z)
    em.fit_em(X, steps=1000, tol=1e-14)
    assert abs(nats(em) - closed_log_p(X)) < 1e-10
    assert abs(nats(linear_vae) - closed_log_p(X)) < 1e-10
    assert abs(float(linear_vae.loss(X)) + closed_log_p(X)) < 1e-10     # its bound is tight
    closed = PPCA(D, Z)
    closed.fit_closed(X)
    for a, b, c in zip(*(map(lambda w: w.T @ w, map(np.atleast_2d, parts(m)))
                         for m in (closed, em, linear_vae))):
        assert np.allclose(a, b, atol=1e-5) and np.allclose(a, c, atol=1e-5)


@pytest.mark.once
def test_the_linear_vae_finds_the_principal_directions(linear_vae):
    """Its q has no correlations, so W W' has none either: Lucas et al. 2019, section 4.3."""
    W, _, _ = parts(linear_vae)
    _, U = np.linalg.eigh(np.cov(X.T, bias=True))
    cosines = abs(W @ U[:, -Z:]) / np.linalg.norm(W, axis=1, keepdims=True)
    assert np.allclose(np.sort(cosines, 1), [[0, 1], [0, 1]], rtol=0, atol=1e-4)


@pytest.mark.once
def test_factor_analysis_by_em_and_as_a_linear_vae_agree():
    x, em, ppca = one_factor(), FactorAnalysis(4, 1), PPCA(4, 1)
    em.fit_em(x, steps=3000, tol=1e-15)
    ppca.fit_closed(x)
    vae = as_linear_vae(FactorAnalysis(4, 1), x)
    assert abs(nats(em, x) - nats(vae, x)) < 1e-10
    assert nats(em, x) > nats(ppca, x) + 0.01


def test_scaling_an_input_only_moves_factor_analysis_along():
    """ln p(s x) = ln p(x) - ln s at the maximum: psi_d takes any scale in. PPCA cares."""
    x, s, changes = one_factor(), np.array([1, 3, 1, 1]), {}
    for kind in (PPCA, FactorAnalysis):
        one, other = kind(4, 1), kind(4, 1)
        one.fit_em(x, steps=3000, tol=1e-15)
        other.fit_em(x * s, steps=3000, tol=1e-15)
        changes[kind] = nats(one, x) - nats(other, x * s) - math.log(3)
    assert abs(changes[FactorAnalysis]) < 1e-10 < 0.01 < abs(changes[PPCA])


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_em_never_lowers_the_likelihood(kind, seed):
    x = data(N=[6, 20, 200, 30, 12][seed], noise=[0.1, 1, 0.01, 3, 0.5][seed], seed=seed)
    tg.seed(seed)
    model = kind(D, Z)
    history = model.fit_em(x, steps=300, tol=-1.0)
    rises = np.diff(history["log_prob"])
    assert len(rises) == 299 and rises.min() > -1e-12 * abs(history["log_prob"]).max()
    assert rises.sum() > 0.1 and history["step"].tolist() == list(range(1, 301))
    assert nats(model, x) >= history["log_prob"][-1] - 1e-12


def test_em_reports_the_likelihood_before_each_step():
    model = FactorAnalysis(D, Z)
    W, _, psi = (a.astype("float64") for a in parts(model))
    first = gaussian(X, X.mean(0), W.T @ W + np.diag(psi)).mean()
    assert abs(model.fit_em(X, steps=1)["log_prob"][0] - first) < 1e-12


def test_a_noise_that_goes_to_zero_stops_at_the_floor():
    """A Heywood case: z can be x_0 itself, and the more so the smaller psi_0."""
    x = data(N=200)
    x[:, 1:] = x[:, :1] + 0.5 * np.random.default_rng(1).normal(size=(200, 3))
    model = FactorAnalysis(D, 1, floor=1e-3)
    history = model.fit_em(x, steps=2000, tol=-1.0)
    assert abs(parts(model)[2].min() - 1e-3) < 1e-12 and math.isfinite(nats(model, x))
    assert np.diff(history["log_prob"]).min() > -1e-12


# --- types, state and mistakes --------------------------------------------------------------------

@BOTH
def test_shapes_types_and_branch(kind):
    model, x = kind(D, Z), X.astype("float32")
    assert model.branch == "explicit, approximate"
    model.fit_em(x, steps=50)
    for y in (model.elbo(x), model.log_prob(x), model.log_prob_bound(x, 3), model.gap(x)):
        assert y.shape == (len(x),) and y.dtype == np.float32
    assert model.loss(x).shape == () and model.loss(x).dtype == np.float32
    assert abs(values(model.log_prob(x)) - log_p(model, X)).max() < 1e-4
    assert model.encode(x).mu.shape == (len(x), Z)
    assert model.decode(xp.zeros((7, Z))).shape == (7, D)
    y = model.sample(5)
    assert isinstance(y, xp.ndarray) and y.shape == (5, D) and y.dtype == np.float32
    other = kind(D, Z)
    other.load_state_dict(model.state_dict())
    assert (values(other.log_prob(x)) == values(model.log_prob(x))).all()
    model.zero_grad()
    model.loss(x).backward()
    assert all(p.grad is not None for p in model.parameters())


def fitted(x):
    PPCA(3, 2).fit_closed(x)


@pytest.mark.parametrize("sentence, call", [
    ("PPCA: latent is 0; needs a whole number", lambda: PPCA(3, 0)),
    ("FactorAnalysis: 3 latents for D = 3", lambda: FactorAnalysis(3, 3)),
    ("PPCA: 2 latents for D = 3, floor 0", lambda: PPCA(3, 2, floor=0)),
    ("log_prob_bound: k is 0; needs a whole number of at least 1",
     lambda: PPCA(3, 2).log_prob_bound(np.zeros((2, 3)), 0)),
    ("k is None; needs a whole", lambda: PPCA(3, 2).log_prob_bound(np.zeros((2, 3)), None)),
    (r"PPCA: x has shape \(5, 4\); needed \(B, 3\)", lambda: fitted(np.zeros((5, 4)))),
    (r"PPCA: x has shape \(5, 4\)", lambda: PPCA(3, 2).elbo(np.zeros((5, 4)))),
    (r"PPCA: x has shape \(0, 3\)", lambda: PPCA(3, 2).fit_em(np.zeros((0, 3)))),
    ("PPCA: NaN or infinity among the examples", lambda: fitted(np.full((5, 3), np.nan))),
    ("covariance of 3 examples is singular: 2 latents", lambda: fitted(np.eye(3))),
    ("covariance of 5 examples is singular", lambda: PPCA(3, 1).fit_em(np.ones((5, 3)))),
    (r"PPCA: W \(3, 2\), psi \[1.\]; needs W \(2, 3\)",
     lambda: PPCA(3, 2).set(np.ones((3, 2)), np.ones(3), 1.0)),
    ("psi from the floor", lambda: PPCA(3, 2).set(np.ones((2, 3)), np.ones(3), 0.0)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
