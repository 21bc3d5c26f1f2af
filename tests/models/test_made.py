"""MADE keeps the laws of an autoregressive model: exact, normalised, blind to its own future."""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine import tensor
from tinygen.engine.backend import xp
from tinygen.models.tractable.made import MADE, masks
from tinygen.optim import Adam
from tinygen.training import fit

ORDERS = {"natural": None, "reversed": [5, 4, 3, 2, 1, 0], "mixed": [3, 0, 5, 1, 4, 2]}


def sharp(model, scale=4.0):
    """The model in float64 with larger weights, so that its conditionals are far from even."""
    for p in model.parameters():
        p.data = p.data.astype("float64") * scale
    return model


def states(D):
    """Every binary vector -> (2^D, D)"""
    return (np.arange(2 ** D)[:, None] >> np.arange(D) & 1).astype("float32")


def log_prob(model, x):
    return tg.to_numpy(model.log_prob(x))


def dependence(model, rows=8):
    """(D, D): whether output i moves with input j, by differentiating every one by every one."""
    x = tg.tensor(np.random.default_rng(1).normal(size=(rows, model.D)), requires_grad=True)
    logits = model(x)
    return np.array([abs(tg.to_numpy(tg.grad(logits[:, i].sum(), x))).max(0) > 0
                     for i in range(model.D)])


# --- the masks ------------------------------------------------------------------------------------

@pytest.mark.parametrize("hidden", [(), (20,), (20, 20), (20, 7, 20)])
@pytest.mark.parametrize("order", ORDERS)
def test_an_output_sees_exactly_what_comes_before_it(order, hidden):
    model = sharp(MADE(6, hidden, ORDERS[order], activation=tg.tanh))
    rank = tg.to_numpy(model.order)
    assert (dependence(model) == (rank[None, :] < rank[:, None])).all()


def test_a_resampled_order_sees_what_comes_before_it():
    model, orders = sharp(MADE(5, (64, 64), activation=tg.tanh)), set()
    for _ in range(5):
        model.resample_order()
        rank = tg.to_numpy(model.order)
        assert (dependence(model) == (rank[None, :] < rank[:, None])).all()
        orders.add(tuple(rank))
    assert len(orders) > 1


def test_a_drawn_unit_sees_at_least_one_unit_below():
    model = MADE(12, (2, 2, 2))
    for _ in range(50):
        model.resample_order()
        lowest = [tg.to_numpy(degree).min() for degree in model.degrees]
        assert lowest == sorted(lowest)


def test_narrow_layers_cut_dependencies_but_never_add_one():
    for hidden in [(1,), (2, 3), (3, 1, 4)]:
        model = sharp(MADE(6, hidden, activation=tg.tanh))
        for _ in range(3):
            rank = tg.to_numpy(model.order)
            assert not (dependence(model) & (rank[None, :] >= rank[:, None])).any()
            model.resample_order()


def test_masks_are_the_rule_of_germain():
    first, second, last = masks(np.array([1, 0, 2]), [np.array([0, 1]), np.array([1, 0])])
    assert first.tolist() == [[False, True], [True, True], [False, False]]
    assert second.tolist() == [[True, True], [True, False]]
    assert last.tolist() == [[False, False, True], [True, False, True]]


# --- the density ----------------------------------------------------------------------------------

@pytest.mark.parametrize("D", [1, 2, 7, 12])
@pytest.mark.parametrize("hidden", [(), (24,), (24, 16)])
def test_the_probabilities_of_all_states_sum_to_one(D, hidden):
    model = sharp(MADE(D, hidden))
    model.layers[-1].b.data += 1.0
    for _ in range(2):
        p = np.exp(log_prob(model, states(D)))
        assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-12
        assert p.max() > 1.2 * p.mean()                 # the sum of an even p would be no test
        model.resample_order()


def test_log_prob_adds_up_the_conditionals():
    """The chain rule: p(x_d | before) by summing exp(log p) over whatever comes after d."""
    model, x = sharp(MADE(4, (12,), order=[2, 0, 3, 1])), states(4)
    p, logits = np.exp(log_prob(model, x)), tg.to_numpy(model(xp.asarray(x)))
    sequence = np.argsort(tg.to_numpy(model.order))
    for rank, i in enumerate(sequence):
        before = sequence[:rank]
        for row, logit in zip(x, logits[:, i]):
            same = (x[:, before] == row[before]).all(1)
            assert p[same & (x[:, i] == 1)].sum() / p[same].sum() == pytest.approx(
                1 / (1 + math.exp(-logit)), rel=1e-10)


def test_without_hidden_layers_it_is_logistic_regression():
    model, x = sharp(MADE(4, hidden=())), states(4)
    W, b = (tg.to_numpy(p) for p in model.parameters())
    logits = np.stack([x[:, :d] @ W[:d, d] + b[d] for d in range(4)], axis=1)
    expected = (x * logits - np.logaddexp(0, logits)).sum(1)
    assert np.allclose(log_prob(model, x), expected, rtol=1e-12)


