"""Exercises 10 to 17: the derivative rules of layers."""
from types import SimpleNamespace

import numpy as np

from ..engine import convolution, fused, products, reductions, shaping
from .task import Case, Exercise, named, random

EPS = 1e-5


# --- 10 and 11: normalisation ---------------------------------------------------------------------

def _standardized(x, axis, power=0.5):
    s = 1 / (x.var(axis, keepdims=True) + EPS) ** power
    return (x - x.mean(axis, keepdims=True)) * s, s


def _norm_backward(g, x, W, axis, power=0.5):
    n, s = _standardized(x, axis, power)
    h = g * W
    dx = s * (h - h.mean(axis, keepdims=True) - n * (h * n).mean(axis, keepdims=True))
    return dx, (g * n).sum(0), g.sum(0)


def _norm_terms(g, x, W, axis):
    n, s = _standardized(x, axis)
    h = g * W
    return {"s h": s * h, "-s mean(h)": -s * h.mean(axis, keepdims=True) + 0 * h,
            "-s n mean(h n)": -s * n * (h * n).mean(axis, keepdims=True)}


def _norm_case(name, N, D, **more):
    return Case(name, g=random(N, D), x=random(N, D, seed=1), W=random(D, seed=2), **more)


def _norm(name, title, axis, over, each):
    return Exercise(
        name, title,
        right=SimpleNamespace(backward=lambda g, x, W: _norm_backward(g, x, W, axis)),
        run=lambda answer, **args: named(answer.backward(*args.values()), "dx", "dW", "db"),
        cases=[_norm_case("square", 4, 4, spares="square input"), _norm_case("plain", 3, 4),
               _norm_case("plain, larger", 5, 7)],
        terms=lambda g, x, W: _norm_terms(g, x, W, axis),
        parts=lambda g, x, W: {"n": _standardized(x, axis)[0],
                               "(x - mu)": x - x.mean(axis, keepdims=True),
                               "s": _standardized(x, axis)[1] + 0 * x},
        variants={"the means are taken over the other axis": dict(
            backward=lambda g, x, W: _norm_backward(g, x, W, 1 - axis)),
            "s is 1 / (var + eps): the square root is missing": dict(
                backward=lambda g, x, W: _norm_backward(g, x, W, axis, 1))},
        hint=f"mu and s depend on every element of {over}: x reaches y by three ways. Go them one "
             "by one, and add up.",
        stronger=f"With h = g W: dx = s (h - mean(h) - n mean(h n)), the means over {over}. dW and "
                 f"db add up over {each}.",
        solution=(fused.normalize, fused._normalize_dxs))


LAYER_NORM = _norm("ex10_layer_norm", "the derivative of layer norm", 1, "its row",
                   "the rows, as W and b serve them all")
LAYER_NORM.variants["W multiplies at the end: the means are those of g W"] = dict(
    backward=lambda g, x, W: (W * _norm_backward(g, x, 0 * W + 1, 1)[0],
                              *_norm_backward(g, x, W, 1)[1:]))
BATCH_NORM = _norm("ex11_batch_norm", "the derivative of batch norm", 0, "its column",
                   "the rows, that is the batch")


# --- 12 and 13: convolution -----------------------------------------------------------------------

def _windows(x, k):
    return np.lib.stride_tricks.sliding_window_view(x, k)


def _conv(x, w):
    return _windows(x, len(w)) @ w


def _spread_back(g, w):
    return np.convolve(g, w)


def _conv_case(name, L, k, **more):
    return Case(name, x=random(L), w=random(k, seed=1), g=random(L - k + 1, seed=2), **more)


