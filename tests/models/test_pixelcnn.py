"""PixelCNNs keep the laws of an autoregressive model, plain or gated, of two levels or more."""
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets.batches import Endless
from tinygen.datasets.known import TinyBits
from tinygen.engine import backend, tensor
from tinygen.engine.backend import xp
from tinygen.evaluation import dependency_map
from tinygen.models.tractable import pixelcnn
from tinygen.models.tractable.pixelcnn import CausalConv2d, GatedPixelCNN, PixelCNN
from tinygen.optim import Adam
from tinygen.training import fit


def plain(size, k=2, layers=2, channels=8):
    return PixelCNN(size, k, channels, layers, (3, 3))


def residual(size, k=2, layers=2, channels=8):
    return PixelCNN(size, k, channels, layers, (3, 3), residual=True)


def gated(size, k=2, layers=2, classes=None):
    return GatedPixelCNN(size, k, 8, layers, (3, 3), classes)


KINDS = pytest.mark.parametrize("kind", [plain, residual, gated])


def sharp(model, scale=3.0):
    """The model in float64 with larger weights, so that its conditionals are far from even."""
    for p in model.parameters():
        p.data = p.data.astype("float64") * scale
    return model


def states(D, k=2):
    """Every picture of D pixels in k levels -> (k^D, D)"""
    return np.stack(np.unravel_index(np.arange(k ** D), (k,) * D), axis=1).astype("float32")


def log_prob(model, x, *labels):
    return tg.to_numpy(model.log_prob(xp.asarray(x), *labels))


def conditionals(model, x, *labels):
    return tg.to_numpy(model.conditionals(xp.asarray(x), *labels))


# --- what sees what -------------------------------------------------------------------------------

def sees(model):
    """(D, D): whether what is said of pixel i moves with pixel j"""
    x = np.random.default_rng(0).uniform(0, model.k - 1, size=(32, model.D))
    return dependency_map(sharp(model, 1.0), x) > 0


def before(H, W):
    """(D, D): whether pixel j comes before pixel i in reading order"""
    return np.tri(H * W, k=-1, dtype=bool)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("H, W", [(4, 5), (5, 3), (1, 5), (5, 1)])
def test_the_gated_network_sees_all_that_came_before_and_nothing_else(H, W, k):
    assert (sees(gated((H, W), k, layers=4)) == before(H, W)).all()


@pytest.mark.parametrize("kind", [plain, residual])
@pytest.mark.parametrize("k", [2, 3])
def test_the_plain_network_has_a_blind_spot(kind, k):
    """A 3x3 kernel gains one column to the right with each row up, so (i', j') stays unseen at any
    depth where j' - j > i - i'."""
    H, W = 4, 5
    i, j = np.divmod(np.arange(H * W), W)
    blind = before(H, W) & (j[None, :] - j[:, None] > i[:, None] - i[None, :])
    assert blind.sum() > 10
    for layers in (4, 7):
        assert (sees(kind((H, W), k, layers, channels=32)) == before(H, W) & ~blind).all()


def test_one_gated_layer_sees_as_far_as_its_kernel():
    """So it is depth that brings in the rest of the picture."""
    i, j = np.divmod(np.arange(20), 5)
    up, right = i[:, None] - i[None, :], j[None, :] - j[:, None]
    assert (sees(gated((4, 5), layers=1)) == before(4, 5) & (up <= 1) & (abs(right) <= 1)).all()


def test_first_and_later_layers_take_the_taps_in_reading_order():
    model, gates = PixelCNN(8, channels=4, layers=1, kernels=(5, 3)), gated(8).layers
    assert tg.to_numpy(model.first.mask).tolist() == [[1] * 5, [1] * 5, [1, 1, 0, 0, 0],
                                                      [0] * 5, [0] * 5]
    for model in (model, residual(8)):
        assert tg.to_numpy(model.layers[0].conv.mask).tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    vertical = [tg.to_numpy(layer.vertical.mask).tolist() for layer in gates]
    horizontal = [tg.to_numpy(layer.horizontal.mask).tolist() for layer in gates]
    assert vertical == [[[1] * 3, [0] * 3, [0] * 3], [[1] * 3, [1] * 3, [0] * 3]]
    assert horizontal == [[[1, 0, 0]], [[1, 1, 0]]]


def test_a_masked_layer_starts_as_one_of_as_many_taps():
    W = tg.to_numpy(CausalConv2d(16, 64, (7, 7), 24).W)
    assert 0.99 * (24 * 16) ** -0.5 < abs(W).max() <= (24 * 16) ** -0.5 * (1 + 1e-6)


@KINDS
def test_the_edge_of_the_picture_is_not_black(kind):
    logits = conditionals(kind(9, layers=1), np.zeros((1, 81))).reshape(9, 9)
    assert logits[4, 4] == pytest.approx(logits[5, 4], abs=1e-6)
    assert abs(logits[4, 4] - logits[0, 0]) > 1e-4


