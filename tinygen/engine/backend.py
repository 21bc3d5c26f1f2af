"""The array backend: `xp` is NumPy on the CPU or CuPy on the GPU; library code never says which.

CuPy follows NumPy's names, so almost everything is written once, with `xp`. The few places where
the two differ, or where a plain call is slow, are the functions of this file.

    xp           array functions of the chosen backend (`xp.exp`, `xp.zeros`, ...)
    use          choose the backend; TINYGEN_BACKEND=numpy|cupy does the same from outside
    to_numpy     a host copy, for printing, plotting and files
    scatter_add  out[index] += values, where an index may occur twice
    seed         start the random numbers anew; normal and uniform draw them
"""
import ctypes
import importlib
import json
import os
from contextlib import contextmanager

import numpy


class _Arrays:
    """Stands for the backend's module. A name is looked up once, then it is an attribute here."""

    def __getattr__(self, name):
        if "module" not in self.__dict__:
            use(os.environ.get("TINYGEN_BACKEND", "numpy"))
        value = getattr(self.__dict__["module"], name)
        self.__dict__[name] = value
        return value


xp = _Arrays()


def use(backend):
    """Chooses the arrays to compute on: "numpy", "cupy", or a module that offers NumPy's names.

    Call it before the first Tensor is made: arrays of two backends do not mix.
    """
    module = _load(backend) if isinstance(backend, str) else backend
    xp.__dict__.clear()
    xp.module = module
    if module is numpy:
        _keep_freed_memory()
    seed(0)


def _load(name):
    if name not in ("numpy", "cupy"):
        raise ValueError(f"use: no backend is called {name!r}; choose 'numpy' or 'cupy'")
    if name == "numpy":
        return numpy
    try:
        cupy = importlib.import_module("cupy")
        for name in ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"):     # see parallel.py
            if name in os.environ:
                gpus = cupy.cuda.runtime.getDeviceCount()
                cupy.cuda.Device(int(os.environ[name]) % gpus).use()
        cupy.zeros(1).sum()                            # fails here and now if there is no GPU
    except Exception as error:
        raise RuntimeError(f"use: the cupy backend cannot start ({_first_line(error)}); it needs "
                           "an NVIDIA GPU and `pip install cupy-cuda12x` (or cupy-cuda13x, as "
                           "`nvidia-smi` says); TINYGEN_BACKEND=numpy runs on the CPU") from None
    return cupy


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _keep_freed_memory():
    """Asks glibc to keep freed memory instead of returning it page by page.

    A training step frees and allocates the same sizes over and over; without this each large result
    costs a page fault per 4 KiB. Elsewhere than on glibc this does nothing.
    """
    mmap_threshold, top_pad, trim_threshold = -3, -2, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 64 << 20)


def to_numpy(x):
    """The values of an array or a Tensor as a NumPy array on the host."""
    x = x.data if hasattr(x, "requires_grad") else x
    return x.get() if hasattr(x, "get") else numpy.asarray(x)


def device_errors():
    """The exceptions of a GPU that fails in mid-run; none on NumPy."""
    if xp.__name__ != "cupy":
        return ()
    from cupy.cuda.runtime import CUDARuntimeError
    return (CUDARuntimeError,)


def scatter_add(out, index, values):
    """out[index] += values, adding up where `index` names an element more than once."""
    if not _repeats(index):
        out[index] += values
    elif xp.__name__ == "numpy" and not isinstance(index, tuple) and values.size:
        ids = xp.arange(len(out))[index].reshape(-1)        # -1 is the last row
        _add_rows(out, ids, values.reshape(-1, *out.shape[1:]))
    else:
        xp.add.at(out, index, values)


def _add_rows(out, ids, values):
    """out[ids] += values, summing the rows of an id in one stretch: much faster than add.at."""
    order = xp.argsort(ids, kind="stable")
    ids = ids[order]
    starts = xp.flatnonzero(xp.diff(ids, prepend=ids[0] - 1))
    out[ids[starts]] += xp.add.reduceat(values[order], starts, axis=0)


def _repeats(index):
    """Whether an index may name an element twice: only lists and integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, list) or hasattr(i, "dtype") and i.dtype.kind in "iu" and i.ndim
               for i in parts)


# --- random numbers: one generator on the host (weights, order of the data), one beside the arrays 

class _Random:
    host = device = share = None


_random = _Random()


def seed(n):
    """Starts every random number of the library anew from the integer n."""
    _start_device(numpy.random.default_rng(n))


def _start_device(host):
    on_gpu = xp.__name__ == "cupy"           # before `host` is kept: a first use of xp seeds with 0
    _random.host = host
    _random.device = xp.random.default_rng(int(_random.host.integers(2 ** 62))) if on_gpu \
        else _random.host


def host_rng():
    """The NumPy generator for numbers that must not depend on the backend."""
    if _random.host is None:
        seed(0)
    return _random.host


def normal(shape, dtype="float32"):
    """Standard normal numbers as a backend array."""
    host_rng()
    return _drawn(_random.device.standard_normal, shape, dtype)


def uniform(shape, dtype="float32"):
    """Uniform numbers in [0, 1) as a backend array."""
    host_rng()
    return _drawn(_random.device.random, shape, dtype)


def _drawn(draw, shape, dtype):
    shape = list(shape) if hasattr(shape, "__iter__") else [shape]
    if not all(isinstance(n, (int, numpy.integer)) and n >= 0 for n in shape):
        raise ValueError(f"random numbers of shape {tuple(shape)} were asked for; a shape, and n, "
                         "the number of samples, needs whole numbers of at least 0")
    if _random.share is None:
        return xp.asarray(draw(tuple(shape), dtype=numpy.dtype(dtype)))
    B, part, parts = _random.share
    own = [slice(None)] * len(shape)
    if B in shape:
        axis = shape.index(B)
        shape[axis], own[axis] = B * parts, slice(part * B, (part + 1) * B)
    return xp.asarray(draw(tuple(shape), dtype=numpy.dtype(dtype)))[tuple(own)]


@contextmanager
def shared_random_numbers(B, part, parts):
    """In the block, numbers with an axis of length B are those of part `part` of a batch of
    parts * B: each process draws for all and keeps its own."""
    _random.share = B, part, parts
    try:
        yield
    finally:
        _random.share = None


def random_state():
    """The state of the random numbers as text, for `set_random_state`.

    CuPy cannot tell its generator's state; there the generator starts anew from the host's, now and
    again in `set_random_state`, so that what follows is the same both times.
    """
    text = json.dumps(host_rng().bit_generator.state)
    if _random.device is not _random.host:
        _start_device(_random.host)
    return text


def set_random_state(text):
    host_rng().bit_generator.state = json.loads(text)
    if _random.device is not _random.host:
        _start_device(_random.host)
