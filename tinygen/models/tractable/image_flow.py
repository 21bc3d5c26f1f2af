"""Normalizing flows on images: pixels made continuous, and an architecture of several scales.

    x (B, C, H, W)   pixels 0..255, whole numbers;   k one of them, u ~ U(0, 1) noise
    logdet (B,)      ln |det dz/dx|, nats
    checkerboard     which pixels a coupling keeps, on the squares of one colour
    squeeze          2 x 2 pixels become 4 channels of one pixel

A density p on pixels with noise bounds the probability P of the pixels k from below:

    ln P(k) = ln integral of p(k + u) du >= E_u ln p(k + u)          nats, per image

so Flow.log_prob(k), with Dequantize in front, compares with a discrete model's ln P(k), and
evaluation.bits_per_dim(-log_prob, C H W) with published bits. Source: Theis et al. 2016, 3.1.
"""
import math

import numpy

from ...engine.backend import uniform, xp
from ...engine.elementwise import log, relu, sigmoid
from ...engine.reductions import sum
from ...engine.shaping import concatenate, split
from ...nn import Conv2d, Sequential
from ...nn.linear import check_sizes, number
from .coupling_flow import Coupling
from .flow import ActNorm, Bijection, Chain, Flow, InvertibleLinear, _values


# --- pixels made continuous -----------------------------------------------------------------------

class Dequantize(Bijection):
    """z = (k + width u) / levels, u ~ U(0, 1) drawn anew each time;  logdet = D ln(width / levels).

    k: whole numbers 0 .. levels - 1, else ValueError. The inverse: floor(levels z), in that range.
    Noise that fills only a part, width < 1, costs D ln width nats, since the bound is the integral
    over what the noise fills. A density scored without that term can rise above ln P: squeezed into
    gaps that hold no data it gains up to -D ln width, which is no knowledge of the pixels."""

    def __init__(self, levels=256, width=1.0):
        check_sizes("Dequantize", 2, levels=levels)
        if not 0 < number(width) <= 1:
            raise ValueError(f"Dequantize: width is {width!r}; needs 0 < width <= 1")
        self.levels, self.width = levels, width

    def forward(self, k):
        values = _values(k)
        if not ((values == xp.floor(values)) & (values >= 0) & (values < self.levels)).all():
            raise ValueError(f"Dequantize: pixels from {float(values.min()):g} to "
                             f"{float(values.max()):g}; needs whole numbers 0..{self.levels - 1}, "
                             "not yet scaled")
        y = values + self.width * uniform(k.shape, k.dtype)
        y = xp.minimum(y, xp.nextafter(values + 1, values))     # float32 may round 255.99999 up
        D = math.prod(k.shape[1:])
        return y / self.levels, xp.full(len(k), D * math.log(self.width / self.levels), k.dtype)

    def inverse(self, z):
        return xp.clip(xp.floor(_values(z) * self.levels), 0, self.levels - 1)


class Logit(Bijection):
    """z = ln p - ln(1 - p),   p = alpha + (1 - 2 alpha) x, x in [0, 1]

    logdet = sum ln(1 - 2 alpha) - ln p - ln(1 - p).   ValueError where p is not inside (0, 1).
    What a density of z has beyond x in [0, 1], where alpha is above 0, no pixels get: the bound is
    lower for it, and samples fall to the first and last level.
    Source: Dinh et al. 2017, section 4.1, alpha .05; Papamakarios et al. 2017, 1e-6 on MNIST."""

    def __init__(self, alpha=0.05):
        if not 0 <= number(alpha) < 0.5:
            raise ValueError(f"Logit: alpha is {alpha}; needs 0 <= alpha < 0.5")
        self.alpha = alpha

    def forward(self, x):
        p = self.alpha + (1 - 2 * self.alpha) * x
        values = _values(p)
        if not ((values > 0) & (values < 1)).all():
            low, high = (float(a) for a in (_values(x).min(), _values(x).max()))
            raise ValueError(f"Logit: x from {low:g} to {high:g} with alpha {self.alpha}; needs x "
                             "in [0, 1], without 0 and 1 where alpha is 0")
        a, b = log(p), log(1 - p)
        logdet = math.log(1 - 2 * self.alpha) - a - b
        return a - b, sum(logdet, tuple(range(1, x.ndim)))

    def inverse(self, z):
        return (sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)


# --- several scales -------------------------------------------------------------------------------

