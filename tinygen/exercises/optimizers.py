"""Exercises 22 to 24: optimizers, as functions from the old numbers to the new ones."""
from types import SimpleNamespace

import numpy as np

from .. import optim
from .running import Wrong
from .task import Case, Exercise, named, random


def _follow(step, p, gs, state, *names):
    """The results of several steps, by name and number: "v after 1", "p after 1", ..."""
    results = {}
    for t, g in enumerate(gs, 1):
        made = named(step(p, g, *state, t), *names)
        if len(made) < len(names):
            raise Wrong(f"it gives {len(made)} result where {len(names)} were needed: "
                        f"{', '.join(names)}")
        p, *state = made.values()
        results |= {f"{name} after {t}": made[name] for name in (*names[1:], "p")}
    return results


# --- 22: momentum ---------------------------------------------------------------------------------

def _momentum(p, g, v, lr, momentum):
    v = momentum * v + g
    return p - lr * v, v


MOMENTUM = Exercise(
    "ex22_momentum", "gradient descent with momentum",
    right=SimpleNamespace(step=_momentum),
    run=lambda answer, p, gs, v, lr, momentum: _follow(
        lambda p, g, v, t: answer.step(p, g, v, lr, momentum), p, gs, [v], "p", "v"),
    cases=[Case("without momentum", p=random(3), gs=random(2, 3, seed=1), v=np.zeros(3), lr=0.1,
                momentum=0.0, spares="momentum 0"),
           Case("plain", p=random(3), gs=random(1, 3, seed=1), v=random(3, seed=2), lr=0.1,
                momentum=0.9),
           Case("plain, three steps", p=random(4), gs=random(3, 4, seed=1), v=np.zeros(4), lr=0.03,
                momentum=0.7)],
    variants={
        "p moves with the old v: make the new one first": dict(
            step=lambda p, g, v, lr, momentum: (p - lr * v, momentum * v + g)),
        "p moves with g alone: it moves with v": dict(
            step=lambda p, g, v, lr, momentum: (p - lr * g, momentum * v + g)),
        "p looks ahead with momentum v + g once more: that is Nesterov's": dict(
            step=lambda p, g, v, lr, momentum: (
                p - lr * (g + momentum * (momentum * v + g)), momentum * v + g))},
    hint="v is a memory of gradients that fades by the factor `momentum`. p moves against v.",
    stronger="v <- momentum v + g, then p <- p - lr v, with the new v. lr does not enter v.",
    solution=(optim.SGD,))


# --- 23: Adam -------------------------------------------------------------------------------------

def _adam(p, g, m, v, t, lr, b1, b2, eps, square=lambda g, m: g * g):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * square(g, m)
    return p - lr * (m / (1 - b1 ** t)) / (np.sqrt(v / (1 - b2 ** t)) + eps), m, v


def _adam_variant(move):
    """step, with another move of p: move(m, v, t, lr, b1, b2, eps)"""
    def step(p, g, m, v, t, lr, b1, b2, eps):
        _, m, v = _adam(p, g, m, v, t, lr, b1, b2, eps)
        return p - move(m, v, t, lr, b1, b2, eps), m, v
    return dict(step=step)


def _adam_square(square):
    """step, with something else in the place of g^2: square(g, m)"""
    return dict(step=lambda *args: _adam(*args, square=square))


def _adam_case(name, steps, n, eps=1e-2, **more):
    return Case(name, p=random(n), gs=random(steps, n, seed=1), lr=0.1, b1=0.8, b2=0.95, eps=eps,
                **more)


ADAM = Exercise(
    "ex23_adam", "Adam, with its bias correction",
    right=SimpleNamespace(step=_adam),
    run=lambda answer, p, gs, lr, b1, b2, eps: _follow(
        lambda p, g, m, v, t: answer.step(p, g, m, v, t, lr, b1, b2, eps), p, gs,
        [np.zeros_like(p), np.zeros_like(p)], "p", "m", "v"),
    cases=[_adam_case("plain, one step", 1, 3), _adam_case("plain, three steps", 3, 4),
           _adam_case("a gradient of 0", 1, 3, eps=1e-8)],
    variants={
        "v is made of m^2 where g^2 was needed": _adam_square(lambda g, m: m * m),
        "v is made of g where g^2 was needed": _adam_square(lambda g, m: g),
        "v is made of |g| where g^2 was needed": _adam_square(lambda g, m: abs(g)),
        "the power is t + 1 where t was needed: t counts from 1": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b1 ** (t + 1)) / (
                np.sqrt(v / (1 - b2 ** (t + 1))) + eps)),
        "m and v are not corrected for having started at 0": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (np.sqrt(v) + eps)),
        "multiplied by the corrections: divide by them": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m * (1 - b1 ** t) / (
                np.sqrt(v * (1 - b2 ** t)) + eps)),
        "p moves with g itself: m, corrected, takes its place": dict(
            step=lambda p, g, m, v, t, lr, b1, b2, eps: (p - lr * g / (np.sqrt(_adam(
                p, g, m, v, t, lr, b1, b2, eps)[2] / (1 - b2 ** t)) + eps),
                *_adam(p, g, m, v, t, lr, b1, b2, eps)[1:])),
        "b1 and b2 are exchanged": dict(step=lambda p, g, m, v, t, lr, b1, b2, eps: _adam(
            p, g, m, v, t, lr, b2, b1, eps)),
        "b1 and 1 - b1 are exchanged": dict(step=lambda p, g, m, v, t, lr, b1, b2, eps: _adam(
            p, g, m, v, t, lr, 1 - b1, b2, eps)),
        "p moves with the old m: make the new one first": dict(
            step=lambda p, g, m, v, t, lr, b1, b2, eps: (p - lr * m / (1 - b1 ** t) / (np.sqrt(
                _adam(p, g, m, v, t, lr, b1, b2, eps)[2] / (1 - b2 ** t)) + eps),
                *_adam(p, g, m, v, t, lr, b1, b2, eps)[1:])),
        "p climbs: the sign of the move is wrong": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: -lr * m / (1 - b1 ** t) / (
                np.sqrt(v / (1 - b2 ** t)) + eps)),
        "b1 times t where b1 to the power t was needed": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b1 * t) / (
                np.sqrt(abs(v / (1 - b2 * t))) + eps)),
        "v is corrected after the square root: before it was needed": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b1 ** t) / (
                np.sqrt(v) / (1 - b2 ** t) + eps)),
        "the corrections lack the power t": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b1) / (np.sqrt(v / (1 - b2)) + eps)),
        "the corrections of m and v are exchanged": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b2 ** t) / (
                np.sqrt(v / (1 - b1 ** t)) + eps)),
        "eps is inside the square root": _adam_variant(
            lambda m, v, t, lr, b1, b2, eps: lr * m / (1 - b1 ** t) / np.sqrt(
                v / (1 - b2 ** t) + eps))},
    hint="Compare your m and v with the formula first; then p, which uses both, corrected.",
    stronger="m and v start at 0 and are too small at first: divide them by 1 - b1^t and 1 - b2^t, "
             "for p only, not in what is kept. eps is added after the square root.",
    solution=(optim.Adam,))


