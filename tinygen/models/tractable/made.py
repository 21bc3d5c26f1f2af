"""Autoregressive models on binary vectors:   p(x) = prod_d p(x_d | what comes before x_d)

    x (B, D)    binary examples;  logits (B, D): of p(x_d = 1 | what comes before x_d)
    order       order[i] is the rank of x_i, 0..D-1: x_i may depend on every x_j of lower rank
    H           hidden units;  degree of one: the highest rank that it may see

A ladder. Each rung gives all D conditionals in one pass, and draws one x_d after the other:

    FVSBN   one logistic regression for each x_d
    NADE    one small network for each x_d; they share their weights, and so most of their work
    MADE    one network of any depth for all x_d; masks on its weights keep it from looking ahead
"""
import math

import numpy

from ...distributions import Bernoulli
from ...engine.backend import host_rng, to_numpy, uniform, xp
from ...engine.checkpoint import checkpoint
from ...engine.elementwise import relu, sigmoid
from ...engine.products import linear
from ...engine.reductions import logsumexp, sum
from ...engine.shaping import concatenate, stack
from ...engine.tensor import no_grad, tensor
from ...nn import MaskedLinear, init
from ...nn.linear import check_sizes, widths
from ..branches import Tractable, as_batch, check_levels


class Autoregressive(Tractable):
    """ln p(x) = sum_d ln p(x_d | before), for all with conditionals(x): (B, D) -> logits (B, D)."""

    def set_order(self, order):
        """order (D,): a permutation of 0..D-1, else ValueError."""
        order = permutation(type(self).__name__, order, self.D)
        self.order = tensor(order)
        self.sequence = numpy.argsort(order)            # which x comes first, second, ...

    @property
    def ordering(self):
        """The arguments of set_order that lead back to here."""
        return (self.order,)

    def load_state_dict(self, state):
        """Brings back the order too, and with it the masks."""
        super().load_state_dict(state)
        self.set_order(*self.ordering)

    def log_prob(self, x):
        x = as_batch(self, x)
        check_levels(self, x, 2)
        return sum(Bernoulli(self.conditionals(x)).log_prob(x), 1)

    def sample(self, n):
        """n draws (n, D), by D passes: x_d is drawn once all before it are there."""
        u, x = uniform((n, self.D)), xp.zeros((n, self.D), dtype="float32")
        with no_grad():
            for i in self.sequence.tolist() if n else ():
                x[:, i] = u[:, i] < sigmoid(self.conditionals(x).data[:, i])
        return x


def permutation(name, order, D):
    """order as integers (D,); ValueError unless it has each of 0..D-1 once."""
    try:
        order = to_numpy(order)
        if sorted(order.tolist()) == list(range(D)):
            return order.astype("int64")
    except (TypeError, ValueError):             # what is no number, or of uneven length
        pass
    raise ValueError(f"{name}: order must be a permutation of 0..{D - 1}, the rank of each x_i")


class FVSBN(Autoregressive):
    """logit_d = b_d + sum of x_j W_jd over the j before d: D logistic regressions.

    Without hidden units the loss is convex: every start leads to the same optimum. All of them are
    one layer, W (D, D) masked to what comes before: a triangle in the natural order. A step keeps
    about 4 B D numbers.
    Source: Frey 1998; the name, fully visible sigmoid belief network, is of Gan et al. 2015."""

    def __init__(self, D, order=None):
        self.D, self.linear = D, MaskedLinear(D, D)
        self.set_order(range(D) if order is None else order)

    def set_order(self, order):
        super().set_order(order)
        self.linear.set_mask(masks(to_numpy(self.order), [])[0])

    def conditionals(self, x):
        return self.linear(as_batch(self, x))


class NADE(Autoregressive):
    """h_d = sigmoid(c + sum of x_j W_j over the j before d),   logit_d = b_d + V_d . h_d.

    W, V (D, H), b (D,), c (H,); their row r belongs to the x of rank r. One W serves every d, so
    the sum in h_d is the one before it and one row more: `sample` needs O(D H) for each draw.

    `conditionals` has all of x, so it makes h_d for T = ceil(sqrt(D)) of the d at a time, by large
    matrix products. It keeps none of them; backward makes them again (see checkpoint). So a step
    works on a few arrays (T, B, H): its memory grows with sqrt(D) H, where all h_d would be D H.
    Source: Larochelle & Murray 2011, section 3 and algorithm 1."""

    def __init__(self, D, hidden=500, order=None):
        check_sizes("NADE", D=D, hidden=hidden)
        self.D, self.T = D, math.ceil(math.sqrt(D))
        self.W = init.fan_in_uniform((D, hidden))
        self.V = init.fan_in_uniform((D, hidden), fan_in=hidden)
        self.b, self.c = init.constant((D,)), init.constant((hidden,))
        self.set_order(range(D) if order is None else order)

    def conditionals(self, x):
        x, logits = as_batch(self, x)[:, xp.asarray(self.sequence)], []
        for i in range(0, self.D, self.T):
            block = slice(i, i + self.T)
            logits.append(checkpoint(_last_logits, x[:, :block.stop], self.W[:block.stop],
                                     self.V[block], self.b[block], self.c))
        return concatenate(logits, 1)[:, self.order.data]

    def sample(self, n):
        """n draws (n, D), by one pass: each x drawn adds its row of W to the sums."""
        W, V, b, c = (p.data for p in (self.W, self.V, self.b, self.c))
        u, x = uniform((n, self.D)), xp.zeros((n, self.D), dtype="float32")
        a = xp.zeros((n, 1), c.dtype) + c
        for r in range(self.D):
            x[:, r] = u[:, r] < sigmoid(sigmoid(a) @ V[r] + b[r])
            a += x[:, r, None] * W[r]
        return x[:, self.order.data]


