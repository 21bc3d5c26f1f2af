"""Autoregressive models on binary vectors: MNIST, DNA, Mushrooms."""
from .. import evaluation
from ..datasets.batches import Endless
from ..datasets.mnist import load_mnist, thresholded
from ..models.tractable.made import MADE
from ..optim import Adam
from .protocol import experiment


@experiment("P5", published=86.7, tolerance=1.0)
def made_on_mnist(run):
    """MADE [512, 512], natural order, thresholded MNIST (x > 0.5), Adam 1e-3, batch 128, 20 epochs;
    test nats per image."""
    mnist = load_mnist(report=print)
    test = thresholded(mnist.test_images[:500 if run.quick else None])
    model = MADE(784, hidden=(512, 512))
    batches = Endless(mnist.train_images, 128, run.rng, transform=lambda x, rng: thresholded(x))
    epoch = len(mnist.train_images) // 128

    def nats():
        return -evaluation.mean_and_error(model.log_prob, test)[0]
    run.fit(model, batches, 20 * epoch, [("nll", model.loss, Adam(model.parameters(), 1e-3))],
            nats, every=2 * epoch)
    return nats()
