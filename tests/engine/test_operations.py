"""Every operation in one table, and what holds of each of its rows.

Of every row: the derivatives are right to second order, the values are those of a plain form in
NumPy, float32 stays float32, plain arrays are welcome, the memory layout of the inputs does not
matter, and nothing stays alive. A new operation is a new row; without one a test fails.

Below stands what is particular: ties and kinks, large numbers, mixed types, mistakes.
"""
import functools
import gc
import importlib
import math
import pkgutil
import weakref

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import backend, tensor as engine
from tinygen.engine.backend import xp
from tinygen.engine.checkpoint import checkpoint
from tinygen.engine.products import MOST_OPERANDS

rng = np.random.default_rng(0)


def spread(*shape, low=-2.0, high=2.0):
    """Numbers all over (low, high) in random order, no two alike, none 0: no ties and no kinks."""
    n = math.prod(shape)
    x = (rng.permutation(n) + rng.uniform(0.2, 0.8)) / max(n, 1)
    return (low + (high - low) * x).reshape(shape)


def positive(*shape):
    return spread(*shape, low=0.5)


def signed(*shape):
    """Of either sign, none near 0."""
    return positive(*shape) * rng.choice([-1.0, 1.0], shape)


# --- the table ------------------------------------------------------------------------------------

class row:
    """op(*inputs, **settings), or op(inputs, **settings) for an op that takes a list of arrays."""

    def __init__(self, op, *inputs, takes_list=False, **settings):
        self.op, self.inputs, self.takes_list, self.settings = op, inputs, takes_list, settings
        self.__name__ = "-".join([op.__name__, *map(_shown, [*inputs, *settings.values()])])

    def __call__(self, *inputs, op=None):
        inputs = [inputs] if self.takes_list else inputs
        if op:                                      # a plain form, in NumPy
            return op(*inputs, **self.settings)
        return self.op(*inputs, **{name: on_backend(a) for name, a in self.settings.items()})


def _shown(a):
    if hasattr(a, "shape"):
        return "x".join(map(str, a.shape)) or "0d"
    return str(a).replace(" ", "")


UNARY = [tg.exp, tg.sin, tg.cos, tg.tanh, tg.sigmoid, tg.softplus, tg.relu, tg.leaky_relu, tg.silu,
         tg.gelu, tg.abs, tg.sign, tg.negative]
BINARY = [tg.add, tg.subtract, tg.multiply, tg.divide, tg.maximum, tg.minimum]
PAIRS = [((3, 4), (3, 4)), ((3, 1), (4,)), ((4,), (2, 1, 4)), ((2, 1, 3), (4, 1)), ((), (2, 3)),
         ((), ()), ((1,), (0,))]
