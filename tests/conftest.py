"""What every test shares: the backend under test, and the same random numbers each time.

    python -m pytest                      on NumPy, and engine, nn and models on the stand-in too
    python -m pytest --backend strict     on the stand-in that behaves as CuPy (strict.py)
    python -m pytest --backend cupy       on a GPU, as TINYGEN_BACKEND=cupy does
"""
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Before NumPy is loaded: two runs share the cores, and BLAS threads that wait for one spin on it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest  # noqa: E402

import tinygen as tg  # noqa: E402
from strict import strict_numpy  # noqa: E402
from tinygen.engine import backend  # noqa: E402
from tinygen.exercises import EXERCISES  # noqa: E402

os.environ["MPLBACKEND"] = "Agg"        # draw without a screen; lessons run as processes inherit it


def pytest_addoption(parser):
    parser.addoption("--backend", choices=["numpy", "strict", "cupy"],
                     default=os.environ.get("TINYGEN_BACKEND", "numpy"))


def pytest_configure(config):
    name = config.getoption("--backend")
    backend.use(strict_numpy if name == "strict" else name)
    for exercise in EXERCISES.values():
        number = exercise.name.split("_")[0]
        config.addinivalue_line("markers", f"{number}: your answer to it: {exercise.title}")


def pytest_collection_modifyitems(config, items):
    name = config.getoption("--backend")
    for item in items:
        mark = item.get_closest_marker("host_only")
        if mark and name != "numpy":
            reason = mark.kwargs.get("reason", "needs NumPy itself")
            item.add_marker(pytest.mark.skip(reason=f"{name} backend: {reason}"))


ON_ARRAYS = ["engine", "nn", "models", "benchmarks", "test_optim.py", "test_distributions.py",
             "test_training.py", "test_evaluation.py"]
LONG = "comes_near or learns or learning or two_stages or closes_in"   # they train: once is enough
SECOND_RUN = "test_the_tests_of_engine_nn_and_models_pass_on_the_stand_in"


def pytest_collection_finish(session):
    """Starts the second run, on the stand-in: it takes the other core while this one goes on."""
    if any(item.name == SECOND_RUN for item in session.items):
        output = tempfile.TemporaryFile("w+")
        there = (str(Path(__file__).parent / name) for name in ON_ARRAYS)
        command = [sys.executable, "-m", "pytest", "--backend", "strict", "-q", "-x", "-p",
                   "no:cacheprovider", "-k", f"not ({LONG})", *there]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=output,
                                   stderr=subprocess.STDOUT)
        session.config.stand_in_run = process, output


@pytest.fixture
def stand_in_run(request):
    return request.config.stand_in_run


def pytest_unconfigure(config):
    process, output = getattr(config, "stand_in_run", (None, None))
    if process:
        process.kill()                          # only still there if this run was cut off
        process.wait()
        output.close()


@pytest.fixture(autouse=True)
def same_random_numbers():
    backend.seed(0)


@pytest.fixture
def count_tensors():
    """How many Tensors are alive; what only the garbage collector could free is a leak."""
    gc.collect()
    gc.disable()
    yield lambda: sum(isinstance(o, tg.Tensor) for o in gc.get_objects())
    gc.enable()
