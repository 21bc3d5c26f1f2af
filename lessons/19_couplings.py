"""Lesson 19: how can a network be invertible, and its determinant cheap?

In D dimensions the stretch is a determinant: ln p_X(x) = ln p_Z(f(x)) + ln |det df/dx|, D^3 work
for a general f. A coupling leaves one half of x alone and moves the other by what the first says:

    z_a = x_a,   z_b = x_b e^s + t,   s, t = net(x_a)      a triangular Jacobian: ln det = sum s

The net may be anything. With s = 0 no volume changes (NICE); with s it does (RealNVP).

Promise: f^-1 undoes f and logdet is the Jacobian's, to 1e-3; NICE's is one number for all x, not
RealNVP's, whose KL is below NICE's and 0.15 nats; nothing goes below the floor.
Changed since lesson 18: two dimensions, and bijections in a chain that take turns in what they move

    python lessons/19_couplings.py       about half a minute

커플링 층은 x의 절반을 그대로 두고, 그 절반이 정하는 만큼 나머지 절반을 늘이고 옮긴다. 야코비 행렬이 삼각행렬이므로
행렬식은 s의 합이고, 신경망 자체는 뒤집을 필요가 없다. 층마다 절반을 바꾸어 가며 쌓는다.
"""
# %% The world, and two flows that differ in s alone
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.models.tractable.coupling_flow import coupling_flow
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("NICE and RealNVP on two moons.")
rng = np.random.default_rng(args.seed)
world = Mixture2D("moons")
train, test, floor = world.sample(20_000, rng), world.sample(10_000, rng), world.entropy()[0]
flows = {"NICE": coupling_flow(2, n=8, affine=False), "RealNVP": coupling_flow(2, n=8)}
steps = args.steps or (20 if args.quick else 1500)

# %% Maximum likelihood, as always
histories, rows = {}, []
for name, flow in flows.items():
    adam = Adam(flow.parameters(), cosine(4e-3, steps))
    histories[name] = fit(flow, Endless(train, 250, rng), steps, [("nll", flow.loss, adam)],
                          report=Progress(name))["nll"]
    nats = -evaluation.mean_and_error(flow.log_prob, test)[0]
    drawn = tg.to_numpy(flow.sample(5000))
    rows.append([name, sum(p.size for p in flow.parameters()), nats, nats - floor,
                 float(world.within(drawn).mean())])
rows.append(["p_data", None, floor, 0.0, float(world.within(test).mean())])
print(evaluation.table(["flow", "weights", "nll, nats", "KL, nats", "within 3 sigma"], rows))

# %% The two laws of a flow, checked: the inverse undoes it, and logdet is the determinant
flow, x = flows["RealNVP"], test[:200]
with tg.no_grad():
    z, logdet = (tg.to_numpy(a) for a in flow(x))
    back = abs(tg.to_numpy(flow.inverse(z)) - x).max()
leaf = tg.tensor(x, requires_grad=True)
out = flow(leaf)[0]
J = np.stack([tg.to_numpy(tg.grad(out[:, i].sum(), leaf)) for i in range(2)], 1)    # (200, 2, 2)
off = abs(np.linalg.slogdet(J)[1] - logdet).max()
print(f"inverse(f(x)) - x at most {back:.0e};  logdet against the whole Jacobian at most {off:.0e}")

# %% NICE moves mass without stretching it: its logdet is the same for every x
with tg.no_grad():
    spread = {name: float(tg.to_numpy(f(test[:1000])[1]).std()) for name, f in flows.items()}
print("spread of logdet over x: " + ", ".join(f"{n} {s:.3f}" for n, s in spread.items()))

# %% The picture: step by step from p_data to a round Gaussian
fig, axes = plotting.figure(1, 6, (17, 3.2))
h, layers = test[:2000], flow.f.layers
shown = [0, 3, 6, len(layers)]
color = world.nearest_mode(h) // 16
with tg.no_grad():
    stages = [h]
    for layer in layers:
        stages.append(tg.to_numpy(layer(stages[-1])[0]))
for ax, i in zip(axes[0], shown):
    ax.scatter(*stages[i].T, c=color, s=1.5, cmap="coolwarm")
    title = {0: "x ~ p_data", len(layers): "z = f(x)"}.get(i, f"after {i} bijections")
    ax.set(title=title, xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
axes[0, 4].scatter(*tg.to_numpy(flow.sample(2000)).T, s=1.5, color="#1b6ca8")
axes[0, 4].set(title="samples of RealNVP", xlim=(-2, 3), ylim=(-1.5, 2))
for name, losses in histories.items():
    plotting.curve(axes[0, 5], losses, name)
plotting.floor_line(axes[0, 5], floor, "floor h(p_data)")
axes[0, 5].set(xlabel="step", ylabel="nll, nats per point", ylim=(0.9, 2.2), title="learning")
axes[0, 5].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "19_couplings.png", args.show))

# %% The promise of this lesson
assert back < 1e-3 and off < 1e-3 and spread["NICE"] < 1e-4 < spread["RealNVP"]
assert args.quick or args.steps or rows[1][3] < min(0.15, rows[0][3]), "stretching helps"
assert all(r[3] > -0.05 for r in rows), "below the floor: a wrong determinant, not a model"
# What we left out: images (image_flow.py: checkerboards, squeezing, 1 x 1 convolutions), islands: a
# continuous f cannot tear one Gaussian into eight (lesson 20). Exercises: ex27_coupling.