REDUCTIONS = [tg.sum, tg.mean, tg.max, tg.min, tg.var, tg.logsumexp]
AXES = [None, 0, -1, (0, 2), (1, -1)]
MATRICES = [((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((2, 3, 4), (4, 2)),
            ((2, 3, 4), (2, 4, 2)), ((3, 4), (2, 4, 2)), ((2, 1, 2, 3), (4, 3, 2)),
            ((3,), (2, 3, 4)), ((2, 4, 3), (3,)), ((0, 3), (3, 2))]
EINSUMS = ["ij,jk->ik", "ij,jk", "ij->ji", "ii->", "ii->i", "ij,ij->", "i,j->ij", "bij,bjk->bki",
           "i,ij,j", "ij -> j", "a,a,a->a", ",i->i"]
CONVOLUTIONS = [                        # x (B, C, H, W), W (O, C / groups, kh, kw), settings
    ((2, 3, 5, 4), (2, 3, 3, 2), {}),
    ((1, 2, 6, 5), (3, 2, 3, 3), {"padding": 1}),
    ((2, 2, 7, 6), (4, 2, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 2, 7, 8), (2, 2, 2, 3), {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1)}),
    ((2, 4, 5, 5), (6, 2, 2, 2), {"groups": 2}),
    ((1, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": 2, "dilation": 2}),
    ((2, 6, 3, 3), (1, 6, 1, 1), {}),
    ((1, 6, 5, 5), (2, 6, 3, 3), {"padding": 1}),
    ((1, 2, 5, 5), (3, 2, 3, 3), {"padding": 1, "taps": [(0, 0), (0, 1), (1, 0)]})]
TRANSPOSED = [                          # x (B, C, H, W), W (C, O / groups, kh, kw), settings
    ((2, 3, 3, 2), (3, 2, 3, 2), {}),
    ((1, 2, 3, 3), (2, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 4, 2, 3), (4, 2, 2, 2), {"stride": (2, 3), "groups": 2}),
    ((1, 2, 3, 3), (2, 1, 3, 2), {"dilation": (1, 2), "padding": 1})]
MASK = rng.random((3, 4)) > 0.5
BIT = (spread(2, 3) > 0).astype("int64")
INDICES = [1, -1, slice(None, None, 2), slice(None, None, -1), ..., None, (1, 2), (..., 0),
           (0, None), (slice(1, 1), 0), [0, 2, 0], (slice(None), np.array([1, 1, 3])),
           np.array([[0, 2], [2, 2]]), ([0, 0, 2], [1, 1, 3]), MASK, (MASK[:, 0], 1), np.array(1),
           (np.array([0, 0]), slice(1, 3)), (np.array([0, 0]), None, np.array([[1], [2]]))]
LOSSES = ["mean", "sum", "none"]


TABLE = [
    *[row(op, spread(*shape)) for op in UNARY for shape in ((2, 3), (), (0, 2))],
    *[row(op, positive(*shape)) for op in (tg.log, tg.sqrt) for shape in ((2, 3), (), (0, 2))],
    *[row(op, spread(*a), signed(*b)) for op in BINARY for a, b in PAIRS],
    *[row(op, x, y) for op in BINARY for x, y in ((spread(3), 1.1), (1.1, signed(3)))],
    *[row(tg.power, positive(2, 3), p) for p in (0, 1, 2, 3, 4, -1, 0.5, -2.5, BIT)],
    *[row(tg.power, signed(2, 3), p) for p in (0, 1, 2, 3, -2, BIT)],
    *[row(tg.power, positive(*a), spread(*b)) for a, b in PAIRS],
    row(tg.power, 2.5, spread(2, 3)),
    row(tg.leaky_relu, spread(2, 3), slope=0.3),
    row(tg.leaky_relu, spread(3), 0),
    row(tg.clip, spread(3, 4), -1.0, 0.5),
    row(tg.clip, spread(3, 4), None, 0.5),
    row(tg.clip, spread(3, 4), -0.5, None),
    row(tg.where, MASK, spread(3, 4), spread(3, 4)),
    row(tg.where, MASK[0], spread(3, 1), spread()),
    row(tg.where, MASK, spread(4), 0.0),
    row(tg.where, BIT * 3, 1.0, spread(2, 3)),
    row(tg.astype, spread(2, 3), "float64"),

    *[row(op, spread(2, 3, 2), axis=axis, keepdims=keepdims)
      for op in REDUCTIONS for axis in AXES for keepdims in (False, True)],
    *[row(op, spread(*shape)) for op in REDUCTIONS for shape in ((), (1,), (4,))],
    *[row(op, spread(0, 3), axis=1) for op in REDUCTIONS],
    row(tg.sum, spread(0, 3)),
    row(tg.var, spread(2, 4), axis=1, ddof=1),
    *[row(tg.std, spread(2, 3, 2), axis=axis, keepdims=True, ddof=1) for axis in AXES[:3]],
    *[row(op, spread(2, 3, 2), **axis) for op in (tg.softmax, tg.log_softmax)
      for axis in ({}, {"axis": 0}, {"axis": 1})],
    *[row(tg.cumsum, spread(2, 3, 2), axis) for axis in (None, 0, 1, -1)],

    *[row(tg.reshape, spread(2, 6), shape) for shape in ((3, 4), (-1,), [4, 3], (1, 2, -1), 12)],
    *[row(tg.transpose, spread(2, 3, 4), axes)
      for axes in (None, (0, 2, 1), (1, 2, 0), [2, 0, 1], (-1, 0, 1))],
    row(tg.swapaxes, spread(2, 3, 4), 0, -1),
    *[row(tg.expand_dims, spread(2, 3), axis) for axis in (0, -1, (0, 2))],
    *[row(tg.squeeze, spread(2, 1, 3, 1), axis) for axis in (None, 1, (1, -1))],
    *[row(tg.flip, spread(2, 3), axis) for axis in (None, 0, (0, 1))],
    *[row(tg.broadcast_to, spread(*a), b)
      for a, b in (((3,), (2, 3)), ((2, 1), [2, 4]), ((), (2,)))],
    row(tg.pad, spread(2, 3), 2),
    row(tg.pad, spread(2, 3), ((1, 0), (0, 2)), value=1.5),
    row(tg.concatenate, spread(2, 3), spread(1, 3), spread(0, 3), takes_list=True),
    row(tg.concatenate, spread(2, 3), spread(2, 1), takes_list=True, axis=-1),
    *[row(tg.stack, spread(2, 3), spread(2, 3), takes_list=True, axis=axis) for axis in (0, 1, -1)],
    row(tg.stack, spread(), spread(), takes_list=True),
    *[row(tg.split, spread(4, 3), parts) for parts in (2, [1, 3], [2])],
    row(tg.split, spread(4, 3), 3, axis=-1),
    *[row(tg.getitem, spread(3, 4), index) for index in INDICES],
    row(tg.take_along_axis, spread(2, 3), np.array([[2, 0, 0, 1], [1, 1, 1, 0]]), 1),
    row(tg.take_along_axis, spread(3, 2), np.array([[1, 0]]), -2),
    row(tg.take_along_axis, spread(3, 2), np.array([[1]]), 0),
    row(tg.take_along_axis, spread(3), np.array([1, 1]), 0),

    *[row(tg.matmul, spread(*a), spread(*b)) for a, b in MATRICES],
    row(tg.linear, spread(2, 3), spread(3, 4)),
    *[row(tg.linear, spread(*shape), spread(3, 2), spread(2))
      for shape in ((4, 3), (2, 2, 3), (3,))],
    *[row(tg.einsum, spec, *[spread(*[3 if c == "j" else 2 for c in part.strip()])
                             for part in spec.split("->")[0].split(",")]) for spec in EINSUMS],
    *[row(tg.conv2d, spread(*x), spread(*W), spread(W[0]), **how) for x, W, how in CONVOLUTIONS],
    row(tg.conv2d, spread(1, 2, 3, 3), spread(2, 2, 2, 2)),
    *[row(tg.conv_transpose2d, spread(*x), spread(*W), spread(W[1] * how.get("groups", 1)), **how)
      for x, W, how in TRANSPOSED],
    row(tg.conv_transpose2d, spread(1, 2, 3, 3), spread(2, 1, 2, 2)),
    *[row(op, spread(2, 2, 5, 6), size, stride) for op in (tg.max_pool2d, tg.avg_pool2d)
      for size, stride in ((2, None), (3, 2), ((2, 3), (1, 2)), (1, 3))],
    *[row(tg.upsample, spread(2, 2, 2, 3), factor) for factor in (1, 2, (2, 3))],

    row(tg.attention, spread(2, 3, 4, 5), spread(2, 3, 4, 5), spread(2, 3, 4, 5)),
    row(tg.attention, spread(2, 1, 3, 2), spread(2, 1, 4, 2), spread(2, 1, 4, 3),
        mask=np.where(np.tri(3, 4, dtype=bool), 0, -1e9)),
    *[row(tg.layer_norm, spread(*shape), spread(4), spread(4))
      for shape in ((3, 4), (2, 3, 4), (4,))],
    row(tg.layer_norm, spread(2, 4), 2.0, eps=0.1),
    *[row(tg.batch_norm, spread(*shape), spread(3), spread(3))
      for shape in ((4, 3), (2, 3, 2), (2, 3, 2, 2))],
    *[row(tg.group_norm, spread(*shape), spread(4), spread(4), groups)
      for shape in ((2, 4, 3), (2, 4, 2, 2)) for groups in (1, 2, 4)],
    row(tg.embedding, spread(4, 3), np.array([[1, 0], [1, 3]])),
    row(tg.embedding, spread(4, 3), [2, 2, 2]),
    row(tg.dropout, spread(4, 5), 0.4),
    row(tg.dropout, spread(4, 5), 0.4, training=False),
    *[row(tg.cross_entropy, spread(3, 4), np.array([1, 0, 3]), reduction=how) for how in LOSSES],
    row(tg.cross_entropy, spread(2, 2, 3), [[2, 0], [1, 1]]),
    row(tg.cross_entropy, spread(4), 2),
    *[row(tg.binary_cross_entropy_with_logits, spread(2, 3), positive(2, 3) / 2, reduction=how)
      for how in LOSSES],
    *[row(tg.binary_cross_entropy_with_logits, spread(2, 3), x) for x in (1.0, BIT)],
    *[row(tg.mse, spread(2, 3), spread(2, 3), reduction=how) for how in LOSSES],
    row(tg.mse, spread(2, 3), spread(3)),
]


# --- the plain forms: an op without one here has NumPy's of the same name -------------------------

def plain_log_softmax(x, axis=-1):
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def plain_loss(losses, reduction="mean"):
    return losses if reduction == "none" else getattr(losses, reduction)()


def plain_cross_entropy(logits, labels, reduction="mean"):
    wanted = np.take_along_axis(plain_log_softmax(logits), np.asarray(labels)[..., None], -1)
    return plain_loss(-wanted[..., 0], reduction)


def plain_bce(logits, x, reduction="mean"):
    p = 1 / (1 + np.exp(-logits))
    return plain_loss(-x * np.log(p) - (1 - x) * np.log(1 - p), reduction)


def plain_norm(x, axes, W, b, channel, eps=1e-5):
    shape = np.ones(x.ndim, int)
    shape[channel] = -1
    n = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return n * np.reshape(W, shape) + np.reshape(b, shape)


def plain_layer_norm(x, W, b=0.0, eps=1e-5):
    return plain_norm(x, -1, W, b, -1, eps)


def plain_batch_norm(x, W, b):
    return plain_norm(x, (0, *range(2, x.ndim)), W, b, 1)


def plain_group_norm(x, W, b, groups):
    parts = np.split(x, groups, axis=1)
    axes = tuple(range(1, x.ndim))
    normal = np.concatenate([plain_norm(part, axes, 1.0, 0.0, 1) for part in parts], axis=1)
    shape = (-1,) + (1,) * (x.ndim - 2)
    return normal * W.reshape(shape) + b.reshape(shape)


def plain_attention(q, k, v, mask=0.0):
    scores = np.einsum("bhtd,bhsd->bhts", q, k) / np.sqrt(q.shape[-1]) + mask
    return np.einsum("bhts,bhse->bhte", np.exp(plain_log_softmax(scores)), v)


def pair(n):
    return n if isinstance(n, tuple) else (n, n)


def plain_conv2d(x, W, b=None, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """y[h, w] = b + sum over taps (i, j) of W[i, j] x[s h + d i - p, s w + d j - p]"""
    if groups > 1:
        bs = [None] * groups if b is None else np.split(b, groups)
        parts = zip(np.split(x, groups, axis=1), np.split(W, groups), bs)
        return np.concatenate([plain_conv2d(*part, stride, padding, dilation) for part in parts], 1)
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    kh, kw = W.shape[2:]
    H, Q = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), len(W), H, Q))
    for i, j in taps or np.ndindex(kh, kw):
        seen = x[:, :, dh * i:dh * i + sh * H:sh, dw * j:dw * j + sw * Q:sw]
        y += np.einsum("oc,bchw->bohw", W[:, :, i, j], seen[:, :, :H, :Q])
    return y if b is None else y + b[:, None, None]


def plain_conv_transpose2d(x, W, b=None, output_padding=0, **how):
    """<y, v> = <x, conv2d(v, W)> for every v: each element of y is that of one unit image v"""
    (sh, sw), (ph, pw), (dh, dw) = (pair(how.get(*a)) for a in
                                    (("stride", 1), ("padding", 0), ("dilation", 1)))
    extra, groups = pair(output_padding), how.get("groups", 1)
    H = (x.shape[2] - 1) * sh - 2 * ph + dh * (W.shape[2] - 1) + extra[0] + 1
    Q = (x.shape[3] - 1) * sw - 2 * pw + dw * (W.shape[3] - 1) + extra[1] + 1
    units = np.eye(W.shape[1] * groups * H * Q).reshape(-1, W.shape[1] * groups, H, Q)
    y = np.einsum("bchw,nchw->bn", x, plain_conv2d(units, W, **how)).reshape(len(x), -1, H, Q)
    return y if b is None else y + b[:, None, None]


def plain_pool(reduce):
    def pool(x, size, stride):
        (kh, kw), (sh, sw) = pair(size), pair(stride or size)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))
        return reduce(windows[:, :, ::sh, ::sw], axis=(-2, -1))
    return pool


