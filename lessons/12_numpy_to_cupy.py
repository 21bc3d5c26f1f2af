"""Lesson 12: what must change to train on a GPU?

Nothing. Library code calls arrays by `xp`, which is NumPy or CuPy; the same source runs on both:

    python lessons/12_numpy_to_cupy.py                   on the CPU, a few seconds
    python lessons/12_numpy_to_cupy.py --backend cupy    on a GPU (pip install .[gpu])

What it gains depends on size. An array operation on a GPU costs a launch of some 5 to 10 us, of
whatever size; a CPU pays about 1 us. In return a GPU does some hundred times more arithmetic a
second. So small layers gain nothing on a GPU, and large ones much. Here both are counted.

Promise: the same seed gives the same losses; by count, launches take a smaller share of wider
layers' steps, and over 90 % of the narrowest.
Changed since lesson 11: nothing, which is the point

GPU에서 돌리려고 바꿀 것은 없다. 라이브러리는 배열을 xp(NumPy 또는 CuPy)로만 부른다. GPU는 연산 하나를 시작하는
비용이 크고 계산은 빠르므로, 작은 층은 오히려 느리고 큰 층은 훨씬 빠르다. 연산 수와 계산량을 세어 이를 설명한다.
"""
# %% One training step of an MLP, of any width
import time

import numpy as np

import tinygen as tg
from tinygen import nn, optim, plotting
from tinygen.commands import lesson_options
from tinygen.engine import tensor
from tinygen.engine.backend import xp

args = lesson_options("One source on NumPy and CuPy: launches, arithmetic, time.")
on_gpu = xp.__name__ == "cupy"
B, D = 128, 784
x = xp.asarray((np.random.default_rng(args.seed).random((B, D)) < 0.2).astype("float32"))


def step_of(width):
    model = nn.mlp((D, width, width, D), tg.relu)
    optimizer = optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = tg.binary_cross_entropy_with_logits(model(x), x, reduction="sum") / B
        loss.backward()
        optimizer.step()
        return loss.item()                          # a number for the host: waits for the GPU
    return step, sum(p.size for p in model.parameters())


# %% What is the same: every loss, to float32 rounding, whatever holds the arrays
def first_losses(n=3):
    tg.seed(args.seed)
    step, _ = step_of(64)
    return [step() for _ in range(n)]


losses = first_losses()
print(f"arrays live in {xp.__name__}; first losses {', '.join(f'{v:.3f}' for v in losses)} nats")
print("where the two differ, engine/backend.py has a function: scatter_add, random numbers, copies")

# %% How many operations, and how much arithmetic, is one step?
recorded = []
tensor.watch = recorded.append                      # the hook that tg.debug and tg.trace use
step, size = step_of(256)
step()
tensor.watch = None
LAUNCHES = 3 * len(recorded) + 11 * 6       # forward, two rules for each, Adam on six parameters
print(f"one step: {len(recorded)} operations recorded, so about {LAUNCHES} launches with backward "
      f"and Adam;\n          {6 * B * size / 1e9:.2f} GFLOP at width 256")


# %% Time against width
def median_ms(step, n):
    times = []
    for _ in range(n):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[n // 2]


LAUNCH_US, GPU_TFLOPS, GPU_GB_S = 8, 30, 2000       # of a data-centre GPU, float32: round figures
widths, rows = ((16, 64) if args.quick else (16, 64, 256, 1024, 2048)), []
shares = []
print("  width  parameters  here, ms  GFLOP/s  a GPU by count, ms  launches' share of it")
for width in widths:
    step, size = step_of(width)
    step()
    here = median_ms(step, 3 if width > 500 else 7)
    work = 6 * B * size / (GPU_TFLOPS * 1e12) + 40 * size / (GPU_GB_S * 1e9)
    gpu = 1e3 * (LAUNCHES * LAUNCH_US * 1e-6 + work)    # Adam reads and writes about 40 bytes each
    rows.append((width, here, gpu, 6 * B * size / here / 1e6))
    shares.append(LAUNCHES * LAUNCH_US / 1e3 / gpu)
    print(f"{width:7d} {size:11,d} {here:9.2f} {rows[-1][3]:8.1f} {gpu:19.2f} {shares[-1]:22.0%}")
if not on_gpu:
    print(f"no GPU was used: its columns are estimates, from {LAUNCH_US} us a launch, {GPU_TFLOPS} "
          "TFLOP/s")

# %% The picture
fig, axes = plotting.figure(1, 1, (7, 4))
axes[0, 0].loglog(widths, [r[1] for r in rows], "o-", label=f"measured: {xp.__name__}")
axes[0, 0].loglog(widths, [r[2] for r in rows], "s--", label="a GPU, estimated by count")
axes[0, 0].axhline(LAUNCHES * LAUNCH_US / 1e3, color="#999999", linewidth=0.8,
                   label="launches alone")
axes[0, 0].set(xlabel="width of the layers", ylabel="ms a step", title="where a GPU pays")
axes[0, 0].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "12_numpy_to_cupy.png", args.show))

# %% The promise of this lesson
assert losses == first_losses(), "the same seed, the same numbers"
assert shares == sorted(shares, reverse=True) and shares[0] > 0.9, "small steps are all launches"
# What we left out: half precision, several GPUs, and data that must travel over the bus.
# Exercise: ex17_batched_matmul (many products, one launch).
