"""The checker: whatever a learner writes gets one sentence, and nothing of it gets out."""
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tinygen import exercises
from tinygen.engine.diagnosis import CANNOT_TELL
from tinygen.exercises import EXERCISES, check, check_file, running
from tinygen.exercises.checking import Report, source
from tinygen.exercises.task import Case, Exercise

TANH, SOFTMAX = EXERCISES["ex02_tanh"], EXERCISES["ex07_softmax"]
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
    monkeypatch.setattr(running, "SECONDS", 0.2)
    report = check(TANH, {"tanh_backward": WRONG[says]})
    assert report.state == "not yet" and says in report.what
    assert "Traceback" not in report.text() and "\n" not in report.what


def test_one_endless_case_ends_the_check(monkeypatch):
    monkeypatch.setattr(running, "SECONDS", 0.2)
    calls = []
    report = check(EXERCISES["ex05_broadcasting"], {
        "unbroadcast": lambda g, shape: calls.append(shape) or forever(g, shape)})
    assert "no end after" in report.what and len(calls) == 1


def test_each_function_is_judged_by_itself():
    def unfinished(g, y):
        raise NotImplementedError("your turn")

    def told(softmax):
        return check(SOFTMAX, {"softmax": softmax, "softmax_backward": unfinished})
    report = told(np.exp)
    assert report.state == "not yet" and report.function == "softmax" and "y[" in report.where
    report = told(SOFTMAX.right.softmax)
    assert report.state == "not yet" and report.function == "softmax_backward"
    assert report.what == "not begun: softmax_backward; the rest is right"
    report = told(lambda x: unfinished(x, x))
    assert report.state == "not begun" and report.function == "softmax"


@pytest.mark.parametrize("name", [n for n, e in EXERCISES.items() if len(vars(e.right)) > 1])
def test_each_function_has_its_own_hints(name):
    exercise = EXERCISES[name]
    for stronger in (False, True):
        hints = {Report(exercise, "not yet", function=f).next(stronger)
                 for f in vars(exercise.right)}
        assert len(hints) == len(vars(exercise.right)) and set(exercise.own) < set(
            vars(exercise.right))


def weighed(x):
    return x * np.arange(1.0, len(x) + 1)


def test_what_would_explain_one_case_alone_is_not_told():
    exercise = Exercise(
        "ex99", "weighed", SimpleNamespace(weigh=weighed), lambda answer, x: answer.weigh(x),
        [Case("plain", x=np.array([1.0, 3, 4])), Case("plain, longer", x=np.arange(1.0, 6) ** 2)],
        "hint", "stronger", variants={"all ones": dict(weigh=np.ones_like)})

    def told(weigh):
        return check(exercise, {"weigh": weigh}).what
    assert told(lambda x: weighed(x[::-1])) == "right if x were turned around"
    for n in (3, 5):                            # in one of the cases it would be so
        for other in (lambda x: weighed(x[::-1]), np.ones_like):
            assert not re.search("turned around|all ones", told(
                lambda x: other(x) if len(x) == n else np.sin(9 * x)))
    assert told(lambda x: weighed(x) * 1.01 ** x.sum()).endswith(
        "1.72852 times too large (in the case x (5,); another number in other cases)")
    assert told(lambda x: weighed(x) if len(x) == 3 else -weighed(x)) == "negated"
    assert told(lambda x: weighed(x) / x if len(x) == 5 else np.cos(9 * x)) == CANNOT_TELL


def test_an_argument_that_has_no_part_in_a_result_explains_nothing():
    report = check(EXERCISES["ex03_sigmoid_softplus"], {
        **vars(EXERCISES["ex03_sigmoid_softplus"].right),
        "softplus": lambda x: np.log1p(np.exp(np.clip(x, -40, 40)))})
    assert report.what.startswith("wrong at large inputs (right for 1 of 3")


def test_a_number_is_no_size_where_another_case_has_the_same():
    def attention_backward(g, q, k, v):
        dq, dk, dv = EXERCISES["ex16_attention"].right.attention_backward(g, q, k, v)
        return dq, 2 * dk, dv
    report = check(EXERCISES["ex16_attention"], {
        **vars(EXERCISES["ex16_attention"].right), "attention_backward": attention_backward})
    assert report.what == ("right only for a single key; elsewhere 2 times too large "
                           "(added twice, or a half left out?)")


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
    ("1 / 0\n", "ZeroDivisionError"), ("exit()\n", "SystemExit"),
    ("\nwhile True: pass\n", "no end after"), ("raise ValueError('a\\nb')", "ValueError: a")])
