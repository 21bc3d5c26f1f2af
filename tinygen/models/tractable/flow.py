"""Normalizing flows:   p(x) = p_Z(f(x)) |det df/dx|,   f a chain of bijections, p_Z simple

    x (B, D)      examples;   z (B, D) latents, z = f(x), of a standard normal by default
    logdet (B,)   ln |det dz/dx|: how much f stretches the volume at x, nats;   chains add theirs
    s, t          a scale's logarithm and a shift, outputs of a network

A ladder. Each rung is a bijection that is richer, or whose determinant is cheap for a new reason:

    InvertibleLinear   a whole matrix: one determinant for all x. With a normal: a full Gaussian
    ActNorm            a diagonal matrix;   BatchNorm: the same, from the moments of the data
    Planar             rank one: the determinant is a dot product
    Coupling           a triangular Jacobian, by a mask: NICE and RealNVP, in coupling_flow.py
    Autoregressive     a triangular Jacobian, by an order: MAF and IAF, in autoregressive_flow.py

A step keeps what each layer does: ActNorm 2 to 3 arrays of the size of x, BatchNorm 6,
InvertibleLinear 1 to 2. What only images need is in image_flow.py. Each channel (axis 1) of a
vector (B, C) or an image (B, C, H, W) is treated alike: InvertibleLinear is also the 1 x 1
convolution of Glow.
"""
import math

import numpy

from ...distributions import LN_2PI
from ...engine.backend import normal, xp
from ...engine.elementwise import exp, log, softplus, sqrt, tanh
from ...engine.products import linear, matmul
from ...engine.reductions import mean, sum, var
from ...engine.shaping import broadcast_to
from ...engine.tensor import Tensor, defvjp, no_grad, primitive
from ...nn import Module, init
from ...nn.linear import check_sizes
from ..branches import Tractable, as_batch


class Bijection(Module):
    """z, logdet = f(x);   x = f.inverse(z).   Both differentiable, z of the shape of x."""

    def inverse(self, z):
        raise NotImplementedError(f"{type(self).__name__} has no inverse(z)")


class Chain(Bijection):
    """z = f_n(... f_1(x)),   logdet = the sum of theirs"""

    def __init__(self, layers):
        self.layers = list(layers)

    def forward(self, x):
        total = xp.zeros(len(x), x.dtype)
        for f in self.layers:
            x, logdet = f(x)
            total = total + logdet
        return x, total

    def inverse(self, z):
        for f in reversed(self.layers):
            z = f.inverse(z)
        return z


class Inverse(Bijection):
    """The bijection f the other way round: z = f^-1(x), logdet = -ln |det df/dz|"""

    def __init__(self, f):
        self.f = f

    def forward(self, x):
        z = self.f.inverse(x)
        return z, -self.f(z)[1]

    def inverse(self, z):
        return self.f(z)[0]


class StandardNormal:
    """p_Z(z) = N(z; 0, I), z of a given shape"""

    def __init__(self, shape):
        self.shape = shape

    def log_prob(self, z):
        return sum(-0.5 * (z * z + LN_2PI), tuple(range(1, z.ndim)))

    def sample(self, n):
        return normal((n, *self.shape))


class Flow(Tractable):
    """ln p(x) = ln p_Z(z) + ln |det dz/dx|;   a sample is f^-1(z), z ~ p_Z.

    shape: D, or (C, H, W) for images. layers: the bijections, from x to z. base: p_Z, with
    log_prob(z) and sample(n); the standard normal when not given.
    Source: Rezende & Mohamed 2015, eq. 5, read from x to z."""

    def __init__(self, shape, layers, base=None):
        self.shape = tuple(shape) if hasattr(shape, "__iter__") else (shape,)
        check_sizes("Flow", **{f"size {i} of an example": n for i, n in enumerate(self.shape)})
        self.f, self.base = Chain(layers), base or StandardNormal(self.shape)

    def forward(self, x):
        """x (B, ...) -> z (B, ...), logdet (B,)"""
        return self.f(as_batch(self, x, self.shape))

    def inverse(self, z):
        return self.f.inverse(as_batch(self, z, self.shape))

    def log_prob(self, x):
        z, logdet = self(x)
        return self.base.log_prob(z) + logdet

    def sample(self, n):
        with no_grad():
            return _values(self.f.inverse(self.base.sample(n)))


# --- one matrix for all x -------------------------------------------------------------------------

@primitive
def inv(W):
    """Y = W^-1.   dW = -Y^T g Y^T"""
    return xp.linalg.inv(W)
