"""Flows on images: the same laws, and bounds of a discrete probability that are honest."""
import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from flow_laws import check_bijection, log_prob, shaken
from tinygen import gradcheck
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.evaluation import bits_per_dim
from tinygen.models.tractable.coupling_flow import Coupling
from tinygen.models.tractable.flow import Bijection, Chain, Flow, InvertibleLinear
from tinygen.models.tractable.image_flow import (Dequantize, Logit, Scale, channel_half,
                                                 checkerboard, glow, realnvp, squeeze, unsqueeze)
from tinygen.nn import Conv2d
from tinygen.optim import Adam

RNG = np.random.default_rng(0)


def conv(C):
    """A net without kinks: s and t of C channels."""
    return Conv2d(C, 2 * C, 3, padding=1)


def continuous(flow):
    """The bijections of a flow on pixels behind Dequantize and Logit, kinks and all."""
    return shaken(flow, 0.05).f.layers[2]


BIJECTIONS = {                      # name: (how to make it, the shape of an example)
    "checkerboard": (lambda: shaken(Coupling(checkerboard(4, 4, 1), conv(2))), (2, 4, 4)),
    "other colour": (lambda: shaken(Coupling(checkerboard(3, 4, 0), conv(1))), (1, 3, 4)),
    "half of the channels": (lambda: shaken(Coupling(channel_half(4, 1), conv(4))), (4, 2, 2)),
    "scale": (lambda: shaken(Scale([Coupling(checkerboard(4, 4, 1), conv(2))],
                                   [Coupling(channel_half(8, 0), conv(8))],
                                   Chain([Coupling(channel_half(4, 0), conv(4))]))), (2, 4, 4)),
    "RealNVP": (lambda: continuous(realnvp((1, 4, 4), 1, hidden=4)), (1, 4, 4)),
    "Glow": (lambda: continuous(glow((2, 4, 4), 2, steps=1, hidden=4)), (2, 4, 4)),
}
bijections = pytest.mark.parametrize("name", BIJECTIONS)


@bijections
def test_inverse_and_logdet_against_a_numeric_jacobian(name):
    make, shape = BIJECTIONS[name]
    f, x = make(), np.random.default_rng(2).normal(size=(2, *shape))
    check_bijection(f, x)
    z, logdet = f(xp.asarray(x))
    assert abs(tg.to_numpy(z) - x).max() > 0.1 and (abs(tg.to_numpy(logdet)) > 0.01).all()


@bijections
def test_every_number_of_z_is_reached_and_every_parameter_learns(name):
    make, shape = BIJECTIONS[name]
    f, x = make(), tg.tensor(RNG.normal(size=(3, *shape)), requires_grad=True)
    z, logdet = f(x)
    ((z * xp.asarray(RNG.normal(size=z.shape))).sum() + logdet.sum()).backward()
    assert tg.to_numpy(x.grad).all()
    assert all(tg.to_numpy(p.grad).any() for p in f.parameters())


def test_masks():
    assert tg.to_numpy(checkerboard(2, 3, 1)).tolist() == [[[1, 0, 1], [0, 1, 0]]]
    assert tg.to_numpy(checkerboard(2, 3, 0) + checkerboard(2, 3, 1)).all()
    assert tg.to_numpy(channel_half(4, 1)).ravel().tolist() == [1, 1, 0, 0]
    assert tg.to_numpy(channel_half(4, 0)).ravel().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("model", [realnvp((1, 8, 8), 2, hidden=2), glow((1, 8, 8), 2, hidden=2)],
                         ids=["RealNVP", "Glow"])
def test_couplings_take_turns(model):
    """What one keeps, the next of its kind changes; Glow mixes the channels in between instead."""
    layers = [m for m in model.modules() if isinstance(m, (Coupling, InvertibleLinear))]
    for f, g in zip(layers, layers[1:]):
        if isinstance(f, Coupling) and isinstance(g, Coupling) and f.keep.shape == g.keep.shape:
            assert (tg.to_numpy(f.keep + g.keep) == 1).all()
    kinds = [type(m) for m in layers]
    assert kinds in ([Coupling] * 16, [InvertibleLinear, Coupling] * 8)


def test_squeeze_makes_channels_of_neighbours_and_back():
    x = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    y = tg.to_numpy(squeeze(xp.asarray(x)))
    assert y.shape == (2, 12, 2, 3)
    assert sorted(y[1, 4:8, 1, 2]) == sorted(x[1, 1, 2:4, 4:6].ravel())
    assert (tg.to_numpy(unsqueeze(squeeze(xp.asarray(x)))) == x).all()


