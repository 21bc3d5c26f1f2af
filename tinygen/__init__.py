"""tinygen: how generative models work, from the chain rule up.

Reading order, each file importing only from those before it:

    engine/backend.py     xp: NumPy on the CPU, CuPy on the GPU
    engine/blocks.py      long arrays in pieces that fit in cache, on two threads
    engine/tensor.py      Tensor, primitive, defvjp: what is recorded, and the rules beside it
    engine/backward.py    backward, grad: the walk back
    engine/checkpoint.py  computing again instead of keeping
    engine/halves.py      two halves of a batch, each on a processor
    engine/elementwise.py, shaping.py, reductions.py    the operations: on elements, of shapes,
    engine/products.py, convolution.py, pooling.py,     along axes, products, images, and what is
    engine/fused.py                                     fused for speed or stability
    engine/gradcheck.py, factors.py, diagnosis.py   is a derivative right? If not, in which way?
    engine/trace.py       the graph made visible; debug mode
    nn/                   layers
    optim.py, distributions.py
    datasets/             worlds whose p_data is known; MNIST; text
    models/tractable/     explicit density, exact
    models/approximate/   explicit density, a lower bound
    models/implicit/      samples only
    parallel.py, training.py, evaluation.py, plotting.py

`import tinygen as tg` gives the Tensor and every operation as tg.NAME.
"""
from . import distributions, nn, optim
from .engine.backend import seed, to_numpy, use, xp
from .engine.backward import grad
from .engine.checkpoint import checkpoint
from .engine.convolution import conv2d, conv_transpose2d
from .engine.elementwise import (abs, add, astype, clip, cos, divide, exp, gelu, leaky_relu, log,
                                 maximum, minimum, multiply, negative, power, relu, sigmoid, sign,
                                 silu, sin, softplus, sqrt, subtract, tanh, where)
from .engine.fused import (attention, batch_norm, binary_cross_entropy_with_logits, cross_entropy,
                           dropout, embedding, group_norm, layer_norm, mse)
from .engine.gradcheck import GradientError, gradcheck
from .engine.halves import in_halves
from .engine.pooling import avg_pool2d, max_pool2d, upsample
from .engine.products import einsum, linear, matmul
from .engine.reductions import (cumsum, log_softmax, logsumexp, max, mean, min, softmax, std, sum,
                                var)
from .engine.shaping import (broadcast_to, concatenate, expand_dims, flip, getitem, pad, reshape,
                             split, squeeze, stack, swapaxes, take_along_axis, transpose)
from .engine.tensor import Tensor, defvjp, defvjp_joint, no_grad, primitive, tensor
from .engine.trace import debug, trace

__version__ = "0.1.0"
