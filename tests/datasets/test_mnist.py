"""MNIST: IDX decoding, the look-up, the download against bad servers, and the binarizations."""
import gzip
import hashlib
import http.server
import os
from pathlib import Path
import signal
import socket
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest

from tinygen.datasets import files, mnist

SHAPES = [(30, 28, 28), (30,), (7, 28, 28), (7,)]


def idx(x):
    return bytes([0, 0, 8, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.tobytes()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A small set under MNIST's names, no environment, and data/ at tmp_path/data."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, shape, np.uint8) for shape in SHAPES]
    content = {name: idx(x) for name, x in zip(mnist.FILES, arrays)}
    table = {n: (len(b), hashlib.sha256(b).hexdigest()) for n, b in content.items()}
    monkeypatch.setattr(mnist, "FILES", table)
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(files, "__file__", str(tmp_path / "tinygen" / "datasets" / "files.py"))
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(mnist, "MIRRORS", ())
    return arrays, content


def put(folder, content, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        path = folder / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(data) if packed else data)


def same(loaded, arrays):
    return all(np.array_equal(a, b) and a.dtype == np.uint8 for a, b in zip(loaded, arrays))


# ---- IDX ----

@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path, shape, pack):
    x = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "x").write_bytes(pack(idx(x)))
    y = mnist.read_idx(tmp_path / "x")
    assert y.dtype == np.uint8 and y.shape == shape and np.array_equal(x, y)


GOOD = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize("data, says", [
    (b"", "none"),
    (b"\0\0\x08", "00 00 08"),
    (b"<html>" + GOOD, "3c 68 74 6d"),
    (b"\0\0\x0d" + GOOD[3:], "00 00 0d 02"),
    (b"\0\0\x08\0", "number of axes"),
    (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", "00 00 08 ff"),
    (GOOD[:9], "2 axes"),
    (GOOD[:-1], "17 bytes where shape (2, 3) needs 18"),
    (GOOD + b"x", "19 bytes where shape (2, 3) needs 18"),
    (b"\0\0\x08\x04" + b"\xff" * 16, "needs 340,282"),
    (b"\0\0\x08\x03" + bytes(4) + b"\xff" * 8, "no size may be 0"),
])
def test_idx_refuses_what_its_header_does_not_account_for(data, says):
    with pytest.raises(ValueError) as error:
        mnist.decode_idx(data, "some.idx")
    assert says in str(error.value) and "some.idx" in str(error.value)


def test_idx_reads_no_more_than_allowed(tmp_path):
    bomb = gzip.compress(bytes(50_000_000), 9)
    (tmp_path / "bomb").write_bytes(bomb)
    (tmp_path / "long").write_bytes(bytes(3_000_000))
    for name in ("bomb", "long"):
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"{name}: holds more than the 100,000 bytes"):
            mnist.read_idx(tmp_path / name, most=100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_500_000, f"{name}: {peak:,} bytes in memory"
    assert len(files.read_bounded(tmp_path / "long", 3_000_000)) == 3_000_000


def test_idx_refuses_a_huge_file_unread(tmp_path):
    with open(tmp_path / "padded", "wb") as file:  # gzip skips zeros after its end, all 100 GB
        file.write(gzip.compress(GOOD))
        file.truncate(10**11)
    start = time.monotonic()
    with pytest.raises(ValueError, match="padded: holds more than the 1,000 bytes"):
        mnist.read_idx(tmp_path / "padded", most=1000)
    (tmp_path / "padded").unlink()  # sparse, but a copy of pytest's folder would not be
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("break_it", [
    lambda z: z[:-9], lambda z: z[:20], lambda z: z + b"junk", lambda z: z[:-6] + b"123456",
    lambda z: z[:12] + b"\xff\xff\xff" + z[15:]])
def test_broken_gzip_is_named(tmp_path, break_it):
    (tmp_path / "x.gz").write_bytes(break_it(gzip.compress(bytes(range(256)))))
    with pytest.raises(ValueError, match="x.gz: broken gzip file"):
        mnist.read_idx(tmp_path / "x.gz")


# ---- the look-up ----

@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["env", "env/mnist", "data", "data/mnist", "own", "own/mnist"])
def test_found_in_every_place(small, tmp_path, monkeypatch, place, packed):
    arrays, content = small
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "env"))
    put(tmp_path / place, content, packed)
    loaded = mnist.load_mnist(tmp_path / "own" if "own" in place else None)
    assert same(loaded, arrays)
    assert [x.shape for x in loaded] == SHAPES


