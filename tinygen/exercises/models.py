"""Exercises 25 to 34: the formula at the heart of each model."""
from types import SimpleNamespace

import numpy as np

from .. import distributions
from ..models.approximate import mixture, vae
from ..models.implicit import objectives
from ..models.tractable import coupling_flow, made, pixelcnn
from .checking import Case, Exercise, named, random
from .running import Wrong


def _softplus(x):
    return np.logaddexp(x.dtype.type(0), x)


def _sigmoid(x):
    return np.exp(-_softplus(-x))


# --- 25 and 26: masks -----------------------------------------------------------------------------

def _masks(order, degrees):
    return 1.0 * (order[:, None] <= degrees), 1.0 * (degrees[:, None] < order)


def _run_made_mask(answer, order, degrees):
    given = named(answer.masks(order, degrees), "into hidden", "out of hidden")
    wanted = dict(zip(given, _masks(order, degrees)))
    shapes = [np.shape(m) for m in given.values()]
    if shapes != [m.shape for m in wanted.values()] or len(shapes) < 2:
        return given                                # the checker says what is wrong with shapes
    into, out = (np.asarray(m, "float64") for m in given.values())
    for j, i in np.argwhere(into @ out):
        if order[j] >= order[i]:
            own = "its own input" if i == j else f"x_{j} of rank {order[j]}, which comes later"
            raise Wrong(f"a leak: the output of x_{i}, of rank {order[i]}, sees {own}")
    for name, m in given.items():
        if ((np.asarray(m) == 0) & (wanted[name] == 1)).any():
            raise Wrong(f"{name}: a weight is cut that may stay, as no path through it would leak")
    return given


MADE_MASK = Exercise(
    "ex25_made_mask", "the masks of a MADE with one hidden layer",
    right=SimpleNamespace(masks=_masks), run=_run_made_mask,
    cases=[Case("plain", order=np.array([0, 1, 2]), degrees=np.array([0, 1, 1, 0])),
           Case("plain, another order", order=np.array([2, 0, 3, 1]),
                degrees=np.array([0, 2, 1, 1, 0, 2, 1]))],
    hint="A unit of degree d may see the inputs up to rank d. Which outputs may see the unit?",
    stronger="Only those of a rank above d: an output must not see its own input. One of the two "
             "comparisons is <=, the other <.",
    solution=(made.masks,), keeps_float32=False)


