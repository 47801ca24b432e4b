"""What is counted of each column, for the size of a row as it will be sent."""

from __future__ import annotations

import pytest

from cdc.mask import Mask
from cdc.table import Column
from cdc_reader.table_size import value_length


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
