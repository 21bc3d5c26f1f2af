"""Lesson 29: can the game be played with pictures?

Two convolutional networks, mirror images of each other: the generator starts from z as a small
picture of many channels and doubles its side; the critic halves it again (DCGAN). Pictures here are
black or white, so the generator's are too: its pixels are drawn, and the gradient passes straight
through the draw. The critic sees the batch's spread beside each picture, so that pictures that are
all alike give themselves away; its slope at real pictures is held small (R1).

No curve says how good the samples are. The known p_data does: ln p_data of each, how many templates
they find; and the nearest training example tells a copy from a creation.

Promise: samples are black or white; their ln p_data rises by over 50 nats, and fewer than 90 % are
nearer to a training picture than new ones are (glyphs).
Changed since lesson 28: pictures, convolutions, no density to draw the optimum from
    python lessons/29_dcgan.py                    about a minute, offline
    python lessons/29_dcgan.py --data mnist       real digits, longer

합성곱 생성자와 비평가로 그림을 만든다(DCGAN). 손실 곡선은 표본이 얼마나 좋은지 말해 주지 않으므로, p_data를 아는
자료에서 표본의 ln p_data와 찾아낸 틀의 수를 재고, 가장 가까운 학습 그림과 견주어 베끼지 않았는지 본다.
"""
# %% The world, and the two networks
import functools

import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.datasets.mnist import load_mnist, thresholded
from tinygen.models.implicit.architectures import bits, dcgan_critic, dcgan_generator
from tinygen.models.implicit.gan import GAN
from tinygen.models.implicit.objectives import diagnose, r1_penalty
from tinygen.optim import EMA, Adam, cosine
from tinygen.samples import memorised, nearest
from tinygen.training import Progress, fit

args = lesson_options("A DCGAN, and what its samples are worth.", worlds=("glyphs", "mnist"))
rng = np.random.default_rng(args.seed)
if args.data == "glyphs":
    world, side = Glyphs(), 16
    train, test = world.sample(10_000, rng), world.sample(1000, rng)
else:
    with one_sentence():
        mnist = load_mnist(report=print)
    world, side = None, 28
    train, test = (thresholded(a) for a in (mnist.train_images[:10_000], mnist.test_images[:1000]))
D, Z, width = side * side, 64, 4 if args.quick else 16
gan = GAN(D, Z, output=bits, generator=dcgan_generator(Z, side, width=width),
          critic=dcgan_critic(side, width=width, alike=True),
          penalty=functools.partial(r1_penalty, weight=0.2))

# %% The game, looked at as it goes: the same 16 codes z every time
steps = args.steps or (16 if args.quick else 1200)
critic = Adam(gan.critic.parameters(), cosine(1e-3, steps), betas=(0.0, 0.99))
generator = EMA(Adam(gan.generator.parameters(), cosine(1e-3, steps), betas=(0.0, 0.99)), 0.99)
codes = rng.standard_normal((16, Z)).astype("float32")
n, strip, scores = 100 if args.quick else 1000, [], []


def look(step):
    with generator.averaged(), tg.no_grad():
        strip.append((step, tg.sigmoid(gan.generator(codes)).numpy()))
        if world:
            x = np.concatenate([gan.sample(100) for _ in range(n // 100)])
            scores.append((step, world.log_prob(x).mean(), len(world.modes_found(x))))


look(0)
history = fit(gan, Endless(train, 64, rng), steps,
              [("critic", gan.critic_loss, critic),
               ("generator", lambda x: gan.generator_loss(len(x)), generator)],
              every=-(-steps // 8), evaluate=look, report=Progress("DCGAN"))
print(f"losses at the end: critic {history['critic'][-50:].mean():.3f}, generator "
      f"{history['generator'][-50:].mean():.3f} nats (2 ln 2 = 1.386 and ln 2 = 0.693 when equal)")
with generator.averaged():
    print(diagnose(gan, test[:500]))
    samples = np.concatenate([gan.sample(100) for _ in range(n // 100)])

# %% What the samples are worth
if world:
    real_nats, real_found = world.log_prob(test[:n]).mean(), len(world.modes_found(test[:n]))
    for step, nats, found in scores[::4]:
        print(f"step {step:4d}  ln p_data of samples {nats:8.2f} nats  templates {found:3d}")
    print(f"true pictures  ln p_data           {real_nats:8.2f} nats  templates {real_found:3d} of "
          f"{len(world.templates)}, by as many")
    print("the critic has stopped seeing faults that p_data still counts: a short game ends here")
else:
    print("MNIST's p_data is unknown: no ln p_data of samples, no count of templates")
where, distance = nearest(samples[:200], train)
_, usual = nearest(test[:200], train)
print(f"pixels off the nearest of {len(train)} training pictures: samples "
      f"{(distance ** 2).mean():.1f}, new true pictures {(usual ** 2).mean():.1f}")
copies = memorised(samples[:200], train, test[:200])
print(f"a sample is nearer to one than a new true picture is: {100 * copies:.0f} % (copies: 100 %)")

# %% The picture: the strip on top
fig, axes = plotting.figure(2, 3, (14, 9))
grid = axes[0, 0].get_gridspec()
for ax in axes[0]:
    ax.remove()
top = fig.add_subplot(grid[0, :])
plotting.images(top, np.concatenate([x for _, x in strip]), (side, side), 16,
                "the same 16 z as training goes; a row each at steps "
                + ", ".join(str(step) for step, _ in strip))
plotting.images(axes[1, 0], np.stack([samples[:32], train[where[:32]]], 1).reshape(64, D),
                (side, side), title="samples, each with the nearest training picture")
for name in ("critic", "generator"):
    plotting.curve(axes[1, 1], history[name], name)
plotting.floor_line(axes[1, 1], 2 * np.log(2), "2 ln 2: the critic cannot tell")
axes[1, 1].set(xlabel="step", ylabel="nats", title="the losses: they do not say", ylim=(0, 2))
axes[1, 1].legend(fontsize=8)
if world:
    step, nats, found = np.array(scores).T
    axes[1, 2].plot(step, nats, color="#3c8d5a", label="samples")
    plotting.floor_line(axes[1, 2], real_nats, "true pictures")
    axes[1, 2].set(xlabel="step", ylabel="ln p_data, nats", title="the true density does say")
    axes[1, 2].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, f"29_dcgan_{args.data}.png", args.show))

# %% The promise of this lesson
assert set(np.unique(samples)) <= {0.0, 1.0}
if world and not (args.quick or args.steps):
    assert scores[-1][1] > scores[0][1] + 50 and copies < 0.9
# What we left out: why templates go missing (30), other objectives (31), labels and codes
# (models/implicit/gan.py). Exercises: ex13_conv_transpose, ex33_gan_losses.
