"""What a latent representation holds: active units, rate and distortion, linear probes."""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import Normal
from tinygen.engine import backend
from tinygen.engine.backend import xp
from tinygen.evaluation import (active_units, latent_variances, linear_probe, mean_and_error,
                                rate_and_distortion)
from tinygen.models.approximate.priors import MixturePrior
from tinygen.models.approximate.vae import VAE, HierarchicalVAE

RNG = np.random.default_rng(0)
X = (RNG.random((700, 6)) < 0.4).astype("float32")


# --- active units ---------------------------------------------------------------------------------

class Says:
    """q(z | x) has the means x W."""

    def __init__(self, W):
        self.W = xp.asarray(W, dtype="float32")

    def encode(self, x):
        return Normal(xp.asarray(x) @ self.W, xp.zeros(1, "float32"))


def test_active_units_are_those_whose_means_vary():
    x, W = RNG.normal(size=(2000, 3)).astype("f"), np.diag([2.0, 0.11, 0.09])
    variances = latent_variances(Says(W), x, batch_size=300)
    assert np.allclose(variances, (x @ W).var(0, ddof=1), rtol=1e-4)
    assert active_units(Says(W), x) == 2                # 0.11^2 > 0.01 > 0.09^2
    assert active_units(Says(W), x, threshold=0.005) == 3


def test_a_constant_is_no_activity():
    """However far from 0: a mean of 100 for every x says nothing."""
    x = np.append(RNG.normal(size=(500, 1)), np.ones((500, 1)), 1).astype("f")
    assert active_units(Says([[0, 1], [100, 0]]), x) == 1


def test_a_collapsed_latent_is_inactive_and_costs_no_nats():
    model = VAE(6, 3, (8,))
    model.encoder[2].W.data[:, [1, 4]] = 0              # latent 1: mu = 0 and ln s^2 = 0
    model.encoder[2].b.data[[1, 4]] = 0
    model.encoder[2].W.data[:, [0, 2]] *= 5
    assert latent_variances(model, X)[1] == 0 and active_units(model, X) == 2
    with tg.no_grad():
        assert tg.to_numpy(model.parts(X)[1])[:, 1].max() == 0


def test_the_top_of_a_hierarchy_is_judged_by_its_own_encoder():
    model = HierarchicalVAE(6, (4, 2), (8,), (8,))
    z = RNG.normal(size=(300, 4)).astype("f")
    assert latent_variances(model, X).shape == (4,)
    assert latent_variances(model.prior, z).shape == (2,)


# --- rate and distortion --------------------------------------------------------------------------

@pytest.mark.parametrize("make", [lambda: VAE(6, 3, (8,)), lambda: HierarchicalVAE(6, (3, 2), (8,)),
                                  lambda: VAE(6, 3, (8,), prior=MixturePrior(3, 4))])
def test_rate_and_distortion_make_the_elbo(make):
    model = make()
    backend.seed(1)
    rate, distortion = rate_and_distortion(model, X, batch_size=300)
    backend.seed(1)
    elbo = mean_and_error(model.elbo, X, batch_size=300)[0]
    assert type(rate) is float and rate + distortion == pytest.approx(-elbo, rel=1e-6)
    assert distortion > 1


def test_the_rate_of_a_guess_that_ignores_x():
    model = VAE(6, 3, (8,))
    for p in (model.encoder[2].W, model.encoder[2].b):
        p.data[...] = 0
    assert rate_and_distortion(model, X)[0] == 0
    model.encoder[2].b.data[0] = 2                      # KL(N(2, 1) || N(0, 1)) = 2
    assert rate_and_distortion(model, X)[0] == pytest.approx(2, rel=1e-5)


# --- linear probes --------------------------------------------------------------------------------

def clouds(n, spread):
    """Three classes on a line, 1 apart, beside a number that tells nothing, at another scale."""
    y = RNG.integers(0, 3, n)
    z = np.stack([y + spread * RNG.normal(size=n), 1e3 + 50 * RNG.normal(size=n)], 1)
    return z, y


def test_a_probe_finds_what_one_linear_layer_can():
    (z, y), (z_test, y_test) = clouds(1000, 0.1), clouds(1000, 0.1)
    assert linear_probe(z, y, z_test, y_test) > 0.99
    assert linear_probe(xp.asarray(z), y, tg.tensor(z_test), y_test) > 0.99


def test_a_probe_comes_near_bayes():
    """Neighbours 1 apart under noise s: Bayes is right with 1 - 4/3 P(N > 1 / 2 s)."""
    s = 0.4
    (z, y), (z_test, y_test) = clouds(4000, s), clouds(4000, s)
    bayes = 1 - 4 / 3 * 0.5 * math.erfc(0.5 / s / math.sqrt(2))
    assert abs(linear_probe(z, y, z_test, y_test) - bayes) < 0.025      # 3 errors of 0.0075


def test_a_probe_finds_no_xor_and_nothing_in_noise():
    z = RNG.choice([-1.0, 1.0], size=(2000, 2))
    y = (z[:, 0] * z[:, 1] > 0).astype(int)
    assert linear_probe(z[:1000], y[:1000], z[1000:], y[1000:]) < 0.6
    assert linear_probe(0 * z, y, 0 * z, y) < 0.6       # a constant has no spread, and no NaN


@pytest.mark.parametrize("sentence, call", [
    ("given 1 examples; needs at least 2", lambda: latent_variances(VAE(6, 2, (3,)), X[:1])),
    ("rate_and_distortion: given 0 ex", lambda: rate_and_distortion(VAE(6, 2, (3,)), X[:0])),
    (r"z \(4, 2\) with labels \(3,\)", lambda: linear_probe(np.zeros((4, 2)), np.zeros(3, int),
                                                             np.zeros((4, 2)), np.zeros(4, int))),
    (r"z_test \(4, 2\) with \(4, 1\)", lambda: linear_probe(
        np.zeros((4, 2)), np.zeros(4, int), np.zeros((4, 2)), np.zeros((4, 1), int))),
    *[(f"{f.__name__}: batch_size is 0; needs a whole number", lambda f=f:
       f(VAE(6, 2, (3,)), X, batch_size=0)) for f in (latent_variances, rate_and_distortion)],
    ("mean_and_error: batch_size is 0", lambda: mean_and_error(len, X, batch_size=0)),
    *[("linear_probe: labels are .*; needs integers from 0, with at most 268,435,456 numbers",
       lambda y=y: linear_probe(*[X[:4], np.array([0, 1, 0, y])] * 2))
      for y in (10 ** 12, -1, 0.5)],
    *[("linear_probe: z .* is empty, or has NaN or infinity",
       lambda z=z: linear_probe(z, np.arange(len(z)), z, np.arange(len(z))))
      for z in (X[:0], X[:4] * np.nan, X[0])],
    ("rows of one length", lambda: linear_probe(np.zeros((4, 2)), np.zeros(4, int),
                                                np.zeros((4, 3)), np.zeros(4, int))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
