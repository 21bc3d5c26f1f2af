"""Lesson 28: what does a model learn that has no density?

A sampler x = G(z) has no p_theta(x) to raise. A critic C asks of every x "real or made?", a
question of two classes. For a fixed G the best answer is known:

    D*(x) = sigmoid(C*(x)) = p_data(x) / (p_data(x) + p_theta(x)),    C* = ln p_data - ln p_theta

and its loss is 2 ln 2 - 2 JS(p_data, p_theta): the critic measures a distance of densities that it
never sees. G moves its samples uphill in C; at the end D = 1/2, and the critic's loss is ln 4.

Changed since lesson 27: no density at all, only samples and somebody who judges them
    python lessons/28_the_game.py       about half a minute, offline

적대적 생성 신경망(GAN)은 밀도 없이 표본만 만든다. 비평가는 진짜와 가짜를 가르는 판별모델이고, 그 최적해
D* = p_data / (p_data + p_theta)와 그때의 손실 2 ln 2 - 2 JS를 정확히 알 수 있다. 직선 위에서 배운 D를 그 곁에 그린다.
"""
# %% The world on a line: two bumps; and a first p_theta, one wide bump
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.models.implicit.gan import GAN
from tinygen.models.implicit.objectives import logistic_critic
from tinygen.optim import Adam, cosine

args = lesson_options("The game of a GAN, and its optimum, on a line.")
rng = np.random.default_rng(args.seed)
line = np.linspace(-6, 6, 1201)
dx = line[1] - line[0]


def bump(x, m, s):
    return np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))


def real(n):
    left = rng.random((n, 1)) < 0.5
    return np.where(left, rng.normal(-2, 0.5, (n, 1)), rng.normal(1.5, 0.8, (n, 1))).astype("f4")


def js(p, q):
    """Jensen-Shannon distance of two densities on the line, nats: 0 to ln 2"""
    m = 0.5 * (p + q)
    parts = [a * np.log(np.maximum(a, 1e-300) / np.maximum(m, 1e-300)) for a in (p, q)]
    return 0.5 * sum(parts).sum() * dx


p_data = 0.5 * bump(line, -2, 0.5) + 0.5 * bump(line, 1.5, 0.8)


# %% A critic alone: p_theta stays, the critic learns
def trained_critic(real, fake, steps, shots=()):
    critic, drawn = tg.nn.mlp((1, 64, 64, 1), tg.tanh), {}
    adam = Adam(critic.parameters(), cosine(5e-3, steps))
    for step in range(1, steps + 1):
        adam.zero_grad()
        loss = logistic_critic(critic(real(256)), critic(fake(256)))
        loss.backward()
        adam.step()
        if step in shots:
            with tg.no_grad():
                drawn[step] = tg.sigmoid(critic(line[:, None].astype("f4"))).numpy()[:, 0]
    with tg.no_grad():
        loss = logistic_critic(critic(real(50_000)), critic(fake(50_000))).item()
    return loss, drawn


def normal(m, s):
    return lambda n: rng.normal(m, s, (n, 1)).astype("f4")