# --- 24: clipping ---------------------------------------------------------------------------------

def _clip(grads, max_norm):
    norm = np.sqrt(sum((g * g).sum() for g in grads))
    return [g * (max_norm / norm if norm > max_norm else 1) for g in grads], float(norm)


def _clip_by(norm):
    """clip by another norm(grads), the one that is returned being right"""
    return dict(clip=lambda grads, max_norm: (
        [g * min(1, max_norm / norm(grads)) for g in grads], _clip(grads, max_norm)[1]))


def _length(g):
    return np.sqrt((g * g).sum())


def _run_clip(answer, a, b, max_norm):
    clipped, norm = answer.clip([a.copy(), b.copy()], max_norm)
    if not isinstance(clipped, (list, tuple)):
        raise Wrong(f"its first result is a {type(clipped).__name__}: the list of clipped arrays "
                    "was needed, and then the norm")
    first, second = clipped
    return {"gradient 1": first, "gradient 2": second, "the norm": np.array(norm)}


def _clip_case(name, max_norm, **more):
    return Case(name, a=random(3), b=random(2, 2, seed=1), max_norm=max_norm, **more)


CLIPPING = Exercise(
    "ex24_clipping", "gradients clipped by the norm of all together",
    right=SimpleNamespace(clip=_clip), run=_run_clip,
    cases=[_clip_case("plain", 1.0), _clip_case("plain, a little", 2.0),
           _clip_case("nothing to clip", 100.0,
                      fault="gradients that are short enough must stay as they are"),
           Case("all zero", a=np.zeros(3), b=np.zeros((2, 2)), max_norm=1.0,
                fault="wrong where every gradient is 0")],
    variants={
        "each array is clipped by its own length: one length of all together decides": dict(
            clip=lambda grads, max_norm: (
                [g * min(1, max_norm / _length(g)) for g in grads], _clip(grads, max_norm)[1])),
        "each number is clipped by itself: one length of all together decides": dict(
            clip=lambda grads, max_norm: (
                [np.clip(g, -max_norm, max_norm) for g in grads], _clip(grads, max_norm)[1])),
        "the arrays' lengths are added up: add up squares, and take the root at the end": _clip_by(
            lambda grads: sum(map(_length, grads))),
        "the squared length is taken for the length: its root is missing": _clip_by(
            lambda grads: sum((g * g).sum() for g in grads)),
        "the root of the mean of squares is taken for the length: that of their sum was needed":
            _clip_by(lambda grads: _clip(grads, 1)[1] / np.sqrt(sum(g.size for g in grads))),
        "absolute values are added up: the length is the root of the sum of squares": _clip_by(
            lambda grads: sum(abs(g).sum() for g in grads)),
        "scaled to length 1 where max_norm was needed": dict(clip=lambda grads, max_norm: (
            [g / _clip(grads, 1)[1] for g in grads], _clip(grads, 1)[1])),
        "multiplied by norm / max_norm: it is max_norm / norm": dict(
            clip=lambda grads, max_norm: ([g * (_clip(grads, 1)[1] / max_norm) for g in grads],
                                          _clip(grads, 1)[1])),
        "the length of the last array alone: one length of all together decides": _clip_by(
            lambda grads: _length(grads[-1])),
        "not clipped, though the norm is above max_norm": dict(
            clip=lambda grads, max_norm: (grads, _clip(grads, 1)[1])),
        "the largest number is taken for the length": _clip_by(
            lambda grads: max(abs(g).max() for g in grads))},
    hint="One number, the length of all gradients laid end to end, decides for all of them.",
    stronger="norm = sqrt of the sum of all squares of all arrays. Where it is above max_norm, "
             "every array is multiplied by max_norm / norm; else nothing happens.",
    solution=(optim.clip_grad_norm,))

EXERCISES = [MOMENTUM, ADAM, CLIPPING]
