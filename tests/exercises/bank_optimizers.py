"""Answers to the exercises on optimizers."""
import math

import numpy as np

from exercises.bank import Answers, mistake

ANSWERS = {}


# --- ex22_momentum --------------------------------------------------------------------------------

def momentum_step(p, g, v, lr, momentum):
    v = momentum * v + g
    return p - lr * v, v


def old_v(p, g, v, lr, momentum):
    return p - lr * v, momentum * v + g


def lr_in_v(p, g, v, lr, momentum):
    v = momentum * v + lr * g
    return p - v, v


def as_average(p, g, v, lr, momentum):
    v = momentum * v + (1 - momentum) * g
    return p - lr * v, v


def nesterov(p, g, v, lr, momentum):
    v = momentum * v + g
    return p - lr * (g + momentum * v), v


def in_place(p, g, v, lr, momentum):
    v *= momentum
    v += g
    p -= lr * v
    return p, v


ANSWERS["ex22_momentum"] = Answers(
    right=[dict(step=momentum_step),
           dict(step=lambda p, g, v, lr, momentum: (
               p - lr * g - lr * momentum * v, g + momentum * v))],
    mistakes=[
        mistake("lr = ", step=lr_in_v),
        mistake("old v", step=old_v),
        mistake("1 - momentum = ", step=as_average),
        mistake("Nesterov", step=nesterov),
        mistake("edits its argument", step=in_place),
        mistake("before lr . v", step=lambda p, g, v, lr, momentum: (
            p + lr * (momentum * v + g), momentum * v + g)),
        mistake("right only for momentum 0", step=lambda p, g, v, lr, momentum: (p - lr * g, g)),
        mistake("1 result where 2", step=lambda p, g, v, lr, momentum: (
            momentum_step(p, g, v, lr, momentum)[0])),
        mistake("exchanged", step=lambda p, g, v, lr, momentum: (
            momentum_step(p, g, v, lr, momentum)[::-1])),
        mistake("momentum = 0.7: a factor once", step=lambda p, g, v, lr, momentum: momentum_step(
            p, momentum * g, v, lr, momentum)),
        mistake("lr and momentum were exchanged", step=lambda p, g, v, lr, momentum: momentum_step(
            p, g, v, momentum, lr)),
    ])


# --- ex23_adam ------------------------------------------------------------------------------------

def adam(correct=lambda m, v, t, b1, b2: (m / (1 - b1 ** t), v / (1 - b2 ** t)),
         move=lambda m, v, lr, eps: lr * m / (np.sqrt(v) + eps),
         m_next=lambda m, g, b1: b1 * m + (1 - b1) * g,
         v_next=lambda v, g, b2: b2 * v + (1 - b2) * g * g):
    """step, with other parts where given"""
    def step(p, g, m, v, t, lr, b1, b2, eps):
        m, v = m_next(m, g, b1), v_next(v, g, b2)
        return p - move(*correct(m, v, t, b1, b2), lr, eps), m, v
    return dict(step=step)


def adam_folded(p, g, m, v, t, lr, b1, b2, eps):
    """The corrections folded into the step size and eps."""
    m, v = m + (1 - b1) * (g - m), v + (1 - b2) * (g ** 2 - v)
    c1, root = 1 - b1 ** t, math.sqrt(1 - b2 ** t)
    return p - lr / c1 * root * m / (v ** 0.5 + eps * root), m, v


def corrected_kept(p, g, m, v, t, lr, b1, b2, eps):
    p, m, v = adam()["step"](p, g, m, v, t, lr, b1, b2, eps)
    return p, m / (1 - b1 ** t), v / (1 - b2 ** t)


def g_for_m(p, g, m, v, t, lr, b1, b2, eps):
    _, m, v = adam()["step"](p, g, m, v, t, lr, b1, b2, eps)
    return p - lr * g / (np.sqrt(v / (1 - b2 ** t)) + eps), m, v


def squared_m(p, g, m, v, t, lr, b1, b2, eps):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * m * m
    return p - lr * m / (1 - b1 ** t) / (np.sqrt(v / (1 - b2 ** t)) + eps), m, v


def wrong_adam(says, **parts):
    return mistake(says, **adam(**parts))


