"""Lesson 26: what if the hidden cause is a word, not a number?

A codebook has K vectors e_k. The encoder gives a vector for each of N places, and the nearest e_k
takes its place: x becomes N whole numbers c. Choosing has no gradient, so the decoder's gradient
goes straight through to the encoder, as if nothing had been replaced. Then a second model learns
p(c), which makes it a p(x): it samples, and ln p(x | c) + ln p(c) is a lower bound in nats.

Promise: z gets the code's gradient; the bound ends above the floor (but for 1 nat), by 40 at most,
and its rate is less than that of codes all alike.
Changed since lesson 25: z is whole numbers, and q(c | x) is one point
- two stages: codes first, then the prior over codes

    python lessons/26_vqvae.py       about half a minute

VQ-VAE는 잠재변수를 코드북의 번호로 바꾼다. 가장 가까운 코드를 고르는 일에는 기울기가 없으므로 복호화기의
기울기를 부호화기로 그대로 넘긴다. 그 다음 코드의 사전분포를 배우면 표본을 뽑고 하한을 nats로 잴 수 있다.
"""
# %% The world, and a grid of 2 x 2 codes out of 32
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.models.approximate.vqvae import VQVAE, perplexity, straight_through
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("A codebook, and a prior over its codes.")
rng = np.random.default_rng(args.seed)
world = Glyphs()
train, test, floor = world.sample(20_000, rng), world.sample(1000, rng), world.entropy()[0]
model = VQVAE(256, (2, 2), 32, 32, (256,), restart=0.1)

# %% Straight through: forward the code, backward as if it were z
z, q = tg.tensor(np.array([0.2, 0.9]), True), np.array([0.0, 1.0])
y = straight_through(z, q)
tg.sum(y * y).backward()
print(f"z {z.data}, code {y.data}, gradient of the sum of squares at z {z.grad}")

# %% Two stages
steps = args.steps or (20 if args.quick else 1500)
batches, histories = Endless(train, 100, rng), {}
for name, loss, part, n in (("codes", model.loss, model, steps),
                            ("prior", model.prior_loss, model.prior, max(steps // 5, 5))):
    adam = Adam(part.parameters(), cosine(2e-3, n))
    histories[name] = fit(model, batches, n, [(name, loss, adam)], report=Progress(name))[name]
rate, distortion = evaluation.rate_and_distortion(model, test)
nats, usage = rate + distortion, tg.to_numpy(model.usage(test))
drawn = tg.to_numpy(model.sample(200))
print(f"floor H(p_data) {floor:.2f} nats per picture")
print(f"-ELBO {nats:.2f} nats = rate {rate:.2f} + distortion {distortion:.2f}; "
      f"{nats - floor:.2f} above the floor")
print(f"rate if all codes were alike: {4 * np.log(32):.2f} nats")
print(f"{(usage > 0).sum()} of {model.K} codes used, perplexity {perplexity(usage):.1f}")
print(f"200 samples: {len(world.modes_found(drawn))} templates found")

# %% The picture
fig, axes = plotting.figure(1, 4, (16, 4))
with tg.no_grad():
    again = tg.to_numpy(tg.sigmoid(model.decode(model.encode(test[:40])).logits))
plotting.images(axes[0, 0], test[:40], (16, 16), title="x")
plotting.images(axes[0, 1], again, (16, 16), title="p(x | c), from four codes")
plotting.images(axes[0, 2], drawn[:40], (16, 16), title="samples: c ~ p(c), x ~ p(x | c)")
plotting.codebook_usage(axes[0, 3], usage, "share of each code")
print("figure:", plotting.save(fig, args.out, "26_vqvae.png", args.show))

# %% The promise of this lesson
assert np.allclose(z.grad, 2 * q), "the gradient at the code, handed to z"
assert nats > floor - 1, "a bound below the floor is a wrong bound"
assert args.quick or args.steps or (nats < floor + 40 and rate < 4 * np.log(32))
# What we left out: a learned codebook (ema=False), larger grids. python -m tinygen.reproduce
# glyphs-vqvae trains ten times as long. Exercises: ex29_reparameterisation, ex30_elbo.
