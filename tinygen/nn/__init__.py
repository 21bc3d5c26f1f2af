"""Layers: modules that hold parameters and call the engine's operations."""
from . import init
from .conv import Conv2d, ConvTranspose2d, MaskedConv2d
from .linear import Embedding, Linear, MaskedLinear, mlp
from .module import (GELU, Dropout, LeakyReLU, Module, ReLU, Sequential, Sigmoid, SiLU, Softplus,
                     Tanh)
from .norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from .recurrent import GRUCell, LSTMCell, Recurrent, RNNCell
