"""Operations that sum, compare or normalise along axes.

    axis      None (all), an int, or a tuple of ints; keepdims keeps each as size 1
    g         gradient with respect to y; `_keep(g, ...)` gives it the reduced axes back as size 1
Units follow the input: logsumexp of log probabilities in nats is in nats.
"""
import math

import numpy

from .backend import xp
from .elementwise import exp, sqrt
from .shaping import broadcast_to, flip
from .tensor import Tensor, defvjp, primitive


def _keep(g, x, axis, keepdims):
    """g with the reduced axes kept as size 1, so that it broadcasts against x."""
    return g if keepdims else g.reshape(kept_shape(x.shape, axis))


def kept_shape(shape, axis):
    """The shape after a reduction with keepdims=True."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {a % (len(shape) or 1) for a in axes}        # NumPy lets 0-d arrays have axis 0
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _count(x, axis):
    """How many elements each result is made of."""
    return math.prod(n for n, k in zip(x.shape, kept_shape(x.shape, axis)) if n != k)


@primitive
def sum(x, axis=None, keepdims=False):
    """Sum of x over axis"""
    return x.sum(axis=axis, keepdims=keepdims)
defvjp(sum, lambda g, y, x, axis=None, keepdims=False:
       broadcast_to(_keep(g, x, axis, keepdims), x.shape))


@primitive
def mean(x, axis=None, keepdims=False):
    """Mean of x over axis"""
    if not x.size and not _count(x, axis):
        raise ValueError(f"mean: shape {x.shape} has no elements to average; needs at least one")
    return x.mean(axis=axis, keepdims=keepdims)
defvjp(mean, lambda g, y, x, axis=None, keepdims=False:
       broadcast_to(_keep(g, x, axis, keepdims) / _count(x, axis), x.shape))


def var(x, axis=None, keepdims=False, ddof=0):
    """mean((x - mean(x))^2), divided by N - ddof instead of N"""
    centred = x - mean(x, axis, keepdims=True)
    n = _count(centred, axis)
    if n <= ddof:
        raise ValueError(f"var: ddof is {ddof} for {n} elements; needs more elements than ddof")
    return sum(centred * centred, axis, keepdims) / (n - ddof)


def std(x, axis=None, keepdims=False, ddof=0):
    """The square root of var; where that is 0 it has no derivative, and its gradient is NaN"""
    return sqrt(var(x, axis, keepdims, ddof))


def _extreme_dx(g, y, x, axis=None, keepdims=False):
    """g / n where x equals the extreme y and n elements do, else 0"""
    hit = x == _keep(y, x, axis, keepdims)
    share = hit / hit.sum(axis=axis, keepdims=True)
    return _keep(g, x, axis, keepdims) * share.astype(x.dtype)


@primitive
def max(x, axis=None, keepdims=False):
    """The largest element along axis.   Tied elements share the gradient equally"""
    return x.max(axis=axis, keepdims=keepdims)
defvjp(max, _extreme_dx)


@primitive
def min(x, axis=None, keepdims=False):
    """The smallest element along axis.   Tied elements share the gradient equally"""
    return x.min(axis=axis, keepdims=keepdims)
defvjp(min, _extreme_dx)


def _shifted_exp(x, axis):
    """e^(x - m) and m = max(x): no power is above e^0. Where max(x) is infinite, m = 0."""
    m = x.max(axis=axis, keepdims=True)
    m = xp.where(xp.isfinite(m), m, 0.0)        # also makes floats of bytes, before x - m
    return xp.exp(x - m), m


@primitive
def logsumexp(x, axis=None, keepdims=False):
    """ln sum e^x.   dx = g softmax(x)"""
    e, m = _shifted_exp(x, axis)
    with numpy.errstate(divide="ignore"):           # ln 0 = -inf where every x is -inf
        y = xp.log(e.sum(axis=axis, keepdims=True)) + m
    return y if keepdims else y.squeeze(axis)
defvjp(logsumexp, lambda g, y, x, axis=None, keepdims=False:
       _keep(g, x, axis, keepdims) * softmax(x, axis))


@primitive
def softmax(x, axis=-1):
    """e^x / sum e^x, or 0 where every x is -inf.   dx = y (g - sum(g y))"""
    e, _ = _shifted_exp(x, axis)
    e /= xp.maximum(e.sum(axis=axis, keepdims=True), 1)     # the largest is e^0 = 1, if any is > 0
    return e
defvjp(softmax, lambda g, y, x, axis=-1: y * (g - sum(g * y, axis, keepdims=True)))


@primitive
def log_softmax(x, axis=-1):
    """x - logsumexp(x), or -inf where every x is.   dx = g - softmax(x) sum(g)"""
    e, m = _shifted_exp(x, axis)
    y = x - m
    y -= xp.log(xp.maximum(e.sum(axis=axis, keepdims=True), 1))
    return y
defvjp(log_softmax, lambda g, y, x, axis=-1: g - exp(y) * sum(g, axis, keepdims=True))


@primitive
def cumsum(x, axis=None):
    """y_i = x_1 + ... + x_i along axis, or of all x in a row.   dx: the same of g from the end"""
    return xp.cumsum(x, axis=axis)
defvjp(cumsum, lambda g, y, x, axis=None:
       flip(cumsum(flip(g, axis), axis), axis).reshape(x.shape))


for op in (sum, mean, var, std, max, min, logsumexp, softmax, log_softmax, cumsum):
    setattr(Tensor, op.__name__, op)
