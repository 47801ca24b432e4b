"""Binary JSON from an encoder of our own; what real servers write is tested elsewhere."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_reader.rows.json_binary import (
    MAX_DEPTH,
    MalformedJson,
    canonical_json,
    double_token,
    json_text,
)
from tests.support.documents import DOCUMENTS, encode, length


def compact(document: Any) -> str:
    """Return what MySQL prints of a document, without spaces."""
    if isinstance(document, float):
        return double_token(document)
    if isinstance(document, list):
        return "[" + ",".join(map(compact, document)) + "]"
    if isinstance(document, dict):
        items = (f"{json.dumps(k, ensure_ascii=False)}:{compact(v)}" for k, v in document.items())
        return "{" + ",".join(items) + "}"
    return json.dumps(document, ensure_ascii=False)


@given(DOCUMENTS, st.booleans())
def test_documents_of_both_sizes_are_read(document: Any, large: bool) -> None:
    """Every value comes out as it went in, whether offsets have two bytes or four."""
    assert json_text(encode(document, large=large)) == compact(document)


@given(DOCUMENTS)
def test_printed_documents_lose_their_spaces_and_nothing_else(document: Any) -> None:
    """The content of strings stays, escapes and spaces included."""
    printed = json.dumps(document, ensure_ascii=False)
    tight = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    assert canonical_json(printed.encode()) == tight


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_exactly(number: float) -> None:
    """MySQL's spelling is another one, its number is the same."""
    token = double_token(number)
    assert struct.pack("<d", json.loads(token)) == struct.pack("<d", number)
    assert isinstance(json.loads(token), float)


@pytest.mark.parametrize(
    ("number", "token"),
    [
        (1.0, "1.0"), (-0.0, "-0.0"), (0.1, "0.1"), (1e100, "1e100"), (1e14, "100000000000000.0"),
        (1e15, "1e15"), (1e-15, "0.000000000000001"), (1e-16, "1e-16"), (-1.5e-300, "-1.5e-300"),
        (1.2345678901234568e29, "1.2345678901234568e29"),
    ],
)  # fmt: skip
def test_doubles_are_spelled_as_mysql_does(number: float, token: str) -> None:
    """Examples printed by a server; more are compared on a running one."""
    assert double_token(number) == token


def opaque(kind: int, raw: bytes) -> bytes:
    return bytes((15, kind)) + length(len(raw)) + raw


def packed(whole: int, micros: int) -> bytes:
    return struct.pack("<q", whole << 24 | micros)


def test_sql_values_inside_a_document_are_printed_as_mysql_does() -> None:
    """DECIMAL is a number, dates and times are strings with six digits, bytes are base64."""
    day = (2024 * 13 + 1) << 22 | 2 << 17
    clock = 10 << 12 | 11 << 6 | 12
    assert json_text(opaque(246, bytes.fromhex("03028132"))) == "1.50"
    assert json_text(opaque(10, packed(day, 0))) == '"2024-01-02"'
    assert json_text(opaque(12, packed(day | clock, 678000))) == '"2024-01-02 10:11:12.678000"'
    assert json_text(opaque(11, packed(clock, 5))) == '"10:11:12.000005"'
    negative = struct.pack("<q", -(clock << 24 | 500000))
    assert json_text(opaque(11, negative)) == '"-10:11:12.500000"'
    assert json_text(opaque(15, b"abc")) == '"base64:type15:YWJj"'
    assert json_text(opaque(252, b"\0" * 60)) == '"base64:type252:' + "A" * 76 + r"\n" + 'AAAA"'


def test_an_empty_document_is_null() -> None:
    """SELECT prints null for it too."""
    assert json_text(b"") == "null"


def test_documents_as_deep_as_mysql_allows_are_read_and_deeper_ones_refused() -> None:
    """A damaged document cannot use up the stack."""
    document: Any = []
    for _ in range(MAX_DEPTH - 1):
        document = [document]
    assert json_text(encode(document, large=False)) == "[" * MAX_DEPTH + "]" * MAX_DEPTH
    with pytest.raises(MalformedJson, match="deeper"):
        json_text(encode([document], large=False))


def test_a_document_that_holds_itself_is_refused() -> None:
    """An offset that leads back would never end."""
    with pytest.raises(MalformedJson):
        json_text(b"\x02" + struct.pack("<HHBH", 1, 7, 2, 0))


def test_a_document_whose_parts_meet_does_not_grow_without_end() -> None:
    """Arrays of two that both lead to the same array of two would double at each level."""
    levels, width = 60, 2
    size = 2 * width + 2 * (width + 1)
    raw = b""
    for level in range(levels):
        entry = b"\x02" + struct.pack("<H", size)
        raw += struct.pack("<HH", 2, size * (levels - level)) + entry + entry
    raw += struct.pack("<HH", 0, 4)
    with pytest.raises(MalformedJson):
        json_text(b"\x02" + raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_malformed(raw: bytes) -> None:
    """No bytes lead to another error, to endless work or to text that is not JSON."""
    try:
        text = json_text(raw)
    except MalformedJson:
        return
    json.loads(text)


@given(DOCUMENTS, st.booleans(), st.data())
def test_a_damaged_document_is_a_document_or_malformed(
    document: Any, large: bool, data: st.DataObject
) -> None:
    """One wrong byte, or an end too early, leads to no other error."""
    raw = bytearray(encode(document, large=large))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    for damaged in (bytes(raw), cut):
        try:
            json.loads(json_text(damaged))
        except MalformedJson:
            continue
