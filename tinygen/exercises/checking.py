"""Is a learner's answer right, and if not: where, in which way, and what to try next?

    exercise   the task as the checker knows it: how to run an answer, on which cases, beside what
    answer     a namespace with the functions that the task asks for: the learner's file, or `right`
    case       named arguments, with a name that says what is special about them

Both answers run on every case. A case where they differ is handed to engine/diagnosis.py; which
cases fail, and which do not, says the rest: right only for a batch of 1, wrong at large inputs.
"""
import inspect
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace

import numpy

from ..engine.diagnosis import CANNOT_TELL, diagnoses
from .running import Endless, Fault, limited
from .slips import slips

RTOL = 1e-6                 # of the largest element, in float64
PLAIN, ALONE = "plain", "right only for {}; elsewhere {}"
UNSURE = (CANNOT_TELL, "the factor", "a term", "off by a factor")  # by chance, in a small case
VAGUE = (*UNSURE, "right only", "right for", "the right numbers", "shape")
                                        # diagnoses that a better one may replace
SCALES = {1: "", -1: ", and negated", 2: ", and 2 times too large", 0.5: ", and 2 times too small"}
FORMS = {"negated": numpy.negative, "positive": abs, "turned around": numpy.flip,
         "squared": numpy.square, "all ones: is it forgotten?": numpy.ones_like}
RARE = {"0: is it forgotten?": numpy.zeros_like, "doubled": lambda v: 2 * v,
        "halved": lambda v: v / 2, "its mean": lambda v: v.mean() + 0 * v,
        "multiplied by ln 2: is the base 2, not e?": lambda v: math.log(2) * v}


class Case:
    """A name and the arguments. `fault` says what is wrong with an answer that fails here although
    it is right in the plain cases; `spares` names the kind of input, where an answer that is wrong
    in the plain cases may still be right: "a batch of 1"."""

    def __init__(self, name, fault=None, spares=None, **args):
        self.name, self.fault, self.spares, self.args = name, fault, spares, args

    def shapes(self):
        return ", ".join(f"{k} {_told(v)}" for k, v in self.args.items())


@dataclass
class Exercise:
    """What the checker knows of lessons/exercises/NAME.py."""
    name: str
    title: str
    right: SimpleNamespace              # functions of the names that the task asks for
    run: callable                       # run(answer, **case.args) -> array, or a dict of arrays
    cases: list                         # from the smallest up, the first ones PLAIN
    hint: str                           # what to try next
    stronger: str                       # with --hint
    own: dict = field(default_factory=dict)         # {function: its own (hint, stronger)}
    solution: tuple = ()                # the package's objects that hold the answer
    terms: callable = None              # terms(**args) -> {term: array}, whose sum is the result
    parts: callable = None              # parts(**args) -> {name: array} that a result is made of
    hints: dict = field(default_factory=dict)       # {pattern in the diagnosis: its own hint}
    variants: dict = field(default_factory=dict)    # {what is wrong: functions that are so}
    keeps_float32: bool = True


@dataclass
class Report:
    """ok, or not: where (function, element, both values, smallest case), what, next."""
    exercise: Exercise
    state: str                          # "passed", "not begun" or "not yet"
    where: str = ""
    what: str = ""
    function: str = ""                  # the first that is wrong, or not begun

    def next(self, stronger=False):
        e = self.exercise
        plain = e.own.get(self.function, (e.hint, e.stronger))
        by_pattern = (hint for pattern, hint in e.hints.items() if re.search(pattern, self.what))
        return plain[1] if stronger else next(by_pattern, plain[0])

    def text(self, stronger=False):
        if self.state == "passed":
            return f"{self.exercise.name}: passed"
        lines = [f"{self.exercise.name}: {self.state}"]
        if self.where:
            lines.append(f"  where  {self.where}")
        if self.what:
            lines.append(f"  what   {self.what}")
        return "\n".join([*lines, f"  next   {self.next(stronger)}"])


# --- the check ------------------------------------------------------------------------------------

def check(exercise, answer):
    """The Report on an answer, a namespace (or a dict) of the functions that the task asks for."""
    answer = SimpleNamespace(**answer) if isinstance(answer, dict) else answer
    missing = [f for f in vars(exercise.right) if not callable(getattr(answer, f, None))]
    if missing:
        return Report(exercise, "not yet", "", f"there is no function {missing[0]}: it was renamed "
                      "or removed; the checker calls it by that name")
    unfinished = []
    for name in vars(exercise.right):           # one at a time, beside right versions of the others
        functions = {**vars(exercise.right), name: getattr(answer, name)}
        try:
            _compare(exercise, SimpleNamespace(**functions))
            _use(exercise, SimpleNamespace(**functions))
        except NotImplementedError:
            unfinished.append(name)
        except Fault as fault:
            return Report(exercise, "not yet", fault.where, fault.what, name)
    if len(unfinished) == len(vars(exercise.right)):
        return Report(exercise, "not begun", function=unfinished[0])
    if unfinished:
        return Report(exercise, "not yet", "", f"not begun: {', '.join(unfinished)}; the rest is "
                      "right", unfinished[0])
    return Report(exercise, "passed")


