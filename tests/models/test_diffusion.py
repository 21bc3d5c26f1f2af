"""Diffusion's bound and samplers, proven where everything is known: Gaussian data of one number.

    x_0 ~ N(0, C)   so   E[x_0 | x_t] = alpha C x_t / (alpha^2 C + sigma^2), linear in x_t,
    and all that the ELBO averages is quadratic in x_0 and eps: +-1 times the standard deviation
    have the mean and the variance of a Gaussian, so the average of both is exact.
"""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.distributions import Normal
from tinygen.engine.backend import normal, xp
from tinygen.evaluation import bits_per_dim
from tinygen.models.approximate import diffusion
from tinygen.models.approximate.diffusion import (PREDICTIONS, DiscreteDiffusion, Diffusion,
                                                  cosine, linear, straight)
from tinygen.models.approximate.flow_matching import FlowMatching
from tinygen.nn import Embedding, ImageDenoiser, MLPDenoiser, Module
from tinygen.optim import EMA, Adam, cosine as cosine_rate
from tinygen.training import fit

C = 0.4


class Best(Module):
    """What the best network predicts of x_0 ~ N(0, C), of eps, or of v."""

    def __init__(self, predict="x", C=C):
        self.C, self.predict = tg.tensor(np.array([C]), requires_grad=True), predict

    def forward(self, x, log_snr, labels=None):
        snr = xp.exp(log_snr)[:, None]
        alpha, sigma = (snr / (1 + snr)) ** 0.5, (1 / (1 + snr)) ** 0.5
        x0 = alpha * self.C / (alpha ** 2 * self.C + sigma ** 2) * x
        eps = (x - alpha * x0) / sigma
        return {"x": x0, "eps": eps, "v": alpha * eps - sigma * x0}[self.predict]


def best(T, first=8.0, last=-9.0, **settings):
    return Diffusion(Best(), 1, straight(T, first, last), "x", **settings)


def host(x):
    return tg.to_numpy(x)


def column(*values):
    return xp.asarray(np.array(values, dtype="float64")[:, None])


@pytest.fixture
def exact(monkeypatch):
    """eps is +1, -1, +1, ... down the batch: give each x twice and take the mean."""
    def plus_minus(shape, dtype):
        return xp.asarray(np.resize([1.0, -1.0], shape[0])[:, None] * np.ones(shape), dtype=dtype)
    monkeypatch.setattr(diffusion, "normal", plus_minus)


SCHEDULES = pytest.mark.parametrize("log_snr", [
    lambda: linear(1000), lambda: cosine(50), lambda: straight(20, 6, -6)],
    ids=["linear", "cosine", "straight"])


# --- q --------------------------------------------------------------------------------------------

@SCHEDULES
def test_encode_is_the_chain_of_single_steps(log_snr):
    """x_t = sqrt(1 - beta_t) x_t-1 + sqrt(beta_t) eps, mean and variance followed step by step"""
    model = Diffusion(Best(), 1, log_snr())
    alpha2 = host(model.alpha) ** 2
    mean, variance = 1.7, 0.0
    for t in range(1, model.T + 1):
        beta = 1 - alpha2[t] / alpha2[t - 1]
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        q = model.encode(column(1.7), t)
        assert host(q.mu).item() == pytest.approx(mean, rel=1e-9)
        assert math.exp(host(q.logvar).item()) == pytest.approx(variance, rel=1e-9)


def test_the_schedules_are_the_published_ones():
    beta = np.linspace(1e-4, 0.02, 1000)
    assert Diffusion(Best(), 1, linear(1000)).alpha[1:].tolist() == pytest.approx(
        np.sqrt(np.cumprod(1 - beta)).tolist(), rel=1e-9)
    t = np.arange(101) / 100
    f = np.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha = host(Diffusion(Best(), 1, cosine(100)).alpha)
    assert np.allclose(alpha[:100] ** 2, f[:100] / f[0], rtol=1e-9)     # the last beta is cut
    assert alpha[100] ** 2 == pytest.approx(0.001 * alpha[99] ** 2, rel=1e-9)
    assert np.allclose(np.diff(host(straight(11, 5, -5))), -1)


