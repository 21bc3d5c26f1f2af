"""Ready-made data sets of zeros and ones: NAME.npz with train_data, valid_data and test_data.

Larochelle and Murray (2011) fixed these splits; MADE (Germain et al. 2015) is scored on them.
"""
from collections import namedtuple
import warnings

import numpy as np

from .files import find, read_npz, search_folders

Splits = namedtuple("Splits", "train valid test")
KEYS = ("train_data", "valid_data", "test_data")
MOST = 2**30  # bytes of one set, unpacked; the largest of the published ones has a quarter


def load_binary(name):
    """NAME.npz -> Splits(train, valid, test), each (N, D) float32 with only 0 and 1.

    Looked for in TINYGEN_DATA, its binary/, data/ and data/binary/; never downloaded.
    """
    folders = search_folders("binary")
    path = find([f"{name}.npz"], folders)
    if path is None:
        places = ", ".join(map(str, folders))
        raise FileNotFoundError(f"load_binary: no {name}.npz in {places}; put the file into one "
                                "of them, or name its folder in TINYGEN_DATA (see data/README.md)")
    splits = Splits(*map(_zeros_and_ones, _arrays(path), [f"{path}: {key}" for key in KEYS]))
    if len({x.shape[1] for x in splits}) > 1:
        raise ValueError(f"{path}: rows of {[x.shape[1] for x in splits]} values; the three parts "
                         "must agree, so replace the file")
    return splits


def _arrays(path):
    """The three arrays of an .npz, read without pickle."""
    try:
        with warnings.catch_warnings():
            # The published files were written by Python 2, of which NumPy warns; they are fine.
            warnings.simplefilter("ignore", UserWarning)
            arrays = read_npz(path, MOST)
        return [arrays[key] for key in KEYS]
    except Exception as problem:  # damage has many faces, and none matters
        why = (str(problem) or type(problem).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a whole .npz with {', '.join(KEYS)} ({why}); replace "
                         "the file") from problem


def _zeros_and_ones(x, what):
    """x as (N, D) float32, or ValueError naming its first value that is not 0 or 1."""
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{what} has shape {x.shape}; needed (N, D), not empty")
    good = (x == 0) | (x == 1)
    if not good.all():
        i, j = np.argwhere(~good)[0]
        raise ValueError(f"{what}[{i}, {j}] is {x[i, j]}; needed only 0 and 1, so binarize first")
    return np.ascontiguousarray(x, dtype=np.float32)
