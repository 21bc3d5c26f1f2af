"""The bounds of VAEs, proven on models whose ln p(x) is known: everything linear and Gaussian.

    p(z) = N(0, I),  p(x | z) = N(z W + b, s2 I)   so   p(x) = N(b, W'W + s2 I)
    p(z | x) = N((x - b) W' / M, s2 / M),   M = W W' + s2 I
With p(z) = sum_k pi_k N(m_k, C_k), also that of two levels (k = 1), p(x) is the sum of the
N(m_k W + b, W'C_k W + s2 I).
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
from tinygen.models.approximate.priors import MixturePrior, StandardNormal, VampPrior
from tinygen.models.approximate.vae import (VAE, Autoencoder, ConditionalVAE, HierarchicalVAE,
                                            LogisticLikelihood, NormalLikelihood, conv_coders)
from tinygen.optim import Adam, cosine
from tinygen.reproduce.latent import warmed_up
from tinygen.training import fit

D, Z, S2 = 5, 3, 0.3


def noisy(y):
    return Normal(y, xp.full(D, math.log(S2)))


def linear_gaussian(kind=VAE, latent=Z, **settings):
    """Its guess q(z | x) has mean x A + a and a variance that does not depend on x. float64."""
    model = kind(D, latent, hidden=(), likelihood=noisy, **settings)
    for p in model.parameters():
        p.data = p.data.astype("float64")
    model.decoder[0].W.data *= 3
    model.encoder[0].W.data[:, Z:] = 0                  # of ln s^2
    return model


def known(model, x):
    """ln p(x) (B,), and the posterior: means (B, Z), covariance (Z, Z)."""
    W, b = (tg.to_numpy(a) for a in (model.decoder[0].W, model.decoder[0].b))
    M, d = W @ W.T + S2 * np.eye(Z), x - b
    return (gaussian(d, W.T @ W + S2 * np.eye(D)), d @ W.T @ np.linalg.inv(M),
            S2 * np.linalg.inv(M))


def gaussian(d, C):
    """ln N(d; 0, C)   (B,)"""
    return -0.5 * ((d @ np.linalg.inv(C) * d).sum(1) + np.linalg.slogdet(C)[1]
                   + len(C) * math.log(2 * math.pi))


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
    model.encoder[0].W.data[:, :Z] = xp.asarray(means[:-1] - means[-1])
    model.encoder[0].b.data[...] = xp.asarray(np.append(means[-1], np.log(times * np.diag(S))))


@pytest.fixture
def model():
    return linear_gaussian()


X = np.random.default_rng(5).normal(size=(4, D))


def many(f, copies):
    """Mean (4,) and standard error (4,) of a random f(x), x (4 * copies, D): X over and over."""
    with tg.no_grad():
        values = tg.to_numpy(f(np.repeat(X, copies, axis=0))).reshape(4, copies)
    return values.mean(1), values.std(1) / math.sqrt(copies)


def with_mixture():
    """(a model whose prior has two components, the exact ln p(X))"""
    model = linear_gaussian()
    model.prior = p = MixturePrior(Z, 2)
    for a in (p.mu, p.logvar, p.logits):
        a.data = xp.asarray(np.random.default_rng(2).normal(size=a.shape))
    return model, exact(model, tg.to_numpy(tg.log_softmax(p.logits)), tg.to_numpy(p.mu),
                        [np.diag(v) for v in np.exp(tg.to_numpy(p.logvar))])


def with_two_levels():
    """(a model whose latents have latents, the exact ln p(X))"""
    model = linear_gaussian(HierarchicalVAE, (Z, 2), hidden_top=())
    top = model.prior.decoder[0]
    top.W.data[:, Z:] = 0                               # the variance of z does not depend on w
    W, b = (tg.to_numpy(a) for a in (top.W, top.b))
    C = W[:, :Z].T @ W[:, :Z] + np.diag(np.exp(b[Z:]))
    return model, exact(model, [0.0], b[None, :Z], [C])


def exact(model, log_pi, means, covariances):
    """ln sum_k pi_k N(x; m_k W + b, W'C_k W + s2 I) at X   (4,)"""
    W, b = (tg.to_numpy(a) for a in (model.decoder[0].W, model.decoder[0].b))
    terms = [l + gaussian(X - m @ W - b, W.T @ C @ W + S2 * np.eye(D))
             for l, m, C in zip(log_pi, means, covariances)]
    return np.logaddexp.reduce(terms)


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
    model.decoder[0].W.data[...] = xp.asarray(np.diag([0.5, 1.0, 2.0, 0, 0])[:Z])
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


# --- other priors ---------------------------------------------------------------------------------

@pytest.mark.parametrize("make", [with_mixture, with_two_levels])
def test_bounds_under_other_priors(make):
    """ELBO <= bound(k) <= bound(k + 1) <= ln p, and E exp(bound) = p."""
    model, log_p = make()
    guess_the_posterior(model, times=3)
    stages = [many(model.elbo, 4000)] + [
        many(lambda x, k=k: model.log_prob_bound(x, k, chunk=4), 2000) for k in (1, 4, 16, 64)]
    (elbo, e), (one, f) = stages[:2]
    assert (abs(elbo - one) < 4 * np.hypot(e, f)).all()
    for (low, e), (high, f) in zip(stages[1:], stages[2:]):
        assert (high - low > -4 * np.hypot(e, f)).all() and (high - low).mean() > 0.05
    for mean, error in stages:
        assert (mean < log_p + 4 * error).all()
    assert (log_p - stages[-1][0] < 0.3 * (log_p - elbo)).all()
    wide = np.repeat(log_p, 4000)
    ratio, error = many(lambda x: tg.exp(model.log_prob_bound(x, 8) - xp.asarray(wide)), 4000)
    assert (abs(ratio - 1) < 4 * error).all() and error.max() < 0.2


def line(prior):
    """(points, their density) of a prior of one latent, fine enough to sum over."""
    z = np.linspace(-12, 12, 20_001)
    return z, np.exp(tg.to_numpy(prior.log_prob(xp.asarray(z[:, None]))).astype(float))


def mixture_on_a_line():
    prior = MixturePrior(1, 3)
    prior.mu.data[...] = xp.asarray([[-3.0], [0.5], [2.0]])
    prior.logits.data[...] = xp.asarray([0.0, 1.0, -1.0])
    return prior


def vamp_on_a_line():
    return VampPrior(VAE(2, 1, (4,)).encoder, xp.asarray([[3, -4], [0, 1], [-5, 2]], "float32"))


@pytest.mark.parametrize("make", [lambda: StandardNormal(1), mixture_on_a_line, vamp_on_a_line])
def test_a_prior_is_a_density_that_its_samples_follow(make):
    prior = make()
    z, p = line(prior)
    step = z[1] - z[0]
    assert abs(p.sum() * step - 1) < 1e-5
    edges = np.interp(np.linspace(0.02, 0.98, 25), np.cumsum(p) * step, z)
    drawn = np.histogram(tg.to_numpy(prior.sample(20_000)), [-12, *edges, 12])[0]

    def chi2(shift):
        inside = np.histogram(z + shift, [-12, *edges, 12], weights=p * step)[0] * 20_000
        return ((drawn - inside) ** 2 / inside).sum()
    assert chi2(0) < 60 < chi2(0.1)                     # 25 degrees of freedom: 60 has p = 1e-4


@pytest.mark.parametrize("make", [mixture_on_a_line, vamp_on_a_line])
def test_kl_to_a_mixture_is_the_integral(make):
    prior, q = make(), Normal(0.7, -0.4)
    z, p = line(prior)
    qz = np.exp(tg.to_numpy(q.log_prob(xp.asarray(z))))
    kl = (qz * np.log(qz / p)).sum() * (z[1] - z[0])
    wide = Normal(xp.full((20_000, 1), 0.7), xp.full((20_000, 1), -0.4))
    drawn = tg.to_numpy(prior.kl(wide, wide.sample()))
    assert drawn.shape == (20_000, 1)
    assert abs(drawn.mean() - kl) < 4 * drawn.std() / math.sqrt(20_000) < 0.1


def test_vamp_prior_is_the_mixture_of_guesses_about_pseudo_inputs():
    model, u = VAE(4, 2, (8,)), xp.asarray(np.random.default_rng(0).random((3, 4)), "float32")
    prior, z = VampPrior(model.encoder, u), xp.asarray([[0.3, -1.0], [2.0, 0.1]], "float32")
    q = model.encode(u)
    plain = tg.logsumexp(q.log_prob(z[:, None]).sum(-1), -1) - math.log(3)
    assert np.allclose(tg.to_numpy(prior.log_prob(z)), tg.to_numpy(plain), rtol=1e-5, atol=1e-5)
    prior.log_prob(z).sum().backward()
    assert all(p.grad is not None for p in (prior.u, prior.logits, model.encoder[0].W))


# --- samples, memory, gradients -------------------------------------------------------------------

def test_samples_have_the_moments_of_p(model):
    n = 40_000
    x, W = tg.to_numpy(model.sample(n)), tg.to_numpy(model.decoder[0].W)
    C = W.T @ W + S2 * np.eye(D)
    variances = np.outer(np.diag(C), np.diag(C)) + C ** 2       # of one product of two x_i
    assert (abs(np.cov(x.T) - C) < 5 * np.sqrt(variances / n)).all()
    assert (abs(x.mean(0) - tg.to_numpy(model.decoder[0].b)) < 5 * np.sqrt(np.diag(C) / n)).all()


def peak(f):
    """The most bytes that arrays of the host took during f()."""
    tracemalloc.start()
    f()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.host_only(reason="counts the host's memory")
def test_the_bound_holds_one_chunk_of_samples():
    """As its docstring says: chunk * B rows of logits and hidden units, however large k is."""
    model, x = VAE(200, latent=2, hidden=(100,)), np.zeros((100, 200), "float32")

    def bytes_of(k, chunk=1):
        return peak(lambda: model.log_prob_bound(x, k, chunk=chunk))
    with tg.no_grad():
        assert bytes_of(40) < 1.3 * bytes_of(4)
        assert bytes_of(40, chunk=8) < 6 * 8 * x.nbytes
    assert bytes_of(16) > 3 * bytes_of(4)               # recorded


@pytest.mark.host_only(reason="counts the host's memory")
def test_five_thousand_samples_take_the_memory_of_one_chunk():
    """And come within a tenth of the ELBO's gap to ln p(x)."""
    model, bounds = linear_gaussian(), {}

    def score(k):
        with tg.no_grad():
            bounds[k] = tg.to_numpy(model.log_prob_bound(X, k, chunk=100))
    score(100)                                          # what is made once, before counting
    assert peak(lambda: score(5000)) < 1.2 * peak(lambda: score(200))
    log_p = known(model, X)[0]
    gap = kl_to_posterior(model, X)
    assert (abs(log_p - bounds[5000]) < 0.1 * gap).all()


@pytest.mark.parametrize("loss", [
    lambda m: m.elbo(X), lambda m: m.log_prob_bound(X, 3),
    lambda m: m.log_prob_bound(X, 5, chunk=2),
    lambda m: m.loss(X, beta=0.5, free_bits=0.8)])
@pytest.mark.parametrize("make", [linear_gaussian, lambda: with_mixture()[0],
                                  lambda: with_two_levels()[0]])
def test_gradients_pass_through_the_draws(loss, make):
    model = make()

    def f(W, V):                                        # gradcheck draws the same eps each time
        model.encoder[0].W, model.decoder[0].W = W, V
        return loss(model)
    tg.gradcheck(f, model.encoder[0].W.data, model.decoder[0].W.data, order=1)


def per_copy(estimate, model, copies=4000):
    """Mean and standard error, (2, Z) each, of a gradient by (mu, ln s^2) of q(z | X[0]);
    estimate(x, q) gives what to differentiate, a number for each copy of x."""
    q = model.encode(X[:1])
    leaves = [tg.tensor(np.repeat(tg.to_numpy(a), copies, 0), requires_grad=True)
              for a in (q.mu, q.logvar)]
    x = xp.asarray(np.repeat(X[:1], copies, 0))
    g = np.stack([tg.to_numpy(a) for a in tg.grad(estimate(x, Normal(*leaves)).sum(), leaves)])
    return g.mean(1), g.std(1) / math.sqrt(copies)


def test_the_reparameterised_gradient_is_that_of_the_score_function(model):
    """grad E_q f(z) = E f(z) grad ln q(z): the same mean, and far more noise."""
    guess_the_posterior(model, times=2)
    model.encoder[0].b.data[:Z] += 0.5

    def reparameterised(x, q):
        return model.log_weight(x, q, q.rsample())

    def score(x, q):
        z = q.sample()
        return model.log_weight(x, q, z).detach() * q.log_prob(z).sum(1)
    mean, error = per_copy(reparameterised, model)
    other, noisier = per_copy(score, model, 40_000)
    assert (abs(mean - other) < 4 * np.hypot(error, noisier)).all()
    assert (abs(mean) > 8 * error).sum() >= 4 and (noisier > error).all()


# --- what the loss weighs -------------------------------------------------------------------------

def same_noise(f):
    backend.seed(3)
    return tg.to_numpy(f())


def test_beta_weighs_the_kl(model):
    elbo, none, half = (same_noise(lambda b=b: model.elbo(X, beta=b)) for b in (1, 0, 0.5))
    kl = tg.to_numpy(model.encode(X).kl().sum(1))
    assert np.allclose(none - elbo, kl, atol=1e-12) and np.allclose(none - half, kl / 2, atol=1e-12)


def test_free_bits_leave_small_rates_alone(model):
    """Each latent counts max(free bits, its mean KL); below, the KL pulls no more."""
    kl = np.sort(tg.to_numpy(model.encode(X).kl()).mean(0))
    free = (kl[0] + kl[1]) / 2                          # one latent below, the others above
    plain, freed = (same_noise(lambda f=f: model.loss(X, free_bits=f)) for f in (0, free))
    assert freed - plain == pytest.approx(free - kl[0], abs=1e-12)
    W, gradients = model.encoder[0].W, []
    for loss in (lambda: model.loss(X, free_bits=50.0), lambda: -tg.mean(model.parts(X)[0])):
        backend.seed(3)
        gradients.append(tg.to_numpy(tg.grad(loss(), W)))
    assert np.allclose(*gradients, atol=1e-12) and gradients[0].any()


def test_the_loss_with_beta_and_free_bits_is_what_its_formula_says(model):
    """beta sum_j max(mean KL_j, free bits) - mean ln p(x | z), every term by hand"""
    model.encoder[0].b.data[Z:] = xp.asarray([-3.0, 0.0, -1.0])         # ln s^2
    q = model.encode(X)
    mu, s2 = tg.to_numpy(q.mu), np.exp(tg.to_numpy(q.logvar))
    kl = (0.5 * (mu ** 2 + s2 - 1 - np.log(s2))).mean(0)
    assert kl.min() < 0.8 < kl.max()
    W, b = (tg.to_numpy(a) for a in (model.decoder[0].W, model.decoder[0].b))
    z = mu + np.sqrt(s2) * same_noise(lambda: backend.normal(mu.shape, "float64"))
    distortion = -gaussian(X - z @ W - b, S2 * np.eye(D)).mean()
    loss = same_noise(lambda: model.loss(X, beta=0.5, free_bits=0.8)).item()
    assert loss == pytest.approx(0.5 * np.maximum(kl, 0.8).sum() + distortion, rel=1e-12)


@pytest.mark.parametrize("t, beta", [(0, 0), (5, 0.5), (10, 1), (25, 1)])
def test_a_warm_up_raises_the_weight_of_the_kl_to_one(model, t, beta):
    adam = Adam(model.parameters(), 1e-3)
    loss, adam.t = warmed_up(model, adam, 10), t
    rate = tg.to_numpy(model.encode(X).kl()).sum(1).mean()
    distortion = -same_noise(lambda: model.parts(X)[0]).mean()
    assert same_noise(lambda: loss(X)).item() == pytest.approx(distortion + beta * rate, rel=1e-12)


def test_an_idle_latent_is_collapsed_and_its_rate_is_zero(model):
    """Where the decoder ignores a latent, the best q is the prior."""
    model.decoder[0].W.data[0] = 0
    guess_the_posterior(model)
    kl = tg.to_numpy(model.encode(X).kl())
    assert abs(kl[:, 0]).max() < 1e-12 and kl[:, 1:].min() > 0.01


# --- the Bernoulli VAE ----------------------------------------------------------------------------

@pytest.mark.once
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


# --- other likelihoods, coders, conditions --------------------------------------------------------

def learn(model, batches, steps, lr=1e-2):
    fit(model, batches, steps, [("loss", lambda x: model.loss(*x) if isinstance(x, tuple)
                                 else model.loss(x), Adam(model.parameters(), lr))])


@pytest.mark.once
def test_a_learned_scale_is_that_of_probabilistic_pca():
    """A linear VAE's optimum: s^2 is the mean of the dropped eigenvalues (Lucas et al. 2019)."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2000, 1)) * [1, -0.5, 1.5] + rng.normal(size=(2000, 3)) * 0.2).astype("f")
    model = VAE(3, 1, (), likelihood=NormalLikelihood())
    learn(model, Endless(x, 200, rng), 800, cosine(3e-2, 800))
    dropped = np.linalg.eigvalsh(np.cov(x.T))[:2].mean()
    assert math.exp(model.likelihood.logvar.item()) == pytest.approx(dropped, rel=0.1)
    assert np.allclose(np.cov(tg.to_numpy(model.sample(20_000)).T), np.cov(x.T), rtol=0.1)


@pytest.mark.once
def test_grey_levels_are_learned_and_drawn():
    """Two pixels of five levels that say the same, one step apart at times."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.integers(0, 5, (2000, 1)) + rng.choice([0, 0, 0, 1], (2000, 2)), 0, 4)
    model = VAE(2, 1, (16,), likelihood=LogisticLikelihood(5))
    learn(model, Endless(x.astype("f"), 100, rng), 500, cosine(2e-2, 500))
    with tg.no_grad():
        nll = -model.log_prob_bound(x.astype("f"), 32, chunk=32).mean().item()
    counts = np.unique(x, axis=0, return_counts=True)[1] / len(x)
    floor, alone = -(counts * np.log(counts)).sum(), 2 * math.log(5)
    assert floor < nll < floor + 0.4 < alone
    drawn = tg.to_numpy(model.sample(2000))
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4} and np.corrcoef(drawn.T)[0, 1] > 0.7


