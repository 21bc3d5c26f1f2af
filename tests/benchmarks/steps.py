"""One training step of each of ten workloads, written as a user of tinygen would write it.

`workloads()` gives {name: step}; a step does forward, backward and update and returns its loss.
Sizes, first parameters and data are in cases.py, so that other libraries can do the same.
"""
import cases

import tinygen as tg
from tinygen import nn, optim
from tinygen.engine.backend import xp


def load(layer, params, name):
    """Copies params[name.w], .g, .b into a layer's W and b."""
    for own, theirs in (("W", "w"), ("W", "g"), ("b", "b")):
        if f"{name}.{theirs}" in params:
            getattr(layer, own).data[...] = xp.asarray(params[f"{name}.{theirs}"])
    return layer


def linear(params, name, layer=nn.Linear, **settings):
    n_in, n_out = params[f"{name}.w"].shape
    return load(layer(n_in, n_out, **settings), params, name)


def trainer(loss, optimizer):
    """The usual loop body."""
    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()
    return step


class VAE(nn.Module):
    def __init__(self, p):
        self.enc1, self.enc2 = linear(p, "enc1"), linear(p, "enc2")
        self.dec1, self.dec2 = linear(p, "dec1"), linear(p, "dec2")

    def forward(self, x, eps):
        mu, logvar = tg.split(self.enc2(tg.relu(self.enc1(x))), 2, axis=1)
        z = mu + eps * tg.exp(0.5 * logvar)
        return self.dec2(tg.relu(self.dec1(z))), mu, logvar


def vae_mlp():
    c = cases.vae_mlp()
    x, eps, model = xp.asarray(c.x), xp.asarray(c.eps), VAE(c.params)

    def loss():
        logits, mu, logvar = model(x, eps)
        bce = tg.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return bce - 0.5 * tg.sum(1 + logvar - mu * mu - tg.exp(logvar))
    return trainer(loss, optim.Adam(model.parameters(), c.lr))


def made():
    c = cases.made()
    x = xp.asarray(c.x)
    layers = [linear(c.params, f"fc{i}", nn.MaskedLinear, mask=m) for i, m in enumerate(c.masks)]
    model = nn.Sequential(layers[0], tg.relu, layers[1], tg.relu, layers[2])

    def loss():
        return tg.binary_cross_entropy_with_logits(model(x), x, reduction="sum") / len(x)
    return trainer(loss, optim.Adam(model.parameters(), c.lr))


def pixelcnn():
    c = cases.pixelcnn()
    x, layers = xp.asarray(c.x), []
    for i, mask in enumerate(c.masks):
        out, channels, k, _ = c.params[f"c{i}.w"].shape
        conv = nn.MaskedConv2d(channels, out, k, mask, padding=k // 2)
        layers += [load(conv, c.params, f"c{i}"), tg.relu]
    layers += [load(nn.Conv2d(32, 32, 1), c.params, "c5"), tg.relu,
               load(nn.Conv2d(32, 1, 1), c.params, "c6")]
    model = nn.Sequential(*layers)

    def loss(x):
        return tg.binary_cross_entropy_with_logits(model(x), x, reduction="sum") / len(x)
    return trainer(lambda: tg.in_halves(loss, x), optim.Adam(model.parameters(), c.lr))


class Generator(nn.Module):
    def __init__(self, p):
        self.fc = linear(p, "fc", bias=False)
        self.bn0 = load(nn.BatchNorm2d(64), p, "bn0")
        self.ct1 = load(nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), p, "ct1")
        self.bn1 = load(nn.BatchNorm2d(32), p, "bn1")
        self.ct2 = load(nn.ConvTranspose2d(32, 1, 4, 2, 1), p, "ct2")

    def forward(self, z):
        h = tg.relu(self.bn0(self.fc(z).reshape(-1, 64, 7, 7)))
        h = tg.relu(self.bn1(self.ct1(h)))
        return tg.tanh(self.ct2(h))


class Discriminator(nn.Module):
    def __init__(self, p, slope):
        self.slope = slope
        self.c1 = load(nn.Conv2d(1, 32, 4, 2, 1), p, "c1")
        self.c2 = load(nn.Conv2d(32, 64, 4, 2, 1, bias=False), p, "c2")
        self.bn2 = load(nn.BatchNorm2d(64), p, "bn2")
        self.fc = linear(p, "fc")

    def forward(self, x):
        h = tg.leaky_relu(self.c1(x), self.slope)
        h = tg.leaky_relu(self.bn2(self.c2(h)), self.slope)
        return self.fc(h.reshape(len(h), -1))


def dcgan():
    c = cases.dcgan()
    x, z = xp.asarray(c.x), xp.asarray(c.z)
    gen, dis = Generator(c.params_g), Discriminator(c.params_d, c.slope)
    opt_g = optim.Adam(gen.parameters(), c.lr, c.betas)
    opt_d = optim.Adam(dis.parameters(), c.lr, c.betas)
    ones, zeros = xp.ones((64, 1), "float32"), xp.zeros((64, 1), "float32")
    bce = tg.binary_cross_entropy_with_logits

    def step():
        opt_d.zero_grad()
        fake = gen(z)
        loss_d = bce(dis(x), ones) + bce(dis(fake.detach()), zeros)
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss_g = bce(dis(fake), ones)
        loss_g.backward()
        opt_g.step()
        return loss_d.item() + loss_g.item()
    return step


