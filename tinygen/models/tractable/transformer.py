"""The decoder-only Transformer:   p(x) = prod_t p(x_t | start, x_1 ... x_{t-1})

    x (B, T)   ids 0..V-1: characters of a text, letters of names, levels of pixels in reading order
    h (B, T, C)   one vector for each position;   L layers

Letters, sampling and what an x is are in causal.py. Attention reads all earlier positions directly,
however far; the price is T^2 weights a head. Positions are told apart by a learned vector each.
"""
from ...engine.fused import dropout
from ...engine.products import linear
from ...nn import LayerNorm, TransformerBlock, init
from ...nn.linear import check_sizes
from .causal import SequenceModel


class Transformer(SequenceModel):
    """h = W[ids] + position;   L blocks of attention and MLP;   logits = norm(h) W^T

    W is one table for both ends (Press & Wolf 2017). dropout: of embeddings, weights of attention
    and what each block adds; call eval() before samples are drawn. For binary pixels V is 2 and
    context D. Starts from weights N(0, std^2), divided by sqrt(2 L) where they add to h, as in
    GPT-2, and biases 0. std None: fan_in^(-1/2) of each, so that narrow networks start as loud as
    wide ones; GPT-2 has 0.02 for widths from 768. Memory of a step: about L (23 B T C + B H T^2)
    numbers; with dropout, when attention is not fused, L (31 B T C + 5 B H T^2).
    Source: Radford et al. 2019, section 2.3; on pixels, Chen et al. 2020, section 3."""

    def __init__(self, V, context, layers=4, heads=4, width=128, dropout=0.0, bias=True, start=None,
                 end=None, std=None):
        super().__init__(V, context, width, start, end)
        check_sizes("Transformer", layers=layers)
        self.position, self.dropout = init.normal((context, width)), dropout
        self.blocks = [TransformerBlock(width, heads, dropout=dropout, bias=bias)
                       for _ in range(layers)]
        self.norm = LayerNorm(width, bias=bias)
        for name, p in self.named_parameters().items():
            if p.ndim == 2:
                fan_in = width if name in ("token.W", "position") else p.shape[0]
                added = (2 * layers) ** -0.5 if name.endswith("proj.W") else 1
                p.data[...] = init.normal(p.shape, added * (std or fan_in ** -0.5)).data
            elif name.endswith("b"):
                p.data[...] = 0

    def decode(self, h, memory=None):
        """h (B, T, C) -> logits (B, T, V)"""
        begin = 0 if memory is None else memory.get(self, 0)
        end = begin + h.shape[1]
        if end > self.context:
            raise ValueError(f"Transformer: {end} tokens; the context holds {self.context}, so "
                             "give fewer or make the model with a longer context")
        if memory is not None:
            memory[self] = end
        h = dropout(h + self.position[begin:end], self.dropout, self.training)
        for block in self.blocks:
            h = block(h, memory)
        return linear(self.norm(h), self.token.W[:self.V].T)
