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
from .factors import ALIKE, hints, near, sizes_in_sight, times

CANNOT_TELL = "cannot tell in which way it is wrong"


def diagnose(given, wanted, terms=None, **named):
    """In which way the gradient `given` differs from `wanted`, as a sentence.

    named: arrays the gradient may be made of (x=..., y=..., g=..., W=...), to find a forgotten
    factor, or where the error is. terms: those of `wanted`, for `regress`.
    """
    return next(diagnoses(given, wanted, terms, **named))


def diagnoses(given, wanted, terms=None, **named):
    """Every sentence that holds, the plainest first."""
    a, b = _host(given), _host(wanted)
    named = {name: _host(t) for name, t in named.items()}
    like = {name: numpy.broadcast_to(t, b.shape) for name, t in named.items()
            if t.ndim and _fits(t, b)}
    sizes = sizes_in_sight(b, named)
    with numpy.errstate(all="ignore"):
        if a.shape != b.shape:
            rows = chain(_formulas(a, b, named), _shapes(a, b, sizes))
        else:
            noise = 1e-9 * abs(a[numpy.isfinite(a)]).max(initial=0)     # differences do not give 0
            b = numpy.where(abs(b) <= noise, 0.0, b)
            term = regress(a, b, terms, **named) if terms else None
            rows = chain([(term, term)], _multiples(a, b, sizes), _places(a, b), _sums(a, b),
                         _formulas(a, b, named), _factors(a, b, sizes, like),
                         _terms(a, b, like), _parts(a, b, sizes, like), _replaced(a, b, like),
                         _in_a_term(a, b, terms or {}, sizes, like), _offsets(a, b, like),
                         _counted(a, b))
        yield from (words for holds, words in rows if holds)
    yield CANNOT_TELL


# Each of the following is a table of two columns: whether it holds, and what it means then.

def _shapes(a, b, sizes):
    shapes = f"shape {a.shape} where {b.shape} was needed: "
    yield a.size == b.size and same(a.reshape(b.shape), b), shapes + "right, but to be reshaped"
    for axes in permutations(range(a.ndim)):
        yield same(a.transpose(axes), b), shapes + "transposed"
    for axes in _subsets(a):
        for how, s in {"summed back": a.sum(axes), "averaged": a.mean(axes)}.items():
            yield s.size == b.size and same(s.reshape(b.shape), b), \
                f"{shapes}not {how} over {_axes(axes)}"
    for axes in _subsets(b):
        s = b.sum(axes, keepdims=True)
        yield s.size == a.size and same(a.reshape(s.shape) + 0 * b, b), \
            f"{shapes}not spread over {_axes(axes)}"
        for how, s in {"summed": b.sum(axes, keepdims=True),
                       "averaged": b.mean(axes, keepdims=True)}.items():
            yield s.size == a.size and same(a.reshape(s.shape), s), \
                f"{shapes}{how} over {_axes(axes)} too"
    yield a.ndim > b.ndim, shapes + "an axis was not summed back"
    yield a.ndim < b.ndim, shapes + "an axis was summed once too often, or not spread"
    unlike = [i for i, (m, n) in enumerate(zip(a.shape, b.shape)) if m != n]
    if a.ndim == b.ndim and len(unlike) == 1:
        axis = unlike[0]
        short, long = sorted((numpy.moveaxis(t, axis, 0) for t in (a, b)), key=len)
        n, extra, m = len(short), len(long) - len(short), a.shape[axis]
        for at in range(extra + 1) if n else ():
            ends = [f"the {end} {k}" for end, k in (("first", at), ("last", extra - at)) if k]
            yield same(short, long[at:at + n]), (
                f"{shapes}{'missing' if m < b.shape[axis] else 'too many'}: "
                f"{' and '.join(ends)} along axis {axis}; the rest is right")
        yield m in sizes, f"{shapes}{m} is {sizes.get(m, [''])[0]}: another axis was to stay"
        yield a.size != b.size, f"{shapes}another length along axis {axis}"
    yield True, shapes + "a reshape or a transpose is missing"


