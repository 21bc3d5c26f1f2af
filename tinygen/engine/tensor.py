"""Reverse-mode automatic differentiation: the Tensor and the primitive; backward.py walks back.

    x, y      input and output of an operation
    g         gradient of the final scalar with respect to y, same shape as y
    birth     a Tensor's serial number: whatever a Tensor is made from has a smaller one

A **primitive** is a plain function on arrays. Given arrays it only computes. Given a Tensor that
needs a gradient it also *records*: the result remembers which primitive made it and from what. That
memory is the whole graph; there is no tape beside it.

Below each primitive stand its derivative rules, one per argument: `rule(g, y, *args, **settings)`
is the gradient with respect to that argument. A rule is written with operators and primitives only,
which gives it two speeds. Given arrays (ordinary backward) it is bare NumPy. Given Tensors
(`create_graph=True`) it records itself, and so can be differentiated again, to any order.

Source of the idea: Maclaurin, Duvenaud, Adams 2015, "Autograd: effortless gradients in NumPy".
"""
import functools
import inspect
import itertools
import threading

import numpy

from .backend import to_numpy, xp

FLOAT32, FLOAT64 = numpy.dtype("float32"), numpy.dtype("float64")
_births = itertools.count(1)


class _Mode(threading.local):
    """What is switched on in this thread."""
    recording = True


_mode = _Mode()
watch = None            # debug mode puts a function here: watch(y) sees each recorded Tensor
watch_gradient = None   # and here: watch_gradient(y, i, gx) sees each gradient of y's argument i


class Tensor:
    """An array that remembers how it was made.

    data           the array (NumPy's or CuPy's)
    grad           gradient of the last `backward()`s with respect to data: an array, or None
    requires_grad  whether gradients flow to here
    op, args, settings   the primitive that made it and what it was given; op is None for a leaf
    """
    __slots__ = ("data", "grad", "requires_grad", "birth", "op", "args", "settings", "__weakref__")
    __array_priority__ = 1000           # array * Tensor: NumPy and CuPy leave it to Tensor.__rmul__

    def __init__(self, data, requires_grad=False):
        self.data = data
        self.grad = None
        self.requires_grad = requires_grad
        self.birth = next(_births)
        self.op = None
        self.args = ()
        self.settings = {}

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    dtype = property(lambda self: self.data.dtype)
    size = property(lambda self: self.data.size)
    is_leaf = property(lambda self: self.op is None)

    def item(self):
        """The only element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: needs one element, got shape {self.shape}; index it first")
        return self.data.item()

    def numpy(self):
        """The values as a NumPy array on the host (not a copy when they are there already)."""
        return to_numpy(self.data)

    def detach(self):
        """The same values, cut off from the graph."""
        return Tensor(self.data)

    def zero_grad(self):
        self.grad = None

    def __reduce__(self):
        """copy, deepcopy and pickle make a leaf: a Tensor of its own birth, without history."""
        return Tensor, (self.data, self.requires_grad)

    def __array__(self, *args, **kwargs):
        raise TypeError("a Tensor was given to NumPy, as in np.tanh(x) or a list of Tensors: use "
                        "tinygen's functions (tg.tanh(x), tg.stack) to record it, or x.numpy() for "
                        "its values")

    def __repr__(self):
        made = f", made by {self.op.__name__}" if self.op else ""
        grad = ", requires_grad=True" if self.requires_grad and not self.op else ""
        return f"Tensor({to_numpy(self.data)}, {self.dtype}{grad}{made})"

    __hash__ = object.__hash__          # comparisons give arrays, so `==` cannot serve a dict

    def __bool__(self):
        return bool(self.data)

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __len__(self):
        return len(self.data)


def tensor(data, requires_grad=False, dtype=None):
    """A new leaf holding a copy of `data`.

    Python numbers and lists become float32; arrays keep their dtype. Only floats can require a
    gradient (TypeError).
    """
    if isinstance(data, Tensor):
        data = data.data
    if dtype is None and not (hasattr(data, "dtype") and hasattr(data, "ndim")):
        dtype = FLOAT32
    try:
        data = xp.array(data, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"tensor: cannot make an array of a {type(data).__name__}: {error}"
                          ) from None
    if data.dtype.kind not in "fiub":
        raise TypeError(f"tensor: {data.dtype} data; needed numbers or booleans")
    if requires_grad and data.dtype.kind != "f":
        raise TypeError(f"tensor: {data.dtype} data cannot require a gradient; "
                        "pass dtype='float32'")
    return Tensor(data, requires_grad)


def primitive(f):
    """Makes `f(*arrays, **settings) -> array` record itself when given a Tensor."""
    new, tensor_type, births, mode = object.__new__, Tensor, _births, _mode

    @functools.wraps(f)
    def op(*args, **settings):
        arrays, found, needed = [], False, False
        for a in args:
            if isinstance(a, tensor_type):
                found = True
                needed = needed or a.requires_grad
                arrays.append(a.data)
            elif type(a) is list and len(arrays) < len(op.rules):
                n = len(op.rules)
                return op(*as_arrays(args[:n], list), *args[n:], **settings)
            else:
                arrays.append(a)
        for a in settings.values():
            if isinstance(a, tensor_type):
                return op(*_by_position(f, args, settings))
        try:
            data = f(*arrays, **settings)
        except Exception as error:
            raise _explained(error, op, arrays) from None
        if not found:
            return data
        if data.dtype is FLOAT64 and op.__name__ != "astype" and _no_float64(args):
            data = data.astype(FLOAT32)     # NumPy's float32 with int64 is float64; ours is not
        y = new(tensor_type)
        y.data = data
        y.grad = None
        y.birth = next(births)
        if needed and mode.recording:
            y.requires_grad = True
            y.op, y.args, y.settings = op, args, settings
            if watch is not None:
                watch(y)
        else:
            y.requires_grad = False
            y.op, y.args, y.settings = None, (), settings
        return y

    op.rules, op.joint_rule, op.add_into = (), None, {}
    return op


def defvjp(op, *rules, add_into=None):
    """Gives op its derivative rules: one per argument, None for an argument that has none.

    `add_into` may give for argument i a second form, add(total, g, y, *args, **settings), that adds
    the gradient into the array `total`: for gradients that are mostly zeros.
    """
    op.rules, op.add_into = rules, add_into or {}


def defvjp_joint(op, rule):
    """One rule for all arguments, for those that share work: rule(g, y, *args, **settings) gives a
    gradient (or None) per argument."""
    op.joint_rule = rule


# --- mistakes, told at the caller's line ----------------------------------------------------------

def as_arrays(args, kinds):
    """args, with arrays for those of these kinds (list, float, ...).

    Floats become float32, or float64 where an array among args is."""
    float32 = _no_float64(args)

    def array(a):
        a = xp.asarray(a)
        return a.astype(FLOAT32) if float32 and a.dtype == FLOAT64 else a
    return [array(a) if isinstance(a, kinds) else a for a in args]


def _by_position(f, args, settings):
    """All arguments in the order of f's signature: only those given by position are looked into."""
    try:
        bound = inspect.signature(f).bind(*args, **settings)
    except TypeError as error:
        raise TypeError(f"{f.__name__}: {error}") from None
    bound.apply_defaults()
    return bound.args


