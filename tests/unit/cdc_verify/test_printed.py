"""What SELECT prints of a value, and the text that Redis has to hold for it."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.table import Column
from cdc_verify.printed import Printed, compact, escaped, printed, quoted


def of(data_type: str, column_type: str = "") -> Printed:
    """Return how a column ``a`` of a type is read."""
    return printed(
        Column(
            name="a", data_type=data_type, column_type=column_type or data_type, charset=None,
            nullable=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data_type", "expression", "quoting"),
    [
        ("tinyint", "`a`", "bare"),
        ("bigint", "`a`", "bare"),
        ("year", "`a`", "bare"),
        ("decimal", "`a`", "quoted"),
        ("float", "`a` * 1e0", "bare"),
        ("double", "`a` * 1e0", "bare"),
        ("bit", "`a` + 0", "bare"),
        ("varbinary", "`a`", "quoted"),
        ("longblob", "`a`", "quoted"),
        ("datetime", "`a`", "quoted"),
        ("timestamp", "`a`", "quoted"),
        ("date", "`a`", "quoted"),
        ("time", "`a`", "quoted"),
        ("json", "`a`", "bare"),
        ("varchar", "`a`", "escaped"),
        ("enum", "`a`", "escaped"),
        ("set", "`a`", "escaped"),
    ],
)
def test_a_column_is_selected_as_its_type(data_type: str, expression: str, quoting: str) -> None:
    """Where the server's print is exact, the column alone."""
    assert (expression, quoting) == (of(data_type).expression, of(data_type).quoting)


@pytest.mark.parametrize(
    ("data_type", "column_type", "raw", "text"),
    [
        ("int", "int", b"-42", b"-42"),
        ("int", "int(5) unsigned zerofill", b"00042", b"42"),
        ("int", "int(5) unsigned zerofill", b"00000", b"0"),
        ("year", "year", b"0000", b"0"),
        ("year", "year", b"2026", b"2026"),
        ("decimal", "decimal(5,2)", b"-0.50", b"-0.50"),
        ("decimal", "decimal(5,2) unsigned zerofill", b"000.50", b"0.50"),
        ("decimal", "decimal(5,2) unsigned zerofill", b"012.50", b"12.50"),
        ("decimal", "decimal(5,0) unsigned zerofill", b"00012", b"12"),
        ("decimal", "decimal(5,2) zerofill", b"-012.50", b"-12.50"),
        ("double", "double", b"1e20", b"1e+20"),
        ("double", "double", b"0.1", b"0.1"),
        ("double", "double", b"5", b"5.0"),
        ("float", "float", b"1.100000023841858", b"1.1"),
        ("float", "float", b"16777216", b"16777216.0"),
        ("bit", "bit(8)", b"255", b"255"),
        ("varbinary", "varbinary(9)", b"\0\xff", b"AP8="),
        ("datetime", "datetime", b"2026-11-23 10:00:00", b"2026-11-23T10:00:00"),
        ("datetime", "datetime", b"0000-00-00 00:00:00", b"0000-00-00 00:00:00"),
        ("datetime", "datetime", b"2026-00-10 00:00:00", b"2026-00-10 00:00:00"),
        ("datetime", "datetime", b"2026-10-00 00:00:00", b"2026-10-00 00:00:00"),
        ("timestamp", "timestamp", b"2026-11-23 10:00:00.5", b"2026-11-23T10:00:00.5Z"),
        ("timestamp", "timestamp", b"0000-00-00 00:00:00", b"0000-00-00 00:00:00"),
        ("date", "date", b"2026-11-23", b"2026-11-23"),
        ("time", "time", b"-838:59:59", b"-838:59:59"),
        ("json", "json", b'{"a": [1, "b c"]}', b'{"a":[1,"b c"]}'),
        ("varchar", "varchar(9)", b"0042", b"0042"),
    ],
)
def test_a_text_is_that_of_the_contract(
    data_type: str, column_type: str, raw: bytes, text: bytes
) -> None:
    """As docs/message.md has it, whatever the server prints."""
    assert text == of(data_type, column_type).of(raw)


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(FLOATS)
def test_a_float_is_the_shortest_text_that_is_it_again(number: float) -> None:
    """Of its 32 bits; no text of fewer digits would do."""
    text = of("float").of(repr(number).encode()).decode()

    assert struct.pack("<f", number) == struct.pack("<f", float(text))
    digits = len(repr(float(text)).split("e")[0].replace(".", "").strip("-0"))
    if digits > 1:
        try:
            shorter = struct.pack("<f", float(f"{number:.{digits - 1}g}"))
        except OverflowError:
            return
        assert shorter != struct.pack("<f", number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_keeps_all_its_bits(number: float) -> None:
    """It reads back as the same number."""
    text = of("double").of(f"{number:.17g}".encode()).decode()

    assert struct.pack("<d", number) == struct.pack("<d", float(text))


@given(st.binary())
def test_bytes_are_base64(raw: bytes) -> None:
    """And lead back to themselves."""
    assert raw == base64.b64decode(of("blob").of(raw))


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_in_json_reads_back_as_itself(text: str) -> None:
    """Only what has to be escaped is; other letters stand as they are."""
    string = escaped(text.encode()).decode()

    assert text == json.loads(string)
    assert [] == [c for c in text if ord(c) > 0x7F and c not in string]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(JSON)
def test_spaces_are_taken_out_between_parts_alone(document: object) -> None:
    """Those inside strings stay, escaped quotes beside them too."""
    shown = json.dumps(document, ensure_ascii=False, separators=(", ", ": "))
    short = json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    assert short.encode() == compact(shown.encode())


@pytest.mark.parametrize(
    ("data_type", "raw", "text"),
    [
        ("json", b"null", None),
        ("json", b'"a b"', b"a b"),
        ("json", b'"a\\"b"', b'a"b'),
        ("json", b"[1, 2]", b"[1,2]"),
        ("json", b"true", b"true"),
        ("json", b"12.50", b"12.50"),
        ("varchar", b"null", b"null"),
        ("varchar", b'"a"', b'"a"'),
        ("int", b"7", b"7"),
    ],
)
def test_a_field_of_a_hash_has_a_string_as_it_is(
    data_type: str, raw: bytes, text: bytes | None
) -> None:
    """JSON's own null has no field; a text that looks like JSON is a text."""
    assert text == of(data_type).in_hash(raw)


@pytest.mark.parametrize(
    ("name", "sql"), [("a", "`a`"), ("a`b", "`a``b`"), ("50%", "`50%%`"), ("%s", "`%%s`")]
)
def test_a_name_is_quoted_for_a_statement_with_values(name: str, sql: str) -> None:
    """A backtick and a percent sign are doubled."""
    assert sql == quoted(name)
