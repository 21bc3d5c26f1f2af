"""The check itself is checked: it passes right rules, and names what is wrong with planted ones."""
import math

import numpy as np
import pytest

from tinygen.engine import backend, elementwise as ew
from tinygen.engine.backend import xp
from tinygen.engine.checkpoint import checkpoint
from tinygen.engine.diagnosis import CANNOT_TELL, diagnose, regress
from tinygen.engine.gradcheck import GradientError, gradcheck
from tinygen.engine.products import matmul
from tinygen.engine.reductions import log_softmax, logsumexp, softmax, sum
from tinygen.engine.shaping import transpose
from tinygen.engine.backward import grad
from tinygen.engine.tensor import Tensor, defvjp, primitive, tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def off_zero(*shape, seed=0):
    """Numbers at least 0.1 away from 0, where relu and abs have their kink."""
    x = normal(*shape, seed=seed)
    return x + 0.1 * np.sign(x)


def positive(*shape):
    return abs(off_zero(*shape))


def planted(f, *rules, name="planted"):
    """A primitive with these rules, for mistakes that no primitive of the library has."""
    f.__name__ = name
    op = primitive(f)
    defvjp(op, *rules)
    return op


def complaint(f, *inputs, **settings):
    with pytest.raises(GradientError) as caught:
        gradcheck(f, *inputs, **settings)
    return caught.value


# --- right rules pass -----------------------------------------------------------------------------

UNARY = {"exp": normal, "log": positive, "sqrt": positive, "sin": normal, "cos": normal,
         "tanh": normal, "sigmoid": normal, "softplus": normal, "relu": off_zero,
         "leaky_relu": off_zero, "silu": normal, "gelu": normal, "abs": off_zero, "sign": off_zero,
         "negative": normal}


@pytest.mark.parametrize("shape", [(), (1,), (3, 4)])
@pytest.mark.parametrize("name", UNARY)
def test_right_rules_of_one_argument_pass(name, shape):
    assert gradcheck(getattr(ew, name), UNARY[name](*shape)) is True


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2,))])
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum",
                                  "minimum"])
def test_right_rules_of_two_arguments_pass(name, shapes):
    x, y = positive(*shapes[0]), positive(*shapes[1]) + 0.05
    assert gradcheck(getattr(ew, name), x, y)


def test_settings_and_inputs_that_are_not_floats_are_passed_on():
    x = off_zero(3, 4)
    assert gradcheck(ew.power, x, 3) and gradcheck(ew.power, x, 0) and gradcheck(ew.power, x, 2.0)
    assert gradcheck(ew.clip, x, -0.7, 0.7) and gradcheck(ew.leaky_relu, x, slope=0.3)
    assert gradcheck(ew.where, xp.asarray(x > 0), x, 2 * x)
    assert gradcheck(ew.multiply, tensor([2, 3], dtype="int64"), normal(3, 2))


def test_third_order_and_float32_inputs_pass():
    x = tensor(normal(3, 4), dtype="float32")
    for f in (ew.tanh, softmax, log_softmax, logsumexp):
        assert gradcheck(f, x, order=3)
    assert x.dtype == np.float32 and x.grad is None


def test_large_small_and_empty_inputs_pass():
    assert gradcheck(logsumexp, 1e4 + normal(3, 4), axis=1)
    assert gradcheck(ew.log, 1e-6 * positive(5)) and gradcheck(ew.sqrt, 1e6 * positive(5))
    assert gradcheck(ew.exp, normal(0, 3)) and gradcheck(ew.multiply, np.zeros(3), np.zeros(3))


def test_several_outputs_and_compositions_pass():
    assert gradcheck(lambda x, y: (x * y, ew.exp(x)), normal(3, 4), normal(4))
    assert gradcheck(lambda x: checkpoint(ew.tanh, x) * 2, normal(3))
    assert gradcheck(lambda x: x, normal(3))
    assert gradcheck(lambda x: tensor([1.0], dtype="float64"), normal(2))
    penalty = lambda x: sum(grad(sum(ew.tanh(x)), x, create_graph=True) ** 2)
    assert gradcheck(penalty, normal(3, 2))


