"""The strict stand-in: NumPy behind CuPy's manners, for machines without a GPU.

`use(strict_numpy)` makes the library compute on StrictArray, a wrapper that, like CuPy's array,
refuses every mix with a plain NumPy array, is no NumPy array and is not converted into one
silently, gives 0-d arrays where NumPy gives scalars, and offers only the names, keywords and
methods that CuPy offers. So code that passes here fails on a GPU only for reasons of the GPU.

    strict_numpy.launches   Counter: how often each function made or changed an array, which on a
                            GPU is one kernel launch or more; a view launches nothing

What CuPy offers is read from cupy_names.txt: a name a line, then its parameters (`*`: any).
"""
import functools
import operator
import types
from collections import Counter
from pathlib import Path

import numpy as np

LINES = (Path(__file__).parent / "cupy_names.txt").read_text().splitlines()[1:]
OFFERED = {name: set(parameters) for name, *parameters in map(str.split, LINES)}
TRANSFERS = {"array", "asarray"}
TAKE_A_SHAPE = {"zeros", "ones", "empty", "full", "indices", "broadcast_shapes"}
SCATTERS = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}
NO_SCATTER = {"int64", "int16", "int8", "uint16", "uint8", "bool"}
NUMBERS = (bool, int, float, complex, np.generic)
launches = Counter()


def call(name, function, args, settings=None):
    """function(*args, **settings) on the arrays inside the wrappers, counted under `name`."""
    settings, known = settings or {}, OFFERED.get(name, {"*"})
    if "*" not in known and not known.issuperset(settings):
        raise TypeError(f"{name}: CuPy has no parameter {sorted(set(settings) - known)}")
    name, wrappers = name.removeprefix("ndarray."), {}
    result = function(*unwrap(args, name, wrappers), **unwrap(settings, name, wrappers))
    if name in TRANSFERS and id(result) not in wrappers:
        result = result.copy()          # the device never shares memory with the host
    if "out" in settings or not _is_view(result, wrappers):
        launches[name] += 1
    return wrap(result, wrappers)


def _is_view(result, wrappers):
    """Whether a result lies in the memory of an argument. (Of a list, the first is asked.)"""
    if isinstance(result, list) and result:
        result = result[0]
    return isinstance(result, np.ndarray) \
        and any(np.may_share_memory(result, w.host) for w in wrappers.values())


def unwrap(a, name, wrappers):
    """`a` with each StrictArray replaced by its NumPy array, looking into lists, tuples, dicts."""
    if isinstance(a, StrictArray):
        wrappers[id(a.host)] = a
        return a.host
    if isinstance(a, np.ndarray) and name not in TRANSFERS:
        raise TypeError(f"{name}: Unsupported type <class 'numpy.ndarray'> of shape {a.shape}; "
                        "xp.asarray moves it to the device")
    if isinstance(a, dict):
        return {key: unwrap(value, name, wrappers) for key, value in a.items()}
    if type(a) in (list, tuple):
        return type(a)(unwrap(value, name, wrappers) for value in a)
    return a


def wrap(a, wrappers=()):
    """Every NumPy array or scalar in `a` as a StrictArray: the one that was given, if it was."""
    if isinstance(a, np.ndarray):
        return wrappers[id(a)] if id(a) in wrappers else StrictArray(a)
    if isinstance(a, np.generic):
        return StrictArray(np.asarray(a))
    if isinstance(a, (list, tuple)):
        parts = [wrap(value, wrappers) for value in a]
        return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)
    return a


