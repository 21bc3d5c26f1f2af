"""FVSBN, NADE and MADE keep the laws of an autoregressive model: exact, normalised, blind to their
own future. And each is what its equation says."""
import math
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine import tensor
from tinygen.engine.backend import xp
from tinygen.evaluation import dependency_map
from tinygen.models.tractable.made import FVSBN, MADE, NADE, masks
from tinygen.optim import Adam
from tinygen.training import fit

ORDERS = {"natural": None, "reversed": [5, 4, 3, 2, 1, 0], "mixed": [3, 0, 5, 1, 4, 2]}
MODELS = {
    "FVSBN": FVSBN,
    "NADE": lambda D, order=None: NADE(D, 16, order),
    "MADE (24,)": lambda D, order=None: MADE(D, (24,), order, tg.tanh),
    "MADE (24, 7, 24)": lambda D, order=None: MADE(D, (24, 7, 24), order, tg.tanh),
    "MADE direct": lambda D, order=None: MADE(D, (24,), order, direct=True),
}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def sharp(model, scale=4.0):
    """The model in float64 with larger weights and uneven biases, so that its conditionals are far
    from even and no two of them alike."""
    for p in model.parameters():
        p.data = p.data.astype("float64") * scale
        if p.ndim == 1:
            p.data += xp.linspace(-0.5, 1.0, p.size)
    return model


def states(D):
    """Every binary vector -> (2^D, D)"""
    return (np.arange(2 ** D)[:, None] >> np.arange(D) & 1).astype("float32")


def log_prob(model, x):
    return tg.to_numpy(model.log_prob(x))


def probabilities(model):
    return np.exp(log_prob(model, states(model.D)))


def dependence(model):
    """(D, D): whether logit i moves with x_j"""
    x = np.random.default_rng(1).normal(size=(8, model.D)).astype("float32")
    return dependency_map(model, x) > 0


def before(model):
    """(D, D): whether x_j comes before x_i"""
    rank = tg.to_numpy(model.order)
    return rank[None, :] < rank[:, None]


# --- what an output sees --------------------------------------------------------------------------

@pytest.mark.parametrize("order", ORDERS)
def test_an_output_sees_exactly_what_comes_before_it(make, order):
    model = sharp(make(6, ORDERS[order]))
    assert (tg.to_numpy(model.order) == (ORDERS[order] or range(6))).all()
    assert (dependence(model) == before(model)).all()


@pytest.mark.parametrize("direct", [False, True])
def test_a_resampled_order_sees_what_comes_before_it(direct):
    model, orders = sharp(MADE(5, (64, 64), activation=tg.tanh, direct=direct)), set()
    for _ in range(5):
        model.resample_order()
        assert (dependence(model) == before(model)).all()
        orders.add(tuple(tg.to_numpy(model.order)))
    assert len(orders) > 1


def test_connectivity_is_resampled_too():
    model = MADE(9, (16,))
    drawn = {tuple(tg.to_numpy(model.draw_ordering()[1][0])) for _ in range(5)}
    assert len(drawn) == 5 and {d for degrees in drawn for d in degrees} == set(range(8))


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
            assert not (dependence(model) & ~before(model)).any()
            assert (dependence(model) != before(model)).any()
            model.resample_order()


def test_a_direct_connection_sees_past_narrow_layers():
    model = sharp(MADE(6, (1,), ORDERS["mixed"], direct=True))
    for _ in range(3):
        assert (dependence(model) == before(model)).all()
        model.resample_order()


def test_masks_are_the_rule_of_germain():
    first, second, last = masks(np.array([1, 0, 2]), [np.array([0, 1]), np.array([1, 0])])
    assert first.tolist() == [[False, True], [True, True], [False, False]]
    assert second.tolist() == [[True, True], [True, False]]
    assert last.tolist() == [[False, False, True], [True, False, True]]


# --- the density ----------------------------------------------------------------------------------

@pytest.mark.parametrize("D", [1, 2, 7, 12])
def test_the_probabilities_of_all_states_sum_to_one(make, D):
    p = probabilities(sharp(make(D)))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-12
    assert p.max() > 1.05 * p.mean()                    # the sum of an even p would be no test


def test_so_they_do_in_every_drawn_order():
    model, found = sharp(MADE(7, (24, 16), direct=True)), set()
    for _ in range(5):
        model.resample_order()
        p = probabilities(model)
        found.add(p[1])
        assert abs(p.sum() - 1) < 1e-12
    assert len(found) == 5


