"""What the same work costs with no engine at all: the floors under tinygen's steps.

    hand_written()   {name: step}: forward and backward by hand, every array allocated beforehand
    products(name)   a step of only a workload's matrix products (forward, dX, dW); a convolution
                     counts as the products of its columns
"""
import numpy as np

import cases


class Adam:
    """As tinygen.optim.Adam, on one flat array per kind, in blocks of 64k floats."""

    def __init__(self, params, lr, block=1 << 16):
        self.lr, self.t, self.p, self.g = lr, 0, {}, {}
        size = sum(a.size for a in params.values())
        flat = [np.zeros(size, "float32") for _ in range(4)]
        end = 0
        for name, a in params.items():
            start, end = end, end + a.size
            self.p[name] = flat[0][start:end].reshape(a.shape)
            self.g[name] = flat[1][start:end].reshape(a.shape)
            self.p[name][...] = a
        self.blocks = [[a[i:i + block] for a in flat] for i in range(0, size, block)]
        self.scratch = np.empty(block, "float32")

    def step(self):
        self.t += 1
        scale = ((1 - 0.999 ** self.t) / 0.001) ** 0.5
        rate = self.lr * 0.1 / (1 - 0.9 ** self.t) * scale
        for p, g, m, v in self.blocks:
            t = self.scratch[:len(p)]
            m *= 0.9
            m += g
            v *= 0.999
            np.multiply(g, g, out=t)
            v += t
            np.sqrt(v, out=t)
            t += 1e-8 * scale
            np.divide(m, t, out=t)
            t *= rate
            p -= t


def bce(logits, x, grad):
    """sum of softplus(l) - x l; writes sigmoid(l) - x into grad"""
    np.tanh(0.5 * logits, out=grad)
    loss = np.maximum(logits, 0).sum() - np.vdot(x, logits)
    loss -= np.log(0.5 + 0.5 * np.abs(grad)).sum()
    grad *= 0.5
    grad += 0.5
    grad -= x
    return float(loss)


def dense(x, W, b):
    y = x @ W
    y += b
    return y


def dense_gradients(x, g, dW, db):
    np.matmul(x.T, g, out=dW)
    np.sum(g, axis=0, out=db)


def vae_mlp():
    c = cases.vae_mlp()
    adam = Adam(c.params, c.lr)
    p, g = adam.p, adam.g
    dlogits, ds = np.empty_like(c.x), np.empty((len(c.x), 40), "float32")

    def step():
        h1 = np.maximum(dense(c.x, p["enc1.w"], p["enc1.b"]), 0)
        s = dense(h1, p["enc2.w"], p["enc2.b"])
        mu, logvar = s[:, :20], s[:, 20:]
        std = np.exp(0.5 * logvar)
        z = mu + c.eps * std
        h2 = np.maximum(dense(z, p["dec1.w"], p["dec1.b"]), 0)
        loss = bce(dense(h2, p["dec2.w"], p["dec2.b"]), c.x, dlogits)
        loss -= 0.5 * float((1 + logvar - mu * mu - std * std).sum())
        dense_gradients(h2, dlogits, g["dec2.w"], g["dec2.b"])
        d2 = dlogits @ p["dec2.w"].T
        d2 *= h2 > 0
        dense_gradients(z, d2, g["dec1.w"], g["dec1.b"])
        dz = d2 @ p["dec1.w"].T
        ds[:, :20] = dz + mu
        ds[:, 20:] = 0.5 * (dz * c.eps * std + std * std - 1)
        dense_gradients(h1, ds, g["enc2.w"], g["enc2.b"])
        d1 = ds @ p["enc2.w"].T
        d1 *= h1 > 0
        dense_gradients(c.x, d1, g["enc1.w"], g["enc1.b"])
        adam.step()
        return loss
    return step


