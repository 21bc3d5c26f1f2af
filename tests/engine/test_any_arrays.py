"""Every operation on arrays of random shape, dtype and layout, against NumPy.

Shapes have 0 to 4 axes, some of length 0 or 1; arrays are float32 or float64, and of each layout
an array can have. Of each operation: its value is that of the plain form of test_operations.py, and
its gradients do not depend on the layout; inputs stay as they were.

    TINYGEN_LONG=1      tries a hundred times as many
"""
import os
import zlib

import numpy as np
import pytest

import tinygen as tg
from engine.test_operations import BINARY, PLAIN, REDUCTIONS, TABLE, UNARY, row, weighted
from tinygen.engine import backend
from tinygen.engine.backend import xp

TIMES = 2000 if os.environ.get("TINYGEN_LONG") else 20


# --- random inputs: each function gives (inputs, settings) ----------------------------------------

def sizes(rng, least=0, most=4, zeros=True):
    return [int(rng.choice([0, 1, 1, 2, 3, 4] if zeros else [1, 2, 3, 4]))
            for _ in range(rng.integers(least, most + 1))]


def values(rng, shape, low=-2.0, high=2.0):
    return np.asarray(rng.uniform(low, high, tuple(shape)))


def one(low=-2.0):
    return lambda rng: ([values(rng, sizes(rng), low)], {})


def two(low=-2.0):
    """A pair that broadcasts, either one the larger; the second at least `low`."""
    def make(rng):
        shape = sizes(rng)
        other = [1 if rng.random() < 0.3 else n for n in shape][rng.integers(len(shape) + 1):]
        pair = [shape, other] if rng.random() < 0.5 else [other, shape]
        return [values(rng, pair[0]), values(rng, pair[1], low)], {}
    return make


def powers(rng):
    (x, p), _ = two(-2.0)(rng)
    return [np.asarray(abs(x) + 0.5), p], {}


def axes_of(rng, ndim):
    """Some of the axes, counted from either end."""
    chosen = rng.permutation(ndim)[:rng.integers(1, ndim + 1)]
    axes = tuple(int(i) - ndim * int(rng.integers(2)) for i in chosen)
    return axes[0] if len(axes) == 1 else axes


def reduction(rng):
    """Over axes that are not empty: what the largest of none is, NumPy does not know either."""
    x = values(rng, sizes(rng))
    axis = axes_of(rng, x.ndim) if x.ndim and rng.random() < 0.7 else None
    over = [x.shape[i] for i in (range(x.ndim) if axis is None else np.atleast_1d(axis))]
    return reduction(rng) if 0 in over else ([x], {"axis": axis,
                                                   "keepdims": bool(rng.integers(2))})


def deviation(rng):
    """Of at least two: that of one is 0, where the square root has no slope."""
    (x,), how = reduction(rng)
    again = x.size < 2 * np.std(x, **how).size
    return deviation(rng) if again or x.size == 0 else ([x], how)


def along(rng):
    x = values(rng, sizes(rng, 1))
    axis = int(rng.integers(-x.ndim, x.ndim))
    return along(rng) if x.shape[axis] == 0 else ([x], {"axis": axis})


def reshaped(rng):
    shape = sizes(rng)
    groups = np.array_split(shape, rng.integers(1, 4)) if shape else [[]]
    return [values(rng, shape), tuple(int(np.prod(g)) for g in rng.permutation(groups))
            if len({len(g) for g in groups}) == 1 else tuple(int(np.prod(g)) for g in groups)], {}


def permuted(rng):
    x = values(rng, sizes(rng))
    return [x, tuple(int(i) for i in rng.permutation(x.ndim))], {}


def swapped(rng):
    x = values(rng, sizes(rng, 1))
    return [x, *(int(i) for i in rng.integers(-x.ndim, x.ndim, 2))], {}


def expanded(rng):
    x = values(rng, sizes(rng))
    return [x, int(rng.integers(-x.ndim - 1, x.ndim + 1))], {}


def squeezed(rng):
    return [values(rng, sizes(rng))], {}


