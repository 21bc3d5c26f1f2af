"""Lesson 25: how tight can a bound get?

One draw z ~ q gives w = p(x, z) / q(z | x), whose mean is p(x); ln w has mean ELBO, which is less,
as ln is concave. The mean of k draws scatters less, so its logarithm loses less:

    bound(k) = E ln 1/k sum_i w_i       ELBO = bound(1) <= bound(2) <= ... -> ln p(x)

It is an estimator: score any VAE with k = 5000. And it is an objective: an encoder trained on it
(an importance weighted autoencoder, IWAE) is not asked that every guess be good, only one of k.

Promise: bounds rise with k and stay below ln p, but for 3 standard errors; k = 256 is within 0.05
nats; on glyphs training with k = 10 beats k = 1.
Changed since lesson 24: k guesses of z for each x, of which the good ones count
    python lessons/25_iwae.py       under a minute, offline

표본 하나로 얻는 증거 하한은 k개의 중요도 가중치를 평균하면 더 팽팽해진다. k가 커지면 하한은 ln p(x)에 다가간다.
이 하한은 평가에도 쓰고 학습 목표로도 쓴다(IWAE). 정확한 값을 아는 선형 모형에서 먼저 확인한다.
"""
# %% As an estimator: a linear model whose ln p(x) is known, and a q that is too narrow and off
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.models.approximate.iwae import IWAE
from tinygen.models.approximate.ppca import PPCA
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("Tighter bounds with k samples.")
rng = np.random.default_rng(args.seed)
linear = PPCA(8, 2)
linear.fit_closed(1.5 * rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 8))
                  + rng.normal(size=(2000, 8)))
x = linear.sample(500).data
exact = float(linear.log_prob(x).data.mean())
linear.encoder.b.data += 0.15               # from here on q = N(m + 0.15, G / 2), not p(z | x)
linear.q_logvar.data -= np.log(2).astype("float32")
ks, draws = (1, 2, 4, 8, 16, 64, 256), 5 if args.quick else 20
with tg.no_grad():
    bounds = np.array([[linear.log_prob_bound(x, k).data.mean() for _ in range(draws)]
                       for k in ks])
means, errors = bounds.mean(1), bounds.std(1, ddof=1) / np.sqrt(draws)
print(f"ln p(x) exact  {exact:.3f} nats;  ELBO {linear.elbo(x).data.mean():.3f}, by formula")
for k, m, e in zip(ks, means, errors):
    if k in (1, 4, 16, 256):
        print(f"bound(k = {k:3d})  {m:.3f} ± {e:.3f} nats, {exact - m:.3f} below")

# %% As an objective: on glyphs, k = 1 (a VAE) and k = 10, the same networks and steps
world = Glyphs()
floor, test = world.entropy()[0], world.sample(300, rng)
steps = args.steps or (20 if args.quick else 2500)
models, curves, table = {}, {}, {}
test_ks = (1, 4, 16) if args.quick else (1, 4, 16, 64, 256)
for k in (1, 10):
    tg.seed(args.seed)
    model = models[k] = IWAE(256, 12, (200, 200), activation=tg.relu, k=k, doubly=k > 1)
    batches = Endless(world.templates, 50, np.random.default_rng(args.seed),
                      transform=lambda t, rng: world.sample(len(t), rng))
    adam = Adam(model.parameters(), cosine(2e-3, steps))
    curves[k] = fit(model, batches, steps, [("-bound", model.loss, adam)],
                    report=Progress(f"k = {k}"))["-bound"]
    table[k] = [-evaluation.mean_and_error(lambda x: model.log_prob_bound(x, n, chunk=min(n, 8)),
                                           test)[0] for n in test_ks]
print(f"glyphs, -bound in nats, floor {floor:.2f}.   scored with k = "
      + ", ".join(map(str, test_ks)))
for k, row in table.items():
    print(f"trained with k = {k:2d}: " + "  ".join(f"{v:.2f}" for v in row)
          + f"   active units {evaluation.active_units(models[k], test)} of 12")


# %% How the k guesses share the weight: the effective number of samples, 1 / sum of shares^2
def effective(model, k=50):
    with tg.no_grad():
        q = model.encode(test)
        shares = tg.softmax(model.log_weight(test, q, q.rsample(k)), 0).numpy()
        return (1 / (shares ** 2).sum(0)).mean(), np.exp(0.5 * q.logvar.numpy()).mean()


told = {k: effective(m) for k, m in models.items()}
print("50 guesses are worth as many as " + ", ".join(
    f"{n:.1f} (trained with k = {k}; mean sd of q {s:.2f})" for k, (n, s) in told.items()))

# %% The picture
fig, axes = plotting.figure(1, 4, (17, 4))
colors = {1: "#1b6ca8", 10: "#c8553d"}
ax = axes[0, 0]
ax.errorbar(ks, means, 2 * errors, fmt="o-", color="#1b6ca8", label="bound(k), ± 2 standard errors")
ax.axhline(exact, color="black", linestyle="--", linewidth=1, label="ln p(x), exact")
ax.set(xscale="log", xlabel="k", ylabel="nats per example", title="linear model, a poor q")
log_w = np.array([linear.log_prob_bound(x[:1], 1).item()
                  for _ in range(400 if args.quick else 3000)])
ln_p = float(linear.log_prob(x[:1]).data[0])
ax = axes[0, 1]
ax.hist(log_w - ln_p, 60, color="#999999", density=True)
ax.axvline((log_w - ln_p).mean(), color="#c8553d", label="mean of ln w: the ELBO")
ax.axvline(0, color="black", linestyle="--", linewidth=1, label="ln of the mean of w: ln p(x)")
ax.set(xlabel="ln w - ln p(x), nats", ylabel="density", title="one x: ln w by draw of z")
ax = axes[0, 2]
for k, curve in curves.items():
    plotting.curve(ax, curve, f"k = {k}: its own bound", colors[k])
plotting.floor_line(ax, floor, "floor H(p_data)")
ax.set(xlabel="step", ylabel="-bound, nats per picture", title="as an objective", ylim=(25, 90))
ax = axes[0, 3]
for k, row in table.items():
    ax.plot(test_ks, row, "o-", color=colors[k], label=f"trained with k = {k}")
plotting.floor_line(ax, floor, "floor H(p_data)")
ax.set(xscale="log", xlabel="k of the score", ylabel="-bound, nats per picture",
       title="as an estimator")
ax.set_ylim(bottom=20)
for ax in axes[0]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "25_iwae.png", args.show))

# %% The promise of this lesson
assert (means < exact + 3 * errors).all() and means[0] < means[-1]
assert (np.diff(means) > -3 * np.hypot(errors[1:], errors[:-1])).all()
if not (args.quick or args.steps):
    assert table[10][-1] < table[1][-1] and exact - means[-1] < 0.05
# What we left out: why the encoder's gradient fades as k grows, and the doubly reparameterised one
# that was used here (models/approximate/iwae.py). Exercise: ex32_k_sample_bound.
