"""Lesson 10: which way down?

The gradient says where down is, here. How far to go, and what to remember of earlier steps, is the
optimizer's choice:

    SGD        p <- p - lr g                                        forgets everything
    momentum   v <- 0.9 v + g,  p <- p - lr v                       keeps rolling
    Adam       m, v: averages of g and g^2;  p <- p - lr m / sqrt(v)    a step size for each number

Promise: in the valley momentum ends less than 1e-3 above the floor, SGD more; on Rosenbrock Adam
ends lower than SGD; Adam by hand ends within 1e-4 of tinygen's.
Changed since lesson 09: tinygen's own engine from here on; three optimizers on the same surfaces
- a narrow valley, whose axes differ 100-fold in steepness
- Rosenbrock's bent valley
- a real loss: a mixture of two Gaussians, theta = their two means, with a saddle between two optima

    python lessons/10_optimizers.py       a few seconds

기울기는 지금 자리에서 내려가는 방향만 알려 준다. 얼마나 갈지, 지난 걸음을 얼마나 기억할지는 최적화 방법이
정한다. 같은 곡면 위에서 SGD, 모멘텀, Adam의 자취를 그려 비교한다.
"""
# %% Three surfaces, and where to start
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.optim import SGD, Adam

args = lesson_options("SGD, momentum and Adam on the same surfaces.")
rng = np.random.default_rng(args.seed)
data = np.concatenate([rng.normal(-1.5, 0.5, 60), rng.normal(1.5, 0.5, 40)]).astype("float32")


def valley(p):
    return 0.5 * p[0] ** 2 + 50 * p[1] ** 2


def rosenbrock(p):
    return 0.05 * ((1 - p[0]) ** 2 + 20 * (p[1] - p[0] ** 2) ** 2)


def mixture(p):
    """-mean ln(N(x; p0, 0.5^2) / 2 + N(x; p1, 0.5^2) / 2), up to a constant: nats"""
    d = (tg.expand_dims(p, 0) - data[:, None]) * 2.0
    return -tg.mean(tg.logsumexp(-0.5 * d * d, axis=1))


surfaces = {valley: ((-4.0, 0.8), (-5, 5), (-1, 1)), rosenbrock: ((-1.5, 1.5), (-2, 2), (-1, 3)),
            mixture: ((0.3, 0.2), (-3, 3), (-3, 3))}
optimizers = {
    "SGD": lambda p, f: SGD([p], {valley: 0.018, rosenbrock: 0.1, mixture: 0.15}[f]),
    "momentum": lambda p, f: SGD([p], {valley: 0.01, rosenbrock: 0.02, mixture: 0.03}[f], 0.9),
    "Adam": lambda p, f: Adam([p], 0.15)}
steps = 150


# %% The same loop for all
def descend(f, make):
    p = tg.tensor(surfaces[f][0], requires_grad=True)
    optimizer, path, losses = make(p, f), [], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = f(p)
        loss.backward()
        path.append(tg.to_numpy(p).copy())
        losses.append(loss.item())
        optimizer.step()
    return np.array(path), np.array(losses)


paths = {(f, name): descend(f, make) for f in surfaces for name, make in optimizers.items()}


# %% Where the floor of each surface is: known for two, for the third by many small steps
def lowest(f):
    if f is not mixture:
        return 0.0
    p = tg.tensor([-1.5, 1.5], requires_grad=True)
    optimizer = SGD([p], 0.1)
    for _ in range(500):
        optimizer.zero_grad()
        loss = f(p)
        loss.backward()
        optimizer.step()
    return loss.item()


floors = {f: lowest(f) for f in surfaces}
print(f"{'above the lowest point after':30s}" + "".join(f"{n:>10d}" for n in (10, 50, steps)))
for (f, name), (_, losses) in paths.items():
    gaps = [losses[n - 1] - floors[f] for n in (10, 50, steps)]
    print(f"{f.__name__ + ', ' + name:30s}" + "".join(f"{max(g, 0):10.5f}" for g in gaps))

# %% Adam by hand, in float64: three lines that agree with the package's
p, m, v = np.array(surfaces[valley][0]), np.zeros(2), np.zeros(2)
for t in range(1, steps):
    g = p * [1.0, 100.0]                         # the gradient of the valley
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    p = p - 0.15 * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
off = abs(p - paths[valley, "Adam"][0][-1]).max()
print(f"Adam by hand ends {off:.0e} from tinygen's Adam after {steps - 1} steps (float32)")

# %% The picture: trajectories on the surfaces
fig, axes = plotting.figure(2, 3, (14, 7))
colors = {"SGD": "#1b6ca8", "momentum": "#c8553d", "Adam": "#3c8d5a"}
for i, (f, (_, xs, ys)) in enumerate(surfaces.items()):
    a, b = np.meshgrid(np.linspace(*xs, 80), np.linspace(*ys, 80))
    with tg.no_grad():
        heights = np.array([f(tg.tensor(q)).item() for q in np.stack([a.ravel(), b.ravel()], 1)])
    axes[0, i].contour(a, b, np.log(heights.reshape(a.shape) - floors[f] + 1e-3), 20, cmap="Greys",
                       linewidths=0.6)
    for name, color in colors.items():
        path, losses = paths[f, name]
        axes[0, i].plot(*path.T, ".-", color=color, markersize=2, linewidth=0.8, label=name)
        axes[1, i].semilogy(np.maximum(losses - floors[f], 1e-7), color=color, label=name)
    axes[0, i].set(title=f.__name__, xlabel="p_0", ylabel="p_1", xlim=xs, ylim=ys)
    axes[1, i].set(xlabel="step", ylabel="height above the lowest, or 1e-7")
    axes[1, i].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "10_optimizers.png", args.show))

# %% The promise of this lesson
end = {key: losses[-1] - floors[key[0]] for key, (_, losses) in paths.items()}
assert end[valley, "momentum"] < 1e-3 < end[valley, "SGD"] and off < 1e-4
assert end[rosenbrock, "Adam"] < end[rosenbrock, "SGD"], "a bent valley asks for more than SGD"
# What we left out: the noise of minibatches, and schedules that calm it (optim.cosine).
# Exercises: ex22_momentum, ex23_adam, ex24_clipping.
