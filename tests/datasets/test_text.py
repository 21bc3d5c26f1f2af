"""Text: vocabulary, reading files, windows of a long text, and framed names."""
import os
from pathlib import Path

import numpy as np
import pytest

from tinygen.datasets.text import (Vocabulary, contexts, padded, read_names, read_text,
                                   split_names, unpadded, windows)

NAMES = ["ab", "c", "bca"]


@pytest.fixture
def framed():
    return Vocabulary(NAMES, boundary=".")


# ---- vocabulary ----

def test_ids_are_in_code_point_order():
    assert Vocabulary("zaé가A\n").chars == ["\n", "A", "a", "z", "é", "가"]
    assert Vocabulary(NAMES).chars == ["a", "b", "c"]
    assert Vocabulary(NAMES, ".").chars == [".", "a", "b", "c"]
    assert len(Vocabulary(NAMES, "~")) == 4 and Vocabulary(NAMES, "~").ids["~"] == 0


def test_decode_undoes_encode():
    text = "hello, 세계\n" * 3
    vocabulary = Vocabulary(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64 and ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode([]) == "" and vocabulary.encode("").shape == (0,)


def test_unknown_character_is_named_with_its_place(framed):
    with pytest.raises(ValueError, match="encode: 'x' at position 2 is not among the 4 known"):
        framed.encode("abxx")
    with pytest.raises(ValueError, match="'bca' at position 0"):
        framed.encode(["bca"])


@pytest.mark.parametrize("ids, says", [
    ([0, 4], "int64 of shape (2,), 0 to 4; needed integers of shape (n,), 0 to 3"),
    ([-1], "-1 to -1"), ([1.], "float64"), ([[1]], "shape (1, 1)"), (2, "shape ()")])
def test_wrong_ids_are_refused(framed, ids, says):
    with pytest.raises(ValueError) as error:
        framed.decode(ids)
    assert says in str(error.value)


@pytest.mark.parametrize("text, boundary", [("a.b", "."), ("ab", ".."), ("ab", "")])
def test_boundary_is_one_new_character(text, boundary):
    with pytest.raises(ValueError, match="needed one character that the text does not have"):
        Vocabulary(text, boundary)


@pytest.mark.parametrize("text", ["", [], [""], None])
def test_empty_vocabulary_is_refused(text):
    with pytest.raises(ValueError, match="empty"):
        Vocabulary(text, ".")


@pytest.mark.parametrize("text", [5, [1, 2], b"ab"])
def test_a_vocabulary_is_of_strings(text):
    with pytest.raises(TypeError, match="Vocabulary: the text is no string, nor a list of strings"):
        Vocabulary(text)


# ---- files ----

def test_line_ends_and_byte_order_mark_are_evened_out(tmp_path):
    (tmp_path / "t").write_bytes("\ufeffone\r\ntwo\rthree\n세".encode())
    assert read_text(tmp_path / "t") == "one\ntwo\nthree\n세"


@pytest.mark.parametrize("data, byte, offset", [
    ("caf\u00e9 au lait".encode("latin-1"), "0xe9", 3), ("이름".encode("cp949"), "0xc0", 0),
    ("ab".encode("utf-16"), "0xff", 0), ("ab가".encode()[:-1], "0xea", 2)])
def test_wrong_encoding_names_file_byte_and_offset(tmp_path, data, byte, offset):
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(ValueError, match=f"t.txt: byte {byte} at offset {offset} is not UTF-8"):
        read_text(tmp_path / "t.txt")


def test_empty_file_folder_and_missing_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "env"))
    (tmp_path / "empty").touch()
    (tmp_path / "mark").write_bytes("\ufeff".encode())
    for name in ("empty", "mark"):
        with pytest.raises(ValueError, match=f"{name} is empty"):
            read_text(tmp_path / name)
    for path in (None, 5, ["a"]):
        with pytest.raises(TypeError, match="read_text: path is .*; needs the name of a text file"):
            read_text(path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        read_text("missing.txt")
    with pytest.raises(FileNotFoundError, match=f"no file {'a' * 255} in"):
        read_text("a" * 5000)
    text = str(error.value)
    assert all(s in text for s in ("missing.txt", str(tmp_path / "env"), str(Path.cwd())))


def test_a_file_too_large_for_memory_is_refused_unread(tmp_path):
    with open(tmp_path / "big", "wb") as file:
        file.truncate(20 << 30)                 # a hole: no disk is used
    with pytest.raises(ValueError, match="big: holds more than the 268,435,456 bytes allowed"):
        read_text(tmp_path / "big")


def test_own_path_then_environment(tmp_path, monkeypatch):
    for folder, text in [("here", "from here"), ("env", "from env")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.txt").write_text(text)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "env"))
    assert read_text("t.txt") == "from env"
    monkeypatch.chdir(tmp_path / "here")
    assert read_text("t.txt") == "from here"


def test_names_one_a_line(tmp_path):
    (tmp_path / "n").write_bytes(b"emma\r\n\r\n  olivia \nmary ann\n\n")
    assert read_names(tmp_path / "n") == ["emma", "olivia", "mary ann"]
    (tmp_path / "n").write_bytes(b" \n\n")
    with pytest.raises(ValueError, match="only blank lines"):
        read_names(tmp_path / "n")


# ---- examples ----

def test_split_is_a_repeatable_shuffle_cut_80_10_10():
    names = [str(i) for i in range(37)]
    train, valid, test = split_names(names)
    assert [len(train), len(valid), len(test)] == [29, 4, 4]
    assert sorted(train + valid + test) == sorted(names) and train != names[:29]
    assert names == [str(i) for i in range(37)]  # the caller's list is not shuffled
    assert split_names(names) == (train, valid, test) != split_names(names, seed=1)


def test_windows_are_the_text_and_its_next_characters():
    ids = np.arange(10) * 7
    x, y = windows(ids, 4, 3000, np.random.default_rng(0))
    assert x.shape == y.shape == (3000, 4) and x.dtype == y.dtype == np.int64
    assert (y == x + 7).all() and (np.diff(x, axis=1) == 7).all()
    starts, counts = np.unique(x[:, 0] // 7, return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5]  # every place, the last one too
    assert (abs(counts - 500) < 4 * np.sqrt(500 * 5 / 6)).all()


def test_windows_repeat_and_stay_int64():
    ids = np.arange(100, dtype=np.uint8)
    a, b = (windows(ids, 5, 8, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(a, b) and a[0].dtype == np.int64


@pytest.mark.parametrize("length", [0, 10, 11])
def test_window_must_fit(length):
    with pytest.raises(ValueError, match=f"windows: length: got {length}, needs .* from 1 to 9"):
        windows(np.arange(10), length, 2, np.random.default_rng(0))


def test_windows_are_of_ids_by_a_generator():
    rng = np.random.default_rng(0)
    for ids, says in ((np.zeros(9), "float64 of shape (9,)"), (np.zeros((3, 3), int), "(3, 3)"),
                      ("abcdef", "<U6 of shape ()"), (None, "object of shape ()")):
        with pytest.raises(ValueError) as error:
            windows(ids, 2, 2, rng)
        assert f"{says}; needed integers (N,)" in str(error.value)
    for length, n, rng, says in (("2", 2, rng, "length: got '2'"), (2, 2.5, rng, "n: got 2.5"),
                                 (2, 2, None, "rng is None, needs a Generator")):
        with pytest.raises(TypeError, match=f"windows: {says}"):
            windows(np.arange(9), length, n, rng)


def test_contexts_against_the_plain_loop(framed):
    for length in (1, 2, 3, 5):
        x, y = contexts(NAMES, framed, length)
        want = []
        for name in NAMES:
            context = "." * length
            for char in name + ".":
                want.append((context, char))
                context = context[1:] + char
        assert [(framed.decode(a), framed.decode([b])) for a, b in zip(x, y)] == want
        assert x.dtype == y.dtype == np.int64 and x.shape == (9, length)


def test_padded_frames_each_name(framed):
    x, y, mask = padded(NAMES, framed)
    assert [framed.decode(row) for row in x] == [".ab.", ".c..", ".bca"]
    assert [framed.decode(row) for row in y] == ["ab..", "c...", "bca."]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert x.dtype == np.int64 and mask.dtype == np.float32


def test_unpadded_gives_the_names_back(framed):
    assert unpadded(padded(NAMES, framed)[1], framed) == list(NAMES)


@pytest.mark.parametrize("make", [lambda n, v: contexts(n, v, 2), padded])
@pytest.mark.parametrize("names, says", [
    ([], "at least one string"), ("abc", "at least one string"), (["a", ""], r"names\[1\] is ''"),
    (["a.b"], r"names\[0\] is 'a.b'"), (["ax"], "encode: 'x'"), (None, "names are None; needed a"),
    (["a", 1], r"names\[1\] is 1; needed")])
def test_names_that_cannot_be_framed(make, names, says, framed):
    with pytest.raises(ValueError, match=says):
        make(names, framed)


def test_arrays_too_large_for_memory_are_refused(framed):
    names = ["a"] * 30_000 + ["b" * 10_000]
    with pytest.raises(ValueError, match="padded: 300,070,002 ids for 30,001 names, the longest of "
                                         "10,000 characters; needs at most 134,217,728"):
        padded(names, framed)
    with pytest.raises(ValueError, match="contexts: 70,001,070,001 ids .* needs at most"):
        contexts(names, framed, 10 ** 6)
    assert len(contexts(names, framed, 3)[1]) == 60_000 + 10_001


def test_contexts_need_a_boundary_and_a_length(framed):
    with pytest.raises(ValueError, match="boundary='.'"):
        contexts(NAMES, Vocabulary(NAMES), 1)
    with pytest.raises(ValueError, match="contexts: length: got 0"):
        contexts(NAMES, framed, 0)


# ---- the real files ----

@pytest.fixture
def real():
    def need(name):
        root = os.environ.get("TINYGEN_DATA")
        if not root or not (Path(root) / name).exists():
            pytest.skip(f"TINYGEN_DATA names no folder with {name}")
        return name
    return need


def test_bigrams_of_the_real_names(real):
    names = read_names(real("names.txt"))
    vocabulary = Vocabulary(names, boundary=".")
    assert len(names) == 32_033 and len(vocabulary) == 27
    x, y = contexts(names, vocabulary, 1)
    counts = np.zeros((27, 27))
    np.add.at(counts, (x[:, 0], y), 1)
    p = counts / counts.sum(1, keepdims=True)
    assert len(y) == 228_146 and abs(-np.log(p[x[:, 0], y]).mean() - 2.454014) < 1e-6
    assert padded(names, vocabulary)[2].sum() == 228_146


def test_real_names_split_as_in_the_lecture(real):
    names = read_names(real("names.txt"))
    vocabulary = Vocabulary(names, boundary=".")
    sizes = [len(contexts(part, vocabulary, 3)[1]) for part in split_names(names)]
    assert sizes == [182_625, 22_655, 22_866]


def test_real_shakespeare(real):
    text = read_text(real("tinyshakespeare.txt"))
    vocabulary = Vocabulary(text)
    assert len(text) == 1_115_394 and len(vocabulary) == 65
    assert vocabulary.decode(vocabulary.encode(text)) == text
