"""Lesson 24: how can a network learn hidden causes that nobody labelled?

A decoder turns z ~ N(0, I) into a picture; which z made a given picture has no formula. So a second
network, the encoder, guesses it for every x at once: q(z | x) = N(mu(x), s(x)^2). Both learn from

    ELBO = E_q[ln p(x | z)] - KL(q(z | x) || p(z))        z = mu + s eps, eps ~ N(0, I)
           -(distortion)      rate

Distortion alone would be an autoencoder, whose codes lie anywhere. The rate packs them into
N(0, I), and that is why a VAE can draw: z from the prior, then x.

Promise: on glyphs the bound with k = 64 is within 16 nats of the floor; the VAE's pictures
lie 20 nats of ln p_data higher than the autoencoder's; over 70 % of the digits can be read off z.
Changed since lesson 23: p(x | z) and q(z | x) are networks; q can no longer reach p(z | x)
    python lessons/24_vae.py                    about a minute, offline
    python lessons/24_vae.py --data mnist       real digits, whose floor nobody knows

변분 오토인코더는 그림의 숨은 원인 z를 스스로 찾는다. 부호화기가 q(z|x)를, 복호화기가 p(x|z)를 맡고 둘 다 증거
하한(ELBO)으로 배운다. 재구성만 배우는 오토인코더와 달리 부호가 N(0, I)에 모이므로 새 그림을 뽑을 수 있다.
"""
# %% The world: drawn digits, each pixel flipped with p = 0.02
import numpy as np

import tinygen as tg
from tinygen import evaluation, plotting
from tinygen.commands import lesson_options, one_sentence
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Glyphs
from tinygen.datasets.mnist import dynamic, load_mnist
from tinygen.models.approximate.vae import VAE, Autoencoder
from tinygen.optim import Adam, cosine
from tinygen.training import Progress, fit

args = lesson_options("A variational autoencoder.", worlds=("glyphs", "mnist"))
rng = np.random.default_rng(args.seed)
if args.data == "glyphs":
    world, side = Glyphs(), 16
    train, transform = world.templates, lambda t, rng: world.sample(len(t), rng)
    (seen, seen_y), (test, y) = (world.sample(2000, rng, return_factors=True) for _ in range(2))
    digits, test_digits, floor = seen_y["digit"], y["digit"], world.entropy()[0]
else:
    with one_sentence():
        mnist = load_mnist(report=print)
    world, side, floor = None, 28, None
    train, transform = mnist.train_images, dynamic
    seen, digits = dynamic(mnist.train_images[:2000], rng), mnist.train_labels[:2000]
    test, test_digits = dynamic(mnist.test_images[:2000], rng), mnist.test_labels[:2000]
D, Z = side * side, 16
steps = args.steps or (40 if args.quick else 4000)

