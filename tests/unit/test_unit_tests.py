"""Each pure module has a file of unit tests, where its name leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_architecture import PURE

UNIT = Path(__file__).parent
TESTED_WITH_OTHERS = {
    "cdc.setting",
    "cdc.status.text",
    "cdc_reader.binlog.coordinates",
    "cdc_reader.binlog.long_event",
    "cdc_reader.binlog.payload",
    "cdc_reader.catalog.dialect",
    "cdc_reader.catalog.unique_key",
    "cdc_reader.messages.oversize",
    "cdc_reader.rows.body_source",
    "cdc_reader.rows.column_source",
    "cdc_reader.rows.image_source",
    "cdc_reader.rows.row_plan",
    "cdc_reader.rows.shape",
    "cdc_reader.rows.shaped_rows",
    "cdc_reader.snapshot.key_range",
    "cdc_verify.checkpoint",
    "cdc_verify.parted",
    "cdc_verify.parts",
    "cdc_verify.printed",
    "cdc_verify.report",
    "cdc_verify.select",
    "redis_sink.plan.batch",
    "redis_sink.plan.planning",
    "redis_sink.plan.row_hash",
    "redis_sink.plan.state",
}
"""Modules whose tests are still those of the modules that use them: none is added here."""


def _file_of(module: str) -> Path:
    """Return where a module's tests are: ``cdc.check.room`` -> ``cdc/check/test_room.py``."""
    *rooms, name = module.split(".")
    return UNIT.joinpath(*rooms, f"test_{name}.py")


@pytest.mark.parametrize("module", sorted(set(PURE) - TESTED_WITH_OTHERS))
def test_a_pure_module_has_its_own_unit_tests(module: str) -> None:
    """Who changes a decision finds its tests by its name."""
    assert _file_of(module).exists(), f"write {_file_of(module).relative_to(UNIT.parents[1])}"


def test_what_is_tested_with_others_is_a_pure_module() -> None:
    """A module that is renamed or has gone leaves the list."""
    assert set(PURE) >= TESTED_WITH_OTHERS
