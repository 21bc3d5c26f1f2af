"""How near the floor of Glyphs a codebook comes."""
import numpy as np

from ..datasets.known import Glyphs
from ..engine.elementwise import relu
from ..evaluation import rate_and_distortion
from ..models.approximate.vqvae import VQVAE, perplexity
from ..optim import Adam, cosine
from .latent import fresh
from .protocol import above_floor, experiment


@experiment("glyphs-vqvae", published=2.5, word="at most", unit="nats above the floor")
def vqvae_on_glyphs(run):
    """VQ-VAE 512-512 relu, a grid of 2 x 2 codes out of 32 with 64 numbers each, dead under a tenth
    of an even use, fresh Glyphs in batches of 100: 16,000 steps for the codes, then 3,000 for their
    prior, a gated PixelCNN of 4 layers and 32 channels, each Adam with a cosine from 2e-3; the
    number is -mean [ln p(x | c) + ln p(c)] on test, less the mean -ln p_data of the same glyphs."""
    world, model = Glyphs(), VQVAE(256, (2, 2), 32, 64, (512, 512), relu, restart=0.1)
    test = world.sample(200 if run.quick else 5000, np.random.default_rng(run.seed + 1))
    stages = [("vq", model.loss, model, 16_000), ("prior", model.prior_loss, model.prior, 3_000)]
    for name, loss, part, steps in stages:
        goal = name, loss, Adam(part.parameters(), cosine(2e-3, steps))
        run.fit(model, fresh(world, run.rng), steps, [goal], every=steps // 4,
                evaluate=lambda: sum(rate_and_distortion(model, test)))
        run.checkpoint = run.checkpoint.replace(".npz", "-prior.npz")       # of the next stage
    rate, distortion = rate_and_distortion(model, test)
    usage = model.usage(test)
    print(f"-ELBO {rate + distortion:.2f} nats = rate {rate:.2f} + distortion {distortion:.2f}; "
          f"{int((usage > 0).sum())} of {model.K} codes used, perplexity {perplexity(usage):.1f}")
    return above_floor(world, model.elbo, test)
