"""First values of weights: their distribution, measured on one large draw each.

A mean over n draws of standard deviation s is within 4 s / sqrt(n) of its expectation, and so is a
standard deviation, with s = std sqrt((kurtosis - 1) / 4); kurtosis is 3 (normal) or 1.8 (uniform).
"""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import backend
from tinygen.engine.backend import to_numpy
from tinygen.nn import Conv2d, ConvTranspose2d, Embedding, Linear, init

LINEAR, CONV = (300, 200), (40, 30, 5, 5)               # fan-in 300 and 750, fan-out 200 and 1000


def check_moments(w, std, kurtosis):
    n = w.size
    assert abs(w.mean()) < 4 * std / math.sqrt(n)
    assert abs(w.std() / std - 1) < 4 * math.sqrt((kurtosis - 1) / (4 * n))
    assert abs((w ** 4).mean() / std ** 4 - kurtosis) < 4 * math.sqrt(96 / n)   # N: var(x^4) = 96


def check_uniform(w, bound):
    check_moments(w, bound / math.sqrt(3), 1.8)
    assert bound * (1 - 20 / w.size) < abs(w).max() <= np.float32(bound)


@pytest.mark.parametrize("shape, fans", [
    (LINEAR, (300, 200)), (CONV, (750, 1000)), ((7, 3, 4), (12, 28)), ((1, 1), (1, 1))])
def test_fans(shape, fans):
    assert init.fans(shape) == fans


@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_shape_without_fan_in(shape):
    with pytest.raises(ValueError, match="needs two axes or more"):
        init.fans(shape)


@pytest.mark.parametrize("shape, fan_in, fan_out", [(LINEAR, 300, 200), (CONV, 750, 1000)])
@pytest.mark.parametrize("name, law, std", [
    ("fan_in_uniform", "uniform", lambda i, o: math.sqrt(1 / (3 * i))),
    ("xavier_uniform", "uniform", lambda i, o: math.sqrt(2 / (i + o))),
    ("kaiming_normal", "normal", lambda i, o: math.sqrt(2 / i))])
def test_distributions_that_know_the_fans(name, law, std, shape, fan_in, fan_out):
    w, std = to_numpy(getattr(init, name)(shape)), std(fan_in, fan_out)
    assert w.shape == shape
    if law == "uniform":
        check_uniform(w, math.sqrt(3) * std)
    else:
        check_moments(w, std, 3)


def test_the_other_distributions():
    check_uniform(to_numpy(init.uniform((50_000,), 0.3)), 0.3)
    check_moments(to_numpy(init.normal((50_000,))), 0.02, 3)
    check_moments(to_numpy(init.normal((50_000,), std=2.0)), 2.0, 3)
    check_uniform(to_numpy(init.fan_in_uniform((50_000,), 16)), 0.25)
    check_uniform(to_numpy(init.xavier_uniform((250, 200), gain=2.0)), 2 * math.sqrt(6 / 450))
    check_moments(to_numpy(init.kaiming_normal((250, 200), gain=1.0)), 250 ** -0.5, 3)
    assert to_numpy(init.constant((2, 3), 0.5)).tolist() == [[0.5] * 3] * 2
    assert to_numpy(init.constant((2,))).tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (4, 2, 3, 3), (20, 2, 3, 3)])
def test_orthogonal_rows_or_columns(shape):
    w = to_numpy(init.orthogonal(shape, gain=1.5)).astype(float).reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 1.5 ** 2 * np.eye(len(gram)), atol=1e-6)


def test_orthogonal_matrices_are_uniform():
    """Then an entry of a (2, 2) rotation or reflection has mean 0 and the mean square 1/2."""
    w = np.array([to_numpy(init.orthogonal((2, 2))) for _ in range(2000)])
    assert (abs(w.mean(0)) < 4 * math.sqrt(0.5 / 2000)).all()
    assert (abs((w ** 2).mean(0) - 0.5) < 4 * math.sqrt(1 / 8 / 2000)).all()


@pytest.mark.parametrize("make", [
    lambda: init.constant((3, 2)), lambda: init.uniform((3, 2), 1.0), lambda: init.normal((3, 2)),
    lambda: init.fan_in_uniform((3, 2)), lambda: init.xavier_uniform((3, 2)),
    lambda: init.kaiming_normal((3, 2)), lambda: init.orthogonal((3, 2))])
def test_each_gives_a_float32_parameter_and_repeats_from_a_seed(make):
    tg.seed(3)
    a = make()
    tg.seed(3)
    b = make()
    assert a.dtype == "float32" and a.requires_grad and a.is_leaf
    assert (to_numpy(a) == to_numpy(b)).all() and a.data is not b.data


def test_weights_are_drawn_on_the_host_so_that_every_backend_has_the_same():
    backend.seed(5)
    W = to_numpy(Linear(4, 3).W)
    want = np.random.default_rng(5).uniform(-0.5, 0.5, (4, 3)).astype("f")
    assert (W == want).all()


@pytest.mark.parametrize("layer, bound", [
    (lambda: Linear(400, 100), 1 / 20), (lambda: Conv2d(16, 64, 5, groups=4), 1 / 10),
    (lambda: ConvTranspose2d(64, 16, 5, groups=4), 1 / 10)])
def test_layers_start_within_one_over_the_root_of_fan_in(layer, bound):
    layer = layer()
    check_uniform(to_numpy(layer.W), bound)
    b = to_numpy(layer.b)
    assert abs(b).max() <= np.float32(bound) and b.std() > bound / 3


def test_embedding_starts_with_standard_normal_rows():
    check_moments(to_numpy(Embedding(500, 100).W), 1.0, 3)


@pytest.mark.parametrize("start, activation", [
    (init.kaiming_normal, tg.relu), (lambda shape: init.xavier_uniform(shape), lambda x: x)])
def test_signals_keep_their_size_through_ten_layers(start, activation):
    """What He et al. 2015 (ReLU) and Glorot & Bengio 2010 (the linear range of tanh) ask for."""
    x = tg.tensor(backend.normal((64, 400)))
    y = x @ start((400, 400))
    before = float((y * y).mean())
    for _ in range(10):
        y = activation(y) @ start((400, 400))
    assert 0.5 < float((y * y).mean()) / before < 2
