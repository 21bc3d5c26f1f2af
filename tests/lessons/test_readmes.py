"""Both texts about the lessons keep in step with the lessons, the exercises and each other."""
import re
from pathlib import Path

import pytest

import tinygen
from tinygen.exercises import EXERCISES

ROOT = Path(__file__).parents[2]
LESSONS = ROOT / "lessons"
PACKAGE = Path(tinygen.__file__).parent
ENGLISH, KOREAN = ((LESSONS / name).read_text("utf-8") for name in ("README.md", "README.ko.md"))


def rows(text):
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in text.splitlines() if line.startswith("| ")]


def test_every_lesson_has_a_row_with_its_question():
    names = sorted(p.name for p in LESSONS.glob("[0-9][0-9]_*.py"))
    for text in (ENGLISH, KOREAN):
        assert re.findall(r"\]\((\d\d_\w+\.py)\)", text) == names
    for name in names:
        question = (LESSONS / name).read_text("utf-8").splitlines()[0].split(": ", 1)[1]
        assert question in ENGLISH, name


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README*.md"))],
                         ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(path):
    """A bar inside a cell, as in p(y | x), would open a new one."""
    for table in re.findall(r"(?:^\|.*\n)+", path.read_text("utf-8"), re.M):
        head, *rest = rows(re.sub("^\\|-.*\n", "", table, flags=re.M))
        assert all(len(row) == len(head) for row in rest), rest


def test_both_have_the_same_symbols_numbers_and_places():
    glossary = [rows(text[text.rindex("\n## "):]) for text in (ENGLISH, KOREAN)]
    assert glossary[0][1:] == glossary[1][1:] and len(glossary[0]) > 35
    numbers = [re.findall(r"\d+", text.split("|---|")[0]) for text in (ENGLISH, KOREAN)]
    lines = [re.findall(r"\| `(.*)` \|$", text, re.M) for text in (ENGLISH, KOREAN)]
    assert lines[0] == lines[1] and len(lines[0]) == len(list(LESSONS.glob("[0-9][0-9]_*.py")))
    assert numbers[0] == numbers[1]
    assert f"{len(EXERCISES)} exercises" in ENGLISH and f"{len(EXERCISES)}개" in KOREAN


def test_what_the_glossary_points_to_exists():
    for _, _, _, place in rows(ENGLISH[ENGLISH.rindex("\n## "):])[1:]:
        for path in re.findall(r"[\w/]+\.py|models/$", place):
            root = LESSONS.parent if path.startswith("lessons/") else PACKAGE
            assert (root / path).exists(), path
        name = place.rpartition(": ")[2].split(".")[-1] if ": " in place else None
        if name:
            file = PACKAGE / place.split(":")[0]
            assert all(n.strip() in file.read_text("utf-8") for n in name.split(",")), place
