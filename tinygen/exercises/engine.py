"""Exercises 18 to 21: parts of the engine."""
from types import SimpleNamespace

import numpy as np

from ..engine import backward, elementwise, tensor
from .running import Wrong
from .task import Case, Exercise, named, random


# --- 18: the order of the walk back ---------------------------------------------------------------

def _order(y, inputs):
    """The youngest first: a number is larger than those of its inputs."""
    found, stack = set(), [y]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(inputs[node])
    return sorted(found, reverse=True)


def _run_order(answer, y, inputs):
    order = answer.backward_order(y, inputs)
    if not isinstance(order, (list, tuple)):
        raise Wrong(f"it gives {type(order).__name__} where a list of nodes was needed")
    order, needed = list(order), _order(y, inputs)
    if len(set(order)) < len(order):
        twice = next(n for n in order if order.count(n) > 1)
        raise Wrong(f"node {twice} comes more than once: remember which were visited")
    if set(order) - set(needed):
        raise Wrong(f"node {min(set(order) - set(needed))} is no part of how {y} was made")
    if set(needed) - set(order):
        gone = min(set(needed) - set(order))
        raise Wrong(f"node {gone} is missing, " + (
            "where the gradient starts" if gone == y else f"though {y} was made from it"))
    place = {node: i for i, node in enumerate(order)}
    for node in order:
        for a in inputs[node]:
            if place[a] < place[node]:
                raise Wrong(f"node {a} comes before node {node}, which was made from it and still "
                            "has a gradient to give to it")
    return {"how many": np.array(len(order))}


ORDER = Exercise(
    "ex18_topological_order", "in which order a gradient travels back",
    right=SimpleNamespace(backward_order=_order), run=_run_order,
    cases=[Case("plain, a chain", y=2, inputs={0: [], 1: [0], 2: [1]}),
           Case("plain, a diamond", y=3, inputs={0: [], 1: [0], 2: [0, 1], 3: [2, 1]}),
           Case("an input used twice", y=1, inputs={0: [], 1: [0, 0]}),
           Case("plain, a short cut", y=5,
                inputs={0: [], 1: [], 2: [0], 3: [2], 4: [3], 5: [0, 4], 6: [5, 1]}),
           Case("a long chain", y=5000, inputs={0: [], **{i: [i - 1] for i in range(1, 5001)}},
                fault="fails on a graph of 5000 nodes in a row")],
    hint="A node may go only when everything that was made from it has gone. Draw the short cut: "
         "y made from a and d, d from c, c from b, b from a.",
    stronger="Collect all nodes that y was made from, with a list as a stack instead of recursion. "
             "Numbers tell age: sort them, the youngest first.",
    solution=(backward._walk_back,), keeps_float32=False)


# --- 19: adding gradients up ----------------------------------------------------------------------

