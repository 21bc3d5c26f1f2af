"""The VAE's bounds, proven on a model whose ln p(x) is known: everything linear and Gaussian.

    p(z) = N(0, I),  p(x | z) = N(z W + b, s2 I)   so   p(x) = N(b, W'W + s2 I)
    p(z | x) = N((x - b) W' / M, s2 / M),   M = W W' + s2 I
"""
import math
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.distributions import Normal
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.models.approximate.vae import VAE
from tinygen.nn import Linear
from tinygen.optim import Adam
from tinygen.training import fit

D, Z, S2 = 5, 3, 0.3


class LinearGaussian(VAE):
    """Its guess q(z | x) has mean x A + a and a variance that does not depend on x. float64."""

    def __init__(self):
        self.D, self.latent = D, Z
        self.encoder, self.decoder = Linear(D, 2 * Z), Linear(Z, D)
        for p in self.parameters():
            p.data = p.data.astype("float64")
        self.decoder.W.data *= 3
        self.encoder.W.data[:, Z:] = 0                  # of ln s^2

    def decode(self, z):
        return Normal(self.decoder(z), xp.full(D, math.log(S2)))


def known(model, x):
    """ln p(x) (B,), and the posterior: means (B, Z), covariance (Z, Z)."""
    W, b = tg.to_numpy(model.decoder.W), tg.to_numpy(model.decoder.b)
    C, M = W.T @ W + S2 * np.eye(D), W @ W.T + S2 * np.eye(Z)
    d = x - b
    log_p = -0.5 * ((d @ np.linalg.inv(C) * d).sum(1) + np.linalg.slogdet(C)[1]
                    + D * math.log(2 * math.pi))
    return log_p, d @ W.T @ np.linalg.inv(M), S2 * np.linalg.inv(M)


def kl_to_posterior(model, x):
    """KL(N(mu, diag s^2) || N(m, S)), nats (B,)"""
    _, m, S = known(model, x)
    q = model.encode(x)
    mu, logvar = tg.to_numpy(q.mu), tg.to_numpy(q.logvar)
    d = m - mu
    return 0.5 * (np.exp(logvar) @ np.diag(np.linalg.inv(S)) + (d @ np.linalg.inv(S) * d).sum(1)
                  - Z + np.linalg.slogdet(S)[1] - logvar.sum(1))


def guess_the_posterior(model, times=1.0):
    """Sets q to the posterior's means and `times` its variances, without its correlations."""
    _, means, S = known(model, np.eye(D + 1, D))        # the last row is x = 0
    model.encoder.W.data[:, :Z] = xp.asarray(means[:-1] - means[-1])
    model.encoder.b.data[...] = xp.asarray(np.append(means[-1], np.log(times * np.diag(S))))


@pytest.fixture
def model():
    return LinearGaussian()


X = np.random.default_rng(5).normal(size=(4, D))


def many(f, copies):
    """Mean (4,) and standard error (4,) of a random f(x), x (4 * copies, D): X over and over."""
    with tg.no_grad():
        values = tg.to_numpy(f(np.repeat(X, copies, axis=0))).reshape(4, copies)
    return values.mean(1), values.std(1) / math.sqrt(copies)


# --- ELBO, bound and ln p -------------------------------------------------------------------------

def exact_elbo(model, monkeypatch):
    """E_q of elbo(x), exactly: the integrand is quadratic in eps, and the 2 Z points +-sqrt(Z) e_i
    have the mean and the covariance of N(0, I)."""
    points = math.sqrt(Z) * np.concatenate([np.eye(Z), -np.eye(Z)])
    with monkeypatch.context() as patch:
        patch.setattr(backend, "normal", lambda shape, dtype: xp.asarray(np.tile(points, (4, 1))))
        return many(model.elbo, 2 * Z)[0]


def test_elbo_and_the_gap_to_the_posterior_make_log_p(model, monkeypatch):
    gap = kl_to_posterior(model, X)
    assert gap.min() > 0.1
    assert np.allclose(exact_elbo(model, monkeypatch) + gap, known(model, X)[0], rtol=0, atol=1e-10)


def test_elbo_of_one_draw_is_unbiased(model, monkeypatch):
    mean, error = many(model.elbo, 4000)
    assert (abs(mean - exact_elbo(model, monkeypatch)) < 4 * error).all()


def test_the_bound_rises_with_k_and_stays_below_log_p(model, monkeypatch):
    log_p = known(model, X)[0]
    elbo = exact_elbo(model, monkeypatch)
    means, errors = zip(*(many(lambda x, k=k: model.log_prob_bound(x, k), 2000)
                          for k in (1, 4, 16, 64)))
    assert (abs(means[0] - elbo) < 4 * errors[0]).all()         # k = 1 is the ELBO
    for low, high, e, f in zip(means, means[1:], errors, errors[1:]):
        assert (high - low > 4 * np.hypot(e, f)).all()
    for mean, error in zip(means, errors):
        assert (mean < log_p + 4 * error).all()
    assert (log_p - means[-1] < 0.5 * (log_p - elbo)).all()


def test_the_weights_average_to_p(model):
    """E exp(bound) = p(x) for every k. Source: Burda et al. 2016, section 3."""
    log_p = np.repeat(known(model, X)[0], 4000)
    guess_the_posterior(model, times=1.5)               # wide enough for p / q to vary little
    for k in (1, 3):
        ratio, error = many(lambda x, k=k: tg.exp(model.log_prob_bound(x, k) - xp.asarray(log_p)),
                            4000)
        assert (abs(ratio - 1) < 4 * error).all() and error.max() < 0.1


