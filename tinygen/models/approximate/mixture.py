"""Mixtures of Gaussians:   p(x) = sum_k pi_k N(x; mu_k, Sigma_k)

    x (B, D)      examples;   z in 0..K-1, the component that made one: the latent variable
    r (B, K)      responsibilities, r_k = p(z = k | x): the exact posterior, as a sum is no integral
    A (K, D, D)   lower triangular, A A' = Sigma^-1, so that (x - mu) A is white noise
A, and not Sigma, is learned: ln p needs no inverse then, and of the determinant only A's diagonal,
e^logdiag. Any such A is allowed, so no step of an optimizer can leave the valid covariances.
The likelihood has no maximum: a component on one point alone gains without end as Sigma shrinks.
So no variance falls below `floor`, and `degenerate()` tells which components have come there.
"""
import math

import numpy

from ...distributions import LN_2PI, Categorical
from ...engine.backend import host_rng, normal, to_numpy, xp
from ...engine.elementwise import clip, exp
from ...engine.products import matmul
from ...engine.reductions import log_softmax, logsumexp, mean, softmax, sum
from ...engine.shaping import expand_dims, take_along_axis
from ...engine.tensor import no_grad
from ...nn import init
from ...nn.linear import check_sizes
from ..branches import Approximate, as_batch

EMPTY = 1e-6            # a component with fewer examples than this is left where it is
BLOCK = 4096            # examples whose (K, B, D) distances are in memory at a time


