"""The laws of the engine: what a Tensor is, what backward and grad give, what they leave alone."""
import copy
import functools
import gc
import math
import operator
import pickle
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import backend, tensor as engine
from tinygen.engine.backend import xp


def normal(*shape, dtype="float64"):
    return tg.Tensor(backend.normal(shape, dtype), requires_grad=True)


def values(x):
    return tg.to_numpy(x).tolist()


def close(a, b, tolerance=1e-12):
    a, b = tg.to_numpy(a), tg.to_numpy(b)
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)


# --- what a Tensor is -----------------------------------------------------------------------------

@pytest.mark.parametrize("data, dtype", [
    (2, "float32"), (2.5, "float32"), ([1, 2], "float32"), ([[0.5], [1]], "float32"),
    ([np.float64(1)], "float32"), (np.arange(3), "int64"), (np.ones(2), "float64"),
    (np.float64(2), "float64"), (np.ones(2, "float32"), "float32"), (np.ones(2) > 0, "bool"),
    (np.ones(2, "uint8"), "uint8")])
def test_numbers_and_lists_become_float32_and_arrays_keep_their_dtype(data, dtype):
    x = tg.tensor(data)
    assert x.dtype == dtype and values(x) == np.asarray(data).tolist()
    assert isinstance(x.data, xp.ndarray) and not x.requires_grad and x.is_leaf and x.grad is None


def test_attributes():
    x = tg.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((1, 3), 2, 3, "float32", 1)
    assert isinstance(x.numpy(), np.ndarray) and values(x.T) == [[1], [2], [3]]
    assert tg.tensor(3.5).item() == float(tg.tensor(3.5)) == 3.5 and int(tg.tensor([2.0])) == 2
    assert bool(tg.tensor(1.0)) and not bool(tg.tensor([0.0]))
    assert {x: 1}[x] == 1 and {x, x.detach()} != {x}
    assert repr(x) == "Tensor([[1. 2. 3.]], float32, requires_grad=True)"
    assert repr(tg.exp(x) * 0.0) == "Tensor([[0. 0. 0.]], float32, made by multiply)"


def test_a_tensor_is_a_copy_and_its_dtype_can_be_chosen():
    a = xp.ones(3)
    x = tg.tensor(a)
    a[0] = 5
    assert values(x) == [1, 1, 1]
    y = tg.tensor(x, requires_grad=True, dtype="float32")
    assert y.dtype == "float32" and y.requires_grad and y.birth != x.birth
    assert tg.tensor([1, 2], dtype="int64").dtype == "int64"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy,
                                    lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_a_tensor_of_its_own(copied):
    """Two Tensors of one birth would receive each other's gradients."""
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    z = copied(x)
    (tg.sum(x * 2.0) + tg.sum(z * 5.0)).backward()
    assert values(x.grad) == [2, 2] and values(z.grad) == [5, 5]
    made = copied(x * 2.0)
    assert made.is_leaf and values(made) == [2, 4]


def test_comparisons_give_plain_boolean_arrays():
    x, y = tg.tensor([1.0, 2.0, 3.0], requires_grad=True), tg.tensor([2.0, 2.0, 2.0])
    for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        wanted = compare(np.array([1, 2, 3]), 2).tolist()
        for result in (compare(x, y), compare(x, 2), compare(x, y.data)):
            assert isinstance(result, xp.ndarray) and values(result) == wanted
        assert values(compare(y.data, x)) == compare(2, np.array([1, 2, 3])).tolist()


@pytest.mark.parametrize("f", [operator.add, operator.sub, operator.mul, operator.truediv,
                               operator.pow, operator.matmul])
def test_operators_take_tensors_arrays_and_numbers_on_either_side(f):
    a, b = np.array([[1.5, 2.0], [0.5, 1.0]]), np.array([[2.0, 0.5], [1.0, 3.0]])
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    for result in (f(x, y), f(x, y.data), f(x.data, y)):
        assert isinstance(result, tg.Tensor) and close(result, f(a, b))
    if f is not operator.matmul:
        for number in (2, 0.5, np.float64(3), np.float32(0.5)):
            assert close(f(number, y), f(float(number), b))
            assert close(f(x, number), f(a, float(number)))
        assert close(f(x[0], [2.0, 3.0]), f(a[0], [2.0, 3.0]))
        assert close(f([2.0, 3.0], x[0]), f([2.0, 3.0], a[0]))
    assert close(-x, -a) and close(abs(-x), a)


