"""Where data files are found, how one is read safely, and how a missing one is fetched.

A file is looked for in the folder that TINYGEN_DATA names, then in the project's data/.  Sizes are
bounded before anything is read, and a download counts only once its content has been accepted.
"""
import contextlib
import gzip
import http.client
import io
import math
import os
from pathlib import Path
import stat
import urllib.error
import urllib.request
import zipfile
import zlib

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: two processes that start together may download twice
    fcntl = None

TIMEOUT = 20.0  # seconds without a byte before a mirror is given up
PIECE = 1 << 16  # bytes asked of the net, or of a file, at a time
NET_PROBLEMS = (OSError, http.client.HTTPException, ValueError)
SLACK = 1 << 16  # gzip makes incompressible bytes slightly larger, never by this much


class DownloadFailed(Exception):
    """No mirror gave the file; the text says why, one reason for each."""


def data_folder():
    """The project's data/: beside the package if it is there, as in a checkout, else in ./."""
    beside = Path(__file__).resolve().parents[2] / "data"
    return beside if beside.is_dir() else Path.cwd() / "data"


def search_folders(sub):
    """The folders to look in, in order: TINYGEN_DATA, its `sub`, data/, its `sub`."""
    named = os.environ.get("TINYGEN_DATA")
    roots = [Path(named).expanduser()] if named else []
    return [folder for root in [*roots, data_folder()] for folder in (root, root / sub)]


def find(names, folders):
    """The first path folder/name that is a file, or None."""
    paths = (Path(folder) / name for folder in folders for name in names)
    # os.path.isfile is False where Path.is_file raises: below a folder we may not enter.
    return next((path for path in paths if os.path.isfile(path)), None)


def size_of(path):
    """Bytes of a regular file; a pipe or a device, which may never end, is a ValueError."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: no regular file; put a file of data there")
    return status.st_size


def read_bounded(path, most):
    """The bytes of a plain or gzip file, unpacked; ValueError if broken or more than `most`."""
    too_big = ValueError(f"{path}: holds more than the {most:,} bytes allowed; put the right file "
                         "there, or delete it")
    if size_of(path) > most + SLACK:
        raise too_big
    try:
        with open(path, "rb") as raw:
            # The first bytes tell, not the name: servers and browsers unpack on the way.
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            data = _at_most(most + 1, gzip.GzipFile(fileobj=raw) if zipped else raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise ValueError(f"{path}: broken gzip file ({problem}); put a whole copy there, or "
                         "delete it") from problem
    if len(data) > most:
        raise too_big
    return data


def _at_most(n, file):
    """Its first n bytes by pieces: read(n) would set n bytes aside for the smallest file."""
    pieces = []
    while n > 0 and (piece := file.read(min(PIECE, n))):
        pieces.append(piece)
        n -= len(piece)
    return b"".join(pieces)


def read_npz(path, most):
    """{name: array} of an .npz whose headers declare at most `most` bytes, checked before any is
    unpacked.  Nothing in it is executed, and every byte of an array is covered by its checksum.

    A broken file raises ValueError, or whatever zipfile and NumPy make of it.
    """
    size, arrays = size_of(path), {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        declared = sum(member.file_size for member in members)
        if declared > most:
            raise ValueError(f"it declares {declared:,} bytes of arrays where at most {most:,} fit")
        for member in members:
            packed, kind = member.compress_size, member.compress_type
            if packed > size or kind not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename} declares {packed:,} bytes, packed in way "
                                 f"{kind}, in a file of {size:,}")
            with archive.open(member) as file:
                # Told the size, zipfile unpacks no more, and compares the checksum at its end.
                name = member.filename.removesuffix(".npy")
                arrays[name] = _npy(file.read(member.file_size))
    return arrays


def _npy(data):
    """The array of a .npy file's bytes, if its header accounts for each of them."""
    file = io.BytesIO(data)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                   (2, 0): np.lib.format.read_array_header_2_0}[np.lib.format.read_magic(file)]
    shape, fortran, dtype = read_header(file)
    start = file.tell()
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which could run code")
    if start + math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of {len(data) - start:,} bytes that is said to be {dtype} of "
                         f"shape {shape}")
    return np.ndarray(shape, dtype, data, start, order="F" if fortran else "C").copy(order="A")


