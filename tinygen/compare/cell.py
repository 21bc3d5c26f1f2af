"""One cell of the table: a model, a world and a seed, trained and measured."""
import time

import numpy as np

from ..engine import backend
from ..engine.backend import to_numpy
from ..evaluation import bits_per_dim, in_batches, linear_probe
from ..samples import auroc
from .clock import Clock
from .contenders import CONTENDERS
from .worlds import WORLDS


def measure(world_name, model_name, seed, seconds=None, steps=None, quick=False):
    """(row, samples): what the table says of one model, nats per example. A number that there is
    not is None."""
    backend.seed(seed)
    world, contender = WORLDS[world_name](quick), CONTENDERS[world_name][model_name]
    start, clock = time.process_time(), Clock(seconds, steps)
    model, kind, log_p, features = contender(world, clock)
    trained = time.process_time() - start
    row = {"world": world_name, "key": model_name, "seed": seed, "branch": model.branch,
           "model": contender.__doc__, "parameters": size(model), "kind": kind,
           "train s": trained, "steps": clock.done}
    if log_p:
        known, strange = (in_batches(log_p, x, 100).astype("float64")
                          for x in (world.test, world.strange))
        row["nats"] = -float(known.mean())
        row["bits/dim"] = bits_per_dim(row["nats"], world.dims)
        row["AUROC"] = auroc(known, strange)
        if world.source:
            row["KL"] = float((world.log_p_data(world.test) - known).mean())
    start = time.process_time()
    samples = to_numpy(model.sample(world.samples))
    row["s per 1000"] = 1000 * (time.process_time() - start) / world.samples
    samples = np.round(np.clip(samples, 0, 1)) if world.side else samples
    row |= world.judged(samples)
    row["probes"] = probes(world, features) if features else {}
    return row, samples


def size(model):
    """How many numbers the model learned: its parameters, or its tables"""
    own = model.parameters() or [t for t in getattr(model, "named_tensors", dict)().values()]
    return sum(t.size for t in own)


def probes(world, features):
    """{factor: % of test examples whose factor a linear layer reads off features(x)}"""
    x, factors = world.probed
    z, z_test = (in_batches(features, a, 100) for a in (x, world.test))
    return {name: 100 * linear_probe(z, factors[name], z_test, world.factors[name])
            for name in factors}
