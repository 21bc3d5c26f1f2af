"""Lesson 18: what happens to a density when its axis is stretched?

If z = f(x) and f rises, the probability of a little interval does not change, its length does:

    p_X(x) dx = p_Z(z) dz        so        ln p_X(x) = ln p_Z(f(x)) + ln f'(x)

Take p_Z = N(0, 1) and learn f: a density whose samples are f^-1(z), by the same f read backwards.

Promise: p adds up to one (to 1 %), f' is what differences say (to 2 %), f undoes f^-1 (to 1e-3),
and KL ends below 0.06 nats.
Changed since lesson 17: x is a real number, so p is a density, which can exceed 1
- f(x) = a x + sum of learned tanh steps, increasing by construction
- the log-derivative keeps f honest: without it, f would crush all x into the peak of p_Z

    python lessons/18_change_of_variables.py       a few seconds

변수변환 공식: 축을 늘이면 밀도는 그만큼 옅어진다. 증가함수 f로 x를 표준정규분포의 z로 옮기도록 배우면
ln p(x) = ln p_Z(f(x)) + ln f'(x)로 밀도를 정확히 알고, f를 거꾸로 읽어 표본을 뽑는다.
"""
# %% The world: a mixture of three Gaussians on a line
import math

import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.optim import Adam, cosine

args = lesson_options("A normalizing flow on a line.")
rng = np.random.default_rng(args.seed)
weights, means, widths = np.array([[0.5, 0.3, 0.2], [-2.0, 0.5, 2.0], [0.3, 0.5, 0.2]])


def p_data(x):
    d = (x[:, None] - means) / widths
    return (weights * np.exp(-0.5 * d * d) / (widths * math.sqrt(2 * math.pi))).sum(1)


def draw(n):
    k = rng.choice(3, n, p=weights)
    return (means[k] + widths[k] * rng.normal(size=n)).astype("float32")


x, test = draw(5000), draw(20_000)
floor = -np.log(p_data(test)).mean()


# %% f(x) = e^a x + b + sum_k e^c_k tanh(e^s_k (x - m_k)): every term rises, so f does
class Rising(tg.nn.Module):
    def __init__(self, K=12):
        self.a, self.b = tg.tensor([-1.0], True), tg.tensor([0.0], True)
        self.c = tg.tensor(np.full(K, -2.0, "f"), True)
        self.s = tg.tensor(np.full(K, 0.5, "f"), True)
        self.m = tg.tensor(np.linspace(-3, 3, K).astype("f"), True)

    def forward(self, x):
        """x (B,) -> z (B,), ln dz/dx (B,)"""
        slope = tg.exp(self.s)
        t = tg.tanh((tg.expand_dims(x, 1) - self.m) * slope)
        z = tg.exp(self.a) * x + self.b + tg.sum(tg.exp(self.c) * t, 1)
        dz = tg.exp(self.a) + tg.sum(tg.exp(self.c) * slope * (1 - t * t), 1)
        return z, tg.log(dz)

    def log_prob(self, x):
        z, logdet = self(x)
        return -0.5 * (z * z + math.log(2 * math.pi)) + logdet

    def inverse(self, z):
        """x with f(x) = z, by halving an interval: f rises, so it is found"""
        low, high = np.full(len(z), -20.0, "f"), np.full(len(z), 20.0, "f")
        for _ in range(40):
            middle = (low + high) / 2
            below = self(middle)[0].data < z
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return low


def learn(loss, steps):
    f = Rising()
    optimizer = Adam(f.parameters(), cosine(0.03, steps))
    for step in range(steps):
        batch = x[rng.integers(0, len(x), 500)]
        optimizer.zero_grad()
        loss(f, batch).backward()
        optimizer.step()
        if steps > 50 and step % 300 == 0:
            print(f"step {step:4d}  nll {-tg.mean(f.log_prob(test)).item():7.4f} nats")
    return f


print(f"floor h(p_data) {floor:.4f} nats per x")
steps = args.steps or (30 if args.quick else 1200)
with_slope = learn(lambda f, x: -tg.mean(f.log_prob(x)), steps)
nll = -tg.mean(with_slope.log_prob(test)).item()
print(f"learned: nll {nll:.4f} nats, KL(p_data || p_theta) {nll - floor:.4f}")

# %% Without the slope term: the "likelihood" of z alone, which rewards crushing everything
crushed = learn(lambda f, x: tg.mean(0.5 * f(x)[0] ** 2), 50)
spread = float(np.std(tg.to_numpy(crushed(test)[0])))
print(f"without ln f'(x): z has standard deviation {spread:.3f}, going to 0: all at one place")

# %% Is it a density? It adds up to one; and f'(x) is what differences say
line = np.linspace(-12, 12, 20_001).astype("float32")
total = np.exp(tg.to_numpy(with_slope.log_prob(line)).astype(float)).sum() * (line[1] - line[0])
z, logdet = (tg.to_numpy(a).astype(float) for a in with_slope(line))
slopes = np.gradient(z, line.astype(float))
off = np.abs(slopes / np.exp(logdet) - 1)[100:-100].max()
samples = with_slope.inverse(rng.normal(size=5000).astype("f"))
inner = z[6667:13334].astype("f")
back = np.abs(tg.to_numpy(with_slope(with_slope.inverse(inner))[0]) - inner)
print(f"integral of p_theta {total:.4f};  f' by differences differs by {off:.1%} at most;  "
      f"f(f^-1(z)) - z at most {back.max():.0e}")

# %% The picture
fig, axes = plotting.figure(1, 3, (15, 4))
here = line[6667:13334]
axes[0, 0].plot(here, p_data(here), color="#555555", label="p_data")
learned = np.exp(tg.to_numpy(with_slope.log_prob(here)))
axes[0, 0].plot(here, learned, color="#1b6ca8", label="p_theta")
axes[0, 0].hist(samples, 150, density=True, alpha=0.3, label="samples f^-1(z)", range=(-4, 4))
axes[0, 0].set(xlabel="x", ylabel="density", title="p_X(x) = p_Z(f(x)) f'(x)")
axes[0, 1].plot(here, z[6667:13334])
for value in (-2, -1, 0, 1, 2):
    at = with_slope.inverse(np.array([value], "f"))[0]
    axes[0, 1].plot([at, at, -4.6], [-4, value, value], color="#999999", linewidth=0.7)
axes[0, 1].set(xlabel="x", ylabel="z = f(x)", title="steep where x is likely", ylim=(-4, 4))
axes[0, 2].plot(here, np.exp(logdet[6667:13334]))
axes[0, 2].set(xlabel="x", ylabel="f'(x)", title="the stretch, whose logarithm is added")
axes[0, 0].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "18_change_of_variables.png", args.show))

# %% The promise of this lesson
assert abs(total - 1) < 0.01 and off < 0.02 and back.max() < 1e-3
assert args.quick or args.steps or -0.02 < nll - floor < 0.06
# What we left out: more axes, where f' becomes a determinant (lessons 19, 20). Exercises: ex27.
