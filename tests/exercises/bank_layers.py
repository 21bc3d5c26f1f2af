"""Answers to the exercises on layers."""
import numpy as np

from exercises.bank import Answers, mistake

ANSWERS = {}


# --- ex10_layer_norm, ex11_batch_norm -------------------------------------------------------------

def norm_parts(x, axis, ddof=0):
    s = (x.var(axis, keepdims=True, ddof=ddof) + 1e-5) ** -0.5
    return (x - x.mean(axis, keepdims=True)) * s, s


def norm_dx(h, n, s, mean):
    return s * (h - mean(h) - n * mean(h * n))


def norm_backward(axis, dx=None, dW=lambda g, n: (g * n).sum(0), db=lambda g: g.sum(0)):
    """backward, with other parts where given: dx(h, n, s, mean)"""
    dx = dx or norm_dx

    def backward(g, x, W):
        n, s = norm_parts(x, axis)
        return dx(g * W, n, s, lambda a: a.mean(axis, keepdims=True)), dW(g, n), db(g)
    return backward


def norm_by_sample_variance(axis):
    def backward(g, x, W):
        n, s = norm_parts(x, axis, ddof=1)
        return norm_backward(axis, dx=lambda h, _n, _s, mean: norm_dx(h, n, s, mean))(g, x, W)
    return backward


def norm_by_jacobian(axis):
    """dn_i/dx_j = s (1[i = j] - 1/N - n_i n_j / N), for one row or column after the other."""
    def backward(g, x, W):
        n, s = norm_parts(x, axis)
        h = g * W
        if axis == 0:
            n, h, s = n.T, h.T, s.T
        N, rows = n.shape[1], []
        for n_row, h_row, s_row in zip(n, h, s):
            J = s_row * (np.eye(N, dtype=x.dtype) - np.outer(n_row, n_row) / N - 1 / N)
            rows.append(h_row @ J)
        dx = np.stack(rows)
        return (dx if axis else dx.T), np.einsum("nd,nd->d", g, norm_parts(x, axis)[0]), sum(g)
    return backward


def norm_mistakes(axis):
    def wrong(says, **parts):
        return mistake(says, backward=norm_backward(axis, **parts))
    return [
        wrong(r"'-s n mean\(h n\)' is missing", dx=lambda h, n, s, mean: s * (h - mean(h))),
        wrong(r"'-s mean\(h\)' is missing", dx=lambda h, n, s, mean: s * (h - n * mean(h * n))),
        wrong(r"'-s mean\(h\)' and '-s n mean\(h n\)' are missing",
              dx=lambda h, n, s, mean: s * h),
        wrong("factor s is missing", dx=lambda h, n, s, mean: h - mean(h) - n * mean(h * n)),
        wrong("has weight -1", dx=lambda h, n, s, mean: s * (h - mean(h) + n * mean(h * n))),
        wrong("weight .*mean", dx=lambda h, n, s, mean: s * (
            h - h.sum(axis, keepdims=True) - n * mean(h * n))),
        wrong("factor s is there once too often",
              dx=lambda h, n, s, mean: s * s * (h - mean(h) - n * mean(h * n))),
        wrong("g summed over axis 0 where g n", dW=lambda g, n: g.sum(0)),
        wrong("a mean where a sum was meant", dW=lambda g, n: (g * n).mean(0)),
        wrong("not summed back", db=lambda g: g),
        wrong("summed.*where|other axis|axis", db=lambda g: g.sum(1)),
        mistake("W were all ones", backward=lambda g, x, W: norm_backward(axis)(
            g, x, np.ones_like(W))),
        mistake("the means are taken over the other axis", backward=norm_backward(1 - axis)),
        mistake("- 1 in its place under a square root", backward=norm_by_sample_variance(axis)),
    ]


for NAME, AXIS in (("ex10_layer_norm", 1), ("ex11_batch_norm", 0)):
    ANSWERS[NAME] = Answers(right=[dict(backward=norm_backward(AXIS)),
                                   dict(backward=norm_by_jacobian(AXIS))],
                            mistakes=norm_mistakes(AXIS))


