"""Linear-Gaussian models:   x = z W + b + eps,   z ~ N(0, I),   eps ~ N(0, diag psi)

    x (B, D)   examples;   z (B, Z) latents;   W (Z, D), b (D,);   psi: variances of the noise
    p(x) = N(b, W'W + diag psi),   so every bound can be held against what it bounds
    p(z | x) = N(m, G),   G = (I + W diag(1/psi) W')^-1,   m = (x - b) diag(1/psi) W' G
    q(z | x) = N(x V + c, diag v),   a linear encoder's guess of it
FactorAnalysis has a psi for each x_d, PPCA one for all. Three ways lead to the same likelihood:
`fit_closed` (PPCA only), `fit_em`, and as a linear VAE by lowering `loss`, which needs no gradient
of a determinant or an inverse, as the ELBO has neither.
A diagonal q is enough: p(x) stays the same when W is turned, W -> R W, and one turn makes G
diagonal. The first two ways end there, with q = p(z | x); the gradient finds it by itself.
Source: Tipping & Bishop 1999; Lucas et al. 2019, "Don't blame the ELBO!".
"""
import math

from ...distributions import LN_2PI, Normal
from ...engine.backend import normal, to_numpy, xp
from ...engine.elementwise import clip, exp
from ...engine.products import matmul
from ...engine.reductions import logsumexp, sum
from ...engine.shaping import stack
from ...engine.tensor import Tensor, no_grad
from ...nn import Linear, init
from ...nn.linear import check_sizes
from ..branches import Approximate, as_batch
from .mixture import climb


