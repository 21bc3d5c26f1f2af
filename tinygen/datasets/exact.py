"""log p(x) = logsumexp_k [log p(k) + log p(x | k)]: the exact sums that the known worlds share.

Letters: n or B examples, D numbers each, K components, k a component.
"""
import math

import numpy as np

BLOCK = 4096                        # examples worked on at a time, so memory stays at BLOCK * K
DRAWS = 20_000                      # samples behind an entropy that has no closed form


def whole(value, lowest, highest, asker):
    """value, if it is an integer from lowest to highest."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{asker}: got {value!r}, needs an integer")
    if not lowest <= value <= highest:
        raise ValueError(f"{asker}: got {value}, needs an integer from {lowest} to {highest}")
    return int(value)


def check_draw(n, rng, asker):
    """n is a count and rng a NumPy Generator."""
    whole(n, 0, math.inf, f"{asker}: n")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{asker}: rng is {rng!r}, needs a Generator: np.random.default_rng(seed)")


def batch(x, D, asker):
    """x as an array (B, D) of finite real numbers."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{asker}: got values of type {x.dtype}, needs real numbers")
    if x.ndim != 2 or x.shape[1] != D:
        raise ValueError(f"{asker}: got shape {x.shape}, needs (B, {D}), one example a row")
    if not np.isfinite(x).all():
        raise ValueError(f"{asker}: got NaN or infinity, needs finite numbers")
    return x


def in_blocks(f, x):
    """f(x), a block of rows at a time."""
    return np.concatenate([f(x[i:i + BLOCK]) for i in range(0, max(len(x), 1), BLOCK)])


def logsumexp(a):
    """log sum_k exp a_k over the last axis; the largest comes out first, so exp cannot overflow."""
    top = a.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(a - top).sum(axis=-1))


def discrete_entropy(p):
    """-sum_k p_k log p_k over the last axis, nats; 0 log 0 = 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


class Mixture:
    """p(x) = sum_k p(k) p(x | k), with K known components: densities and posteriors are exact sums.

    `factors` is a table: for each thing to know about a component, an integer array (K,).
    `log_prior` (K,) can be set to any logs, which are then normalised; it starts uniform.
    A world adds `_draw(k, rng)`, `_log_likelihood(x)` -> (B, K), `_noise_entropy()` -> (K,).
    """
    def __init__(self, D, K, factors):
        self.D, self.K, self.factors = D, K, factors
        self.log_prior = np.zeros(K)

    @property
    def log_prior(self):
        return self._log_prior

    @log_prior.setter
    def log_prior(self, value):
        value = np.asarray(value, dtype=float)
        if value.shape != (self.K,) or not np.isfinite(value.max()):
            raise ValueError(f"log_prior: got shape {value.shape} or NaN or all -inf, needs "
                             f"{self.K} logs of which at least one is finite")
        self._log_prior, self._entropy = value - logsumexp(value), None

    def _check(self, x, asker):
        return batch(x, self.D, f"{type(self).__name__}.{asker}")

    def _log_joint(self, x):
        return self.log_prior + self._log_likelihood(x)                                  # (B, K)

    def sample(self, n, rng, return_factors=False):
        """k ~ p(k), x ~ p(x | k) -> x (n, D) float32; with return_factors also their factors."""
        check_draw(n, rng, f"{type(self).__name__}.sample")
        k = rng.choice(self.K, size=n, p=np.exp(self.log_prior))
        x = self._draw(k, rng).astype(np.float32)
        return (x, {name: row[k] for name, row in self.factors.items()}) if return_factors else x

    def log_prob(self, x):
        """log sum_k p(k) p(x | k) -> (B,) nats."""
        return in_blocks(lambda x: logsumexp(self._log_joint(x)), self._check(x, "log_prob"))

    def posterior(self, x):
        """p(k | x) = p(k) p(x | k) / p(x) -> (B, K)."""
        x = self._check(x, "posterior")
        joint = in_blocks(self._log_joint, x)
        return np.exp(joint - logsumexp(joint)[:, None])

    def entropy(self):
        """H(x) = H(k) + H(x | k) - H(k | x) -> (nats per example, its standard error).

        Only the last term is averaged over samples. It is small where components are far apart, so
        the error is far below that of averaging -log p(x); where none overlap, both are 0. What
        overlaps too rarely to be met in DRAWS samples goes unseen and weighs under log K / DRAWS.
        """
        if self._entropy is None:
            x = self.sample(DRAWS, np.random.default_rng(0))
            unknown = in_blocks(lambda x: discrete_entropy(self.posterior(x)), x)
            prior, error = np.exp(self.log_prior), unknown.std() / math.sqrt(DRAWS)
            known = discrete_entropy(prior) + prior @ self._noise_entropy()
            self._entropy = known - unknown.mean(), error if error > 1e-12 else 0.0
        return tuple(float(number) for number in self._entropy)
