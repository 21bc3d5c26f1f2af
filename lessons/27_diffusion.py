"""Lesson 27: what if the causes of x were x itself, less and less of it?

A VAE learns what its latents mean. A diffusion model fixes that: x_1 ... x_T are x under more and
more noise, x_t = alpha_t x + sigma_t eps, until nothing is left of x. Only the way back is learned,
in T small steps, each nearly Gaussian. It is a VAE of T levels whose encoder has no parameters:

    ELBO = ln p(x | x_1) - sum_t KL(q(x_t-1 | x_t, x) || p(x_t-1 | x_t)) - KL(q(x_T | x) || p(x_T))

All those Gaussians have known variances, so each KL is a squared error: "what was x, given x_t?"

Promise: -ELBO is above -ln p_data (but for 3 standard errors) by 0.35 nats at most; samples find
all modes, over 90 % of them within 3 sigma.
Changed since lesson 26: T levels of latents; the encoder is noise
    python lessons/27_diffusion.py       under a minute, offline

확산 모형은 자료에 잡음을 조금씩 더해 가는 고정된 부호화기와, 그것을 되돌리는 학습된 복호화기로 된 깊은 계층적
변분 오토인코더이다. 증거 하한(ELBO)의 각 항은 제곱 오차가 된다. p_data를 아는 평면에서 하한과 바닥선을 견준다.
"""
# %% The world: a ring of eight bumps, whose density is known
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Mixture2D
from tinygen.evaluation import mean_and_error
from tinygen.models.approximate.diffusion import Diffusion, straight
from tinygen.nn import MLPDenoiser
from tinygen.optim import EMA, Adam, cosine
from tinygen.samples import modes_found
from tinygen.training import Progress, fit

args = lesson_options("Diffusion as a deep hierarchy, in the plane.")
rng = np.random.default_rng(args.seed)
world = Mixture2D("ring", s=0.06)
n = 200 if args.quick else 1000
test, floor = world.sample(n, rng), world.entropy()[0]
scale = float(test.std())

# %% Noise: how much of x is left at t. log-SNR = ln alpha^2 / sigma^2 falls on a straight line
T = 20 if args.quick else 200
network = MLPDenoiser(2, (192, 192, 192), octaves=5)
model = Diffusion(network, 2, straight(T, 7.3, -9.0), scale=scale)
times = [1, T // 4, T // 2, 3 * T // 4, T]
noised = {t: model.encode(test, t).sample() for t in times}
told = {t: 0.5 * np.log(1 + np.exp(float(model.log_snr[t]))) for t in times}
print("t                          " + "".join(f"{t:8d}" for t in times))
print("at most so many nats of x_i" + "".join(f"{told[t]:8.3f}" for t in times) + "  in x_t,i")

# %% Learning: each example sees one t per step, an unbiased draw of the whole sum
steps = args.steps or (30 if args.quick else 4500)
ema = EMA(Adam(model.parameters(), cosine(2e-3, steps, warmup=steps // 10)), 0.995)
batches = Endless(np.zeros((256, 2), "float32"), 256, rng,
                  transform=lambda x, rng: world.sample(len(x), rng))
history = fit(model, batches, steps, [("-elbo", model.loss, ema)], report=Progress("diffusion"))

# %% The bound, all T terms of it, beside the floor
with ema.averaged():
    nats, error = mean_and_error(model.elbo, test)
    below = mean_and_error(lambda x: world.log_prob(x) - model.elbo(x).data, test)
    print(f"-ELBO {-nats:.3f} ± {error:.3f} nats per point, floor {floor:.3f}; on the same points "
          f"{below[0]:.3f} ± {below[1]:.3f} below ln p_data")
    terms = []
    with tg.no_grad():
        for t in range(1, T + 1):               # the rate of each level, a mean over the points
            terms.append(-model._term(test, np.full(n, t), None).data.mean())
    rate = float(model.encode(test).kl().sum(1).mean())
    print(f"its parts, by other noise: last KL, to N(0, I) {rate:.4f}; {T - 1} KLs between "
          f"{sum(terms[1:]):.3f}; -ln p(x | x_1) {terms[0]:.3f} nats")

    # %% Sampling: from x_T ~ N(0, I) down, one draw a step
    tg.seed(args.seed)
    z = rng.standard_normal((n, 2)).astype("float32")
    drawn = {"T steps": model.generate(z, report=Progress("sampling")),
             "20 steps, DDIM": model.generate(z, steps=20, eta=0.0),
             "3 steps, DDIM": model.generate(z, steps=3, eta=0.0)}
for name, x in drawn.items():
    found, share = modes_found(world, x)
    print(f"{name:15s} {found} of {world.K} modes, {100 * share:5.1f} % within 3 sigma "
          f"(a perfect sampler: 98.9 %), mean ln p_data {world.log_prob(x).mean():8.2f} nats")

# %% The picture
fig, axes = plotting.figure(2, 5, (16, 6.6))
for ax, t in zip(axes[0], times):
    ax.plot(*noised[t].T, ".", markersize=2, color="#555555")
    ax.set(title=f"x_t, t = {t} of {T}", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
for ax, (name, x) in zip(axes[1], drawn.items()):
    ax.plot(*np.asarray(x).T, ".", markersize=2, color="#c8553d")
    ax.set(title=f"drawn in {name}", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
ax = axes[1, 3]
ax.plot(range(2, T + 1), terms[1:], color="#1b6ca8")
ax.set(xlabel="t", ylabel="KL of level t, nats", title="where the nats are")
ax = axes[1, 4]
plotting.curve(ax, history["-elbo"], "-ELBO, one t an example", "#c8553d")
plotting.floor_line(ax, floor, "floor h(p_data)")
ax.set(xlabel="step", ylabel="nats per point", title="learning", ylim=(floor - 1, floor + 4))
ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "27_diffusion.png", args.show))

# %% The promise of this lesson
found, share = modes_found(world, drawn["T steps"])
assert below[0] > -3 * below[1], "the bound is above ln p: no bound"
if not (args.quick or args.steps):
    assert below[0] < 0.35 and found == world.K and share > 0.9
# What we left out, all in models/approximate: pictures (the U-Net of nn/unet.py), labels and
# guidance (diffusion.py), flow_matching.py. Exercises: ex28_gaussian_kl, ex29_reparameterisation.
