"""First values of weights. Drawn on the host, so a seed gives the same weights on every backend.

    fan_in, fan_out   how many inputs reach one output, how many outputs one input reaches
Each function gives a float32 Tensor that requires a gradient.
"""
import math

import numpy

from ..engine.backend import host_rng
from ..engine.tensor import tensor


def fans(shape):
    """(fan_in, fan_out).   (in, out) of a linear layer, (out, in, kh, kw) of a convolution"""
    if len(shape) < 2:
        raise ValueError(f"fans: a weight of shape {shape} has no fan-in; needs two axes or more")
    if len(shape) == 2:
        return shape
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def constant(shape, value=0.0):
    return _parameter(numpy.full(shape, value))


def uniform(shape, bound):
    """U(-bound, bound)"""
    return _parameter(host_rng().uniform(-bound, bound, shape))


def normal(shape, std=0.02):
    """N(0, std^2)"""
    return _parameter(host_rng().normal(0, std, shape))


def fan_in_uniform(shape, fan_in=None):
    """U(-b, b), b = 1/sqrt(fan_in), so the std is b/sqrt(3): the default of layers, as in PyTorch.
    LeCun et al. 1998, section 4.6, want b itself as the std."""
    return uniform(shape, (fan_in or fans(shape)[0]) ** -0.5)


def xavier_uniform(shape, gain=1.0):
    """U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot & Bengio 2010, eq. 16."""
    return uniform(shape, gain * (6 / sum(fans(shape))) ** 0.5)


def kaiming_normal(shape, gain=2 ** 0.5):
    """N(0, gain^2 / fan_in); gain sqrt(2) suits ReLU. Source: He et al. 2015, eq. 10."""
    return normal(shape, gain * fans(shape)[0] ** -0.5)


def orthogonal(shape, gain=1.0):
    """Rows or columns orthonormal, times gain. Source: Saxe et al. 2014."""
    rows, cols = shape[0], math.prod(shape[1:])
    q, r = numpy.linalg.qr(host_rng().normal(size=(max(rows, cols), min(rows, cols))))
    q = q * numpy.sign(numpy.diag(r))               # makes the distribution uniform
    return _parameter(gain * (q if rows >= cols else q.T).reshape(shape))


def _parameter(values):
    return tensor(values.astype("float32"), requires_grad=True)
