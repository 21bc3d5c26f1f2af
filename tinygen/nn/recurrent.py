"""Recurrent cells, one step of time: h' = cell(x, h); and Recurrent, which takes all the steps.

    x (B, n_in) input;   h (B, H) state;   c (B, H) the LSTM's memory
    x.W, x.b and h.W, h.b  the maps of input and state to all gates side by side
    gx (B, gates H)        the input's share of the gates, x W_x + b_x
"""
from ..engine.backend import xp
from ..engine.elementwise import sigmoid, tanh
from ..engine.shaping import split, stack
from . import init
from .linear import Linear
from .module import Module


class _Cell(Module):
    """The two maps that every cell has, onto `gates` times H numbers."""
    gates = 1

    def __init__(self, n_in, hidden):
        self.hidden = hidden
        self.x, self.h = Linear(n_in, self.gates * hidden), Linear(hidden, self.gates * hidden)
        for p in self.parameters():             # both maps feed sums of H terms
            p.data[...] = init.uniform(p.shape, hidden ** -0.5).data

    def forward(self, x, state):
        return self.step(self.x(x), state)

    def start(self, B):
        """The state before the first step: zeros"""
        return xp.zeros((B, self.hidden), dtype=self.h.W.dtype)


class RNNCell(_Cell):
    """h' = tanh(x W_x + b_x + h W_h + b_h).   Source: Elman 1990."""

    def step(self, gx, h):
        return tanh(gx + self.h(h))


class GRUCell(_Cell):
    """r, z = sigmoid(...);   n = tanh(x W_xn + b_xn + r (h W_hn + b_hn));   h' = (1 - z) n + z h

    Source: Cho et al. 2014, with the reset gate applied after the product, as PyTorch does."""
    gates = 3

    def step(self, gx, h):
        (xr, xz, xn), (hr, hz, hn) = split(gx, 3, axis=1), split(self.h(h), 3, axis=1)
        z = sigmoid(xz + hz)
        n = tanh(xn + sigmoid(xr + hr) * hn)
        return n + z * (h - n)


class LSTMCell(_Cell):
    """i, f, o = sigmoid(...), u = tanh(...);   c' = f c + i u;   h' = o tanh(c')

    forward(x, (h, c)) gives (h', c'). Source: Hochreiter & Schmidhuber 1997,
    with the forget gate of Gers et al. 2000."""
    gates = 4

    def step(self, gx, state):
        h, c = state
        i, f, u, o = split(gx + self.h(h), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(u)
        return sigmoid(o) * tanh(c), c

    def start(self, B):
        return super().start(B), super().start(B)


class Recurrent(Module):
    """A cell along time.   x (B, T, n_in) -> hs (B, T, H) and the last state

    The inputs of all times go through their map in one product, as they wait for no state. Give the
    last state, detached, as the next `state` to train on longer sequences than fit in memory
    (truncated back-propagation, Williams & Peng 1990)."""

    def __init__(self, cell):
        self.cell = cell

    def forward(self, x, state=None):
        if x.ndim != 3 or not x.shape[1]:
            raise ValueError(f"Recurrent: x has shape {x.shape}; needs (B, T, n_in), T at least 1")
        B, T, _ = x.shape
        state = self.cell.start(B) if state is None else state
        gx, hs = self.cell.x(x), []
        for t in range(T):
            state = self.cell.step(gx[:, t], state)
            hs.append(state[0] if isinstance(state, tuple) else state)
        return stack(hs, axis=1), state
