"""Each pure module has its own file of unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_architecture import PURE

UNIT = Path(__file__).parent


def _file_of(module: str) -> Path:
    """Return the path of a module's tests: ``cdc.check.room`` -> ``cdc/check/test_room.py``."""
    *rooms, name = module.split(".")
    return UNIT.joinpath(*rooms, f"test_{name}.py")


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_has_its_own_unit_tests(module: str) -> None:
    """The tests of a decision are found by the name of its module."""
    assert _file_of(module).exists(), f"write {_file_of(module).relative_to(UNIT.parents[1])}"
