"""Normalizing flows: Gaussians on MNIST in closed form, and points in the plane."""
import math

import numpy as np

from .. import evaluation
from ..datasets.known import SHAPES, Mixture2D
from ..datasets.mnist import load_mnist
from ..engine.backend import to_numpy, xp
from ..engine.elementwise import sin
from ..engine.reductions import logsumexp
from ..engine.shaping import stack
from ..models.tractable.autoregressive_flow import Autoregressive, MixtureMADE
from ..models.tractable.coupling_flow import coupling_flow
from ..models.tractable.flow import ActNorm, Flow, gaussian
from ..models.tractable.image_flow import Logit
from ..nn import Module
from ..optim import Adam, cosine
from ..training import save_arrays
from .protocol import above_floor, drawn, experiment, impossible


# --- Gaussians on MNIST ---------------------------------------------------------------------------

def logit_mnist(every):
    """(train, its labels, test): logits (N, 784) of grey values with noise, float64; of the first
    50,000 training pictures, and of the test, each `every`-th. One generator gives the noise of all
    70,000, in their order: those to train, then 10,000 to validate, then the test."""
    mnist, noise = load_mnist(report=print), np.random.RandomState(42)

    def continuous(images):
        x = images.reshape(len(images), -1)[::every] + noise.rand(len(images), 784)[::every]
        return to_numpy(Logit(1e-6)(xp.asarray(x / 256))[0])
    train = continuous(mnist.train_images[:50_000])
    noise.rand(10_000, 784)
    return train, mnist.train_labels[:50_000:every], continuous(mnist.test_images)


class ClassGaussians(Module):
    """p(x) = sum over the classes c of p(x | c) / (number of classes), each p(x | c) a Gaussian"""

    def __init__(self, x, labels):
        self.flows = [gaussian(x[labels == c]) for c in np.unique(labels)]

    def log_prob(self, x):
        terms = stack([flow.log_prob(x) for flow in self.flows])
        return logsumexp(terms, axis=0) - math.log(len(self.flows))


def judge(run, model, test):
    """-mean ln p of the test pictures, nats; saves the model."""
    save_arrays(run.checkpoint, model.state_dict(), {})
    mean, error = evaluation.mean_and_error(model.log_prob, test)
    print(f"test log-likelihood {mean:.2f} ± {2 * error:.2f} nats (two standard errors)")
    return -mean


@experiment("C2", published=1366.9, tolerance=1.4)
def gaussian_on_mnist(run):
    """One Gaussian with a full covariance, of largest likelihood on the first 50,000 training
    pictures (every 5th with --quick): an affine flow in closed form. Pixels are logits of
    (k + u) / 256, alpha 1e-6, u from numpy.random.RandomState(42); minus the test log-likelihood,
    nats per image, the density being that of the logits. Papamakarios et al. 2017, table 2: a
    log-likelihood of -1366.9."""
    train, _, test = logit_mnist(5 if run.quick else 1)
    return judge(run, gaussian(train), test)


@experiment("C2-classes", published=1344.7, tolerance=1.8)
def class_gaussians_on_mnist(run):
    """As C2 with one Gaussian for each of the ten digits, each digit weighing 1/10 in p(x).
    Papamakarios et al. 2017, table 2: a log-likelihood of -1344.7."""
    train, labels, test = logit_mnist(5 if run.quick else 1)
    return judge(run, ClassGaussians(train, labels), test)


# --- points in the plane --------------------------------------------------------------------------

class Flows(Module):
    """Flows by name, trained side by side on worlds of their own."""

    def __init__(self, flows):
        self.flows = flows


def maf_mog():
    base = MixtureMADE(2, 40, (64, 64), activation=sin, frequency=20)
    return Flow(2, [ActNorm(2), Autoregressive(2, order=[1, 0])], base)


@experiment("P12", published=0.04, word="at most", unit="nats above the entropy")
def flows_on_mixtures(run):
    """MAF MoG (ActNorm, one autoregressive bijection, a base of 40 Gaussians in each conditional,
    made by sin layers of 64 and 64 units, frequency 20) on each world of Mixture2D, batches of 500
    drawn afresh, 6000 steps of Adam, 5e-3 falling to 0 along a cosine; KL(p_data || p_theta) = nll
    - entropy, the mean of ln p_data - ln p_theta over 20,000 fresh points, of the worst of the
    five. The target is MAF MoG's alone. Printed beside it, and not judged: RealNVP of 8 affine
    couplings (ReLU 64, 64), trained alike, whose worst world (the grid) is 4.85 above."""
    worlds, steps = [Mixture2D(name) for name in SHAPES], 6000
    makers = {"MAF MoG": maf_mog, "RealNVP": lambda: coupling_flow(2)}
    model = Flows({kind: [make() for _ in worlds] for kind, make in makers.items()})
    batches = drawn(lambda n, rng: np.stack([world.sample(n, rng) for world in worlds], axis=1),
                    500, run.rng)                                                   # (B, 5, 2)
    test = [world.sample(500 if run.quick else 20_000, np.random.default_rng([run.seed, 1]))
            for world in worlds]

    def distance(flow, i):
        """(KL(p_data || p_theta) on world i, nats, its standard error)"""
        return above_floor(worlds[i], flow.log_prob, test[i])
    goals = [(f"{kind} {world.name}", lambda x, flow=flow, i=i: flow.loss(x[:, i]),
              Adam(flow.parameters(), cosine(5e-3, steps, warmup=100)))
             for kind, flows in model.flows.items()
             for i, (world, flow) in enumerate(zip(worlds, flows))]
    run.fit(model, batches, steps, goals, every=1000, evaluate=lambda: max(
        distance(flow, i)[0] for i, flow in enumerate(model.flows["MAF MoG"])))
    found = [[distance(flows[i], i) for flows in model.flows.values()] for i in range(len(worlds))]
    print(evaluation.table(["world", "entropy, nats", *(f"KL of {kind}" for kind in makers)],
                           [[world.name, world.entropy()[0], *(f"{kl:.4f}" for kl, _ in kls)]
                            for world, kls in zip(worlds, found)]))
    of_maf = [kls[0] for kls in found]
    return max(of_maf, key=lambda kl: math.inf if impossible(*kl) else kl[0])