defvjp(inv, lambda g, Y, W: -matmul(matmul(Y.T, g), Y.T))


@primitive
def logabsdet(W):
    """ln |det W|, W (D, D).   dW = g W^-T.   ValueError for a singular W"""
    y = xp.linalg.slogdet(W)[1]
    if not math.isfinite(y):
        raise ValueError(f"logabsdet: ln |det W| is {float(y)}, so W {W.shape} has no inverse; "
                         "start from an orthogonal matrix, or lower the learning rate")
    return y
defvjp(logabsdet, lambda g, y, W: g * inv(W).T)


class InvertibleLinear(Bijection):
    """z = x W + b, logdet = ln |det W|.   On images, at each of the H W pixels: logdet times H W

    Starts as a random rotation, logdet 0. Costs O(D^3) for each batch.
    Source: Kingma & Dhariwal 2018, eq. 9, with W itself and not its LU factors."""

    def __init__(self, D):
        check_sizes("InvertibleLinear", D=D)
        self.W, self.b = init.orthogonal((D, D)), init.constant((D,))

    def forward(self, x):
        z = _channels_first(linear(_channels_last(x), self.W, self.b))
        return z, _for_all(x, logabsdet(self.W) * _places(x))

    def inverse(self, z):
        return _channels_first(matmul(_channels_last(z) - self.b, inv(self.W)))

    @classmethod
    def whitening(cls, x):
        """The one under which x (N, D) has mean 0 and covariance I: W W^T = (covariance of x)^-1.

        ValueError where the covariance is singular to working precision."""
        x = xp.asarray(x)
        if x.ndim != 2 or not len(x) or x.dtype.kind != "f":
            raise ValueError(f"whitening: x is {x.dtype} of shape {x.shape}; needs floats (N, D)")
        f = cls(x.shape[1])
        mu, rounding = x.mean(axis=0), x.shape[1] * float(xp.finfo(x.dtype).eps)
        S = (x - mu).T @ (x - mu) / len(x)
        try:
            L = xp.linalg.cholesky(S)       # L_ii^2: the variance of x_i that earlier x leave open
        except numpy.linalg.LinAlgError:
            L = S * math.nan                # what CuPy gives
        if not (L.diagonal() ** 2 > rounding * S.diagonal()).all():
            raise ValueError(f"whitening: the covariance of x {x.shape} is singular; needs more "
                             "than D examples, and no column that others determine")
        f.W.data = xp.linalg.inv(L).T
        f.b.data = -(mu @ f.W.data)
        return f


def gaussian(x):
    """The full-covariance Gaussian of largest likelihood on x (N, D), in closed form: a Flow."""
    f = InvertibleLinear.whitening(x)
    return Flow(len(f.b), [f])


def _values(x):
    return x.data if isinstance(x, Tensor) else x


def _channels_last(x):
    return x if x.ndim == 2 else x.transpose(0, 2, 3, 1)


def _channels_first(x):
    return x if x.ndim == 2 else x.transpose(0, 3, 1, 2)


def _per_channel(v, x):
    """(C,) to broadcast against x (B, C) or (B, C, H, W)"""
    return v.reshape((-1,) + (1,) * (x.ndim - 2))


def _check_channels(f, x):
    C = len(f.b)
    if x.ndim not in (2, 4) or x.shape[1] != C:
        raise ValueError(f"{type(f).__name__}: x has shape {tuple(x.shape)}; needed (B, {C}) or "
                         f"(B, {C}, H, W)")


def _places(x):
    """How often a channel occurs in an example: once in a vector, H W times in an image."""
    return math.prod(x.shape[2:])


def _for_all(x, logdet):
    """A logdet that does not depend on x, for each example: (B,)"""
    return broadcast_to(logdet.reshape(1), (len(x),))


# --- a diagonal matrix ----------------------------------------------------------------------------

class ActNorm(Bijection):
    """z = (x - b) e^s, b and s (C,) for each channel, logdet = H W sum(s).

    The first batch of more than one value a channel seen while training sets b and s, so that there
    z has mean 0 and variance 1; from then on they are weights as others.
    Source: Kingma & Dhariwal 2018, section 3.1."""

    def __init__(self, C):
        check_sizes("ActNorm", C=C)
        self.b, self.s = init.constant((C,)), init.constant((C,))
        self.started = Tensor(xp.zeros(1, dtype="float32"))

    def forward(self, x):
        _check_channels(self, x)
        if self.training and not self.started.data and len(x) * _places(x) > 1:
            self._start(_values(x))
        z = (x - _per_channel(self.b, x)) * _per_channel(exp(self.s), x)
        return z, _for_all(x, sum(self.s) * _places(x))

    def inverse(self, z):
        _check_channels(self, z)
        return z * _per_channel(exp(-self.s), z) + _per_channel(self.b, z)

    def _start(self, x):
        axes = (0, *range(2, x.ndim))
        self.b.data[...] = x.mean(axis=axes)
        self.s.data[...] = -xp.log(x.std(axis=axes) + 1e-6)
        self.started.data[...] = 1


