"""PixelCNN:   p(x) = prod_d p(x_d | x_1 ... x_{d-1}), the pixels in reading order

    x (B, D)   pictures of H rows and W columns as datasets give them, flat: pixel (i, j) is
               x[:, i W + j]; values 0..k-1
    kernel     odd sizes; its centre lies on the pixel that is computed
    conv       how a layer is applied: to whole pictures, or to what a new pixel changes (Memory)

A convolution that reads only what comes before its centre can be stacked: the centre itself is cut
from the first layer (mask A), where it is the pixel that is predicted, and allowed in the others
(mask B), where it is what the layer before made of earlier pixels. Plain PixelCNN never sees some
of the pixels above and to the right, however deep it is: its blind spot. The gated one sees them by
a stack of its own for the rows above.
"""
import math

import numpy

from ...distributions import Bernoulli, Categorical
from ...engine.backend import uniform, xp
from ...engine.convolution import conv2d, pair
from ...engine.elementwise import relu, sigmoid, tanh
from ...engine.reductions import mean, softmax, sum
from ...engine.shaping import split
from ...engine.tensor import Tensor, no_grad
from ...nn import Conv2d, Embedding, MaskedConv2d, Module, Sequential
from ...nn.linear import check_sizes
from ..branches import Tractable, as_batch, as_count, as_labels, check_levels


class CausalConv2d(MaskedConv2d):
    """A convolution by the first `alive` taps of its kernel in reading order; keeps the size.
    Starts as a Conv2d with that many taps would."""

    def __init__(self, n_in, n_out, kernel, alive):
        mask = numpy.arange(math.prod(kernel)).reshape(kernel) < alive
        padding = kernel[0] // 2, kernel[1] // 2
        super().__init__(n_in, n_out, kernel, mask, padding=padding)
        self.W.data *= math.sqrt(mask.size / alive)


class _PixelModel(Tractable):
    """What both networks share: pictures, density and sampling. They differ in

    above(x, labels, conv) -> a list of what their layers are told of the rows above
    along(x, above, conv)  -> logits (B, 1 or k, H, W)"""

    def __init__(self, size, k, channels, layers, kernels, classes=None):
        name = type(self).__name__
        self.size = H, W = pair(name, "size", size, 1)
        if not hasattr(kernels, "__len__") or len(kernels) != 2:
            raise ValueError(f"{name}: kernels is {kernels!r}; needs two sizes, of the first layer "
                             "and of the others")
        check_sizes(name, channels=channels, layers=layers, first_kernel=kernels[0],
                    later_kernels=kernels[1], classes=1 if classes is None else classes)
        check_sizes(name, 2, k=k)
        if kernels[0] < 3 or not (kernels[0] % 2 and kernels[1] % 2):
            raise ValueError(f"{name}: kernels are {kernels}; needs odd sizes, so that there is a "
                             "centre, and at least 3 for the first")
        self.D, self.k, self.classes = H * W, k, classes
        self.head = Sequential(relu, Conv2d(channels, channels, 1),
                               relu, Conv2d(channels, 1 if k == 2 else k, 1))

    def conditionals(self, x, labels=None):
        """What the model says of each pixel, all in one pass: the logit of x_d = 1, (B, D), where
        k = 2; else the logit of each level, (B, D, k)"""
        x = as_batch(self, x)
        labels, B = as_labels(self, labels, len(x), self.classes), len(x)
        x = self._scaled(x).reshape(B, 1, *self.size)
        y = self.along(x, self.above(x, labels, whole), whole).transpose(0, 2, 3, 1)
        return y.reshape((B, self.D) if self.k == 2 else (B, self.D, self.k))

    def log_prob(self, x, labels=None):
        x = as_batch(self, x)
        check_levels(self, x, self.k)
        y = self.conditionals(x, labels)
        if self.k == 2:
            return sum(Bernoulli(y).log_prob(x), 1)
        levels = x.data if isinstance(x, Tensor) else x
        return sum(Categorical(y).log_prob(levels.astype("int64")), 1)

    def loss(self, x, labels=None):
        return -mean(self.log_prob(x, labels))

    def sample(self, n, labels=None, report=None):
        """n draws (n, D), pixel by pixel; report(d, D, {}, n / D) hears of each (as Progress).

        Each activation is computed once, so all D steps together cost as much arithmetic as one
        pass over n pictures; the inputs of all masked layers are held for it, about n D channels
        layers floats (3 times that if gated). u is drawn first: pixel d is 1 where
        u_d < sigmoid(logit), or the level at which the sum of p passes u_d."""
        (H, W), labels = self.size, as_labels(self, labels, as_count(self, n), self.classes)
        x, u = xp.zeros((n, self.D), "float32"), uniform((n, self.D))
        picture, memory = xp.zeros((n, 1, H, W), "float32"), Memory(self.size)
        with no_grad():
            for d in range(self.D):
                i, j = divmod(d, W)
                if j == 0:
                    above = self.above(picture, labels, memory.at(i, slice(0, W)))
                here = [a[..., j:j + 1] for a in above]
                y = self.along(picture, here, memory.at(i, slice(j, j + 1)))[:, :, 0, 0]
                x[:, d] = self._drawn(y.data, u[:, d])
                picture[:, 0, i, j] = self._scaled(x[:, d])
                if report:
                    report(d + 1, self.D, {}, n / self.D)
        return x

    def _drawn(self, y, u):
        """Levels (n,) from logits (n, 1 or k) and uniform numbers"""
        if self.k == 2:
            return u < sigmoid(y[:, 0])
        return (u[:, None] >= xp.cumsum(softmax(y), axis=1)[:, :-1]).sum(axis=1)

    def _scaled(self, x):
        """To [-1, 1]: black is then not the 0 that a convolution reads outside the picture."""
        return x * (2 / (self.k - 1)) - 1


