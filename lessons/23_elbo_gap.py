"""Lesson 23: what does a lower bound lose?

ln p(x) = ln of an integral over z. Where that has no formula, take any q(z) and split it:

    ln p(x) = E_q[ln p(x | z)] - KL(q || p(z))  +  KL(q || p(z | x))
              ----------- ELBO -------------      ------ gap ------

The gap is never negative, so the ELBO is a lower bound, and raising it over q finds the posterior.
Here all three are formulas, so the gap can be seen. The ELBO is what a VAE raises, in theta and q
at once; and its gradient needs samples of q, which can be taken in two ways.

Promise: ELBO + gap = ln p for all q, no gap negative; both estimators mean the exact gradient, the
reparameterised one scatters less; gap and ln p end within 0.05 nats of their best.
Changed since lesson 22: q is any Gaussian, not the posterior that was solved for
    python lessons/23_elbo_gap.py       about ten seconds

증거 하한(ELBO)은 우도 ln p(x)에서 KL(q || p(z|x))를 뺀 값이다. 이 간격은 음수가 될 수 없으므로 ELBO를 q에 대해
올리면 사후분포에 다가간다. 모든 항이 식으로 주어지는 선형 모형에서 그 간격을 그려 보고, 재매개변수화 기울기와
점수함수 기울기의 흩어짐을 견준다.
"""
# %% One x, one z: z ~ N(0, 1), x = w z + noise of sd s
import numpy as np

from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.models.approximate.ppca import PPCA
from tinygen.optim import Adam, cosine

args = lesson_options("The ELBO and its gap, where both are known.")
rng = np.random.default_rng(args.seed)
w, s, x = 1.5, 0.8, 2.0
log_p = -0.5 * np.log(2 * np.pi * (w * w + s * s)) - x * x / (2 * (w * w + s * s))
post_m, post_v = w * x / (w * w + s * s), s * s / (w * w + s * s)       # p(z | x), by Bayes' rule


def reconstruction(m, v):
    """E_q[ln p(x | z)] for q = N(m, v)"""
    return -0.5 * np.log(2 * np.pi * s * s) - ((x - w * m) ** 2 + w * w * v) / (2 * s * s)


def kl(m, v, m0=0.0, v0=1.0):
    """KL(N(m, v) || N(m0, v0))"""
    return 0.5 * ((v + (m - m0) ** 2) / v0 - 1 - np.log(v / v0))


def elbo(m, v):
    return reconstruction(m, v) - kl(m, v)


print(f"ln p(x) {log_p:.4f} nats;  p(z | x) = N({post_m:.3f}, {post_v:.3f})")
for name, m, v in (("prior", 0.0, 1.0), ("right mean, too wide", post_m, 1.0),
                   ("right width, off", post_m - 0.5, post_v), ("posterior", post_m, post_v)):
    print(f"q = {name:20s} {reconstruction(m, v):8.3f} - {kl(m, v):.3f} = ELBO {elbo(m, v):8.4f};  "
          f"gap {kl(m, v, post_m, post_v):.4f} nats")
m, v = rng.normal(size=1000), rng.gamma(1.0, size=1000)
identity = abs(elbo(m, v) + kl(m, v, post_m, post_v) - log_p).max()
print(f"ELBO + gap - ln p(x), the largest of 1000 random q: {identity:.0e} nats")

# %% The gradient by q's mean, from samples z ~ q: two estimators of one number
m, v, n = 0.3, 0.5, 100_000
eps = rng.normal(size=n)
z = m + np.sqrt(v) * eps
through = w * (x - w * z) / s ** 2 - z                  # d ln p(x, z) / dz, as z moves with m
log_joint = (-0.5 * np.log(2 * np.pi * s * s) - (x - w * z) ** 2 / (2 * s * s)
             - 0.5 * np.log(2 * np.pi) - z * z / 2)
log_q = -0.5 * np.log(2 * np.pi * v) - eps * eps / 2
score = (log_joint - log_q) * (z - m) / v               # (what it is worth) d ln q(z) / dm
exact = w * (x - w * m) / s ** 2 - m
for name, g in (("reparameterised", through), ("score function", score)):
    print(f"d ELBO / dm  {name:16s} {g.mean():.3f} ± {g.std() / np.sqrt(n):.3f}, "
          f"sd of one sample {g.std():.2f}  (exact {exact:.3f})")

