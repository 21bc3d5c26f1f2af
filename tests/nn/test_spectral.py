"""Spectral normalisation against the singular value decomposition."""
import numpy as np
import pytest

import tinygen as tg
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import Conv2d, Linear, SpectralConv2d, SpectralLinear
from tinygen.optim import Adam

LAYERS = {"linear": lambda: SpectralLinear(7, 5), "tall": lambda: SpectralLinear(3, 40),
          "conv": lambda: SpectralConv2d(4, 6, 3, stride=2, padding=1)}


def matrix(layer):
    return to_numpy(layer.W).reshape(len(layer.W), -1)


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


@pytest.mark.parametrize("squarings", [3, 12])
def test_the_estimate_is_the_largest_singular_value(layer, squarings):
    exact = np.linalg.svd(matrix(layer), compute_uv=False)[0]
    layer.squarings = squarings
    found = layer.largest()
    assert found.dtype == np.float32 and found.item() <= exact * (1 + 1e-5)
    assert found.item() == pytest.approx(exact, rel=1e-3 if squarings == 12 else 0.1)


def test_it_comes_nearer_with_each_squaring():
    layer, found = SpectralLinear(30, 30), []
    exact = np.linalg.svd(matrix(layer), compute_uv=False)[0]
    for layer.squarings in range(13):
        found.append(layer.largest().item())
    assert found[0] < 0.98 * exact and (np.diff(found) > -1e-5).all()
    assert found[-1] == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("make, shape", [
    (lambda: SpectralConv2d(16, 32, 4, stride=2, padding=1), (8, 16, 8, 8)),
    (lambda: SpectralLinear(64, 64), (32, 64))])
def test_in_training_it_stays_near_too_where_singular_values_grow_alike(make, shape):
    """At the size of a DCGAN's layers; the loss asks that the map be as wide as it can, which
    brings all singular values to one: rounds from the u of the call before would fall behind."""
    layer, rng = make(), np.random.default_rng(0)
    adam, wide = Adam(layer.parameters(), 1e-3), []
    for _ in range(30):
        adam.zero_grad()
        x = xp.asarray(rng.normal(size=shape).astype("float32"))
        (-(layer(x) ** 2).mean()).backward()
        values = np.linalg.svd(matrix(layer), compute_uv=False)
        wide.append((values > 0.95 * values[0]).mean())
        s = (to_numpy(layer.u) @ matrix(layer) @ to_numpy(layer._iterate())).item()
        assert s == pytest.approx(values[0], rel=1e-3)
        adam.step()
    assert wide[-1] > 2 * wide[0]


def test_the_weight_in_use_has_norm_one_and_the_map_is_otherwise_the_same(layer):
    s, rng = np.linalg.svd(matrix(layer), compute_uv=False)[0], np.random.default_rng(0)
    if isinstance(layer, Linear):
        plain, x = Linear(*layer.W.shape), rng.normal(size=(9, layer.W.shape[0]))
    else:
        plain, x = Conv2d(4, 6, 3, stride=2, padding=1), rng.normal(size=(2, 4, 8, 8))
    plain.W.data[...], plain.b.data[...] = layer.W.data / float(s), layer.b.data
    x = xp.asarray(x.astype("float32"))
    assert np.allclose(to_numpy(layer(x)), to_numpy(plain(x)), atol=1e-5)


def test_a_linear_map_stretches_no_input():
    layer = SpectralLinear(20, 10)
    x = np.random.default_rng(0).normal(size=(500, 20)).astype("float32")
    y = to_numpy(layer(xp.asarray(x))) - to_numpy(layer.b)
    ratio = np.linalg.norm(y, axis=1) / np.linalg.norm(x, axis=1)
    assert 0.3 < ratio.max() <= 1 + 1e-4


def test_its_gradient_is_that_of_a_norm_of_one(layer):
    """Of W / s, s the SVD's: central differences, Growing W as a
    whole changes nothing, so the gradient is orthogonal to W."""
    for t in (layer.W, layer.u):
        t.data = t.data.astype("float64")
    layer.squarings = 20
    rng = np.random.default_rng(0)
    weights, d = xp.asarray(rng.normal(size=layer.W.shape)), rng.normal(size=layer.W.shape)
    g = to_numpy(tg.grad((layer.W / layer.largest() * weights).sum(), layer.W))
    W, weights = to_numpy(layer.W), to_numpy(weights)

    def f(W):
        s = np.linalg.svd(W.reshape(len(W), -1), compute_uv=False)[0]
        return (W / s * weights).sum()
    assert (g * d).sum() == pytest.approx((f(W + 1e-6 * d) - f(W - 1e-6 * d)) / 2e-6, rel=1e-5)
    assert abs((g * W).sum()) < 1e-9 * np.linalg.norm(g) * np.linalg.norm(W)


def test_eval_leaves_u_alone_and_state_holds_it():
    layer, other = SpectralLinear(6, 6), SpectralLinear(6, 6)
    layer.eval()
    before = to_numpy(layer.u).copy()
    y = to_numpy(layer(xp.ones((1, 6), dtype="float32")))
    assert (to_numpy(layer.u) == before).all()
    assert list(layer.named_parameters()) == ["W", "b"] and "u" in layer.state_dict()
    other.eval().load_state_dict(layer.state_dict())
    assert (to_numpy(other(xp.ones((1, 6), dtype="float32"))) == y).all()
    layer.W.data[...] = layer.W.data[::-1].copy()
    layer(xp.ones((1, 6), dtype="float32"))
    assert (to_numpy(layer.u) == before).all()
    layer.train()
    layer(xp.ones((1, 6), dtype="float32"))
    assert (to_numpy(layer.u) != before).any()


def test_sizes_are_checked_as_those_of_the_plain_layers():
    with pytest.raises(ValueError, match="n_out is 0; needs a whole number of at least 1"):
        SpectralLinear(3, 0)
    with pytest.raises(ValueError, match="2 groups do not divide n_in=3"):
        SpectralConv2d(3, 4, 3, groups=2)
