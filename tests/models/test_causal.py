"""Laws of causal networks over tokens, the same for the Transformer and WaveNet."""
import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.text import Vocabulary, padded, windows
from tinygen.engine import tensor
from tinygen.engine.backend import xp
from tinygen.evaluation import dependency_map
from tinygen.models.tractable import causal
from tinygen.models.tractable.causal import WaveNet, drawn
from tinygen.models.tractable.transformer import Transformer
from tinygen.optim import Adam
from tinygen.training import fit

MODELS = {"transformer": lambda V, context, **token: Transformer(V, context, 2, 2, 16, std=0.02,
                                                                **token),
          "wavenet": lambda V, context, **token: WaveNet(V, context, 3, 16, **token)}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
NAMES = dict(start=0, end=0)


def sharp(model, noise=0.3):
    """The model in float64, every parameter moved, so that its conditionals are far from even."""
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data = p.data.astype("float64") + xp.asarray(rng.normal(0, noise, p.shape))
    return model


def states(V, T):
    """Every x of T tokens -> (V^T, T)"""
    return np.array(list(itertools.product(range(V), repeat=T)))


def names(V, T):
    """Every name that fits T tokens with its end 0, filled with 0 -> (..., T)"""
    return np.array([[*x, *[0] * (T - n)] for n in range(T)
                     for x in itertools.product(range(1, V), repeat=n)])


def probabilities(model, x):
    return np.exp(tg.to_numpy(model.log_prob(x)))


def one_hot(x, V, dtype="float64"):
    return np.eye(V, dtype=dtype)[x]


def deviation(x, p, V):
    """Pearson's chi-square of samples x (n, T) against p, that of each state in the order of
    `states`, in standard deviations above its mean; states expected fewer than 10 times are pooled.
    """
    x = tg.to_numpy(x)
    counts = np.bincount(x @ V ** np.arange(x.shape[1])[::-1], minlength=len(p))
    rare = p * len(x) < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum() + 1e-12) * len(x)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


# --- the density ----------------------------------------------------------------------------------

@pytest.mark.parametrize("V, T", [(2, 1), (2, 8), (3, 5), (5, 3)])
@every_model
def test_the_probabilities_of_all_sequences_sum_to_one(make, V, T):
    model = sharp(make(V, T))
    p = probabilities(model, states(V, T))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-12 and p.max() > 1.2 * p.mean()
    if T > 1:
        shorter = probabilities(model, states(V, T - 1))            # p sums over what comes last
        assert np.allclose(shorter, p.reshape(-1, V).sum(1), rtol=1e-12)


@pytest.mark.parametrize("V, T", [(2, 1), (2, 7), (4, 4)])
@every_model
def test_the_probabilities_of_all_names_sum_to_one(make, V, T):
    p = probabilities(sharp(make(V, T, **NAMES)), names(V, T))
    assert abs(p.sum() - 1) < 1e-12 and (T == 1 or p.max() > 1.2 * p.mean())


@every_model
def test_log_prob_adds_up_the_conditionals(make):
    model, x = sharp(make(3, 4)), states(3, 4)
    logits = tg.to_numpy(model.conditionals(x))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    logp = np.take_along_axis(logp, x[:, :, None], -1)[..., 0]
    assert np.allclose(np.exp(logp.sum(1)), probabilities(model, x), rtol=1e-12)
    model.end, ended = 0, np.argmax(x == 0, axis=1)
    for row, at, terms in zip(x, ended, logp):
        if row[at] == 0:                                # at the last place, the end is certain
            expected = terms[:min(at + 1, 3)].sum()
            assert tg.to_numpy(model.log_prob(row[None]))[0] == pytest.approx(expected, abs=1e-12)


@every_model
def test_what_follows_the_end_does_not_count(make):
    model = sharp(make(4, 6, **NAMES))
    p = probabilities(model, np.array([[3, 1, 0, 0, 0, 0], [3, 1, 0, 2, 2, 0]]))
    assert p[0] == pytest.approx(p[1], rel=1e-14)
    assert probabilities(model, np.array([[3, 1, 0]]))[0] == pytest.approx(p[0], rel=1e-12)


