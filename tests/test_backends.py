"""The library on arrays that are not NumPy's: on the strict stand-in, and by the names CuPy offers.

    PYTHONPATH=. python tests/test_backends.py > tests/cupy_names.txt
        renews the table of names (where CuPy is installed; it needs no GPU)
"""
import ast
import copy
import importlib
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from strict import OFFERED, StrictArray, launches, strict_numpy
from tinygen.engine import backend
from tinygen.engine.elementwise import multiply
from tinygen.engine.tensor import Tensor, tensor

TESTS = Path(__file__).parent
ROOT = TESTS.parent
MODULES = ["", "linalg", "random", "lib.stride_tricks"]
pytestmark = pytest.mark.host_only(reason="compares the stand-in with NumPy")


# --- the whole library on the stand-in ------------------------------------------------------------

ON_ARRAYS = ["engine", "nn", "models", "benchmarks", "test_optim.py", "test_distributions.py",
             "test_training.py", "test_evaluation.py"]


@pytest.mark.job("-m", "pytest", "--backend", "strict", "-q", "-x", "-p", "no:cacheprovider",
                 "-m", "not once", *(str(TESTS / name) for name in ON_ARRAYS), long=True)
def test_the_tests_of_engine_nn_and_models_pass_on_the_stand_in(job):
    assert job.returncode == 0, job.stdout[-4000:]


# --- the stand-in refuses what CuPy refuses -------------------------------------------------------

@pytest.fixture
def x():
    return strict_numpy.asarray(np.arange(6, dtype="float32").reshape(2, 3))


PLAIN = np.ones((2, 3), dtype="float32")
ROW = np.array([0, 1])
REFUSED = {
    "x + plain": lambda x: x + PLAIN,
    "plain + x": lambda x: PLAIN + x,
    "x @ plain": lambda x: x @ PLAIN.T,
    "x < plain": lambda x: x < PLAIN,
    "plain == x": lambda x: PLAIN == x,
    "x += plain": lambda x: x.__iadd__(PLAIN),
    "x + list": lambda x: x + [1, 2, 3],
    "x[plain]": lambda x: x[ROW],
    "x[:, plain]": lambda x: x[:, ROW],
    "x[0] = plain": lambda x: x.__setitem__(0, PLAIN[0]),
    "x[plain] = 0": lambda x: x.__setitem__(ROW, 0),
    "plain[x]": lambda x: PLAIN[x.astype("int64")],
    "plain[...] = x": lambda x: PLAIN.copy().__setitem__(Ellipsis, x),
    "exp(plain)": lambda x: strict_numpy.exp(PLAIN),
    "sum(plain)": lambda x: strict_numpy.sum(PLAIN),
    "sum(list)": lambda x: strict_numpy.sum([1, 2]),
    "exp(list)": lambda x: strict_numpy.exp([1.0]),
    "maximum(x, plain)": lambda x: strict_numpy.maximum(x, PLAIN),
    "where(plain, x, x)": lambda x: strict_numpy.where(PLAIN > 0, x, x),
    "concatenate([x, plain])": lambda x: strict_numpy.concatenate([x, PLAIN]),
    "exp(x, out=plain)": lambda x: strict_numpy.exp(x, out=PLAIN.copy()),
    "add.at(x, plain, 1)": lambda x: strict_numpy.add.at(x, ROW, 1.0),
    "linalg.norm(plain)": lambda x: strict_numpy.linalg.norm(PLAIN),
    "x.dot(plain)": lambda x: x.dot(PLAIN.T),
    "x.take(plain)": lambda x: x.take(ROW),
    "numpy.exp(x)": lambda x: np.exp(x),
    "numpy.concatenate([x])": lambda x: np.concatenate([x, x]),
    "numpy.asarray(x)": lambda x: np.asarray(x),
    "sum(x, where=x)": lambda x: strict_numpy.sum(x, where=x > 0),
    "x.sum(initial=0)": lambda x: x.sum(initial=0),
    "exp(x, where=x)": lambda x: strict_numpy.exp(x, where=x > 0),
    "add.at of int64": lambda x: strict_numpy.add.at(x.astype("int64"), 0, 1),
    "range(x[0, 0])": lambda x: range(x[0, 0]),
    "hash(x)": hash,
}


