"""Networks for GANs on pictures, and what helps a critic to see that samples are alike.

Pictures come and go as rows (B, C * H * W), as everywhere; inside they are (B, C, H, W).
"""
from ...engine.backend import uniform, xp
from ...engine.elementwise import cos, leaky_relu, relu, sigmoid, sin, sqrt
from ...engine.reductions import mean, var
from ...engine.shaping import broadcast_to, concatenate
from ...nn import (BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose2d, Linear, Module, Sequential,
                   SpectralConv2d, SpectralLinear, mlp)


def leaky(x):
    return leaky_relu(x, 0.2)


def bits(logits, temperature=1.0):
    """x = 1 where l + e > 0, e logistic noise, else 0: x ~ Bernoulli(sigmoid(l)).

    Backward takes the gradient of sigmoid((l + e) / temperature) instead (straight-through), so a
    generator of binary pictures can be trained on pictures that are binary.
    Source: Bengio et al. 2013; Maddison et al. 2017, appendix B."""
    u = xp.clip(uniform(logits.shape, logits.dtype), 1e-6, 1 - 1e-6)
    soft = sigmoid((logits + (xp.log(u) - xp.log(1 - u))) * (1 / temperature))
    return soft + ((soft.data > 0.5) - soft.data)


def waves(x, octaves):
    """x and beside it sin(2^k x), cos(2^k x), k below octaves.   (B, F) -> (B, F + 2 F octaves)

    An MLP is slow to learn what varies fast; a critic of these sees fine detail from the start.
    Source: Tancik et al. 2020, section 3."""
    return concatenate([x, *(f(2.0 ** k * x) for k in range(octaves) for f in (sin, cos))], axis=1)


def wave_critic(D, hidden, octaves=3, pack=1):
    """An MLP on waves(x).   (B, pack D) -> (B, 1)"""
    return Sequential(lambda x: waves(x, octaves),
                      mlp((pack * D * (1 + 2 * octaves), *hidden, 1), leaky))


class MinibatchStd(Module):
    """Beside x, one feature more: the standard deviation over the batch, averaged over features.

    (B, F) -> (B, F + 1), or (B, C, H, W) -> (B, C + 1, H, W). A critic that sees it must be given
    batches all real or all generated. Source: Karras et al. 2018, section 3."""

    def forward(self, x):
        spread = mean(sqrt(var(x, 0) + 1e-8))
        return concatenate([x, broadcast_to(spread, (len(x), 1, *x.shape[2:]))], axis=1)


def _halvings(size, asker):
    """(side of the smallest picture, how often it is doubled to give `size`): 16 = 4 * 2 * 2"""
    side, times = size, 0
    while side > 7 and side % 2 == 0:
        side, times = side // 2, times + 1
    if not times or side > 7:
        raise ValueError(f"{asker}: size is {size}; needs 4 to 7 times a power of 2, such as 16 or "
                         "28, to be halved and doubled")
    return side, times


def dcgan_generator(latent, size, channels=1, width=32):
    """z (n, Z) -> logits of pictures (n, channels * size * size): a linear map to small pictures of
    many channels, then transposed convolutions that double the side and halve the channels.

    Batch normalisation after each but the last. `width` channels before the last.
    Source: Radford et al. 2016, section 3."""
    side, times = _halvings(size, "dcgan_generator")
    wide = width * 2 ** (times - 1)
    layers = [Linear(latent, wide * side * side), BatchNorm1d(wide * side * side), relu,
              lambda x: x.reshape(len(x), wide, side, side)]
    for i in range(times - 1):
        n = wide // 2 ** (i + 1)
        layers += [ConvTranspose2d(2 * n, n, 4, stride=2, padding=1), BatchNorm2d(n), relu]
    return Sequential(*layers, ConvTranspose2d(width, channels, 4, stride=2, padding=1),
                      lambda x: x.reshape(len(x), channels * size * size))


def dcgan_critic(size, channels=1, width=32, pack=1, spectral=False, alike=False):
    """(B, pack * channels * size * size) -> (B, 1): convolutions that halve the side and double the
    channels, leaky ReLU between. Packed pictures are channels of one.

    spectral: every layer of slope at most about 1;   alike: a MinibatchStd before the last layer.
    Without batch normalisation, as penalties on the slope want. Source: Radford et al. 2016,
    section 3; Miyato et al. 2018."""
    side, times = _halvings(size, "dcgan_critic")
    conv, linear = (SpectralConv2d, SpectralLinear) if spectral else (Conv2d, Linear)
    C, n = channels * pack, width * 2 ** (times - 1)
    layers = [lambda x: x.reshape(len(x), C, size, size)]
    for i in range(times):
        layers += [conv(width * 2 ** (i - 1) if i else C, width * 2 ** i, 4, stride=2, padding=1),
                   leaky]
    return Sequential(*layers, *([MinibatchStd()] * alike), lambda x: x.reshape(len(x), -1),
                      linear((n + alike) * side * side, 1))
