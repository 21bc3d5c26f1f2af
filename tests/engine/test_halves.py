"""in_halves gives the loss of the whole batch and its gradient, whatever the batch."""
import threading

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import blocks
from tinygen.engine.backend import to_numpy, xp

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    monkeypatch.setattr(blocks, "CPUS", 2)


def problem(B, dtype="float64"):
    x, y = (xp.asarray(rng.normal(size=(B, n)).astype(dtype)) for n in (5, 3))
    W, b = (tg.tensor(rng.normal(size=s), True, dtype) for s in ((5, 3), (3,)))
    return (lambda x, y: tg.mse(tg.tanh(x @ W + b), y)), (x, y), [W, b]


@pytest.mark.parametrize("B", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype, close", [("float64", 1e-14), ("float32", 1e-6)])
def test_loss_and_gradient_are_those_of_the_whole_batch(B, dtype, close):
    loss, batch, params = problem(B, dtype)
    whole, halves = loss(*batch), tg.in_halves(loss, *batch)
    assert halves.dtype == dtype and halves.item() == pytest.approx(whole.item(), rel=close)
    for a, b in zip(tg.grad(whole, params), tg.grad(halves, params)):
        assert b.dtype == dtype
        assert np.allclose(to_numpy(a), to_numpy(b), rtol=0, atol=close)


def test_what_the_loss_takes_from_outside_has_its_gradient():
    loss, (x, y), (W, b) = problem(6)

    def gradients(halved):
        h, W.grad = tg.tanh(W), None
        total = halved(lambda x, y: tg.mse(x @ h + x @ W, y), x, y)
        first = tg.grad(total, h).data
        total.backward()
        return first, W.grad
    for a, b in zip(gradients(tg.in_halves), gradients(lambda loss, x, y: loss(x, y))):
        assert np.allclose(to_numpy(a), to_numpy(b), rtol=1e-13)


def test_it_is_a_loss_like_any_other():
    """It can be scaled, added to, and walked back through into .grad."""
    loss, batch, (W, b) = problem(6)
    (3 * tg.in_halves(loss, *batch) + tg.sum(W * W)).backward()
    expected = 3 * tg.grad(loss(*batch), W).data + 2 * W.data
    assert np.allclose(to_numpy(W.grad), to_numpy(expected), rtol=0, atol=1e-13)


def test_its_gradient_can_be_taken_again_and_changes_for_nobody():
    loss, batch, params = problem(6)
    value = tg.in_halves(loss, *batch)
    first = [to_numpy(g).copy() for g in tg.grad(value, params)]
    for g in tg.grad(value, params):
        g.data *= 0
    assert all((a == to_numpy(b)).all() for a, b in zip(first, tg.grad(value, params)))


@pytest.mark.host_only(reason="elsewhere the loss sees the batch whole")
def test_a_parameter_that_only_one_half_needs_has_its_gradient():
    _, (x, _), (W, b) = problem(4)
    x[:2], x[2:] = 0, 1

    def loss(x):
        return tg.mean(x @ (W if float(x[0, 0]) else 2 * W[:, :1] * b))
    value = tg.in_halves(loss, x)
    expected = [tg.grad(0.5 * loss(x[:2]) + 0.5 * loss(x[2:]), p) for p in (W, b)]
    for a, e in zip(tg.grad(value, [W, b]), expected):
        assert np.allclose(to_numpy(a), to_numpy(e), rtol=0, atol=1e-14)


def test_under_no_grad_and_without_parameters_it_is_a_number():
    loss, batch, _ = problem(6)
    with tg.no_grad():
        assert not tg.in_halves(loss, *batch).requires_grad
    assert not tg.in_halves(lambda x: tg.mean(tg.tensor(x)), batch[0]).requires_grad


def test_mistakes_are_one_sentence():
    loss, (x, y), _ = problem(6)
    with pytest.raises(ValueError, match=r"arrays of \[5, 6\] examples"):
        tg.in_halves(loss, x, y[:5])
    with pytest.raises(ValueError, match="needs some, of one length"):
        tg.in_halves(loss)
    with pytest.raises(ValueError, match=r"matmul|inner sizes"):
        tg.in_halves(loss, x[:, :4], y)


@pytest.mark.host_only(reason="elsewhere the loss is computed whole, and any loss will do")
def test_a_loss_per_example_and_a_second_derivative_are_refused():
    loss, batch, params = problem(6)
    with pytest.raises(ValueError, match="in_halves: needs a scalar"):
        tg.in_halves(lambda x, y: x @ params[0], *batch)
    with pytest.raises(NotImplementedError, match="differentiated again"):
        tg.grad(tg.in_halves(loss, *batch), params, create_graph=True)


def test_jobs_inside_jobs_stay_in_their_thread():
    done = []

    def outer(jobs):
        for job in jobs:
            blocks.in_threads(lambda inner: done.extend((job, i) for i in inner), range(4), 1 << 30)
    blocks.in_threads(outer, [0, 1], 1 << 30)
    assert sorted(done) == [(job, i) for job in (0, 1) for i in range(4)]


def test_two_threads_that_share_at_once_leave_the_products_their_threads():
    count, set_count = blocks._blas_control()
    before, losses = count(), []
    set_count(2)
    most = count()                              # 1 where this BLAS cannot be asked

    def work():
        loss, batch, params = problem(50)
        for _ in range(50):
            losses.append(tg.grad(tg.in_halves(loss, *batch), params))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = count()
    set_count(before)
    assert len(losses) == 200 and after == most
