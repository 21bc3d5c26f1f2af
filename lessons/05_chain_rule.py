"""Lesson 05: who computes the gradient, if not we?

If every number remembers which step made it and from what, a loop can run the chain rule backwards:

    dloss/dx = sum over all steps that used x of   dloss/d(result) * d(result)/dx

Promise: youngest first, gradients are right (else not) and the package's; mu ends at the mean.
Changed since lesson 04: no gradient is derived by hand.   Takes a few seconds.
- Value: a number, its gradient, and a function that hands the gradient on; backward(): the loop

기울기를 손으로 유도하는 대신, 모든 수가 자신을 만든 연산과 입력을 기억하게 한다. 그러면 연쇄 법칙을
결과에서 입력 쪽으로 되짚는 반복문 하나로 기울기가 나온다. 순서가 중요하다: 어떤 수의 기울기는 그 수를 쓴
모든 연산을 지난 뒤에야 완성된다.
"""
# %% The engine, all of it
import math

import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options

args = lesson_options("Reverse-mode differentiation of scalars, in fifty lines.")
rng = np.random.default_rng(args.seed)


class Value:
    """A number that remembers what it was made from."""
    births = 0

    def __init__(self, data, inputs=(), hand_on=lambda g: (), name=""):
        self.data, self.grad, self.name = data, 0.0, name
        self.inputs, self.hand_on = inputs, hand_on     # hand_on(g): a gradient for each input
        self.birth = Value.births = Value.births + 1

    def __add__(self, other):
        other = as_value(other)
        return Value(self.data + other.data, (self, other), lambda g: (g, g), "+")

    def __mul__(self, other):
        other = as_value(other)
        return Value(self.data * other.data, (self, other),
                     lambda g: (g * other.data, g * self.data), "*")

    def __sub__(self, other):
        return self + as_value(other) * -1.0
    __radd__, __rmul__ = __add__, __mul__

    def exp(self):
        y = math.exp(self.data)
        return Value(y, (self,), lambda g: (g * y,), "exp")

    def tanh(self):
        y = math.tanh(self.data)
        return Value(y, (self,), lambda g: (g * (1 - y * y),), "tanh")

    def backward(self, order=None):
        """Adds d self / d x to x.grad, for every x that self was made from."""
        order = order or youngest_first(self)
        self.grad = 1.0
        for v in order:
            for x, g in zip(v.inputs, v.hand_on(v.grad)):
                x.grad += g                 # several uses of x: their gradients add up


def as_value(x):
    return x if isinstance(x, Value) else Value(float(x))


def everything(y):
    """y and all that it was made from, in the order in which a search comes upon it."""
    found, stack = {}, [y]
    while stack:
        v = stack.pop()
        stack.extend(() if v in found else v.inputs)
        found[v] = True
    return list(found)


def youngest_first(y):
    """A result is younger than its inputs: by age, all users of a number come before it."""
    return sorted(everything(y), key=lambda v: -v.birth)


# %% Why the order matters: c is used at once by y, and by way of d
def short_cut():
    a = Value(0.5, name="a")
    c = a * 3.0
    d = c * c
    return a, d + c * 2.0


(a, y), (b, z), wanted = short_cut(), short_cut(), 18 * 0.5 + 6
y.backward()
z.backward(everything(z))                   # c hands its gradient on before d has given it its part
print(f"d/da of (3a)^2 + 6a at 0.5: by age {a.grad:.1f}, in the order found {b.grad:.1f}, "
      f"by hand {wanted:.1f}")

# %% The recipe of lesson 04 with it: a Gaussian p_theta, theta = (mu, ln s), by gradient descent
x = rng.normal(2.0, 0.5, 20)                # p_data = N(2, 0.5^2)
mu, log_s, lr, path, early = 0.0, 0.0, 0.1, [], None
for step in range(61):
    theta = Value(mu, name="mu"), Value(log_s, name="ln s")
    precision = (theta[1] * -2.0).exp()     # 1 / s^2
    loss = theta[1] + 0.5 * math.log(2 * math.pi)
    for v in x:                             # -ln N(x; mu, s^2), averaged
        d = theta[0] - v
        loss = loss + d * d * precision * (0.5 / len(x))
    loss.backward()
    path.append(loss.data)
    early = theta if step == 5 else early
    if step % 20 == 0:
        print(f"step {step:3d}  nll {loss.data:7.4f} nats  mu {mu:.4f}  s {math.exp(log_s):.4f}")
    mu, log_s = mu - lr * theta[0].grad, log_s - lr * theta[1].grad
best = 0.5 * math.log(2 * math.pi * math.e * x.var())
print(f"theta* by formula: nll {best:.4f} nats  mu {x.mean():.4f}  s {x.std():.4f}")

# %% The same loss at step 5, by the package
leaf = [tg.tensor(t.data, requires_grad=True, dtype="float64") for t in early]
(leaf[1] + tg.mean((leaf[0] - x) ** 2) * tg.exp(-2 * leaf[1]) * 0.5).backward()
print(f"d loss / d mu, step 5: here {early[0].grad:+.12f}, tinygen {float(leaf[0].grad):+.12f}")
print("what became which file: Value (Tensor) -> engine/tensor.py; "
      "backward -> engine/backward.py; * (multiply) -> engine/elementwise.py")

# %% The picture: the graph with its gradients, and the way down
fig, axes = plotting.figure(1, 2, (12, 4))
nodes, place, arrow = youngest_first(y), {}, dict(arrowstyle="->", shrinkA=20, shrinkB=20)
for v in reversed(nodes):                   # a column further right than any of its inputs
    column = 1 + max((place[i][0] for i in v.inputs), default=-1)
    place[v] = column, sum(c == column for c, _ in place.values())
for v, at in place.items():
    for i in v.inputs:
        axes[0, 0].annotate("", at, place[i], arrowprops=arrow)
    axes[0, 0].text(*at, f"{v.name or 'number'}\n{v.data:.3g}\ngrad {v.grad:.3g}", ha="center",
                    va="center", fontsize=8, bbox=dict(boxstyle="round", facecolor="white"))
axes[0, 0].set(xlim=(-0.6, 3.6), ylim=(-0.6, 2.6), title="y = (3a)^2 + 6a", xticks=[], yticks=[])
axes[0, 1].plot(path, label="nll of p_theta")
plotting.floor_line(axes[0, 1], best, "its best")
axes[0, 1].set(xlabel="step", ylabel="nats per x", title="theta follows -gradient")
axes[0, 1].legend()
print("figure:", plotting.save(fig, args.out, "05_chain_rule.png", args.show))

# %% The promise of this lesson
assert a.grad == wanted != b.grad, "by age it is right, in another order it is not"
assert all(abs(v.grad - float(t.grad)) < 1e-12 for v, t in zip(early, leaf)), "as the package"
assert abs(mu - x.mean()) < 0.01
# What we left out: arrays (lesson 06), gradients of gradients (07).
# Exercises: ex01_chain_rule, ex02_tanh, ex18_topological_order, ex19_accumulation.
