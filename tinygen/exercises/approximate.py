"""Exercises 28 to 32: the formula at the heart of each model with latent variables."""
from types import SimpleNamespace

import numpy as np

from .. import distributions
from ..models.approximate import mixture, vae
from .task import Case, Exercise, named, random

# --- 28 to 30: the VAE ----------------------------------------------------------------------------

def softplus(x):
    return np.logaddexp(x.dtype.type(0), x)


def _sigmoid(x):
    return np.exp(-softplus(-x))


def _kl(mu, logvar):
    return 0.5 * (np.exp(logvar) + mu * mu - 1 - logvar).sum(1)


def _gauss_case(name, B, Z, **more):
    return Case(name, mu=random(B, Z), logvar=random(B, Z, seed=1), **more)


GAUSSIAN_KL = Exercise(
    "ex28_gaussian_kl", "KL(N(mu, s^2) || N(0, 1)), summed over each example",
    right=SimpleNamespace(gaussian_kl=_kl),
    run=lambda answer, **args: {"kl": answer.gaussian_kl(*args.values())},
    cases=[_gauss_case("plain", 4, 3), _gauss_case("square", 5, 5, spares="square input"),
           _gauss_case("plain, larger", 7, 5),
           Case("q = p", mu=np.zeros((2, 3)), logvar=np.zeros((2, 3)),
                fault="KL(p || p) must be 0")],
    terms=lambda mu, logvar: {
        "s^2 / 2": 0.5 * np.exp(logvar).sum(1), "mu^2 / 2": 0.5 * (mu * mu).sum(1),
        "-1 / 2": np.full(len(mu), -0.5 * mu.shape[1]), "-logvar / 2": -0.5 * logvar.sum(1)},
    variants={
        "logvar is taken for ln s: e^(2 logvar) is the variance squared": dict(
            gaussian_kl=lambda mu, logvar: _kl(mu, 2 * logvar)),
        "e^(logvar / 2) is s: its square is missing": dict(gaussian_kl=lambda mu, logvar: (
            0.5 * (np.exp(0.5 * logvar) + mu * mu - 1 - logvar)).sum(1)),
        "that is KL(N(0, 1) || q): the two are exchanged": dict(gaussian_kl=lambda mu, logvar: (
            0.5 * ((1 + mu * mu) * np.exp(-logvar) - 1 + logvar)).sum(1)),
        "mu is not squared": dict(gaussian_kl=lambda mu, logvar: (
            0.5 * (np.exp(logvar) + mu - 1 - logvar)).sum(1)),
        "logvar is taken for the variance itself: s^2 = e^logvar": dict(
            gaussian_kl=lambda mu, logvar: 0.5 * (
                logvar + mu * mu - 1 - np.log(abs(logvar))).sum(1))},
    hint="E_q[ln q(z) - ln p(z)] with E_q[(z - mu)^2] = s^2 and E_q[z^2] = mu^2 + s^2.",
    stronger="(s^2 + mu^2 - 1 - ln s^2) / 2 for each unit, s^2 = e^logvar; add up over units.",
    solution=(distributions.Normal,))

REPARAMETERISATION = Exercise(
    "ex29_reparameterisation", "a sample that gradients pass through",
    right=SimpleNamespace(
        sample=lambda mu, logvar, eps: mu + np.exp(0.5 * logvar) * eps,
        sample_backward=lambda g, mu, logvar, eps: (g, 0.5 * g * np.exp(0.5 * logvar) * eps)),
    run=lambda answer, g, mu, logvar, eps: {
        "z": answer.sample(mu, logvar, eps),
        **named(answer.sample_backward(g, mu, logvar, eps), "dmu", "dlogvar")},
    cases=[Case("plain", g=random(2, 3), mu=random(2, 3, seed=1), logvar=random(2, 3, seed=2),
                eps=random(2, 3, seed=3)),
           Case("plain, larger", g=random(5, 4), mu=random(5, 4, seed=1),
                logvar=random(5, 4, seed=2), eps=random(5, 4, seed=3))],
    parts=lambda g, mu, logvar, eps: {"s": np.exp(0.5 * logvar),
                                      "z": mu + np.exp(0.5 * logvar) * eps},
    terms=lambda g, mu, logvar, eps: {"mu": mu, "s eps": np.exp(0.5 * logvar) * eps},
    variants={
        "the noise multiplies mu: it multiplies s, and mu is added": dict(
            sample=lambda mu, logvar, eps: mu * eps + np.exp(0.5 * logvar))},
    hint="z = mu + s eps with s = e^(logvar / 2). Differentiate by mu, then by s and s by logvar.",
    stronger="dz/dmu = 1, dz/ds = eps and ds/dlogvar = s / 2; g multiplies each.",
    own={"sample": ("z = mu + s eps, eps ~ N(0, 1), s the standard deviation. How is s made from "
                    "logvar?", "s^2 = e^logvar, so s = e^(logvar / 2).")},
    solution=(distributions.Normal,))


