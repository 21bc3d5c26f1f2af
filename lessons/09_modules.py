"""Lesson 09: what is a layer?

A function that owns its parameters. A Module's attributes are parameters, or other Modules; walking
the attributes finds them all, whatever the model. Then the training loop never changes.

Promise: gradients are the package's, p adds up to one, and KL ends below 0.15 nats.
Changed since lesson 08: Module, Linear, Network; an engine of one speed again.   A few seconds.

층(layer)이란 자기 모수를 가진 함수이다. Module은 속성으로 모수나 다른 Module을 가지며, 속성을 따라가면 모델의
모든 모수를 찾는다. 그러면 어떤 모델이든 학습 반복문은 같은 네 줄이다.
"""
# %% The engine: Tensor, rules, the walk back
import numpy as np

import tinygen as tg
from tinygen import nn, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import TinyBits

args = lesson_options("Modules and layers on the engine of lessons 05 and 06.")
rng = np.random.default_rng(args.seed)


class Tensor:
    births = 0

    def __init__(self, data, inputs=(), rules=()):
        self.data, self.grad = np.asarray(data, dtype=float), None
        self.inputs, self.rules = inputs, rules         # rules: g -> gradient, one for each input
        self.birth = Tensor.births = Tensor.births + 1

    def __add__(self, other):
        return Tensor(self.data + other.data, (self, other), (lambda g: g, lambda g: g))

    def __matmul__(self, other):
        return Tensor(self.data @ other.data, (self, other),
                      (lambda g: g @ other.data.T, lambda g: self.data.T @ g))

    def relu(self):
        return Tensor(np.maximum(self.data, 0), (self,), (lambda g: g * (self.data > 0),))

    def backward(self):
        self.grad, found, stack = np.ones_like(self.data), {}, [self]
        while stack:
            t = stack.pop()
            stack.extend(() if t in found else t.inputs)
            found[t] = True
        for t in sorted(found, key=lambda t: -t.birth):
            for x, rule in zip(t.inputs, t.rules):
                g = unbroadcast(rule(t.grad), x.data.shape)
                x.grad = g if x.grad is None else x.grad + g


def unbroadcast(g, shape):
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n < g.shape[i]), keepdims=True)


def nll_of_bits(logits, x):
    """-ln p(x), p(x_d = 1) = sigmoid(logit_d), as softplus(l) - x l: a mean over the batch, nats"""
    l, B = logits.data, len(x)
    return Tensor((np.logaddexp(0, l) - x * l).sum() / B, (logits,),
                  (lambda g: g * (1 / (1 + np.exp(-l)) - x) / B,))


# %% Layers
class Module:
    def named_parameters(self, prefix=""):
        """{"layers.0.W": Tensor, ...}: every Tensor among the attributes, however deep."""
        found = {}
        for name, value in vars(self).items():
            items = enumerate(value) if isinstance(value, list) else [("", value)]
            for i, item in items:
                path = f"{prefix}{name}.{i}".rstrip(".")
                if isinstance(item, Tensor):
                    found[path] = item
                elif isinstance(item, Module):
                    found |= item.named_parameters(path + ".")
        return found


class Linear(Module):
    """y = x (W M) + b, M a mask of 0 and 1 that cuts weights.   Starts with W ~ N(0, 2 / n_in)"""

    def __init__(self, mask):
        self.W = Tensor(rng.normal(size=mask.shape) * (2 / len(mask)) ** 0.5)
        self.b, self.mask = Tensor(np.zeros(mask.shape[1])), mask

    def __call__(self, x):
        W = Tensor(self.W.data * self.mask, (self.W,), (lambda g: g * self.mask,))
        return x @ W + self.b


class Network(Module):
    def __init__(self, *masks):
        self.layers = [Linear(mask) for mask in masks]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


# %% A model of 9 bits, each seeing only those before it (lesson 14 tells why)
world, H = TinyBits(3), 64
degree = np.arange(H) % 8
masks = (np.arange(9)[:, None] <= degree) * 1.0, (degree[:, None] < np.arange(9)) * 1.0
model = Network(*masks)
for name, p in model.named_parameters().items():
    print(f"{name:12s} {p.data.shape}")
x, states = world.sample(4000, rng).astype(float), world.states().astype(float)

# %% The training loop: forward, backward, update, forget
steps, lr, losses = (100 if args.quick else 800), 0.1, []
for step in range(steps):
    batch = x[rng.integers(0, len(x), 100)]
    loss = nll_of_bits(model(Tensor(batch)), batch)
    loss.backward()
    for p in model.named_parameters().values():
        p.data = p.data - lr * p.grad
        p.grad = None
    losses.append(float(loss.data))
logits = model(Tensor(states)).data
log_p = (states * logits - np.logaddexp(0, logits)).sum(1)
floor, kl = world.entropy()[0], np.exp(world.log_prob(states)) @ (world.log_prob(states) - log_p)
print(f"nll {np.mean(losses[-50:]):.3f} nats  floor {floor:.3f}  KL(p_data || p_theta) {kl:.3f}")

# %% The same network of tinygen's layers, with the same weights
twin = nn.Sequential(nn.MaskedLinear(9, H, masks[0]), tg.relu, nn.MaskedLinear(H, 9, masks[1]))
for own, theirs in zip(model.named_parameters().values(), twin.parameters()):
    theirs.data = own.data.copy()
nll_of_bits(model(Tensor(batch)), batch).backward()
(tg.binary_cross_entropy_with_logits(twin(batch), batch, "sum") / len(batch)).backward()
off = max(abs(own.grad - tg.to_numpy(theirs.grad)).max()
          for own, theirs in zip(model.named_parameters().values(), twin.parameters()))
print(f"largest difference of any gradient from tinygen's: {off:.0e}")
print("what became which file: Module -> nn/module.py; Linear (MaskedLinear) -> nn/linear.py; "
      "nll_of_bits (binary_cross_entropy_with_logits) -> engine/fused.py")

# %% The picture
fig, axes = plotting.figure(1, 1, (7, 3.6))
plotting.curve(axes[0, 0], losses, "nll of p_theta")
plotting.floor_line(axes[0, 0], floor, "floor H(p_data)")
axes[0, 0].set(xlabel="step", ylabel="nats per picture", title="our engine learns p_data")
axes[0, 0].legend()
print("figure:", plotting.save(fig, args.out, "09_modules.png", args.show))

# %% The promise of this lesson
assert off < 1e-10 and abs(np.exp(log_p).sum() - 1) < 1e-9 and (args.quick or kl < 0.15)
# What we left out: better steps (lesson 10). Exercises: ex10_layer_norm, ex11_batch_norm.