steps = args.steps or (40 if args.quick else 1200)
q = bump(line, 0, 2)
best_D, best_loss = p_data / (p_data + q), 2 * np.log(2) - 2 * js(p_data, q)
first_loss, drawn = trained_critic(real, normal(0, 2), steps, (steps // 40, steps // 8, steps))
likely = p_data + q > 0.02
off = abs(drawn[steps] - best_D)[likely].max()
print(f"critic, p_theta fixed: loss {first_loss:.4f} nats, lowest possible {best_loss:.4f}")
print(f"largest |D - D*| where x occurs: {off:.3f} after {steps} steps")

# %% What it measures: JS between N(0, 1) and N(m, 1), and at m = 0 nothing
shifts, measured, exact = (0.0, 0.5, 1.0, 2.0, 4.0), [], []
for m in shifts:
    loss = trained_critic(normal(0, 1), normal(m, 1), max(steps // 3, 20))[0]
    measured.append(np.log(2) - loss / 2)
    exact.append(js(bump(line, 0, 1), bump(line, m, 1)))
    print(f"N(0, 1) against N({m:.1f}, 1): loss {loss:.4f} nats -> JS {measured[-1]:6.4f}, exact "
          f"{exact[-1]:.4f}" + ("   (ln 4 = 1.3863)" if m == 0 else ""))

# %% What G feels: the slope of its loss by the critic's logit C
logits = np.linspace(-8, 4, 200)
pull = {"saturating: E ln(1 - D)": 1 / (1 + np.exp(-logits)),
        "non-saturating: -E ln D": 1 / (1 + np.exp(logits))}
print("pull on G where C = -8: " + ", ".join(f"{k} {v[0]:.4f}" for k, v in pull.items()))

# %% Both play. p_theta(x), for the picture only, by counting samples
tg.seed(args.seed)
gan = GAN(1, latent=4, hidden=(64, 64), output=None)
game, rounds = [], 3 * steps
adams = [Adam(part.parameters(), cosine(2e-3, rounds), betas=(0.5, 0.9))
         for part in (gan.critic, gan.generator)]
for step in range(1, rounds + 1):
    for adam, of in zip(adams, (gan.critic_loss, lambda x: gan.generator_loss(len(x)))):
        adam.zero_grad()
        loss = of(real(256))
        loss.backward()
        adam.step()
    if step in (rounds // 50, rounds // 8, rounds):
        samples = gan.sample(100_000)[:, 0]
        counted = np.histogram(samples, line[::12])[0] / (len(samples) * 12 * dx)
        q = np.interp(line, 0.5 * (line[::12][1:] + line[::12][:-1]), counted)
        with tg.no_grad():
            D = tg.sigmoid(gan.critic(line[:, None].astype("f4"))).numpy()[:, 0]
        game.append((step, q, D))
        print(f"step {step:4d}  generator's loss {loss.item():.3f} nats (ln 2 = 0.693 at the end)  "
              f"JS(p_data, p_theta) {js(p_data, q):.3f} nats")

# %% The picture
fig, axes = plotting.figure(2, 3, (15, 7.4))
ax = axes[0, 0]
for step, D in drawn.items():
    ax.plot(line, np.where(likely, D, np.nan), label=f"D after {step} steps")
ax.plot(line, np.where(likely, best_D, np.nan), "k--", linewidth=1, label="D* = p / (p + q)")
ax.set(title="a critic alone, p_theta = N(0, 2^2)", xlabel="x", ylabel="D(x)", ylim=(-.02, 1.02))
m = np.linspace(0, 4.5, 40)
axes[0, 1].plot(m, [js(bump(line, 0, 1), bump(line, a, 1)) for a in m], "k--", label="exact")
axes[0, 1].plot(shifts, measured, "o", color="#3c8d5a", label="ln 2 - loss / 2")
axes[0, 1].axhline(np.log(2), color="#999999", label="ln 2: no overlap")
axes[0, 1].set(title="what the critic measures", xlabel="m", ylabel="JS(N(0,1), N(m,1)), nats")
for name, slope in pull.items():
    axes[0, 2].plot(logits, slope, label=name)
axes[0, 2].set(title="the pull on G", xlabel="logit C(x) of a sample", ylabel="|d loss / d C|")
for ax, (step, q, D) in zip(axes[1], game):
    ax.fill_between(line, p_data, color="#999999", alpha=0.4, label="p_data")
    ax.plot(line, q, color="#3c8d5a", label="p_theta, counted")
    ax.plot(line, D, color="#c8553d", label="D learned")
    ax.plot(line, np.where(p_data + q > .02, p_data / (p_data + q + 1e-9), np.nan), "k--",
            linewidth=0.8, label="D*")
    ax.set(title=f"the game, step {step}", xlabel="x", ylim=(0, 1.25), xlim=(-6, 6))
for ax in axes.ravel():
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "28_the_game.png", args.show))

# %% The promise of this lesson
assert first_loss > best_loss - 0.02        # nobody beats D*, but for the scatter of samples
if not (args.quick or args.steps):
    assert off < 0.2 and abs(np.subtract(measured, exact)).max() < 0.03
    assert js(p_data, game[-1][1]) < 0.05
# What we left out: pictures (29), failures (30), other distances (31). Exercise: ex33_gan_losses.