@SCHEDULES
def test_posterior_is_bayes_rule(log_snr):
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0), summed up on a grid."""
    model = Diffusion(Best(), 1, log_snr())
    alpha, sigma, x0 = host(model.alpha), host(model.sigma), 0.6
    for t, s in [(2, 1), (model.T // 2, model.T // 2 - 1), (model.T, model.T // 3)]:
        x, ratio = alpha[t] * x0 - 1.3 * sigma[t], alpha[t] / alpha[s]
        width = math.sqrt(sigma[t] ** 2 - ratio ** 2 * sigma[s] ** 2)
        z = np.linspace(-12, 12, 400_001) * sigma[s] + alpha[s] * x0
        logp = -((x - ratio * z) / width) ** 2 / 2 - ((z - alpha[s] * x0) / sigma[s]) ** 2 / 2
        p = np.exp(logp - logp.max())
        p /= p.sum()
        mean, sd = model.posterior(column(x0), column(x), t, s)
        assert host(mean).item() == pytest.approx(p @ z, abs=1e-7)
        assert sd == pytest.approx(math.sqrt(p @ (z - p @ z) ** 2), rel=1e-6)


@pytest.mark.parametrize("eta", [0, 0.3, 1])
def test_every_eta_keeps_the_marginals(eta):
    model = best(20)
    for t, s in [(20, 19), (14, 3), (2, 1)]:
        mean, sd = (model.posterior(column(0.7), column(float(model.alpha[t]) * 0.7 + e), t, s, eta)
                    for e in (0.0, float(model.sigma[t])))
        slope = host(sd[0] - mean[0]).item()                    # per unit of eps
        assert host(mean[0]).item() == pytest.approx(0.7 * float(model.alpha[s]))
        assert slope ** 2 + mean[1] ** 2 == pytest.approx(float(model.sigma[s]) ** 2)
        assert (mean[1] == 0) == (eta == 0)


# --- predictions ----------------------------------------------------------------------------------

def test_each_prediction_gives_x0_back():
    rng = np.random.default_rng(0)
    x0, eps, angle = rng.normal(size=50), rng.normal(size=50), rng.uniform(0.1, 1.4, 50)
    alpha, sigma = np.cos(angle), np.sin(angle)
    x = alpha * x0 + sigma * eps
    for name, y in {"eps": eps, "v": alpha * eps - sigma * x0, "x": x0}.items():
        assert np.allclose(PREDICTIONS[name](x, y, alpha, sigma), x0, rtol=0, atol=1e-12)
    v = alpha * eps - sigma * x0
    assert np.allclose(sigma * x + alpha * v, eps, rtol=0, atol=1e-12)      # and eps from v


def test_the_bound_does_not_depend_on_what_the_network_predicts(exact):
    bounds = [host(Diffusion(Best(p), 1, straight(30, 5, -7), p).elbo(column(0.5, -1.0)))
              for p in PREDICTIONS]
    assert np.ptp(np.stack(bounds), axis=0).max() < 1e-10


# --- the bound ------------------------------------------------------------------------------------

def exact_elbo(model, C=C):
    """E over x_0 and eps of elbo(x), and the exact E ln p(x) = -H, nats"""
    s = math.sqrt(C) * model.scale
    with tg.no_grad():
        elbo = host(model.elbo(column(s, s, -s, -s))).mean()
    return elbo, -0.5 * math.log(2 * math.pi * math.e * s * s)


@pytest.mark.once
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_bound_rises_with_T_to_the_log_likelihood_and_not_past_it(exact, scale):
    gaps = []
    for T in (4, 20, 100, 500, 2500):
        elbo, log_p = exact_elbo(best(T, 9.0, -12.0, scale=scale))
        gaps.append(log_p - elbo)
    assert all(0 < b < 0.4 * a for a, b in zip(gaps, gaps[1:])) and gaps[-1] < 0.02


def test_a_wrong_network_has_a_lower_bound(exact):
    model = best(200)
    right = exact_elbo(model)[0]
    for C_wrong in (0.2, 0.8):
        model.network.C.data[...] = C_wrong
        assert exact_elbo(model)[0] < right - 0.05


def test_the_terms_are_divergences():
    """Between q(x_s | x_t, x_0) and the same with x0_hat: by Normal.kl, and by averaging
    ln q - ln p over draws from q."""
    model, x = best(10), column(0.9)
    for t in (2, 5, 10):
        one_eps = float(model.alpha[t]) * x + float(model.sigma[t])
        at = xp.full(1, t)
        (mu_q, sd), (mu_p, _) = (model.posterior(x0, one_eps, t, t - 1)
                                 for x0 in (x, model.denoise(one_eps, at).data))
        logvar = xp.full(1, 2 * math.log(sd))
        q, p = Normal(mu_q, logvar), Normal(mu_p, logvar)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diffusion, "normal", lambda shape, dtype: xp.ones(shape, dtype))
            kl = -host(model._term(x, at, None)).item()
        assert kl == pytest.approx(host(q.kl(p)).item(), rel=1e-9)
        z = q.sample((20_000,))
        ratio = host(q.log_prob(z) - p.log_prob(z)).ravel()
        assert abs(ratio.mean() - kl) < 4 * ratio.std() / math.sqrt(len(ratio)) and ratio.std() > 0


def test_one_random_t_is_unbiased(exact, monkeypatch):
    """The sum over t of chance(t) times the estimate from that t is the whole bound."""
    model = Diffusion(Best("v"), 1, cosine(25))
    chance = host(model.chance)[1:]
    assert chance.sum() == pytest.approx(1) and chance.min() > 0
    middles = np.cumsum(chance) - chance / 2
    for eps in (0, 1):                                  # the exact fixture's two, one at a time
        x = xp.full((2 * model.T, 1), 0.8, dtype="float64")
        monkeypatch.setattr(diffusion, "evenly_spread",
                            lambda n: xp.asarray(np.repeat(middles, 2)))
        from_one = host(model.elbo(x, draws=1))[eps::2]
        assert chance @ from_one == pytest.approx(host(model.elbo(x))[eps].item(), rel=1e-10)
        assert np.ptp(from_one) > 0.1


def test_times_are_drawn_by_their_chance():
    """Example i alone sees u uniform: chi-square over draws of a batch, one example of it."""
    u = np.array([host(diffusion.evenly_spread(7)) for _ in range(4000)])
    for i in (0, 3, 6):
        counts = np.histogram(u[:, i], 20, (0, 1))[0]
        assert ((counts - 200) ** 2 / 200).sum() < 43.8             # 1 in 1000, 19 degrees
    assert np.allclose(np.sort(u, axis=1)[:, 1:] - np.sort(u, axis=1)[:, :-1], 1 / 7)


def test_the_loss_is_less_the_bound_on_average():
    model, x = best(50), column(*np.random.default_rng(1).normal(0, math.sqrt(C), 200))
    with tg.no_grad():
        loss = np.array([model.loss(x).item() for _ in range(300)])
        full = -np.mean([host(model.elbo(x)).mean() for _ in range(20)])
        several = -np.mean([host(model.elbo(x, draws=5)).mean() for _ in range(60)])
    error = loss.std() / math.sqrt(300)
    assert abs(loss.mean() - full) < 4 * error and abs(several - full) < 4 * error
    assert error < 0.05


# --- whole chains ---------------------------------------------------------------------------------

def model_variance(model):
    """Var x under the model itself: x_T ~ N(0, 1) and every step linear, followed step by step."""
    variance = 1.0
    for t in range(model.T, 0, -1):
        x0 = model.denoise(column(1.0), t).data
        if t == 1:
            return host(x0).item() ** 2 * variance + 1 / math.exp(float(model.log_snr[1]))
        slope, s = model.posterior(x0, column(1.0), t, t - 1)
        variance = host(slope).item() ** 2 * variance + s ** 2


def test_the_chains_average_to_p_and_their_bound_rises():
    """E exp(bound) = p(x); elbo = bound of 1 < bound of 8 < ln p"""
    model, n = best(4, 3.0, -5.0), 20_000
    v = model_variance(model)
    x = np.array([0.3, -1.1])
    log_p = -0.5 * (x * x / v + math.log(2 * math.pi * v))
    rows = column(*np.repeat(x, n))
    with tg.no_grad():
        one, eight, elbo = (host(f).reshape(2, n) for f in (
            model.log_prob_bound(rows), model.log_prob_bound(rows, 8), model.elbo(rows)))
    error = one.std(1) / math.sqrt(n)
    assert (abs(one.mean(1) - elbo.mean(1)) < 5 * (error + elbo.std(1) / math.sqrt(n))).all()
    assert (one.mean(1) + 4 * error < eight.mean(1)).all() and (eight.mean(1) < log_p).all()
    ratio = np.exp(one - log_p[:, None])
    assert (abs(ratio.mean(1) - 1) < 4 * ratio.std(1) / math.sqrt(n)).all()
    assert (ratio.std(1) / math.sqrt(n) < 0.02).all()


def test_ancestral_samples_have_the_models_variance():
    model, n = best(6, 3.0, -5.0, scale=2.0), 40_000
    x, v = host(model.sample(n)), 4 * model_variance(model)
    assert abs(x.var() / v - 1) < 4 * math.sqrt(2 / n) and abs(x.mean()) < 4 * math.sqrt(v / n)
    assert abs(v / (4 * C) - 1) > 8 * math.sqrt(2 / n)  # few steps: not the data's


@pytest.mark.parametrize("eta, steps, tolerance", [(0, None, 0.01), (0, 25, 0.2), (1, None, 0.03)])
def test_sampling_gives_back_the_data(eta, steps, tolerance):
    x = host(best(400).sample(20_000, eta=eta, steps=steps))
    assert abs(x.var() / C - 1) < tolerance + 4 * math.sqrt(2 / 20_000)


def test_ddim_is_a_function_of_its_start():
    model = best(40)
    z, told = xp.asarray(np.random.default_rng(0).normal(size=(5, 1))), []
    a, b = (host(model.generate(z, steps=10, eta=0, report=lambda *step: told.append(step)))
            for _ in range(2))
    assert (a == b).all() and told[:10] == [(i, 10, {}, 0.5) for i in range(1, 11)]
    c, d = (host(model.generate(z, steps=10)) for _ in range(2))
    assert (c != d).all() and (c != a).all()
    assert host(model.generate(z, steps=1, eta=0)).shape == (5, 1)


# --- labels ---------------------------------------------------------------------------------------

class ByLabel(Module):
    """Predicts x_0 = a number for each label, the last for none."""

    def __init__(self):
        self.table = Embedding(4, 2)

    def forward(self, x, log_snr, labels):
        return self.table(labels) + 0 * x


def labelled(drop=0.1):
    return Diffusion(ByLabel(), 2, straight(20, 6, -6), "x", classes=3, drop=drop)


def test_guidance_goes_from_no_label_through_the_label_and_on():
    model, x, y = labelled(), xp.zeros((4, 2)), xp.asarray([0, 1, 2, 1])
    free, own = (host(model.denoise(x, 5, labels)) for labels in (None, y))
    table = host(model.network.table.W)
    assert np.allclose(free, table[3]) and np.allclose(own, table[[0, 1, 2, 1]])
    assert np.allclose(host(model.denoise(x, np.int64(5), y)), own)
    for w in (0, 0.5, 1, 3):
        assert np.allclose(host(model.denoise(x, 5, y, w)), free + w * (own - free))
    assert np.allclose(host(model.sample(4, y, eta=0, guidance=2.0)), 2 * own - free, atol=1e-6)


@pytest.mark.parametrize("drop, rows", [(0, [1]), (1, [3]), (0.5, [1, 3])])
def test_dropped_labels_teach_the_unlabelled_row(drop, rows):
    model = labelled(drop)
    model.loss(np.ones((40, 2)), xp.full(40, 1)).backward()
    g = host(model.network.table.W.grad)
    assert np.flatnonzero(abs(g).sum(1)).tolist() == rows


def test_a_label_tells_the_bound_something():
    model, x = labelled(), xp.ones((3, 2))
    model.network.table.W.data[1] = 1.0
    with tg.no_grad():
        right, wrong, free = (host(model.elbo(x, y)).mean()
                              for y in (xp.full(3, 1), xp.full(3, 0), None))
    assert right > wrong and right > free


# --- pictures -------------------------------------------------------------------------------------

def pictured(T=3):
    """A U-Net in a diffusion of 8 x 8 pixels, what starts at 0 in it made as large as the rest"""
    model = DiscreteDiffusion(ImageDenoiser(8, (8, 8), classes=3), 64, straight(T, 2.0, -5.0),
                              classes=3)
    for p in model.parameters():
        if not host(p).any():
            p.data = 0.3 * normal(p.shape, "float32")
    return model


def test_a_u_net_takes_noise_off_pictures():
    model, y = pictured(), xp.asarray([0, 1, 2, 1])
    x = xp.asarray(np.random.default_rng(0).integers(0, 2, (4, 64)), dtype="float32")
    assert model.loss(x, y).shape == () and model.log_prob_bound(x, 2, y).shape == (4,)
    for bound in (model.elbo(x, y), model.elbo(x), model.elbo(x, draws=2)):
        assert bound.shape == (4,) and bound.dtype == np.float32 and (host(bound) < 0).all()
    model.zero_grad()
    (model.elbo(x, y) + model.elbo(x)).sum().backward()     # labels and none
    rows = host(model.network.label.W.grad)
    assert all(host(p.grad).any() for p in model.parameters()) and rows.any(1).all()
    drawn = model.sample(4, y)
    assert drawn.shape == (4, 64) and drawn.dtype == np.float32 and set(host(drawn).flat) == {0, 1}


def test_guidance_changes_what_a_u_net_draws():
    """From one start: w = 1 is the label's own picture, 0 that of none, and 4 another than both."""
    model, y = pictured(), xp.asarray([0, 1, 2, 1])
    z = normal((4, 64), "float32")
    one, none, four, free = (host(model.generate(z, labels, eta=0, guidance=w)) for labels, w in
                             ((y, 1.0), (y, 0.0), (y, 4.0), (None, 1.0)))
    assert (none == free).all()
    for a, b in ((one, none), (four, one), (four, none)):
        assert (a != b).any(1).all()


