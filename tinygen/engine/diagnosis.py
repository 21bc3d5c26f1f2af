"""In which way is a gradient wrong?   Two arrays in, one sentence out.

    a, b    the gradient that was given, the gradient that was wanted, on the host

`diagnose` tries rows of a table, (does it hold, what it means then), the plainest mistakes first.
`regress` tells which term of a known formula is missing or has another weight. Neither knows where
the arrays come from, so they judge any gradient: a rule's, or a learner's.
"""
import math
from itertools import chain, combinations, permutations, product

import numpy                    # a diagnosis is made on the host, whatever the backend

from .backend import to_numpy

ALIKE = 1e-5                    # of the largest element: what counts as equal
CANNOT_TELL = "cannot tell in which way it is wrong"


def diagnose(given, wanted, terms=None, **named):
    """In which way the gradient `given` differs from `wanted`, as a sentence.

    named: arrays the gradient may be made of (x=..., y=..., g=..., W=...), to find a forgotten
    factor, or where the error is. terms: those of `wanted`, for `regress`.
    """
    a, b = _host(given), _host(wanted)
    named = {name: _host(t) for name, t in named.items()}
    like = {name: numpy.broadcast_to(t, b.shape) for name, t in named.items() if _fits(t, b)}
    sizes = _sizes(b, named)
    with numpy.errstate(all="ignore"):
        if a.shape != b.shape:
            rows = chain(_formulas(a, b, named), _shapes(a, b))
        else:
            noise = 1e-9 * abs(a[numpy.isfinite(a)]).max(initial=0)     # differences do not give 0
            b = numpy.where(abs(b) <= noise, 0.0, b)
            term = regress(a, b, terms, **named) if terms else None
            rows = chain([(term, term)], _multiples(a, b, sizes), _places(a, b), _sums(a, b),
                         _formulas(a, b, named), _parts(a, b, sizes, like),
                         _factors(a, b, sizes, like), _offsets(a, b, like),
                         _replaced(a, b, like))
        return next((words for holds, words in rows if holds), CANNOT_TELL)


# Each of the following is a table of two columns: whether it holds, and what it means then.

def _shapes(a, b):
    shapes = f"shape {a.shape} where {b.shape} was needed: "
    yield a.size == b.size and same(a.reshape(b.shape), b), shapes + "right, but to be reshaped"
    for axes in permutations(range(a.ndim)):
        yield same(a.transpose(axes), b), shapes + "transposed"
    for axes in _subsets(a):
        s = a.sum(axes)
        yield s.size == b.size and same(s.reshape(b.shape), b), \
            f"{shapes}not summed back over {_axes(axes)}"
    for axes in _subsets(b):
        s = b.sum(axes, keepdims=True)
        if s.size == a.size:
            yield same(a.reshape(s.shape), s), f"{shapes}summed over {_axes(axes)} too"
            yield same(a.reshape(s.shape) + 0 * b, b), f"{shapes}not spread over {_axes(axes)}"
    yield a.size > b.size, shapes + "an axis was not summed back"
    yield a.size < b.size, shapes + "an axis was summed once too often, or not spread"
    yield True, shapes + "a reshape or a transpose is missing"


def _multiples(a, b, sizes):
    k, error = _ratio(a, b, sizes), abs(a - b).max(initial=0) / abs(b).max(initial=0)
    yield same(a, b, 1e-9), "nothing is wrong: the two agree"
    yield same(a, b), (f"off by {error:.0e} of its size only: computed in float32, or with an eps "
                       "elsewhere?")
    yield not numpy.isfinite(a).any(), "not finite: an overflow, a division by 0 or a log of 0"
    yield not a.any(), "all zeros: forgotten, or the graph is cut (by detach, no_grad or .data)"
    yield not b.any(), "should be zero: f does not depend on it"
    yield k, k and _times(k, sizes)
    yield same(a, abs(b)), "its absolute value: a sign is lost"


def _places(a, b):
    for axes in permutations(range(b.ndim)):
        turned = b.transpose(axes)
        yield same(a, turned), "transposed"
        yield same(a, turned.reshape(b.shape)), "transposed, and then reshaped to fit"
    for axes in _subsets(b):
        yield same(numpy.flip(a, axes), b), f"reversed along {_axes(axes)}: a flip is missing"
    for axis, n in enumerate(b.shape):
        a1, b1 = numpy.moveaxis(a, axis, 0), numpy.moveaxis(b, axis, 0)
        for s in range(1, n - 1):
            yield same(a1[s:], b1[:-s]), f"shifted by {s} along axis {axis}"
            yield same(a1[:-s], b1[s:]), f"shifted by -{s} along axis {axis}"
        yield same(_sorted(a1), _sorted(b1)), f"in another order along axis {axis}"
    yield same(numpy.sort(a, None), numpy.sort(b, None)), "the right numbers in the wrong places"


