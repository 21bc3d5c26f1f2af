"""Autoregressive models on binary vectors:   p(x) = prod_d p(x_d | x_1 ... x_{d-1})

    x (B, D)    binary examples;  logits (B, D): of p(x_d = 1 | what comes before d)
    order       order[i] is the rank of x_i, 0..D-1: x_i may depend on every x_j of lower rank
    degree      of a hidden unit: the highest rank that it may see
"""
import numpy

from ...distributions import Bernoulli
from ...engine.backend import host_rng, to_numpy, uniform, xp
from ...engine.elementwise import relu, sigmoid
from ...engine.reductions import sum
from ...engine.tensor import no_grad, tensor
from ...nn import MaskedLinear
from ..branches import Tractable, as_batch


class MADE(Tractable):
    """logits = MLP(x), its weights masked so that logit d sees only what has a lower rank than d.

    One pass gives all D conditionals; sampling takes D passes. Degrees of hidden units
    spread evenly over 0..D-2; `resample_order` draws a new order and new degrees (order- and
    connectivity-agnostic training). hidden=() is logistic regression on what came before (FVSBN).
    Source: Germain et al. 2015, eqs. 8 to 13."""

    def __init__(self, D, hidden=(512, 512), order=None, activation=relu):
        sizes = (D, *hidden, D)
        self.D, self.activation = D, activation
        self.layers = [MaskedLinear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.set_order(range(D) if order is None else order)

    def set_order(self, order, degrees=None):
        """order (D,): a permutation of 0..D-1. degrees: one integer array per hidden layer."""
        order = to_numpy(order).reshape(-1)
        if sorted(order.tolist()) != list(range(self.D)):
            raise ValueError(f"MADE: order must be a permutation of 0..{self.D - 1}")
        widths = [layer.W.shape[1] for layer in self.layers[:-1]]
        if degrees is None:
            degrees = [numpy.arange(n) * max(self.D - 1, 1) // n for n in widths]
        degrees = [to_numpy(degree) for degree in degrees]
        if [len(degree) for degree in degrees] != widths:
            raise ValueError(f"MADE: {[len(degree) for degree in degrees]} degrees for hidden "
                             f"layers of {widths} units; each unit needs one")
        for layer, mask in zip(self.layers, masks(order, degrees)):
            layer.set_mask(mask)
        self.order, self.degrees = tensor(order), [tensor(degree) for degree in degrees]

    def load_state_dict(self, state):
        """Brings back the order and the degrees too, and so the masks."""
        super().load_state_dict(state)
        self.set_order(self.order, self.degrees)

    def resample_order(self):
        """A random order and random degrees, for this batch and until the next call."""
        rng, degrees, lowest = host_rng(), [], 0
        for layer in self.layers[:-1]:
            degrees.append(rng.integers(lowest, max(self.D - 1, 1), layer.W.shape[1]))
            lowest = degrees[-1].min()              # a unit below every input of its layer is dead
        self.set_order(rng.permutation(self.D), degrees)

    def forward(self, x):
        """x (B, D) -> logits (B, D)"""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)

    def log_prob(self, x):
        x = as_batch(self, x)
        return sum(Bernoulli(self(x)).log_prob(x), 1)

    def sample(self, n):
        """n draws (n, D), one pass for each x_d in turn."""
        x, u = xp.zeros((n, self.D), dtype="float32"), uniform((n, self.D))
        with no_grad():
            for i in numpy.argsort(to_numpy(self.order)).tolist():
                x[:, i] = u[:, i] < sigmoid(self(x)[:, i])
        return x


def masks(order, degrees):
    """[M (in, out), ...] of 0 and 1: a unit sees a unit of its own degree or below; an output of
    rank r sees degrees below r."""
    below, result = order, []
    for degree in degrees:
        result.append(below[:, None] <= degree)
        below = degree
    return result + [below[:, None] < order]