@pytest.mark.parametrize("order", [None, [2, 0, 3, 1]])
def test_log_prob_adds_up_the_conditionals(make, order):
    """The chain rule: p(x_d | before) by summing exp(log p) over whatever comes after d."""
    model, x = sharp(make(4, order)), states(4)
    p, logits = probabilities(model), tg.to_numpy(model.conditionals(x))
    sequence = np.argsort(tg.to_numpy(model.order))
    for rank, i in enumerate(sequence):
        earlier = sequence[:rank]
        for row, logit in zip(x, logits[:, i]):
            same = (x[:, earlier] == row[earlier]).all(1)
            assert p[same & (x[:, i] == 1)].sum() / p[same].sum() == pytest.approx(
                1 / (1 + math.exp(-logit)), rel=1e-10)


def test_one_dimension_is_one_coin():
    model = MADE(1, hidden=(8,))
    p = probabilities(model)
    assert p[1] == pytest.approx(1 / (1 + math.exp(-float(model.layers[-1].b.data[0]))))
    model.resample_order()
    assert probabilities(model).tolist() == p.tolist()
    assert model.sample(5).shape == (5, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
def test_float32_weights_compute_in_float32(make, dtype):
    model, x = make(6), states(6)
    y = model.log_prob(xp.asarray(x.astype(dtype)))
    assert y.shape == (64,) and y.dtype == np.float32 and model.loss(x).dtype == np.float32
    assert (tg.to_numpy(y) == log_prob(model, x)).all()
    assert model.conditionals(x.astype(dtype)).dtype == np.float32
    assert model.loss(x).item() == pytest.approx(-log_prob(model, x).mean(), rel=1e-6)


# --- each is what its equation says ---------------------------------------------------------------

@pytest.mark.parametrize("make", [FVSBN, lambda D, order: MADE(D, (), order)])
def test_fvsbn_is_a_logistic_regression_for_each(make):
    """And MADE without hidden layers is FVSBN."""
    model = sharp(make(4, [2, 0, 3, 1]))
    x, rank, (W, b) = states(4), [2, 0, 3, 1], map(tg.to_numpy, model.parameters())
    logits = np.stack([b[d] + sum((x[:, j] * W[j, d] for j in range(4) if rank[j] < rank[d]),
                                  np.zeros(16)) for d in range(4)], axis=1)
    assert np.allclose(tg.to_numpy(model.conditionals(x)), logits, rtol=1e-12)
    assert np.allclose(log_prob(model, x), (x * logits - np.logaddexp(0, logits)).sum(1))


@pytest.mark.parametrize("D", [1, 2, 5, 9, 11])          # blocks of 1, 2, 3, 3 and 4
def test_nade_is_a_plain_loop_over_pixels(D):
    rng = np.random.default_rng(D)
    model, x = sharp(NADE(D, 6, rng.permutation(D))), rng.integers(0, 2, (7, D))
    W, V, b, c = (tg.to_numpy(p) for p in (model.W, model.V, model.b, model.c))
    rank, logits = tg.to_numpy(model.order), np.empty((7, D))
    for d in range(D):
        a = c + sum(x[:, j, None] * W[rank[j]] for j in range(D) if rank[j] < rank[d])
        logits[:, d] = b[rank[d]] + 1 / (1 + np.exp(-a)) @ V[rank[d]]
    assert np.allclose(tg.to_numpy(model.conditionals(x)), logits, rtol=1e-12, atol=1e-13)


def test_gradients_of_nade_are_right():
    model, x = NADE(5, 3, [3, 0, 4, 1, 2]), np.random.default_rng(0).normal(size=(4, 5))

    def logits(x, W, V, b, c):
        model.W, model.V, model.b, model.c = W, V, b, c
        return model.conditionals(x)
    assert tg.gradcheck(logits, x, model.W, model.V, model.b, model.c)


@pytest.mark.host_only(reason="tracemalloc sees the host's memory")
def test_memory_of_nade_grows_with_the_root_of_the_pixels():
    """In arrays (B, H), of which all h_d at once would be D. Beside arrays (B, D) and (D, H), a few
    of each, a step keeps no sums and works on at most 7 arrays of T = 20."""
    B, H, D = 64, 128, 400
    model, x = NADE(D, H), np.random.default_rng(0).integers(0, 2, (B, D)).astype("float32")
    model.loss(x).backward()                                # what is made once is there already
    model.zero_grad()
    unit, sides = 4 * B * H, D / H + D / B
    tracemalloc.start()
    loss = model.loss(x)
    kept = tracemalloc.get_traced_memory()[0] / unit
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1] / unit
    tracemalloc.stop()
    assert kept < 9 * D / H
    assert peak < 7 * 20 + 9 * sides < 0.6 * D


