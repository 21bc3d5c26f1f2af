"""Back-propagation: the walk from a scalar back to what it was made from.

    y, g      a Tensor on the way, and the gradient of the final scalar with respect to it
    gx        the gradient with respect to one of the arguments that y was made from
    wanted    {birth: whether its gradient was asked for}, of the Tensors on the way
"""
from heapq import heappop, heappush

from . import tensor
from .backend import xp
from .tensor import Tensor, recording

FREED = ("this graph was used and freed by an earlier backward(); compute the loss again, or add "
         "the losses up and call backward() once")


# --- the walk back --------------------------------------------------------------------------------

def _walk_back(y, g, deliver, wanted=None, free=False, since=0):
    """Carries g = d(final) / dy from y back to what it was made from, youngest Tensor first.

    A Tensor is older than everything made from it, so when it comes off the heap every
    contribution to its gradient has arrived. `deliver(x, g, owned)` gets each finished gradient of
    a leaf, or of the Tensors in `wanted` when given (a dict: birth -> whether to deliver);
    `owned` says that nobody else can see the array g. Given a Tensor as g, rules record themselves.
    Tensors born by `since` count as leaves.
    """
    on_tensors, watch_gradient = isinstance(g, Tensor), tensor.watch_gradient
    heap, reached, total, owned = [-y.birth], {y.birth: y}, {y.birth: g}, {y.birth}
    since = max(since, min(wanted or [0]))
    while heap:
        birth = -heappop(heap)
        y, g = reached.pop(birth), total.pop(birth)
        op, args, settings = y.op, y.args, y.settings
        ends = op is None or birth <= since
        if ends if wanted is None else wanted[birth]:
            deliver(y, g, birth in owned)
        if ends:
            continue
        if args is None:
            raise RuntimeError(FREED)
        out, inputs = y, args
        if not on_tensors:
            out, inputs = y.data, [a.data if isinstance(a, Tensor) else a for a in args]
        if free:
            y.args = y.settings = None
        joint = op.joint_rule and op.joint_rule(g, out, *inputs, **settings)
        for i, x in enumerate(args):
            if not isinstance(x, Tensor) or not x.requires_grad:
                continue
            b = x.birth
            if wanted is not None and b not in wanted:
                continue
            if b not in reached:
                reached[b] = x
                heappush(heap, -b)
            if i in op.add_into and not on_tensors:
                if b not in owned or x.ndim == 0:       # of 0 axes, NumPy's sums are no arrays
                    total[b] = xp.array(total[b]) if b in total else xp.zeros_like(x.data)
                    owned.add(b)
                op.add_into[i](total[b], g, out, *inputs, **settings)
                if watch_gradient is not None:
                    watch_gradient(y, i, total[b])
                continue
            try:
                gx = joint[i] if joint else op.rules[i](g, out, *inputs, **settings)
            except (IndexError, TypeError):
                if joint or op.rules[i:] and op.rules[i]:
                    raise
                raise NotImplementedError(
                    f"{op.__name__}: has no derivative with respect to argument {i}; give it a "
                    "number or an array, as x.data is") from None
            if gx.shape != x.data.shape:
                gx = unbroadcast(gx, x.data.shape)
            if gx.dtype is not x.data.dtype:
                gx = gx.astype(x.data.dtype)
            if watch_gradient is not None:
                watch_gradient(y, i, gx)
            if b not in total:
                total[b] = gx
                if _is_fresh(gx, g, inputs):
                    owned.add(b)
            elif b in owned and not on_tensors:
                total[b] += gx
            else:
                total[b] = total[b] + gx
                owned.add(b)


def _is_fresh(gx, g, inputs):
    """Whether a rule made the array gx itself, instead of passing on one that others hold."""
    if gx is g or isinstance(gx, Tensor) or gx.base is not None:
        return False
    for a in inputs:
        if gx is a:
            return False
    return True