@pytest.mark.parametrize("k", [2, 3])
def test_the_bound_on_levels_is_one_of_a_probability(k):
    """p(x | x_1) sums to 1 exactly, and E exp(bound) over all x within its error. The bound is
    below 0, as ln P is."""
    model, n = DiscreteDiffusion(Best(), 1, straight(3, 2.0, -5.0), "x", k), 30_000
    z = column(-1.3, 0.2, 2.0)
    p = [np.exp(host(model._log_likelihood(xp.full((3, 1), level, dtype="float64"),
                                           model.denoise(z, 1)))) for level in range(k)]
    assert np.allclose(np.sum(p, axis=0), 1, rtol=0, atol=1e-12)
    with tg.no_grad():
        bounds = [host(model.log_prob_bound(xp.full((n, 1), level, dtype="float64")))
                  for level in range(k)]
    total = np.sum([np.exp(b).mean() for b in bounds])
    error = math.sqrt(np.sum([np.exp(b).var() / n for b in bounds]))
    assert abs(total - 1) < 4 * error < 0.08
    assert all(host(model.elbo(xp.full((99, 1), level))).mean() < np.log(np.exp(b).mean())
               for level, b in enumerate(bounds))
    x = host(model.sample(200))
    assert set(np.unique(x)) <= set(range(k)) and len(np.unique(x)) == k
    assert set(np.unique(host(model.sample(9, eta=0)))) <= set(range(k))


