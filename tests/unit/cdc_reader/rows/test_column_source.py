"""How a column is laid out in a row image, and the text that it becomes."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap
from cdc_reader.rows.body_source import FunctionSource
from cdc_reader.rows.column_source import CONSTANTS, layout_of, reading_of

UTF8, LATIN1, BINARY, ASCII, UTF16 = 255, 8, 63, 11, 54


def column(kind: int, meta: int = 0, **how: Any) -> ColumnMap:
    """Return a column ``a``."""
    fields: dict[str, Any] = {"nullable": False, "unsigned": False, "collation": UTF8}
    return ColumnMap(name="a", type=kind, meta=meta, **({"labels": None} | fields | how))


def text_of(one: ColumnMap, raw: bytes) -> str:
    """Return the text that the generated lines make of a column's bytes, its length left out."""
    source = FunctionSource("def generated(raw):")
    reading = reading_of(one, "shop.t", "v", source)
    at = 0
    for field in reading.fields:
        code = (field.order or "<") + field.code
        source.constants[f"unpack_{field.name}"] = struct.Struct(code).unpack_from
        source.add(f"{field.name}, = unpack_{field.name}(raw, {at})")
        at += struct.calcsize(code)
    assert at == reading.layout.fixed_bytes
    source.add("vl = len(raw)", *(line.replace("RAW", "raw") for line in reading.lines))
    source.add("return v")
    source.constants |= CONSTANTS
    text = str(source.compile("a column")(raw))
    alphabet = reading.text.alphabet
    assert alphabet is None or set(text) <= set(alphabet)
    return text


@pytest.mark.parametrize(
    ("kind", "meta", "layout"),
    [
        (tm.TINY, 0, (1, 0)),
        (tm.INT24, 0, (3, 0)),
        (tm.LONGLONG, 0, (8, 0)),
        (tm.FLOAT, 4, (4, 0)),
        (tm.DATE, 0, (3, 0)),
        (tm.DATETIME2, 0, (5, 0)),
        (tm.DATETIME2, 6, (8, 0)),
        (tm.TIMESTAMP2, 3, (6, 0)),
        (tm.TIME2, 1, (4, 0)),
        (tm.DECIMAL, 10 << 8 | 2, (5, 0)),
        (tm.BIT, 9, (2, 0)),
        (tm.ENUM, 2, (2, 0)),
        (tm.SET, 8, (8, 0)),
        (tm.VARCHAR, 255, (0, 1)),
        (tm.VARCHAR, 256, (0, 2)),
        (tm.STRING, 40, (0, 1)),
        (tm.BLOB, 3, (0, 3)),
        (tm.JSON, 4, (0, 4)),
        (tm.GEOMETRY, 4, (0, 4)),
        (tm.VECTOR, 4, (0, 4)),
        (tm.BLOB_COMPRESSED, 2, (0, 2)),
    ],
)
def test_a_column_takes_the_bytes_of_its_type(
    kind: int, meta: int, layout: tuple[int, int]
) -> None:
    """Fixed bytes, or those of a length before it; also of types that are not carried."""
    assert layout == tuple(layout_of(column(kind, meta), "shop.t"))


@pytest.mark.parametrize(
    ("kind", "meta"),
    [
        (tm.TIMESTAMP, 0), (tm.TIME, 0), (tm.DATETIME, 0), (tm.DATETIME2, 7), (tm.BLOB, 5),
        (tm.BLOB, 0), (tm.ENUM, 5), (tm.SET, 9), (tm.DECIMAL, 2 << 8 | 10), (tm.TYPED_ARRAY, 0),
        (99, 0),
    ],
)  # fmt: skip
def test_a_column_of_unknown_size_is_refused(kind: int, meta: int) -> None:
    """What follows it cannot be found; the column and its table are named."""
    with pytest.raises(PositionLostError, match=r"column 'a' of shop\.t"):
        layout_of(column(kind, meta), "shop.t")


INTEGERS = [(tm.TINY, 1), (tm.SHORT, 2), (tm.INT24, 3), (tm.LONG, 4), (tm.LONGLONG, 8)]


@pytest.mark.parametrize(("kind", "size"), INTEGERS)
@pytest.mark.parametrize("unsigned", [False, True])
@given(st.data())
def test_an_integer_is_its_digits(
    kind: int, size: int, unsigned: bool, data: st.DataObject
) -> None:
    """Of any size, with or without a sign."""
    low = 0 if unsigned else -(1 << 8 * size - 1)
    number = data.draw(st.integers(low, low + (1 << 8 * size) - 1))
    raw = number.to_bytes(size, "little", signed=not unsigned)

    assert str(number) == text_of(column(kind, unsigned=unsigned), raw)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_as_itself(number: float) -> None:
    """Its text is that of 32 bits, not of 64."""
    raw = struct.pack("<f", number)

    assert raw == struct.pack("<f", float(text_of(column(tm.FLOAT, 4), raw)))
    assert repr(number) == text_of(column(tm.DOUBLE, 8), struct.pack("<d", number))