CONVOLUTION = Exercise(
    "ex12_convolution", "convolution in one dimension, and its two derivatives",
    right=SimpleNamespace(convolve=_conv, convolve_backward=lambda g, x, w: (
        _spread_back(g, w), _windows(x, len(g)) @ g)),
    run=lambda answer, x, w, g: {"y": answer.convolve(x, w),
                                 **named(answer.convolve_backward(g, x, w), "dx", "dw")},
    cases=[_conv_case("one tap", 3, 1, spares="a kernel of one tap"), _conv_case("plain", 5, 2),
           _conv_case("plain, longer", 9, 4),
           _conv_case("one place", 4, 4, fault="wrong where the kernel is as long as x")],
    variants={"w's last tap has no part in it": dict(
        convolve=lambda x, w: _windows(x, len(w))[:, :-1] @ w[:-1],
        convolve_backward=lambda g, x, w: (
            np.append(_spread_back(g, w[:-1]), 0) if len(w) > 1 else 0 * x,
            np.append(_windows(x, len(g))[:-1] @ g, 0))),
        "the last one counts where several meet: all add up": dict(
            convolve_backward=lambda g, x, w: (_transpose(g, w, 1, 0), g[-1] * x[-len(w):]))},
    own={"convolve": ("Slide w along x: each y_t is the product of w with the k numbers of x from "
                      "t on. How many places are there?",
                      "There are L - k + 1: y_t = x[t:t + k] @ w, with w as it is, not turned "
                      "around.")},
    hint="x_(t + i) is seen by y_t through w_i. List all the y that see one x, and with which w.",
    stronger="dx_s = sum over i of g_(s - i) w_i: every g_t is laid back, times w, onto the places "
             "that it came from. dw_i = sum over t of g_t x_(t + i): a convolution of x with g.",
    solution=(convolution.conv2d,))


def _transpose(x, w, stride, before=1):
    y = np.zeros((len(x) - 1) * stride + len(w), np.result_type(x, w))
    for t, v in enumerate(x):
        place = slice(t * stride, t * stride + len(w))
        y[place] = before * y[place] + v * w
    return y


def _transpose_case(name, T, k, stride, **more):
    return Case(name, x=random(T), w=random(k, seed=1), stride=stride, **more)


CONV_TRANSPOSE = Exercise(
    "ex13_conv_transpose", "transposed convolution, the adjoint of a convolution with stride",
    right=SimpleNamespace(conv_transpose=_transpose),
    run=lambda answer, **args: {"y": answer.conv_transpose(*args.values())},
    cases=[_transpose_case("one input", 1, 3, 2, spares="a single input"),
           _transpose_case("plain", 4, 3, 2), _transpose_case("plain, longer", 5, 4, 3),
           _transpose_case("stride 1", 4, 3, 1, fault="wrong at stride 1"),
           _transpose_case("gaps", 3, 2, 4, fault="wrong where the stride is larger than the "
                                                  "kernel, so that gaps stay 0")],
    variants={
        "the last one counts where several meet: all add up": dict(
            conv_transpose=lambda x, w, stride: _transpose(x, w, stride, 0)),
        "the stride is left out: x_t is laid from t stride on": dict(
            conv_transpose=lambda x, w, stride: np.append(
                np.convolve(x, w), np.zeros((len(x) - 1) * (stride - 1))))},
    hint="The convolution takes y to x: x_t = sum_i w_i y_(t stride + i). Turn every arrow around.",
    stronger="Start from zeros of length (T - 1) stride + k and add x_t w to the k places from "
             "t stride on, for every t.",
    solution=(convolution.conv_transpose2d,))


# --- 14: gather -----------------------------------------------------------------------------------

def _gather(g, ids, V):
    dW = np.zeros((V, g.shape[-1]), g.dtype)
    np.add.at(dW, ids, g)
    return dW


def _gather_last(g, ids, V):
    dW = np.zeros((V, g.shape[-1]), g.dtype)
    dW[ids] = g
    return dW


def _gather_case(name, ids, V, **more):
    return Case(name, g=random(len(ids), 3), ids=np.array(ids, dtype=int), V=V, **more)


