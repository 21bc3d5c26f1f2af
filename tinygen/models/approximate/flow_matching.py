"""Flow matching: x_t = (1 - t) x_0 + t eps; the network learns E[eps - x_0 | x_t], which is the
velocity u of the flow dx/dt = u(x, t) that carries data (t = 0) to noise (t = 1).

    x (B, D)   examples;   x_0 = x / scale;   eps ~ N(0, I);   t from 0 to 1, of an example
"""
from ...engine.backend import normal, xp
from ...engine.reductions import mean, sum
from ...engine.tensor import no_grad
from ...nn.linear import check_sizes
from ..branches import Approximate, as_batch
from .diffusion import check_data, evenly_spread


class FlowMatching(Approximate):
    """Learns u(x, t).   network(x_t (B, D), log_snr (B,)) -> (B, D)

    x_t is the x_t of a diffusion up to its size, and the network is told t as log-SNR likewise.
    Source: Lipman et al. 2023, eq. 23, with sigma_min = 0 and time as diffusion counts it."""

    def __init__(self, network, D, scale=1.0):
        check_data("FlowMatching", D, scale)
        self.network, self.D, self.scale = network, D, scale

    def velocity(self, x, t):
        """u(x, t).   x (B, D), t (B,) -> (B, D)"""
        t = xp.clip(t, 1e-3, 1 - 1e-3)          # log-SNR is infinite at both ends
        return self.network(x, (2 * xp.log((1 - t) / t)).astype(x.dtype))

    def loss(self, x):
        """mean |eps - x_0 - u(x_t, t)|^2 over t uniform, summed over D: no bound of a likelihood"""
        x0 = as_batch(self, x) / self.scale
        eps, t = normal(x0.shape, x0.dtype), evenly_spread(len(x0))
        along = t.astype(x0.dtype)[:, None]
        d = eps - x0 - self.velocity((1 - along) * x0 + along * eps, t)
        return mean(sum(d * d, -1))

    def elbo(self, x):
        return self.log_prob_bound(x)

    def log_prob_bound(self, x, k=1):
        raise NotImplementedError("FlowMatching learns a velocity by least squares, which bounds "
                                  "no likelihood: no elbo and no log_prob_bound; train a Diffusion")

    def encode(self, x, steps=100):
        """x -> the noise at the end of its flow.   (B, D) -> (B, D)"""
        return self._flow(as_batch(self, x) / self.scale, 0.0, 1.0, steps)

    def decode(self, z, steps=100, report=None):
        """Noise z -> x at the start of its flow.   (B, D) -> (B, D)"""
        return self.scale * self._flow(z, 1.0, 0.0, steps, report)

    def sample(self, n, steps=100, report=None):
        """decode(z), z ~ N(0, I)"""
        return self.decode(normal((n, self.D), self.network.parameters()[0].dtype), steps, report)

    def _flow(self, x, start, end, steps, report=None):
        """Euler: x <- x + dt u(x, t), `steps` times; report(i, steps, {}, n / steps)"""
        check_sizes("FlowMatching", steps=steps)
        dt = (end - start) / steps
        with no_grad():
            for i in range(steps):
                x = x + dt * self.velocity(x, xp.full(len(x), start + i * dt)).data
                if report:
                    report(i + 1, steps, {}, len(x) / steps)
        return x