# --- the density ----------------------------------------------------------------------------------

@KINDS
@pytest.mark.parametrize("size, k", [(3, 2), ((2, 5), 2), (1, 2), ((2, 3), 3), (2, 5), ((3, 1), 4)])
def test_the_probabilities_of_all_pictures_sum_to_one(kind, size, k):
    model = sharp(kind(size, k))
    p = np.exp(log_prob(model, states(model.D, k)))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-12
    assert p.max() > 1.2 * p.mean()                 # the sum of an even p would be no test


@KINDS
@pytest.mark.parametrize("k", [2, 3])
def test_log_prob_adds_up_the_conditionals(kind, k):
    """The chain rule: p(x_d | before) by summing exp(log p) over whatever comes after d."""
    model, x = sharp(kind(2, k)), states(4, k)
    p, y = np.exp(log_prob(model, x)), conditionals(model, x)
    assert y.shape == ((16, 4) if k == 2 else (81, 4, 3))
    e = np.exp(np.stack([0 * y, y], -1) if k == 2 else y)
    chance = e / e.sum(-1, keepdims=True)
    for d in range(4):
        for row, given in zip(x, chance[:, d]):
            same = (x[:, :d] == row[:d]).all(1)
            found = [p[same & (x[:, d] == level)].sum() / p[same].sum() for level in range(k)]
            assert found == pytest.approx(given, rel=1e-10)


def reference(model, x, label, i, j):
    """The logit of pixel (i, j), spelled out for one gated layer with 3x3 kernels."""
    layer, (H, W) = model.layers[0], model.size
    grid = np.zeros((H + 2, W + 2))
    grid[1:-1, 1:-1] = 2 * x.reshape(H, W) - 1

    def values(layer):
        return (tg.to_numpy(p) for p in layer.parameters())

    def dense(layer, h):
        V, c = values(layer)
        return V[:, :, 0, 0] @ h + c

    def gate(a):
        return np.tanh(a[:8]) / (1 + np.exp(-a[8:]))
    V, c = values(layer.vertical)
    a = V[:, 0, 0] @ grid[i, j:j + 3] + c + tg.to_numpy(layer.bias.W)[label]
    V, c = values(layer.horizontal)
    h = dense(layer.out, gate(V[:, 0, 0, 0] * grid[i + 1, j] + c + dense(layer.link, a)))
    for one_by_one in model.head.layers[1::2]:
        h = dense(one_by_one, np.maximum(h, 0))
    return h[0]


def test_a_gated_layer_is_its_equations():
    model, x = sharp(gated(3, layers=1, classes=2)), states(9)[[5, 300]]
    y = conditionals(model, x, [1, 0])
    expected = [[reference(model, row, label, *divmod(d, 3)) for d in range(9)]
                for row, label in zip(x, [1, 0])]
    assert np.allclose(y, expected, rtol=1e-12)


def test_later_gated_layers_add_to_what_is_there():
    """Layers that add 0 leave the logits of the first alone."""
    model, x = sharp(gated(3, layers=3)), states(9)[::16]
    for layer in model.layers[1:]:
        for p in layer.out.parameters():
            p.data *= 0
    before = conditionals(model, x)
    del model.layers[1:]
    assert np.allclose(conditionals(model, x), before, rtol=1e-12)


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_float32_weights_compute_in_float32(kind, dtype):
    for k in (2, 3):
        model, x = kind(2, k), states(4, k)
        y = model.log_prob(xp.asarray(x.astype(dtype)))
        assert y.shape == (k ** 4,) and y.dtype == np.float32 == model.loss(x).dtype
        assert (tg.to_numpy(y) == log_prob(model, x)).all()
        assert model.loss(x).item() == pytest.approx(-log_prob(model, x).mean(), rel=1e-6)


# --- classes --------------------------------------------------------------------------------------

@pytest.mark.parametrize("k", [2, 3])
def test_each_class_has_a_density_of_its_own(k):
    model, x = sharp(gated(2, k, classes=3)), states(4, k)
    p = np.exp([log_prob(model, x, np.full(len(x), c)) for c in range(3)])
    assert (abs(p.sum(1) - 1) < 1e-12).all()
    assert min(abs(p[a] - p[b]).sum() for a, b in [(0, 1), (1, 2), (2, 0)]) > 0.1
    mixed = np.arange(len(x)) % 3
    assert np.allclose(np.exp(log_prob(model, x, mixed.astype("uint8"))),
                       p[mixed, np.arange(len(x))], rtol=1e-12)
    assert model.loss(x, mixed).item() == pytest.approx(-log_prob(model, x, mixed).mean())