def _multiples(a, b, sizes):
    k, error = _ratio(a, b, sizes), abs(a - b).max(initial=0) / abs(b).max(initial=0)
    yield same(a, b, 1e-9), "nothing is wrong: the two agree"
    yield same(a, b), (f"off by {error:.0e} of its size only: computed in float32, or with an eps "
                       "elsewhere?")
    yield not numpy.isfinite(a).any(), "not finite: an overflow, a division by 0 or a log of 0"
    yield not a.any(), "all zeros: forgotten, or the graph is cut (by detach, no_grad or .data)"
    yield not b.any(), "should be zero: f does not depend on it"
    yield k, k and times(k, sizes)
    yield same(a, abs(b)), "its absolute value: a sign is lost"
    yield same(a, numpy.floor(b)) or same(a, numpy.trunc(b)), "rounded to whole numbers, as // does"


def _places(a, b):
    for axes in permutations(range(b.ndim)):
        turned = b.transpose(axes)
        yield same(a, turned), "transposed"
        yield same(a, turned.reshape(b.shape)), "transposed, and then reshaped to fit"
    for axes in _subsets(b):
        yield same(numpy.flip(a, axes), b), f"reversed along {_axes(axes)}: a flip is missing"
    for axis, n in enumerate(b.shape):
        a1, b1 = numpy.moveaxis(a, axis, 0), numpy.moveaxis(b, axis, 0)
        for s in range(1, (n + 1) // 2):
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
    for i, j in permutations([i for i, n in enumerate(b.shape) if n > 1], 2):
        yield all(same(t.sum(axis), 0 * t.sum(axis) + 1) for t, axis in ((a, i), (b, j))), \
            f"adds up to 1 along axis {i}, where along axis {j} was needed"


def _formulas(a, b, named):
    """A sum over other axes, of other factors, or a product of matrices turned otherwise, than was
    needed."""
    pairs = [(f"{p} {q}", s * t) for (p, s), (q, t) in combinations(named.items(), 2)
             if s.shape == t.shape]
    made = [(f"{name} {how} over {_axes(axes)}", f(t, axes))
            for name, t in [*named.items(), *pairs] for axes in _subsets(t)
            for how, f in {"summed": numpy.sum, "at its largest": numpy.max}.items()]
    made += [(f"{name} at index {k} of axis {axis}", t.take(k, axis))
             for name, t in named.items() for axis in range(t.ndim) if t.size for k in (0, -1)]
    sides = [side for name, t in named.items() if t.ndim == 2
             for side in ((name, t), (name + ".T", t.T))]
    made += [(f"{p} @ {q}", s @ t) for (p, s), (q, t) in product(sides, sides)
             if s.shape[1] == len(t)]
    wrong, right = ([words for words, t in made if t.size == given.size
                     and same(given, t.reshape(given.shape))] for given in (a, b))
    if wrong and right and wrong != right:
        yield True, f"{wrong[0]} where {right[0]} was needed"
    yield wrong and not right and a.size > 2 and a.shape == b.shape, (
        f"{wrong and wrong[0]}: the rest of the formula is missing")


FORMS = {"{}": lambda t: t, "(1 - {})": lambda t: 1 - t, "(1 + {})": lambda t: 1 + t,
         "{}^2": lambda t: t * t, "sqrt({})": numpy.sqrt, "exp({})": numpy.exp,
         "ln({})": numpy.log, "sqrt(1 - {}^2)": lambda t: numpy.sqrt(1 - t * t),
         "(1 + {}^2)": lambda t: 1 + t * t, "(1 - {}^2)": lambda t: 1 - t * t,
         "{0} (1 - {0})": lambda t: t * (1 - t),
         "(1 - {})^2": lambda t: (1 - t) ** 2}


def _factors(a, b, sizes, like):
    for form, function in FORMS.items():
        for name, t in like.items():
            for k, state in ((_ratio(a * function(t), b, sizes), "missing"),
                             (_ratio(a, b * function(t), sizes), "there once too often")):
                rest = f", and the rest is {times(k, sizes)}" if k and not near(k, 1) else ""
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


def _counted(a, b):
    yield not numpy.isfinite(a).all(), "not finite in places"
    tiny = ALIKE * abs(b).max()
    counts = (abs(a - b) > tiny) | (abs(b) > tiny)
    ok = counts & (abs(a - b) <= tiny)
    yield ok.any(), f"right for {ok.sum()} of {counts.sum()} elements only"


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


TERMS = {1: "missing", -1: "there once too often", 2: "taken off where it is to be added",
         -2: "added where it is to be taken off"}


def _terms(a, b, like):
    for name, t in like.items():
        for k, state in TERMS.items():
            yield b.size > 2 and same(b - a, k * t), f"a term {name} is {state}"


def _offsets(a, b, like):
    d = b - a
    for axes in reversed(list(_subsets(b))):
        if b.size - b.size // math.prod(b.shape[i] for i in axes) < 2:
            continue                                # anything would fit
        k = (a * b).sum(axes, keepdims=True) / (b * b).sum(axes, keepdims=True)
        yield same(k * b, a), f"off by a factor that is constant along {_axes(axes)}"
        for name, t in {"1": numpy.ones_like(b), **like}.items():
            k = (d * t).sum(axes, keepdims=True) / (t * t).sum(axes, keepdims=True)
            yield same(k * t, d), f"a term {name} * k is missing, k constant along {_axes(axes)}"
    for name, t in like.items():
        yield same(a, t), f"{name} itself: the rest of the formula is missing"


def _replaced(a, b, like):
    """One factor where another was needed, or a sum where a product was."""
    made = [(form.format(name), function(t)) for form, function in reversed(FORMS.items())
            for name, t in like.items() if b.size > 2]
    made = [(words, t) for words, t in made if t.all()]             # times 0 all is equal
    for (p, s), (q, t) in permutations(made, 2):
        yield not same(s, t) and same(a * t, b * s), f"the factor {p} where {q} was needed"
    for words, t in made:
        yield same(a * t * t, b), f"divided by {words} instead of multiplied by it"
        yield same(a * t, t * t + b), f"{words} is added where it is to be a factor"
        yield same(a, t * (b - t)), f"{words} is a factor where it is to be added"


def _in_a_term(a, b, terms, sizes, like):
    """A mistake in one of the terms whose sum is b."""
    terms = {name: _host(t) + 0 * b for name, t in terms.items()}
    if terms and same(sum(terms.values()), b):
        for name, t in terms.items():
            rows = chain(_factors(a - b + t, t, sizes, like), _replaced(a - b + t, t, like))
            words = next((words for holds, words in rows if holds), None)
            yield words, f"in the term '{name}': {words}"


def regress(given, wanted, terms, **named):
    """Which of the named terms, whose sum is `wanted`, has the wrong weight in `given`.

    The weights are a least-squares fit; sizes of the named arrays may explain them. None where it
    leaves a rest or cannot tell terms apart, and where all weights are the same, which is for
    `diagnose`.
    """
    a, b = _host(given), _host(wanted)
    sizes = sizes_in_sight(b, named)
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
    told = {}
    for name, k in zip(terms, weights):
        if not near(k, 1):
            told.setdefault(f"{k:.4f}", (k, []))[1].append(f"'{name}'")
    return ", and ".join(_weight(k, names, sizes) for k, names in told.values())


def _weight(k, names, sizes):
    words, several = " and ".join(names), len(names) > 1
    if abs(k) < ALIKE:
        return f"the terms {words} are missing" if several else f"the term {words} is missing"
    return (f"the terms {words} have" if several else f"the term {words} has") + (
        f" weight {k:.4g}, should be 1: {times(k, sizes)}")


def _ratio(a, b, sizes):
    """k where a = k b throughout, else None. One or two elements prove only a k that has a name."""
    k = float((a * b).sum() / (b * b).sum())
    if not k or not same(a, k * b):
        return None
    known = hints(k, sizes) or near(abs(k), 1)
    return k if known or numpy.count_nonzero(b) > 2 else None


def same(a, b, rtol=ALIKE):
    bound = rtol * abs(b).max(initial=0)
    return a.shape == b.shape and bool(bound < numpy.inf and (abs(a - b) <= bound).all())


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
