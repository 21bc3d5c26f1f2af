"""Exercises 1 to 9: derivative rules, given the gradient g of the output."""
from types import SimpleNamespace

import numpy as np

from ..engine import backward, elementwise, fused, products, reductions
from .task import Case, Exercise, named, random


# --- 1: the chain rule ----------------------------------------------------------------------------

def _chain(x, w, b, t):
    h = np.tanh(w * x + b)
    da = 2 * (h - t) * (1 - h * h)
    return da * w, da * x, da


def _chain_case(name, n, **more):
    return Case(name, **{k: random(n, seed=i) for i, k in enumerate("xwbt")}, **more)


CHAIN_RULE = Exercise(
    "ex01_chain_rule", "the gradient of (tanh(w x + b) - t)^2, by hand",
    right=SimpleNamespace(gradients=_chain),
    run=lambda answer, **args: named(answer.gradients(*args.values()), "dx", "dw", "db"),
    cases=[_chain_case("plain", 1), _chain_case("plain, seven at once", 7)],
    parts=lambda x, w, b, t: {
        "a": w * x + b, "h": np.tanh(w * x + b), "(h - t)": np.tanh(w * x + b) - t},
    hint="Go back one arrow at a time: from the loss to h, from h to a, from a to each of x, w, b.",
    stronger="d loss / dh = 2 (h - t) and dh/da = 1 - h^2. Their product is d loss / da; multiply "
             "it by da/dx = w, da/dw = x, da/db = 1.",
    solution=(elementwise.tanh, elementwise.multiply))


# --- 2: tanh --------------------------------------------------------------------------------------

def _tanh_case(name, *shape):
    return Case(name, g=random(*shape), y=np.tanh(random(*shape, seed=1)))


TANH = Exercise(
    "ex02_tanh", "the derivative rule of tanh",
    right=SimpleNamespace(tanh_backward=lambda g, y: g * (1 - y * y)),
    run=lambda answer, g, y: {"dx": answer.tanh_backward(g, y)},
    cases=[_tanh_case("plain", 3), _tanh_case("plain, two axes", 4, 3)],
    terms=lambda g, y: {"g": g, "-g y^2": -g * y * y},
    parts=lambda g, y: {"x": np.arctanh(y)},
    variants={"y is tanh(x) already: tanh is taken of it once more": dict(
        tanh_backward=lambda g, y: g * (1 - np.tanh(y) ** 2))},
    hint="Differentiate tanh x = (e^x - e^-x) / (e^x + e^-x), then say the result with y alone.",
    stronger="The quotient rule gives 1 - tanh(x)^2, and tanh(x) is y.",
    solution=(elementwise.tanh,))


# --- 3: sigmoid and softplus ----------------------------------------------------------------------

def _sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def _gates_case(name, x, **more):
    return Case(name, x=x, g=random(*x.shape, seed=2), **more)


def _run_gates(answer, x, g):
    return {"sigmoid": answer.sigmoid(x), "softplus": answer.softplus(x),
            "dx of sigmoid": answer.sigmoid_backward(g, _sigmoid(x)),
            "dx of softplus": answer.softplus_backward(g, x)}