@pytest.mark.parametrize("mix", REFUSED)
def test_refuses(mix, x):
    with pytest.raises(TypeError):
        REFUSED[mix](x)


@pytest.mark.parametrize("name", ["block", "errstate", "nditer", "insert", "float128", "asnumpi"])
def test_has_no_name_that_cupy_has_not(name):
    with pytest.raises(AttributeError, match=name):
        getattr(strict_numpy, name)


def test_arrays_offer_only_what_cupys_offer(x):
    own = {name for name in vars(StrictArray) if not name.startswith("_")} - {"host"}
    assert own <= {name.removeprefix("ndarray.") for name in OFFERED}
    for name in ("setflags", "resize", "ctypes", "requires_grad"):
        assert not hasattr(x, name)
    assert not hasattr(x.flags, "writeable") and not isinstance(x, np.ndarray)


# --- and computes what NumPy computes -------------------------------------------------------------

def same(ours, numpys):
    return isinstance(ours, StrictArray) and ours.dtype == numpys.dtype \
        and np.array_equal(ours.get(), numpys)


def test_operators_compute_as_numpys(x):
    a = x.get()
    assert same(2 * x - x / 3 + x ** 2, 2 * a - a / 3 + a ** 2)
    assert same(np.float32(2) - x, 2 - a) and same(-abs(x) @ x.T, -a @ a.T)
    assert same((x > 1) & ~(x == 4), (a > 1) & (a != 4)) and same(x // 2 % 2, a // 2 % 2)
    x += 1
    x[0] *= x[1]
    x[x > 9] = 0
    a += 1
    a[0] *= a[1]
    a[a > 9] = 0
    assert same(x, a)


def test_functions_and_methods_compute_as_numpys(x):
    xp, a = strict_numpy, x.get()
    assert same(xp.concatenate([x, x], axis=1), np.concatenate([a, a], axis=1))
    assert same(xp.where(x > 2, x, 0), np.where(a > 2, a, 0))
    assert same(x.sum(axis=0).reshape(3, 1).astype("int64"), a.sum(0).reshape(3, 1).astype("int64"))
    assert same(xp.lib.stride_tricks.sliding_window_view(x, 2, axis=1)[..., 0], a[:, :2])
    assert same(xp.linalg.slogdet(x[:, :2])[1], np.linalg.slogdet(a[:, :2])[1])
    assert same(xp.ogrid[:2, :3][1] + x, np.ogrid[:2, :3][1] + a)
    out, index = xp.zeros(2), xp.asarray([0, 0])
    xp.add.at(out, index, xp.ones(2))
    assert same(out, np.array([2.0, 0.0]))
    assert xp.float32 is np.float32 and xp.newaxis is None and xp.ndarray is StrictArray
    assert same(copy.deepcopy(x), a) and xp.asarray(x) is x and xp.array(x) is not x


def test_one_element_is_an_array_of_no_axes(x):
    assert x.sum().shape == () == x[0, 1].shape == strict_numpy.max(x).shape
    assert (float(x[0, 1]), int(x[1, 1]), bool(x[0, 0]), x[1, 2].item()) == (1.0, 4, False, 5.0)
    assert [type(row) for row in x] == [StrictArray] * 2 and f"{x[0, 1]:.1f}" == "1.0"
    one = x[0, 1]
    one += 9                            # as in CuPy it is a view
    assert float(x[0, 1]) == 10
    assert (x.base is None) and (x[0].base is not None) and (x + 1).base is None


def test_counts_what_a_gpu_would_launch(x):
    launches.clear()
    strict_numpy.exp(x.T[0].reshape(2, 1)) + 1
    x += x.sum()
    x[0] = 0
    strict_numpy.exp(strict_numpy.split(x, 2)[0], out=x[:1])
    assert launches == {"exp": 2, "add": 2, "sum": 1, "setitem": 1}


@pytest.fixture
def on_the_stand_in():
    backend.use(strict_numpy)
    yield
    backend.use("numpy")


def test_an_array_leaves_a_tensor_its_turn(on_the_stand_in, x):
    W = tensor(x, requires_grad=True)
    for y in (x * W, W * x, x - W, W / (x + 1), np.float32(2) * W, x == W):
        assert isinstance(y, StrictArray if y.dtype == bool else Tensor)
    assert (x * W).op is multiply
    with pytest.raises(TypeError, match="multiply: Unsupported type"):
        W * PLAIN


# --- the names of CuPy ----------------------------------------------------------------------------

def used_names():
    """{"linalg.inv": "tinygen/...:12", ...}: every xp.NAME that the library reads, and where."""
    used = {}
    for path in sorted((ROOT / "tinygen").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            xp, *name = _attributes(node)
            if xp == "xp" and isinstance(node.ctx, ast.Load) and not name[0].startswith("__"):
                used[".".join(name)] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return used


def _attributes(node):
    """["xp", "linalg", "inv"] for the expression xp.linalg.inv, [""] for any other."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) and parts else [""]


def test_every_name_of_xp_exists_in_cupy():
    missing = {name: where for name, where in used_names().items() if not _offered(name)}
    assert not missing, f"CuPy has no {missing}"


def _offered(name):
    """linalg.inv: itself;   linalg: as the module of others;   add.at: as a method of add"""
    return name in OFFERED or any(n.startswith(name + ".") for n in OFFERED) \
        or name.rpartition(".")[0] in OFFERED


def test_every_name_of_xp_exists_in_the_cupy_installed_here():
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    assert not [name for name in used_names() if not _exists(cupy, name)]
    assert not [name for name in OFFERED if not _exists(cupy, name)], "renew tests/cupy_names.txt"
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, Exception)    # see device_errors


def _exists(module, path):
    try:
        return _find(module, path) is not _find
    except AttributeError:
        return False


def _find(module, path):
    for part in path.split("."):
        module = getattr(module, part)
    return module


# --- the table of names ---------------------------------------------------------------------------

def cupy_names():
    """{name: its parameters} for all that the library may use of the CuPy installed here."""
    names, owners = {}, {m: importlib.import_module(f"cupy.{m}".rstrip(".")) for m in MODULES}
    for prefix, owner in {"ndarray": owners[""].ndarray, **owners}.items():
        for name in dir(owner):
            value = getattr(owner, name, None)
            if not name.startswith("_") and not inspect.ismodule(value):
                names[f"{prefix}.{name}".lstrip(".")] = _parameters(value)
    return names


def _parameters(f):
    """What f takes as keywords; `*` for any, or where it does not say."""
    if type(f).__name__ == "ufunc":
        return ["out", "dtype", "casting"]
    if not callable(f) or isinstance(f, type):
        return []
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return _documented(f)
    return ["*" if p.kind == p.VAR_KEYWORD else p.name for p in parameters
            if p.kind != p.VAR_POSITIONAL]


def _documented(f):
    """The parameters of a compiled method, from the first line of its docstring."""
    told = re.match(r"\w+\.\w+\(self,? ?(.*?)\)( ->|$)", (f.__doc__ or "").split("\n")[0])
    found = [p.split("=")[0].split()[-1] for p in told[1].split(", ") if p] if told else ["*"]
    return [p for p in found if p == "*" or not p.startswith("*")]


if __name__ == "__main__":
    table = cupy_names()
    print(f"# CuPy {sys.modules['cupy'].__version__}, by tests/test_backends.py: "
          "a name, then its parameters (* for any)")
    for name, parameters in table.items():
        print(name, *parameters)
