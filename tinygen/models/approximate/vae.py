"""Variational autoencoders:   p(x) = integral of p(x | z) p(z) dz

    x (B, D)   examples;   z (B, Z) latents;   q(z | x) = N(mu(x), s(x)^2), the encoder's guess
    elbo(x) = E_q[ln p(x | z)] - KL(q(z | x) || p(z)) = ln p(x) - KL(q(z | x) || p(z | x))
    the first term, negated, is the distortion, the second the rate: nats that z tells of x

From the autoencoder, which cannot sample, by way of the VAE to one that is told a label and one
with two levels of latents. What p(z) may be is in priors.py.
"""
import math

from ...distributions import Bernoulli, DiscretizedLogistic, Normal
from ...engine.backend import xp
from ...engine.elementwise import maximum, relu, sigmoid, tanh
from ...engine.reductions import logsumexp, mean, sum
from ...engine.shaping import concatenate, split, stack
from ...engine.tensor import no_grad
from ...nn import Conv2d, ConvTranspose2d, Linear, Module, Sequential, init, mlp
from ...nn.linear import check_sizes, widths
from ..branches import Approximate, as_batch, as_labels
from .priors import StandardNormal


# --- the encoder and the decoder, and what the decoder's numbers mean -----------------------------

def conv_coders(side, latent, channels=(16, 32), activation=relu, colours=1):
    """(encoder, decoder) for VAE(colours * side * side, latent, coders=...), pictures as rows: two
    convolutions of stride 2 down, two transposed ones up.   (B, D) -> (B, 2 Z);   (..., Z) ->
    (..., D)"""
    if side % 4:
        raise ValueError(f"conv_coders: side is {side}; needs a multiple of 4 (halved twice)")
    a, b = widths("conv_coders", channels, "channels")
    small = side // 4
    encoder = Sequential(lambda x: x.reshape(-1, colours, side, side),
                         Conv2d(colours, a, 4, stride=2, padding=1), activation,
                         Conv2d(a, b, 4, stride=2, padding=1), activation,
                         lambda h: h.reshape(-1, b * small * small),
                         Linear(b * small * small, 2 * latent))
    decoder = Sequential(Linear(latent, b * small * small), activation,
                         lambda h: h.reshape(-1, b, small, small),
                         ConvTranspose2d(b, a, 4, stride=2, padding=1), activation,
                         ConvTranspose2d(a, colours, 4, stride=2, padding=1))
    return encoder, decoder


class NormalLikelihood(Module):
    """y -> N(y, s^2), one learned ln s^2 for all of x, from 0: what the decoder leaves unexplained
    sets it. Source: Rybkin et al. 2021, section 4."""

    def __init__(self):
        self.logvar = init.constant((1,))

    def forward(self, y):
        return Normal(y, self.logvar)


class LogisticLikelihood(Module):
    """y -> a DiscretizedLogistic around (levels - 1) sigmoid(y), for pixels x in 0..levels - 1,
    one learned ln s for all. Where levels are many, let the encoder divide x by them first."""

    def __init__(self, levels=256):
        self.levels, self.log_s = levels, init.constant((1,), math.log(levels / 8))

    def forward(self, y):
        return DiscretizedLogistic((self.levels - 1) * sigmoid(y), self.log_s, self.levels)


def normal_of_halves(y):
    """y (..., 2 Z) -> a Normal of shape (..., Z): first its means, then its ln s^2"""
    return Normal(*split(y, 2, axis=-1))


# --- a code without a probability -----------------------------------------------------------------

class Autoencoder(Module):
    """x -> MLP -> z -> MLP -> logits of x, with fewer numbers in z than in x.

    It finds what tells examples apart, but says nothing of how probable a z is: no p(x), no
    samples. Source: Hinton & Salakhutdinov 2006, trained in one go."""

    def __init__(self, D, latent=20, hidden=(200, 200), activation=tanh):
        check_sizes("Autoencoder", D=D, latent=latent)
        self.D, hidden = D, widths("Autoencoder", hidden)
        self.encoder = mlp((D, *hidden, latent), activation)
        self.decoder = mlp((latent, *reversed(hidden), D), activation)

    def encode(self, x):
        """x (B, D) -> z (B, Z)"""
        return self.encoder(as_batch(self, x))

    def decode(self, z):
        """z (..., Z) -> p(x | z), a Bernoulli of shape (..., D)"""
        return Bernoulli(self.decoder(z))

    def loss(self, x):
        """-mean ln p(x | z(x)), nats per example: how much is lost on the way through z"""
        x = as_batch(self, x)
        return -mean(sum(self.decode(self.encode(x)).log_prob(x), -1))

    def sample(self, n):
        raise NotImplementedError("sample: an Autoencoder has no p(z) to draw codes from, and most "
                                  "z decode to nothing like the data; a VAE learns both together")


