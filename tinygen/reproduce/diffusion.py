"""Diffusion on worlds whose density is known: how far below it the bound stays, and the samples."""
import math

import numpy as np

from ..datasets.known import Glyphs, Mixture2D
from ..engine.backend import to_numpy, xp
from ..evaluation import bits_per_dim, table
from ..models.approximate.diffusion import Diffusion, DiscreteDiffusion, straight
from ..nn import ImageDenoiser, MLPDenoiser
from ..optim import EMA, Adam, cosine
from ..samples import modes_found
from ..training import Progress
from .latent import fresh
from .protocol import above_floor, drawn, experiment, nll

BELOW = "nats below the exact log-likelihood"


def on_the_plane(run, name, first, steps=10_000):
    """Trains on points drawn afresh, prints what samples are like, and gives how far the bound, all
    T terms of it, is below ln p_data on fresh points, and its error; inf where samples miss a mode,
    or less than 95 % of them are within 3 sigma of one."""
    world, n = Mixture2D(name), 100 if run.quick else 4000
    scale = float(world.sample(10_000, run.rng).std())
    schedule = straight(20 if run.quick else 1000, first, -9.0)
    model = Diffusion(MLPDenoiser(2), 2, schedule, scale=scale)
    test = world.sample(n, np.random.default_rng([run.seed, 1]))
    ema = EMA(Adam(model.parameters(), cosine(2e-3, steps, warmup=100)), 0.999)

    def rough():
        with ema.averaged():
            return nll(lambda x: model.elbo(x, draws=100), test[:1000])
    run.fit(model, drawn(world.sample, 512, run.rng), steps, [("-elbo", model.loss, ema)], rough,
            every=1000)
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


# --- pictures -------------------------------------------------------------------------------------

@experiment("glyphs-diffusion", published=20.0, word="at most", unit="nats above the floor")
def unet_on_glyphs(run):
    """Diffusion of 400 steps on Glyphs(16), v-prediction by a U-Net of 16, 32 and 32 channels at
    sides 16, 8 and 4, told the digit of 7 examples in 10, pixels 0 and 1 at -1 and 1, log-SNR from
    1.5 to -6 on a straight line; 4000 steps of Adam on fresh batches of 32, one t each, 4e-3
    falling to 0 along a cosine; the weights' averages (.99). The number is -ELBO of P(x), of whole
    pixels and told no digit, less -ln p_data of the same 2000 glyphs, by 10 random terms of each.
    Samples are ancestral, by 50 of the 400 steps, and told digits: with guidance 0 not heard."""
    world, steps, n = Glyphs(), 4000, 10 if run.quick else 200
    schedule, sampled = straight(400, 1.5, -6.0), 2 if run.quick else 50
    model = DiscreteDiffusion(ImageDenoiser(16, (16, 32, 32), 10), world.D, schedule, classes=10,
                              drop=0.3)
    test = world.sample(10 if run.quick else 2000, np.random.default_rng([run.seed, 1]))
    ema = EMA(Adam(model.parameters(), cosine(4e-3, steps, warmup=30)), 0.99)

    def elbo(x):
        return model.elbo(x, draws=10)

    def rough():
        with ema.averaged():
            return nll(elbo, test[:200])
    batches = fresh(world, run.rng, world.factors["digit"], batch_size=8 if run.quick else 32)
    run.fit(model, batches, steps, [("-elbo", lambda batch: model.loss(*batch), ema)], rough,
            every=steps // 4)
    with ema.averaged():
        result, error = above_floor(world, elbo, test)
    nats = result - world.log_prob(test).mean()
    print(f"-ELBO {nats:.2f} nats = {bits_per_dim(nats, world.D):.4f} bits/dim, {result:.2f} ± "
          f"{error:.2f} nats above the floor")
    x, true = world.sample(n, np.random.default_rng(run.seed), return_factors=True)
    rows = [judged(world, "true samples", x, true["digit"])]
    for guidance in (0, 1, 3):
        digits = np.arange(n) % 10
        with ema.averaged():
            x = model.sample(n, xp.asarray(digits), sampled, guidance=guidance,
                             report=Progress("sampling"))
        rows.append(judged(world, f"guidance {guidance}", to_numpy(x), digits))
    print(table([f"{n} each", "-ln p_data, nats", "templates found", "% read as told"], rows))
    return result, error


def judged(world, name, x, digits):
    """A row of the table: what p_data says of x (n, D), how many templates are among them, and of
    how many p(digit | x), the world's own, is largest for `digits` (n,)."""
    p = world.posterior(x) @ (world.factors["digit"][:, None] == np.arange(10))
    return [name, -float(world.log_prob(x).mean()), len(world.modes_found(x)),
            100 * float((p.argmax(1) == digits).mean())]