@pytest.mark.parametrize("colours", [1, 3])
def test_convolutions_code_and_decode_pictures(colours):
    D = colours * 64
    model = VAE(D, 3, coders=conv_coders(8, 3, (2, 4), colours=colours))
    x = (np.random.default_rng(0).random((5, D)) < 0.3).astype("f")
    z = model.encode(x).rsample(2)                              # (2, 5, Z)
    logits = tg.to_numpy(model.decode(z).logits)
    rows = tg.to_numpy(model.decode(z.reshape(10, 3)).logits)
    assert logits.shape == (2, 5, D) and np.allclose(logits.reshape(10, D), rows, atol=1e-6)
    assert model.log_prob_bound(x, 3, chunk=2).shape == (5,) and model.sample(2).shape == (2, D)
    model.loss(x).backward()
    assert len(model.parameters()) == 12
    assert all(tg.to_numpy(p.grad).any() for p in model.parameters())


@pytest.mark.once
def test_an_autoencoder_keeps_what_a_vae_blurs_but_cannot_sample():
    x = TinyBits(3).sample(2000, np.random.default_rng(0))
    auto, vae = Autoencoder(9, 4, (64,)), VAE(9, 4, (64,))
    for model in (auto, vae):
        learn(model, Endless(x, 100, np.random.default_rng(0)), 300)
    with tg.no_grad():
        assert auto.loss(x).item() < 0.5 < 4 < vae.loss(x).item()
    assert auto.encode(x).shape == (2000, 4) and auto.decode(auto.encode(x)).logits.shape == x.shape
    with pytest.raises(NotImplementedError, match="Autoencoder has no p.z. to draw codes from"):
        auto.sample(3)