# --- one level of latents -------------------------------------------------------------------------

class VAE(Approximate):
    """x -> MLP -> (mu, ln s^2);   z = mu + s eps;   z -> MLP -> p(x | z).

    coders      (encoder, decoder) to use in place of the two MLPs: x (B, D) -> (B, 2 Z) and
                z (..., Z) -> what the likelihood needs
    likelihood  decoder's output -> p(x | z): Bernoulli from logits, NormalLikelihood(), ...
    prior       see priors.py;   N(0, I) when not given
    Source: Kingma & Welling 2014, eq. 10 and appendix C."""

    def __init__(self, D, latent=20, hidden=(200, 200), activation=tanh, coders=None,
                 likelihood=Bernoulli, prior=None):
        check_sizes(type(self).__name__, D=D, latent=latent)
        hidden = widths(type(self).__name__, hidden)
        self.D, self.latent, self.likelihood = D, latent, likelihood
        self.encoder, self.decoder = coders or (
            mlp((D, *hidden, 2 * latent), activation),
            mlp((latent, *reversed(hidden), D), activation))
        self.prior = prior or StandardNormal(latent)

    def given(self, y, labels):
        """y (..., B, W), to which a conditional model adds what the labels say."""
        if labels is not None:
            raise ValueError(f"{type(self).__name__}: given labels, but it is no conditional model;"
                             " use ConditionalVAE")
        return y

    def encode(self, x, labels=None):
        """x (B, D) -> q(z | x), a Normal of shape (B, Z)"""
        y = self.encoder(self.given(as_batch(self, x), labels))
        if y.shape[-1] != 2 * self.latent:
            raise ValueError(f"{type(self).__name__}: the encoder gives {y.shape[-1]} numbers for "
                             f"each x; needs {2 * self.latent}, a mean and ln s^2 for each of its "
                             f"{self.latent} latents")
        return normal_of_halves(y)

    def decode(self, z, labels=None):
        """z (..., Z) -> p(x | z), of shape (..., D)"""
        y = self.decoder(self.given(z, labels))
        flat = y.shape[:-1] == z.shape[:-1]             # not what convolutions give
        return self.likelihood(y if flat else y.reshape(*z.shape[:-1], math.prod(y.shape[1:])))

    def kl(self, q, z):
        """KL(q || p(z)) (B, Z), or (B, 1), at z ~ q where it has no closed form."""
        return self.prior.kl(q, z)

    def parts(self, x, labels=None):
        """(ln p(x | z) (B,), the KL by latent (B, Z)) for one z ~ q(z | x): minus the distortion,
        and the rate."""
        x = as_batch(self, x)
        q = self.encode(x, labels)
        z = q.rsample()
        return sum(self.decode(z, labels).log_prob(x), -1), self.kl(q, z)

    def elbo(self, x, labels=None, beta=1.0):
        """ln p(x | z) - beta KL(q(z | x) || p(z)), one z ~ q(z | x).   (B, D) -> (B,)

        A lower bound of ln p(x) for beta = 1 (and above: Higgins et al. 2017). Raising beta from 0
        to 1 early in training lets z be used before the KL prunes it. Source of the warm-up:
        Sønderby et al. 2016, section 2.3."""
        log_likelihood, kl = self.parts(x, labels)
        return log_likelihood - beta * sum(kl, -1)

    def loss(self, x, labels=None, beta=1.0, free_bits=0.0):
        """-mean elbo(x), where a latent whose KL averages under free_bits (in nats, as the source
        has it) counts as free_bits: no reason to prune it. Source: Kingma et al. 2016, eq. 15."""
        if not free_bits:
            return -mean(self.elbo(x, labels, beta))
        log_likelihood, kl = self.parts(x, labels)
        return beta * sum(maximum(mean(kl, 0), free_bits)) - mean(log_likelihood)

    def log_prior(self, z):
        """ln p(z).   (..., Z) -> (...)"""
        return self.prior.log_prob(z)

    def log_weight(self, x, q, z, labels=None):
        """ln p(x, z) - ln q(z | x).   x (B, D), z (..., B, Z) -> (..., B)"""
        return (sum(self.decode(z, labels).log_prob(x), -1) + self.log_prior(z)
                - sum(q.log_prob(z), -1))

    def log_prob_bound(self, x, k=64, labels=None, chunk=1):
        """ln 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q: a lower bound of ln p(x) that rises with k,
        in expectation.   (B, D) -> (B,)

        Samples are drawn `chunk` at a time and their sum is carried along in logs, so under
        no_grad() memory holds the activations of chunk * B decoded rows however large k is; else
        all k. Source: Burda et al. 2016, eq. 8."""
        check_sizes("log_prob_bound", k=k, chunk=chunk)
        x, total = as_batch(self, x), None
        q = self.encode(x, labels)
        for done in range(0, k, chunk):
            z = q.rsample(min(chunk, k - done))
            part = logsumexp(self.log_weight(x, q, z, labels), 0)
            total = part if total is None else logsumexp(stack([total, part]), 0)
        return total - math.log(k)

    def sample(self, n, labels=None):
        """z ~ p(z), then x ~ p(x | z).   (n, D)"""
        with no_grad():
            return self.decode(self.prior.sample(n), labels).sample()


