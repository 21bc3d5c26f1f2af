"""Answers to the exercises on derivative rules."""
import numpy as np

from exercises.bank import Answers, mistake

ANSWERS = {}


# --- ex01_chain_rule ------------------------------------------------------------------------------

def gradients(x, w, b, t):
    h = np.tanh(w * x + b)
    da = 2 * (h - t) * (1 - h ** 2)
    return w * da, x * da, da


def gradients_unrolled(x, w, b, t):
    e = np.exp(2 * (w * x + b))
    h, slope = (e - 1) / (e + 1), 4 * e / (e + 1) ** 2
    return (2 * (h - t) * slope * w, 2 * (h - t) * slope * x, 2 * (h - t) * slope)


def chain(da, order=lambda dx, dw, db: (dx, dw, db)):
    """gradients, with another d loss / da, given h and t"""
    def wrong(x, w, b, t):
        d = da(np.tanh(w * x + b), t)
        return order(w * d, x * d, d)
    return wrong


ANSWERS["ex01_chain_rule"] = Answers(
    right=[dict(gradients=gradients), dict(gradients=gradients_unrolled)],
    mistakes=[
        mistake("2 times too small", gradients=chain(lambda h, t: (h - t) * (1 - h * h))),
        mistake("negated", gradients=chain(lambda h, t: 2 * (t - h) * (1 - h * h))),
        mistake(r"factor \(1 - h\^2\) is missing", gradients=chain(lambda h, t: 2 * (h - t))),
        mistake(r"factor \(h - t\) is missing", gradients=chain(lambda h, t: 2 * (1 - h * h))),
        mistake(r"\(1 - h\)|\(1 \+ h\)", gradients=chain(lambda h, t: 2 * (h - t) * (1 - h))),
        mistake("exchanged", gradients=chain(
            lambda h, t: 2 * (h - t) * (1 - h * h), lambda dx, dw, db: (dw, dx, db))),
        mistake("factor x is missing|x were all ones", gradients=chain(
            lambda h, t: 2 * (h - t) * (1 - h * h), lambda dx, dw, db: (dx, db, db))),
        mistake("factor w is missing|w were all ones", gradients=chain(
            lambda h, t: 2 * (h - t) * (1 - h * h), lambda dx, dw, db: (db, dw, db))),
        mistake("result db is missing", gradients=lambda x, w, b, t: gradients(x, w, b, t)[:2]),
        mistake("all zeros", gradients=lambda x, w, b, t: (0 * x, 0 * x, 0 * x)),
        mistake("b were 0: is it forgotten",
                gradients=lambda x, w, b, t: gradients(x, w, 0 * b, t)),
        mistake("t were its mean",
                gradients=lambda x, w, b, t: gradients(x, w, b, t.mean() + 0 * t)),
    ])


# --- ex02_tanh ------------------------------------------------------------------------------------

def tanh_backward(g, y):
    return g * (1 - y ** 2)


calls = []


def leaky_state(g, y):
    calls.append(1)
    return g * (1 - y * y) * len(calls)


def tanh_in_place(g, y):
    y *= y
    return g * (1 - y)


ANSWERS["ex02_tanh"] = Answers(
    right=[dict(tanh_backward=tanh_backward),
           dict(tanh_backward=lambda g, y: g - np.multiply(g, np.square(y)))],
    mistakes=[
        mistake("negated", tanh_backward=lambda g, y: -g * (1 - y * y)),
        mistake("g were all ones: is it forgotten", tanh_backward=lambda g, y: 1 - y * y),
        mistake(r"y\^2|\(1 - y\^2\)", tanh_backward=lambda g, y: g),
        mistake("has weight -1", tanh_backward=lambda g, y: g * (1 + y * y)),
        mistake("factor .*y", tanh_backward=lambda g, y: g * (1 - y)),
        mistake("weight 2", tanh_backward=lambda g, y: g * (1 - 2 * y * y)),
        mistake("tanh is taken of it once more", tanh_backward=lambda g, y: (
            g * (1 - np.tanh(y) ** 2))),
        mistake("twice", tanh_backward=leaky_state),
        mistake("edits its argument y", tanh_backward=tanh_in_place),
        mistake("gives None", tanh_backward=lambda g, y: None),
        mistake("'g' is missing|term 'g'", tanh_backward=lambda g, y: -g * y * y),
        mistake("float32 lost", tanh_backward=lambda g, y: g * (1 - y * y) * np.ones(y.shape)),
        mistake("factor g is there once too often", tanh_backward=lambda g, y: g - (g * y) ** 2),
        mistake(r"\^2\) is added", tanh_backward=lambda g, y: g + (1 - y * y)),
        mistake("'-g y\\^2': the factor g is missing", tanh_backward=lambda g, y: g - y * y),
        mistake("other numbers", tanh_backward=lambda g, y: np.random.rand(*g.shape)),
    ])


