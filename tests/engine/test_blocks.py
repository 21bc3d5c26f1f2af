"""Blocks and threads change how fast a number comes, not the number."""
import multiprocessing
import os

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import blocks, elementwise, fused
from tinygen.engine.backend import to_numpy, xp


@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("work", [0, 1 << 30])
def test_every_job_is_done_once(n, work):
    done = []
    blocks.in_threads(done.extend, list(range(n)), work)
    assert sorted(done) == list(range(n))


@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_in_either_thread_is_raised(bad):
    def run(jobs):
        if bad in jobs:
            raise KeyError(bad)
    with pytest.raises(KeyError):
        blocks.in_threads(run, list(range(4)), 1 << 30)
    done = []
    blocks.in_threads(done.extend, [1, 2, 3], 1 << 30)         # and the threads still work
    assert sorted(done) == [1, 2, 3]


# --- blocks ---------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
LAYOUTS = {
    "rows": lambda: rng.normal(size=(300, 500)),
    "one long row after the other": lambda: rng.normal(size=(3, 70_000)),
    "a line": lambda: rng.normal(size=100_001),
    "channels last": lambda: rng.normal(size=(20, 14, 14, 32)).transpose(0, 3, 1, 2),
    "every second": lambda: rng.normal(size=(600, 500))[::2],
    "backwards": lambda: rng.normal(size=(300, 500))[::-1, ::-1],
}


def in_one(f):
    """The function before in_blocks, and below primitive."""
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    return f


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("f", [tg.sigmoid, tg.softplus], ids=lambda f: f.__name__)
def test_elementwise_functions_are_the_same_in_blocks(f, layout, monkeypatch):
    monkeypatch.setattr(blocks, "CPUS", 2)
    x = xp.asarray(LAYOUTS[layout]().astype("float32"))
    assert x.size > 2 * blocks.BLOCK
    y = f(x)
    assert y.dtype == x.dtype and y.shape == x.shape
    assert (to_numpy(y) == to_numpy(in_one(f)(x))).all()


def test_arguments_of_the_same_shape_are_cut_and_others_are_not():
    x, t = (xp.asarray(rng.random((700, 300)).astype("float32")) for _ in range(2))
    assert (to_numpy(fused._bce(x, t)) == to_numpy(in_one(fused._bce)(x, t))).all()
    assert (to_numpy(fused._bce(x, 0.25)) == to_numpy(in_one(fused._bce)(x, 0.25))).all()


def test_several_results_are_each_put_together():
    x, y, g = (xp.asarray(rng.normal(size=(700, 300)).astype("float32")) for _ in range(3))
    for f, args in ((elementwise._gated, (x,)), (elementwise._gelu_dx, (g, y, x, y))):
        for got, whole in zip(f(*args), in_one(f)(*args)):
            assert (to_numpy(got) == to_numpy(whole)).all()


def test_attention_in_blocks_has_the_plain_forms_values_and_gradients():
    """The plain form is composed of recorded operations; float64, so that only mistakes show."""
    q, k, v = (tg.tensor(rng.normal(size=(80, 4, 16, 16)), requires_grad=True) for _ in range(3))
    mask, w = xp.asarray(np.triu(np.full((16, 16), -1e9), 1)), xp.asarray(rng.normal(size=q.shape))
    assert q.size > 2 * blocks.BLOCK
    y = tg.attention(q, k, v, mask)
    plain = tg.softmax(q @ k.swapaxes(-1, -2) / 4 + mask) @ v
    assert np.allclose(to_numpy(y), to_numpy(plain), rtol=0, atol=1e-13)
    for a, b in zip(tg.grad(tg.sum(y * w), [q, k, v]), tg.grad(tg.sum(plain * w), [q, k, v])):
        assert np.allclose(to_numpy(a), to_numpy(b), rtol=0, atol=1e-12)


def test_rows_may_become_shorter_or_longer():
    @blocks.in_blocks
    def twice_the_first(x):
        return xp.concatenate([x[:, :1], x[:, :1]], axis=1)
    x = xp.asarray(rng.normal(size=(1000, 100)))
    y = to_numpy(twice_the_first(x))
    assert y.shape == (1000, 2) and (y == to_numpy(x)[:, :1]).all()


@pytest.mark.host_only(reason="threads are for the CPU")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks on Windows")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_its_own_threads(monkeypatch):
    monkeypatch.setattr(blocks, "CPUS", 2)
    x = np.ones((600, 500), "float32")
    assert x.size > blocks.WORTH_A_THREAD
    tg.sigmoid(x)                               # the parent has a pool now
    context = multiprocessing.get_context("fork")
    child = context.Process(target=tg.sigmoid, args=(x,))
    child.start()
    child.join(20)
    hung = child.is_alive()
    child.kill()
    assert not hung and child.exitcode == 0
