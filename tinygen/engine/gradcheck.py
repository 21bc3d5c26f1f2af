"""<dh/dx, v> = (h(x + eps v) - h(x - eps v)) / (2 eps), for h(x) = <w, f(x)>, random v and w.

    x, y    inputs and outputs of f, in float64
    w       random weights of y: the g of the rules. A plain sum (w = 1) would pass a softmax whose
            rule gives zeros
    v       a random direction: one number checks a gradient of any size
    a, b    the gradient by the rules, the gradient by differences

`gradcheck` finds out whether a rule is right; in which way it is wrong, diagnosis.py tells.
"""
import inspect
import operator
from functools import reduce

import numpy

from . import backend
from .backend import to_numpy, xp
from .backward import _grad
from .diagnosis import ALIKE, diagnose, same
from .tensor import Tensor, tensor

STEP, SMALL_STEP = 1e-4, 1e-6   # the second decides where the first seems to reach over a kink
RTOL, ROUNDING = 3e-10, 5e-15   # of the slope's terms; of what is subtracted, before division
DEGREES = {1: "first", 2: "second", 3: "third"}


class GradientError(AssertionError):
    """A gradient is wrong: `diagnosis` says in which way, the message also where."""

    def __init__(self, message, diagnosis=None):
        super().__init__(message)
        self.diagnosis = diagnosis or message


# --- the check ------------------------------------------------------------------------------------

def gradcheck(f, *inputs, order=2, **settings):
    """True where the derivatives of f(*inputs, **settings) agree with differences; else raises.

    f gives a Tensor or a tuple of them. Float arrays and Tensors are checked, as float64 copies;
    other inputs are passed on. With order=2 the gradient, as a function of x and w, is checked
    next. Raises GradientError; TypeError or ValueError where nothing can be checked.
    """
    places = [i for i, a in enumerate(inputs) if _is_float(a)]
    if not places:
        raise ValueError("gradcheck: nothing to check, as no input is a float array or Tensor")
    state = backend.random_state()

    def run(*xs):
        backend.set_random_state(state)         # dropout must drop the same every time
        at = dict(zip(places, xs))
        return _outputs(f(*[at.get(i, a) for i, a in enumerate(inputs)], **settings))

    try:
        xs = [tensor(inputs[i], dtype="float64").data for i in places]
        _check(run, xs, _names(f, places), order)
    except GradientError as error:
        name = getattr(f, "__name__", type(f).__name__)
        raise GradientError(f"{name}: {error}", error.diagnosis) from error.__cause__
    finally:
        backend.set_random_state(state)
    return True


def _is_float(a):
    return getattr(getattr(a, "dtype", None), "kind", None) == "f"


