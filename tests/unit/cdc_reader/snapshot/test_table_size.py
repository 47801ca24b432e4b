"""What is counted of each column, for the size of a row as it will be sent."""

from __future__ import annotations

import dataclasses

import pytest

from cdc.mask import Mask
from cdc.table import Column
from cdc_reader.snapshot.table_size import large_columns, value_length
from tests.support.planned import a_table


def column(data_type: str) -> Column:
    return Column(name="c", data_type=data_type, column_type="", charset=None, nullable=True)


@pytest.mark.parametrize(
    ("data_type", "mask", "sql"),
    [
        ("int", None, "1"),
        ("datetime", None, "1"),
        ("varchar", None, "COALESCE(OCTET_LENGTH(`c`), 4)"),
        ("longblob", None, "COALESCE(OCTET_LENGTH(`c`) * 4 DIV 3, 4)"),
        ("json", None, "COALESCE(OCTET_LENGTH(`c`) * 2 DIV 3, 4)"),
        ("longtext", Mask(kind="hash"), "64"),
        ("longtext", Mask(kind="truncate", length=3), "LEAST(COALESCE(OCTET_LENGTH(`c`), 4), 3)"),
    ],
)
def test_a_column_counts_what_its_text_takes_at_least(
    data_type: str, mask: Mask | None, sql: str
) -> None:
    """Base64 for bytes, our JSON without MySQL's spaces, and what a mask leaves."""
    assert value_length(column(data_type), mask) == sql


def test_a_number_counts_more_on_average_than_at_least() -> None:
    """An estimate of memory may be high, that of the largest row may not."""
    assert value_length(column("bigint"), number_bytes=12) == "12"


def test_columns_that_may_hold_more_than_a_message() -> None:
    """By their type, not by what they hold now; not those that are masked or left out."""
    kinds = {"id": "int", "t": "text", "m": "mediumtext", "b": "longblob", "j": "json"}
    table = dataclasses.replace(
        a_table(columns=kinds),
        fields=(("id", "id"), ("t", "t"), ("m", "m"), ("j", "j")),
        masks=(("j", Mask(kind="hash")),),
    )

    assert large_columns(table, 1 << 20) == ["m (mediumtext)"]
    assert large_columns(table, 1 << 24) == []
