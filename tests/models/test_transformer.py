"""What is the Transformer's own; the laws it shares with WaveNet are in test_causal.py."""
import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine.backend import xp
from tinygen.models.tractable.transformer import Transformer
from tinygen.optim import Adam
from tinygen.training import fit

WORLD = TinyBits(3)


def distance(model):
    """KL(p_data || p_theta), nats, exact: a sum over all 512 states"""
    log_p = WORLD.log_prob(WORLD.states())
    return float(np.exp(log_p) @ (log_p - tg.to_numpy(model.log_prob(WORLD.states()))))


@pytest.mark.once
def test_on_pixels_it_comes_near_the_known_distribution():
    model, x = Transformer(2, 9, 2, 2, 32), WORLD.sample(20_000, np.random.default_rng(0))
    before = distance(model)
    fit(model, Endless(x, 100, np.random.default_rng(1)), 120,
        [("nll", model.loss, Adam(model.parameters(), 3e-3))])
    assert before > 1.5 and 0 < distance(model) < 0.5


@pytest.mark.once
def test_it_learns_a_text_by_windows_and_goes_on_with_it():
    ids = np.tile([2, 0, 1, 1], 40)
    model, batches = Transformer(3, 8, 1, 2, 16, start=0), Endless(
        np.arange(len(ids) - 8), 16, np.random.default_rng(0),
        transform=lambda start, rng: ids[start[:, None] + np.arange(9)])
    fit(model, batches, 60, [("nll", lambda x: model.next_token_loss(x[:, :-1], x[:, 1:]),
                              Adam(model.parameters(), 1e-2))])
    text = tg.to_numpy(model.sample(1, length=40, prompt=[1, 1, 2, 0, 1], top_k=1))[0]
    assert text.tolist() == np.tile([1, 2, 0, 1], 10).tolist()


@pytest.mark.parametrize("std", [None, 0.02])
def test_the_start(std):
    model = Transformer(50, 40, layers=8, heads=4, width=64, std=std)
    for name, p in model.named_parameters().items():
        values = tg.to_numpy(p)
        if p.ndim == 1:
            assert (values == (0 if name.endswith("b") else 1)).all()
        else:
            wanted = std or (256 if name.endswith(".proj.W") and p.shape[0] == 256 else 64) ** -0.5
            wanted /= 4 if name.endswith("proj.W") else 1               # sqrt(2 * 8) = 4
            assert values.std() == pytest.approx(wanted, rel=0.06)
    x = np.arange(40).reshape(1, 40)
    loss = model.next_token_loss(x, x + 1).item()
    assert loss == pytest.approx(np.log(50), rel=0.02 if std else 0.15)


def test_one_table_serves_both_ends():
    model = Transformer(5, 4, 1, 1, 8)
    shapes = [p.shape for p in model.parameters()]
    assert shapes.count((6, 8)) == 1 and (8, 5) not in shapes       # 5 tokens and the start
    assert Transformer(5, 4, 1, 1, 8, start=2).token.W.shape == (5, 8)
    n = sum(p.size for p in Transformer(65, 64, bias=False, start=0).parameters())
    assert n == 804_096                                             # nanoGPT's 0.80M: see P10


def test_only_positions_tell_one_layer_of_attention_the_order():
    model = Transformer(4, 6, 1, 2, 16)
    x, shuffled = xp.asarray([[0, 1, 2, 3]]), xp.asarray([[1, 2, 0, 3]])
    for p in model.parameters():
        p.data += xp.asarray(np.random.default_rng(0).normal(0, 0.5, p.shape).astype("f"))

    def moved():
        return abs(tg.to_numpy(model(x) - model(shuffled))[0, -1]).max()
    assert moved() > 1e-3
    model.position.data[...] = 0
    assert moved() < 1e-5


@pytest.mark.host_only(reason="tracemalloc sees NumPy's memory")
@pytest.mark.parametrize("dropout, arrays, weights", [(0.0, 23, 1), (0.2, 31, 5)])
@pytest.mark.parametrize("B, T, C, H", [(8, 128, 32, 4), (8, 32, 64, 4), (4, 256, 32, 2)])
def test_a_step_keeps_what_the_docstring_says(dropout, arrays, weights, B, T, C, H):
    model, x = Transformer(5, T, 2, H, C, dropout=dropout), np.zeros((B, T), int)
    model.next_token_loss(x, x).backward()
    tracemalloc.start()
    loss = model.next_token_loss(x, x)
    kept = tracemalloc.get_traced_memory()[0] / 4 / 2
    tracemalloc.stop()
    assert loss.requires_grad
    assert kept == pytest.approx(arrays * B * T * C + weights * B * H * T * T, rel=0.1)


@pytest.mark.parametrize("sentence, call", [
    ("Transformer: 5 tokens; the context holds 4", lambda m: m(np.zeros((1, 5), int))),
    ("Transformer: 6 tokens; the context holds 4", lambda m: pieces(m)),
    ("3 heads do not divide dim=128", lambda m: Transformer(3, 4, heads=3)),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call(Transformer(3, 4, 1, 1, 8))
    assert "\n" not in str(caught.value)


def pieces(model):
    memory = {}
    for _ in range(2):
        model(np.zeros((1, 3), int), memory)
