"""Lesson 07: can a gradient be differentiated again?

In lesson 06 a rule worked on plain arrays, so gradients were dead numbers. Write each rule in the
operations of the engine itself, and it gets two speeds:

    given arrays      it only computes: an ordinary backward pass, with nothing recorded
    given Tensors     it records itself, so the gradient is a Tensor, to be differentiated again

Promise: three derivatives of tanh are their formulas, a penalty's gradient the package's; a walk
back given arrays makes no Tensor.
Changed since lesson 06: an operation and its rule are two plain functions
- primitive(f): called with a Tensor, f records itself; called with arrays it is f
- rules[f]: one function (g, y, *inputs) for each input, in operators, working on both kinds
- grad(y, x): gives a gradient; with create_graph it is a Tensor

    python lessons/07_primitives.py       a few seconds

미분 규칙을 엔진 자신의 연산으로 쓰면 한 규칙이 두 속도를 갖는다. 배열을 받으면 계산만 하고, Tensor를
받으면 스스로를 기록한다. 그러면 기울기 자체가 다시 미분할 수 있는 Tensor가 되어, 몇 번이든 미분할 수 있다.
"""
# %% The engine: operations that record themselves
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options

args = lesson_options("One rule, two speeds; derivatives of derivatives.")
rng = np.random.default_rng(args.seed)


class Tensor:
    births = 0

    def __init__(self, data, op=None, inputs=()):
        self.data, self.op, self.inputs = np.asarray(data, dtype=float), op, inputs
        self.birth = Tensor.births = Tensor.births + 1

    shape = property(lambda self: self.data.shape)
    __add__ = __radd__ = lambda self, other: add(self, other)
    __mul__ = __rmul__ = lambda self, other: mul(self, other)
    __neg__ = lambda self: mul(self, -1.0)
    __sub__ = lambda self, other: add(self, -other)
    __rsub__ = lambda self, other: add(-self, other)


def primitive(f):
    """f of arrays, made to record itself when one of them is a Tensor."""
    def op(*args):
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        if any(isinstance(a, Tensor) for a in args):
            return Tensor(f(*arrays), op, args)
        return f(*arrays)
    op.__name__ = f.__name__
    return op


# %% Operations, and below each its rule: what g, the gradient of y, brings to each input
@primitive
def add(a, b):
    return a + b


@primitive
def mul(a, b):
    return a * b


@primitive
def tanh(x):
    return np.tanh(x)


@primitive
def total(x):
    return np.sum(x)


rules = {
    add: (lambda g, y, a, b: g, lambda g, y, a, b: g),
    mul: (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    tanh: (lambda g, y, x: g * (1.0 - y * y),),
    total: (lambda g, y, x: g * np.ones(x.shape),),
}


# %% The walk back: with arrays, or with Tensors, by the same rules
def grad(y, x, create_graph=False):
    """d y / d x, y a scalar"""
    gradients = {y.birth: Tensor(1.0) if create_graph else np.array(1.0)}
    for t in sorted(everything(y), key=lambda t: -t.birth):
        g = gradients.get(t.birth)
        inputs = t.inputs if create_graph else [getattr(a, "data", a) for a in t.inputs]
        out = t if create_graph else t.data
        for a, rule in zip(t.inputs, rules.get(t.op, ())):
            if isinstance(a, Tensor):
                part = rule(g, out, *inputs)
                gradients[a.birth] = gradients[a.birth] + part if a.birth in gradients else part
    return gradients[x.birth]


def everything(y):
    found, stack = {}, [y]
    while stack:
        t = stack.pop()
        if t not in found:
            found[t] = True
            stack.extend(a for a in t.inputs if isinstance(a, Tensor))
    return list(found)


# %% Derivatives of derivatives of derivatives
x = Tensor(np.linspace(-3, 3, 200))
orders = [tanh(x)]
for _ in range(3):
    orders.append(grad(total(orders[-1]), x, create_graph=True))
y = orders[0].data
by_hand = [y, 1 - y ** 2, -2 * y * (1 - y ** 2), (6 * y ** 2 - 2) * (1 - y ** 2)]
for n, (d, h) in enumerate(zip(orders, by_hand)):
    print(f"derivative {n} of tanh: off its formula by {abs(d.data - h).max():.0e} at most")
before = Tensor.births
grad(total(tanh(x)), x)
plain = Tensor.births - before - 2
grad(total(tanh(x)), x, create_graph=True)
print(f"Tensors made by one walk back: {plain} given arrays, {Tensor.births - before - plain - 4} "
      "given Tensors")

# %% What it is for: a penalty on the slope of a function (WGAN-GP, lesson 31) needs order 2
a, w = Tensor(rng.normal(size=50)), Tensor(0.7)
slope = grad(total(tanh(w * a)), a, create_graph=True)          # how steep tanh(w a) is at each a
penalty = total((slope - 1.0) * (slope - 1.0))
through = float(np.sum(grad(penalty, w)))       # w was stretched over a: add its gradient up
b, v = tg.tensor(a.data, requires_grad=True), tg.tensor(w.data, requires_grad=True)
same = tg.grad(tg.sum((tg.grad(tg.sum(tg.tanh(v * b)), b, create_graph=True) - 1) ** 2), v).item()
print(f"d penalty / d w: this lesson {through:+.10f}, tinygen {same:+.10f}")
print("what became which file: primitive, rules (defvjp) -> engine/tensor.py; "
      "grad -> engine/backward.py")

# %% The picture
fig, axes = plotting.figure(1, 1, (7, 4))
for n, d in enumerate(orders):
    axes[0, 0].plot(x.data, d.data, label=f"derivative {n}")
axes[0, 0].set(xlabel="x", ylabel="d^n tanh(x) / dx^n", title="one rule for tanh, run three times")
axes[0, 0].legend()
print("figure:", plotting.save(fig, args.out, "07_primitives.png", args.show))

# %% The promise of this lesson
assert max(abs(d.data - h).max() for d, h in zip(orders, by_hand)) < 1e-12
assert abs(through - same) < 1e-9 and plain == 0
# What we left out: unbroadcast, inside the walk (lesson 06). Exercises: ex06, ex17, ex20, ex21.
