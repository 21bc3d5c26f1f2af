"""Lesson 22: can a latent-variable model be solved exactly?

Let the hidden cause be a point, not a list: z ~ N(0, I), x = z W + b + noise of variance s^2 in
every direction (probabilistic PCA). Everything stays Gaussian, so nothing needs a bound:

    p(x) = N(b, W'W + s^2 I)       p(z | x) = N(m, G), by Bayes' rule

Three ways lead to the same W, up to a turn of z: eigenvectors, EM, and a gradient. The last one
is a VAE with a linear encoder and decoder; it needs no eigenvectors, and the next lessons keep it.

Promise: EM never lowers ln p; eigenvectors come within 0.05 nats of the floor, EM and the ELBO
within 0.001 of them; the gap closes to 0.001, and the ELBO's W spans their subspace.
Changed since lesson 21: z is a vector; its posterior is a Gaussian, not a table of shares
    python lessons/22_ppca.py       about ten seconds

확률적 PCA는 잠재변수 z가 연속인 가장 단순한 모형이다. 모두 정규분포라서 우도도 사후분포 p(z|x)도 정확히 구한다.
고유벡터, EM, 기울기 세 길이 같은 곳에 이르고, 셋째 길은 선형 변분 오토인코더와 같다.
"""
# %% The world: a point moves in 3 directions, and 12 gauges see it through noise
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.models.approximate.ppca import PPCA
from tinygen.optim import Adam, cosine

args = lesson_options("Probabilistic PCA, three ways.")
rng = np.random.default_rng(args.seed)
D, Z, s = 12, 3, 0.5
true_W = np.linalg.qr(rng.normal(size=(D, Z)))[0].T * np.array([[4.0], [2.5], [1.5]])
C = true_W.T @ true_W + s * s * np.eye(D)                   # p_data = N(0, C)
floor = 0.5 * (D * np.log(2 * np.pi * np.e) + np.linalg.slogdet(C)[1])      # its entropy
x, test = (rng.multivariate_normal(np.zeros(D), C, n) for n in (2000, 20_000))
print(f"floor h(p_data)    {floor:.4f} nats per example")


def nll(model, x):
    with tg.no_grad():
        return -float(model.log_prob(x).data.mean())


# %% First way: s^2 is the mean of the eigenvalues left out, W spans the others
closed = PPCA(D, Z)
closed.fit_closed(x)
print(f"eigenvectors       nll {nll(closed, test):.4f} nats, KL {nll(closed, test) - floor:.4f}; "
      f"s {np.exp(0.5 * closed.logvar.data[0]):.3f}, in p_data {s}")

# %% Second way: EM. E: the posterior of every z. M: regression of x on what z is thought to be
em = PPCA(D, Z)
rounds = em.fit_em(x, steps=200)["log_prob"]
print(f"EM, {len(rounds):3d} rounds     nll {nll(em, test):.4f} nats; smallest rise of ln p in a "
      f"round {np.diff(rounds).min():.0e}")

# %% Third way: raise the ELBO, E_q[ln p(x | z)] - KL(q(z | x) || p(z)), by its gradient
linear_vae = PPCA(D, Z)
for p in linear_vae.parameters():
    p.data = p.data.astype("float64")