# --- told a label ---------------------------------------------------------------------------------

class ConditionalVAE(VAE):
    """p(x | c) = integral of p(x | z, c) p(z) dz: encoder and decoder are told the label c as well.

    labels (B,), integers in 0..classes - 1, become one-hot rows beside x and z. What c tells, z
    need not. Source: Sohn et al. 2015, with a p(z) that does not depend on c."""

    def __init__(self, D, classes, latent=20, hidden=(200, 200), activation=tanh, **settings):
        check_sizes("ConditionalVAE", classes=classes, latent=latent)
        self.classes, hidden = classes, widths("ConditionalVAE", hidden)
        super().__init__(D, latent, coders=(
            mlp((D + classes, *hidden, 2 * latent), activation),
            mlp((latent + classes, *reversed(hidden), D), activation)), **settings)

    def given(self, y, labels):
        labels = as_labels(self, labels, y.shape[-2], self.classes)
        one_hot = xp.eye(self.classes, dtype=y.dtype)[labels]
        return concatenate([y, xp.broadcast_to(one_hot, (*y.shape[:-1], self.classes))], -1)


# --- two levels of latents ------------------------------------------------------------------------

class HierarchicalVAE(VAE):
    """p(x) = integral of p(x | z) p(z | w) p(w) dz dw: the prior of z is itself a VAE, of z.

    latents (Z, W). Upwards q(z | x) q(w | z), downwards p(w) = N(0, I), p(z | w) and p(x | z); both
    conditionals on the top are Normals with learned variances. encode(x) is q(z | x), and
    prior.encode(z) is q(w | z). Source: Burda et al. 2016, section 2 and appendix C, L = 2."""

    def __init__(self, D, latents=(100, 50), hidden=(200, 200), hidden_top=(100, 100),
                 activation=tanh, **settings):
        low, top = widths("HierarchicalVAE", latents, "latents")
        hidden_top = widths("HierarchicalVAE", hidden_top, "hidden_top")
        check_sizes("HierarchicalVAE", low=low, top=top)
        prior = VAE(low, top, likelihood=normal_of_halves, coders=(
            mlp((low, *hidden_top, 2 * top), activation),
            mlp((top, *reversed(hidden_top), 2 * low), activation)))
        super().__init__(D, low, hidden, activation, prior=prior, **settings)

    def kl(self, q, z):
        """ln q(z | x) - elbo of z under p(z), in expectation at least the KL.   (B, 1)"""
        return (sum(q.log_prob(z), -1) - self.prior.elbo(z)).reshape(-1, 1)

    def log_prior(self, z):
        """ln p(z, w) - ln q(w | z), one w ~ q: in expectation of exp it is p(z), so what is built
        on it stays a bound."""
        flat = z.reshape(-1, self.latent)
        return self.prior.log_prob_bound(flat, 1).reshape(*z.shape[:-1])
