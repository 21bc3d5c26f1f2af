"""What is one operation for speed or stability, though it could be composed from the others.

    x (B, ..., D) or (B, C, ...)   input;  y  output;  g  gradient with respect to y
    W, b     scale and shift;  mu, s  mean and 1/standard deviation over the normalised axes

Each docstring gives the composed form, and a test holds both equal.
"""
import math

from . import backend
from .backend import xp
from .blocks import in_blocks
from .elementwise import sigmoid
from .products import rows, sum_rows
from .reductions import log_softmax, softmax, sum
from .shaping import getitem
from .tensor import Tensor, defvjp, defvjp_joint, primitive


# --- losses ---------------------------------------------------------------------------------------

def _reduced(name, losses, reduction):
    """(B, ...) losses as they are, added up, or averaged."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction is {reduction!r}; choose 'mean', 'sum' or 'none'")
    return losses if reduction == "none" else getattr(losses, reduction)()


@primitive
@in_blocks
def _bce(logits, x):
    """softplus(l) - x l, elementwise: -ln p(x) for p = sigmoid(l)"""
    y = xp.exp(-xp.abs(logits))
    y += 1
    y = xp.log(y)                   # log1p is ten times as slow, and what it adds is lost in a sum
    y += xp.maximum(logits, 0)
    y -= logits * x
    return y
defvjp(_bce, lambda g, y, logits, x: g * (sigmoid(logits) - x),
       lambda g, y, logits, x: -g * logits)


def binary_cross_entropy_with_logits(logits, x, reduction="mean"):
    """-x ln p - (1 - x) ln(1 - p), p = sigmoid(logits), in nats; computed as softplus(l) - x l.

    logits, x: same shape (or x a number), x in [0, 1]. ValueError for other shapes."""
    if getattr(x, "shape", ()) not in ((), logits.shape):
        raise ValueError(f"binary_cross_entropy_with_logits: logits {logits.shape} and x {x.shape} "
                         "need the same shape")
    return _reduced("binary_cross_entropy_with_logits", _bce(logits, x), reduction)


def cross_entropy(logits, labels, reduction="mean"):
    """-ln softmax(logits)[label], in nats.   (..., K), integer labels (...) -> (...)

    ValueError for labels outside 0..K-1 or of another shape."""
    labels = labels.data if isinstance(labels, Tensor) else xp.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != logits.shape[:-1]:
        raise ValueError(f"cross_entropy: logits {logits.shape} need integer labels of shape "
                         f"{logits.shape[:-1]}, got {labels.dtype} {labels.shape}")
    K = logits.shape[-1]
    if labels.size and not (0 <= int(labels.min()) and int(labels.max()) < K):
        raise ValueError(f"cross_entropy: labels run from {int(labels.min())} to "
                         f"{int(labels.max())}; {K} logits need 0 to {K - 1}")
    return _reduced("cross_entropy", _nll(logits, labels), reduction)


def _at_labels(labels):
    return (*xp.ogrid[tuple(slice(n) for n in labels.shape)], labels)


@primitive
def _nll(logits, labels):
    """logsumexp(l) - l[label]"""
    return -log_softmax(logits)[_at_labels(labels)]


@primitive
def _nll_dlogits(g, logits, labels):
    """g (softmax(l) - onehot(label))"""
    d = softmax(logits)
    d[_at_labels(labels)] -= 1
    d *= g[..., None]
    return d


def _nll_dlogits_dlogits(gg, y, g, logits, labels):
    s = softmax(logits)
    return g.reshape((*g.shape, 1)) * s * (gg - sum(gg * s, -1, keepdims=True))


defvjp(_nll, lambda g, y, logits, labels: _nll_dlogits(g, logits, labels))
defvjp(_nll_dlogits,
       lambda gg, y, g, logits, labels: sum(gg * softmax(logits), -1) - gg[_at_labels(labels)],
       _nll_dlogits_dlogits)


def mse(x, y, reduction="mean"):
    """(x - y)^2"""
    d = x - y
    return _reduced("mse", d * d, reduction)


# --- attention ------------------------------------------------------------------------------------

def attention(q, k, v, mask=None):
    """softmax(q k^T / sqrt(d) + mask) v.   q (B, H, T, d), k (B, H, S, d), v (B, H, S, e)
    -> (B, H, T, e); mask, an array (T, S): 0 where attention may go and -1e9 where not.
    Source: Vaswani et al. 2017, eq. 1."""
    if isinstance(mask, Tensor):
        raise TypeError("attention: the mask is a Tensor; needs an array: no gradient reaches it")
    return _attention(q, k, v, mask=mask, saved={})


@primitive
def _attention(q, k, v, mask, saved):
    """y = p v,   p = softmax(q k^T / sqrt(d) + mask), kept for backward"""
    y, saved["p"] = _attend(q, k, v, mask)
    return y


@in_blocks
def _attend(q, k, v, mask):
    """(p v, p), p made in place"""
    p = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)
    if mask is not None:
        p += mask
    p -= p.max(axis=-1, keepdims=True)
    xp.exp(p, out=p)
    p /= xp.expand_dims(p @ xp.ones(p.shape[-1], p.dtype), -1)
    return p @ v, p


def _attention_dxs(g, y, q, k, v, mask, saved):
    p = saved["p"]
    if isinstance(g, Tensor):                   # then p must be recorded as a function of q and k
        scores = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)
        p = softmax(scores if mask is None else scores + mask)
    return _attend_back(g, y, q, k, v, p)


@in_blocks
def _attend_back(g, y, q, k, v, p):
    """dv = p^T g;   ds = p (g v^T - sum(g y));   dq = ds k / sqrt(d);   dk = ds^T q / sqrt(d)

    sum(g y) over a row of v is sum(p (g v^T)) over a row of p, at d / T of the cost."""
    scale = q.shape[-1] ** -0.5
    ds = g @ v.swapaxes(-1, -2)
    ds -= sum(g * y, -1, keepdims=True)
    ds *= p
    return ds @ k * scale, ds.swapaxes(-1, -2) @ (q * scale), p.swapaxes(-1, -2) @ g


defvjp_joint(_attention, _attention_dxs)


# --- normalisation --------------------------------------------------------------------------------

def _average(x, axis):
    """The mean of a matrix over axis 0 or 1, kept: as a product, which is faster than x.mean."""
    n = x.shape[axis]
    weights = xp.full(n, 1 / n, dtype=x.dtype)
    return (weights @ x).reshape(1, -1) if axis == 0 else (x @ weights).reshape(-1, 1)


def _moments(x, axis, eps):
    """mu and s = 1 / sqrt(var + eps) of a matrix over axis."""
    mu = _average(x, axis)
    centred = x - mu
    return mu, (_average(centred * centred, axis) + eps) ** -0.5


@primitive
def normalize(x, W, b, axis, eps, saved):
    """y = n W + b,   n = (x - mu) s, mu and s over axis.   x (N, D), W and b (D,)

    With h = g W:  dx = s (h - mean(h) - n mean(h n)),  dW = sum(g n),  db = sum(g).
    The dict `saved` receives mu and s, for the backward pass and for running averages."""
    saved["mu"], saved["s"] = mu, s = _moments(x, axis, eps)
    y = x - mu
    y *= s
    y *= W
    y += b
    return y


def _normalize_dxs(g, y, x, W, b, axis, eps, saved):
    on_tensors = isinstance(g, Tensor)          # then mu and s must be recorded as functions of x
    mu, s = _moments(x, axis, eps) if on_tensors else (saved["mu"], saved["s"])
    n = x - mu
    n *= s                                      # in place on arrays; on Tensors, n = n * s
    h = g * W
    dx = h - _average(h, axis)
    dx -= n * _average(h * n, axis)
    dx *= s
    return dx, sum_rows(g * n), sum_rows(g)


defvjp_joint(normalize, _normalize_dxs)


def _check_norm(name, x, axis, W, b):
    """W and b scale and shift along one axis of x; each may be a number."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x holds {x.dtype}; needs floats: x.astype('float32')")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: x has shape {x.shape}; needs an axis {axis}")
    shapes = [getattr(v, "shape", ()) for v in (W, b)]
    if not {(), x.shape[axis:][:1]}.issuperset(shapes):
        raise ValueError(f"{name}: x {x.shape} needs W and b of shape ({x.shape[axis]},), got "
                         f"{shapes[0]} and {shapes[1]}")