# --- ex12_convolution -----------------------------------------------------------------------------

def convolve(x, w):
    T = len(x) - len(w) + 1
    return sum(w[i] * x[i:i + T] for i in range(len(w)))


def convolve_backward(g, x, w):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(len(g)):
        for i in range(len(w)):
            dx[t + i] += g[t] * w[i]
            dw[i] += g[t] * x[t + i]
    return dx, dw


def without_last_tap(g, x, w):
    dx = np.zeros_like(x)
    for i in range(len(w) - 1):
        dx[i:i + len(g)] += g * w[i]
    return dx


def flipped(g, x, w):
    return convolve_backward(g, x, w[::-1])[0], convolve_backward(g, x, w)[1]


ANSWERS["ex12_convolution"] = Answers(
    right=[dict(convolve=convolve, convolve_backward=convolve_backward),
           dict(convolve=lambda x, w: np.correlate(x, w, "valid"),
                convolve_backward=lambda g, x, w: (np.convolve(g, w, "full"),
                                                   np.correlate(x, g, "valid")))],
    mistakes=[
        mistake("reversed|flip|turned around", convolve=lambda x, w: np.convolve(x, w, "valid")),
        mistake("shape", convolve=lambda x, w: np.correlate(x, w, "same")),
        mistake("shape", convolve=lambda x, w: np.correlate(x, w, "full")),
        mistake("reversed|flip|turned around|exchanged", convolve_backward=flipped),
        mistake("reversed along axis 0", convolve_backward=lambda g, x, w: (
            convolve_backward(g, x, w)[0], convolve_backward(g, x, w)[1][::-1])),
        mistake("shape", convolve_backward=lambda g, x, w: (
            np.convolve(g, w, "same"), convolve_backward(g, x, w)[1])),
        mistake("negated", convolve_backward=lambda g, x, w: (
            convolve_backward(g, x, w)[0], -convolve_backward(g, x, w)[1])),
        mistake("dx and dw are exchanged|shape", convolve_backward=lambda g, x, w: (
            convolve_backward(g, x, w)[::-1])),
        mistake("elements|size of axis", convolve_backward=lambda g, x, w: (
            convolve_backward(g, x, w)[0], convolve_backward(g, x, w)[1] / len(g))),
        mistake("w's last tap has no part", convolve_backward=lambda g, x, w: (
            without_last_tap(g, x, w), convolve_backward(g, x, w)[1])),
        mistake("w's last tap has no part", convolve=lambda x, w: (
            convolve(x, w * (np.arange(len(w)) < len(w) - 1).astype(x.dtype)))),
        mistake("all zeros", convolve_backward=lambda g, x, w: (
            np.zeros_like(x), convolve_backward(g, x, w)[1])),
        mistake("g were all ones: is it forgotten", convolve_backward=lambda g, x, w: (
            convolve_backward(np.ones_like(g), x, w)[0], convolve_backward(g, x, w)[1])),
        mistake("missing: the last 1", convolve=lambda x, w: convolve(x, w)[:-1]),
        mistake("too many: the first", convolve=lambda x, w: np.correlate(x, w, "full")),
    ])


# --- ex13_conv_transpose --------------------------------------------------------------------------

def conv_transpose(x, w, stride):
    y = np.zeros((len(x) - 1) * stride + len(w), x.dtype)
    for t in range(len(x)):
        for i in range(len(w)):
            y[t * stride + i] += x[t] * w[i]
    return y


def conv_transpose_by_zeros(x, w, stride):
    """Zeros put between the inputs, and then a full convolution."""
    y = np.zeros((len(x) - 1) * stride + 1, x.dtype)
    y[::stride] = x
    return np.convolve(y, w)


def transpose_assigned(x, w, stride):
    y = np.zeros((len(x) - 1) * stride + len(w), x.dtype)
    for t in range(len(x)):
        y[t * stride:t * stride + len(w)] = x[t] * w
    return y