# %% Two models with the same networks, and one loop
vae = VAE(D, Z, hidden=(256, 256), activation=tg.relu)
plain = Autoencoder(D, Z, hidden=(256, 256), activation=tg.relu)
beta = iter(np.linspace(0, 1, max(2, steps // 4)))      # the weight of the KL, raised to 1


def minus_elbo(x):
    q = vae.encode(x)
    z = q.rsample()                                     # mu + s eps: gradients pass to mu and s
    log_likelihood = tg.sum(vae.decode(z).log_prob(x), -1)
    rate = tg.sum(q.kl(), -1)
    return tg.mean(next(beta, 1.0) * rate - log_likelihood)


histories = {}
for name, model, loss, n in (("-elbo", vae, minus_elbo, steps),
                             ("distortion", plain, plain.loss, steps // 4)):
    adam = Adam(model.parameters(), cosine(2e-3, n))
    histories[name] = fit(model, Endless(train, 100, rng, transform=transform), n,
                          [(name, loss, adam)], report=Progress(type(model).__name__))[name]

# %% How good is it? Nats, beside the floor where there is one
told = f"floor {floor:.2f}" if world else "floor unknown"
rate, distortion = evaluation.rate_and_distortion(vae, test)
bound = {k: -evaluation.mean_and_error(lambda x: vae.log_prob_bound(x, k), test[:1000])[0]
         for k in (1, 64)}
print(f"-ELBO {rate + distortion:.2f} nats = rate {rate:.2f} + distortion {distortion:.2f}  {told}")
print(f"bound, k = 1: {bound[1]:.2f}, k = 64: {bound[64]:.2f} nats: at least the rest was gap")
active = evaluation.active_units(vae, test)
print(f"active units {active} of {Z}: the others tell nothing of x, and cost no rate")

# %% What has z found out? Labels were never shown
with tg.no_grad():
    z_seen, z = (vae.encode(a).mu.numpy() for a in (seen, test))
probe = evaluation.linear_probe(z_seen, digits, z, test_digits)
print(f"digit read off z by a linear layer: {100 * probe:.1f} % (guessing: 10 %)")

# %% Drawing: codes from N(0, I). The autoencoder never promised to understand those
n = 100 if args.quick else 1000
with tg.no_grad():
    codes = rng.standard_normal((n, Z)).astype("float32")
    drawn = {"VAE": vae.decode(codes), "autoencoder": plain.decode(codes)}
    drawn = {name: p.sample() for name, p in drawn.items()}                 # x ~ p(x | z)
if world:
    scores = {name: world.log_prob(x).mean() for name, x in drawn.items()}
    print("mean ln p_data of drawn pictures: "
          + ", ".join(f"{k} {v:.1f}" for k, v in scores.items())
          + f" nats (of true ones {world.log_prob(test).mean():.1f})")
    found = {name: len(world.modes_found(x)) for name, x in drawn.items()}
    print(f"templates among {n}: " + ", ".join(f"{k} {v}" for k, v in found.items())
          + f"; among true ones {len(world.modes_found(test[:n]))}")

# %% The picture
fig, axes = plotting.figure(2, 5, (18.5, 7.4))


def decode(codes, model=vae):
    with tg.no_grad():
        return tg.sigmoid(model.decode(codes).logits).numpy()


pairs = np.stack([test[:32].reshape(32, D), decode(z[:32])], 1).reshape(64, D)
plotting.images(axes[0, 0], pairs, (side, side), title="x, and decoded from E[z | x] (in pairs)")
plotting.images(axes[0, 1], drawn["VAE"][:64], (side, side), title="VAE: drawn from N(0, I)")
plotting.images(axes[0, 2], drawn["autoencoder"][:64], (side, side),
                title="autoencoder: decoded from N(0, I)")
most = np.argsort(-evaluation.latent_variances(vae, test))
plotting.traversal(axes[0, 3], decode, z[0], (side, side), most[:8], title="one z_i moved, -3 to 3")
plotting.curve(axes[1, 0], histories["-elbo"], "-ELBO (KL at full weight from a quarter on)")
if world:
    plotting.floor_line(axes[1, 0], floor, "floor H(p_data)")
axes[1, 0].axhline(bound[64], color="#3c8d5a", linewidth=1, label="bound, k = 64")
axes[1, 0].set(xlabel="step", ylabel="nats per picture", title="learning",
               ylim=(0.8 * (floor or 80), 2.5 * (floor or 80)))
axes[1, 0].legend(fontsize=8, loc="upper right")
variances = np.sort(evaluation.latent_variances(vae, test))[::-1]
axes[1, 1].bar(range(Z), variances)
axes[1, 1].set(xticks=range(0, Z, 3), xlabel="latent, sorted", ylabel="Var_x E[z_i | x]",
               title=f"{active} active units")
with tg.no_grad():
    z_plain = plain.encode(test).numpy()
plotting.interpolation(axes[0, 4], decode, z[:8], z[8:16], (side, side),
                       title="VAE: from the z of one x to that of another")
plotting.interpolation(axes[1, 4], lambda codes: decode(codes, plain), z_plain[:8], z_plain[8:16],
                       (side, side), title="autoencoder: the same way")
for ax, codes, title in ((axes[1, 2], z, "VAE"), (axes[1, 3], z_plain, "autoencoder")):
    i, j = np.argsort(-codes.var(0))[:2]
    dots = ax.scatter(*codes[:, [i, j]].T, c=test_digits, s=4, cmap="tab10", vmin=-.5, vmax=9.5)
    ax.set(title=f"{title}: codes, its two widest z", xlabel=f"z_{i}", ylabel=f"z_{j}")
fig.colorbar(dots, ax=axes[1, 3], label="digit", ticks=range(10))
print("figure:", plotting.save(fig, args.out, f"24_vae_{args.data}.png", args.show))

# %% The promise of this lesson
assert bound[64] <= bound[1] + 0.5 and (not world or bound[64] > floor - 1)
if world and not (args.quick or args.steps):
    assert bound[64] < floor + 16 and scores["VAE"] > scores["autoencoder"] + 20 and probe > 0.7
# What we left out: tighter bounds (25), better priors and two levels (models/approximate/vae.py,
# priors.py), convolutions (conv_coders). Exercises: ex28_gaussian_kl, ex29_reparameterisation,
# ex30_elbo.
