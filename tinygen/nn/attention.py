"""Attention between the positions of a sequence.   x (B, T, C)

    H        heads of d = C / H numbers each;   q, k, v (B, H, T, d)
    memory   a dict, {} before the first piece, in which a causal layer keeps what it needs of
             earlier positions. Then a sequence can be given in pieces: layer(x[:, :5], memory) and
             layer(x[:, 5:], memory) are together layer(x). CausalConv1d has one too.
"""
from ..engine.backend import xp
from ..engine.elementwise import gelu
from ..engine.fused import attention, dropout
from ..engine.reductions import softmax
from ..engine.shaping import concatenate, split
from .linear import Linear, check_sizes
from .module import Module
from .norm import LayerNorm


class MultiHeadAttention(Module):
    """Each head: softmax(q k^T / sqrt(d)) v, where q, k, v are linear in x; their results side by
    side go through one more linear map.   (B, T, dim) -> (B, T, dim)

    causal: position t attends to itself and what comes before. dropout: of the weights of attention
    and of the result. Source: Vaswani et al. 2017, section 3.2.2; dropout as in GPT-2."""

    def __init__(self, dim, heads, causal=False, dropout=0.0, bias=True):
        check_sizes("MultiHeadAttention", dim=dim, heads=heads)
        if dim % heads:
            raise ValueError(f"MultiHeadAttention: {heads} heads do not divide dim={dim}")
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.qkv, self.proj = Linear(dim, 3 * dim, bias), Linear(dim, dim, bias)

    def forward(self, x, memory=None):
        if x.ndim != 3:
            raise ValueError(f"MultiHeadAttention: x has shape {x.shape}; needs (B, T, dim)")
        B, T, C = x.shape
        q, k, v = (a.reshape(B, T, self.heads, C // self.heads).swapaxes(1, 2)
                   for a in split(self.qkv(x), 3, axis=2))
        if memory is not None:
            k, v = self._remember(memory, k, v)
        y = self._attend(q, k, v).swapaxes(1, 2).reshape(B, T, C)
        return dropout(self.proj(y), self.dropout, self.training)

    def _remember(self, memory, k, v):
        """k and v (B, H, S, d) of all positions so far"""
        if not self.causal:
            raise ValueError("MultiHeadAttention: a memory needs causal=True; without it, earlier "
                             "positions change with what comes later")
        if self in memory:
            k, v = (concatenate([old, new], 2) for old, new in zip(memory[self], (k, v)))
        memory[self] = k, v
        return k, v

    def _attend(self, q, k, v):
        T, S, mask = q.shape[2], k.shape[2], None
        if self.causal and T > 1:               # row t is position S - T + t
            mask = xp.triu(xp.full((T, S), -1e9, dtype=q.dtype), S - T + 1)
        if not (self.training and self.dropout):
            return attention(q, k, v, mask)
        scores = (q * q.shape[3] ** -0.5) @ k.swapaxes(2, 3)
        p = softmax(scores if mask is None else scores + mask)
        return dropout(p, self.dropout) @ v


class TransformerBlock(Module):
    """x <- x + attention(norm(x));   x <- x + W_2 gelu(W_1 norm(x)), of 4 dim units.
    (B, T, dim) -> (B, T, dim)

    Pre-norm: the sum itself is never normalised, so gradients reach every block undiminished.
    Source: Vaswani et al. 2017, figure 1, in the order of GPT-2 (Radford et al. 2019)."""

    def __init__(self, dim, heads, causal=True, dropout=0.0, bias=True):
        self.attention = MultiHeadAttention(dim, heads, causal, dropout, bias)
        self.norm1, self.norm2 = LayerNorm(dim, bias=bias), LayerNorm(dim, bias=bias)
        self.fc, self.proj = Linear(dim, 4 * dim, bias), Linear(4 * dim, dim, bias)
        self.dropout = dropout

    def forward(self, x, memory=None):
        x = x + self.attention(self.norm1(x), memory)
        y = self.proj(gelu(self.fc(self.norm2(x))))
        return x + dropout(y, self.dropout, self.training)
