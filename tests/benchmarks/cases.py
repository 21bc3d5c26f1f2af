"""The ten workloads' sizes, first parameters, data and settings, drawn from fixed seeds.

Any library that draws the same numbers can be compared step by step: first losses must agree, which
is what makes timings comparable. `fc.w` is (in, out), `fc.b` (out,); a convolution's `w` is
(out, in, k, k), a transposed one's (in, out, k, k); a norm has `g` and `b`. Noise is drawn once, so
that no random generator is timed.

With PEERS_STILL=1 every learning rate is divided by 10,000: thousands of timed steps on one batch
then stay near the start, instead of learning it by heart until numbers become denormal.
"""
import os
import zlib
from types import SimpleNamespace as Case

import numpy as np

STILL = 1e-4 if os.environ.get("PEERS_STILL") == "1" else 1.0


class Draw:
    """Random arrays of one workload, in float32, and its parameters by name."""

    def __init__(self, name):
        self.rng, self.params = np.random.default_rng(zlib.crc32(name.encode())), {}

    def uniform(self, shape, bound):
        return self.rng.uniform(-bound, bound, size=shape).astype("float32")

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype("float32")

    def scaled(self, *shape):
        return (0.02 * self.rng.standard_normal(shape)).astype("float32")

    def binary(self, *shape):
        return (self.rng.random(shape) < 0.2).astype("float32")

    def linear(self, name, n_in, n_out):
        self.params[name + ".w"] = self.uniform((n_in, n_out), n_in ** -0.5)
        self.params[name + ".b"] = self.uniform((n_out,), n_in ** -0.5)

    def conv(self, name, n_in, n_out, k, bias=True, transposed=False):
        bound = (n_in * k * k) ** -0.5
        shape = (n_in, n_out) if transposed else (n_out, n_in)
        self.params[name + ".w"] = self.uniform((*shape, k, k), bound)
        if bias:
            self.params[name + ".b"] = self.uniform((n_out,), bound)

    def norm(self, name, n):
        self.params[name + ".g"] = np.ones(n, "float32")
        self.params[name + ".b"] = np.zeros(n, "float32")

    def small(self, name, n_in, n_out):
        """A layer of a Transformer: N(0, 0.02^2), no bias yet."""
        self.params[name + ".w"] = self.scaled(n_in, n_out)
        self.params[name + ".b"] = np.zeros(n_out, "float32")


def vae_mlp():
    """784-400-(20 mu, 20 logvar)-400-784, batch 128"""
    d = Draw("vae_mlp")
    for name, n_in, n_out in (("enc1", 784, 400), ("enc2", 400, 40), ("dec1", 20, 400),
                              ("dec2", 400, 784)):
        d.linear(name, n_in, n_out)
    return Case(params=d.params, x=d.binary(128, 784), eps=d.normal(128, 20), lr=1e-3 * STILL)


def made():
    """784-500-500-784 with autoregressive masks, batch 100"""
    d = Draw("made")
    for i, (n_in, n_out) in enumerate(((784, 500), (500, 500), (500, 784))):
        d.linear(f"fc{i}", n_in, n_out)
    rank, degree = np.arange(784), np.arange(500) % 783
    masks = (rank[:, None] <= degree, degree[:, None] <= degree, degree[:, None] < rank)
    return Case(params=d.params, x=d.binary(100, 784), lr=1e-3 * STILL,
                masks=[m.astype("float32") for m in masks])


def pixelcnn():
    """7x7 mask A -> 32 channels, four 3x3 mask B, 1x1, 1x1 -> 1; 28x28, batch 32"""
    d = Draw("pixelcnn")
    d.conv("c0", 1, 32, 7)
    for i in range(1, 5):
        d.conv(f"c{i}", 32, 32, 3)
    d.conv("c5", 32, 32, 1)
    d.conv("c6", 32, 1, 1)
    return Case(params=d.params, x=d.binary(32, 1, 28, 28), lr=1e-3 * STILL,
                masks=[causal_mask(7, False)] + [causal_mask(3, True)] * 4)


