"""What every test shares: the backend under test, and the same random numbers each time.

    python -m pytest                      on NumPy, and engine, nn and models on the stand-in too
    python -m pytest --backend strict     on the stand-in that behaves as CuPy (strict.py)
    python -m pytest --backend cupy       on a GPU, as TINYGEN_BACKEND=cupy does
"""
import gc
import os

# Before NumPy is loaded: two runs share the cores, and BLAS threads that wait for one spin on it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest  # noqa: E402

import tinygen as tg  # noqa: E402
from jobs import Jobs  # noqa: E402
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
    items.sort(key=lambda item: "job" in item.fixturenames)     # they wait, so they come last


def pytest_collection_finish(session):
    jobs = session.config.jobs = Jobs()
    items = [i for i in session.items if i.get_closest_marker("job")
             and not i.get_closest_marker("skip")]
    for item in sorted(items, key=lambda i: not i.get_closest_marker("job").kwargs.get("long")):
        jobs.add(item.nodeid, item.get_closest_marker("job").args)


def pytest_runtest_teardown(item):
    item.config.jobs.go_on()


def pytest_unconfigure(config):
    if hasattr(config, "jobs"):
        config.jobs.stop()


@pytest.fixture
def job(request):
    """How the program of the test's mark ended (jobs.py)."""
    return request.config.jobs.result(request.node.nodeid)


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
