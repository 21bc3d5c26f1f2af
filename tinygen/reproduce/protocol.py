"""What every experiment is given, and how its number is judged."""
import argparse
import math
import os
import re
import time

import numpy as np

from ..commands import one_sentence
from ..datasets.batches import Endless
from ..engine import backend
from ..engine.backend import to_numpy
from ..evaluation import mean_and_error
from ..training import Progress, fit

EXPERIMENTS = {}


def above_floor(world, log_p, x, batch_size=500):
    """(mean, standard error) of ln p_data(x) - log_p(x) over examples x of the world, nats: where
    log_p is a density or a bound of one, at least KL(p_data || p_theta) on average, so not below 0
    """
    def difference(x):
        return world.log_prob(to_numpy(x)) - to_numpy(log_p(x))
    return mean_and_error(difference, x, batch_size)


def impossible(distance, error):
    """Whether a distance that cannot be below 0 is so by more than three standard errors."""
    return distance < -3 * error


def nll(log_prob, x, batch_size=500):
    """-mean log_prob, a density or a bound of one, over examples x: nats per example"""
    return -mean_and_error(log_prob, x, batch_size)[0]


def drawn(sample, batch_size, rng):
    """Endless batches sample(batch_size, rng), each drawn afresh"""
    room = np.zeros(64 * batch_size)                # for as many processes, each with its part
    return Endless(room, batch_size, rng, transform=lambda x, rng: sample(len(x), rng))


class Experiment:
    """A function of a Run that gives the number to compare, or that and its standard error where it
    is a distance from the floor; its docstring is the protocol."""

    def __init__(self, f, published, tolerance, unit, word):
        self.f, self.published, self.tolerance, self.unit = f, published, tolerance, unit
        self.protocol = " ".join(f.__doc__.split())
        self.target = f"{word} {published} ± {tolerance}" if tolerance else f"{word} {published}"

    def verdict(self, result, error=math.inf):
        """Lower is better: a result below the published number is no failure, but one below the
        floor is, as no model can be better than the truth."""
        if impossible(result, error):
            return "below the floor, where nothing can be: its density or bound is wrong"
        return "ok" if result <= self.published + self.tolerance else "short"


def experiment(name, published, tolerance=0.0, unit="nats", word="published"):
    """Registers a function of (run) under a name. `word` says what the number is: "published", or
    "at most" where it is a bound of our own."""
    def register(f):
        EXPERIMENTS[name] = Experiment(f, published, tolerance, unit, word)
        return f
    return register


class Run:
    """What an experiment is given: the seed, where to save, and fit with a printed curve."""

    def __init__(self, name, seed, quick, out):
        kind = "-quick" if quick else ""
        self.seed, self.quick = seed, quick
        self.checkpoint = os.path.join(out, f"{name}-seed{seed}{kind}.npz")
        self.rng = np.random.default_rng(seed)

    def fit(self, model, batches, steps, goals, evaluate, every, unit="nats", clip=None):
        """Trains, printing evaluate() every so many steps; with --quick only 20 steps. Resumes from
        the checkpoint of an earlier run."""
        steps = 20 if self.quick else steps
        start = time.perf_counter()

        def show(step):
            print(f"step {step:6d}  {evaluate():8.3f} {unit}  {time.perf_counter() - start:6.0f} s",
                  flush=True)
        return fit(model, batches, steps, goals, clip=clip, checkpoint=self.checkpoint,
                   every=every, report=Progress(type(model).__name__, unit), evaluate=show)


def shown(number):
    """Four digits, and two decimals where the four would not reach behind the point: 83.63, 1366.93
    """
    return f"{number:.2f}" if abs(number) >= 1000 else f"{number:.4g}"


def _instead(name):
    """What an unknown name can be replaced by: P4 is P4-dna and P4-mushrooms."""
    parts = [own for own in EXPERIMENTS if own.startswith(f"{name}-")]
    if parts:
        return f"it is split into {', '.join(parts)}"
    if re.fullmatch(r"C\d+", str(name)):
        return "closed forms other than C2 need no experiment: `python -m pytest tests` holds them"
    return f"choose from {', '.join(EXPERIMENTS)}"


def main():
    parser = argparse.ArgumentParser(prog="python -m tinygen.reproduce",
                                     description="trains a model by a published protocol and "
                                                 "compares the number")
    parser.add_argument("name", nargs="?", help="which experiment")
    parser.add_argument("--list", action="store_true", help="name them all")
    parser.add_argument("--quick", action="store_true", help="a few steps, no verdict")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="out", metavar="DIR", help="where the checkpoint goes")
    args = parser.parse_args()
    if args.list:
        for name, e in EXPERIMENTS.items():
            print(f"{name}: {e.target} {e.unit}: {e.protocol}")
        return 0
    if args.name not in EXPERIMENTS:
        parser.error(f"no experiment {args.name!r}; {_instead(args.name)}")
    if args.seed < 0:
        parser.error(f"--seed {args.seed}: needs 0 or more")
    e = EXPERIMENTS[args.name]
    print(f"{args.name}: {e.protocol}\nseed {args.seed}")
    backend.seed(args.seed)
    with one_sentence("reproduce"):
        result = e.f(Run(args.name, args.seed, args.quick, args.out))
    result = result if isinstance(result, tuple) else (result,)
    verdict = "quick run, no verdict" if args.quick else e.verdict(*result)
    print(f"{args.name}: {shown(result[0])} {e.unit} ({e.target}): {verdict}")
    return 0 if verdict == "ok" or args.quick else 1
