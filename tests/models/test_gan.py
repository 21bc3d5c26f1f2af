"""The game of the GAN where its answers are known, and who learns from which loss.

    p  real,  q  generated;  the best critic is C = ln p - ln q, its loss 2 ln 2 - 2 JS(p, q)
"""
import math
from statistics import NormalDist

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine.backend import xp
from tinygen.models.implicit.gan import GAN, ConditionalGAN, InfoGAN
from tinygen.models.implicit.objectives import NON_SATURATING
from tinygen.nn import Linear
from tinygen.optim import Adam
from tinygen.training import fit

LN_4 = 1.386294


def gaussian(n, mean):
    """n points (n, 1) that stand for N(mean, 1): the middle of each n-th of its mass. float64"""
    return np.array([NormalDist(mean).inv_cdf((i + 0.5) / n) for i in range(n)])[:, None]


class Line(GAN):
    """Its "generator" gives the points of N(mean, 1); its critic is C(x) = w x + b. float64."""

    def __init__(self, mean):
        self.D, self.mean, self.critic = 1, mean, Linear(1, 1)
        for p in self.parameters():
            p.data = 0 * p.data.astype("float64")

    def generate(self, n):
        return tg.tensor(gaussian(n, self.mean))


# --- the critic's optimum -------------------------------------------------------------------------

def test_a_blind_critic_loses_ln_4():
    model = Line(mean=3.0)
    assert model.critic_loss(gaussian(99, 0.0)).item() == pytest.approx(LN_4, abs=1e-6)
    assert model.generator_loss(99).item() == pytest.approx(LN_4 / 2, abs=1e-6)


def test_at_p_equals_q_no_critic_does_better_than_a_blind_one():
    model, x = Line(mean=0.7), gaussian(99, 0.7)
    gradients = tg.grad(model.critic_loss(x), model.parameters())
    assert all(abs(tg.to_numpy(g)).max() < 1e-14 for g in gradients)
    for w, b in np.random.default_rng(0).normal(size=(20, 2)):
        model.critic.W.data[...], model.critic.b.data[...] = w, b
        assert model.critic_loss(x).item() > LN_4


@pytest.mark.parametrize("real, fake", [(0.0, 1.5), (1.5, 0.0), (-0.5, 0.5)])
def test_between_two_gaussians_the_best_critic_is_their_log_ratio(real, fake):
    """ln N(x; r, 1) - ln N(x; f, 1) = (r - f) x + (f^2 - r^2) / 2"""
    model, x = Line(fake), gaussian(4001, real)
    parameters = [model.critic.W, model.critic.b]
    for _ in range(12):                                 # Newton's method, from w = b = 0
        g = tg.grad(model.critic_loss(x), parameters, create_graph=True)
        hessian = np.array([[tg.to_numpy(h).item() for h in tg.grad(gi.sum(), parameters)]
                            for gi in g])
        step = np.linalg.solve(hessian, [gi.item() for gi in g])
        for p, s in zip(parameters, step.tolist()):
            p.data -= s
    assert abs(step).max() < 1e-12
    assert model.critic.W.item() == pytest.approx(real - fake, abs=2e-3)
    assert model.critic.b.item() == pytest.approx((fake ** 2 - real ** 2) / 2, abs=2e-3)
    assert model.critic_loss(x).item() == pytest.approx(LN_4 - 2 * js(real, fake), abs=1e-3)


@pytest.mark.parametrize("real, fake", [(0.0, 1.5), (1.5, 0.0), (-0.5, 0.5)])
def test_at_the_log_ratio_the_gradient_over_all_x_is_0(real, fake):
    """C8: the sum over x of p dl/dC(real at x) + q dl/dC(made at x), times dC/dw = x, dC/db = 1"""
    x = np.arange(-12, 12, 0.01)[:, None]
    p, q = (0.01 * np.exp(-(x - m) ** 2 / 2) / math.sqrt(2 * math.pi) for m in (real, fake))
    C = [tg.tensor((real - fake) * x + (fake ** 2 - real ** 2) / 2, True) for _ in range(2)]
    pulls = tg.grad(len(x) * NON_SATURATING.critic(*C), C)
    at = p * tg.to_numpy(pulls[0]) + q * tg.to_numpy(pulls[1])
    assert abs((at * x).sum()) < 1e-10 and abs(at.sum()) < 1e-10
    assert (p * tg.to_numpy(pulls[0])).sum() < -0.1


