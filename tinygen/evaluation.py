"""How good is a model? Numbers that can be compared between models, with their units.

    nats per example unless `bits` is in the name
"""
import math
import time
from numbers import Integral, Real

import numpy

from .engine.backend import normal, to_numpy, xp
from .engine.tensor import grad, no_grad, tensor


def mean_and_error(f, x, batch_size=500):
    """(mean, standard error) of f over the examples x, f: a batch (B, ...) -> (B,), in batches.

    As in mean_and_error(model.log_prob, test). One example has no error: nan."""
    values = _values(f, x, batch_size)
    with numpy.errstate(invalid="ignore"):          # -inf, an impossible example, has none either
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def _values(f, x, batch_size):
    """f of every example, (N,) float64 on the host."""
    if len(x) == 0:
        raise ValueError("mean_and_error: given no examples")
    values = []
    with no_grad():
        for i in range(0, len(x), batch_size):
            batch = xp.asarray(x[i:i + batch_size])
            values.append(to_numpy(f(batch)))
            if values[-1].shape != (len(batch),):
                raise ValueError(f"mean_and_error: f gave shape {values[-1].shape} for "
                                 f"{len(batch)} examples; needs one value each, as log_prob gives")
    return numpy.concatenate(values).astype("float64")


def bits_per_dim(nats, D):
    """nats / (D ln 2): the unit in which models of images are compared"""
    return nats / (D * math.log(2))


def dependency_map(model, x):
    """(D, D) array: [i, j] is how strongly what the model says of x_i moves with x_j.

    The largest |d conditionals(x)_i / d x_j| over the batch x (B, D, ...), conditionals(x) being
    (B, D, ...), their trailing axes under random weights. A leak is an entry where x_j does not come
    before x_i; a blind spot is a 0 where it does. D backward passes over one kept graph."""
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
