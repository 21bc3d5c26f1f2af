"""Convolutions (what deep learning calls so: cross-correlations), pooling, upsampling.

    x        images (B, C, H, W);   y  output (B, O, H', W');   g  gradient with respect to y
    W, b     kernel (O, C, kh, kw) and bias (O,);   a tap (i, j) is one position of the kernel
    s, p, d  stride, padding and dilation, each a pair: vertical, horizontal

        y[h, w] = b + sum over taps (i, j) of  W[i, j] x[s h + d i - p, s w + d j - p]

where W[i, j] is an (O, C) matrix and x is 0 outside the image.

Shapes say channels first, (B, C, H, W); the memory holds channels last, (B, H, W, C). A result is a
transposed view of such an array, operations on elements keep its order in memory, and so the next
convolution finds all channels of neighbouring pixels side by side. A copy of those is a row of a
matrix, and the sum over taps is one matrix product (im2col). Two ideas make every case this case:

1. **Blocks.** Cut the image into blocks of s x s pixels and call the s s C numbers of a block its
   channels. In blocks the stride is 1, and tap i, which reads pixel d i, reads block d i // s.
2. **Adjoint.** With stride 1 the gradient of x is a convolution of g: the taps in reverse, each
   matrix transposed. The same gradient, as a layer of its own, is the transposed convolution.

Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".
"""
import functools
import itertools
import math
import numbers
from collections import namedtuple

from .backend import xp
from .blocks import in_threads
from .products import sum_rows
from .shaping import concatenate, split
from .tensor import defvjp, primitive

How = namedtuple("How", "kernel stride padding dilation taps")      # kernel: its size (kh, kw)
NARROW = 32                 # channels
CHUNK = 1 << 19             # columns are made for so few images at a time that 2 MiB holds them


# --- geometry: taps and blocks --------------------------------------------------------------------

