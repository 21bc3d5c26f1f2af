"""Convolutional autoregressive models of pictures: PixelCNN on MNIST and on Glyphs."""
import numpy as np

from ..datasets.batches import Endless
from ..datasets.known import Glyphs
from ..datasets.mnist import dynamic, load_mnist, thresholded
from ..engine.backend import to_numpy
from ..models.tractable.pixelcnn import PixelCNN
from ..optim import Adam, cosine
from ..training import Progress
from .protocol import above_floor, drawn, experiment, nll


def on_mnist(run, model, binarize, batch_size, epochs, lr):
    """Trains on the 60,000 training pictures; gives the nats of the last model on the 10,000 of the
    test, binarized once. lr: a function of the number of steps"""
    mnist = load_mnist(report=print)
    test = binarize(mnist.test_images, np.random.default_rng(0))[:20 if run.quick else None]
    batch_size = 4 if run.quick else batch_size
    epoch = len(mnist.train_images) // batch_size
    batches = Endless(mnist.train_images, batch_size, run.rng, transform=binarize)
    adam = Adam(model.parameters(), lr(epochs * epoch))
    run.fit(model, batches, epochs * epoch, [("nll", model.loss, adam)],
            lambda: nll(model.log_prob, test[:1000], 100), every=epoch)
    return nll(model.log_prob, test, 100)


@experiment("G2", published=59.3, tolerance=0.5)
def pixelcnn_on_mnist(run):
    """PixelCNN (7x7 mask A, then 5 x 7x7 mask B, 64 channels, two 1x1), thresholded MNIST
    (x > 0.5), Adam 1e-3, batch 128, 10 epochs; test nats per image. For a GPU. The curve is on the
    first 1000 test pictures; nothing is selected by it."""
    model = PixelCNN(28, channels=8 if run.quick else 64, layers=5, kernels=(7, 7))
    return on_mnist(run, model, lambda x, rng: thresholded(x), 128, 10, lambda steps: 1e-3)


@experiment("G3", published=81.45, tolerance=0.5)
def residual_pixelcnn_on_mnist(run):
    """PixelCNN (7x7 mask A, 15 residual blocks with 3x3 mask B, 32 channels, two 1x1), dynamic
    MNIST (x ~ Bernoulli(grey), test drawn once), batch 256, Adam 2e-3 falling to 0 along a cosine
    over 100 epochs; test nats per image. For a GPU. The published run took 457 epochs at a rate
    that decayed slowly from 1e-3. The curve is on the first 1000 test pictures; nothing is selected
    by it."""
    model = PixelCNN(28, channels=32, layers=15, kernels=(7, 3), residual=True)
    return on_mnist(run, model, dynamic, 256, 100, lambda steps: cosine(2e-3, steps, warmup=200))


@experiment("glyphs-pixelcnn", published=1.0, word="at most", unit="nats above the floor")
def pixelcnn_on_glyphs(run):
    """PixelCNN (15x15 mask A, which sees most of a digit, 4 residual blocks with 3x3 mask B, 128
    channels, two 1x1) on Glyphs(16), each batch of 32 drawn afresh, 3000 steps of Adam, 5e-3 after
    a warm-up and falling to 0 along a cosine, gradients clipped to norm 1; KL(p_data || p_theta),
    the mean of ln p_data - ln p_theta over 5000 fresh pictures."""
    world, steps = Glyphs(size=16), 3000
    model = PixelCNN(16, channels=16 if run.quick else 128, layers=4, kernels=(15, 3),
                     residual=True)
    test = world.sample(100 if run.quick else 5000, np.random.default_rng([run.seed, 1]))
    adam = Adam(model.parameters(), cosine(5e-3, steps, warmup=50))

    run.fit(model, drawn(world.sample, 32, run.rng), steps, [("nll", model.loss, adam)],
            lambda: nll(model.log_prob, test[:500], 100), every=500, clip=1.0)
    judge_samples(world, model, 20 if run.quick else 500)
    return above_floor(world, model.log_prob, test, batch_size=100)


def judge_samples(world, model, n):
    """Prints what the true density says of n samples, and how many templates they hit."""
    x = to_numpy(model.sample(n, report=Progress("sampling")))
    true = world.sample(n, np.random.default_rng(0))
    for name, x in (("samples", x), ("true samples", true)):
        print(f"{n} {name}: -ln p_data {-world.log_prob(x).mean():.2f} nats, "
              f"{len(world.modes_found(x))} of {world.K} templates found")