def download(name, folder, mirrors, most, accept, report=None):
    """Fetch mirror + name into `folder` from the first mirror that serves it; the path.

    accept(path) raises ValueError on wrong content.  What has arrived waits in NAME.part, so that
    a download broken off by the net, or by Ctrl-C, goes on from there.  The file appears under
    its own name only whole, accepted and on the disk.
    """
    report = report or (lambda text: None)
    path = Path(folder) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent):
            if not path.is_file():  # another process may have fetched it while we waited
                part = path.with_name(name + ".part")
                _first_good([mirror + name for mirror in mirrors], part, most, accept, report)
                os.replace(part, path)
    except OSError as problem:
        raise OSError(problem.errno, f"cannot write {path} ({problem.strerror or problem}); free "
                      "some space or make the folder writable, then call again") from problem
    return path


@contextlib.contextmanager
def alone(folder, wait=True):
    """Hold the folder's lock: of processes that start together, one works in it at a time.  The
    others wait, or get BlockingIOError."""
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # some network drives cannot lock: go on without
            pass
        yield
    finally:
        if fcntl:
            os.close(handle)


def _first_good(urls, part, most, accept, report):
    """Fill `part` from the first url that works, or DownloadFailed with every reason."""
    reasons = []
    for url in urls:
        report(f"downloading {url}")
        try:
            return _fill(part, url, most, accept, report)
        except DownloadFailed as problem:
            reasons.append(f"{url}: {problem}")
            report(f"failed: {problem}")
    raise DownloadFailed("; ".join(reasons))


def _fill(part, url, most, accept, report):
    """Complete `part` from one url, or DownloadFailed."""
    resumed = _append(part, url, most, report)
    try:
        return accept(part)
    except ValueError as problem:
        part.unlink()
        if not resumed:
            raise DownloadFailed(f"sent wrong content ({problem})") from problem
    # The old part may have been wrong and not this mirror: once more, from the start.
    return _fill(part, url, most, accept, report)


def _append(part, url, most, report):
    """Write what url has beyond the end of `part`; True if that went on from older bytes."""
    have = part.stat().st_size if part.exists() else 0
    with _answer(url, have) as answer:
        if answer.status == 416:  # nothing beyond our end: `part` is whole, or another file
            return True
        resumed = have > 0 and answer.status == 206  # 200: knows no ranges, sends everything
        have = have if resumed else 0
        # One byte too many is enough for `accept` to refuse it.
        end = most + SLACK + 1
        end = end if answer.length is None else min(end, have + answer.length)
        with open(part, "ab" if resumed else "wb") as file:
            have = _copy(answer, file, have, end, report)
            file.flush()
            os.fsync(file.fileno())
        if answer.length is not None and have < end:
            raise DownloadFailed(f"broke off after {have:,} bytes")
    return resumed


def _answer(url, have):
    """The server's answer, asked to start at byte `have`."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as problem:
        if problem.code == 416 and have:
            return problem
        problem.close()
        raise DownloadFailed(str(problem)) from problem
    except NET_PROBLEMS as problem:
        raise DownloadFailed(str(problem) or repr(problem)) from problem


def _copy(answer, file, have, end, report):
    """Copy until `file` has `end` bytes or the answer ends; the bytes it has then."""
    while have < end:
        try:
            # read1 hands over what is there, so that a stall or Ctrl-C loses nothing.
            piece = answer.read1(min(PIECE, end - have))
        except NET_PROBLEMS as problem:
            raise DownloadFailed(f"broke off after {have:,} bytes ({problem})") from problem
        if not piece:
            break
        file.write(piece)
        have += len(piece)
        if have // 10**6 > (have - len(piece)) // 10**6:
            report(f"{have // 10**6} MB")
    return have
