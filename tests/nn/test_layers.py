"""Each layer against its formula in plain NumPy, its gradients, its state and its mistakes."""
import itertools
from functools import reduce

import numpy as np
import pytest

import tinygen as tg
from tinygen import gradcheck
from tinygen.engine import backend
from tinygen.engine.backend import to_numpy, xp
from tinygen.nn import (BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose2d, Embedding, GroupNorm,
                        GRUCell, LayerNorm, Linear, LSTMCell, MaskedConv2d, MaskedLinear, Module,
                        Recurrent, ReLU, RNNCell, Sequential, mlp)
from tinygen.optim import Adam


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(got, want, atol=1e-5):
    got = to_numpy(got)
    assert got.dtype == "float32" and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=atol)


def values(layer):
    return [to_numpy(p).astype(float) for p in layer.parameters()]


def shaken(layer, rng):
    """The layer with random parameters, so that a W of ones or a b of zeros hides nothing."""
    for p in layer.parameters():
        p.data[...] = xp.asarray(rng.uniform(0.5, 1.5, p.shape).astype("f"))
    return layer


def check_gradients(layer, x, order=2):
    """gradcheck of the layer as a function of x and of each of its parameters."""
    named = layer.named_parameters()
    places = [(reduce(getattr, path, layer), last)
              for *path, last in (name.split(".") for name in named)]

    def call(x, *params):
        for (module, name), p in zip(places, params):
            setattr(module, name, p)
        return layer(x)
    assert gradcheck(call, xp.asarray(x), *named.values(), order=order)


# --- linear, masked, embedding --------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 4, 3), (0, 3)])
def test_linear(shape, rng):
    layer, x = Linear(3, 2), rng.normal(size=shape).astype("f")
    W, b = values(layer)
    close(layer(tg.tensor(x)), x @ W + b)
    plain = Linear(3, 2, bias=False)
    assert plain.b is None and list(plain.named_parameters()) == ["W"]
    close(plain(tg.tensor(x)), x @ values(plain)[0])


def test_linear_gradients(rng):
    check_gradients(Linear(3, 2), rng.normal(size=(4, 3)))


def test_a_mask_cuts_inputs_from_outputs(rng):
    mask = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]])
    layer, x = MaskedLinear(4, 3, mask=xp.asarray(mask)), rng.normal(size=(5, 4)).astype("f")
    W, b = values(layer)
    close(layer(tg.tensor(x)), x @ (W * mask) + b)
    x = tg.tensor(x, requires_grad=True)
    for j in range(3):
        layer.zero_grad()
        gx = to_numpy(tg.grad(layer(x)[0, j], x))
        assert ((gx[0] != 0) == mask[:, j]).all() and (gx[1:] == 0).all()
    layer(x).sum().backward()
    assert ((to_numpy(layer.W.grad) != 0) == mask).all()
    check_gradients(layer, rng.normal(size=(4, 4)))


def test_a_mask_may_be_a_list_of_booleans_be_changed_and_be_absent(rng):
    layer, x = MaskedLinear(2, 2), tg.tensor(rng.normal(size=(3, 2)).astype("f"))
    same = Linear(2, 2)
    same.load_state_dict(layer.state_dict())            # the mask is no part of the state
    assert (to_numpy(layer(x)) == to_numpy(same(x))).all()
    layer.set_mask([[False, True], [False, False]])
    assert layer.mask.dtype == "float32"
    close(layer(x)[:, 0], to_numpy(layer.b)[0] * np.ones(3))
    with pytest.raises(ValueError, match=r"MaskedLinear: mask of shape \(2, 3\), needed \(2, 2\)"):
        layer.set_mask(xp.ones((2, 3)))
    assert layer.mask.shape == (2, 2)


def test_embedding_looks_up_rows_and_adds_their_gradients():
    layer, ids = Embedding(4, 2), np.array([[1, 3], [1, 1]])
    W, = values(layer)
    y = layer(xp.asarray(ids))
    close(y, W[ids])
    (y * tg.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])).sum().backward()
    close(layer.W.grad, np.array([[0, 0], [1 + 5 + 7, 2 + 6 + 8], [0, 0], [3, 4]]))
    with pytest.raises(IndexError, match="ids run from 1 to 4; a table of 4 rows"):
        layer(xp.asarray([1, 4]))
    with pytest.raises(TypeError, match="ids must be integers, got float32"):
        layer(tg.tensor([1.0]))


