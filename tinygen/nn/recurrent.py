"""Recurrent cells: one step of time, h' = cell(x, h).

    x (B, n_in) input;   h (B, H) state;   c (B, H) the LSTM's memory
    x.W, x.b and h.W, h.b  the maps of input and state to all gates side by side
"""
from ..engine.elementwise import sigmoid, tanh
from ..engine.shaping import split
from . import init
from .linear import Linear
from .module import Module


class _Cell(Module):
    """The two maps that every cell has, onto `gates` times H numbers."""
    gates = 1

    def __init__(self, n_in, hidden):
        self.x, self.h = Linear(n_in, self.gates * hidden), Linear(hidden, self.gates * hidden)
        for p in self.parameters():             # both maps feed sums of H terms
            p.data[...] = init.uniform(p.shape, hidden ** -0.5).data


class RNNCell(_Cell):
    """h' = tanh(x W_x + b_x + h W_h + b_h).   Source: Elman 1990."""

    def forward(self, x, h):
        return tanh(self.x(x) + self.h(h))


class GRUCell(_Cell):
    """r, z = sigmoid(...);   n = tanh(x W_xn + b_xn + r (h W_hn + b_hn));   h' = (1 - z) n + z h

    Source: Cho et al. 2014, with the reset gate applied after the product, as PyTorch does."""
    gates = 3

    def forward(self, x, h):
        (xr, xz, xn), (hr, hz, hn) = split(self.x(x), 3, axis=1), split(self.h(h), 3, axis=1)
        z = sigmoid(xz + hz)
        n = tanh(xn + sigmoid(xr + hr) * hn)
        return n + z * (h - n)


class LSTMCell(_Cell):
    """i, f, o = sigmoid(...), u = tanh(...);   c' = f c + i u;   h' = o tanh(c')

    forward(x, (h, c)) gives (h', c'). Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    gates = 4

    def forward(self, x, state):
        h, c = state
        i, f, u, o = split(self.x(x) + self.h(h), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(u)
        return sigmoid(o) * tanh(c), c
