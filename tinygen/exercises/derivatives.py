"""Exercises 1 to 9: derivative rules, given the gradient g of the output."""
from types import SimpleNamespace

import numpy as np

from ..engine import reductions
from .checking import Case, Exercise


def _random(*shape, seed=0):
    """Numbers of both signs, none near 0."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.3, 1.7, shape) * rng.choice([-1.0, 1.0], shape)


# --- softmax --------------------------------------------------------------------------------------

def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax_cases():
    def case(name, x, **more):
        return Case(name, x=x, g=_random(*x.shape, seed=1), **more)
    return [case("a batch of 1", _random(1, 3), spares="a batch of 1"),
            case("plain", _random(2, 3)), case("square", _random(3, 3), spares="square input"),
            case("plain, larger", _random(5, 4)),
            case("three axes", _random(2, 3, 4), fault="wrong when there are more than two axes"),
            case("large inputs", _random(2, 3) * 1000, fault="overflow at large inputs")]


def _run_softmax(answer, x, g):
    return {"y": answer.softmax(x), "dx": answer.softmax_backward(g, _softmax(x))}


SOFTMAX = Exercise(
    "ex07_softmax", "softmax along the last axis, and its derivative",
    right=SimpleNamespace(softmax=_softmax,
                          softmax_backward=lambda g, y: y * (g - (g * y).sum(-1, keepdims=True))),
    run=_run_softmax, cases=_softmax_cases(),
    hint="Write dy_j / dx_i for i = j and for i != j, then sum over j what g_j each brings.",
    stronger="dy_j / dx_i = y_j (1[i = j] - y_i). Multiply by g_j and sum over j: dx_i is y_i "
             "times the difference of g_i and the row's sum of g_j y_j.",
    hints={"overflow|not finite": "e^1000 is infinite. Subtract something from x that changes no "
                                  "quotient."},
    terms=lambda x, g: {"y g": _softmax(x) * g,
                        "-y sum(g y)": -_softmax(x) * (g * _softmax(x)).sum(-1, keepdims=True)},
    solution=(reductions.softmax,))

EXERCISES = [SOFTMAX]