def test_levels_are_spread_over_minus_one_to_one():
    model = DiscreteDiffusion(Best(), 1, straight(3, 6.0, -5.0), "x", 3)
    assert host(model.encode(column(0, 1, 2), 1).mu).ravel().tolist() == pytest.approx(
        [-float(model.alpha[1]), 0, float(model.alpha[1])])
    assert host(model.decode(column(-1, 0, 1)).logits).shape == (3, 1, 3)


# --- learning -------------------------------------------------------------------------------------

@pytest.mark.parametrize("predict", PREDICTIONS)
def test_gradients_of_the_loss_at_fixed_noise_and_times(predict):
    model = Diffusion(MLPDenoiser(2, (6,), octaves=2, classes=2), 2, straight(9, 4, -6), predict,
                      classes=2)
    x = np.random.default_rng(0).normal(size=(5, 2))
    y = xp.asarray([0, 1, 1, 0, 1])
    for p in model.parameters():
        p.data = p.data.astype("float64")

    def loss(W, b):                                     # gradcheck draws the same eps and t again
        model.network.layers[0].W, model.network.layers[2].b = W, b
        return model.loss(xp.asarray(x), y)
    first, last = model.network.layers[0], model.network.layers[2]
    tg.gradcheck(loss, first.W.data, last.b.data, order=1)


