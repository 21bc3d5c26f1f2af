"""Answers to the exercises on parts of the engine."""
import numpy as np

from exercises.bank import Answers, mistake

ANSWERS = {}


# --- ex18_topological_order -----------------------------------------------------------------------

def by_age(y, inputs):
    found, stack = {y}, [y]
    while stack:
        for a in inputs[stack.pop()]:
            if a not in found:
                found.add(a)
                stack.append(a)
    return sorted(found, reverse=True)


def by_counting_users(y, inputs):
    """Kahn's way: a node goes once all its users have gone."""
    users, stack, seen = {}, [y], {y}
    while stack:
        for a in inputs[stack.pop()]:
            users[a] = users.get(a, 0) + 1
            if a not in seen:
                seen.add(a)
                stack.append(a)
    order, ready = [], [y]
    while ready:
        order.append(ready.pop())
        for a in inputs[order[-1]]:
            users[a] -= 1
            if not users[a]:
                ready.append(a)
    return order


def recursive(y, inputs):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for a in inputs[node]:
                visit(a)
            order.append(node)
    visit(y)
    return order[::-1]


def depth_first(y, inputs):
    order, stack = [], [y]
    while stack:
        node = stack.pop()
        if node not in order[-20:]:
            order.append(node)
            stack.extend(inputs[node])
    return order


def breadth_first(y, inputs):
    order, seen = [y], {y}
    for node in order:
        for a in inputs[node]:
            if a not in seen:
                seen.add(a)
                order.append(a)
    return order


def without_memory(y, inputs):
    order = [y]
    for node in order:
        order += inputs[node]
    return order


ANSWERS["ex18_topological_order"] = Answers(
    right=[dict(backward_order=by_age), dict(backward_order=by_counting_users)],
    mistakes=[
        mistake("fails on a graph of 5000 nodes in a row", backward_order=recursive),
        mistake("comes before node", backward_order=depth_first),
        mistake("comes before node", backward_order=breadth_first),
        mistake("comes more than once", backward_order=without_memory),
        mistake("comes before node", backward_order=lambda y, inputs: by_age(y, inputs)[::-1]),
        mistake("is no part of", backward_order=lambda y, inputs: sorted(inputs, reverse=True)),
        mistake("is no part of", backward_order=lambda y, inputs: list(range(y, -1, -1))),
        mistake("is missing", backward_order=lambda y, inputs: [y, *inputs[y]]),
        mistake("is missing", backward_order=lambda y, inputs: by_age(y, inputs)[1:]),
        mistake("NoneType where a list", backward_order=lambda y, inputs: None),
        mistake("where the gradient starts",
                backward_order=lambda y, inputs: by_age(y, inputs)[1:]),
    ])


# --- ex19_accumulation ----------------------------------------------------------------------------

