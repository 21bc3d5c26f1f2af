"""GANs, judged by their samples: modes of mixtures in the plane, templates of Glyphs, and the 1000
modes of stacked MNIST."""
import functools
import math
import os

import numpy as np

from .. import evaluation, samples
from ..datasets.batches import Endless
from ..datasets.known import Glyphs, Mixture2D
from ..datasets.mnist import load_mnist
from ..engine import backend
from ..engine.backend import to_numpy, xp
from ..engine.tensor import Tensor
from ..models.implicit.architectures import (bits, dcgan_critic, dcgan_generator, leaky,
                                             wave_critic)
from ..models.implicit.gan import GAN, InfoGAN
from ..models.implicit.objectives import WeightClipping, diagnose, r1_penalty
from ..nn import BatchNorm1d, Linear, Sequential, mlp
from ..optim import EMA, Adam, cosine
from ..training import fit, load_arrays, save_arrays
from .protocol import drawn, experiment


def players(model, steps, lr, critic_lr=None, betas=(0.5, 0.9), decay=0.99, limit=None):
    """The goals of both players, for fit: Adam, cosine, and an EMA of the generator's weights.
    limit: the critic's weights are clipped to it."""
    critic = Adam(model.critic.parameters(), cosine(critic_lr or lr, steps), betas)
    critic = WeightClipping(critic, limit) if limit else critic
    own = model.players() if isinstance(model, InfoGAN) else model.generator.parameters()
    generator = EMA(Adam(own, cosine(lr, steps), betas), decay)
    return [("critic", model.critic_loss, critic),
            ("generator", lambda x: model.generator_loss(len(x)), generator)]


def averaged_samples(model, goals, n):
    """n samples of the generator with averaged weights, on the host"""
    with goals[1][2].averaged():
        return np.concatenate([to_numpy(model.sample(min(1000, n - i))) for i in range(0, n, 1000)])


# --- points in the plane --------------------------------------------------------------------------

HIDDEN = (128, 128, 128)


def plain_or_packed(pack):
    """A GAN of points whose critic sees detail, and is hardly held back"""
    return GAN(2, latent=2, hidden=HIDDEN, output=None, pack=pack,
               penalty=functools.partial(r1_penalty, weight=0.03),
               critic=wave_critic(2, HIDDEN, octaves=3, pack=pack))


def points(run, shape, seed, model, steps, **playing):
    """(modes found, share within 3 sigma) among 2500 samples of a GAN trained on a Mixture2D, with
    one line of diagnosis: batches of 256, Adam 1e-3 cosine, betas (.5, .9). model: a function
    that makes one; `playing` goes to players"""
    backend.seed(seed)
    world, rng, model = Mixture2D(shape), np.random.default_rng(seed), model()
    goals = players(model, steps, 1e-3, **playing)
    fit(model, Endless(world.sample(100_000, rng), 256, rng), 20 if run.quick else steps, goals)
    found, share = samples.modes_found(world, averaged_samples(model, goals, 2500))
    print(f"{shape}, seed {seed}, pack {model.pack}: {found} of {world.K} modes, {100 * share:.1f} "
          f"% within 3 sigma; {diagnose(model, world.sample(512, rng))}", flush=True)
    return found, share


def over_seeds(run, jobs, seeds=5):
    """{name: modes and shares (n, 2)} of the jobs, each a function of a seed, for each of
    `seeds`. What is done is kept in the checkpoint, from which a stopped experiment goes on."""
    n = 1 if run.quick else seeds
    done = load_arrays(run.checkpoint)[0] if os.path.exists(run.checkpoint) else {}
    for i in range(n):
        for name, job in jobs.items():
            if f"{name}/{i}" not in done:
                done[f"{name}/{i}"] = np.array(job(run.seed + i), dtype="float64")
                save_arrays(run.checkpoint, done, {})
    found = {name: np.stack([done[f"{name}/{i}"] for i in range(n)]) for name in jobs}
    print(evaluation.table(["", "modes", "+-", "% within 3 sigma", "least seed's"], [
        [name, *map(float, (a[:, 0].mean(), a[:, 0].std(), 100 * a[:, 1].mean(),
                            100 * a[:, 1].min()))] for name, a in found.items()] + [
        ["a perfect sampler", None, None, 100 * (1 - math.exp(-4.5)), None]]))
    return found


@experiment("P11", published=-0.2, word="at most",
            unit="modes that plain finds more than packed, on the grid")
