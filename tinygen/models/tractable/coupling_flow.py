"""Coupling flows:   z = x where a mask is 1, x e^s + t where it is 0,   s and t made of what stays

    x (B, D)     examples, or images (B, C, H, W);   z latents, of the same shape
    s, t         a scale's logarithm and a shift, outputs of a network that need not be inverted

Other bijections, and Flow itself, are in flow.py; masks for images in image_flow.py.
"""
import numpy

from ...engine.backend import xp
from ...engine.elementwise import exp, relu, tanh
from ...engine.reductions import sum
from ...engine.shaping import split
from ...nn import init, mlp
from ...nn.linear import check_sizes, widths
from .flow import ActNorm, Bijection, Flow


class Coupling(Bijection):
    """z = x where the mask is 1, x e^s + t where it is 0;   s, t = net(mask x),   logdet = sum s.

    The Jacobian is triangular, and the net need not be inverted: it sees only what stays.
    net gives twice the channels of x, (s, t), or with affine=False the channels of x: then s = 0
    and no volume changes. s is a tanh times a learned factor. The mask is (D,) or, for images,
    broadcasts to (C, H, W).
    Source: Dinh et al. 2015 (NICE), section 3.2; Dinh et al. 2017 (RealNVP), eqs. 4 to 9."""

    def __init__(self, mask, net, affine=True):
        self.keep, self.net = xp.asarray(mask, dtype="float32"), net
        if not ((self.keep == 0) | (self.keep == 1)).all() or self.keep.min() == self.keep.max():
            raise ValueError(f"Coupling: a mask of shape {self.keep.shape} from "
                             f"{float(self.keep.min()):g} to {float(self.keep.max()):g}; needs 0 "
                             "and 1, both of them and nothing else")
        self.change = 1 - self.keep
        self.most = init.constant(self.keep.shape, 1.0) if affine else None

    def _s_t(self, x):
        mask, C = self.keep.shape, x.shape[1] * (1 if self.most is None else 2)
        if len(mask) != x.ndim - 1 or not all(m in (1, n) for m, n in zip(mask, x.shape[1:])):
            raise ValueError(f"Coupling: a mask of shape {mask} for x of shape {tuple(x.shape)}; "
                             "needs a number for each that an example has")
        y = self.net(x * self.keep)
        if y.shape != (len(x), C, *x.shape[2:]):
            raise ValueError(f"Coupling: the net gives {tuple(y.shape)} for x {tuple(x.shape)}; "
                             f"needs {C} channels: s and t, or t alone where not affine")
        if self.most is None:
            return None, y * self.change
        s, t = split(y, 2, axis=1)
        return tanh(s) * (self.most * self.change), t * self.change

    def forward(self, x):
        s, t = self._s_t(x)
        if s is None:
            return x + t, xp.zeros(len(x), x.dtype)
        return x * exp(s) + t, sum(s, tuple(range(1, x.ndim)))

    def inverse(self, z):
        s, t = self._s_t(z)
        return z - t if s is None else (z - t) * exp(-s)


def alternating(D, first):
    """The mask 1, 0, 1, 0, ... or, with first = 0, 0, 1, 0, 1, ... of D numbers"""
    check_sizes("alternating", 2, D=D)          # a number that stays and one that changes
    return xp.asarray((numpy.arange(D) + first) % 2, dtype="float32")


def coupling_flow(D, n=8, hidden=(64, 64), affine=True):
    """RealNVP on vectors, or NICE without affine: n couplings that take turns, behind an ActNorm.

    Each starts as the identity: its net's last layer is 0. A step keeps about B (10 D + 2 U)
    numbers for each coupling of U hidden units."""
    check_sizes("coupling_flow", n=n)
    layers = [ActNorm(D)]
    for i in range(n):
        net = mlp((D, *widths("coupling_flow", hidden), 2 * D if affine else D), relu)
        net[-1].W.data *= 0
        net[-1].b.data *= 0
        layers.append(Coupling(alternating(D, i % 2), net, affine))
    return Flow(D, layers)
