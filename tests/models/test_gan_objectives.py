"""Objectives at their textbook values, penalties by gradcheck, packing and diagnosis, and networks.

    p real, q generated;   C a critic, here often linear: C(x) = x . w + b, of slope |w| everywhere
"""
import math
from statistics import NormalDist

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.known import Mixture2D
from tinygen.engine.backend import to_numpy, xp
from tinygen.models.implicit.architectures import (MinibatchStd, bits, dcgan_critic,
                                                   dcgan_generator, wave_critic, waves)
from tinygen.models.implicit.gan import GAN, ConditionalGAN, InfoGAN
from tinygen.models.implicit.objectives import (HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING,
                                                WASSERSTEIN, WeightClipping, diagnose,
                                                gradient_penalty, measures, r1_penalty, smoothed)
from tinygen.nn import Linear, mlp
from tinygen.optim import SGD, Adam, cosine

LN_2 = math.log(2)


def logits(*values):
    return tg.tensor(np.array(values, "float64")[:, None], requires_grad=True)


def shares(p):
    """Indices 0, 1, 2 of ten examples in the shares p."""
    return xp.asarray(np.repeat(np.arange(3), (10 * p).round().astype(int)))


# --- objectives at q = p --------------------------------------------------------------------------

# The critic's logit where p = q, its loss there, the generator's, and the slope of the latter.
AT_EQUALITY = {
    "minimax": (MINIMAX, 0.0, 2 * LN_2, -LN_2, -0.5),
    "non-saturating": (NON_SATURATING, 0.0, 2 * LN_2, LN_2, -0.5),
    "least squares": (LEAST_SQUARES, 0.5, 0.25, 0.125, -0.5),
    "hinge": (HINGE, 0.0, 2.0, 0.0, -1.0),
    "wasserstein": (WASSERSTEIN, 0.0, 0.0, 0.0, -1.0),
}


@pytest.mark.parametrize("name", AT_EQUALITY)
def test_each_objective_has_its_textbook_value_where_q_is_p(name):
    objective, c, critic, generator, slope = AT_EQUALITY[name]
    x = logits(*[c] * 6)
    assert objective.critic(x, x).item() == pytest.approx(critic, abs=1e-12)
    assert objective.generator(x).item() == pytest.approx(generator, abs=1e-12)
    assert to_numpy(tg.grad(objective.generator(x), x)).sum() == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("name", AT_EQUALITY)
def test_there_no_critic_does_better(name):
    """Given the same logits for real and generated, the loss is lowest at the constant above."""
    objective, c, lowest, *_ = AT_EQUALITY[name]
    for values in np.random.default_rng(0).normal(c, 2.0, size=(50, 6)):
        x = logits(*values)
        assert objective.critic(x, x).item() >= lowest - 1e-12


@pytest.mark.parametrize("objective, best", [
    (NON_SATURATING, lambda p, q: np.log(p / q)), (LEAST_SQUARES, lambda p, q: p / (p + q))])
def test_the_best_critic_is_a_function_of_p_over_q(objective, best):
    """On three points with p and q as their shares of the batch, by the gradient at the optimum."""
    p, q = np.array([5, 3, 2]) / 10, np.array([1, 3, 6]) / 10
    C = logits(*best(p, q))
    real, fake = (C[shares(a)] for a in (p, q))
    assert abs(to_numpy(tg.grad(objective.critic(real, fake), C))).max() < 1e-12


def test_the_best_loss_measures_the_jensen_shannon_divergence():
    p, q = np.array([5, 3, 2]) / 10, np.array([1, 3, 6]) / 10
    C, m = logits(*np.log(p / q)), (p + q) / 2
    real, fake = (C[shares(a)] for a in (p, q))
    js = (p * np.log(p / m) + q * np.log(q / m)).sum() / 2
    assert NON_SATURATING.critic(real, fake).item() == pytest.approx(2 * LN_2 - 2 * js, abs=1e-12)