SIGMOID = Exercise(
    "ex03_sigmoid_softplus", "sigmoid and softplus that never overflow, and their derivatives",
    right=SimpleNamespace(
        sigmoid=_sigmoid, softplus=lambda x: np.logaddexp(x.dtype.type(0), x),
        sigmoid_backward=lambda g, y: g * y * (1 - y),
        softplus_backward=lambda g, x: g * _sigmoid(x)),
    run=_run_gates,
    cases=[_gates_case("positive", abs(random(3)), spares="positive input"),
           _gates_case("negative", -abs(random(3)), spares="negative input"),
           _gates_case("plain", random(4)), _gates_case("plain, two axes", random(3, 5)),
           _gates_case("large", np.array([800.0, 30.0, 750.0]), fault="wrong at large inputs"),
           _gates_case("very negative", np.array([-800.0, -30.0, -750.0]),
                       fault="wrong at large negative inputs")],
    parts=lambda x, g: {"y": _sigmoid(x), "max(x, 0)": np.maximum(x, 0)},
    variants={
        "(1 + tanh x) / 2 is sigmoid(2 x): halve x": dict(sigmoid=lambda x: _sigmoid(2 * x)),
        "max(x, 0) has a corner, softplus is smooth: ln(1 + e^-|x|) is missing": dict(
            softplus=lambda x: np.maximum(x, 0)),
        "y is sigmoid(x) already: sigmoid is taken of it once more": dict(
            sigmoid_backward=lambda g, y: g * _sigmoid(y) * _sigmoid(-y)),
        "that is the derivative of sigmoid: softplus's own is sigmoid(x)": dict(
            softplus_backward=lambda g, x: g * _sigmoid(x) * _sigmoid(-x))},
    hint="e^x overflows where x is large, e^-x where it is very negative: find a form for each.",
    stronger="Where x > 0 it is 1 / (1 + e^-x), elsewhere e^x / (1 + e^x): with e = e^-|x| neither "
             "overflows.",
    own={"softplus": ("Take out of ln(1 + e^x) what is large where x is: ln(1 + e^x) = "
                      "x + ln(1 + e^-x). Which of the two is harmless for which x?",
                      "softplus(x) = max(x, 0) + ln(1 + e^-|x|), where no exponent is above 0."),
         "sigmoid_backward": ("y = 1 / (1 + e^-x): the quotient rule, then say e^-x with y.",
                              "dy/dx = e^-x / (1 + e^-x)^2 = y (1 - y); g multiplies it."),
         "softplus_backward": ("d ln(u) = du / u with u = 1 + e^x. Which function is the result?",
                               "dy/dx = e^x / (1 + e^x) = sigmoid(x): the one that you wrote.")},
    solution=(elementwise.sigmoid, elementwise.softplus))


# --- 4: sum and mean ------------------------------------------------------------------------------

def _spread(g, x, axis):
    return (g if axis is None else np.expand_dims(g, axis)) + 0 * x


def _sums_case(name, axis, *shape, **more):
    x = random(*shape)
    return Case(name, g=random(*x.sum(axis).shape, seed=3), x=x, axis=axis, **more)


SUMS = Exercise(
    "ex04_sum_mean", "the derivative rules of sum and mean, over one axis or all",
    right=SimpleNamespace(
        sum_backward=_spread,
        mean_backward=lambda g, x, axis: _spread(g, x, axis) / (
            x.size if axis is None else x.shape[axis])),
    run=lambda answer, **args: {"dx of sum": answer.sum_backward(*args.values()),
                                "dx of mean": answer.mean_backward(*args.values())},
    cases=[_sums_case("plain", 0, 2, 3), _sums_case("square", 1, 3, 3, spares="square input"),
           _sums_case("plain, the last axis", 1, 2, 3),
           _sums_case("axis -1", -1, 4, 5, fault="wrong where the axis is counted from the end"),
           _sums_case("three axes", 1, 2, 3, 4, fault="wrong where x has three axes"),
           _sums_case("all", None, 2, 3, fault="wrong where axis is None")],
    hint="How much does the sum change when one element of x does? Which element of g heard it?",
    stronger="Every element of x that went into a sum gets that sum's g: put the lost axis back "
             "with np.expand_dims(g, axis), then spread it.",
    own={"mean_backward": ("A mean is a sum divided by something. By what, if axis is None?",
                           "sum_backward(g, x, axis), divided by how many elements went into each "
                           "mean: x.shape[axis], or x.size if axis is None.")},
    solution=(reductions.sum, reductions.mean))


# --- 5: broadcasting ------------------------------------------------------------------------------

def _broadcast_case(name, shape, *stretched, **more):
    return Case(name, g=random(*stretched), shape=shape, **more)


