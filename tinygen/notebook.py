"""python -m tinygen.notebook lessons/24_vae.py: a lesson as a Jupyter notebook, cell by cell.

A line that starts with "# %%" begins a cell; what follows on that line becomes its heading. The
docstring at the top becomes text. The notebook is written beside the place the command is run from,
and an existing file is never overwritten. Format: nbformat 4.5, as plain JSON.
"""
import argparse
import ast
import json
import re
import sys
from pathlib import Path

from .commands import one_sentence


def cells(source):
    """[(heading, code), ...] of a script; the first has the docstring as its heading."""
    first, *rest = re.split(r"^# %%", source, flags=re.MULTILINE)
    tree = ast.parse(first)
    text = ast.get_docstring(tree)
    after = "\n".join(first.splitlines()[tree.body[0].end_lineno:]) if text else first
    parts = [(text or "", after)]
    for part in rest:
        heading, _, code = part.partition("\n")
        parts.append((heading.strip(), code))
    return [(heading, code.strip("\n")) for heading, code in parts]


def notebook(source):
    """The notebook of a script, as a dict that json.dump writes."""
    made = []
    for i, (heading, code) in enumerate(cells(source)):
        if heading:
            text = f"```text\n{heading}\n```" if i == 0 else f"## {heading}"
            made.append({"cell_type": "markdown", "id": f"text-{i}", "metadata": {},
                         "source": text.splitlines(keepends=True)})
        if code:
            made.append({"cell_type": "code", "id": f"code-{i}", "metadata": {}, "outputs": [],
                         "execution_count": None, "source": code.splitlines(keepends=True)})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}


def main():
    parser = argparse.ArgumentParser(prog="python -m tinygen.notebook",
                                     description="a lesson as a Jupyter notebook")
    parser.add_argument("lesson", type=Path, help="such as lessons/24_vae.py")
    parser.add_argument("--out", type=Path, help="the notebook; NAME.ipynb here when left out")
    args = parser.parse_args()
    out = args.out or Path(args.lesson.stem + ".ipynb")
    with one_sentence("notebook"):
        try:
            made = notebook(args.lesson.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise ValueError(f"{args.lesson}: line {error.lineno}: {error.msg}") from None
        if out.exists():
            raise FileExistsError(f"{out} exists; move it, or name another file with --out")
        out.write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
