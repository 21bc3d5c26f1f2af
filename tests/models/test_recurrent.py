"""Language models of characters: normalised, blind to the future, and right about time."""
import itertools
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import Words
from tinygen.datasets.text import Vocabulary, contexts, padded
from tinygen.engine import tensor
from tinygen.evaluation import dependency_map
from tinygen.models.tractable.recurrent import (ContextMLP, RecurrentLM, Streams, TruncatedBPTT)
from tinygen.nn import GRUCell, LSTMCell, RNNCell
from tinygen.optim import Adam
from tinygen.training import fit

CELLS = {"rnn": RNNCell, "gru": GRUCell, "lstm": LSTMCell}
MODELS = {"mlp": lambda V: ContextMLP(V, 3, 4, (8,)),
          "softmax regression": lambda V: ContextMLP(V, 2, 4, ()),
          **{name: lambda V, cell=cell: RecurrentLM(V, cell, 4, 8) for name, cell in CELLS.items()}}


def log_prob(model, x):
    return tg.to_numpy(model.log_prob(x))


def make(name, V=3, scale=2.5):
    """The model in float64 with larger weights, so that its conditionals are far from even."""
    model = MODELS[name](V)
    for p in model.parameters():
        p.data = p.data.astype("float64") * scale
    return model


def all_names(longest, V=3):
    """Every name of up to `longest` characters, the empty one too, as ids (N, longest + 1)"""
    rows = [row for n in range(longest + 1) for row in itertools.product(range(1, V), repeat=n)]
    return np.array([row + (0,) * (longest + 1 - len(row)) for row in rows])


def conditionals(model, x):
    return np.exp(tg.to_numpy(tg.log_softmax(model.conditionals(tg.xp.asarray(x)))))


def tail(model, longest, V=3):
    """The probability of all names longer than that: no boundary in the first longest + 1 places"""
    x = np.array(list(itertools.product(range(1, V), repeat=longest + 1)))
    return np.take_along_axis(conditionals(model, x), x[..., None], 2).prod((1, 2)).sum()