def test_a_name_is_enough_to_record_a_tensor():
    x, W, b = normal(2, 3), normal(3), normal(3)
    y, z = tg.layer_norm(x, W=W, b=b), tg.linear(x=x, W=tg.stack([W, b], axis=1))
    assert all(float(abs(g.data).sum()) > 0 for g in tg.grad(tg.sum(y * y) + tg.sum(z), [x, W, b]))
    assert close(tg.grad(tg.sum(tg.multiply(W, y=b)), b), W)
    assert tg.gradcheck(lambda x, y: tg.where(condition=x.data > 0, x=x, y=y), W, b)


@pytest.mark.parametrize("call, kind, sentence", [
    (lambda: tg.tensor(np.arange(3), requires_grad=True), TypeError,
     "tensor: int64 data cannot require a gradient; pass dtype='float32'"),
    (lambda: tg.tensor("abc"), ValueError, "tensor: cannot make an array of a str: "),
    (lambda: tg.tensor([[1.0], [1.0, 2.0]]), ValueError, "tensor: cannot make an array of a list"),
    (lambda: tg.tensor([tg.tensor(1.0)]), TypeError, "tensor: .*a list of Tensors: use .*tg.stack"),
    (lambda: tg.tensor(np.array([1j])), TypeError, "tensor: complex128 data; needed numbers"),
    (lambda: tg.tensor([1.0, 2.0]).item(), ValueError,
     r"item: needs one element, got shape \(2,\); index it first"),
    (lambda: float(tg.tensor([1.0, 2.0])), ValueError, "item: needs one element"),
    (lambda: np.tanh(tg.tensor([1.0])), TypeError, r"a Tensor was given to NumPy, as in np.tanh"),
    (lambda: np.array([tg.tensor([1.0])]), TypeError, "a Tensor was given to NumPy"),
    (lambda: tg.tensor([1.0]) + [tg.tensor(1.0)], TypeError, "a Tensor was given to NumPy"),
])
def test_mistakes_in_making_and_using_a_tensor(call, kind, sentence):
    with pytest.raises(kind, match=f"^{sentence}"):
        call()


# --- backward and grad ----------------------------------------------------------------------------

def test_a_diamond_a_square_and_a_node_used_many_times():
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    h = x * 3.0
    y = tg.sum(h * h + h) + tg.sum(functools.reduce(operator.add, [h] * 50)) + tg.sum(x * x)
    y.backward()
    assert close(x.grad, 2 * 9 * x.data + 3 + 150 + 2 * x.data)