# --- ex03_sigmoid_softplus ------------------------------------------------------------------------

def sigmoid(x):
    e = np.exp(-abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


ANSWERS["ex03_sigmoid_softplus"] = Answers(
    right=[dict(sigmoid=sigmoid, softplus=softplus, sigmoid_backward=lambda g, y: g * y * (1 - y),
                softplus_backward=lambda g, x: g * sigmoid(x)),
           dict(sigmoid=lambda x: (1 + np.tanh(x / 2)) / 2,
                softplus=lambda x: np.logaddexp(np.zeros_like(x), x),
                sigmoid_backward=lambda g, y: g * (y - y * y),
                softplus_backward=lambda g, x: g * (0.5 + 0.5 * np.tanh(0.5 * x)))],
    mistakes=[
        mistake("wrong at large inputs", sigmoid=lambda x: np.exp(x) / (1 + np.exp(x))),
        mistake("wrong at large inputs", softplus=lambda x: np.log(1 + np.exp(x))),
        mistake("wrong at large inputs",
                softplus_backward=lambda g, x: g * np.exp(x) / (1 + np.exp(x))),
        mistake("where x > 0|x were positive", softplus=lambda x: x + np.log1p(np.exp(-abs(x)))),
        mistake("where x > 0|x were positive", sigmoid=lambda x: 1 / (1 + np.exp(-abs(x)))),
        mistake("x were negated", sigmoid=lambda x: sigmoid(-x)),
        mistake(r"\(1 - y\)", sigmoid_backward=lambda g, y: g * y),
        mistake("factor y is missing", sigmoid_backward=lambda g, y: g * (1 - y)),
        mistake("y", sigmoid_backward=lambda g, y: g * sigmoid(y) * (1 - sigmoid(y))),
        mistake("that is the derivative of sigmoid", softplus_backward=lambda g, x: (
            g * sigmoid(x) * (1 - sigmoid(x)))),
        mistake(r"sigmoid\(2 x\)", sigmoid=lambda x: 0.5 + 0.5 * np.tanh(x)),
        mistake("has a corner", softplus=lambda x: np.where(x > 0, x, 0)),
        mistake("wrong at large inputs .right for 1", softplus=lambda x: np.log1p(
            np.exp(np.clip(x, -40, 40)))),
        mistake("x were negated", softplus_backward=lambda g, x: g * sigmoid(-x)),
        mistake("negated", softplus_backward=lambda g, x: -g * sigmoid(x)),
        mistake("g were all ones: is it forgotten", softplus_backward=lambda g, x: sigmoid(x)),
        mistake(r"term max\(x, 0\) is missing", softplus=lambda x: np.log1p(np.exp(-abs(x)))),
        mistake("sigmoid is taken", sigmoid_backward=lambda g, y: g * sigmoid(y) * sigmoid(-y)),
    ])


# --- ex04_sum_mean --------------------------------------------------------------------------------

def sum_backward(g, x, axis):
    return np.broadcast_to(g if axis is None else np.expand_dims(g, axis), x.shape)


def mean_backward(g, x, axis):
    return sum_backward(g, x, axis) / (x.size if axis is None else x.shape[axis])


def sum_backward_by_ones(g, x, axis):
    if axis is None:
        return np.full_like(x, g)
    return np.ones_like(x) * np.stack([g] * x.shape[axis], axis)


ANSWERS["ex04_sum_mean"] = Answers(
    right=[dict(sum_backward=sum_backward, mean_backward=mean_backward),
           dict(sum_backward=sum_backward_by_ones,
                mean_backward=lambda g, x, axis: sum_backward_by_ones(g, x, axis) * (
                    g.size / x.size))],
    mistakes=[
        mistake("not spread", sum_backward=lambda g, x, axis: g),
        mistake("not spread|reshaped", sum_backward=lambda g, x, axis: (
            g if axis is None else np.expand_dims(g, axis))),
        mistake("raises ValueError|first axis|axis 0",
                sum_backward=lambda g, x, axis: np.broadcast_to(g, x.shape)),
        mistake("g were all ones: is it forgotten",
                sum_backward=lambda g, x, axis: np.ones_like(x)),
        mistake("factor x|x .*too often", sum_backward=lambda g, x, axis: (
            sum_backward(g, x, axis) * x)),
        mistake("sum where a mean was meant", mean_backward=sum_backward),
        mistake("elements|size of axis", mean_backward=lambda g, x, axis: (
            sum_backward(g, x, axis) / x.size)),
        mistake("size of axis", mean_backward=lambda g, x, axis: (
            sum_backward(g, x, axis) / x.shape[0])),
        mistake("axis is None", mean_backward=lambda g, x, axis: (
            sum_backward(g, x, axis) / x.shape[axis or 0])),
        mistake("counted from the end", sum_backward=lambda g, x, axis: (
            sum_backward(g, x, axis) if axis is None else
            np.broadcast_to(g.reshape(x.shape[:axis] + (1,) + x.shape[axis + 1:]), x.shape)
            if axis >= 0 else np.broadcast_to(g.reshape(-1)[:1], x.shape))),
        mistake("negated", mean_backward=lambda g, x, axis: -mean_backward(g, x, axis)),
        mistake("rounded", mean_backward=lambda g, x, axis: np.ones_like(x) * (
            sum_backward(g, x, axis) // (x.size if axis is None else x.shape[axis]))),
    ])


# --- ex05_broadcasting ----------------------------------------------------------------------------

def unbroadcast(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis, keepdims=True)
    return g


def unbroadcast_at_once(g, shape):
    padded = (1,) * (g.ndim - len(shape)) + tuple(shape)
    axes = tuple(i for i, (m, n) in enumerate(zip(g.shape, padded)) if m != n)
    return g.sum(axes).reshape(shape)


def only_new_axes(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    return g


def only_ones(g, shape):
    for axis, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis, keepdims=True)
    return g


def sum_from_the_end(g, shape):
    while g.ndim > len(shape):
        g = g.sum(-1)
    return only_ones(g, shape)


def means(g, shape):
    return unbroadcast(g, shape) * np.prod(shape) / g.size


def without_keepdims(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            g = g.sum(axis)
    return g


def by_size(g, shape):
    """Sums over the axes whose size the shape lacks."""
    axes = tuple(i for i, n in enumerate(g.shape) if n not in shape)
    return g.sum(axes).reshape(shape) if g.sum(axes).size == np.prod(shape) else g


ANSWERS["ex05_broadcasting"] = Answers(
    right=[dict(unbroadcast=unbroadcast), dict(unbroadcast=unbroadcast_at_once)],
    mistakes=[
        mistake("not summed back", unbroadcast=lambda g, shape: g),
        mistake("not summed back", unbroadcast=only_new_axes),
        mistake("not summed back", unbroadcast=only_ones),
        mistake("mean where a sum was meant|averaged", unbroadcast=means),
        mistake("reshape", unbroadcast=without_keepdims),
        mistake("equal by chance", unbroadcast=by_size),
        mistake("one of the places .* is picked", unbroadcast=lambda g, shape: g.reshape(-1)[
            :int(np.prod(shape))].reshape(shape)),
        mistake("negated", unbroadcast=lambda g, shape: -unbroadcast(g, shape)),
        mistake("summed .*too|summed over axes 0 and 1 where",
                unbroadcast=lambda g, shape: g.sum()),
        mistake("g summed over axis 1 where g summed over axis 0", unbroadcast=sum_from_the_end),
    ])


# --- ex06_matmul ----------------------------------------------------------------------------------

def matmul_backward(g, x, y):
    return g @ y.T, x.T @ g


def matmul_wrong(dx=lambda g, x, y: g @ y.T, dy=lambda g, x, y: x.T @ g):
    return lambda g, x, y: (dx(g, x, y), dy(g, x, y))


ANSWERS["ex06_matmul"] = Answers(
    right=[dict(matmul_backward=matmul_backward),
           dict(matmul_backward=lambda g, x, y: (np.einsum("mn,kn->mk", g, y),
                                                 np.tensordot(x, g, axes=(0, 0))))],
    mistakes=[
        mistake("y @ g.T where", matmul_backward=matmul_wrong(dx=lambda g, x, y: y @ g.T)),
        mistake("g.T @ x where", matmul_backward=matmul_wrong(dy=lambda g, x, y: g.T @ x)),
        mistake("exchanged", matmul_backward=lambda g, x, y: matmul_backward(g, x, y)[::-1]),
        mistake("raises ValueError", matmul_backward=matmul_wrong(dx=lambda g, x, y: g @ y)),
        mistake("negated", matmul_backward=matmul_wrong(dy=lambda g, x, y: -x.T @ g)),
        mistake("size of axis|mean", matmul_backward=matmul_wrong(
            dy=lambda g, x, y: x.T @ g / len(x))),
        mistake("g were all ones: is it forgotten", matmul_backward=matmul_wrong(
            dx=lambda g, x, y: np.ones_like(g) @ y.T)),
        mistake("summed|axis", matmul_backward=matmul_wrong(
            dx=lambda g, x, y: g.sum(1, keepdims=True) * y.sum(1))),
        mistake("result dy is missing", matmul_backward=lambda g, x, y: g @ y.T),
        mistake("reshaped", matmul_backward=matmul_wrong(
            dy=lambda g, x, y: (g.T @ x).reshape(y.shape))),
        mistake("z @ y.T where", matmul_backward=matmul_wrong(dx=lambda g, x, y: x @ y @ y.T)),
    ])


# --- ex07_softmax ---------------------------------------------------------------------------------

def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(g, y):
    return y * (g - (g * y).sum(-1, keepdims=True))


def softmax_by_logs(x):
    x = x - np.max(x, axis=-1)[..., None]
    return np.exp(x - np.log(np.exp(x).sum(-1))[..., None])


def softmax_backward_by_jacobian(g, y):
    J = y[..., :, None] * np.eye(y.shape[-1], dtype=y.dtype) - y[..., :, None] * y[..., None, :]
    return (J @ g[..., None])[..., 0]


def softmax_unshifted(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def softmax_in_place(x):
    x -= x.max(-1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


ANSWERS["ex07_softmax"] = Answers(
    right=[dict(softmax=softmax, softmax_backward=softmax_backward),
           dict(softmax=softmax_by_logs, softmax_backward=softmax_backward_by_jacobian)],
    mistakes=[
        mistake("wrong at large inputs", softmax=softmax_unshifted),
        mistake("edits its argument x in place", softmax=softmax_in_place),
        mistake("axis", softmax=lambda x: np.exp(x) / np.exp(x).sum()),
        mistake("axis", softmax=lambda x: softmax(x.T).T if x.ndim == 2 else softmax(x)),
        mistake("negated", softmax_backward=lambda g, y: -softmax_backward(g, y)),
        mistake(r"-y sum\(g y\)' is missing", softmax_backward=lambda g, y: g * y),
        mistake(r"-y sum\(g y\)' has weight", softmax_backward=lambda g, y: y * (
            g - (g * y).mean(-1, keepdims=True))),
        mistake("factor y is missing", softmax_backward=lambda g, y: (
            g - (g * y).sum(-1, keepdims=True))),
        mistake("right only for a batch of 1", softmax_backward=lambda g, y: (
            y * (g - (g * y).sum()))),
        mistake("diagonal of the Jacobian only", softmax_backward=lambda g, y: g * y * (1 - y)),
        mistake("divided by its sum", softmax=np.exp),
        mistake("lacks the factor y_j", softmax_backward=lambda g, y: (
            y * (g - g.sum(-1)[..., None]))),
        mistake("the factor y is missing", softmax_backward=lambda g, y: (
            y * g - (g * y).sum(-1)[..., None])),
        mistake("the size of axis 0",
                softmax_backward=lambda g, y: softmax_backward(g, y) / len(g)),
        mistake("float32 lost", softmax=lambda x: softmax(x.astype("float64"))),
        mistake("adds up to 1 along axis 0", softmax=lambda x: np.exp(x) / np.exp(x).sum(0)),
        mistake("derivative of ln softmax",
                softmax_backward=lambda g, y: g - y * g.sum(-1, keepdims=True)),
        mistake("sum is taken over all axes",
                softmax_backward=lambda g, y: y * (g - (g * y).sum())),
        mistake("multiplied by ln 2", softmax=lambda x: softmax(np.log(2) * x)),
    ])


# --- ex08_cross_entropy ---------------------------------------------------------------------------

def cross_entropy(logits, labels):
    x = logits - logits.max(1, keepdims=True)
    return (np.log(np.exp(x).sum(1)) - x[np.arange(len(x)), labels]).mean()


def cross_entropy_backward(logits, labels):
    d = softmax(logits)
    d[np.arange(len(d)), labels] -= 1
    return d / len(d)


def cross_entropy_by_onehot(logits, labels):
    onehot = (labels[:, None] == np.arange(logits.shape[1])).astype(logits.dtype)
    top = logits.max(1)
    return np.mean(top + np.log(np.exp(logits - top[:, None]).sum(1)) - (logits * onehot).sum(1))


def cross_entropy_backward_by_onehot(logits, labels):
    onehot = (labels[:, None] == np.arange(logits.shape[1])).astype(logits.dtype)
    return (softmax_by_logs(logits) - onehot) / logits.shape[0]


ANSWERS["ex08_cross_entropy"] = Answers(
    right=[dict(cross_entropy=cross_entropy, cross_entropy_backward=cross_entropy_backward),
           dict(cross_entropy=cross_entropy_by_onehot,
                cross_entropy_backward=cross_entropy_backward_by_onehot)],
    mistakes=[
        mistake("negated", cross_entropy=lambda logits, labels: -cross_entropy(logits, labels)),
        mistake("right only for a batch of 1.* sum where a mean",
                cross_entropy=lambda logits, labels: cross_entropy(logits, labels) * len(labels)),
        mistake("wrong at large inputs", cross_entropy=lambda logits, labels: -np.log(
            np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[
                np.arange(len(labels)), labels].mean()),
        mistake("1.44|ln 2|times too large", cross_entropy=lambda logits, labels: (
            cross_entropy(logits, labels) / np.log(2))),
        mistake("shape", cross_entropy=lambda logits, labels: -np.log(softmax(logits))[
            np.arange(len(labels)), labels]),
        mistake(r"-onehot\(label\) / B' is missing",
                cross_entropy_backward=lambda logits, labels: softmax(logits) / len(labels)),
        mistake("softmax / B' is missing", cross_entropy_backward=lambda logits, labels: (
            cross_entropy_backward(logits, labels) - softmax(logits) / len(labels))),
        mistake("sum where a mean was meant", cross_entropy_backward=lambda logits, labels: (
            cross_entropy_backward(logits, labels) * len(labels))),
        mistake("size of axis 1", cross_entropy_backward=lambda logits, labels: (
            cross_entropy_backward(logits, labels) * len(labels) / logits.shape[1])),
        mistake("they count from 0", cross_entropy=lambda logits, labels: (
            cross_entropy(logits, labels - 1))),
        mistake("they count from 0", cross_entropy_backward=lambda logits, labels: (
            cross_entropy_backward(logits, labels - 1))),
        mistake("softmax is taken along the batch", cross_entropy=lambda logits, labels: -np.log(
            softmax(logits.T).T)[np.arange(len(labels)), labels].mean()),
        mistake("K yes-or-no questions", cross_entropy=lambda logits, labels: -np.log(np.where(
            labels[:, None] == np.arange(logits.shape[1]), softmax(logits), 1 - softmax(logits))
            ).sum(1).mean()),
        mistake("logsumexp is missing", cross_entropy=lambda logits, labels: -logits[
            np.arange(len(labels)), labels].mean()),
        mistake("only the label's place", cross_entropy=lambda logits, labels: (
            cross_entropy(logits, labels) / logits.shape[1])),
        mistake("negated", cross_entropy_backward=lambda logits, labels: (
            -cross_entropy_backward(logits, labels))),
        mistake("weight|term", cross_entropy_backward=lambda logits, labels: (
            softmax(logits) / len(labels)
            - (labels[:, None] == np.arange(logits.shape[1])))),
        mistake("not put back", cross_entropy=lambda logits, labels: cross_entropy(
            logits, labels) - logits.max(1).mean()),
    ])


# --- ex09_logsumexp -------------------------------------------------------------------------------

def logsumexp(x):
    top = x.max(-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]


def logsumexp_backward(g, x):
    return np.expand_dims(g, -1) * softmax(x)


ANSWERS["ex09_logsumexp"] = Answers(
    right=[dict(logsumexp=logsumexp, logsumexp_backward=logsumexp_backward),
           dict(logsumexp=lambda x: np.logaddexp.reduce(x, axis=-1),
                logsumexp_backward=lambda g, x: g[..., None] * np.exp(
                    x - np.logaddexp.reduce(x, axis=-1)[..., None]))],
    mistakes=[
        mistake("wrong at large inputs", logsumexp=lambda x: np.log(np.exp(x).sum(-1))),
        mistake("term m is missing", logsumexp=lambda x: np.log(
            np.exp(x - x.max(-1, keepdims=True)).sum(-1))),
        mistake("the mean of e", logsumexp=lambda x: logsumexp(x) - np.log(x.shape[-1])),
        mistake("shape", logsumexp=lambda x: logsumexp(x)[..., None]),
        mistake("at its largest over axis 1", logsumexp=lambda x: np.max(x, -1)),
        mistake("exp.x. where softmax", logsumexp_backward=lambda g, x: (
            np.exp(x) * g[..., None])),
        mistake("its logarithm is missing", logsumexp=lambda x: np.exp(x).sum(-1)),
        mistake("other axis|shape", logsumexp=lambda x: logsumexp(x.T) if x.ndim == 2 else x),
        mistake("underflow at large negative inputs", logsumexp=lambda x: (
            np.maximum(x.max(-1), 0) + np.log(np.exp(x - np.maximum(
                x.max(-1, keepdims=True), 0)).sum(-1)))),
        mistake("softmax.* is missing", logsumexp_backward=lambda g, x: (
            g[..., None] + 0 * x)),
        mistake("g were all ones: is it forgotten", logsumexp_backward=lambda g, x: softmax(x)),
        mistake("wrong at large inputs", logsumexp_backward=lambda g, x: g[..., None] * np.exp(
            x) / np.exp(x).sum(-1, keepdims=True)),
        mistake("negated", logsumexp_backward=lambda g, x: -logsumexp_backward(g, x)),
        mistake("right only for square|raises", logsumexp_backward=lambda g, x: g * softmax(x)),
        mistake("m is a factor", logsumexp=lambda x: x.max(-1) * np.log(
            np.exp(x - x.max(-1, keepdims=True)).sum(-1))),
        mistake(r"ln\(softmax\) where softmax", logsumexp_backward=lambda g, x: (
            g[..., None] * (x - logsumexp(x)[..., None]))),
    ])