@functools.lru_cache
def _layout(how):
    """The offsets (a, b) of the blocks that taps read; where each tap is among them; the taps.

    Tap (i, j) is W[i, j] and becomes entry [t, r]: pixel r of the block at offsets[t]."""
    (sh, sw), (dh, dw) = how.stride, how.dilation
    blocks = [(dh * i // sh, dw * j // sw) for i, j in how.taps]
    pixels = [dh * i % sh * sw + dw * j % sw for i, j in how.taps]
    offsets = tuple(sorted(set(blocks)))
    entries = [offsets.index(block) for block in blocks], pixels
    return offsets, entries, tuple(map(list, zip(*how.taps)))


def _to_blocks(W, how):
    """(O, C, kh, kw) -> (offsets, s s C, O), zero where a block has no tap"""
    offsets, entries, taps = _layout(how)
    O, C = W.shape[:2]
    M = xp.zeros((len(offsets), math.prod(how.stride), C, O), W.dtype)
    M[entries] = W.transpose(2, 3, 1, 0)[taps]
    return M.reshape(len(offsets), -1, O)


def _from_blocks(M, C, how):
    """(offsets, s s C, O) -> (O, C, kh, kw): the adjoint of _to_blocks"""
    offsets, entries, taps = _layout(how)
    M = M.reshape(len(offsets), math.prod(how.stride), C, -1)
    W = xp.zeros((M.shape[3], C, *how.kernel), M.dtype)
    W.transpose(2, 3, 1, 0)[taps] = M[entries]
    return W


def _reach(offsets):
    return tuple(max(a) for a in zip(*offsets))


class Blocks:
    """Images x (B, H, W, C) as `shape` blocks of `stride` pixels: (B, *shape, channels).

    The first block starts `start` pixels before the image. Pixels outside the image read as 0 and
    are not written."""

    def __init__(self, x, shape, stride=(1, 1), start=(0, 0)):
        self.x, self.shape, self.stride = x, shape, stride
        self.channels = math.prod(stride) * x.shape[3]
        self.same = stride == (1, 1) and start == (0, 0) and shape == x.shape[1:3]
        rows, columns = map(_meeting, x.shape[1:3], shape, stride, start)
        self.places = list(itertools.product(enumerate(rows), enumerate(columns)))

    def read(self, images):
        """The blocks of a slice of the images, contiguous"""
        x = self.x[images]
        if self.same:
            return xp.ascontiguousarray(x)
        blocks = xp.zeros((len(x), *self.shape, *self.stride, x.shape[3]), x.dtype)
        for (r, (in_rows, rows)), (q, (in_columns, columns)) in self.places:
            blocks[:, in_rows, in_columns, r, q] = x[:, rows, columns]
        return blocks.reshape(len(x), *self.shape, self.channels)

    def write(self, images, blocks, b=None):
        """The reverse of read, with b (C,) added"""
        x = self.x[images]
        blocks = blocks.reshape(len(x), *self.shape, *self.stride, x.shape[3])
        for (r, (in_rows, rows)), (q, (in_columns, columns)) in self.places:
            pixels = blocks[:, in_rows, in_columns, r, q]
            x[:, rows, columns] = pixels if b is None else pixels + b


@functools.lru_cache
def _meeting(size, blocks, stride, start):
    """Per position r in a block, along one axis: the blocks whose r-th pixel is in the image, and
    those pixels.   Pixel r of block q is pixel stride q + r - start of the image."""
    slices = []
    for r in range(stride):
        first = max(0, -((r - start) // stride))
        pixel = stride * first + r - start
        n = max(0, min(blocks - first, -((pixel - size) // stride)))
        slices.append((slice(first, first + n), slice(pixel, pixel + stride * n, stride)))
    return slices


# --- the arithmetic, on blocks: stride 1, no padding ----------------------------------------------

@functools.lru_cache
def _runs(offsets):
    """Offsets in lists of neighbours: (a, b), (a, b + 1), ... Those differ from their place in the
    sorted order by the same number."""
    placed = itertools.groupby(enumerate(offsets), lambda e: (e[1][0], e[1][1] - e[0]))
    return [[offset for _, offset in run] for _, run in placed]


def _columns(x, offsets, shape):
    """What the offsets read, side by side, a row per pixel.   (n, H, W, K) -> (n H' W', offsets K)

    Windows overlap, which only strides can express; what neighbours read is one copy."""
    n, H, W, K = x.shape
    if len(offsets) == 1:
        a, b = offsets[0]
        return x[:, a:a + shape[0], b:b + shape[1]].reshape(-1, K)      # all of x is no copy
    down, right = (reach + 1 for reach in _reach(offsets))
    pixel = K * x.itemsize
    windows = xp.lib.stride_tricks.as_strided(
        x, (n, *shape, down, right * K), (H * W * pixel, W * pixel, pixel, W * pixel, x.itemsize))
    columns, end = xp.empty((n, *shape, len(offsets) * K), x.dtype), 0
    for run in _runs(offsets):
        (a, b), start, end = run[0], end, end + len(run) * K
        columns[..., start:end] = windows[..., a, b * K:(b + len(run)) * K]
    return columns.reshape(-1, len(offsets) * K)


def _slide(x, offsets, M, y, b):
    """y[h] = b + sum over offsets t of x[h + t] M[t].   x, y: Blocks;   M (offsets, K, N)"""
    n, K, N = M.shape
    if 8 * N <= K:
        matrix, product = M.transpose(1, 0, 2).reshape(K, n * N), _multiply_and_shift
    else:
        matrix, product = M.reshape(n * K, N), _shift_and_multiply

    def work(images):
        y.write(images, product(x.read(images), offsets, y.shape, matrix), b)

    _by_chunks(work, x, offsets, y)


def _shift_and_multiply(x, offsets, shape, matrix):
    return xp.matmul(_columns(x, offsets, shape), matrix)


def _multiply_and_shift(x, offsets, shape, matrix):
    """The same, for few outputs: there is then less to move after the product than before."""
    products = xp.matmul(x.reshape(-1, x.shape[3]), matrix).reshape(*x.shape[:3], len(offsets), -1)
    H, W = shape
    return sum(products[:, a:a + H, b:b + W, t] for t, (a, b) in enumerate(offsets))


def _correlate(x, offsets, g):
    """M[t] = sum over h of x[h + t]^T g[h].   x, g: Blocks -> (offsets, K, N)"""
    def work(images):
        columns = _columns(x.read(images), offsets, g.shape)
        return xp.matmul(columns.T, g.read(images).reshape(-1, g.channels))

    zeros = xp.zeros((len(offsets) * x.channels, g.channels), xp.result_type(x.x, g.x))
    parts = _by_chunks(work, x, offsets, g)
    return sum(parts, zeros).reshape(len(offsets), x.channels, g.channels)


def _by_chunks(work, x, offsets, y):
    """[work(images)] for slices of a few images, so few that their columns stay in cache.

    A product onto few channels is too narrow for the BLAS to share between threads well: then two
    threads of ours take the slices in turn."""
    B, columns = len(x.x), len(offsets) * x.channels * math.prod(y.shape)
    step = max(1, B if xp.__name__ == "cupy" else CHUNK // columns)
    starts, results = range(0, B, step), {}

    def run(some):
        for i in some:
            results[i] = work(slice(i, i + step))
    in_threads(run, starts, B * columns if y.channels <= NARROW else 0)
    return [results[i] for i in starts]


# --- conv2d and its two gradients: each is made of the others' derivatives ------------------------

def channels_last(x):
    return x.transpose(0, 2, 3, 1)


def channels_first(x):
    return x.transpose(0, 3, 1, 2)


def _output_size(size, how):
    """(H', W') of an image's (H, W)"""
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, *how[:4]))


def _image_blocks(x, offsets, size, how):
    """x in blocks, as many as an output of this size reads."""
    shape = tuple(n + a for n, a in zip(size, _reach(offsets)))
    return Blocks(channels_last(x), shape, how.stride, how.padding)


@primitive
def _conv2d(x, W, b, how):
    """y = W * x + b"""
    offsets, size = _layout(how)[0], _output_size(x.shape[2:], how)
    y = xp.empty((len(x), *size, len(W)), xp.result_type(x, W))
    _slide(_image_blocks(x, offsets, size, how), offsets, _to_blocks(W, how), Blocks(y, size), b)
    return channels_first(y)


@primitive
def _conv2d_dx(g, W, b, how, size):
    """The x of this size with <x, x'> = <g, W * x'> for every x';   plus b

    Leaves out the blocks that are padding only, the first p // s of them."""
    offsets = _layout(how)[0]
    reach, start = _reach(offsets), tuple(p % s for p, s in zip(how.padding, how.stride))
    shape = tuple(-((-q - n) // s) for q, n, s in zip(start, size, how.stride))
    before = tuple(a - p // s for a, p, s in zip(reach, how.padding, how.stride))
    around = tuple(n + a for n, a in zip(shape, reach))
    reverse = tuple((reach[0] - a, reach[1] - b) for a, b in reversed(offsets))
    x = xp.empty((len(g), *size, W.shape[1]), xp.result_type(g, W))
    _slide(Blocks(channels_last(g), around, start=before), reverse,
           _to_blocks(W, how)[::-1].transpose(0, 2, 1), Blocks(x, shape, how.stride, start), b)
    return channels_first(x)


@primitive
def _conv2d_dW(x, g, how):
    """The V with <V, W'> = <g, W' * x> for every W'"""
    offsets, size = _layout(how)[0], g.shape[2:]
    M = _correlate(_image_blocks(x, offsets, size, how), offsets, Blocks(channels_last(g), size))
    return _from_blocks(M, x.shape[1], how)


defvjp(_conv2d, lambda g, y, x, W, b, how: _conv2d_dx(g, W, None, how, x.shape[2:]),
       lambda g, y, x, W, b, how: _conv2d_dW(x, g, how),
       lambda g, y, x, W, b, how: sum_rows(channels_last(g)))
defvjp(_conv2d_dx, lambda g, y, x, W, b, how, size: _conv2d(g, W, None, how),
       lambda g, y, x, W, b, how, size: _conv2d_dW(g, x, how),
       lambda g, y, x, W, b, how, size: sum_rows(channels_last(g)))
defvjp(_conv2d_dW, lambda g, V, x, y, how: _conv2d_dx(y, g, None, how, x.shape[2:]),
       lambda g, V, x, y, how: _conv2d(x, g, None, how))


# --- layers ---------------------------------------------------------------------------------------

def conv2d(x, W, b=None, stride=1, padding=0, dilation=1, groups=1, taps=None):
    """y = W * x + b, as above.   x (B, C, H, W), W (O, C/groups, kh, kw), b (O,) -> (B, O, H', W')

    H' = (H + 2 p - d (kh - 1) - 1) // s + 1. Group n of the outputs sees only group n of the
    channels. With `taps`, a list of (i, j), all other taps count as 0 and cost nothing: for masks.
    ValueError for sizes that do not fit."""
    how = _how("conv2d", x, W, stride, padding, dilation, taps)
    _check_channels("conv2d", x, W, b, groups, W.shape[1] * groups, W.shape[0])
    if min(_output_size(x.shape[2:], how)) < 1:
        raise ValueError(f"conv2d: kernel {how.kernel} with dilation {how.dilation} is larger than "
                         f"the image {x.shape[2:]} with padding {how.padding}")
    return _by_groups(_conv2d, x, W, b, groups, how=how)


def conv_transpose2d(x, W, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The adjoint of conv2d: <conv_transpose2d(x, W), y> = <x, conv2d(y, W)>; plus b.

    x (B, C, H, W), W (C, O / groups, kh, kw), b (O,) -> (B, O, H', W'),
    H' = (H - 1) s - 2 p + d (kh - 1) + output_padding + 1. conv2d with stride s brings s sizes to
    the same size; output_padding, below s, says to which of them to go back."""
    how = _how("conv_transpose2d", x, W, stride, padding, dilation)
    extra = pair("conv_transpose2d", "output_padding", output_padding, 0)
    _check_channels("conv_transpose2d", x, W, b, groups, W.shape[0], W.shape[1] * groups)
    if extra[0] >= how.stride[0] or extra[1] >= how.stride[1]:
        raise ValueError(f"conv_transpose2d: output_padding {extra} must be below the stride "
                         f"{how.stride}")
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1
                 for n, k, s, p, d, e in zip(x.shape[2:], *how[:4], extra))
    if min(size) < 1:
        raise ValueError(f"conv_transpose2d: x {x.shape} and W {W.shape} give an "
                         f"image of size {size}; lower the padding {how.padding}")
    return _by_groups(_conv2d_dx, x, W, b, groups, how=how, size=size)


def _by_groups(op, x, W, b, groups, **settings):
    """op on each group of channels by itself."""
    if x.dtype.kind != "f":
        x = x.astype(W.dtype)           # integers times floats would be slow, and float64
    if groups == 1:
        return op(x, W, b, **settings)
    bs = [None] * groups if b is None else split(b, groups)
    parts = zip(split(x, groups, axis=1), split(W, groups), bs)
    return concatenate([op(*part, **settings) for part in parts], axis=1)


def _how(name, x, W, stride, padding, dilation, taps=None):
    """The settings as a How, checked."""
    for a, axes in ((x, "x (B, C, H, W)"), (W, "a kernel W of 4 axes")):
        if getattr(a, "ndim", None) != 4:
            raise ValueError(f"{name}: needs {axes}, got {shape_of(a)}")
    kernel = W.shape[2:]
    possible = tuple(itertools.product(*map(range, kernel)))
    taps = possible if taps is None else tuple(map(tuple, taps))
    if taps is not possible and not (taps and set(taps) <= set(possible)):
        raise ValueError(f"{name}: taps {taps} must be positions (i, j) in a kernel {kernel}")
    return How(kernel, pair(name, "stride", stride, 1), pair(name, "padding", padding, 0),
               pair(name, "dilation", dilation, 1), taps)


def shape_of(a):
    return getattr(a, "shape", type(a).__name__)


def pair(name, setting, value, least):
    """An int or a pair of ints as a pair, each at least `least`."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(n, numbers.Integral) and n >= least for n in both):
        raise ValueError(f"{name}: {setting} is {value!r}; needs a whole number of at least "
                         f"{least}, or a pair of them")
    return both


def _check_channels(name, x, W, b, groups, n_in, n_out):
    if not isinstance(groups, numbers.Integral) or groups < 1 or W.shape[0] % groups:
        raise ValueError(f"{name}: groups is {groups!r}; needs a whole number that divides the "
                         f"{W.shape[0]} of W {W.shape}")
    if x.shape[1] != n_in:
        raise ValueError(f"{name}: x {x.shape} has {x.shape[1]} channels, W {W.shape} with "
                         f"groups={groups} needs {n_in}")
    if b is not None and b.shape != (n_out,):
        raise ValueError(f"{name}: b has shape {b.shape}, needed {(n_out,)}")
