"""Answers to the exercises on derivative rules."""
import numpy as np
from exercises.bank import Answers, mistake

ANSWERS = {}


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
        mistake("overflow at large inputs", softmax=softmax_unshifted),
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
        mistake("float32 lost", softmax=lambda x: softmax(x.astype("float64"))),
    ])