@pytest.mark.once
def test_learning_comes_near_the_floor_from_below():
    """Two wide moons: the ELBO ends within .1 nats of ln p_data, from .4, and not above it by more
    than three standard errors. Seeds 0 to 2 end at .063, .040 and .038, with an error of .017."""
    world, steps = Mixture2D("moons", s=0.4), 1200
    model = Diffusion(MLPDenoiser(2, (64, 64), octaves=2), 2, straight(400, 4.0, -8.0))
    x, test = (world.sample(n, np.random.default_rng(n)) for n in (20_000, 4000))
    ema = EMA(Adam(model.parameters(), cosine_rate(4e-3, steps, warmup=20)), 0.98)

    def gap():
        with tg.no_grad(), ema.averaged():
            below = world.log_prob(test) - host(model.elbo(test, draws=80))
            return below.mean(), below.std() / len(test) ** 0.5
    (before, _), _ = gap(), fit(model, Endless(x, 256, np.random.default_rng(1)), steps,
                                [("loss", model.loss, ema)])
    after, error = gap()
    assert before > 0.3 and -3 * error < after < 0.1, (before, after, error)


def test_shapes_types_and_branch():
    model, x = Diffusion(MLPDenoiser(3, (8,)), 3, straight(5, 4, -6)), np.zeros((6, 3))
    assert model.branch == "explicit, approximate"
    for y in (model.elbo(x), model.elbo(x, draws=2), model.log_prob_bound(x, 2)):
        assert y.shape == (6,) and y.dtype == np.float32
    assert model.loss(x).shape == () and model.loss(x).dtype == np.float32
    q = model.encode(x)
    assert q.mu.shape == (6, 3) and model.decode(q.sample()).mu.shape == (6, 3)
    assert abs(host(q.kl())).max() < 0.01               # the last step is noise
    x = model.sample(7)
    assert isinstance(x, xp.ndarray) and x.shape == (7, 3) and x.dtype == np.float32
    assert model.sample(7, eta=0).dtype == np.float32
    assert bits_per_dim(3 * math.log(2), 3) == pytest.approx(1)
    model.loss(np.ones((6, 3))).backward()
    assert all(p.grad.dtype == np.float32 and host(p.grad).any() for p in model.parameters())


