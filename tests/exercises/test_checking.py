"""The checker: whatever a learner writes gets one sentence, and nothing of it gets out."""
import os
import subprocess
import sys

import numpy as np
import pytest

from tinygen import exercises
from tinygen.exercises import EXERCISES, check, check_file, checking
from tinygen.exercises.checking import source

TANH = EXERCISES["ex02_tanh"]
BODY = "import numpy as np\n\n\ndef tanh_backward(g, y):\n    "


def forever(g, y):
    while True:
        pass


def leaves(g, y):
    raise SystemExit("out of here")


WRONG = {
    "no end after": forever,
    "raises SystemExit in line": leaves,
    "raises ZeroDivisionError in line": lambda g, y: 1 / 0,
    "raises TypeError": lambda g: g,
    "gives None": lambda g, y: None,
    "no array of numbers, but str": lambda g, y: "tanh",
    "no array of numbers, but dict": lambda g, y: {},
    "not finite": lambda g, y: g * np.nan,
    "shape": lambda g, y: g[:1],
    "all zeros": lambda g, y: 0 * g,
    "float32 lost": lambda g, y: g.astype("float64") * (1 - y * y),
}


@pytest.mark.parametrize("says", WRONG)
def test_whatever_happens_is_one_sentence(says, monkeypatch):
    monkeypatch.setattr(checking, "SECONDS", 0.2)
    report = check(TANH, {"tanh_backward": WRONG[says]})
    assert report.state == "not yet" and says in report.what
    assert "Traceback" not in report.text() and "\n" not in report.what


def test_a_missing_function_is_named():
    assert "no function tanh_backward" in check(TANH, {"tanh": np.tanh}).what


def test_a_report_says_where_what_and_next():
    lines = check(TANH, {"tanh_backward": lambda g, y: -g * (1 - y * y)}).text().splitlines()
    assert lines[0] == "ex02_tanh: not yet"
    assert lines[1].startswith("  where  dx[") and lines[1].endswith("case: g (3,), y (3,)")
    assert lines[2] == "  what   negated" and lines[3] == f"  next   {TANH.hint}"
    assert check(TANH, {"tanh_backward": lambda g, y: g}).text(True).endswith(TANH.stronger)


def test_errors_name_the_learners_own_line(tmp_path):
    path = tmp_path / "ex02_tanh.py"
    path.write_text(BODY + "return g * (1 - yy * yy)\n")
    assert "NameError in line 5 of tanh_backward: name 'yy'" in check_file(path).what


@pytest.mark.parametrize("text, says", [
    (BODY + "return g * (1 -", "SyntaxError"),
    ("import nothing_of_this_name\n", "ModuleNotFoundError"),
    ("1 / 0\n", "ZeroDivisionError"), ("exit()\n", "SystemExit")])
def test_a_file_that_does_not_load_is_one_sentence(text, says, tmp_path):
    path = tmp_path / "ex02_tanh.py"
    path.write_text(text)
    report = check_file(path)
    assert report.state == "not yet" and report.what.startswith(says)
    assert path.read_text() == text


def run(*args):
    path = os.pathsep.join(sys.path)            # where this process found tinygen
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": path})


def test_a_file_checks_itself(tmp_path):
    footer = (exercises.FOLDER / "ex02_tanh.py").read_text().split("\n\n\n")[-1]
    path = tmp_path / "ex02_tanh.py"
    path.write_text(BODY + "return g * (1 - y * y)\n\n\n" + footer)
    done = run(str(path))
    assert done.stdout == "ex02_tanh: passed\n" and done.returncode == 0
    path.write_text(BODY + "return g\n\n\n" + footer)
    done = run(str(path), "--hint")
    assert TANH.stronger in done.stdout and done.returncode == 1 and not done.stderr


def test_the_command_lists_checks_and_shows(capsys, monkeypatch):
    def said(*args):
        monkeypatch.setattr("sys.argv", ["exercises", *args])
        return exercises.main(), capsys.readouterr().out
    code, out = said()
    assert code == 0 and len(out.splitlines()) == len(EXERCISES) + 1 and "0 of 34 passed" in out
    code, out = said("2")
    assert code == 1 and out.startswith("ex02_tanh: not begun")
    code, out = said("ex02_tanh", "--solution")
    assert code == 0 and "def tanh(x):" in out and "defvjp(tanh" in out
    with pytest.raises(SystemExit):
        said("99")


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_a_file_a_title_two_hints_and_an_answer_to_show(name):
    exercise, path = EXERCISES[name], exercises.FOLDER / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f'"""Exercise {int(name[2:4])}: ') and f"exercises/{name}.py" in text
    assert all(f"{f}(" in text or f"class {f}" in text for f in vars(exercise.right))
    assert exercise.title and exercise.hint != exercise.stronger
    assert "def " in source(exercise) or "class " in source(exercise)
    assert [c.name for c in exercise.cases if c.name.startswith("plain")]
