"""Matrix products and convolutions, held against plain loops and differences."""
import itertools

import numpy as np
import pytest

from tinygen.engine.backend import to_numpy, xp
from tinygen.engine.convolution import conv2d, conv_transpose2d
from tinygen.engine.elementwise import multiply, tanh
from tinygen.engine.gradcheck import gradcheck
from tinygen.engine.pooling import avg_pool2d, max_pool2d, upsample
from tinygen.engine.products import einsum, linear, matmul
from tinygen.engine.reductions import sum
from tinygen.engine.backward import grad
from tinygen.engine.tensor import Tensor, tensor


@pytest.fixture
def draw():
    """draw(shape): random numbers, float64 on the backend."""
    rng = np.random.default_rng(0)
    return lambda *shape: xp.asarray(rng.standard_normal(shape))


def close(x, y, tolerance=1e-11):
    return np.allclose(to_numpy(x), to_numpy(y), rtol=tolerance, atol=tolerance)


def gradients(f, *arrays):
    """y and its gradients for an output gradient of fixed random numbers."""
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    y = f(*leaves)
    w = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    return [y, *grad(sum(multiply(y, xp.asarray(w))), leaves)]


# --- matmul and linear ----------------------------------------------------------------------------

SHAPES = [((3,), (3,)), ((3,), (3, 4)), ((3,), (2, 3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)),
          ((2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
          ((5, 1, 2, 3), (6, 3, 4)), ((6, 5, 2, 3), (3, 4)), ((6, 5, 2, 3), (5, 3, 4))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul_is_numpys_and_its_gradients_are_right(shapes, draw):
    x, y = map(lambda shape: draw(*shape), shapes)
    z = matmul(Tensor(x), Tensor(y))
    assert close(z, to_numpy(x) @ to_numpy(y)) and z.shape == (to_numpy(x) @ to_numpy(y)).shape
    assert close(Tensor(x) @ y, z) and close(x @ Tensor(y), z)
    assert gradcheck(matmul, x, y)


def test_matmul_of_views_and_of_empty_batches(draw):
    x, y = draw(4, 2, 3), draw(5, 2, 3)
    assert gradcheck(lambda x, y: matmul(x.transpose(1, 0, 2), y.transpose(1, 2, 0)), x, y)
    z, dx, dy = gradients(matmul, draw(0, 2, 3), draw(3, 4))
    assert (z.shape, dx.shape, dy.shape) == ((0, 2, 4), (0, 2, 3), (3, 4)) and close(dy, 0)
    z, dx, dy = gradients(matmul, draw(2, 3, 0), draw(0, 4))
    assert (dx.shape, dy.shape) == ((2, 3, 0), (0, 4)) and close(z, 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (0, 3)], ids=str)
def test_linear_is_x_W_plus_b(shape, bias, draw):
    args = [draw(*shape), draw(3, 2), draw(2)][:2 + bias]
    expected = to_numpy(args[0]) @ to_numpy(args[1]) + (to_numpy(args[2]) if bias else 0)
    assert close(linear(*map(Tensor, args)), expected)
    assert gradcheck(linear, *args)


def test_linear_leaves_its_arguments_as_they_were(draw):
    x, W, b = (Tensor(draw(*shape)) for shape in ((4, 3), (3, 2), (2,)))
    before = [to_numpy(a).copy() for a in (x, W, b)]
    linear(x, W, b)
    assert all(np.array_equal(to_numpy(a), old) for a, old in zip((x, W, b), before))


# --- einsum ---------------------------------------------------------------------------------------

SIZES = dict(a=2, b=3, c=4, d=5, i=3)
SPECS = ["ab,bc->ac", "ab,bc", "ba,bc->ca", "ab->ba", "ab->b", "ab->", "a,b->ab", "ab,ab->",
         "abc,bd->acd", "abc,abd->bcd", "ab,bc,cd->ad", "ab,cb,cd,d->a", "ab,c->c", "a, a -> a",
         "ii->i", "ii", "iii->i", "aii->a", "ii,ib->b", "aii,ib->ab", "ab,ab,ab->b", "b,a"]


@pytest.mark.parametrize("spec", SPECS)
def test_einsum_is_numpys_and_its_gradients_are_einsums(spec, draw):
    operands = [draw(*(SIZES[c] for c in letters))
                for letters in spec.replace(" ", "").split("->")[0].split(",")]
    assert close(einsum(spec, *map(Tensor, operands)), np.einsum(spec, *map(to_numpy, operands)))
    assert gradcheck(lambda *xs: einsum(spec, *xs), *operands)


# --- convolution: against loops -------------------------------------------------------------------

def loops(x, W, b, stride=1, padding=0, dilation=1, groups=1):
    """The definition, one output pixel and group at a time."""
    x, W = to_numpy(x), to_numpy(W)
    (sh, sw), (ph, pw), (dh, dw) = map(pair, (stride, padding, dilation))
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    O, C, kh, kw = W.shape
    tall, wide = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    y = np.zeros((len(x), O, (x.shape[2] - tall) // sh + 1, (x.shape[3] - wide) // sw + 1))
    for h, w, n in itertools.product(range(y.shape[2]), range(y.shape[3]), range(groups)):
        window = x[:, n * C:(n + 1) * C, h * sh:h * sh + tall:dh, w * sw:w * sw + wide:dw]
        part = slice(n * O // groups, (n + 1) * O // groups)
        y[:, part, h, w] = np.einsum("bcij,ocij->bo", window, W[part])
    return y + to_numpy(b)[:, None, None]


def pair(n):
    return (n, n) if isinstance(n, int) else n


CONVOLUTIONS = [
    # x, W, settings
    ((2, 3, 5, 6), (4, 3, 1, 1), {}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {}),
    ((1, 2, 5, 6), (3, 2, 3, 3), dict(padding=1)),
    ((2, 2, 6, 5), (3, 2, 2, 3), dict(padding=(0, 2))),
    ((2, 1, 7, 8), (3, 1, 4, 4), dict(stride=2, padding=1)),
    ((2, 2, 7, 8), (1, 2, 3, 3), dict(stride=2, padding=1)),
    ((2, 2, 6, 8), (2, 2, 1, 1), dict(stride=2)),
    ((2, 2, 6, 8), (2, 2, 2, 4), dict(stride=(2, 4))),
    ((2, 2, 9, 8), (2, 2, 3, 2), dict(stride=(1, 3), padding=(2, 1))),
    ((2, 2, 7, 7), (2, 2, 3, 3), dict(dilation=2)),
    ((2, 2, 9, 7), (2, 2, 3, 2), dict(dilation=(2, 3), padding=2, stride=2)),
    ((2, 2, 8, 8), (2, 2, 2, 2), dict(dilation=3, stride=2)),
    ((2, 2, 3, 3), (2, 2, 1, 2), dict(padding=3)),
    ((1, 1, 2, 2), (1, 1, 3, 3), dict(padding=(4, 5), stride=3)),
    ((2, 4, 5, 5), (6, 2, 3, 3), dict(groups=2, padding=1)),
    ((2, 3, 5, 5), (6, 1, 3, 3), dict(groups=3, stride=2)),
    ((2, 8, 4, 4), (1, 8, 3, 3), dict(padding=1)),
    ((2, 1, 4, 4), (8, 1, 3, 3), dict(padding=1)),
    ((2, 2, 3, 3), (2, 2, 3, 3), {}),
]


@pytest.mark.parametrize("x, W, settings", CONVOLUTIONS, ids=str)
def test_conv2d_is_the_definition_and_its_gradients_are_right(x, W, settings, draw):
    x, W, b = draw(*x), draw(*W), draw(W[0])
    assert close(conv2d(Tensor(x), W, b, **settings), loops(x, W, b, **settings))
    assert close(conv2d(x, W, **settings), loops(x, W, 0 * b, **settings))
    assert gradcheck(conv2d, x, W, b, **settings)


@pytest.mark.parametrize("x, W, settings", CONVOLUTIONS, ids=str)
def test_conv_transpose2d_is_the_adjoint_of_conv2d(x, W, settings, draw):
    """<conv(x), y> = <x, conv_T(y)>, for each of the sizes that conv brings to the same size."""
    W, stride = draw(*W), pair(settings.get("stride", 1))
    for extra in itertools.product(range(stride[0]), range(stride[1])):
        y = draw(*conv2d(xp.zeros(x), W, **settings).shape)
        z = conv_transpose2d(Tensor(y), W, output_padding=extra, **settings)
        image = draw(x[0], *z.shape[1:])
        forth = conv2d(image, W, **settings)
        assert forth.shape == y.shape and z.shape[1] == x[1]
        assert close((to_numpy(forth) * to_numpy(y)).sum(), (to_numpy(image) * z.numpy()).sum())


@pytest.mark.parametrize("x, W, settings", [
    ((2, 3, 3, 4), (3, 2, 3, 2), dict(padding=1)),
    ((1, 2, 3, 3), (2, 1, 4, 4), dict(stride=2, padding=1)),
    ((2, 2, 2, 3), (2, 3, 3, 3), dict(stride=2, padding=1, output_padding=1)),
    ((2, 2, 2, 3), (2, 3, 2, 1), dict(stride=(3, 2), output_padding=(2, 0), dilation=2)),
    ((2, 4, 3, 3), (4, 3, 2, 2), dict(groups=2, stride=2)),
    ((2, 6, 2, 2), (6, 1, 3, 3), dict(padding=1)),
], ids=str)
def test_gradients_of_conv_transpose2d(x, W, settings, draw):
    x, W, b = draw(*x), draw(*W), draw(W[1] * settings.get("groups", 1))
    with_bias, without = (conv_transpose2d(x, W, b, **settings) for b in (b, None))
    assert close(with_bias, to_numpy(without) + to_numpy(b)[:, None, None])
    assert gradcheck(conv_transpose2d, x, W, b, **settings)


def test_many_images_are_worked_on_a_few_at_a_time(draw, monkeypatch):
    args = draw(7, 2, 6, 6), draw(3, 2, 4, 4), draw(3)
    whole = gradients(lambda *a: conv2d(*a, stride=2, padding=1), *args)
    monkeypatch.setattr("tinygen.engine.convolution.CHUNK", 500)
    parts = gradients(lambda *a: conv2d(*a, stride=2, padding=1), *args)
    assert all(map(close, whole, parts))


@pytest.mark.parametrize("taps", [[(0, 0)], [(2, 1)], [(1, 1), (0, 2)], [(0, 0), (0, 1), (0, 2),
                                                                      (1, 0), (1, 1)]], ids=str)
@pytest.mark.parametrize("settings", [dict(padding=1), dict(stride=2, dilation=2, padding=3)],
                         ids=str)
def test_taps_are_a_mask_on_the_kernel(taps, settings, draw):
    mask = np.zeros((3, 3))
    for tap in taps:
        mask[tap] = 1
    x, W, b, mask = draw(2, 3, 7, 6), draw(4, 3, 3, 3), draw(4), xp.asarray(mask)
    used = gradients(lambda *a: conv2d(*a, taps=taps, **settings), x, W, b)
    masked = gradients(lambda x, W, b: conv2d(x, W * mask, b, **settings), x, W, b)
    assert all(map(close, used, masked))
    assert gradcheck(lambda x, W: conv2d(x, W, taps=taps, **settings), x, W)


# --- convolution: layouts, dtypes, sizes ----------------------------------------------------------

def layouts(x):
    """The same images: as they are, channels last, rows backwards, every second column."""
    wide = xp.zeros((*x.shape[:3], 2 * x.shape[3]), x.dtype)
    wide[..., ::2] = x
    last = xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return [x, last, xp.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1], wide[..., ::2]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("settings", [{}, dict(padding=1), dict(stride=2, padding=1)], ids=str)
def test_any_layout_of_memory_gives_the_same(settings, channels, draw):
    x, W, w = draw(2, channels, 6, 5), draw(4, channels, 3, 3), draw(3, 2, 3, 3)
    y = draw(2, 3, 6, 5)
    for f, args in ((conv2d, (x, W)), (conv_transpose2d, (y, w))):
        expected = gradients(lambda *a: f(*a, **settings), *args)
        for images in layouts(args[0]):
            for kernel in layouts(args[1]):
                got = gradients(lambda *a: f(*a, **settings), images, kernel)
                assert all(map(close, got, expected))


def test_the_result_holds_its_channels_last(draw):
    y = conv2d(draw(2, 3, 6, 5), draw(4, 3, 3, 3), stride=2, padding=1)
    z = conv_transpose2d(y, draw(4, 3, 3, 3))
    assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in (y, z))


FLOAT32 = {
    "matmul": (matmul, (4, 2, 3), (3, 5)),
    "linear": (linear, (4, 3), (3, 5), (5,)),
    "einsum": (lambda x, y: einsum("abb,bc->c", x, y), (2, 3, 3), (3, 4)),
    "conv2d": (lambda *a: conv2d(*a, stride=2, padding=1), (2, 3, 5, 5), (4, 3, 3, 3), (4,)),
    "conv_transpose2d": (lambda *a: conv_transpose2d(*a, stride=2),
                         (2, 3, 4, 4), (3, 4, 3, 3), (4,)),
    "max_pool2d": (lambda x: max_pool2d(x, 2), (2, 3, 5, 5)),
    "avg_pool2d": (lambda x: avg_pool2d(x, 2), (2, 3, 5, 5)),
    "upsample": (lambda x: upsample(x, 2), (2, 3, 5, 5)),
}


@pytest.mark.parametrize("name", FLOAT32)
def test_float32_stays_float32(name, draw):
    f, *shapes = FLOAT32[name]
    leaves = [tensor(draw(*shape), dtype="float32", requires_grad=True) for shape in shapes]
    y = f(*leaves)
    gs = grad(sum(y * y), leaves, create_graph=True)
    seconds = grad(sum(gs[0] * gs[0]), leaves)
    assert {a.dtype for a in (y, *gs, *seconds)} == {np.dtype("float32")}


def test_integer_images(draw):
    pixels, W = xp.asarray(np.arange(50).reshape(2, 1, 5, 5)), draw(3, 1, 2, 2).astype("float32")
    y, dW = gradients(lambda W: conv2d(Tensor(pixels), W), W)
    assert y.dtype == dW.dtype == "float32"
    assert close(y, loops(pixels, W, np.zeros(3)), 1e-4)


@pytest.mark.parametrize("f, shapes", [(conv2d, [(0, 2, 5, 5), (3, 2, 3, 3), (3,)]),
                                       (conv_transpose2d, [(0, 2, 5, 5), (2, 3, 3, 3), (3,)])])
def test_no_images(f, shapes, draw):
    y, dx, dW, db = gradients(lambda *a: f(*a, stride=2, padding=1), *(draw(*s) for s in shapes))
    assert y.shape[:2] == (0, 3) and dx.shape == (0, 2, 5, 5) and close(dW, 0) and close(db, 0)


def test_only_the_gradients_asked_for_are_computed(draw, monkeypatch):
    """A first layer needs no gradient of the images."""
    monkeypatch.setattr("tinygen.engine.convolution._conv2d_dx", None)
    W = Tensor(draw(3, 2, 3, 3), requires_grad=True)
    sum(conv2d(draw(2, 2, 5, 5), W)).backward()
    assert W.grad.shape == W.shape


def test_gradient_penalty(draw):
    """A loss made of the gradient of the images, as WGAN-GP has."""
    def penalty(x, V, W):
        y = sum(tanh(conv2d(tanh(conv2d(x, V, stride=2, padding=1)), W)))
        dx = grad(y, x, create_graph=True)
        return sum(dx * dx)
    x, V, W = draw(2, 1, 6, 6), draw(3, 1, 4, 4), draw(2, 3, 2, 2)
    assert gradcheck(lambda V, W: penalty(Tensor(x, requires_grad=True), V, W), V, W, order=1)


# --- pooling and upsampling -----------------------------------------------------------------------

POOLS = [((2, 3, 4, 6), 2, None), ((1, 2, 5, 7), (2, 3), None), ((2, 2, 6, 5), 3, 1),
         ((2, 2, 7, 7), 2, (3, 2)), ((1, 1, 3, 3), 3, None)]


@pytest.mark.parametrize("shape, size, stride", POOLS, ids=str)
def test_pools_are_their_definitions(shape, size, stride, draw):
    x = draw(*shape)
    (kh, kw), (sh, sw) = pair(size), pair(stride or size)
    windows = np.lib.stride_tricks.sliding_window_view(to_numpy(x), (kh, kw), axis=(2, 3))
    windows = windows[:, :, ::sh, ::sw]
    for pool, expected in ((max_pool2d, windows.max((4, 5))), (avg_pool2d, windows.mean((4, 5)))):
        assert close(pool(x, size, stride), expected)
        assert close(pool(layouts(x)[1], size, stride), expected)
        assert gradcheck(lambda x: pool(x, size, stride), x)


def test_tied_elements_share_the_gradient():
    x = Tensor(xp.asarray([[[[1.0, 3, 3], [3, 0, 2], [2, 2, 2]]]]), requires_grad=True)
    g = grad(sum(max_pool2d(x, (2, 3)) * 6), x)
    assert to_numpy(g).tolist() == [[[[0, 2, 2], [2, 0, 0], [0, 0, 0]]]]


@pytest.mark.parametrize("factor", [1, 2, (3, 2)])
def test_upsample_repeats_pixels(factor, draw):
    x, (fh, fw) = draw(2, 3, 2, 4), pair(factor)
    assert close(upsample(x, factor), to_numpy(x).repeat(fh, 2).repeat(fw, 3))
    assert gradcheck(lambda x: upsample(x, factor), x)


# --- mistakes -------------------------------------------------------------------------------------

def z(*shape):
    return Tensor(xp.zeros(shape))


MISTAKES = {
    "matmul: (3, 4) @ (5, 2): inner sizes 4 and 5 differ": lambda: z(3, 4) @ z(5, 2),
    "matmul: (7, 3, 4) @ (5, 2): inner sizes 4 and 5 differ": lambda: z(7, 3, 4) @ z(5, 2),
    "matmul: (4,) @ (5,): inner sizes 4 and 5 differ": lambda: z(4) @ z(5),
    "matmul: (2, 3, 4) @ (3, 4, 5): leading axes (2,) and (3,) differ; sizes must be equal or 1":
        lambda: z(2, 3, 4) @ z(3, 4, 5),
    "matmul: () @ (3,): a number is no matrix; multiply with *": lambda: 2 @ z(3),
    "linear: x (5, 4) with W (3, 2): needs W (in, out) and x (..., in)":
        lambda: linear(z(5, 4), z(3, 2)),
    "linear: x (5, 4) with W (4,): needs W (in, out) and x (..., in)":
        lambda: linear(z(5, 4), z(4)),
    "linear: b has shape (3,); W (4, 2) needs (2,)": lambda: linear(z(5, 4), z(4, 2), z(3)),
    "einsum: 'ab,bc' names 2 operands, given 1 (at most 16)": lambda: einsum("ab,bc", z(2, 3)),
    "einsum: 'ab' names axes 'ab' of shape (2,)": lambda: einsum("ab", z(2)),
    "einsum: in 'ab,bc->ac' the letter b has sizes 3 and 4":
        lambda: einsum("ab,bc->ac", z(2, 3), z(4, 2)),
    "einsum: the result 'ad' of 'ab->ad' must name letters of the operands, each once":
        lambda: einsum("ab->ad", z(2, 3)),
    "einsum: the result 'aa' of 'ab->aa' must name letters of the operands, each once":
        lambda: einsum("ab->aa", z(2, 3)),
    "einsum: '...a->a' has an ellipsis; name every axis by a letter":
        lambda: einsum("...a->a", z(2, 3)),
    "einsum: the subscripts come first, as in einsum('ab,bc->ac', x, y)":
        lambda: einsum(z(2, 3), "ab"),
    "conv2d: needs x (B, C, H, W), got (3, 4, 4)": lambda: conv2d(z(3, 4, 4), z(2, 3, 3, 3)),
    "conv2d: needs x (B, C, H, W), got list": lambda: conv2d([1.0], z(2, 3, 3, 3)),
    "conv2d: needs a kernel W of 4 axes, got (2, 3)": lambda: conv2d(z(1, 3, 4, 4), z(2, 3)),
    "conv2d: x (1, 2, 4, 4) has 2 channels, W (2, 3, 3, 3) with groups=1 needs 3":
        lambda: conv2d(z(1, 2, 4, 4), z(2, 3, 3, 3)),
    "conv2d: x (1, 3, 4, 4) has 3 channels, W (2, 3, 3, 3) with groups=2 needs 6":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), groups=2),
    "conv2d: groups is 2; needs a whole number that divides the 3 of W (3, 3, 3, 3)":
        lambda: conv2d(z(1, 6, 4, 4), z(3, 3, 3, 3), groups=2),
    "conv2d: b has shape (3,), needed (2,)":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), z(3)),
    "conv2d: kernel (3, 5) with dilation (1, 1) is larger than the image (4, 2) with padding "
    "(1, 1)": lambda: conv2d(z(1, 3, 4, 2), z(2, 3, 3, 5), padding=1),
    "conv2d: stride is 0; needs a whole number of at least 1, or a pair of them":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), stride=0),
    "conv2d: padding is 'same'; needs a whole number of at least 0, or a pair of them":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), padding="same"),
    "conv2d: dilation is (1, 2, 3); needs a whole number of at least 1, or a pair of them":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), dilation=(1, 2, 3)),
    "conv2d: taps ((0, 3),) must be positions (i, j) in a kernel (3, 3)":
        lambda: conv2d(z(1, 3, 4, 4), z(2, 3, 3, 3), taps=[(0, 3)]),
    "conv_transpose2d: x (1, 2, 4, 4) has 2 channels, W (3, 2, 3, 3) with groups=1 needs 3":
        lambda: conv_transpose2d(z(1, 2, 4, 4), z(3, 2, 3, 3)),
    "conv_transpose2d: output_padding (2, 2) must be below the stride (2, 2)":
        lambda: conv_transpose2d(z(1, 3, 4, 4), z(3, 2, 3, 3), stride=2, output_padding=2),
    "conv_transpose2d: x (1, 3, 1, 1) and W (3, 2, 3, 3) give an image of size (-1, -1); lower the "
    "padding (2, 2)": lambda: conv_transpose2d(z(1, 3, 1, 1), z(3, 2, 3, 3), padding=2),
    "max_pool2d: windows of (3, 3) need x (B, C, H, W) at least as large, got (1, 1, 2, 4)":
        lambda: max_pool2d(z(1, 1, 2, 4), 3),
    "avg_pool2d: size is 0; needs a whole number of at least 1, or a pair of them":
        lambda: avg_pool2d(z(1, 1, 2, 4), 0),
    "upsample: needs x (B, C, H, W), got (2, 4)": lambda: upsample(z(2, 4), 2),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_told_in_one_sentence(message):
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as error:
        MISTAKES[message]()
    assert str(error.value) == message