def test_a_file_that_does_not_load_is_one_sentence(text, says, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SECONDS", 0.2 if "while" in text else 10)
    path = tmp_path / "ex02_tanh.py"
    path.write_text(text)
    report = check_file(path)
    assert report.state == "not yet" and report.what.startswith(says)
    assert "\n" not in report.what and path.read_text() == text


def test_the_line_is_told_in_which_a_file_does_not_load(tmp_path):
    path = tmp_path / "ex02_tanh.py"
    for text in ("\n\n1 / 0\n", "\n\n1 +\n"):
        path.write_text(text)
        assert check_file(path).where == "line 3"


@pytest.mark.parametrize("name", ["2", "02", "ex2", "ex02", "ex02_tanh", "ex02_mine"])
def test_a_copy_of_a_file_is_checked_as_well(name, tmp_path, monkeypatch, capsys):
    for stem in ("ex02_tanh", name):
        (tmp_path / f"{stem}.py").write_text(BODY + "return g * (1 - y * y)\n")
    assert check_file(tmp_path / f"{name}.py").text() == "ex02_tanh: passed"
    monkeypatch.setattr(exercises, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["exercises", name])
    assert exercises.main() == 0 and capsys.readouterr().out == "ex02_tanh: passed\n"


def test_a_file_of_another_name_is_told_the_form(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(BODY)
    with pytest.raises(ValueError, match="'mine': its name must start as in ex07_softmax"):
        check_file(path)


def run(*args):
    path = os.pathsep.join(sys.path)            # where this process found tinygen
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("body, says, ended", [
    ("return g * (1 - y * y)\n", "ex02_tanh: passed\n", 0), ("return g\n", TANH.stronger, 1),
    ("return g\n\n\nprint(1 / 0)\n", "ZeroDivisionError: division by zero", 1)])
def test_a_file_checks_itself_and_stays_as_it_was(body, says, ended, tmp_path):
    head, _ = (exercises.FOLDER / "ex02_tanh.py").read_text().split("\n\n\n")
    path = tmp_path / "ex02_tanh.py"
    text = head + BODY[BODY.index("\n\n\n"):] + body
    path.write_text(text)
    done = run(str(path), "--hint")
    assert says in done.stdout and done.returncode == ended and not done.stderr
    assert path.read_text() == text and list(tmp_path.iterdir()) == [path]


def test_the_command_checks_and_shows(capsys, monkeypatch):
    def said(*args):
        monkeypatch.setattr("sys.argv", ["exercises", *args])
        return exercises.main(), capsys.readouterr().out
    code, out = said("ex02_tanh", "--solution")
    assert code == 0 and "def tanh(x):" in out and "defvjp(tanh" in out
    with pytest.raises(SystemExit):
        said("99")


def test_the_list_counts_what_is_passed(tmp_path, capsys, monkeypatch):
    (tmp_path / "ex02_tanh.py").write_text(BODY + "return g * (1 - y * y)\n")
    (tmp_path / "ex07_softmax.py").write_text("1 / 0\n")
    stub = (exercises.FOLDER / "ex05_broadcasting.py").read_text()
    (tmp_path / "ex05_broadcasting.py").write_text(stub)
    monkeypatch.setattr(exercises, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["exercises"])
    assert exercises.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 35 and lines[-1].startswith("1 of 34 passed")
    states = {line[:4]: line[29:41].rstrip() for line in lines[:-1]}
    assert [states[f"ex0{i}"] for i in (1, 2, 5, 7)] == [
        "file missing", "passed", "not begun", "not yet"]


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_a_file_a_title_two_hints_and_an_answer_to_show(name):
    exercise, path = EXERCISES[name], exercises.FOLDER / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f'"""Exercise {int(name[2:4])}: ') and f"exercises/{name}.py" in text
    assert f"or:  python -m tinygen.exercises {int(name[2:4])} " in text
    before, after = text.split(exercises.FOLDER.joinpath("ex02_tanh.py").read_text(
        encoding="utf-8").split("\n\n")[-2])     # what checks the file stands above the answer
    assert not re.search("^(def|class) ", before, re.M) and "your turn" in after
    assert all(f"{f}(" in text or f"class {f}" in text for f in vars(exercise.right))
    assert exercise.title and exercise.hint != exercise.stronger
    assert "def " in source(exercise) or "class " in source(exercise)
    assert [c.name for c in exercise.cases if c.name.startswith("plain")]