@pytest.mark.once
def test_a_chain_of_100_000_operations():
    x = tg.tensor(np.array(0.5), requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y * 1.0 + 1e-6
    g = tg.grad(y, x, create_graph=True)
    y.backward()
    assert float(x.grad) == g.item() == 1
    y = x
    for _ in range(100_000):
        y = y + 1.0
    del y                               # a deep graph that nobody walks is freed as well


def test_random_graphs_have_right_derivatives():
    """Operations of all sorts on whatever was made before, so that paths split and meet."""
    one = [tg.tanh, tg.sin, lambda x: x * x, lambda x: x[::-1], lambda x: x[xp.asarray([0, 2, 0])],
           lambda x: tg.cumsum(x, 0), tg.softmax, lambda x: tg.checkpoint(tg.sin, x),
           lambda x: tg.broadcast_to(tg.mean(x), (3,)), lambda x: tg.concatenate([x[1:], x[:1]])]
    two = [tg.add, tg.subtract, tg.multiply, lambda x, y: tg.matmul(x, y) * x,
           lambda x, y: tg.stack([x, y])[:, 1:].reshape(-1)[:3]]

    def graph(seed, *xs):
        rng, made = np.random.default_rng(seed), list(xs)
        for _ in range(12):
            f = rng.choice(one + two)
            chosen = rng.integers(max(0, len(made) - 5), len(made), 1 if f in one else 2)
            y = f(*[made[i] for i in chosen])
            made.append(tg.tanh(y if y.ndim else y * xs[0]))        # so that nothing grows
        return made[-1] + made[-2] * made[-3]

    for seed in range(25):
        x, y = (tg.Tensor(xp.asarray(np.random.default_rng(seed).normal(size=3))) for _ in "xy")
        assert tg.gradcheck(functools.partial(graph, seed), x, y * 1.1)


def test_backward_adds_to_the_gradients_of_leaves_and_of_nothing_else():
    x, c = normal(3), tg.tensor([1.0, 2.0, 3.0])
    h = x * c
    tg.sum(h).backward()
    tg.sum(x * 2.0).backward()
    assert close(x.grad, c.data + 2.0) and h.grad is None and c.grad is None
    x.zero_grad()
    assert x.grad is None


def test_backward_of_the_given_inputs_only():
    x, W = normal(3), normal(3)
    h = x * W
    tg.sum(h * h).backward([W, h])
    assert x.grad is None and close(W.grad, 2 * h.data * x.data) and close(h.grad, 2 * h.data)
    tg.sum(x * 2.0).backward(x)
    assert values(x.grad) == [2, 2, 2]
    with pytest.raises(ValueError, match="^backward: this Tensor depends on none of the given"):
        tg.sum(x * 2.0).backward([W])


def test_grad_touches_no_gradient_and_keeps_the_graph():
    x, W = normal(3), normal(3)
    y = tg.sum(tg.tanh(x * W))
    first, again = tg.grad(y, [x, W]), tg.grad(y, [x, W])
    y.backward()
    assert all(map(close, first, again)) and all(map(close, first, (x.grad, W.grad)))
    assert isinstance(first, list) and not first[0].requires_grad
    assert isinstance(tg.grad(tg.sum(x * 2.0), x), tg.Tensor) and tg.grad(tg.sum(x), []) == []


def test_grad_is_zero_where_y_does_not_depend_on_x():
    x, z = normal(3), normal(2, dtype="float32")
    y = tg.sum(x * 3.0)
    g = tg.grad(y, [z, x], create_graph=True)
    assert values(g[0]) == [0, 0] and g[0].dtype == "float32" and values(g[1]) == [3, 3, 3]
    assert values(tg.grad(tg.sum(g[1]), x)) == [0, 0, 0]        # a constant has a gradient: zero
    assert values(tg.grad(tg.sum(x.detach()), x)) == [0, 0, 0]


def test_grad_with_respect_to_what_is_in_the_middle_and_to_y_itself():
    x = normal(3)
    h = tg.tanh(x)
    k = h * h
    y = tg.sum(k * x)
    gh, gk, gx, gy = tg.grad(y, [h, k, x, y])
    assert close(gk, x) and close(gh, 2 * h.data * x.data) and gy.item() == 1
    assert close(gx, k.data + 2 * h.data * x.data * (1 - h.data ** 2))
    tg.sum(h).backward()
    assert close(tg.grad(tg.sum(h * h), h), 2 * h.data)         # though what made h is freed


def test_grad_computes_no_more_than_was_asked(monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "watch_gradient", lambda y, i, gx: seen.append((y.op, i)))
    x, W = normal(3, 2), normal(2, 4)
    h = tg.tanh(x)
    tg.grad(tg.sum(h @ W), h)
    assert seen == [(tg.sum, 0), (tg.matmul, 0)]


def test_higher_derivatives():
    x = tg.tensor(np.array([0.3, -0.7, 1.2]), requires_grad=True)
    a, t = x.data, xp.tanh(x.data)
    u = 1 - t ** 2
    for f, wanted in ((tg.tanh, [u, -2 * t * u, u * (6 * t ** 2 - 2)]),
                      (tg.exp, [xp.exp(a)] * 4),
                      (tg.sin, [xp.cos(a), -xp.sin(a), -xp.cos(a)]),
                      (lambda x: x ** 4, [4 * a ** 3, 12 * a ** 2, 24 * a, 0 * a + 24, 0 * a]),
                      (lambda x: 1 / x, [-a ** -2, 2 * a ** -3, -6 * a ** -4])):
        y = f(x)
        for derivative in wanted:
            y = tg.grad(tg.sum(y), x, create_graph=True)
            assert close(y, derivative)


def test_a_gradient_penalty_reaches_the_weights():
    x, W = normal(5, 3), normal(3, 2)

    def penalty(W, create_graph=False):
        g = tg.grad(tg.sum(tg.tanh(x @ W)), x, create_graph)
        return tg.sum(g * g)

    penalty(W, create_graph=True).backward()
    v = 1e-6 * backend.normal(W.shape, "float64")
    slope = penalty(tg.Tensor(W.data + v)) - penalty(tg.Tensor(W.data - v))
    assert float((W.grad * v).sum()) == pytest.approx(slope.item() / 2, rel=1e-6)


@pytest.mark.parametrize("call, kind, sentence", [
    (lambda x: x.backward(), ValueError,
     r"backward: needs a scalar, got shape \(3,\); sum\(\) or mean\(\) it first$"),
    (lambda x: tg.grad(x, x), ValueError, r"grad: needs a scalar, got shape \(3,\)"),
    (lambda x: tg.grad(3.0, x), TypeError, "grad: needs a Tensor, got float$"),
    (lambda x: tg.sum(x.detach()).backward(), ValueError,
     "backward: this Tensor does not depend on any Tensor with requires_grad=True .or was made"),
    (lambda x: tg.grad(tg.sum(x), x.detach()), ValueError,
     "grad: every x must be a Tensor with requires_grad=True$"),
    (lambda x: tg.grad(tg.sum(x), [x.data]), ValueError, "grad: every x must be a Tensor"),
    (lambda x: tg.checkpoint(lambda x: [x, x], x), TypeError,
     "checkpoint: f must give one Tensor, got list$"),
])
def test_mistakes_in_asking_for_gradients(call, kind, sentence):
    with pytest.raises(kind, match=f"^{sentence}"):
        call(normal(3))


FREED = "^this graph was used and freed by an earlier backward.*compute the loss again"


def test_a_freed_graph_says_so():
    x = normal(3)
    h = tg.tanh(x)
    y = tg.sum(h)
    y.backward()
    for again in (y.backward, lambda: tg.grad(y, x), lambda: tg.sum(h * h).backward(),
                  lambda: tg.grad(tg.sum(h * h), x)):
        with pytest.raises(RuntimeError, match=FREED):
            again()


# --- nobody's gradient is edited ------------------------------------------------------------------

VIEWS = {
    "a + b": lambda a, b: a + b,
    "(a + b) + a": lambda a, b: (a + b) + a,
    "a + b reshaped": lambda a, b: (a + b).reshape(3, 2),
    "joined": lambda a, b: tg.concatenate([a, b]),
    "stacked": lambda a, b: tg.stack([a.T, b.T]),
    "through tanh": lambda a, b: tg.tanh(a + b) + a,
    "sliced": lambda a, b: tg.sum(a + b) + tg.sum(a[0]) + tg.sum(a[:, 1]),
    "summed": lambda a, b: tg.sum(a) + tg.sum(b),
    "checkpointed": lambda a, b: tg.checkpoint(lambda p, q: tg.tanh(p + q), a, b),
    "checkpointed sum": lambda a, b: tg.checkpoint(lambda p, q: p + q, a, b) + a,
    "the same one": lambda a, b: tg.checkpoint(lambda p: p, a) + a + b,
}


@pytest.mark.parametrize("name", VIEWS)
def test_editing_one_gradient_changes_no_other(name):
    def gradients():
        a, b = tg.Tensor(xp.ones((2, 3)), True), tg.Tensor(xp.ones((2, 3)), True)
        y = tg.sum(VIEWS[name](a, b) * 2.0)
        return tg.grad(y, [a, b]), (y.backward(), a.grad, b.grad)[1:]
    (ga, gb), (a_grad, b_grad) = gradients()
    for edited, other in ((ga.data, gb.data), (a_grad, b_grad)):
        before = values(other)
        edited *= 0                     # and they can be edited: none is a read-only view
        assert values(other) == before
    assert all(map(close, gradients()[0], gradients()[1]))


def test_a_kept_gradient_stays_as_it_was():
    x = normal(3)
    tg.sum(x * 2.0).backward()
    kept, before = x.grad, values(x.grad)
    tg.sum(x * 5.0).backward()
    assert values(kept) == before and values(x.grad) == [7, 7, 7]
    h = x * 2.0
    gh, gx = tg.grad(tg.sum(h * h) + tg.sum(h[1:]), [h, x])
    assert close(gx, gh.data * 2)


def test_slices_add_up_with_every_other_use():
    x = normal(4)
    h = x * 1.0
    for y, wanted in ((h[0] + h[1:3] + h[xp.asarray([0, 0])] + tg.sum(h * h), 2 * 2 * x.data
                       + xp.asarray([4.0, 1.0, 1.0, 0.0])),
                      (tg.sum(h + h) + h[1], xp.asarray([2.0, 3.0, 2.0, 2.0]))):
        assert close(tg.grad(tg.sum(y), x), wanted)


def test_numbers_without_axes_have_gradients_too():
    x = normal(dtype="float32")
    s = tg.sum(x * 2.0)
    (tg.sum(s[None] * 3.0) + s * 4.0 + s[...] + x[()]).backward()
    assert x.grad == 17 and isinstance(x.grad, xp.ndarray) and x.grad.dtype == "float32"


def test_what_was_given_is_not_edited():
    x, W, c = normal(4, 3), normal(3, 3), backend.normal((4, 3), "float64")
    held = [tg.to_numpy(a).copy() for a in (x, W, c)]
    y = tg.softmax(tg.relu(x @ W) * c)
    made = tg.to_numpy(y).copy()
    tg.sum(y * y + x[::2, :1].sum()).backward()
    assert all(map(np.array_equal, held, map(tg.to_numpy, (x, W, c))))
    assert np.array_equal(made, tg.to_numpy(y))


# --- what is recorded -----------------------------------------------------------------------------

def test_no_grad_records_nothing_and_ends_with_its_block():
    x = normal(3)
    with tg.no_grad():
        y = tg.tanh(x * 2.0)
        with tg.no_grad():
            pass
        assert not (x + y).requires_grad
    assert not y.requires_grad and y.is_leaf and (x * y).requires_grad
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert (x * 2.0).requires_grad
    with tg.no_grad():
        assert not tg.checkpoint(tg.tanh, x).requires_grad
        t = tg.Tensor(x.data)
        assert close(tg.checkpoint(tg.tanh, t), xp.tanh(x.data))


def test_detach_cuts_the_graph_and_shares_the_values():
    x = normal(3)
    h = x * 2.0
    y = tg.sum(h * h.detach())
    assert close(tg.grad(y, x), 2 * h.data) and h.detach().data is h.data
    assert not h.detach().requires_grad


def test_what_needs_no_gradient_is_not_recorded():
    x, n = tg.tensor([1.0, 2.0]), tg.tensor(np.array([1, 2]))
    for y in (x * 2.0, tg.sum(x), x[n - 1], n + 1, tg.concatenate([x, n])):
        assert isinstance(y, tg.Tensor) and y.is_leaf and not y.requires_grad and y.args == ()


def test_two_threads_record_each_their_own():
    def work(seed, out):
        x = tg.Tensor(xp.asarray(np.random.default_rng(seed).normal(size=(4, 3))), True)
        W = tg.Tensor(xp.asarray(np.random.default_rng(seed + 9).normal(size=(3, 3))), True)
        for _ in range(60):
            barrier.wait(timeout=60)
            h = x
            for _ in range(5):
                with tg.no_grad():
                    tg.exp(h)
                h = tg.tanh(h @ W)
            g = tg.grad(tg.sum(h * h), W, create_graph=True)
            tg.sum(g * g).backward()
        out.append(values(W.grad))

    results, barrier = {0: [], 1: []}, threading.Barrier(2)
    threads = [threading.Thread(target=work, args=item) for item in results.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in results:
        alone, barrier = [], threading.Barrier(1)
        work(seed, alone)
        assert results[seed] == alone


def test_a_primitive_of_ones_own():
    @tg.primitive
    def hypot(x, y):
        return (x * x + y * y) ** 0.5
    tg.defvjp(hypot, lambda g, z, x, y: g * x / z, lambda g, z, x, y: g * y / z)

    @tg.primitive
    def turned(x, y, angle):
        return x * math.cos(angle) - y * math.sin(angle)
    tg.defvjp_joint(turned, lambda g, z, x, y, angle: [g * math.cos(angle), g * -math.sin(angle)])

    x, y = normal(2, 3), normal(3)
    assert tg.gradcheck(hypot, x, y) and tg.gradcheck(turned, x, y, angle=0.3)
    assert hypot(3.0, 4.0) == 5 and not isinstance(hypot(x.data, y.data), tg.Tensor)
    with pytest.raises(ValueError, match=r"^hypot: given shapes \(2, 3\), \(2,\): sizes must be"):
        hypot(x, normal(2))


# --- checkpoint -----------------------------------------------------------------------------------

U = np.random.default_rng(3).normal(size=(3, 3))


def layers(W):
    def f(x):
        for _ in range(3):
            x = tg.tanh(x @ W)
        return x
    return f


CHECKPOINTED = {
    "parameters inside": lambda ck, x, W: ck(layers(W), x),
    "in a row, weights shared": lambda ck, x, W: ck(layers(W), ck(layers(W), x)),
    "nested": lambda ck, x, W: ck(lambda x: ck(layers(W), x) * ck(tg.sin, x), x),
    "dropout inside": lambda ck, x, W: ck(lambda x: tg.dropout(layers(W)(x), 0.5), x),
    "dropout around": lambda ck, x, W: tg.dropout(ck(lambda x: tg.dropout(x @ W, 0.5), x), 0.5),
    "the same twice": lambda ck, x, W: ck(lambda p, q: p * q * q, x, x),
    "inside and outside": lambda ck, x, W: ck(lambda p: p * tg.sin(x), x) * x,
    "weights on both sides": lambda ck, x, W: ck(lambda p: tg.tanh(p @ W), x @ W),
    "made outside": lambda ck, x, W: (lambda h: ck(lambda p: p * h, x))(tg.tanh(x @ W)),
    "other arguments": lambda ck, x, W: ck(lambda x, n, c: (x * c) ** n, x, 3, W.data[0]),
    "itself": lambda ck, x, W: ck(lambda p: p, x) * x,
    "an unused one": lambda ck, x, W: ck(lambda p, q: tg.tanh(p), x, W),
    "two of a list": lambda ck, x, W: ck(lambda p, q: tg.concatenate([q, p]), *tg.split(x * x, 2)),
}


def without(f, *xs):
    backend.random_state()              # on CuPy this starts other numbers, as checkpoint does
    return f(*xs)


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_checkpoint_equals_no_checkpoint(name):
    x, W = normal(4, 3), tg.Tensor(xp.asarray(U), True)

    def all_of(checkpoint):
        backend.seed(7)
        y = CHECKPOINTED[name](checkpoint, x, W)
        first = tg.grad(tg.sum(y * y), [x, W], create_graph=True)
        again = tg.grad(tg.sum(first[0] ** 2) + tg.sum(first[1] ** 3), [x, W], create_graph=True)
        third = tg.grad(tg.sum(again[0] ** 2), [x, W])
        x.grad = W.grad = None
        tg.sum(y ** 3).backward([x])
        drawn = backend.host_rng().random(2)                # the random numbers go on as they would
        return [y, *first, *again, *third, x.grad, drawn]

    for a, b in zip(all_of(without), all_of(tg.checkpoint)):
        assert close(a, b)


def test_what_a_checkpoint_takes_from_outside_has_its_gradient():
    x, W = normal(4, 3), normal(3, 3)

    def gradients(checkpoint):
        h = tg.tanh(x @ W)
        y = tg.sum(checkpoint(lambda p: tg.sin(p * h) + p @ W, x) ** 2)
        first = tg.grad(y, [h, x], create_graph=True)
        again = tg.grad(tg.sum(first[0] ** 2) + tg.sum(first[1] ** 2), [h, W])
        W.grad = None
        y.backward([h, W])
        return *first, *again, h.grad, W.grad
    for a, b in zip(gradients(without), gradients(tg.checkpoint)):
        assert close(a, b) and abs(a).max() > 0


def test_an_unused_argument_of_a_checkpoint_has_no_gradient():
    x, W = normal(3), normal(3)
    tg.sum(tg.checkpoint(lambda p, q: tg.tanh(p), x, W)).backward()
    assert x.grad is not None and W.grad is None


@pytest.mark.host_only(reason="tracemalloc sees the host's memory")
def test_a_checkpoint_holds_fewer_bytes():
    x = normal(100, 100)

    def held(checkpoint):
        """How many arrays of the size of x are kept for the way back through twenty operations."""
        gc.collect()
        tracemalloc.start()
        y = checkpoint(lambda x: functools.reduce(lambda h, _: tg.tanh(h * 2.0), range(10), x), x)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert y.requires_grad
        return size / x.data.nbytes

    assert held(without) > 19.5 and held(tg.checkpoint) < 1.5


# --- memory and time ------------------------------------------------------------------------------

@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_no_tensor_is_alive_after_a_step(no_gc, monkeypatch):
    made = []
    monkeypatch.setattr(engine, "watch", lambda y: made.append(weakref.ref(y)))
    x, W = normal(4, 3), normal(3, 3)

    def step():
        h = tg.checkpoint(layers(W), x @ W)
        y = tg.sum(tg.batch_norm(h) ** 2)
        penalty = tg.sum(tg.grad(y, x, create_graph=True) ** 2)
        (y + penalty).backward()
        return y

    y = step()
    assert [t().op.__name__ for t in made if t() is not None] == ["sum"]
    assert len(made) > 30 and y.args is None


def test_a_kept_result_keeps_nothing_that_it_was_made_from(no_gc):
    x = normal(1000)
    h = x * 2.0
    gone = weakref.ref(h)
    y = tg.checkpoint(tg.tanh, h)
    tg.sum(y).backward()
    del h
    assert gone() is None and y.shape == (1000,)


def test_an_error_leaves_the_engine_as_it_was(no_gc):
    x = normal(3)
    with pytest.raises(ValueError):
        tg.checkpoint(lambda x: x + normal(4), x)
    with pytest.raises(ValueError):
        x.backward()
    y = tg.sum(x * 2.0)
    y.backward()
    assert values(x.grad) == [2, 2, 2]


def frames(f, *args):
    """How many Python functions a call of f enters."""
    entered = []
    f(*args)
    sys.setprofile(lambda frame, event, arg: entered.append(frame) if event == "call" else None)
    try:
        f(*args)
    finally:
        sys.setprofile(None)
    return len(entered)


@pytest.mark.host_only(reason="the stand-in's own functions are Python")
def test_few_python_frames_per_operation():
    x, W = normal(2, 3, dtype="float32"), normal(3, 4, dtype="float32")
    assert frames(tg.tanh, x) <= 2 and frames(operator.add, x, x) <= 3
    assert frames(operator.mul, x, 2.0) <= 3 and frames(operator.matmul, x, W) <= 3
    assert frames(tg.sum, x) <= 3 and frames(tg.reshape, x, (6,)) <= 2     # x.sum() enters one

    def step(n):
        tg.sum(functools.reduce(lambda x, _: tg.tanh(x), range(n), x)).backward()
    assert (frames(step, 10) - frames(step, 0)) / 10 <= 6       # one is this test's own lambda