def flipped(rng):
    x = values(rng, sizes(rng, 1))
    return [x, axes_of(rng, x.ndim)], {}


def broadcast(rng):
    (x, y), _ = two()(rng)
    return [x, np.broadcast_shapes(x.shape, y.shape)], {}


def padded(rng):
    x = values(rng, sizes(rng, 1))
    return [x, tuple(tuple(int(i) for i in rng.integers(0, 3, 2)) for _ in x.shape)], {}


def several(same):
    """Two to four arrays whose shapes are the same, or differ along the axis."""
    def make(rng):
        shape = sizes(rng, 1, 3)
        axis, xs = int(rng.integers(-len(shape), len(shape))), []
        for _ in range(rng.integers(2, 5)):
            own = list(shape)
            own[axis] = shape[axis] if same else int(rng.integers(0, 4))
            xs.append(values(rng, own))
        return xs, {"axis": axis}
    return make


def parts(rng):
    x = values(rng, sizes(rng, 1))
    axis = int(rng.integers(-x.ndim, x.ndim))
    return [x, sorted(int(i) for i in rng.integers(0, x.shape[axis] + 1, 2))], {"axis": axis}


def indexed(rng):
    x = values(rng, sizes(rng, 1, zeros=False))
    index = [int(rng.integers(-n, n)) if rng.random() < 0.3 else
             slice(*(int(i) for i in rng.integers(-n, n + 1, 2)), int(rng.choice([-2, -1, 1, 2])))
             for n in x.shape]
    if rng.random() < 0.4:
        i = rng.integers(len(index))
        index[i] = rng.integers(-x.shape[i], x.shape[i], rng.integers(0, 5))
    return [x, tuple(index[:rng.integers(1, len(index) + 1)])], {}


def taken(rng):
    x = values(rng, sizes(rng, 1, 3, zeros=False))
    axis = int(rng.integers(x.ndim))
    shape = list(x.shape)
    shape[axis] = int(rng.integers(0, 5))
    return [x, rng.integers(0, x.shape[axis], shape), axis], {}


def product(rng):
    batch, (n, k, m) = sizes(rng, 0, 2), rng.choice([0, 1, 2, 3, 5], 3)
    other = batch[rng.integers(len(batch) + 1):]
    a, b = [*batch, n, k], [*other, k, m]
    a = [k] if rng.random() < 0.15 else a
    b = [k] if rng.random() < 0.15 else b
    return [values(rng, a), values(rng, b)], {}


def affine(rng):
    n, m = rng.choice([1, 2, 3, 5], 2)
    return [values(rng, [*sizes(rng, 0, 3), n]), values(rng, [n, m]), values(rng, [m])], {}


def contraction(rng):
    n = {c: int(rng.choice([0, 1, 2, 3])) for c in "abc"}
    terms = ["".join(rng.permutation([*"abc"])[:rng.integers(0, 4)])
             for _ in range(rng.integers(1, 4))]
    seen = sorted(set("".join(terms)))
    out = "".join(rng.permutation(seen)[:rng.integers(len(seen) + 1)]) if seen else ""
    return [",".join(terms) + "->" + out, *(values(rng, [n[c] for c in t]) for t in terms)], {}


def convolution(transposed):
    def make(rng):
        groups, B = int(rng.integers(1, 3)), int(rng.integers(transposed, 3))
        c, o, kh, kw, h, w = (int(i) for i in rng.integers(1, 4, 6))
        how = {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2)),
               "dilation": int(rng.integers(1, 3)), "groups": groups}
        x = values(rng, [B, groups * c, h + 4, w + 4])
        W = values(rng, [groups * c, o, kh, kw] if transposed else [groups * o, c, kh, kw])
        return [x, W, values(rng, [groups * o])], how
    return make


def pooled(rng):
    size, stride = (tuple(int(i) for i in rng.integers(1, 4, 2)) for _ in range(2))
    return [values(rng, [*rng.integers(0, 3, 1), *rng.integers(1, 3, 1), *rng.integers(3, 6, 2)]),
            size, stride], {}