@pytest.mark.parametrize(
    ("one", "raw", "text"),
    [
        (column(tm.YEAR), "00", "0"),
        (column(tm.YEAR), "7e", "2026"),
        (column(tm.DATE), "77d50f", "2026-11-23"),
        (column(tm.DATE), "000000", "0000-00-00"),
        (column(tm.DECIMAL, 4 << 8 | 2), "8c32", "12.50"),
        (column(tm.DECIMAL, 4 << 8 | 2), "73cd", "-12.50"),
        (column(tm.DECIMAL, 4 << 8), "8007", "7"),
        (column(tm.DECIMAL, 2 << 8 | 2), "85", "0.05"),
        (column(tm.DECIMAL, 12 << 8), "800000000007", "7"),
        (column(tm.DECIMAL, 15 << 8), "80000100000007", "1000000007"),
        (column(tm.DECIMAL, 6 << 8), "80ffff", "65535"),
        (column(tm.DATETIME2, 0), "99bb6ea000", "2026-11-23T10:00:00"),
        (column(tm.DATETIME2, 1), "99bb6ea0000a", "2026-11-23T10:00:00.1"),
        (column(tm.DATETIME2, 6), "99bb6ea00001e240", "2026-11-23T10:00:00.123456"),
        (column(tm.TIMESTAMP2, 0), "00000000", "0000-00-00 00:00:00"),
        (column(tm.TIMESTAMP2, 2), "0000000000", "0000-00-00 00:00:00.00"),
        (column(tm.TIMESTAMP2, 2), "0000000005", "1970-01-01T00:00:00.05Z"),
        (column(tm.TIMESTAMP2, 0), "6b040ea0", "2026-11-23T10:00:00Z"),
        (column(tm.TIME2, 0), "80a000", "10:00:00"),
        (column(tm.TIME2, 0), "7f6000", "-10:00:00"),
        (column(tm.BIT, 1), "01", "1"),
        (column(tm.BIT, 9), "01ff", "511"),
        (column(tm.BIT, 17), "010000", "65536"),
        (column(tm.BIT, 40), "0100000000", "4294967296"),
        (column(tm.ENUM, 1, labels=(b"x", b"y")), "02", "y"),
        (column(tm.ENUM, 2, labels=(b"x", b"y")), "0100", "x"),
        (column(tm.ENUM, 1, labels=(b"x",)), "00", ""),
        (column(tm.SET, 1, labels=(b"x", b"y")), "03", "x,y"),
        (column(tm.SET, 1, labels=(b"x", b"y")), "00", ""),
        (column(tm.SET, 3, labels=tuple(b"%d" % n for n in range(20))), "010008", "0,19"),
        (column(tm.SET, 2, labels=tuple(b"%d" % n for n in range(10))), "0002", "9"),
        (column(tm.VARCHAR, 40, collation=LATIN1), "e980", "é€"),
        (column(tm.VARCHAR, 40), "c3a9", "é"),
        (column(tm.VARCHAR, 40, collation=ASCII), "4164", "Ad"),
        (column(tm.STRING, 4, collation=BINARY), "00ff", base64.b64encode(b"\0\xff\0\0").decode()),
        (column(tm.VARCHAR, 4, collation=BINARY), "00ff", base64.b64encode(b"\0\xff").decode()),
        (column(tm.BLOB, 2, collation=BINARY), "", ""),
        (column(tm.JSON, 4), "", "null"),
    ],
)  # fmt: skip
def test_a_columns_bytes_become_the_text_of_the_contract(
    one: ColumnMap, raw: str, text: str
) -> None:
    """As docs/message.md has it for each type."""
    assert text == text_of(one, bytes.fromhex(raw))


@pytest.mark.parametrize(
    "one",
    [
        column(tm.GEOMETRY, 4),
        column(tm.VECTOR, 4),
        column(tm.BLOB_COMPRESSED, 2),
        column(tm.VARCHAR, 40, collation=None),
        column(tm.VARCHAR, 40, collation=UTF16),
        column(tm.VARCHAR, 40, collation=9999),
        column(tm.ENUM, 1),
        column(tm.SET, 1),
        column(tm.ENUM, 1, labels=(b"x",), collation=BINARY),
        column(tm.ENUM, 1, labels=(b"\xff",)),
        column(tm.ENUM, 1, labels=(b"x",), collation=None),
    ],
)
def test_what_cannot_be_carried_exactly_is_refused(one: ColumnMap) -> None:
    """The column, its table and its type are named."""
    with pytest.raises(PositionLostError, match=r"column 'a' of shop\.t") as refused:
        reading_of(one, "shop.t", "v", FunctionSource(""))
    assert one.type_name in refused.value.seen


@pytest.mark.parametrize(
    ("labels", "is_plain"), [((b"new", b"old"), True), ((b'q"',), False), ((b"\\",), False)]
)
def test_labels_that_json_escapes_have_no_alphabet(
    labels: tuple[bytes, ...], is_plain: bool
) -> None:
    """Otherwise they would be in the message without their backslash."""
    for kind in (tm.ENUM, tm.SET):
        reading = reading_of(column(kind, 1, labels=labels), "shop.t", "v", FunctionSource(""))
        assert is_plain == (reading.text.alphabet is not None)


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_is_itself(text: str) -> None:
    """In UTF-8, with any content."""
    assert text == text_of(column(tm.BLOB, 4), text.encode())
