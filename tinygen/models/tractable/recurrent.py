"""Neural language models of characters:   p(x) = prod_t p(x_t | x_1 ... x_t-1)

    x (B, T)    names as ids below V, 0 the boundary, as in counting.py; or windows of a long text
    E, H        sizes of a character's embedding and of the hidden layer or state
    logits      (B, T, V)

The ladder: an n-gram table (counting.py) knows only contexts that it has seen; ContextMLP shares
between similar ones, but forgets all that lies further back; RecurrentLM keeps a state, in whose
making its cell decides what to forget: RNN nothing by choice, GRU and LSTM by gates.
"""
import numpy

from ...engine.elementwise import tanh
from ...engine.fused import cross_entropy
from ...engine.tensor import Tensor
from ...nn import Embedding, GRUCell, Linear, Module, Recurrent, mlp
from ...nn.linear import check_sizes, widths
from .counting import LanguageModel, MarkovModel, shifted


def embedded(embedding, x):
    """W[x]; for one-hot floats (..., V), x W, through which gradients pass"""
    return x @ embedding.W if x.dtype.kind == "f" else embedding(x)


class ContextMLP(MarkovModel):
    """logits = MLP(e(x_t-n), ..., e(x_t-1)), e a learned embedding

    hidden=() is softmax regression on the context. A step keeps about B T (5 H + context E)
    numbers. Source: Bengio et al. 2003, eq. 1, without the direct connections."""

    def __init__(self, V, context=3, embedding=10, hidden=(200,), activation=tanh):
        check_sizes("ContextMLP", V=V, context=context)
        self.V, self.context = V, context
        self.embedding = Embedding(V, embedding)
        self.layers = mlp((context * embedding, *widths("ContextMLP", hidden), V), activation)

    def forward(self, contexts):
        """contexts (..., context), or one-hot floats (..., context, V) -> logits (..., V)"""
        e = embedded(self.embedding, contexts)
        return self.layers(e.reshape(*e.shape[:-2], e.shape[-2] * e.shape[-1]))


class RecurrentLM(LanguageModel):
    """h_t = cell(e(x_t-1), h_t-1),   logits_t = h_t W + b.   cell: nn.RNNCell, GRUCell or LSTMCell

    A step keeps about B T H times 6, with a GRU 20, with an LSTM 26 numbers.
    Source: Mikolov et al. 2010, on characters."""

    def __init__(self, V, cell=GRUCell, embedding=32, hidden=128):
        check_sizes("RecurrentLM", V=V)
        self.V = V
        self.embedding = Embedding(V, embedding)
        self.recurrent = Recurrent(cell(embedding, hidden))
        self.out = Linear(hidden, V)

    def forward(self, x, state=None):
        """x (B, T) -> logits (B, T, V) of what follows each x_t, and the last state"""
        hs, state = self.recurrent(embedded(self.embedding, x), state)
        return self.out(hs), state

    def conditionals(self, x):
        return self(shifted(x))[0]

    def start(self, n):
        return self.recurrent.cell.start(n)

    def step(self, ids, state):
        logits, state = self(ids[:, None], state)
        return logits[:, 0], state


# --- a long text ----------------------------------------------------------------------------------

class TruncatedBPTT(Module):
    """A RecurrentLM on windows of a long text: the state goes on from one window to the next, the
    gradient stops between them. Source: Williams & Peng 1990.

    Memory is that of one window. The state is a buffer, so that a run resumed from a checkpoint
    goes on with it: give fit this module, not the model. Goes with `Streams`."""

    def __init__(self, model, streams):
        check_sizes("TruncatedBPTT", streams=streams)
        self.model = model
        self.state = _detached(model.start(streams))

    def loss(self, windows):
        """-mean ln p(y_t | all x up to t), nats per character; windows: x and y (streams, T)"""
        x, y = windows
        if x.ndim != 2 or not x.size:
            raise ValueError(f"TruncatedBPTT: windows of shape {tuple(x.shape)}; needs (streams, T)"
                             " with at least one character")
        logits, state = self.model(x, self.state)
        self.state = _detached(state)
        return cross_entropy(logits, y)


def _detached(state):
    if isinstance(state, tuple):
        return tuple(map(_detached, state))
    return Tensor(state.data if isinstance(state, Tensor) else state)


class Streams:
    """Windows of a long text in reading order, at `streams` places at once: x, y (streams, length)

    y[b, t] is the character after x[b, t]. Place b starts at character b N // streams and goes on
    for ever, from the end of the text around to its beginning. An iterator for fit: how far it has
    read is its state."""

    def __init__(self, ids, streams, length):
        check_sizes("Streams", streams=streams, length=length)
        self.ids, self.length, self.windows = numpy.asarray(ids), length, 0
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iu" or len(self.ids) < streams:
            raise ValueError(f"Streams: ids are {self.ids.dtype} of shape {self.ids.shape}; needed "
                             f"integers (N,), at least one for each of {streams} streams")
        self.starts = numpy.arange(streams) * len(self.ids) // streams

    def __iter__(self):
        return self

    def __next__(self):
        place = self.starts[:, None] + self.windows * self.length + numpy.arange(self.length + 1)
        both = self.ids[place % len(self.ids)].astype("int64")
        self.windows += 1
        return both[:, :-1], both[:, 1:]

    def state(self):
        return {"windows": self.windows, "characters": len(self.ids), "streams": len(self.starts),
                "length": self.length}

    def load_state(self, state):
        own = self.state()
        if {**own, "windows": state.get("windows")} != state:
            raise ValueError(f"load_state: saved as {state}, here it is {own}; resume on the same "
                             "text, streams and length")
        self.windows = state["windows"]