# %% Learning: theta and q together, on 8-dimensional points with 2 hidden causes
D, Z = 8, 2
causes, noise, true_W = (rng.normal(size=shape) for shape in ((2000, Z), (2000, D), (Z, D)))
points = 1.5 * causes @ true_W + 0.7 * noise
model = PPCA(D, Z)
for p in model.parameters():
    p.data = p.data.astype("float64")
steps, rows = args.steps or (60 if args.quick else 1500), []
adam = Adam(model.parameters(), cosine(0.02, steps))
for step in range(steps):
    if step % max(1, steps // 100) == 0 or step == steps - 1:
        fit, rate = (t.data.mean() for t in model.terms(points))
        rows.append((step, fit, rate, model.gap(points).mean(), model.log_prob(points).data.mean()))
    adam.zero_grad()
    loss = model.loss(points[rng.integers(0, len(points), 200)])
    loss.backward()
    adam.step()
best = PPCA(D, Z)
best.fit_closed(points)
best = best.log_prob(points).data.mean()
step, fit, rate, gap, exact_log_p = np.array(rows).T
for i in (0, len(rows) // 10, len(rows) - 1):
    print(f"step {step[i]:4.0f}  E ln p(x | z) {fit[i]:8.3f}  rate {rate[i]:6.3f}  ELBO "
          f"{fit[i] - rate[i]:8.3f}  gap {gap[i]:6.3f}  ln p {exact_log_p[i]:8.3f} nats")
print(f"highest ln p there is (eigenvectors) {best:.3f} nats")

# %% The picture
fig, axes = plotting.figure(1, 4, (17, 4))
means = np.linspace(-1, 3, 200)
ax = axes[0, 0]
ax.axhline(log_p, color="black", linestyle="--", linewidth=1, label="ln p(x)")
for v, color in ((post_v, "#1b6ca8"), (3 * post_v, "#c8553d")):
    ax.plot(means, elbo(means, v), color=color, label=f"ELBO, q of variance {v:.2f}")
ax.fill_between(means, elbo(means, post_v), log_p, color="#1b6ca8", alpha=0.15,
                label="gap of the first")
ax.set(xlabel="mean of q", ylabel="nats", title="one x: ELBO = ln p(x) - gap", ylim=(-8, -1.2))
zs = np.linspace(-2, 3.5, 300)
for m, v, label in ((0, 1, "prior p(z)"), (post_m, post_v, "posterior p(z | x)"),
                    (post_m, 1.0, "a q that is too wide")):
    axes[0, 1].plot(zs, np.exp(-(zs - m) ** 2 / (2 * v)) / np.sqrt(2 * np.pi * v), label=label)
axes[0, 1].set(xlabel="z", ylabel="density", title="what x tells of z")
bins = np.linspace(-25, 30, 100)
for name, g in (("score function", score), ("reparameterised", through)):
    axes[0, 2].hist(g, bins, alpha=0.6, density=True, label=f"{name}: sd {g.std():.1f}")
axes[0, 2].axvline(exact, color="black", linestyle="--", linewidth=1, label="exact")
axes[0, 2].set(xlabel="d ELBO / dm from one sample", ylabel="density", yscale="log",
               title="two ways to the same gradient")
ax = axes[0, 3]
ax.plot(step + 1, -exact_log_p, color="black", label="-ln p(x), exact")
ax.plot(step + 1, rate - fit, color="#c8553d", label="-ELBO")
ax.fill_between(step + 1, -exact_log_p, rate - fit, color="#c8553d", alpha=0.25, label="gap")
ax.axhline(-best, color="black", linestyle="--", linewidth=1, label="best -ln p(x)")
ax.set(xscale="log", xlabel="step", ylabel="nats per example", title="learning closes the gap",
       ylim=(-best - 1, -best + 25))
for ax in axes[0]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "23_elbo_gap.png", args.show))

# %% The promise of this lesson
assert identity < 1e-9 and (gap > -1e-9).all()
assert abs(through.mean() - exact) < 5 * through.std() / np.sqrt(n) and through.std() < score.std()
assert abs(score.mean() - exact) < 5 * score.std() / np.sqrt(n)
if not (args.quick or args.steps):
    assert gap[-1] < 0.05 and best - exact_log_p[-1] < 0.05
# What we left out: a q that cannot reach the posterior, so that the gap stays (24, 25); baselines,
# which tame the score function. Exercises: ex28_gaussian_kl, ex29, ex30_elbo.
