"""Each pure module has a file of unit tests, where its name leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_architecture import PURE

UNIT = Path(__file__).parent


def _file_of(module: str) -> Path:
    """Return where a module's tests are: ``cdc.check.room`` -> ``cdc/check/test_room.py``."""
    *rooms, name = module.split(".")
    return UNIT.joinpath(*rooms, f"test_{name}.py")


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_has_its_own_unit_tests(module: str) -> None:
    """Who changes a decision finds its tests by its name."""
    assert _file_of(module).exists(), f"write {_file_of(module).relative_to(UNIT.parents[1])}"
