"""CausalConv1d: its formula, its blindness to the future, and sequences given in pieces."""
import numpy as np
import pytest

import tinygen as tg
from tinygen import gradcheck
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import CausalConv1d

SETTINGS = [dict(size=1), dict(size=2), dict(size=3), dict(size=2, dilation=3),
            dict(size=3, dilation=2, groups=2), dict(size=4, dilation=5, bias=False)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("T", [1, 7])
def test_the_formula(settings, T, rng):
    layer, x = CausalConv1d(4, 6, **settings), rng.normal(size=(3, 4, T)).astype("f")
    W, size, dilation = to_numpy(layer.W), settings["size"], settings.get("dilation", 1)
    groups = settings.get("groups", 1)
    per_group = 4 // groups
    y = np.zeros((3, 6, T)) + (0 if layer.b is None else to_numpy(layer.b)[:, None])
    for t, i, o in np.ndindex(T, size, 6):
        s, first = t - dilation * (size - 1 - i), o // (6 // groups) * per_group
        if s >= 0:
            y[:, o, t] += x[:, first:first + per_group, s] @ W[o, :, 0, i]
    got = to_numpy(layer(tg.tensor(x)))
    assert got.dtype == "float32" and got.shape == y.shape
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients(settings, rng):
    layer = CausalConv1d(4, 2, **settings)
    assert gradcheck(layer, xp.asarray(rng.normal(size=(2, 4, 6))))
    layer(xp.ones((2, 4, 6), "float32")).sum().backward()
    assert all(bool((p.grad != 0).any()) for p in layer.parameters())


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_position_sees_its_own_taps_and_nothing_after(settings, rng):
    layer, T = CausalConv1d(2, 2, **settings), 12
    x = tg.tensor(rng.normal(size=(1, 2, T)), requires_grad=True)
    y, back = layer(x), np.arange(T)[:, None] - np.arange(T)
    moves = [(to_numpy(tg.grad(y[:, :, t].sum(), x))[0] != 0).any(0) for t in range(T)]
    dilation, size = settings.get("dilation", 1), settings["size"]
    want = (back >= 0) & (back % dilation == 0) & (back <= dilation * (size - 1))
    assert (np.array(moves) == want).all()


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6, 7, 8], [5], [1, 8], [3, 4]])
@pytest.mark.parametrize("settings", SETTINGS)
def test_pieces_with_a_memory_are_the_whole(settings, cuts, dtype, tolerance, rng):
    layer, memory = CausalConv1d(4, 2, **settings), {}
    for p in layer.parameters():
        p.data = p.data.astype(dtype)
    x = xp.asarray(rng.normal(size=(2, 4, 9)).astype(dtype))
    pieces = [layer(part, memory) for part in tg.split(x, cuts, axis=2)]
    whole, pieces = to_numpy(layer(x)), to_numpy(tg.concatenate(pieces, axis=2))
    assert pieces.dtype == dtype and abs(whole - pieces).max() < tolerance
    assert memory[layer].shape == (2, 4, layer.before)


@pytest.mark.parametrize("sentence, call", [
    ("CausalConv1d: size is 0; needs a whole number", lambda: CausalConv1d(2, 2, 0)),
    ("CausalConv1d: dilation is 0; needs a whole number", lambda: CausalConv1d(2, 2, 2, 0)),
    ("CausalConv1d: n_in is 0; needs", lambda: CausalConv1d(0, 2, 2)),
    ("CausalConv1d: 2 groups do not divide n_in=3", lambda: CausalConv1d(3, 2, 2, groups=2)),
    (r"CausalConv1d: x has shape \(2, 3\); needs \(B, n_in, T\)",
     lambda: CausalConv1d(3, 2, 2)(xp.zeros((2, 3), "float32"))),
    ("x .* has 3 channels, W .* needs 2",
     lambda: CausalConv1d(2, 2, 2)(xp.zeros((1, 3, 5), "float32"))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
