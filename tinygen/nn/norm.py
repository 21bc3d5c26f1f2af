"""Normalisation layers.   W starts at 1, b at 0."""
from ..engine.backend import xp
from ..engine.convolution import conv2d
from ..engine.fused import batch_norm, group_norm, layer_norm
from ..engine.products import linear
from ..engine.tensor import Tensor
from . import init
from .conv import Conv2d
from .linear import Linear, check_sizes
from .module import Module


class LayerNorm(Module):
    """Each example to mean 0 and variance 1 over its last axis, then W y + b.   (..., n) -> same"""

    def __init__(self, n, eps=1e-5, bias=True):
        check_sizes("LayerNorm", n=n)
        self.W, self.b = init.constant((n,), 1.0), init.constant((n,)) if bias else 0.0
        self.eps = eps

    def forward(self, x):
        if x.shape[-1:] != self.W.shape:        # a W of size 1 would broadcast unnoticed
            raise ValueError(f"LayerNorm: needs a last axis of size {self.W.size}; "
                             f"got shape {x.shape}")
        return layer_norm(x, self.W, self.b, self.eps)


class GroupNorm(Module):
    """As LayerNorm over all elements of each group of channels.   (B, C, ...) -> same"""

    def __init__(self, groups, channels, eps=1e-5):
        check_sizes("GroupNorm", groups=groups, channels=channels)
        if channels % groups:
            raise ValueError(f"GroupNorm: {groups} groups do not divide {channels} channels")
        self.W, self.b = init.constant((channels,), 1.0), init.constant((channels,))
        self.groups, self.eps = groups, eps

    def forward(self, x):
        if x.shape[1:2] != self.W.shape:
            raise ValueError(f"GroupNorm: needs axis 1 of size {self.W.size}; got shape {x.shape}")
        return group_norm(x, self.W, self.b, self.groups, self.eps)


class _BatchNorm(Module):
    """Each channel to mean 0 and variance 1 over the batch, then W y + b.

    While training the batch's own moments are used, and running averages move towards them:
    running <- (1 - momentum) running + momentum batch (the variance with N - 1). In eval mode the
    running averages are used. Source: Ioffe & Szegedy 2015; momentum as PyTorch counts it."""

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        check_sizes(type(self).__name__, channels=channels)
        self.W, self.b = init.constant((channels,), 1.0), init.constant((channels,))
        self.running_mean = Tensor(xp.zeros(channels, dtype="float32"))
        self.running_var = Tensor(xp.ones(channels, dtype="float32"))
        self.momentum, self.eps = momentum, eps

    def forward(self, x):
        if x.ndim != self.ndim or x.shape[1] != self.W.shape[0]:
            raise ValueError(f"{type(self).__name__}: needs {self.ndim} axes, axis 1 of size "
                             f"{self.W.shape[0]}; got shape {x.shape}")
        if not self.training:
            return self._with_running_moments(x)
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError(f"{type(self).__name__}: a batch of shape {x.shape} has one value per "
                             "channel and so no variance; use more examples, or eval()")
        saved = {}
        y = batch_norm(x, self.W, self.b, self.eps, saved)
        self._average(self.running_mean, saved["mu"])
        self._average(self.running_var, (saved["s"] ** -2 - self.eps) * (n / (n - 1)))
        return y

    def _average(self, running, new):
        running.data *= 1 - self.momentum
        running.data += self.momentum * new.reshape(-1)

    def _with_running_moments(self, x):
        scale = self.W * (self.running_var.data + self.eps) ** -0.5
        shift = self.b - self.running_mean.data * scale
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x * scale.reshape(shape) + shift.reshape(shape)


class BatchNorm1d(_BatchNorm):
    __doc__ = "x (B, C). " + _BatchNorm.__doc__
    ndim = 2


class BatchNorm2d(_BatchNorm):
    __doc__ = "x (B, C, H, W). " + _BatchNorm.__doc__
    ndim = 4


# --- of weights -----------------------------------------------------------------------------------

class _Spectral(Module):
    """Its weight is divided by the largest singular value of W, so the map stretches no input.

    s = u W v, u and v from power iteration, 2^squarings rounds of it at each call while training:
    WW' (or W'W, the smaller) is squared so often, and any of its columns then is u (or v). u and v
    count as constants: at the singular vectors the derivative of s is the same.
    Source: Miyato et al. 2018, algorithm 1, there with one round a call from the u of the last. As
    training makes singular values alike, that s falls behind by 5 % and more; this by 0.1 %."""

    def __init__(self, *sizes, squarings=12, **settings):
        super().__init__(*sizes, **settings)
        self.squarings, self.u = squarings, Tensor(xp.zeros(self.W.shape[0], dtype="float32"))
        self._iterate()

    def _iterate(self):
        """Brings u up to date while training; gives v."""
        W = self.W.data.reshape(len(self.u), -1)
        if self.training:
            tall = W.shape[0] > W.shape[1]
            G = W.T @ W if tall else W @ W.T
            for _ in range(self.squarings):
                G = G / (xp.trace(G) + 1e-30)
                G = G @ G
            u = G[xp.argmax(xp.diagonal(G))]        # its longest column cannot be orthogonal to u
            u = W @ u if tall else u
            self.u.data[...] = u / (xp.sqrt((u * u).sum()) + 1e-12)
        v = W.T @ self.u.data
        return v / (xp.sqrt((v * v).sum()) + 1e-12)

    def largest(self):
        """s, the estimate of the largest singular value: a Tensor, differentiable in W"""
        v = self._iterate()
        return ((self.W.reshape(len(self.u), -1) @ v) * self.u.data).sum()


class SpectralLinear(_Spectral, Linear):
    __doc__ = "y = x W / s + b.   (..., n_in) -> (..., n_out)\n\n    " + _Spectral.__doc__

    def forward(self, x):
        return linear(x, self.W / self.largest(), self.b)


class SpectralConv2d(_Spectral, Conv2d):
    __doc__ = ("y = x * W / s + b, W as a matrix (n_out, n_in k k).   As Conv2d\n\n    "
               + _Spectral.__doc__)

    def forward(self, x):
        return conv2d(x, self.W / self.largest(), self.b, **self.settings)
