"""Layers: modules that hold parameters and call the engine's operations."""
from . import init
from .attention import MultiHeadAttention, TransformerBlock
from .conv import CausalConv1d, Conv2d, ConvTranspose2d, MaskedConv2d
from .linear import Embedding, Linear, MaskedLinear, mlp
from .module import (GELU, Dropout, LeakyReLU, Module, ReLU, Sequential, Sigmoid, SiLU, Softplus,
                     Tanh)
from .norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, SpectralConv2d, SpectralLinear
from .recurrent import GRUCell, LSTMCell, Recurrent, RNNCell
from .unet import ImageDenoiser, MLPDenoiser, UNet