def _accumulate(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            given = rule(total[node])
            total[a] = total[a] + given if a in total else given
    return total


def _run_accumulation(answer, g, graph):
    order, rules = _graph(graph)
    total = answer.accumulate(g, order, rules)
    if not isinstance(total, dict):
        raise Wrong(f"it gives {type(total).__name__} where a dict, node to gradient, was needed")
    return {f"the gradient of {node}": total[node] for node in order if node in total}


def _graph(name):
    """(order, rules) of a small graph: y = f(a, b) and so on, each rule a function of g."""
    def same(g):
        return g

    def thrice(g):
        return 3.0 * g

    def minus(g):
        return -g
    rules = {
        "plain": {"y": [("a", thrice), ("b", minus)], "a": [], "b": []},
        "a chain": {"y": [("a", minus)], "a": [("x", thrice)], "x": []},
        "used twice": {"y": [("a", thrice), ("a", minus)], "a": []},
        "a diamond": {"y": [("a", thrice), ("b", minus)], "a": [("x", thrice)],
                      "b": [("x", minus)], "x": []},
        "passed on": {"y": [("a", same), ("b", same)], "a": [("b", thrice), ("x", same)],
                      "b": [("x", thrice)], "x": []},
    }[name]
    return list(rules), rules


ACCUMULATION = Exercise(
    "ex19_accumulation", "gradients that meet in a node add up",
    right=SimpleNamespace(accumulate=_accumulate), run=_run_accumulation,
    cases=[Case("plain", g=random(3), graph="plain"),
           Case("a chain", g=random(3), graph="a chain",
                fault="wrong where a gradient goes on to a second node: each rule is given the "
                      "gradient of its own node"),
           Case("used twice", g=random(3), graph="used twice",
                fault="wrong where a node is used more than once"),
           Case("a diamond", g=random(3), graph="a diamond",
                fault="wrong where two ways lead back to one node"),
           Case("passed on", g=random(3), graph="passed on",
                fault="wrong where a rule passes on the very array that it got, as that of x + y "
                      "does: adding in place (+=) then changes a gradient that others hold")],
    hint="What is already there when the second gradient arrives?",
    stronger="total[a] = total[a] + new if a is there, else new. Not +=: the array may be the same "
             "object as another node's gradient.",
    solution=(backward._walk_back,))


# --- 20: no_grad ----------------------------------------------------------------------------------

def _run_no_grad(answer, before):
    mode = SimpleNamespace(recording=before)
    with answer.no_grad(mode):
        if mode.recording is not False:
            raise Wrong("inside the block mode.recording should be False")
        later = answer.no_grad(mode)
        with answer.no_grad(mode):
            pass
        if mode.recording is not False:
            raise Wrong("after an inner block the outer one should still be in force: restore what "
                        "was before, which need not be True")
    if mode.recording is not before:
        raise Wrong(f"after the block mode.recording should be what it was before, {before}")
    with later:
        pass
    if mode.recording is not before:
        raise Wrong("what was before is remembered when the block is made: __enter__ is the time, "
                    "as a block may be entered later")
    try:
        with answer.no_grad(mode):
            raise KeyError("a learner's mistake")
    except KeyError:
        pass
    else:
        raise Wrong("an exception inside the block is swallowed: __exit__ must not return True")
    if mode.recording is not before:
        raise Wrong("after an exception inside the block recording stays off for ever")
    return {"recording": np.array(mode.recording)}


class _NoGrad:
    def __init__(self, mode):
        self.mode = mode

    def __enter__(self):
        self.before, self.mode.recording = self.mode.recording, False

    def __exit__(self, *error):
        self.mode.recording = self.before


NO_GRAD = Exercise(
    "ex20_no_grad", "a block that records nothing, and leaves everything as it was",
    right=SimpleNamespace(no_grad=_NoGrad), run=_run_no_grad,
    cases=[Case("plain", before=True), Case("plain, off before", before=False)],
    hint="What must be remembered on the way in? And is the way out taken after an exception too?",
    stronger="__enter__ keeps mode.recording and sets False; __exit__, which Python calls in any "
             "case, puts back what was kept and returns nothing.",
    solution=(tensor.recording, tensor.no_grad), keeps_float32=False)


# --- 21: the second derivative --------------------------------------------------------------------

def _second_case(name, *shape):
    return Case(name, gg=random(*shape), g=random(*shape, seed=1),
                y=np.tanh(random(*shape, seed=2)))


SECOND = Exercise(
    "ex21_second_derivative", "the derivative of a derivative rule",
    right=SimpleNamespace(tanh_backward_backward=lambda gg, g, y: (
        gg * (1 - y * y), -2 * gg * g * y * (1 - y * y))),
    run=lambda answer, **args: named(answer.tanh_backward_backward(*args.values()), "dg", "dx"),
    cases=[_second_case("plain", 4), _second_case("plain, two axes", 3, 5)],
    parts=lambda gg, g, y: {"x": np.arctanh(y)},
    hint="The rule dx = g (1 - y^2) is a function of g and, through y = tanh(x), of x. Write its "
         "two derivatives, each times gg.",
    stronger="By g it is linear: gg (1 - y^2). By x: d(1 - y^2)/dx = -2 y dy/dx, and "
             "dy/dx = 1 - y^2 once more.",
    solution=(elementwise.tanh, backward.grad))

EXERCISES = [ORDER, ACCUMULATION, NO_GRAD, SECOND]
