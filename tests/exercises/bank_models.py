"""Answers to the exercises on models."""
import numpy as np

from exercises.bank import Answers, mistake

ANSWERS = {}


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


# --- ex25_made_mask -------------------------------------------------------------------------------

def masks(order, degrees):
    return 1 * (order[:, None] <= degrees[None]), 1 * (degrees[:, None] < order[None])


def masks_by_loop(order, degrees):
    first, last = np.zeros((len(order), len(degrees))), np.zeros((len(degrees), len(order)))
    for i, rank in enumerate(order):
        for h, degree in enumerate(degrees):
            first[i, h] = rank <= degree
            last[h, i] = rank > degree
    return first, last


def out_of(compare):
    return dict(masks=lambda order, degrees: (
        masks(order, degrees)[0], compare(degrees[:, None], order)))


def into(compare):
    return dict(masks=lambda order, degrees: (
        compare(order[:, None], degrees), masks(order, degrees)[1]))


ANSWERS["ex25_made_mask"] = Answers(
    right=[dict(masks=masks), dict(masks=masks_by_loop)],
    mistakes=[
        mistake("sees its own input", **out_of(lambda d, o: d <= o)),
        mistake("is cut that may stay", **into(lambda o, d: o < d)),
        mistake("a leak", **into(lambda o, d: o >= d)),
        mistake("a leak", **out_of(lambda d, o: d >= o)),
        mistake("shape|transposed", masks=lambda order, degrees: (
            masks(order, degrees)[0].T, masks(order, degrees)[1].T)),
        mistake("exchanged|shape", masks=lambda order, degrees: masks(order, degrees)[::-1]),
        mistake("a leak|is cut", masks=lambda order, degrees: masks(
            np.arange(len(order)), degrees)),
        mistake("a leak", masks=lambda order, degrees: tuple(
            np.ones_like(m) for m in masks(order, degrees))),
        mistake("result out of hidden is missing", masks=lambda order, degrees: (
            masks(order, degrees)[0])),
    ])


# --- ex26_pixelcnn_mask ---------------------------------------------------------------------------

def mask(k, kind):
    seen = np.arange(k * k) < k * k // 2 + (kind == "B")
    return seen.reshape(k, k).astype(int)


def mask_by_loop(k, kind):
    m, c = np.zeros((k, k)), k // 2
    for i in range(k):
        for j in range(k):
            m[i, j] = i < c or (i == c and (j < c or (j == c and kind == "B")))
    return m


def quadrant(k, kind):
    m, c = np.zeros((k, k)), k // 2
    m[:c, :c] = m[:c, c] = m[c, :c] = 1
    m[c, c] = kind == "B"
    return m


