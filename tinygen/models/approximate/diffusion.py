"""Diffusion: a very deep hierarchical VAE whose encoder is fixed and only adds noise.

    x (B, D)   examples;   x_0 = x / scale;   eps ~ N(0, I)
    x_t        = alpha_t x_0 + sigma_t eps, t = 1 .. T;   alpha_t^2 + sigma_t^2 = 1
    log_snr    ln(alpha_t^2 / sigma_t^2), which falls with t: the schedule;   SNR_t = e^log_snr
    x0_hat     the network's guess of x_0, given x_t and log_snr

    elbo(x) = ln p(x | x_1) - sum_{t=2..T} KL(q(x_t-1 | x_t, x_0) || q(x_t-1 | x_t, x0_hat))
              - KL(q(x_T | x_0) || N(0, I))

Source: Ho et al. 2020, eq. 5; in the letters of Kingma et al. 2021, "Variational diffusion models".
"""
import math

from ...distributions import Categorical, Normal
from ...engine.backend import normal, uniform, xp
from ...engine.elementwise import where
from ...engine.reductions import logsumexp, mean, sum
from ...engine.shaping import expand_dims, stack
from ...engine.tensor import no_grad
from ...nn.linear import check_sizes
from ..branches import Approximate, as_batch, as_labels, check_levels

MOST_LEFT = 0.01                # of x_0's variance in x_T, above which x_T is no noise


# --- schedules: log_snr (T,), float64 -------------------------------------------------------------

def linear(T, first=1e-4, last=0.02):
    """1 - beta_t = (alpha_t / alpha_t-1)^2, beta_t on a straight line. It ends in noise for T of
    about 500 or more. Source: Ho et al. 2020, section 4."""
    check_sizes("linear", T=T)
    if not 0 < min(first, last) <= max(first, last) < 1:
        raise ValueError(f"linear: betas from {first} to {last}; needs both between 0 and 1")
    return _log_snr(xp.cumprod(1 - xp.linspace(first, last, T)))


def cosine(T, offset=0.008):
    """alpha_t = f(t) / f(0), f(t) = cos(pi/2 (t / T + offset) / (1 + offset)); beta_t at most .999.
    Source: Nichol & Dhariwal 2021, eq. 17."""
    check_sizes("cosine", T=T)
    alpha = xp.cos(math.pi / 2 * (xp.linspace(0, 1, T + 1) + offset) / (1 + offset))
    return _log_snr(xp.cumprod(xp.maximum((alpha[1:] / alpha[:-1]) ** 2, 0.001)))


def straight(T, first, last=-10.0):
    """log_snr itself on a straight line: then an error of eps weighs the same at every t. With many
    steps only the ends matter to the ELBO. Source: Kingma et al. 2021, section 5.1."""
    check_sizes("straight", T=T)
    return xp.linspace(first, last, T)


def _log_snr(alpha2):
    return xp.log(alpha2) - xp.log1p(-alpha2)


def _check_schedule(log_snr):
    if log_snr.ndim != 1 or not log_snr.size or not bool(
            xp.isfinite(log_snr).all() and (xp.diff(log_snr) < 0).all()):
        raise ValueError(f"Diffusion: a schedule of shape {log_snr.shape} that does not fall at "
                         "every step; needs the log-SNR of t = 1 .. T, each below the one before")
    left = 1 / (1 + math.exp(-float(log_snr[-1])))
    if left > MOST_LEFT:
        raise ValueError(f"Diffusion: the schedule does not end in noise: {left:.1%} of x_T's "
                         f"variance is still x_0's, needed at most {MOST_LEFT:.0%}; take more "
                         "steps or larger ones")


def check_data(name, D, scale):
    check_sizes(name, D=D)
    if not 0 < scale < math.inf:
        raise ValueError(f"{name}: scale is {scale}; needs a number above 0")


# x_0 from x_t and what the network predicts of it: the noise; v = alpha eps - sigma x_0 (Salimans &
# Ho 2022, appendix D), which is well scaled at both ends; or x_0 itself.
PREDICTIONS = {"eps": lambda x, y, alpha, sigma: (x - sigma * y) / alpha,
               "v": lambda x, y, alpha, sigma: alpha * x - sigma * y,
               "x": lambda x, y, alpha, sigma: y}