GATHER = Exercise(
    "ex14_gather", "the derivative of looking up rows in a table",
    right=SimpleNamespace(gather_backward=_gather),
    run=lambda answer, **args: {"dW": answer.gather_backward(*args.values())},
    cases=[_gather_case("each row once", [2, 0, 1], 3, spares="rows looked up once each"),
           _gather_case("plain", [1, 3, 1, 0], 5),
           _gather_case("plain, longer", [6, 2, 2, 2, 5], 7),
           _gather_case("none", [], 4, fault="wrong where nothing was looked up")],
    variants={"the last one counts where several meet: all add up": dict(
        gather_backward=_gather_last),
        "the mean over all uses of a row: they add up": dict(
            gather_backward=lambda g, ids, V: _gather(g, ids, V) / np.maximum(
                np.bincount(ids, minlength=V), 1)[:, None])},
    hint="A row that was looked up twice was used twice. What do gradients of two uses do?",
    stronger="They add up, and `dW[ids] += g` adds only the last of several. See np.add.at.",
    solution=(fused.embedding, shaping.getitem))


# --- 15: max --------------------------------------------------------------------------------------

def _share(g, x):
    top = (x == x.max(-1, keepdims=True)).astype(x.dtype)
    return g[..., None] * top / top.sum(-1, keepdims=True)


def _max_case(name, x, **more):
    x = np.asarray(x, "float64")
    return Case(name, g=random(*x.shape[:-1], seed=1), x=x, **more)


MAX = Exercise(
    "ex15_max", "the derivative of max, which shares among ties",
    right=SimpleNamespace(max_backward=_share),
    run=lambda answer, **args: {"dx": answer.max_backward(*args.values())},
    cases=[_max_case("a batch of 1", [[0.4, -1.5, 0.7]], spares="a batch of 1"),
           _max_case("positive", abs(random(2, 4)), spares="positive input"),
           _max_case("plain", random(3, 4)), _max_case("plain, three axes", random(2, 3, 5)),
           _max_case("negative", -abs(random(2, 3)), fault="wrong where every x is below 0"),
           _max_case("ties", [[2, 5, 5, 1], [3, 3, 3, -1]],
                     fault="ties are treated otherwise: all that tie for the largest share g "
                           "equally"),
           _max_case("all equal", [[0, 0, 0]], fault="ties are treated otherwise: all that tie "
                                                     "for the largest share g equally")],
    variants={"the largest of another axis: the max was taken along the last": dict(
        max_backward=lambda g, x: g[..., None] * (x == x.max(0)))},
    hint="Push one element of x a little: when does the max move?",
    stronger="Only the largest moves it, with slope 1. Where k elements tie, each gets g / k: "
             "build 1 where x equals the row's max, and divide by how many there are.",
    solution=(reductions.max,))


# --- 16: attention --------------------------------------------------------------------------------