# --- flow matching --------------------------------------------------------------------------------

class BestVelocity(Module):
    """E[eps - x_0 | x_t] for x_0 ~ N(0, C):   (t - (1 - t) C) / ((1 - t)^2 C + t^2) x_t"""

    def __init__(self):
        self.C = tg.tensor(np.array([C]), requires_grad=True)

    def forward(self, x, log_snr):
        t = (1 / (1 + xp.exp(log_snr / 2)))[:, None]
        return (t - (1 - t) * self.C) / ((1 - t) ** 2 * self.C + t ** 2) * x


def test_the_flow_carries_noise_to_data_ever_better_with_more_steps():
    """The exact flow of a Gaussian is x = sqrt(C) z; Euler's error is of order 1 / steps."""
    model, z = FlowMatching(BestVelocity(), 1, scale=3.0), column(0.5, -2.0)
    with tg.no_grad():
        errors = [abs(host(model.decode(z, steps)) - 3 * math.sqrt(C) * host(z)).max()
                  for steps in (50, 500)]
        back = host(model.encode(model.decode(z, 500), 500))
    assert errors[1] < 0.15 * errors[0] and errors[0] < 0.12
    assert abs(back - host(z)).max() < 0.02


def test_the_flows_loss_is_the_variance_that_x_t_leaves():
    t = (np.arange(10_000) + 0.5) / 10_000
    left = 1 + C - (t - (1 - t) * C) ** 2 / ((1 - t) ** 2 * C + t ** 2)
    model, x = FlowMatching(BestVelocity(), 1), np.random.default_rng(0).normal(size=(50_000, 1))
    losses = [model.loss(xp.asarray(math.sqrt(C) * part)).item() for part in np.split(x, 50)]
    error = np.std(losses) / math.sqrt(50)
    assert abs(np.mean(losses) - left.mean()) < 4 * error < 0.08
    model.network.C.data[...] = 3 * C
    worse = [model.loss(xp.asarray(math.sqrt(C) * part)).item() for part in np.split(x, 50)]
    assert np.mean(worse) > np.mean(losses) + 4 * error


