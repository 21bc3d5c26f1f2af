"""Minibatches: every example once, aligned, repeatable, resumable; bad data refused at once."""
import json
import tracemalloc

import numpy as np
import pytest

from tinygen.datasets.batches import Endless


def rng(seed=0):
    return np.random.default_rng(seed)


X = np.arange(10, dtype=np.float32)[:, None] * [1, 10]
LABELS = np.arange(10, dtype=np.uint8)


def test_dtype_is_kept_and_batches_are_copies():
    images = np.zeros((10, 2, 2), np.uint8)
    for batch in drawn(Endless(images, 4, rng()), 2):
        assert batch.dtype == np.uint8 and batch.shape[1:] == (2, 2)
        batch += 1
    assert not images.any()
    assert next(Endless(X.astype(np.float32), 4, rng())).dtype == np.float32


def noisy(x, r):
    return x + r.random(x.shape)


def test_transform_is_for_the_first_array():
    for x, labels in drawn(Endless(X, 4, rng(), LABELS, transform=noisy), 2):
        assert ((0 < x - X[labels]) & (x - X[labels] < 1)).all()


def drawn(stream, n):
    return [next(stream) for _ in range(n)]


def equal(a, b):
    return all(np.array_equal(x, y) for p, q in zip(a, b, strict=True)
               for x, y in zip(p, q, strict=True))


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 5, 9])  # 3 batches a pass: inside and at its ends
def test_resumed_equals_uninterrupted(stop):
    whole = drawn(Endless(X, 3, rng(0), LABELS, transform=noisy), 12)
    first = Endless(X, 3, rng(0), LABELS, transform=noisy)
    head = drawn(first, stop)
    saved = json.loads(json.dumps(first.state()))
    second = Endless(X, 3, rng(99), LABELS, transform=noisy)
    drawn(second, 2)
    second.load_state(saved)
    assert equal(whole, head + drawn(second, 12 - stop))
    assert second.step == 12


def test_going_back_repeats():
    stream = Endless(X, 3, rng(0), LABELS)
    drawn(stream, 2)
    saved = stream.state()
    after = drawn(stream, 7)
    stream.load_state({key: np.int64(value) for key, value in saved.items()})  # as .npz gives it
    assert equal(after, drawn(stream, 7))


def test_arrays_stay_aligned():
    for x, labels in drawn(Endless(X, 4, rng(), LABELS), 5):
        assert len(x) == 4 and np.array_equal(x[:, 1], 10 * labels)


def test_endless_passes_are_new_orders_of_full_batches():
    stream = Endless(LABELS, 5, rng(0))
    passes = [np.concatenate(drawn(stream, 2)) for _ in range(20)]
    assert all(sorted(p) == list(range(10)) for p in passes)
    assert len({tuple(p) for p in passes}) == 20
    assert all(len(batch) == 4 for batch in drawn(Endless(LABELS, 4, rng(0)), 9))


def test_endless_differs_between_seeds_and_does_not_touch_the_callers_rng_again():
    r = rng(0)
    stream = Endless(X, 3, r, transform=noisy)
    before = r.bit_generator.state
    a = drawn(stream, 6)
    assert r.bit_generator.state == before
    assert not np.array_equal(a, drawn(Endless(X, 3, rng(1), transform=noisy), 6))
    assert not np.array_equal(a, drawn(Endless(X, 3, r, transform=noisy), 6))


def test_transform_noise_is_new_at_each_step():
    stream = Endless(np.zeros((4, 1)), 4, rng(0), transform=noisy)
    assert len({float(x) for batch in drawn(stream, 25) for x in batch[:, 0]}) == 100


def test_every_example_is_equally_likely():
    count = np.zeros(10)
    for batch in drawn(Endless(LABELS, 3, rng(0)), 3 * 1000):
        count[batch] += 1
    assert (abs(count - 900) < 4 * np.sqrt(1000 * .9 * .1)).all()


@pytest.mark.parametrize("change, says", [
    ({"examples": 11}, "saved with examples 11, here it is 10"),
    ({"batch_size": 4}, "saved with batch_size 4, here it is 3"),
    ({"extra": 1}, "load_state: keys")])
def test_state_of_another_run_is_refused(change, says):
    stream = Endless(X, 3, rng(0))
    with pytest.raises(ValueError, match=says):
        stream.load_state({**stream.state(), **change})
    with pytest.raises(ValueError, match="load_state: keys"):
        stream.load_state({"seed": 1})
    assert stream.step == 0


BAD = np.zeros((6, 3), np.float32)
BAD[4, 1] = np.nan


@pytest.mark.parametrize("args, error, says", [
    ((X, 0, rng()), ValueError, "batch_size is 0"),
    ((X, -1, rng()), ValueError, "batch_size is -1"),
    ((X, 2.0, rng()), ValueError, "batch_size is 2.0"),
    ((X, 2, rng(), LABELS[:9]), ValueError, r"\(10, 2\), \(9,\); needed the same number"),
    ((X, 2, rng(), 3), ValueError, r"shapes \(10, 2\), \(\)"),
    ((X[:0], 2, rng()), ValueError, "no examples"),
    ((BAD, 2, rng()), ValueError, r"data of shape \(6, 3\) have nan at \(4, 1\)"),
    ((np.array([1, np.inf]), 1, rng()), ValueError, r"inf at \(1,\)"),
    ((np.array([-np.inf, 1]), 1, rng()), ValueError, r"-inf at \(0,\)"),
    ((np.zeros(6), 2, rng(), BAD), ValueError, "nan"),
    ((["a", "b"], 1, rng()), TypeError, "data are <U1"),
    ((X, 2, 0), TypeError, "rng is 0; needed a generator"),
    ((X, 2, None), TypeError, "rng is None")])
def test_mistakes_raise_at_the_call(args, error, says):
    with pytest.raises(error, match=says):
        Endless(*args)


def test_a_batch_that_never_fills_is_refused():
    with pytest.raises(ValueError, match="batch_size 11 of 10 examples never fills"):
        Endless(X, 11, rng())


def test_checking_and_batching_make_no_copy_of_the_data():
    x = np.ones((4000, 250), np.float32)  # 4 MB
    tracemalloc.start()
    next(Endless(x, 10, rng()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000, peak
