"""Generative adversarial networks: a sampler x = G(z), trained against a critic that spots it.

    x (B, D)   real examples;   z (n, Z) noise;   C(x) (B, 1), the logit of "x is real"
    For a fixed G the best critic is C(x) = ln p_data(x) - ln p_theta(x).
    What the two lower is in objectives.py, networks for pictures are in architectures.py.
"""
import math

from ...distributions import Categorical
from ...engine.backend import host_rng, normal, xp
from ...engine.elementwise import relu, sigmoid
from ...engine.reductions import mean, sum
from ...engine.shaping import concatenate
from ...engine.tensor import no_grad
from ...nn import Linear, Module, Sequential, mlp
from ...nn.linear import check_sizes, widths
from ..branches import Implicit, as_batch, as_count, as_labels
from .architectures import leaky
from .objectives import NON_SATURATING


class GAN(Implicit):
    """G and C are MLPs unless others are given; the objective is the non-saturating one.

    noise       the critic sees every x, real or not, with N(0, noise^2) added. Real binary pictures
                are exactly 0 and 1 and generated ones are not, which alone gives them away; under
                noise the two overlap, and the critic has to look at the picture
    output      what G's last layer goes through, onto the range of x; None: nothing
    pack        how many examples the critic sees side by side, all real or all generated, as one
                input (B / pack, pack D): one sample cannot show that samples are alike, two can
    objective   a pair of objectives.py;   penalty(critic, real, fake), added to the critic's loss
    Source: Goodfellow et al. 2014, eq. 1 and the end of section 3; noise: Arjovsky & Bottou 2017,
    section 3.1; packing: Lin et al. 2018, section 2."""
    noise, pack, objective, penalty, output = 0.0, 1, NON_SATURATING, None, staticmethod(sigmoid)

    def __init__(self, D, latent=64, hidden=(256, 256), noise=0.0, output=sigmoid, pack=1,
                 objective=NON_SATURATING, penalty=None, generator=None, critic=None):
        check_sizes(type(self).__name__, D=D, latent=latent, pack=pack)
        hidden = widths(type(self).__name__, hidden)
        self.D, self.latent, self.noise, self.output = D, latent, noise, output
        self.pack, self.objective, self.penalty = pack, objective, penalty
        self.generator = generator or mlp((latent, *hidden, D), relu)
        self.critic = critic or mlp((pack * D, *reversed(hidden), 1), leaky)
        if generator or critic:
            self._check_fit()

    def _check_fit(self):
        """ValueError unless G gives what C reads, and C a logit for each `pack` examples."""
        self.eval()
        with no_grad():
            x = self.generate(2 * self.pack)
            if x.shape != (2 * self.pack, self.D):
                raise ValueError(f"{type(self).__name__}: the generator makes shape {x.shape} of "
                                 f"{2 * self.pack} latents; needed (n, {self.D}), an example a row")
            try:
                shape = self.logits(x).shape
            except ValueError as error:
                raise ValueError(f"{type(self).__name__}: the critic does not take (n, "
                                 f"{self.pack * self.D}), {self.pack} examples of the generator a "
                                 f"row: {error}") from None
        if shape != (2, 1):
            raise ValueError(f"{type(self).__name__}: the critic gives shape {shape} for 2 inputs; "
                             "needed (2, 1), a logit each")
        self.train()

    def latents(self, n):
        """z ~ N(0, I).   (n, Z)"""
        return normal((n, self.latent))

    def decode(self, z):
        """G(z), brought into the range of x.   (n, Z) -> (n, D)"""
        y = self.generator(z)
        return self.output(y) if self.output else y

    def generate(self, n):
        """G(z) of new noise.   (n, D), differentiable"""
        return self.decode(self.latents(n))

    def sample(self, n):
        with no_grad():
            return self.generate(as_count(self, n)).data

    def seen(self, x):
        """What the critic is shown of x: under noise, packed.   (B, D) -> (B / pack, pack D)"""
        x = x + self.noise * normal(x.shape, x.dtype) if self.noise else x
        if len(x) % self.pack:
            raise ValueError(f"{type(self).__name__}: packs of {self.pack} do not divide a batch "
                             f"of {len(x)} examples; use another batch size")
        return x if self.pack == 1 else x.reshape(len(x) // self.pack, -1)

    def logits(self, x):
        """C(x + noise): how sure the critic is that x is real.   (B, D) -> (B / pack, 1)"""
        return self.critic(self.seen(x))

    def critic_loss(self, x):
        """The objective's: -E ln D(x) - E ln(1 - D(G(z))), nats, unless another was chosen"""
        x = as_batch(self, x)
        real, fake = self.seen(x), self.seen(self.sample(len(x)))
        return self.compare(real, fake)

    def compare(self, real, fake):
        """The critic's loss on what it sees of real and of generated examples."""
        loss = self.objective.critic(self.critic(real), self.critic(fake))
        return loss + self.penalty(self.critic, real, fake) if self.penalty else loss

    def generator_loss(self, n):
        """The objective's, over n draws: -E ln D(G(z)), nats, unless another was chosen"""
        return self.generator_objective(self.generate(as_count(self, n, least=1)))

    def generator_objective(self, x):
        """What the generator's loss says of the samples x."""
        return self.objective.generator(self.logits(x))


# --- told what to draw ----------------------------------------------------------------------------

class ProjectionCritic(Module):
    """C(x, y) = w . h(x) + b + V_y . h(x), y a label: is x real, and of its class?

    The form that ln p(x, y) - ln q(x, y) has if p(y | x) and q(y | x) are both softmaxes of h.
    The input holds x and, beside it, y one-hot. Source: Miyato & Koyama 2018, eq. 3."""

    def __init__(self, D, hidden, classes):
        self.D, self.features = D, Sequential(mlp((D, *hidden), leaky), leaky)
        self.head, self.V = Linear(hidden[-1], 1), Linear(classes, hidden[-1], bias=False)

    def forward(self, x):
        h = self.features(x[:, :self.D])
        return self.head(h) + sum(h * self.V(x[:, self.D:]), 1, keepdims=True)


class ConditionalGAN(GAN):
    """x = G(z, y), C(x, y), y one of `classes` labels, one-hot, beside z and beside x; or with a
    ProjectionCritic.

    critic_loss(x, labels), generator_loss(n, labels) and sample(n, labels), labels integers (n,).
    The last two draw them evenly where none are given; those of x are known. Source: Mirza &
    Osindero 2014, eq. 2."""

    def __init__(self, D, classes, latent=64, hidden=(256, 256), projection=False, noise=0.0,
                 output=sigmoid, objective=NON_SATURATING, penalty=None):
        check_sizes(type(self).__name__, D=D, classes=classes, latent=latent)
        hidden = widths(type(self).__name__, hidden)
        self.D, self.classes, self.latent, self.noise = D, classes, latent, noise
        self.output, self.objective, self.penalty = output, objective, penalty
        self.generator, back = mlp((latent + classes, *hidden, D), relu), hidden[::-1]
        self.critic = (ProjectionCritic(D, back, classes) if projection
                       else mlp((D + classes, *back, 1), leaky))

    def labels(self, n, labels=None):
        """One-hot rows (n, classes) of the labels, or of labels drawn evenly."""
        labels = host_rng().integers(self.classes, size=n) if labels is None else labels
        return xp.eye(self.classes, dtype="float32")[as_labels(self, labels, n, self.classes)]

    def told(self, n, one_hot):
        """G(z, y).   (n, D), differentiable"""
        return self.decode(xp.concatenate([self.latents(n), one_hot], axis=1))

    def generate(self, n, labels=None):
        return self.told(n, self.labels(n, labels))

    def sample(self, n, labels=None):
        with no_grad():
            return self.generate(as_count(self, n), labels).data

    def seen(self, x, one_hot):
        return concatenate([super().seen(x), one_hot], axis=1)

    def logits(self, x):
        raise NotImplementedError(
            f"{type(self).__name__}: its critic judges examples with their labels, and a batch x "
            "alone, as diagnose has, lacks them; look at critic(seen(x, labels(n, y))) instead")

    def critic_loss(self, x, labels=None):
        """Real and generated examples have the same labels, those of x."""
        x = as_batch(self, x)
        y = self.labels(len(x), as_labels(self, labels, len(x), self.classes))
        with no_grad():
            fake = self.told(len(x), y).data
        return self.compare(self.seen(x, y), self.seen(fake, y))

    def generator_loss(self, n, labels=None):
        y = self.labels(as_count(self, n, least=1), labels)
        return self.objective.generator(self.critic(self.seen(self.told(n, y), y)))


# --- a representation -----------------------------------------------------------------------------

class InfoGAN(GAN):
    """x = G(z, c), whose code c must be readable from x: the generator also lowers
    -weight E ln Q(c | x). With weight 1 that maximises a bound of the mutual information,
    I(c; x) >= H(c) + E ln Q(c | x), nats.

    c is one of `codes` kinds, drawn evenly. encode(x) is Q(c | x), by a third network, `reader`,
    trained with the generator: Adam(gan.players()). Source: Chen et al. 2016, eq. 5 and 6, there
    with a reader that shares the critic's first layers."""

    def __init__(self, D, codes, latent=64, hidden=(256, 256), weight=1.0, **settings):
        check_sizes(type(self).__name__, codes=codes)
        self.codes, self.weight, hidden = codes, weight, widths(type(self).__name__, hidden)
        generator = settings.pop("generator", None) or mlp((latent + codes, *hidden, D), relu)
        self.reader = mlp((D, *reversed(hidden), codes), leaky)
        super().__init__(D, latent, hidden, generator=generator, **settings)

    def players(self):
        """The parameters that lower generator_loss."""
        return self.generator.parameters() + self.reader.parameters()

    def draw_codes(self, n):
        return xp.asarray(host_rng().integers(self.codes, size=n))

    def latents(self, n, codes=None):
        """z ~ N(0, I) and beside it the code, one-hot"""
        codes = self.draw_codes(n) if codes is None else codes
        one_hot = xp.eye(self.codes, dtype="float32")[xp.asarray(codes)]
        return xp.concatenate([super().latents(n), one_hot], axis=1)

    def encode(self, x):
        """Q(c | x), a Categorical over the codes"""
        return Categorical(self.reader(x))

    def generator_loss(self, n):
        codes = self.draw_codes(as_count(self, n, least=1))
        x = self.decode(self.latents(n, codes))
        return self.generator_objective(x) - self.weight * mean(self.encode(x).log_prob(codes))

    def information(self, n):
        """ln K + E ln Q(c | G(z, c)) over n draws, nats: at most I(c; x), itself at most ln K"""
        codes = self.draw_codes(as_count(self, n, least=1))
        with no_grad():
            x = self.decode(self.latents(n, codes))
            return math.log(self.codes) + mean(self.encode(x).log_prob(codes)).item()
