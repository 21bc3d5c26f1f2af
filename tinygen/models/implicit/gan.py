"""Generative adversarial networks: a sampler x = G(z), trained against a critic that spots it.

    x (B, D)   real examples;   z (n, Z) noise;   C(x) (B, 1), the logit of "x is real"
    For a fixed G the best critic is C(x) = ln p_data(x) - ln p_theta(x).
"""
from ...engine.backend import normal
from ...engine.elementwise import leaky_relu, relu, sigmoid, softplus
from ...engine.reductions import mean
from ...engine.tensor import no_grad
from ...nn import mlp
from ..branches import Implicit, as_batch


class GAN(Implicit):
    """G and C are MLPs; the generator's loss is the non-saturating one.

    With `noise` > 0 the critic sees every x, real or not, with N(0, noise^2) added. Real binary
    pictures are exactly 0 and 1 and generated ones are not, which alone gives them away; under
    noise the two overlap, and the critic has to look at the picture.
    Source: Goodfellow et al. 2014, eq. 1 and the end of section 3; noise: Arjovsky & Bottou 2017,
    section 3.1."""
    noise = 0.0

    def __init__(self, D, latent=64, hidden=(256, 256), noise=0.0):
        self.D, self.latent, self.noise = D, latent, noise
        self.generator = mlp((latent, *hidden, D), relu)
        self.critic = mlp((D, *reversed(hidden), 1), lambda x: leaky_relu(x, 0.2))

    def generate(self, n):
        """G(z), z ~ N(0, I), squashed into [0, 1].   (n, D), differentiable"""
        return sigmoid(self.generator(normal((n, self.latent))))

    def sample(self, n):
        with no_grad():
            return self.generate(n).data

    def logits(self, x):
        """C(x + noise): how sure the critic is that x is real.   (B, D) -> (B, 1)"""
        return self.critic(x + self.noise * normal(x.shape, x.dtype) if self.noise else x)

    def critic_loss(self, x):
        """-E ln D(x) - E ln(1 - D(G(z))), D = sigmoid(C): 2 ln 2 nats where C knows nothing"""
        x = as_batch(self, x)
        return mean(softplus(-self.logits(x))) + mean(softplus(self.logits(self.sample(len(x)))))

    def generator_loss(self, n):
        """-E ln D(G(z)) over n draws, nats"""
        return mean(softplus(-self.logits(self.generate(n))))
