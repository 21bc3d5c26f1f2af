"""VQ-VAE:   p(x) = sum over codes c of p(x | c) p(c),   c = N numbers out of 0..K - 1

    x (B, D)      examples
    z (B, N, C)   what the encoder makes of x: a vector at each of the N = h w places of a grid
    e (K, C)      the codebook;   c_n = argmin_k |z_n - e_k|^2, the encoder's choice at place n
    q (B, N, C)   e[c], which the decoder is given in place of z

A VAE whose latents are whole numbers and whose q(c | x) is one point. Stage 1 finds codes that x
can be rebuilt from, whatever their rate -ln p(c); stage 2 a p(c) for the codes that came out:

    fit(model, batches, steps, [("vq", model.loss, Adam(model.parameters()))], checkpoint=one)
    fit(model, batches, steps, [("prior", model.prior_loss, Adam(model.prior.parameters()))],
        checkpoint=two)                 # another file: the checkpoint of other goals is refused

Source: van den Oord et al. 2017.
"""
import math

from ...distributions import Bernoulli
from ...engine.backend import host_rng, xp
from ...engine.convolution import pair
from ...engine.elementwise import relu
from ...engine.fused import embedding
from ...engine.reductions import mean, sum
from ...engine.tensor import Tensor, defvjp, no_grad, primitive
from ...nn import init, mlp
from ...nn.linear import check_sizes, widths
from ..branches import Approximate, as_batch
from ..tractable.pixelcnn import CausalConv2d, GatedPixelCNN


@primitive
def straight_through(z, q):
    """y = q, with dy/dz = 1, as if z had not been replaced, and none for q. Source: section 3.2."""
    return q
defvjp(straight_through, lambda g, y, z, q: g, None)


