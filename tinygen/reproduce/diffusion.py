"""Diffusion on worlds whose density is known: how far below it the bound stays, and the samples."""
import math

import numpy as np

from ..datasets.batches import Endless
from ..datasets.known import Mixture2D
from ..engine.backend import to_numpy
from ..evaluation import mean_and_error
from ..models.approximate.diffusion import Diffusion, straight
from ..nn import MLPDenoiser
from ..optim import EMA, Adam, cosine
from ..samples import modes_found
from ..training import Progress
from .protocol import above_floor, experiment

BELOW = "nats below the exact log-likelihood"


def on_the_plane(run, name, first, steps=10_000):
    """Trains on points drawn afresh, prints what samples are like, and gives how far the bound, all
    T terms of it, is below ln p_data on fresh points, and its error; inf where samples miss a mode,
    or less than 95 % of them are within 3 sigma of one."""
    world, n = Mixture2D(name), 100 if run.quick else 4000
    scale = float(world.sample(10_000, run.rng).std())
    schedule = straight(20 if run.quick else 1000, first, -9.0)
    model = Diffusion(MLPDenoiser(2), 2, schedule, scale=scale)
    batches = Endless(np.zeros((512, 2), "float32"), 512, run.rng,
                      transform=lambda x, rng: world.sample(len(x), rng))
    test = world.sample(n, np.random.default_rng([run.seed, 1]))
    ema = EMA(Adam(model.parameters(), cosine(2e-3, steps, warmup=100)), 0.999)

    def rough():
        with ema.averaged():
            return -mean_and_error(lambda x: model.elbo(x, draws=100), test[:1000])[0]
    run.fit(model, batches, steps, [("-elbo", model.loss, ema)], rough, every=1000)
    with ema.averaged():
        x = to_numpy(model.sample(n, report=Progress("sampling")))
        distance, error = above_floor(world, model.elbo, test)
    found, share = modes_found(world, x)
    print(f"{n} samples: {found} of {world.K} modes found, {share:.2%} within 3 sigma (of true "
          f"samples {world.within(test).mean():.2%})\n{distance:.3f} ± {error:.3f} {BELOW}")
    return distance if found == world.K and share >= 0.95 else math.inf, error


@experiment("ring-diffusion", published=0.1, word="at most", unit=BELOW)
def diffusion_on_the_ring(run):
    """Diffusion of 1000 steps on the ring of 8 (s = .01), v-prediction by an MLP of 4 x 256 SiLU
    with Fourier features, log-SNR from 11 (noise of .3 s) to -9 on a straight line; 10,000 steps of
    Adam on fresh batches of 512, one t each, 2e-3 falling to 0 along a cosine; the weights'
    averages (.999), scored by all 1000 terms on 4000 fresh points."""
    return on_the_plane(run, "ring", first=11.0)


@experiment("moons-diffusion", published=0.1, word="at most", unit=BELOW)
def diffusion_on_two_moons(run):
    """As ring-diffusion, on two moons (s = .1) with log-SNR from 7 (noise of .3 s) and 4000 steps
    of Adam."""
    return on_the_plane(run, "moons", first=7.0, steps=4000)


@experiment("grid-diffusion", published=0.1, word="at most", unit=BELOW)
def diffusion_on_the_grid(run):
    """As ring-diffusion, on the grid of 25 (s = .05) with log-SNR from 10.5 (noise of .3 s)."""
    return on_the_plane(run, "grid", first=10.5)