def _compare(exercise, answer):
    """Every case; raises the fault that tells most."""
    runs = [(case, *_run(exercise, answer, case)) for case in exercise.cases]
    failed = [(case, fault) for case, _, fault in runs if fault]
    if not failed:
        return
    plain = [(case, fault) for case, fault in failed if case.name.startswith(PLAIN)]
    case, fault = plain[-1] if plain else failed[0]
    smallest, first = next((c, f) for c, f in failed if f.name == fault.name)
    where = f"{first.where or 'the call'}; smallest case: {smallest.shapes()}"
    what = _altered(exercise, case, fault, runs)
    if not what:
        alike = [f for _, f in plain if f.name == fault.name]
        others = [f.what for f in alike]
        what = _borne_out(_common(fault, [f for f in alike if f.told]), others)
        note = "; another number in other cases" * any(_by_number(what, w) for w in others)
        if note or _borne_out(first.what, others) != what != CANNOT_TELL:
            what += f" (in the case {case.shapes()}{note})"
    if case.fault and not plain:
        raise Fault(case.fault if what.startswith(UNSURE) else f"{case.fault} ({what})", where)
    if what.startswith(VAGUE) and not isinstance(fault, Endless):
        _repeat(exercise, answer)
    # an answer that is wrong everywhere but in special cases gives itself away by those
    spared = [c.spares for c, _, f in runs if c.spares and not f]
    twice = what.startswith("right only")
    raise Fault(ALONE.format(spared[0], what) if spared and plain and not twice else what, where)


def _common(fault, others):
    """The first diagnosis that holds, but for its numbers, in the other cases as well. One that
    chance may have made is no diagnosis without."""
    def kind(what):
        return re.sub(r"[-\d.]+| \([^()]*\?\)|, and the rest.*|large|small|: the (fir|la)st.*;", "",
                      what)
    alike = all(kind(f.what) == kind(fault.what) for f in others)
    if alike or not fault.told or fault.what.startswith("the term"):
        return fault.what
    told = [set(map(kind, f.told())) for f in others]
    common = (what for what in fault.told() if all(kind(what) in t for t in told))
    what = next(common, CANNOT_TELL)
    return what if what != CANNOT_TELL or fault.what.startswith(UNSURE) else fault.what


def _borne_out(what, others):
    """A diagnosis without those guesses, "(3 is the size of axis 0?)", that another case with the
    same number lacks: there it is no size."""
    guess = re.compile(r" \(([^()]*)\?\)")
    alike = [w for w in others if guess.sub("", w) == guess.sub("", what)]

    def kept(found):
        guesses = [g for g in found[1].split(", or ") if all(g in w for w in alike)]
        return f" ({', or '.join(guesses)}?)" if guesses else ""
    return guess.sub(kept, what)


def _by_number(what, other):
    """Whether two diagnoses differ in a weight or factor alone, one of no known meaning."""
    said = [re.sub(r"[\d.]+", "", words) for words in (what, other)]
    return (what != other and said[0] == said[1] and "?" not in what
            and bool(re.search("weight|times too", what)))


def _run(exercise, answer, case):
    """All that an answer gives in a case, by name, and the Fault in it; None for what there is
    not."""
    wanted = _results(exercise.run(exercise.right, **_copied(case.args)))
    before, args, given = _copied(case.args), _copied(case.args), None
    try:
        given = _results(limited(exercise.run, answer, **args))
        changed = [k for k, v in before.items()
                   if isinstance(v, numpy.ndarray) and not _equal(v, args[k])]
        if changed:
            raise Fault(f"it edits its argument {changed[0]} in place, so that the caller's array "
                        "changes")
        for name in wanted:
            if name not in given:
                raise Fault(f"the result {name} is missing")
            _judge(exercise, case, name, given, wanted)
    except Endless:
        raise
    except Fault as fault:
        return given, fault
    return given, None


