"""How good is a model? Numbers that can be compared between models, with their units.

    nats per example unless `bits` is in the name
"""
import math
import time
from numbers import Integral, Real

import numpy

from .engine.backend import normal, to_numpy, xp
from .engine.backward import grad
from .engine.fused import cross_entropy
from .engine.products import linear
from .engine.tensor import no_grad, tensor
from .nn.linear import check_sizes
from .optim import Adam, cosine

LARGEST = 1 << 28               # numbers of a probe's logits, a GiB


def mean_and_error(f, x, batch_size=500):
    """(mean, standard error) of f over the examples x, f: a batch (B, ...) -> (B,), in batches.

    As in mean_and_error(model.log_prob, test). One example has no error: nan."""
    values = in_batches(f, x, batch_size, "mean_and_error").astype("float64")
    if values.shape != (len(x),):
        raise ValueError(f"mean_and_error: f gave shape {values.shape} for {len(x)} examples; "
                         "needs one value each, as log_prob gives")
    with numpy.errstate(invalid="ignore"):          # -inf, an impossible example, has none either
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def in_batches(f, x, batch_size=500, asker="in_batches", least=1):
    """f of the examples x, a batch at a time and without gradient: an array on the host"""
    with no_grad():
        return numpy.concatenate([numpy.atleast_1d(to_numpy(f(batch)))
                                  for batch in _batches(asker, x, batch_size, least)])


def _batches(name, x, batch_size, least):
    """The examples x, batch_size at a time; ValueError where they are fewer than `least`."""
    check_sizes(name, batch_size=batch_size)
    if len(x) < least:
        raise ValueError(f"{name}: given {len(x)} examples; needs at least {least}")
    for i in range(0, len(x), batch_size):
        yield xp.asarray(x[i:i + batch_size])


def bits_per_dim(nats, D):
    """nats / (D ln 2): the unit in which models of images are compared"""
    return nats / (D * math.log(2))


def dependency_map(model, x):
    """(D, D) array: [i, j] is how strongly what the model says of x_i moves with x_j.

    The largest |d conditionals(x)_i / d x_j| over the batch x (B, D, ...), conditionals(x) being
    (B, D, ...), their trailing axes under random weights. A leak is an entry where x_j does not
    come before x_i; a blind spot is a 0 where it does. D backward passes over one kept graph."""
    x = tensor(x, requires_grad=True)
    y = model.conditionals(x)
    B, D = y.shape[:2]
    if x.size % (B * D):
        raise ValueError(f"dependency_map: x {x.shape} gives conditionals {y.shape}; needs (B, D) "
                         "first in both")
    y = (y * normal(y.shape, y.dtype)).reshape(B, D, -1).sum((0, 2))
    return numpy.stack([abs(to_numpy(grad(y[i], x).data)).reshape(B, D, -1).max((0, 2))
                        for i in range(D)])


def timed_samples(model, n=1000):
    """(n samples on the host, seconds that they took)"""
    start = time.perf_counter()
    x = to_numpy(model.sample(n))
    return x, time.perf_counter() - start


def table(columns, rows):
    """Rows of values as aligned text: numbers to the right, floats with two decimals, None as -."""
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table: a row of {len(row)} values for {len(columns)} columns")
    cells = [[_cell(v) for v in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells)]
    numeric = [all(isinstance(row[i], (Real, type(None))) for row in rows)
               for i in range(len(columns))]

    def line(values):
        return "  ".join(v.rjust(w) if right else v.ljust(w)
                         for v, w, right in zip(values, widths, numeric)).rstrip()
    return "\n".join([line(columns), "  ".join("-" * w for w in widths), *map(line, cells)])


def _cell(value):
    if value is None:
        return "-"
    is_float = isinstance(value, Real) and not isinstance(value, Integral)
    return f"{value:.2f}" if is_float else str(value)


# --- representations ------------------------------------------------------------------------------

def latent_variances(model, x, batch_size=500):
    """Var_x E_q[z | x] of each latent: (Z,) on the host, 0 where z says nothing of x.

    x (N, D), N at least 2. Under N(0, I) a latent in full use comes near 1."""
    means = in_batches(lambda x: model.encode(x).mu, x, batch_size, "latent_variances", least=2)
    return means.var(0, ddof=1, dtype="float64")


def active_units(model, x, threshold=0.01):
    """The count of Var_x E_q[z | x] > threshold; the others are collapsed, q(z | x) = p(z).
    Source: Burda et al. 2016, section 5.2."""
    return int((latent_variances(model, x) > threshold).sum())


def rate_and_distortion(model, x, batch_size=500):
    """(E KL(q(z | x) || p(z)), -E ln p(x | z)) over the examples x, nats per example, one z each.
    Their sum is -ELBO. Source: Alemi et al. 2018, section 2."""
    sums = numpy.zeros(2)
    with no_grad():
        for batch in _batches("rate_and_distortion", x, batch_size, 1):
            log_likelihood, kl = model.parts(batch)
            sums += float(kl.sum().item()), -float(log_likelihood.sum().item())
    rate, distortion = (sums / len(x)).tolist()
    return rate, distortion


def linear_probe(z, y, z_test, y_test, steps=300):
    """Share of test labels that softmax(z W + b) tells, fitted to (z, y): what of y can be read off
    a representation by one linear layer.   z (N, Z), integers y (N,) from 0

    z is scaled to mean 0 and variance 1; W starts at 0 and takes `steps` steps of Adam on all of z.
    Source: Alain & Bengio 2017."""
    z, z_test = (numpy.asarray(to_numpy(a), dtype="float32") for a in (z, z_test))
    y, y_test = numpy.asarray(to_numpy(y)), numpy.asarray(to_numpy(y_test))
    if (z.shape[:1], z_test.shape[:1], z.shape[1:]) != (y.shape, y_test.shape, z_test.shape[1:]):
        raise ValueError(f"linear_probe: z {z.shape} with labels {y.shape}, z_test {z_test.shape} "
                         f"with {y_test.shape}; needs a label for each row, and rows of one length")
    if z.ndim != 2 or not all(a.size and numpy.isfinite(a).all() for a in (z, z_test)):
        raise ValueError(f"linear_probe: z {z.shape} or z_test {z_test.shape} is empty, or has NaN "
                         "or infinity; needs finite numbers (N, Z)")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= LARGEST // max(len(z), len(z_test)):
        raise ValueError(f"linear_probe: labels are {y.dtype} from {y.min()} to {y.max()}; needs "
                         f"integers from 0, with at most {LARGEST:,} numbers (examples, labels)")
    center, spread = z.mean(0), z.std(0) + 1e-6
    z, z_test = (xp.asarray((a - center) / spread) for a in (z, z_test))
    W, b = (tensor(numpy.zeros(shape, "float32"), requires_grad=True)
            for shape in ((z.shape[1], int(y.max()) + 1), int(y.max()) + 1))
    adam, y = Adam([W, b], cosine(0.1, steps)), xp.asarray(y)
    for _ in range(steps):
        adam.zero_grad()
        cross_entropy(linear(z, W, b), y).backward()
        adam.step()
    return float((to_numpy(linear(z_test, W.data, b.data)).argmax(1) == y_test).mean())