class BatchNorm(Bijection):
    """z = (x - mu) / sqrt(var + eps) e^s + b, logdet = H W sum(s - ln(var + eps) / 2), per channel.

    While training mu and var are the batch's, and running averages follow them; logdet counts them
    as constants, so log_prob is that of a density only in eval mode, where the running averages
    take their place. So they do in inverse.
    Source: Dinh et al. 2017, section 3.7; Papamakarios et al. 2017, appendix B."""

    def __init__(self, C, momentum=0.1, eps=1e-5):
        check_sizes("BatchNorm", C=C)
        self.b, self.s = init.constant((C,)), init.constant((C,))
        self.mean, self.var = (Tensor(xp.full(C, value, dtype="float32")) for value in (0, 1))
        self.momentum, self.eps = momentum, eps

    def forward(self, x):
        _check_channels(self, x)
        mu, v = self._moments(x) if self.training else (self.mean.data, self.var.data)
        n = (x - _per_channel(mu, x)) / _per_channel(sqrt(v + self.eps), x)
        z = n * _per_channel(exp(self.s), x) + _per_channel(self.b, x)
        return z, _for_all(x, sum(self.s - 0.5 * log(v + self.eps)) * _places(x))

    def inverse(self, z):
        _check_channels(self, z)
        n = (z - _per_channel(self.b, z)) * _per_channel(exp(-self.s), z)
        return n * _per_channel(sqrt(self.var.data + self.eps), z) + _per_channel(self.mean.data, z)

    def _moments(self, x):
        if len(x) * _places(x) < 2:
            raise ValueError(f"BatchNorm: a batch of shape {tuple(x.shape)} has one value per "
                             "channel and so no variance; use more examples, or eval()")
        axes = (0, *range(2, x.ndim))
        moments = mean(x, axes), var(x, axes)
        for running, new in zip((self.mean, self.var), moments):
            running.data += self.momentum * (_values(new) - running.data)
        return moments


# --- rank one -------------------------------------------------------------------------------------

class Planar(Bijection):
    """z = x + u tanh(a),   a = x . w + b,   logdet = ln |1 + (1 - tanh^2 a) w . u|.

    It is a bijection while w . u > -1; so u is moved along w until w . u = softplus(w . v) - 1, v
    the weights. The inverse solves one equation in the number a for each example: by bisection, and
    one step of Newton's method at the solution, through which the gradient is that of the inverse.
    A step keeps about B (2 D + 16) numbers.
    Source: Rezende & Mohamed 2015, eqs. 10 to 12 and appendix A.1."""

    def __init__(self, D):
        check_sizes("Planar", D=D)
        self.w, self.v = init.normal((D, 1), D ** -0.5), init.normal((D, 1), D ** -0.5)
        self.b = init.constant((1,))

    def _u(self):
        """u (D, 1), and 1 + w . u (1, 1): in float32 w . u itself may round to -1"""
        wv = matmul(self.w.T, self.v)
        slope = softplus(wv)
        return self.v + (slope - 1 - wv) * self.w / sum(self.w * self.w), slope

    def forward(self, x):
        (u, slope), y = self._u(), tanh(linear(x, self.w, self.b))
        y2 = y * y
        return x + y * u.T, log(y2 + (1 - y2) * slope).reshape(-1)

    def inverse(self, z):
        (u, slope), target = self._u(), linear(z, self.w, self.b)   # a + w . u tanh(a) = target
        wu = slope - 1
        reach, values = xp.abs(_values(wu)), _values(target)
        low, high = values - reach, values + reach
        for _ in range(60):
            a = (low + high) / 2
            below = a + _values(wu) * xp.tanh(a) < values
            low, high = xp.where(below, a, low), xp.where(below, high, a)
        y = xp.tanh(a)
        a = a - (a + wu * y - target) / (y * y + (1 - y * y) * slope)
        return z - tanh(a) * u.T