steps, losses = args.steps or (100 if args.quick else 2500), []
adam = Adam(linear_vae.parameters(), cosine(0.03, steps))
for step in range(steps):
    adam.zero_grad()
    loss = linear_vae.loss(x[rng.integers(0, len(x), 250)] if step < steps // 2 else x)
    loss.backward()
    adam.step()
    losses.append(loss.item())
gap = linear_vae.gap(x).mean()
print(f"ELBO, {steps} steps   nll {nll(linear_vae, test):.4f} nats; gap ln p - ELBO {gap:.1e}: q "
      "has become p(z | x)")


# %% The same subspace? Cosines of the angles between the rows of two W: 1 where they span the same
def angles(a, b):
    bases = [np.linalg.svd(m.decoder.W.data, full_matrices=False)[2] for m in (a, b)]
    return np.linalg.svd(bases[0] @ bases[1].T)[1]


print("cosines to the eigenvectors' subspace: EM", angles(em, closed).round(5), " ELBO",
      angles(linear_vae, closed).round(5))

# %% How many latents? Too few miss directions; too many explain noise
counts, by_count = range(1, 9), []
for k in counts:
    model = PPCA(D, k)
    model.fit_closed(x[:100])
    by_count.append((nll(model, x[:100]), nll(model, test)))
by_count = np.array(by_count)
best = counts[int(by_count[:, 1].argmin())]
told = by_count[[0, 2, 7]].round(2)
print(f"from 100 examples, nll by latents 1, 3, 8: on them {told[:, 0]}, on new ones {told[:, 1]} "
      f"nats; best on new ones: {best}")

# %% The posterior, in a plane: z given x is drawn towards 0, for noise explains part of x
plane = rng.multivariate_normal([0, 0], [[2.2, 1.5], [1.5, 1.5]], 300)
flat = PPCA(2, 1)
flat.fit_closed(plane)
m, G = flat.posterior(plane)
with tg.no_grad():
    shrunk = flat.decode(m.astype("float64")).mu.data
w = flat.decoder.W.data[0] / np.linalg.norm(flat.decoder.W.data)
foot = plane.mean(0) + (plane - plane.mean(0)) @ w[:, None] * w             # plain PCA's projection
share = np.linalg.norm(shrunk - plane.mean(0), axis=1).mean() / np.linalg.norm(
    foot - plane.mean(0), axis=1).mean()
print(f"in the plane: E[z | x] lies at {share:.2f} of PCA's projection; sd of z given x "
      f"{np.sqrt(G[0, 0]):.2f}, before x was seen 1")

# %% The picture
fig, axes = plotting.figure(1, 4, (17, 4))
ax = axes[0, 0]
ax.plot(*plane.T, ".", color="#999999", markersize=4, label="x")
for i in range(25):
    ax.plot(*np.stack([plane[i], shrunk[i]]).T, color="#c8553d", linewidth=0.8)
ax.plot(*shrunk[:25].T, ".", color="#c8553d", label="E[z | x] W + b")
ax.plot(*foot[:25].T, "x", color="#1b6ca8", markersize=4, label="PCA's projection")
ax.set(title="one latent in the plane", xlabel="x_1", ylabel="x_2", aspect="equal")
values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
axes[0, 1].semilogy(range(1, D + 1), values, "o", color="#1b6ca8", label="of 2000 examples")
axes[0, 1].axhline(np.exp(closed.logvar.data[0]), color="#c8553d", label="s^2, mean of the last 9")
axes[0, 1].set(xlabel="which eigenvalue", ylabel="variance", title="what is signal, what is noise")
axes[0, 2].plot(-np.array(rounds), color="#c8553d", label="EM, by round")
plotting.curve(axes[0, 2], losses, "ELBO by Adam, by step", "#1b6ca8")
plotting.floor_line(axes[0, 2], floor, "floor h(p_data)")
axes[0, 2].set(xscale="log", xlabel="round, or step", ylabel="nats per example fitted to",
               title="three ways, one place", ylim=(floor - 0.5, floor + 6))
axes[0, 2].axhline(nll(closed, x), color="#3c8d5a", linewidth=1, label="eigenvectors")
for column, label in ((0, "100 examples it was fitted to"), (1, "new examples")):
    axes[0, 3].plot(counts, by_count[:, column], "o-", label=label)
plotting.floor_line(axes[0, 3], floor, "floor h(p_data)")
axes[0, 3].set(xlabel="latents", ylabel="nll, nats per example", title="how many latents?")
for ax in axes[0]:
    ax.legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "22_ppca.png", args.show))

# %% The promise of this lesson
assert np.diff(rounds).min() > -1e-9 and floor < nll(closed, test) < floor + 0.05
assert abs(nll(em, test) - nll(closed, test)) < 1e-3
if not (args.quick or args.steps):
    assert abs(nll(linear_vae, x) - nll(closed, x)) < 1e-3 and gap < 1e-3
    assert angles(linear_vae, closed).min() > 0.999
# What we left out: a noise of its own for each gauge (FactorAnalysis, beside PPCA in its file);
# decoders that are not linear, where p(z | x) has no formula (23, 24). Exercise: ex28_gaussian_kl.