def squeeze(x):
    """(B, C, H, W) -> (B, 4 C, H/2, W/2): each 2 x 2 pixels become channels of one.

    Source: Dinh et al. 2017, section 3.6."""
    B, C, H, W = x.shape
    if H % 2 or W % 2:
        raise ValueError(f"squeeze: an image of {H} x {W} has an odd side; needs even ones, so pad "
                         "it or use fewer scales")
    x = x.reshape(B, C, H // 2, 2, W // 2, 2).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(B, 4 * C, H // 2, W // 2)


def unsqueeze(x):
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W): squeeze undone"""
    B, C, H, W = x.shape
    x = x.reshape(B, C // 4, 2, 2, H, W).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(B, C // 4, 2 * H, 2 * W)


class Scale(Bijection):
    """fine(x), squeeze, coarse;   half of the channels are latents now, the rest go on to `rest`.

    Cheaper than taking all pixels through all layers, and the early latents learn what is local.
    z is put together in the shape of x. Source: Dinh et al. 2017, section 3.6."""

    def __init__(self, fine, coarse, rest):
        self.fine, self.coarse, self.rest = Chain(fine), Chain(coarse), rest

    def forward(self, x):
        x, fine = self.fine(x)
        x, coarse = self.coarse(squeeze(x))
        done, x = split(x, 2, axis=1)
        x, rest = self.rest(x)
        return unsqueeze(concatenate([done, x], axis=1)), fine + coarse + rest

    def inverse(self, z):
        done, x = split(squeeze(z), 2, axis=1)
        x = concatenate([done, self.rest.inverse(x)], axis=1)
        return self.fine.inverse(unsqueeze(self.coarse.inverse(x)))


def checkerboard(H, W, first):
    """The mask (1, H, W) of 1 on squares of one colour; `first`, 0 or 1, is what the corner has."""
    if H * W < 2:
        raise ValueError(f"checkerboard: {H} x {W} pixels are of one colour; use fewer scales")
    return xp.asarray((numpy.indices((H, W)).sum(0)[None] + first) % 2, dtype="float32")


def channel_half(C, first):
    """The mask (C, 1, 1) of 1 on one half of the channels: on the lower half if first is 1."""
    if C % 2:
        raise ValueError(f"channel_half: {C} channels cannot be split in half; needs an even "
                         "number, so squeeze first")
    return xp.asarray(((numpy.arange(C) < C // 2) == first)[:, None, None], dtype="float32")


def conv_net(C, hidden):
    """C -> 3 x 3 -> ReLU -> 1 x 1 -> ReLU -> 3 x 3 -> 2 C channels, the last layer 0: s and t.

    Source: Kingma & Dhariwal 2018, section 4; Dinh et al. 2017 have residual blocks."""
    last = Conv2d(hidden, 2 * C, 3, padding=1)
    last.W.data *= 0
    last.b.data *= 0
    return Sequential(Conv2d(C, hidden, 3, padding=1), relu, Conv2d(hidden, hidden, 1), relu, last)


def check_picture(name, shape, **sizes):
    """ValueError unless shape is (C, H, W), and each of the sizes a whole number from 1 up."""
    if not hasattr(shape, "__len__") or len(shape) != 3:
        raise ValueError(f"{name}: shape is {shape}; needs (C, H, W), such as (1, 28, 28)")
    check_sizes(name, **dict(zip("CHW", shape)), **sizes)


def realnvp(shape, scales=2, hidden=32, levels=256, alpha=0.05):
    """RealNVP on pixels 0 .. levels - 1, shape (C, H, W): at each scale three couplings on
    checkerboards, three on halves of the channels; at the last, four on checkerboards.

    ActNorm stands where Dinh et al. 2017 have batch normalisation. A step keeps about
    B H W (12 C + 5 hidden) numbers for each coupling on C channels of H x W."""
    check_picture("realnvp", shape, scales=scales, hidden=hidden)

    def couplings(C, masks):
        return [f for mask in masks for f in (ActNorm(C), Coupling(mask, conv_net(C, hidden)))]

    def build(C, H, W, scales):
        fine = couplings(C, [checkerboard(H, W, i % 2) for i in range(3 if scales else 4)])
        if not scales:
            return Chain(fine)
        coarse = couplings(4 * C, [channel_half(4 * C, i % 2) for i in range(3)])
        return Scale(fine, coarse, build(2 * C, H // 2, W // 2, scales - 1))
    return Flow(shape, [Dequantize(levels), Logit(alpha), build(*shape, scales)])


def glow(shape, scales=2, steps=4, hidden=32, levels=256, alpha=0.05):
    """Glow on pixels 0 .. levels - 1, shape (C, H, W): at each scale a squeeze and `steps` times
    ActNorm, a 1 x 1 convolution, a coupling on half of the channels.

    Memory of a step as realnvp. Source: Kingma & Dhariwal 2018, figure 2; Logit is of Dinh et al.
    2017."""
    check_picture("glow", shape, scales=scales, steps=steps, hidden=hidden)

    def build(C, scales):
        coarse = [f for _ in range(steps) for f in (
            ActNorm(4 * C), InvertibleLinear(4 * C),
            Coupling(channel_half(4 * C, 1), conv_net(4 * C, hidden)))]
        rest = build(2 * C, scales - 1) if scales > 1 else Chain([])
        return Scale([], coarse, rest)
    return Flow(shape, [Dequantize(levels), Logit(alpha), build(shape[0], scales)])