def test_the_best_hinge_critic_is_the_sign_of_p_minus_q():
    """Its loss there is 2 sum min(p, q), and no other critic's is lower."""
    p, q = np.array([5, 3, 2]) / 10, np.array([1, 4, 5]) / 10

    def loss(C):
        return HINGE.critic(*(logits(*C)[shares(a)] for a in (p, q))).item()
    lowest = loss(np.sign(p - q))
    assert lowest == pytest.approx(2 * np.minimum(p, q).sum(), abs=1e-12)
    for C in np.random.default_rng(0).normal(0, 2.0, size=(200, 3)):
        assert loss(C) > lowest


@pytest.mark.parametrize("m", [-1.5, 0.0, 2.0])
def test_a_critic_of_slope_one_measures_the_shift_of_a_gaussian(m):
    """C12: W1(N(0, 1), N(m, 1)) = |m|, which C(x) = -sign(m) x attains with no penalty."""
    x = np.array([[NormalDist().inv_cdf((i + 0.5) / 500)] for i in range(500)])
    critic = linear_critic([-1.0 if m > 0 else 1.0])
    loss = WASSERSTEIN.critic(critic(xp.asarray(x)), critic(xp.asarray(x + m)))
    assert -loss.item() == pytest.approx(abs(m), abs=1e-12)
    assert gradient_penalty(critic, xp.asarray(x), xp.asarray(x + m)).item() < 1e-20


def test_saturation_where_the_critic_is_sure():
    """D(G(z)) = e^-20: minimax hands down almost nothing, the non-saturating loss its full pull."""
    x = logits(-20.0)
    faint, full = (abs(to_numpy(tg.grad(o.generator(x), x)).item())
                   for o in (MINIMAX, NON_SATURATING))
    assert faint < 1e-8 and full == pytest.approx(1.0)


@pytest.mark.parametrize("smooth", [0.1, 0.3])
def test_label_smoothing_makes_the_best_critic_less_sure(smooth):
    """Real with chance 1 - s: D* = (1 - s) p / (p + q), which is (1 - s) / 2 at q = p"""
    best = math.log((1 - smooth) / (1 + smooth))
    x = logits(best)
    loss = smoothed(smooth).critic
    assert abs(to_numpy(tg.grad(loss(x, x), x)).item()) < 1e-12
    assert loss(x, x).item() == pytest.approx(
        -(1 - smooth) * math.log((1 - smooth) / 2) - (1 + smooth) * math.log((1 + smooth) / 2))
    with pytest.raises(ValueError, match="smooth is 0.5; needs 0 <= smooth < 0.5"):
        smoothed(0.5)


# --- slopes ---------------------------------------------------------------------------------------

def linear_critic(w, b=0.3):
    critic = Linear(len(w), 1)
    critic.W.data = xp.asarray(np.array(w, "float64")[:, None])
    critic.b.data = xp.asarray(np.array([b]))
    return critic


@pytest.fixture
def pair():
    return (xp.asarray(a) for a in np.random.default_rng(0).normal(size=(2, 6, 3)))


@pytest.mark.parametrize("w", [(1.0, 0.0, 0.0), (0.6, 0.0, 0.8), (-3.0, 4.0, 0.0)])
def test_penalties_of_a_linear_critic(w, pair):
    critic, (real, fake), slope = linear_critic(w), pair, math.hypot(*w)
    found = gradient_penalty(critic, real, fake, weight=7.0).item()
    assert found == pytest.approx(7 * (slope - 1) ** 2, rel=1e-9, abs=1e-20)
    found = r1_penalty(critic, real, fake, weight=7.0).item()
    assert found == pytest.approx(3.5 * slope ** 2, rel=1e-12)


@pytest.mark.parametrize("slope", [1.0, 1.5])
def test_at_slope_one_the_penaltys_gradient_is_0_too(slope, pair):
    """d/dw weight (|w| - 1)^2 = 2 weight (|w| - 1) w / |w|"""
    critic, w = linear_critic((0.6 * slope, 0.0, 0.8 * slope)), np.array([0.6, 0.0, 0.8])
    g = to_numpy(tg.grad(gradient_penalty(critic, *pair, weight=7.0), critic.W))[:, 0]
    assert np.allclose(g, 14 * (slope - 1) * w, atol=1e-9)