def test_one_dimension_is_one_coin():
    model = MADE(1, hidden=(8,))
    p = np.exp(log_prob(model, states(1)))
    assert p[1] == pytest.approx(1 / (1 + math.exp(-float(model.layers[-1].b.data[0]))))
    model.resample_order()
    assert log_prob(model, states(1)).tolist() == np.log(p).tolist()
    assert model.sample(5).shape == (5, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
def test_float32_weights_compute_in_float32(dtype):
    model, x = MADE(6, (8,)), states(6)
    y = model.log_prob(xp.asarray(x.astype(dtype)))
    assert y.shape == (64,) and y.dtype == np.float32 and model.loss(x).dtype == np.float32
    assert (tg.to_numpy(y) == log_prob(model, x)).all()
    assert model.loss(x).item() == pytest.approx(-log_prob(model, x).mean(), rel=1e-6)


# --- samples --------------------------------------------------------------------------------------

def deviation(x, p):
    """Pearson's chi-square of samples x (n, D) against p of the 2^D states, in standard deviations
    above its mean; states expected fewer than 10 times are pooled."""
    counts = np.bincount((tg.to_numpy(x) @ (1 << np.arange(x.shape[1]))).astype(int),
                         minlength=len(p))
    rare = p * len(x) < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum() + 1e-12) * len(x)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("D, order", [(4, None), (5, [4, 3, 2, 1, 0]), (6, [3, 0, 5, 1, 4, 2])])
def test_samples_follow_the_density(D, order):
    model = sharp(MADE(D, (16,), order), scale=3.0)
    x, p = model.sample(20_000), np.exp(log_prob(model, states(D)))
    assert isinstance(x, xp.ndarray) and x.shape == (20_000, D) and x.dtype == np.float32
    assert abs(deviation(x, p)) < 5
    model.layers[-1].b.data += 0.15
    assert deviation(x, np.exp(log_prob(model, states(D)))) > 10        # it can fail
    assert deviation(x[:, ::-1], p) > 10


def test_samples_repeat_with_the_seed_and_record_nothing(monkeypatch):
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    model, samples = MADE(5, (8,)), []
    for _ in range(2):
        tg.seed(3)
        samples.append(tg.to_numpy(model.sample(20)))
    assert (samples[0] == samples[1]).all() and model.sample(0).shape == (0, 5)


# --- learning, saving, mistakes -------------------------------------------------------------------

WORLD = TinyBits(3)


def distance(model):
    """KL(p_data || p_theta), nats, exact: a sum over all 512 states"""
    log_p = WORLD.log_prob(WORLD.states())
    return float(np.exp(log_p) @ (log_p - log_prob(model, WORLD.states())))


def learn(model, loss, steps):
    x = WORLD.sample(20_000, np.random.default_rng(0))
    batches = Endless(x, 100, np.random.default_rng(1))
    return fit(model, batches, steps, [("loss", loss, Adam(model.parameters(), 1e-2))])["loss"]


def test_learning_comes_near_the_known_distribution():
    model = MADE(9, (64,))
    before = distance(model)
    losses = learn(model, model.loss, 300)
    assert before > 1.5 and 0 < distance(model) < 0.2
    assert abs(losses[-100:].mean() - WORLD.entropy()[0] - distance(model)) < 0.15


def test_training_on_drawn_orders_serves_orders_never_seen():
    model = MADE(9, (128,))

    def loss(x):
        model.resample_order()
        return model.loss(x)
    before = distance(model)
    learn(model, loss, 500)
    after = []
    for _ in range(10):
        model.resample_order()
        after.append(distance(model))
    assert before > 1.8 and max(after) < before and np.mean(after) < 1.5


def test_state_brings_back_the_order():
    model, other = MADE(6, (16, 16)), MADE(6, (16, 16), order=ORDERS["reversed"])
    model.resample_order()
    other.load_state_dict(model.state_dict())
    assert (log_prob(other, states(6)) == log_prob(model, states(6))).all()
    assert (tg.to_numpy(other.order) == tg.to_numpy(model.order)).all()


def test_cut_weights_get_no_gradient():
    model = MADE(6, (16, 16))
    model.loss(states(6)).backward()
    for layer in model.layers:
        assert not tg.to_numpy(layer.W.grad * (1 - layer.mask)).any()


@pytest.mark.parametrize("sentence, call", [
    ("order must be a permutation of 0..3", lambda: MADE(4, order=[0, 1, 2])),
    ("order must be a permutation of 0..3", lambda: MADE(4, order=[1, 2, 3, 4])),
    ("order must be a permutation of 0..3", lambda: MADE(4, order=[0, 1, 1, 2])),
    ("order must be a permutation of 0..3", lambda: MADE(4, order=2)),
    (r"\[3\] degrees for hidden layers of \[8\] units",
     lambda: MADE(4, (8,)).set_order(range(4), [np.zeros(3, int)])),
    (r"\[\] degrees for hidden layers of \[8\] units",
     lambda: MADE(4, (8,)).set_order(range(4), [])),
    (r"MADE: x has shape \(3, 5\); needed \(B, 4\)", lambda: MADE(4).log_prob(np.zeros((3, 5)))),
    (r"MADE: x has shape \(4,\); needed \(B, 4\)", lambda: MADE(4).loss(np.zeros(4))),
    (r"MADE: x has shape \(0, 4\); needed .* at least one", lambda: MADE(4).loss(np.zeros((0, 4)))),
    ("n_in is 0; needs a whole number of at least 1", lambda: MADE(0)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