def _elbo_case(name, B, D, Z, **more):
    return Case(name, x=(random(B, D) > 0).astype("float64"), logits=random(B, D, seed=1),
                mu=random(B, Z, seed=2), logvar=random(B, Z, seed=3), **more)


def _elbo_by(kl):
    """elbo, with another kl(mu, logvar)"""
    return dict(elbo=lambda x, logits, *q: (x * logits - softplus(logits)).sum(1) - kl(*q))


ELBO = Exercise(
    "ex30_elbo", "the lower bound of ln p(x) that a VAE climbs",
    right=SimpleNamespace(elbo=lambda x, logits, mu, logvar: (
        (x * logits - softplus(logits)).sum(1) - _kl(mu, logvar))),
    run=lambda answer, **args: {"elbo": answer.elbo(*args.values())},
    cases=[_elbo_case("a batch of 1", 1, 5, 3, spares="a batch of 1"),
           _elbo_case("plain", 6, 5, 3), _elbo_case("plain, larger", 7, 4, 5)],
    terms=lambda x, logits, mu, logvar: {
        "x l": (x * logits).sum(1), "-softplus(l)": -softplus(logits).sum(1),
        "-KL": -_kl(mu, logvar)},
    variants={
        "a KL added up over the batch: each example has its own": _elbo_by(
            lambda *q: _kl(*q).sum()),
        "softplus(-l) where softplus(l) was needed: ln(1 - sigmoid(l)) = -softplus(l)": dict(
            elbo=lambda x, logits, mu, logvar: (
                x * logits - softplus(-logits)).sum(1) - _kl(mu, logvar)),
        "a KL averaged over the batch: each example has its own": _elbo_by(
            lambda *q: _kl(*q).mean()),
        "probabilities, where their logarithms were needed": dict(
            elbo=lambda x, logits, mu, logvar: _sigmoid(
                (2 * x - 1) * logits).sum(1) - _kl(mu, logvar)),
        "squared differences of x and the probabilities, where their logarithms were needed": dict(
            elbo=lambda x, logits, mu, logvar: -(
                (x - _sigmoid(logits)) ** 2).sum(1) - _kl(mu, logvar)),
        "ln p of the pixels that are 1 alone: those that are 0 bring ln(1 - p)": dict(
            elbo=lambda x, logits, mu, logvar: (
                -x * softplus(-logits)).sum(1) - _kl(mu, logvar)),
        "softplus of logits that went through sigmoid before: they are logits already": dict(
        elbo=lambda x, logits, mu, logvar: (
            x * _sigmoid(logits) - softplus(_sigmoid(logits))).sum(1) - _kl(mu, logvar))},
    hint="How well z explains x, in nats, less what it costs to know z.",
    stronger="sum over pixels of x l - softplus(l), minus the KL of exercise 28. Sums, not means: "
             "one number for each example.",
    solution=(vae.VAE,))
ELBO.variants |= {f"in the KL: {words}": _elbo_by(f["gaussian_kl"])
                  for words, f in GAUSSIAN_KL.variants.items()}


# --- 31: EM ---------------------------------------------------------------------------------------

def _responsibilities(x, weights, means, variances):
    d = x[:, None] - means
    logp = np.log(weights) - 0.5 * (d * d / variances + np.log(2 * np.pi * variances))
    return np.exp(logp - np.logaddexp.reduce(logp, 1, keepdims=True))


def _em(x, weights, means, variances, r=None):
    r = _responsibilities(x, weights, means, variances) if r is None else r
    n_k = r.sum(0)
    new_means = (r * x[:, None]).sum(0) / n_k
    return r, n_k / len(x), new_means, (r * (x[:, None] - new_means) ** 2).sum(0) / n_k


def _em_variant(f):
    return dict(em_step=lambda *args: _em(*args, **f(*args)))


def _em_case(name, N, K, equal=False, **more):
    weights = np.full(K, 1 / K) if equal else np.arange(1.0, K + 1) / np.arange(1, K + 1).sum()
    return Case(name, x=2 * random(N), weights=weights, means=random(K, seed=1),
                variances=abs(random(K, seed=2)), **more)