def test_every_bound_is_log_p_where_q_is_the_posterior(model):
    model.decoder.W.data[...] = xp.asarray(np.diag([0.5, 1.0, 2.0, 0, 0])[:Z])
    guess_the_posterior(model)                          # which has no correlations now
    log_p = known(model, X)[0]
    assert abs(kl_to_posterior(model, X)).max() < 1e-12
    for k in (1, 2, 7):
        assert np.allclose(tg.to_numpy(model.log_prob_bound(X, k)), log_p, rtol=0, atol=1e-12)


def test_kl_is_what_monte_carlo_says(model):
    def log_ratio(x):
        q = model.encode(x)
        z, prior = q.rsample(), Normal(xp.zeros(1), xp.zeros(1))
        return (q.log_prob(z) - prior.log_prob(z)).sum(1)
    mean, error = many(log_ratio, 10_000)
    kl = tg.to_numpy(model.encode(X).kl().sum(1))
    assert (abs(mean - kl) < 4 * error).all() and error.max() < 0.1 * kl.max()


def test_samples_have_the_moments_of_p(model):
    n = 40_000
    x, W = tg.to_numpy(model.sample(n)), tg.to_numpy(model.decoder.W)
    C = W.T @ W + S2 * np.eye(D)
    variances = np.outer(np.diag(C), np.diag(C)) + C ** 2       # of one product of two x_i
    assert (abs(np.cov(x.T) - C) < 5 * np.sqrt(variances / n)).all()
    assert (abs(x.mean(0) - tg.to_numpy(model.decoder.b)) < 5 * np.sqrt(np.diag(C) / n)).all()


def peak(f):
    """The most bytes that arrays of the host took during f()."""
    tracemalloc.start()
    f()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.host_only(reason="counts the host's memory")
def test_the_bound_holds_one_sample_at_a_time():
    model, x = VAE(9, latent=2, hidden=(100,)), np.zeros((500, 9), "float32")

    def bytes_of(k):
        return peak(lambda: model.log_prob_bound(x, k))
    with tg.no_grad():
        assert bytes_of(32) < 1.5 * bytes_of(4)
    assert bytes_of(32) > 4 * bytes_of(4)


@pytest.mark.parametrize("loss", ["elbo", "log_prob_bound"])
def test_gradients_pass_through_the_draws(loss, model):
    def f(W, V):                                        # gradcheck draws the same eps each time
        model.encoder.W, model.decoder.W = W, V
        return model.elbo(X) if loss == "elbo" else model.log_prob_bound(X, 3)
    tg.gradcheck(f, model.encoder.W.data, model.decoder.W.data, order=1)


# --- the Bernoulli VAE ----------------------------------------------------------------------------

def test_learning_improves_the_bound():
    """Within 1.2 nats of the floor H(p_data) = 4.26, from 6.3, and never significantly below it."""
    world, model = TinyBits(3), VAE(9, latent=4, hidden=(64,))
    x, test = (world.sample(n, np.random.default_rng(n)) for n in (20_000, 2_000))

    def nll():
        with tg.no_grad():
            return -tg.to_numpy(model.log_prob_bound(test, 64)).mean()
    before, floor = nll(), -world.log_prob(test).mean()
    fit(model, Endless(x, 200, np.random.default_rng(1)), 500,
        [("loss", model.loss, Adam(model.parameters(), 5e-3))])
    assert before > 6 and floor < nll() < floor + 1.2


def test_shapes_types_and_branch():
    model, x = VAE(9, latent=4, hidden=(16,)), np.zeros((6, 9))
    assert model.branch == "explicit, approximate"
    q = model.encode(x)
    assert q.mu.shape == q.logvar.shape == (6, 4) and model.decode(q.mu).logits.shape == (6, 9)
    for y in (model.elbo(x), model.log_prob_bound(x, 3)):
        assert y.shape == (6,) and y.dtype == np.float32
    assert model.loss(x).shape == () and model.loss(x).dtype == np.float32
    x = model.sample(7)
    assert isinstance(x, xp.ndarray) and x.shape == (7, 9) and x.dtype == np.float32
    assert set(np.unique(tg.to_numpy(x))) <= {0, 1}


def test_every_weight_learns_from_either_bound():
    model, x = VAE(9, latent=4, hidden=(16,)), TinyBits(3).sample(20, np.random.default_rng(0))
    for loss in (model.loss, lambda x: -model.log_prob_bound(x, 5).mean()):
        model.zero_grad()
        loss(x).backward()
        assert all(p.grad is not None and tg.to_numpy(p.grad).any() for p in model.parameters())


@pytest.mark.parametrize("sentence, call", [
    ("k is 0; needs at least one sample", lambda m: m.log_prob_bound(np.zeros((2, 9)), 0)),
    (r"VAE: x has shape \(2, 8\); needed \(B, 9\)", lambda m: m.elbo(np.zeros((2, 8)))),
    (r"VAE: x has shape \(9,\)", lambda m: m.encode(np.zeros(9))),
    (r"VAE: x has shape \(0, 9\)", lambda m: m.loss(np.zeros((0, 9)))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call(VAE(9, latent=4, hidden=(16,)))