def _pixel_mask(k, kind):
    mask = np.zeros((k, k))
    mask[:k // 2] = 1
    mask[k // 2, :k // 2 + (kind == "B")] = 1
    return mask


def _run_pixel_mask(answer, k, kind):
    given, wanted, c = answer.mask(k, kind), _pixel_mask(k, kind), k // 2
    if np.shape(given) != wanted.shape:
        return {"mask": given}
    m = np.asarray(given)
    if m[c, c] != wanted[c, c]:
        raise Wrong("mask A must not see the centre: it would see the answer" if kind == "A" else
                    "mask B sees the centre: there stands what layers below know of earlier pixels")
    for i, j in np.argwhere(m != wanted):
        where = "above" if i < c else "below" if i > c else "left" if j < c else "right"
        raise Wrong(f"place [{i}, {j}] of the kernel, {where} of the centre, is " + (
            "seen, though it is drawn later" if m[i, j] else "cut, though it was drawn before"))
    return {"mask": given}


PIXEL_MASK = Exercise(
    "ex26_pixelcnn_mask", "the masks A and B of a PixelCNN",
    right=SimpleNamespace(mask=_pixel_mask), run=_run_pixel_mask,
    cases=[Case("plain", k=3, kind="A"), Case("plain, B", k=3, kind="B"),
           Case("plain, larger", k=5, kind="A"), Case("plain, larger B", k=5, kind="B"),
           Case("one tap", k=1, kind="A", fault="wrong for a 1 x 1 kernel of kind A, which sees "
                                                "nothing")],
    hint="Pixels come row after row, each from left to right. Which places of the kernel lie "
         "before its centre?",
    stronger="All rows above the centre's, and in its own row all to the left. B adds the centre.",
    solution=(pixelcnn.CausalConv2d,), keeps_float32=False)


# --- 27: an affine coupling -----------------------------------------------------------------------

def _net(x):
    """s, t as functions of the half that passes unchanged."""
    return np.tanh(x[:, ::-1]) * 0.5, x * x


def _coupling(x):
    a, b = np.split(x, 2, axis=1)
    s, t = _net(a)
    return np.concatenate([a, b * np.exp(s) + t], 1), s.sum(1)


def _coupling_inverse(z):
    a, b = np.split(z, 2, axis=1)
    s, t = _net(a)
    return np.concatenate([a, (b - t) * np.exp(-s)], 1)


def _run_coupling(answer, x, z):
    """The halves of each result by themselves: the first one only passes through."""
    given = named(answer.forward(x, _net), "z", "logdet")
    results = {"logdet": given.get("logdet"), "x": answer.inverse(z, _net), "z": given["z"]}
    for name in "zx":
        if np.shape(results[name]) == x.shape:
            a, b = np.split(np.asarray(results.pop(name)), 2, axis=1)
            results |= {f"{name}_a": a, f"{name}_b": b}
    return results


def _forward_variant(f):
    """forward, with another z_b = f(x_b, s, t)"""
    def forward(x, net):
        a, b = np.split(x, 2, axis=1)
        return np.concatenate([a, f(b, *net(a))], 1), net(a)[0].sum(1)
    return dict(forward=forward)


def _inverse_variant(f):
    """inverse, with another x_b = f(z_b, s, t)"""
    def inverse(z, net):
        a, b = np.split(z, 2, axis=1)
        return np.concatenate([a, f(b, *net(a))], 1)
    return dict(inverse=inverse)


def _from_wrong_half(z, net):
    a, b = np.split(z, 2, axis=1)
    s, t = net(b)
    return np.concatenate([a, (b - t) * np.exp(-s)], 1)


def _by_wrong_half(x, net):
    a, b = np.split(x, 2, axis=1)
    s, t = net(b)
    return np.concatenate([a, b * np.exp(s) + t], 1), s.sum(1)


COUPLING = Exercise(
    "ex27_coupling", "an affine coupling: forward, log-determinant, inverse",
    right=SimpleNamespace(forward=lambda x, net: _coupling(x),
                          inverse=lambda z, net: _coupling_inverse(z)),
    run=_run_coupling,
    cases=[Case("a batch of 1", x=random(1, 4), z=random(1, 4, seed=1), spares="a batch of 1"),
           Case("plain", x=random(3, 4), z=random(3, 4, seed=1)),
           Case("plain, larger", x=random(5, 6), z=random(5, 6, seed=1))],
    variants={
        "the shift t is missing": _forward_variant(lambda b, s, t: b * np.exp(s)),
        "s is used as the factor where e^s was needed": _forward_variant(lambda b, s, t: b * s + t),
        "shifted before it is scaled: the other order was asked for": _forward_variant(
            lambda b, s, t: (b + t) * np.exp(s)),
        "net is asked for the half that is to be changed: on the way back that half is unknown":
            dict(forward=_by_wrong_half),
        "scaled back before it is shifted back: undo the last step first": _inverse_variant(
            lambda b, s, t: b * np.exp(-s) - t),
        "s and t come from the half that was changed: the other half is the same on both sides":
            dict(inverse=_from_wrong_half),
        "the inverse goes forward: it must undo": _inverse_variant(
            lambda b, s, t: b * np.exp(s) + t),
        "logdet adds up e^s where s was needed: ln e^s = s": dict(
            forward=lambda x, net: (_coupling(x)[0],
                                    np.exp(net(np.split(x, 2, axis=1)[0])[0]).sum(1)))},
    parts=lambda x, z: {"s": _net(np.split(x, 2, axis=1)[0])[0]},
    hint="The first half passes unchanged, so the way back knows s and t as well: solve z_b = "
         "x_b e^s + t for x_b.",
    stronger="s, t = net(z_a) with z_a = x_a, and x_b = (z_b - t) e^-s.",
    own={"forward": ("s, t = net(x_a); x_a passes unchanged. The Jacobian is a triangle: what "
                     "stands on its diagonal?",
                     "z_b = x_b e^s + t. The diagonal holds 1s and e^s: its log is the sum of s "
                     "over each example.")},
    solution=(coupling_flow.Coupling,))


# --- 28 to 30: the VAE ----------------------------------------------------------------------------

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
    parts=lambda g, mu, logvar, eps: {"s": np.exp(0.5 * logvar)},
    variants={
        "the variance e^logvar is used where its root, the standard deviation, was needed": dict(
            sample=lambda mu, logvar, eps: mu + np.exp(logvar) * eps),
        "logvar is used as the standard deviation": dict(
            sample=lambda mu, logvar, eps: mu + logvar * eps),
        "the factor s of the noise is missing": dict(sample=lambda mu, logvar, eps: mu + eps)},
    hint="z = mu + s eps with s = e^(logvar / 2). Differentiate by mu, then by s and s by logvar.",
    stronger="dz/dmu = 1, dz/ds = eps and ds/dlogvar = s / 2; g multiplies each.",
    own={"sample": ("z = mu + s eps, eps ~ N(0, 1), s the standard deviation. How is s made from "
                    "logvar?", "s^2 = e^logvar, so s = e^(logvar / 2).")},
    solution=(distributions.Normal,))


def _elbo_case(name, B, D, Z, **more):
    return Case(name, x=(random(B, D) > 0).astype("float64"), logits=random(B, D, seed=1),
                mu=random(B, Z, seed=2), logvar=random(B, Z, seed=3), **more)


ELBO = Exercise(
    "ex30_elbo", "the lower bound of ln p(x) that a VAE climbs",
    right=SimpleNamespace(elbo=lambda x, logits, mu, logvar: (
        (x * logits - _softplus(logits)).sum(1) - _kl(mu, logvar))),
    run=lambda answer, **args: {"elbo": answer.elbo(*args.values())},
    cases=[_elbo_case("a batch of 1", 1, 5, 3, spares="a batch of 1"),
           _elbo_case("plain", 6, 5, 3), _elbo_case("plain, larger", 7, 4, 5)],
    terms=lambda x, logits, mu, logvar: {
        "x l": (x * logits).sum(1), "-softplus(l)": -_softplus(logits).sum(1),
        "-KL": -_kl(mu, logvar)},
    variants={"logvar is taken for ln s: e^(2 logvar) is the variance squared": dict(
        elbo=lambda x, logits, mu, logvar: ELBO.right.elbo(x, logits, mu, 2 * logvar)),
        "the KL is averaged over the latents: add it up": dict(
            elbo=lambda x, logits, mu, logvar: (
                x * logits - _softplus(logits)).sum(1) - _kl(mu, logvar) / mu.shape[1]),
        "the pixels are averaged: add their logarithms up": dict(
            elbo=lambda x, logits, mu, logvar: (
                x * logits - _softplus(logits)).mean(1) - _kl(mu, logvar)),
        "softplus of logits that went through sigmoid before: they are logits already": dict(
        elbo=lambda x, logits, mu, logvar: (
            x * _sigmoid(logits) - _softplus(_sigmoid(logits))).sum(1) - _kl(mu, logvar))},
    hint="How well z explains x, in nats, less what it costs to know z.",
    stronger="sum over pixels of x l - softplus(l), minus the KL of exercise 28. Sums, not means: "
             "one number for each example.",
    solution=(vae.VAE,))


# --- 31: EM ---------------------------------------------------------------------------------------

def _responsibilities(x, weights, means, variances, axis=1):
    d = x[:, None] - means
    logp = np.log(weights) - 0.5 * (d * d / variances + np.log(2 * np.pi * variances))
    return np.exp(logp - np.logaddexp.reduce(logp, axis, keepdims=True))


def _em(x, weights, means, variances, r=None, centre=None):
    r = _responsibilities(x, weights, means, variances) if r is None else r
    n = r.sum(0)
    new = (r * x[:, None]).sum(0) / n
    around = new if centre is None else centre
    return r, n / len(x), new, (r * (x[:, None] - around) ** 2).sum(0) / n


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
    cases=[_em_case("one component", 4, 1, spares="a single component"),
           _em_case("equal weights", 7, 2, equal=True, spares="equal weights"),
           _em_case("plain", 5, 2), _em_case("plain, larger", 9, 3)],
    variants={
        "r is normalised over the points: for each point, its K responsibilities add up to 1":
            _em_variant(lambda *args: dict(r=_responsibilities(*args, axis=0))),
        "the weights are left out of Bayes' rule": _em_variant(lambda x, w, m, v: dict(
            r=_responsibilities(x, np.ones_like(w), m, v))),
        "the density lacks its factor 1 / sqrt(variance)": _em_variant(lambda x, w, m, v: dict(
            r=_responsibilities(x, w * np.sqrt(v), m, v))),
        "each point is given wholly to one component: that is k-means": _em_variant(
            lambda *args: dict(r=1.0 * (_responsibilities(*args) == _responsibilities(*args).max(
                1, keepdims=True)))),
        "the variances are taken around the old means": _em_variant(
            lambda x, w, m, v: dict(centre=m)),
        "the means are divided by N where n_k, the component's own count, was needed": dict(
            em_step=lambda x, *args: (*_em(x, *args)[:2], x @ _em(x, *args)[0] / len(x),
                                      _em(x, *args)[3])),
        "the density is taken for r: each row is still to be divided by its sum": dict(
            em_step=lambda x, w, m, v: (w * np.exp(-0.5 * (x[:, None] - m) ** 2 / v) / np.sqrt(
                2 * np.pi * v), *_em(x, w, m, v)[1:])),
        "standard deviations, where variances were asked for": dict(
            em_step=lambda *args: (*_em(*args)[:3], np.sqrt(_em(*args)[3])))},
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
    terms=lambda logw: {"logsumexp(logw)": np.logaddexp.reduce(logw, 1),
                        "-ln k": np.full(len(logw), -np.log(logw.shape[1]))},
    variants={
        "the mean is outside the logarithm: that is the ELBO": dict(
            k_sample_bound=lambda logw: logw.mean(1)),
        "divided by k - 1: the mean of k weights divides by k": dict(
            k_sample_bound=lambda logw: _bound(logw) + np.log(
                logw.shape[1] / (logw.shape[1] - 1))),
        "the largest weight only": dict(k_sample_bound=lambda logw: logw.max(1)),
        "the mean weight itself: its logarithm is missing": dict(
            k_sample_bound=lambda logw: np.exp(_bound(logw)))},
    hint="The mean is inside the logarithm. Exercise 9 shows how to keep e^ in range.",
    stronger="logsumexp(logw) over the k samples, minus ln k.",
    solution=(vae.VAE.log_prob_bound,))


