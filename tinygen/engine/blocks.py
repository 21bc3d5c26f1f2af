"""Blocks that stay in cache, and two threads that share them.

An operation on a long array reads and writes memory once for each pass it makes. Cut into blocks,
all passes over a block are made while it is in cache. NumPy releases the interpreter's lock inside
its loops, so two threads can each work on half of the blocks. On a GPU neither is of use.
"""
import ctypes
import functools
import glob
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy

from .backend import xp

_ASKED = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "2"
CPUS = min(os.cpu_count() or 1, int(_ASKED.split(",")[0]))
WORTH_A_THREAD = 1 << 18        # elements; below it the hand-over costs more than it saves
_pool, _sharing = None, threading.Lock()


def _forget_pool():
    """In a forked child: the pool's thread stayed in the parent, and waiting for it has no end."""
    global _pool, _sharing
    _pool, _sharing = None, threading.Lock()


if hasattr(os, "register_at_fork"):             # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_pool)


def in_threads(run, jobs, work):
    """run(some of the jobs) until all are done: in two threads where `work` (elements) is large.

    Meanwhile a matrix product keeps to its own thread: four threads on two processors wait for each
    other longer than they work. For the same reason jobs stay in the thread that called while
    another thread shares its own, as inside a job.
    """
    global _pool
    if (work < WORTH_A_THREAD or xp.__name__ != "numpy" or CPUS < 2 or len(jobs) < 2
            or not _sharing.acquire(blocking=False)):
        run(jobs)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(1)
    half, (blas_threads, set_blas_threads) = len(jobs) // 2, _blas_control()
    before = blas_threads()
    set_blas_threads(1)
    other = _pool.submit(run, jobs[half:])
    try:
        run(jobs[:half])
    finally:
        wait([other])
        set_blas_threads(before)
        _sharing.release()
    other.result()


@functools.lru_cache
def _blas_control():
    """get_num_threads and set_num_threads of NumPy's OpenBLAS; else two that do nothing."""
    folder = os.path.join(os.path.dirname(numpy.__file__), os.pardir, "numpy.libs")
    for path in glob.glob(os.path.join(folder, "*openblas*")):
        library = ctypes.CDLL(path)
        names = [f"scipy_openblas_{verb}_num_threads64_" for verb in ("get", "set")]
        if all(hasattr(library, name) for name in names):
            return [getattr(library, name) for name in names]
    return (lambda: 1), (lambda n: None)


BLOCK = 1 << 15                 # elements: 128 KiB of float32, so that a few arrays fit in cache


def in_blocks(f):
    """Makes f(x, ...), whose rows do not depend on each other, work on a block of rows at a time.

    A block's numbers stay in cache from f's first operation to its last, and two threads share the
    blocks. Arguments with as many axes and rows as x are cut as x is, the others passed on. f gives
    an array with as many rows as x, or a tuple of them. On a GPU, for Tensors and for small x, f is
    called once.
    """
    @functools.wraps(f)
    def blockwise(x, *others):
        if x.size < 2 * BLOCK or type(x) is not numpy.ndarray:
            return f(x, *others)
        rows = max(1, BLOCK * len(x) // x.size)
        cut = [getattr(a, "ndim", 0) == x.ndim and len(a) == len(x) for a in others]

        def block(i):
            part = slice(i, i + rows)
            made = f(x[part], *[a[part] if c else a for a, c in zip(others, cut)])
            return made if isinstance(made, tuple) else (made,)

        def write(i, parts):
            for y, part in zip(ys, parts):
                y[i:i + rows] = part

        def run(starts):
            for i in starts:
                write(i, block(i))
        first = block(0)
        ys = tuple(xp.empty_like(x, shape=(len(x), *part.shape[1:]), dtype=part.dtype)
                   for part in first)
        write(0, first)
        in_threads(run, range(rows, len(x), rows), x.size)
        return ys if len(ys) > 1 else ys[0]
    return blockwise