def _last_logits(x, W, V, b, c):
    """The logits (B, T) of the last T pixels of x (B, i + T); W (i + T, H), V (T, H), b (T,).

    Plain form, for each t:   b[t] + sigmoid(c + x[:, :i + t] @ W[:i + t]) @ V[t]"""
    T = len(b)
    i = len(W) - T
    a = linear(x[:, :i], W[:i], c)                                  # (B, H), the same for each t
    earlier = xp.tri(T, k=-1, dtype=x.dtype).reshape(T, 1, T)       # [t, 0, j] = 1 for j < t
    h = sigmoid(linear(x[:, i:] * earlier, W[i:]) + a)              # (T, B, H)
    return (h @ V.reshape(T, -1, 1)).reshape(T, -1).T + b


class MADE(Autoregressive):
    """logits = MLP(x), its weights masked so that logit d sees only what has a lower rank than d.

    direct=True adds the masked x W of FVSBN to the logits. Degrees of hidden units spread evenly
    over 0..D-2. With `resample_order` before each batch it learns all orders and connectivities at
    once, and `log_prob_averaged` asks many of them. A step keeps about B (4 D + 2 U) numbers, U
    hidden units in all.
    Source: Germain et al. 2015, eqs. 8 to 13."""

    def __init__(self, D, hidden=(512, 512), order=None, activation=relu, direct=False):
        sizes = (D, *widths("MADE", hidden), D)
        self.D, self.activation = D, activation
        self.layers = [MaskedLinear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.direct = MaskedLinear(D, D, bias=False) if direct else None
        self.set_order(range(D) if order is None else order)

    def set_order(self, order, degrees=None):
        """order (D,): a permutation of 0..D-1. degrees: one array per hidden layer, of integers
        0..D-2."""
        super().set_order(order)
        order, units = to_numpy(self.order), [layer.W.shape[1] for layer in self.layers[:-1]]
        if degrees is None:
            degrees = [numpy.arange(n) * max(self.D - 1, 1) // n for n in units]
        degrees = [to_numpy(degree).reshape(-1) for degree in degrees]
        if [len(degree) for degree in degrees] != units:
            raise ValueError(f"MADE: {[len(degree) for degree in degrees]} degrees for hidden "
                             f"layers of {units} units; each unit needs one")
        most = max(self.D - 2, 0)
        if not all(degree.dtype.kind in "iu" and ((0 <= degree) & (degree <= most)).all()
                   for degree in degrees):
            raise ValueError(f"MADE: degrees are {degrees}; needs integers from 0 to {most}, the "
                             "highest rank that a unit may see")
        for layer, mask in zip(self.layers, masks(order, degrees)):
            layer.set_mask(mask)
        if self.direct:
            self.direct.set_mask(masks(order, [])[0])
        self.degrees = [tensor(degree) for degree in degrees]

    @property
    def ordering(self):
        return self.order, self.degrees

    def draw_ordering(self):
        """(order, degrees), both random: arguments of set_order."""
        rng, degrees, lowest = host_rng(), [], 0
        for layer in self.layers[:-1]:
            degrees.append(rng.integers(lowest, max(self.D - 1, 1), layer.W.shape[1]))
            lowest = degrees[-1].min()              # a unit below every input of its layer is dead
        return rng.permutation(self.D), degrees

    def resample_order(self):
        """A random order and random degrees, for this batch and until the next call."""
        self.set_order(*self.draw_ordering())

    def conditionals(self, x):
        x = h = as_batch(self, x)
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        return last(h) + self.direct(x) if self.direct else last(h)

    def log_prob_averaged(self, x, orderings):
        """ln 1/K sum_k p(x | ordering k): one density, the mixture of K models that share weights.

        orderings: K pairs (order, degrees), as from draw_ordering().   x (B, D) -> (B,). Under
        no_grad() one ordering's activations are held at a time, else all K.
        Source: Germain et al. 2015, section 4.2."""
        if len(orderings) == 0:
            raise ValueError("log_prob_averaged: given no orderings; needs at least one, such as "
                             "[model.draw_ordering() for _ in range(10)]")
        own, terms = self.ordering, []
        try:
            for ordering in orderings:
                self.set_order(*ordering)
                terms.append(self.log_prob(x))
        finally:
            self.set_order(*own)
        return logsumexp(stack(terms), axis=0) - math.log(len(terms))


def masks(order, degrees):
    """[M (in, out), ...] of 0 and 1: a unit sees a unit of its own degree or below; an output of
    rank r sees degrees below r."""
    below, result = order, []
    for degree in degrees:
        result.append(below[:, None] <= degree)
        below = degree
    return result + [below[:, None] < order]