BROADCASTING = Exercise(
    "ex05_broadcasting", "the way back of broadcasting",
    right=SimpleNamespace(unbroadcast=backward.unbroadcast),
    run=lambda answer, g, shape: {"dx": answer.unbroadcast(g, shape)},
    cases=[_broadcast_case("not stretched", (2, 3), 2, 3,
                           fault="wrong where nothing was stretched"),
           _broadcast_case("plain, a new axis", (3,), 2, 3),
           _broadcast_case("plain, an axis of 1", (2, 1), 2, 3),
           _broadcast_case("a new axis before an axis of 1", (1, 3), 4, 2, 3,
                           fault="wrong where both kinds meet: new axes in front, and axes of 1"),
           _broadcast_case("a number", (), 2, 3, fault="wrong where x is a number, of shape ()"),
           _broadcast_case("square", (3, 1), 3, 3,
                           fault="wrong where sizes are equal by chance: go by the axis, not by "
                                 "its size"),
           _broadcast_case("an axis of 1 that stays", (1, 3), 1, 3,
                           fault="wrong where an axis of 1 was not stretched")],
    variants={"one of the places where x was used is picked, where all add up": dict(
        unbroadcast=lambda g, shape: g.reshape(-1)[:int(np.prod(shape))].reshape(shape))},
    hint="Each element of x was used several times. What do gradients of several uses do?",
    stronger="They add up. Sum over the axes that are new in front, then over the axes where shape "
             "has 1 and g has more, keeping those.",
    solution=(backward.unbroadcast,))


# --- 6: matmul ------------------------------------------------------------------------------------

def _matmul_case(name, M, K, N, **more):
    return Case(name, g=random(M, N), x=random(M, K, seed=1), y=random(K, N, seed=2), **more)


MATMUL = Exercise(
    "ex06_matmul", "the derivative rules of a matrix product",
    right=SimpleNamespace(matmul_backward=lambda g, x, y: (g @ y.T, x.T @ g)),
    run=lambda answer, **args: named(answer.matmul_backward(*args.values()), "dx", "dy"),
    parts=lambda g, x, y: {"z": x @ y},
    cases=[_matmul_case("numbers", 1, 1, 1, spares="1 x 1 matrices"),
           _matmul_case("square", 3, 3, 3, spares="square input"),
           _matmul_case("plain", 2, 3, 4), _matmul_case("plain, larger", 5, 2, 3)],
    hint="z_mn = sum_k x_mk y_kn. Which z does x_mk reach, and with which weights?",
    stronger="dx_mk = sum_n g_mn y_kn: a product of g with y, turned so that the shapes fit.",
    solution=(products.matmul, products._matmul_dx, products._matmul_dy))


# --- 7: softmax -----------------------------------------------------------------------------------

def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax_case(name, x, **more):
    return Case(name, x=x, g=random(*x.shape, seed=1), **more)


SOFTMAX = Exercise(
    "ex07_softmax", "softmax along the last axis, and its derivative",
    right=SimpleNamespace(softmax=_softmax,
                          softmax_backward=lambda g, y: y * (g - (g * y).sum(-1, keepdims=True))),
    run=lambda answer, x, g: {"y": answer.softmax(x),
                              "dx": answer.softmax_backward(g, _softmax(x))},
    cases=[_softmax_case("a batch of 1", random(1, 3), spares="a batch of 1"),
           _softmax_case("plain", random(2, 3)),
           _softmax_case("square", random(3, 3), spares="square input"),
           _softmax_case("plain, larger", random(5, 4)),
           _softmax_case("three axes", random(2, 3, 4), fault="wrong where there are more than two "
                                                              "axes"),
           _softmax_case("large", random(2, 3) * 1000, fault="wrong at large inputs")],
    hint="Write dy_j / dx_i for i = j and for i != j, then sum over j what g_j each brings.",
    stronger="dy_j / dx_i = y_j (1[i = j] - y_i). Multiply by g_j and sum over j: dx_i is y_i "
             "times the difference of g_i and the row's sum of g_j y_j.",
    own={"softmax": ("e^x, divided by the sum of its row, that is, of its last axis.",
                     "e = exp(x - the row's largest x), which changes no quotient and overflows "
                     "nowhere; y = e / e.sum(-1, keepdims=True).")},
    hints={"large|not finite": "e^1000 is infinite. Subtract something from x that changes no "
                                  "quotient."},
    variants={
        "the diagonal of the Jacobian only: dy_i/dx_i = y_i (1 - y_i), but every y_j hears x_i":
            dict(softmax_backward=lambda g, y: g * y * (1 - y)),
        "the sum over j lacks the factor y_j": dict(
            softmax_backward=lambda g, y: y * (g - g.sum(-1, keepdims=True))),
        "that is the derivative of ln softmax": dict(
            softmax_backward=lambda g, y: g - y * g.sum(-1, keepdims=True)),
        "divided by the row's largest x: it is to be taken off": dict(
            softmax=lambda x: _softmax(x / x.max(-1, keepdims=True))),
        "e^x itself: each row is still to be divided by its sum": dict(softmax=np.exp)},
    parts=lambda x, g: {"y": _softmax(x)},
    terms=lambda x, g: {"y g": _softmax(x) * g,
                        "-y sum(g y)": -_softmax(x) * (g * _softmax(x)).sum(-1, keepdims=True)},
    solution=(reductions.softmax,))


