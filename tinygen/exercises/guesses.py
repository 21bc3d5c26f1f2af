"""What other function, or which other arguments, would give just what a learner's answer gave?"""
import inspect
import math
import re
from contextlib import suppress
from functools import partial
from itertools import combinations, product
from types import SimpleNamespace

import numpy

from ..engine.diagnosis import CANNOT_TELL
from .slips import slips
from .task import close, copied, floats, results_of

UNSURE = (CANNOT_TELL, "the factor", "a term", "off by a factor")  # by chance, in a small case
VAGUE = (*UNSURE, "right only", "right for", "the right numbers", "shape")
                                        # diagnoses that a better one may replace
SCALES = {1: "", -1: ", and negated", 2: ", and 2 times too large", 0.5: ", and 2 times too small"}
FORMS = {"negated": numpy.negative, "positive": abs, "turned around": numpy.flip,
         "squared": numpy.square, "all ones: is it forgotten?": numpy.ones_like}
RARE = {"0: is it forgotten?": numpy.zeros_like, "doubled": lambda v: 2 * v,
        "halved": lambda v: v / 2, "its mean": lambda v: v.mean() + 0 * v,
        "multiplied by ln 2: is the base 2, not e?": lambda v: math.log(2) * v}


def altered(exercise, case, fault, runs):
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
        told = [close(numpy.asarray(given), k * result, c.args)
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
        return results_of(exercise.run(answer, **copied({**case.args, **args})))

    def turned(**args):
        return {k: v.T for k, v in changed(**args).items() if v.ndim <= 2}

    def weighed(k, term):
        return {name: result - (1 - k) * term for name, result in changed().items()
                if close(numpy.asarray(result), total, case.args)}
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
    for k, v in floats(arrays).items():
        for form, f in forms.items():
            ways[f"right if {k} were {form}"] = partial(changed, **{k: f(v)})
    for k in numbers:
        ways[f"right if {k} were 1: is it forgotten?"] = partial(changed, **{k: 1.0})
        ways[f"right if {k} were squared"] = partial(changed, **{k: numbers[k] ** 2})
    parts = exercise.parts(**case.args) if exercise.parts else {}
    for (p, s), (q, t) in product(floats(arrays).items(), floats({**parts, **arrays}).items()):
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
