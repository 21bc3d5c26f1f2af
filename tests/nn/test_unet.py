"""The networks that take noise away: what they see, what they are told, and their gradients."""
import numpy as np
import pytest

import tinygen as tg
from tinygen.engine.backend import xp
from tinygen.nn import ImageDenoiser, MLPDenoiser, UNet
from tinygen.nn.unet import ResBlock, time_features


def awake(net):
    """In float64, and every convolution that starts at 0 made as large as the others"""
    rng = np.random.default_rng(0)
    for p in net.parameters():
        p.data = p.data.astype("float64")
        if not tg.to_numpy(p.data).any():
            p.data = xp.asarray(rng.normal(0, 0.3, p.shape))
    return net


def randoms(*shape):
    return xp.asarray(np.random.default_rng(1).normal(size=shape))


def test_a_block_starts_as_a_linear_map():
    x, h = randoms(2, 4, 6, 6), randoms(2, 3)
    assert (tg.to_numpy(ResBlock(4, 4, 3, groups=2)(x, h)) == tg.to_numpy(x)).all()
    wider = ResBlock(4, 6, 3, groups=2)
    assert np.allclose(tg.to_numpy(wider(x, h)), tg.to_numpy(wider.short(x)))


def test_blocks_and_nets_have_right_gradients():
    block, net = awake(ResBlock(2, 4, 3, groups=2)), awake(UNet(1, 1, 3, (2, 4), groups=2))
    tg.gradcheck(block, randoms(2, 2, 4, 4), randoms(2, 3), order=1)
    tg.gradcheck(net, randoms(2, 1, 4, 4), randoms(2, 3), order=1)


def test_every_pixel_and_the_told_vector_reach_every_output():
    net = awake(UNet(1, 1, 3, (4, 4, 4), groups=2))
    x, h = tg.tensor(randoms(1, 1, 8, 8), True), tg.tensor(randoms(1, 3), True)
    y = net(x, h)
    for i, j in ((0, 0), (7, 7), (3, 4)):
        gx, gh = tg.grad(y[0, 0, i, j], [x, h])
        assert (tg.to_numpy(gx.data) != 0).all() and (tg.to_numpy(gh.data) != 0).all()


def test_every_weight_learns():
    net = awake(ImageDenoiser(8, (8, 8), classes=3))
    y = net(randoms(4, 64), randoms(4), xp.asarray([0, 1, 2, 3]))
    (y * randoms(4, 64)).sum().backward()
    assert all(tg.to_numpy(p.grad).any() for p in net.parameters())


@pytest.mark.parametrize("net", [lambda c: MLPDenoiser(16, (8,), 2, c),
                                 lambda c: ImageDenoiser(4, (8, 8), c),
                                 lambda c: ImageDenoiser(2, (8, 8), c, channels=4)])
def test_denoisers_hear_time_and_label(net):
    x, when = randoms(3, 16).astype("float32"), xp.asarray([0.5, 0.5, -2.0], dtype="float32")
    y = awake_float32(net(None))(xp.broadcast_to(x[:1], (3, 16)), when)
    assert y.shape == (3, 16) and y.dtype == np.float32
    y = tg.to_numpy(y)
    assert np.allclose(y[0], y[1], atol=1e-5) and abs(y[0] - y[2]).max() > 1e-3
    labels = xp.asarray([0, 1, 2])                      # 2: no label
    y = tg.to_numpy(awake_float32(net(2))(xp.broadcast_to(x[:1], (3, 16)), 0 * when, labels))
    assert abs(y[0] - y[1]).max() > 1e-3 and abs(y[1] - y[2]).max() > 1e-3


def awake_float32(net):
    for p in awake(net).parameters():
        p.data = p.data.astype("float32")
    return net


def test_time_features_tell_times_apart():
    f = tg.to_numpy(time_features(xp.linspace(-13, 13, 261)))
    assert f.shape == (261, 32) and abs(f).max() <= 1
    distances = ((f[:, None] - f) ** 2).sum(-1) + 9 * np.eye(261)
    assert distances.min() > 0.05                       # a tenth of a nat of log-SNR apart


@pytest.mark.parametrize("sentence, call", [
    (r"UNet: x has shape \(1, 1, 6, 8\); needs .* divisible by 4, to be halved 2 times",
     lambda: UNet(1, 1, 3, (8, 8, 8))(randoms(1, 1, 6, 8), randoms(1, 3))),
    (r"UNet: x has shape \(8, 8\)", lambda: UNet(1, 1, 3, (8,))(randoms(8, 8), randoms(1, 3))),
    ("UNet: width1 is 0; needs a whole number", lambda: UNet(1, 1, 3, (8, 0))),
    ("UNet: no widths; needs at least one", lambda: UNet(1, 1, 3, ())),
    ("GroupNorm: 8 groups do not divide 12 channels", lambda: UNet(1, 1, 3, (12,))),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