class CodePrior(GatedPixelCNN):
    """p(c) = prod_n p(c_n | c_1 ... c_{n-1}): a GatedPixelCNN that reads codes (B, h w), 0..k - 1,
    as one-hot vectors, for they are names: 3 is no nearer to 4 than to 30."""

    def __init__(self, size, k, channels=32, layers=4, kernels=(3, 3)):
        super().__init__(size, k, channels, layers, kernels)
        a, first = kernels[0], self.layers[0]
        first.vertical = CausalConv2d(k, 2 * channels, (a, a), a // 2 * a)
        first.horizontal = CausalConv2d(k, 2 * channels, (1, a), a // 2)

    def above(self, x, labels, conv):
        return super().above(self.one_hot(x), labels, conv)

    def along(self, x, above, conv):
        return super().along(self.one_hot(x), above, conv)

    def one_hot(self, x):
        """(B, 1, H, W) -> (B, k, H, W)"""
        rows = xp.eye(self.k, dtype=self.layers[0].vertical.W.dtype)
        return rows[x[:, 0].astype(int)].transpose(0, 3, 1, 2)

    def _scaled(self, x):
        return x


def perplexity(share):
    """exp(-sum_k p_k ln p_k) of shares (K,): K when all codes are used alike, 1 when only one is"""
    p = share[share > 0]
    return math.exp(-(p * xp.log(p)).sum().item())


class VQVAE(Approximate):
    """x -> MLP -> z;   q = the nearest codes;   q -> MLP -> p(x | c), a Bernoulli.

    coders   (encoder, decoder) in place of the MLPs: (B, D) -> B h w C numbers, channels last;
             (B, h w C) -> B D logits
    prior    p(c), of D = h w and k = K;   a CodePrior when not given
    ema      whether e is a buffer that follows averages of z with this decay, or learned
    beta     how much z is held to its code; it could else outrun the codebook
    restart  a code used less than this share of an even use is dead: it starts anew on a random z
             (Dhariwal et al. 2020, section 3.1). So do all at first; 0 for never"""

    def __init__(self, D, grid=(4, 4), K=32, C=16, hidden=(256,), activation=relu, coders=None,
                 prior=None, ema=True, decay=0.99, beta=0.25, restart=0.01):
        h, w = grid = pair("VQVAE", "grid", grid, 1)
        check_sizes("VQVAE", D=D, C=C, K=K)
        if K < 2:
            raise ValueError(f"VQVAE: K is {K}; a choice needs 2 codes or more")
        if not 0 <= decay < 1 or not beta >= 0 or not 0 <= restart < 1:
            raise ValueError(f"VQVAE: decay is {decay}, beta {beta} and restart {restart}; needs "
                             "decay and restart from 0 up to less than 1, beta from 0 up")
        self.D, self.N, self.K, self.C = D, h * w, K, C
        self.ema, self.decay, self.beta, self.restart = ema, decay, beta, restart
        down = D, *widths("VQVAE", hidden), self.N * C
        self.encoder, self.decoder = coders or (mlp(down, activation), mlp(down[::-1], activation))
        codebook = init.normal((K, C), std=1.0)
        self.e = Tensor(codebook.data) if ema else codebook
        self.used = Tensor(xp.zeros(K, "float32"))          # times a batch, averaged over batches
        self.prior = prior or CodePrior(grid, K)
        if (self.prior.D, self.prior.k) != (self.N, K):
            raise ValueError(f"VQVAE: a prior over {self.prior.D} codes out of {self.prior.k}; the "
                             f"grid needs one over {self.N} out of {K}")

    def vectors(self, x):
        """x (B, D) -> z (B, N, C)"""
        z = self.encoder(x)
        if z.size != len(x) * self.N * self.C:
            raise ValueError(f"VQVAE: the encoder gave {tuple(z.shape)} for {len(x)} examples; "
                             f"needs {self.N} x {self.C} numbers each")
        return z.reshape(-1, self.N, self.C)

    def nearest(self, z):
        """argmin_k |z - e_k|^2, the first of those that tie.   arrays (..., C) -> integers (...)"""
        e = self.e.data
        return ((e * e).sum(1) - 2 * z @ e.T).argmin(-1)

    def encode(self, x):
        """x (B, D) -> codes (B, N), integers, without gradient"""
        with no_grad():
            return self.nearest(self.vectors(as_batch(self, x)).data)

    def decode(self, codes):
        """codes (..., N), whole numbers 0..K - 1 -> p(x | c), a Bernoulli of shape (..., D)"""
        codes = xp.asarray(codes)
        if codes.shape[-1:] != (self.N,) or not ((codes >= 0) & (codes < self.K)).all():
            raise ValueError(f"VQVAE: codes of shape {codes.shape}; decode needs (..., {self.N}), "
                             f"each 0..{self.K - 1}")
        return self.likelihood(embedding(self.e, codes.astype(int)))

    def likelihood(self, q):
        """q (..., N, C) -> p(x | q), a Bernoulli of shape (..., D)"""
        shape = *q.shape[:-2], self.D
        return Bernoulli(self.decoder(q.reshape(-1, self.N * self.C)).reshape(shape))

    def loss(self, x):
        """mean_B [-ln p(x | q) + mean_n (beta |z - sg(q)|^2 + |sg(z) - q|^2)], sg: no gradient

        Stage 1's goal, and no bound (that is elbo). The first term reaches the encoder straight
        through q. The last moves the codes; with ema they follow averages instead, while training.
        Source: eq. 3, averaged over n as section 3.2 has it."""
        x = as_batch(self, x)
        z = self.vectors(x)                                                     # (B, N, C)
        if self.training:
            self._restart(z.data.reshape(-1, self.C))
        codes = self.nearest(z.data)
        q = embedding(self.e, codes)
        p = self.likelihood(straight_through(z, q.data))
        loss = self.beta * mean(sum((z - q.data) ** 2, -1)) - mean(sum(p.log_prob(x), -1))
        if not self.ema:
            loss = loss + mean(sum((q - z.data) ** 2, -1))
        if self.training:
            self._follow(z.data.reshape(-1, self.C), codes.reshape(-1))
        return loss

    def _follow(self, z, codes):
        """used <- d used + (1 - d) n,   e <- e + (1 - d) (sum z - n e) / used, over the n rows of
        z (B N, C) that chose a code: the m / N of appendix A.1, without an m."""
        chosen, step = xp.eye(self.K, dtype=z.dtype)[codes], 1 - self.decay
        n, e, used = chosen.sum(0), self.e.data, self.used.data                 # (K,) (K, C) (K,)
        used += step * (n - used)
        if self.ema:
            e += step * (chosen.T @ z - n[:, None] * e) / xp.maximum(used, step)[:, None]

    def _restart(self, z):
        """Puts each dead code on a random row of z (B N, C), with an even share of use."""
        even = len(z) / self.K
        dead = self.used.data < self.restart * even
        others = z[xp.asarray(host_rng().integers(len(z), size=self.K))]
        self.e.data[...] = xp.where(dead[:, None], others, self.e.data)
        self.used.data[...] = xp.where(dead, even, self.used.data)

    def prior_loss(self, x):
        """-mean ln p(c(x)), nats per example: stage 2's goal, the rate"""
        return -mean(self.prior.log_prob(self.encode(x)))

    def parts(self, x):
        """(ln p(x | c) (B,), -ln p(c) (B, 1)), c = c(x): minus the distortion, and the rate"""
        x = as_batch(self, x)
        codes = self.encode(x)
        rate = -self.prior.log_prob(codes).reshape(-1, 1)
        return sum(self.decode(codes).log_prob(x), -1), rate

    def elbo(self, x):
        """ln p(x | c) + ln p(c), c = c(x): one term of the sum p(x), so -ln p(c | x) below ln p(x).
        Its gradient is the decoder's and the prior's.   (B, D) -> (B,)"""
        log_likelihood, rate = self.parts(x)
        return log_likelihood - sum(rate, -1)

    def log_prob_bound(self, x, k=1):
        """elbo(x) for every k: all samples of a q(c | x) that is one point are the same."""
        check_sizes("log_prob_bound", k=k)
        return self.elbo(x)

    def sample(self, n):
        """c ~ p(c), then x ~ p(x | c).   (n, D)"""
        with no_grad():
            return self.decode(self.prior.sample(n)).sample()

    def usage(self, x):
        """Share of each code among all codes of x (B, D): (K,), sums to 1. See perplexity."""
        return (self.encode(x).reshape(-1, 1) == xp.arange(self.K)).mean(0)
