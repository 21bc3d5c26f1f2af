"""Autoregressive flows:   z_d = (x_d - t_d) e^-s_d,   s_d and t_d made of what comes before x_d

    x (B, D)     examples;   z (B, D) latents of a normal, or of a mixture for each conditional
    K            numbers per conditional, or Gaussians in its mixture
    order        order[i] is the rank of x_i, 0..D-1

Other bijections, and Flow itself, are in flow.py.
"""
import numpy

from ...distributions import Categorical, Normal
from ...engine.backend import xp
from ...engine.elementwise import exp, relu
from ...engine.reductions import log_softmax, logsumexp, sum
from ...engine.shaping import concatenate, expand_dims, split
from ...engine.tensor import no_grad
from ...nn import MaskedLinear, Module, init
from ...nn.linear import check_sizes, widths
from ..branches import Tractable, as_batch, as_count
from .flow import ActNorm, Bijection, Flow
from .made import masks, permutation


class MaskedMLP(Module):
    """x (B, D) -> (B, D, K): K numbers for each x_d, made of what comes before x_d alone.

    order[i] is the rank of x_i; masks as in MADE. frequency multiplies the first layer's weights:
    with sin for activation, how fine a pattern in x the net can tell from the start.
    Source: Germain et al. 2015, eqs. 8 to 13; sin: Sitzmann et al. 2020, section 3."""

    def __init__(self, D, K, hidden=(64, 64), order=None, activation=relu, frequency=1.0):
        check_sizes("MaskedMLP", D=D, K=K)
        order = permutation("MaskedMLP", range(D) if order is None else order, D)
        hidden = widths("MaskedMLP", hidden)
        *inner, last = masks(order, [numpy.arange(n) * max(D - 1, 1) // n for n in hidden])
        sizes = (D, *hidden, D * K)
        self.layers = [MaskedLinear(n_in, n_out, mask) for n_in, n_out, mask in
                       zip(sizes, sizes[1:], [*inner, numpy.repeat(last, K, axis=1)])]
        for p in self.layers[0].parameters():
            p.data *= frequency
        self.D, self.K, self.activation = D, K, activation
        self.sequence = numpy.argsort(order).tolist()           # which x_d is first, second, ...

    def forward(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x).reshape(-1, self.D, self.K)


class Autoregressive(Bijection):
    """z_d = (x_d - t_d) e^-s_d,   s_d and t_d made of what comes before x_d,   logdet = -sum s.

    MAF: density in one pass, samples in D. Its Inverse is IAF: samples in one pass, the density of
    a given x in D. That the two are one bijection read in both directions is why each is slow where
    the other is fast. The D passes keep D graphs while recording.
    Source: Papamakarios et al. 2017, eqs. 3 to 5 and section 3.2; Kingma et al. 2016 (IAF)."""

    def __init__(self, D, hidden=(64, 64), order=None, activation=relu):
        self.net = MaskedMLP(D, 2, hidden, order, activation)
        self.net.layers[-1].W.data *= 0                         # starts as the identity
        self.net.layers[-1].b.data *= 0

    def forward(self, x):
        y = self.net(x)
        s, t = y[:, :, 0], y[:, :, 1]
        return (x - t) * exp(-s), -sum(s, 1)

    def inverse(self, z):
        columns = [xp.zeros((len(z), 1), z.dtype)] * self.net.D
        for d in self.net.sequence:
            y = self.net(concatenate(columns, axis=1))[:, d]    # (B, 2)
            columns[d] = z[:, d:d + 1] * exp(y[:, :1]) + y[:, 1:]
        return concatenate(columns, axis=1)


class MixtureMADE(Tractable):
    """p(x) = prod_d sum_k p_k N(x_d; mu_k, s_k^2),   each conditional a mixture of K Gaussians.

    Weights, means and variances are made of what comes before x_d. As the base of a Flow it gives
    the chain what no bijection of one normal has: separate modes. A step keeps about
    B (15 D K + 2 U) numbers, U hidden units.
    Source: Papamakarios et al. 2017, section 4 (MADE MoG; under n bijections MAF MoG)."""

    def __init__(self, D, K=10, hidden=(64, 64), order=None, activation=relu, frequency=1.0):
        self.D, self.K = D, K
        self.net = MaskedMLP(D, 3 * K, hidden, order, activation, frequency)
        bias = self.net.layers[-1].b.data.reshape(D, 3, K)
        bias[:, 1] = init.normal((D, K), 1.5).data              # means that lie apart can part
        bias[:, 2] = -2                                         # logvar

    def conditionals(self, x):
        """x (B, D) -> (B, D, 3 K): K logits, then means, then logvars of each x_d"""
        return self.net(as_batch(self, x))

    def log_prob(self, x):
        x = as_batch(self, x)
        logits, mu, logvar = split(self.conditionals(x), 3, axis=2)
        terms = log_softmax(logits) + Normal(mu, logvar).log_prob(expand_dims(x, 2))
        return sum(logsumexp(terms, 2), 1)

    def sample(self, n):
        """n draws (n, D), by D passes"""
        x = xp.zeros((as_count(self, n), self.D), dtype="float32")
        with no_grad():
            for d in self.net.sequence:
                logits, mu, logvar = split(self.net(x)[:, d].data, 3, axis=1)
                k = expand_dims(Categorical(logits).sample(), 1) == xp.arange(self.K)
                x[:, d] = Normal(sum(mu * k, 1), sum(logvar * k, 1)).sample()
        return x


def maf(D, n=5, hidden=(64, 64), K=None):
    """n autoregressive bijections, the order reversed each time, behind an ActNorm (MAF).

    K: how many Gaussians each conditional of the base has (MAF MoG); None for a standard normal. A
    step keeps about B (7 D + 2 U) numbers for each bijection of U hidden units."""
    check_sizes("maf", 0, n=n)
    check_sizes("maf", D=D, K=1 if K is None else K)
    orders = [range(D)[::1 if i % 2 else -1] for i in range(n + 1)]
    base = K and MixtureMADE(D, K, hidden, numpy.array(orders[n]))
    return Flow(D, [ActNorm(D), *[Autoregressive(D, hidden, numpy.array(order))
                                  for order in orders[:n]]], base)