def _sums(a, b):
    for axes in _subsets(b):
        n, along = math.prod(b.shape[i] for i in axes), _axes(axes)
        all_a, all_b = (t.sum(axes, keepdims=True) + 0 * t for t in (a, b))
        yield same(a, all_b), f"summed over {along}, where each element has its own gradient"
        yield same(a, all_b / n), f"averaged over {along}, where each element has its own"
        yield same(all_a, b), f"not summed over {along}: each element needs the sum"
        yield same(all_a / n, b), f"not averaged over {along}: each element needs the mean"


def _formulas(a, b, named):
    """A sum over other axes, or a product of matrices turned otherwise, than was needed."""
    made = [(f"{name} summed over {_axes(axes)}", t.sum(axes))
            for name, t in named.items() for axes in _subsets(t)]
    sides = [side for name, t in named.items() if t.ndim == 2
             for side in ((name, t), (name + ".T", t.T))]
    made += [(f"{p} @ {q}", s @ t) for (p, s), (q, t) in product(sides, sides)
             if s.shape[1] == len(t)]
    wrong, right = ([words for words, t in made if same(given, t)] for given in (a, b))
    if wrong and right:
        yield True, f"{wrong[0]} where {right[0]} was needed"


FORMS = {"{}": lambda t: t, "(1 - {})": lambda t: 1 - t, "(1 + {})": lambda t: 1 + t,
         "{}^2": lambda t: t * t, "sqrt({})": numpy.sqrt, "exp({})": numpy.exp,
         "(1 - {}^2)": lambda t: 1 - t * t, "{0} (1 - {0})": lambda t: t * (1 - t),
         "(1 - {})^2": lambda t: (1 - t) ** 2}


def _factors(a, b, sizes, like):
    for name, t in like.items():
        for form, function in FORMS.items():
            for k, state in ((_ratio(a * function(t), b, sizes), "missing"),
                             (_ratio(a, b * function(t), sizes), "there once too often")):
                rest = f", and the rest is {_times(k, sizes)}" if k and not _near(k, 1) else ""
                yield k, f"the factor {form.format(name)} is {state}{rest}"
    for p, words in {2: "square", 0.5: "square root", -1: "inverse"}.items():
        yield same(abs(a), abs(b) ** p), f"its {words} where it was needed itself"


def _parts(a, b, sizes, like):
    tiny = ALIKE * abs(b).max()
    wrong = ~(abs(a - b) <= tiny)
    counts = wrong | (abs(b) > tiny)                # where both are zero nothing is proven
    ok = counts & ~wrong
    if ok.any() and wrong.any():
        rows = _multiples(a[wrong], b[wrong], sizes)
        rest = next((words for holds, words in rows if holds), "off")
        for region, where in _regions(ok, wrong, like):
            yield (ok == region)[counts].all(), f"right only {where}; elsewhere {rest}"
        yield True, f"right for {ok.sum()} of {counts.sum()} elements only; the others: {rest}"


def _regions(ok, wrong, like):
    """The parts of an array that a mistake may spare."""
    for name, t in like.items():
        yield t > 0, f"where {name} > 0"
        yield t < 0, f"where {name} < 0"
        if min(ok.sum(), wrong.sum()) > 2:
            yield abs(t) < abs(t)[wrong].min(), f"where |{name}| < {abs(t)[wrong].min():.3g}"
            yield abs(t) > abs(t)[wrong].max(), f"where |{name}| > {abs(t)[wrong].max():.3g}"
    for axis, at in enumerate(numpy.indices(ok.shape)):
        for k in range(1, ok.shape[axis]):
            yield at < k, f"before index {k} of axis {axis}"
            yield at >= k, f"from index {k} of axis {axis} on"


def _offsets(a, b, like):
    d = b - a
    for axes in reversed(list(_subsets(b))):
        if b.size - b.size // math.prod(b.shape[i] for i in axes) < 2:
            continue                                # anything would fit
        for name, t in {"1": numpy.ones_like(b), **like}.items():
            k = (d * t).sum(axes, keepdims=True) / (t * t).sum(axes, keepdims=True)
            yield same(k * t, d), f"a term {name} * k is missing, k constant along {_axes(axes)}"
        k = (a * b).sum(axes, keepdims=True) / (b * b).sum(axes, keepdims=True)
        yield same(k * b, a), f"off by a factor that is constant along {_axes(axes)}"
    for name, t in like.items():
        yield same(a, t), f"{name} itself: the other factors of the chain rule are missing"
    yield not numpy.isfinite(a).all(), "not finite in places"


def _replaced(a, b, like):
    """One factor where another was needed: of the same array, or the same of another array."""
    made = [(name, form, function(t)) for form, function in reversed(FORMS.items())
            for name, t in like.items() if b.size > 2]
    for (p, f, s), (q, h, t) in permutations(made, 2):
        if (p == q or f == h) and not same(s, t):
            yield same(a * t, b * s), f"the factor {f.format(p)} where {h.format(q)} was needed"
    for name, form, t in made:
        yield same(a * t * t, b), f"divided by {form.format(name)} instead of multiplied by it"