ANSWERS["ex13_conv_transpose"] = Answers(
    right=[dict(conv_transpose=conv_transpose), dict(conv_transpose=conv_transpose_by_zeros)],
    mistakes=[
        mistake("w were turned around",
                conv_transpose=lambda x, w, stride: conv_transpose(x, w[::-1], stride)),
        mistake("the last one counts", conv_transpose=transpose_assigned),
        mistake("shape", conv_transpose=lambda x, w, stride: conv_transpose(x, w, 1)),
        mistake("shape", conv_transpose=lambda x, w, stride: np.append(
            conv_transpose(x, w, stride), 0)),
        mistake("shape", conv_transpose=lambda x, w, stride: np.convolve(np.repeat(x, stride), w)),
        mistake("reversed", conv_transpose=lambda x, w, stride: conv_transpose(
            x[::-1], w[::-1], stride)),
        mistake("negated", conv_transpose=lambda x, w, stride: -conv_transpose(x, w, stride)),
        mistake("w were all ones|forgotten", conv_transpose=lambda x, w, stride: conv_transpose(
            x, np.ones_like(w), stride)),
        mistake("gaps stay 0", conv_transpose=lambda x, w, stride: (
            conv_transpose(x, w, stride) if stride <= len(w) else
            np.repeat(x, stride)[:(len(x) - 1) * stride + len(w)])),
    ])


# --- ex14_gather ----------------------------------------------------------------------------------

def gather_backward(g, ids, V):
    dW = np.zeros((V, g.shape[1]), g.dtype)
    for i, row in zip(ids, g):
        dW[i] += row
    return dW


def gather_assigned(g, ids, V):
    dW = np.zeros((V, g.shape[1]), g.dtype)
    dW[ids] = g
    return dW


def gather_added_once(g, ids, V):
    dW = np.zeros((V, g.shape[1]), g.dtype)
    dW[ids] += g
    return dW


def gather_mean(g, ids, V):
    counts = np.bincount(ids, minlength=V)[:, None]
    return gather_backward(g, ids, V) / np.maximum(counts, 1).astype(g.dtype)


ANSWERS["ex14_gather"] = Answers(
    right=[dict(gather_backward=gather_backward),
           dict(gather_backward=lambda g, ids, V: (
               np.arange(V)[:, None] == ids).astype(g.dtype) @ g)],
    mistakes=[
        mistake("right only for rows looked up once each", gather_backward=gather_assigned),
        mistake("right only for rows looked up once each", gather_backward=gather_added_once),
        mistake("right only for rows looked up once each", gather_backward=gather_mean),
        mistake("shape", gather_backward=lambda g, ids, V: gather_backward(
            g, ids, max(ids, default=0) + 1)),
        mistake("shape", gather_backward=lambda g, ids, V: g),
        mistake("negated", gather_backward=lambda g, ids, V: -gather_backward(g, ids, V)),
        mistake("transposed", gather_backward=lambda g, ids, V: gather_backward(g, ids, V).T),
        mistake("a mean where a sum was meant", gather_backward=lambda g, ids, V: (
            gather_backward(g, ids, V) / max(len(g), 1))),
        mistake("forgotten", gather_backward=lambda g, ids, V: gather_backward(
            np.ones_like(g), ids, V)),
        mistake("shifted|another order|wrong places", gather_backward=lambda g, ids, V: (
            gather_backward(g, (ids + 1) % V, V))),
    ])


# --- ex15_max -------------------------------------------------------------------------------------

def max_backward(g, x):
    top = x == np.max(x, axis=-1)[..., None]
    return (g / top.sum(-1).astype(g.dtype))[..., None] * top


def max_by_sorting(g, x):
    """A share for each element that nothing else in its row passes."""
    above = (x[..., :, None] < x[..., None, :]).any(-1)
    share = np.where(above, 0, 1).astype(x.dtype)
    share /= share.sum(-1, keepdims=True)
    return np.einsum("...,...k->...k", g, share)