def packed_against_plain(run):
    """Plain GAN and packed GAN (two samples per critic input) on the grid of 25, spacing 2, s =
    .05: how many modes 2500 samples find, plain less packed, the mean over 5 seeds. Lin et al.
    2018, table 1: 17.3 - 23.8 = -6.5. Non-saturating loss, R1 with weight .03, MLPs 128-128-128,
    the critic's on three octaves of waves, batches of 256, 2000 steps of Adam 1e-3 cosine; the
    source has MLPs of 400-400 and of 200 maxout units, 400 epochs. Without the waves the critic
    sees no detail of s / spacing = 1/40 in so few steps, and samples so blurred find all modes."""
    found = over_seeds(run, {
        "plain": lambda seed: points(run, "grid", seed, lambda: plain_or_packed(1), 2000),
        "packed": lambda seed: points(run, "grid", seed, lambda: plain_or_packed(2), 2000)})
    return float(found["plain"][:, 0].mean() - found["packed"][:, 0].mean())


def beyond(found, least):
    """% of samples beyond 3 sigma, the mean over seeds; 100 where a seed found too few modes"""
    return float(100 * (1 - found[:, 1].mean())) if found[:, 0].min() >= least else 100.0


@experiment("P11-ring", published=10, word="at most", unit="% beyond 3 sigma (100: modes missing)")
def ring(run):
    """GAN on the ring of 8, radius 1, s = .01: non-saturating loss, MLPs 128-128-128, batches of
    256, 4000 steps of Adam 1e-3 cosine, averaged weights; 5 seeds, each to find 8 of 8. The number
    is the share of 2500 samples beyond 3 sigma of every mode; a perfect sampler's is 1.1."""
    found = over_seeds(run, {"ring": lambda seed: points(
        run, "ring", seed, lambda: GAN(2, 2, HIDDEN, output=None), 4000, decay=0.995)})
    return beyond(found["ring"], least=8)


@experiment("P11-grid", published=10, word="at most", unit="% beyond 3 sigma (100: modes missing)")
def grid(run):
    """InfoGAN on the grid of 25, spacing 2, s = .05: as P11-ring, but beside z the generator has a
    code of 64 kinds, which a third network reads from its samples (weight .2), so that neighbours
    in z need not be neighbours in x; the networks' unit is 2; 7000 steps. 5 seeds, each to find at
    least 24 of 25."""
    def model():
        return InfoGAN(2, 64, 2, HIDDEN, weight=0.2, output=lambda x: 2 * x, critic=Sequential(
            lambda x: 0.5 * x, mlp((2, *HIDDEN, 1), leaky)))
    found = over_seeds(run, {"grid": lambda seed: points(run, "grid", seed, model, 7000,
                                                         decay=0.995)})
    return beyond(found["grid"], least=24)


# --- pictures whose density is known --------------------------------------------------------------

def judge(world, y, real):
    """(nats by which the mean ln p_data of samples y is off that of real ones; templates that y
    finds over those that as many true samples find on average), and both in one printed line"""
    nats, true = float(world.log_prob(y).mean()), float(world.log_prob(real).mean())
    found = len(world.modes_found(y))
    expected = samples.expected_modes(np.exp(world.log_prior), len(y))
    print(f"{len(y)} samples: ln p_data {nats:.2f} nats (real: {true:.2f}), {found} templates "
          f"(expected of true samples: {expected:.0f})", flush=True)
    return abs(nats - true), found / expected


class CodeGAN(GAN):
    """z is one of `latent` kinds, drawn evenly, times sqrt(kinds): there is no path in z between
    two kinds, so no sample need lie between two templates."""

    def latents(self, n):
        kinds = xp.asarray(backend.host_rng().integers(self.latent, size=n))
        return math.sqrt(self.latent) * xp.eye(self.latent, dtype="float32")[kinds]


def likelier(logits):
    """x = 1 where l > 0, else 0: bits(logits) thresholded, without its draw and its gradient"""
    return Tensor((logits.data > 0).astype(logits.dtype))


def flipped(logits, eps=Glyphs().eps, template=bits):
    """template(logits) with each pixel flipped with chance eps, as Glyphs' own are: what is left to
    learn is the template."""
    flips = (backend.uniform(logits.shape, logits.dtype) < eps).astype(logits.dtype)
    return template(logits) * (1 - 2 * flips) + flips


def code_generator(kinds, hidden, D):
    """An MLP with batch normalisation.   (n, kinds) -> (n, D)"""
    return Sequential(Linear(kinds, hidden), BatchNorm1d(hidden), leaky,
                      Linear(hidden, hidden), BatchNorm1d(hidden), leaky, Linear(hidden, D))