def test_environment_comes_before_data_and_own_folder_before_both(small, tmp_path, monkeypatch):
    arrays, content = small
    put(tmp_path / "data", {name: b"wrong" for name in content})
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "env"))
    put(tmp_path / "env", content)
    assert same(mnist.load_mnist(), arrays)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "data"))
    assert same(mnist.load_mnist(tmp_path / "env"), arrays)
    with pytest.raises(ValueError):
        mnist.load_mnist()


def test_data_folder_is_beside_the_package_else_in_the_working_folder(small, tmp_path, monkeypatch):
    assert files.data_folder() == tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site" / "tinygen" / "datasets" / "f.py"))
    (tmp_path / "data").rmdir()
    assert files.data_folder() == tmp_path / "data"


def test_decoded_once_and_shared_read_only(small, tmp_path):
    put(tmp_path / "data", small[1], packed=True)
    first, second = mnist.load_mnist(), mnist.load_mnist()
    assert all(a is b for a, b in zip(first, second))
    with pytest.raises(ValueError, match="read-only"):
        first.train_images[0] = 0


def test_wrong_checksum_names_the_file_and_leaves_it(small, tmp_path):
    put(tmp_path / "data", small[1])
    path = tmp_path / "data" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ValueError) as error:
        mnist.load_mnist()
    assert str(path) in str(error.value) and "delete it" in str(error.value)
    assert path.exists()


# ---- the download ----