def test_mlp_has_an_activation_between_layers_and_none_after_the_last(rng):
    net, x = mlp((3, 5, 4, 2), tg.tanh), rng.normal(size=(6, 3)).astype("f")
    A, a, B, b, C, c = values(net)
    close(net(tg.tensor(x)), np.tanh(np.tanh(x @ A + a) @ B + b) @ C + c)
    assert [type(m) for m in mlp((2, 3, 1), ReLU()).layers] == [Linear, ReLU, Linear]
    assert len(mlp((2, 1), tg.relu)) == 1


def test_an_mlp_learns_xor():
    net = mlp((2, 8, 1), tg.tanh)
    x, y = tg.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]), tg.tensor([[0], [1], [1], [0]])
    optimizer = Adam(net.parameters(), lr=0.05)
    for _ in range(200):
        loss = tg.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05                           # at 0.69 = ln 2 nothing is learned


# --- convolutions ---------------------------------------------------------------------------------

def convolve(x, W, b, stride=1, padding=0, dilation=1, groups=1):
    """y[n, o, h, w] = b[o] + sum W[o, c, i, j] x[n, c, s h + d i - p, s w + d j - p], in loops."""
    (s, t), (p, q), (d, e) = (a if isinstance(a, tuple) else (a, a)
                              for a in (stride, padding, dilation))
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)))
    (O, C, kh, kw), (H, V) = W.shape, x.shape[2:]
    y = np.zeros((len(x), O, (H - d * (kh - 1) - 1) // s + 1, (V - e * (kw - 1) - 1) // t + 1))
    for o, h, w, c, i, j in itertools.product(*map(range, y.shape[1:]), *map(range, W.shape[1:])):
        channel = o // (O // groups) * C + c
        y[:, o, h, w] += W[o, c, i, j] * x[:, channel, s * h + d * i, t * w + e * j]
    return y + b[:, None, None]


CONVOLUTIONS = [
    dict(size=3), dict(size=3, padding=1), dict(size=(2, 3), stride=2), dict(size=1),
    dict(size=3, stride=(2, 1), padding=(0, 2)), dict(size=2, dilation=2, padding=1),
    dict(size=3, groups=2, stride=2, padding=1)]


@pytest.mark.parametrize("how", CONVOLUTIONS, ids=str)
def test_conv2d(how, rng):
    layer, x = Conv2d(4, 6, **how), rng.normal(size=(2, 4, 7, 6)).astype("f")
    settings = {k: v for k, v in how.items() if k != "size"}
    close(layer(tg.tensor(x)), convolve(x, *values(layer), **settings))


@pytest.mark.parametrize("how", CONVOLUTIONS, ids=str)
def test_conv_transpose2d_is_the_adjoint(how, rng):
    """<conv(x), y> = <x, conv_transpose(y)> for the same W; and b is added to each channel."""
    down, up = Conv2d(4, 6, **how, bias=False), ConvTranspose2d(6, 4, **how)
    assert up.W.shape == down.W.shape
    up.W = down.W
    x = rng.normal(size=(2, 4, 7, 7)).astype("f")
    y = to_numpy(down(tg.tensor(x)))
    up.settings["output_padding"] = tuple(
        n - m for n, m in zip((7, 7), up(tg.tensor(y)).shape[2:]))
    g = rng.normal(size=y.shape).astype("f")
    z = to_numpy(up(tg.tensor(g))).astype(float) - to_numpy(up.b)[:, None, None]
    assert z.shape == x.shape
    assert (y.astype(float) * g).sum() == pytest.approx((x * z).sum(), rel=1e-4)


@pytest.mark.parametrize("k, s, p, d, extra", [(3, 1, 0, 1, 0), (4, 2, 1, 1, 0), (3, 2, 1, 2, 1)])
def test_output_sizes_are_those_of_the_docstrings(k, s, p, d, extra):
    x = tg.tensor(np.zeros((1, 2, 8, 9), "f"))
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n in (8, 9)]
    assert Conv2d(2, 3, k, s, p, d)(x).shape == (1, 3, *sizes)
    sizes = [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n in (8, 9)]
    assert ConvTranspose2d(2, 3, k, s, p, extra, d)(x).shape == (1, 3, *sizes)


def test_convolutions_without_bias():
    for layer in Conv2d(2, 3, 3, bias=False), ConvTranspose2d(2, 3, 3, bias=False):
        assert layer.b is None and list(layer.state_dict()) == ["W"]
        assert not to_numpy(layer(tg.tensor(np.zeros((1, 2, 5, 5), "f")))).any()


@pytest.mark.parametrize("layer", [
    lambda: Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
    lambda: ConvTranspose2d(2, 3, 2, stride=2)])
def test_convolution_gradients(layer, rng):
    check_gradients(layer(), rng.normal(size=(2, 2, 4, 3)))


MASKS = {"a tap": [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
         "channels": np.array([[1, 0], [0, 1], [1, 1]]).reshape(3, 2, 1, 1),
         "no tap": np.zeros((3, 3))}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masked_conv2d(mask, rng):
    layer, mask = MaskedConv2d(2, 3, 3, mask, padding=1), np.array(mask)
    x, (W, b) = rng.normal(size=(2, 2, 4, 5)).astype("f"), values(layer)
    y = layer(tg.tensor(x))
    close(y, convolve(x, W * mask, b, padding=1))
    (y * y).sum().backward()
    assert ((to_numpy(layer.W.grad) != 0) == (mask * np.ones(W.shape) != 0)).all()
    check_gradients(layer, x)


@pytest.mark.parametrize("mask", [np.ones((2, 2)), np.ones((5, 3, 2, 3, 3))])
def test_a_mask_that_does_not_fit_the_kernel(mask):
    with pytest.raises(ValueError, match=r"MaskedConv2d: mask of shape .* \(3, 2, 3, 3\) or"):
        MaskedConv2d(2, 3, 3, mask)


# --- recurrent cells ------------------------------------------------------------------------------

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, h, c):
    return np.tanh(x + h)


def gru(x, h, c):
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, 1), np.split(h, 3, 1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * hn) + z * c


