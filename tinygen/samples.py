"""How good are samples, when they are all there is? Measures that need no density of the model.

    x real examples, y samples, rows (n, D), on the host or on the backend; results are on the host.
    Each measure has a floor: what real examples get against other real examples. Print it beside.
"""
import numpy

from .datasets.batches import Endless
from .engine.backend import host_rng, to_numpy
from .engine.elementwise import leaky_relu
from .engine.fused import cross_entropy
from .evaluation import in_batches
from .nn import Linear, Module, Sequential, mlp
from .optim import Adam, cosine
from .training import fit

BLOCK = 1024                            # rows compared with all others at a time


def _rows(asker, *arrays):
    """Each as rows (n, D), float64 on the host; ValueError for none, for rows of two lengths, and
    for NaN or infinity."""
    arrays = [numpy.asarray(to_numpy(a), dtype="float64") for a in arrays]
    if any(a.ndim != 2 or not len(a) or a.shape[1] != arrays[0].shape[1]
           or not numpy.isfinite(a).all() for a in arrays):
        raise ValueError(f"{asker}: given shapes {', '.join(str(a.shape) for a in arrays)}; needs "
                         "rows (n, D), at least one in each, all of one length, without NaN or "
                         "infinity")
    return arrays


def _distances(x, y):
    """|x_i - y_j|   (n, D), (m, D) -> (n, m)"""
    squared = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    return numpy.sqrt(numpy.maximum(squared, 0))


# --- modes ----------------------------------------------------------------------------------------

def modes_found(world, y, sigmas=3):
    """(how many modes of a Mixture2D have a sample within `sigmas` of them, the share of samples
    within `sigmas` of any). A perfect sampler's share is 1 - exp(-sigmas^2 / 2), 98.889 % at 3.
    Source: Lin et al. 2018, section 4.1."""
    y, = _rows("modes_found", y)
    near = world.within(y, sigmas)
    return len(numpy.unique(world.nearest_mode(y)[near])), float(near.mean())


def expected_modes(p, n):
    """sum_k 1 - (1 - p_k)^n: of modes with probabilities p, how many n true samples hit, on
    average"""
    p = numpy.asarray(p, dtype="float64")
    return float((1 - (1 - p) ** n).sum())


def reverse_kl(counts, p):
    """(KL(counts / n || p), nats, what it is on average for n true samples: about (K - 1) / 2n).

    The second is a bias: the KL of finite samples is never 0. Source: Miller 1955."""
    counts, p = (numpy.asarray(a, dtype="float64") for a in (counts, p))
    if counts.shape != p.shape or not counts.sum() > 0 or not (p > 0).all():
        raise ValueError(f"reverse_kl: counts {counts.shape} of {counts.sum():g} samples for p "
                         f"{p.shape}; needs one of each a mode, a sample and every p above 0")
    q = counts / counts.sum()
    kl = (q * numpy.log(numpy.where(q > 0, q, 1) / p)).sum()
    return float(kl), (len(p) - 1) / (2 * float(counts.sum()))


# --- memory ---------------------------------------------------------------------------------------

def nearest(y, x):
    """(index in x of the example nearest to each row of y, the distance to it)"""
    y, x = _rows("nearest", y, x)
    found = [_distances(y[i:i + BLOCK], x) for i in range(0, len(y), BLOCK)]
    return (numpy.concatenate([d.argmin(1) for d in found]),
            numpy.concatenate([d.min(1) for d in found]))


def memorised(y, train, test):
    """P(d(y) < d(test)) over samples and test examples, d the distance to the nearest training
    example, ties counted half: about 0.5 where samples are as new as test examples are, 1 where all
    are copies."""
    (_, own), (_, other) = nearest(y, train), nearest(test, train)
    return auroc(other, own)


def auroc(known, strange):
    """P(known > strange), a tie counted half: 1 where the score tells both apart, 0.5 where it does
    not, less where it takes the strange for the more familiar.   scores (n,), (m,)"""
    known = numpy.sort(known)
    above, ties = (len(known) - numpy.searchsorted(known, strange, side)
                   for side in ("right", "left"))
    return float((above + ties).mean() / (2 * len(known)))


# --- two samples: from one distribution? ----------------------------------------------------------

def frechet(x, y):
    """|mx - my|^2 + tr(Cx + Cy - 2 (Cx Cy)^(1/2)): the squared W2 distance between Gaussians of the
    same means and covariances. Give features; of few rows it is too large (its floor is not 0).
    Source: Dowson & Landau 1982, eq. 16; Heusel et al. 2017, eq. 6."""
    x, y = _rows("frechet", x, y)
    if min(len(x), len(y)) < 2:
        raise ValueError("frechet: given a single row; a covariance needs two or more")
    Cx, Cy = (numpy.atleast_2d(numpy.cov(a, rowvar=False)) for a in (x, y))
    values, vectors = numpy.linalg.eigh(Cx)
    root = (vectors * numpy.sqrt(numpy.maximum(values, 0))) @ vectors.T
    cross = numpy.sqrt(numpy.maximum(numpy.linalg.eigvalsh(root @ Cy @ root), 0)).sum()
    d = x.mean(0) - y.mean(0)
    return float(d @ d + numpy.trace(Cx) + numpy.trace(Cy) - 2 * cross)