def js(a, b):
    """JS(N(a, 1), N(b, 1)), nats, by trapezoids"""
    x = np.arange(-12, 12, 0.01)
    p, q = (np.exp(-(x - mean) ** 2 / 2) / math.sqrt(2 * math.pi) for mean in (a, b))
    m = (p + q) / 2
    return 0.01 * (p * np.log(p / m) + q * np.log(q / m)).sum() / 2


# --- who learns from which loss -------------------------------------------------------------------

def gradients(module):
    return [None if p.grad is None else tg.to_numpy(p.grad) for p in module.parameters()]


def test_the_critics_loss_never_reaches_the_generator():
    model, x = GAN(9, latent=4, hidden=(8,)), np.ones((5, 9))
    model.critic_loss(x).backward()
    assert gradients(model.generator) == [None] * 4
    assert all(g.any() for g in gradients(model.critic))


def test_the_generators_loss_can_leave_the_critic_alone():
    model, found = GAN(9, latent=4, hidden=(8,)), []
    for inputs in (None, model.generator.parameters()):
        tg.seed(1)
        model.zero_grad()
        model.generator_loss(5).backward(inputs)
        found.append(gradients(model.generator))
        assert all((g is None) == (inputs is not None) for g in gradients(model.critic))
    assert all(a.any() and (a == b).all() for a, b in zip(*found))


def test_backward_to_given_inputs_adds_up_frees_and_refuses():
    x, w, other = (tg.tensor([float(n)], requires_grad=True) for n in (2, 3, 4))
    for _ in range(2):
        y = (x * w).sum()
        y.backward([x])
    assert x.grad.item() == 6 and w.grad is None and other.grad is None
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward([x])
    for inputs in ([other], []):
        with pytest.raises(ValueError, match="depends on none of the given inputs"):
            (x * w).sum().backward(inputs)
    assert x.grad.item() == 6


# --- the contract ---------------------------------------------------------------------------------

def test_shapes_types_and_branch():
    model, x = GAN(9, latent=4, hidden=(8, 6)), np.zeros((5, 9))
    assert model.branch == "implicit"
    for y in (model.critic_loss(x), model.generator_loss(5)):
        assert y.shape == () and y.dtype == np.float32
    x = model.sample(7)
    assert isinstance(x, xp.ndarray) and x.shape == (7, 9) and x.dtype == np.float32
    assert 0 < float(x.min()) and float(x.max()) < 1 and model.sample(0).shape == (0, 9)
    assert model.critic(x).shape == (7, 1)


def test_a_sample_leaves_no_graph_and_repeats_with_the_seed(count_tensors):
    model, samples = GAN(9, latent=4, hidden=(8,)), []
    before = count_tensors()
    for _ in range(2):
        tg.seed(3)
        samples.append(model.sample(20))
    assert count_tensors() == before and (samples[0] == samples[1]).all()


@pytest.mark.parametrize("asked", ["log_prob", "elbo", "log_prob_bound"])
def test_asked_for_a_density_it_says_why_not(asked):
    with pytest.raises(NotImplementedError, match=f"{asked}: GAN has no density to evaluate: "
                                                  "p_theta is given only by its sampler"):
        getattr(GAN(9, latent=4, hidden=(8,)), asked)(np.zeros((2, 9)))


MAKERS = {"GAN": lambda: GAN(9, latent=4, hidden=(8,)),
          "ConditionalGAN": lambda: ConditionalGAN(9, 3, latent=4, hidden=(8,)),
          "InfoGAN": lambda: InfoGAN(9, 3, latent=4, hidden=(8,))}


