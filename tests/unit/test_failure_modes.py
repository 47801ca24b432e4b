"""docs/failure-modes.md against the tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/failure-modes.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| fault ")
]
_NAMED = re.compile(r"`([\w/.]+\.py)::(\w+)`")


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, functions) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_fault_has_its_test_or_the_reason_why_it_has_none(row: list[str]) -> None:
    """Three cells; the last one names tests that exist, or says why there is none."""
    assert len(row) == 3
    named = _NAMED.findall(row[2])
    assert named or re.match(r"none: \w+ \w+", row[2])
    for file, name in named:
        assert (ROOT / file).exists(), file
        assert name in _tests_of(ROOT / file), f"{file}::{name}"


def test_each_fault_test_stands_on_the_page() -> None:
    """A fault that is injected is one that users may read about."""
    named = set(_NAMED.findall(PAGE))
    there = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "tests/fault").glob("test_*.py")
        for name in _tests_of(path)
    }
    assert there - named == set()
