"""Lesson 14: what if the context is a whole picture?

A table for the last of 256 pixels would have 2^255 rows. A network shares between contexts: one
logit for each pixel, computed from the pixels before it. Three rungs, each a p(x) that sums to one:

    FVSBN   logistic regression for each pixel           a triangle of weights
    NADE    one small network for each, sharing weights  all prefixes of one sum
    MADE    one network of any shape for all             masks keep it from looking ahead

(fully visible sigmoid belief net, neural autoregressive density estimator, masked autoencoder)

Promise: every model's p adds up to one over 512 pictures; none is 0.5 nats below the floor; MADE
beats FVSBN.
Changed since lesson 13: tables became networks; pixels come row by row
- dependency_map: which output moves with which input, by differentiating each by each; a leak is an
  output that moves with a pixel that does not come before it

    python lessons/14_autoregressive.py       about half a minute

그림 전체가 조건이면 표로 셀 수 없다. 화소마다 그 앞의 화소들로 로짓을 계산하는 신경망을 쓰되, 가중치를
나누어 쓴다: 로지스틱 회귀(FVSBN), NADE, 그리고 마스크로 미래를 가리는 MADE. 모두 정확한 확률을 준다.
"""
# %% The world, and the three models
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs, TinyBits
from tinygen.models.tractable.made import FVSBN, MADE, NADE
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("FVSBN, NADE and MADE on glyphs.")
rng = np.random.default_rng(args.seed)
world = Glyphs()
train, test = world.sample(20_000, rng), world.sample(300 if args.quick else 2000, rng)
floor, D = world.entropy()[0], 256
steps = args.steps or (20 if args.quick else 700)
models = {"FVSBN": FVSBN(D), "NADE": NADE(D, 128), "MADE": MADE(D, (1024,))}
rates = {"FVSBN": 1e-2, "NADE": 5e-3, "MADE": 5e-3}

# %% One loop for all: maximum likelihood
histories, rows, pictures = {}, [], {}
for name, model in models.items():
    n = steps // 3 if name == "NADE" and not args.quick else steps     # its steps take longest
    optimizer = Adam(model.parameters(), cosine(rates[name], n))
    histories[name] = fit(model, Endless(train, 100, rng), n, [("nll", model.loss, optimizer)],
                          report=Progress(name))["nll"]
    nats = -evaluation.mean_and_error(model.log_prob, test)[0]
    pictures[name] = tg.to_numpy(model.sample(200))
    rows.append([name, sum(p.size for p in model.parameters()), n, nats, nats - floor,
                 world.log_prob(pictures[name]).mean(), len(world.modes_found(pictures[name]))])
true = world.sample(200, rng)
rows.append(["p_data", None, None, floor, 0.0, world.log_prob(true).mean(),
             len(world.modes_found(true))])
print(evaluation.table(["model", "weights", "steps", "nll, nats", "KL, nats", "ln p_data(samples)",
                        "templates"], rows))

# %% Who sees whom? Every output differentiated by every input, on pictures of 9 bits
bits = TinyBits(3).sample(64, rng)
maps = {"FVSBN": FVSBN(9), "NADE": NADE(9, 32), "MADE": MADE(9, (64,)),
        "MADE, another order": MADE(9, (64,), order=rng.permutation(9))}
strength = {name: evaluation.dependency_map(model, bits) for name, model in maps.items()}
for name, m in strength.items():
    rank = tg.to_numpy(maps[name].order)
    leaks = ((m > 0) & (rank[None] >= rank[:, None])).sum()
    print(f"{name:20s} {(m > 0).sum():2d} of 36 allowed dependencies alive, {leaks} leaks")

# %% And the law: the probabilities of all 512 pictures add up to one
states = TinyBits(3).states()
sums = {name: float(np.exp(tg.to_numpy(m.log_prob(states)).astype("float64")).sum())
        for name, m in maps.items()}
print("sum of p over all 512 pictures: " + ", ".join(f"{v:.5f}" for v in sums.values()))

# %% The picture: samples, curves, dependency maps
fig, axes = plotting.figure(2, 4, (15, 7.5))
plotting.images(axes[0, 0], true[:40], (16, 16), title="p_data")
for ax, (name, x) in zip(axes[0, 1:], pictures.items()):
    plotting.images(ax, x[:40], (16, 16), title=f"samples of {name}")
for name, losses in histories.items():
    plotting.curve(axes[1, 0], losses, name)
plotting.floor_line(axes[1, 0], floor, "floor H(p_data)")
axes[1, 0].set(xlabel="step", ylabel="nll, nats per picture", ylim=(25, 120), title="learning")
axes[1, 0].legend(fontsize=8)
for ax, name in zip(axes[1, 1:], ("FVSBN", "MADE", "MADE, another order")):
    plotting.dependency_map(ax, strength[name], f"{name}: what x_i is told of x_j")
print("figure:", plotting.save(fig, args.out, "14_autoregressive.png", args.show))

# %% The promise of this lesson
assert all(abs(v - 1) < 1e-4 for v in sums.values()), "a density sums to one"
assert all(r[3] >= floor - 0.5 for r in rows), "below the floor: a leak, not a model"
assert args.quick or args.steps or rows[2][3] < rows[0][3], "hidden units see more than sums"

# %% What we left out: resampled orders (MADE.resample_order), so that one network answers for every
# order, and averages over orders (log_prob_averaged). Exercises: ex25_made_mask.