def plain_dropout(x, p, training=True):
    keep = tg.to_numpy(backend.uniform(x.shape, x.dtype)) >= p if training else 1 - p
    return x * keep / (1 - p)


PLAIN = {
    tg.sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    tg.softplus: lambda x: np.log(1 + np.exp(x)),
    tg.relu: lambda x: np.maximum(x, 0),
    tg.leaky_relu: lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    tg.silu: lambda x: x / (1 + np.exp(-x)),
    tg.gelu: lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3))) / 2,
    tg.astype: np.asarray,
    tg.softmax: lambda x, axis=-1: np.exp(plain_log_softmax(x, axis)),
    tg.log_softmax: plain_log_softmax,
    tg.logsumexp: lambda x, **over: np.log(np.exp(x).sum(**over)),
    tg.pad: lambda x, widths, value=0.0: np.pad(x, widths, constant_values=value),
    tg.getitem: lambda x, index: x[index],
    tg.linear: lambda x, W, b=0.0: x @ W + b,
    tg.conv2d: plain_conv2d,
    tg.conv_transpose2d: plain_conv_transpose2d,
    tg.max_pool2d: plain_pool(np.max),
    tg.avg_pool2d: plain_pool(np.mean),
    tg.upsample: lambda x, f: x.repeat(pair(f)[0], axis=2).repeat(pair(f)[1], axis=3),
    tg.attention: plain_attention,
    tg.layer_norm: plain_layer_norm,
    tg.batch_norm: plain_batch_norm,
    tg.group_norm: plain_group_norm,
    tg.embedding: lambda W, ids: W[ids],
    tg.dropout: plain_dropout,
    tg.cross_entropy: plain_cross_entropy,
    tg.binary_cross_entropy_with_logits: plain_bce,
    tg.mse: lambda x, y, reduction="mean": plain_loss((x - y) ** 2, reduction),
}