@pytest.mark.host_only(reason="tracemalloc sees the host's memory")
@pytest.mark.parametrize("make, U", [(FVSBN, 0), (lambda D: MADE(D, (20, 30)), 50),
                                     (lambda D: MADE(D, (500,)), 500)])
def test_a_step_keeps_what_the_docstring_says(make, U):
    B, D = 4096, 50
    model, x = make(D), np.random.default_rng(0).integers(0, 2, (B, D)).astype("float32")
    model.loss(x).backward()
    tracemalloc.start()
    loss = model.loss(x)
    kept = tracemalloc.get_traced_memory()[0] / 4 / B
    tracemalloc.stop()
    assert loss.requires_grad and kept == pytest.approx(4 * D + 2 * U, rel=0.1)


def test_a_direct_connection_adds_logits_of_its_own():
    model, plain, x = MADE(5, (8,), direct=True), MADE(5, (8,)), states(5)
    extra, hidden = tg.to_numpy(model.direct.W), model.state_dict()
    del hidden["direct.W"]
    plain.load_state_dict(hidden)
    expected = tg.to_numpy(plain.conditionals(x)) + x @ np.triu(extra, 1)
    assert np.allclose(tg.to_numpy(model.conditionals(x)), expected, atol=1e-6)


# --- many orderings at once -----------------------------------------------------------------------

def test_the_average_over_orderings_is_a_density():
    model = sharp(MADE(7, (24,), direct=True))
    orderings = [model.draw_ordering() for _ in range(4)]
    own, each = probabilities(model), []
    p = np.exp(tg.to_numpy(model.log_prob_averaged(states(7), orderings)))
    assert (probabilities(model) == own).all()              # its own order is back
    for ordering in orderings:
        model.set_order(*ordering)
        each.append(probabilities(model))
    assert np.allclose(p, np.mean(each, 0), rtol=1e-12) and abs(p.sum() - 1) < 1e-12
    assert np.std(each, 0).max() > 0.1 * p.max()


def test_the_average_of_one_ordering_is_its_log_prob():
    model = MADE(6, (16,), ORDERS["mixed"])
    y = model.log_prob_averaged(states(6), [model.ordering])
    assert (tg.to_numpy(y) == log_prob(model, states(6))).all() and y.dtype == np.float32


def test_the_order_comes_back_after_a_mistake():
    model = MADE(6, (16,), ORDERS["mixed"])
    with pytest.raises(ValueError):
        model.log_prob_averaged(states(6), [(range(6), None), (range(5), None)])
    assert tg.to_numpy(model.order).tolist() == ORDERS["mixed"]


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


@pytest.mark.parametrize("order", ORDERS)
def test_samples_follow_the_density(make, order):
    model = sharp(make(6, ORDERS[order]), scale=3.0)
    x, p = model.sample(20_000), probabilities(model)
    assert isinstance(x, xp.ndarray) and x.shape == (20_000, 6) and x.dtype == np.float32
    assert abs(deviation(x, p)) < 5
    wrong = next(b for b in model.parameters() if b.shape == (6,))
    wrong.data += 0.15
    assert deviation(x, probabilities(model)) > 10          # it can fail
    assert deviation(x[:, ::-1], p) > 10


def test_samples_repeat_with_the_seed_and_record_nothing(make, monkeypatch):
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    model, samples = make(5), []
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


@pytest.mark.once
@pytest.mark.parametrize("make, near", [(lambda: FVSBN(9), 0.4), (lambda: NADE(9, 64), 0.2),
                                        (lambda: MADE(9, (64,)), 0.2)])
def test_learning_comes_near_the_known_distribution(make, near):
    """Logistic regressions cannot say "rows or columns", so FVSBN stays farther away."""
    model = make()
    before = distance(model)
    losses = learn(model, model.loss, 300)
    assert before > 1.5 and near - 0.2 < distance(model) < near
    assert abs(losses[-100:].mean() - WORLD.entropy()[0] - distance(model)) < 0.15


