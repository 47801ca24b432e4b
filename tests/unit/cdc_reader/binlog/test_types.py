"""One row a type, and no place that knows types otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdc.commands import dead, snapshot
from cdc.table import Column
from cdc_reader.binlog.table_map import ColumnMap
from cdc_reader.binlog.types import BY_CODE, CODES, TYPES, Code, Family, Type, type_named
from cdc_reader.rows import row_plan
from cdc_reader.rows.column_source import layout_of
from cdc_reader.rows.select_codec import alphabet_of, refusal_of

ROOT = Path(__file__).parents[4]


def column(kind: Type) -> Column:
    """Return a column of a type."""
    return Column(
        name="c", data_type=kind.name, column_type=kind.name, charset="utf8mb4", nullable=False
    )


def test_a_name_and_a_number_mean_one_type() -> None:
    """Two rows with one name, or two codes with one number, would hide each other."""
    names = [one.name for one in TYPES]
    codes = {code for one in TYPES for code in one.codes}

    assert len(set(names)) == len(names)
    assert len(codes) == len(CODES)
    assert {code.number for code in codes} == BY_CODE.keys()


@pytest.mark.parametrize("kind", TYPES, ids=lambda one: one.name)
def test_select_decodes_exactly_the_types_that_are_carried(kind: Type) -> None:
    """A row that calls a type carried needs its decoder in `select_codec`."""
    assert kind.is_carried == (refusal_of(column(kind)) is None)
    alphabet = alphabet_of(column(kind)) or ""
    if kind.is_number or kind.family in (Family.INSTANT, Family.DURATION, Family.BIT):
        assert set("0123456789") <= set(alphabet)


@pytest.mark.parametrize(
    "code", [code for code in CODES.values() if code.fixed_bytes], ids=lambda code: code.name
)
def test_the_layout_of_a_fixed_column_is_that_of_its_row(code: Code) -> None:
    """With three digits of a fraction, two bytes more."""
    mapped = ColumnMap(
        name="c",
        type=code.number,
        meta=3,
        nullable=False,
        unsigned=False,
        collation=None,
        labels=None,
    )

    assert layout_of(mapped, "shop.users") == (code.fixed_bytes + 2 * code.has_fraction, 0)


def test_a_type_that_is_not_known_is_not_carried() -> None:
    """MariaDB's ``uuid``, and types of later versions."""
    unknown = type_named("uuid")

    assert not unknown.is_carried
    assert unknown.largest_bytes == 0
    assert refusal_of(column(unknown)) == "type uuid"


def test_what_commands_know_of_types_is_the_same() -> None:
    """`cdc` imports no side at the top of a module, so two lists exist there once more."""
    assert frozenset(one.name for one in TYPES if one.has_same_text_in_key) == dead.SAME_TEXT
    assert sorted(one.name for one in TYPES if one.is_bytes) == sorted(snapshot.BYTES)


def test_the_compiled_path_numbers_columns_as_its_plan() -> None:
    """`enum kind` of column.h and `row_plan.KINDS`, in one order."""
    header = (ROOT / "cdc_reader/native/column.h").read_text("utf-8")
    body = header.partition("enum kind {")[2].partition("}")[0]
    names = re.findall(r"[A-Z_]+", re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL))

    assert [*row_plan.KINDS, "KINDS"] == names
    assert row_plan.KINDS[row_plan.PRINTED_TIMESTAMP] == "PRINTED_TIMESTAMP"