# --- of every row ---------------------------------------------------------------------------------

every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.__name__)


def leaf(x):
    return tg.Tensor(x, requires_grad=True)


def on_backend(a, change=lambda x: x, dtype="float64"):
    """An input of the table as the backend has it, with `change` of each float array."""
    if isinstance(a, tuple):
        return tuple(map(on_backend, a))
    if not isinstance(a, np.ndarray):
        return a
    return change(xp.asarray(a, dtype=dtype)) if a.dtype.kind == "f" else xp.asarray(a)


def computed(row, change=leaf, dtype="float64"):
    """(ys, xs): the results of a row, as a list, and those of its inputs that need gradients."""
    backend.seed(0)
    inputs = [on_backend(a, change, dtype) for a in row.inputs]
    ys = row(*inputs)
    xs = [x for x in inputs if isinstance(x, tg.Tensor)]
    return list(ys) if isinstance(ys, (list, tuple)) else [ys], xs


def weighted(ys):
    """A scalar that depends on each element of ys in its own way."""
    ws = [xp.asarray(np.linspace(1.0, 2.0, y.size).reshape(y.shape), dtype=y.dtype) for y in ys]
    return functools.reduce(tg.add, [tg.sum(w * y) for w, y in zip(ws, ys)])


def close(a, b, tolerance=1e-10):
    a, b = tg.to_numpy(a), tg.to_numpy(b)
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)


@every_row
def test_derivatives_are_right_to_second_order(row):
    assert tg.gradcheck(row, *map(on_backend, row.inputs))


@every_row
def test_values_are_those_of_the_plain_form(row):
    ys, _ = computed(row)
    backend.seed(0)
    wanted = row(*row.inputs, op=PLAIN.get(row.op) or getattr(np, row.op.__name__))
    wanted = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
    assert len(ys) == len(wanted)
    assert all(map(close, ys, map(np.asarray, wanted)))


@every_row
def test_float32_stays_float32_to_second_order(row):
    ys, xs = computed(row, dtype="float32")
    gs = tg.grad(weighted(ys), xs, create_graph=True)
    made = gs + tg.grad(weighted(gs), xs) + (ys if row.op is not tg.astype else [])
    assert {str(t.dtype) for t in made} == {"float32"}
    weighted(ys).backward()
    assert all(x.grad is None or x.grad.dtype == "float32" for x in xs)


@every_row
def test_plain_arrays_give_the_same_and_nothing_is_recorded(row):
    arrays, _ = computed(row, change=lambda x: x)
    ys, _ = computed(row)
    for a, y in zip(arrays, ys):
        assert not isinstance(a, tg.Tensor) and a.dtype == y.dtype
        assert close(a, y, tolerance=0)


def fortran(x):
    return x.transpose().copy().transpose()


def backwards(x):
    return xp.flip(xp.flip(x).copy())


def every_second(x):
    return xp.stack([x, x], axis=-1)[..., 0]


def read_only(x):
    if hasattr(x.flags, "writeable"):               # CuPy's cannot be locked
        x.flags.writeable = False
    return x


@every_row
def test_the_layout_of_the_inputs_does_not_matter(row):
    wanted, xs = computed(row)
    wanted_gs = tg.grad(weighted(wanted), xs)
    for change in (fortran, backwards, every_second, read_only):
        ys, xs = computed(row, lambda x: leaf(change(x)))
        before = [tg.to_numpy(x).copy() for x in xs]
        gs = tg.grad(weighted(ys), xs)
        assert all(map(close, ys, wanted)) and all(map(close, gs, wanted_gs)), change.__name__
        assert all(map(np.array_equal, before, map(tg.to_numpy, xs)))


@every_row
def test_nothing_is_alive_afterwards(row, monkeypatch):
    made = []
    monkeypatch.setattr(engine, "watch", lambda y: made.append(weakref.ref(y)))
    gc.disable()
    try:
        ys, xs = computed(row)
        gs = tg.grad(weighted(ys), xs, create_graph=True)
        functools.reduce(tg.add, [weighted(gs), weighted(ys)]).backward()
        del ys, gs
        assert [y() for y in made if y() is not None and y().op is not None] == []
    finally:
        gc.enable()


