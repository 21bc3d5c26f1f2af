"""Exercises 25 to 27: the formula at the heart of each model with a tractable density."""
from types import SimpleNamespace

import numpy as np

from ..models.tractable import coupling_flow, made, pixelcnn
from .running import Wrong
from .task import Case, Exercise, named, random

# --- 25 and 26: masks -----------------------------------------------------------------------------

def _masks(order, degrees):
    return 1.0 * (order[:, None] <= degrees), 1.0 * (degrees[:, None] < order)


def _run_made_mask(answer, order, degrees):
    given = named(answer.masks(order, degrees), "into hidden", "out of hidden")
    wanted = dict(zip(given, _masks(order, degrees)))
    shapes = [np.shape(m) for m in given.values()]
    if shapes != [m.shape for m in wanted.values()] or len(shapes) < 2:
        return given                                # the checker says what is wrong with shapes
    into, out = (np.asarray(m, "float64") for m in given.values())
    for j, i in np.argwhere(into @ out):
        if order[j] >= order[i]:
            own = "its own input" if i == j else f"x_{j} of rank {order[j]}, which comes later"
            raise Wrong(f"a leak: the output of x_{i}, of rank {order[i]}, sees {own}")
    for name, m in given.items():
        if ((np.asarray(m) == 0) & (wanted[name] == 1)).any():
            raise Wrong(f"{name}: a weight is cut that may stay, as no path through it would leak")
    return given


MADE_MASK = Exercise(
    "ex25_made_mask", "the masks of a MADE with one hidden layer",
    right=SimpleNamespace(masks=_masks), run=_run_made_mask,
    cases=[Case("plain", order=np.array([0, 1, 2]), degrees=np.array([0, 1, 1, 0])),
           Case("plain, another order", order=np.array([2, 0, 3, 1]),
                degrees=np.array([0, 2, 1, 1, 0, 2, 1]))],
    hint="A unit of degree d may see the inputs up to rank d. Which outputs may see the unit?",
    stronger="Only those of a rank above d: an output must not see its own input. One of the two "
             "comparisons is <=, the other <.",
    solution=(made.masks,), keeps_float32=False)