class Diffusion(Approximate):
    """p(x) by T steps from noise.   network(x_t (B, D), log_snr (B,), labels (B,) or None): (B, D)

    predict   what the network predicts: "eps", "v" or "x"
    scale     the data's, so that x_0 is about 1 in size
    classes   of labels 0 .. classes - 1. While training, a share `drop` of them is replaced by the
              label `classes`, which says nothing: one network, with and without labels.
    p(x | x_1) = N(scale x0_hat, scale^2 / SNR_1), so the schedule's first log-SNR must resolve the
    finest detail. Densities are in nats; evaluation.bits_per_dim(-elbo, D) has them in bits.
    Source: Ho et al. 2020 with the variances of q; labels: Ho & Salimans 2022, algorithm 1."""

    def __init__(self, network, D, log_snr, predict="v", scale=1.0, classes=None, drop=0.1):
        if predict not in PREDICTIONS:
            raise ValueError(f"Diffusion: predict is {predict!r}; choose from "
                             f"{', '.join(PREDICTIONS)}")
        check_data(type(self).__name__, D, scale)
        if classes is not None:
            check_sizes(type(self).__name__, classes=classes)
        if not 0 <= drop <= 1:
            raise ValueError(f"Diffusion: drop is {drop}; needs a share of the labels, 0 to 1")
        log_snr = xp.asarray(log_snr, dtype="float64")
        _check_schedule(log_snr)
        self.network, self.D, self.T, self.predict = network, D, len(log_snr), predict
        self.scale, self.classes, self.drop = scale, classes, drop
        self.log_snr = xp.concatenate([xp.full(1, math.inf), log_snr])      # x_0 has no noise
        snr = xp.exp(self.log_snr)
        self.alpha, self.sigma = (1 / (1 + 1 / snr)) ** 0.5, (1 / (1 + snr)) ** 0.5
        self.weight = xp.concatenate([snr[:2], snr[1:-1] - snr[2:]])        # of |x_0 - x0_hat|^2/2
        errors_of_eps = self.weight[1:] / snr[1:]
        self.chance = xp.concatenate([xp.zeros(1), errors_of_eps / errors_of_eps.sum()])
        self.until = xp.cumsum(self.chance)[1:-1]       # t is drawn where u is first below it

    def encode(self, x, t=None):
        """q(x_t | x) = N(alpha_t x_0, sigma_t^2), a Normal of shape (B, D).

        t left out is T: noise, from which generate() starts. decode() reads t = 1: encode(x, 1)."""
        t = self.T if t is None else t
        if not 1 <= t <= self.T:
            raise ValueError(f"encode: t is {t}; needs 1 to T = {self.T}")
        mu = float(self.alpha[t]) * self._scaled(as_batch(self, x))
        return Normal(mu, xp.asarray(2 * math.log(float(self.sigma[t])), dtype=mu.dtype))

    def posterior(self, x0, x, t, s, eta=1.0):
        """q(x_s | x_t = x, x_0), s < t: its mean and standard deviation.

        With eta < 1 less noise is drawn anew and more of the old kept, all of it for eta = 0; the
        marginals q(x_s | x_0) stay. Source: Song et al. 2021, eq. 7 and 16."""
        new = math.sqrt(-math.expm1(float(self.log_snr[t] - self.log_snr[s])))      # of sigma_s
        eps = (x - float(self.alpha[t]) * x0) * (1 / float(self.sigma[t]))
        kept = math.sqrt(1 - (eta * new) ** 2)
        sigma = float(self.sigma[s])
        return float(self.alpha[s]) * x0 + sigma * kept * eps, sigma * eta * new

    def denoise(self, x, t, labels=None, guidance=1.0):
        """x0_hat (B, D) from x_t, where t is an integer or one for each row, (B,).

        guidance w: the network's word is y() + w (y(labels) - y()), y() without labels; 1 leaves
        the model as it is, more makes samples more typical of their labels.
        Source: Ho & Salimans 2022, eq. 6, whose w is ours less 1."""
        if guidance != 1 and labels is None:
            raise ValueError("Diffusion: guidance needs a model with classes, and labels")
        t, labels = xp.broadcast_to(xp.asarray(t), len(x)), self._labels(labels, len(x))

        def network(labels):
            return self.network(x, self.log_snr[t].astype(x.dtype), labels)
        y = network(labels)
        if guidance != 1:
            free = network(self._labels(None, len(x)))
            y = free + guidance * (y - free)
        return PREDICTIONS[self.predict](x, y, *self._alpha_sigma(t, x))

    def decode(self, z, labels=None):
        """z = x_1 (B, D), as encode(x, 1) draws it -> p(x | x_1), a Normal of shape (B, D)"""
        return self._likelihood(self.denoise(z, 1, labels))

    def _likelihood(self, x0):
        logvar = 2 * math.log(self.scale) - float(self.log_snr[1])
        return Normal(self.scale * x0, xp.asarray(logvar, dtype=x0.dtype))

    def elbo(self, x, labels=None, draws=None):
        """ln p(x | x_1) - the T KL terms, one eps each.   (B, D) -> (B,), nats

        All T terms, or an unbiased estimate from `draws` of them, each t drawn in proportion to its
        weight if the error of eps were the same at every t. Use it under no_grad() to evaluate."""
        x = as_batch(self, x)
        total = -sum(self.encode(x).kl(), -1)
        if draws is None:
            for t in range(1, self.T + 1):
                total = total + self._term(x, xp.full(len(x), t), labels)
            return total
        check_sizes("elbo", draws=draws)
        for _ in range(draws):
            t = xp.searchsorted(self.until, evenly_spread(len(x)), side="right") + 1
            chance = (draws * self.chance[t]).astype(x.dtype)
            total = total + self._term(x, t, labels) / chance
        return total

    def loss(self, x, labels=None):
        """-mean elbo(x) from one t for each example, some labels dropped"""
        labels = self._labels(labels, len(x))
        if labels is not None:
            labels = xp.where(uniform((len(x),)) < self.drop, self.classes, labels)
        return -mean(self.elbo(x, labels, draws=1))

    def _term(self, x, t, labels):
        """-(SNR_t-1 - SNR_t) |x_0 - x0_hat|^2 / 2, the KL between two Gaussians of one variance;
        where t = 1, ln p(x | x_1).   (B,).   Source: Kingma et al. 2021, section 4."""
        x0, (alpha, sigma) = self._scaled(x), self._alpha_sigma(t, x)
        x0_hat = self.denoise(alpha * x0 + sigma * normal(x.shape, x.dtype), t, labels)
        d = x0 - x0_hat
        minus_kl = -0.5 * self.weight[t].astype(x.dtype) * sum(d * d, -1)
        return where(t == 1, self._log_likelihood(x, x0_hat), minus_kl)

    def _log_likelihood(self, x, x0):
        return sum(self._likelihood(x0).log_prob(x), -1)

    def log_prob_bound(self, x, k=1, labels=None):
        """ln 1/k sum_i p(x, x_1..T) / q(x_1..T | x), k whole chains: rises from the ELBO with k, in
        expectation.   (B, D) -> (B,), nats;   k T passes through the network

        With x_t-1 = the mean of q + its s eps, and the mean of p away by s delta, a step adds
        ln p - ln q = eps delta - delta^2 / 2. Source: Burda et al. 2016, eq. 8."""
        check_sizes("log_prob_bound", k=k)
        x = as_batch(self, x)
        chains = [self._log_weight(x, labels) for _ in range(k)]
        return logsumexp(stack(chains), axis=0) - math.log(k)

    def _log_weight(self, x, labels):
        """ln p(x, x_1..T) - ln q(x_1..T | x) of one chain x_1..T ~ q.   (B,)"""
        x0, q, zero = self._scaled(x), self.encode(x), xp.zeros(1, x.dtype)
        x_t = q.rsample()
        total = sum(Normal(zero, zero).log_prob(x_t) - q.log_prob(x_t), -1)
        for t in range(self.T, 1, -1):
            delta = math.sqrt(float(self.weight[t])) * (self.denoise(x_t, t, labels) - x0)
            mu, s = self.posterior(x0, x_t, t, t - 1)
            eps = normal(x.shape, x.dtype)
            x_t = mu + s * eps
            total = total + sum(eps * delta - 0.5 * delta * delta, -1)
        return total + self._log_likelihood(x, self.denoise(x_t, 1, labels))

    def sample(self, n, labels=None, steps=None, eta=1.0, guidance=1.0, report=None):
        """n draws (n, D): generate() from x_T ~ N(0, I). As it is, a draw from p(x)."""
        return self.generate(normal((n, self.D), self.network.parameters()[0].dtype), labels,
                             steps, eta, guidance, report)

    def generate(self, z, labels=None, steps=None, eta=1.0, guidance=1.0, report=None):
        """From z = x_T down to x, over `steps` of the T times.   (n, D) -> (n, D)

        eta = 1: ancestral sampling, x_t-1 ~ q(x_t-1 | x_t, x0_hat). eta = 0: DDIM, nothing random
        after z, and good in few steps. report(i, steps, {}, n / steps) hears of each, as Progress.
        Source: Ho et al. 2020, algorithm 2; Song et al. 2021, eq. 12."""
        steps = self.T if steps is None else steps
        if not 1 <= steps <= self.T or not 0 <= eta <= 1:
            raise ValueError(f"Diffusion: {steps} steps with eta {eta}; needs 1 to T = {self.T} "
                             "steps and 0 <= eta <= 1")
        times = [self.T - round(i * (self.T - 1) / max(steps - 1, 1)) for i in range(steps)]
        with no_grad():
            x = z
            for i, t in enumerate(times):
                x0 = self.denoise(x, t, labels, guidance).data
                if i + 1 < steps:
                    x, s = self.posterior(x0, x, t, times[i + 1], eta)
                    x = x + s * normal(x.shape, x.dtype) if s else x
                if report:
                    report(i + 1, steps, {}, len(z) / steps)
            return self._emit(x0, eta)

    def _emit(self, x0, eta):
        p = self._likelihood(x0)
        return p.sample() if eta else p.mu

    def _scaled(self, x):
        return x / self.scale

    def _alpha_sigma(self, t, x):
        """Both at times t (B,), to stand beside the rows of x: each (B, 1)"""
        return [table[t].astype(x.dtype)[:, None] for table in (self.alpha, self.sigma)]

    def _labels(self, labels, n):
        """Integers (n,), `classes` where there is no label; None for a model without classes."""
        if self.classes is None:
            return as_labels(self, labels, n, None)
        return as_labels(self, xp.full(n, self.classes) if labels is None else labels, n,
                         self.classes + 1)


