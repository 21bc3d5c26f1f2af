"""Networks that take noise away: an MLP for points, and a small U-Net, down to half the size and
up again, for images.

    x          points (B, D), or images (B, C, H, W)
    log_snr    (B,) how much of x is not noise, ln(SNR);   labels  integers (B,), or None
    h (B, E)   what every block of the U-Net is told: time and label
"""
import math

from ..engine.backend import xp
from ..engine.elementwise import cos, silu, sin
from ..engine.pooling import avg_pool2d, upsample
from ..engine.shaping import concatenate, expand_dims, split
from .conv import Conv2d
from .linear import Embedding, Linear, check_sizes, mlp, widths
from .module import Module
from .norm import GroupNorm


class ResBlock(Module):
    """y = W x + conv(silu((1 + a) norm(conv(silu(norm(x)))) + b)), a and b linear in h, both
    convolutions 3x3, W 1x1.   (B, n_in, H, W), (B, E) -> (B, n_out, H, W)

    The second convolution starts at 0, so that a deep net starts as a chain of linear maps.
    Source: Ho et al. 2020, appendix B, without dropout and attention, and told h as in Dhariwal &
    Nichol 2021, section 3.1: what is added before a norm of few channels is normalised away."""

    def __init__(self, n_in, n_out, E, groups=8):
        self.norm1, self.conv1 = GroupNorm(groups, n_in), Conv2d(n_in, n_out, 3, padding=1)
        self.norm2, self.conv2 = GroupNorm(groups, n_out), Conv2d(n_out, n_out, 3, padding=1)
        self.told = Linear(E, 2 * n_out)
        self.short = None if n_in == n_out else Conv2d(n_in, n_out, 1)
        self.conv2.W.data[...] = 0
        self.conv2.b.data[...] = 0

    def forward(self, x, h):
        y = self.norm2(self.conv1(silu(self.norm1(x))))
        a, b = split(expand_dims(self.told(h), (2, 3)), 2, axis=1)
        return (self.short(x) if self.short else x) + self.conv2(silu((1 + a) * y + b))


class UNet(Module):
    """(B, n_in, H, W), (B, E) -> (B, n_out, H, W): `widths[i]` channels at size H / 2^i, and at
    each size one block on the way down and one on the way up, which is also given what went down.

    The sides must be divisible by 2 for each width but the first, widths by `groups`.
    Source: Ronneberger et al. 2015, figure 1, with the blocks of Ho et al. 2020."""

    def __init__(self, n_in, n_out, E, widths=(32, 64), groups=8):
        check_sizes("UNet", n_in=n_in, n_out=n_out, E=E,
                    **{f"width{i}": w for i, w in enumerate(widths)})
        if not widths:
            raise ValueError("UNet: no widths; needs at least one, for the image's own size")
        pairs = list(zip(widths, widths[1:]))
        self.first = Conv2d(n_in, widths[0], 3, padding=1)
        self.down = [ResBlock(w, w, E, groups) for w in widths]
        self.wider = [Conv2d(a, b, 1) for a, b in pairs]
        self.middle = ResBlock(widths[-1], widths[-1], E, groups)
        self.up = [ResBlock(2 * w, w, E, groups) for w in widths]
        self.narrower = [Conv2d(b, a, 1) for a, b in pairs]
        self.norm, self.last = GroupNorm(groups, widths[0]), Conv2d(widths[0], n_out, 3, padding=1)

    def forward(self, x, h):
        self._check(x)
        went_down, depth = [], len(self.down)
        y = self.first(x)
        for i in range(depth):
            y = self.down[i](self.wider[i - 1](avg_pool2d(y, 2)) if i else y, h)
            went_down.append(y)
        y = self.middle(y, h)
        for i in reversed(range(depth)):
            y = self.up[i](concatenate([y, went_down[i]], axis=1), h)
            if i:
                y = self.narrower[i - 1](upsample(y, 2))
        return self.last(silu(self.norm(y)))

    def _check(self, x):
        whole = 2 ** (len(self.down) - 1)
        if x.ndim != 4 or x.shape[2] % whole or x.shape[3] % whole:
            raise ValueError(f"UNet: x has shape {x.shape}; needs (B, C, H, W) with H and W "
                             f"divisible by {whole}, to be halved {len(self.down) - 1} times")


# --- denoisers: network(x (B, D), log_snr, labels) -> (B, D) ---------------------------------

def time_features(log_snr, n=16):
    """sin and cos of log_snr at n frequencies from 1/16 to 4.   (B,) -> (B, 2 n)
    Source: Vaswani et al. 2017, section 3.5; of log_snr: Kingma et al. 2021."""
    a = log_snr[:, None] * xp.exp(xp.linspace(math.log(1 / 16), math.log(4), n)).astype(
        log_snr.dtype)
    return xp.concatenate([xp.sin(a), xp.cos(a)], axis=1)


class MLPDenoiser(Module):
    """(x, sin and cos of 2^k x, time, label) -> MLP -> (B, D), k below `octaves`.

    Detail finer than 2^-octaves of the data's size would be too steep for the MLP alone.
    Source: Kingma et al. 2021, appendix C (Fourier features)."""

    def __init__(self, D, hidden=(256, 256, 256, 256), octaves=6, classes=None):
        self.octaves, self.label = octaves, None if classes is None else Embedding(classes + 1, 16)
        n_in = D * (1 + 2 * octaves) + 32 + (0 if classes is None else 16)
        self.layers = mlp((n_in, *widths("MLPDenoiser", hidden), D), silu)

    def inputs(self, x, log_snr, labels=None):
        """What the layers are given, (B, n_in)"""
        waves = [f(2.0 ** k * x) for k in range(self.octaves) for f in (sin, cos)]
        told = [time_features(log_snr)] + ([] if labels is None else [self.label(labels)])
        return concatenate([x, *waves, *told], axis=1)

    def forward(self, x, log_snr, labels=None):
        return self.layers(self.inputs(x, log_snr, labels))


class ImageDenoiser(Module):
    """(x, time, label) -> UNet, of pictures (channels, size, size) as rows.   (B, D)"""

    def __init__(self, size, widths=(32, 64, 64), classes=None, channels=1):
        self.shape, E = (channels, size, size), 4 * widths[0]
        self.label = None if classes is None else Embedding(classes + 1, E)
        self.time = mlp((32, E, E), silu)
        self.unet = UNet(channels, channels, E, widths)

    def forward(self, x, log_snr, labels=None):
        h = self.time(time_features(log_snr))
        h = silu(h if labels is None else h + self.label(labels))
        return self.unet(x.reshape(len(x), *self.shape), h).reshape(x.shape)
