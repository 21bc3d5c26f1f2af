"""Every lesson runs, keeps to its length, and says no in one sentence."""
import hashlib
import importlib.util
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinygen as tg
from jobs import NO_NETWORK
from tinygen import plotting
from tinygen.datasets import mnist

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
README = (ROOT / "lessons" / "README.md").read_text("utf-8")
REAL_DATA = Path(os.environ.get("TINYGEN_DATA", "nowhere")) / "mnist"


def run(lesson, *flags, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, str(lesson), *flags], capture_output=True, text=True,
                          env=environment, timeout=120)


def words(line):
    """The first words of a line, for which a number is as good as another."""
    return re.sub(r"[-+\d.,e]*\d[\d.]*", "#", line.replace("\\|", "|")).split()[:4]


QUICK_RUNS = [pytest.param(lesson, id=lesson.stem, marks=pytest.mark.job(
    "tests/cells.py", str(lesson), "--quick", "--out", "{out}")) for lesson in LESSONS]


@pytest.mark.parametrize("lesson", QUICK_RUNS)
def test_runs_quickly_and_draws(lesson, job):
    assert job.returncode == 0, job.stderr
    assert list(job.made.glob("*.png")), "no figure"
    lines = job.stdout.splitlines()
    assert len(lines) <= 20
    # The README's row shows the last line of a full run: other numbers, the same words.
    if lesson.name[:2] not in ("00", "12"):         # whose words depend on what came out
        shown, = re.findall(rf"\({lesson.name}\).*\| `(.*)` \|$", README, re.M)
        last = [s for s in lines if "figure:" not in s][-1]
        assert words(shown) == words(last) and (" -> " not in shown or shown == last)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_has_the_form_of_a_lesson(lesson):
    text = lesson.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 100
    assert lines[0].startswith(f'"""Lesson {lesson.name[:2]}: ') and "?" in lines[0]
    assert re.search("[가-힣]", text), "no Korean summary"
    assert "\nPromise: " in text.split('"""')[1]
    assert "# %%" in text and "\nassert " in text and "What we left out" in text
    assert "lesson_options(" in text


def last_comment(lesson):
    return lesson.read_text(encoding="utf-8").split("What we left out")[1]


@pytest.mark.parametrize("lesson", LESSONS[1:], ids=lambda p: p.stem)
def test_names_exercises_that_exist(lesson):
    named = re.findall(r"\bex\d\d\w*", last_comment(lesson))
    assert named or "Exercises: all of them" in last_comment(lesson)
    assert all(list(ROOT.glob(f"lessons/exercises/{name}*.py")) for name in named), named


@pytest.mark.parametrize("exercise", sorted(ROOT.glob("lessons/exercises/ex*.py")),
                         ids=lambda p: p.stem)
def test_an_exercise_belongs_to_the_lesson_that_it_follows(exercise):
    number, = re.findall(r"\(after lesson (\d\d)\)", exercise.read_text(encoding="utf-8"))
    lesson, = ROOT.glob(f"lessons/{number}_*.py")
    assert exercise.stem[:4] in last_comment(lesson), f"{lesson.name} does not name it"


class TestFlags:
    """All lessons share commands.lesson_options; the tour stands for them."""

    @pytest.mark.parametrize("flags, says", [
        (["--no-such-flag"], "unrecognized"), (["--data", "nowhere"], "invalid choice"),
        (["--steps", "0"], "1 or more"), (["--steps", "many"], "many: needs a whole number"),
        (["--seed", "-1"], "needs 0 or more"), (["--backend", "abacus"], "invalid choice")])
    def test_a_bad_flag_is_one_sentence(self, flags, says):
        done = run(LESSONS[0], "--quick", *flags)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr

    @pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
    def test_a_missing_gpu_is_one_sentence(self):
        done = run(LESSONS[0], "--quick", "--backend", "cupy")
        assert done.returncode == 2 and "pip install cupy" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_folder_that_cannot_be_written_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        done = run(LESSONS[0], "--quick", "--out", str(tmp_path / "file"))
        assert done.returncode == 2 and "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_tour_without_mnist_says_where_to_put_it(tmp_path):
    shutil.copytree(ROOT / "tinygen", tmp_path / "tinygen")     # its data/ is tmp_path's, and empty
    (tmp_path / "data").mkdir()
    done = run(LESSONS[0], "--quick", "--data", "mnist", "--out", str(tmp_path),
               PYTHONPATH=str(tmp_path), TINYGEN_DATA=str(tmp_path), **NO_NETWORK)
    assert done.returncode == 2 and "train-images-idx3-ubyte" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """300 and 120 blurred squares under MNIST's names, in the folder of TINYGEN_DATA."""
    rng, table = np.random.default_rng(0), {}
    for name, N in zip(mnist.FILES, (300, 300, 120, 120)):
        x = (np.arange(N) % 10).astype(np.uint8)
        if "images" in name:
            rows, columns = (np.arange(28) - rng.uniform(8, 20, (2, N, 1))) / 4
            x = (255 * np.exp(-rows[:, :, None] ** 4 - columns[:, None] ** 4)).astype(np.uint8)
        data = bytes([0, 0, 8, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.tobytes()
        (tmp_path / name).write_bytes(data)
        table[name] = len(data), hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(mnist, "FILES", table)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))


