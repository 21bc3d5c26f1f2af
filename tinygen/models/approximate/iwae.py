"""Importance weighted autoencoders: the bound that k samples give, as what is learned.

    w_i = p(x, z_i) / q(z_i | x), z_1 ... z_k ~ q(z | x);   share_i = w_i / sum_j w_j
    bound(k) = E ln 1/k sum_i w_i:   bound(1) = ELBO <= bound(k) <= bound(k + 1) <= ln p(x)
    phi   the encoder's parameters;   theta  all others

The bound's gradient by phi reaches the weights in two ways: through z_i, and through the density
q(z_i | x). The second has mean zero for k = 1 and drowns the first as k grows: signal / noise falls
as 1 / sqrt(k) (Rainforth et al. 2018). Reparameterising a second time turns it into the first kind:

    d bound / d phi = E sum_i share_i^2 (d ln w_i / d z_i) (d z_i / d phi)      (Tucker et al. 2019)

so each sample's gradient at z_i, which arrives with the factor share_i, gets it once more.
"""
import math

from ...distributions import Normal
from ...engine.reductions import logsumexp, mean, softmax
from ...engine.tensor import defvjp, primitive
from ...nn.linear import check_sizes
from ..branches import as_batch
from .vae import VAE


@primitive
def weigh_gradient(z, weights):
    """y = z, with dy/dz = the last array in the list `weights`, which may be put there later."""
    return z
defvjp(weigh_gradient, lambda g, y, z, weights: g * weights[-1])


def doubly_reparameterised_bound(model, x, k, labels=None):
    """model.log_prob_bound(x, k), a draw of it, whose gradient by the encoder is d bound / d phi as
    above. A prior that shares the encoder's weights is a part of theta.   (B, D) -> (B,)

    All k samples are recorded. In the source this is eq. 8, and theta's gradient eq. 5."""
    check_sizes("doubly_reparameterised_bound", k=k)
    x, weights = as_batch(model, x), []
    q = model.encode(x, labels)
    z = weigh_gradient(q.rsample(k), weights=weights)
    fixed = Normal(q.mu.detach(), q.logvar.detach())        # cuts the way through the density
    log_w = model.log_weight(x, fixed, z, labels)                               # (k, B)
    weights.append(softmax(log_w.data, 0)[..., None])
    return logsumexp(log_w, 0) - math.log(k)


class IWAE(VAE):
    """A VAE that is trained on its bound with k samples: loss(x) = -mean bound(k), nats.

    doubly   whether the encoder follows the doubly reparameterised gradient: the same in
             expectation, and less noisy the larger k
    Scoring with many samples is mean_and_error(lambda x: model.log_prob_bound(x, 5000), test).
    Source: Burda et al. 2016, section 3."""

    def __init__(self, D, *sizes, k=5, doubly=False, **settings):
        check_sizes("IWAE", k=k)
        super().__init__(D, *sizes, **settings)
        self.k, self.doubly = k, doubly

    def loss(self, x, labels=None):
        if self.doubly:
            return -mean(doubly_reparameterised_bound(self, x, self.k, labels))
        return -mean(self.log_prob_bound(x, self.k, labels, chunk=self.k))