def made():
    c = cases.made()
    adam = Adam(c.params, c.lr)
    p, g = adam.p, adam.g
    d = np.empty_like(c.x)

    def step():
        W = [p[f"fc{i}.w"] * mask for i, mask in enumerate(c.masks)]
        h1 = np.maximum(dense(c.x, W[0], p["fc0.b"]), 0)
        h2 = np.maximum(dense(h1, W[1], p["fc1.b"]), 0)
        loss = bce(dense(h2, W[2], p["fc2.b"]), c.x, d) / len(c.x)
        gy = d * np.float32(1 / len(c.x))
        for i, h in ((2, h2), (1, h1), (0, c.x)):
            dense_gradients(h, gy, g[f"fc{i}.w"], g[f"fc{i}.b"])
            g[f"fc{i}.w"] *= c.masks[i]
            if i:
                gy = gy @ W[i].T
                gy *= h > 0
        adam.step()
        return loss
    return step


def adam():
    c = cases.adam()
    optimizer = Adam(dict(enumerate(c.params)), c.lr)
    for i, g in enumerate(c.grads):
        optimizer.g[i][...] = g

    def step():
        optimizer.step()
        return float(optimizer.p[0][0, 0])
    return step


HAND_WRITTEN = (vae_mlp, made, adam)


# --- matrix products only -------------------------------------------------------------------------

# (rows, inner, columns, which): forward x W, then of which: dX = g W^T, dW = x^T g
BOTH, NO_DX, NO_DW, ONLY = "xw", "w", "x", ""


def _layers(name):
    if name == "vae_mlp":
        return [(128, 784, 400, NO_DX), (128, 400, 40, BOTH), (128, 20, 400, BOTH),
                (128, 400, 784, BOTH)]
    if name == "made":
        return [(100, 784, 500, NO_DX), (100, 500, 500, BOTH), (100, 500, 784, BOTH)]
    if name == "pixelcnn":
        pixels = 32 * 784
        return [(pixels, 49, 32, NO_DX), *[(pixels, 288, 32, BOTH)] * 4, (pixels, 32, 32, BOTH),
                (pixels, 32, 1, BOTH)]
    if name == "dcgan":
        generator = [(64, 64, 3136, NO_DX), (3136, 64, 512, BOTH), (12544, 32, 16, BOTH)]
        critic = [(12544, 16, 32), (3136, 512, 64), (64, 3136, 1)]
        return generator + [(*shape, BOTH) for shape in critic[1:] * 2] + \
            [(*critic[0], NO_DX)] * 2 + [(*shape, NO_DW) for shape in critic]
    if name == "gpt":
        rows = 32 * 64
        block = [(rows, 128, 384, BOTH), *[(64, 32, 64, BOTH), (64, 64, 32, BOTH)] * 128,
                 (rows, 128, 128, BOTH), (rows, 128, 512, BOTH), (rows, 512, 128, BOTH)]
        return block * 4 + [(rows, 128, 65, BOTH)]
    if name == "realnvp":
        net = [(256, 64, 256, BOTH), (256, 256, 256, BOTH), (256, 256, 128, BOTH)]
        return [(256, 64, 256, NO_DX), *net[1:], *net * 7]
    if name == "wgan_gp":
        critic = [(64, 784, 512), (64, 512, 512), (64, 512, 1)]
        return [(64, 64, 512, ONLY), (64, 512, 512, ONLY), (64, 512, 784, ONLY)] + \
            [(*critic[0], NO_DX), *[(*s, BOTH) for s in critic[1:]]] * 2 + \
            [(*s, NO_DW) for s in critic[:2]] + [(*s, NO_DX) for s in critic[:2]]    # penalty
    if name == "char_gru":
        return [(1024, 128, 384, BOTH), *[(32, 128, 384, BOTH)] * 32, (1024, 128, 65, BOTH)]
    return []


def products(name):
    """The step, or None where a workload has no products."""
    rng, arrays = np.random.default_rng(0), {}

    def array(*shape):
        if shape not in arrays:
            arrays[shape] = rng.standard_normal(shape).astype("float32")
        return arrays[shape]
    calls = []
    for m, k, n, which in _layers(name):
        calls.append((array(m, k), array(k, n), np.empty((m, n), "float32")))
        if "x" in which:
            calls.append((array(m, n), array(k, n).T, np.empty((m, k), "float32")))
        if "w" in which:
            calls.append((array(m, k).T, array(m, n), np.empty((k, n), "float32")))

    def step():
        for a, b, out in calls:
            np.matmul(a, b, out=out)
        return 0.0
    return step if calls else None
