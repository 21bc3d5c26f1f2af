"""Lesson 06: what changes when numbers become arrays?

A Value that holds an array pays its bookkeeping once for a million numbers. The rules stay, but one
thing is new: NumPy stretches arrays to fit (broadcasting), so an element is used many times unseen,
and its gradients must be added up again on the way back.

Promise: b's gradient is 2 (x + b), added up over rows; all are the package's; the nll falls.
Changed since lesson 05: Value -> Tensor, of arrays; sum and @; unbroadcast.  Takes a few seconds.

수 하나하나 대신 배열 전체가 하나의 마디가 된다. 규칙은 그대로이고 하나만 새롭다: NumPy가 모양을 맞추려고
늘린(브로드캐스팅) 원소는 여러 번 쓰인 것이므로, 되돌아올 때 그 기울기를 모두 더해야 한다.
"""
# %% The engine: lesson 05, with arrays
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Mixture2D

args = lesson_options("Reverse-mode differentiation of arrays.")
rng = np.random.default_rng(args.seed)


class Tensor:
    births = 0

    def __init__(self, data, inputs=(), hand_on=lambda g: ()):
        self.data, self.grad = np.asarray(data, dtype=float), None
        self.inputs, self.hand_on = inputs, hand_on
        self.birth = Tensor.births = Tensor.births + 1

    def __add__(self, other):
        other = as_tensor(other)
        return Tensor(self.data + other.data, (self, other), lambda g: (g, g))

    def __mul__(self, other):
        other = as_tensor(other)
        return Tensor(self.data * other.data, (self, other),
                      lambda g: (g * other.data, g * self.data))

    def __sub__(self, other):
        return self + as_tensor(other) * -1.0
    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, other):
        """z_mn = sum_k x_mk y_kn, so dx = g y' and dy = x' g"""
        return Tensor(self.data @ other.data, (self, other),
                      lambda g: (g @ other.data.T, self.data.T @ g))

    def exp(self):
        y = np.exp(self.data)
        return Tensor(y, (self,), lambda g: (g * y,))

    def tanh(self):
        y = np.tanh(self.data)
        return Tensor(y, (self,), lambda g: (g * (1 - y * y),))

    def sum(self):
        return Tensor(self.data.sum(), (self,), lambda g: (g * np.ones_like(self.data),))

    def backward(self):
        self.grad = np.ones_like(self.data)
        for t in sorted(everything(self), key=lambda t: -t.birth):
            for x, g in zip(t.inputs, t.hand_on(t.grad)):
                g = unbroadcast(g, x.data.shape)
                x.grad = g if x.grad is None else x.grad + g


def unbroadcast(g, shape):
    """Adds up g over the axes along which an array of this shape was stretched."""
    g = g.sum(tuple(range(g.ndim - len(shape))))            # axes that were put in front
    for axis, n in enumerate(shape):
        if n == 1 and g.shape[axis] > 1:
            g = g.sum(axis, keepdims=True)      # an axis of size 1 that was repeated
    return g


def as_tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def everything(y):
    found, stack = {}, [y]
    while stack:
        t = stack.pop()
        stack.extend(() if t in found else t.inputs)
        found[t] = True
    return list(found)


# %% Broadcasting and its way back: b was used once for each row
x, b = Tensor(rng.normal(size=(4, 3))), Tensor(rng.normal(size=3))
((x + b) * (x + b)).sum().backward()
print(f"b {b.data.shape} was stretched to {x.data.shape}; its gradient {np.round(b.grad, 4)}")
print(f"by hand, 2 (x + b) added up over rows: {np.round(2 * (x.data + b.data).sum(0), 4)}")

# %% A model: p_theta(x_2 | x_1) = N(mu(x_1), s^2), mu a small network, on the two moons
data = Mixture2D("moons").sample(2000, rng).astype(float)
x1, x2 = data[:, :1], data[:, 1:]
theta = [rng.normal(size=shape) * 0.7 for shape in ((1, 32), (32,), (32, 1), (1,), ())]


def network(x, W1, b1, W2, b2):
    return (x @ W1 + b1).tanh() @ W2 + b2


def nll(theta):
    """-mean ln N(x_2; mu, s^2), theta's last number being ln s"""
    d = network(Tensor(x1), *theta[:4]) - x2
    return (d * d * (theta[4] * -2.0).exp()).sum() * (0.5 / len(x2)) + theta[4] + (
        0.5 * np.log(2 * np.pi))


steps, losses = (100 if args.quick else 1500), []
for step in range(steps):
    tensors = [Tensor(p) for p in theta]
    loss = nll(tensors)
    loss.backward()
    losses.append(float(loss.data))
    theta = [p - 0.01 * t.grad for p, t in zip(theta, tensors)]
sizes = [t.data.size for t in everything(loss)]
print(f"nll {losses[0]:.3f} -> {losses[-1]:.3f} nats per point; a step: {sum(sizes):,} numbers in "
      f"{len(sizes)} Tensors")

# %% The same step, by the package
leaf = [tg.tensor(t.data, requires_grad=True) for t in tensors]
mu = tg.tanh(tg.tensor(x1) @ leaf[0] + leaf[1]) @ leaf[2] + leaf[3]
(tg.sum((mu - x2) ** 2 * tg.exp(-2 * leaf[4])) * (0.5 / len(x2)) + leaf[4]).backward()
off = max(abs(tg.to_numpy(a.grad) - b.grad).max() for a, b in zip(leaf, tensors))
print(f"largest difference of any gradient from tinygen's: {off:.1e}")
print("what became which file: unbroadcast -> engine/backward.py; "
      "@ (matmul) -> engine/products.py")

# %% The picture: the curve, and what was learned
fig, axes = plotting.figure(1, 2, (11, 4))
axes[0, 0].plot(losses)
axes[0, 0].set(xlabel="step", ylabel="nll, nats per point", title="learning p(x_2 | x_1)")
line = np.linspace(-1.3, 2.3, 200)[:, None]
mu, s = network(Tensor(line), *map(Tensor, theta[:4])).data[:, 0], float(np.exp(theta[4]))
axes[0, 1].plot(*data.T, ".", markersize=2, color="#555555", label="p_data")
axes[0, 1].plot(line, mu, color="#1b6ca8", label="mu(x_1)")
axes[0, 1].fill_between(line[:, 0], mu - 2 * s, mu + 2 * s, alpha=0.15, label="2 s")
axes[0, 1].set(xlabel="x_1", ylabel="x_2", title="one Gaussian for each x_1 cannot be two moons")
axes[0, 1].legend()
print("figure:", plotting.save(fig, args.out, "06_arrays.png", args.show))

# %% The promise of this lesson
assert np.allclose(b.grad, 2 * (x.data + b.data).sum(0)) and off < 1e-10 < losses[0] - losses[-1]
# What we left out: gradients of gradients (lesson 07). Exercises: ex03, ex04, ex05, ex07.