# --- 8: cross-entropy -----------------------------------------------------------------------------

def _log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _onehot(labels, logits):
    return np.eye(logits.shape[-1], dtype=logits.dtype)[labels]


def _entropy_case(name, logits, **more):
    labels = np.array([2, 0, 1, 1, 3])[:len(logits)]
    return Case(name, logits=logits, labels=labels, **more)


CROSS_ENTROPY = Exercise(
    "ex08_cross_entropy", "cross-entropy of logits, and its famous short derivative",
    right=SimpleNamespace(
        cross_entropy=lambda logits, labels: -_log_softmax(logits)[
            np.arange(len(labels)), labels].mean(),
        cross_entropy_backward=lambda logits, labels: (
            np.exp(_log_softmax(logits)) - _onehot(labels, logits)) / len(labels)),
    run=lambda answer, **args: {"loss": answer.cross_entropy(*args.values()),
                                "dlogits": answer.cross_entropy_backward(*args.values())},
    cases=[_entropy_case("a batch of 1", random(1, 3), spares="a batch of 1"),
           _entropy_case("plain", random(2, 3)), _entropy_case("plain, larger", random(5, 4)),
           _entropy_case("large", random(2, 3) * 1000, fault="wrong at large inputs")],
    terms=lambda logits, labels: {
        "softmax / B": np.exp(_log_softmax(logits)) / len(labels),
        "-onehot(label) / B": -_onehot(labels, logits) / len(labels)},
    parts=lambda logits, labels: {"p": np.exp(_log_softmax(logits)),
                                  "onehot": _onehot(labels, logits)},
    variants={
        "labels are taken to count from 1: they count from 0": dict(
            cross_entropy=lambda logits, labels: CROSS_ENTROPY.right.cross_entropy(
                logits, labels - 1),
            cross_entropy_backward=lambda logits, labels: (
                CROSS_ENTROPY.right.cross_entropy_backward(logits, labels - 1))),
        "the gradient by p, -1 / p at the label: softmax's own derivative is missing": dict(
            cross_entropy_backward=lambda logits, labels: -_onehot(labels, logits) * np.exp(
                -_log_softmax(logits)) / len(labels)),
        "squared differences of p and the one-hot labels, where -ln p was needed": dict(
            cross_entropy=lambda logits, labels: (
                (np.exp(_log_softmax(logits)) - _onehot(labels, logits)) ** 2).sum(1).mean()),
        "softmax is taken along the batch: each row adds up to 1": dict(
            cross_entropy=lambda logits, labels: -_log_softmax(logits.T).T[
                np.arange(len(labels)), labels].mean()),
        "the other classes' ln(1 - p) has no part in it: that is K yes-or-no questions": dict(
            cross_entropy=lambda logits, labels: -np.log(abs(_onehot(labels, logits) - 1 + np.exp(
                _log_softmax(logits)))).sum(1).mean()),
        "the logits are taken for probabilities: softmax is missing": dict(
            cross_entropy=lambda logits, labels: -np.log(logits[
                np.arange(len(labels)), labels]).mean()),
        "m, the row's largest logit, was taken out and not put back": dict(
            cross_entropy=lambda logits, labels: CROSS_ENTROPY.right.cross_entropy(
                logits, labels) - logits.max(1).mean()),
        "each row is asked for the labels of all rows, as by [:, labels]": dict(
            cross_entropy=lambda logits, labels: -_log_softmax(logits)[:, labels].mean(),
            cross_entropy_backward=lambda logits, labels: (np.exp(_log_softmax(logits)) - _onehot(
                labels, logits).max(0)) / len(labels)),
        "the logit of the label alone: the row's logsumexp is missing": dict(
            cross_entropy=lambda logits, labels: -logits[np.arange(len(labels)), labels].mean()),
        "the mean over all B K places: only the label's place in each of B rows counts": dict(
            cross_entropy=lambda logits, labels: -(
                _onehot(labels, logits) * _log_softmax(logits)).mean())},
    own={"cross_entropy": ("-ln softmax(l)[k] = logsumexp(l) - l_k, for each row; then the mean of "
                           "the B rows.",
                           "Subtract each row's largest logit first. Then ln(exp(l).sum(1)) - "
                           "l[np.arange(B), labels], and its mean.")},
    hint="-ln softmax(l)[k] = logsumexp(l) - l_k. Differentiate the two parts one after the other.",
    stronger="d logsumexp(l) / dl is softmax(l), and d l_k / dl is 1 at k and 0 elsewhere. The "
             "loss is a mean over B rows, so each row's gradient is divided by B.",
    solution=(fused._nll, fused._nll_dlogits))


