"""Attention and the Transformer block: their formulas, causality, and sequences given in pieces."""
import itertools
from functools import reduce

import numpy as np
import pytest

import tinygen as tg
from tinygen import gradcheck
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import MultiHeadAttention, TransformerBlock, attention


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(got, want):
    got = to_numpy(got)
    assert got.dtype == "float32" and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def shaken(layer, rng, dtype="float32"):
    """The layer with random parameters: no scale is 1, no bias 0, attention far from even."""
    for p in layer.parameters():
        p.data = xp.asarray(rng.normal(size=p.shape).astype(dtype))
    return layer


def value(layer, name):
    return to_numpy(reduce(getattr, name.split("."), layer)).astype(float)


def attend(layer, x):
    """MultiHeadAttention for one sequence x (T, C), a position and a head at a time"""
    (T, C), d = x.shape, x.shape[1] // layer.heads
    q, k, v = np.split(x @ value(layer, "qkv.W") + value(layer, "qkv.b"), 3, axis=1)
    y = np.zeros((T, C))
    for t, head in itertools.product(range(T), range(layer.heads)):
        seen, part = slice(0, t + 1 if layer.causal else T), slice(head * d, head * d + d)
        weights = np.exp(k[seen, part] @ q[t, part] / np.sqrt(d))
        y[t, part] = weights @ v[seen, part] / weights.sum()
    return y @ value(layer, "proj.W") + value(layer, "proj.b")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_is_its_formula(heads, causal, rng):
    layer, x = shaken(MultiHeadAttention(6, heads, causal), rng), rng.normal(size=(3, 5, 6))
    close(layer(tg.tensor(x.astype("f"))), np.stack([attend(layer, row) for row in x]))


def test_a_block_adds_attention_and_an_mlp_to_what_it_is_given(rng):
    block, x = shaken(TransformerBlock(4, 2), rng), rng.normal(size=(5, 4))

    def norm(x, name):
        centred = x - x.mean(1, keepdims=True)
        n = centred / np.sqrt((centred ** 2).mean(1, keepdims=True) + 1e-5)
        return n * value(block, f"{name}.W") + value(block, f"{name}.b")
    want = x + attend(block.attention, norm(x, "norm1"))
    h = norm(want, "norm2") @ value(block, "fc.W") + value(block, "fc.b")
    h = h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h ** 3))) / 2
    want = want + h @ value(block, "proj.W") + value(block, "proj.b")
    close(block(tg.tensor(x[None].astype("f")))[0], want)


@pytest.mark.parametrize("layer", [MultiHeadAttention(4, 2), MultiHeadAttention(4, 2, causal=True),
                                   TransformerBlock(4, 2)])
def test_gradients(layer, rng):
    layer = shaken(layer, rng)
    assert gradcheck(layer, xp.asarray(rng.normal(size=(2, 3, 4)) * 0.3))
    x = xp.asarray(rng.normal(size=(2, 3, 4)).astype("f"))
    (layer(x) * layer(x)).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in layer.parameters())


@pytest.mark.parametrize("make, alive", [
    (lambda: MultiHeadAttention(4, 2, causal=True), np.tri(5, dtype=bool)),
    (lambda: MultiHeadAttention(4, 2), np.ones((5, 5), bool)),
    (lambda: TransformerBlock(4, 2), np.tri(5, dtype=bool))])
def test_a_position_sees_itself_and_what_comes_before(make, alive, rng):
    layer = shaken(make(), rng, "float64")
    x = tg.tensor(rng.normal(size=(2, 5, 4)), requires_grad=True)
    y = layer(x) * xp.asarray(rng.normal(size=4))
    moves = [abs(to_numpy(tg.grad(y[:, t].sum(), x))).max((0, 2)) > 0 for t in range(5)]
    assert (np.array(moves) == alive).all()


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6], [4], [1, 6], [3, 4]])
@pytest.mark.parametrize("make", [lambda: MultiHeadAttention(4, 2, causal=True),
                                  lambda: TransformerBlock(4, 2)])
def test_pieces_with_a_memory_are_the_whole(make, cuts, dtype, tolerance, rng):
    layer, memory = shaken(make(), rng, dtype), {}
    x = xp.asarray(rng.normal(size=(2, 7, 4)).astype(dtype))
    pieces = [layer(part, memory) for part in tg.split(x, cuts, axis=1)]
    whole, pieces = to_numpy(layer(x)), to_numpy(tg.concatenate(pieces, axis=1))
    assert pieces.dtype == dtype
    assert abs(whole - pieces).max() < tolerance * abs(whole).max()


def test_dropout_works_on_weights_and_results_and_only_in_training(rng, monkeypatch):
    layer = shaken(MultiHeadAttention(4, 2, causal=True, dropout=0.5), rng)
    block = shaken(TransformerBlock(4, 2, dropout=0.5), rng)
    x, dropped = xp.asarray(rng.normal(size=(2, 5, 4)).astype("f")), []
    calm = to_numpy(layer.eval()(x))
    assert (calm == to_numpy(layer(x))).all()

    def note(x, p, training=True):
        dropped.append((x.shape, p, training))
        return x
    monkeypatch.setattr(attention, "dropout", note)
    np.testing.assert_allclose(to_numpy(layer.train()(x)), calm, rtol=1e-4, atol=1e-5)
    weights, result = ((2, 2, 5, 5), 0.5, True), ((2, 5, 4), 0.5, True)
    assert dropped == [weights, result]
    block(x)
    assert dropped[2:] == [weights, result, result]
    monkeypatch.undo()
    assert not np.allclose(to_numpy(layer(x)), to_numpy(layer(x)))


def test_without_bias_there_are_only_matrices_and_scales():
    names = TransformerBlock(4, 2, bias=False).named_parameters()
    assert not any(name.endswith("b") for name in names) and len(names) == 6


@pytest.mark.parametrize("sentence, call", [
    ("3 heads do not divide dim=4", lambda: MultiHeadAttention(4, 3)),
    ("heads is 0; needs a whole number", lambda: MultiHeadAttention(4, 0)),
    ("dim is 2.0; needs a whole number", lambda: TransformerBlock(2.0, 1)),
    (r"x has shape \(3, 4\); needs \(B, T, dim\)",
     lambda: MultiHeadAttention(4, 2)(xp.zeros((3, 4), "float32"))),
    ("a memory needs causal=True",
     lambda: MultiHeadAttention(4, 2)(xp.zeros((1, 3, 4), "float32"), {})),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