# --- of the table ---------------------------------------------------------------------------------

PROMISED = """
    exp log sqrt sin cos tanh sigmoid softplus relu leaky_relu silu gelu abs
    maximum minimum where clip sum mean var std max min logsumexp softmax log_softmax cumsum
    reshape transpose swapaxes expand_dims squeeze broadcast_to concatenate stack split pad flip
    take_along_axis matmul einsum
    conv2d conv_transpose2d max_pool2d avg_pool2d upsample layer_norm batch_norm group_norm
    embedding dropout cross_entropy binary_cross_entropy_with_logits mse""".split()
METHODS = """
    exp log sqrt sin cos tanh sigmoid softplus relu abs sum mean var std max min logsumexp softmax
    log_softmax transpose squeeze flip""".split()


def test_every_operation_of_the_package_is_in_the_table():
    public = {name for name, f in vars(tg).items()
              if getattr(f, "__module__", "") in {r.op.__module__ for r in TABLE}}
    assert public >= set(PROMISED)
    assert public - {r.op.__name__ for r in TABLE} == set(), "a new operation needs a row"


def primitives():
    """Those of the engine, but for checkpoint.py and halves.py, which have tests of their own.
    Models have a few more, some with a gradient that is no derivative on purpose; their tests
    check."""
    elsewhere = checkpoint.__module__, tg.in_halves.__module__
    names = [m.name for m in pkgutil.walk_packages(tg.engine.__path__, "tinygen.engine.")]
    found = (f for name in names for f in vars(importlib.import_module(name)).values())
    return {f for f in found if hasattr(f, "joint_rule") and f.__module__ not in elsewhere}


def test_the_table_reaches_every_rule_of_every_primitive(monkeypatch):
    """The check above then has judged each, also those of which only derivatives are made."""
    reached = set()
    monkeypatch.setattr(engine, "watch_gradient", lambda y, i, gx: reached.add((y.op, i)))
    for row in TABLE:
        ys, xs = computed(row)
        gs = tg.grad(weighted([y * y for y in ys]), xs, create_graph=True)
        tg.grad(weighted(gs), xs)
    rules = {(f, i) for f in primitives() for i, rule in enumerate(f.rules) if rule}
    rules |= {(f, 0) for f in primitives() if f.joint_rule}
    rules -= {(tg.einsum, i) for i in range(4, MOST_OPERANDS + 1)}      # alike for each operand
    assert {f"{f.__module__}.{f.__name__}, argument {i}" for f, i in rules - reached} == set()


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_functions(name):
    x = leaf(xp.asarray(positive(2, 1, 3)))
    assert close(getattr(x, name)(), getattr(tg, name)(x), tolerance=0)


def test_methods_that_take_settings():
    x = leaf(xp.asarray(spread(2, 6)))
    assert x.reshape(3, 4).shape == x.reshape((3, 4)).shape == x.reshape([3, -1]).shape == (3, 4)
    assert x.transpose(1, 0).shape == x.transpose([1, 0]).shape == x.T.shape == (6, 2)
    assert x.reshape(-1).transpose(0).shape == (12,)
    assert x.swapaxes(0, 1).shape == (6, 2) and x.astype("float32").dtype == "float32"
    assert close(x.clip(-1, 1), tg.clip(x, -1, 1)) and close(x.cumsum(axis=1), tg.cumsum(x, 1))
    assert close(x.max(axis=1, keepdims=True), tg.max(x, 1, True)) and x[[]].shape == (0, 6)


# --- ties and kinks, as the docstrings state ------------------------------------------------------

def slope(f, *values, dtype="float64"):
    """The gradients of sum(f(*xs))."""
    xs = [leaf(xp.asarray(np.array(v, dtype=dtype))) for v in values]
    gs = tg.grad(tg.sum(f(*xs)), xs)
    return [tg.to_numpy(g).tolist() for g in gs]


TIED = [[[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]]]]
KINKS = {
    "relu'(0) = 0": (tg.relu, [[-1, 0, 2]], [[0, 0, 1]]),
    "leaky_relu'(0) = slope": (tg.leaky_relu, [[-1, 0, 2]], [[0.01, 0.01, 1]]),
    "abs'(0) = 0": (tg.abs, [[-1, 0, 2]], [[-1, 0, 1]]),
    "sign' = 0": (tg.sign, [[-1, 0, 2]], [[0, 0, 0]]),
    "maximum: half each": (tg.maximum, [[1, 2, 3], [2, 2, 2]], [[0, 0.5, 1], [1, 0.5, 0]]),
    "minimum: half each": (tg.minimum, [[1, 2, 3], [2, 2, 2]], [[1, 0.5, 0], [0, 0.5, 1]]),
    "maximum of x and x": (lambda x: tg.maximum(x, x), [[1, 2]], [[1, 1]]),
    "max: equal shares": (tg.max, [[3, 1, 3, 3, 3]], [[0.25, 0, 0.25, 0.25, 0.25]]),
    "max: of each row": (lambda x: tg.max(x, 1), [[[2, 2], [1, 0]]], [[[0.5, 0.5], [1, 0]]]),
    "min: equal shares": (tg.min, [[3, 1, 1]], [[0, 0.5, 0.5]]),
    "max of one": (tg.max, [3], [1]),
    "max_pool2d: equal shares": (lambda x: tg.max_pool2d(x, 2), [TIED],
                                 [[[[[1 / 3, 1 / 3, 0, 0], [1 / 3, 0, 0, 1]]]]]),
    "clip: 1 at the ends": (lambda x: tg.clip(x, -1, 1), [[-2, -1, 0, 1, 2]], [[0, 1, 1, 1, 0]]),
    "x^0: 0, also at 0": (lambda x: x ** 0, [[0, 2]], [[0, 0]]),
    "x^p at 0, p in an array": (lambda x: x ** xp.asarray([0, 1, 2]), [[0, 0, 0]], [[0, 1, 0]]),
    "0^p: 0 with respect to p": (tg.power, [[0.0, 0.0], [2.0, 0.0]], [[0, 0], [0, 0]]),
    "astype: 1 between floats": (lambda x: x.astype("float32") * 2.0, [[1, 2]], [[2, 2]]),
    "astype: 0 to integers": (lambda x: x.astype("int64") * x, [[1.5, 2.5]], [[1, 2]]),
}


