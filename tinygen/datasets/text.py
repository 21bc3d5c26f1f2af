"""Text as numbers: characters of a long text, or of a list of names.

B: batch, T: characters in a window, N: examples, L: characters of the longest name.  Ids are
int64.  A name is framed by the boundary character, which says "starts here" and "ends here".
"""
import math
import os
from pathlib import Path
import random

import numpy as np

from .exact import check_draw, whole
from .files import find, read_bounded, search_folders

LARGEST_FILE = 1 << 28          # bytes of a text, unpacked
LARGEST_ARRAY = 1 << 27         # ids of an array of names, a GiB


class Vocabulary:
    """Characters <-> ids 0..V-1, in code point order; a boundary, if given, comes first as 0.

    `text` is a string or a list of strings; the characters in it are the ones known.
    """

    def __init__(self, text, boundary=None):
        try:
            known = set("".join(text or ()))
        except TypeError:
            raise TypeError("Vocabulary: the text is no string, nor a list of strings") from None
        if boundary is not None and (len(str(boundary)) != 1 or boundary in known):
            raise ValueError(f"Vocabulary: boundary {boundary!r}; needed one character that the "
                             "text does not have, so choose another")
        if not known:
            raise ValueError("Vocabulary: the text is empty; needed at least one character")
        self.boundary = boundary
        self.chars = ([] if boundary is None else [boundary]) + sorted(known)
        self.ids = {char: i for i, char in enumerate(self.chars)}

    def __len__(self):
        return len(self.chars)

    def encode(self, text):
        """A string of n characters -> (n,) int64."""
        try:
            return np.fromiter(map(self.ids.__getitem__, text), np.int64, len(text))
        except KeyError as problem:
            char = problem.args[0]
            raise ValueError(f"encode: {char!r} at position {text.index(char)} is not among the "
                             f"{len(self)} known characters; build the Vocabulary from text that "
                             "has it, or take it out") from None

    def decode(self, ids):
        """(n,) integers -> a string of n characters."""
        ids = np.asarray(ids)
        if ids.size == 0:
            return ""
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= len(self):
            raise ValueError(f"decode: {ids.dtype} of shape {ids.shape}, {ids.min()} to "
                             f"{ids.max()}; needed integers of shape (n,), 0 to {len(self) - 1}")
        return "".join(self.chars[i] for i in ids.tolist())


def read_text(path):
    """The text of a UTF-8 file of at most 256 MiB, plain or gzip, with every line end as \\n and no
    byte order mark.

    `path` is taken as it stands, then below TINYGEN_DATA and data/.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"read_text: path is {path!r}; needs the name of a text file")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; needed a text file, so name one inside it")
    folders = search_folders("text")
    found = find([path], [".", *folders])
    if found is None:
        places = ", ".join(map(str, [Path.cwd(), *folders]))
        raise FileNotFoundError(f"no file {str(path)[:255]} in {places}; check the name, or name "
                                "its folder in TINYGEN_DATA")
    text = _decoded(read_bounded(found, LARGEST_FILE), found).removeprefix("\ufeff")
    if not text:
        raise ValueError(f"{found} is empty; needed at least one character")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data, path):
    """UTF-8 bytes -> string, or ValueError naming the first wrong byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: byte 0x{data[problem.start]:02x} at offset {problem.start} is "
                         "not UTF-8; save the file as UTF-8") from None


def read_names(path):
    """The names in a file, one a line; blanks around a name and blank lines are dropped."""
    names = [line.strip() for line in read_text(path).split("\n")]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"{path} has only blank lines; needed one name a line")
    return names


def split_names(names, seed=42):
    """Shuffled and cut 80 : 10 : 10 -> (train, valid, test).

    With seed 42, the split of Karpathy's "makemore" lecture 2 (2022): random.shuffle in place.
    """
    names = list(names)
    if len(names) < 10:
        raise ValueError(f"split_names: {len(names)} names; needed at least 10, of which 8 train")
    random.Random(seed).shuffle(names)
    first, second = int(.8 * len(names)), int(.9 * len(names))
    return names[:first], names[first:second], names[second:]


def windows(ids, length, batch_size, rng):
    """Random windows of one long text and their next characters -> x, y (B, T) int64.

    y[b, t] is the character after x[b, t].  The draw is a function of rng's state alone.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"windows: ids are {ids.dtype} of shape {ids.shape}; needed integers (N,)")
    check_draw(batch_size, rng, "windows")
    whole(length, 1, len(ids) - 1, "windows: length")
    start = rng.integers(0, len(ids) - length, batch_size)
    both = ids[start[:, None] + np.arange(length + 1)].astype(np.int64, copy=False)
    return both[:, :-1], both[:, 1:]


def contexts(names, vocabulary, length):
    """Every character of every name, last boundary too, after its context -> x (N, length), y (N,).

    Contexts that reach before the name are filled with boundaries: Bengio et al. (2003) on
    characters.  length=1 gives all pairs of a bigram table.
    """
    whole(length, 1, math.inf, "contexts: length")
    _check(names, vocabulary)
    _check_size("contexts", (sum(map(len, names)) + len(names)) * (length + 1), names)
    end = vocabulary.boundary
    ids = vocabulary.encode("".join(end * length + name + end for name in names))
    both = np.lib.stride_tricks.sliding_window_view(ids, length + 1)
    # A boundary after a boundary is filling, not the end of a name: no name is empty.
    both = both[(both[:, -1] != 0) | (both[:, -2] != 0)]
    return both[:, :-1], both[:, -1]


def padded(names, vocabulary):
    """Names side by side -> x, y (N, L+1) int64 and mask (N, L+1) float32.

    x starts with the boundary, y ends with it; mask is 0 in the filling after that, 1 before.  The
    mean loss per character is (loss * mask).sum() / mask.sum().
    """
    _check(names, vocabulary)
    size = np.array([len(name) for name in names])
    _check_size("padded", len(names) * (int(size.max()) + 2), names)
    both = np.zeros((len(names), size.max() + 2), np.int64)  # 0: the boundary
    for row, name in zip(both, names):
        row[1:len(name) + 1] = vocabulary.encode(name)
    mask = np.arange(size.max() + 1) <= size[:, None]
    return both[:, :-1], both[:, 1:], mask.astype(np.float32)


def unpadded(ids, vocabulary):
    """Rows of ids (N, T), each up to its first boundary -> a list of names: padded, undone."""
    return [vocabulary.decode(row).split(vocabulary.boundary)[0] for row in ids]


def _check_size(call, cells, names):
    if cells > LARGEST_ARRAY:
        longest = max(map(len, names))
        raise ValueError(f"{call}: {cells:,} ids for {len(names):,} names, the longest of "
                         f"{longest:,} characters; needs at most {LARGEST_ARRAY:,}, so give fewer "
                         "or shorter ones")


def _check(names, vocabulary):
    """Names can be framed: there are some, none empty, none with the boundary inside."""
    if vocabulary.boundary is None:
        raise ValueError("names need a boundary; build Vocabulary(names, boundary='.')")
    if isinstance(names, str) or not hasattr(names, "__len__") or len(names) == 0:
        raise ValueError(f"names are {names!r}; needed a list of at least one string")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name or vocabulary.boundary in name:
            raise ValueError(f"names[{i}] is {name!r}; needed at least one character and no "
                             f"boundary {vocabulary.boundary!r} inside")