def upsampled(rng):
    return [values(rng, rng.integers(1, 4, 4)), tuple(int(i) for i in rng.integers(1, 4, 2))], {}


def attended(rng):
    B, H, T, S, D, E = (int(i) for i in rng.integers(1, 4, 6))
    return [values(rng, [B, H, T, D]), values(rng, [B, H, S, D]), values(rng, [B, H, S, E])], {}


def normed(rng):
    n = int(rng.integers(1, 5))
    return [values(rng, [*sizes(rng, 0, 3), n]), values(rng, [n]), values(rng, [n])], {}


def batch_normed(rng):
    n = int(rng.integers(1, 5))
    shape = [int(rng.integers(1, 5)), n, *sizes(rng, 0, 2, zeros=False)]
    return [values(rng, shape), values(rng, [n]), values(rng, [n])], {}


def group_normed(rng):
    groups = int(rng.integers(1, 4))
    n = groups * int(rng.integers(1, 3))
    shape = [int(rng.integers(1, 4)), n, *sizes(rng, 1, 2, zeros=False)]
    return [values(rng, shape), values(rng, [n]), values(rng, [n]), groups], {}


def looked_up(rng):
    rows = int(rng.integers(1, 5))
    return [values(rng, [rows, int(rng.integers(1, 4))]), rng.integers(0, rows, sizes(rng))], {}


def labelled(rng):
    shape, K = sizes(rng, 0, 2, zeros=False), int(rng.integers(1, 5))
    return [values(rng, [*shape, K]), rng.integers(0, K, shape)], {}


def compared(rng):
    shape = sizes(rng, zeros=False)
    return [values(rng, shape), values(rng, shape, 0.1, 0.9)], {}


def chosen(rng):
    (x, y), _ = two()(rng)
    return [rng.random(np.broadcast_shapes(x.shape, y.shape)) > 0.5, x, y], {}


def clipped(rng):
    return [values(rng, sizes(rng)), -1.0, 0.5], {}


CASES = {
    **{op: one() for op in UNARY}, tg.log: one(0.1), tg.sqrt: one(0.1),
    **{op: two(0.5 if op is tg.divide else -2.0) for op in BINARY}, tg.power: powers,
    tg.clip: clipped, tg.where: chosen, tg.astype: lambda rng: ([values(rng, sizes(rng)),
                                                                "float64"], {}),
    **{op: reduction for op in REDUCTIONS}, tg.std: deviation,
    tg.softmax: along, tg.log_softmax: along, tg.cumsum: along,
    tg.reshape: reshaped, tg.transpose: permuted, tg.swapaxes: swapped, tg.expand_dims: expanded,
    tg.squeeze: squeezed, tg.flip: flipped, tg.broadcast_to: broadcast, tg.pad: padded,
    tg.concatenate: several(same=False), tg.stack: several(same=True), tg.split: parts,
    tg.getitem: indexed, tg.take_along_axis: taken,
    tg.matmul: product, tg.linear: affine, tg.einsum: contraction,
    tg.conv2d: convolution(False), tg.conv_transpose2d: convolution(True),
    tg.max_pool2d: pooled, tg.avg_pool2d: pooled, tg.upsample: upsampled,
    tg.attention: attended, tg.layer_norm: normed, tg.batch_norm: batch_normed,
    tg.group_norm: group_normed, tg.embedding: looked_up,
    tg.dropout: lambda rng: ([values(rng, sizes(rng)), 0.4], {}),
    tg.cross_entropy: labelled, tg.binary_cross_entropy_with_logits: compared, tg.mse: compared,
}


# --- layouts --------------------------------------------------------------------------------------

def plain(x, rng):
    return x.copy()


def fortran(x, rng):
    return x.transpose().copy().transpose()


def backwards(x, rng):
    axes = tuple(i for i in range(x.ndim) if rng.random() < 0.7)
    return xp.flip(xp.flip(x, axes).copy(), axes)