def lstm(x, h, c):
    i, f, u, o = np.split(x + h, 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
    return np.concatenate([sigmoid(o) * np.tanh(c), c], 1)


class Step(Module):
    """A cell as a layer of one input: x, h and, for the LSTM, c side by side."""

    def __init__(self, cell):
        self.cell = cell

    def forward(self, x):
        x, h, *c = tg.split(x, range(3, x.shape[1], 4), axis=1)
        if isinstance(self.cell, LSTMCell):
            return tg.concatenate(self.cell(x, (h, c[0])), axis=1)
        return self.cell(x, h)


@pytest.mark.parametrize("kind, formula, width", [(RNNCell, rnn, 7), (GRUCell, gru, 7),
                                                  (LSTMCell, lstm, 11)])
def test_recurrent_cells(kind, formula, width, rng):
    cell, x = kind(3, 4), rng.normal(size=(5, width)).astype("f")
    W, b, U, a = values(cell)
    state = x[:, 7:] if kind is LSTMCell else x[:, 3:7]
    close(Step(cell)(tg.tensor(x)), formula(x[:, :3] @ W + b, x[:, 3:7] @ U + a, state))
    check_gradients(Step(cell), x)
    assert list(cell.state_dict()) == ["x.W", "x.b", "h.W", "h.b"]
    assert all(0.3 < abs(w).max() <= 0.5 for w in (W, b, U, a))          # 1/sqrt(4)


@pytest.mark.parametrize("kind", [RNNCell, GRUCell, LSTMCell])
def test_recurrent_is_its_cell_step_by_step(kind, rng):
    cell, x = kind(3, 4), tg.tensor(rng.normal(size=(2, 5, 3)).astype("f"))
    hs, last = Recurrent(cell)(x)
    state = cell.start(2)
    for t in range(5):
        state = cell(x[:, t], state)
        close(hs[:, t], to_numpy(state[0] if kind is LSTMCell else state))
    first, middle = Recurrent(cell)(x[:, :2])
    second, end = Recurrent(cell)(x[:, 2:], middle)
    close(tg.concatenate([first, second], axis=1), to_numpy(hs))
    close(end[0], to_numpy(last[0]))


# --- normalisation --------------------------------------------------------------------------------

def normalized(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def per_channel(v, x):
    return v.reshape(1, -1, *[1] * (x.ndim - 2))


@pytest.mark.parametrize("shape", [(4, 6), (6,), (2, 3, 6)])
def test_layer_norm(shape, rng):
    layer, x = shaken(LayerNorm(6), rng), rng.normal(2, 3, shape).astype("f")
    W, b = values(layer)
    close(layer(tg.tensor(x)), normalized(x, -1) * W + b)
    close(layer(tg.tensor(0.003 * x)), normalized(0.003 * x, -1) * W + b)      # here eps matters
    plain = LayerNorm(6, bias=False)
    assert list(plain.named_parameters()) == ["W"]
    close(plain(tg.tensor(x)), normalized(x, -1))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 3, 4)])
