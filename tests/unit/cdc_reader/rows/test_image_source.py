"""The source that reads a row image, run on images made by hand."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows.body_source import FunctionSource
from cdc_reader.rows.column_source import CONSTANTS
from cdc_reader.rows.image_source import Image

CODES = {tm.TINY: "<b", tm.SHORT: "<h", tm.LONG: "<i", tm.LONGLONG: "<q", tm.BIT: ">H"}
SIZES = {tm.VARCHAR: 1, tm.BLOB: 3, tm.JSON: 4}
COLUMNS = st.lists(
    st.tuples(
        st.sampled_from([*CODES, tm.VARCHAR, tm.BLOB]), st.booleans(), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=18,
)
"""Type, nullable, whether it is read, whether it is NULL if it may be."""


def column(name: str, kind: int, *, nullable: bool) -> ColumnMap:
    """Return a column of a type."""
    meta = {tm.VARCHAR: 40, tm.BLOB: 3, tm.BIT: 16}.get(kind, 0)
    return ColumnMap(
        name=name, type=kind, meta=meta, nullable=nullable, unsigned=False, collation=255,
        labels=None,
    )  # fmt: skip


def raw_of(kind: int, value: Any) -> bytes:
    """Return a value's bytes in an image."""
    if kind in CODES:
        return struct.pack(CODES[kind], value)
    data: bytes = value.encode()
    return len(data).to_bytes(SIZES[kind], "little") + data


def table(columns: list[ColumnMap]) -> TableMap:
    """Return a table with these columns."""
    return TableMap(schema="s", table="t", columns=tuple(columns), primary_key=())


def refuse(place: int) -> ValueError:
    """Return the error for a NULL in a key."""
    return ValueError(f"null key {place}")


def reader(mapped: TableMap, present: frozenset[int], result: str, **how: Any) -> Any:
    """Return the function that reads an image and gives where it ends, with a result."""
    source = FunctionSource("def generated(b, o):")
    source.constants |= CONSTANTS | {"null_key": refuse}
    image = Image(mapped, source, "v", present, **how)
    image.write()
    source.add(f"return o, {result}")
    return source.compile("an image")


@given(COLUMNS, st.sets(st.integers(0, 17)), st.data())
def test_what_is_asked_for_is_read_and_the_rest_is_gone_over(
    wanted: list[tuple[int, bool, bool, bool]], absent: set[int], data: st.DataObject
) -> None:
    """With any columns, NULLs and gaps in an image; bits after its last column are ignored."""
    columns = [column(f"c{n}", kind, nullable=null) for n, (kind, null, _, _) in enumerate(wanted)]
    present = frozenset(range(len(columns))) - absent
    places = tuple(n for n in sorted(present) if wanted[n][2])
    values: dict[int, Any] = {}
    raw, bits = b"", 0
    for bit, n in enumerate(sorted(present)):
        kind, nullable, _, is_null = wanted[n]
        if nullable and is_null:
            bits |= 1 << bit
            values[n] = None
            continue
        low = 0 if kind in (tm.BIT, tm.TINY) else -128
        values[n] = data.draw(
            st.integers(low, 127) if kind in CODES else st.text('ab\u00e9"', max_size=4)
        )
        raw += raw_of(kind, values[n])
    width = (len(present) + 7) // 8
    bits |= -1 << len(present) & (1 << 8 * width) - 1
    body = b"xx" + bits.to_bytes(width, "little") + raw + b"next"
    if not present:
        return
    result = "(" + "".join(f"v{n}, " for n in places) + ")"
    read = reader(table(columns), present, result, keys=(), values=places, plain=True)
    end, texts = read(body, 2)

    assert len(body) - 4 == end
    assert [values[n] for n in places] == list(texts)


NULLABLE = table([column("id", tm.LONG, nullable=True), column("name", tm.VARCHAR, nullable=True)])
BOTH = frozenset((0, 1))


def test_null_in_a_key_is_raised_with_its_place() -> None:
    """The value's columns may be NULL."""
    read = reader(NULLABLE, BOTH, "(v0, v1)", keys=(0,), values=(1,))

    assert (5, (7, None)) == read(b"\xfe" + raw_of(tm.LONG, 7), 0)
    with pytest.raises(ValueError, match="null key 0"):
        read(b"\xfd" + raw_of(tm.VARCHAR, "a"), 0)


def test_tokens_of_a_rows_object_are_null_or_escaped_twice() -> None:
    """Also on the way where nothing is NULL but could be."""
    read = reader(NULLABLE, BOTH, "v1j", keys=(0,), values=(1,), nested=True)
    with_null = b"\xfe" + raw_of(tm.LONG, 7)

    assert (5, "null") == read(with_null, 0)
    wide = table([*NULLABLE.columns, column("n", tm.LONG, nullable=True)])
    read = reader(wide, frozenset((0, 1, 2)), "v1j", keys=(0,), values=(1,), nested=True)
    body = b"\xfc" + raw_of(tm.LONG, 7) + raw_of(tm.VARCHAR, 'a"')
    assert r"\"a\\\"\"" == read(body, 0)[1]


def test_null_in_a_column_that_cannot_be_null_is_damage() -> None:
    """By the TABLE_MAP there is no such row."""
    mapped = table([column("id", tm.LONG, nullable=False), column("n", tm.LONG, nullable=True)])
    read = reader(mapped, BOTH, "v0", keys=(0,), values=())

    with pytest.raises(ValueError):  # noqa: PT011 - the generated function raises it bare
        read(b"\xfd" + raw_of(tm.LONG, 7), 0)
    assert (5, 7) == read(b"\xfe" + raw_of(tm.LONG, 7), 0)


def test_a_last_line_knows_whether_a_column_may_be_null() -> None:
    """It is written at the end of each way."""
    source = FunctionSource("def generated(b, o):")
    source.constants |= CONSTANTS
    image = Image(NULLABLE, source, "v", BOTH, keys=(), values=(0,))
    image.write(lambda may_be_null: f"w = {may_be_null}")
    source.add("return w")
    read = source.compile("an image")

    assert [True, True] == [image.nullable(0), image.nullable(1)]
    assert not image.nullable(2)
    assert [False, True] == [
        read(b"\xfc" + raw_of(tm.LONG, 7) + raw_of(tm.VARCHAR, "a"), 0),
        read(b"\xfe" + raw_of(tm.LONG, 7), 0),
    ]
