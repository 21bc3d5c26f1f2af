"""checkpoint: trade time for memory.

A graph keeps every value that a rule may need. A checkpointed function keeps only what it was
given; when backward comes to it, it runs a second time, recorded, and the walk goes through that.
"""
from . import backend
from .backward import _grad, behind
from .tensor import Tensor, defvjp_joint, primitive, recording


def checkpoint(f, *xs):
    """y = f(*xs), keeping none of the values in between: backward computes them a second time.

    f gives one Tensor and must compute the same when called again (random numbers are drawn again
    as they were). Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """
    state, since = backend.random_state(), Tensor(None).birth       # f makes younger Tensors
    inputs, y = _call_on_copies(f, xs)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: f must give one Tensor, got {type(y).__name__}")
    if not y.requires_grad:
        return y
    sources = {birth: t for birth, t in behind(y, since).items() if t.requires_grad}
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.birth in sources]
    others = [t for birth, t in sources.items() if birth < since]
    return _checkpointed(*[xs[i] for i in places], *others, value=y.data, f=f, xs=xs, places=places,
                         others=others, state=state)


def _call_on_copies(f, xs):
    """f on cut-off copies of xs, so that the walk back ends at them."""
    copies = [Tensor(x.data, x.requires_grad) if isinstance(x, Tensor) else x for x in xs]
    return copies, f(*copies)


@primitive
def _checkpointed(*arrays, value, f, xs, places, others, state):
    return value


def _recompute(g, y, *arrays, value, f, xs, places, others, state):
    """The gradients of the xs at `places` and of the Tensors `others` that f takes from outside,
    through a second run of f."""
    on_tensors, now, since = isinstance(g, Tensor), backend.random_state(), Tensor(None).birth
    backend.set_random_state(state)
    with recording(True):
        inputs, y = _call_on_copies(f, xs)
    backend.set_random_state(now)
    gs = _grad(y, [inputs[i] for i in places] + others, g, create_graph=on_tensors, since=since)
    if not on_tensors:
        return [a.data for a in gs]
    for i in places:                            # from here on the copies are made from xs
        same = xs[i].reshape(xs[i].shape)
        inputs[i].op, inputs[i].args = same.op, same.args
    return gs


defvjp_joint(_checkpointed, _recompute)
