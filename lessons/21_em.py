"""Lesson 21: what if the cause of x is hidden?

A latent-variable model says how x came about: first a cause z, then x from it,
p(x) = sum_z p(z) p(x | z). Were z known, theta would be averages. Were theta known, p(z | x) would
be Bayes' rule. EM takes turns:

    E   r_nk = p(z = k | x_n)          responsibilities
    M   theta: averages, each point counted r_nk times

No step size, and the likelihood never falls. Gradient ascent on ln p(x) ends in a like place.

Promise: EM never lowers ln p; the ELBO is ln p where r = p(z | x), and less where it is not; EM
ends less than 0.1 nats above the floor, and as near to where the gradient ends.
Changed since lesson 20: p(x) is a sum over what nobody sees
    python lessons/21_em.py       about ten seconds

잠재변수 모형은 보이지 않는 원인 z에서 x가 나왔다고 본다. EM은 두 걸음을 번갈아 한다: 지금의 모수로 p(z|x)를
구하고(E), 그것을 가중치로 삼아 모수를 평균으로 다시 정한다(M). 우도는 결코 줄지 않는다.
"""
# %% The world: a pinwheel of five blades; the model: K Gaussians
import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Mixture2D
from tinygen.optim import Adam, cosine

args = lesson_options("A mixture of Gaussians by EM and by gradient.")
rng = np.random.default_rng(args.seed)
world, K, D = Mixture2D("pinwheel"), 15, 2
x, test = world.sample(4000, rng).astype(float), world.sample(10_000, rng).astype(float)
floor = world.entropy()[0]


# %% The density, and the two steps
def log_joint(x, weights, means, L):
    """ln w_k + ln N(x; mean_k, C_k) -> (N, K), with C_k^-1 = L_k L_k'"""
    d = np.einsum("nkd,kde->nke", x[:, None] - means, L)
    log_det = np.log(abs(L.diagonal(axis1=1, axis2=2))).sum(1)
    return np.log(weights) + log_det - 0.5 * (d ** 2).sum(2) - 0.5 * D * np.log(2 * np.pi)


def e_step(x, theta):
    """Responsibilities (N, K), and the mean of ln p(x)"""
    joint = log_joint(x, *theta)
    log_p = np.logaddexp.reduce(joint, 1)
    return np.exp(joint - log_p[:, None]), log_p.mean()


def m_step(x, r):
    n = r.sum(0)
    means = r.T @ x / n[:, None]
    d = x[:, None] - means
    C = np.einsum("nk,nkd,nke->kde", r, d, d) / n[:, None, None] + 1e-4 * np.eye(D)
    return n / len(x), means, np.linalg.cholesky(np.linalg.inv(C))


# %% EM from a start at random points
points = x[rng.choice(len(x), K, replace=False)]
start = np.full(K, 1 / K), points, np.tile(2 * np.eye(D), (K, 1, 1))
theta, curve, snapshots = start, [], {}
rounds = 15 if args.quick else 80
for i in range(rounds):
    r, log_p = e_step(x, theta)
    curve.append(log_p)
    if i in (0, 3, 15, rounds - 1):
        snapshots[i] = theta
    theta = m_step(x, r)
em_nll = -e_step(test, theta)[1]
print(f"floor h(p_data) {floor:.4f} nats per point")
print(f"EM, {rounds} rounds: nll {em_nll:.4f} nats, KL {em_nll - floor:.4f}; "
      f"smallest rise of ln p {np.diff(curve).min():.1e} nats")

# %% The same objective by gradient: ln p(x) is a logsumexp, and tinygen differentiates it
w, m = tg.tensor(np.zeros(K), True), tg.tensor(start[1], True)
log_diag, lower = tg.tensor(np.full((K, D), np.log(2.0)), True), tg.tensor(np.zeros(K), True)
parameters, eye = [w, m, log_diag, lower], np.eye(D)
corner = np.array([[0.0, 0.0], [1.0, 0.0]])         # the one number of L below its diagonal


def log_prob(x):
    L = tg.expand_dims(tg.exp(log_diag), 2) * eye + lower.reshape(K, 1, 1) * corner
    d = tg.einsum("nkd,kde->nke", x[:, None] - m, L)
    return tg.logsumexp(tg.log_softmax(w) + tg.sum(log_diag, 1) - 0.5 * tg.sum(d * d, 2), 1) - (
        np.log(2 * np.pi))


steps, climbs = args.steps or (30 if args.quick else 600), []
adam = Adam(parameters, cosine(0.05, steps))
for step in range(steps):
    batch = x[rng.integers(0, len(x), 300)]
    adam.zero_grad()
    loss = -tg.mean(log_prob(batch))
    loss.backward()
    adam.step()
    climbs.append(-loss.item())
with tg.no_grad():
    gradient_nll = -tg.mean(log_prob(test)).item()
print(f"Adam, {steps} steps: nll {gradient_nll:.4f} nats, KL {gradient_nll - floor:.4f}")

# %% Why it cannot fall: ln p(x) = ELBO + KL(r || p(z | x)); E closes the gap, M lifts the bound
r, before = e_step(x, start)
wrong = np.full_like(r, 1 / K)                      # responsibilities that know nothing


def elbo(r, theta):
    return (r * (log_joint(x, *theta) - np.log(r + 1e-300))).sum(1).mean()


print(f"at the start, nats: ln p {before:.3f}; ELBO with r = 1/K {elbo(wrong, start):.3f}, with "
      f"r = p(z | x) {elbo(r, start):.3f}; after the M step ELBO {elbo(r, m_step(x, r)):.3f}, "
      f"ln p {e_step(x, m_step(x, r))[1]:.3f}")

# %% The picture
fig, axes = plotting.figure(1, 5, (17, 3.6))
angle = np.linspace(0, 2 * np.pi, 60)
circle = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
for ax, (i, (weights, means, L)) in zip(axes[0], snapshots.items()):
    ax.plot(*x[:1500].T, ".", markersize=1.5, color="#999999")
    for k in range(K):
        ax.plot(*(means[k] + circle @ np.linalg.inv(L[k])).T, color="#c8553d", linewidth=1)
    ax.set(title=f"EM, round {i}: 2 sigma", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
axes[0, 4].plot(-np.array(curve), color="#c8553d", label="EM: nll, all points")
plotting.curve(axes[0, 4], -np.array(climbs), "Adam: nll, a batch", "#1b6ca8")
plotting.floor_line(axes[0, 4], floor, "floor h(p_data)")
axes[0, 4].set(xlabel="round, or step", ylabel="nats per point", title="the same place")
axes[0, 4].legend(fontsize=8)
print("figure:", plotting.save(fig, args.out, "21_em.png", args.show))

# %% The promise of this lesson
assert np.diff(curve).min() > -1e-3, "EM never lowers the likelihood (the floor 1e-4 on C aside)"
assert abs(elbo(r, start) - before) < 1e-9 and elbo(wrong, start) < before
assert args.quick or args.steps or (em_nll - floor < 0.1 and abs(em_nll - gradient_nll) < 0.1)
# What we left out: k-means++ starts and collapse (models/approximate/mixture.py); causes that are
# not a list but a space. Exercises: ex31_em_step, ex30_elbo.
