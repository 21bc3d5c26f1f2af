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
        assert re.findall(r"^\| \[.*?\]\((\d\d_\w+\.py)\)", text, re.M) == names
    for name in names:
        question = (LESSONS / name).read_text("utf-8").splitlines()[0].split(": ", 1)[1]
        assert question in ENGLISH, name


def test_the_trees_lead_to_every_lesson_of_the_branches():
    """From counting (13) on; the text of a link begins with its lesson's number."""
    names = sorted(p.name for p in LESSONS.glob("[0-9][0-9]_*.py"))[13:]
    for text in (ENGLISH, KOREAN):
        links = re.findall(r"^ +(?:- )?\[(\d\d) .+?\]\((\S+?)\)", text, re.M)
        assert links == [(name[:2], name) for name in names]


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README*.md"))],
                         ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(path):
    """A bar inside a cell, as in p(y | x), would open a new one."""
    for table in re.findall(r"(?:^\|.*\n)+", path.read_text("utf-8"), re.M):
        head, *rest = rows(re.sub("^\\|-.*\n", "", table, flags=re.M))
        assert all(len(row) == len(head) for row in rest), rest


def test_both_have_the_same_symbols_last_lines_and_places():
    glossary = [rows(text[text.rindex("\n## "):]) for text in (ENGLISH, KOREAN)]
    assert glossary[0][1:] == glossary[1][1:] and len(glossary[0]) > 35
    lines = [re.findall(r"\| `(.*)` \|$", text, re.M) for text in (ENGLISH, KOREAN)]
    assert lines[0] == lines[1] and len(lines[0]) == len(list(LESSONS.glob("[0-9][0-9]_*.py")))
    assert f"{len(EXERCISES)} exercises" in ENGLISH and f"{len(EXERCISES)}개" in KOREAN


@pytest.mark.parametrize("world, flag", [("FILE.txt", "names.txt"), ("mnist", "mnist")])
def test_both_say_which_lessons_take_other_data(world, flag):
    takers = [p.name[:2] for p in sorted(LESSONS.glob("[0-9][0-9]_*.py"))
              if f'"{world}")' in p.read_text("utf-8")]
    for text in (ENGLISH, KOREAN):
        before, = re.findall(rf"([^`]*)`--data {flag}`", text)
        assert re.findall(r"\d\d", before) == takers


@pytest.mark.parametrize("number", ["05", "06", "07", "08", "09"])
def test_what_a_lesson_grew_is_in_the_file_it_names(number):
    """"rules (defvjp) -> engine/tensor.py": in brackets the package's name, if another."""
    said, = re.findall(rf"^\| \[{number} .*`what became which file: (.*)` \|$", ENGLISH, re.M)
    lesson, = LESSONS.glob(f"{number}_*.py")
    for names, file in re.findall(r"(.+?) -> (\S+\.py)(?:; |$)", said):
        for name, other in re.findall(r"([^,( ]+)(?: \((\w+)\))?(?:, |$)", names):
            defined = rf"^ *(def|class) {other or name}\b"
            assert re.search(defined, (PACKAGE / file).read_text("utf-8"), re.M), defined
            assert not name.isidentifier() or re.search(
                rf"^ *(?:def |class )?{name}\b", lesson.read_text("utf-8"), re.M), name


def test_both_say_the_same_time_for_each_lesson():
    units = {"s": "초", "minute": "분", "minutes": "분"}
    said = [[row[2] for row in rows(text) if row[0].startswith("[")] for text in (ENGLISH, KOREAN)]
    times = [time.replace("a ", "1 ").split() for time in said[0]]
    assert [number + units[unit] for number, unit in times] == said[1]


def test_the_glossary_has_the_words_of_the_primer():
    words = ("생성모델, 판별모델, 확률 분포, 결정 경계, 모수, 학습 목표, 최적화, 자기회귀모형, 변분 오토인코더, "
             "적대적 생성 신경망, 잠재변수 모형, 표현 학습, 밀도 추정")
    assert set(words.split(", ")) <= {row[0] for row in rows(KOREAN[KOREAN.rindex("\n## "):])}


def test_the_pictures_of_the_readme_are_there():
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(r"^!\[lesson (\d\d)\]\((\S+)\)", readme, re.M)
    assert len(shown) == 3
    for number, path in shown:
        assert (ROOT / path).read_bytes()[:4] == b"\x89PNG" and Path(path).name[:2] == number


def test_what_the_glossary_points_to_exists():
    for _, _, _, place in rows(ENGLISH[ENGLISH.rindex("\n## "):])[1:]:
        for path in re.findall(r"[\w/]+\.py|models/$", place):
            root = LESSONS.parent if path.startswith("lessons/") else PACKAGE
            assert (root / path).exists(), path
        name = place.rpartition(": ")[2].split(".")[-1] if ": " in place else None
        if name:
            file = PACKAGE / place.split(":")[0]
            assert all(n.strip() in file.read_text("utf-8") for n in name.split(",")), place