def _no_float64(args):
    """Whether no array among them is float64. (A numpy.float64 is a number, as a float is.)"""
    return all(getattr(a, "dtype", FLOAT32) != FLOAT64 or type(a) is numpy.float64 for a in args)


def _explained(error, op, arrays):
    """The same kind of error, in one sentence that names the operation and every shape."""
    name, text = op.__name__.lstrip("_"), str(error)
    if text.startswith(name + ":"):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MemoryError(f"{name}: out of memory; lower the batch size or the width, "
                           "or use tg.checkpoint")
    if isinstance(error, AttributeError) and not all(hasattr(a, "shape") for a in arrays[:1]):
        return TypeError(f"{name}: needs an array or a Tensor, got {type(arrays[0]).__name__}")
    kinds = (ValueError, IndexError, TypeError, NotImplementedError)
    kind = next((k for k in kinds if isinstance(error, k)), None)
    if kind is None:
        return error
    if "broadcast" in text:
        text = "sizes must be equal or 1, compared from the right"
    shapes = [str(a.shape) for a in arrays if hasattr(a, "shape")]
    given = f"given shape{'s' * (len(shapes) > 1)} {', '.join(shapes)}: " if shapes else ""
    return kind(f"{name}: {given}{text}")


# --- what is recorded, and what is not ------------------------------------------------------------

class recording:
    """`with recording(on):` records operations, or does not, in this thread."""

    def __init__(self, on):
        self.on = on

    def __enter__(self):
        self.before, _mode.recording = _mode.recording, self.on

    def __exit__(self, *error):
        _mode.recording = self.before


def no_grad():
    """`with no_grad():` computes without recording, for sampling and evaluation."""
    return recording(False)
