"""Data-parallel training: n processes each learn from a part of every batch, as one would from all.

    pip install -e .[mpi]
    mpirun -n 2 python lessons/24_vae.py

gives the parameters, to rounding, of one process with twice the batch: `fit` sees by itself that
mpirun started it. Batches become n times as large, and each process takes its part; likewise of
random numbers with an axis as long as its part. At each step one flat buffer of all gradients is
averaged in one call: over MPI on CPUs, over NCCL on GPUs (each process of a machine takes the next
one). The first process alone reports and saves. What layers keep beside parameters, such as the
running averages of BatchNorm, each process has of its own part.
"""
import functools
import os
import sys
import traceback

from .engine.backend import shared_random_numbers, xp

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")    # set by mpirun of Open MPI; of MPICH and Intel MPI


@functools.lru_cache(maxsize=1)
def team():
    """The processes that mpirun started together, or None if this one is alone."""
    n = next((int(os.environ[name]) for name in SIZES if name in os.environ), 1)
    return Team() if n > 1 else None


class Team:
    """rank, size: which of how many processes this one is."""

    def __init__(self):
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError("mpirun started several processes, which need mpi4py to talk to each "
                              f"other ({error}); pip install mpi4py, or start one") from None
        self.world, self.in_place, self.nccl = MPI.COMM_WORLD, MPI.IN_PLACE, None
        self.rank, self.size = self.world.rank, self.world.size
        if xp.__name__ == "cupy":
            from cupyx import distributed
            self.nccl = distributed.init_process_group(self.size, self.rank, use_mpi=True)
        sys.excepthook = self._stop_all             # else the others would wait for ever

    def _stop_all(self, *error):
        traceback.print_exception(*error)
        sys.stderr.flush()
        self.world.Abort(1)

    def same(self, value):
        """The first process's value, in every process."""
        return self.world.bcast(value)

    def random_numbers(self, examples):
        """In the block, numbers for that many examples are this process's part of all."""
        return shared_random_numbers(examples, self.rank, self.size)

    def average(self, params, value):
        """Makes each gradient its mean over the processes; gives that of `value`, a number.

        A gradient that no process has stays None; where only some have one, the others' is 0.
        """
        head = [value, *(p.grad is not None for p in params)]
        flat = xp.concatenate([xp.asarray(head, dtype=params[0].dtype)] + [
            xp.zeros(p.size, p.dtype) if p.grad is None else p.grad.reshape(-1) for p in params])
        if self.nccl:
            self.nccl.all_reduce(flat, flat)
        else:
            self.world.Allreduce(self.in_place, flat)
        flat /= self.size
        value, *seen = flat[:len(head)].tolist()
        start = len(head)
        for p, some in zip(params, seen):
            g = flat[start:start + p.size].reshape(p.shape).astype(p.dtype, copy=False)
            p.grad = g if some else None
            start += p.size
        return value
