"""What keeps a step fast, without a clock: its arithmetic, its precision, what it makes and keeps.

The bounds on memory and launches are what was measured, rounded up by at most a tenth: a step that
makes more arrays than it did is a change somebody should have meant.
"""
import gc
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import backend, backward, blocks, tensor as engine
from tinygen.engine.backend import xp

sys.path.insert(0, str(Path(__file__).parent))
import steps  # noqa: E402

# The first four losses of the same steps in PyTorch 2.13, from the same numbers (cases.py).
LOSSES = {
    "vae_mlp": (70376.5, 67513.5, 64917.3, 62165.1), "made": (543.405, 541.076, 537.964, 533.252),
    "pixelcnn": (540.478, 537.824, 535.111, 532.241), "dcgan": (2.34076, 2.29219, 2.25824, 2.23591),
    "gpt": (4.20657, 4.12291, 4.05209, 3.99182), "realnvp": (296.129, 179.467, 156.048, 148.69),
    "wgan_gp": (8.07983, 7.81654, 7.52273, 7.19186), "overhead": (2.34777,) * 4,
    "char_gru": (4.19493, 4.17012, 4.14568, 4.12156),
    "adam": (0.0708486, 0.0698486, 0.0688486, 0.0678486),
}
SMALL = ("vae_mlp", "made", "realnvp", "wgan_gp", "char_gru", "overhead")
NAMES = SMALL if backend.xp.__name__ == "strict_numpy" else tuple(LOSSES)


@pytest.fixture(autouse=True)
def on_two_processors(monkeypatch):
    """As the benchmark runs them, however many threads this test run allows itself."""
    monkeypatch.setattr(blocks, "CPUS", 2)


@pytest.fixture(scope="module")
def workloads():
    return steps.workloads()


@pytest.mark.parametrize("name", NAMES)
def test_the_first_losses_are_pytorchs(name):
    step = steps.workloads()[name]
    assert [step() for _ in range(4)] == pytest.approx(LOSSES[name], rel=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_float64_in_a_step(name, workloads, monkeypatch):
    seen = set()
    monkeypatch.setattr(engine, "watch", lambda y: seen.add((y.op.__name__, y.dtype.name)))
    monkeypatch.setattr(engine, "watch_gradient",
                        lambda y, i, gx: seen.add((y.op.__name__ + "'s gradient", gx.dtype.name)))
    workloads[name]()
    assert {dtype for _, dtype in seen} <= {"float32"}, seen


@pytest.mark.host_only(reason="intermediate arrays are NumPy's to refuse")
@pytest.mark.parametrize("name", SMALL)
def test_no_rule_computes_in_float64_on_the_way(name, workloads, monkeypatch):
    """Every primitive's own result is float32 before the engine could have rounded it."""
    made = []

    def spy(args):
        if sys._getframe(1).f_code.co_name == "op":         # it asks only about float64 results
            made.append([getattr(a, "dtype", a) for a in args])
        return True
    monkeypatch.setattr(engine, "_no_float64", spy)
    workloads[name]()
    assert made == []


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_alive_after_a_step(name, workloads, count_tensors):
    workloads[name]()
    before = count_tensors()
    for _ in range(3):
        workloads[name]()
    assert count_tensors() == before


MIB = 2 ** 20
# MiB that a step adds to parameters, gradients and moments
PEAK = {"vae_mlp": 0.58, "made": 4.3, "gpt": 106, "dcgan": 26, "pixelcnn": 48}


@pytest.mark.host_only(reason="tracemalloc sees NumPy's memory")
@pytest.mark.parametrize("name", PEAK)
def test_a_step_adds_no_more_memory_than_it_did(name, workloads):
    workloads[name]()
    tracemalloc.start()
    try:
        workloads[name]()
        settled = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        workloads[name]()
        peak = (tracemalloc.get_traced_memory()[1] - settled) / MIB
    finally:
        tracemalloc.stop()
    assert peak <= PEAK[name], f"{peak:.1f} MiB"


@pytest.mark.once
def test_memory_is_flat_over_ten_thousand_steps():
    """Blocks of the interpreter's: an array that stays costs at least one, its header."""
    model, x = tg.nn.mlp((3, 4, 1), tg.tanh), xp.ones((2, 3), dtype="float32")
    optimizer = tg.optim.Adam(model.parameters(), 1e-4)

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            tg.mean(model(x) ** 2).backward()
            optimizer.step()
        gc.collect()
        return sys.getallocatedblocks()
    train(200)
    before = train(200)
    assert abs(train(10_000) - before) < 1000, "one block in ten steps would be as many"


def test_checkpoint_trades_time_for_memory():
    """Sixteen layers kept in four parts hold less than half, and compute the same gradients."""
    layers = [tg.nn.Linear(64, 64) for _ in range(16)]
    x = xp.asarray(np.random.default_rng(0).normal(size=(512, 64)).astype("float32"))

    def part(h, i):
        for layer in layers[i:i + 4]:
            h = tg.tanh(layer(h))
        return h

    def gradient(keep):
        h = x
        for i in range(0, 16, 4):
            h = keep(h, i)
        held = sum(t.data.nbytes for t in backward.behind(h).values())
        tg.sum(h * h).backward()
        grads = [tg.to_numpy(layer.W.grad).copy() for layer in layers]
        for layer in layers:
            layer.zero_grad()
        return held, grads
    held, grads = gradient(part)
    less, same = gradient(lambda h, i: tg.checkpoint(lambda h: part(h, i), h))
    assert less < held / 2
    assert all(np.array_equal(a, b) for a, b in zip(grads, same))


LAUNCHES = {"vae_mlp": 175, "made": 120, "realnvp": 980, "wgan_gp": 218, "char_gru": 2080,
            "overhead": 3340}


@pytest.mark.skipif(backend.xp.__name__ != "strict_numpy", reason="counted on the stand-in")
@pytest.mark.parametrize("name", LAUNCHES)
def test_a_step_launches_no_more_than_it_did(name, workloads):
    from strict import launches
    workloads[name]()
    launches.clear()
    workloads[name]()
    assert sum(launches.values()) <= LAUNCHES[name], launches.most_common(8)