def _softmax(s, axis=-1):
    e = np.exp(s - s.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _weights(q, k):
    return _softmax(q @ k.T / q.shape[-1] ** 0.5)


def _attend_backward(g, q, k, v):
    p, scale = _weights(q, k), q.shape[-1] ** -0.5
    dp = g @ v.T
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    return ds @ k * scale, ds.T @ q * scale, p.T @ g


def _attend_with(s_to_p=_softmax, scale=lambda q, k: q.shape[-1] ** -0.5):
    """attention, with another way from scores to weights, or another scale."""
    return dict(attention=lambda q, k, v: s_to_p(q @ k.T * scale(q, k)) @ v)


def _attention_case(name, T, S, d, **more):
    return Case(name, g=random(T, d), q=random(T, d, seed=1), k=random(S, d, seed=2),
                v=random(S, d, seed=3), **more)


ATTENTION = Exercise(
    "ex16_attention", "attention, and its derivatives by q, k and v",
    right=SimpleNamespace(attention=lambda q, k, v: _weights(q, k) @ v,
                          attention_backward=_attend_backward),
    run=lambda answer, g, q, k, v: {
        "y": answer.attention(q, k, v),
        **named(answer.attention_backward(g, q, k, v), "dq", "dk", "dv")},
    cases=[_attention_case("one key", 2, 1, 4, spares="a single key"),
           _attention_case("square", 4, 4, 4, spares="square input"),
           _attention_case("plain", 2, 3, 4), _attention_case("plain, larger", 5, 3, 2)],
    variants={
        "softmax is taken along the other axis: each query's weights add up to 1": _attend_with(
            lambda s: _softmax(s, 0)),
        "the scores are not divided by sqrt(d)": _attend_with(scale=lambda q, k: 1),
        "the scores are multiplied by sqrt(d): divide by it": _attend_with(
            scale=lambda q, k: q.shape[-1] ** 0.5),
        "the scores are divided by d where its root was needed": _attend_with(
            scale=lambda q, k: 1 / q.shape[-1]),
        "the scores are divided by the root of the number of keys, not of d": _attend_with(
            scale=lambda q, k: len(k) ** -0.5),
        "the scores themselves weigh: softmax is missing": _attend_with(lambda s: s),
        "the scores themselves weigh: softmax is missing, and so is 1 / sqrt(d)": _attend_with(
            lambda s: s, lambda q, k: 1),
        "each query sees only the keys up to its own place: no mask was asked for": _attend_with(
            lambda s: _softmax(np.where(np.tri(*s.shape) > 0, s, -np.inf))),
        "the scores themselves weigh in dv: the weights p were needed": dict(
            attention_backward=lambda g, q, k, v: (
                *_attend_backward(g, q, k, v)[:2], k @ q.T @ g / q.shape[-1] ** 0.5))},
    own={"attention": ("Scores s = q k^T / sqrt(d); weights p = softmax(s), each row adding up to "
                       "1; result y = p v.",
                       "s has the shape (T, S). Exercise 7's softmax along its last axis gives p, "
                       "and p @ v has the shape (T, d).")},
    hint="Three steps: scores s = q k^T / sqrt(d), weights p = softmax(s), result y = p v. Go back "
         "through each with the rules of exercises 6 and 7.",
    stronger="dv = p^T g and dp = g v^T; then ds = p (dp - sum of dp p over a row); then "
             "dq = ds k / sqrt(d) and dk = ds^T q / sqrt(d).",
    solution=(fused._attend, fused._attend_back))


# --- 17: batched matmul ---------------------------------------------------------------------------

def _batched(g, x, y):
    dx, dy = g @ y.swapaxes(-1, -2), x.swapaxes(-1, -2) @ g
    return dx, dy.sum(0) if y.ndim == 2 else dy


def _batched_case(name, B, M, K, N, shared=False, **more):
    return Case(name, g=random(B, M, N), x=random(B, M, K, seed=1),
                y=random(*([] if shared else [B]), K, N, seed=2), **more)


BATCHED_MATMUL = Exercise(
    "ex17_batched_matmul", "the derivative rules of many matrix products at once",
    right=SimpleNamespace(matmul_backward=_batched),
    run=lambda answer, **args: named(answer.matmul_backward(*args.values()), "dx", "dy"),
    cases=[_batched_case("a batch of 1", 1, 2, 3, 4, spares="a batch of 1"),
           _batched_case("square", 3, 3, 3, 3, spares="square input"),
           _batched_case("plain", 2, 3, 4, 5),
           _batched_case("one y for all", 3, 2, 4, 5, shared=True,
                         fault="wrong where one y (K, N) serves the whole batch")],
    hint="The rules of exercise 6, for each of the B. `.T` turns all axes around: which two are to "
         "be turned?",
    stronger="y.swapaxes(-1, -2) turns the last two. A y that the whole batch shares was used B "
             "times: its gradient is the sum over the batch.",
    solution=(products.matmul, products._matmul_dx, products._matmul_dy))

EXERCISES = [LAYER_NORM, BATCH_NORM, CONVOLUTION, CONV_TRANSPOSE, GATHER, MAX, ATTENTION,
             BATCHED_MATMUL]
