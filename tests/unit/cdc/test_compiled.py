"""Which compiled module is used, and when none is."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from cdc import compiled


def test_a_package_without_a_compiled_module_uses_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a compiler works."""
    monkeypatch.setattr(compiled, "IS_WANTED", True)

    assert compiled.native("tests") is None


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_compiled_module_is_used_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, is_wanted: bool
) -> None:
    """CDC_PURE_PYTHON leaves it out, although it is built."""
    built = ModuleType("tests._native")
    monkeypatch.setitem(sys.modules, "tests._native", built)
    monkeypatch.setattr(compiled, "IS_WANTED", is_wanted)

    assert (built if is_wanted else None) is compiled.native("tests")
