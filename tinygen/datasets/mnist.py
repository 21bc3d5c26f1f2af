"""MNIST: 28 x 28 grey pictures of handwritten digits, and three ways to make them binary.

LeCun, Bottou, Bengio and Haffner (1998).  N: examples, grey: uint8 in 0..255, x: float32 pixels.
Pictures stay uint8 in memory (47 MB); make float32 of one batch at a time.
"""
from collections import namedtuple
import functools
import hashlib
import math
from pathlib import Path
import struct

import numpy as np

from .binary import Splits
from .files import DownloadFailed, download, find, read_bounded, search_folders

MNIST = namedtuple("MNIST", "train_images train_labels test_images test_labels")

FILES = {  # name: (unpacked bytes, their sha256)
    "train-images-idx3-ubyte":
        (47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte":
        (60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte":
        (7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte":
        (10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://sagemaker-sample-files.s3.amazonaws.com/datasets/image/MNIST/",
)


def load_mnist(folder=None, report=None):
    """MNIST(train_images (60000, 28, 28), train_labels (60000,), test_images, test_labels), uint8.

    Each file, plain or .gz, is looked for in `folder` and its mnist/; without a folder, in
    TINYGEN_DATA, its mnist/, data/ and data/mnist/.  A missing one is downloaded into the last of
    these; report(text) hears how it goes.  The arrays are shared by all callers, so read-only.
    FileNotFoundError if no mirror answers, ValueError if a file is damaged or of another set.
    """
    root = Path(folder).expanduser() if folder else None
    folders = [root, root / "mnist"] if folder else search_folders("mnist")
    return MNIST(*(_array(_locate(name, folders, report), *FILES[name]) for name in FILES))


def _locate(name, folders, report):
    """The path of file `name`, downloaded if no folder has it."""
    path = find([name, name + ".gz"], folders)
    if path is not None:
        return path
    try:
        return download(name + ".gz", folders[-1], MIRRORS, FILES[name][0],
                        lambda part: _verified(part, *FILES[name]), report)
    except DownloadFailed as problem:
        raise FileNotFoundError(
            f"MNIST: {name}.gz is in none of {', '.join(map(str, folders))}, and no mirror gave it "
            f"({problem}); put {', '.join(FILES)} (each plain or .gz) into {folders[-1]}, or name "
            "the folder that has them in TINYGEN_DATA") from problem


@functools.lru_cache(maxsize=len(FILES))
def _array(path, size, sha256):
    """The array of a verified IDX file, decoded once per process."""
    return decode_idx(_verified(path, size, sha256), path)


def _verified(path, size, sha256):
    """The unpacked bytes of a file, or ValueError if their checksum is not `sha256`."""
    data = read_bounded(path, size)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: {len(data):,} bytes with sha256 {found[:16]}... where MNIST has "
                         f"{size:,} with {sha256[:16]}...; put the right file there, or delete it "
                         "to have it downloaded")
    return data


def read_idx(path, most=2**28):
    """The uint8 array of any IDX file of unsigned bytes, plain or gzip, of at most `most` bytes."""
    return decode_idx(read_bounded(path, most), path)


def decode_idx(data, name="IDX data"):
    """Bytes 0, 0, 8, K, then K big-endian uint32 sizes, then the values -> read-only uint8 array.

    The header is believed only if it accounts for every byte of `data`; nothing is copied.
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 32:
        raise ValueError(f"{name}: starts with bytes {data[:4].hex(' ') or '(none)'}; an IDX file "
                         "of unsigned bytes starts with 00 00 08 and its number of axes")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise ValueError(f"{name}: {len(data)} bytes cannot hold the sizes of {data[3]} axes; the "
                         "file is cut short, get it again")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    need = header + math.prod(shape)  # Python ints: a hostile header cannot overflow
    if len(data) != need or 0 in shape:
        raise ValueError(f"{name}: {len(data):,} bytes where shape {shape} needs {need:,}, and no "
                         "size may be 0; the file is damaged, get it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def thresholded(images):
    """x = [grey > 127]   (N, 28, 28) uint8 -> (N, 784) float32"""
    return (_grey(images) > 127).astype(np.float32)


def dynamic(images, rng):
    """x ~ Bernoulli(grey / 255), drawn anew at each call   (N, 28, 28) uint8 -> (N, 784) float32

    Burda, Grosse and Salakhutdinov (2016), section 5.
    """
    return _draw(images, rng).astype(np.float32)


def fixed(mnist, seed=0):
    """x ~ Bernoulli(grey / 255), drawn once -> Splits of 50,000, 10,000 and 10,000 (N, 784) uint8.

    The last 10,000 training pictures are the validation part.  Salakhutdinov and Murray (2008)
    did the same with another draw, so scores on theirs and on this are close, not equal.
    """
    rng = np.random.default_rng(seed)
    train, test = (_draw(x, rng).view(np.uint8) for x in (mnist.train_images, mnist.test_images))
    return Splits(train[:-10_000], train[-10_000:], test)


def _draw(images, rng):
    """[u < grey] with u uniform on 0..254: true with probability exactly grey / 255."""
    grey = _grey(images)
    return rng.integers(0, 255, grey.shape, np.uint8) < grey


def _grey(images):
    """(N, ...) uint8 -> (N, D); grey already scaled to 0..1 would come out black, so TypeError."""
    if getattr(images, "dtype", None) != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images are {kind}; needed uint8 grey levels 0..255, as load_mnist gives")
    return images.reshape(len(images), -1)
