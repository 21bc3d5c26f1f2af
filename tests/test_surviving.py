"""What tinygen survives, and the test of each.

A checkpoint (fit's, or any file of save_arrays), here unless said otherwise:
  kill -9 at any moment   the file is whole, old or new; at most one interval of steps is lost; the
                          run that goes on ends as one never killed. Half files are swept away later
  truncated, bit-flipped  refused with one sentence, or the flip was harmless: every byte is tried
  another model or run,   refused with one sentence, nothing changed (test_training.py)
    or an older version
  hostile                 a pickle is not run, a zip bomb or a huge shape is refused by what it
                          declares, before anything is allocated; names of paths are only names;
                          numbers that no run saves (t = -3, NaN, text) and pipes are refused
  disk full, unwritable   one sentence, the old file as it was (test_training.py); an unwritable
                          folder fails before the first step
  two runs, one file      the run that finds the other's file stops and says so; of two tables in
                          one folder the second does not start (test_compare.py)

Readers of files (IDX, plain or gzip; text; .npz data; checkpoints), whatever the bytes: the
content, or ValueError in one sentence; no other error, no hang, no more memory than sizes allow.
Thousands of mutated files are tried (a million where TINYGEN_LONG is set); wrong magic, empty,
truncated, oversized and lying ones by name in datasets/.

Runs
  NaN or infinite data    refused when batches are made (datasets/test_batches.py); a loss that is
                          not finite stops the run before it changes anything (test_training.py)
  a batch of 1, of none   1 is as good as any; none is refused by each model; sample(0) is empty
  labels out of range     refused with their range (engine/test_operations.py)
  Ctrl-C                  training: saved, and told how to go on (test_training.py); download: goes
                          on from the same byte (datasets/test_mnist.py); sampling: model, tape and
                          modes are as they were
  out of memory           says what to lower; a GPU that fails in mid-run: one sentence, and the
                          last checkpoint is there; no GPU: engine/test_backend.py
  two threads             each records its own graph (engine/test_tensor.py)
  100,000 steps           memory grows by the history alone
  mpirun, one fails       all end (test_parallel.py)

    TINYGEN_LONG=1 python -m pytest tests/test_surviving.py     tries more, for 20 minutes
"""
import glob
import gzip
import io
import json
import linecache
import math
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.datasets import mnist
from tinygen.datasets.batches import Endless
from tinygen.datasets.binary import load_binary
from tinygen.datasets.text import read_names
from tinygen.engine import backend
from tinygen.models.approximate.diffusion import Diffusion, cosine
from tinygen.models.approximate.iwae import IWAE
from tinygen.models.approximate.mixture import GaussianMixture
from tinygen.models.approximate.ppca import PPCA
from tinygen.models.approximate.priors import MixturePrior
from tinygen.models.approximate.vae import VAE, conv_coders
from tinygen.models.approximate.vqvae import VQVAE
from tinygen.models.implicit.gan import GAN
from tinygen.models.tractable.autoregressive_flow import maf
from tinygen.models.tractable.causal import WaveNet
from tinygen.models.tractable.coupling_flow import Coupling, alternating
from tinygen.models.tractable.flow import Flow
from tinygen.models.tractable.made import FVSBN, MADE, NADE
from tinygen.models.tractable.pixelcnn import GatedPixelCNN, PixelCNN
from tinygen.models.tractable.recurrent import RecurrentLM
from tinygen.models.tractable.transformer import Transformer
from tinygen.nn import GRUCell, ImageDenoiser, Linear, MLPDenoiser, mlp
from tinygen.optim import Adam
from tinygen.training import fit, load_arrays, save_arrays

ROOT = Path(__file__).parents[1]
LONG = bool(os.environ.get("TINYGEN_LONG"))


def tiny(path, steps, every=3, report=None):
    """A run of three parameters, from its first line: its model and history."""
    tg.seed(0)
    x = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
    model = Linear(2, 1)
    goal = "loss", lambda x: (model(x) ** 2).mean(), Adam(model.parameters())
    batches = Endless(x, 4, np.random.default_rng(1))
    return model, fit(model, batches, steps, [goal], checkpoint=path, every=every, report=report)


# --- a checkpoint and kill -9 ---------------------------------------------------------------------

