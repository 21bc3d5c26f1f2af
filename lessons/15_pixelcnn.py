"""Lesson 15: what does a convolution miss that a dense network sees, and what does it gain?

A picture looks alike in every corner, so PixelCNN uses one kernel everywhere: few weights, learned
from every pixel at once. The kernel's later taps are masked: a pixel sees only those before it. But
a stack of such kernels never sees some pixels above and to the right: the blind spot. The gated
PixelCNN sees them by a second stack of layers, for the rows above.

Promise: no pixel sees its future; the plain network has a blind spot, the gated one none; both need
fewer than 75 nats.
Changed since lesson 14: weights are shared between places; pictures keep their two axes
- dependency maps on an 8 x 8 picture show the blind spot, and that the gated network has none
- sampling remembers every activation, and computes only what a new pixel changes

    python lessons/15_pixelcnn.py       about half a minute

PixelCNN은 같은 커널을 모든 자리에 쓰므로 가중치가 적다. 커널의 뒤쪽을 가려 앞선 화소만 보게 하지만, 쌓아도
끝내 보지 못하는 자리(사각지대)가 생긴다. Gated PixelCNN은 위쪽 줄을 위한 층을 따로 두어 이를 없앤다.
"""
# %% Who sees whom: every output differentiated by every input, for one pixel in the last row
import time

import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.models.tractable.pixelcnn import GatedPixelCNN, PixelCNN
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("PixelCNN, its blind spot, and the gated one.")
rng = np.random.default_rng(args.seed)
small = {"plain": PixelCNN(8, channels=32, layers=6, kernels=(3, 3)),
         "gated": GatedPixelCNN(8, channels=16, layers=8, kernels=(3, 3))}
pictures = (rng.random((4, 64)) < 0.5).astype("float32")
maps = {name: evaluation.dependency_map(model, pictures) for name, model in small.items()}
before = np.tri(64, k=-1, dtype=bool)
for name, m in maps.items():
    blind = (before & (m == 0)).sum()
    print(f"{name}: {(m[~before] > 0).sum()} leaks, {blind} of {before.sum()} allowed pairs blind")

# %% The same pictures for both, and a little time for each
world = Glyphs()
train, test = world.sample(10_000, rng), world.sample(500, rng)
floor = world.entropy()[0]
models = {"plain": PixelCNN(16, channels=32, layers=4, kernels=(7, 3)),
          "gated": GatedPixelCNN(16, channels=16, layers=4, kernels=(7, 3))}
steps = args.steps or (5 if args.quick else 200)
histories, rows, samples = {}, [], {}
for name, model in models.items():
    start = time.perf_counter()
    optimizer = Adam(model.parameters(), cosine(5e-3, steps))
    histories[name] = fit(model, Endless(train, 32, rng), steps, [("nll", model.loss, optimizer)],
                          report=Progress(name), clip=1.0)["nll"]
    nats = -evaluation.mean_and_error(model.log_prob, test, 100)[0]
    rows.append([name, sum(p.size for p in model.parameters()), nats, nats - floor,
                 time.perf_counter() - start])
print(evaluation.table(["PixelCNN", "weights", "nll, nats", "KL, nats", "seconds"], rows))
print(f"floor H(p_data) {floor:.2f} nats; more layers, width and minutes come within 1 nat:")
print("    python -m tinygen.reproduce glyphs-pixelcnn")

# %% Sampling: pixel after pixel, each activation computed once
model, n = models["plain"], 16
tg.seed(1)
start = time.perf_counter()
drawn = tg.to_numpy(model.sample(n))
fast = time.perf_counter() - start
with tg.no_grad():                                  # as slowly as it can be done: D whole passes
    start = time.perf_counter()
    model.conditionals(drawn)
    slow = (time.perf_counter() - start) * drawn.shape[1]
print(f"{n} samples: {fast:.1f} s; by {drawn.shape[1]} whole passes it would be {slow:.1f} s")
samples = {name: tg.to_numpy(m.sample(n)) for name, m in models.items()}

# %% The picture: what a pixel of the last row sees; samples; curves
fig, axes = plotting.figure(1, 5, (16, 3.6))
for ax, (name, m) in zip(axes[0], maps.items()):
    ax.imshow((m[8 * 7 + 2] > 0).reshape(8, 8), cmap="Blues")           # row 7, column 2
    ax.plot(2, 7, "o", color="#c8553d")
    ax.set(title=f"{name}, blue: what the dot sees", xticks=[], yticks=[])
for ax, (name, x) in zip(axes[0, 2:], samples.items()):
    plotting.images(ax, x, (16, 16), columns=4, title=f"{name}: samples after {steps} steps")
for name, losses in histories.items():
    plotting.curve(axes[0, 4], losses, name)
plotting.floor_line(axes[0, 4], floor, "floor H(p_data)")
axes[0, 4].set(xlabel="step", ylabel="nll, nats per picture", ylim=(25, 130), title="learning")
axes[0, 4].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "15_pixelcnn.png", args.show))

# %% The promise of this lesson
assert not any((m[~before] > 0).any() for m in maps.values()), "no pixel sees its future"
assert (before & (maps["plain"] == 0)).any() and not (before & (maps["gated"] == 0)).any()
assert args.quick or args.steps or max(r[2] for r in rows) < 75

# %% What we left out: k grey levels and classes (both take k=, the gated one classes=), residual
# blocks (residual=True). Exercises: ex26_pixelcnn_mask, ex12_convolution.