# --- samples --------------------------------------------------------------------------------------

def deviation(x, p, k):
    """Pearson's chi-square of samples x (n, D) against p of the k^D states, in standard deviations
    above its mean; states expected fewer than 10 times are pooled."""
    ids = tg.to_numpy(x).astype(int) @ k ** np.arange(x.shape[1])[::-1]
    counts, rare = np.bincount(ids, minlength=len(p)), p * len(x) < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum() + 1e-12) * len(x)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@KINDS
@pytest.mark.parametrize("size, k", [((2, 3), 2), (2, 3)])
def test_samples_follow_the_density(kind, size, k):
    model = sharp(kind(size, k))
    x, p = model.sample(20_000), np.exp(log_prob(model, states(model.D, k)))
    assert isinstance(x, xp.ndarray) and x.shape == (20_000, model.D) and x.dtype == np.float32
    assert abs(deviation(x, p, k)) < 5
    assert deviation(x[:, ::-1], p, k) > 10                     # it can fail
    model.head[3].b.data[-1] += 0.3
    assert deviation(x, np.exp(log_prob(model, states(model.D, k))), k) > 10


def test_samples_follow_the_density_of_their_class():
    model, labels = sharp(gated(2, classes=2)), np.arange(20_000) % 2
    x = model.sample(20_000, labels)
    p = [np.exp(log_prob(model, states(4), np.full(16, c))) for c in range(2)]
    for c in range(2):
        assert abs(deviation(tg.to_numpy(x)[labels == c], p[c], 2)) < 5
        assert deviation(tg.to_numpy(x)[labels == c], p[1 - c], 2) > 10


def slow_sample(model, n, labels):
    """As model.sample, by a whole pass for every pixel"""
    x, u = xp.zeros((n, model.D), dtype="float32"), backend.uniform((n, model.D))
    for d in range(model.D):
        y = model.conditionals(x, *labels).data[:, d]
        x[:, d] = model._drawn(y.reshape(n, -1), u[:, d])
    return x


@KINDS
@pytest.mark.parametrize("size, k", [(5, 2), ((3, 4), 4), ((1, 6), 2), ((6, 1), 3), (1, 2)])
def test_sampling_gives_what_whole_passes_give(kind, size, k, monkeypatch):
    """In float64 the logits agree to rounding, and so, from the same u, does every pixel."""
    model, said = sharp(kind(size, k)), []
    drawn = model._drawn
    monkeypatch.setattr(model, "_drawn", lambda y, u: said.append(y) or drawn(y, u))
    tg.seed(1)
    x = model.sample(40)
    whole = conditionals(model, x).reshape(40, model.D, -1)
    assert np.allclose(np.stack([tg.to_numpy(y) for y in said], axis=1), whole, rtol=1e-11)
    tg.seed(1)
    assert (tg.to_numpy(x) == tg.to_numpy(slow_sample(model, 40, ()))).all()
    assert model.D == 1 or len(np.unique(tg.to_numpy(x), axis=0)) > 2


def test_sampling_gives_what_whole_passes_give_for_each_class():
    model, labels = sharp(gated((3, 4), 3, classes=4)), np.arange(40) % 4
    tg.seed(1)
    x = tg.to_numpy(model.sample(40, labels))
    tg.seed(1)
    assert (x == tg.to_numpy(slow_sample(model, 40, [labels]))).all()


@KINDS
def test_sampling_computes_every_activation_once(kind, monkeypatch):
    sizes, conv2d = [], pixelcnn.conv2d

    def counted(*args, **settings):
        y = conv2d(*args, **settings)
        sizes.append(y.size)
        return y
    monkeypatch.setattr(pixelcnn, "conv2d", counted)
    model = kind((4, 5))
    model.sample(3)
    layers = [m for m in model.modules() if isinstance(m, CausalConv2d)]
    assert sum(sizes) == sum(3 * 20 * layer.W.shape[0] for layer in layers)


def test_samples_repeat_with_the_seed_record_nothing_and_report(monkeypatch):
    monkeypatch.setattr(tensor, "watch", lambda y: pytest.fail("recorded"))
    model, samples, heard = gated(3), [], []
    for _ in range(2):
        tg.seed(3)
        samples.append(tg.to_numpy(model.sample(20, report=lambda *told: heard.append(told))))
    assert (samples[0] == samples[1]).all() and model.sample(0).shape == (0, 9)
    assert [told[:3] for told in heard[:9]] == [(d + 1, 9, {}) for d in range(9)]
    assert sum(told[3] for told in heard[:9]) == pytest.approx(20)


# --- learning, saving, mistakes -------------------------------------------------------------------