def first_of_ties(g, x):
    dx = np.zeros_like(x)
    np.put_along_axis(dx, x.argmax(-1)[..., None], g[..., None], -1)
    return dx


ANSWERS["ex15_max"] = Answers(
    right=[dict(max_backward=max_backward), dict(max_backward=max_by_sorting)],
    mistakes=[
        mistake("ties are treated otherwise", max_backward=first_of_ties),
        mistake("ties are treated otherwise", max_backward=lambda g, x: (
            g[..., None] * (x == x.max(-1, keepdims=True)))),
        mistake("spread|where each element|every element", max_backward=lambda g, x: (
            g[..., None] + 0 * x)),
        mistake("x were negated", max_backward=lambda g, x: max_backward(g, -x)),
        mistake("size of axis|mean", max_backward=lambda g, x: max_backward(g, x) / x.shape[-1]),
        mistake("forgotten", max_backward=lambda g, x: max_backward(np.ones_like(g), x)),
        mistake("factor x is there once too often", max_backward=lambda g, x: (
            max_backward(g, x) * x)),
        mistake("shape", max_backward=lambda g, x: g),
        mistake("negated", max_backward=lambda g, x: -max_backward(g, x)),
        mistake("the largest of another axis", max_backward=lambda g, x: (
            g[..., None] * (x == x.max(0)))),
        mistake("every x is below 0|x were positive|positive", max_backward=lambda g, x: (
            max_backward(g, abs(x)))),
        mistake("right only for a batch of 1|over all", max_backward=lambda g, x: (
            g[..., None] * (x == x.max()))),
    ])


# --- ex16_attention -------------------------------------------------------------------------------

def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def weights(q, k, scale=None):
    return softmax(q @ k.T * (q.shape[1] ** -0.5 if scale is None else scale))


def attention(q, k, v):
    return weights(q, k) @ v


def attention_backward(g, q, k, v):
    p, dp = weights(q, k), g @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdims=True)) / q.shape[1] ** 0.5
    return ds @ k, ds.T @ q, p.T @ g


def attention_backward_row_by_row(g, q, k, v):
    dq, dk, dv, p = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), weights(q, k)
    for t in range(len(q)):
        J = np.diag(p[t]) - np.outer(p[t], p[t])
        ds = J @ (v @ g[t]) * q.shape[1] ** -0.5
        dq[t] = ds @ k
        dk += np.outer(ds, q[t])
        dv += np.outer(p[t], g[t])
    return dq, dk, dv


def part_of(i, change):
    """attention_backward, its i-th result replaced by change(g, q, k, v)"""
    def backward(g, q, k, v):
        results = list(attention_backward(g, q, k, v))
        results[i] = change(g, q, k, v)
        return tuple(results)
    return backward