# --- 33 and 34: GANs ------------------------------------------------------------------------------

GAN_LOSSES = Exercise(
    "ex33_gan_losses", "the critic's loss, and the non-saturating generator's",
    right=SimpleNamespace(
        critic_loss=lambda real, fake: _softplus(-real).mean() + _softplus(fake).mean(),
        generator_loss=lambda fake: _softplus(-fake).mean()),
    run=lambda answer, real, fake: {"critic": answer.critic_loss(real, fake),
                                    "generator": answer.generator_loss(fake)},
    cases=[Case("one each", real=random(1), fake=random(1, seed=1), spares="one example each"),
           Case("plain", real=random(5), fake=random(5, seed=1)),
           Case("plain, larger", real=random(7), fake=random(7, seed=1) + 0.4),
           Case("sure of itself", real=900 * random(4), fake=900 * random(4, seed=1),
                fault="overflow at large logits")],
    variants={
        "that is the saturating loss: minus what the critic minimises": dict(
            generator_loss=lambda fake: -_softplus(fake).mean()),
        "least squares, where the logarithm of a probability was needed": dict(
            critic_loss=lambda real, fake: ((real - 1) ** 2).mean() + (fake ** 2).mean(),
            generator_loss=lambda fake: ((fake - 1) ** 2).mean()),
        "least squares, halved, where the logarithm of a probability was needed": dict(
            critic_loss=lambda real, fake: (((real - 1) ** 2).mean() + (fake ** 2).mean()) / 2,
            generator_loss=lambda fake: ((fake - 1) ** 2).mean() / 2),
        "hinges, where softplus was needed": dict(
            critic_loss=lambda real, fake: np.maximum(1 - real, 0).mean() + np.maximum(
                1 + fake, 0).mean()),
        "the fake ones have no part in it": dict(
            critic_loss=lambda real, fake: _softplus(-real).mean()),
        "the real ones have no part in it": dict(
            critic_loss=lambda real, fake: _softplus(fake).mean()),
        "the logits themselves, without softplus: that is Wasserstein's": dict(
            critic_loss=lambda real, fake: fake.mean() - real.mean(),
            generator_loss=lambda fake: -fake.mean())},
    hint="-ln sigmoid(l) = softplus(-l), and -ln(1 - sigmoid(l)) = softplus(l).",
    stronger="The critic wants real logits up and fake ones down: the mean of softplus(-real) plus "
             "the mean of softplus(fake).",
    own={"generator_loss": ("The generator wants the critic to say \"real\": the critic's own term "
                            "for real ones, on fake logits.",
                            "-ln sigmoid(fake) = softplus(-fake), and its mean.")},
    solution=(objectives.logistic_critic, objectives.non_saturating_generator))


