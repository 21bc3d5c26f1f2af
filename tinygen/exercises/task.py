"""What the checker knows of a task, and what the answers to it are made of.

    answer     a namespace with the functions that the task asks for: the learner's file, or `right`
    case       named arguments, with a name that says what is special about them
"""
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy

RTOL = 1e-6                 # of the largest element, in float64


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


# --- for a task's own functions -------------------------------------------------------------------

def named(result, *names):
    """What an answer gives, under these names: a tuple or list of as many results, or one."""
    several = isinstance(result, (tuple, list)) and len(names) > 1
    return dict(zip(names, result if several else [result]))


def random(*shape, seed=0):
    """Numbers of both signs and none near 0, the same each time."""
    rng = numpy.random.default_rng([seed, *shape])
    return rng.uniform(0.3, 1.7, shape) * rng.choice([-1.0, 1.0], shape)


# --- results and arguments ------------------------------------------------------------------------

def results_of(result):
    """{name: array} of whatever an answer gives."""
    if isinstance(result, dict):
        return result
    return {"the result": result}


def copied(args):
    """The arguments, arrays as copies of their own"""
    return {k: v.copy() if isinstance(v, numpy.ndarray) else v for k, v in args.items()}


def floats(named):
    """Those that are arrays of floats, with an element at least"""
    return {k: v for k, v in named.items()
            if isinstance(v, numpy.ndarray) and v.dtype.kind == "f" and v.size}


def close(a, b, args):
    """Equal up to rounding, that of the result or of the arguments; infinities and NaN alike."""
    if a.shape != b.shape or a.dtype.kind not in "fiub":
        return False
    a, b = a + 0.0, b + 0.0                     # booleans cannot be subtracted
    finite = numpy.isfinite(b)
    if not (numpy.isfinite(a) == finite).all():
        return False
    largest = max([abs(v).max() for v in floats(args).values() if numpy.isfinite(v).all()],
                  default=1.0)
    bound = max(RTOL * abs(b[finite]).max(initial=0), 1e-12 * largest)
    same_infinities = (a[~finite] == b[~finite]) | numpy.isnan(b[~finite])
    return bool((abs(a[finite] - b[finite]) <= bound).all() and same_infinities.all())


def _told(v):
    if isinstance(v, numpy.ndarray) and v.ndim:
        return str(v.shape)
    return f"= {v!r}" if len(repr(v)) < 80 else f"= {repr(v)[:40]} ..."