# --- the density ----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("V", [2, 3, 4])
def test_names_sum_to_one(name, V):
    model = make(name, V)
    assert tail(model, 0, V) > 0.01                         # or the rest would be no test
    for longest in (0, 1, 5):
        p = np.exp(log_prob(model, all_names(longest, V)))
        assert p.dtype == np.float64 and abs(p.sum() + tail(model, longest, V) - 1) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_log_prob_adds_up_what_step_says(name):
    """Two ways to the same number: all characters at once, and one after the other."""
    model, x = make(name), all_names(4)
    state, before, total = model.start(len(x)), np.zeros(len(x), int), np.zeros(len(x))
    going = np.ones(len(x), bool)
    for t in range(5):
        logits, state = model.step(tg.xp.asarray(before), state)
        logp = tg.to_numpy(tg.log_softmax(logits))
        total += np.where(going, logp[np.arange(len(x)), x[:, t]], 0)
        before, going = x[:, t], going & (x[:, t] > 0)
    assert np.allclose(log_prob(model, x), total, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_first_state_is_zero(cell):
    state = make(cell).start(2)
    state = state if isinstance(state, tuple) else (state,)
    assert all(part.shape == (2, 8) and part.dtype == np.float64 and not part.any()
               for part in state)


@pytest.mark.parametrize("name", MODELS)
def test_filling_does_not_count_and_gets_no_gradient(name):
    model, x = make(name), all_names(3)
    grads = []
    for wide in (x, np.pad(x, ((0, 0), (0, 3)))):
        wide[:, 4:] = 2
        assert np.allclose(log_prob(model, wide), log_prob(model, x), rtol=1e-13)
        model.zero_grad()
        model.loss(wide).backward()
        grads.append([tg.to_numpy(p.grad) for p in model.parameters()])
    assert all(np.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(*grads))


@pytest.mark.parametrize("name", MODELS)
def test_what_comes_later_is_not_seen_and_all_that_may_be_is(name):
    model, T = make(name), 6
    x = np.random.default_rng(0).dirichlet(np.ones(3), (4, T))      # between the one-hot corners
    alive = dependency_map(model, x) > 0
    back = np.arange(T)[:, None] - np.arange(T)
    assert (alive == ((back > 0) & (back <= getattr(model, "context", T)))).all()


@pytest.mark.parametrize("name", MODELS)
def test_one_hot_floats_say_the_same_as_ids(name):
    model, x = make(name), all_names(4)
    one_hot = tg.xp.asarray(np.eye(3)[x])
    assert np.allclose(conditionals(model, x), tg.to_numpy(tg.softmax(model.conditionals(one_hot))),
                       rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_float32_weights_compute_in_float32(name, dtype):
    model, x = MODELS[name](3), all_names(3).astype(dtype)
    y = model.log_prob(tg.xp.asarray(x))
    assert y.shape == (len(x),) and y.dtype == np.float32 and model.loss(x).dtype == np.float32
    assert model.loss(tg.tensor(x)).item() == pytest.approx(-log_prob(model, x).mean(), rel=1e-6)
    model.loss(x).backward()
    assert all(p.grad.dtype == np.float32 for p in model.parameters())


def test_the_mlp_is_its_formula():
    model = make("mlp")
    e, W, b, U, c = (tg.to_numpy(p) for p in model.parameters())
    context = np.array([0, 2, 1])
    logits = np.tanh(np.concatenate(e[context]) @ W + b) @ U + c
    assert np.allclose(tg.to_numpy(model(tg.xp.asarray(context))), logits, rtol=1e-12)
    x = np.array([[2, 1, 1, 0]])                            # ids before x_3: boundary, 2, 1
    assert np.allclose(tg.to_numpy(model.conditionals(tg.xp.asarray(x)))[0, 2], logits, rtol=1e-12)


def test_the_mlp_sees_the_contexts_of_the_data_set():
    names = ["ab", "b", "baab"]
    vocabulary = Vocabulary(names, boundary=".")
    model = make("mlp")
    x, y = contexts(names, vocabulary, 3)
    nll = tg.cross_entropy(model(tg.xp.asarray(x)), tg.xp.asarray(y), reduction="sum").item()
    assert nll == pytest.approx(-log_prob(model, padded(names, vocabulary)[1]).sum(), rel=1e-12)


# --- samples --------------------------------------------------------------------------------------

def count_names(x, longest):
    """How often each of all_names(longest) occurs among samples x (n, T), longer ones last"""
    rows = {tuple(row): i for i, row in enumerate(all_names(longest))}
    keys = (tuple(row[:longest + 1]) for row in np.pad(tg.to_numpy(x), ((0, 0), (0, longest + 1))))
    return np.bincount([rows.get(key, len(rows)) for key in keys], minlength=len(rows) + 1)


def deviation(counts, p):
    """Pearson's chi-square of counts against p, in standard deviations above its mean; what is
    expected fewer than 10 times is pooled."""
    rare = p * counts.sum() < 10
    seen = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum() + 1e-12) * counts.sum()
    freedom = len(seen) - 1
    return (((seen - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


def counts(model, **settings):
    """How often each of all_names(4) is sampled; where the longer ones are cut does not matter"""
    return count_names(model.sample(10_000, longest=6, **settings), 4)


def table(model, longest=4):
    """p of all names up to a length, and of the longer ones together"""
    return np.append(np.exp(log_prob(model, all_names(longest))), tail(model, longest))


@pytest.mark.parametrize("name", MODELS)
def test_samples_follow_the_density(name):
    model = make(name)
    seen = counts(model)
    assert abs(deviation(seen, table(model))) < 5
    last = model.parameters()[-1]                           # the bias of the logits
    last.data[1] += 0.2
    assert deviation(seen, table(model)) > 8                # it can fail


def test_a_state_that_is_not_carried_would_be_seen():
    """Sampling from the first state again and again follows another density than the model's."""
    model = make("gru")
    forgetful = make("gru")
    forgetful.load_state_dict(model.state_dict())
    forgetful.step = lambda ids, state: (model.step(ids, model.start(len(ids)))[0], state)
    assert deviation(counts(forgetful), table(model)) > 10


def test_temperature_divides_the_logits():
    model, cold = make("gru"), make("gru")
    cold.load_state_dict(model.state_dict())
    for p in cold.out.parameters():
        p.data *= 2.0
    seen = counts(model, temperature=0.5)
    assert abs(deviation(seen, table(cold))) < 5 and deviation(seen, table(model)) > 10


@pytest.mark.parametrize("name", MODELS)
def test_samples_repeat_with_the_seed_end_and_record_nothing(name, monkeypatch):
    model, samples = MODELS[name](5), []
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    for _ in range(2):
        tg.seed(3)
        samples.append(tg.to_numpy(model.sample(20, longest=3)))
    x = samples[0]
    assert (samples[1] == x).all() and x.dtype == np.int64 and x.shape[1] <= 4
    assert (x[:, -1] == 0).all() and not ((x[:, :-1] == 0) & (x[:, 1:] > 0)).any()
    assert model.sample(0).shape[0] == 0
    monkeypatch.undo()
    assert log_prob(model, x).shape == (20,)


# --- a long text ----------------------------------------------------------------------------------

def carried(model):
    state = model.state if isinstance(model.state, tuple) else (model.state,)
    return [tg.to_numpy(part) for part in state]


@pytest.mark.parametrize("cell", CELLS)
def test_two_windows_are_one_long_forward(cell):
    model, x = make(cell), tg.xp.asarray(np.random.default_rng(0).integers(0, 3, (2, 9)))
    whole, last = model(x)
    first, state = model(x[:, :4])
    second, state = model(x[:, 4:], state)
    assert np.allclose(tg.to_numpy(whole),
                       np.concatenate([tg.to_numpy(first), tg.to_numpy(second)], 1), rtol=1e-12)
    fresh = tg.to_numpy(model(x[:, 4:])[0])
    assert abs(fresh - tg.to_numpy(second)).max() > 1e-3           # without its state it differs


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_goes_on_from_window_to_window(cell):
    model, ids = make(cell), np.random.default_rng(0).integers(0, 3, 12)
    text, streams = TruncatedBPTT(model, 1), Streams(ids, 1, 3)
    nats = [text.loss(tuple(map(tg.xp.asarray, next(streams)))).item() for _ in range(4)]
    x, y = ids[None], np.roll(ids, -1)[None]
    whole = tg.cross_entropy(model(tg.xp.asarray(x))[0], tg.xp.asarray(y)).item()
    assert np.mean(nats) == pytest.approx(whole, rel=1e-12)
    last = model(tg.xp.asarray(x))[1]
    last = last if isinstance(last, tuple) else (last,)
    assert all(np.allclose(a, tg.to_numpy(b), rtol=1e-12) for a, b in zip(carried(text), last))


def gradient(model, loss):
    model.zero_grad()
    loss.backward(model.parameters())
    return np.concatenate([tg.to_numpy(p.grad).reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("cell", CELLS)
def test_truncation_cuts_the_gradient_between_windows_and_nowhere_else(cell):
    model, ids = make(cell), np.random.default_rng(0).integers(0, 3, 9)
    x, y = (tg.xp.asarray(a[None]) for a in (ids[:8], ids[1:]))
    full = gradient(model, tg.cross_entropy(model(x)[0], y))
    assert np.allclose(gradient(model, TruncatedBPTT(model, 1).loss((x, y))), full, rtol=1e-12)
    text = TruncatedBPTT(model, 1)
    halves = [gradient(model, text.loss((x[:, s], y[:, s]))) for s in (slice(4), slice(4, 8))]
    assert abs(np.mean(halves, 0) - full).max() > 1e-3 * abs(full).max()
    _, state = model(x[:, :4])                              # by hand: a state that is a constant
    state = tuple(tg.to_numpy(s) for s in (state if isinstance(state, tuple) else (state,)))
    state = tuple(tg.xp.asarray(s) for s in state)
    by_hand = tg.cross_entropy(model(x[:, 4:], state if len(state) > 1 else state[0])[0], y[:, 4:])
    assert np.allclose(gradient(model, by_hand), halves[1], rtol=1e-10, atol=1e-14)


def test_old_windows_are_not_kept(count_tensors):
    model = TruncatedBPTT(RecurrentLM(3, LSTMCell, 4, 8), 2)
    streams, alive = Streams(np.arange(50) % 3, 2, 5), []
    for _ in range(4):
        loss = model.loss(tuple(map(tg.xp.asarray, next(streams))))
        loss.backward()
        del loss
        alive.append(count_tensors())
    assert len(set(alive[1:])) == 1


def test_streams_read_the_text_in_order_and_around():
    ids = np.arange(10, dtype="uint8")
    streams = Streams(ids, 2, 3)
    x, y = next(streams)
    assert x.tolist() == [[0, 1, 2], [5, 6, 7]] and y.tolist() == [[1, 2, 3], [6, 7, 8]]
    assert x.dtype == y.dtype == np.int64
    x, y = next(iter(streams))
    assert x.tolist() == [[3, 4, 5], [8, 9, 0]] and y.tolist() == [[4, 5, 6], [9, 0, 1]]
    other = Streams(ids, 2, 3)
    other.load_state(streams.state())
    assert all((a == b).all() for a, b in zip(next(streams), next(other)))


def test_a_resumed_run_goes_on_with_its_state(tmp_path):
    ids = np.random.default_rng(0).integers(0, 3, 60)

    def run(steps, path):
        tg.seed(0)
        model = TruncatedBPTT(RecurrentLM(3, LSTMCell, 4, 8), 3)
        fit(model, Streams(ids, 3, 4), steps,
            [("nll", model.loss, Adam(model.parameters(), 1e-2))], checkpoint=tmp_path / path)
        return model.state_dict()
    once, _, again = run(6, "a.npz"), run(3, "b.npz"), run(6, "b.npz")
    assert once.keys() == again.keys() and any(key.startswith("state") for key in once)
    assert all((once[key] == again[key]).all() for key in once)


# --- learning and mistakes ------------------------------------------------------------------------

@pytest.mark.once
def test_a_longer_memory_comes_nearer_to_the_known_distribution():
    world = Words()
    vocabulary = Vocabulary(world.alphabet, boundary=".")
    train, test = (padded(world.sample(n, np.random.default_rng(n)), vocabulary)[1]
                   for n in (4000, 500))
    nats = {}
    for name, model in {"regression": ContextMLP(len(vocabulary), 1, 8, ()),
                        "gru": RecurrentLM(len(vocabulary), GRUCell, 8, 32)}.items():
        fit(model, Endless(train, 32, np.random.default_rng(0)), 120,
            [("nll", model.loss, Adam(model.parameters(), 2e-2))])
        nats[name] = -log_prob(model, test).mean()
    assert nats["regression"] > nats["gru"] + 2
    assert world.entropy()[0] < nats["gru"] < world.entropy()[0] + 2


@pytest.mark.once
def test_the_lstm_remembers_what_the_mlp_has_forgotten():
    """The last character repeats the first of five: out of a context of 3, within a state."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 3, (2000, 6))
    x[:, 4], x[:, 5] = x[:, 0], 0
    nats = {}
    for name, model in {"mlp": ContextMLP(3, 3, 4, (16,)),
                        "lstm": RecurrentLM(3, LSTMCell, 4, 16)}.items():
        fit(model, Endless(x, 100, np.random.default_rng(1)), 200,
            [("nll", model.loss, Adam(model.parameters(), 2e-2))])
        nats[name] = -log_prob(model, x).mean()
    assert nats["mlp"] > 5 * math.log(2) - 0.05 and nats["lstm"] < 4 * math.log(2) + 0.1


@pytest.mark.parametrize("sentence, call", [
    ("V is 0; needs a whole number of at least 1", lambda: RecurrentLM(0)),
    ("context is 0; needs a whole number of at least 1", lambda: ContextMLP(3, context=0)),
    ("n_out is 0; needs a whole number of at least 1", lambda: RecurrentLM(3, hidden=0)),
    ("RecurrentLM: x holds 0.5; needs whole numbers from 0 to 2",
     lambda: RecurrentLM(3).loss(np.full((2, 3), 0.5))),
    (r"RecurrentLM: x is float64 of shape \(2, 3, 3\); needs ids",
     lambda: RecurrentLM(3).loss(np.zeros((2, 3, 3)))),
    ("ContextMLP: x holds 3; needs whole numbers from 0 to 2",
     lambda: ContextMLP(3).loss(np.array([[3, 0]]))),
    ("a row has no boundary 0; end every name", lambda: RecurrentLM(3).loss(np.array([[1, 2]]))),
    ("sample: temperature is -1; needs a number of at least",
     lambda: RecurrentLM(3).sample(1, temperature=-1)),
    ("ContextMLP: hidden is 8; needs a size for each", lambda: ContextMLP(3, hidden=8)),
    (r"TruncatedBPTT: windows of shape \(2, 0\); needs \(streams, T\)",
     lambda: TruncatedBPTT(RecurrentLM(3), 2).loss(np.zeros((2, 2, 0), int))),
    ("streams is 0; needs a whole number", lambda: TruncatedBPTT(RecurrentLM(3), 0)),
    ("length is 0; needs a whole number", lambda: Streams(np.arange(9), 1, 0)),
    (r"ids are int64 of shape \(9,\); needed .* for each of 10 streams",
     lambda: Streams(np.arange(9), 10, 2)),
    (r"ids are float64 of shape \(9,\); needed integers", lambda: Streams(np.zeros(9), 1, 2)),
    ("load_state: saved as .* resume on the same text", lambda: Streams(np.arange(9), 1, 2)
     .load_state(Streams(np.arange(9), 1, 3).state())),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
