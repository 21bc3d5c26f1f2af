"""Causal networks over tokens:   p(x) = prod_t p(x_t | start, x_1 ... x_{t-1})

    x (B, T)    ids 0..V-1: the letters of names, the characters of a text, the levels of pixels
    logits (B, T, V)   of the token after each position;   h (B, T, C) activations
    memory      what layers keep of earlier positions, see nn/attention.py: {} at the start

One pass gives the logits of all T positions, as each sees only what comes before. Two tokens say
what the sequences are:

    pixels      no end: every x has `context` tokens. The start is a token of its own
    names       end=0, start=0: the boundary of datasets.text frames a name
    a text      no end, start=the line end: a window is trained on as the end of some longer text

SequenceModel holds what all such networks share; WaveNet is the one made of convolutions.
"""
from numbers import Integral

from ...engine.backend import xp
from ...engine.elementwise import relu, sigmoid, tanh
from ...engine.fused import cross_entropy, dropout, embedding
from ...engine.reductions import sum
from ...engine.shaping import broadcast_to, concatenate, split
from ...engine.tensor import Tensor, no_grad
from ...nn import CausalConv1d, Embedding, Linear, Module
from ...nn.linear import check_sizes
from ..branches import Tractable, as_count, as_ids, drawn
from .counting import until_boundary