def accumulate(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            total[a] = total.get(a, 0) + rule(total[node])
    return total


def accumulate_by_lists(g, order, rules):
    parts = {node: [] for node in order}
    parts[order[0]].append(g)
    for node in order:
        whole = np.sum(parts[node], axis=0)
        for a, rule in rules[node]:
            parts[a].append(rule(whole))
    return {node: np.sum(given, axis=0) for node, given in parts.items()}


def overwritten(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            total[a] = rule(total[node])
    return total


def in_place(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            given = rule(total[node])
            if a in total:
                total[a] += given
            else:
                total[a] = given
    return total


def only_the_first(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            total.setdefault(a, rule(total[node]))
    return total


def with_g_of_y(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            total[a] = total.get(a, 0) + rule(g)
    return total


def averaged(g, order, rules):
    total = {order[0]: g}
    for node in order:
        for a, rule in rules[node]:
            given = rule(total[node])
            total[a] = (total[a] + given) / 2 if a in total else given
    return total


kept = {}


def kept_between_calls(g, order, rules):
    kept[order[0]] = kept.get(order[0], 0) + g
    total = dict(kept)
    for node in order:
        for a, rule in rules[node]:
            total[a] = (total[a] if a in total else 0) + rule(total[node])
    return total


ANSWERS["ex19_accumulation"] = Answers(
    right=[dict(accumulate=accumulate), dict(accumulate=accumulate_by_lists)],
    mistakes=[
        mistake("used more than once", accumulate=overwritten),
        mistake("passes on the very array", accumulate=in_place),
        mistake("used more than once", accumulate=only_the_first),
        mistake("gradient of its own node", accumulate=with_g_of_y),
        mistake("used more than once", accumulate=averaged),
        mistake("is missing", accumulate=lambda g, order, rules: {order[0]: g}),
        mistake("list where a dict", accumulate=lambda g, order, rules: [
            accumulate(g, order, rules)[node] for node in order]),
        mistake("the result .* of y is missing", accumulate=lambda g, order, rules: {
            node: total for node, total in accumulate(g, order, rules).items()
            if node != order[0]}),
        mistake("works once but not twice|added twice|times too", accumulate=kept_between_calls),
        mistake("factor g is missing|all ones", accumulate=lambda g, order, rules: accumulate(
            np.ones_like(g), order, rules)),
    ])


# --- ex20_no_grad ---------------------------------------------------------------------------------

class no_grad:
    def __init__(self, mode):
        self.mode = mode

    def __enter__(self):
        self.before = self.mode.recording
        self.mode.recording = False

    def __exit__(self, kind, error, traceback):
        self.mode.recording = self.before


class WithStack(no_grad):
    stack = []

    def __enter__(self):
        self.stack.append(self.mode.recording)
        self.mode.recording = False
        return self

    def __exit__(self, *error):
        self.mode.recording = self.stack.pop()
        return False


class AlwaysOn(no_grad):
    def __exit__(self, *error):
        self.mode.recording = True


class NeverBack(no_grad):
    def __exit__(self, *error):
        pass


class Swallows(no_grad):
    def __exit__(self, *error):
        self.mode.recording = self.before
        return True


class OnlyWithoutError(no_grad):
    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.mode.recording = self.before


class Inverted(no_grad):
    def __enter__(self):
        self.before = self.mode.recording
        self.mode.recording = True


class Toggles(no_grad):
    def __enter__(self):
        self.mode.recording = not self.mode.recording

    __exit__ = lambda self, *error: self.__enter__()


class AtTheStart(no_grad):
    def __init__(self, mode):
        self.mode, self.before = mode, True
        mode.recording = False

    def __enter__(self):
        pass


class TooFewArguments(no_grad):
    def __exit__(self):
        self.mode.recording = self.before


class WhenMade(no_grad):
    def __init__(self, mode):
        self.mode, self.kept = mode, mode.recording

    def __exit__(self, *error):
        self.mode.recording = self.kept


ANSWERS["ex20_no_grad"] = Answers(
    right=[dict(no_grad=no_grad), dict(no_grad=WithStack)],
    mistakes=[
        mistake("restore what was before", no_grad=AlwaysOn),
        mistake("after the block", no_grad=NeverBack),
        mistake("swallowed", no_grad=Swallows),
        mistake("after an exception", no_grad=OnlyWithoutError),
        mistake("inside the block", no_grad=Inverted),
        mistake("inner|inside the block", no_grad=Toggles),
        mistake("restore what was before|after the block|what it was before", no_grad=AtTheStart),
        mistake("raises TypeError", no_grad=TooFewArguments),
        mistake("when the block is made", no_grad=WhenMade),
    ])


# --- ex21_second_derivative -----------------------------------------------------------------------

def second(dg=lambda gg, g, y: gg * (1 - y * y),
           dx=lambda gg, g, y: -2 * gg * g * y * (1 - y * y)):
    return dict(tanh_backward_backward=lambda gg, g, y: (dg(gg, g, y), dx(gg, g, y)))


def wrong_second(says, **parts):
    return mistake(says, **second(**parts))


ANSWERS["ex21_second_derivative"] = Answers(
    right=[second(), dict(tanh_backward_backward=lambda gg, g, y: (
        gg - gg * y ** 2, gg * g * (2 * y ** 3 - 2 * y)))],
    mistakes=[
        wrong_second(r"factor \(1 - y\^2\) is missing", dx=lambda gg, g, y: -2 * gg * g * y),
        wrong_second("negated", dx=lambda gg, g, y: 2 * gg * g * y * (1 - y * y)),
        wrong_second("2 times too small", dx=lambda gg, g, y: -gg * g * y * (1 - y * y)),
        wrong_second("factor y is missing|y", dx=lambda gg, g, y: -2 * gg * g * (1 - y * y)),
        wrong_second("g were all ones", dx=lambda gg, g, y: -2 * gg * y * (1 - y * y)),
        wrong_second("gg were all ones", dx=lambda gg, g, y: -2 * g * y * (1 - y * y)),
        wrong_second("gg and g were exchanged|factor", dg=lambda gg, g, y: g * (1 - y * y)),
        wrong_second("factor g is there once too often", dg=lambda gg, g, y: gg * g * (1 - y * y)),
        wrong_second(r"factor \(1 - y\^2\) is missing", dg=lambda gg, g, y: gg),
        wrong_second("all zeros", dx=lambda gg, g, y: 0 * g),
        mistake("exchanged", tanh_backward_backward=lambda gg, g, y: second()[
            "tanh_backward_backward"](gg, g, y)[::-1]),
    ])