def _penalty_backward(slopes, weight):
    norm = np.sqrt((slopes * slopes).sum(1, keepdims=True))
    return 2 * weight * (norm - 1) * slopes / norm / len(slopes)


GRADIENT_PENALTY = Exercise(
    "ex34_gradient_penalty", "the gradient penalty of WGAN-GP, and its derivative",
    right=SimpleNamespace(
        penalty=lambda slopes, weight: weight * (
            (np.sqrt((slopes * slopes).sum(1)) - 1) ** 2).mean(),
        penalty_backward=_penalty_backward),
    run=lambda answer, **args: {"penalty": answer.penalty(*args.values()),
                                "dslopes": answer.penalty_backward(*args.values())},
    cases=[Case("a batch of 1", slopes=random(1, 3), weight=10.0, spares="a batch of 1"),
           Case("plain", slopes=0.5 * random(4, 3), weight=10.0),
           Case("plain, larger", slopes=0.4 * random(7, 5), weight=3.0),
           Case("slope 1", slopes=np.array([[0.6, 0.8], [1.0, 0.0]]), weight=10.0,
                fault="a critic of slope 1 costs nothing")],
    parts=lambda slopes, weight: {"(|slope| - 1)": np.sqrt(
        (slopes * slopes).sum(1, keepdims=True)) - 1 + 0 * slopes,
        "|slope|": np.sqrt((slopes * slopes).sum(1, keepdims=True)) + 0 * slopes},
    variants={
        "one length of all slopes together, where each example has its own": dict(
            penalty=lambda slopes, weight: weight * (np.sqrt((slopes * slopes).sum()) - 1) ** 2),
        "the squared length is compared with 1: its root is missing": dict(
            penalty=lambda slopes, weight: weight * (((slopes * slopes).sum(1) - 1) ** 2).mean()),
        "the distance from 0 where that from 1 was meant": dict(
            penalty=lambda slopes, weight: weight * (slopes * slopes).sum(1).mean()),
        "slopes below 1 cost nothing: that is the one-sided penalty": dict(
            penalty=lambda slopes, weight: weight * (np.maximum(
                np.sqrt((slopes * slopes).sum(1)) - 1, 0) ** 2).mean())},
    hint="Differentiate (|s| - 1)^2 by |s|, then |s| by s.",
    stronger="d|s|/ds = s / |s|, so the derivative is 2 weight (|s| - 1) s / |s| / B.",
    own={"penalty": ("One length for each example; how far it is from 1, squared; the mean over "
                     "examples.",
                     "|s| = sqrt((slopes ** 2).sum(1)), one for each example; then weight times "
                     "the mean of (|s| - 1)^2.")},
    solution=(objectives.squared_slopes, objectives.gradient_penalty))

EXERCISES = [MADE_MASK, PIXEL_MASK, COUPLING, GAUSSIAN_KL, REPARAMETERISATION, ELBO, EM_STEP,
             K_SAMPLE_BOUND, GAN_LOSSES, GRADIENT_PENALTY]