def regress(given, wanted, terms, **named):
    """Which of the named terms, whose sum is `wanted`, has the wrong weight in `given`.

    The weights are a least-squares fit; sizes of the named arrays may explain them. None where it
    leaves a rest or cannot tell terms apart, and where all weights are the same, which is for
    `diagnose`.
    """
    a, b = _host(given), _host(wanted)
    sizes = _sizes(b, named)
    T = numpy.stack([(_host(t) + 0 * b).ravel() for t in terms.values()], 1)    # (elements, terms)
    lengths = numpy.linalg.norm(T, axis=0)
    if a.shape != b.shape or b.size <= len(terms) or not (
            lengths.all() and numpy.isfinite(a).all() and same(T.sum(1), b.ravel())):
        return None
    weights, _, _, spread = numpy.linalg.lstsq(T / lengths, a.ravel())
    weights = (weights / lengths).tolist()
    unsure = spread[-1] < 1e-4 * spread[0] or not same(T @ weights, a.ravel())
    if unsure or max(weights) - min(weights) < ALIKE:
        return None
    return ", and ".join(f"the term '{name}' " + (
        "is missing" if abs(k) < ALIKE else f"has weight {k:.4g}, should be 1: {_times(k, sizes)}")
        for name, k in zip(terms, weights) if not _near(k, 1))


def _times(k, sizes):
    """In words, that a gradient is k times too large."""
    n, hints = max(abs(k), 1 / abs(k)), _hints(k, sizes)
    words = f"{n:.6g} times too {'large' if abs(k) > 1 else 'small'}" + f" ({hints}?)" * bool(hints)
    sign = ["negated"] * (k < 0)
    return ", and ".join(sign if _near(n, 1) else [*sign, words])


def _hints(k, sizes):
    """What may have made a gradient k times too large."""
    n = max(abs(k), 1 / abs(k))
    twice, meant = "the 2 of a square left out", "a mean where a sum was meant"
    if abs(k) > 1:
        twice, meant = "added twice", "a sum where a mean was meant"
    hints = [twice] * _near(n, 2)
    hints += [f"{m} is {sizes[m]}: {meant}" for m in sizes if _near(n, m)]
    hints += [f"the square root of {m}, {sizes[m]}" for m in sizes if _near(n * n, m)]
    unusual = [f"{p} is {sizes[p]}, {q} is {sizes[q]}: one in place of the other"
               for p, q in permutations(sizes, 2) if _near(n, p / q)]
    unusual += [f"{m} is {sizes[m]}: {m} - 1 in its place{' under a square root' * root}"
                for m, root in product(sizes, (0, 1))
                if m > 2 and _near(n ** (1 + root), m / (m - 1), 1e-4)]     # an eps may be in it
    unusual += ["bits in place of nats"] * _near(n, 1 / math.log(2))
    return ", or ".join(hints or unusual[:2])


def _sizes(b, named):
    """{n: what it is}, for every size in sight."""
    found = {}
    for of, t in [("", b), *((f" of {name}", t) for name, t in named.items())]:
        for axis, n in enumerate(t.shape):
            found.setdefault(n, f"the size of axis {axis}{of}")
        found.setdefault(t.size, f"the number of elements{of}")
    return {n: what for n, what in found.items() if n > 1}


def _ratio(a, b, sizes):
    """k where a = k b throughout, else None. One or two elements prove only a k that has a name."""
    k = float((a * b).sum() / (b * b).sum())
    if not k or not same(a, k * b):
        return None
    known = _hints(k, sizes) or _near(abs(k), 1)
    return k if known or numpy.count_nonzero(b) > 2 else None


def same(a, b, rtol=ALIKE):
    bound = rtol * abs(b).max(initial=0)
    return a.shape == b.shape and bool(bound < numpy.inf and (abs(a - b) <= bound).all())


def _near(x, y, rtol=ALIKE):
    return abs(x - y) <= rtol * abs(y)


def _host(a):
    return numpy.array(to_numpy(a), dtype="float64")


def _fits(t, b):
    return all(m in (1, n) for m, n in zip(t.shape[::-1], b.shape[::-1])) and t.ndim <= b.ndim


def _sorted(a):
    """The slices of a along axis 0, sorted."""
    rows = a.reshape(len(a), -1)
    return rows[numpy.lexsort(rows.T[::-1].round(9))]


def _axes(axes):
    return f"ax{'i' if len(axes) == 1 else 'e'}s " + " and ".join(map(str, axes))


def _subsets(a):
    """Every choice of the axes along which a has more than one element."""
    long = [i for i, n in enumerate(a.shape) if n > 1]
    return chain.from_iterable(combinations(long, k + 1) for k in range(len(long)))
