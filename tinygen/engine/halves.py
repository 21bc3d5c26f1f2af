"""in_halves: a loss and its gradient, each half of the batch on a processor of its own.

Long operations share two processors already, one operation after the other (blocks.py). A step made
of many short ones, as a Transformer's is, had better be cut once, along the batch: the gradient of
a mean over the batch is the mean of its halves' gradients.
"""
import functools

from . import blocks
from .backend import xp
from .backward import _check_scalar, _walk_back
from .tensor import Tensor, _mode, defvjp_joint, primitive


def in_halves(loss, *batch):
    """loss(*batch), found together with its gradient, on both halves of the batch at once.

    batch: arrays (B, ...), cut along their first axis. loss: gives a mean over its batch, a scalar
    Tensor. Two threads call it, so what depends on the whole batch or on order does not belong in
    it: batch norm, dropout and other random numbers (draw them before, as part of the batch).
    `backward` then only hands the gradient on; it cannot be differentiated a second time. On a GPU,
    with one processor, for one example or under no_grad, this is loss(*batch)."""
    sizes = sorted({len(a) for a in batch})
    if len(sizes) != 1:
        raise ValueError(f"in_halves: arrays of {sizes} examples; needs some, of one length")
    B, = sizes
    if B < 2 or blocks.CPUS < 2 or xp.__name__ != "numpy" or not _mode.recording:
        return loss(*batch)
    found, since = {}, Tensor(None).birth       # the halves make younger Tensors

    def run(halves):
        for half in halves:
            part = [a[half] for a in batch]
            y, gs = loss(*part) * (len(part[0]) / B), {}
            _check_scalar("in_halves", y)
            if y.requires_grad:
                _walk_back(y, xp.ones_like(y.data), functools.partial(_keep, gs), free=True,
                           since=since)
            found[half.start] = y.data, gs
    blocks.in_threads(run, [slice(0, B // 2), slice(B // 2, B)], blocks.WORTH_A_THREAD)
    (value, total), (other, gs) = found[0], found[B // 2]
    for birth, (x, g) in gs.items():
        if birth in total:
            g += total[birth][1]
        total[birth] = x, g
    if not total:
        return Tensor(value + other)
    leaves, gs = zip(*total.values())
    return _halves(*leaves, value=value + other, gs=gs)


def _keep(gs, x, g, owned):
    gs[x.birth] = x, g if owned else g.copy()


@primitive
def _halves(*leaves, value, gs):
    """The loss, its gradients gs with respect to the leaves known already"""
    return value


def _halves_dxs(g, y, *leaves, value, gs):
    if isinstance(g, Tensor):
        raise NotImplementedError("in_halves: its gradient cannot be differentiated again; call "
                                  "the loss on the whole batch for that")
    return [g * a for a in gs]


defvjp_joint(_halves, _halves_dxs)
