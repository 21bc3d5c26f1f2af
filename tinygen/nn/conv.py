"""Convolutions.   x (B, C, H, W), sizes and strides an int or a pair (vertical, horizontal)."""
import numpy

from ..engine.backend import to_numpy, xp
from ..engine.convolution import conv2d, conv_transpose2d, pair
from ..engine.shaping import concatenate, expand_dims
from . import init
from .linear import check_sizes
from .module import Module


class Conv2d(Module):
    """y = x * W + b, cross-correlation.   (B, n_in, H, W) -> (B, n_out, H', W')

    H' = (H + 2 padding - dilation (k - 1) - 1) // stride + 1.   W (n_out, n_in / groups, k, k)
    Starts with W, b ~ U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""

    def __init__(self, n_in, n_out, size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        kh, kw = _check(type(self).__name__, n_in, n_out, size, groups)
        self.W = init.fan_in_uniform((n_out, n_in // groups, kh, kw))
        self.b = init.fan_in_uniform((n_out,), n_in // groups * kh * kw) if bias else None
        self.settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)

    def forward(self, x):
        return conv2d(x, self.W, self.b, **self.settings)


class ConvTranspose2d(Module):
    """The adjoint of Conv2d: upsamples by its stride.   (B, n_in, H, W) -> (B, n_out, H', W')

    H' = (H - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1.
    W (n_in, n_out / groups, k, k);   starts as PyTorch does, from fan_in = n_out / groups k k."""

    def __init__(self, n_in, n_out, size, stride=1, padding=0, output_padding=0, dilation=1,
                 groups=1, bias=True):
        kh, kw = _check("ConvTranspose2d", n_in, n_out, size, groups)
        self.W = init.fan_in_uniform((n_in, n_out // groups, kh, kw))
        self.b = init.fan_in_uniform((n_out,), n_out // groups * kh * kw) if bias else None
        self.settings = dict(stride=stride, padding=padding, output_padding=output_padding,
                             dilation=dilation, groups=groups)

    def forward(self, x):
        return conv_transpose2d(x, self.W, self.b, **self.settings)


class MaskedConv2d(Conv2d):
    """As Conv2d with W * M, M (k, k) or broadcastable to W: M = 0 cuts a tap of the kernel.
    Taps that are cut for all channels are left out of the product, and so cost nothing."""

    def __init__(self, n_in, n_out, size, mask, **settings):
        super().__init__(n_in, n_out, size, **settings)
        self.mask = xp.asarray(mask, dtype=self.W.dtype)
        try:
            xp.broadcast_to(self.mask, self.W.shape)
        except ValueError:
            raise ValueError(f"MaskedConv2d: mask of shape {self.mask.shape}, needed "
                             f"{self.W.shape} or one that broadcasts to it") from None
        alive = numpy.broadcast_to(to_numpy(self.mask), self.W.shape).any(axis=(0, 1))
        self.settings["taps"] = [tuple(tap) for tap in numpy.argwhere(alive).tolist()] or None

    def forward(self, x):
        return conv2d(x, self.W * self.mask, self.b, **self.settings)


class CausalConv1d(Conv2d):
    """y_t = b + sum_i W_i x_{t - dilation (size - 1 - i)}, i = 0 .. size - 1, x being 0 before it
    starts: y_t depends on nothing after t.   (B, n_in, T) -> (B, n_out, T)

    memory: what a sequence given in pieces needs of earlier ones, see attention.py.
    W (n_out, n_in / groups, 1, size). Source: van den Oord et al. 2016, WaveNet, section 2.1."""

    def __init__(self, n_in, n_out, size, dilation=1, groups=1, bias=True):
        check_sizes("CausalConv1d", size=size, dilation=dilation)
        super().__init__(n_in, n_out, (1, size), dilation=(1, dilation), groups=groups, bias=bias)
        self.before = dilation * (size - 1)     # as many earlier x as a y depends on

    def forward(self, x, memory=None):
        if x.ndim != 3:
            raise ValueError(f"CausalConv1d: x has shape {x.shape}; needs (B, n_in, T)")
        B, C, T = x.shape
        past = xp.zeros((B, self.before, C), x.dtype).swapaxes(1, 2)    # channels last, as conv2d's
        if memory is not None:
            past = memory.get(self, past)
        x = concatenate([past, x], axis=2)
        if memory is not None:
            memory[self] = x[:, :, T:]
        return conv2d(expand_dims(x, 2), self.W, self.b, **self.settings).squeeze(2)


def _check(layer, n_in, n_out, size, groups):
    """The kernel's height and width; ValueError for sizes that make no kernel."""
    kernel = pair(layer, "size", size, 1)
    check_sizes(layer, n_in=n_in, n_out=n_out, groups=groups)
    if n_in % groups or n_out % groups:
        raise ValueError(f"{layer}: {groups} groups do not divide n_in={n_in} and n_out={n_out}")
    return kernel
