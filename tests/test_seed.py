"""docs/seed.md walks the whole guide, and every proof that it names is a test that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT.parent / "shared" / "seed" / "monitoring-guide.md"
TEXT = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
needs_guide = pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not beside this checkout (../shared/seed)")


def headings(text: str) -> list[str]:
    """Headings and bold items (`1. **Basic Setup**` or `**Basic Setup**`) in order, without code blocks."""
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^(?:#{2,4} (.+)|(?:\d+\. )?\*\*(.+?)\*\*)$", prose, flags=re.MULTILINE)
    return [heading or item for heading, item in found]


def sections() -> dict[str, str]:
    """What stands under each bold item of docs/seed.md, by its number and name."""
    parts = re.split(r"^\*\*(.+?)\*\*$", TEXT, flags=re.MULTILINE)
    names = [f"{number} {name}" for number, name in enumerate(parts[1::2], 1)]
    return dict(zip(names, parts[2::2], strict=True))


@cache
def _names_in(path: str) -> set[str]:
    if not (ROOT / path).exists():
        return set()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@needs_guide
def test_every_heading_of_the_guide_is_walked_in_order():
    assert headings(TEXT) == headings(GUIDE.read_text(encoding="utf-8"))[: len(headings(TEXT))]
    assert len(headings(TEXT)) == len(headings(GUIDE.read_text(encoding="utf-8")))


@needs_guide
def test_the_guide_has_the_headings_that_are_looked_for():
    found = headings(GUIDE.read_text(encoding="utf-8"))
    assert {"Components", "System Metrics", "Middleware Integration", "Request Profiling", "Getting Help"} <= set(found)
    assert len(found) > 30


@pytest.mark.parametrize("name", sections())
def test_every_item_names_its_proof(name: str):
    assert PROOF.search(sections()[name])


@pytest.mark.parametrize(("path", "test"), sorted(set(PROOF.findall(TEXT))))
def test_every_test_that_is_named_exists(path: str, test: str):
    assert test in _names_in(path)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:monitoring|alerts|alphaq_portal|docs)/[\w/.]+)`", TEXT))))
def test_every_file_that_is_named_exists(path: str):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("page", sorted(set(re.findall(r"\]\((\w+\.md)\)", TEXT))))
def test_every_page_that_is_linked_exists(page: str):
    assert (ROOT / "docs" / page).exists()


def test_every_row_of_bad_input_names_its_proof():
    rows = [line for line in TEXT.partition("# Bad input")[2].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    assert [row for row in rows if not PROOF.search(row)] == []