class Flags:
    """CuPy's arrays are always writeable and have these flags only."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata = flags.owndata


class StrictArray:
    """A NumPy array `host` that behaves as one on a device."""
    __slots__ = ("host", "__weakref__")
    __array_ufunc__ = None              # NumPy's functions and operators leave it alone
    __array_priority__ = 100            # CuPy's
    __hash__ = None

    def __init__(self, host):
        self.host = host

    shape = property(lambda self: self.host.shape)
    ndim = property(lambda self: self.host.ndim)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: Flags(self.host.flags))
    base = property(lambda self: wrap(self.host.base))
    T = property(lambda self: StrictArray(self.host.T))

    def get(self):
        """A copy on the host."""
        return self.host.copy()

    def __getattr__(self, name):
        """Any other method that both CuPy and NumPy have."""
        if f"ndarray.{name}" not in OFFERED or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"the stand-in for cupy.ndarray has no attribute {name!r}")
        method = getattr(np.ndarray, name)
        return lambda *args, **settings: call(f"ndarray.{name}", method, (self, *args), settings)

    def __array__(self, *args, **settings):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. "
                        "Please use `.get()` to construct a NumPy array explicitly.")

    def __getitem__(self, index):
        index = unwrap(index, "getitem", {})
        y = self.host[index]
        if isinstance(y, np.generic):   # CuPy gives a view of the one element
            y = self.host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        if y.base is None:
            launches["getitem"] += 1
        return StrictArray(y)

    def __setitem__(self, index, value):
        call("setitem", operator.setitem, (self, index, value))

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return StrictArray(self.host.copy())

    def __deepcopy__(self, memo):
        return StrictArray(self.host.copy())

    def __len__(self):
        return len(self.host)

    def __bool__(self):
        return bool(self.host)

    def __float__(self):
        return float(self.host)

    def __int__(self):
        return int(self.host)

    def __repr__(self):
        return f"Strict{self.host!r}"

    def __format__(self, spec):
        return format(self.host.item(), spec) if spec else str(self.host)


def _operands(name, args):
    """CuPy computes with its arrays and with numbers; a list is refused too."""
    for a in args:
        if not isinstance(a, (StrictArray, *NUMBERS)):
            raise TypeError(f"{name}: Unsupported type {type(a)}")
    return args


def _operator(name, f, swap=False):
    def method(self, other):
        priority = getattr(other, "__array_priority__", 0)
        if not isinstance(other, StrictArray) and priority > self.__array_priority__:
            return NotImplemented       # Tensor.__rmul__ and its like get their turn, as in CuPy
        return call(name, f, _operands(name, (other, self) if swap else (self, other)))
    return method


def _in_place(name, f):
    def method(self, other):
        launches[name] += 1
        return call(name, f, _operands(name, (self, other)))
    return method


def _install():
    two = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
           "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "and": "bitwise_and",
           "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift",
           "rshift": "right_shift", "matmul": "matmul"}
    for short, name in two.items():
        f = getattr(operator, f"__{short}__")
        setattr(StrictArray, f"__{short}__", _operator(name, f))
        setattr(StrictArray, f"__r{short}__", _operator(name, f, swap=True))
        if short != "matmul":           # CuPy has no __imatmul__
            f = getattr(operator, f"__i{short}__")
            setattr(StrictArray, f"__i{short}__", _in_place(name, f))
    for short, name in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
                        "eq": "equal", "ne": "not_equal"}.items():
        setattr(StrictArray, f"__{short}__", _operator(name, getattr(operator, short)))
    for short, name in {"neg": "negative", "pos": "positive", "abs": "absolute",
                        "invert": "invert"}.items():
        f = getattr(operator, short)
        setattr(StrictArray, f"__{short}__", lambda self, f=f, name=name: call(name, f, (self,)))


_install()


class StrictUfunc:
    """One of NumPy's ufuncs, with the methods that CuPy's have."""

    def __init__(self, name, ufunc):
        self.name, self.ufunc = name, ufunc

    def __call__(self, *args, **settings):
        return call(self.name, self.ufunc, _operands(self.name, args), settings)

    def at(self, out, index, *values):
        if self.name not in SCATTERS or out.dtype.name in NO_SCATTER:
            raise TypeError(f"{self.name}.at: CuPy does not offer it for {out.dtype}")
        call(self.name + ".at", self.ufunc.at, (out, index, *values))

    def outer(self, x, y):
        return call(self.name + ".outer", self.ufunc.outer, (x, y))


class Grid:
    """`ogrid[...]` and its like: arrays made by indexing."""

    def __init__(self, grid):
        self.grid = grid

    def __getitem__(self, index):
        return wrap(self.grid[index])


class StrictModule:
    """The names that a module of NumPy shares with CuPy's module of that name."""
    ndarray = StrictArray
    launches = launches

    def __init__(self, name, module, prefix=""):
        self.__name__, self._module, self._prefix = name, module, prefix

    def __getattr__(self, name):
        full = self._prefix + name
        value = getattr(self._module, name, None)
        if isinstance(value, types.ModuleType) and any(n.startswith(full + ".") for n in OFFERED):
            return StrictModule(full, value, full + ".")
        if full not in OFFERED or not hasattr(self._module, name):
            raise AttributeError(f"the stand-in for cupy has no attribute {full!r}")
        if isinstance(value, np.ufunc):
            return StrictUfunc(full, value)
        if hasattr(value, "__getitem__") and name in ("ogrid", "mgrid", "r_", "c_"):
            return Grid(value)
        if isinstance(value, type) or not callable(value):
            return value
        return functools.partial(self._call, full, value)

    def _call(self, name, function, *args, **settings):
        first = args[0] if args else None
        if type(first) in (list, tuple) and name not in TRANSFERS | TAKE_A_SHAPE \
                and "random." not in name and all(isinstance(a, NUMBERS) for a in first):
            raise TypeError(f"{name}: CuPy needs an array, got a {type(first).__name__}")
        return call(name, function, args, settings)


strict_numpy = StrictModule("strict_numpy", np)
