"""Lesson 30: why do samples of a GAN all look alike, and what helps?

The generator lowers -E ln D(G(z)): it is asked that each sample please the critic, not that samples
differ. Nothing punishes putting all of them on the mode that pleases most today, and tomorrow on
another: mode collapse. A likelihood would notice a mode left out; here only counting tells.

    packing   the critic sees two samples side by side: a pair that is too alike gives itself away.
              The samples spread, but in so few steps they land on no mode: half a cure
    a code    the generator is told one of 64 kinds and a third network must read it from the sample
              (InfoGAN): so samples of different kinds must differ. Here they spread and land
Two numbers are needed: modes found, and the share of samples near a mode. Strewn points find many.

Promise: the plain GAN finds fewer than 20 modes; packed more, under 10 % of its samples near one;
with a code at least 22, and over 40 %.
Changed since lesson 29: points in a plane, whose modes can be counted
    python lessons/30_mode_collapse.py       about a minute, offline

생성자는 표본 하나하나가 비평가를 속이면 되고, 서로 달라야 한다는 요구는 없다. 그래서 몇몇 최빈값에 몰리는 최빈값
붕괴가 일어난다. 두 표본을 나란히 보이면 표본이 퍼지기만 하고, 부호를 읽게 하면 퍼지면서 최빈값에도 이른다.
"""
# %% The world: a grid of 25 bumps, 40 of their widths apart
import functools

import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.models.implicit.architectures import leaky, wave_critic
from tinygen.models.implicit.gan import GAN, InfoGAN
from tinygen.models.implicit.objectives import diagnose, measures, r1_penalty
from tinygen.nn import Sequential, mlp
from tinygen.optim import EMA, Adam, cosine
from tinygen.samples import modes_found
from tinygen.training import Progress, fit

args = lesson_options("Mode collapse, counted, and two cures.")
world, hidden = Mixture2D("grid"), (96, 96, 96)
short = args.steps or (32 if args.quick else 1000)
n = 2500


# %% Three games: the first two differ in one number, pack
def plain_or_packed(pack):
    """Its critic sees fine detail (waves of x) and so wins early: samples crowd where it errs"""
    return GAN(2, 2, hidden, output=None, pack=pack, critic=wave_critic(2, hidden, 3, pack),
               penalty=functools.partial(r1_penalty, weight=0.03))


def with_code():
    critic = Sequential(lambda x: 0.5 * x, mlp((2, *hidden, 1), leaky))
    return InfoGAN(2, 64, 2, hidden, weight=0.2, output=lambda x: 2 * x, critic=critic)


games = {"plain": (lambda: plain_or_packed(1), short),
         "packed": (lambda: plain_or_packed(2), short), "with a code": (with_code, 3 * short)}
counts, states, strips, told, ends = {}, {}, {}, {}, {}
for name, (make, steps) in games.items():
    tg.seed(args.seed)
    rng, model = np.random.default_rng(args.seed), make()
    critic = Adam(model.critic.parameters(), cosine(1e-3, steps), betas=(0.5, 0.9))
    own = model.players() if isinstance(model, InfoGAN) else model.generator.parameters()
    generator = EMA(Adam(own, cosine(1e-3, steps), betas=(0.5, 0.9)), 0.99)
    counts[name], states[name], strips[name] = [], [], {}

    def look(step):
        with generator.averaged():
            x = model.sample(n)
            states[name].append((step, *measures(model, world.sample(512, rng))))
        counts[name].append((step, *modes_found(world, x)))
        if step * 8 // steps in (1, 2, 4, 8):
            strips[name][step] = x
    fit(model, Endless(world.sample(50_000, rng), 256, rng), steps,
        [("critic", model.critic_loss, critic),
         ("generator", lambda x: model.generator_loss(len(x)), generator)],
        every=steps // 8, evaluate=look, report=Progress(name))
    with generator.averaged():
        told[name], ends[name] = diagnose(model, world.sample(512, rng)), counts[name][-1][1:]

# %% What came of it
true_found, true_share = modes_found(world, world.sample(n, np.random.default_rng(args.seed)))
for name, (found, share) in ends.items():
    print(f"{name}, {games[name][1]} steps: {found} of {world.K} modes found by {n} samples, "
          f"{100 * share:.1f} % within 3 sigma")
    print("    " + told[name])
evenly = modes_found(world, np.random.default_rng(args.seed).uniform(-5, 5, (n, 2)))
print(f"points strewn evenly {evenly[0]} of {world.K}, {100 * evenly[1]:.1f} % within 3 sigma: "
      "modes found mean little without the share")
print(f"true samples {true_found} of {world.K}, {100 * true_share:.1f} % within 3 sigma (exactly: "
      "98.889 %; more means too narrow)")

# %% The picture: a strip a game, samples as they form; and the counts over time
fig, axes = plotting.figure(3, 5, (15.5, 9))
for row, (name, strip) in zip(axes, strips.items()):
    for ax, (step, x) in zip(row, strip.items()):
        ax.plot(*world.modes.T, "o", color="#bbbbbb", markersize=7, fillstyle="none")
        ax.plot(*np.asarray(x).T, ".", markersize=1.5, color="#3c8d5a")
        ax.set(title=f"{name}, step {step}", xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal")
for i, (ax, label, top) in enumerate(zip(axes[:, -1], ("modes found, of 25", "% within 3 sigma"),
                                         (26, 101)), 1):
    for name, rows in counts.items():
        step, *values = np.array(rows, dtype=float).T
        ax.plot(step, values[i - 1] * (1 if i == 1 else 100), label=name)
    ax.axhline((25, 98.889)[i - 1], color="black", linestyle="--", linewidth=1,
               label="a perfect sampler")
    ax.set(xlabel="step", title=label, ylim=(0, top))
    ax.legend(fontsize=8)
for i, name in enumerate(states):           # what diagnose looks at, over time
    step, right, pull, reach = np.array(states[name]).T
    axes[2, -1].plot(step, right, "--", color=f"C{i}")
    axes[2, -1].plot(step, reach, color=f"C{i}", label=name)
axes[2, -1].axhline(0.45, color="black", linewidth=0.8, label="below: modes collapse")
axes[2, -1].set(xlabel="step", title="reach (dashed: the critic is right)", ylim=(0, 1.1))
axes[2, -1].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "30_mode_collapse.png", args.show))

# %% The promise of this lesson
assert true_found == world.K and abs(true_share - 0.98889) < 0.01
if not (args.quick or args.steps):
    assert ends["plain"][0] < 20, "the plain GAN did not collapse"
    assert "modes collapse" in told["plain"]
    assert ends["packed"][0] > ends["plain"][0] and ends["packed"][1] < 0.1, "packing only spreads"
    assert ends["with a code"][0] >= 22 and ends["with a code"][1] > 0.4, "the cure did not work"
# What we left out: more seeds. Packing spreads the samples on average, not each time: 7 modes over
# five seeds of 2000 steps (python -m tinygen.reproduce P11). Longer runs: the best recipe finds all
# 25 for each of five (P11-grid). Distances that pull from afar (31). Exercise: ex33_gan_losses.
