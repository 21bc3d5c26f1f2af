"""Module: named parameters, found by walking attributes; and the modules that only arrange others.

A parameter is a Tensor attribute that requires a gradient; a buffer is one that does not (running
averages: saved, not trained). Lists, tuples and dicts of Tensors and Modules are walked too. A
Tensor that was computed from others (by a primitive) is neither.
"""
import numpy

from ..engine.backend import to_numpy, xp
from ..engine.elementwise import gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..engine.fused import dropout
from ..engine.tensor import Tensor


class Module:
    """What has parameters and a `forward`; calling the module calls forward."""
    training = True

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def named_tensors(self):
        """{"encoder.W": Tensor, ...} in the order of assignment, each Tensor once."""
        return {name: x for name, x in _walk(self, "", set())
                if isinstance(x, Tensor) and x.is_leaf}

    def named_parameters(self):
        """As named_tensors, only those that require a gradient."""
        return {name: x for name, x in self.named_tensors().items() if x.requires_grad}

    def parameters(self):
        return list(self.named_parameters().values())

    def modules(self):
        """This module and every module inside it, each once."""
        return [m for _, m in _walk(self, "", set()) if isinstance(m, Module)]

    def zero_grad(self):
        for p in self.parameters():
            p.zero_grad()

    def train(self, mode=True):
        """Switches dropout and batch statistics on (or off); returns self."""
        for m in self.modules():
            m.training = mode
        return self

    def eval(self):
        return self.train(False)

    def state_dict(self):
        """{name: NumPy array}: copies of every parameter and buffer."""
        return {name: to_numpy(x.data).copy() for name, x in self.named_tensors().items()}

    def load_state_dict(self, state):
        """Copies values in, in place. ValueError lists what is missing, unexpected or misshapen;
        then nothing was changed."""
        own, state = self.named_tensors(), {name: to_numpy(a) for name, a in state.items()}
        wrong = [f"{k} is missing" for k in own if k not in state]
        wrong += [f"{k} is unexpected" for k in state if k not in own]
        wrong += [f"{k} has shape {state[k].shape}, needed {x.shape}"
                  for k, x in own.items() if k in state and state[k].shape != x.shape]
        wrong += [f"{k} holds {state[k].dtype}, needed {x.dtype}" for k, x in own.items()
                  if k in state and not numpy.can_cast(state[k].dtype, x.dtype, "same_kind")]
        if wrong:
            raise ValueError(f"load_state_dict: not the state of this {type(self).__name__}: "
                             + "; ".join(wrong))
        new = [xp.asarray(state[name], dtype=x.dtype) for name, x in own.items()]
        for x, values in zip(own.values(), new):
            x.data[...] = values


def _walk(x, name, seen):
    """Every Module and Tensor in x with its dotted name, x first, each once."""
    if isinstance(x, (Module, Tensor)):
        if id(x) in seen:
            return
        seen.add(id(x))
        yield name, x
    if isinstance(x, Module):
        x = vars(x)
    elif isinstance(x, (list, tuple)):
        x = dict(enumerate(x))
    for key, child in x.items() if isinstance(x, dict) else ():
        yield from _walk(child, f"{name}.{key}" if name else str(key), seen)


class Sequential(Module):
    """y = f_n(... f_1(x)): each a Module or a plain function."""

    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, i):
        return self.layers[i]

    def __len__(self):
        return len(self.layers)


class Dropout(Module):
    """Zeroes each element with probability p while training; see `dropout`."""

    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x):
        return dropout(x, self.p, self.training)


def _activation(name, f):
    """A Module around an elementwise function, as `Sequential(Linear(2, 3), ReLU())` likes it."""
    return type(name, (Module,), {"forward": lambda self, x: f(x), "__doc__": f.__doc__})


ReLU = _activation("ReLU", relu)
Tanh = _activation("Tanh", tanh)
Sigmoid = _activation("Sigmoid", sigmoid)
SiLU = _activation("SiLU", silu)
GELU = _activation("GELU", gelu)
Softplus = _activation("Softplus", softplus)


class LeakyReLU(Module):
    """See `leaky_relu`."""

    def __init__(self, slope=0.01):
        self.slope = slope

    def forward(self, x):
        return leaky_relu(x, self.slope)