class FactorAnalysis(Approximate):
    """p(x) = N(b, W'W + diag psi), psi (D,): what the x_d share is in W, the rest is noise.

    floor: the smallest psi, in squared units of x; on the way to 0, psi_d would take ln p(x) to
    infinity (a Heywood case). Source: Rubin & Thayer 1982."""
    one_noise = False

    def __init__(self, D, latent, floor=1e-6):
        check_sizes(type(self).__name__, D=D, latent=latent)
        if latent >= D or not 0 < floor < math.inf:
            raise ValueError(f"{type(self).__name__}: {latent} latents for D = {D}, floor {floor}; "
                             "needs fewer than D, as some of it is noise, and a variance above 0")
        self.D, self.latent, self.floor = D, latent, floor
        self.encoder, self.decoder = Linear(D, latent), Linear(latent, D)
        self.q_logvar = init.constant((latent,))
        self.logvar = init.constant((1 if self.one_noise else D,))

    def log_psi(self):
        return clip(self.logvar, math.log(self.floor), None)

    def encode(self, x):
        """x (B, D) -> q(z | x), a Normal of shape (B, Z)"""
        return Normal(self.encoder(as_batch(self, x)), self.q_logvar)

    def decode(self, z):
        """z (..., Z) -> p(x | z), a Normal of shape (..., D)"""
        return Normal(self.decoder(z), self.log_psi())

    def elbo(self, x):
        """E_q[ln p(x | z)] - KL(q || p(z)), both exact: nothing is drawn.   (B, D) -> (B,)"""
        reconstruction, rate = self.terms(x)
        return reconstruction - rate

    def terms(self, x):
        """(E_q[ln p(x | z)], KL(q || p(z))), each (B,); with gap(x) they make
        ln p(x) = E_q[ln p(x | z)] - KL(q || p(z)) + KL(q || p(z | x))"""
        x = as_batch(self, x)
        q = self.encode(x)
        spread = matmul(exp(q.logvar), self.decoder.W * self.decoder.W)
        return self._expected(x, q.mu, spread), sum(q.kl(), 1)

    def _expected(self, x, mu, spread):
        """E[ln p(x | z)] where z has the mean mu, and z W the variances spread (D,)"""
        return sum(self.decode(mu).log_prob(x) - 0.5 * spread * exp(-self.log_psi()), 1)

    def gap(self, x):
        """KL(q || p(z | x)) = (sum_i v_i (G^-1)_ii + d G^-1 d' - Z + ln|G| - sum_i ln v_i) / 2,
        d = mu - m: what the ELBO lacks.   (B, D) -> (B,), an array"""
        with no_grad():
            q = self.encode(x)
            m, G = self.posterior(x)
        d, inverse, v = q.mu.data - m, xp.linalg.inv(G), xp.exp(q.logvar.data)
        return 0.5 * (((d @ inverse) * d).sum(1) + (inverse.diagonal() * v).sum() - self.latent
                      + xp.linalg.slogdet(G)[1] - q.logvar.data.sum())

    def posterior(self, x):
        """p(z | x) = N(m, G), exact.   (B, D) -> arrays m (B, Z), G (Z, Z)"""
        x = as_batch(self, x)
        x = x.data if isinstance(x, Tensor) else x
        W, b = self.decoder.W.data, self.decoder.b.data
        W_psi = W * xp.exp(-self.log_psi().data)
        G = xp.linalg.inv(xp.eye(self.latent, dtype=W.dtype) + W_psi @ W.T)
        return (x - b) @ W_psi.T @ G, G

    def log_prob(self, x):
        """ln p(x), exact: the ELBO where q = N(m, G), held fixed.   (B, D) -> (B,)

        Its first derivatives are exact too: at the posterior, KL(q || p(z | x)) is at its minimum
        of 0, so only the ELBO's own terms move. (Fisher's identity.)"""
        x = as_batch(self, x)
        m, G = self.posterior(x)
        spread = sum(self.decoder.W * matmul(G, self.decoder.W), 0)
        rate = 0.5 * ((m * m).sum(1) + xp.trace(G) - xp.linalg.slogdet(G)[1] - self.latent)
        return self._expected(x, m, spread) - rate

    def log_prob_bound(self, x, k=64):
        """ln 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q: a lower bound of ln p(x) that rises with k,
        in expectation, from the ELBO.   (B, D) -> (B,).   Source: Burda et al. 2016, eq. 8."""
        check_sizes("log_prob_bound", k=k)
        x = as_batch(self, x)
        q, prior = self.encode(x), Normal(xp.zeros(1, x.dtype), xp.zeros(1, x.dtype))
        terms = []
        for _ in range(k):
            z = q.rsample()
            terms.append(sum(self.decode(z).log_prob(x), 1)
                         + sum(prior.log_prob(z) - q.log_prob(z), 1))
        return logsumexp(stack(terms), axis=0) - math.log(k)

    def sample(self, n):
        """z ~ N(0, I), then x ~ p(x | z).   (n, D)"""
        with no_grad():
            return self.decode(normal((n, self.latent), self.decoder.W.dtype)).sample()

    def fit_em(self, x, steps=1000, tol=1e-6):
        """Takes steps of EM from where W and psi are; stops, and gives a history, as `climb` says.
        The parameters take the type of x, the steps are float64 on its covariance."""
        b, S, dtype = self._moments(x)
        W, psi = (a.astype("float64") for a in (self.decoder.W.data, xp.exp(self.log_psi().data)))

        def step():
            nonlocal W, psi
            W, psi, log_p = self._em_step(S, W, psi)
            return log_p
        history = climb(step, steps, tol)
        self.set(W, b, psi, dtype)
        return history

    def _em_step(self, S, W, psi):
        """E: beta, G with m = (x - b) beta;  M: W = E[zz']^-1 E[z'x], psi = the variance left, or
        the floor, the best that it allows.   -> W, psi, mean ln p(x) before

        S (D, D), the covariance of x, is all of x that counts.
        Source: Ghahramani & Hinton 1996, eqs. 5 and 6; Tipping & Bishop 1999, eqs. 27 and 28."""
        W_psi = W / psi
        M = xp.eye(self.latent) + W_psi @ W.T
        G = xp.linalg.inv(M)
        beta = W_psi.T @ G
        xz = S @ beta                                                               # (D, Z)
        distance = (S.diagonal() / psi).sum() - (xz * W_psi.T).sum()                # tr C^-1 S
        log_psi = xp.broadcast_to(xp.log(psi), (self.D,))
        log_p = -0.5 * (self.D * LN_2PI + log_psi.sum() + xp.linalg.slogdet(M)[1] + distance)
        W = xp.linalg.solve(G + beta.T @ xz, xz.T)
        left = S.diagonal() - (xz * W.T).sum(1)
        return W, xp.maximum(left.reshape(len(psi), -1).mean(1), self.floor), float(log_p)

    def set(self, W, b, psi, dtype="float32"):
        """Takes W (Z, D), turned so that G is diagonal, b (D,) and psi, all of it finite and psi
        at least the floor; and q = p(z | x)."""
        W, b, psi = (xp.asarray(a, dtype="float64") for a in (W, b, psi))
        psi = xp.broadcast_to(psi, self.logvar.shape)
        if W.shape != (self.latent, self.D) or not (psi >= 0.99 * self.floor).all():
            raise ValueError(f"{type(self).__name__}: W {W.shape}, psi {to_numpy(psi)}; needs W "
                             f"{(self.latent, self.D)} and psi from the floor, {self.floor:g}, up")
        values, R = xp.linalg.eigh(W / psi @ W.T)
        W, v = R.T[::-1] @ W, 1 / (1 + values[::-1])    # what explains most comes first
        V = (W / psi).T * v
        for p, a in ((self.decoder.W, W), (self.decoder.b, b), (self.logvar, xp.log(psi)),
                     (self.encoder.W, V), (self.encoder.b, -b @ V), (self.q_logvar, xp.log(v))):
            p.data = a.astype(dtype)

    def _moments(self, x):
        """Mean and covariance of x in float64, and the type that its parameters will have"""
        dtype = "float64" if getattr(x, "dtype", None) == "float64" else "float32"
        as_batch(self, x)                                           # or a ValueError
        x = xp.asarray(x, dtype="float64")
        if not xp.isfinite(x).all():
            raise ValueError(f"{type(self).__name__}: NaN or infinity among the examples; needs "
                             "finite numbers")
        b = x.mean(0)
        S = (x - b).T @ (x - b) / len(x)
        values = xp.linalg.eigvalsh(S)
        if values[:-self.latent].sum() <= 1e-12 * values.sum():
            raise ValueError(f"{type(self).__name__}: the covariance of {len(x)} examples is "
                             f"singular: {self.latent} latents explain it without noise; take "
                             "fewer latents or more examples")
        return b, S, dtype


class PPCA(FactorAnalysis):
    """p(x) = N(b, W'W + s^2 I): the noise is alike in all directions, psi = s^2."""
    one_noise = True

    def fit_closed(self, x):
        """s^2 = mean of the D - Z smallest eigenvalues of x's covariance,
        W = (L - s^2)^1/2 U' of the Z largest: the maximum of the likelihood.
        Source: Tipping & Bishop 1999, eqs. 7 and 8, with R = I."""
        b, S, dtype = self._moments(x)
        values, U = xp.linalg.eigh(S)
        s2 = xp.maximum(values[:-self.latent].mean(), self.floor)
        W = (U[:, -self.latent:] * xp.sqrt(xp.maximum(values[-self.latent:] - s2, 0))).T
        self.set(W, b, s2, dtype)