def _judge(exercise, case, name, answers, results):
    """Raises the Fault of one result, if it has one. answers, results: all that were given, and
    all the right ones, by name"""
    given, wanted = answers[name], numpy.asarray(results[name])
    if given is None:
        raise Fault("it gives None: is a return missing?")
    what = type(given).__name__
    try:
        given = numpy.asarray(given)
    except Exception:                   # whatever an object does when asked to be an array
        given = numpy.asarray(None)
    if given.dtype.kind not in "fiub":
        raise Fault(f"{name} is no array of numbers, but {what}")
    if _close(given, wanted, case.args):
        return
    for other in results:
        taken = [_close(numpy.asarray(answers.get(p)), numpy.asarray(results[q]), case.args)
                 for p, q in ((name, other), (other, name))]
        if all(taken):
            raise Fault(f"{name} and {other} are exchanged", _worst(name, given, wanted))
    if given.dtype.kind in "iub" and (wanted % 1).any():
        raise Fault("whole numbers: an array inside was made for them, as by dtype=int",
                    _worst(name, given, wanted))
    alike = given.shape == wanted.shape
    terms = exercise.terms(**case.args) if exercise.terms and alike else None
    parts = exercise.parts(**case.args) if exercise.parts else {}
    numbers = {k: v for k, v in case.args.items() if isinstance(v, float)}
    arrays = _floats({**case.args, **parts})
    told = partial(diagnoses, given, wanted, terms, **arrays, **numbers)
    what = next(told())
    for other in results if what == CANNOT_TELL else ():
        if _close(given, numpy.asarray(results[other]), case.args):
            what = f"what should be {other} stands in the place of {name}"
    raise Fault(what, _worst(name, given, wanted), name, told if wanted.size > 2 else None)


def _floats(named):
    return {k: v for k, v in named.items()
            if isinstance(v, numpy.ndarray) and v.dtype.kind == "f" and v.size}


def _altered(exercise, case, fault, runs):
    """What other function, or which other arguments, would give just what was given: in words, or
    None. It must hold in every ordinary case, and other arguments in more than one: in one case
    much is equal by chance."""
    forms = FORMS if fault.what.startswith("the factor") else {**FORMS, **RARE}
    forms = forms if fault.what.startswith(VAGUE) else {}
    deep = forms and re.match("cannot|right|off by|a term .*, k constant", fault.what)
    kind = re.sub(r"\d+$", "", str(fault.name))         # "p after 1" and "p after 2": all of them
    ordinary = [(c, name, given[name], _ways(exercise, c, forms, deep)) for c, given, _ in runs
                for name in given or {} if re.sub(r"\d+$", "", name) == kind
                if c is case or not c.fault]
    results = {words: [(c, given, _result(ways.get(words), name))
                       for c, name, given, ways in ordinary]
               for words in _ways(exercise, case, forms, deep)}
    for (k, also), words in product(SCALES.items() if forms else [(1, "")], results):
        told = [_close(numpy.asarray(given), k * result, c.args)
                for c, given, result in results[words] if result is not None]
        guess = words not in exercise.variants
        finite = all(numpy.isfinite(given).all() for _, given, _ in results[words])
        shown = all(result is not None for c, _, result in results[words] if c is case)
        if shown and all(told) and len(told) > guess and (finite or not guess):
            return words + also


def _ways(exercise, case, forms, deep):
    """{words: what the right functions, or arguments, give when changed in this way}"""
    def changed(functions={}, **args):
        answer = SimpleNamespace(**{**vars(exercise.right), **functions})
        return _results(exercise.run(answer, **_copied({**case.args, **args})))

    def turned(**args):
        return {k: v.T for k, v in changed(**args).items() if v.ndim <= 2}

    def weighed(k, term):
        return {name: result - (1 - k) * term for name, result in changed().items()
                if _close(numpy.asarray(result), total, case.args)}
    ways = {words: partial(changed, functions) for words, functions in exercise.variants.items()}
    if not forms:
        return ways
    arrays = {k: v for k, v in case.args.items() if isinstance(v, numpy.ndarray)}
    if all(v.ndim == 2 for v in arrays.values()):
        ways["right along the other axis"] = partial(turned, **{k: v.T for k, v in arrays.items()})
    numbers = {k: v for k, v in case.args.items() if isinstance(v, float)}
    for (p, s), (q, t) in combinations({**arrays, **numbers}.items(), 2):
        if numpy.shape(s) == numpy.shape(t):
            ways[f"right if {p} and {q} were exchanged"] = partial(changed, **{p: t, q: s})
    for k, v in _floats(arrays).items():
        for form, f in forms.items():
            ways[f"right if {k} were {form}"] = partial(changed, **{k: f(v)})
    for k in numbers:
        ways[f"right if {k} were 1: is it forgotten?"] = partial(changed, **{k: 1.0})
        ways[f"right if {k} were squared"] = partial(changed, **{k: numbers[k] ** 2})
    parts = exercise.parts(**case.args) if exercise.parts else {}
    for (p, s), (q, t) in product(_floats(arrays).items(), _floats({**parts, **arrays}).items()):
        if p != q and s.shape == t.shape:
            ways[f"{q} stands where {p} was needed"] = partial(changed, **{p: t})
    terms = exercise.terms(**case.args) if exercise.terms else {}
    total = numpy.asarray(sum(terms.values()))
    for name, term in terms.items():
        ways |= {f"the term '{name}' is missing": partial(weighed, 0, term),
                 f"the term '{name}' is negated": partial(weighed, -1, term)}
    for f, right in vars(exercise.right).items() if deep else ():
        for words, slip in slips(right).items() if inspect.isfunction(right) else ():
            ways[words + f", in {f}" * (words in ways)] = partial(changed, {f: slip})
    return ways