def precision_recall(x, y, k=3):
    """(share of samples y inside the support of x, share of x inside the support of y): quality and
    coverage. A support is the union of balls round its points, each out to its k-th neighbour.
    Source: Kynkaanniemi et al. 2019, eq. 1."""
    x, y = _rows("precision_recall", x, y)
    if min(len(x), len(y)) <= k:
        raise ValueError(f"precision_recall: given {len(x)} and {len(y)} rows; needs more than "
                         f"k = {k}")
    return _inside(y, x, k), _inside(x, y, k)


def _inside(points, centres, k):
    """The share of points in a ball round some centre that reaches its k-th neighbour."""
    radius = numpy.concatenate([numpy.sort(_distances(centres[i:i + BLOCK], centres))[:, k]
                                for i in range(0, len(centres), BLOCK)])
    inside = [(_distances(points[i:i + BLOCK], centres) <= radius).any(1)
              for i in range(0, len(points), BLOCK)]
    return float(numpy.concatenate(inside).mean())


def mmd_test(x, y, rng, permutations=200, width=None):
    """(MMD^2, p-value): are x and y from one distribution?

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), k = exp(-|a - b|^2 / 2 width^2), without the
    terms of a row with itself, so it is 0 on average where they are. The p-value counts how often
    shuffled labels give as much: below 0.05 in one of twenty tests of equals. `width` left out is
    the median distance. Source: Gretton et al. 2012, eq. 3."""
    x, y = _rows("mmd_test", x, y)
    if min(len(x), len(y)) < 2:
        raise ValueError("mmd_test: given a single row; needs two or more in each")
    both, n = numpy.concatenate([x, y]), len(x)
    d = _distances(both, both)
    width = width or (float(numpy.median(d[d > 0])) if d.any() else 1.0)
    kernel = numpy.exp(-d ** 2 / (2 * width ** 2))
    numpy.fill_diagonal(kernel, 0)
    label = numpy.arange(len(both)) < n
    found = _mmd(kernel, label)
    more = [_mmd(kernel, rng.permutation(label)) >= found for _ in range(permutations)]
    return found, (1 + sum(more)) / (1 + permutations)


def _mmd(kernel, label):
    """From the kernel of all pairs, 0 on the diagonal, and which rows are x"""
    a = label.astype("float64")
    b, n, m = 1 - a, label.sum(), len(label) - label.sum()
    ka = kernel @ a
    return float(a @ ka / (n * (n - 1)) + b @ (kernel @ b) / (m * (m - 1)) - 2 * b @ ka / (n * m))


def wasserstein_1d(x, y):
    """W1 = mean |x_(i) - y_(i)|, both sorted: exact between two samples (n,) of one size"""
    x, y = (numpy.sort(to_numpy(a), axis=None) for a in (x, y))
    if len(x) != len(y) or not len(x):
        raise ValueError(f"wasserstein_1d: given {len(x)} and {len(y)} numbers; needs as many of "
                         "each, at least one")
    return float(abs(x - y).mean())


def jensen_shannon(p, q, dx):
    """JS = KL(p || m) / 2 + KL(q || m) / 2, m = (p + q) / 2, nats, 0 to ln 2: of two densities at
    points of a line dx apart, as a sum"""
    m = (p + q) / 2 + 1e-300
    return float(0.5 * dx * sum((a * numpy.log(a / m + 1e-300)).sum() for a in (p, q)))


# --- features -------------------------------------------------------------------------------------

class Classifier(Module):
    """Softmax regression on features(x): the last hidden layer, in which Frechet distance,
    precision and recall are taken.   x (B, D) -> logits (B, classes)"""

    def __init__(self, D, classes, hidden=(256, 64)):
        def leaky(x):
            return leaky_relu(x, 0.1)
        self.body = Sequential(mlp((D, *hidden), leaky), leaky)
        self.head = Linear(hidden[-1], classes)

    def forward(self, x):
        return self.head(self.body(x))

    def features(self, x):
        """(n, D) -> (n, hidden[-1]), on the host"""
        return in_batches(self.body, x)

    def labels(self, x):
        """The likeliest label of each x, (n,) on the host"""
        return in_batches(self, x).argmax(1)


def train_classifier(x, labels, steps=1500, hidden=(256, 64), batch_size=100, rng=None,
                     transform=None, **fitting):
    """A Classifier of x (N, D) into its integer labels, by Adam 2e-3 cosine. `fitting` goes to fit:
    checkpoint, report."""
    D, classes = int(numpy.prod(x.shape[1:])), int(labels.max()) + 1
    model = Classifier(D, classes, hidden)
    batches = Endless(x, batch_size, rng or host_rng(), labels, transform=transform)
    adam = Adam(model.parameters(), cosine(2e-3, steps))

    def loss(batch):
        x, labels = batch
        return cross_entropy(model(x.reshape(len(x), -1)), labels)
    fit(model, batches, steps, [("cross-entropy", loss, adam)], **fitting)
    return model


def compare(model, real, samples):
    """{"frechet": ..., "precision": ..., "recall": ...} between real examples and samples, in the
    features of a Classifier"""
    _rows("compare", real, samples)
    x, y = model.features(real), model.features(samples)
    precision, recall = precision_recall(x, y)
    return {"frechet": frechet(x, y), "precision": precision, "recall": recall}
