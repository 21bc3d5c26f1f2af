"""python -m tinygen.exercises: every exercise, and how far you are.

An exercise is a file of lessons/exercises with a task and an unfinished function. Running the file
checks what you wrote: it prints "passed", or where the answer is wrong, in which way, and what to
try. `--hint` gives a stronger hint, `--solution` shows how the package does it. Nothing is
installed, written or overwritten.
"""
import argparse
import re
from pathlib import Path

from .checking import Report, check, source
from .running import Fault, load
from . import approximate, derivatives, engine, implicit, layers, optimizers, tractable

EXERCISES = {e.name: e for part in (derivatives, layers, engine, optimizers, tractable, approximate,
                                  implicit) for e in part.EXERCISES}
FOLDER = Path(__file__).parents[2] / "lessons" / "exercises"


def check_file(path):
    """The Report on a learner's file; one that does not even load is told in one sentence."""
    exercise = EXERCISES[_named(Path(path).stem)]
    try:
        return check(exercise, load(path))
    except Fault as fault:
        return Report(exercise, "not yet", fault.where, fault.what)


def main(path=None):
    """Checks the exercise at `path`, or the one named on the command line, or lists all."""
    parser = argparse.ArgumentParser(description="checks an exercise, or lists them all")
    if path is None:
        parser.add_argument("name", nargs="?", help="such as 7 or ex07_softmax; none lists all")
    parser.add_argument("--hint", action="store_true", help="a stronger hint")
    parser.add_argument("--solution", action="store_true", help="how the package does it")
    args = parser.parse_args()
    if path is None and args.name is None:
        return _list()
    try:
        name = _named(Path(path).stem if path else args.name)
    except ValueError as error:
        parser.error(str(error))
    if args.solution:
        print(source(EXERCISES[name]))
        return 0
    report = check_file(path or FOLDER / f"{name}.py")
    print(report.text(args.hint))
    if report.state == "not yet" and not args.hint:
        print("         a stronger hint: --hint")
    return 0 if report.state == "passed" else 1


def _named(name):
    """The exercise meant by its name or number, or by the name of a copy: 7, ex07, ex07_mine."""
    number = re.fullmatch(r"(?:ex)?(\d+)(?:_.*)?", name)
    for known in EXERCISES:
        if number and int(known[2:4]) == int(number[1]):
            return known
    raise ValueError(f"no exercise {name!r}: its name must start as in ex07_softmax; "
                     "`python -m tinygen.exercises` lists them")


def _list():
    passed = 0
    for name, exercise in EXERCISES.items():
        path = FOLDER / f"{name}.py"
        state = check_file(path).state if path.exists() else "file missing"
        passed += state == "passed"
        print(f"{name:28} {state:12} {exercise.title}")
    print(f"{passed} of {len(EXERCISES)} passed; run one: python lessons/exercises/NAME.py")
    return 0
