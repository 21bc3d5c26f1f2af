"""Lesson 11: is a convolution a new operation?

No: it is a matrix product whose matrix repeats a few numbers: y = A x, where row (i, j) of A holds
the kernel, placed at (i, j). Everything follows from that one matrix:

    y = A x      the convolution                 in practice: cut out patches, one matrix product
    A' g         the gradient with respect to x  the transposed convolution: it lays kernels down
    patches' g   the gradient with respect to the kernel

Promise: A x is the sum's y; A' g and patches' g are tinygen's gradients; of a B with stride 2,
B' x is tinygen's transposed convolution, and <B z, x> = <z, B' x>.
Changed since lesson 10: x is a picture; the layer of PixelCNN (15), DCGAN (29) and U-Net (27)
    python lessons/11_convolution.py       a few seconds

합성곱은 새로운 연산이 아니라, 적은 수의 값이 되풀이되는 행렬과의 곱이다. 그 행렬의 전치가 기울기이자
전치 합성곱(그림을 키우는 층)이다. 실제로는 조각(patch)을 잘라 내어 행렬곱 한 번으로 계산한다.
"""
# %% A picture and a kernel
import time

import numpy as np

import tinygen as tg
from tinygen import plotting
from tinygen.commands import lesson_options
from tinygen.datasets.known import Glyphs

args = lesson_options("A convolution as a matrix, and its transpose.")
rng = np.random.default_rng(args.seed)
picture = Glyphs().templates[rng.integers(540)].reshape(16, 16).astype(float)
edge = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])         # left minus right: vertical edges


# %% As a sum: what a convolution says
def convolve(x, w, stride=1):
    """y_ij = sum_ab x_(i stride + a, j stride + b) w_ab   (strictly, a cross-correlation)"""
    k, n = len(w), (len(x) - len(w)) // stride + 1
    y = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            y[i, j] = (x[i * stride:i * stride + k, j * stride:j * stride + k] * w).sum()
    return y


# %% As one matrix: every row is the kernel, put down in another place
def matrix(w, size, stride=1):
    """A (n n, size size) with A @ x.ravel() = convolve(x, w).ravel()"""
    k, n = len(w), (size - len(w)) // stride + 1
    A = np.zeros((n, n, size, size))
    for i in range(n):
        for j in range(n):
            A[i, j, i * stride:i * stride + k, j * stride:j * stride + k] = w
    return A.reshape(n * n, size * size)


A = matrix(edge, 16)
y = convolve(picture, edge)
print(f"A is {A.shape}, {np.count_nonzero(A) / A.size:.1%} of it not 0, made of "
      f"{len(np.unique(A[A != 0]))} different numbers")
print(f"A x against the sum: {abs(A @ picture.ravel() - y.ravel()).max():.0e} apart")


# %% As patches: what is computed in practice (im2col)
def patches(x, k, stride=1):
    """Every k x k patch as a row: (n n, k k)"""
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k))[::stride, ::stride]
    return windows.reshape(-1, k * k)


by_patches = patches(picture, 3) @ edge.ravel()
print(f"patches @ kernel against the sum: {abs(by_patches - y.ravel()).max():.0e} apart")

# %% The gradients, from the two products
g = rng.normal(size=y.shape)                            # the gradient of some loss by y
dx, dw = (A.T @ g.ravel()).reshape(16, 16), (patches(picture, 3).T @ g.ravel()).reshape(3, 3)
x, w = (tg.tensor(a[None, None], requires_grad=True) for a in (picture, edge))
tg.sum(tg.conv2d(x, w) * g).backward()
print(f"dx and dw against tinygen.conv2d: {abs(dx - tg.to_numpy(x.grad)[0, 0]).max():.0e} and "
      f"{abs(dw - tg.to_numpy(w.grad)[0, 0]).max():.0e} apart")

# %% The transpose as a layer: it makes a picture larger, one kernel for each pixel
blob = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16.0
small = convolve(picture, np.ones((2, 2)) / 4, stride=2)                        # 8 x 8
B = matrix(blob, 18, stride=2)                          # from 18 x 18 to 8 x 8, so B' goes up
large = (B.T @ small.ravel()).reshape(18, 18)
ours = tg.to_numpy(tg.conv_transpose2d(small[None, None], blob[None, None], stride=2))[0, 0]
z = rng.normal(size=(18, 18))
inner = (convolve(z, blob, 2) * small).sum(), (z * large).sum()
print(f"B' small against tinygen.conv_transpose2d: {abs(large - ours).max():.0e} apart")
print(f"adjoint: <B z, small> = {inner[0]:.6f} = <z, B' small> = {inner[1]:.6f}")


# %% What it costs: a layer of 16 channels, by a loop over places and by one product
def seconds(f, n):
    start = time.perf_counter()
    for _ in range(n):
        f()
    return (time.perf_counter() - start) / n


batch, kernels = rng.normal(size=(32, 16, 28, 28)), rng.normal(size=(16, 16, 3, 3))
slow = seconds(lambda: [np.einsum("bcij,ocij->bo", batch[:, :, i:i + 3, j:j + 3], kernels)
                        for i in range(26) for j in range(26)], 1)
fast = seconds(lambda: tg.conv2d(batch, kernels), 3)
print(f"32 pictures, 16 to 16 channels: place by place {slow * 1e3:.0f} ms, tinygen.conv2d "
      f"{fast * 1e3:.0f} ms")
print(f"as a dense matrix the layer would hold {16 * 784 * 16 * 676:,} weights, not {kernels.size}")

# %% The picture
fig, axes = plotting.figure(1, 5, (16, 3.6))
for ax, (image, title) in zip(axes[0], (
        (picture, "x"), (y, "y = A x: vertical edges"), (A[:60, :100], "a corner of A"),
        (small, "small: means of 2 x 2"), (large, "B' small: larger again"))):
    ax.imshow(image, cmap="RdBu" if image.min() < 0 else "gray_r", interpolation="nearest",
              vmin=-abs(image).max() if image.min() < 0 else 0, vmax=abs(image).max())
    ax.set(title=title, xticks=[], yticks=[])
print("figure:", plotting.save(fig, args.out, "11_convolution.png", args.show))

# %% The promise of this lesson
assert abs(A @ picture.ravel() - y.ravel()).max() < 1e-12 and abs(large - ours).max() < 1e-12
assert abs(dx - tg.to_numpy(x.grad)[0, 0]).max() < 1e-12 and abs(inner[0] - inner[1]) < 1e-9
assert abs(by_patches - y.ravel()).max() < 1e-12
assert abs(dw - tg.to_numpy(w.grad)[0, 0]).max() < 1e-12
# What we left out: padding, channels, groups, dilation, and how engine/convolution.py keeps the
# patches in cache. Exercises: ex12_convolution, ex13_conv_transpose.