@pytest.mark.once
def test_flow_matching_learns_two_moons():
    world = Mixture2D("moons", s=0.2)
    model, told = FlowMatching(MLPDenoiser(2, (64, 64), octaves=2), 2), []
    fit(model, Endless(world.sample(20_000, np.random.default_rng(0)), 256,
                       np.random.default_rng(1)), 300,
        [("loss", model.loss, Adam(model.parameters(), 4e-3))])
    x = host(model.sample(2000, 50, report=lambda *step: told.append(step)))
    assert x.dtype == np.float32 and told[-1] == (50, 50, {}, 40.0)
    floor = world.entropy()[0]                          # of true samples; of noise it is above 5
    assert -world.log_prob(x).mean() < floor + 0.5
    assert len(np.unique(world.nearest_mode(x))) == world.K


# --- mistakes -------------------------------------------------------------------------------------

def plain(**settings):
    return Diffusion(Best(), 1, **{"log_snr": straight(9, 6, -6), **settings})


@pytest.mark.parametrize("sentence, call", [
    (r"does not end in noise: 90\.4% of x_T's variance is still x_0's, needed at most 1%",
     lambda: plain(log_snr=linear(10, 1e-4, 0.02))),
    ("does not fall at every step", lambda: plain(log_snr=np.array([3.0, 4.0, -9.0]))),
    (r"schedule of shape \(0,\)", lambda: plain(log_snr=np.array([]))),
    ("does not fall at every step", lambda: plain(log_snr=np.array([3.0, math.nan]))),
    ("predict is 'noise'; choose from eps, v, x", lambda: plain(predict="noise")),
    ("scale is 0; needs a number above 0", lambda: plain(scale=0)),
    ("k is 1; needs at least 2 levels",
     lambda: DiscreteDiffusion(Best(), 1, straight(9, 6, -6), k=1)),
    (r"Diffusion: x has shape \(2, 3\); needed \(B, 1\)", lambda: plain().elbo(np.zeros((2, 3)))),
    ("elbo: draws is 0; needs a whole number", lambda: plain().elbo(column(1), draws=0)),
    ("elbo: draws is 1.5; needs a whole number", lambda: plain().elbo(column(1), draws=1.5)),
    ("log_prob_bound: k is 0; needs a whole", lambda: plain().log_prob_bound(column(1), 0)),
    ("log_prob_bound: k is 1.5; needs a whole", lambda: plain().log_prob_bound(column(1), 1.5)),
    ("log_prob_bound: k is None; needs", lambda: plain().log_prob_bound(column(1), None)),
    ("linear: T is -1; needs a whole number", lambda: linear(-1)),
    ("linear: T is 1.5; needs a whole number", lambda: linear(1.5)),
    ("cosine: T is 0; needs a whole number", lambda: cosine(0)),
    ("straight: T is 2.5; needs a whole number", lambda: straight(2.5, 6)),
    ("linear: betas from 0.0001 to 1.5; needs both between", lambda: linear(100, 1e-4, 1.5)),
    ("Diffusion: D is 0; needs a whole", lambda: Diffusion(Best(), 0, straight(9, 6, -6))),
    ("FlowMatching: D is 0; needs a whole", lambda: FlowMatching(BestVelocity(), 0)),
    ("FlowMatching: scale is 0; needs a", lambda: FlowMatching(BestVelocity(), 1, scale=0)),
    ("encode: t is 10; needs 1 to T = 9", lambda: plain().encode(column(1), 10)),
    ("0 steps with eta 1.0; needs 1 to T = 9", lambda: plain().sample(3, steps=0)),
    ("10 steps with", lambda: plain().sample(3, steps=10)),
    ("eta 1.5; needs", lambda: plain().sample(3, eta=1.5)),
    ("guidance needs a model with classes", lambda: plain().sample(3, guidance=2.0)),
    ("guidance needs .* labels", lambda: labelled().sample(3, guidance=2.0)),
    ("Diffusion: classes is 0; needs a whole",
     lambda: Diffusion(ByLabel(), 2, straight(20, 6, -6), classes=0)),
    ("drop is 10; needs a share", lambda: labelled(drop=10)),
    ("given labels, but made without classes", lambda: plain().loss(column(1), xp.asarray([0]))),
    (r"labels are int64 of shape \(1,\); needs integers \(2,\), one for each",
     lambda: labelled().elbo(np.zeros((2, 2)), xp.asarray([0]))),
    ("labels run from 4 to 4; needs 0 to 3",
     lambda: labelled().elbo(np.zeros((1, 2)), xp.asarray([4]))),
    ("x holds 0.5; needs whole numbers from 0 to 1",
     lambda: DiscreteDiffusion(Best(), 1, straight(9, 6, -6)).elbo(column(0.5))),
    ("steps is 0; needs a whole number", lambda: FlowMatching(BestVelocity(), 1).sample(2, 0)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_flow_matching_has_no_bound():
    model = FlowMatching(BestVelocity(), 1)
    for bound in (model.elbo, model.log_prob_bound):
        with pytest.raises(NotImplementedError, match="bounds no likelihood.*; train a Diffusion"):
            bound(column(1))


def test_encode_without_t_is_where_generate_starts_and_at_one_where_decode_does():
    model, x = best(6, 9.0, -9.0), column(0.7, -0.2)
    assert (host(model.encode(x).mu) == host(model.encode(x, 6).mu)).all()
    back = host(model.decode(model.encode(x, 1).mu).mu)
    assert np.allclose(back, host(x), atol=1e-3)
    assert abs(host(model.decode(model.encode(x).mu).mu)).max() < 0.02      # read as x_1: nothing
