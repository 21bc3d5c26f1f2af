"""Is a learner's answer right, and if not: where, in which way, and what to try next?

Both answers run on every case. A case where they differ is handed to engine/diagnosis.py; which
cases fail, and which do not, says the rest: right only for a batch of 1, wrong at large inputs.
"""
import inspect
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy

from ..engine.diagnosis import CANNOT_TELL, diagnoses
from .guesses import UNSURE, VAGUE, altered
from .running import Endless, Fault, limited
from .task import Exercise, close, copied, floats, results_of

PLAIN, ALONE = "plain", "right only for {}; elsewhere {}"


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
    what = altered(exercise, case, fault, runs)
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
    wanted = results_of(exercise.run(exercise.right, **copied(case.args)))
    before, args, given = copied(case.args), copied(case.args), None
    try:
        given = results_of(limited(exercise.run, answer, **args))
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
    if close(given, wanted, case.args):
        return
    for other in results:
        taken = [close(numpy.asarray(answers.get(p)), numpy.asarray(results[q]), case.args)
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
    arrays = floats({**case.args, **parts})
    told = partial(diagnoses, given, wanted, terms, **arrays, **numbers)
    what = next(told())
    for other in results if what == CANNOT_TELL else ():
        if close(given, numpy.asarray(results[other]), case.args):
            what = f"what should be {other} stands in the place of {name}"
    raise Fault(what, _worst(name, given, wanted), name, told if wanted.size > 2 else None)




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
    first, second = (results_of(limited(exercise.run, answer, **copied(case.args))) for _ in "12")
    for name, a in first.items():
        if not close(numpy.asarray(second[name]), numpy.asarray(a), case.args):
            raise Fault("called again it gives other numbers: something is drawn at random, or "
                        "kept from one call to the next",
                        f"{name}, called twice with the same {', '.join(case.args)}")


def _keep_float32(exercise, answer):
    case = next(c for c in reversed(exercise.cases) if c.name.startswith(PLAIN))
    if exercise.keeps_float32:
        args = {k: v.astype("float32") if getattr(v, "dtype", None) == "float64" else v
                for k, v in copied(case.args).items()}
        for name, a in results_of(limited(exercise.run, answer, **args)).items():
            if getattr(a, "dtype", None) == "float64" and getattr(a, "ndim", 0):
                raise Fault("float32 lost: float32 in must be float32 out; some array inside is "
                            "float64", f"{name}, given float32")


def _equal(a, b):
    return a.shape == b.shape and bool(((a == b) | (a != a)).all())


# --- the answer -----------------------------------------------------------------------------------

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