ANSWERS["ex26_pixelcnn_mask"] = Answers(
    right=[dict(mask=mask), dict(mask=mask_by_loop)],
    mistakes=[
        mistake("centre", mask=lambda k, kind: mask(k, "B")),
        mistake("centre", mask=lambda k, kind: mask(k, "A")),
        mistake("centre", mask=lambda k, kind: mask(k, "BA"["AB".index(kind)])),
        mistake("above the centre, is cut|below", mask=lambda k, kind: mask(k, kind).T),
        mistake("drawn later|drawn before", mask=lambda k, kind: mask(k, kind)[::-1, ::-1]),
        mistake("above the centre, is cut", mask=quadrant),
        mistake("centre", mask=lambda k, kind: 1 - mask(k, kind)),
        mistake("above the centre, is cut", mask=lambda k, kind: np.tri(
            k, k=-1 if kind == "A" else 0)),
        mistake("left of the centre, is cut|centre", mask=lambda k, kind: np.repeat(
            np.arange(k) < k // 2, k).reshape(k, k)),
        mistake("shape", mask=lambda k, kind: mask(k, kind).ravel()),
    ])


# --- ex27_coupling --------------------------------------------------------------------------------

def forward(x, net):
    half = x.shape[1] // 2
    a, b = x[:, :half], x[:, half:]
    s, t = net(a)
    return np.hstack([a, t + np.exp(s) * b]), s.sum(1)


def inverse(z, net):
    half = z.shape[1] // 2
    a, b = z[:, :half], z[:, half:]
    s, t = net(a)
    return np.hstack([a, (b - t) / np.exp(s)])


def forward_in_columns(x, net):
    z, half = x.copy(), x.shape[1] // 2
    s, t = net(x[:, :half])
    z[:, half:] *= np.exp(s)
    z[:, half:] += t
    return z, np.einsum("bd->b", s)


def forward_with(z_b=lambda b, s, t: b * np.exp(s) + t, logdet=lambda s: s.sum(1)):
    def wrong(x, net):
        a, b = np.split(x, 2, 1)
        s, t = net(a)
        return np.hstack([a, z_b(b, s, t)]), logdet(s)
    return wrong


def forward_by_wrong_half(x, net):
    a, b = np.split(x, 2, 1)
    s, t = net(b)
    return np.hstack([a, b * np.exp(s) + t]), s.sum(1)


def inverse_with(x_b, given=lambda a, b: a):
    def wrong(z, net):
        a, b = np.split(z, 2, 1)
        s, t = net(given(a, b))
        return np.hstack([a, x_b(b, s, t)])
    return wrong


ANSWERS["ex27_coupling"] = Answers(
    right=[dict(forward=forward, inverse=inverse),
           dict(forward=forward_in_columns,
                inverse=lambda z, net: inverse_with(lambda b, s, t: np.exp(-s) * (b - t))(z, net))],
    mistakes=[
        mistake("logdet.*negated|negated", forward=forward_with(logdet=lambda s: -s.sum(1))),
        mistake("mean", forward=forward_with(logdet=lambda s: s.mean(1))),
        mistake("logdet adds up e", forward=forward_with(logdet=lambda s: np.exp(s).sum(1))),
        mistake("not summed back|shape", forward=forward_with(logdet=lambda s: s)),
        mistake("axes 0 and 1 where", forward=forward_with(logdet=lambda s: s.sum())),
        mistake("t is left out", forward=forward_with(z_b=lambda b, s, t: b * np.exp(s))),
        mistake("s is used as the factor", forward=forward_with(z_b=lambda b, s, t: b * s + t)),
        mistake("shifted before it is scaled", forward=forward_with(
            z_b=lambda b, s, t: (b + t) * np.exp(s))),
        mistake("it is x_a that passes unchanged", forward=forward_by_wrong_half),
        mistake("/ stands where", forward=forward_with(
            z_b=lambda b, s, t: b * np.exp(-s) + t)),
        mistake("divided by s where", inverse=inverse_with(lambda b, s, t: (b - t) / s)),
        mistake(r"/ stands where", inverse=inverse_with(
            lambda b, s, t: (b - t) * np.exp(s))),
        mistake("forward gives z alone", forward=lambda x, net: forward(x, net)[0]),
        mistake("inverse gives 2 results, where x alone", inverse=lambda z, net: (
            inverse(z, net), np.zeros(len(z)))),
        mistake("z_a and z_b are exchanged", forward=lambda x, net: (
            np.roll(forward(x, net)[0], x.shape[1] // 2, axis=1), forward(x, net)[1])),
        mistake("undo the last step first", inverse=inverse_with(
            lambda b, s, t: b * np.exp(-s) - t)),
        mistake("goes forward", inverse=inverse_with(lambda b, s, t: b * np.exp(s) + t)),
        mistake("b stands where a", inverse=inverse_with(
            lambda b, s, t: (b - t) * np.exp(-s), given=lambda a, b: b)),
    ])


# --- ex28_gaussian_kl -----------------------------------------------------------------------------

def gaussian_kl(mu, logvar):
    return (-0.5 * (1 + logvar - mu ** 2 - np.exp(logvar))).sum(-1)


def kl(f):
    return dict(gaussian_kl=lambda mu, logvar: f(mu, logvar).sum(1))


ANSWERS["ex28_gaussian_kl"] = Answers(
    right=[dict(gaussian_kl=gaussian_kl), dict(gaussian_kl=lambda mu, logvar: (
        (np.exp(logvar) - logvar).sum(1) + (mu * mu).sum(1) - mu.shape[1]) / 2)],
    mistakes=[
        mistake("negated", gaussian_kl=lambda mu, logvar: -gaussian_kl(mu, logvar)),
        mistake("2 times too large", gaussian_kl=lambda mu, logvar: 2 * gaussian_kl(mu, logvar)),
        mistake("mean", gaussian_kl=lambda mu, logvar: gaussian_kl(mu, logvar) / mu.shape[1]),
        mistake("shape", gaussian_kl=lambda mu, logvar: gaussian_kl(mu, logvar).mean()),
        mistake("'-1 / 2' is missing", **kl(lambda mu, lv: 0.5 * (np.exp(lv) + mu * mu - lv))),
        mistake("mu\\^2 / 2' is missing", **kl(lambda mu, lv: 0.5 * (np.exp(lv) - 1 - lv))),
        mistake("'-logvar / 2' has weight -1", **kl(
            lambda mu, lv: 0.5 * (np.exp(lv) + mu * mu - 1 + lv))),
        mistake("taken for ln s", **kl(
            lambda mu, lv: 0.5 * (np.exp(2 * lv) + mu * mu - 1 - 2 * lv))),
        mistake("taken for the variance", **kl(
            lambda mu, lv: 0.5 * (lv + mu * mu - 1 - np.log(abs(lv))))),
        mistake("its square is missing", **kl(
            lambda mu, lv: 0.5 * (np.exp(lv / 2) + mu * mu - 1 - lv))),
        mistake("weight 2", **kl(lambda mu, lv: 0.5 * (np.exp(lv) + mu * mu - 1) - lv)),
        mistake("are exchanged", **kl(
            lambda mu, lv: 0.5 * (np.exp(-lv) + mu * mu * np.exp(-lv) - 1 + lv))),
        mistake("not squared", **kl(lambda mu, lv: 0.5 * (np.exp(lv) + mu - 1 - lv))),
        mistake("axis", gaussian_kl=lambda mu, logvar: gaussian_kl(mu.T, logvar.T)),
    ])


# --- ex29_reparameterisation ----------------------------------------------------------------------

def sample(mu, logvar, eps):
    return mu + np.sqrt(np.exp(logvar)) * eps


def sample_backward(g, mu, logvar, eps):
    return g, g * (sample(mu, logvar, eps) - mu) / 2


def backward_with(dlogvar, dmu=lambda g: g):
    return dict(sample_backward=lambda g, mu, logvar, eps: (dmu(g), dlogvar(g, logvar, eps)))


ANSWERS["ex29_reparameterisation"] = Answers(
    right=[dict(sample=sample, sample_backward=sample_backward),
           dict(sample=lambda mu, logvar, eps: np.exp(logvar / 2) * eps + mu,
                sample_backward=lambda g, mu, logvar, eps: (
                    1 * g, np.exp(logvar / 2) * eps * g / 2))],
    mistakes=[
        mistake("factor s is there once too often", sample=lambda mu, logvar, eps: (
            mu + np.exp(logvar) * eps)),
        mistake("factor logvar where s", sample=lambda mu, logvar, eps: mu + logvar * eps),
        mistake("too often, and the rest is 2 times too small", sample=lambda mu, logvar, eps: (
            mu + 0.5 * np.exp(logvar) * eps)),
        mistake("the noise multiplies mu", sample=lambda mu, logvar, eps: (
            mu * eps + np.exp(0.5 * logvar))),
        mistake("the factor s is missing", sample=lambda mu, logvar, eps: mu + eps),
        mistake("mu", sample=lambda mu, logvar, eps: np.exp(0.5 * logvar) * eps),
        mistake("2 times too large", **backward_with(
            lambda g, lv, eps: g * np.exp(0.5 * lv) * eps)),
        mistake("eps", **backward_with(lambda g, lv, eps: 0.5 * g * np.exp(0.5 * lv))),
        mistake("factor s is missing", **backward_with(lambda g, lv, eps: 0.5 * g * eps)),
        mistake("negated", **backward_with(lambda g, lv, eps: -0.5 * g * np.exp(0.5 * lv) * eps)),
        mistake("forgotten", **backward_with(lambda g, lv, eps: 0.5 * np.exp(0.5 * lv) * eps)),
        mistake("factor s is there once too often", **backward_with(
            lambda g, lv, eps: 0.5 * g * np.exp(lv) * eps)),
        mistake("forgotten|g", **backward_with(
            lambda g, lv, eps: 0.5 * g * np.exp(0.5 * lv) * eps, dmu=np.ones_like)),
        mistake("z stands where eps", sample_backward=lambda g, mu, logvar, eps: (
            g, 0.5 * g * np.exp(0.5 * logvar) * sample(mu, logvar, eps))),
    ])


# --- ex30_elbo ------------------------------------------------------------------------------------

def elbo(x, logits, mu, logvar):
    return (x * logits - softplus(logits)).sum(1) - gaussian_kl(mu, logvar)


def elbo_by_probabilities(x, logits, mu, logvar):
    p = 1 / (1 + np.exp(-logits))
    return np.log(np.where(x > 0, p, 1 - p)).sum(1) - gaussian_kl(mu, logvar)


ANSWERS["ex30_elbo"] = Answers(
    right=[dict(elbo=elbo), dict(elbo=elbo_by_probabilities)],
    mistakes=[
        mistake("negated", elbo=lambda *a: -elbo(*a)),
        mistake("'-KL' has weight -1", elbo=lambda x, logits, mu, logvar: (
            elbo(x, logits, mu, logvar) + 2 * gaussian_kl(mu, logvar))),
        mistake("'-KL' is missing", elbo=lambda x, logits, mu, logvar: (
            elbo(x, logits, mu, logvar) + gaussian_kl(mu, logvar))),
        mistake("'-softplus\\(l\\)' is missing", elbo=lambda x, logits, mu, logvar: (
            (x * logits).sum(1) - gaussian_kl(mu, logvar))),
        mistake("shape", elbo=lambda *a: elbo(*a).mean()),
        mistake("averaged over the batch", elbo=lambda x, logits, mu, logvar: (
            (x * logits - softplus(logits)).sum(1) - gaussian_kl(mu, logvar).mean())),
        mistake("squared differences", elbo=lambda x, logits, mu, logvar: (
            -((1 / (1 + np.exp(-logits)) - x) ** 2).sum(1) - gaussian_kl(mu, logvar))),
        mistake("those that are 0", elbo=lambda x, logits, mu, logvar: (
            x * np.log(1 / (1 + np.exp(-logits)))).sum(1) - gaussian_kl(mu, logvar)),
        mistake("weight 0.25", elbo=lambda x, logits, mu, logvar: (
            (x * logits - softplus(logits)).mean(1) - gaussian_kl(mu, logvar))),
        mistake("taken for ln s", elbo=lambda x, logits, mu, logvar: (
            elbo(x, logits, mu, 2 * logvar))),
        mistake("'-KL' has weight 0.2", elbo=lambda x, logits, mu, logvar: (
            (x * logits - softplus(logits)).sum(1) - gaussian_kl(mu, logvar) / mu.shape[1])),
        mistake("'-KL' has weight 2|2 times", elbo=lambda x, logits, mu, logvar: (
            elbo(x, logits, mu, logvar) - gaussian_kl(mu, logvar))),
        mistake("logits were negated", elbo=lambda x, logits, mu, logvar: (
            elbo(x, -logits, mu, logvar))),
        mistake("batch of 1|shape", elbo=lambda x, logits, mu, logvar: (
            (x * logits - softplus(logits)).sum() - gaussian_kl(mu, logvar))),
        mistake("sigmoid|logits", elbo=lambda x, logits, mu, logvar: (
            elbo(x, 1 / (1 + np.exp(-logits)), mu, logvar))),
        mistake("in the KL: mu is not squared", elbo=lambda x, logits, mu, logvar: elbo(
            x, logits, mu, logvar) + 0.5 * (mu * mu - mu).sum(1)),
    ])


# --- ex31_em_step ---------------------------------------------------------------------------------

def densities(x, means, variances):
    return np.exp(-0.5 * (x[:, None] - means) ** 2 / variances) / np.sqrt(2 * np.pi * variances)


def em_step(x, weights, means, variances):
    p = weights * densities(x, means, variances)
    r = p / p.sum(1, keepdims=True)
    n = r.sum(0)
    new = x @ r / n
    return r, n / len(x), new, x ** 2 @ r / n - new ** 2


def em_by_loop(x, weights, means, variances):
    r = np.empty((len(x), len(means)), x.dtype)
    for i, v in enumerate(x):
        p = weights * densities(np.array([v]), means, variances)[0]
        r[i] = p / p.sum()
    new = np.array([np.average(x, weights=column) for column in r.T], x.dtype)
    spread = [np.average((x - m) ** 2, weights=column) for m, column in zip(new, r.T)]
    return r, r.mean(0), new, np.array(spread, x.dtype)


def em_with(r=None, change=lambda r, x, results, old: results):
    def wrong(x, weights, means, variances):
        if r is None:
            results = em_step(x, weights, means, variances)
        else:
            own = r(x, weights, means, variances)
            n = own.sum(0)
            new = x @ own / n
            results = own, n / len(x), new, x ** 2 @ own / n - new ** 2
        return change(results[0], x, results, means)
    return dict(em_step=wrong)


def unnormalised(x, weights, means, variances):
    return weights * densities(x, means, variances)


ANSWERS["ex31_em_step"] = Answers(
    right=[dict(em_step=em_step), dict(em_step=em_by_loop)],
    mistakes=[
        mistake("divided by its sum", **em_with(r=unnormalised)),
        mistake("adds up to 1 along axis 0", **em_with(
            r=lambda *a: unnormalised(*a) / unnormalised(*a).sum(0))),
        mistake("weights were all ones", **em_with(r=lambda x, w, m, v: (
            densities(x, m, v) / densities(x, m, v).sum(1, keepdims=True)))),
        mistake("variances were squared", **em_with(r=lambda x, w, m, v: (
            lambda p: p / p.sum(1, keepdims=True))(w * densities(x, m, v * v)))),
        mistake("term made of variances is left out", **em_with(r=lambda x, w, m, v: (
            lambda p: p / p.sum(1, keepdims=True))(w * densities(x, m, v) * np.sqrt(v)))),
        mistake("times too large|number|sum", **em_with(change=lambda r, x, results, old: (
            r, r.sum(0), *results[2:]))),
        mistake("means stands where new_means", **em_with(change=lambda r, x, results, old: (
            *results[:3], (r * (x[:, None] - old) ** 2).sum(0) / r.sum(0)))),
        mistake("its square root", **em_with(
            change=lambda r, x, results, old: (*results[:3], np.sqrt(results[3])))),
        mistake("divided by N where n_k", **em_with(change=lambda r, x, results, old: (
            r, results[1], x @ r / len(x), results[3]))),
        mistake("weights itself", em_step=lambda x, w, m, v: (
            em_step(x, w, m, v)[0], w, *em_step(x, w, m, v)[2:])),
        mistake("1/2 in its exponent", **em_with(r=lambda x, w, m, v: (
            lambda p: p / p.sum(1, keepdims=True))(
                w * np.exp(-(x[:, None] - m) ** 2 / v) / np.sqrt(v)))),
        mistake("term new_means is left out", **em_with(change=lambda r, x, results, old: (
            *results[:3], x ** 2 @ r / r.sum(0)))),
        mistake("n_k - 1", **em_with(change=lambda r, x, results, old: (
            *results[:3], results[3] * r.sum(0) / (r.sum(0) - 1)))),
        mistake("wholly to one", **em_with(change=lambda r, x, results, old: (
            (r == r.max(1, keepdims=True)) * 1.0, *results[1:]))),
        mistake("missing", **em_with(change=lambda r, x, results, old: results[:3])),
        mistake("means stands in the place of weights", em_step=lambda *args: (
            lambda r, w, m, v: (r, m, v, w))(*em_step(*args))),
    ])


# --- ex32_k_sample_bound --------------------------------------------------------------------------

def k_sample_bound(logw):
    top = logw.max(axis=1)
    return top + np.log(np.mean(np.exp(logw - top[:, None]), axis=1))


ANSWERS["ex32_k_sample_bound"] = Answers(
    right=[dict(k_sample_bound=k_sample_bound), dict(k_sample_bound=lambda logw: (
        np.logaddexp.reduce(logw, axis=1) - logw.dtype.type(np.log(logw.shape[1]))))],
    mistakes=[
        mistake("underflow", k_sample_bound=lambda logw: np.log(np.exp(logw).mean(1))),
        mistake("-ln k' is missing", k_sample_bound=lambda logw: (
            k_sample_bound(logw) + np.log(logw.shape[1]))),
        mistake("outside the logarithm", k_sample_bound=lambda logw: (
            logw.mean(1))),
        mistake("the number of examples", k_sample_bound=lambda logw: (
            np.logaddexp.reduce(logw, axis=1) - np.log(len(logw)))),
        mistake("k itself is taken off", k_sample_bound=lambda logw: (
            np.logaddexp.reduce(logw, axis=1) - logw.shape[1])),
        mistake("size of axis 1", k_sample_bound=lambda logw: (
            k_sample_bound(logw) / logw.shape[1])),
        mistake("divided by k - 1", k_sample_bound=lambda logw: k_sample_bound(logw) - np.log(
            (logw.shape[1] - 1) / logw.shape[1])),
        mistake("at its largest", k_sample_bound=lambda logw: logw.max(1)),
        mistake("-ln k' has weight -1|weight", k_sample_bound=lambda logw: (
            k_sample_bound(logw) + 2 * np.log(logw.shape[1]))),
        mistake("negated", k_sample_bound=lambda logw: -k_sample_bound(logw)),
        mistake("shape", k_sample_bound=lambda logw: k_sample_bound(logw).mean()),
        mistake("axis|shape", k_sample_bound=lambda logw: k_sample_bound(logw.T)),
        mistake("logarithm is missing", k_sample_bound=lambda logw: np.exp(k_sample_bound(logw))),
    ])


# --- ex33_gan_losses ------------------------------------------------------------------------------

def critic_loss(real, fake):
    return np.mean(softplus(-real)) + np.mean(softplus(fake))


def generator_loss(fake):
    return np.mean(softplus(-fake))


ANSWERS["ex33_gan_losses"] = Answers(
    right=[dict(critic_loss=critic_loss, generator_loss=generator_loss),
           dict(critic_loss=lambda real, fake: (
               np.logaddexp(np.zeros_like(real), -real).sum() / len(real)
               + np.logaddexp(np.zeros_like(fake), fake).sum() / len(fake)),
               generator_loss=lambda fake: (softplus(fake) - fake).mean())],
    mistakes=[
        mistake("saturating", generator_loss=lambda fake: -np.mean(softplus(fake))),
        mistake("fake were negated", generator_loss=lambda fake: np.mean(softplus(fake))),
        mistake("negated", critic_loss=lambda real, fake: -critic_loss(real, fake)),
        mistake("real and fake", critic_loss=lambda real, fake: critic_loss(fake, real)),
        mistake("2 times too small", critic_loss=lambda real, fake: critic_loss(real, fake) / 2),
        mistake("one example each.*sum|sum", critic_loss=lambda real, fake: (
            softplus(-real).sum() + softplus(fake).sum())),
        mistake(r"D\(fake\)\)' is missing", critic_loss=lambda real, fake: softplus(-real).mean()),
        mistake(r"D\(real\)' is missing", critic_loss=lambda real, fake: np.mean(softplus(fake))),
        mistake("least squares", critic_loss=lambda real, fake: (
            np.mean((real - 1) ** 2) + np.mean(fake ** 2))),
        mistake("least squares", generator_loss=lambda fake: np.mean((fake - 1) ** 2) / 2),
        mistake("without softplus", critic_loss=lambda real, fake: np.mean(fake) - np.mean(real)),
        mistake("probabilities, where their", critic_loss=lambda real, fake: (
            -np.mean(1 / (1 + np.exp(-real))) - np.mean(1 - 1 / (1 + np.exp(-fake))))),
        mistake("hinges", critic_loss=lambda real, fake: (
            np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean())),
        mistake("overflow", critic_loss=lambda real, fake: (
            -np.mean(np.log(1 / (1 + np.exp(-real)))) - np.mean(
                np.log(1 - 1 / (1 + np.exp(-fake)))))),
        mistake("shape", generator_loss=lambda fake: softplus(-fake)),
        mistake("without softplus", generator_loss=lambda fake: -fake.mean()),
        mistake("the logarithm of the mean", generator_loss=lambda fake: -np.log(
            np.exp(-softplus(-fake)).mean())),
        mistake("is negated", critic_loss=lambda real, fake: (
            softplus(-real).mean() - softplus(fake).mean())),
    ])


# --- ex34_gradient_penalty ------------------------------------------------------------------------

def penalty(slopes, weight):
    return weight * np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2)


def penalty_backward(slopes, weight):
    norm = np.linalg.norm(slopes, axis=1)[:, None]
    return slopes * (1 - 1 / norm) * (2 * weight / len(slopes))


def penalty_backward_with(f):
    return dict(penalty_backward=lambda slopes, weight: f(
        slopes, weight, np.linalg.norm(slopes, axis=1, keepdims=True), len(slopes)))


ANSWERS["ex34_gradient_penalty"] = Answers(
    right=[dict(penalty=penalty, penalty_backward=penalty_backward),
           dict(penalty=lambda s, weight: sum(
               weight * (np.sqrt(row @ row) - 1) ** 2 for row in s) / len(s),
               penalty_backward=lambda s, weight: np.stack([
                   2 * weight * (np.sqrt(row @ row) - 1) / np.sqrt(row @ row) * row / len(s)
                   for row in s]))],
    mistakes=[
        mistake("one length of all", penalty=lambda s, weight: (
            weight * (np.sqrt((s * s).sum()) - 1) ** 2)),
        mistake("batch of 1.*sum", penalty=lambda s, weight: penalty(s, weight) * len(s)),
        mistake("weight", penalty=lambda s, weight: penalty(s, 1)),
        mistake("root is missing", penalty=lambda s, weight: (
            weight * (((s * s).sum(1) - 1) ** 2).mean())),
        mistake(".. 2 is left out", penalty=lambda s, weight: (
            weight * np.mean(np.linalg.norm(s, axis=1) - 1))),
        mistake("distance from 1 is not squared", penalty=lambda s, weight: (
            weight * np.mean(abs(np.linalg.norm(s, axis=1) - 1)))),
        mistake("absolute values are added up", penalty=lambda s, weight: (
            weight * np.mean((abs(s).sum(1) - 1) ** 2))),
        mistake("along the other axis", penalty=lambda s, weight: (
            weight * np.mean((np.linalg.norm(s, axis=0) - 1) ** 2))),
        mistake("distance from 0", penalty=lambda s, weight: weight * (s * s).sum(1).mean()),
        mistake("one-sided", penalty=lambda s, weight: weight * (
            np.maximum(np.linalg.norm(s, axis=1) - 1, 0) ** 2).mean()),
        mistake("2 times too small", **penalty_backward_with(
            lambda s, weight, norm, B: weight * (norm - 1) * s / norm / B)),
        mistake("a sum where a mean was meant", **penalty_backward_with(
            lambda s, weight, norm, B: 2 * weight * (norm - 1) * s / norm)),
        mistake(r"\|slope\| is there once too often|\|slope\|", **penalty_backward_with(
            lambda s, weight, norm, B: 2 * weight * (norm - 1) * s / B)),
        mistake("negated", **penalty_backward_with(
            lambda s, weight, norm, B: 2 * weight * (1 - norm) * s / norm / B)),
        mistake("forgotten|- 1", **penalty_backward_with(
            lambda s, weight, norm, B: 2 * weight * s / norm / B)),
        mistake("2 times weight", penalty_backward=lambda slopes, weight: penalty_backward(
            slopes, 0.5)),
        mistake("stands where - was needed, before 1", penalty=lambda slopes, weight: weight * (
            (np.sqrt((slopes ** 2).sum(1)) + 1) ** 2).mean()),
    ])