class GaussianMixture(Approximate):
    """p(x) = sum_k pi_k N(x; mu_k, (A_k A_k')^-1), pi = softmax(logits)

    Call start(x); then fit_em(x), or lower loss(x) with an optimizer. covariance: "full",
    "diagonal", or "tied", one for all. floor, in squared units of x: EM keeps each eigenvalue of
    Sigma above it; by gradient each variance of x_d given x_d+1 ... x_D stops there for good.
    Source: Bishop 2006, section 9.2; the floor: Hathaway 1985."""

    def __init__(self, D, k, covariance="full", floor=1e-6):
        check_sizes("GaussianMixture", D=D, k=k)
        if covariance not in ("full", "diagonal", "tied") or not 0 < floor < math.inf:
            raise ValueError(f"GaussianMixture: covariance {covariance!r}, floor {floor}; needs "
                             "'full', 'diagonal' or 'tied', and a variance above 0")
        self.D, self.K, self.covariance, self.floor = D, k, covariance, floor
        n = 1 if covariance == "tied" else k
        self.logits, self.mu = init.constant((k,)), init.normal((k, D), std=1.0)
        self.logdiag = init.constant((n, D))
        self.lower = None if covariance == "diagonal" else init.constant((n, D, D))

    def factor(self):
        """A (K, D, D): `lower` below the diagonal, e^logdiag on it."""
        eye = xp.eye(self.D, dtype=bool)
        return self.lower * xp.tril(~eye) + expand_dims(exp(self._logdiag()), 2) * eye

    def _logdiag(self):
        return clip(self.logdiag, None, -0.5 * math.log(self.floor))

    def log_joint(self, x):
        """ln pi_k + ln N(x; mu_k, Sigma_k) = ln pi_k + sum_d ln A_dd - (|y|^2 + D ln 2 pi) / 2,
        y = (x - mu_k) A_k.   (B, D) -> (B, K)"""
        y = expand_dims(as_batch(self, x), 0) - expand_dims(self.mu, 1)             # (K, B, D)
        diag = self._logdiag()
        y = y * expand_dims(exp(diag), 1) if self.lower is None else matmul(y, self.factor())
        return log_softmax(self.logits) + sum(diag, 1) - 0.5 * (sum(y * y, 2).T + self.D * LN_2PI)

    def log_prob(self, x):
        """ln p(x) = logsumexp_k ln p(x, k), exact.   (B, D) -> (B,)"""
        return logsumexp(self.log_joint(x), 1)

    def loss(self, x):
        """-mean log_prob(x), nats per example: nothing is left to bound. x may be a batch of fewer
        examples than K, which steps of EM and start(x) refuse: one small step forgets none."""
        return -mean(self.log_prob(x))

    def elbo(self, x, log_r=None):
        """sum_k r_k (ln p(x, k) - ln r_k) = ln p(x) - KL(r || p(z | x)).   (B, D) -> (B,)

        log_r (B, K): ln r, finite, up to a number per row. Left out, r is the posterior, held
        fixed: then the value is ln p(x) and so is its gradient. Source: Neal & Hinton 1998."""
        joint = self.log_joint(x)
        log_r = log_softmax(joint.detach() if log_r is None else log_r, 1)
        return sum(exp(log_r) * (joint - log_r), 1)

    def log_prob_bound(self, x, k=64, log_r=None):
        """ln 1/k sum_i p(x, z_i) / r(z_i), z_i ~ r: rises with k, in expectation, from the elbo
        towards ln p(x); ln p(x) itself where r is the posterior.   (B, D) -> (B,)"""
        check_sizes("log_prob_bound", k=k)
        joint = self.log_joint(x)
        log_r = log_softmax(joint.detach() if log_r is None else log_r, 1)
        z = Categorical(log_r).sample((k,))                                         # (k, B)
        return logsumexp(take_along_axis(joint - log_r, z.T, 1), 1) - math.log(k)

    def encode(self, x):
        """r_k = p(z = k | x).   (B, D) -> (B, K)"""
        return softmax(self.log_joint(x), 1)

    def decode(self, r):
        """sum_k r_k mu_k: the mean of x when z ~ r.   (..., K) -> (..., D)"""
        return matmul(r, self.mu)

    def sample(self, n):
        """z ~ pi, then x = mu_z + eps A_z^-1, eps ~ N(0, I).   (n, D)"""
        with no_grad():
            z, x = Categorical(self.logits).sample((n,)), normal((n, self.D), self.mu.dtype)
            if self.lower is None:
                return self.mu.data[z] + x * xp.exp(-self._logdiag().data)[z]
            roots = xp.linalg.inv(self.factor().data)
        for k in range(self.K):
            rows = z == k
            x[rows] = self.mu.data[k] + x[rows] @ roots[k % len(roots)]
        return x

    def start(self, x):
        """k-means++ means, even weights, and for all the variance left around the nearest mean.
        The parameters become float64 if x is."""
        if getattr(x, "dtype", None) == "float64":
            self.logits.data = self.logits.data.astype("float64")   # as_batch looks there
        means, left = k_means_plus_plus(self._examples(x), self.K)
        variances = xp.full(self.logdiag.shape, max(left / self.D, self.floor))
        self._store(xp.ones(self.K) / self.K, means, variances, xp.eye(self.D)[None])

    def fit_em(self, x, steps=100, tol=1e-6):
        """Takes steps of EM; stops, and gives a history, as `climb` says."""
        return climb(lambda: self.em_step(x), steps, tol)

    def em_step(self, x):
        """E: r = p(z | x);  M: pi, mu, Sigma = means under r.   Gives mean ln p(x) before it.

        ln p(x) never falls: raising variances to the floor gives the best Sigma that it allows, and
        an empty component keeps its mu and Sigma. Source: Bishop 2006, eqs. 9.23 to 9.26."""
        x = self._examples(x)
        with no_grad():
            joint = xp.concatenate([self.log_joint(x[i:i + BLOCK]).data
                                    for i in range(0, len(x), BLOCK)])
        log_p = logsumexp(joint, 1)
        r = xp.exp(joint - log_p[:, None])
        n = r.sum(0)
        mu = xp.where((n < EMPTY)[:, None], self.mu.data, r.T @ x / xp.maximum(n, EMPTY)[:, None])
        values, vectors = self._spectrum(self._scatter(x, r, n, mu))
        self._store(n, mu, xp.maximum(values, self.floor), vectors)
        return float(log_p.mean())

    def _scatter(self, x, r, n, mu):
        """sum_b r (x - mu)'(x - mu) / n, in the shape of `covariances`"""
        S = []
        for r_k, d in ((r[:, k], x - mu[k]) for k in range(self.K)):
            S.append(r_k @ (d * d) if self.lower is None else (r_k[:, None] * d).T @ d)
        if self.covariance == "tied":
            return xp.stack(S).sum(0, keepdims=True) / len(x)
        n = n.reshape(-1, *[1] * S[0].ndim)
        return xp.where(n < EMPTY, self.covariances(), xp.stack(S) / xp.maximum(n, EMPTY))

    def _spectrum(self, S):
        """Eigenvalues and eigenvectors, float64; a diagonal Sigma is its eigenvalues."""
        return (S, None) if self.lower is None else xp.linalg.eigh(S.astype("float64"))

    def _store(self, weights, mu, values, vectors):
        """Sets logits, mu, and A by A A' = Sigma^-1 = U L^-1 U'. All take the type of mu."""
        weights = xp.maximum(weights, xp.finfo(mu.dtype).tiny)      # ln 0 is no parameter
        new = {"logits": xp.log(weights), "mu": mu, "logdiag": -0.5 * xp.log(values)}
        if self.lower is not None:
            A = xp.linalg.cholesky(vectors / values[:, None] @ vectors.swapaxes(1, 2))
            new |= {"logdiag": xp.log(A.diagonal(0, 1, 2)), "lower": xp.tril(A, -1)}
        for name, a in new.items():
            getattr(self, name).data = a.astype(mu.dtype)

    def set(self, weights, mu, covariances):
        """Takes pi (K,), up to a factor, mu (K, D), and Sigma as `covariances` gives it: ValueError
        for weights below 0, or where Sigma is no covariance."""
        weights, mu, S = (xp.asarray(a) for a in (weights, mu, covariances))
        for a, needed in (weights, self.logits), (mu, self.mu), (S, self.covariances()):
            if a.shape != needed.shape or not xp.isfinite(a).all():
                raise ValueError(f"GaussianMixture: given {a.shape}; needs {needed.shape}, finite")
        if not ((weights >= 0).all() and weights.any()):
            raise ValueError(f"GaussianMixture: weights are {weights}; needs numbers from 0 up, not"
                             " all of them 0")
        if self.lower is not None and abs(S - S.swapaxes(1, 2)).max() > 1e-4 * abs(S).max():
            raise ValueError("GaussianMixture: a covariance is not symmetric; needs Sigma = Sigma'")
        values, vectors = self._spectrum(S)
        if values.min() < 0.99 * self.floor:
            raise ValueError(f"GaussianMixture: covariance {int(values.min(1).argmin())} is "
                             f"singular; its eigenvalues need the floor, {self.floor:g}, at least")
        self._store(weights, mu, values, vectors)

    def covariances(self):
        """Sigma (K, D, D), or (1, D, D) if tied; if diagonal the variances (K, D)"""
        with no_grad():
            if self.lower is None:
                return xp.exp(-2 * self._logdiag().data)
            root = xp.linalg.inv(self.factor().data)
        return root.swapaxes(1, 2) @ root

    def degenerate(self):
        """{"collapsed": components with a variance down at the floor, "empty": those without
        weight}: a mixture of fewer components, or another start, may do better."""
        least = to_numpy(self._spectrum(self.covariances())[0].min(1)) * numpy.ones(self.K)
        return {"collapsed": numpy.flatnonzero(least < 1.01 * self.floor).tolist(),
                "empty": numpy.flatnonzero(to_numpy(softmax(self.logits.data)) < EMPTY).tolist()}

    def _examples(self, x):
        """x (N, D), N at least K, finite"""
        x = as_batch(self, x)
        if len(x) < self.K or not xp.isfinite(x).all():
            raise ValueError(f"GaussianMixture: {len(x)} examples for {self.K} components; needs "
                             "at least as many, without NaN or infinity")
        return x


def k_means_plus_plus(x, k):
    """k examples as means, each drawn with chance ~ its squared distance to the nearest mean so
    far; and the mean of that distance in the end. Source: Arthur & Vassilvitskii 2007."""
    means, nearest, chance = [], xp.full(len(x), math.inf, x.dtype), numpy.ones(len(x))
    for _ in range(k):
        means.append(x[int(host_rng().choice(len(x), p=chance / chance.sum()))])
        nearest = xp.minimum(nearest, ((x - means[-1]) ** 2).sum(1))
        chance = to_numpy(nearest).astype("float64") + 1e-300       # all 0: every choice is as good
    return xp.stack(means), float(nearest.mean())


def climb(step, steps, tol):
    """Repeats step(), which gives mean ln p(x) before it, until that rises by less than tol nats.
    Gives the history {"step": 1, 2, ..., "log_prob": before each}."""
    values = []
    while len(values) < steps and (len(values) < 2 or values[-1] - values[-2] >= tol):
        values.append(step())
    return {"step": numpy.arange(1, len(values) + 1), "log_prob": numpy.array(values)}

