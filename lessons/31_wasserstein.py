"""Lesson 31: what if real and made examples never overlap?

Then JS is ln 2 wherever the samples are: its slope says nothing of the way home. The Wasserstein
distance says how far to carry them:  W1(p, q) = max over |dC/dx| <= 1 of E_p[C(x)] - E_q[C(x)].
Three ways to hold the slope: clip the weights; penalise (|dC/dx| - 1)^2 between p and q (WGAN-GP);
penalise |dC/dx|^2 at real examples (R1). To lower a slope it is differentiated: lesson 07 at work.

Promise: apart, JS is flat at ln 2; WGAN-GP tells W1 + W1^2 / 20 within 0.15, and G comes home.
Changed since lesson 30: the critic gives a height, not a chance, and its slope is part of the loss
    python lessons/31_wasserstein.py       under a minute, offline

두 분포가 겹치지 않으면 JS는 ln 2에 멈추고 기울기가 사라진다. 바서슈타인 거리는 멀리서도 길을 알려 준다.
비평가의 기울기를 1 이하로 묶는 세 가지 방법을 견주고, 기울기의 기울기를 쓴다.
"""
# %% Two narrow bumps, m apart: everything about them is known
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.models.implicit import objectives
from tinygen.optim import Adam, cosine
from tinygen.samples import jensen_shannon, wasserstein_1d

args = lesson_options("The Wasserstein distance, and critics of bounded slope.")
rng = np.random.default_rng(args.seed)
s, B = 0.1, 256
steps = args.steps or (40 if args.quick else 500)


def bump(m):
    return lambda n: rng.normal(m, s, (n, 1)).astype("float32")


def js(m):                  # JS(N(0, s^2), N(m, s^2)) in nats, added up over a fine line
    x, dx = np.linspace(-1, m + 1, 4001, retstep=True)
    p, q = (np.exp(-0.5 * ((x - c) / s) ** 2) / (s * np.sqrt(2 * np.pi)) for c in (0, m))
    return jensen_shannon(p, q, dx)


# %% A critic against fixed samples, with each way to hold its slope
AT_FIRST = 30       # steps without penalty: on a line, slope -1 has none either, and points away


def train(objective, real, fake, penalty=None, clip=None):
    critic = tg.nn.mlp((1, 64, 64, 1), tg.tanh if clip is None else tg.relu)
    adam = Adam(critic.parameters(), cosine(3e-3, steps), betas=(0.5, 0.9))
    adam = objectives.WeightClipping(adam, clip) if clip else adam
    for step in range(steps):
        x, y = real(B), fake(B)
        adam.zero_grad()
        loss = objective.critic(critic(x), critic(y))
        if penalty and step >= AT_FIRST:
            loss = loss + penalty(critic, x, y)         # holds dC/dx: backward goes through it
        loss.backward()
        adam.step()
    return critic


def height(critic, x):
    with tg.no_grad():
        return critic(x).numpy()[:, 0]


def slope(critic, x):
    return np.sqrt(objectives.squared_slopes(critic, x).data)


shifts, rows = (0.0, 0.5, 1.0, 2.0, 3.0), []
for m in shifts:
    x, y = bump(0)(20_000), bump(m)(20_000)
    gp = train(objectives.WASSERSTEIN, bump(0), bump(m), objectives.gradient_penalty)
    seen, told = wasserstein_1d(x[:, 0], y[:, 0]), height(gp, x).mean() - height(gp, y).mean()
    rows.append((js(m), seen, told))
    print(f"m = {m:.1f}: JS {js(m):.4f} nats (most: {np.log(2):.4f});  W1 {m:.1f}, of samples "
          f"{seen:.3f}, by WGAN-GP {told:.3f} (slope 1 + m/20: {m + m * m / 20:.3f})")

# %% At m = 2: the critics' heights, and the pull that samples at m feel
m, at = 2.0, bump(2.0)(2000)
kinds = {"logistic (JS)": train(objectives.NON_SATURATING, bump(0), bump(m)),
         "clipped": train(objectives.WASSERSTEIN, bump(0), bump(m), clip=0.1),
         "WGAN-GP": train(objectives.WASSERSTEIN, bump(0), bump(m), objectives.gradient_penalty),
         "logistic + R1": train(objectives.NON_SATURATING, bump(0), bump(m), objectives.r1_penalty)}