def test_group_norm(groups, shape, rng):
    layer, x = shaken(GroupNorm(groups, 6), rng), rng.normal(2, 3, shape).astype("f")
    n = normalized(x.reshape(shape[0], groups, -1), -1).reshape(shape)
    W, b = values(layer)
    close(layer(tg.tensor(x)), n * per_channel(W, x) + per_channel(b, x))


BATCHES = [(BatchNorm1d, (8, 3)), (BatchNorm1d, (2, 3)), (BatchNorm2d, (4, 3, 2, 5))]
batches = pytest.mark.parametrize("kind, shape", BATCHES)


@batches
def test_batch_norm_normalises_over_the_batch_while_training(kind, shape, rng):
    layer, x = shaken(kind(3), rng), rng.normal(2, 3, shape).astype("f")
    axes = (0, *range(2, len(shape)))
    W, b = values(layer)
    close(layer(tg.tensor(x)), normalized(x, axes) * per_channel(W, x) + per_channel(b, x))
    close(kind(3)(tg.tensor(x)), normalized(x, axes))            # at first W is 1 and b is 0


@batches
@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0])
def test_running_averages_follow_the_batches_and_serve_in_eval(kind, shape, momentum, rng):
    settings = {} if momentum == 0.1 else {"momentum": momentum}          # 0.1 is the default
    layer, mean, var = shaken(kind(3, **settings), rng), np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.normal(rng.normal(), 2, shape).astype("f")
        layer(tg.tensor(x))
        columns = np.moveaxis(x, 1, 0).reshape(3, -1).astype(float)
        mean = (1 - momentum) * mean + momentum * columns.mean(1)
        var = (1 - momentum) * var + momentum * columns.var(1, ddof=1)
    close(layer.running_mean, mean)
    close(layer.running_var, var)
    state, x = layer.state_dict(), rng.normal(size=shape).astype("f")
    W, b = values(layer)
    n = (x - per_channel(mean, x)) / np.sqrt(per_channel(var, x) + 1e-5)
    want = n * per_channel(W, x) + per_channel(b, x)
    close(layer.eval()(tg.tensor(x)), want)
    close(layer(tg.tensor(x[:1])), want[:1])                    # alone as in a batch
    assert all((a == state[name]).all() for name, a in layer.state_dict().items())


@batches
def test_running_averages_are_saved_but_not_trained(kind, shape, rng):
    layer, x = kind(3), tg.tensor(rng.normal(2, 3, shape).astype("f"), requires_grad=True)
    layer(x).sum().backward()
    assert list(layer.named_parameters()) == ["W", "b"]
    assert list(layer.state_dict()) == ["W", "b", "running_mean", "running_var"]
    assert not layer.running_mean.requires_grad and not layer.running_var.requires_grad
    other = kind(3).eval()
    other.load_state_dict(layer.state_dict())
    assert (to_numpy(other(x)) == to_numpy(layer.eval()(x))).all()


@batches
def test_a_channel_that_never_changes_stays_finite(kind, shape):
    layer, x = kind(3, momentum=1.0), tg.tensor(np.full(shape, 7, "f"))
    close(layer(x), np.zeros(shape), atol=1e-3)     # what float32 leaves of 7 - 7, / sqrt(eps)
    close(layer.running_var, np.zeros(3), atol=1e-10)
    assert np.isfinite(to_numpy(layer.eval()(x))).all()


@pytest.mark.parametrize("kind, shape, message", [
    (BatchNorm1d, (1, 3), r"BatchNorm1d: a batch of shape \(1, 3\) has one value per channel"),
    (BatchNorm2d, (1, 3, 1, 1), r"use more examples, or eval\(\)"),
    (BatchNorm1d, (0, 3), r"BatchNorm1d: a batch of shape \(0, 3\)"),
    (BatchNorm1d, (4, 3, 2), r"BatchNorm1d: needs 2 axes, axis 1 of size 3; got shape \(4, 3, 2\)"),
    (BatchNorm2d, (4, 2, 5, 5), "BatchNorm2d: needs 4 axes, axis 1 of size 3"),
    (lambda n: LayerNorm(1), (4, 3), r"LayerNorm: needs a last axis of size 1; got shape \(4, 3\)"),
    (LayerNorm, (3, 1), "LayerNorm: needs a last axis of size 3"),
    (lambda n: GroupNorm(1, 1), (2, 3, 4), "GroupNorm: needs axis 1 of size 1"),
    (lambda n: GroupNorm(3, 3), (3,), r"GroupNorm: needs axis 1 of size 3; got shape \(3,\)")])
