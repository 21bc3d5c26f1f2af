"""Layers that multiply by a matrix.

    x (..., in) -> y (..., out);   W (in, out), b (out,)
"""
import math
import numbers

from ..engine.backend import xp
from ..engine.fused import embedding
from ..engine.products import linear
from . import init
from .module import Module, Sequential


class Linear(Module):
    """y = x W + b.   (..., n_in) -> (..., n_out)

    Starts with W, b ~ U(-1/sqrt(n_in), 1/sqrt(n_in))."""

    def __init__(self, n_in, n_out, bias=True):
        check_sizes("Linear", n_in=n_in, n_out=n_out)
        self.W = init.fan_in_uniform((n_in, n_out))
        self.b = init.fan_in_uniform((n_out,), n_in) if bias else None

    def forward(self, x):
        return linear(x, self.W, self.b)


class MaskedLinear(Linear):
    """y = x (W * M) + b, M (in, out) of zeros and ones: M[i, j] = 0 cuts input i from output j."""

    def __init__(self, n_in, n_out, mask=None, bias=True):
        super().__init__(n_in, n_out, bias)
        self.set_mask(xp.ones((n_in, n_out)) if mask is None else mask)

    def set_mask(self, mask):
        mask = xp.asarray(mask, dtype=self.W.dtype)
        if mask.shape != self.W.shape:
            raise ValueError(f"MaskedLinear: mask of shape {mask.shape}, needed {self.W.shape}")
        self.mask = mask

    def forward(self, x):
        return linear(x, self.W * self.mask, self.b)


def mlp(sizes, activation):
    """A multi-layer perceptron: Linear layers of these sizes, an activation between each two."""
    sizes = widths("mlp", sizes, "sizes")
    if len(sizes) < 2:
        raise ValueError(f"mlp: sizes are {sizes}; needs at least the input's and the output's")
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:]):
        layers += [Linear(n_in, n_out), activation]
    return Sequential(*layers[:-1])


class Embedding(Module):
    """y = W[ids].   integers (...) below n -> (..., dim).   Starts with W ~ N(0, 1)"""

    def __init__(self, n, dim):
        check_sizes("Embedding", n=n, dim=dim)
        self.W = init.normal((n, dim), std=1.0)

    def forward(self, ids):
        return embedding(self.W, ids)


def widths(layer, hidden, name="hidden"):
    """hidden as a tuple, ValueError where it is none: the sizes of layers one after the other."""
    try:
        return tuple(hidden)
    except TypeError:
        raise ValueError(f"{layer}: {name} is {hidden!r}; needs a size for each layer, such as "
                         "(64, 64)") from None


def number(value):
    """value as a float; NaN, which is in no range, for what is no real number or too large."""
    try:
        return float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        return math.nan


def check_sizes(layer, least=1, **sizes):
    """ValueError unless every size is a whole number of at least `least`."""
    for name, n in sizes.items():
        if not isinstance(n, numbers.Integral) or n < least:
            raise ValueError(f"{layer}: {name} is {n!r}; needs a whole number of at least {least}")
