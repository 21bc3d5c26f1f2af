"""The models of the table: each made, trained on a world until its clock has run out, and what can
be asked of it. A function's docstring is the name that the table gives its model."""
import math
from collections import namedtuple

import numpy as np

from .. import nn
from ..engine.backend import host_rng, to_numpy, uniform, xp
from ..engine.elementwise import relu, silu
from ..engine.fused import embedding
from ..engine.reductions import logsumexp, mean
from ..engine.shaping import stack
from ..models.approximate.diffusion import Diffusion, DiscreteDiffusion, straight
from ..models.approximate.iwae import IWAE
from ..models.approximate.mixture import GaussianMixture
from ..models.approximate.ppca import PPCA
from ..models.approximate.vae import VAE
from ..models.approximate.vqvae import VQVAE
from ..models.implicit.gan import GAN
from ..models.tractable.autoregressive_flow import maf
from ..models.tractable.counting import MixtureOfBernoullis, NGram, until_boundary
from ..models.tractable.coupling_flow import coupling_flow
from ..models.tractable.made import FVSBN, MADE
from ..models.tractable.pixelcnn import PixelCNN, whole
from ..models.tractable.recurrent import RecurrentLM, embedded
from ..models.tractable.transformer import Transformer
from ..nn import MLPDenoiser, Module
from ..optim import Adam

# log_p: a batch -> (B,), by default model.log_prob, None where there is no density; kind: what that
# number is; features: x -> (B, F), what a linear probe reads
Trained = namedtuple("Trained", "model kind log_p features")


def learned(model, world, clock, lr, batch_size=100, clip=None):
    """The model, its loss lowered by Adam"""
    adam = Adam(model.parameters(), clock.rate(lr))
    clock.fit(model, world, [("loss", model.loss, adam)], batch_size, clip=clip)
    return model


# --- the world itself -----------------------------------------------------------------------------

class Truth:
    """p_data as a model: what a perfect one would score, and what can be read off x itself"""
    branch = "data"

    def __init__(self, world):
        self.world = world

    def parameters(self):
        return []

    def sample(self, n):
        x = self.world.source.sample(n, host_rng())
        vocabulary = self.world.vocabulary
        if not vocabulary:
            return x
        return np.array([[*vocabulary.encode(name.ljust(40, vocabulary.boundary))] for name in x])


def data(world, clock):
    """p_data itself"""
    if world.source is None:
        raise ValueError("p_data of this world is not known")
    return Trained(Truth(world), "exact", lambda x: world.log_p_data(to_numpy(x)),
                   None if world.vocabulary else to_numpy)


# --- pictures: explicit, tractable ----------------------------------------------------------------

def fvsbn(world, clock):
    """FVSBN"""
    model = learned(FVSBN(world.dims), world, clock, 1e-2)
    return Trained(model, "exact", model.log_prob, model.conditionals)


def made(world, clock):
    """MADE 1024"""
    model = learned(MADE(world.dims, (1024,)), world, clock, 5e-3)
    return Trained(model, "exact", model.log_prob, lambda x: relu(model.layers[0](x)))


def pixelcnn(world, clock):
    """PixelCNN"""
    model = learned(PixelCNN(world.side, channels=32, layers=4, kernels=(7, 3)), world, clock, 5e-3,
                    32, clip=1.0)
    patch = world.side // 4

    def features(x):
        """The last layer's channels, averaged over 4 x 4 patches of the picture"""
        h = model.first(model._scaled(x).reshape(-1, 1, world.side, world.side))
        for layer in model.layers:
            h = layer(h, whole)
        return mean(relu(h).reshape(len(x), 32, 4, patch, 4, patch), (3, 5)).reshape(len(x), -1)
    return Trained(model, "exact", model.log_prob, features)


def pixel_transformer(world, clock):
    """Transformer on pixels"""
    model = learned(Transformer(2, world.dims, layers=2, heads=4, width=64), world, clock, 2e-3, 16,
                    clip=1.0)
    return Trained(model, "exact", model.log_prob, lambda x: mean(states(model, x), 1))


def states(model, x):
    """What a Transformer's last layer holds at each x_t.   ids (B, T) -> (B, T, C)"""
    h = embedding(model.token.W, model._ids(x)) + model.position[:x.shape[1]]
    for block in model.blocks:
        h = block(h)
    return model.norm(h)


