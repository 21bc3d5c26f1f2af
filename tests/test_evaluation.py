"""Means with honest errors, units, and tables that line up."""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.evaluation import bits_per_dim, dependency_map, mean_and_error, table, timed_samples
from tinygen.models.implicit.gan import GAN
from tinygen.models.tractable.made import MADE

X = np.random.default_rng(0).normal(size=(1003, 2)).astype("float32")


# --- mean_and_error -------------------------------------------------------------------------------

@pytest.mark.parametrize("batch_size", [1, 7, 500, 5000])
def test_mean_and_error_of_every_example(batch_size):
    sizes = []

    def f(x):
        sizes.append(len(x))
        return x[:, 0]
    mean, error = mean_and_error(f, X, batch_size)
    values = X[:, 0].astype("float64")
    assert type(mean) is type(error) is float
    assert mean == pytest.approx(values.mean()) and sum(sizes) == 1003 and max(sizes) <= batch_size
    assert error == pytest.approx(math.sqrt(((values - values.mean()) ** 2).sum() / 1002 / 1003))


def test_the_error_is_how_far_means_stray():
    draws = np.random.default_rng(1).exponential(size=(2000, 50))
    means, errors = np.array([mean_and_error(lambda x: x, row) for row in draws]).T
    assert np.sqrt((errors ** 2).mean()) == pytest.approx(means.std(), rel=0.08)
    assert abs(means - 1).mean() < 2 * errors.mean()


def test_mean_and_error_of_a_model_records_nothing():
    model, seen = MADE(2, (4,)), []

    def f(x):
        seen.append(model.log_prob(x))
        return seen[-1]
    mean, error = mean_and_error(f, (X > 0).astype("float32"))
    assert isinstance(seen[0], tg.Tensor) and not any(y.requires_grad for y in seen)
    assert mean == pytest.approx(-2 * math.log(2), abs=0.5) and 0 < error < 0.1


def test_one_example_has_no_error_and_an_impossible_one_no_finite_mean():
    mean, error = mean_and_error(lambda x: x[:, 0], X[:1])
    assert mean == X[0, 0] and math.isnan(error)
    mean, error = mean_and_error(lambda x: x, np.array([-0.5, -np.inf]))
    assert mean == -math.inf and math.isnan(error)


@pytest.mark.parametrize("sentence, call", [
    ("mean_and_error: given 0 examples; needs", lambda: mean_and_error(lambda x: x, X[:0])),
    (r"f gave shape \(3,\) for 1003 examples; needs one value each",
     lambda: mean_and_error(lambda x: x.mean(), X)),
    (r"f gave shape \(1003, 2\) for 1003 examples", lambda: mean_and_error(lambda x: x, X)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- units and samples ----------------------------------------------------------------------------

def test_bits_per_dim_of_fair_coins_and_of_256_levels():
    assert bits_per_dim(784 * math.log(2), 784) == pytest.approx(1)
    assert bits_per_dim(10 * math.log(256), 10) == pytest.approx(8)


def test_timed_samples_are_on_the_host():
    x, seconds = timed_samples(GAN(3, latent=2, hidden=(4,)), 20)
    assert isinstance(x, np.ndarray) and x.shape == (20, 3) and 0 < seconds < 60


# --- tables ---------------------------------------------------------------------------------------

def test_a_table_lines_up():
    rows = [["MADE", 87.125, 20, "exact"], ["a longer VAE", -1234.5, None, "bound"],
            ["GAN", None, np.int64(3), ""], ["float32", np.float32(0.5), 4, "x"]]
    assert table(["model", "nll (nats)", "epochs", "how"], rows) == """\
model         nll (nats)  epochs  how
------------  ----------  ------  -----
MADE               87.12      20  exact
a longer VAE    -1234.50       -  bound
GAN                    -       3
float32             0.50       4  x"""


def test_a_table_without_rows_is_its_heading():
    assert table(["a", "bc"], []) == "a  bc\n-  --"


def test_a_row_of_another_length_gets_one_sentence():
    with pytest.raises(ValueError, match="table: a row of 1 values for 2 columns"):
        table(["a", "b"], [[1, 2], [3]])


# --- dependency_map -------------------------------------------------------------------------------

class Cumulative:
    """Row d says K = 2 things of x_d, whose sum is 0: -+ the sum of all relu(x_j) before it."""

    def conditionals(self, x):
        rows = [x[:, 0] * 0]
        for d in range(1, x.shape[1]):
            rows.append(rows[-1] + tg.relu(x[:, d - 1]))
        return tg.stack([tg.stack([-r, r], axis=1) for r in rows], axis=1)


def test_the_map_shows_what_each_output_sees():
    x = np.eye(4, dtype="float32") - 0.5            # each x_j counts in one of the examples
    strength = dependency_map(Cumulative(), x)
    assert isinstance(strength, np.ndarray) and strength.shape == (4, 4)
    assert ((strength > 0) == np.tri(4, k=-1, dtype=bool)).all()


def test_the_map_of_made_is_its_order():
    model = MADE(5, (40,), order=[3, 0, 4, 1, 2], activation=tg.tanh)
    rank = tg.to_numpy(model.order)
    strength = dependency_map(model, np.random.default_rng(0).normal(size=(8, 5)).astype("float32"))
    assert ((strength > 0) == (rank[None, :] < rank[:, None])).all()


def test_a_map_of_what_does_not_fit_is_one_sentence():
    class Sums:
        def conditionals(self, x):
            return tg.stack([x[:, 0]] * 7, axis=1)
    with pytest.raises(ValueError, match=r"dependency_map: x \(2, 5\) gives conditionals \(2, 7\)"):
        dependency_map(Sums(), np.ones((2, 5), "float32"))