class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves /MODE/name: the first folder of the path says how to misbehave."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        mode, name = self.path.strip("/").split("/")
        wanted = self.headers["Range"]
        self.server.asked.append((mode, name, wanted))
        data = self.server.content[name]
        start = int(wanted[6:-1]) if wanted and mode != "norange" else 0
        if mode in ("403", "404", "500"):
            return self.send_error(int(mode))
        if mode == "hangup":
            return None
        if mode == "garbled":
            return self.wfile.write(b"what?\r\n\r\n")
        if mode == "rubbish":
            data, start = b"<html>log in first</html>", 0
        if mode == "another":
            data = gzip.compress(b"another set")
        if mode == "bomb":
            data = gzip.compress(bytes(30_000_000))
        if mode == "endless":
            return self.endless()
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        half = mode in ("cut", "stall", "ctrl-c")
        self.wfile.write(data[start:(start + len(data)) // 2] if half else data[start:])
        if mode == "ctrl-c":
            time.sleep(.1)
            os.kill(os.getpid(), signal.SIGINT)
        if mode in ("stall", "ctrl-c"):
            self.server.over.wait(10)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.is_set():
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def handle(self):
        self.close_connection = True
        self.handle_one_request()


@pytest.fixture
def server(small, monkeypatch):
    """A server on this machine; use(*modes) makes its folders the mirrors."""
    monkeypatch.setattr(files, "TIMEOUT", 5)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.content = {name + ".gz": gzip.compress(data) for name, data in small[1].items()}
    server.asked, server.over = [], threading.Event()
    base = f"http://127.0.0.1:{server.server_port}"
    server.use = lambda *modes: monkeypatch.setattr(
        mnist, "MIRRORS", [f"{base}/{mode}/" for mode in modes])
    thread = threading.Thread(target=server.serve_forever, args=(.01,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


FIRST = "train-images-idx3-ubyte.gz"


def folder_of(tmp_path):
    return tmp_path / "data" / "mnist"


def names_in(tmp_path):
    return sorted(path.name for path in folder_of(tmp_path).iterdir())


def test_downloads_once_and_keeps_exactly_four_files(small, server, tmp_path, capsys):
    server.use("good")
    said = []
    assert same(mnist.load_mnist(report=said.append), small[0])
    assert names_in(tmp_path) == sorted(server.content)
    assert any(FIRST in line for line in said)
    mnist._array.cache_clear()
    assert same(mnist.load_mnist(), small[0])
    assert len(server.asked) == 4
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("mode", [
    "403", "404", "500", "hangup", "garbled", "rubbish", "another", "bomb", "endless", "cut"])
def test_any_failure_goes_on_to_the_next_mirror(small, server, tmp_path, mode):
    server.use(mode, "good")
    said = []
    assert same(mnist.load_mnist(report=said.append), small[0])
    assert [a[0] for a in server.asked] == [mode, "good"] * 4
    assert names_in(tmp_path) == sorted(server.content)
    assert sum("failed" in line for line in said) == 4


def test_refused_connection_and_bad_address_go_on(small, server, tmp_path):
    server.use("good")
    mnist.MIRRORS[:0] = [f"http://127.0.0.1:{closed_port()}/", "http://[bad/", "none://x/"]
    assert same(mnist.load_mnist(), small[0])


def test_stall_is_given_up_and_resumed_elsewhere(small, server, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TIMEOUT", .4)
    for name in list(server.content)[1:]:  # one file is enough to wait for
        (tmp_path / "data" / name).write_bytes(server.content[name])
    server.use("stall", "good")
    start = time.monotonic()
    assert same(mnist.load_mnist(), small[0])
    assert time.monotonic() - start < 5
    half = len(server.content[FIRST]) // 2
    assert server.asked == [("stall", FIRST, None), ("good", FIRST, f"bytes={half}-")]


def test_cut_off_leaves_a_part_that_the_next_call_resumes(small, server, tmp_path):
    server.use("cut")
    with pytest.raises(FileNotFoundError, match="broke off after"):
        mnist.load_mnist()
    half = len(server.content[FIRST]) // 2
    part = folder_of(tmp_path) / (FIRST + ".part")
    assert part.read_bytes() == server.content[FIRST][:half]
    server.use("good")
    assert same(mnist.load_mnist(), small[0])
    assert server.asked[1] == ("good", FIRST, f"bytes={half}-")
    assert names_in(tmp_path) == sorted(server.content)


def test_ctrl_c_leaves_a_part_that_the_next_call_resumes(small, server, tmp_path):
    server.use("ctrl-c")
    with pytest.raises(KeyboardInterrupt):
        mnist.load_mnist()
    half = len(server.content[FIRST]) // 2
    assert (folder_of(tmp_path) / (FIRST + ".part")).stat().st_size == half
    server.use("good")
    assert same(mnist.load_mnist(), small[0])
    assert server.asked[1] == ("good", FIRST, f"bytes={half}-")


@pytest.mark.parametrize("part, mode, ranges", [
    (lambda z: z[:100], "norange", ["bytes=100-"]),  # 200 to a range: all of it, from the start
    (lambda z: z, "good", ["bytes=%d-"]),  # killed between the last byte and the renaming
    (lambda z: b"r" * 100, "good", ["bytes=100-", None]),  # rubbish found only at the end
    (lambda z: b"r" * len(z), "good", ["bytes=%d-", None]),  # rubbish, nothing left to ask for
    (lambda z: b"", "good", [None]),
])
def test_what_an_old_part_leads_to(small, server, tmp_path, part, mode, ranges):
    folder_of(tmp_path).mkdir()
    whole = server.content[FIRST]
    (folder_of(tmp_path) / (FIRST + ".part")).write_bytes(part(whole))
    server.use(mode)
    assert same(mnist.load_mnist(), small[0])
    asked = [wanted for _, name, wanted in server.asked if name == FIRST]
    assert asked == [r % len(whole) if r and "%" in r else r for r in ranges]
    assert names_in(tmp_path) == sorted(server.content)


def test_complete_rubbish_is_deleted(small, server, tmp_path):
    server.use("rubbish", "another")
    with pytest.raises(FileNotFoundError, match="wrong content"):
        mnist.load_mnist()
    assert names_in(tmp_path) == []


def test_too_much_is_cut_at_the_bound(small, server, tmp_path, monkeypatch):
    sizes, verified = [], mnist._verified
    monkeypatch.setattr(mnist, "_verified", lambda path, *known: (
        sizes.append(path.stat().st_size), verified(path, *known))[1])
    server.use("endless")
    with pytest.raises(FileNotFoundError, match="holds more than"):
        mnist.load_mnist()
    assert sizes == [mnist.FILES[FIRST[:-3]][0] + files.SLACK + 1]


def test_started_together_downloads_once(small, server, tmp_path):
    pytest.importorskip("fcntl")
    server.use("good")
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(mnist.load_mnist()))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(x, small[0]) for x in loaded) and len(loaded) == 4
    assert sorted(name for _, name, _ in server.asked) == sorted(server.content)


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_offline_says_where_to_put_which_files(small, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", [f"http://127.0.0.1:{closed_port()}/"])
    with pytest.raises(FileNotFoundError) as error:
        mnist.load_mnist()
    text = str(error.value)
    assert all(word in text for word in [*mnist.FILES, str(folder_of(tmp_path)), "TINYGEN_DATA",
                                         "refused"])
    assert "\n" not in text and names_in(tmp_path) == []


def test_folder_that_cannot_be_made(small, server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    server.use("good")
    with pytest.raises(OSError, match=r"cannot write .*taken.*make the folder writable"):
        mnist.load_mnist(tmp_path / "taken")


def test_disk_full_is_one_sentence_and_the_next_call_goes_on(small, server, tmp_path):
    resource = pytest.importorskip("resource")
    server.use("good")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as error:
            mnist.load_mnist()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"cannot write {folder_of(tmp_path) / FIRST}" in str(error.value)
    assert "free some space" in str(error.value)
    assert same(mnist.load_mnist(), small[0])
    assert server.asked[1] == ("good", FIRST, "bytes=4096-")


# ---- binarization ----

def test_thresholded_splits_between_127_and_128():
    images = np.array([[[0, 127], [128, 255]]], np.uint8)
    x = mnist.thresholded(images)
    assert x.dtype == np.float32 and x.tolist() == [[0, 0, 1, 1]]


def test_dynamic_has_the_grey_level_as_its_mean():
    grey = np.array([0, 1, 51, 128, 254, 255], np.uint8)
    n = 200_000
    x = mnist.dynamic(np.tile(grey, (n, 1)), np.random.default_rng(1))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    p = grey / 255
    error = np.abs(x.mean(0, dtype=np.float64) - p)
    assert (error <= 4 * np.sqrt(p * (1 - p) / n)).all(), error  # so 0 and 255 are exact


def test_dynamic_is_drawn_anew_and_repeats_with_its_seed():
    images = np.full((4, 28, 28), 100, np.uint8)
    rng = np.random.default_rng(2)
    first, second = mnist.dynamic(images, rng), mnist.dynamic(images, rng)
    assert first.shape == (4, 784) and not np.array_equal(first, second)
    assert np.array_equal(first, mnist.dynamic(images, np.random.default_rng(2)))


def test_fixed_is_drawn_once_from_its_seed():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (10_100, 2, 2), np.uint8)
    images[:, 0, 0], images[:, 1, 1] = 255, 0
    data = mnist.MNIST(images, None, images[:50], None)
    x, again, other = mnist.fixed(data), mnist.fixed(data), mnist.fixed(data, seed=1)
    assert [part.shape for part in x] == [(100, 4), (10_000, 4), (50, 4)]
    assert all(part.dtype == np.uint8 for part in x)
    assert all(part[:, 0].all() and not part[:, 3].any() for part in x)
    assert all(np.array_equal(a, b) for a, b in zip(x, again))
    assert not np.array_equal(x.train, other.train)
    assert not np.array_equal(x.train[:50], x.test)  # one stream, not one draw used twice


def test_scaled_pictures_are_refused():
    for binarize in (mnist.thresholded, lambda x: mnist.dynamic(x, np.random.default_rng(0))):
        with pytest.raises(TypeError, match="images are float32; needed uint8"):
            binarize(np.zeros((1, 28, 28), np.float32))


# ---- the real set ----

def test_real_mnist():
    root = Path(os.environ.get("TINYGEN_DATA") or "nowhere")
    names = [name + end for name in mnist.FILES for end in ("", ".gz")]
    if not files.find(names, [root, root / "mnist"]):
        pytest.skip("TINYGEN_DATA names no folder with MNIST")
    data = mnist.load_mnist()
    assert [x.shape for x in data] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert np.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The entropy of dynamic binarization, the least any model can score: 45.534 nats a picture.
    p = np.arange(1, 255) / 255
    entropy = np.zeros(256)
    entropy[1:255] = -p * np.log(p) - (1 - p) * np.log(1 - p)
    count = np.bincount(data.test_images.ravel(), minlength=256)
    assert abs(count @ entropy / 10_000 - 45.534) < .0006