class Block(nn.Module):
    def __init__(self, p, k, heads):
        d = len(p[k + "ln1.g"])
        self.heads = heads
        self.ln1 = load(nn.LayerNorm(d), p, k + "ln1")
        self.ln2 = load(nn.LayerNorm(d), p, k + "ln2")
        self.qkv, self.proj = linear(p, k + "qkv"), linear(p, k + "proj")
        self.fc, self.out = linear(p, k + "fc"), linear(p, k + "out")

    def forward(self, x, mask):
        B, T, C = x.shape
        q, k, v = (a.reshape(B, T, self.heads, C // self.heads).swapaxes(1, 2)
                   for a in tg.split(self.qkv(self.ln1(x)), 3, axis=2))
        a = tg.attention(q, k, v, mask)
        x = x + self.proj(a.swapaxes(1, 2).reshape(B, T, C))
        return x + self.out(tg.gelu(self.fc(self.ln2(x))))


class GPT(nn.Module):
    def __init__(self, c):
        p = c.params
        self.tok = nn.Embedding(c.V, c.d)
        self.tok.W.data[...] = xp.asarray(p["tok"])
        self.pos = tg.tensor(p["pos"], requires_grad=True)
        self.blocks = [Block(p, f"l{i}.", c.heads) for i in range(c.layers)]
        self.lnf = load(nn.LayerNorm(c.d), p, "lnf")
        self.head = linear(p, "head", bias=False)
        self.mask = xp.triu(xp.full((c.T, c.T), -1e9, "float32"), 1)

    def forward(self, ids):
        x = self.tok(ids) + self.pos
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.lnf(x))


def gpt():
    c = cases.gpt()
    x, y, model = xp.asarray(c.x), xp.asarray(c.y), GPT(c)
    optimizer = optim.AdamW(model.parameters(), c.lr, weight_decay=c.weight_decay)

    def loss(x, y):
        return tg.cross_entropy(model(x), y)
    return trainer(lambda: tg.in_halves(loss, x, y), optimizer)


class RealNVP(nn.Module):
    def __init__(self, c):
        self.nets = [nn.Sequential(linear(c.params, f"m{i}.0"), tg.relu,
                                   linear(c.params, f"m{i}.1"), tg.relu,
                                   linear(c.params, f"m{i}.2")) for i in range(c.layers)]
        self.masks = [xp.asarray(m) for m in c.masks]

    def forward(self, x):
        logdet = 0.0
        for net, mask in zip(self.nets, self.masks):
            s, t = tg.split(net(x * mask), 2, axis=1)
            s = tg.tanh(s) * (1 - mask)
            x = x * tg.exp(s) + t * (1 - mask)
            logdet = logdet + s.sum(1)
        return x, logdet


def realnvp():
    c = cases.realnvp()
    x, model = xp.asarray(c.x), RealNVP(c)
    const = 0.5 * 64 * 1.8378770664093453

    def loss():
        z, logdet = model(x)
        return tg.mean(0.5 * tg.sum(z * z, 1) + const - logdet)
    return trainer(loss, optim.Adam(model.parameters(), c.lr))


def wgan_gp():
    c = cases.wgan_gp()
    x, z, mix = xp.asarray(c.x), xp.asarray(c.z), xp.asarray(c.mix)
    g, k = c.params_g, c.params_c
    gen = nn.Sequential(linear(g, "fc0"), tg.relu, linear(g, "fc1"), tg.relu,
                        linear(g, "fc2"), tg.tanh)
    leaky = nn.LeakyReLU(c.slope)
    critic = nn.Sequential(linear(k, "fc0"), leaky, linear(k, "fc1"), leaky, linear(k, "fc2"))
    optimizer = optim.Adam(critic.parameters(), c.lr, c.betas)

    def loss():
        with tg.no_grad():
            fake = gen(z).data
        mixed = tg.tensor(mix * x + (1 - mix) * fake, requires_grad=True)
        slope = tg.grad(critic(mixed).sum(), mixed, create_graph=True)
        norm = tg.sqrt((slope * slope).sum(1) + 1e-12)
        return critic(fake).mean() - critic(x).mean() + c.penalty * ((norm - 1) ** 2).mean()
    return trainer(loss, optimizer)


def overhead():
    c = cases.overhead()
    x0, a, b = (tg.tensor(v, requires_grad=True) for v in (c.x, c.a, c.b))

    def step():
        x0.grad = a.grad = b.grad = None
        x = x0
        for i in range(c.n):
            k = i % 3
            x = x * a if k == 0 else x + b if k == 1 else tg.tanh(x)
        loss = x.sum()
        loss.backward()
        return loss.item()
    return step


class CharGRU(nn.Module):
    def __init__(self, c):
        p = c.params
        self.emb = nn.Embedding(c.V, c.H)
        self.emb.W.data[...] = xp.asarray(p["emb"])
        self.gru = nn.Recurrent(nn.GRUCell(c.H, c.H))
        load(self.gru.cell.x, p, "x")
        load(self.gru.cell.h, p, "h")
        self.out = linear(p, "out")

    def forward(self, ids):
        hs, _ = self.gru(self.emb(ids))
        return self.out(hs)


def char_gru():
    c = cases.char_gru()
    x, y, model = xp.asarray(c.x), xp.asarray(c.y), CharGRU(c)
    return trainer(lambda: tg.cross_entropy(model(x), y), optim.Adam(model.parameters(), c.lr))


def adam():
    c = cases.adam()
    params = [tg.tensor(p, requires_grad=True) for p in c.params]
    for p, g in zip(params, c.grads):
        p.grad = xp.asarray(g)
    optimizer = optim.Adam(params, c.lr)

    def step():
        optimizer.step()
        return float(params[0].data[0, 0])
    return step


WORKLOADS = (vae_mlp, made, pixelcnn, dcgan, gpt, realnvp, wgan_gp, overhead, char_gru, adam)


def workloads():
    """{name: step}; a workload is set up at its first step."""
    return {build.__name__: _lazy(build) for build in WORKLOADS}


def _lazy(build):
    built = []

    def step():
        if not built:
            built.append(build())
        return built[0]()
    return step