ANSWERS["ex16_attention"] = Answers(
    right=[dict(attention=attention, attention_backward=attention_backward),
           dict(attention=lambda q, k, v: np.einsum("ts,sd->td", weights(q, k), v),
                attention_backward=attention_backward_row_by_row)],
    mistakes=[
        mistake("not divided by sqrt", attention=lambda q, k, v: weights(q, k, 1.0) @ v),
        mistake("divided by d where its root", attention=lambda q, k, v: (
            weights(q, k, 1 / q.shape[1]) @ v)),
        mistake("the number of keys", attention=lambda q, k, v: (
            weights(q, k, len(k) ** -0.5) @ v)),
        mistake("no mask was asked for", attention=lambda q, k, v: softmax(np.where(
            np.arange(len(q))[:, None] >= np.arange(len(k)),
            q @ k.T / q.shape[1] ** 0.5, -np.inf)) @ v),
        mistake("softmax is taken along the other axis", attention=lambda q, k, v: (
            softmax((q @ k.T / q.shape[1] ** 0.5).T).T @ v)),
        mistake("exchanged", attention=lambda q, k, v: weights(q, v) @ k),
        mistake("softmax is missing|right only", attention=lambda q, k, v: q @ k.T @ v),
        mistake("square root of 2", attention_backward=part_of(
            0, lambda g, q, k, v: attention_backward(g, q, k, v)[0] * q.shape[1] ** 0.5)),
        mistake("negated", attention_backward=part_of(
            1, lambda g, q, k, v: -attention_backward(g, q, k, v)[1])),
        mistake("raises ValueError|shape", attention_backward=part_of(
            2, lambda g, q, k, v: weights(q, k) @ g)),
        mistake("are exchanged", attention_backward=lambda g, q, k, v: tuple(
            attention_backward(g, q, k, v)[i] for i in (0, 2, 1))),
        mistake("made of dp and p is left out", attention_backward=part_of(0, lambda g, q, k, v: (
            weights(q, k) * (g @ v.T) @ k / q.shape[1] ** 0.5))),
        mistake("k stands where v", attention_backward=lambda g, q, k, v: (
            *attention_backward(g, q, k, k)[:2], weights(q, k).T @ g)),
        mistake(r"2 times too large \(added twice, or a half", attention_backward=part_of(
            1, lambda g, q, k, v: 2 * attention_backward(g, q, k, v)[1])),
        mistake("forgotten", attention_backward=part_of(
            2, lambda g, q, k, v: weights(q, k).T @ np.ones_like(g))),
        mistake("k stands where v", attention=lambda q, k, v: attention(q, k, k)),
        mistake("multiplied by sqrt", attention=lambda q, k, v: attention(q * q.shape[1], k, v)),
    ])


# --- ex17_batched_matmul --------------------------------------------------------------------------

def batched(g, x, y):
    dy = np.einsum("bmk,bmn->bkn", x, g)
    return g @ np.swapaxes(y, -1, -2), dy if y.ndim == 3 else dy.sum(0)


def batched_by_loop(g, x, y):
    ys = [y] * len(x) if y.ndim == 2 else y
    dx = np.stack([a @ b.T for a, b in zip(g, ys)])
    dy = [a.T @ b for a, b in zip(x, g)]
    return dx, sum(dy) if y.ndim == 2 else np.stack(dy)


ANSWERS["ex17_batched_matmul"] = Answers(
    right=[dict(matmul_backward=batched), dict(matmul_backward=batched_by_loop)],
    mistakes=[
        mistake("raises ValueError", matmul_backward=lambda g, x, y: (g @ y.T, x.T @ g)),
        mistake("one y .* serves the whole batch", matmul_backward=lambda g, x, y: (
            g @ y.swapaxes(-1, -2), x.swapaxes(-1, -2) @ g)),
        mistake("one y .* serves the whole batch.*mean", matmul_backward=lambda g, x, y: (
            batched(g, x, y)[0], batched(g, x, y)[1] / (len(x) if y.ndim == 2 else 1))),
        mistake("summed over axis 0", matmul_backward=lambda g, x, y: (
            batched(g, x, y)[0], np.einsum("bmk,bmn->kn", x, g))),
        mistake("negated", matmul_backward=lambda g, x, y: (
            -batched(g, x, y)[0], batched(g, x, y)[1])),
        mistake("transposed", matmul_backward=lambda g, x, y: (
            batched(g, x, y)[0].swapaxes(1, 2), batched(g, x, y)[1])),
        mistake("exchanged|shape", matmul_backward=lambda g, x, y: batched(g, x, y)[::-1]),
        mistake("right only for a batch of 1", matmul_backward=lambda g, x, y: (
            batched(g, x, y)[0], batched(g, x, y)[1] / len(x))),
        mistake("forgotten", matmul_backward=lambda g, x, y: (
            batched(np.ones_like(g), x, y)[0], batched(g, x, y)[1])),
        mistake("result dy is missing", matmul_backward=lambda g, x, y: batched(g, x, y)[0]),
    ])