def _pixel_mask(k, kind):
    mask = np.zeros((k, k))
    mask[:k // 2] = 1
    mask[k // 2, :k // 2 + (kind == "B")] = 1
    return mask


def _run_pixel_mask(answer, k, kind):
    given, wanted, c = answer.mask(k, kind), _pixel_mask(k, kind), k // 2
    if np.shape(given) != wanted.shape:
        return {"mask": given}
    m = np.asarray(given)
    if m[c, c] != wanted[c, c]:
        raise Wrong("mask A must not see the centre: it would see the answer" if kind == "A" else
                    "mask B must see the centre: it holds what lower layers know of earlier pixels")
    for i, j in np.argwhere(m != wanted):
        where = "above" if i < c else "below" if i > c else "left of" if j < c else "right of"
        raise Wrong(f"place [{i}, {j}] of the kernel, {where} the centre, is " + (
            "seen, though it is drawn later" if m[i, j] else "cut, though it was drawn before"))
    return {"mask": given}


PIXEL_MASK = Exercise(
    "ex26_pixelcnn_mask", "the masks A and B of a PixelCNN",
    right=SimpleNamespace(mask=_pixel_mask), run=_run_pixel_mask,
    cases=[Case("plain", k=3, kind="A"), Case("plain, B", k=3, kind="B"),
           Case("plain, larger", k=5, kind="A"), Case("plain, larger B", k=5, kind="B"),
           Case("one tap", k=1, kind="A", fault="wrong for a 1 x 1 kernel of kind A, which sees "
                                                "nothing")],
    hint="Pixels come row after row, each from left to right. Which places of the kernel lie "
         "before its centre?",
    stronger="All rows above the centre's, and in its own row all to the left. B adds the centre.",
    solution=(pixelcnn.CausalConv2d,), keeps_float32=False)


# --- 27: an affine coupling -----------------------------------------------------------------------

def _net(x):
    """s, t as functions of the half that passes unchanged."""
    return np.tanh(x[:, ::-1]) * 0.5, x * x


def _coupling(x):
    a, b = np.split(x, 2, axis=1)
    s, t = _net(a)
    return np.concatenate([a, b * np.exp(s) + t], 1), s.sum(1)


def _coupling_inverse(z):
    a, b = np.split(z, 2, axis=1)
    s, t = _net(a)
    return np.concatenate([a, (b - t) * np.exp(-s)], 1)


def _run_coupling(answer, x, z):
    """The halves of each result by themselves: the first one only passes through."""
    given, back = answer.forward(x, _net), answer.inverse(z, _net)
    if isinstance(given, np.ndarray):
        raise Wrong("forward gives z alone, where z and logdet were needed")
    if isinstance(back, tuple):
        raise Wrong(f"inverse gives {len(back)} results, where x alone was needed")
    given = named(given, "z", "logdet")
    results = {"logdet": given.get("logdet"), "x": back, "z": given["z"]}
    for name in "zx":
        if results[name] is not None and np.shape(results[name]) != x.shape:
            raise Wrong(f"{name} has the shape {np.shape(results[name])} where {x.shape} was "
                        "needed: both halves side by side")
        halves = (None, None) if results[name] is None else np.split(
            np.asarray(results[name]), 2, axis=1)
        results |= dict(zip((f"{name}_a", f"{name}_b"), halves))
        del results[name]
    return results


def _forward_variant(f, log=lambda s, t: s):
    """forward, with another z_b = f(x_b, s, t), and another logarithm of dz_b/dx_b"""
    def forward(x, net):
        a, b = np.split(x, 2, axis=1)
        return np.concatenate([a, f(b, *net(a))], 1), log(*net(a)).sum(1)
    return dict(forward=forward)


def _inverse_variant(f):
    """inverse, with another x_b = f(z_b, s, t)"""
    def inverse(z, net):
        a, b = np.split(z, 2, axis=1)
        return np.concatenate([a, f(b, *net(a))], 1)
    return dict(inverse=inverse)


def _from_wrong_half(z, net):
    a, b = np.split(z, 2, axis=1)
    s, t = net(b)
    return np.concatenate([a, (b - t) * np.exp(-s)], 1)


def _by_wrong_half(x, net):
    a, b = np.split(x, 2, axis=1)
    s, t = net(b)
    return np.concatenate([a, b * np.exp(s) + t], 1), s.sum(1)


COUPLING = Exercise(
    "ex27_coupling", "an affine coupling: forward, log-determinant, inverse",
    right=SimpleNamespace(forward=lambda x, net: _coupling(x),
                          inverse=lambda z, net: _coupling_inverse(z)),
    run=_run_coupling,
    cases=[Case("a batch of 1", x=random(1, 4), z=random(1, 4, seed=1), spares="a batch of 1"),
           Case("plain", x=random(3, 4), z=random(3, 4, seed=1)),
           Case("plain, larger", x=random(5, 6), z=random(5, 6, seed=1))],
    variants={
        "s is used as the factor where e^s was needed": _forward_variant(
            lambda b, s, t: b * s + t, lambda s, t: np.log(abs(s))),
        "net gives s first and then t: they are exchanged": {
            **_forward_variant(lambda b, s, t: b * np.exp(t) + s, lambda s, t: t),
            **_inverse_variant(lambda b, s, t: (b - s) * np.exp(-t))},
        "shifted before it is scaled: the other order was asked for": _forward_variant(
            lambda b, s, t: (b + t) * np.exp(s)),
        "net is asked for x_b: it is x_a that passes unchanged, and gives s and t":
            dict(forward=_by_wrong_half),
        "divided by s where e^s was needed": _inverse_variant(lambda b, s, t: (b - t) / s),
        "scaled back before it is shifted back: undo the last step first": _inverse_variant(
            lambda b, s, t: b * np.exp(-s) - t),
        "the inverse goes forward: it must undo": _inverse_variant(
            lambda b, s, t: b * np.exp(s) + t),
        "the product of the s: the log of a product is the sum of logs": dict(
            forward=lambda x, net: (_coupling(x)[0], net(np.split(x, 2, axis=1)[0])[0].prod(1))),
        "the determinant itself: its logarithm was asked for": dict(
            forward=lambda x, net: (_coupling(x)[0], np.exp(_coupling(x)[1]))),
        "logdet adds up e^s where s was needed: ln e^s = s": dict(
            forward=lambda x, net: (_coupling(x)[0],
                                    np.exp(net(np.split(x, 2, axis=1)[0])[0]).sum(1)))},
    parts=lambda x, z: {"s": _net(np.split(x, 2, axis=1)[0])[0]},
    hint="The first half passes unchanged, so the way back knows s and t as well: solve z_b = "
         "x_b e^s + t for x_b.",
    stronger="s, t = net(z_a) with z_a = x_a, and x_b = (z_b - t) e^-s.",
    own={"forward": ("s, t = net(x_a); x_a passes unchanged. The Jacobian is a triangle: what "
                     "stands on its diagonal?",
                     "z_b = x_b e^s + t. The diagonal holds 1s and e^s: its log is the sum of s "
                     "over each example.")},
    solution=(coupling_flow.Coupling,))

EXERCISES = [MADE_MASK, PIXEL_MASK, COUPLING]