class PixelCNN(_PixelModel):
    """Mask A, then `layers` of mask B, then two 1x1 convolutions, ReLU before all but the first.

    With residual=True a layer is h + 1x1(relu(k x k(relu(1x1(relu(h)))))), half as wide inside.
    Training keeps about 2 `channels` floats a layer for every pixel of the batch (5 if residual).
    Source: van den Oord et al. 2016a, table 1 and figure 5."""

    def __init__(self, size, k=2, channels=64, layers=5, kernels=(7, 7), residual=False):
        super().__init__(size, k, channels, layers, kernels)
        if residual and channels % 2:
            raise ValueError(f"PixelCNN: channels is {channels}; residual blocks halve it, so it "
                             "needs to be even")
        (first, later), layer = kernels, _Residual if residual else _Plain
        self.first = CausalConv2d(1, channels, (first, first), first * first // 2)
        self.layers = [layer(channels, later) for _ in range(layers)]

    def above(self, x, labels, conv):
        return []

    def along(self, x, above, conv):
        h = conv(self.first, x)
        for layer in self.layers:
            h = layer(h, conv)
        return self.head(h)


class _Plain(Module):
    def __init__(self, channels, kernel):
        self.conv = CausalConv2d(channels, channels, (kernel, kernel), kernel * kernel // 2 + 1)

    def forward(self, h, conv):
        return conv(self.conv, relu(h))


class _Residual(Module):
    def __init__(self, channels, kernel):
        half = channels // 2
        self.down = Conv2d(channels, half, 1)
        self.conv = CausalConv2d(half, half, (kernel, kernel), kernel * kernel // 2 + 1)
        self.up = Conv2d(half, channels, 1)

    def forward(self, h, conv):
        return h + self.up(relu(conv(self.conv, relu(self.down(relu(h))))))


class GatedPixelCNN(_PixelModel):
    """Two stacks. Vertical:   a = conv(v), over whole rows above;   v' = gate(a)
    Horizontal:   h' = h + 1x1(gate(conv(h) + 1x1(a))), over what is left in the row

    The first layer has no h to add to. With `classes`, every layer adds a bias of the label's class
    to a, from where it reaches both stacks (eq. 4 with a one-hot h: one vector for both).
    Training keeps about 16 `channels` floats a layer for every pixel of the batch.
    Source: van den Oord et al. 2016b, figure 2 and eqs. 2 to 4."""

    def __init__(self, size, k=2, channels=32, layers=8, kernels=(7, 3), classes=None):
        super().__init__(size, k, channels, layers, kernels, classes)
        self.layers = [_Gated(channels, kernels[l > 0], l == 0, classes) for l in range(layers)]

    def above(self, x, labels, conv):
        v, told = x, []
        for layer in self.layers:
            a = conv(layer.vertical, v)
            if labels is not None:
                a = a + layer.bias(labels).reshape(*a.shape[:2], 1, 1)
            told.append(layer.link(a))
            v = gate(a)
        return told

    def along(self, x, above, conv):
        h = x
        for layer, told in zip(self.layers, above):
            y = layer.out(gate(conv(layer.horizontal, h) + told))
            h = y if h is x else h + y
        return self.head(h)


class _Gated(Module):
    def __init__(self, channels, k, first, classes):
        n, here = (1, 0) if first else (channels, 1)
        self.vertical = CausalConv2d(n, 2 * channels, (k, k), (k // 2 + here) * k)
        self.horizontal = CausalConv2d(n, 2 * channels, (1, k), k // 2 + here)
        self.link = Conv2d(2 * channels, 2 * channels, 1)
        self.out = Conv2d(channels, channels, 1)
        self.bias = Embedding(classes, 2 * channels) if classes else None


def gate(a):
    """tanh(f) sigmoid(g), f and g the halves of a.   (B, 2 C, H, W) -> (B, C, H, W)"""
    f, g = split(a, 2, axis=1)
    return tanh(f) * sigmoid(g)


def whole(layer, x):
    """The layer on whole pictures"""
    return layer(x)


class Memory:
    """For sampling: what each layer was given so far, zero-padded, channels last.

    at(i, columns) is a conv that computes a layer in row i at those columns only. It is given x at
    that place, or the whole picture as it is so far, and remembers it."""

    def __init__(self, size):
        self.size, self.inputs = size, {}

    def at(self, i, columns):
        def conv(layer, x):
            (H, W), (p, q) = self.size, layer.settings["padding"]
            x = (x.data if isinstance(x, Tensor) else x).transpose(0, 2, 3, 1)
            if layer not in self.inputs:
                shape = len(x), H + 2 * p, W + 2 * q, x.shape[3]
                self.inputs[layer] = xp.zeros(shape, layer.W.dtype)
            seen = self.inputs[layer]
            inside = seen[:, p:p + H, q:q + W]
            if x.shape[1:3] != self.size:
                inside = inside[:, i:i + 1, columns]
            inside[...] = x
            window = seen[:, i:i + 2 * p + 1, columns.start:columns.stop + 2 * q]
            return conv2d(window.transpose(0, 3, 1, 2), layer.W.data, layer.b.data,
                          taps=layer.settings["taps"])
        return conv