def _add_to_leaf(x, g, owned):
    if x.grad is not None:
        g, owned = x.grad + g, True     # not in place: whoever asked for x.grad may still hold it
    x.grad = xp.asarray(g) if owned else xp.array(g, order="C")


def unbroadcast(g, shape):
    """Sums g over the axes along which an argument of this shape was stretched."""
    extra = g.ndim - len(shape)
    stretched = [extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1]
    return g.sum(axis=(*range(extra), *stretched)).reshape(shape)


# --- asking for gradients -------------------------------------------------------------------------

def backward(y, inputs=None):
    """Adds dy / d leaf into `.grad` of every leaf, or of the given ones only; frees the graph."""
    _check_scalar("backward", y)
    if not y.requires_grad:
        raise ValueError("backward: this Tensor does not depend on any Tensor with "
                         "requires_grad=True (or was made under no_grad)")
    inputs = [inputs] if isinstance(inputs, Tensor) else inputs
    wanted = None if inputs is None else _between(y, inputs)
    if wanted is not None and y.birth not in wanted:
        raise ValueError("backward: this Tensor depends on none of the given inputs")
    _walk_back(y, xp.ones_like(y.data), _add_to_leaf, wanted, free=True)


Tensor.backward = backward


def grad(y, xs, create_graph=False):
    """d y / d x for each x: a Tensor for a Tensor, a list for a list. Touches no `.grad`.

    y: scalar. Zeros where y does not depend on x. With create_graph the results are recorded, so
    they can be differentiated again; the graph of y is kept either way.
    """
    _check_scalar("grad", y)
    single = isinstance(xs, Tensor)
    xs = [xs] if single else list(xs)
    for x in xs:
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError("grad: every x must be a Tensor with requires_grad=True")
    gs = _grad(y, xs, xp.ones_like(y.data), create_graph)
    return gs[0] if single else gs


def _grad(y, xs, g, create_graph, since=0):
    """The gradients of <g, y> with respect to xs, as Tensors."""
    found, wanted = {}, _between(y, xs, since)

    def keep(x, gx, owned):
        found[x.birth] = gx if owned or create_graph else gx.copy()

    if create_graph and not isinstance(g, Tensor):
        g = Tensor(g)
    if y.birth in wanted:
        with recording(create_graph):
            _walk_back(y, g, keep, wanted, since=since)
    gs = [found[x.birth] if x.birth in found else xp.zeros_like(x.data) for x in xs]
    return [a if isinstance(a, Tensor) else Tensor(a) for a in gs]


def _check_scalar(name, y):
    if not isinstance(y, Tensor):
        raise TypeError(f"{name}: needs a Tensor, got {type(y).__name__}")
    if y.data.size != 1:
        raise ValueError(f"{name}: needs a scalar, got shape {y.shape}; sum() or mean() it first")


# --- who was made from whom -----------------------------------------------------------------------

def _between(y, xs, since=0):
    """The births of every Tensor on a way from xs to y; True for xs themselves."""
    targets = {x.birth for x in xs}
    oldest = min(targets, default=0)
    inputs, stack = {}, [y]
    while stack:
        t = stack.pop()
        if t.birth not in inputs and t.birth >= oldest:
            inputs[t.birth] = inputs_of(t) if t.birth > max(oldest, since) else []
            stack.extend(inputs[t.birth])
    wanted = {}
    for birth in sorted(inputs):
        if birth in targets or any(a.birth in wanted for a in inputs[birth]):
            wanted[birth] = birth in targets
    return wanted


def behind(y, since=0):
    """{birth: Tensor}: y and every Tensor that it was made from, back to those born by `since`."""
    found, stack = {}, [y]
    while stack:
        t = stack.pop()
        if t.birth not in found:
            found[t.birth] = t
            if t.birth > since:
                stack.extend(inputs_of(t))
    return found


def inputs_of(t):
    """The Tensors that t was made from."""
    if t.args is None:
        raise RuntimeError(FREED)
    return [a for a in t.args if isinstance(a, Tensor)]