def _names(f, places):
    """(what messages call it, its name) for each of these arguments of f."""
    try:
        names = [p.name for p in inspect.signature(f).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except ValueError:                          # a ufunc of NumPy has no signature
        names = []
    names += [f"x{i}" for i in range(len(names), places[-1] + 1)]      # the *xs
    return [(f"argument {i} ({names[i]})", names[i]) for i in places]


def _outputs(y):
    ys = list(y) if isinstance(y, (tuple, list)) else [y]
    for y in ys:
        if not isinstance(y, Tensor) or y.dtype != "float64":
            kind = f"{y.dtype} " if hasattr(y, "dtype") else ""
            raise TypeError(f"gradcheck: f gave a {kind}{type(y).__name__} where a float64 Tensor "
                            "was needed; use tinygen operations on the float64 Tensors it is given")
    return ys


def _check(run, xs, names, order, degree=1, expected=None):
    """Checks the gradient of h; then that gradient, as a function of xs and ws, likewise."""
    rng = numpy.random.default_rng(0)
    h = _Weighted(run, xs, rng)
    _check_values(h.ys, run(*[tensor(x, True) for x in xs]), expected)
    gs = h.gradient()
    for i, g in enumerate(gs):
        if not h.agrees(i, g, _random(rng, g.shape)):
            named = {name: to_numpy(x) for (_, name), x in zip(names, xs)}
            if degree == 1:                     # an argument called y or g keeps its name
                named = named | {"y": to_numpy(h.ys[0]), "g": to_numpy(h.ws[0])} | named
            what = f"the {DEGREES[degree]} derivative with respect to {names[i][0]}"
            raise _explained(what, to_numpy(g), *h.by_element(i, to_numpy(g)), named)
    if order > degree:
        n, names = len(xs), names + [("the gradient g of the output", "g")] * len(h.ws)
        _check(lambda *xw: _pull(run(*xw[:n]), xw[:n], xw[n:], create_graph=True),
               xs + h.ws, names, order, degree + 1, gs)


def _check_values(ys, again, expected):
    ys, again = list(map(to_numpy, ys)), list(map(to_numpy, again))
    if expected and not all(same(to_numpy(g), y, 1e-9) for g, y in zip(expected, ys)):
        raise GradientError("a rule gives other numbers with create_graph=True than without")
    if not all(numpy.isfinite(y).all() for y in ys):
        raise ValueError("gradcheck: f gives NaN or infinity here; use inputs where it is finite")
    if not all(same(y, z, 1e-9) for y, z in zip(ys, again)):
        raise ValueError("gradcheck: f gives other values when called again; its random numbers "
                         "must come from tinygen's generator")


class _Weighted:
    """h(x) = <w, run(x)> at xs, for random w: its gradient by rules and by differences."""

    def __init__(self, run, xs, rng):
        self.run, self.xs, self.leaves = run, xs, [tensor(x, True) for x in xs]
        self.ys = run(*self.leaves)
        self.ws = [_random(rng, y.shape) for y in self.ys]
        self.size = sum(float(abs(w * y.data).sum()) for w, y in zip(self.ws, self.ys))

    def gradient(self):
        ws = [w.copy() for w in self.ws]
        gs = _pull(self.ys, self.leaves, ws)
        held = zip([*self.xs, *self.ws], [*(x.data for x in self.leaves), *ws])
        if any(bool((before != after).any()) for before, after in held):
            raise GradientError("f or a rule edits in place an array that it was given")
        return [g.data for g in gs]

    def combine(self, i, v, weights):
        """The sum of c * h(x + s v) over the {s: c} of weights, where x is the i-th input."""
        total = [0.0] * len(self.ws)
        for s, c in weights.items():
            moved = [Tensor(x + s * v if j == i else x, True) for j, x in enumerate(self.xs)]
            total = [t + c * y.data for t, y in zip(total, self.run(*moved))]
        return sum(float((w * t).sum()) for w, t in zip(self.ws, total))

    def slope(self, i, v, step):
        """dh(x + s v) / ds at s = 0, by the five-point rule, whose error is of order step^4."""
        return self.combine(i, v, {step: 8, -step: -8, 2 * step: -1, -2 * step: 1}) / (12 * step)

    def bend(self, i, v, step):
        """The slope ahead less the slope behind: of order step, unless x is on a kink."""
        return abs(self.combine(i, v, {step: 1, 0: -2, -step: 1})) / step

    def agrees(self, i, g, v):
        """Whether <g, v> is the slope along v."""
        v, largest = v * _reach(self.xs[i]), float(abs(self.xs[i]).max()) if v.size else 0.0
        along, terms = float((g * v).sum()), float(abs(g * v).sum())
        rounding = ROUNDING * (self.size + largest * terms)
        far = self.slope(i, v, STEP)
        if abs(far - along) <= RTOL * terms + rounding / STEP:
            return True
        near = self.slope(i, v, SMALL_STEP)
        over_a_kink = abs(far - near) > 1e-6 * terms
        return over_a_kink and abs(near - along) <= RTOL * terms + rounding / SMALL_STEP

    def by_element(self, i, g):
        """dh/dx by differences, and whether h has a kink or a jump that explains a g unlike it."""
        x, b, on_kink = self.xs[i], numpy.empty(g.shape), numpy.zeros(g.shape, dtype=bool)
        reach = _reach(x)
        for index in numpy.ndindex(g.shape):
            v = xp.zeros_like(x)
            v[index] = reach
            slope, farther = self.slope(i, v, 1e-5), self.slope(i, v, 1e-4)
            bend, wider = self.bend(i, v, 1e-5), self.bend(i, v, 1e-4)
            b[index] = slope / reach
            share = abs(g[index] * reach - slope) / 10
            on_kink[index] = bend > max(share, wider / 2) or abs(slope - farther) > share
        return b, on_kink


def _random(rng, shape):
    """Numbers of both signs and none near 0, so that no element goes unseen."""
    return xp.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def _reach(x):
    """The unit of a step: 1, or the largest element where all are smaller."""
    return min(1.0, float(abs(x).max()) or 1.0) if x.size else 1.0


def _pull(ys, xs, ws, create_graph=False):
    """The gradients of h with respect to xs, by the rules."""
    try:
        parts = [_grad(y, xs, w, create_graph) for y, w in zip(ys, ws)]
        return [reduce(operator.add, same) for same in zip(*parts)]
    except Exception as error:
        raise GradientError(f"a rule fails with {type(error).__name__}: {error}") from error


def _explained(what, a, b, on_kink, named):
    """The error that tells the worst element of a, the rule's gradient, and the diagnosis."""
    off = numpy.nan_to_num(abs(a - b), nan=numpy.inf)
    smooth = numpy.where(on_kink, 0.0, off)
    elsewhere = smooth.max() > ALIKE * abs(b).max()
    worst = numpy.unravel_index((smooth if elsewhere else off).argmax(), a.shape)
    diagnosis = "f has a kink or a jump here, so no slope can be measured; move x off it"
    if not on_kink[worst]:
        diagnosis = diagnose(a, numpy.where(on_kink, a, b), **named)
    where = f" at [{', '.join(map(str, worst))}]" * bool(worst)
    return GradientError(f"{what} is wrong{where}: the rule gives {a[worst]:.6g}, differences give "
                         f"{b[worst]:.6g}: {diagnosis}", diagnosis)
