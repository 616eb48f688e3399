"""Sizes of the house: no function over 60 lines, no file over 500, every public function says what it does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("alphaq_portal", "monitoring", "alerts", "benchmarks", "docs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)
SHELF_WORDS = {"utils", "helpers", "common", "core", "services", "misc"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_500_lines(path: Path):
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_function_has_at_most_60_lines(path: Path):
    long = [
        f"{one.name}: {one.end_lineno - one.lineno + 1}" for one in functions(path) if one.end_lineno - one.lineno >= 60
    ]
    assert not long


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_things_have_a_docstring(path: Path):
    tree = ast.parse(path.read_text())
    if path.stat().st_size == 0:
        return
    assert ast.get_docstring(tree) or len(tree.body) == 0, "the module says what it hides"
    missing = [
        node.name
        for scope in [
            tree,
            *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")),
        ]
        for node in scope.body
        if isinstance(node, Function | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name != "Meta"
        and not ast.get_docstring(node)
    ]
    assert not missing


def test_no_shelf_is_called_by_a_word_that_says_nothing():
    assert not [str(path) for path in FILES if path.stem in SHELF_WORDS or SHELF_WORDS & set(path.parts)]
