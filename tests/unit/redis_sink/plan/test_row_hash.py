"""A row as the fields of a Redis hash."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_sink.plan.row_hash import hash_fields

NAMES = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NAMES | st.lists(NAMES)


@given(st.dictionaries(NAMES, VALUES))
def test_each_column_is_a_field_but_for_null(row: dict[str, object]) -> None:
    """A string as it is, all else as its token, in the row's order."""
    wanted: list[str | bytes] = []
    for name, value in row.items():
        if value is not None:
            wanted += [name, value if isinstance(value, str) else msgspec.json.encode(value)]

    assert wanted == hash_fields(msgspec.json.encode(row).decode())


def test_a_number_keeps_its_digits() -> None:
    """1.50 is not 1.5, and a string of a number is none."""
    assert ["a", b"1.50", "b", "1.50"] == hash_fields('{"a":1.50,"b":"1.50"}')


@pytest.mark.parametrize("row", ["", "[]", "7", "null", '{"a":1', '{"a":"\\x"}', '{"a":1}{}'])
def test_what_is_no_object_is_refused(row: str) -> None:
    """With the error that makes it a dead letter."""
    with pytest.raises(msgspec.DecodeError):
        hash_fields(row)