def _result(way, name):
    """What a way gives under this name, or None: not every argument will do."""
    with suppress(Exception), numpy.errstate(all="ignore"):
        return numpy.asarray(way()[name], "float64")


def _worst(name, given, wanted):
    """The element that is off the most, and both values."""
    if given.shape != wanted.shape:
        return f"{name}: yours has shape {given.shape}, right is {wanted.shape}"
    off = numpy.nan_to_num(abs(given - wanted.astype("float64")), nan=numpy.inf, posinf=numpy.inf)
    worst = numpy.unravel_index(off.argmax(), off.shape)
    at = f"[{', '.join(map(str, worst))}]" if worst else ""
    return f"{name}{at}: yours {given[worst]:.6g}, right {wanted[worst]:.6g}"


def _use(exercise, answer):
    """What numbers do not show: it must do the same when called again, and keep float32."""
    _repeat(exercise, answer)
    _keep_float32(exercise, answer)


def _repeat(exercise, answer):
    case = next(c for c in reversed(exercise.cases) if c.name.startswith(PLAIN))
    first, second = (_results(limited(exercise.run, answer, **_copied(case.args))) for _ in "12")
    for name, a in first.items():
        if not _close(numpy.asarray(second[name]), numpy.asarray(a), case.args):
            raise Fault("called again it gives other numbers: something is drawn at random, or "
                        "kept from one call to the next",
                        f"{name}, called twice with the same {', '.join(case.args)}")


def _keep_float32(exercise, answer):
    case = next(c for c in reversed(exercise.cases) if c.name.startswith(PLAIN))
    if exercise.keeps_float32:
        args = {k: v.astype("float32") if getattr(v, "dtype", None) == "float64" else v
                for k, v in _copied(case.args).items()}
        for name, a in _results(limited(exercise.run, answer, **args)).items():
            if getattr(a, "dtype", None) == "float64" and getattr(a, "ndim", 0):
                raise Fault("float32 lost: float32 in must be float32 out; some array inside is "
                            "float64", f"{name}, given float32")


# --- small things ---------------------------------------------------------------------------------

def named(result, *names):
    """What an answer gives, under these names: a tuple or list of as many results, or one."""
    several = isinstance(result, (tuple, list)) and len(names) > 1
    return dict(zip(names, result if several else [result]))


def random(*shape, seed=0):
    """Numbers of both signs and none near 0, the same each time."""
    rng = numpy.random.default_rng([seed, *shape])
    return rng.uniform(0.3, 1.7, shape) * rng.choice([-1.0, 1.0], shape)


def _results(result):
    """{name: array} of whatever an answer gives."""
    if isinstance(result, dict):
        return result
    return {"the result": result}


def _copied(args):
    return {k: v.copy() if isinstance(v, numpy.ndarray) else v for k, v in args.items()}


def _close(a, b, args):
    """Equal up to rounding, that of the result or of the arguments; infinities and NaN alike."""
    if a.shape != b.shape or a.dtype.kind not in "fiub":
        return False
    a, b = a + 0.0, b + 0.0                     # booleans cannot be subtracted
    finite = numpy.isfinite(b)
    if not (numpy.isfinite(a) == finite).all():
        return False
    largest = max([abs(v).max() for v in _floats(args).values() if numpy.isfinite(v).all()],
                  default=1.0)
    bound = max(RTOL * abs(b[finite]).max(initial=0), 1e-12 * largest)
    same_infinities = (a[~finite] == b[~finite]) | numpy.isnan(b[~finite])
    return bool((abs(a[finite] - b[finite]) <= bound).all() and same_infinities.all())


def _equal(a, b):
    return a.shape == b.shape and bool(((a == b) | (a != a)).all())


def _told(v):
    if isinstance(v, numpy.ndarray) and v.ndim:
        return str(v.shape)
    return f"= {v!r}" if len(repr(v)) < 80 else f"= {repr(v)[:40]} ..."


def source(exercise):
    """The package's own source of the answer: each object with what stands right below it, such as
    a derivative rule, up to the next two blank lines."""
    parts = []
    for thing in exercise.solution:
        thing = inspect.unwrap(thing)
        path = inspect.getsourcefile(thing)
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        own, start = inspect.getsourcelines(thing)
        end = start - 1 + len(own)
        while end < len(lines) and lines[end:end + 2] != ["", ""]:
            end += 1
        parts.append("\n".join(lines[start - 1:end]))
    return "\n\n".join(parts)