# --- logit and noise ------------------------------------------------------------------------------

@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_logit(alpha):
    f, x = Logit(alpha), RNG.uniform(0.1, 0.9, (3, 5))
    check_bijection(f, x)
    p = alpha + (1 - 2 * alpha) * x
    np.testing.assert_allclose(tg.to_numpy(f(xp.asarray(x))[0]), np.log(p / (1 - p)), rtol=1e-12)
    assert gradcheck(f, xp.asarray(x)) and gradcheck(f.inverse, xp.asarray(x))
    assert f(xp.asarray(x.astype("f")))[1].dtype == "float32"


def test_dequantized_pixels_fill_their_bins_evenly_and_come_back():
    k = xp.asarray(np.arange(4.0).repeat(5000).reshape(-1, 2))
    f = Dequantize(4)
    z, logdet = f(k)
    u = tg.to_numpy(z) * 4 - tg.to_numpy(k)
    assert 0 <= u.min() and u.max() < 1
    counts = np.histogram(u, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50                     # 19 degrees of freedom
    assert (tg.to_numpy(f.inverse(z)) == tg.to_numpy(k)).all()
    assert (tg.to_numpy(f(k)[0]) != tg.to_numpy(z)).any()
    np.testing.assert_allclose(tg.to_numpy(logdet), -2 * math.log(4))   # k + u = 4 z


def test_noise_next_to_one_stays_in_its_bin(monkeypatch):
    """In float32 255 + 0.99999994 is 256."""
    monkeypatch.setattr("tinygen.models.tractable.image_flow.uniform",
                        lambda shape, dtype: xp.full(shape, 1 - 2 ** -24, dtype=dtype))
    f, k = Dequantize(), xp.asarray(np.arange(256, dtype="float32")[None])
    z = f(k)[0]
    assert float(z.max()) < 1 and (tg.to_numpy(f.inverse(z)) == tg.to_numpy(k)).all()
    assert np.isfinite(tg.to_numpy(Logit(0.0)(z[:, 1:])[0])).all()


class Bins:
    """A density on [0, 1]^2 for pixels of 3 levels: in the bin of k, P(k) 9 f(u_1) f(u_2) with
    f(u) = 1 + slope (2 u - 1). The probability of a bin is P(k) whatever the slope."""

    def __init__(self, slope):
        self.slope = slope
        self.P = np.random.default_rng(4).dirichlet(np.ones(9)).reshape(3, 3)

    def log_prob(self, z):
        z = tg.to_numpy(z)
        k = np.floor(z * 3).astype(int)
        within = np.log(1 + self.slope * (2 * (z * 3 - k) - 1)).sum(1)
        return xp.asarray(np.log(self.P[k[:, 0], k[:, 1]]) + within + 2 * math.log(3))


STATES = np.array(list(itertools.product(range(3), repeat=2)), dtype=float)


def expected(flow, monkeypatch, n=40):
    """E_u flow.log_prob(k) for each state k, exactly to the grid: u over the middles of n x n."""
    middles = np.array(list(itertools.product((np.arange(n) + 0.5) / n, repeat=2)))
    with monkeypatch.context() as patch:
        patch.setattr("tinygen.models.tractable.image_flow.uniform",
                      lambda shape, dtype: xp.asarray(np.tile(middles, (9, 1))))
        values = log_prob(flow, np.repeat(STATES, n * n, axis=0))
    return values.reshape(9, n * n).mean(1)


def test_noise_that_fills_the_bins_gives_a_lower_bound(monkeypatch):
    """C11: equal to ln P where the density is flat in its bins, below elsewhere."""
    for slope in (0.0, 0.6):
        bins = Bins(slope)
        gap = np.log(bins.P).ravel() - expected(Flow(2, [Dequantize(3)], bins), monkeypatch)
        if slope == 0:
            assert abs(gap).max() < 1e-12
        else:       # E ln f = [(1 + a) ln(1 + a) - (1 - a) ln(1 - a)] / 2a - 1, a the slope
            a = slope
            jensen = ((1 + a) * math.log(1 + a) - (1 - a) * math.log(1 - a)) / (2 * a) - 1
            np.testing.assert_allclose(gap, -2 * jensen, rtol=1e-3)
            assert (gap > 0.1).all()


@pytest.mark.parametrize("width", [0.5, 0.01])
def test_noise_of_less_width_costs_D_ln_width_and_is_no_bound_without(width, monkeypatch):
    """C11: all of P(k) squeezed into the part of the bin that the noise fills."""
    class Squeezed(Bins):
        def log_prob(self, z):
            return super().log_prob(z) - 2 * math.log(width)
    bins = Squeezed(0.0)
    flow = Flow(2, [Dequantize(3, width)], bins)
    log_P, bound = np.log(bins.P).ravel(), expected(flow, monkeypatch)
    assert abs(bound - log_P).max() < 1e-12                             # with the term: ln P
    naive = bound - 2 * math.log(width)                                 # without
    np.testing.assert_allclose(naive - log_P, -2 * math.log(width), rtol=1e-12)
    assert np.exp(naive).sum() > 3                                      # no distribution
    assert np.exp(bound).sum() == pytest.approx(1, rel=1e-12)


def test_a_uniform_density_is_8_bits_per_dim():
    class Uniform:
        def log_prob(self, z):
            return xp.zeros(len(z), z.dtype)
    k = RNG.integers(0, 256, (5, 1, 4, 4)).astype("uint8")
    nats = -log_prob(Flow((1, 4, 4), [Dequantize(256)], Uniform()), k)
    np.testing.assert_allclose(bits_per_dim(nats, 16), 8, rtol=1e-6)


# --- whole models ---------------------------------------------------------------------------------

MODELS = {"RealNVP": lambda: realnvp((1, 8, 8), 1, hidden=8, levels=4),
          "Glow": lambda: glow((1, 8, 8), 2, steps=2, hidden=8, levels=4)}


def stripes(n):
    """Pictures of 4 grey levels, bright on one half, the darker or the lighter noise shared."""
    left = RNG.integers(0, 2, (n, 1, 1, 1)) * 2
    half = (np.arange(8) < 4)[None, None, None]
    return (np.where(half, left, 2 - left) + RNG.integers(0, 2, (n, 1, 8, 8))).astype("uint8")


@pytest.mark.once
@pytest.mark.parametrize("name", MODELS)
def test_learning_beats_independent_pixels(name):
    """The pixels one by one are uniform: 2 bits. Sides are 1 bit for all, noise 1 bit each."""
    model, x = MODELS[name](), stripes(400)
    adam = Adam(model.parameters(), 1e-2)
    for i in range(25):
        loss = model.loss(x[i % 12 * 32:][:32])
        adam.zero_grad()
        loss.backward()
        adam.step()
    bits = bits_per_dim(-log_prob(model.eval(), stripes(100)).mean(), 64)
    assert 65 / 64 < bits < 1.75


@pytest.mark.once
@pytest.mark.parametrize("make, shape", [
    (lambda: glow((1, 2, 2), 1, steps=2, hidden=4, levels=2, alpha=1e-9), (1, 2, 2)),
    (lambda: realnvp((1, 4, 2), 1, hidden=4, levels=2, alpha=1e-9), (1, 4, 2))])
def test_pictures_sum_to_one_and_samples_follow(make, shape):
    """P(k) = E_u p(k + u), by 600 draws of u for each of the 2^D pictures; Pearson's chi-square
    with what is not known of P, in standard deviations above its mean."""
    model, D, n = shaken(make(), 0.1), math.prod(shape), 20_000
    k = np.array(list(itertools.product((0.0, 1.0), repeat=D))).reshape(-1, *shape)
    draws = np.exp([log_prob(model, k) for _ in range(600)])
    P, error = draws.mean(0), draws.std(0) / math.sqrt(len(draws))
    x = tg.to_numpy(model.sample(n)).reshape(-1, D).astype(int)
    counts = np.bincount(x @ 2 ** np.arange(D)[::-1], minlength=2 ** D)

    def deviation(P):
        square = (counts - n * P) ** 2 / (n * P + (n * error) ** 2)
        return (square.sum() - len(P)) / math.sqrt(2 * len(P))
    assert abs(P.sum() - 1) < 4 * math.sqrt((error ** 2).sum()) < 0.1
    assert abs(deviation(P)) < 5 < 10 < deviation(P[::-1])
    assert P.max() > 1.5 * P.mean()


@pytest.mark.parametrize("make", [realnvp, glow])
def test_the_first_batch_has_variance_one(make):
    """ActNorm makes it so, couplings start as the identity, rotations keep the sum of squares."""
    z = tg.to_numpy(make((1, 8, 8), 1, hidden=8, levels=4)(stripes(100))[0])
    assert abs(z.mean()) < 1e-3 and z.var() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_samples_are_pictures_and_float32_stays(name):
    model = MODELS[name]()
    y = model.log_prob(stripes(6))
    assert y.shape == (6,) and y.dtype == "float32"
    x = model.sample(5)
    assert isinstance(x, xp.ndarray) and x.shape == (5, 1, 8, 8) and x.dtype == "float32"
    assert set(np.unique(tg.to_numpy(x))) <= {0, 1, 2, 3} and model.sample(0).shape == (0, 1, 8, 8)
    assert np.isfinite(log_prob(model, x)).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_bijection_undoes_itself_in_float32(name):
    model = MODELS[name]().eval()
    backend.seed(1)
    z, _ = model(stripes(4))
    backend.seed(1)
    x = stripes(4)
    z, _ = model(x)
    assert (tg.to_numpy(model.inverse(z)) == x).all()


@pytest.mark.parametrize("sentence, call", [
    (r"squeeze: an image of 7 x 4 has an odd side", lambda: squeeze(xp.ones((1, 1, 7, 4)))),
    ("channel_half: 3 channels cannot be split in half", lambda: channel_half(3, 0)),
    *[(f"Dequantize: levels is {k!r}; needs a whole", lambda k=k: Dequantize(k))
      for k in (1, 2.5, "a")],
    *[(f"Dequantize: width is {w!r}; needs 0 < width <= 1", lambda w=w: Dequantize(256, w))
      for w in (0, 1.5, math.nan, "a")],
    ("Logit: alpha is a; needs", lambda: Logit("a")),
    (r"Flow: x has shape \(3, 64\); needed \(B, 1, 8, 8\)",
     lambda: glow((1, 8, 8)).inverse(xp.ones((3, 64)))),
    (r"Dequantize: pixels from 0.5 to 0.5; needs whole numbers 0..255, not yet scaled",
     lambda: Dequantize()(xp.full((1, 2), 0.5))),
    (r"Dequantize: pixels from 0 to 256", lambda: Dequantize()(xp.asarray([[0.0, 256.0]]))),
    (r"Logit: x from -1 to 2 with alpha 0.05; needs x in \[0, 1\]",
     lambda: Logit()(xp.asarray([[-1.0, 2.0]]))),
    ("Logit: x from 0 to 0.5 with alpha 0.0", lambda: Logit(0.0)(xp.asarray([[0.0, 0.5]]))),
    ("Logit: alpha is -0.1", lambda: Logit(-0.1)),
    (r"Flow: x has shape \(3, 8, 8\); needed \(B, 1, 8, 8\)",
     lambda: glow((1, 8, 8)).loss(xp.ones((3, 8, 8)))),
    ("realnvp: scales is -1; needs a whole number of at least 1",
     lambda: realnvp((1, 8, 8), scales=-1)),
    ("glow: scales is 0; needs a whole number", lambda: glow((1, 8, 8), scales=0)),
    ("glow: steps is 0; needs a whole number", lambda: glow((1, 8, 8), steps=0)),
    ("realnvp: hidden is 0.5; needs a whole", lambda: realnvp((1, 8, 8), hidden=0.5)),
    ("checkerboard: 1 x 1 pixels are of one colour; use fewer", lambda: realnvp((1, 4, 4))),
    (r"realnvp: shape is \(8, 8\); needs \(C, H, W\)", lambda: realnvp((8, 8))),
    ("glow: shape is 8; needs", lambda: glow(8)),
    ("glow: C is 0; needs a whole number", lambda: glow((0, 8, 8))),
    (r"Coupling: a mask of shape \(1, 2, 2\) for x of shape \(3, 1, 4, 4\)",
     lambda: Coupling(checkerboard(2, 2, 1), None)(xp.ones((3, 1, 4, 4)))),
    ("squeeze: an image of 7 x 7 has an odd side",
     lambda: glow((1, 14, 14)).loss(xp.ones((3, 1, 14, 14)))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_bijection_without_inverse_says_so():
    with pytest.raises(NotImplementedError, match="Bijection has no inverse"):
        Bijection().inverse(xp.ones((1, 2)))