@pytest.mark.parametrize("n", [-1, 2.5, "3"])
@pytest.mark.parametrize("name", MAKERS)
def test_draws_are_counted_in_whole_numbers(name, n):
    model = MAKERS[name]()
    for ask, least in ((model.sample, 0), (model.generator_loss, 1)):
        with pytest.raises(ValueError, match=f"{name}: asked for {n!r} draws; needs a whole number "
                                             f"of at least {least}"):
            ask(n)
    with pytest.raises(ValueError, match=f"{name}: asked for 0 draws; .* at least 1"):
        model.generator_loss(0)
    assert model.sample(0).shape == (0, 9) and model.sample(np.int64(2)).shape == (2, 9)


@pytest.mark.parametrize("sentence, make", [
    ("GAN: .*pack.* 0", lambda: GAN(9, pack=0)), ("GAN: .*latent.* 0", lambda: GAN(9, latent=0)),
    ("ConditionalGAN: .*classes.* 0", lambda: ConditionalGAN(9, 0)),
    ("InfoGAN: .*codes.* 0", lambda: InfoGAN(9, 0)),
    ("InfoGAN: asked for 0 draws", lambda: MAKERS["InfoGAN"]().information(0)),
    *[(rf"{make.__name__}: hidden is 8; needs a size for each layer",
       lambda make=make, codes=codes: make(9, *codes, hidden=8))
      for make, codes in ((GAN, ()), (ConditionalGAN, (3,)), (InfoGAN, (3,)))]])
def test_sizes_of_0_get_one_sentence(sentence, make):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("shape", [(2, 8), (9,), (0, 9)])
def test_a_wrong_batch_gets_one_sentence(shape):
    with pytest.raises(ValueError, match=r"GAN: x has shape .*; needed \(B, 9\)"):
        GAN(9, latent=4, hidden=(8,)).critic_loss(np.zeros(shape))


# --- learning -------------------------------------------------------------------------------------

WORLD = TinyBits(3)


def play(model, players, steps):
    """Trains the named players on TinyBits for some steps; their losses."""
    goals = {"critic": ("critic", model.critic_loss,
                        Adam(model.critic.parameters(), 2e-3, betas=(0.5, 0.9))),
             "generator": ("generator", lambda x: model.generator_loss(len(x)),
                           Adam(model.generator.parameters(), 2e-3, betas=(0.5, 0.9)))}
    x = WORLD.sample(20_000, np.random.default_rng(0))
    return fit(model, Endless(x, 64, np.random.default_rng(1)), steps, [goals[p] for p in players])


@pytest.mark.once
def test_a_generator_that_learns_holds_the_critic_near_ln_4():
    model = GAN(9, latent=8, hidden=(128,))
    alone = play(GAN(9, latent=8, hidden=(128,)), ["critic"], 200)["critic"]
    assert alone[-50:].mean() < 0.4

    def pictures():
        return (tg.to_numpy(model.sample(1000)) > 0.5).astype("float32")
    before = WORLD.log_prob(pictures()).mean()
    together = play(model, ["critic", "generator"], 800)["critic"]
    x = pictures()
    assert 0.8 < together[-100:].mean() < LN_4
    assert WORLD.log_prob(x).mean() > before + 1.5
    found = WORLD.modes_found(x, within=0)              # of 16 templates, 4 of them blank or full
    lit = WORLD.templates[found].sum(1)
    bars = found[(lit > 0) & (lit < 9)]
    assert set(WORLD.factors["orientation"][bars]) == {0, 1} and len(bars) >= 4


def test_noise_reaches_every_picture_that_the_critic_sees():
    """With N(0, s^2) added, a linear critic's logits of one picture have variance s^2 |w|^2."""
    model, w = GAN(4, hidden=(), noise=0.5), np.array([[1.0], [-2.0], [0.5], [3.0]], "float32")
    model.critic[0].W.data[...] = xp.asarray(w)
    logits = tg.to_numpy(model.logits(xp.zeros((20_000, 4), dtype="float32")))
    assert abs(logits.var() / (0.25 * (w ** 2).sum()) - 1) < 4 * (2 / 20_000) ** 0.5
    without = GAN(4, hidden=()).logits(xp.zeros((2, 4), dtype="float32"))
    assert float(without.data[0, 0]) == float(without.data[1, 0])
