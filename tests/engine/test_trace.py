"""The graph as text and as a drawing, and debug mode: each mistake is caught, right code is not."""
import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygen.engine import backend, tensor as engine, trace as tracing
from tinygen.engine.backend import to_numpy, xp
from tinygen.engine.elementwise import exp, log, multiply, sqrt, tanh, where
from tinygen.engine.reductions import softmax, sum
from tinygen.engine.backward import grad
from tinygen.engine.tensor import no_grad, tensor
from tinygen.engine.trace import debug, trace

ROOT = Path(__file__).parents[2]
locks = pytest.mark.host_only(reason="only NumPy's arrays can be locked")


@pytest.fixture(autouse=True)
def off_at_first(monkeypatch):
    """Whatever TINYGEN_DEBUG says."""
    monkeypatch.setattr(engine, "watch", None)
    monkeypatch.setattr(engine, "watch_gradient", None)


def leaf(*shape):
    return tensor(backend.normal(shape), requires_grad=True)


def line_here():
    return f"test_trace.py:{inspect.currentframe().f_back.f_lineno}"


def network():
    x, W, b = tensor(backend.normal((4, 2))), leaf(2), leaf(2)
    h = tanh(x * W + b)
    return x, W, b, h, sum(h * h)


# --- trace ----------------------------------------------------------------------------------------

def test_a_row_per_tensor_in_birth_order():
    x, W, b, h, y = network()
    rows = trace(y, {"x": x, "W": W, "h": h}).rows
    assert [r.name for r in rows] == ["x", "W", "",
                                      "multiply", "add", "h = tanh", "multiply", "sum"]
    assert [r.inputs for r in rows] == [(), (), (), (0, 1), (3, 2), (4,), (5, 5), (6,)]
    assert rows[4].shapes == ((4, 2), (2,)) and rows[4].shape == (4, 2)
    assert all(r.dtype == "float32" for r in rows)


def test_gradient_norms_are_those_of_backward():
    x, W, b, h, y = network()
    rows = trace(y).rows
    assert W.grad is None and rows[0].gradient is None
    y.backward()                        # trace kept the graph
    for row, t in ((rows[1], W), (rows[2], b)):
        assert row.gradient == pytest.approx(np.linalg.norm(to_numpy(t.grad)), rel=1e-5)
    assert rows[-1].gradient == 1


def test_the_table_lines_up_and_tells_all():
    lines = str(trace(network()[-1])).splitlines()
    assert lines[0].split() == ["#", "op", "from", "shapes", "dtype", "|gradient|"]
    assert lines[5].split()[:4] == ["4", "add", "3", "2"] and "(4, 2) (2,) -> (4, 2)" in lines[5]
    assert len({line.index("float32") for line in lines[1:]}) == 1


def test_numbers_and_lone_leaves_are_traced():
    assert [r.name for r in trace(leaf(3) * 2.0 + 1.0).rows] == ["", "multiply", "add"]
    assert str(trace(leaf(3))).splitlines()[1].split()[1:3] == ["leaf", "(3,)"]


def test_drawing_has_a_box_per_row_inputs_to_the_left():
    import matplotlib.pyplot as plt
    x, W, b, h, y = network()
    t = trace(y, {"b": b})
    ax = t.draw()
    at = [box.get_position() for box in ax.texts]
    assert len(set(at)) == len(t.rows) and len(ax.lines) == 8
    assert all(at[i][0] > at[j][0] for i, row in enumerate(t.rows) for j in row.inputs)
    assert "b\n(2,)" in [box.get_text() for box in ax.texts]
    assert t.draw(ax) is ax
    plt.close(ax.figure)


def test_trace_says_what_it_cannot_do():
    y = sum(leaf(3))
    y.backward()
    with pytest.raises(RuntimeError, match="^this graph was used and freed"):
        trace(y)
    with pytest.raises(TypeError, match="^trace: needs a Tensor, got float"):
        trace(1.0)


# --- debug: NaN and infinity ----------------------------------------------------------------------

@pytest.fixture
def quiet():
    with np.errstate(all="ignore"):     # NumPy's own warnings come before ours
        yield


def test_names_the_first_op_that_makes_an_infinity(quiet):
    x = tensor([2.0, 0.0, 1.0], requires_grad=True)
    with debug(), pytest.raises(FloatingPointError) as error:
        line = line_here(); sum(exp(log(x)))
    told = str(error.value)
    assert told.startswith("log: made -inf at ") and told.endswith("; given (3,) from 0 to 2")
    assert line in told


def test_names_an_op_that_makes_a_nan_or_is_given_one(quiet):
    x = tensor([0.0, 1.0], requires_grad=True)
    with debug():
        with pytest.raises(FloatingPointError, match="^sqrt: made nan at"):
            sqrt(x - 1.0)
        with pytest.raises(FloatingPointError, match="^multiply: was given nan as argument 1"):
            x * xp.asarray([np.nan, 0.0], dtype="float32")
        with pytest.raises(FloatingPointError, match="^add: was given nan as argument 1"):
            x + float("nan")