def test_batches_that_cannot_be_normalised(kind, shape, message):
    layer = kind(3)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message):
        layer(tg.tensor(np.ones(shape, "f")))
    assert all((a == before[name]).all() for name, a in layer.state_dict().items())


@pytest.mark.parametrize("layer, shape", [
    (lambda: LayerNorm(4), (3, 4)), (lambda: GroupNorm(2, 4), (2, 4, 3)),
    (lambda: BatchNorm1d(3), (5, 3)), (lambda: BatchNorm2d(2), (3, 2, 2, 2)),
    (lambda: BatchNorm1d(3).eval(), (5, 3)), (lambda: BatchNorm2d(2).eval(), (3, 2, 2, 2))])
def test_normalisation_gradients(layer, shape, rng):
    check_gradients(shaken(layer(), rng), rng.normal(size=shape))


# --- all together ---------------------------------------------------------------------------------

@pytest.mark.parametrize("make, message", [
    (lambda: Linear(0, 2), "Linear: n_in is 0; needs a whole number of at least 1"),
    (lambda: Linear(2, 2.0), "Linear: n_out is 2.0"),
    (lambda: MaskedLinear(2, -1), "Linear: n_out is -1"),
    (lambda: Embedding("10", 2), "Embedding: n is '10'"),
    (lambda: Embedding(3, 0), "Embedding: dim is 0"),
    (lambda: mlp((4,), tg.relu), r"mlp: sizes are \(4,\); needs at least"),
    (lambda: mlp((4, 0, 1), tg.relu), "Linear: n_out is 0"),
    (lambda: mlp(8, tg.relu), "mlp: sizes is 8; needs a size for each layer"),
    (lambda: Conv2d(0, 1, 3), "Conv2d: n_in is 0"),
    (lambda: Conv2d(1, 1, (3, 0)), r"Conv2d: size is \(3, 0\); needs a whole number of at least 1"),
    (lambda: ConvTranspose2d(1, 1, (3, 3, 3)), r"size is \(3, 3, 3\); .* or a pair"),
    (lambda: Conv2d(4, 4, 3, groups=0), "Conv2d: groups is 0"),
    (lambda: Conv2d(4, 6, 3, groups=4), "Conv2d: 4 groups do not divide n_in=4 and n_out=6"),
    (lambda: ConvTranspose2d(4, 6, 3, groups=3), "ConvTranspose2d: 3 groups do not divide"),
    (lambda: Recurrent(GRUCell(3, 4))(xp.zeros((2, 3))), r"Recurrent: x has shape \(2, 3\); needs"),
    (lambda: Recurrent(GRUCell(3, 4))(xp.zeros((2, 0, 3))), "T at least 1"),
    (lambda: LayerNorm(0), "LayerNorm: n is 0"),
    (lambda: GroupNorm(0, 6), "GroupNorm: groups is 0"),
    (lambda: GroupNorm(4, 6), "GroupNorm: 4 groups do not divide 6 channels"),
    (lambda: BatchNorm1d(0), "BatchNorm1d: channels is 0"),
    (lambda: BatchNorm2d(2.5), "BatchNorm2d: channels is 2.5")])
def test_sizes_that_make_no_layer(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_sizes_may_be_numpy_integers():
    n = np.int64(3)
    assert Linear(n, n).W.shape == Embedding(n, n).W.shape == (3, 3)
    assert Conv2d(n, n, n).W.shape == (3, 3, 3, 3)


def test_every_layer_keeps_float32_and_feeds_every_parameter_a_gradient():
    net = Sequential(Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), tg.relu, GroupNorm(2, 4),
                     ConvTranspose2d(4, 2, 2, stride=2), lambda x: x.reshape(len(x), -1),
                     BatchNorm1d(2 * 64), LayerNorm(2 * 64), MaskedLinear(128, 8), Linear(8, 3))
    y = net(tg.tensor(backend.normal((5, 1, 4, 4))))
    (y * y).sum().backward()
    assert y.dtype == "float32"
    for name, p in net.named_parameters().items():
        assert p.grad.dtype == "float32" and p.grad.shape == p.shape, name
        assert np.isfinite(to_numpy(p.grad)).all(), name
