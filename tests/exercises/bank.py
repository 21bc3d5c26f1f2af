"""Right answers and planted mistakes: what a bank file offers for each exercise.

A bank file has ANSWERS = {exercise: Answers(right=[...], mistakes=[...])}: two differently written
right answers, as dicts of functions, and at least six mistakes typical of learners. A mistake
changes some functions of the first right answer; `says` is a pattern that the diagnosis must match.
"""
from dataclasses import dataclass


@dataclass
class Answers:
    right: list
    mistakes: list


@dataclass
class Mistake:
    says: str
    functions: dict


def mistake(says, **functions):
    return Mistake(says, functions)
