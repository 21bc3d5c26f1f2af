"""Optimizers: they change parameters in place by their gradients.

    p, g     a parameter and its gradient, as flat arrays;   t  steps taken
    lr       step size: a number, or a schedule: a function of t = 1, 2, ... that gives one
An update is a short list of array operations; on the CPU it runs block by block, so that a block's
numbers stay in cache from the first operation to the last, and large models use two threads.
"""
import math
from contextlib import contextmanager

import numpy

from .engine.backend import to_numpy, xp
from .engine.blocks import in_threads
from .engine.tensor import Tensor
from .nn.linear import number

BLOCK = 1 << 16                 # floats: 256 KiB an array, near a core's second-level cache
FLUSH_EVERY = 128               # steps


class Optimizer:
    """Holds parameters, each once, and per parameter the state arrays named in `slots`.

    t counts the steps of the optimizer, also for a parameter that had no gradient in some of them.
    """
    slots = ()

    def __init__(self, params, lr, weight_decay):
        name = type(self).__name__
        self.params = list({id(p): p for p in _several(params)}.values())
        if not self.params:
            raise ValueError(f"{name}: given no parameters")
        for p in self.params:
            if not isinstance(p, Tensor) or not p.requires_grad or not p.is_leaf:
                raise TypeError(f"{name}: parameters must be leaf Tensors with requires_grad=True; "
                                "pass model.parameters()")
        if not callable(lr) and not 0 < number(lr) < math.inf:
            raise ValueError(f"{name}: lr is {lr!r}; needs a number above 0, or a schedule")
        if not 0 <= number(weight_decay) < math.inf:
            raise ValueError(f"{name}: weight_decay is {weight_decay!r}; needs a number from 0 up")
        self.lr, self.weight_decay, self.t = lr, weight_decay, 0
        self.state = [[xp.zeros(p.size, dtype=p.dtype) for _ in self.slots] for p in self.params]

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def step(self):
        """Updates every parameter that has a gradient."""
        blocks = [block for p, state in zip(self.params, self.state) if p.grad is not None
                  for block in _blocks(p, state)]
        lr = number(self.lr(self.t + 1) if callable(self.lr) else self.lr)
        if not 0 <= lr < math.inf:
            raise ValueError(f"step: lr is {lr} at step {self.t + 1}; needs a number from 0 up")
        self.t += 1
        update = self.update(lr)                # a NumPy lr would turn float32 into float64
        flush = self.t % FLUSH_EVERY == 0

        def run(part):
            for p, g, *state in part:
                update(p, g, *state, xp.empty_like(p))
                if flush:
                    _flush(state)
        in_threads(run, blocks, sum(len(block[0]) for block in blocks))

    def update(self, lr):
        """This step's function of (p, g, *state, scratch), each a flat array."""
        raise NotImplementedError

    def state_dict(self):
        """{"t": ..., "lr": ..., "m.0": ...}: NumPy copies; no "lr" where it is a schedule."""
        named = {f"{slot}.{i}": to_numpy(a).copy() for i, state in enumerate(self.state)
                 for slot, a in zip(self.slots, state)}
        lr = {} if callable(self.lr) else {"lr": numpy.array(self.lr)}
        return {"t": numpy.array(self.t), **lr, **named}

    def load_state_dict(self, state):
        own = self.state_dict()
        wrong = sorted(own.keys() ^ state.keys()) or [
            k for k in own if own[k].shape != numpy.shape(state[k])]
        if wrong:
            raise ValueError(f"load_state_dict: not the state of this {type(self).__name__}: "
                             f"{', '.join(wrong)} missing, unexpected or of another shape")
        t, lr = int(state["t"]), float(state.get("lr", 0))
        if t < 0 or not 0 <= lr < math.inf:
            raise ValueError(f"load_state_dict: t is {t}, lr {lr}; needs both to be at least 0")
        self.t = t
        if "lr" in state:
            self.lr = lr
        for i, arrays in enumerate(self.state):
            for slot, a in zip(self.slots, arrays):
                a[...] = xp.asarray(state[f"{slot}.{i}"])


def _several(params):
    """params, where one alone counts as a list of one."""
    return params if hasattr(params, "__iter__") else [params]


