"""python -m tinygen.reproduce P5: trains a model by a published protocol and compares the number.

Prints the protocol, the seed, the curve and the result beside the published value, saves the
checkpoint, and exits with 0 if the result is within its tolerance, 1 if it falls short.
`--list` names the experiments, `--quick` runs a few steps of one, to see that it works.
"""
import argparse
import os
import sys
import time

import numpy as np

from . import evaluation
from .commands import one_sentence
from .datasets.batches import Endless
from .datasets.mnist import load_mnist, thresholded
from .engine import backend
from .models.tractable.made import MADE
from .optim import Adam
from .training import Progress, fit

EXPERIMENTS = {}


def experiment(name, published, tolerance):
    """Registers a function of (run) that gives the number to compare, in nats per example."""
    def register(f):
        EXPERIMENTS[name] = f, published, tolerance
        return f
    return register


class Run:
    """What an experiment is given: the seed, where to save, and fit with a printed curve."""

    def __init__(self, name, seed, quick, out):
        self.seed, self.quick, self.checkpoint = seed, quick, os.path.join(out, f"{name}.npz")
        self.rng = np.random.default_rng(seed)

    def fit(self, model, batches, steps, goals, evaluate, every):
        """Trains and prints evaluate() every so many steps; with --quick only 20 steps."""
        steps = 20 if self.quick else steps
        start = time.perf_counter()

        def show(step):
            print(f"step {step:6d}  {evaluate():8.2f} nats  {time.perf_counter() - start:6.0f} s",
                  flush=True)
        fit(model, batches, steps, goals, checkpoint=self.checkpoint, every=every,
            report=Progress(type(model).__name__), evaluate=show)


@experiment("P5", published=86.7, tolerance=1.0)
def made_on_mnist(run):
    """MADE [512, 512], natural order, thresholded MNIST (x > 0.5), Adam 1e-3, batch 128, 20 epochs;
    test nats per image."""
    mnist = load_mnist(report=print)
    test = thresholded(mnist.test_images[:500 if run.quick else None])
    model = MADE(784, hidden=(512, 512))
    batches = Endless(mnist.train_images, 128, run.rng, transform=lambda x, rng: thresholded(x))
    epoch = len(mnist.train_images) // 128

    def nats():
        return -evaluation.mean_and_error(model.log_prob, test)[0]
    run.fit(model, batches, 20 * epoch, [("nll", model.loss, Adam(model.parameters(), 1e-3))],
            nats, every=2 * epoch)
    return nats()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="which experiment")
    parser.add_argument("--list", action="store_true", help="name them all")
    parser.add_argument("--quick", action="store_true", help="a few steps, no verdict")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="out", metavar="DIR", help="where the checkpoint goes")
    args = parser.parse_args()
    if args.list:
        for name, (f, published, tolerance) in EXPERIMENTS.items():
            print(f"{name}: {published} ± {tolerance} nats: {' '.join(f.__doc__.split())}")
        return 0
    if args.name not in EXPERIMENTS:
        parser.error(f"no experiment {args.name!r}; choose from {', '.join(EXPERIMENTS)}")
    f, published, tolerance = EXPERIMENTS[args.name]
    print(f"{args.name}: {' '.join(f.__doc__.split())}\nseed {args.seed}")
    backend.seed(args.seed)
    with one_sentence("reproduce"):
        result = f(Run(args.name, args.seed, args.quick, args.out))
    ok = result <= published + tolerance
    verdict = "quick run, no verdict" if args.quick else "ok" if ok else "short"
    print(f"{args.name}: {result:.2f} nats (published {published} ± {tolerance}): {verdict}")
    return 0 if ok or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
