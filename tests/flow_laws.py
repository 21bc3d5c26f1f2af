"""The law that every bijection keeps, for the tests of flows on vectors and on images."""
import numpy as np

import tinygen as tg
from tinygen.engine.backend import xp


def shaken(model, scale=0.4):
    """The model in float64, every parameter moved by normal noise: nothing is at its tidy start."""
    rng = np.random.default_rng(1)
    for p in model.named_tensors().values():
        p.data = p.data.astype("float64")
    for p in model.parameters():
        p.data = p.data + xp.asarray(rng.normal(0, scale, p.shape))
    return model.eval()


def numeric_jacobian(f, x, h=3e-4):
    """d f / d x of one example, (D, D), by the five-point rule: its error is of order h^4."""
    def at(step):
        return tg.to_numpy(f(xp.asarray(x + step * directions))[0]).reshape(x.size, -1)
    directions = np.eye(x.size).reshape(x.size, *x.shape)
    return (8 * (at(h) - at(-h)) - at(2 * h) + at(-2 * h)).T / (12 * h)


def check_bijection(f, x):
    z, logdet = f(xp.asarray(x))
    assert z.shape == x.shape and logdet.shape == (len(x),)
    for example, value in zip(x, tg.to_numpy(logdet)):
        J = numeric_jacobian(f, example)
        assert abs(np.linalg.slogdet(J)[1] - value) < 1e-8
    assert abs(tg.to_numpy(f.inverse(z)) - x).max() < 1e-8
    assert abs(tg.to_numpy(f(f.inverse(xp.asarray(x)))[0]) - x).max() < 1e-8


def log_prob(model, x):
    with tg.no_grad():
        return tg.to_numpy(model.log_prob(xp.asarray(x)))
