"""The functions where backends differ: choosing one, host copies, scatter_add, random numbers."""
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.engine import backend
from tinygen.engine.backend import scatter_add, xp

ROOT = Path(__file__).parents[2]


def values(x):
    return tg.to_numpy(x).tolist()


# --- use ------------------------------------------------------------------------------------------

@pytest.fixture
def chosen_again():
    before = xp.module
    yield
    tg.use(before)


def test_a_name_of_xp_is_looked_up_once(chosen_again):
    asked = []

    class Module(types.ModuleType):
        def __getattr__(self, name):
            if not name.startswith("_"):
                asked.append(name)
            return getattr(np, name)

    tg.use(Module("counted"))
    assert xp.tanh(0.0) == xp.tanh(0.0) == 0 and asked.count("tanh") == 1
    tg.use("numpy")
    assert xp.tanh is np.tanh
    with pytest.raises(AttributeError, match="no_such_name"):
        xp.no_such_name


def test_use_starts_the_random_numbers(chosen_again):
    tg.use(xp.module)
    first = values(backend.normal(3))
    tg.use(xp.module)
    assert values(backend.normal(3)) == first


@pytest.mark.parametrize("broken, reason", [
    (ImportError("No module named 'cupy'"), "No module named 'cupy'"),
    (RuntimeError("cudaErrorNoDevice: no CUDA device\nand much more"), "no CUDA device"),
    (OSError(""), "OSError")])
def test_without_a_gpu_cupy_is_refused_in_one_sentence(monkeypatch, broken, reason):
    def fail(*args):
        raise broken

    before = xp.module
    monkeypatch.setattr(backend.importlib, "import_module", fail)
    with pytest.raises(RuntimeError) as error:
        tg.use("cupy")
    told = str(error.value)
    assert told.startswith("use: the cupy backend cannot start (") and f"{reason})" in told
    assert "pip install cupy-cuda12x" in told and "\n" not in told
    assert xp.module is before and values(xp.ones(2)) == [1, 1]


def test_an_unknown_backend_is_refused():
    before = xp.module
    with pytest.raises(ValueError, match="^use: no backend is called 'torch'; choose 'numpy' or "):
        tg.use("torch")
    assert xp.module is before


@pytest.mark.host_only(reason="starts processes of its own")
@pytest.mark.parametrize("name, told", [("numpy", "numpy [2.0]"), ("", "numpy [2.0]"),
                                        ("jax", "use: no backend is called 'jax'; choose")])
def test_the_environment_chooses(name, told):
    script = "import tinygen as tg\ny = tg.tensor([1.0]) * 2.0\n" \
             "print(tg.engine.backend.xp.__name__, tg.to_numpy(y).tolist())"
    environment = {**os.environ, "TINYGEN_BACKEND": name}
    if not name:
        del environment["TINYGEN_BACKEND"]
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment,
                          capture_output=True, text=True)
    assert told in done.stdout + done.stderr


# --- host copies and scatter_add ------------------------------------------------------------------

def test_to_numpy_takes_tensors_arrays_and_numbers():
    a = np.array([[1.0, 2.0]], dtype="float32")
    for x in (xp.asarray(a), tg.tensor(a), tg.tensor(a, requires_grad=True) * 1.0, a, a.tolist()):
        host = tg.to_numpy(x)
        assert isinstance(host, np.ndarray) and np.array_equal(host, a)
    assert tg.to_numpy(2.5) == 2.5 and tg.to_numpy(tg.sum(tg.tensor(a))).shape == ()


INDICES = [slice(1, 3), 0, -1, ..., (slice(None), 1), [0, 0, 2], np.array([[1, 1], [3, 1]]),
           (np.array([0, 0, 1]), np.array([2, 2, 2])), ([0, 0], [1, 1]), np.array(2), (None, 1),
           np.array([True, False, True, True]), (np.array([0, 0]), slice(None, None, 2)), [-1, 3],
           np.array([0, 2, 0], dtype="uint8"), [True, False, True, True]]


def on_backend(index):
    if isinstance(index, tuple):
        return tuple(map(on_backend, index))
    return xp.asarray(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=lambda index: str(index).replace(" ", ""))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scatter_add_adds_up_what_meets(index, dtype):
    start = np.arange(12.0).reshape(4, 3)
    g = np.random.default_rng(0).normal(size=start[index].shape)
    places = np.arange(12).reshape(4, 3)[index]
    wanted = start.copy()
    for place, value in zip(places.reshape(-1), g.reshape(-1)):
        wanted.reshape(-1)[place] += value
    out = xp.asarray(start, dtype=dtype)
    assert scatter_add(out, on_backend(index), xp.asarray(g, dtype=dtype)) is None
    np.testing.assert_allclose(tg.to_numpy(out), wanted, rtol=1e-6)
    assert out.dtype == dtype


# --- random numbers -------------------------------------------------------------------------------

DRAWS = {"normal": lambda: backend.normal((2, 3)), "uniform": lambda: backend.uniform(5),
         "float64": lambda: backend.normal((3,), "float64"),
         "host": lambda: backend.host_rng().random(3)}


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_repeats_the_numbers(name):
    tg.seed(5)
    first, second = values(DRAWS[name]()), values(DRAWS[name]())
    tg.seed(5)
    assert values(DRAWS[name]()) == first != second == values(DRAWS[name]())
    tg.seed(6)
    assert values(DRAWS[name]()) != first


@pytest.mark.host_only(reason="starts processes of its own")
def test_the_first_seed_of_a_process_counts():
    script = "import tinygen as tg\ntg.seed(6)\nprint(tg.engine.backend.host_rng().random())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "TINYGEN_BACKEND": "numpy"})
    assert done.stdout.strip() == str(np.random.default_rng(6).random()), done.stderr


def test_numbers_have_the_asked_shape_and_distribution():
    for draw, mean, var in ((backend.normal, 0, 1), (backend.uniform, 0.5, 1 / 12)):
        for dtype in ("float32", "float64", np.dtype("float32")):
            x = draw((100, 100), dtype)
            assert isinstance(x, xp.ndarray) and x.shape == (100, 100) and x.dtype == dtype
            host = tg.to_numpy(x).astype("float64")
            assert abs(host.mean() - mean) < 0.05 and abs(host.var() - var) < 0.05
    u = backend.uniform((1000,))
    assert 0 <= float(u.min()) and float(u.max()) < 1
    assert backend.uniform(()).shape == () and backend.normal((0, 2)).shape == (0, 2)


def test_a_state_is_text_and_brings_the_numbers_back():
    tg.seed(3)
    backend.uniform(3)                  # float32 draws leave half a word behind, which is state too
    state = backend.random_state()
    assert json.loads(state) and isinstance(state, str)
    first = [values(draw()) for draw in DRAWS.values()]
    tg.seed(99)
    backend.set_random_state(state)
    assert [values(draw()) for draw in DRAWS.values()] == first


def test_dropout_and_layers_follow_the_seed():
    def run():
        tg.seed(4)
        net = tg.nn.Linear(3, 2)
        return values(tg.dropout(net(tg.tensor(np.ones((2, 3), "float32"))), 0.5))
    assert run() == run()
