"""The source stays small enough to be read: budgets in lines of code and in columns, held here.

A line of code is one that holds more than a comment or a docstring; what explains is not counted.
"""
import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinygen"
CORE = ["tensor", "backward", "backend", "blocks", "checkpoint", "halves"]
OPERATIONS = ["elementwise", "reductions", "shaping", "products", "fused", "convolution", "pooling"]
BESIDE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
          tokenize.ENDMARKER}


def docstrings(text):
    """The line numbers that strings standing alone take up."""
    for node in ast.walk(ast.parse(text)):
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)):
            yield from range(node.lineno, node.end_lineno + 1)


def code_lines(text):
    lines = {line for token in tokenize.generate_tokens(io.StringIO(text).readline)
             if token.type not in BESIDE for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - set(docstrings(text)))


def test_lines_of_code_are_those_that_do_something():
    text = '"""What it is\n\nfor"""\n\n# why\ndef f(x):  # here\n    "doc"\n    return """a\n' \
           '    b""" + x\n'
    assert code_lines(text) == 3


def test_no_line_has_more_than_100_columns():
    files = (path for folder in ("tinygen", "tests", "lessons")
             for path in (PACKAGE.parent / folder).rglob("*.py"))
    assert not [f"{path}:{i}" for path in files
                for i, line in enumerate(path.read_text("utf-8").splitlines(), 1)
                if len(line) > 100]


@pytest.mark.parametrize("names, budget", [(CORE, 700), (OPERATIONS, 900)])
def test_the_engine_is_not_longer_than_its_budget(names, budget):
    lines = {name: code_lines((PACKAGE / "engine" / f"{name}.py").read_text("utf-8"))
             for name in names}
    assert sum(lines.values()) <= budget, lines


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").rglob("*.py")), ids=lambda p: p.stem)
def test_a_model_file_is_at_most_350_lines_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= 350