def causal_mask(k, centre):
    """(1, 1, k, k): 1 above the centre and left of it, and at it if `centre`"""
    mask = np.zeros((1, 1, k, k), "float32")
    mask[..., :k // 2, :] = 1
    mask[..., k // 2, :k // 2 + centre] = 1
    return mask


def dcgan():
    """28x28 images, one discriminator step and one generator step, batch 64"""
    d = Draw("dcgan")
    g = d.params
    g["fc.w"] = d.uniform((64, 3136), 64 ** -0.5)
    d.norm("bn0", 64)
    d.conv("ct1", 64, 32, 4, bias=False, transposed=True)
    d.norm("bn1", 32)
    d.conv("ct2", 32, 1, 4, transposed=True)
    d.params = {}
    d.conv("c1", 1, 32, 4)
    d.conv("c2", 32, 64, 4, bias=False)
    d.norm("bn2", 64)
    d.linear("fc", 3136, 1)
    return Case(params_g=g, params_d=d.params, x=2 * d.binary(64, 1, 28, 28) - 1,
                z=d.normal(64, 64), lr=2e-4 * STILL, betas=(0.5, 0.999), slope=0.2)


def gpt():
    """4 layers, 4 heads, width 128, 64 tokens, batch 32, vocabulary 65"""
    d, width, layers, T, V = Draw("gpt"), 128, 4, 64, 65
    d.params["tok"] = d.scaled(V, width)
    d.params["pos"] = d.scaled(T, width)
    for i in range(layers):
        d.norm(f"l{i}.ln1", width)
        d.small(f"l{i}.qkv", width, 3 * width)
        d.small(f"l{i}.proj", width, width)
        d.norm(f"l{i}.ln2", width)
        d.small(f"l{i}.fc", width, 4 * width)
        d.small(f"l{i}.out", 4 * width, width)
    d.norm("lnf", width)
    d.params["head.w"] = d.scaled(width, V)
    ids = d.rng.integers(0, V, (32, T + 1))
    return Case(params=d.params, x=np.ascontiguousarray(ids[:, :-1]),
                y=np.ascontiguousarray(ids[:, 1:]), d=width, layers=layers, heads=4, T=T, V=V,
                lr=3e-4 * STILL, weight_decay=0.01)


def realnvp():
    """64 dimensions, 8 affine couplings, each an MLP 64-256-256-128, batch 256"""
    d = Draw("realnvp")
    for i in range(8):
        for j, (n_in, n_out) in enumerate(((64, 256), (256, 256), (256, 128))):
            d.linear(f"m{i}.{j}", n_in, n_out)
    even = (np.arange(64) % 2 == 0).astype("float32")
    x = d.rng.standard_normal((256, 64)) @ (0.3 * d.rng.standard_normal((64, 64)))
    return Case(params=d.params, x=x.astype("float32"), layers=8, masks=[even, 1 - even] * 4,
                lr=1e-3 * STILL)


def wgan_gp():
    """One critic step with gradient penalty; MLPs of width 512 on 784, batch 64"""
    d = Draw("wgan_gp")
    d.linear("fc0", 64, 512)
    d.linear("fc1", 512, 512)
    d.linear("fc2", 512, 784)
    g, d.params = d.params, {}
    d.linear("fc0", 784, 512)
    d.linear("fc1", 512, 512)
    d.linear("fc2", 512, 1)
    return Case(params_g=g, params_c=d.params, x=2 * d.binary(64, 784) - 1, z=d.normal(64, 64),
                mix=d.rng.random((64, 1)).astype("float32"), lr=1e-4 * STILL, betas=(0.5, 0.9),
                slope=0.2, penalty=10.0)


def overhead():
    """1000 operations in a chain on 4 numbers: what an operation costs beside its arithmetic"""
    d = Draw("overhead")
    x, a, b = (d.rng.standard_normal(4) for _ in range(3))
    return Case(x=x.astype("float32"), a=(1 + 0.1 * a).astype("float32"),
                b=(0.1 * b).astype("float32"), n=1000)


def char_gru():
    """Embedding 65 -> 128, GRU of 128 for 32 steps, batch 32, linear to 65"""
    d = Draw("char_gru")
    d.params["emb"] = d.normal(65, 128)
    for name in ("x", "h"):
        d.linear(name, 128, 384)
    d.linear("out", 128, 65)
    ids = d.rng.integers(0, 65, (32, 33))
    return Case(params=d.params, x=np.ascontiguousarray(ids[:, :-1]),
                y=np.ascontiguousarray(ids[:, 1:]), H=128, T=32, V=65, lr=1e-3 * STILL)


def adam():
    """The optimizer alone, on 20 tensors of 500 x 500"""
    d = Draw("adam")
    params = [(0.1 * d.normal(500, 500)) for _ in range(20)]
    grads = [(0.01 * d.normal(500, 500)) for _ in range(20)]
    return Case(params=params, grads=grads, lr=1e-3 * STILL)