def killed_at_random(path, kills):
    """Saves step 1, 2, ... of a run, killed -9 again and again, and reads the file after each kill:
    how many saves were done, and in how many kills a save had begun and was not."""
    def save(step):
        save_arrays(path, {"x": np.full(5000, step)}, {"step": step})
    start = time.perf_counter()
    for _ in range(20):
        save(0)
    longest = (time.perf_counter() - start) / 20 * 3
    rng, step, halves = random.Random(0), 0, 0
    for _ in range(kills):
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            while True:
                step += 1
                save(step)
                os.write(tell, step.to_bytes(4, "big"))
        os.close(tell)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(told, "rb") as said:
            last = int.from_bytes(said.read()[-4:], "big") or step
        arrays, meta = load_arrays(path)
        step = meta["step"]
        assert (arrays["x"] == step).all() and last <= step <= last + 1
        for half in glob.glob(f"{path}.*.part"):
            os.unlink(half)
            halves += 1
    return step, halves


def run_here(call):
    """Runs a call of this file in a process of its own: a fork of this one would take its threads
    along."""
    script = f"import sys; sys.path[:0] = ['.', 'tests']\nimport test_surviving as here\n{call}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, which Windows does not")


@pytest.mark.host_only(reason="forks processes")
@needs_fork
def test_1000_kills_leave_a_readable_checkpoint_each():
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None      # a disk would only be slower
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = os.path.join(folder, "run.npz")
        step, halves = map(int, run_here(f"print(*here.killed_at_random({path!r}, 1000))"))
    assert step > 10 and halves > 5                     # the kills came amid the work


def killed_runs(path, kills):
    """Goes on with one run of fit, killed -9 some steps after each start; the steps it came to."""
    rng = random.Random(0)
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            first, after = [], rng.randrange(12)

            def kill(step, *_):
                first.append(step)
                if len(first) > after:
                    threading.Timer(rng.uniform(0, 2e-3), os.kill, (os.getpid(), 9)).start()
            tiny(path, 10**6, report=kill)
        os.waitpid(child, 0)
    return load_arrays(path)[1]["step"]


@pytest.mark.host_only(reason="forks processes")
@needs_fork
def test_a_run_killed_again_and_again_ends_as_one_never_killed(tmp_path):
    path = str(tmp_path / "run.npz")
    step = int(run_here(f"print(here.killed_runs({path!r}, 30))")[0])
    assert step > 50
    model, history = tiny(path, step + 5)
    whole, expected = tiny(None, step + 5)
    assert np.array_equal(history["loss"], expected["loss"])
    assert np.array_equal(model.W.numpy(), whole.W.numpy())


def test_half_files_of_killed_runs_are_swept_away(tmp_path):
    old, young, other = (tmp_path / name for name in
                         ("run.npz.12.part", "run.npz.34.part", "run2.npz.12.part"))
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 4000,) * 2)
    save_arrays(tmp_path / "run.npz", {}, {})
    assert not old.exists() and young.exists() and other.exists()


# --- damaged --------------------------------------------------------------------------------------

def outcome(path, content):
    """What comes of a file: its arrays and meta, or None if it is refused with one sentence."""
    path.write_bytes(content)
    try:
        return load_arrays(path)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error), error
        return None


def same(a, b):
    return a[1] == b[1] and list(a[0]) == list(b[0]) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a[0].values(), b[0].values()))


def saved(path, n=4):
    save_arrays(path, {"x": np.arange(n, dtype="float64"), "y": np.ones((2, 3), "float32")},
                {"step": 3})
    return path.read_bytes(), load_arrays(path)


def test_every_byte_changed_is_refused_or_harmless(tmp_path):
    content, expected = saved(tmp_path / "good.npz")
    rng, refused, tried = random.Random(0), 0, 0
    for i in range(len(content)):
        for mask in [1 << bit for bit in range(8)] if LONG else [rng.randint(1, 255)]:
            bad = bytearray(content)
            bad[i] ^= mask
            found = outcome(tmp_path / "bad.npz", bad)
            tried, refused = tried + 1, refused + (found is None)
            assert found is None or same(found, expected), f"byte {i} changed by {mask}"
    assert 0.75 * tried < refused < tried           # the rest say when, and on what system


def test_truncations_are_refused(tmp_path):
    content, _ = saved(tmp_path / "good.npz")
    for n in range(0, len(content), 1 if LONG else 7):
        assert outcome(tmp_path / "bad.npz", content[:n]) is None