def test_a_kink_within_reach_of_the_first_step_does_not_disturb():
    assert gradcheck(ew.relu, xp.asarray([0.5, 1e-5, -2e-5, -1.0]))


def test_ties_of_maximum_agree_with_central_differences():
    assert gradcheck(ew.maximum, np.ones(3), np.ones(3), order=1)


def test_random_numbers_are_drawn_alike_and_left_as_they_were():
    backend.seed(3)
    state = backend.random_state()
    assert gradcheck(lambda x: x * Tensor(backend.uniform(x.shape, "float64")), normal(3, 4))
    with pytest.raises(GradientError):
        gradcheck(lambda x: x.detach() * Tensor(backend.uniform(x.shape, "float64")), normal(3))
    assert backend.random_state() == state


# --- planted mistakes are named -------------------------------------------------------------------

def _softmax(x):
    e = xp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _cut(y):
    return y.detach() if isinstance(y, Tensor) else y


def _tanh(x):
    return xp.tanh(x)


def _dot(x, y):
    return x @ y


W, X = normal(4, 4, seed=1), off_zero(3, 4)
RIGHT_DX, RIGHT_DY = (lambda g, z, x, y: matmul(g, transpose(y)),
                      lambda g, z, x, y: matmul(transpose(x), g))
MISTAKES = {
    "softmax zero": (_softmax, [lambda g, y, x: 0.0 * g], [X], "all zeros"),
    "softmax without its mean": (_softmax, [lambda g, y, x: g * y], [X],
                                 "a term y * k is missing, k constant along axis 1"),
    "matmul, y not transposed": (_dot, [lambda g, z, x, y: matmul(g, y), RIGHT_DY], [X, W],
                                 "g @ y where g @ y.T was needed"),
    "matmul, dy transposed": (_dot, [RIGHT_DX, lambda g, z, x, y: matmul(transpose(g), x)], [X, W],
                              "transposed"),
    "flip": (lambda x: xp.flip(x, 1), [lambda g, y, x: g], [X], "reversed along axis 1"),
    "twice": (_tanh, [lambda g, y, x: 2 * g * (1 - y * y)], [X], "2 times too large (added twice"),
    "half": (lambda x: x * x, [lambda g, y, x: g * x], [X], "2 times too small (the 2 of a square"),
    "mean as sum": (lambda x: x.mean(1), [lambda g, y, x: 0.0 * x + g.reshape((3, 1))], [X],
                    "4 times too large (4 is the size of axis 1: a sum where a mean was meant?)"),
    "sum as mean": (lambda x: x.sum(0), [lambda g, y, x: 0.0 * x + g / 3], [X],
                    "3 times too small (3 is the size of axis 0: a mean where a sum was meant?)"),
    "sign": (_tanh, [lambda g, y, x: -g * (1 - y * y)], [X], "negated"),
    "g as a number": (lambda x: x.sum(1), [lambda g, y, x: g], [X], "ValueError"),
    "g summed to a number": (_tanh, [lambda g, y, x: (1 - y * y) * sum(g)], [X],
                             "the factor g is missing, and the rest is"),
    "g ignored": (_tanh, [lambda g, y, x: 1 - y * y + 0.0 * g], [X], "the factor g is missing"),
    "no derivative": (_tanh, [lambda g, y, x: g], [X], "the factor (1 - y^2) is missing"),
    "dropped argument": (lambda x, y: x * y, [lambda g, z, x, y: g * y, lambda g, z, x, y: 0.0 * g],
                         [X, X[::-1]], "all zeros"),
    "negative x forgotten": (lambda x: xp.maximum(x, 0.1 * x), [lambda g, y, x: g * (x > 0)], [X],
                             "right only where x > 0; elsewhere all zeros"),
    "abs as x": (lambda x: abs(x), [lambda g, y, x: g], [X],
                 "right only where x > 0; elsewhere negated"),
    "float32": (_tanh, [lambda g, y, x: (g * (1 - y * y)).astype("float32").astype("float64")], [X],
                "computed in float32"),
    "a wrong axis": (lambda x, y: x + y, [lambda g, z, x, y: g, lambda g, z, x, y: transpose(g)],
                     [W, W[0]], "g summed over axis 1 where g summed over axis 0 was needed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_named(mistake):
    f, rules, inputs, words = MISTAKES[mistake]
    error = complaint(planted(f, *rules), *inputs)
    assert words in error.diagnosis and error.diagnosis in str(error)
    assert str(error).startswith("planted: ")
    assert mistake == "g as a number" or "the first derivative with respect to" in str(error)


def test_the_message_names_operation_argument_element_and_both_values():
    f = planted(_dot, RIGHT_DX, lambda g, z, x, y: -matmul(transpose(x), g), name="my_matmul")
    text = str(complaint(f, X, W))
    start, rest = text.split(" is wrong at [")
    assert start == "my_matmul: the first derivative with respect to argument 1 (y)"
    index, rest = rest.split("]: the rule gives ")
    given, rest = rest.split(", differences give ")
    wanted, diagnosis = rest.split(": ")
    assert float(given) == pytest.approx(-float(wanted)) and diagnosis == "negated"
    assert all(0 <= int(i) < 4 for i in index.split(", "))


def test_arguments_without_names_are_counted():
    f = planted(lambda *xs: xs[0] + xs[1], lambda g, y, *xs: g, lambda g, y, *xs: -g)
    assert "argument 1 (x1)" in str(complaint(f, X, X))


def test_a_mistake_of_the_second_derivative_only_is_found():
    f = planted(_tanh, lambda g, y, x: g * (1 - _cut(y) * y))
    assert gradcheck(f, X, order=1)
    error = complaint(f, X)
    assert "second derivative with respect to argument 0 (x)" in str(error)
    assert error.diagnosis.startswith("2 times too small")


def test_a_mistake_in_how_the_gradient_depends_on_g_is_found():
    f = planted(lambda x: 3 * x, lambda g, y, x: 3 * _cut(g))
    assert gradcheck(f, X, order=1)
    assert "with respect to the gradient g of the output" in str(complaint(f, X))


def test_a_rule_that_differs_on_arrays_and_on_tensors_is_found():
    f = planted(_tanh, lambda g, y, x: g * (1 - y * y) * (2 if isinstance(g, Tensor) else 1))
    assert "other numbers with create_graph=True" in str(complaint(f, X))


def test_a_rule_that_fails_or_edits_in_place_is_told():
    def edits(g, y, x):
        g = _cut(g)
        g *= 2
        return g
    broken = complaint(planted(_tanh, lambda g, y, x: g.no_such_thing), X)
    assert "a rule fails with AttributeError" in str(broken) and broken.__cause__ is not None
    assert "in place" in complaint(planted(lambda x: 2 * x, edits), X).diagnosis


def test_a_cut_graph_is_found():
    for f in (lambda x: ew.exp(x.detach()), lambda x: Tensor(xp.exp(x.data))):
        assert "the graph is cut" in complaint(f, X).diagnosis


def test_a_dependency_that_is_not_there_is_found():
    f = planted(lambda x, y: 2 * x + 0 * y, lambda g, z, x, y: 2 * g, lambda g, z, x, y: g)
    assert "should be zero" in complaint(f, X, X).diagnosis


def test_a_kink_is_told_from_a_mistake():
    x = np.array([1.0, 0.0, -1.0, 2.0])
    for f in (ew.relu, ew.abs, lambda x: sum(ew.relu(x) * x + ew.sign(x))):
        assert "kink" in complaint(f, x, order=2).diagnosis
    assert gradcheck(ew.abs, x, order=1)                    # 0, the middle of both slopes
    f = planted(lambda x: xp.maximum(x, 0), lambda g, y, x: -g * (x > 0))
    assert complaint(f, x).diagnosis == "negated"


def test_what_cannot_be_checked_is_refused_in_one_sentence():
    drawn = iter(range(99))
    for f, x, kind, words in [
            (ew.exp, np.arange(3), ValueError, "nothing to check"),
            (ew.exp, 2.0, ValueError, "nothing to check"),
            (lambda x: x.data, X, TypeError, "gave a float64"),
            (lambda x: None, X, TypeError, "gave a NoneType"),
            (np.exp, X, TypeError, "a Tensor was given to NumPy"),
            (lambda x: ew.astype(x, "int64"), X, TypeError, "gave a int64 Tensor"),
            (lambda x: ew.astype(x, "float32"), X, TypeError, "gave a float32 Tensor"),
            (lambda x: x * math.nan, X, ValueError, "NaN or infinity"),
            (lambda x: x + next(drawn), X, ValueError, "other values when called again")]:
        with pytest.raises(kind, match=words):
            gradcheck(f, x)


@pytest.mark.parametrize("n", [2, 50])
def test_a_check_of_any_size_takes_the_same_few_evaluations(n):
    calls = []
    assert gradcheck(lambda x, y: calls.append(0) or matmul(x, y), normal(3, n), normal(n, 4))
    assert len(calls) == 2 * 2 + 4 * (2 + 3)    # two at x, four per input: of f, of its gradient


# --- the diagnosis alone --------------------------------------------------------------------------

SHAPES = [(3, 4), (5, 3, 2), (3, 2, 4, 5), (6, 5)]
SAME_SHAPE = {
    "negated": lambda b: -b,
    "2 times too large (added twice": lambda b: 2 * b,
    "2 times too small (the 2 of a square": lambda b: b / 2,
    "negated, and 3.7 times too large": lambda b: -3.7 * b,
    "the size of axis 0: a sum where a mean was meant": lambda b: len(b) * b,
    "the size of axis 1: a mean where a sum was meant": lambda b: b / b.shape[1],
    "the number of elements: a sum where a mean was meant": lambda b: b.size * b,
    "the size of axis 1?": lambda b: b / math.sqrt(b.shape[1]),
    "all zeros": lambda b: 0 * b,
    "not finite": lambda b: b * math.nan,
    "nothing is wrong": lambda b: b.copy(),
    "float32": lambda b: b * (1 + 1e-7 * normal(*b.shape, seed=9)),
    "reversed along axis 1": lambda b: b[:, ::-1],
    "reversed along axes 0 and 1": lambda b: b[::-1, ::-1],
    "shifted by 1 along axis": lambda b: np.roll(b, 1, np.argmax(b.shape)),
    "in another order along axis 0": lambda b: b[np.r_[1, 0, 2:len(b)]],
    "the right numbers in the wrong places": lambda b: np.random.default_rng(4).permuted(b),
    "summed over axis 1, where": lambda b: b.sum(1, keepdims=True) + 0 * b,
    "averaged over axis 0, where": lambda b: b.mean(0, keepdims=True) + 0 * b,
    "right for 1 of": lambda b: np.where(np.arange(b.size).reshape(b.shape) == 1, b, b * b + 1),
    "right only before index 1 of axis 0; elsewhere all zeros": lambda b: b * _at(b, 0),
    "right only from index 1 of axis 0 on; elsewhere negated": lambda b: b * (1 - 2 * _at(b, 0)),
    "right only before index 1 of axis 0; elsewhere not finite": lambda b: b / _at(b, 0),
    "its absolute value": abs,
    "its square where": lambda b: b * b,
    "its square root": lambda b: abs(b) ** 0.5,
    "its inverse": lambda b: 1 / b,
    "a term 1 * k is missing": lambda b: b + 0.7,
    "k constant along axis 1": lambda b: b - b.mean(1, keepdims=True),
    "a factor that is constant along ax": lambda b: b * normal(len(b), *[1] * (b.ndim - 1), seed=7),
}


def _at(b, k):
    return 1.0 * (np.indices(b.shape)[0] == k)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("words", SAME_SHAPE)
def test_each_pattern_is_recognised(words, shape):
    b = off_zero(*shape, seed=shape[0])
    with np.errstate(all="ignore"):
        a = SAME_SHAPE[words](b)
    assert words in diagnose(a, b)


def test_a_transposed_gradient_is_recognised_square_or_reshaped():
    b = normal(4, 4)
    assert diagnose(b.T, b) == "transposed"
    assert "transposed" in diagnose(normal(2, 3, 3).swapaxes(1, 2), normal(2, 3, 3))
    b = normal(3, 4)
    assert "transposed, and then reshaped" in diagnose(b.T.reshape(3, 4), b)


B = normal(3, 4, seed=5)
OTHER_SHAPE = {
    "(4, 3) where (3, 4) was needed: transposed": (B.T, B),
    "right, but to be reshaped": (B[:, :1], B[:, 0]),
    "(3, 4) where (4,) was needed: not summed back over axis 0": (B, B.sum(0)),
    "(3, 4) where () was needed: not summed back over axes 0 and 1": (B, B.sum()),
    "(3,) where (3, 4) was needed: summed over axis 1 too": (B.sum(1), B),
    "() where (3, 4) was needed: summed over axes 0 and 1 too": (B.sum(), B),
    "(3,) where (3, 4) was needed: not spread over axis 1": (B[:, 0], B[:, :1] + np.zeros(4)),
    "an axis was not summed back": (normal(5, 3, 4), B),
    "(5, 4) where (3, 4) was needed: another length along axis 0": (normal(5, 4), B),
    "too many: the last 2 along axis 0; the rest": (np.concatenate([B, normal(2, 4)]), B),
    "missing: the first 1 and the last 1 along axis 1; the rest": (B[:, 1:3], B),
    "an axis was summed once too often, or not spread": (normal(4), B),
    "a reshape or a transpose is missing": (normal(2, 6), B),
}


@pytest.mark.parametrize("words", OTHER_SHAPE)
def test_each_wrong_shape_is_recognised(words):
    assert words in diagnose(*OTHER_SHAPE[words])


def test_a_number_far_too_small_is_told():
    x = np.array([1.0, 2, 3])
    assert "1e+200 times too small" in diagnose(1e-200 * x, x)


def test_arrays_that_are_named_are_used():
    x, g, y = off_zero(3, 4, seed=6), normal(3, 4, seed=7), np.tanh(normal(3, 4, seed=8))
    for a, b, words in [
            (g, g * np.cos(x), "g itself: the rest of the formula"),
            (g, g * (1 - y * y), "the factor (1 - y^2) is missing"),
            (g * x, 2 * g * x * x, "the factor x is missing, and the rest is 2 times too small"),
            (g * x, g, "the factor x is there once too often"),
            (g, g * y * (1 - y), "the factor y (1 - y) is missing"),
            (g / x, g, "the factor x is missing"),
            (g, g + 0.5 * x, "a term x * k is missing, k constant along axes 0 and 1"),
            (np.where(abs(x) < 1, g, -g), g, "right only where |x| < 1."),
            (g * (1 - y) ** 2, g * (1 - y * y), "the factor (1 - y)^2 where (1 - y^2) was needed"),
            (g * (1 - x * x), g * (1 - y * y), "the factor (1 - x^2) where (1 - y^2) was needed"),
            (g / (1 - y * y), g * (1 - y * y), "divided by (1 - y^2) instead of multiplied by it"),
            (np.where(x < 0, g, 0), g, "right only where x < 0; elsewhere all zeros"),
            (g.T @ x, g @ x.T, "g.T @ x where g @ x.T was needed"),
            (x + g, x * g, "x is added where it is to be a factor"),
            (g + x, g - x, "a term x is added where it is to be taken off"),
            (3 * g // 1, 3 * g, "rounded to whole numbers"),
            (g.sum(1), g.sum(0), "g summed over axis 1 where g summed over axis 0")]:
        assert words in diagnose(a, b, x=x, y=y, g=g)
    words = diagnose(g @ normal(4, 4), g @ normal(4, 4).T, g=g, W=normal(4, 4), b=normal(4))
    assert words == "g @ W where g @ W.T was needed"


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (2, 2), (1, 5), (3, 4), (4, 2, 3)])
def test_random_numbers_are_not_explained(shape):
    for seed in range(20):
        a, b, x, y, g = (normal(*shape, seed=5 * seed + i) for i in range(5))
        assert diagnose(a, b) == CANNOT_TELL
        assert diagnose(a, b, x=x, y=y, g=g, terms={"x": x, "the rest": b - x}) == CANNOT_TELL


# --- terms ----------------------------------------------------------------------------------------

def layer_norm_terms(n=7):
    xhat, g = normal(5, n, seed=1), normal(5, n, seed=2)
    return {"g": g, "mean": 0 * g - g.mean(1, keepdims=True),
            "variance": -xhat * (g * xhat).mean(1, keepdims=True)}


def test_a_term_is_missing_or_has_a_wrong_weight():
    terms = layer_norm_terms()
    g, m, v = terms.values()
    for a, words in [
            (g + v, "the term 'mean' is missing"),
            (g, "the terms 'mean' and 'variance' are missing"),
            (g + 7 * m + v, "the term 'mean' has weight 7, should be 1: 7 times too large "
                            "(7 is the size of axis 1: a sum where a mean was meant?)"),
            (g + m - v, "the term 'variance' has weight -1, should be 1: negated"),
            (g + m + 0.3 * v, "the term 'variance' has weight 0.3, should be 1: ")]:
        assert regress(a, g + m + v, terms).startswith(words)
        assert diagnose(a, g + m + v, terms=terms).startswith(words)


def test_a_weight_is_explained_by_sizes():
    b = normal(4, 6, seed=3)
    for k, words in [
            (1.5, "(6 is the size of axis 1, 4 is the size of axis 0: one in place of the other?)"),
            (5 / 6, "(6 is the size of axis 1: 6 - 1 in its place?)"),
            ((4 / 3) ** 0.5, "(4 is the size of axis 0: 4 - 1 in its place under a square root?)"),
            (1 / math.log(2), "(bits in place of nats?)")]:
        assert diagnose(k * b, b).endswith(words)
    x, y = normal(4, 9, seed=4), normal(4, 9, seed=5)
    terms = {"x": x.sum(1), "y": y.sum(1)}
    assert diagnose(x.mean(1) + y.sum(1), (x + y).sum(1), terms, x=x).endswith(
        "9 times too small (9 is the size of axis 1 of x: a mean where a sum was meant?)")


def test_regress_says_nothing_when_unsure():
    terms = layer_norm_terms()
    g, m, v = terms.values()
    b = g + m + v
    assert regress(b, b, terms) is None and regress(3 * b, b, terms) is None
    assert regress(b + 0.1 * g * g, b, terms) is None                       # a rest is left
    assert regress(g, b, {"g": g, "half": (m + v) / 2, "other half": (m + v) / 2}) is None
    assert regress(g, b, {"g": g, "m": m}) is None                          # not what b is made of
    assert regress(g, b, {**terms, "nothing": 0 * g}) is None
    assert regress(g.T, b, terms) is None and regress(g * math.nan, b, terms) is None
    assert regress(np.ones(2), np.full(2, 3.0), {"a": np.ones(2), "b": np.full(2, 2.0)}) is None
    assert "3 times too large" in diagnose(3 * b, b, terms=terms)