class DiscreteDiffusion(Diffusion):
    """Of x in 0 .. k - 1, as pictures: x_0 = 2 x / (k - 1) - 1, so the bound is one of ln P(x).

    P(x_d | x_1) is N(x0_hat, 1 / SNR_1) at each of the k values x_0 can have, made to sum to 1.
    Source: Kingma et al. 2021, section 3.3, with x0_hat in place of their x_1 / alpha_1. Ho et al.
    2020, eq. 13, cut the line into k bins instead."""

    def __init__(self, network, D, log_snr, predict="v", k=2, classes=None, drop=0.1):
        super().__init__(network, D, log_snr, predict, classes=classes, drop=drop)
        if k < 2:
            raise ValueError(f"DiscreteDiffusion: k is {k}; needs at least 2 levels")
        self.k = k

    def _scaled(self, x):
        return x * (2 / (self.k - 1)) - 1

    def _likelihood(self, x0):
        """A Categorical of shape (B, D), its logits (B, D, k)"""
        d = expand_dims(x0, -1) - self._scaled(xp.arange(self.k).astype(x0.dtype))
        return Categorical(-0.5 * float(self.weight[1]) * d * d)

    def _log_likelihood(self, x, x0):
        check_levels(self, x, self.k)
        return super()._log_likelihood(x.astype("int64"), x0)

    def _emit(self, x0, eta):
        p = self._likelihood(x0)
        return (p.sample() if eta else xp.argmax(p.logits, axis=-1)).astype(x0.dtype)


def evenly_spread(n):
    """(n,) numbers, each uniform in [0, 1), and evenly apart, so that a mean over them is far less
    noisy. Source: Kingma et al. 2021, appendix I.1."""
    return (uniform((1,), "float64") + xp.arange(n) / n) % 1
