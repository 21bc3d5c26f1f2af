"""What every test shares: the backend under test, and the same random numbers each time.

    python -m pytest                      on NumPy, and engine, nn and models on the stand-in too
    python -m pytest --backend strict     on the stand-in that behaves as CuPy (strict.py)
    python -m pytest --backend cupy       on a GPU, as TINYGEN_BACKEND=cupy does
"""
import gc
import os

import pytest

import tinygen as tg
from strict import strict_numpy
from tinygen.engine import backend
from tinygen.exercises import EXERCISES

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
