"""Every exercise: the stub fails politely, two right answers pass, each mistake is told apart."""
import functools
import re

import pytest

from exercises import bank_derivatives, bank_engine, bank_layers, bank_models, bank_optimizers
from tinygen import exercises
from tinygen.exercises import EXERCISES, check, check_file

BANKS = (bank_derivatives, bank_layers, bank_engine, bank_optimizers, bank_models)
ANSWERS = {name: answers for bank in BANKS for name, answers in bank.ANSWERS.items()}
MISTAKES = [pytest.param(name, i, id=f"{name}-{i}") for name, answers in ANSWERS.items()
            for i in range(len(answers.mistakes))]


def marked(names):
    return [pytest.param(n, marks=getattr(pytest.mark, n.split("_")[0])) for n in names]


@pytest.mark.parametrize("name", marked(EXERCISES))
def test_yours(name):
    """What a learner has written: `pytest -m ex07`."""
    report = check_file(exercises.FOLDER / f"{name}.py")
    if report.state == "not begun":
        pytest.skip("exercises not begun yet")
    assert report.state == "passed", report.text()


@pytest.mark.parametrize("name", EXERCISES)
def test_an_unfinished_answer_is_told_so(name):
    functions = vars(EXERCISES[name].right)

    def unfinished(*args, **settings):
        raise NotImplementedError("your turn")
    report = check(EXERCISES[name], dict.fromkeys(functions, unfinished))
    assert report.state == "not begun" and report.next()


@pytest.mark.parametrize("name", EXERCISES)
def test_right_answers_pass(name):
    assert len(ANSWERS[name].right) >= 2
    for answer in ANSWERS[name].right:
        assert check(EXERCISES[name], answer).text() == f"{name}: passed"


@functools.cache
def report_on(name, i):
    answers = ANSWERS[name]
    return check(EXERCISES[name], {**answers.right[0], **answers.mistakes[i].functions})


@pytest.mark.parametrize("name, i", MISTAKES)
def test_each_mistake_is_rejected(name, i):
    report = report_on(name, i)
    assert report.state == "not yet" and report.what and report.next()


def test_nearly_all_mistakes_get_the_right_diagnosis():
    wrong = []
    for name, i in (p.values for p in MISTAKES):
        says, what = ANSWERS[name].mistakes[i].says, report_on(name, i).what
        if not re.search(says, what):
            wrong.append(f"{name}: wanted {says!r}, said {what!r}")
    share = 1 - len(wrong) / len(MISTAKES)
    print(f"{share:.1%} of {len(MISTAKES)} mistakes; not: ", *wrong, sep="\n")
    assert share >= 0.95, "\n".join(wrong)


@pytest.mark.parametrize("name", [n for n, e in EXERCISES.items() if e.variants])
def test_each_variant_is_told_in_its_own_words(name):
    exercise = EXERCISES[name]
    for words, functions in exercise.variants.items():
        assert words in check(exercise, {**vars(exercise.right), **functions}).what


@pytest.mark.parametrize("name", EXERCISES)
def test_the_bank_is_large_enough(name):
    assert len(ANSWERS[name].mistakes) >= 6
