"""Operations that move elements without changing them; their derivatives move them back.

    x, y   input and output;   g  gradient with respect to y
Most results are views of x, as in NumPy.
"""
from .backend import scatter_add, xp
from .tensor import Tensor, as_arrays, defvjp, defvjp_joint, primitive


@primitive
def reshape(x, shape):
    """x's elements, in order, in another shape (one size may be -1)"""
    return x.reshape(shape)
defvjp(reshape, lambda g, y, x, shape: g.reshape(x.shape))


@primitive
def transpose(x, axes=None):
    """Axis i of y is axis axes[i] of x; without axes, all reversed"""
    return x.transpose(axes)
def _transpose_dx(g, y, x, axes=None):
    if axes is None:
        return g.transpose()
    back = [0] * len(axes)
    for i, a in enumerate(axes):
        back[a] = i
    return g.transpose(tuple(back))
defvjp(transpose, _transpose_dx)


@primitive
def swapaxes(x, a, b):
    """x with axes a and b exchanged"""
    return x.swapaxes(a, b)
defvjp(swapaxes, lambda g, y, x, a, b: g.swapaxes(a, b))


@primitive
def expand_dims(x, axis):
    """x with a new axis (or axes) of size 1"""
    return xp.expand_dims(x, axis)
defvjp(expand_dims, lambda g, y, x, axis: g.reshape(x.shape))


@primitive
def squeeze(x, axis=None):
    """x without its axes of size 1 (or without the given ones)"""
    return x.squeeze(axis)
defvjp(squeeze, lambda g, y, x, axis=None: g.reshape(x.shape))


@primitive
def flip(x, axis=None):
    """x in reverse order along axis"""
    return xp.flip(x, axis)
defvjp(flip, lambda g, y, x, axis=None: flip(g, axis))


@primitive
def _pad(x, widths, value):
    return xp.pad(x, widths, constant_values=value)
defvjp(_pad, lambda g, y, x, widths, value:
       g[tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))])


def pad(x, widths, value=0.0):
    """x surrounded by `value`; widths: an int, or a pair (before, after) per axis"""
    widths = [(widths, widths)] * x.ndim if isinstance(widths, int) else list(map(tuple, widths))
    if [len(pair) for pair in widths] != [2] * x.ndim:
        raise ValueError(f"pad: widths {widths} for shape {x.shape}; needs an int, or a pair "
                         "(before, after) for each axis")
    return _pad(x, widths=widths, value=value)


@primitive
def broadcast_to(x, shape):
    """x repeated to a shape.   Backward: the engine sums over what was repeated"""
    try:
        return xp.broadcast_to(x, shape)
    except ValueError:
        raise ValueError(f"broadcast_to: {x.shape} does not fit {shape}: from the right, each size "
                         "of the first must be that of the second, or 1") from None
defvjp(broadcast_to, lambda g, y, x, shape: g)


# --- picking elements -----------------------------------------------------------------------------

@primitive
def getitem(x, index):
    """x[index]: slices, None, ..., integer arrays, boolean arrays, tuples of these"""
    return x[index]


@primitive
def put(g, index, shape):
    """Zeros of a shape with g added at index: the adjoint of getitem"""
    total = xp.zeros(shape, dtype=g.dtype)
    scatter_add(total, index, g)
    return total


defvjp(getitem, lambda g, y, x, index: put(g, index, x.shape),
       add_into={0: lambda total, g, y, x, index: scatter_add(total, index, g)})
defvjp(put, lambda g, y, x, index, shape: getitem(g, index))


def take_along_axis(x, indices, axis):
    """y[i, j] = x[i, indices[i, j]] for axis 1 of a matrix, and so on"""
    indices = indices.data if isinstance(indices, Tensor) else xp.asarray(indices)
    if indices.ndim != x.ndim:
        raise ValueError(f"take_along_axis: x {x.shape} needs indices of {x.ndim} axes, got "
                         f"{indices.shape}")
    grid = list(xp.ogrid[tuple(slice(n) for n in x.shape)])
    grid[axis] = indices
    return getitem(x, tuple(grid))


# --- joining and splitting ------------------------------------------------------------------------

@primitive
def _concatenate(*xs, axis):
    return xp.concatenate(xs, axis=axis)


def _concatenate_dxs(g, y, *xs, axis):
    gs, end = [], 0
    for x in xs:
        start, end = end, end + x.shape[axis]
        gs.append(g[(slice(None),) * (axis % x.ndim) + (slice(start, end),)])
    return gs


defvjp_joint(_concatenate, _concatenate_dxs)


def concatenate(xs, axis=0):
    """The arrays of the list xs one after the other along axis"""
    return _concatenate(*as_arrays(xs, list), axis=axis)


def stack(xs, axis=0):
    """The arrays of the list xs side by side along a new axis"""
    xs = as_arrays(xs, (list, int, float))
    return _concatenate(*[expand_dims(x, axis) for x in xs], axis=axis)


def split(x, parts, axis=0):
    """A list of slices of x: `parts` equal ones, or cut at the indices in the list `parts`"""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"split: shape {x.shape} has no axis {axis}")
    n = x.shape[axis]
    if isinstance(parts, int):
        if parts < 1 or n % parts:
            raise ValueError(f"split: axis {axis} has size {n}, which {parts} parts do not divide")
        parts = range(n // parts, n, n // parts)
    ends = [0, *parts, n]
    before = (slice(None),) * (axis % x.ndim)
    return [getitem(x, before + (slice(a, b),)) for a, b in zip(ends, ends[1:])]


# --- methods --------------------------------------------------------------------------------------

def _reshape(self, *shape):
    return reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _transpose(self, *axes):
    return transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int)
                     else axes or None)


def _getitem(self, index):
    """Lists count as integer or boolean arrays, Tensors as their values."""
    return getitem(self, tuple(map(_plain, index)) if isinstance(index, tuple) else _plain(index))


def _plain(index):
    if isinstance(index, Tensor):
        index = index.data
    return xp.asarray(index, dtype=None if index else int) if isinstance(index, list) else index


Tensor.reshape, Tensor.transpose, Tensor.__getitem__ = _reshape, _transpose, _getitem
Tensor.swapaxes, Tensor.squeeze, Tensor.flip = swapaxes, squeeze, flip
Tensor.T = property(transpose)