def layer_norm(x, W=1.0, b=0.0, eps=1e-5):
    """(x - mu) / sqrt(var + eps) W + b over the last axis.   x (..., D), W and b (D,)
    Source: Ba et al. 2016."""
    _check_norm("layer_norm", x, -1, W, b)
    return normalize(rows(x), W, b, axis=1, eps=eps, saved={}).reshape(x.shape)


def group_norm(x, W, b, groups, eps=1e-5):
    """As layer_norm, over all elements of each group of channels.   x (B, C, ...), W and b (C,)
    Source: Wu & He 2018."""
    _check_norm("group_norm", x, 1, W, b)
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"group_norm: {groups} groups do not divide {x.shape[1]} channels")
    n = x.reshape(x.shape[0] * groups, math.prod(x.shape[1:]) // groups)
    n = normalize(n, 1.0, 0.0, axis=1, eps=eps, saved={}).reshape(x.shape)
    return n * _per_channel(W, x.ndim) + _per_channel(b, x.ndim)


def _per_channel(v, ndim):
    """(C,) -> (C, 1, ..., 1), to broadcast against (B, C, ...)"""
    return v.reshape((-1,) + (1,) * (ndim - 2)) if hasattr(v, "reshape") else v


def batch_norm(x, W=1.0, b=0.0, eps=1e-5, saved=None):
    """(x - mu) / sqrt(var + eps) W + b over all axes but 1, per channel.   x (B, C, ...)

    The dict `saved`, where given, receives mu and s = 1 / sqrt(var + eps), each (1, C).
    Source: Ioffe & Szegedy 2015."""
    _check_norm("batch_norm", x, 1, W, b)
    if not x.size:
        raise ValueError(f"batch_norm: a batch of shape {x.shape} has no mean; needs an example")
    saved = {} if saved is None else saved
    if x.ndim == 2:
        return normalize(x, W, b, axis=0, eps=eps, saved=saved)
    last = (0, *range(2, x.ndim), 1)                    # channels last: a matrix (B * ..., C)
    back = (0, x.ndim - 1, *range(1, x.ndim - 1))
    y = normalize(rows(x.transpose(last)), W, b, axis=0, eps=eps, saved=saved)
    return y.reshape([x.shape[a] for a in last]).transpose(back)


# --- tables and noise -----------------------------------------------------------------------------

def embedding(W, ids):
    """y = W[ids].   W (V, D), integer ids (...) -> (..., D).   IndexError for ids outside 0..V-1"""
    ids = ids.data if isinstance(ids, Tensor) else xp.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < W.shape[0]):
        raise IndexError(f"embedding: ids run from {int(ids.min())} to {int(ids.max())}; a table "
                         f"of {W.shape[0]} rows needs 0 to {W.shape[0] - 1}")
    return getitem(W, ids)


def dropout(x, p, training=True):
    """x m / (1 - p), m = 1 with probability 1 - p, else 0: the mean stays.   x itself when not
    training. Source: Srivastava et al. 2014, in the inverted form."""
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p is {p}; needs 0 <= p < 1")
    if not training or p == 0:
        return x
    keep = backend.uniform(x.shape, x.dtype) >= p
    return x * (keep.astype(x.dtype) / (1 - float(p)))      # a NumPy p would make float64