EM_STEP = Exercise(
    "ex31_em_step", "one step of EM for a mixture of Gaussians in one dimension",
    right=SimpleNamespace(em_step=_em),
    run=lambda answer, **args: named(answer.em_step(*args.values()), "responsibilities", "weights",
                                     "means", "variances"),
    parts=lambda *args, **named: {"n_k": _responsibilities(*args, **named).sum(0)},
    cases=[_em_case("one component", 4, 1, spares="a single component"),
           _em_case("equal weights", 7, 2, equal=True, spares="equal weights"),
           _em_case("plain", 5, 2), _em_case("plain, larger", 10, 3)],
    variants={
        "the density is divided by the variance where its root was needed": _em_variant(
            lambda x, w, m, v: dict(r=_responsibilities(x, w / np.sqrt(v), m, v))),
        "each point is given wholly to one component: that is k-means": _em_variant(
            lambda *args: dict(r=1.0 * (_responsibilities(*args) == _responsibilities(*args).max(
                1, keepdims=True)))),
        "divided by N where n_k, the component's own count, was needed": dict(
            em_step=lambda x, *args: (
                lambda r, w, m, v: (r, w, m * w, v * w))(*_em(x, *args))),
        "the density is taken for r: each row is still to be divided by its sum": dict(
            em_step=lambda x, w, m, v: (w * np.exp(-0.5 * (x[:, None] - m) ** 2 / v) / np.sqrt(
                2 * np.pi * v), *_em(x, w, m, v)[1:])),
        "the density lacks the 1/2 in its exponent": _em_variant(lambda x, w, m, v: dict(
            r=_responsibilities(x, w, m, v / 2))),
        "the mean of all points: each point counts r_nk times": dict(
            em_step=lambda x, *args: (*_em(x, *args)[:2], x.mean() + 0 * args[1],
                                      _em(x, *args)[3])),
        "the variance of all points: each point counts r_nk times": dict(
            em_step=lambda x, *args: (*_em(x, *args)[:3], x.var() + 0 * args[1])),
        "the variances are divided by n_k - 1: EM divides by n_k": dict(
            em_step=lambda *args: (*_em(*args)[:3], _em(*args)[3] * _em(*args)[0].sum(0) / (
                _em(*args)[0].sum(0) - 1)))},
    hint="First r_nk = p(k | x_n) by Bayes' rule: each row adds up to 1. Then averages of x, each "
         "point counted r_nk times.",
    stronger="n_k = sum_n r_nk; weights n_k / N; means sum_n r_nk x_n / n_k; variances the same "
             "average of (x_n - the new mean)^2.",
    solution=(mixture.GaussianMixture.em_step,))


# --- 32: the k-sample bound -----------------------------------------------------------------------

def _bound(logw):
    top = logw.max(1, keepdims=True)
    return np.log(np.exp(logw - top).mean(1)) + top[:, 0]


K_SAMPLE_BOUND = Exercise(
    "ex32_k_sample_bound", "ln of a mean of k importance weights, without overflow",
    right=SimpleNamespace(k_sample_bound=_bound),
    run=lambda answer, **args: {"bound": answer.k_sample_bound(*args.values())},
    cases=[Case("k = 1", logw=random(6, 1), spares="k = 1, where the bound is the ELBO"),
           Case("plain", logw=random(6, 3)), Case("plain, larger", logw=random(7, 5)),
           Case("far below", logw=random(2, 3) - 1000,
                fault="underflow: weights of e^-1000 are 0")],
    parts=lambda logw: {"m": logw.max(1)},
    terms=lambda logw: {"logsumexp(logw)": np.logaddexp.reduce(logw, 1),
                        "-ln k": np.full(len(logw), -np.log(logw.shape[1]))},
    variants={
        "the mean is outside the logarithm: that is the ELBO": dict(
            k_sample_bound=lambda logw: logw.mean(1)),
        "divided by the number of examples: each has k weights of its own": dict(
            k_sample_bound=lambda logw: np.logaddexp.reduce(logw, 1) - np.log(len(logw))),
        "k itself is taken off where ln k was needed": dict(
            k_sample_bound=lambda logw: np.logaddexp.reduce(logw, 1) - logw.shape[1]),
        "logw averaged with its own weights: the logarithm of the mean weight was needed": dict(
            k_sample_bound=lambda logw: (np.exp(logw - np.logaddexp.reduce(
                logw, 1, keepdims=True)) * logw).sum(1)),
        "divided by k - 1: the mean of k weights divides by k": dict(
            k_sample_bound=lambda logw: _bound(logw) + np.log(
                logw.shape[1] / (logw.shape[1] - 1))),
        "the mean weight itself: its logarithm is missing": dict(
            k_sample_bound=lambda logw: np.exp(_bound(logw)))},
    hint="The mean is inside the logarithm. Exercise 9 shows how to keep e^ in range.",
    stronger="logsumexp(logw) over the k samples, minus ln k.",
    solution=(vae.VAE.log_prob_bound,))

EXERCISES = [GAUSSIAN_KL, REPARAMETERISATION, ELBO, EM_STEP, K_SAMPLE_BOUND]