@pytest.mark.once
@pytest.mark.host_only(reason="lessons take NumPy arrays")
@pytest.mark.parametrize("number, says", [(24, "floor unknown"), (29, "p_data is unknown")])
def test_lessons_run_on_mnist(number, says, here, small_mnist):
    done = here(number, "--data", "mnist", "--steps", "4")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout and not re.search(r"templates.* \d", done.stdout)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="TINYGEN_DATA names no folder with mnist/")
def test_the_tour_on_mnist_leaves_out_what_nobody_knows(tmp_path):
    done = run(LESSONS[0], "--quick", "--data", "mnist", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "p_data is unknown" in done.stdout and "floor H" not in done.stdout


def names_file(folder, N):
    """A file of N made-up names, one a line."""
    rng, path = np.random.default_rng(0), folder / "names.txt"
    path.write_text("\n".join("".join(rng.choice(["ka", "mi", "to", "ren"], 3)) for _ in range(N)))
    return str(path)


@pytest.fixture
def here(monkeypatch, capsys, tmp_path):
    """Runs lesson NN quickly in this process; its picture is drawn, and not written."""
    monkeypatch.setattr(plotting, "save", lambda fig, *rest: plt.close(fig))

    def run_here(number, *flags):
        lesson, = ROOT.glob(f"lessons/{number}_*.py")
        monkeypatch.setattr("sys.argv", [lesson.name, "--quick", "--out", str(tmp_path), *flags])
        code = 0
        try:
            runpy.run_path(str(lesson))
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)
    return run_here


@pytest.mark.host_only(reason="lessons take NumPy arrays")
class TestTextFile:
    def test_a_lesson_of_one_world_offers_no_choice(self, here):
        done = here("01", "--data", "glyphs")
        assert done.returncode == 2 and "unrecognized" in done.stderr

    def test_counting_learns_from_any_file_of_names(self, here, tmp_path):
        done = here(13, "--data", names_file(tmp_path, 200))
        assert done.returncode == 0, done.stderr
        assert "160 names, an alphabet of 9 letters" in done.stdout and "floor" not in done.stdout

    @pytest.mark.once
    @pytest.mark.parametrize("number", [16, 17])
    def test_networks_do_too(self, here, tmp_path, number):
        done = here(number, "--steps", "3", "--data", names_file(tmp_path, 60))
        assert done.returncode == 0, done.stderr
        assert "48 names; p_data is unknown" in done.stdout and "KL" not in done.stdout

    @pytest.mark.parametrize("N, says", [(9, "needed at least 10"), (0, "is empty"),
                                         (None, "no file")])
    def test_one_that_will_not_do_is_one_sentence(self, here, tmp_path, N, says):
        path = str(tmp_path / "none.txt") if N is None else names_file(tmp_path, N)
        done = here(13, "--data", path)
        assert done.returncode == 2 and says in done.stderr


def test_the_readmes_example_runs_and_says_what_its_comments_say(capsys):
    code, = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    names = {}
    exec(code, names)
    y = np.tanh(tg.to_numpy(names["x"]))
    assert np.allclose(tg.to_numpy(names["slope"]), 1 - y ** 2)
    shown = np.array([float(n) for n in re.findall(r"-?\d\.\d+", capsys.readouterr().out)])
    assert np.allclose(shown, -2 * y * (1 - y ** 2), rtol=1e-6)
