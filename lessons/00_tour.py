"""Lesson 00: what can a generative model do, and what can we know about it?

One model of each branch of the taxonomy learns the same pictures. They come from a source whose
probability p_data(x) we can compute, so the table at the end is not an opinion. A picture costs a
model -ln p(x) nats; on average none pays less than p_data itself does: the floor, H(p_data).

    explicit, tractable     MADE   ln p(x) exactly, one pixel after the other; slow to sample
    explicit, approximate   VAE    ELBO: a bound below ln p(x), by hidden causes z; fast to sample
    implicit                GAN    no ln p(x), only samples, trained by telling real from fake

Promise: MADE needs at most 45 nats of glyphs (95 of MNIST), and never 0.5 less than the floor; the
VAE's bound on MNIST is at most 90.

    python lessons/00_tour.py                  about a minute on two cores, offline
    python lessons/00_tour.py --data mnist     real digits, about five minutes

생성모델의 세 갈래를 한 번에 둘러본다. 명시적 밀도를 정확히 계산하는 자기회귀모형(MADE), 하한으로 근사하는
변분 오토인코더(VAE), 밀도 없이 표본만 만드는 적대적 생성 신경망(GAN)을 같은 자료로 학습시키고,
p_data를 정확히 아는 자료이므로 엔트로피 H(p_data)라는 바닥선과 비교한다.
"""
# %% The world: where x comes from, and how it is split
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.datasets.mnist import dynamic, load_mnist, thresholded
from tinygen.models.approximate.vae import VAE
from tinygen.models.implicit.gan import GAN
from tinygen.models.tractable.made import MADE
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("One model of each branch, on one world.", worlds=("glyphs", "mnist"))
rng = np.random.default_rng(args.seed)

if args.data == "glyphs":
    world = Glyphs()                            # 540 templates; each pixel flipped with p = 0.02
    train, test = world.sample(50_000, rng), world.sample(5_000, rng)          # (N, 256) of 0 and 1
    side, transforms, tests = 16, (None, None, None), (test, test, test)
    steps, units = (2500, 2500, 1500), (1024, (256, 256), 256)
    floor = world.entropy()[0]                  # H(p_data): no model can have fewer nats
else:
    with one_sentence():
        digits = load_mnist(report=print)
    world, floor = None, None
    train, test = digits.train_images, thresholded(digits.test_images)         # (N, 28, 28) grey
    side, steps, units = 28, (2000, 13000, 2000), (512, (400, 400), 256)
    transforms = (lambda x, rng: thresholded(x), dynamic, lambda x, rng: thresholded(x))
    tests = (test, dynamic(digits.test_images, rng), test)
D = side * side
steps = [args.steps or (20 if args.quick else n) for n in steps]

# %% Three models, and for each what is to be made small
made = MADE(D, hidden=(units[0],))
vae = VAE(D, latent=40, hidden=units[1], activation=tg.silu)
gan = GAN(D, hidden=(units[2], units[2]), noise=0.5)


def adam(part, lr, n, **settings):
    return Adam(part.parameters(), lr=cosine(lr, n), **settings)