@pytest.mark.once
@KINDS
def test_learning_comes_near_the_known_distribution(kind):
    world, model = TinyBits(3), kind(3)
    log_p = world.log_prob(world.states())

    def distance():
        """KL(p_data || p_theta), nats, exact: a sum over all 512 states"""
        return float(np.exp(log_p) @ (log_p - log_prob(model, world.states())))
    batches = Endless(world.sample(20_000, np.random.default_rng(0)), 100, np.random.default_rng(1))
    far = distance()
    fit(model, batches, 200, [("nll", model.loss, Adam(model.parameters(), 1e-2))])
    assert far > 1.5 and 0 < distance() < 0.3


@KINDS
def test_cut_weights_get_no_gradient_and_all_others_one(kind):
    model = kind(4, 3)
    model.loss(np.random.default_rng(0).integers(0, 3, (50, 16))).backward()
    for layer in (m for m in model.modules() if isinstance(m, CausalConv2d)):
        gradient = abs(tg.to_numpy(layer.W.grad)).sum((0, 1))
        assert ((gradient > 0) == (tg.to_numpy(layer.mask) > 0)).all()


def test_state_makes_the_same_model():
    model, other, x = gated(3, 3, classes=2), gated(3, 3, classes=2), states(9)[::16]
    labels = np.arange(len(x)) % 2
    assert (log_prob(model, x, labels) != log_prob(other, x, labels)).any()
    other.load_state_dict(model.state_dict())
    assert (log_prob(model, x, labels) == log_prob(other, x, labels)).all()


ZEROS, CLASSES = np.zeros((2, 9)), gated(3, classes=4)


@pytest.mark.parametrize("sentence, call", [
    ("PixelCNN: k is 1; needs a whole number of at least 2", lambda: PixelCNN(3, k=1)),
    ("GatedPixelCNN: k is 2.5; needs", lambda: GatedPixelCNN(3, k=2.5)),
    (r"PixelCNN: size is \(3, 0\); needs a whole number of at least 1", lambda: PixelCNN((3, 0))),
    (r"PixelCNN: size is \(3, 3, 3\); .* or a pair", lambda: PixelCNN((3, 3, 3))),
    (r"kernels are \(4, 3\); needs odd sizes", lambda: PixelCNN(3, kernels=(4, 3))),
    (r"kernels are \(7, 2\); needs odd sizes", lambda: GatedPixelCNN(3, kernels=(7, 2))),
    (r"kernels are \(1, 3\); .* at least 3 for the first", lambda: PixelCNN(3, kernels=(1, 3))),
    ("PixelCNN: kernels is 7; needs two sizes", lambda: PixelCNN(3, kernels=7)),
    (r"GatedPixelCNN: kernels is \(7,\); needs two", lambda: GatedPixelCNN(3, kernels=(7,))),
    ("channels is 7; residual blocks halve", lambda: PixelCNN(3, channels=7, residual=True)),
    ("layers is 0; needs a whole number", lambda: GatedPixelCNN(3, layers=0)),
    ("classes is 0; needs a whole number", lambda: GatedPixelCNN(3, classes=0)),
    (r"x has shape \(2, 8\); needed \(B, 9\)", lambda: gated(3).log_prob(np.zeros((2, 8)))),
    (r"x has shape \(2, 1, 3, 3\); needed \(B, 9\)",
     lambda: plain(3).conditionals(np.zeros((2, 1, 3, 3)))),
    ("x holds 2; needs whole numbers from 0 to 1, so binarize it",
     lambda: plain(3).log_prob(ZEROS + 2)),
    ("x holds -1; needs whole numbers", lambda: plain(3, 3).log_prob(ZEROS - 1)),
    ("x holds 0.5; needs whole numbers from 0 to 2", lambda: plain(3, 3).loss(ZEROS + 0.5)),
    ("x holds nan; needs whole numbers", lambda: plain(3).loss(ZEROS + math.nan)),
    ("PixelCNN: given labels, but made without classes", lambda: plain(3).loss(ZEROS, [0, 0])),
    ("GatedPixelCNN: given labels, but made without", lambda: gated(3).sample(2, labels=[0, 0])),
    (r"made for 4 classes; needs labels \(2,\)", lambda: CLASSES.loss(ZEROS)),
    (r"made for 4 classes; needs labels \(5,\)", lambda: CLASSES.sample(5)),
    ("labels run from 0 to 4; needs 0 to 3", lambda: CLASSES.loss(ZEROS, [0, 4])),
    ("labels run from -1 to 0; needs 0 to 3", lambda: CLASSES.conditionals(ZEROS, [0, -1])),
    (r"labels are int64 of shape \(3,\); needs integers \(2,\)",
     lambda: CLASSES.sample(2, labels=[0, 1, 2])),
    (r"labels are float\d* of shape \(2,\); needs integers", lambda: CLASSES.loss(ZEROS, [0., 1.])),
])
def test_mistakes_get_one_sentence(sentence, call):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