# --- 9: logsumexp ---------------------------------------------------------------------------------

def _logsumexp(x):
    top = x.max(-1, keepdims=True)
    return np.log(np.exp(x - top).sum(-1)) + top[..., 0]


def _logsumexp_case(name, x, **more):
    return Case(name, x=x, g=random(*x.shape[:-1], seed=1), **more)


LOGSUMEXP = Exercise(
    "ex09_logsumexp", "ln sum e^x without overflow, and its derivative",
    right=SimpleNamespace(
        logsumexp=_logsumexp,
        logsumexp_backward=lambda g, x: g[..., None] * np.exp(x - _logsumexp(x)[..., None])),
    run=lambda answer, x, g: {"y": answer.logsumexp(x), "dx": answer.logsumexp_backward(g, x)},
    cases=[_logsumexp_case("a batch of 1", random(1, 3), spares="a batch of 1"),
           _logsumexp_case("plain", random(2, 3)),
           _logsumexp_case("square", random(3, 3), spares="square input"),
           _logsumexp_case("plain, larger", random(5, 4)),
           _logsumexp_case("large", random(2, 3) * 1000, fault="wrong at large inputs"),
           _logsumexp_case("very negative", random(2, 3) - 1000,
                           fault="underflow at large negative inputs, where every e^x is 0")],
    parts=lambda x, g: {"softmax": _softmax(x), "g spread": g[..., None] + 0 * x, "m": x.max(-1),
                        "e^(x - m)": np.exp(x - x.max(-1, keepdims=True))},
    variants={
        "the sum of e^x itself: its logarithm is missing": dict(
            logsumexp=lambda x: np.exp(_logsumexp(x))),
        "the mean of e^x, where its sum was needed": dict(
            logsumexp=lambda x: _logsumexp(x) - np.log(x.shape[-1])),
        "y itself has no part in the derivative": dict(logsumexp_backward=lambda g, x: (
            (g * _logsumexp(x))[..., None] * _softmax(x))),
        "softmax(x) is missing: g is spread over its row evenly": dict(
            logsumexp_backward=lambda g, x: g[..., None] + 0 * x)},
    own={"logsumexp": ("ln sum e^x = m + ln sum e^(x - m) for any m. Which m makes every exponent "
                       "harmless?",
                       "m is the row's largest x; take it with keepdims=True, so that it can be "
                       "subtracted from the row, and add it back at the end.")},
    hint="The derivative of ln(s) is 1/s, and that of s by x_i is e^(x_i). What is their product?",
    stronger="Together they are softmax(x), and g, one number a row, multiplies it: g[..., None].",
    solution=(reductions.logsumexp,))

EXERCISES = [CHAIN_RULE, TANH, SIGMOID, SUMS, BROADCASTING, MATMUL, SOFTMAX, CROSS_ENTROPY,
             LOGSUMEXP]