@pytest.mark.parametrize("name", KINKS)
def test_ties_and_kinks(name):
    f, xs, gradients = KINKS[name]
    for given, wanted in zip(slope(f, *xs), gradients):
        np.testing.assert_allclose(given, wanted, rtol=1e-15)


def test_the_derivative_of_std_at_0_is_not_finite():
    with np.errstate(all="ignore"):
        assert not np.isfinite(slope(tg.std, [1.0, 1.0])).any()


# --- large numbers --------------------------------------------------------------------------------

LARGE = [-1e4, -100.0, 0.0, 100.0, 1e4]
ROWS_OF_LARGE = [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]]
LABELS = [1, 0, 2]
STABLE = {
    "sigmoid": (tg.sigmoid, LARGE, [0, 0, 0.5, 1, 1]),
    "softplus": (tg.softplus, LARGE, [0, 0, math.log(2), 100, 1e4]),
    "tanh": (tg.tanh, LARGE, [-1, -1, 0, 1, 1]),
    "silu": (tg.silu, LARGE, [0, 0, 0, 100, 1e4]),
    "gelu": (tg.gelu, LARGE, [0, 0, 0, 100, 1e4]),
    "logsumexp": (lambda x: tg.logsumexp(x, 1), ROWS_OF_LARGE, np.array([1e4, -1e4, 1e4])
                  + np.log([1, 3, 3])),
    "softmax": (tg.softmax, ROWS_OF_LARGE, [[1, 0, 0], [1 / 3] * 3, [1 / 3] * 3]),
    "log_softmax": (tg.log_softmax, ROWS_OF_LARGE,
                    [[0, -2e4, -1e4], [-math.log(3)] * 3, [-math.log(3)] * 3]),
    "cross_entropy": (lambda x: tg.cross_entropy(x, LABELS, "none"), ROWS_OF_LARGE,
                      [2e4, math.log(3), math.log(3)]),
    "bce": (lambda x: tg.binary_cross_entropy_with_logits(x, 1.0, "none"), LARGE,
            [1e4, 100, math.log(2), 0, 0]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STABLE)
def test_large_numbers_overflow_nowhere(name, dtype):
    f, values, wanted = STABLE[name]
    x = leaf(xp.asarray(np.array(values, dtype=dtype)))
    y = f(x)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-6, atol=1e-30)
    g = tg.grad(weighted([y]), x, create_graph=True)
    h = tg.grad(weighted([g]), x)
    assert np.isfinite(g.numpy()).all() and np.isfinite(h.numpy()).all()
    assert abs(g.numpy()).max() < 3


def test_a_row_of_minus_infinities_counts_as_probability_0():
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1.0]], dtype="float32")
    for f, wanted in ((lambda x: tg.logsumexp(x, 1), [-np.inf, 1]),
                      (tg.softmax, [[0, 0], [0, 1]]),
                      (tg.log_softmax, [[-np.inf, -np.inf], [-np.inf, 0]])):
        y = f(leaf(xp.asarray(x)))
        np.testing.assert_array_equal(y.numpy(), wanted)
    t = leaf(xp.asarray(x))
    g = tg.grad(weighted([tg.exp(tg.logsumexp(t, 1)) + tg.sum(tg.softmax(t), 1)]), t,
                create_graph=True)
    assert g.numpy()[0].tolist() == [0, 0] and np.isfinite(g.numpy()).all()
    assert np.isfinite(tg.grad(weighted([g]), t).numpy()).all()
    assert tg.logsumexp(leaf(xp.asarray([math.inf, 0.0]))).item() == math.inf


# --- types that meet ------------------------------------------------------------------------------

PARTNERS = {
    "int": 2, "float": 2.5, "True": True, "float64 number": np.float64(2.5), "int64": np.int64(2),
    "float32 number": np.float32(2.5), "list": [1.0, 2.0, 3.5], "list of ints": [1, 2, 3],
    "integers": np.array([1, 2, 3]), "bytes": np.array([1, 2, 3], dtype="uint8"),
    "booleans": np.array([True, True, True]),
}
MEET = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: a / b, "**": lambda a, b: a ** b, "maximum": tg.maximum,
    "minimum": tg.minimum, "where": lambda a, b: tg.where(xp.asarray([True, False, True]), a, b),
}


@pytest.mark.parametrize("meet", MEET)
@pytest.mark.parametrize("partner", PARTNERS)
def test_float32_stays_beside_other_types(meet, partner):
    x = leaf(xp.asarray(np.array([0.6, 1.7, 2.2], dtype="float32")))
    other = on_backend(PARTNERS[partner])
    plain, host = np.array([0.6, 1.7, 2.2]), np.asarray(PARTNERS[partner]).astype("float64")
    for f, wanted in ((lambda x: MEET[meet](x, other), lambda: MEET[meet](plain, host)),
                      (lambda x: MEET[meet](other, x), lambda: MEET[meet](host, plain))):
        y = f(x)
        g = tg.grad(weighted([y * y]), x, create_graph=True)
        h = tg.grad(weighted([g]), x)
        assert [t.dtype for t in (y, g, h)] == ["float32"] * 3
        if meet != "where" and meet not in ("maximum", "minimum"):
            np.testing.assert_allclose(y.numpy(), wanted(), rtol=1e-6)
        weighted([y]).backward()
    assert x.grad.dtype == "float32"