@pytest.mark.once
def test_a_conditional_model_draws_what_its_label_says():
    """Pictures of rows or of columns, on order; and a picture is likelier under its own label."""
    world = TinyBits(3)
    x, factors = world.sample(5000, np.random.default_rng(0), return_factors=True)
    model, labels = ConditionalVAE(9, 2, 3, (64,)), factors["orientation"]
    learn(model, Endless(x, 100, np.random.default_rng(0), labels), 400)
    wanted = np.arange(2000) % 2
    drawn = world.posterior(tg.to_numpy(model.sample(2000, wanted)))
    assert (drawn * (world.factors["orientation"] == wanted[:, None])).sum(1).mean() > 0.8
    with tg.no_grad():
        own, other = (model.log_prob_bound(x, 8, c).mean().item() for c in (labels, 1 - labels))
    assert own > other + 1


def test_other_models_give_the_contract_too():
    x, labels = TinyBits(3).sample(6, np.random.default_rng(0)), np.arange(6) % 3
    for model, given in ((ConditionalVAE(9, 3, 4, (8,)), labels),
                         (HierarchicalVAE(9, (4, 2), (8,), (8,)), None),
                         (VAE(9, 4, (8,), prior=MixturePrior(4, 5)), None)):
        for y in (model.elbo(x, given), model.log_prob_bound(x, 3, given)):
            assert y.shape == (6,) and y.dtype == np.float32
        loss = model.loss(x, given)
        loss.backward()
        assert loss.dtype == np.float32
        assert all(tg.to_numpy(p.grad).any() for p in model.parameters())
        drawn = model.sample(6, given)
        assert drawn.shape == (6, 9) and drawn.dtype == np.float32
        model.load_state_dict(model.state_dict())


