"""Minibatches of aligned arrays, for ever, with a place to resume from.

N: examples, B: batch size.  Data stay as they are on the host (uint8 or float32); what a batch
needs beyond that, such as dynamic binarization, is a transform(x, rng) of its first array.
"""
import numpy as np


class Endless:
    """Shuffled batches of exactly B for ever, each pass in a new order: of x (N, ...), or tuples of
    x and `more` aligned.  Mistakes and NaN or infinite data raise at the call, not at a batch.

    The examples that do not fill a last batch are skipped in that pass.  Batch number `step` is a
    function of (seed, step) alone, so two integers are the whole state: a run that loads them goes
    on bit for bit as if it had never stopped.
    """

    def __init__(self, x, batch_size, rng, *more, transform=None):
        self.arrays = _checked((x, *more), batch_size)
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng is {rng!r}; needed a generator, such as "
                            "numpy.random.default_rng(0)")
        self.batch_size, self.transform = batch_size, transform
        self.seed, self.step = int(rng.integers(2**63)), 0
        self.order, self.order_of = None, -1  # the permutation at hand, and its pass
        self.part, self.parts = 0, 1

    def __iter__(self):
        return self

    def __next__(self):
        size = len(self.arrays[0])
        epoch, i = divmod(self.step, size // self.batch_size)
        if epoch != self.order_of:
            self.order = np.random.default_rng([self.seed, 0, epoch]).permutation(size)
            self.order_of = epoch
        rows = self.order[i * self.batch_size:(i + 1) * self.batch_size]
        first, *rest = (x[rows] for x in self.arrays)
        if self.transform:  # 1 keeps its stream apart from the one that shuffles, 0 above
            first = self.transform(first, np.random.default_rng([self.seed, 1, self.step]))
        batch = (first, *rest) if rest else first
        self.step += 1
        return batch if self.parts == 1 else self._own(batch)

    def share(self, part, parts):
        """Batches of as many examples as before are now parts of one `parts` times as large."""
        size = self.batch_size // self.parts * parts
        _checked(self.arrays, size)
        self.batch_size, self.part, self.parts = size, part, parts

    def _own(self, batch):
        """The part of a whole batch that is ours."""
        B = self.batch_size // self.parts
        own = slice(self.part * B, (self.part + 1) * B)
        return tuple(x[own] for x in batch) if isinstance(batch, tuple) else batch[own]

    def state(self):
        """Four integers: seed and step, and the N and B they are good for."""
        return {"seed": self.seed, "step": self.step,
                "examples": len(self.arrays[0]), "batch_size": self.batch_size}

    def load_state(self, state):
        """Go on from state(); ValueError if it was saved for other data or another batch size."""
        own = self.state()
        if set(state) != set(own):
            raise ValueError(f"load_state: keys {sorted(state)}; needed {sorted(own)}")
        if any(not isinstance(n, (int, np.integer)) or n < 0 for n in state.values()):
            raise ValueError(f"load_state: {state}; needed whole numbers of at least 0")
        for key in ("examples", "batch_size"):
            if state[key] != own[key]:
                raise ValueError(f"load_state: saved with {key} {state[key]}, here it is "
                                 f"{own[key]}; resume on the same data and batch size")
        self.seed, self.step, self.order_of = int(state["seed"]), int(state["step"]), -1


def _checked(arrays, batch_size):
    """The data as NumPy arrays, or one clear sentence."""
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; needed a whole number of at least 1")
    arrays = [np.asarray(x) for x in arrays]
    if any(x.ndim == 0 or len(x) != len(arrays[0]) for x in arrays):
        raise ValueError(f"arrays of shapes {', '.join(str(x.shape) for x in arrays)}; needed the "
                         "same number of examples first in each")
    if len(arrays[0]) == 0:
        raise ValueError("no examples; needed at least one")
    if batch_size > len(arrays[0]):
        raise ValueError(f"batch_size {batch_size} of {len(arrays[0])} examples never fills; lower "
                         "it")
    for x in arrays:
        _check_finite(x)
    return arrays


def _check_finite(x):
    """Raises on NaN or infinity, naming the first; extremes tell without a mask of x's size."""
    if x.dtype.kind not in "biuf":
        raise TypeError(f"data are {x.dtype}; needed numbers")
    if x.dtype.kind == "f" and x.size and not (np.isfinite(x.min()) and np.isfinite(x.max())):
        where = tuple(map(int, np.argwhere(~np.isfinite(x))[0]))
        raise ValueError(f"data of shape {x.shape} have {x[where]} at {where}; needed finite "
                         "numbers, so clean the data first")