@pytest.mark.once
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


def test_state_brings_back_the_order(make):
    model, other = make(6, ORDERS["mixed"]), make(6, ORDERS["reversed"])
    other.load_state_dict(model.state_dict())
    assert (log_prob(other, states(6)) == log_prob(model, states(6))).all()
    assert (tg.to_numpy(other.order) == tg.to_numpy(model.order)).all()
    tg.seed(1)
    x = model.sample(50)
    tg.seed(1)
    assert (other.sample(50) == x).all()


def test_state_brings_back_drawn_degrees():
    model, other = MADE(6, (16, 16), direct=True), MADE(6, (16, 16), direct=True)
    model.resample_order()
    other.load_state_dict(model.state_dict())
    assert (log_prob(other, states(6)) == log_prob(model, states(6))).all()


def test_cut_weights_get_no_gradient():
    for model in [FVSBN(6), MADE(6, (16, 16), direct=True)]:
        model.loss(states(6)).backward()
        for layer in model.modules()[1:]:
            assert not tg.to_numpy(layer.W.grad * (1 - layer.mask)).any()


@pytest.mark.parametrize("sentence, call", [
    ("MADE: order must be a permutation of 0..3", lambda: MADE(4, order=[0, 1, 2])),
    ("MADE: order must be a permutation of 0..3", lambda: MADE(4, order=[1, 2, 3, 4])),
    ("FVSBN: order must be a permutation of 0..3", lambda: FVSBN(4, order=[0, 1, 1, 2])),
    ("NADE: order must be a permutation of 0..3", lambda: NADE(4, order=2)),
    ("NADE: order must be a permutation of 0..3", lambda: NADE(4, order=[[0, 1], [2, 3]])),
    ("MADE: order must be a permutation", lambda: MADE(4, order=[None, 1, 2, 3])),
    ("FVSBN: order must be a permutation", lambda: FVSBN(4, order=[[0, 1], [2], 3])),
    *[(r"MADE: degrees are .*; needs integers from 0 to 2, the highest rank",
       lambda degree=degree: MADE(4, (1,)).set_order(range(4), [degree]))
      for degree in (-5, 3, 99, 0.5, None)],
    (r"MADE: hidden is 8; needs a size for each layer, such as \(64, 64\)", lambda: MADE(4, 8)),
    (r"\[3\] degrees for hidden layers of \[8\] units",
     lambda: MADE(4, (8,)).set_order(range(4), [np.zeros(3, int)])),
    (r"\[\] degrees for hidden layers of \[8\] units",
     lambda: MADE(4, (8,)).set_order(range(4), [])),
    ("log_prob_averaged: given no orderings; needs at least one",
     lambda: MADE(4, (8,)).log_prob_averaged(states(4), [])),
    (r"MADE: x has shape \(3, 5\); needed \(B, 4\)", lambda: MADE(4).log_prob(np.zeros((3, 5)))),
    (r"FVSBN: x has shape \(4,\); needed \(B, 4\)", lambda: FVSBN(4).loss(np.zeros(4))),
    (r"NADE: x has shape \(0, 4\); needed .* at least one", lambda: NADE(4).loss(np.zeros((0, 4)))),
    (r"NADE: x has shape \(3, 5\); needed \(B, 4\)", lambda: NADE(4).conditionals(states(5)[:3])),
    *[(f"{make.__name__}: x holds {grey}; needs whole numbers from 0 to 1, so binarize it",
       lambda make=make, grey=grey: make(4).loss(np.array([[0, grey, 0, 1]])))
      for make in (FVSBN, NADE, MADE) for grey in (255, 0.5)],
    ("MADE: x holds -3; needs", lambda: MADE(4).log_prob(np.array([[0, -3, 1, 0]]))),
    ("NADE: x holds nan; needs", lambda: NADE(4).log_prob(np.full((1, 4), np.nan))),
    ("n_in is 0; needs a whole number of at least 1", lambda: MADE(0)),
    ("n_in is 0; needs a whole number of at least 1", lambda: FVSBN(0)),
    ("NADE: hidden is 0; needs a whole number of at least 1", lambda: NADE(4, 0)),
    ("NADE: D is 2.5; needs a whole number of at least 1", lambda: NADE(2.5)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