@every_model
def test_a_conditional_depends_on_all_that_comes_before_and_nothing_else(make):
    x = np.random.default_rng(0).integers(0, 3, (8, 6))
    strength = dependency_map(sharp(make(3, 6)), one_hot(x, 3))
    assert (strength > 0).tolist() == np.tri(6, k=-1, dtype=bool).tolist()


def test_wavenet_sees_two_to_the_power_of_its_layers():
    model, x = sharp(WaveNet(2, 7, layers=2, width=16)), np.random.default_rng(0)
    strength = dependency_map(model, one_hot(x.integers(0, 2, (8, 7)), 2))
    assert (strength > 0).tolist() == (np.tri(7, k=-1) - np.tri(7, k=-5) > 0).tolist()


@every_model
def test_one_hot_floats_say_the_same_as_ids(make):
    for token in ({}, NAMES):
        model, x = make(3, 5, **token), states(3, 5)
        ids = tg.to_numpy(model.conditionals(x))
        floats = tg.to_numpy(model.conditionals(one_hot(x, 3, "float32")))
        assert floats.dtype == np.float32 and np.allclose(ids, floats, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
@every_model
def test_float32_weights_compute_in_float32(make, dtype):
    model, x = make(2, 5), states(2, 5)
    y = model.log_prob(xp.asarray(x.astype(dtype)))
    assert y.shape == (32,) and y.dtype == np.float32 and model.loss(x).dtype == np.float32
    assert (tg.to_numpy(y) == tg.to_numpy(model.log_prob(x))).all()
    assert model.loss(x).item() == pytest.approx(-tg.to_numpy(y).mean(), rel=1e-6)


@every_model
def test_the_loss_of_a_window_is_that_of_each_next_token(make):
    model, ids = sharp(make(4, 6)), np.random.default_rng(0).integers(0, 4, 30)
    x, y = windows(ids, 6, 5, np.random.default_rng(1))
    logits = tg.to_numpy(model(x))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(logp, y[..., None], -1).mean()
    assert model.next_token_loss(x, y).item() == pytest.approx(expected, rel=1e-12)


# --- memory and samples ---------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6], [4], [1, 6]])
@every_model
def test_the_memory_gives_the_same_logits(make, cuts, dtype, tolerance):
    model, memory = sharp(make(5, 7)), {}
    for p in model.parameters():
        p.data = p.data.astype(dtype)
    x = np.random.default_rng(0).integers(0, 5, (3, 7))
    pieces = [tg.to_numpy(model(part, memory)) for part in np.split(x, cuts, axis=1)]
    whole = tg.to_numpy(model(x))
    assert whole.dtype == dtype
    assert abs(np.concatenate(pieces, axis=1) - whole).max() < tolerance * abs(whole).max()


@pytest.mark.parametrize("V, T", [(2, 5), (3, 3)])
@every_model
def test_samples_follow_the_density(make, V, T):
    model = sharp(make(V, T))
    x, p = model.sample(10_000), probabilities(model, states(V, T))
    assert isinstance(x, xp.ndarray) and x.shape == (10_000, T) and x.dtype == np.int64
    assert abs(deviation(x, p, V)) < 5
    assert deviation(x[:, ::-1], p, V) > 10                                 # it can fail
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.2
    assert deviation(x, probabilities(model, states(V, T)), V) > 5


@every_model
def test_names_are_drawn_as_the_density_says_and_end_once(make):
    model, x = sharp(make(3, 5, **NAMES)), names(3, 5)
    p = np.zeros(3 ** 5)
    p[x @ 3 ** np.arange(5)[::-1]] = probabilities(model, x)
    x = model.sample(10_000)
    assert x.shape == (10_000, 5) and abs(deviation(x, p, 3)) < 5
    assert not x[:, -1].any() and probabilities(model, x).min() > 0


@every_model
def test_a_prompt_is_what_comes_first(make):
    model = sharp(make(2, 5))
    p = probabilities(model, states(2, 5)).reshape(4, 8)[2]                 # 2 is 1, 0
    x = model.sample(10_000, prompt=[1, 0])
    assert x.shape == (10_000, 3) and abs(deviation(x, p / p.sum(), 2)) < 5
    p = probabilities(model, states(2, 5)).reshape(4, 8)[1]
    assert deviation(x, p / p.sum(), 2) > 10


def test_temperature_and_top_k_change_the_odds():
    logits = np.log([[0.5, 0.3, 0.15, 0.05]])
    rows = xp.asarray(np.repeat(logits, 20_000, axis=0))
    for temperature, top_k in [(1.0, None), (0.5, None), (2.0, None), (1.0, 2), (0.7, 3), (1.0, 4)]:
        p = np.exp(logits[0] / temperature)
        p[top_k or 4:] = 0
        x = drawn(rows, temperature, top_k)[:, None]
        assert abs(deviation(x, p / p.sum(), 4)) < 5
        assert int(x.max()) < (top_k or 4)
    assert not drawn(rows, 1.0, 1).any()


@every_model
def test_a_text_longer_than_the_context_goes_on_from_its_last_half(make, monkeypatch):
    model, said = sharp(make(5, 4)), []
    monkeypatch.setattr(causal, "drawn", lambda y, *how: said.append(y) or drawn(y, *how))
    x, begin = tg.to_numpy(model.sample(20, length=15)), 0
    x = np.pad(x, ((0, 0), (1, 0)), constant_values=5)
    for t in range(1, 16):
        begin = t - 2 if t - begin > 4 else begin
        whole = tg.to_numpy(model(x[:, begin:t]))[:, -1]
        assert np.allclose(tg.to_numpy(said[t - 1]), whole, rtol=1e-10)


@every_model
def test_samples_repeat_with_the_seed_record_nothing_and_tell_progress(make, monkeypatch):
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    model, samples, told = make(3, 5), [], []
    for _ in range(2):
        tg.seed(3)
        samples.append(tg.to_numpy(model.sample(20, report=lambda *state: told.append(state))))
    assert (samples[0] == samples[1]).all() and model.sample(0).shape == (0, 5)
    assert told[:5] == [(t, 5, {}, 4.0) for t in range(1, 6)]


def test_sampling_stops_when_all_names_have_ended(monkeypatch):
    model, steps = sharp(WaveNet(3, 50, layers=1, width=4, **NAMES)), []
    model.head.b.data[0] += 100.0
    x = model.sample(4, report=lambda *state: steps.append(state))
    assert len(steps) == 1 and x.shape == (4, 50) and not x.any()


# --- learning, saving, mistakes -------------------------------------------------------------------

@pytest.mark.once
@every_model
def test_learning_a_list_of_names_comes_near_its_entropy(make):
    known = ["ab", "abba", "ca", "cab", "bbb", "a", "cc", "bca"]
    vocabulary = Vocabulary(known, boundary=".")
    x = padded(known, vocabulary)[1]
    model = make(len(vocabulary), 6, **NAMES)
    before = model.loss(x).item() - math.log(8)                             # KL(p || p_theta)
    fit(model, Endless(x, 8, np.random.default_rng(0)), 120,
        [("nll", model.loss, Adam(model.parameters(), 1e-2))])
    assert before > 2 and 0 < model.loss(x).item() - math.log(8) < 0.1
    assert set(map(vocabulary.decode, tg.to_numpy(model.sample(20)))) & {
        name + "." * (6 - len(name)) for name in known}


@every_model
def test_state_makes_another_model_the_same(make):
    model, other, x = make(3, 4), make(3, 4), states(3, 4)
    assert (probabilities(other, x) != probabilities(model, x)).any()
    other.load_state_dict(model.state_dict())
    assert (probabilities(other, x) == probabilities(model, x)).all()


def test_every_parameter_learns_and_dropout_is_for_training():
    for model in (Transformer(3, 4, 2, 2, 8, dropout=0.5), WaveNet(3, 4, 2, 8, dropout=0.5)):
        model.loss(states(3, 4)).backward()
        assert all(bool((p.grad != 0).any()) for p in model.parameters())
        assert model.loss(states(3, 4)).item() != model.loss(states(3, 4)).item()
        model.eval()
        assert model.loss(states(3, 4)).item() == model.loss(states(3, 4)).item()


@pytest.mark.parametrize("sentence, call", [
    (r"x is int64 of shape \(3,\); needs ids \(B, T\)", lambda m: m.log_prob(np.zeros(3, int))),
    (r"x is int64 of shape \(0, 3\); .* at least one", lambda m: m.loss(np.zeros((0, 3), int))),
    ("x has 5 tokens a row; the context holds 4", lambda m: m.log_prob(np.zeros((2, 5), int))),
    ("x holds 0.5; needs whole numbers from 0 to 2",
     lambda m: m.log_prob(np.full((2, 3), 0.5))),
    ("x holds 3; needs whole numbers from 0 to 2", lambda m: m.log_prob(np.array([[0, 3]]))),
    ("x holds -1; needs whole numbers", lambda m: m.log_prob(np.array([[-1, 0, 0]]))),
    ("x holds nan; needs whole numbers", lambda m: m.log_prob(np.array([[0, math.nan]]))),
    ("x is object of shape .*; needs ids", lambda m: m.log_prob(None)),
    ("a prompt of 4 tokens; the context holds 4", lambda m: m.sample(1, prompt=[0] * 4)),
    ("temperature is 0; needs a number of at least 1e-30", lambda m: m.sample(1, temperature=0)),
    *[(f"temperature is {t!r}; needs", lambda m, t=t: m.sample(1, temperature=t))
      for t in (1e-320, math.inf, math.nan, "hot", None, 10 ** 400)],
    ("length is -3; needs a whole number of at least 0", lambda m: m.sample(1, -3)),
    ("length is 4; what ends has 4 tokens at most, the prompt's among them",
     lambda m: type(m)(3, 4, end=0).sample(1, 4, prompt=[1])),
    ("prompt is 1; needs a list of ids", lambda m: m.sample(1, prompt=1)),
    ("x holds 0.5; needs whole numbers from 0 to 2", lambda m: m.sample(1, prompt=[0.5])),
    ("x holds 3; needs whole numbers from 0 to 2", lambda m: m.sample(1, prompt=[3])),
    ("top_k is 1.5; needs a whole number from 1 to 3", lambda m: m.sample(1, top_k=1.5)),
    ("start is 1.5; needs an id from 0 to 2, or None", lambda m: type(m)(3, 4, start=1.5)),
    ("x has 5 tokens a row; the context holds 4",
     lambda m: m.next_token_loss(np.zeros((2, 5), int), np.zeros((2, 5), int))),
    (r"x is int64 of shape \(0, 3\); needs ids \(B, T\)",
     lambda m: m.next_token_loss(np.zeros((0, 3), int), np.zeros((0, 3), int))),
    ("top_k is 4; needs a whole number from 1 to 3", lambda m: m.sample(1, top_k=4)),
    ("top_k is 0; needs a whole number from 1 to 3", lambda m: m.sample(1, top_k=0)),
    ("V is 0; needs a whole number", lambda m: type(m)(0, 4)),
    ("context is 0; needs a whole number", lambda m: type(m)(3, 0)),
    ("layers is 0; needs a whole number", lambda m: type(m)(3, 4, 0)),
    ("end is 3; needs an id from 0 to 2, or None", lambda m: type(m)(3, 4, end=3)),
    ("a row of x has no end 0; needs one in each row",
     lambda m: type(m)(3, 4, end=0).log_prob(np.array([[1, 0], [1, 2]]))),
])
@every_model
def test_mistakes_get_one_sentence(make, sentence, call):
    model = make(3, 4)
    with pytest.raises(ValueError, match=sentence) as caught:
        call(model)
    assert "\n" not in str(caught.value)