SETTINGS = {
    "clip": lambda x, a: tg.clip(x, -a, a), "leaky_relu": tg.leaky_relu,
    "leaky_relu(slope=)": lambda x, a: tg.leaky_relu(x, slope=a), "dropout": tg.dropout,
    "layer_norm": lambda x, a: tg.layer_norm(x, eps=a), "pad": lambda x, a: tg.pad(x, 1, a),
    "power": tg.power, "layer_norm of number W": lambda x, a: tg.layer_norm(x, a, a),
    "stack": lambda x, a: tg.stack([x[0], a]), "concatenate": lambda x, a: tg.concatenate([x, [a]]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_float64_number_as_a_setting_keeps_float32(name):
    x = leaf(xp.asarray(np.array([0.6, -1.7, 2.2], dtype="float32")))
    y = SETTINGS[name](abs(x), np.float64(0.25))
    assert y.dtype == "float32" == tg.grad(weighted([y]), x).dtype


def test_integers_meet_floats_as_float32():
    n = tg.tensor(np.array([1, 2, 4]))
    made = [n / 2, n * 0.5, tg.mean(n), tg.sqrt(n), tg.sigmoid(n), tg.gelu(n), tg.softmax(n),
            tg.logsumexp(n), n / np.float64(2)]
    assert [str(y.dtype) for y in made] == ["float32"] * len(made)
    assert (n + 1).dtype == (n * n).dtype == tg.sum(n).dtype == "int64"
    assert (tg.tensor(np.ones(3)) * tg.tensor([1.0, 2.0, 3.0])).dtype == "float64"


@pytest.mark.parametrize("f", [tg.sigmoid, tg.softplus, tg.silu, tg.softmax, tg.log_softmax,
                               tg.logsumexp, lambda x: tg.cross_entropy(x, [1])])
def test_bytes_do_not_wrap_around(f):
    pixels = np.array([[0, 1, 3, 200]], dtype="uint8")
    wanted = f(xp.asarray(pixels, dtype="float64"))
    np.testing.assert_allclose(tg.to_numpy(f(xp.asarray(pixels))), tg.to_numpy(wanted), rtol=2e-3)


def test_astype_gives_what_was_asked_for():
    x = leaf(xp.asarray([1.5, 2.5], dtype="float32"))
    for dtype in ("float64", "float32", "int64", "bool"):
        assert x.astype(dtype).dtype == tg.tensor(np.arange(2)).astype(dtype).dtype == dtype
    assert tg.grad(tg.sum(x.astype("float64") ** 2), x).dtype == "float32"


# --- mistakes -------------------------------------------------------------------------------------

def zeros(*shape, dtype="float32"):
    return tg.Tensor(xp.zeros(shape, dtype), requires_grad=dtype != "int64")


FIT = "sizes must be equal or 1, compared from the right$"
MISTAKES = [
    (lambda: zeros(3) + zeros(4), ValueError, rf"add: given shapes \(3,\), \(4,\): {FIT}"),
    (lambda: xp.zeros(3) * zeros(4), ValueError, rf"multiply: .*\(4,\), \(3,\): {FIT}"),
    (lambda: tg.where(xp.zeros(2) > 0, zeros(3), 0.0), ValueError, f"where: given .*: {FIT}"),
    (lambda: tg.clip(zeros(3), xp.zeros(4), 1.0), ValueError, f"clip: given .*: {FIT}"),
    (lambda: tg.exp("a"), TypeError, "exp: "),
    (lambda: tg.exp(zeros(3), where=zeros(3)), TypeError, "exp: got an unexpected keyword"),
    (lambda: tg.sum(3.0), TypeError, "sum: needs an array or a Tensor, got float$"),
    (lambda: tg.sum(zeros(3), axis=1), ValueError, r"sum: given shape \(3,\): axis 1 is out of"),
    (lambda: tg.softmax(zeros(3), axis=1), ValueError, r"softmax: given shape \(3,\): axis 1 is"),
    (lambda: tg.max(zeros(0)), ValueError, r"max: given shape \(0,\): zero-size array"),
    (lambda: zeros(2, 3).reshape(4), ValueError, r"reshape: given shape \(2, 3\): cannot resh"),
    (lambda: zeros(2, 3).transpose(0, 0), ValueError, r"transpose: given shape \(2, 3\): "),
    (lambda: zeros(2, 3).squeeze(0), ValueError, r"squeeze: given shape \(2, 3\): cannot select"),
    (lambda: tg.broadcast_to(zeros(3), (2, 4)), ValueError,
     r"broadcast_to: \(3,\) does not fit \(2, 4\): from the right, each size of the first must be"),
    (lambda: tg.pad(zeros(2, 3), [(1, 1)]), ValueError,
     r"pad: widths \[\(1, 1\)\] for shape \(2, 3\); needs an int, or a pair \(before, after\) for"),
    (lambda: tg.concatenate([zeros(2, 3), zeros(2, 4)]), ValueError,
     r"concatenate: given shapes \(2, 3\), \(2, 4\): all "),
    (lambda: tg.concatenate([]), (ValueError, TypeError), "concatenate: "),
    (lambda: tg.split(zeros(5), 2), ValueError,
     "split: axis 0 has size 5, which 2 parts do not divide$"),
    (lambda: tg.split(zeros(4), 2, 1), ValueError, r"split: shape \(4,\) has no axis 1$"),
    (lambda: zeros(3)[3], IndexError, r"getitem: given shape \(3,\): index 3 is out of bounds"),
    (lambda: zeros(3)[tg.tensor([0])], IndexError, "getitem: .*must be of integer"),
    (lambda: tg.take_along_axis(zeros(2, 3), [0], 1), ValueError,
     r"take_along_axis: x \(2, 3\) needs indices of 2 axes, got \(1,\)$"),
    (lambda: zeros(3, 4) @ zeros(5, 2), ValueError,
     r"matmul: \(3, 4\) @ \(5, 2\): inner sizes 4 and 5 differ$"),
    (lambda: zeros(2, 3, 4) @ zeros(5, 4, 2), ValueError, "matmul: .*: leading axes .* differ"),
    (lambda: zeros(3) @ zeros(), ValueError, "matmul: .*: a number is no matrix; multiply with"),
    (lambda: tg.linear(zeros(2, 3), zeros(4, 5)), ValueError, r"linear: x \(2, 3\) with W \(4, 5"),
    (lambda: tg.einsum("ij,jk", zeros(2, 3), zeros(4, 5)), ValueError,
     "einsum: .* the letter j has sizes 3 and 4"),
    (lambda: tg.conv2d(zeros(1, 3, 4, 4), zeros(2, 2, 3, 3)), ValueError,
     r"conv2d: x \(1, 3, 4, 4\) has 3 channels, W \(2, 2, 3, 3\) .* needs 2"),
    (lambda: tg.max_pool2d(zeros(2, 3), 2), ValueError, r"max_pool2d: windows of \(2, 2\) need"),
    (lambda: tg.upsample(zeros(2, 3), 2), ValueError, r"upsample: needs x \(B, C, H, W\), got"),
    (lambda: tg.layer_norm(zeros(2, 3), zeros(2), 0.0), ValueError,
     r"layer_norm: x \(2, 3\) needs W and b of shape \(3,\), got \(2,\) and \(\)$"),
    (lambda: tg.layer_norm(zeros(2, 3, dtype="int64")), TypeError,
     r"layer_norm: x holds int64; needs floats: x.astype\('float32'\)$"),
    (lambda: tg.mean(zeros(0, 3), 0), ValueError,
     r"mean: shape \(0, 3\) has no elements to average; needs at least one$"),
    (lambda: tg.mse(zeros(0), zeros(0)), ValueError, r"mean: shape \(0,\) has no elements"),
    (lambda: tg.std(zeros(2, 1), 1, ddof=1), ValueError,
     "var: ddof is 1 for 1 elements; needs more elements than ddof$"),
    (lambda: tg.batch_norm(zeros(4)), ValueError, r"batch_norm: x has shape \(4,\); needs an"),
    (lambda: tg.batch_norm(zeros(0, 3)), ValueError,
     r"batch_norm: a batch of shape \(0, 3\) has no mean; needs an example$"),
    (lambda: tg.group_norm(zeros(2, 4, 3), zeros(3), zeros(4), 2), ValueError,
     r"group_norm: x \(2, 4, 3\) needs W and b of shape \(4,\), got \(3,\) and \(4,\)$"),
    (lambda: tg.group_norm(zeros(2, 4, 3), 1.0, 0.0, 3), ValueError,
     "group_norm: 3 groups do not divide 4 channels$"),
    (lambda: tg.group_norm(zeros(2, 4, 3), 1.0, 0.0, 0), ValueError,
     "group_norm: 0 groups do not divide 4 channels$"),
    (lambda: tg.embedding(zeros(4, 3), [0, 4]), IndexError,
     "embedding: ids run from 0 to 4; a table of 4 rows needs 0 to 3$"),
    (lambda: tg.embedding(zeros(4, 3), [-1, 0]), IndexError, "embedding: ids run from -1 to 0"),
    (lambda: tg.embedding(zeros(4, 3), [0.5]), TypeError, "embedding: ids must be integers, got"),
    (lambda: tg.dropout(zeros(3), 1.0), ValueError, "dropout: p is 1.0; needs 0 <= p < 1$"),
    (lambda: tg.dropout(zeros(3), -0.1), ValueError, "dropout: p is -0.1; needs 0 <= p < 1$"),
    (lambda: tg.cross_entropy(zeros(2, 3), [0, 3]), ValueError,
     "cross_entropy: labels run from 0 to 3; 3 logits need 0 to 2$"),
    (lambda: tg.cross_entropy(zeros(2, 3), [-1, 2]), ValueError, "cross_entropy: labels run from"),
    (lambda: tg.cross_entropy(zeros(2, 3), [[0], [1]]), ValueError,
     r"cross_entropy: logits \(2, 3\) need integer labels of shape \(2,\), got int64 \(2, 1\)$"),
    (lambda: tg.cross_entropy(zeros(2, 3), zeros(2)), ValueError,
     r"cross_entropy: .* got float32 \(2,\)$"),
    (lambda: tg.mse(zeros(3), zeros(3), "avg"), ValueError,
     "mse: reduction is 'avg'; choose 'mean', 'sum' or 'none'$"),
    (lambda: tg.binary_cross_entropy_with_logits(zeros(3, 1), zeros(3)), ValueError,
     r"binary_cross_entropy_with_logits: logits \(3, 1\) and x \(3,\) need the same shape$"),
]


@pytest.mark.parametrize("call, kind, sentence", MISTAKES)
def test_a_mistake_is_told_when_it_is_made(call, kind, sentence):
    with pytest.raises(kind, match=f"(?i)^{sentence}"):         # CuPy says "Index 3"
        call()


def test_a_gradient_that_does_not_exist_is_refused():
    y = tg.sum(tg.leaky_relu(zeros(3), zeros()))
    with pytest.raises(NotImplementedError, match="^leaky_relu: has no derivative with respect"):
        y.backward()