def amid_others(x, rng):
    """Every second element along each axis of a larger array, from the second on."""
    larger = xp.full(tuple(2 * n + 2 for n in x.shape), 7.0, dtype=x.dtype)
    inner = larger[(..., *(slice(1, 2 * n + 1, 2) for n in x.shape))]
    inner[...] = x
    return inner


def axes_mixed(x, rng):
    order = [int(i) for i in rng.permutation(x.ndim)]
    return x.transpose(order).copy().transpose([order.index(i) for i in range(x.ndim)])


def read_only(x, rng):
    x = x.copy()
    if hasattr(x.flags, "writeable"):               # CuPy's cannot be locked
        x.flags.writeable = False
    return x


LAYOUTS = [plain, fortran, backwards, amid_others, axes_mixed, read_only]


# --- the test -------------------------------------------------------------------------------------

def on_backend(a, dtype, layout=plain, rng=None):
    if isinstance(a, tuple):
        return tuple(on_backend(b, dtype) for b in a)
    if not isinstance(a, np.ndarray):
        return a
    return layout(xp.asarray(a, dtype=dtype), rng) if a.dtype.kind == "f" else xp.asarray(a)


def computed(case, inputs, record):
    """The results of a case and, where it records, the gradients of its float arrays."""
    backend.seed(0)
    if not record:
        ys = case(*inputs)
        return list(ys) if isinstance(ys, (list, tuple)) else [ys]
    inputs = [tg.Tensor(a, requires_grad=True)
              if hasattr(a, "dtype") and a.dtype.kind == "f" else a for a in inputs]
    ys = case(*inputs)
    ys = list(ys) if isinstance(ys, (list, tuple)) else [ys]
    xs = [x for x in inputs if isinstance(x, tg.Tensor)]
    return ys, tg.grad(weighted(ys), xs)


def close(a, b, tolerance):
    a, b = tg.to_numpy(a), np.asarray(tg.to_numpy(b))
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)


def test_every_operation_has_random_inputs():
    assert CASES.keys() == {r.op for r in TABLE}


@pytest.mark.parametrize("op", CASES, ids=lambda op: op.__name__)
def test_any_shape_dtype_and_layout(op):
    for i in range(TIMES):
        rng = np.random.default_rng([zlib.crc32(op.__name__.encode()), i])
        values, settings = CASES[op](rng)
        case = row(op, *values, takes_list=op in (tg.concatenate, tg.stack), **settings)
        dtype = str(rng.choice(["float32", "float64"]))
        tolerance = 2e-4 if dtype == "float32" else 1e-9
        layouts = [LAYOUTS[k] for k in rng.integers(len(LAYOUTS), size=len(values))]
        about = f"{case.__name__}, case {i}: {dtype}, {[f.__name__ for f in layouts]}"

        backend.seed(0)
        rounded = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
                   for a in values]
        exact = [a.astype("float64") if a is not b else a for a, b in zip(rounded, values)]
        wanted = case(*(rounded if op is tg.dropout else exact),
                      op=PLAIN.get(op) or getattr(np, op.__name__))
        wanted = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
        inputs = [on_backend(a, dtype, f, rng) for a, f in zip(values, layouts)]
        before = [tg.to_numpy(a).copy() if hasattr(a, "dtype") else a for a in inputs]
        ys = computed(case, inputs, record=False)
        assert len(ys) == len(wanted), about
        for y, w in zip(ys, wanted):
            assert close(y, w, tolerance), f"{about}: {y} is not {w}"
            assert str(y.dtype) == dtype or op is tg.astype, about

        recorded, gs = computed(case, inputs, record=True)
        _, straight = computed(case, [on_backend(a, dtype) for a in values], record=True)
        assert all(close(y, r, 0) for y, r in zip(ys, recorded)), about
        for g, w in zip(gs, straight):
            assert close(g, w, tolerance) and str(g.dtype) == dtype, f"{about}: {g} is not {w}"
        for a, b in zip(inputs, before):
            assert not hasattr(a, "dtype") or np.array_equal(tg.to_numpy(a), b), about
