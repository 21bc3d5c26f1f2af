"""python tests/cells.py lessons/NN_topic.py FLAGS: a lesson as a notebook server runs it.

Every cell of its notebook in turn, in one namespace; together they are the file (test_notebook.py).
"""
import sys
from pathlib import Path

from tinygen.notebook import notebook

lesson, names = Path(sys.argv[1]), {"__name__": "__main__"}
sys.argv = sys.argv[1:]
for cell in notebook(lesson.read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"{lesson.name}, {cell['id']}", "exec"), names)