class SequenceModel(Tractable):
    """ln p(x) = sum_t ln p(x_t | before), for all with decode(h, memory): embeddings -> logits.

    context: the most tokens of an x. start: the id that stands before x_1, None for a token of its
    own. end: the id that ends an x; the rest of its row does not count. At position `context`,
    where nothing else has room, p(end) is 1: so p sums to one over all x that fit."""

    def __init__(self, V, context, width, start=None, end=None):
        name = type(self).__name__
        check_sizes(name, V=V, context=context)
        for role, token in (("start", start), ("end", end)):
            if token is not None and not (isinstance(token, Integral) and 0 <= token < V):
                raise ValueError(f"{name}: {role} is {token}; needs an id from 0 to {V - 1}, or "
                                 "None")
        self.V, self.context, self.end = V, context, end
        self.start = V if start is None else start
        self.token = Embedding(max(V, self.start + 1), width)

    def forward(self, ids, memory=None):
        """ids (B, T), or one-hot floats (B, T, V) -> logits (B, T, V) of the token after each"""
        return self.decode(self._embed(ids), memory)

    def conditionals(self, x):
        """Logits (B, T, V): row t is of x_t given start, x_1 ... x_{t-1}.   x as in forward"""
        x = x if isinstance(x, Tensor) else xp.asarray(x)
        x = x if x.ndim == 3 else self._ids(x)
        first = broadcast_to(self.token.W[self.start], (len(x), 1, self.token.W.shape[1]))
        return self.decode(concatenate([first, self._embed(x[:, :-1])], axis=1))

    def _embed(self, x):
        return x @ self.token.W[:self.V] if x.ndim == 3 else embedding(self.token.W, x)

    def log_prob(self, x):
        """(B, T) -> (B,) nats. Without an end, p sums to one over the x of each length T."""
        x = self._ids(x)
        if self.end is None:
            return -sum(self._nll(x), 1)
        ends = x == self.end
        if not ends.any(axis=1).all():
            raise ValueError(f"{type(self).__name__}: a row of x has no end {self.end}; needs one "
                             "in each row, as the y of datasets.text.padded has")
        x = x[:, :int(xp.argmax(ends, axis=1).max()) + 1]           # no work for filling alone
        counts = until_boundary(x, self.end)
        counts[:, self.context - 1:] = False
        return -sum(self._nll(x) * counts, 1)

    def _nll(self, x):
        return cross_entropy(self.conditionals(x), x, reduction="none")

    def next_token_loss(self, x, y):
        """-ln p(y_t | x_1 ... x_t), nats per token, a mean over all.   x, y (B, T): windows of one
        long text, T at most the context, y a step ahead; what came before the window is not known,
        nor is `start` used."""
        x = self._ids(x)
        return cross_entropy(self(x), y)

    def _ids(self, x):
        """x as int64 (B, T), an array; ValueError unless it holds ids and fits."""
        x = as_ids(self, x)
        if x.shape[1] > self.context:
            raise ValueError(f"{type(self).__name__}: x has {x.shape[1]} tokens a row; the context "
                             f"holds {self.context}, so cut x or make the model with a longer one")
        return x

    def sample(self, n, length=None, prompt=(), temperature=1.0, top_k=None, report=None):
        """n draws (n, length) of what follows start and the prompt, a list of ids: a position each
        step, by a memory. After an end nothing but ends follows.

        Logits are divided by the temperature and all but the top_k largest dropped; left as they
        are, draws follow p. length: by default what the context has room for. A text may be longer:
        a memory that holds `context` tokens is made anew from the last half of them.
        report(t, length, {}, n / length) hears of each step, as Progress does."""
        self._check_sampling(length, prompt)
        first = 1 + len(prompt)
        length = self.context + 1 - first if length is None else length
        last, end = first + length - (self.end is not None), self.end or 0
        x = xp.full((as_count(self, n), first + length), end, dtype="int64")
        x[:, 0], x[:, 1:first] = self.start, xp.asarray(prompt, dtype="int64")
        memory, begin, seen, going = {}, 0, 0, xp.ones(n, dtype=bool)
        with no_grad():
            for t in range(first, last):
                if t - begin > self.context:
                    memory, begin = {}, t - max(self.context // 2, 1)
                    seen = begin
                logits = self(x[:, seen:t], memory).data[:, -1]
                x[:, t], seen = xp.where(going, drawn(logits, temperature, top_k), end), t
                if report:
                    report(t + 1 - first, length, {}, n / length)
                if self.end is not None:
                    going &= x[:, t] != end
                    if not going.any():
                        break
        return x[:, first:]

    def _check_sampling(self, length, prompt):
        name = type(self).__name__
        if not hasattr(prompt, "__len__"):
            raise ValueError(f"{name}: prompt is {prompt!r}; needs a list of ids")
        if len(prompt) >= self.context:
            raise ValueError(f"{name}: a prompt of {len(prompt)} tokens; the context holds "
                             f"{self.context} with the next one, so give the last of the prompt")
        if len(prompt):
            self._ids(xp.asarray(prompt)[None])
        check_sizes(name, 0, length=0 if length is None else length)
        if self.end is not None and (length or 0) > self.context - len(prompt):
            raise ValueError(f"{name}: length is {length}; what ends has {self.context} tokens at "
                             "most, the prompt's among them, so leave length out")


class GatedConv(Module):
    """z = tanh(f) sigmoid(g), f and g causal convolutions of h;   h <- h + z W_h;   skip = z W_s

    h (B, T, C) -> h, skip, both (B, T, C). Source: van den Oord et al. 2016, WaveNet, eq. 2 and
    figure 4."""

    def __init__(self, width, size, dilation, dropout):
        self.conv = CausalConv1d(width, 2 * width, size, dilation)
        self.out, self.dropout = Linear(width, 2 * width), dropout

    def forward(self, h, memory=None):
        f, g = split(self.conv(h.swapaxes(1, 2), memory).swapaxes(1, 2), 2, axis=2)
        z = dropout(tanh(f) * sigmoid(g), self.dropout, self.training)
        change, skip = split(self.out(z), 2, axis=2)
        return h + change, skip


class WaveNet(SequenceModel):
    """Gated convolutions, each with twice the dilation of the one before; logits from the sum of
    their skips. With size 2 and L layers it sees 2^L tokens, whatever the context.

    Memory of a step: about 11 arrays (B, T, width) a layer. Source: van den Oord et al. 2016."""

    def __init__(self, V, context, layers=3, width=64, size=2, dropout=0.0, start=None, end=None):
        super().__init__(V, context, width, start, end)
        check_sizes("WaveNet", layers=layers)
        self.layers = [GatedConv(width, size, 2 ** i, dropout) for i in range(layers)]
        self.fc, self.head = Linear(width, width), Linear(width, V)

    def decode(self, h, memory=None):
        total = 0.0
        for layer in self.layers:
            h, skip = layer(h, memory)
            total = total + skip
        return self.head(relu(self.fc(relu(total))))