beta = iter(np.linspace(0, 1, max(2, steps[1] // 6)))       # the weight of the KL, up to 1


def minus_elbo(x):
    return -tg.mean(vae.elbo(x, beta=next(beta, 1.0)))


goals = [
    [("nll", made.loss, adam(made, 5e-3, steps[0]))],
    [("-elbo", minus_elbo, adam(vae, 3e-3, steps[1]))],
    [("critic", gan.critic_loss, adam(gan.critic, 5e-4, steps[2], betas=(0.5, 0.99))),
     ("generator", lambda x: gan.generator_loss(len(x)),
      adam(gan.generator, 5e-4, steps[2], betas=(0.5, 0.99)))],
]

# %% Training: the same loop for all three
models, histories = (made, vae, gan), []
for model, goal, n, transform in zip(models, goals, steps, transforms):
    batches = Endless(train, 100, rng, transform=transform)
    histories.append(fit(model, batches, n, goal, report=Progress(type(model).__name__)))

# %% What we know of each
many = 200 if args.quick else 1000             # samples; glyphs that the VAE's bound is taken of
scored = many if world or args.quick else len(test)
rows, pictures = [], []
real = tests[0][:many]
for model, x, objective, kind in zip(models, tests, ("max ln p(x)", "max ELBO", "two players"),
                                     ("exact", "bound, k = 64", "undefined")):
    nats = None
    if model is made:
        nats = -evaluation.mean_and_error(model.log_prob, x)[0]
    elif model is vae:
        nats = -evaluation.mean_and_error(lambda x: model.log_prob_bound(x, 64), x[:scored])[0]
    samples, seconds = evaluation.timed_samples(model, many)
    samples = (samples > 0.5).astype("float32")
    pictures.append(samples)
    row = [model.branch, type(model).__name__, objective, nats, kind]
    if world:
        row += [floor, world.log_prob(samples).mean(), len(world.modes_found(samples))]
    rows.append(row + [seconds * 1e6 / many])
columns = ["branch", "model", "objective", "test nats", "which is a"]
if world:
    rows.append(["data", "p_data itself", "-", -world.log_prob(test).mean(), "exact", floor,
                 world.log_prob(real).mean(), len(world.modes_found(real)), None])
    columns += ["floor H(p_data)", "ln p_data(samples)", "templates"]
print(evaluation.table(columns + ["ms per 1000 samples"], rows))
if world and 10 * rows[2][7] < rows[3][7]:
    print("The GAN crowds on few templates: mode collapse. Its losses do not show it, samples do.")
if not world:
    print("MNIST's p_data is unknown: no floor, no ln p_data(samples), no count of templates.")

# %% One figure: look at the samples, then at the curves
fig, axes = plotting.figure(2, 4, (12, 6.4))
plotting.images(axes[0, 0], real[:64], (side, side), title="real")
for ax, model, samples in zip(axes[0, 1:], models, pictures):
    plotting.images(ax, samples[:64], (side, side), title=f"{type(model).__name__}: {model.branch}",
                    color=plotting.BRANCH_COLORS[model.branch])
grid = axes[1, 0].get_gridspec()
for ax in axes[1]:
    ax.remove()
nats, game = fig.add_subplot(grid[1, :2]), fig.add_subplot(grid[1, 2:])
for model, history, name, label in zip(models, histories, ("nll", "-elbo"), (
        "MADE: -ln p(x)", "VAE: -ELBO, its KL at full weight after 1/6 of the steps")):
    plotting.curve(nats, history[name], label, plotting.BRANCH_COLORS[model.branch])
if world:
    plotting.floor_line(nats, floor, "H(p_data), the floor")
nats.set(xlabel="step", ylabel="nats per picture", title="explicit: the loss says how good it is",
         ylim=(0.9 * (floor or 70), 2.5 * (floor or 70)))
for name, color in (("critic", "#3c8d5a"), ("generator", "#a0b95a")):
    plotting.curve(game, histories[2][name], f"GAN {name}", color)
plotting.floor_line(game, 2 * np.log(2), "2 ln 2: the critic cannot tell")
game.set(xlabel="step", ylabel="nats", title="implicit: a game, no curve tells how good it is")
nats.legend(fontsize=8)
game.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, f"00_tour_{args.data}.png", args.show))

# %% The promise of this lesson
limit = {"glyphs": 45.0, "mnist": 95.0}[args.data]
assert args.quick or args.steps or rows[0][3] <= limit, f"MADE: {rows[0][3]} nats, over {limit}"
assert args.quick or args.steps or world or rows[1][3] <= 90, f"VAE: {rows[1][3]} nats, over 90"
assert not world or rows[0][3] >= floor - 0.5, "below the floor: a leak, not a model"

# What we left out: how gradients are found (lessons 05 to 09), why each objective is what it is
# (14, 24, 28), better members of each branch, and cures for mode collapse (30).
