"""python -m tinygen.exercises: every exercise, and how far you are.

An exercise is a file of lessons/exercises with a task and an unfinished function. Running the file
checks what you wrote: it prints "passed", or where the answer is wrong, in which way, and what to
try. `--hint` gives a stronger hint, `--solution` shows how the package does it. Nothing is
installed, written or overwritten.
"""
import argparse
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

from .checking import Report, check, source
from . import derivatives, engine, layers, models, optimizers

EXERCISES = {e.name: e for part in (derivatives, layers, engine, optimizers, models)
             for e in part.EXERCISES}
FOLDER = Path(__file__).parents[2] / "lessons" / "exercises"


def check_file(path):
    """The Report on a learner's file; one that does not even load is told in one sentence."""
    exercise = EXERCISES[Path(path).stem]
    try:
        answer = SimpleNamespace(**runpy.run_path(str(path), run_name="answer"))
    except (Exception, SystemExit) as error:    # a learner's file may raise anything
        line = getattr(error, "lineno", None)
        where = f"line {line}" if line else "while the file loads"
        return Report(exercise, "not yet", where, f"{type(error).__name__}: {error}")
    return check(exercise, answer)


def main(path=None):
    """Checks the exercise at `path`, or the one named on the command line, or lists all."""
    parser = argparse.ArgumentParser(description="checks an exercise, or lists them all")
    if path is None:
        parser.add_argument("name", nargs="?", help="such as ex07_softmax or 7; none lists all")
    parser.add_argument("--hint", action="store_true", help="a stronger hint")
    parser.add_argument("--solution", action="store_true", help="how the package does it")
    args = parser.parse_args()
    if path is None and args.name is None:
        return _list()
    name = Path(path).stem if path else _named(parser, args.name)
    if args.solution:
        print(source(EXERCISES[name]))
        return 0
    report = check_file(path or FOLDER / f"{name}.py")
    print(report.text(args.hint))
    if report.state == "not yet" and not args.hint:
        print("         a stronger hint: --hint")
    return 0 if report.state == "passed" else 1


def _named(parser, name):
    found = [n for n in EXERCISES if n == name or n.startswith(f"ex{name:0>2}_")]
    if not found:
        parser.error(f"no exercise {name!r}; `python -m tinygen.exercises` lists them")
    return found[0]


def _list():
    passed = 0
    for name, exercise in EXERCISES.items():
        path = FOLDER / f"{name}.py"
        state = check_file(path).state if path.exists() else "file missing"
        passed += state == "passed"
        print(f"{name:28} {state:12} {exercise.title}")
    print(f"{passed} of {len(EXERCISES)} passed; run one: python lessons/exercises/NAME.py")
    return 0