pulls = {}
for name, critic in kinds.items():
    g = slope(critic, at)
    if "logistic" in name:                              # the loss that saturates: E ln(1 - D)
        g = g / (1 + np.exp(-height(critic, at)))
    pulls[name] = g.mean()
print("mean |d loss / dx| of generated x (minimax, or -C): "
      + ", ".join(f"{k} {v:.2g}" for k, v in pulls.items()))
line = tg.tensor(np.array([[1.0]]), dtype="float32")    # C(x) = x: slope 1 everywhere
flat = objectives.gradient_penalty(lambda x: x @ line, bump(0)(B), bump(m)(B)).item()
print(f"penalty of a critic of slope 1: {flat:.0e}")


# %% Carrying p_theta home, in the plane: G is one point, where its samples are; real ones are at 0
def journey(objective, penalty=None):
    place, path, critic = tg.tensor([2.1, 2.1], True), [], tg.nn.mlp((2, 64, 64, 1), tg.tanh)
    adam, home = (Adam(p, lr, betas=(0.5, 0.9))
                  for p, lr in ((critic.parameters(), 3e-3), ([place], 2e-2)))
    for step in range(3 * steps):
        x, y = rng.normal(0, s, (2, B, 2)).astype("float32")
        y += place.data
        adam.zero_grad()
        loss = objective.critic(critic(x), critic(y))
        (loss + penalty(critic, x, y) if penalty else loss).backward()
        adam.step()
        if step % 3 == 2:                               # G moves once for three steps of its critic
            home.zero_grad()
            objective.generator(critic(x - x.mean(0) + place)).backward([place])
            home.step()
        path.append(np.linalg.norm(place.data))
    return np.array(path)


journeys = {"minimax": journey(objectives.MINIMAX),
            "WGAN-GP": journey(objectives.WASSERSTEIN, objectives.gradient_penalty),
            "non-saturating + R1": journey(objectives.NON_SATURATING, objectives.r1_penalty)}
ends = {name: path[-len(path) // 10:].mean() for name, path in journeys.items()}
print("distance from home, from 3.0: " + ", ".join(f"{k} {v:.3f}" for k, v in ends.items()))

# %% The picture
fig, axes = plotting.figure(1, 4, (17, 4))
rows = np.array(rows)
axes[0, 0].plot(shifts, rows[:, 0], "s-", color="#1b6ca8", label="JS, nats")
axes[0, 0].plot(shifts, shifts, "k--", linewidth=1, label="W1 = m")
axes[0, 0].plot(shifts, rows[:, 2], "o", color="#c8553d", label="W1 by a WGAN-GP critic")
axes[0, 0].set(xlabel="m", ylabel="distance", title=f"N(0, {s}^2) against N(m, {s}^2)")
x = np.linspace(-1, 3.5, 300, dtype="float32")[:, None]
for name, critic in kinds.items():
    y = height(critic, x)
    axes[0, 1].plot(x, (y - y.min()) / (y.max() - y.min()), label=name)
    axes[0, 2].semilogy(x, slope(critic, x) + 1e-6, label=name)
axes[0, 1].set(xlabel="x (real at 0, made at 2)", ylabel="C(x), scaled", title="four critics")
axes[0, 2].set(xlabel="x", ylabel="|dC/dx|", title="their slopes: the way home")
for name, path in journeys.items():
    axes[0, 3].plot(path, label=name)
plotting.floor_line(axes[0, 3], 0, "home")
axes[0, 3].set(xlabel="step of the critic", ylabel="samples' distance from home", title="the way")
for ax in axes[0]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "31_wasserstein.png", args.show))

# %% The promise of this lesson
assert flat < 1e-6 and rows[-1, 0] > 0.69
if not (args.quick or args.steps):          # m s - 10 (s - 1)^2 is highest at s = 1 + m / 20
    assert abs(rows[:, 2] - [m + m * m / 20 for m in shifts]).max() < 0.15
    assert ends["WGAN-GP"] < 0.5 < ends["minimax"]
# What we left out: spectral norm (nn/norm.py), pictures. Exercise: ex34_gradient_penalty.