ANSWERS["ex23_adam"] = Answers(
    right=[adam(), dict(step=adam_folded)],
    mistakes=[
        wrong_adam("not corrected", correct=lambda m, v, t, b1, b2: (m, v)),
        wrong_adam("power t", correct=lambda m, v, t, b1, b2: (m / (1 - b1), v / (1 - b2))),
        wrong_adam("exchanged", correct=lambda m, v, t, b1, b2: (
            m / (1 - b2 ** t), v / (1 - b1 ** t))),
        wrong_adam("inside the square root", move=lambda m, v, lr, eps: lr * m / np.sqrt(v + eps)),
        wrong_adam("sqrt is left out", move=lambda m, v, lr, eps: lr * m / (v + eps)),
        wrong_adam("p climbs", move=lambda m, v, lr, eps: -lr * m / (np.sqrt(v) + eps)),
        wrong_adam("times too (large|small)", m_next=lambda m, g, b1: b1 * m + g),
        wrong_adam("v is made of g where", v_next=lambda v, g, b2: b2 * v + (1 - b2) * g),
        wrong_adam(r"v is made of \|g\| where", v_next=lambda v, g, b2: (
            b2 * v + (1 - b2) * abs(g))),
        mistake(r"v is made of m\^2", step=squared_m),
        wrong_adam("t counts from 1", correct=lambda m, v, t, b1, b2: (
            m / (1 - b1 ** (t + 1)), v / (1 - b2 ** (t + 1)))),
        wrong_adam("has weight|times too", v_next=lambda v, g, b2: b2 * v + g * g),
        wrong_adam("b1 and 1 - b1 are exchanged", m_next=lambda m, g, b1: (1 - b1) * m + b1 * g),
        wrong_adam("divisor made of b1 and t is left out",
                   correct=lambda m, v, t, b1, b2: (m, v / (1 - b2 ** t))),
        wrong_adam("divisor made of b2 and t is left out",
                   correct=lambda m, v, t, b1, b2: (m / (1 - b1 ** t), v)),
        wrong_adam("multiplied by the corrections", correct=lambda m, v, t, b1, b2: (
            m * (1 - b1 ** t), v * (1 - b2 ** t))),
        wrong_adam("eps is left out", move=lambda m, v, lr, eps: lr * m / np.sqrt(v)),
        mistake("g itself: m, corrected", step=g_for_m),
        mistake("b1 and b2 are exchanged", step=lambda p, g, m, v, t, lr, b1, b2, eps: (
            adam()["step"](p, g, m, v, t, lr, b2, b1, eps))),
        mistake("times too large", step=corrected_kept),
        mistake("1 result where 3", step=lambda *a: adam()["step"](*a)[0]),
    ])


# --- ex24_clipping --------------------------------------------------------------------------------

def clip(grads, max_norm):
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    if norm <= max_norm:
        return grads, norm
    return [g * (max_norm / norm) for g in grads], norm


def clip_by_vector(grads, max_norm):
    flat = np.concatenate([g.ravel() for g in grads])
    norm = np.linalg.norm(flat)
    scale = min(1.0, float(max_norm / norm)) if norm else 1.0
    return [scale * g for g in grads], norm


def clip_each(grads, max_norm):
    return [g * min(1, max_norm / np.linalg.norm(g)) for g in grads], clip(grads, max_norm)[1]


def clip_values(grads, max_norm):
    return [np.clip(g, -max_norm, max_norm) for g in grads], clip(grads, max_norm)[1]


def always_scaled(grads, max_norm):
    norm = clip(grads, max_norm)[1]
    return [g * (max_norm / norm) for g in grads], norm


def mean_length(grads, max_norm):
    norm = np.sqrt(np.mean(np.concatenate([g.ravel() for g in grads]) ** 2))
    return [g * min(1, max_norm / norm) for g in grads], norm


def sum_of_lengths(grads, max_norm):
    scale = min(1, max_norm / sum(np.linalg.norm(g) for g in grads))
    return [g * scale for g in grads], clip(grads, max_norm)[1]


def without_root(grads, max_norm):
    norm = sum((g * g).sum() for g in grads)
    return [g * min(1, max_norm / norm) for g in grads], norm


ANSWERS["ex24_clipping"] = Answers(
    right=[dict(clip=clip), dict(clip=clip_by_vector)],
    mistakes=[
        mistake("each array is clipped by its own", clip=clip_each),
        mistake("each number is clipped by itself", clip=clip_values),
        mistake("must stay as they are|every gradient is 0", clip=always_scaled),
        mistake("root is missing|its square|times too small", clip=without_root),
        mistake("lengths are added up", clip=sum_of_lengths),
        mistake("root of the mean of squares", clip=mean_length),
        mistake("it is max_norm / norm", clip=lambda grads, max_norm: (
            [g * (clip(grads, max_norm)[1] / max_norm) for g in grads],
            clip(grads, max_norm)[1])),
        mistake("max_norm stands where", clip=lambda grads, max_norm: (
            clip(grads, max_norm)[0], max_norm)),
        mistake("not clipped", clip=lambda grads, max_norm: (
            grads, clip(grads, max_norm)[1])),
        mistake("raises TypeError|the norm|raises ValueError", clip=lambda grads, max_norm: (
            clip(grads, max_norm)[0])),
        mistake("times too", clip=lambda grads, max_norm: (
            [g / clip(grads, max_norm)[1] * max_norm ** 2 for g in grads],
            clip(grads, max_norm)[1])),
        mistake("negated", clip=lambda grads, max_norm: (
            [-g for g in clip(grads, max_norm)[0]], clip(grads, max_norm)[1])),
        mistake("the list of clipped arrays", clip=lambda grads, max_norm: clip(
            grads, max_norm)[::-1]),
    ])