@experiment("glyphs-gan", published=8.0, word="at most", unit="nats from real ln p_data")
def gan_on_glyphs(run):
    """GAN on Glyphs(16) whose z is one of 2048 kinds: MLP 2048-512-512-256 with batch
    normalisation, pictures binary on both sides (straight-through), flipped with the world's own
    eps after; critic MLP 256-512-512-1, R1 of weight .2, each batch of 64 drawn afresh, 8000 steps
    of Adam 1e-3 cosine, betas (0, .99), averaged weights. By how many nats the mean ln p_data of
    2000 samples, thresholded before the flips, is off that of real glyphs; inf where they find less
    than 90 % of the templates that true samples would. Also printed: the same as drawn in training,
    distances to fresh glyphs, an MMD test, and how samples stand in a digit classifier's
    features."""
    world, steps, n = Glyphs(), 8000, 100 if run.quick else 2000
    kinds, hidden = (16, 16) if run.quick else (2048, 512)
    model = CodeGAN(256, latent=kinds, output=flipped,
                    generator=code_generator(kinds, hidden, 256),
                    critic=mlp((256, hidden, hidden, 1), leaky),
                    penalty=functools.partial(r1_penalty, weight=0.2))
    batches = drawn(world.sample, 16 if run.quick else 64, run.rng)
    goals = players(model, steps, 1e-3, betas=(0.0, 0.99))
    real = world.sample(n, np.random.default_rng([run.seed, 1]))

    def off():
        nats, share = judge(world, averaged_samples(model, goals, n).round(), real)
        return nats if share >= 0.9 else math.inf
    run.fit(model, batches, steps, goals, off, every=steps // 8)
    print(diagnose(model, real[:500]))
    off()
    print("thresholded:")
    model.output = functools.partial(flipped, template=likelier)
    y = averaged_samples(model, goals, n).round()
    beside_fresh(world, y, real, run.rng)
    in_features(glyph_classifier(world, run), real, world.sample(n, run.rng), y)
    return off()


def beside_fresh(world, y, real, rng):
    """Prints how far samples y and real examples are from as many fresh ones. Of copies nothing can
    be said: training draws every glyph once, so there is nothing to learn by heart."""
    fresh = world.sample(len(y), rng)
    d = samples.nearest(y, fresh)[1] ** 2, samples.nearest(real, fresh)[1] ** 2
    print(f"pixels off the nearest of {len(fresh)} fresh glyphs (training repeats none): samples "
          f"{d[0].mean():.1f}, other glyphs {d[1].mean():.1f}; MMD test of samples against these: "
          f"p = {samples.mmd_test(y[:500], real[:500], rng)[1]:.3f}")


def glyph_classifier(world, run):
    """An MLP 256-256-64-10 that reads the digit of a glyph: 1500 steps on 20,000 of them"""
    x, factors = world.sample(500 if run.quick else 20_000, run.rng, return_factors=True)
    return samples.train_classifier(x, factors["digit"], 20 if run.quick else 1500, rng=run.rng)


def in_features(classifier, real, other, y):
    """Prints Frechet distance, precision and recall of samples y, and of other real examples: the
    floor."""
    for name, x in ("real against real", other), ("real against samples", y):
        print(f"{name}: " + ", ".join(
            f"{measure} {value:.3f}" for measure, value in samples.compare(
                classifier, real, x).items()), flush=True)


# --- a thousand modes: three digits in the channels of one picture --------------------------------

def stack(x, pool, rng):
    """x and two more pictures of the pool, as channels: (B, H, W) -> (B, 3 H W) in [0, 1]"""
    others = pool[rng.integers(len(pool), size=(2, len(x)))]
    return np.stack([x, *others], axis=1).reshape(len(x), -1).astype("float32") / 255


def digits_classifier(run, mnist, checkpoint=None):
    """An MLP that reads one digit, by which the modes of stacked pictures are counted."""
    return samples.train_classifier(
        mnist.train_images, mnist.train_labels, 20 if run.quick else 6000, rng=run.rng,
        transform=lambda x, rng: x.astype("float32") / 255, checkpoint=checkpoint)


def modes_missing(digits):
    """How many of the 1000 triples of digits are not among those of samples (n, 3); also prints the
    reverse KL of their counts beside its bias."""
    counts = np.bincount(digits @ (100, 10, 1), minlength=1000)
    kl, bias = samples.reverse_kl(counts, np.full(1000, 1e-3))
    print(f"reverse KL {kl:.3f} nats, {bias:.3f} of it bias")
    return int((counts == 0).sum())


def modes_left(run, model, batches, steps, goals, real, read):
    """How many modes 26,000 samples miss after training; read: pictures (n, D) -> digits (n,)"""
    n = 300 if run.quick else 26_000

    def missing():
        digits = read(averaged_samples(model, goals, n).reshape(3 * n, -1))
        return modes_missing(digits.reshape(-1, 3))
    run.fit(model, batches, steps, goals, missing, every=steps // 4, unit="of 1000 modes missing")
    print(diagnose(model, real))
    return missing()


@experiment("stacked-glyphs", published=50, word="at most", unit="of 1000 modes missing")
def stacked_glyphs(run, pack=2):
    """DCGAN whose critic sees two samples at once, on triples of Glyphs(16), one a channel:
    generator of 48-24-3 channels with batch normalisation, pixels binary (straight-through), critic
    of 8-16 channels without; batches of 64 fresh triples, 800 steps of Adam 1e-3 cosine, betas (.5,
    .99), averaged weights; 26,000 samples, each channel the digit of its nearest template. Longer,
    at this rate, it collapses: the curve shows the best of it."""
    world, steps = Glyphs(), 800
    model = GAN(3 * 256, latent=100, pack=pack, output=bits,
                generator=dcgan_generator(100, 16, 3, width=4 if run.quick else 24),
                critic=dcgan_critic(16, 3, width=8, pack=pack))

    def triples(n, rng):
        return world.sample(3 * n, rng).reshape(n, -1)
    batches = drawn(triples, 8 if run.quick else 64, run.rng)
    goals = players(model, steps, 1e-3, betas=(0.5, 0.99))
    return modes_left(run, model, batches, steps, goals, triples(64, run.rng),
                      lambda x: world.factors["digit"][world.nearest_template(x)])


@experiment("stacked-glyphs-plain", published=1000, word="at most", unit="of 1000 modes missing")
def plain_on_stacked_glyphs(run):
    """As stacked-glyphs, but the critic sees one sample at a time; to be held beside it."""
    return stacked_glyphs(run, pack=1)


def flat(images):
    return images.reshape(len(images), -1).astype("float32") / 255


@experiment("G6-features", published=2.5, word="at most", unit="% of test digits misread")
def classifier_on_mnist(run):
    """The classifier in whose features samples of MNIST are judged: MLP 784-256-64-10, 6000 steps
    of Adam 2e-3 cosine on batches of 100. Prints Frechet distance, precision and recall between
    test and training pictures, the floor, and between test pictures and samples of a small DCGAN:
    32-16-1 channels, critic 8-16, R1 of weight .2, 1500 steps of Adam 1e-3 on batches of 64."""
    mnist = load_mnist(report=print)
    model = digits_classifier(run, mnist, run.checkpoint)
    gan = GAN(784, 100, generator=dcgan_generator(100, 28, width=4 if run.quick else 16),
              critic=dcgan_critic(28, width=8), penalty=functools.partial(r1_penalty, weight=0.2))
    steps, n = (20, 200) if run.quick else (1500, 5000)
    goals = players(gan, steps, 1e-3, betas=(0.5, 0.99))
    fit(gan, Endless(mnist.train_images, 64, run.rng, transform=lambda x, rng: flat(x)), steps,
        goals)
    print(diagnose(gan, flat(mnist.test_images[:500])))
    in_features(model, flat(mnist.test_images[:n]), flat(mnist.train_images[:n]),
                averaged_samples(gan, goals, n))
    return 100 * float((model.labels(flat(mnist.test_images)) != mnist.test_labels).mean())


@experiment("G6", published=10, word="at most", unit="of 1000 modes missing")
def stacked_mnist(run, pack=2):
    """DCGAN whose critic sees two samples at once, on stacked MNIST: pictures of three random
    digits, one a channel. Generator of 128-64-3 channels with batch normalisation, critic of 8-16
    channels without; batches of 64, 50,000 steps of Adam 2e-4, betas (.5, .99); 26,000 samples of
    the averaged generator, whose modes a classifier of single digits counts. For a GPU. Lin et al.
    2018, table 2: plain 99 modes, packed 1000, with an embedding of 100 and 4 layers in each
    network. Also printed: the reverse KL of the counts beside its bias."""
    mnist = load_mnist(report=print)
    classifier = digits_classifier(run, mnist)
    steps = 50_000
    model = GAN(3 * 784, latent=100, pack=pack,
                generator=dcgan_generator(100, 28, 3, width=4 if run.quick else 64),
                critic=dcgan_critic(28, 3, width=8, pack=pack))
    batches = Endless(mnist.train_images, 8 if run.quick else 64, run.rng,
                      transform=lambda x, rng: stack(x, mnist.train_images, rng))
    goals = players(model, steps, 2e-4, betas=(0.5, 0.99), decay=0.999)
    real = stack(mnist.train_images[:64], mnist.train_images, run.rng)
    return modes_left(run, model, batches, steps, goals, real, classifier.labels)


@experiment("G6-plain", published=901, word="published", unit="of 1000 modes missing")
def plain_on_stacked_mnist(run):
    """As G6, but the critic sees one sample at a time: the collapse that packing is to cure. A
    result below the published number means that this GAN collapses less than its source's did."""
    return stacked_mnist(run, pack=1)