@pytest.mark.parametrize("shape", [b"(0000,)", b"(1000,)", b"(2001,)", b"(-200,)"])
def test_a_damaged_shape_of_a_large_array_is_refused(shape, tmp_path):
    content, _ = saved(tmp_path / "good.npz", 2000)
    assert content.count(b"(2000,)") == 1
    assert outcome(tmp_path / "bad.npz", content.replace(b"(2000,)", shape)) is None


# --- hostile --------------------------------------------------------------------------------------

def npy(a=None, shape=(), dtype="<f8", data=b""):
    """The bytes of an .npy file, or of a header that lies."""
    file = io.BytesIO()
    if a is None:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.write(data)
    else:
        np.save(file, a)
    return file.getvalue()


def archive(path, members, names=None, how=zipfile.ZIP_STORED):
    """An .npz that says it is a checkpoint."""
    names = [name.removesuffix(".npy") for name in members] if names is None else names
    meta = json.dumps({"format": 1, "arrays": names, "step": 0})
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in {**members, "meta.npy": npy(np.array(meta))}.items():
            file.writestr(name, content)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a checkpoint was executed",)


def lying_sizes(path):
    """A member that says in the directory it is small, and unpacks to 50 MB."""
    archive(path, {"x.npy": npy(np.zeros(10**6)) + bytes(50 * 10**6)}, how=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2")                # x.npy's entry; its unpacked size is at 24
    content[start + 24:start + 28] = (136).to_bytes(4, "little")
    path.write_bytes(content)


HOSTILE = {
    "zip bomb": lambda p: archive(p, {"x.npy": npy(np.zeros(4 * 10**6))}, how=zipfile.ZIP_DEFLATED),
    "bomb that lies": lying_sizes,
    "bzip2 bomb": lambda p: archive(p, {"x.npy": npy(np.zeros(10**6))}, how=zipfile.ZIP_BZIP2),
    "huge shape": lambda p: archive(p, {"x.npy": npy(shape=(1 << 32,))}),
    "shape beyond 64 bits": lambda p: archive(p, {"x.npy": npy(shape=(1 << 40, 1 << 40))}),
    "huge and empty": lambda p: archive(p, {"x.npy": npy(shape=(1 << 40, 0, 1 << 40))}),
    "negative shape": lambda p: archive(p, {"x.npy": npy(shape=(-2, -1), data=bytes(16))}),
    "huge element": lambda p: archive(p, {"x.npy": npy(shape=(1,), dtype="<U500000000")}),
    "pickle": lambda p: archive(p, {"x.npy": npy(shape=(1,), dtype="|O",
                                                 data=pickle.dumps(Bomb()))}),
    "deep header": lambda p: archive(p, {"x.npy": npy(np.ones(2)).replace(
        b"(2,), ", b"(" * 30)}),
    "deep meta": lambda p: np.savez(p, meta=np.array("[" * 100_000)),
}


@pytest.mark.host_only(reason="measures the host's memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_huge_is_allocated(name, tmp_path):
    path = tmp_path / "run.npz"
    HOSTILE[name](path)
    content = path.read_bytes()
    tracemalloc.start()
    try:
        assert outcome(path, content) is None
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_names_of_paths_are_only_names(tmp_path):
    (tmp_path / "inner").mkdir()
    path, before = tmp_path / "inner" / "run.npz", os.listdir(tmp_path)
    archive(path, {"../../evil.npy": npy(np.ones(2)), "/etc/evil.npy": npy(np.ones(3))})
    assert list(load_arrays(path)[0]) == ["../../evil", "/etc/evil"]
    assert os.listdir(tmp_path) == before and os.listdir(tmp_path / "inner") == ["run.npz"]
    with pytest.raises(ValueError, match="run.npz is the checkpoint of another run"):
        tiny(path, 5)


@pytest.mark.parametrize("change", [
    {"step": 7}, {"step": "3"}, {"step": None}, {"step": -1}, {"step": 3.0}, {"step": 10**400},
    {"batches": []}, {"batches": None}, *({"batches": {"seed": 1, "step": 0, "examples": 20,
                                                       "batch_size": 4, **wrong}} for wrong in (
        {"seed": "x"}, {"seed": -1}, {"step": -1}, {"step": 1.5})), {"random": "{}"},
    {"random": 3}, {"random": "[]"}, {"goals": 3}, {"goals": []}], ids=lambda v: str(v)[:60])
def test_meta_that_does_not_fit_changes_nothing(change, tmp_path):
    path = tmp_path / "run.npz"
    tiny(path, 3)
    arrays, meta = load_arrays(path)
    save_arrays(path, arrays, {**meta, **change})
    with pytest.raises(ValueError, match="run.npz is the checkpoint of another run"):
        tiny(path, 5)


@pytest.mark.parametrize("name, value", [
    ("model/W", np.full((2, 1), np.nan)), ("model/W", np.full((2, 1), "a")),
    ("model/W", np.ones((2, 1), complex)), ("model/W", np.ones((2, 1), bool)),
    ("optimizer0/t", -3), ("optimizer0/t", 1.5), ("optimizer0/lr", -1.0),
    ("optimizer0/lr", np.inf), ("optimizer0/m.0", np.full((2, 1), np.inf)),
    ("loss/loss", np.ones((3, 2))), ("loss/loss", np.array(["1", "2", "3"]))],
    ids=lambda v: v if isinstance(v, str) else "")
def test_numbers_that_no_run_saves_change_nothing(name, value, tmp_path):
    path = tmp_path / "run.npz"
    tiny(path, 3)
    arrays, meta = load_arrays(path)
    save_arrays(path, {**arrays, name: np.asarray(value)}, meta)
    with pytest.raises(ValueError, match="run.npz is the checkpoint of another run") as error:
        tiny(path, 5)
    assert len(str(error.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_or_a_device_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "run.npz")
    for path in (tmp_path / "run.npz", "/dev/zero"):
        with pytest.raises(ValueError, match="no regular file"):
            tiny(path, 5)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_told_by_its_number(number, tmp_path):
    np.savez(tmp_path / "run.npz", meta=np.array(json.dumps({"format": number})))
    with pytest.raises(ValueError, match=f"has checkpoint format {number}; this version reads 1"):
        tiny(tmp_path / "run.npz", 5)


# --- mutated files --------------------------------------------------------------------------------

def zipped(members, how=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as zip_file:
        for name, content in members.items():
            zip_file.writestr(name, content)
    return file.getvalue()


def idx(shape):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(
        range(math.prod(shape)))


PARTS = {f"{name}_data.npy": npy(np.eye(n, 4, dtype=dtype)) for name, n, dtype in
         (("train", 6, "float32"), ("valid", 3, "uint8"), ("test", 2, "bool"))}
CHECKPOINT = {"x.npy": npy(np.arange(4.0)), "y.npy": npy(np.ones((2, 3), "float32", order="F")),
              "meta.npy": npy(np.array(json.dumps({"format": 1, "arrays": ["x", "y"], "step": 3})))}
EDGES = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1", bytes(8), b"\xff" * 8,
         b"(", b"[" * 50, b"-1", b"9" * 20, b"'", b"1e999", b"|O", b"\xef\xbb\xbf", b"\x1f\x8b"]


def mutated(content, rng):
    """A few bytes changed, put in, taken out, doubled, or the end cut off."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(content) + 1)
        j = min(i + rng.choice([1, 1, 2, 4, 8, 40]), len(content))
        way = rng.randrange(6)
        if way == 0:
            content[i:j] = rng.randbytes(j - i)
        elif way == 1:
            edge = rng.choice(EDGES)
            content[i:i + len(edge)] = edge
        elif way == 2:
            content[i:i] = rng.choice([*EDGES, rng.randbytes(3)])
        elif way == 3:
            del content[i:j]
        elif way == 4:
            content[i:i] = content[i:j] * rng.choice([1, 100])
        elif rng.random() < 0.3:
            del content[i:]
    return bytes(content)


def inside(members, rng, how):
    """The archive of members of which one is mutated: its own checksum is right again."""
    name = rng.choice([*members])
    return zipped({**members, name: mutated(members[name], rng)}, how)


def of_archive(members):
    """Mutated from outside, where checksums tell, or from inside, where they do not."""
    def make(rng):
        how = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
        return mutated(zipped(members, how), rng) if rng.random() < 0.5 else inside(
            members, rng, how)
    return make


def mutated_idx(rng):
    content = mutated(idx(rng.choice([(5,), (3, 4), (2, 3, 4)])), rng)
    way = rng.randrange(3)
    return content if way == 0 else gzip.compress(content, 1) if way == 1 else mutated(
        gzip.compress(content, 1), rng)


READERS = {                             # name: (reads the path, makes a file's bytes from an rng)
    "idx": (lambda path: mnist.read_idx(path, 2**16), mutated_idx),
    "names": (read_names, lambda rng: mutated("\ufeffemma\r\n이름\n\n ava \n".encode(), rng)),
    "binary": (lambda path: load_binary(Path(path).stem), of_archive(PARTS)),
    "checkpoint": (load_arrays, of_archive(CHECKPOINT)),
}


def reads_or_refuses(name, inputs, measured, folder):
    """Gives many mutated files to a reader; how many it read. Measuring memory makes it slow, so
    that is done for the first inputs."""
    read, make = READERS[name]
    path, good = os.path.join(folder, "x.npz"), 0
    tracemalloc.start()
    for i in range(inputs):
        content = make(random.Random(i))
        with open(path, "wb") as file:
            file.write(content)
        if i == measured:
            tracemalloc.stop()
        if i < measured:
            tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.perf_counter()
        try:
            read(path)
            good += 1
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error), f"input {i}: {error}"
        except Exception as error:
            raise AssertionError(f"input {i}: {error!r}") from error
        peak, spent = tracemalloc.get_traced_memory()[1] - before, time.perf_counter() - start
        assert peak < 2**23 and spent < 10, f"input {i}: {peak} bytes, {spent} seconds"
    tracemalloc.stop()
    return good


@pytest.mark.host_only(reason="reads files into NumPy arrays")
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    inputs = 250_000 if LONG else 600
    good = reads_or_refuses(name, inputs, min(inputs, 2000), tmp_path)
    assert 0.01 * inputs < good < 0.99 * inputs         # the mutations are neither blunt nor idle


# --- two runs, one file ---------------------------------------------------------------------------

def test_a_run_that_finds_anothers_checkpoint_stops_and_says_so(tmp_path):
    path = tmp_path / "run.npz"

    def another_run(step, *_):
        if step == 4:
            tiny(path, 3)                               # goes on at 3: writes nothing
        if step == 7:
            tiny(path, 9)
    with pytest.raises(FileExistsError, match="another run has written .*run.npz since this one "
                                              "did; this one stops at step 9 and leaves it as it "
                                              "is: give each run a checkpoint of its own"):
        tiny(path, 20, report=another_run)
    assert load_arrays(path)[1]["step"] == 9
    assert len(tiny(path, 12)[1]["loss"]) == 12


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_an_unwritable_folder_fails_before_the_first_step(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot write .*run.npz: Permission denied"):
        tiny(tmp_path / "run.npz", 5, report=lambda *_: pytest.fail("took a step"))


# --- runs -----------------------------------------------------------------------------------------

MODELS = {
    "FVSBN": lambda: FVSBN(16), "NADE": lambda: NADE(16, 8), "MADE": lambda: MADE(16, (8,)),
    "PixelCNN": lambda: PixelCNN((4, 4), channels=4, layers=2, kernels=(3, 3)),
    "flow": lambda: Flow(16, [Coupling(alternating(16, 1), mlp((16, 8, 32), tg.relu))]),
    "mixture": lambda: GaussianMixture(16, 3), "PPCA": lambda: PPCA(16, 2),
    "VAE": lambda: VAE(16, 2, (8,)), "IWAE": lambda: IWAE(16, 2, (8,)),
    "VAE, convolutions": lambda: VAE(16, 2, coders=conv_coders(4, 2)),
    "VAE, mixture": lambda: VAE(16, 2, (8,), prior=MixturePrior(2, 3)),
    "MAF MoG": lambda: maf(16, 1, (8,), K=2),
    "U-Net": lambda: Diffusion(ImageDenoiser(4, (8,)), 16, cosine(4)),
    "VQVAE": lambda: VQVAE(16, (2, 2), 4, 3, (8,)), "GAN": lambda: GAN(16, 2, (8,))}


@pytest.mark.parametrize("name", MODELS)
def test_batches_of_one_and_of_none(name):
    model = MODELS[name]()
    loss = getattr(model, "loss", None) or model.critic_loss
    x = (tg.to_numpy(backend.uniform((1, 16))) > 0.5).astype("float32")
    loss(tg.xp.asarray(x)).backward()
    assert any(p.grad is not None for p in model.parameters())
    assert all(tg.xp.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with pytest.raises(ValueError, match=r"x has shape \(0, 16\); needed"):
        loss(tg.xp.zeros((0, 16), "float32"))
    assert tg.to_numpy(model.sample(1)).shape == (1, 16)
    assert tg.to_numpy(model.sample(0)).shape == (0, 16)


SEQUENCES = {
    "Transformer": lambda: Transformer(3, 16, 1, 2, 8), "WaveNet": lambda: WaveNet(3, 16, 2, 8),
    "GRU": lambda: RecurrentLM(3, GRUCell, 8, 8),
    "gated PixelCNN": lambda: GatedPixelCNN((4, 4), channels=4, layers=2, kernels=(3, 3)),
    "diffusion": lambda: Diffusion(MLPDenoiser(16, (8,)), 16, cosine(4))}


def draws(model):
    return model.sample(3, 16) if isinstance(model, RecurrentLM) else model.sample(3)


@pytest.mark.parametrize("name", {**MODELS, **SEQUENCES})
@pytest.mark.parametrize("n", [-1, 2.5])
def test_a_number_of_samples_that_is_none_is_one_sentence(name, n):
    with pytest.raises(ValueError, match="a whole number|needs whole numbers"):
        {**MODELS, **SEQUENCES}[name]().sample(n)


@pytest.mark.parametrize("name", {**MODELS, **SEQUENCES})
@pytest.mark.parametrize("when", [0.0, 0.5, 0.99])
def test_ctrl_c_in_sampling_leaves_the_model_as_it_was(name, when):
    """Early, half-way, and near its end, counted in lines of the package that ran; but not on the
    way into or out of a `with`, where Python itself does not promise to undo anything."""
    model, lines = {**MODELS, **SEQUENCES}[name]().train(), []
    before, package = model.state_dict(), str(ROOT / "tinygen")

    def traced(stop):
        def trace(frame, event, _):
            code, line = frame.f_code, linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            inside = code.co_filename.startswith(package)
            if not inside or code.co_name in ("__enter__", "__exit__"):
                return None
            if event == "line" and not line.lstrip().startswith("with "):
                lines.append(line)
                if len(lines) == stop:
                    raise KeyboardInterrupt
            return trace
        lines.clear()
        tg.seed(0)
        sys.settrace(trace)
        try:
            draws(model)
        finally:
            sys.settrace(None)
    draws(model)
    traced(None)                # the second time: what the first one keeps for later is there now
    with pytest.raises(KeyboardInterrupt):
        traced(1 + int(when * len(lines)))
    assert all(m.training for m in model.modules())
    assert (tg.tensor([1.0], requires_grad=True) * 2.0).requires_grad     # the tape is on again
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
    assert len(draws(model)) == 3


@pytest.mark.host_only(reason="asks Linux for the host's memory")
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="asks Linux for its memory")
def test_memory_stays_flat():
    """What grows is the history: a loss and its place in a list, 32 bytes a step."""
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    steps, found = 100_000 if LONG else 10_000, {}
    tiny(None, steps, every=steps, report=lambda step, *_: found.update({step: resident()})
         if step in (steps // 5, steps) else None)
    assert found[steps] - found[steps // 5] < 2**20 + 50 * steps


def test_a_gpu_that_fails_is_one_sentence(monkeypatch):
    class Failed(RuntimeError):
        """As CuPy's CUDARuntimeError is one"""
    monkeypatch.setattr("tinygen.training.device_errors", lambda: (Failed,))

    def loss(x):
        raise Failed("cudaErrorIllegalAddress: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match=r"fit: the GPU failed at step 1 \(cudaErrorIllegalAdd.*"
                                           "same command again: it goes on from its last check"):
        fit(Linear(2, 1), Endless(np.ones((20, 2), "float32"), 4, np.random.default_rng(0)), 3,
            [("loss", loss, Adam(Linear(2, 1).parameters()))])


def test_out_of_memory_says_what_to_lower():
    model = Linear(2, 1)

    def loss(x):
        raise MemoryError("Unable to allocate 9 TiB")
    with pytest.raises(MemoryError, match="fit: out of memory at step 1, with 4 examples a batch "
                                          r"\(Unable to allocate 9 TiB\); lower the batch size"):
        fit(model, Endless(np.ones((20, 2), "float32"), 4, np.random.default_rng(0)), 3,
            [("loss", loss, Adam(model.parameters()))])