@pytest.mark.once
def test_two_levels_learn():
    world, model = TinyBits(3), HierarchicalVAE(9, (4, 2), (64,), (32,))
    x = world.sample(5000, np.random.default_rng(0))
    learn(model, Endless(x, 200, np.random.default_rng(1)), 350, 5e-3)
    floor = -world.log_prob(x).mean()
    with tg.no_grad():
        nll = -tg.to_numpy(model.log_prob_bound(x[:1000], 64, chunk=4)).mean()
    assert floor - 0.2 < nll < floor + 1.3


WHITE = np.full((2, 9), 255, "uint8")


@pytest.mark.parametrize("sentence, call", [
    ("log_prob_bound: k is 0; needs a whole number of at least 1",
     lambda m: m.log_prob_bound(np.zeros((2, 9)), 0)),
    ("k is 1.5; needs a whole number", lambda m: m.log_prob_bound(np.zeros((2, 9)), 1.5)),
    ("k is None; needs a whole number", lambda m: m.log_prob_bound(np.zeros((2, 9)), None)),
    (r"VAE: x has shape \(2, 8\); needed \(B, 9\)", lambda m: m.elbo(np.zeros((2, 8)))),
    (r"VAE: x has shape \(9,\)", lambda m: m.encode(np.zeros(9))),
    (r"VAE: x has shape \(0, 9\)", lambda m: m.loss(np.zeros((0, 9)))),
    ("chunk is 0; needs a whole", lambda m: m.log_prob_bound(np.zeros((2, 9)), chunk=0)),
    ("VAE: the encoder gives 6 numbers for each x; needs 8, a mean and ln s.2 for each of its 4",
     lambda m: VAE(64, 4, coders=conv_coders(8, 3)).elbo(np.zeros((2, 64)))),
    (r"VampPrior: pseudo-inputs of shape \(0, 9\); needs \(K, D\), one a row and at least one",
     lambda m: VampPrior(m.encoder, np.zeros((0, 9), "float32"))),
    *[("Bernoulli: x runs from 255 to 255; needs values from 0 to 1", score) for score in (
        lambda m: m.loss(WHITE), lambda m: m.elbo(WHITE), lambda m: m.log_prob_bound(WHITE, 3),
        lambda m: Autoencoder(9, 2).loss(WHITE))],
    ("VAE: latent is 0; needs a whole number", lambda m: VAE(9, latent=0)),
    *[(f"{kind.__name__}: hidden is 8; needs a size for each", lambda m, kind=kind, sizes=sizes:
       kind(9, *sizes, hidden=8)) for kind, sizes in (
        (VAE, ()), (Autoencoder, ()), (ConditionalVAE, (3,)), (HierarchicalVAE, ()))],
    ("HierarchicalVAE: hidden_top is 8", lambda m: HierarchicalVAE(9, hidden_top=8)),
    ("Autoencoder: latent is 0", lambda m: Autoencoder(9, latent=0)),
    ("HierarchicalVAE: top is 0", lambda m: HierarchicalVAE(9, (4, 0))),
    ("MixturePrior: K is 0", lambda m: MixturePrior(3, 0)),
    ("VAE: given labels, but it is no cond", lambda m: m.elbo(np.zeros((2, 9)), [0, 1])),
    (r"ConditionalVAE: labels are int64 of shape \(3,\); needs integers \(2,\)",
     lambda m: ConditionalVAE(9, 3).elbo(np.zeros((2, 9)), np.array([0, 1, 2]))),
    ("labels run from 0 to 3; needs 0 to 2",
     lambda m: ConditionalVAE(9, 3).elbo(np.zeros((2, 9)), [0, 3])),
    (r"made for 3 classes; needs labels \(2,\)", lambda m: ConditionalVAE(9, 3).sample(2)),
    ("side is 10; needs a multiple of 4", lambda m: conv_coders(10, 3)),
    ("conv_coders: channels is 8; needs a size for each", lambda m: conv_coders(8, 3, 8)),
    ("HierarchicalVAE: latents is 3; needs a size for each", lambda m: HierarchicalVAE(9, 3)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call(VAE(9, latent=4, hidden=(16,)))
