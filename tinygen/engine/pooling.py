"""Making images smaller by windows, and larger by repetition.

    x   images (B, C, H, W);   size, s  a window's height and width, and how far apart windows are
"""
import itertools

from . import reductions
from .backend import xp
from .convolution import channels_first, channels_last, pair, shape_of
from .shaping import broadcast_to
from .tensor import defvjp, primitive


@primitive
def _windows(x, size, stride):
    """Each pixel of every window by itself.   (B, C, H, W) -> (kh kw, B, C, H', W')"""
    return xp.stack([x[:, :, rows, columns] for rows, columns in _strided(x.shape, size, stride)])


@primitive
def _windows_dx(g, shape, size, stride):
    """Each pixel of every window added back to its place: the adjoint of _windows"""
    B, C, H, W = shape
    x = channels_first(xp.zeros((B, H, W, C), g.dtype))
    for part, (rows, columns) in zip(g, _strided(shape, size, stride)):
        x[:, :, rows, columns] += part
    return x


defvjp(_windows, lambda g, y, x, size, stride: _windows_dx(g, x.shape, size, stride))
defvjp(_windows_dx, lambda gg, x, g, shape, size, stride: _windows(gg, size, stride))


def _strided(shape, size, stride):
    """Per pixel of a window, the rows and columns of the image where windows have it."""
    rows, columns = ([slice(i, n - k + i + 1, s) for i in range(k)]
                     for n, k, s in zip(shape[2:], size, stride))
    return itertools.product(rows, columns)


def max_pool2d(x, size, stride=None):
    """The largest element of each window.   (B, C, H, W) -> (B, C, (H - kh) // s + 1, ...)

    Tied elements share the gradient. stride: the window's size, unless given; what no window
    covers at the lower and right edge is left out."""
    return reductions.max(_pool("max_pool2d", x, size, stride), axis=0)


def avg_pool2d(x, size, stride=None):
    """The mean of each window, as max_pool2d."""
    return reductions.mean(_pool("avg_pool2d", x, size, stride), axis=0)


def _pool(name, x, size, stride):
    size = pair(name, "size", size, 1)
    stride = size if stride is None else pair(name, "stride", stride, 1)
    if getattr(x, "ndim", None) != 4 or x.shape[2] < size[0] or x.shape[3] < size[1]:
        raise ValueError(f"{name}: windows of {size} need x (B, C, H, W) at least as large, got "
                         f"{shape_of(x)}")
    return _windows(x, size, stride)


def upsample(x, factor):
    """y[h, w] = x[h // f, w // f]: each pixel f times down and across (nearest neighbour)"""
    fh, fw = pair("upsample", "factor", factor, 1)
    if getattr(x, "ndim", None) != 4:
        raise ValueError(f"upsample: needs x (B, C, H, W), got {shape_of(x)}")
    B, C, H, W = x.shape
    y = broadcast_to(channels_last(x).reshape(B, H, 1, W, 1, C), (B, H, fh, W, fw, C))
    return channels_first(y.reshape(B, H * fh, W * fw, C))
