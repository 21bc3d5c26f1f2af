"""load_binary: the .npz sets of zeros and ones."""
import os
from pathlib import Path

import numpy as np
import pytest

from tinygen.datasets.binary import load_binary


@pytest.fixture
def env(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    return tmp_path


def parts(dtype=np.float64):
    rng = np.random.default_rng(0)
    return {f"{name}_data": rng.integers(0, 2, (n, 5)).astype(dtype)
            for name, n in [("train", 6), ("valid", 3), ("test", 2)]}


@pytest.mark.parametrize("sub", ["", "binary"])
@pytest.mark.parametrize("dtype", [np.float64, np.uint8, bool])
def test_loads_as_float32(env, sub, dtype):
    (env / sub).mkdir(exist_ok=True)
    made = parts(dtype)
    np.savez(env / sub / "toy.npz", extra=3, **made)
    splits = load_binary("toy")
    assert all(x.dtype == np.float32 for x in splits)
    for name in ("train", "valid", "test"):
        assert np.array_equal(getattr(splits, name), made[f"{name}_data"])


def test_missing_says_where_it_looked(env):
    with pytest.raises(FileNotFoundError) as error:
        load_binary("nope")
    assert all(s in str(error.value) for s in ("nope.npz", str(env / "binary"), "TINYGEN_DATA"))


@pytest.mark.parametrize("value", [.5, 2, -1, np.nan])
def test_other_values_are_named(env, value):
    made = parts()
    made["valid_data"][1, 4] = value
    np.savez(env / "toy.npz", **made)
    with pytest.raises(ValueError, match=rf"valid_data\[1, 4\] is {float(value)}; needed only"):
        load_binary("toy")


@pytest.mark.parametrize("change, says", [
    ({"test_data": np.zeros((2, 6))}, "must agree"),
    ({"test_data": np.zeros(5)}, r"test_data has shape \(5,\)"),
    ({"test_data": np.zeros((0, 5))}, r"test_data has shape \(0, 5\)"),
    ({"test_data": np.array([[None, 1]])}, "not a whole .npz"),
])
def test_wrong_parts_are_refused(env, change, says):
    np.savez(env / "toy.npz", **{**parts(), **change})
    with pytest.raises(ValueError, match=says):
        load_binary("toy")


@pytest.mark.parametrize("break_it", [
    lambda z: b"", lambda z: b"<html>", lambda z: z[:len(z) // 2],
    lambda z: z.replace(b"train_data", b"other_data"),
    lambda z: z[:200] + b"\xff" * 20 + z[220:]])
def test_broken_archive_is_named(env, break_it):
    np.savez(env / "toy.npz", **parts())
    (env / "toy.npz").write_bytes(break_it((env / "toy.npz").read_bytes()))
    with pytest.raises(ValueError, match="toy.npz: not a whole .npz"):
        load_binary("toy")


def test_a_single_array_is_not_an_archive(env):
    with open(env / "toy.npz", "wb") as file:
        np.save(file, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="not a whole .npz"):
        load_binary("toy")


@pytest.mark.parametrize("name, sizes, width", [
    ("dna", [1400, 600, 1186], 180), ("mushrooms", [2000, 500, 5624], 112)])
def test_real_sets(name, sizes, width):
    root = Path(os.environ.get("TINYGEN_DATA") or "nowhere")
    if not any((folder / f"{name}.npz").exists() for folder in (root, root / "binary")):
        pytest.skip(f"TINYGEN_DATA names no folder with {name}.npz")
    assert [x.shape for x in load_binary(name)] == [(n, width) for n in sizes]