def bernoullis(world, clock):
    """mixture of 200 Bernoullis, EM"""
    model = MixtureOfBernoullis(world.dims, min(200, len(world.train) // 10))
    model.fit(world.train, steps=1)
    clock.climb(lambda: model.em_step(world.train), 1e-3)
    return Trained(model, "exact", model.log_prob, model.responsibilities)


class Dequantized(Module):
    """P(x) = integral of p(x + u) over u in [0, 1)^D, x of 0 and 1, p a density of real vectors.

    ln P(x) >= E ln 1/k sum_i p(x + u_i), u_i even. Source: Theis et al. 2016, section 3.1."""

    def __init__(self, model):
        self.inner, self.branch = model, model.branch

    def loss(self, x):
        return self.inner.loss(x + uniform(x.shape))

    def log_prob_bound(self, x, k):
        terms = [self.inner.log_prob(x + uniform(x.shape)) for _ in range(k)]
        return logsumexp(stack(terms), 0) - math.log(k)

    def sample(self, n):
        """floor(y), y ~ p; what falls outside 0 and 1 is moved there"""
        return xp.clip(xp.floor(self.inner.sample(n)), 0, 1)


def bounded(model, k, features):
    return Trained(model, f"bound, k = {k}", lambda x: model.log_prob_bound(x, k), features)


def pixel_flow(world, clock):
    """RealNVP, dequantized"""
    model = Dequantized(coupling_flow(world.dims, 4, (256, 256)))
    learned(model, world, clock, 1e-3, clip=10.0)
    return bounded(model, 16, lambda x: model.inner(x + 0.5)[0])


# --- pictures: explicit, approximate --------------------------------------------------------------

def ppca(world, clock):
    """PPCA, dequantized"""
    model = Dequantized(PPCA(world.dims, 40))
    model.inner.fit_closed(world.train + uniform(world.train.shape))
    return bounded(model, 16, lambda x: model.inner.encode(x + 0.5).mu)


def vae(world, clock):
    """VAE 256-256, 40 latents"""
    model = VAE(world.dims, 40, (256, 256), silu)

    def loss(x):
        return -mean(model.elbo(x, beta=min(1.0, 6 * clock.used())))
    clock.fit(model, world, [("-elbo", loss, Adam(model.parameters(), clock.rate(3e-3)))])
    return bounded(model, 64, lambda x: model.encode(x).mu)


def iwae(world, clock):
    """IWAE, k = 5"""
    model = learned(IWAE(world.dims, 40, (256, 256), silu, k=5), world, clock, 3e-3)
    return bounded(model, 64, lambda x: model.encode(x).mu)


def vqvae(world, clock):
    """VQ-VAE, 2 x 2 codes of 32"""
    model = VQVAE(world.dims, (2, 2), 32, 64, (256, 256), restart=0.1)
    codes = Adam(model.parameters(), clock.rate(2e-3, end=0.7))
    clock.fit(model, world, [("vq", model.loss, codes)], until=0.7)
    prior = Adam(model.prior.parameters(), clock.rate(2e-3, begin=0.7))
    clock.fit(model.prior, world, [("prior", model.prior_loss, prior)])
    model.eval()
    return Trained(model, "bound, k = 1", model.elbo,
                   lambda x: embedding(model.e, model.encode(x)).reshape(len(x), -1))


def pixel_diffusion(world, clock):
    """diffusion, T = 100"""
    network = MLPDenoiser(world.dims, (512, 512), octaves=0)
    # 0 and 1 lie so far apart that a log-SNR of 1.5 tells them
    model = learned(DiscreteDiffusion(network, world.dims, straight(100, 1.5, -6.0)), world, clock,
                    2e-3)
    return Trained(model, "bound, k = 1", model.elbo, denoiser_features(model))


def denoiser_features(model):
    """The denoiser's last hidden layer, shown x with as much noise as signal, noise left out"""
    def features(x):
        x = model._scaled(x) * 0.5 ** 0.5
        told = model.network.inputs(x, xp.zeros(len(x), x.dtype))
        return _hidden(model.network.layers)(told)
    return features


def _hidden(layers):
    """The layers but the last, as a function"""
    return nn.Sequential(*[layers[i] for i in range(len(layers) - 1)])


# --- pictures: implicit ---------------------------------------------------------------------------

def pixel_gan(world, clock):
    """GAN 256-256"""
    return gan(world, clock, GAN(world.dims, hidden=(256, 256), noise=0.5), 5e-4)


def gan(world, clock, model, lr, batch_size=100):
    settings = {"lr": clock.rate(lr), "betas": (0.5, 0.99)}
    clock.fit(model, world, [
        ("critic", model.critic_loss, Adam(model.critic.parameters(), **settings)),
        ("generator", lambda x: model.generator_loss(len(x)),
         Adam(model.generator.parameters(), **settings))], batch_size)
    return Trained(model, "none", None, _hidden(model.critic))


# --- points in the plane --------------------------------------------------------------------------

def realnvp(world, clock):
    """RealNVP"""
    model = learned(coupling_flow(2), world, clock, 2e-3, 500)
    return Trained(model, "exact", model.log_prob, lambda x: model(x)[0])


def maf_mixture(world, clock):
    """MAF MoG"""
    model = learned(maf(2, n=2, K=10), world, clock, 3e-3, 500)
    return Trained(model, "exact", model.log_prob, lambda x: model(x)[0])


def gaussians(world, clock):
    """20 Gaussians, EM"""
    model = GaussianMixture(2, 20)
    model.start(world.train)
    clock.climb(lambda: model.em_step(world.train), 1e-6)
    return Trained(model, "exact", model.log_prob, model.encode)


def point_diffusion(world, clock):
    """diffusion, T = 200"""
    model = Diffusion(MLPDenoiser(2, (128, 128, 128)), 2, straight(200, 8.0, -8.0),
                      scale=float(world.train.std()))
    learned(model, world, clock, 2e-3, 500)
    return Trained(model, "bound, k = 1", model.elbo, denoiser_features(model))


def point_gan(world, clock):
    """GAN 128-128-128"""
    model = GAN(2, latent=2, hidden=(128, 128, 128), output=None)
    return gan(world, clock, model, 1e-3, 256)


# --- names ----------------------------------------------------------------------------------------

def bigram(world, clock):
    """2-gram"""
    return ngram(world, 2)


def fourgram(world, clock):
    """4-gram"""
    return ngram(world, 4)


def ngram(world, n):
    model = NGram(len(world.vocabulary), n, 0.1).fit(world.train)
    return Trained(model, "exact", model.log_prob, None)


def averaged(h, x):
    """The mean of states h (B, T, C) over the letters of each name"""
    counts = until_boundary(xp.asarray(x)).astype(h.dtype)[:, :, None]
    return (to_numpy(h) * counts).sum(1) / counts.sum(1)


def gru(world, clock):
    """GRU 128"""
    model = learned(RecurrentLM(len(world.vocabulary), nn.GRUCell, 32, 128), world, clock, 1e-2,
                    128, clip=1.0)
    return Trained(model, "exact", model.log_prob, lambda x: averaged(
        model.recurrent(embedded(model.embedding, x))[0], x))


def name_transformer(world, clock):
    """Transformer, 2 layers"""
    model = Transformer(len(world.vocabulary), 40, layers=2, heads=4, width=64, start=0, end=0)
    learned(model, world, clock, 3e-3, 128, clip=1.0)
    return Trained(model, "exact", model.log_prob, lambda x: averaged(states(model, x), x))


PICTURES = {"data": data, "fvsbn": fvsbn, "made": made, "pixelcnn": pixelcnn,
            "transformer": pixel_transformer, "bernoullis": bernoullis, "realnvp": pixel_flow,
            "ppca": ppca, "vae": vae, "iwae": iwae, "vqvae": vqvae, "diffusion": pixel_diffusion,
            "gan": pixel_gan}
CONTENDERS = {
    "glyphs": PICTURES,
    "mixture2d": {"data": data, "realnvp": realnvp, "maf": maf_mixture, "gaussians": gaussians,
                  "diffusion": point_diffusion, "gan": point_gan},
    "words": {"data": data, "2-gram": bigram, "4-gram": fourgram, "gru": gru,
              "transformer": name_transformer},
    # 784 pixels are too many for attention over all of them in so few seconds
    "mnist": {k: f for k, f in PICTURES.items() if k not in ("data", "transformer")}}