def test_r1_looks_at_real_examples_only():
    """C(x) = x^3 / 3: the slope at real 2 is 4, at generated 1 and between them it is less."""
    real, fake = (xp.full((5, 1), c, "float64") for c in (2.0, 1.0))
    assert r1_penalty(lambda x: x ** 3 / 3, real, fake, weight=3.0).item() == pytest.approx(24)


@pytest.mark.parametrize("pack", [1, 2])
def test_a_penalty_is_added_and_given_critic_real_and_fake(pack):
    """Real 1, generated 0, C(x) = 2 x_0 + 0.3: -ln sigmoid(2.3) - ln(1 - sigmoid(0.3)) + 7"""
    given = []

    def penalty(*arguments):
        given[:] = arguments
        return 7.0
    model = GAN(2, latent=2, hidden=(4,), output=None, pack=pack, penalty=penalty)
    model.critic, model.generator = linear_critic([2.0] + [0.0] * (2 * pack - 1)), Linear(2, 2)
    for p in model.generator.parameters():
        p.data *= 0
    plain = math.log1p(math.exp(-2.3)) + math.log1p(math.exp(0.3))
    assert model.critic_loss(np.ones((4, 2))).item() == pytest.approx(7 + plain, rel=1e-6)
    critic, real, fake = given
    assert critic is model.critic and real.shape == fake.shape == (4 // pack, 2 * pack)
    assert (to_numpy(real) == 1).all() and (to_numpy(fake) == 0).all()


@pytest.mark.parametrize("penalty", [gradient_penalty, r1_penalty])
def test_a_penaltys_own_gradient_is_right_to_second_order(penalty, pair):
    """Through the backward pass of the critic: the derivative of a derivative, exact."""
    real, fake = pair
    critic = mlp((3, 5, 4, 1), tg.tanh)
    named = [(layer, name) for layer in critic.layers[::2] for name in ("W", "b")]
    values = [xp.asarray(np.random.default_rng(i).normal(size=getattr(*n).shape))
              for i, n in enumerate(named)]

    def value(*parameters):
        tg.seed(0)                                      # the same u in each call
        for (layer, name), p in zip(named, parameters):
            setattr(layer, name, p)
        return penalty(critic, real, fake)
    assert tg.gradcheck(value, *values, order=2)


def test_the_penalty_looks_between_real_and_generated_examples(pair):
    """C(x) = x^3 / 3 has slope x^2: between -1 and 1, u x + (1 - u) y lies inside, at times near 0.
    E (|x^2| - 1)^2 over x ~ U(-1, 1) = 1 - 2/3 + 1/5"""
    real = xp.ones((40_000, 1), "float64")
    found = gradient_penalty(lambda x: x ** 3 / 3, real, -real, weight=1.0).item()
    assert found == pytest.approx(8 / 15, abs=4 * 0.35 / 200)


@pytest.mark.parametrize("n, m", [(3, 4), (1, 4), (0, 0)])
def test_a_gradient_penalty_needs_as_many_generated_as_real(n, m):
    with pytest.raises(ValueError, match=rf"given real \({n}, 3\) and generated \({m}, 3\); needs"):
        gradient_penalty(linear_critic((1.0, 0, 0)), xp.ones((n, 3)), xp.ones((m, 3)))


def test_clipped_weights_stay_within_the_limit():
    layer = Linear(4, 3)
    clipped = WeightClipping(SGD(layer.parameters(), 1.0), limit=0.1)
    (100 * layer(xp.ones((2, 4), "float32"))).sum().backward()
    clipped.step()
    assert all((to_numpy(p) == np.float32(-0.1)).all() for p in layer.parameters())
    clipped.zero_grad()
    assert layer.W.grad is None and clipped.state_dict().keys() == {"t", "lr"}
    with pytest.raises(ValueError, match="limit is 0; needs a number above 0"):
        WeightClipping(SGD(layer.parameters(), 1.0), limit=0)


# --- packing and company --------------------------------------------------------------------------

def test_a_packed_critic_sees_rows_side_by_side():
    model = GAN(3, latent=2, hidden=(8,), pack=2)
    x = np.arange(12, dtype="float32").reshape(4, 3)
    assert to_numpy(model.seen(xp.asarray(x))).tolist() == [list(range(6)), list(range(6, 12))]
    assert model.logits(xp.asarray(x)).shape == (2, 1)
    swapped = model.logits(xp.asarray(x[[1, 0, 2, 3]]))
    assert (to_numpy(swapped - model.logits(xp.asarray(x))) != 0).tolist() == [[True], [False]]


def test_a_packed_loss_at_a_blind_critic_is_still_ln_4():
    model = GAN(3, latent=2, hidden=(8,), pack=3)
    for p in model.critic.parameters():
        p.data *= 0
    assert model.critic_loss(np.zeros((6, 3))).item() == pytest.approx(2 * LN_2)
    assert model.generator_loss(6).item() == pytest.approx(LN_2)


def test_two_tell_what_one_cannot():
    """Real: +1 or -1. Generated: one of them, the whole batch the same. Each alone is as likely
    real, so the best plain critic is blind; of a pair of equals a packed one knows it is at most
    half as likely."""
    rng = np.random.default_rng(0)

    def best(pack):
        """The loss of the best critic of packs: of the four pairs, or the two values."""
        real = rng.integers(0, 2, (40_000, pack)) @ 2 ** np.arange(pack)
        fake = rng.integers(0, 2, (40_000, 1)).repeat(pack, 1) @ 2 ** np.arange(pack)
        p, q = (np.bincount(a, minlength=2 ** pack) / len(a) for a in (real, fake))
        C = logits(*np.log((p + 1e-12) / (q + 1e-12)))
        return NON_SATURATING.critic(C[xp.asarray(real)], C[xp.asarray(fake)]).item()
    assert best(1) == pytest.approx(2 * LN_2, abs=1e-3)
    assert best(2) < 2 * LN_2 - 0.3


@pytest.mark.parametrize("call", [lambda m: m.critic_loss(np.zeros((5, 3))),
                                  lambda m: m.generator_loss(5)])
def test_packs_must_divide_the_batch(call):
    with pytest.raises(ValueError, match="GAN: packs of 2 do not divide a batch of 5 examples"):
        call(GAN(3, latent=2, hidden=(8,), pack=2))


def test_minibatch_std_is_one_more_feature():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    y = to_numpy(MinibatchStd()(xp.asarray(x)))
    assert (y[:, :4] == x).all() and np.allclose(y[:, 4], x.std(0).mean(), rtol=1e-5)
    pictures = x.reshape(3, 2, 2, 2)
    y = to_numpy(MinibatchStd()(xp.asarray(pictures)))
    assert y.shape == (3, 3, 2, 2) and (y[:, :2] == pictures).all()
    assert np.allclose(y[:, 2], pictures.std(0).mean(), rtol=1e-5)
    same = tg.tensor(np.ones((6, 4)), requires_grad=True)       # no spread, and no NaN backward
    assert np.isfinite(to_numpy(tg.grad(MinibatchStd()(same)[:, 4].sum(), same))).all()


def test_waves_are_sines_of_doubling_frequency():
    x = np.array([[0.3, -1.0]])
    y = to_numpy(waves(xp.asarray(x), 2))
    expected = [x, np.sin(x), np.cos(x), np.sin(2 * x), np.cos(2 * x)]
    assert np.allclose(y, np.concatenate(expected, axis=1), atol=1e-15)
    model = GAN(2, latent=2, hidden=(8,), pack=3, critic=wave_critic(2, (8,), 2, pack=3))
    assert model.logits(xp.zeros((6, 2), dtype="float32")).shape == (2, 1)


# --- networks -------------------------------------------------------------------------------------

@pytest.mark.parametrize("size, channels", [(16, 1), (28, 1), (28, 3)])
def test_dcgan_fits_its_pictures(size, channels):
    D = channels * size * size
    model = GAN(D, 8, pack=2, generator=dcgan_generator(8, size, channels, width=4),
                critic=dcgan_critic(size, channels, width=4, pack=2, alike=True, spectral=True))
    x = xp.zeros((4, D), dtype="float32")
    assert model.sample(4).shape == (4, D) and model.logits(x).shape == (2, 1)
    for loss, part in ((model.critic_loss(x), model.critic),
                       (model.generator_loss(4), model.generator)):
        loss.backward(part.parameters())
        assert all(to_numpy(p.grad).any() for p in part.parameters()[-2:])


@pytest.mark.parametrize("size", [4, 7, 9, 18, 22])
def test_sizes_that_cannot_be_doubled_to(size):
    for network in (lambda: dcgan_generator(8, size), lambda: dcgan_critic(size)):
        with pytest.raises(ValueError, match=f"size is {size}; needs 4 to 7 times a power of 2"):
            network()


def test_bits_are_coins_whose_gradient_goes_through():
    l = tg.tensor(np.repeat([[-2.0, 0.0, 1.0]], 40_000, 0), requires_grad=True)
    x = bits(l)
    assert set(to_numpy(x).round(6).ravel()) == {0.0, 1.0} and x.dtype == np.float64
    p = 1 / (1 + np.exp(-to_numpy(l)[0]))
    assert np.allclose(to_numpy(x).mean(0), p, atol=4 * 0.5 / 200)
    assert (to_numpy(tg.grad(x.sum(), l)) > 0).all()
    assert bits(tg.tensor(np.zeros((2, 3), "float32"))).dtype == np.float32


@pytest.mark.parametrize("sentence, networks", [
    (r"the generator makes shape \(2, 4\) of 2 latents; needed \(n, 3\)",
     lambda: dict(generator=mlp((5, 8, 4), tg.relu))),
    (r"the critic does not take \(n, 3\), 1 examples of the generator a row: linear",
     lambda: dict(critic=mlp((4, 8, 1), tg.relu))),
    (r"the critic gives shape \(2, 2\) for 2 inputs; needed \(2, 1\)",
     lambda: dict(critic=mlp((3, 8, 2), tg.relu))),
])
def test_networks_that_do_not_fit_get_one_sentence(sentence, networks):
    with pytest.raises(ValueError, match="GAN: " + sentence):
        GAN(3, latent=5, **networks())


# --- told what to draw, and a representation ------------------------------------------------------

@pytest.mark.once
@pytest.mark.parametrize("projection", [False, True])
def test_a_conditional_gan_learns_which_class_is_where(projection):
    """Class 0 at -2, class 1 at +2, width 0.3"""
    model = ConditionalGAN(1, 2, latent=2, hidden=(32,), projection=projection, output=None)
    rng = np.random.default_rng(0)
    players = [Adam(part.parameters(), 3e-3, betas=(0.5, 0.9))
               for part in (model.critic, model.generator)]
    for _ in range(400):
        labels = rng.integers(0, 2, 64)
        x = (4 * labels[:, None] - 2 + 0.3 * rng.normal(size=(64, 1))).astype("float32")
        for adam, loss in zip(players, (lambda: model.critic_loss(x, labels),
                                        lambda: model.generator_loss(64))):
            adam.zero_grad()
            loss().backward(adam.params)
            adam.step()
    low, high = (to_numpy(model.sample(500, np.full(500, c))) for c in (0, 1))
    assert abs(low.mean() + 2) < 0.5 and abs(high.mean() - 2) < 0.5
    assert model.sample(3).shape == (3, 1)


@pytest.mark.parametrize("labels, said", [
    ([0, 1], r"are int64 of shape \(2,\)"), ([0, 1, 2], "run from 0 to 2; needs 0 to 1"),
    ([0, -1, 1], "run from -1 to 1"), ([0.0, 1.0, 1.0], "are float64 of shape")])
def test_labels_are_checked(labels, said):
    model = ConditionalGAN(4, 2, latent=2, hidden=(8,))
    x = np.zeros((3, 4))
    for call in (lambda: model.sample(3, labels), lambda: model.critic_loss(x, labels)):
        with pytest.raises(ValueError, match=f"ConditionalGAN: labels {said}"):
            call()
    with pytest.raises(ValueError, match=r"made for 2 classes; needs labels \(3,\)"):
        model.critic_loss(x)


def test_the_label_reaches_sample_and_logit():
    for projection in (False, True):
        model = ConditionalGAN(4, 3, latent=2, hidden=(8,), projection=projection)
        y = xp.zeros((2, 2), dtype="float32")
        a, b = (to_numpy(model.told(2, model.labels(2, [c, c]))) for c in (0, 1))
        assert (a != b).any()
        x = xp.ones((2, 4), dtype="float32")
        a, b = (to_numpy(model.critic(model.seen(x, model.labels(2, [c, c])))) for c in (0, 1))
        assert (a != b).all() and a.shape == (2, 1)


@pytest.mark.once
def test_the_code_of_an_infogan_can_be_read_off_its_samples():
    """Four far-apart clusters, four codes: what is read from samples, in nats, is at most ln 4."""
    rng, centres = np.random.default_rng(0), np.array([[2, 0], [0, 2], [-2, 0], [0, -2.0]])
    model = InfoGAN(2, 4, latent=2, hidden=(32,), output=None)
    critic = Adam(model.critic.parameters(), 2e-3, betas=(0.5, 0.9))
    players = Adam(model.players(), 2e-3, betas=(0.5, 0.9))
    before = model.information(500)
    for _ in range(500):
        x = centres[rng.integers(4, size=64)] + 0.2 * rng.normal(size=(64, 2))
        for adam, loss in ((critic, lambda: model.critic_loss(x.astype("float32"))),
                           (players, lambda: model.generator_loss(64))):
            adam.zero_grad()
            loss().backward(adam.params)
            adam.step()
    assert before < 0.2 and 1.2 < model.information(500) <= math.log(4)
    codes = to_numpy(model.encode(xp.asarray(centres.astype("float32"))).logits).argmax(1)
    assert len(set(codes)) == 4                     # each real cluster has a code of its own


# --- training that tells --------------------------------------------------------------------------

class Toy(GAN):
    """Samples are `shape(n)`, the critic is C(x) = sharp (x_0 - middle)."""

    def __init__(self, shape, sharp, middle, objective=NON_SATURATING):
        super().__init__(2, latent=2, hidden=(4,), output=None, objective=objective)
        self.shape, self.critic = shape, lambda x: sharp * (x[:, :1] - middle)

    def sample(self, n):
        return xp.asarray(self.shape(n).astype("float32"))


def draw(scale=1.0, shift=0.0, seed=1):
    """Wide in x_1, and shifted along x_0, where the critic looks: that changes no neighbours."""
    return lambda n: scale * np.random.default_rng(seed).normal(
        size=(n, 2)) * (1e-3, 1.0) + (shift, 0.0)


REAL = draw(seed=0)(200).astype("float32")


@pytest.mark.parametrize("verdict, model", [
    ("in balance", Toy(draw(), 0.3, 0.0)),
    ("the critic wins", Toy(draw(shift=-0.1), 90.0, -0.05)),
    ("gradients vanish", Toy(draw(), 0.0, 0.0)),
    ("modes collapse", Toy(draw(scale=0.05), 0.3, 0.0)),
    ("gradients vanish, the critic wins", Toy(draw(shift=-0.1), 900.0, -0.05, MINIMAX)),
    ("the critic wins, modes collapse", Toy(draw(scale=0.05, shift=-0.1), 90.0, -0.05)),
])
def test_diagnosis_names_every_fault_in_one_line(verdict, model):
    line = diagnose(model, REAL)
    assert line.startswith(verdict + ": the critic is right on ") and "\n" not in line


def test_measures_of_a_game_whose_numbers_are_known():
    """C = x_0 / 2, samples one sigma to the left: P(right) = Phi(1 / sqrt 2). Pull: |dC/dx|
    D(0) times a spread of 1/2"""
    model = Toy(draw(shift=-1e-3), 0.5, 0.0)
    right, pull, reach = measures(model, draw(seed=0)(4000).astype("float32"))
    assert right == pytest.approx(NormalDist().cdf(1 / math.sqrt(2)), abs=0.03)
    assert pull == pytest.approx(0.5 * 0.5 * 0.5, rel=0.05)
    assert reach == pytest.approx(1, abs=0.1)


def test_diagnosis_needs_a_few_examples_and_a_critic_that_needs_no_labels():
    with pytest.raises(ValueError, match="diagnose: given 3 real examples; needs at least 8"):
        diagnose(Toy(draw(), 0.3, 0.0), np.zeros((3, 2), "float32"))
    with pytest.raises(NotImplementedError, match="ConditionalGAN: its critic judges examples with "
                                                  "their labels, and a batch x alone"):
        diagnose(ConditionalGAN(2, 3, latent=2, hidden=(4,)), REAL)


def trained(objective, real, fake, D, steps, penalty=None, lr=5e-3):
    """A critic of D inputs against two fixed samplers."""
    tg.seed(0)
    critic = mlp((D, 64, 64, 1), tg.tanh)
    adam = Adam(critic.parameters(), cosine(lr, steps))
    for _ in range(steps):
        x, y = xp.asarray(real(256)), xp.asarray(fake(256))
        loss = objective.critic(critic(x), critic(y))
        adam.zero_grad()
        (loss + penalty(critic, x, y) if penalty else loss).backward()
        adam.step()
    return critic


@pytest.mark.once
def test_a_trained_critic_comes_near_p_over_p_plus_q_in_the_plane():
    """p a ring of bumps, q a normal: D* is known everywhere, and so is the lowest loss."""
    world, rng = Mixture2D("ring", s=0.3), np.random.default_rng(0)

    def normal(n):
        return rng.normal(size=(n, 2)).astype("float32")

    def log_q(x):
        return -np.log(2 * np.pi) - 0.5 * (x.astype("float64") ** 2).sum(1)
    critic = trained(NON_SATURATING, lambda n: world.sample(n, rng), normal, 2, 1000)
    x = np.concatenate([world.sample(3000, rng), normal(3000)])
    best = world.log_prob(x) - log_q(x)
    with tg.no_grad():
        logits = to_numpy(critic(xp.asarray(x)))[:, 0]
    off = 1 / (1 + np.exp(-logits)) - 1 / (1 + np.exp(-best))
    assert np.sqrt((off ** 2).mean()) < 0.05 < abs(1 / (1 + np.exp(-best)) - 0.5).mean()
    C, lowest = (NON_SATURATING.critic(xp.asarray(a[:3000]), xp.asarray(a[3000:])).item()
                 for a in (logits, best))                       # 2 ln 2 - 2 JS, by these samples
    assert lowest - 0.005 < C < lowest + 0.03 and lowest < 2 * LN_2 - 0.2


@pytest.mark.once
@pytest.mark.parametrize("m", [1.0, 2.0])
def test_a_trained_wasserstein_critic_comes_near_the_shift_and_its_penaltys_slack(m):
    """max over s of m s - 10 (s - 1)^2 is at s = 1 + m / 20, so it tells W1 (1 + m / 20)."""
    rng = np.random.default_rng(0)

    def penalty(critic, x, y):                  # after C points the right way: see lesson 31
        count[0] += 1
        return gradient_penalty(critic, x, y) if count[0] > 30 else 0.0
    count, samplers = [0], [lambda n, c=c: rng.normal(c, 0.1, (n, 1)).astype("float32")
                            for c in (0.0, m)]
    critic = trained(WASSERSTEIN, *samplers, 1, 500, penalty, lr=3e-3)
    with tg.no_grad():
        told = [to_numpy(critic(xp.asarray(sample(5000)))).mean() for sample in samplers]
    assert told[0] - told[1] == pytest.approx(m * (1 + m / 20), abs=0.1)