def test_names_the_op_whose_gradient_is_the_first_infinite(quiet):
    x = tensor([0.0, 1.0], requires_grad=True)
    for create_graph in (False, True):
        with debug():
            y = sum(3.0 * sqrt(tanh(x))); line = line_here()
            with pytest.raises(FloatingPointError, match="backward made inf") as error:
                grad(y, x) if not create_graph else y.backward()
        assert str(error.value).startswith("sqrt: ") and line in str(error.value)
        assert "argument 0, shape (2,)" in str(error.value)


def test_a_mask_of_minus_infinity_is_no_mistake():
    scores, mask = leaf(2, 3), xp.asarray([[True, False, True], [True, True, True]])
    with debug():
        y = softmax(where(mask, scores, -float("inf")))
        sum(y * y).backward()
    assert float(y.data[0, 1]) == 0 == float(scores.grad[0, 1])


def test_integers_and_settings_are_no_mistake():
    x = leaf(3)
    with debug():
        x.astype("float64")[xp.asarray([0, 2])].reshape(2, 1).sum(axis=0).backward()


# --- debug: (N, 1) and (N,) -----------------------------------------------------------------------

def test_warns_where_a_column_meets_a_vector():
    column, vector = leaf(5, 1), leaf(5)
    with debug(), pytest.warns(RuntimeWarning, match=r"^subtract: \(5, 1\) met \(5,\)") as caught:
        column - vector
    assert caught[0].filename == __file__


def test_a_wanted_outer_shape_does_not_warn():
    x = leaf(5)
    with debug():
        x[:, None] - x[None, :]
        leaf(5, 1) * leaf(1)
        leaf(4, 5) + x


# --- debug: locks ---------------------------------------------------------------------------------

@locks
def test_editing_what_backward_needs_fails_at_that_line():
    W, x = leaf(3), np.ones(3, "float32")
    with debug():
        h = W * x
        y = sum(exp(h))
        for array in (W.data, x, h.data):
            with pytest.raises(ValueError, match="read-only"):
                array += 1
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
        y.backward()
        for array in (W.data, x, h.data):
            array += 1


@locks
def test_arrays_are_free_again_when_the_graph_is_gone_or_the_block_is_left():
    W, view = leaf(3), leaf(4)
    with debug():
        y = W * 2.0
        z = sum(view.reshape(2, 2) * 3.0)
        del y
        W.data += 1
        y = W * 2.0
    W.data += 1
    view.data += 1
    z.args[0].data[...] = 0
    assert not tracing._records and not tracing._locked and engine.watch is None


@locks
def test_a_view_is_free_again_with_what_it_views():
    W = leaf(4)
    with debug():
        view = W.reshape(2, 2)
        y, kept = sum(view * view), sum(W * W)
        y.backward()
        view.data[0] = 1
        W.data += 1
    assert kept.requires_grad


@locks
def test_an_array_that_was_read_only_stays_so():
    W, x = leaf(3), np.ones(3, "float32")
    x.flags.writeable = False
    with debug():
        sum(W * x).backward()
    assert not x.flags.writeable


def test_a_training_loop_runs_as_without():
    def train():
        backend.seed(1)
        W, seen = leaf(3), []
        for _ in range(4):
            x = tensor(backend.normal((5, 3)))
            y = sum(tanh(x * W) ** 2)
            kept = sum(W * W)           # never used for backward, still alive at the next step
            y.backward()
            W.data -= 0.1 * W.grad
            W.grad = None
            seen.append(y.item())
        return seen, kept

    with debug():
        watched, _ = train()
    assert watched == train()[0] and watched[3] < watched[0]


def test_a_gradient_penalty_trains():
    """The graph of d is not reached by the last backward, and d is still alive at the step."""
    W, x = leaf(3), leaf(3)
    with debug():
        for _ in range(3):
            d = sum(tanh(x * W))
            slope = grad(d, x, create_graph=True)
            sum((slope - 1.0) ** 2).backward()
            W.data -= 0.1 * W.grad
            W.grad = x.grad = None


def test_leaves_nothing_behind():
    with debug():
        for _ in range(3):
            network()[-1].backward()
        gc.collect()
        assert not tracing._records and not tracing._locked


def test_blocks_nest_and_off_means_off():
    with debug():
        with debug():
            pass
        assert engine.watch is tracing._watch
        with no_grad():
            multiply(leaf(2), 1.0)
    assert engine.watch is None and engine.watch_gradient is None


@pytest.mark.host_only(reason="starts a process of its own")
def test_the_environment_switches_it_on(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("from tinygen.engine import elementwise, tensor, trace\n"
                      "x = tensor.tensor([1.0, 0.0], requires_grad=True)\n"
                      "elementwise.log(x)\n")
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True,
                          cwd=tmp_path, env={**os.environ, "TINYGEN_DEBUG": "1",
                                             "PYTHONPATH": str(ROOT)})
    assert done.stderr.strip().endswith(
        "FloatingPointError: log: made -inf at train.py:3; given (2,) from 0 to 1")