def _blocks(p, state):
    """(p, g, *state), flat; on the CPU cut into stretches of BLOCK."""
    if p.grad.shape != p.shape:
        raise ValueError(f"step: a gradient of shape {p.grad.shape} for a parameter of {p.shape}")
    if not p.data.flags.c_contiguous:
        p.data = xp.ascontiguousarray(p.data)       # so that the flat view below is a view
    arrays = [p.data.reshape(-1), p.grad.reshape(-1), *state]
    if xp.__name__ != "numpy" or p.size <= BLOCK:
        return [arrays]
    return [[a[i:i + BLOCK] for a in arrays] for i in range(0, p.size, BLOCK)]


def _flush(state):
    """Sets to 0 what is too small to matter: where a gradient has become exactly 0, a moment would
    decay into denormal floats, whose arithmetic more than doubles the time of a step."""
    for a in state:
        a *= xp.abs(a) > 1e8 * float(xp.finfo(a.dtype).tiny)        # 1e-30 for float32


class SGD(Optimizer):
    """v <- momentum v + g;   p <- p - lr v,   or p - lr (g + momentum v) with Nesterov.

    g includes weight_decay p. Source: Sutskever et al. 2013, in the form of PyTorch (the velocity
    does not contain lr)."""

    def __init__(self, params, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.slots = ("v",) if momentum else ()
        super().__init__(params, lr, weight_decay)
        if not 0 <= number(momentum) < 1:
            raise ValueError(f"SGD: momentum is {momentum!r}; needs 0 <= momentum < 1")
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum above 0")
        self.momentum, self.nesterov = momentum, nesterov

    def update(self, lr):
        momentum, decay, nesterov = self.momentum, self.weight_decay, self.nesterov

        def update(p, g, *rest):
            *velocity, t = rest
            if decay:
                g = g + decay * p
            for v in velocity:
                v *= momentum
                v += g
                g = g + momentum * v if nesterov else v
            xp.multiply(g, lr, out=t)
            p -= t
        return update


class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;
    p <- p - lr (m / c1) / (sqrt(v / c2) + eps),   c1 = 1 - b1^t,   c2 = 1 - b2^t.

    weight_decay adds weight_decay p to g. Source: Kingma & Ba 2015, algorithm 1."""
    slots = ("m", "v")
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr, weight_decay)
        if numpy.shape(betas) != (2,) or not all(0 <= number(b) < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas are {betas}; needs two, 0 <= beta < 1")
        if not 0 < number(eps) < math.inf:
            raise ValueError(f"{type(self).__name__}: eps is {eps!r}; needs a number above 0")
        self.betas, self.eps = betas, eps

    def update(self, lr):
        """m and v are kept divided by 1 - b1 and 1 - b2, which saves two passes over memory; the
        factors are in `rate` and `eps`."""
        (b1, b2), t = self.betas, self.t
        c1, c2 = 1 - b1 ** t, 1 - b2 ** t
        scale = math.sqrt(c2 / (1 - b2))
        rate, eps = lr * (1 - b1) / c1 * scale, self.eps * scale
        coupled = 0.0 if self.decoupled else self.weight_decay
        shrink = 1 - lr * self.weight_decay if self.decoupled else 1.0

        def update(p, g, m, v, t):
            if coupled:
                g = g + coupled * p
            m *= b1
            m += g
            v *= b2
            xp.multiply(g, g, out=t)
            v += t
            xp.sqrt(v, out=t)
            t += eps
            xp.divide(m, t, out=t)
            t *= rate
            if shrink != 1:
                p *= shrink
            p -= t
        return update


class AdamW(Adam):
    """Adam on the gradient alone; the weights shrink beside it: p <- (1 - lr weight_decay) p - ...

    Source: Loshchilov & Hutter 2019, algorithm 2, with lr in the decay too, as in PyTorch."""
    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)


# --- schedules: functions of t = 1, 2, ... that give lr -------------------------------------------

def cosine(lr, steps, warmup=0, last=0.0):
    """In a straight line up to lr over `warmup` steps, then down to `last` along half a cosine
    until `steps`, `last` from there on. Source: Loshchilov & Hutter 2017, eq. 5."""
    if not 0 <= number(warmup) < number(steps):
        raise ValueError(f"cosine: warmup is {warmup} of {steps} steps; needs 0 <= warmup < steps")

    def schedule(t):
        if t <= warmup:
            return lr * t / warmup
        done = min((t - 1 - warmup) / (steps - warmup), 1)
        return last + (lr - last) * (1 + math.cos(math.pi * done)) / 2
    return schedule


def step_decay(lr, every, factor=0.1):
    """lr factor^k after k times `every` steps: a staircase down"""
    _check_decay("step_decay", every, factor)
    return lambda t: lr * factor ** ((t - 1) // every)


def exponential(lr, every, factor=0.5):
    """lr factor^((t - 1) / every): the staircase of step_decay, smoothed"""
    _check_decay("exponential", every, factor)
    return lambda t: lr * factor ** ((t - 1) / every)


def _check_decay(name, every, factor):
    if not number(every) >= 1 or not 0 < number(factor) <= 1:
        raise ValueError(f"{name}: every is {every} and factor {factor}; needs every >= 1 and "
                         "0 < factor <= 1")


def warmup(schedule, steps):
    """min(t / steps, 1) times a schedule or a number: small steps while Adam's averages form.
    Source: Goyal et al. 2017, section 2.2."""
    if not number(steps) >= 1:
        raise ValueError(f"warmup: steps is {steps}; needs at least 1")
    return lambda t: min(t / steps, 1) * (schedule(t) if callable(schedule) else schedule)


# --- on gradients and weights ---------------------------------------------------------------------

def clip_grad_norm(params, max_norm):
    """g <- g max_norm / |g| where |g|, the norm of all gradients together, is larger. Gives |g|.
    Source: Pascanu et al. 2013, algorithm 1."""
    if not number(max_norm) > 0:
        raise ValueError(f"clip_grad_norm: max_norm is {max_norm!r}; needs a number above 0")
    params = [p for p in _several(params) if p.grad is not None]
    norm = math.sqrt(sum((p.grad * p.grad).sum() for p in params))
    if norm > max_norm:
        for p in params:
            p.grad *= max_norm / norm           # not g *= ...: a 0-d g may be a NumPy number
    return norm


class EMA:
    """a <- d a + (1 - d) p after each step, d = min(decay, (1 + t) / (10 + t)); a starts as p.

    Stands in for the optimizer it wraps; `with ema.averaged():` evaluates under the averages. They
    lag by 1 / (1 - decay) steps and are less noisy than p. Source: Polyak & Juditsky 1992, with the
    weights of TensorFlow's ExponentialMovingAverage (early steps, far from the end, fade fast)."""

    def __init__(self, optimizer, decay=0.999):
        if not 0 <= number(decay) < 1:
            raise ValueError(f"EMA: decay is {decay!r}; needs 0 <= decay < 1")
        self.optimizer, self.decay, self.params = optimizer, decay, optimizer.params
        self.averages = [p.data.copy() for p in self.params]

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.optimizer.step()
        t = self.optimizer.t
        d = min(self.decay, (1 + t) / (10 + t))
        for a, p in zip(self.averages, self.params):
            a *= d
            a += (1 - d) * p.data

    @contextmanager
    def averaged(self):
        """The parameters are the averages inside the block, and themselves again after it."""
        own = [p.data for p in self.params]
        for p, a in zip(self.params, self.averages):
            p.data = a.copy()
        try:
            yield
        finally:
            for p, data in zip(self.params, own):
                p.data = data

    def state_dict(self):
        """The optimizer's, and "average.0", ...: NumPy copies"""
        return {**self.optimizer.state_dict(),
                **{f"average.{i}": to_numpy(a).copy() for i, a in enumerate(self.averages)}}

    def load_state_dict(self, state):
        averages = {k: v for k, v in state.items() if k.startswith("average.")}
        if [numpy.shape(v) for v in averages.values()] != [a.shape for a in self.averages]:
            raise ValueError(f"load_state_dict: the state holds {len(averages)} averages; needs "
                             f"{len(self.averages)} of the parameters' shapes")
        self.optimizer.load_state_dict({k: v for k, v in state.items() if k not in averages})
        for i, a in enumerate(self.averages):
            a[...] = xp.asarray(averages[f"average.{i}"])
