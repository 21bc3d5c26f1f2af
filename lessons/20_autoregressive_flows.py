"""Lesson 20: can a flow be fast in both directions?

Couplings are, at a price: half of x stands still in each. An autoregressive bijection moves every
x_d, by s and t made of all before it. Its density takes one pass, but its inverse must go one x_d
after the other. Read backwards it is fast where it was slow, and slow where it was fast:

    MAF    z_d = (x_d - t_d) e^-s_d       density in one pass, samples in D
    IAF    the same map, the other way     samples in one pass, density of a given x in D

Promise: f^-1 undoes f, and takes over 5 times as long; no flow goes below the floor; on the ring a
mixture for each conditional beats both others.
Changed since lesson 19: the masks of lesson 14 make s and t; a world of eight islands
- a mixture of Gaussians for each conditional (MAF MoG) gives the base what is torn apart

    python lessons/20_autoregressive_flows.py       about half a minute

자기회귀 흐름(MAF)은 앞선 x들로 각 x_d를 옮긴다. 밀도는 한 번에, 표본은 D번에 얻는다. 거꾸로 읽은 것이 IAF이며
빠르기가 서로 뒤바뀐다. 떨어진 섬들은 연속인 f로 만들 수 없으므로 조건부 분포를 가우시안 혼합으로 바꾼다.
"""
# %% One bijection, both ways: forward is MAF's density, inverse its sampler, and IAF's the reverse
import time

import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.models.tractable.autoregressive_flow import Autoregressive, maf
from tinygen.models.tractable.coupling_flow import coupling_flow
from tinygen.models.tractable.flow import Inverse
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("MAF, IAF, and what tears a Gaussian apart.")
rng = np.random.default_rng(args.seed)
D = 64
f = Autoregressive(D, hidden=(128,))
for p in f.parameters():                            # it starts as the identity: shake it
    p.data = p.data + 0.02 * rng.normal(size=p.shape).astype("float32")
x = rng.normal(size=(100, D)).astype("float32")


def seconds(g, n=3):
    start = time.perf_counter()
    for _ in range(n):
        g()
    return (time.perf_counter() - start) / n


with tg.no_grad():
    z, logdet = f(x)
    back, minus = Inverse(f)(z)
    one, many = seconds(lambda: f(x)), seconds(lambda: f.inverse(z))
print(f"IAF(MAF(x)) - x at most {abs(tg.to_numpy(back) - x).max():.0e}; the sum of their logdets "
      f"at most {abs(tg.to_numpy(logdet) + tg.to_numpy(minus)).max():.0e}")
print(f"D = {D}: one way {1e3 * one:.1f} ms, the other {1e3 * many:.1f} ms, {many / one:.0f} times")

# %% Three flows on a world of one piece, and on one of eight islands
steps = args.steps or (20 if args.quick else 700)
rows, samples, kinds = [], {}, {"RealNVP": lambda: coupling_flow(2, 8), "MAF": lambda: maf(2, 5),
                                "MAF MoG": lambda: maf(2, 3, K=8)}
for place, settings in (("moons", {}), ("ring", {"s": 0.1})):
    world = Mixture2D(place, **settings)
    train, test, floor = world.sample(20_000, rng), world.sample(5000, rng), world.entropy()[0]
    samples[place, "p_data"] = test[:3000]
    for name, make in kinds.items():
        flow = make()
        adam = Adam(flow.parameters(), cosine(1.5e-3, steps, warmup=steps // 10))
        fit(flow, Endless(train, 250, rng), steps, [("nll", flow.loss, adam)],
            report=Progress(f"{name} on {place}"), clip=5.0)
        nats = -evaluation.mean_and_error(flow.log_prob, test)[0]
        samples[place, name] = drawn = tg.to_numpy(flow.sample(3000))
        rows.append([place, name, nats, nats - floor, float(world.within(drawn).mean())])
    rows.append([place, "p_data", floor, 0.0, float(world.within(test).mean())])
print(evaluation.table(["world", "flow", "nll, nats", "KL, nats", "within 3 sigma"], rows))

# %% The picture: samples; a flow cannot tear, so where it must part islands it leaves threads
fig, axes = plotting.figure(2, 4, (13, 6.6))
for ax, ((place, name), points) in zip(axes.ravel(), samples.items()):
    ax.scatter(*points.T, s=1.2, color="#555555" if name == "p_data" else "#1b6ca8")
    lim = ((-2, 3), (-1.5, 2)) if place == "moons" else ((-1.6, 1.6), (-1.6, 1.6))
    ax.set(title=f"{place}: {name}", xlim=lim[0], ylim=lim[1], xlabel="x_1", ylabel="x_2")
print("figure:", plotting.save(fig, args.out, "20_autoregressive_flows.png", args.show))

# %% The promise of this lesson
kl = {(r[0], r[1]): r[3] for r in rows}
assert abs(tg.to_numpy(back) - x).max() < 1e-3 and all(v > -0.05 for v in kl.values())
assert many > 5 * one, "one of the two directions is slow"
assert args.quick or args.steps or kl["ring", "MAF MoG"] < min(
    kl["ring", "MAF"], kl["ring", "RealNVP"]), "a mixture has islands, a Gaussian must be torn"
# What we left out: invertible convolutions, and time as the layer (flow matching, lesson 27).
# python -m tinygen.reproduce P12 brings five worlds within .04 nats. Exercises: ex25, ex27.
