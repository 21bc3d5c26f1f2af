"""Blocks that stay in cache, and two threads that share them.

An operation on a long array reads and writes memory once for each pass it makes. Cut into blocks,
all passes over a block are made while it is in cache. NumPy releases the interpreter's lock inside
its loops, so two threads can each work on half of the blocks. On a GPU neither is of use.
"""
import functools
import os
from concurrent.futures import ThreadPoolExecutor

from .backend import xp

CPUS = min(os.cpu_count() or 1, int((os.environ.get("OMP_NUM_THREADS") or "2").split(",")[0]))
WORTH_A_THREAD = 1 << 18        # elements; below it the hand-over costs more than it saves
_pool = None


def in_threads(run, jobs, work):
    """run(some of the jobs) until all are done: in two threads where `work` (elements) is large.

    NumPy releases the interpreter's lock inside its loops, so two halves run side by side.
    """
    global _pool
    if work < WORTH_A_THREAD or xp.__name__ != "numpy" or CPUS < 2:
        run(jobs)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(1)
    half = len(jobs) // 2
    other = _pool.submit(run, jobs[half:])
    run(jobs[:half])
    other.result()


BLOCK = 1 << 15                 # elements: 128 KiB of float32, so that a few arrays fit in cache


def in_blocks(f):
    """Makes f(x, ...), whose rows do not depend on each other, work on a block of rows at a time.

    A block's numbers stay in cache from f's first operation to its last, and two threads share the
    blocks. Arguments of x's shape are cut as x is, the others passed on. f gives an array with as
    many rows as x. On a GPU, and for small x, f is called once.
    """
    @functools.wraps(f)
    def blockwise(x, *others):
        if x.size < 2 * BLOCK or xp.__name__ != "numpy":
            return f(x, *others)
        rows = max(1, BLOCK * len(x) // x.size)
        cut = [getattr(a, "shape", None) == x.shape for a in others]

        def block(i):
            part = slice(i, i + rows)
            return f(x[part], *[a[part] if c else a for a, c in zip(others, cut)])

        def run(starts):
            for i in starts:
                y[i:i + rows] = block(i)
        first = block(0)
        y = xp.empty_like(x, shape=(len(x), *first.shape[1:]), dtype=first.dtype)
        y[:rows] = first
        in_threads(run, range(rows, len(x), rows), x.size)
        return y
    return blockwise
