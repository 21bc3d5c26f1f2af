"""Every lesson opens as a notebook whose cells, run in order, are the lesson."""
import json
from pathlib import Path

import pytest

from tinygen import notebook

LESSONS = sorted((Path(__file__).parents[1] / "lessons").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_is_a_valid_notebook(lesson):
    source = lesson.read_text(encoding="utf-8")
    made = json.loads(json.dumps(notebook.notebook(source)))
    assert made["nbformat"] == 4 and len({c["id"] for c in made["cells"]}) == len(made["cells"])
    assert {c["cell_type"] for c in made["cells"]} == {"markdown", "code"}
    cells = ["".join(c["source"]) for c in made["cells"] if c["cell_type"] == "code"]
    for cell in cells:
        compile(cell, lesson.name, "exec")      # whole by itself; lessons/ runs them in order
    code = "\n".join(cells)
    kept = [line for line in code.splitlines() if line.strip()]
    assert kept == [line for line in source.split('"""', 2)[2].splitlines()
                    if line.strip() and not line.startswith("# %%")]


def test_the_command_writes_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["notebook", str(LESSONS[0])])
    assert notebook.main() == 0
    first = (tmp_path / f"{LESSONS[0].stem}.ipynb").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        notebook.main()
    assert "exists; move it" in capsys.readouterr().err
    assert (tmp_path / f"{LESSONS[0].stem}.ipynb").read_text(encoding="utf-8") == first


def test_without_a_docstring_every_line_is_code():
    assert notebook.cells("3\n# %% a\nx = 1\n") == [("", "3"), ("a", "x = 1")]


@pytest.mark.parametrize("text, says", [(None, "none.py"), ("x = 1\ny = (\n", "none.py: line 2: ")])
def test_no_file_and_no_python_are_one_sentence(text, says, tmp_path, monkeypatch, capsys):
    lesson = tmp_path / "none.py"
    monkeypatch.setattr("sys.argv", ["notebook", str(lesson)])
    if text:
        lesson.write_text(text)
    with pytest.raises(SystemExit):
        notebook.main()
    assert says in capsys.readouterr().err
