"""Plan of a table for the compiled hot path: its columns, and the form of its rows.

Pure.  A plan describes the work of the function that `row_codec` or `select_codec` generates, as
data.  Types that are rare come as a function from the bytes to the text, so that each type is
decoded in one place (`cdc_reader.rows.value`) or, where it pays, in two that are tested against
each other: the numbers, dates and texts of cdc_reader/native/column.c.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cdc.compiled import native
from cdc.key import KeyTemplate
from cdc.message import SNAPSHOT
from cdc_reader.binlog import types
from cdc_reader.binlog.charset import Charset, charset_of, latin1_text, text
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows.body_source import FIELD, SELECTED, escaped_twice, quote
from cdc_reader.rows.column_source import layout_of
from cdc_reader.rows.json_binary import json_text
from cdc_reader.rows.value import (
    TextTable,
    base64_text,
    float_text,
    set_text,
    time_text,
)

_native = native("cdc_reader")
OPS = {"insert": 0, "update": 1, "delete": 2}
"""Numbers of the operations: those of the rows events without their first one's."""

KEYS, EVERY_ROW = 1, 2
"""What is left to Python of a parent's rows: those whose key changes, or all."""

KINDS = (
    "INTEGER", "YEAR", "DOUBLE", "DECIMAL", "DATE", "DATETIME", "TIMESTAMP", "LABEL", "TEXT",
    "JSON", "CALLED", "PRINTED", "PRINTED_DATETIME", "PRINTED_TIMESTAMP",
)  # fmt: skip
"""How the compiled path reads a column, in the order of cdc_reader/native/column.h."""
_INTEGER, _YEAR, _DOUBLE, _DECIMAL, _DATE, _DATETIME, _TIMESTAMP, _LABEL = range(8)
TEXT, JSON, CALLED, PRINTED, PRINTED_DATETIME, PRINTED_TIMESTAMP = range(8, len(KINDS))

PlannedReading = tuple[int, int, bool, Any]
"""``(kind, detail, quoted, extra)``: how a column's bytes become its text."""
_SIMPLE: dict[int, PlannedReading] = {
    types.YEAR: (_YEAR, 0, False, None),
    types.DOUBLE: (_DOUBLE, 0, False, None),
    types.DATE: (_DATE, 0, True, None),
    types.JSON: (JSON, 0, False, json_text),
}
_WITH_META = {
    types.DECIMAL: (_DECIMAL, True),
    types.DATETIME2: (_DATETIME, True),
    types.TIMESTAMP2: (_TIMESTAMP, True),
}
_SKIPPED: PlannedReading = (CALLED, 0, False, bytes)
"""A column that is not wanted: gone over by its length, never called."""


def row_plan(
    table_map: TableMap,
    *,
    op: str,
    table: str,
    key: KeyTemplate,
    value_column: str | None,
    fields: Sequence[tuple[str, str]] | None,
    head: bytes,
    before: frozenset[int],
    after: frozenset[int],
    partitions: int = 1,
    watch: int = 0,
) -> Any:
    """Return the plan for an operation's rows events, None where there is no compiled path.

    Args:
        fields: columns of the row's object with their names there; None: all, as they are.
        head: what such an event begins with: the number of columns and the bitmaps.
        before, after: places of the columns that the images have.
        watch: of a parent's rows that may cascade: `KEYS` or `EVERY_ROW` are left to Python.
    """
    if _native is None or not _carries(key):
        return None
    columns = table_map.columns
    places = {column.name or "": place for place, column in enumerate(columns)}
    wanted = {places[name] for name in key.columns}
    shown = [(name, name) for name in places] if fields is None else fields
    value: tuple[Any, ...] = ()
    if op != "delete":
        only = value_column
        wanted |= {places[name] for name, _ in shown} if only is None else {places[only]}
        value = _value(places, shown, value_column)
    return _native.Plan(
        op=op,
        table=table,
        about=_about(op, table),
        head=head,
        columns=tuple(_image_column(c, table, n in wanted) for n, c in enumerate(columns)),
        before=_present(before, len(columns)) if op != "insert" else b"",
        after=_present(after, len(columns)) if op != "delete" else b"",
        key=_key(key, places),
        value=value,
        single=value_column is not None,
        addresses=tuple(f"{op}.{n}".encode() for n in range(partitions)),
        watch=watch,
        silent=False,
    )


def unmoved_plan(
    table_map: TableMap,
    places: Sequence[int],
    *,
    head: bytes,
    before: frozenset[int],
    after: frozenset[int],
) -> Any:
    """Return the plan that passes updates which leave columns as they are, without a message.

    Args:
        places: of these columns, which both images have.
        head, before, after: as of `row_plan`.
    """
    if _native is None:
        return None
    table, count = table_map.qualified, len(table_map.columns)
    return _native.Plan(
        op="update",
        table=table,
        about=b"",
        head=head,
        columns=tuple(_image_column(c, table, wanted=False) for c in table_map.columns),
        before=_present(before, count),
        after=_present(after, count),
        key=tuple((place, None) for place in places),
        value=(),
        single=False,
        addresses=(),
        watch=KEYS,
        silent=True,
    )


def select_plan(
    columns: Mapping[str, PlannedReading],
    *,
    table: str,
    key: KeyTemplate,
    value_column: str | None,
    fields: Sequence[tuple[str, str]] | None = None,
) -> Any:
    """Return the plan for selected rows, None where there is no compiled path.

    Args:
        columns: how each is read, by name, in the order of the SELECT.
        fields: as of `row_plan`.
    """
    if _native is None or not _carries(key):
        return None
    places = {name: place for place, name in enumerate(columns)}
    shown = [(name, name) for name in columns] if fields is None else fields
    return _native.Plan(
        op=SNAPSHOT,
        table=table,
        about=b"",
        head=b"",
        columns=tuple(
            (kind, detail, 0, 0, True, quoted, extra)
            for kind, detail, quoted, extra in columns.values()
        ),
        before=b"",
        after=_present(range(len(columns)), len(columns)),
        key=_key(key, places),
        value=_value(places, shown, value_column, SELECTED),
        single=value_column is not None,
        addresses=(),
        watch=0,
        silent=False,
    )


def _carries(key: KeyTemplate) -> bool:
    """Return whether the key escapes only ASCII characters: each is escaped separately."""
    columns = (part for part in key.parts if not isinstance(part, str))
    return all(old.isascii() for part in columns for old, _ in part.escapes)


def _about(op: str, table: str) -> bytes:
    return b'"op":%b,"table":%b,' % (quote(op), quote(table))


def _present(places: Iterable[int], count: int) -> bytes:
    present = bytearray(count)
    for place in places:
        present[place] = 1
    return bytes(present)


def _key(key: KeyTemplate, places: dict[str, int]) -> tuple[Any, ...]:
    """Return literals escaped for JSON, and columns with what ASCII becomes in them."""
    return tuple(
        quote(part)[1:-1]
        if isinstance(part, str)
        else (places[part.name], _escapes(part.escape) if part.escapes else None)
        for part in key.parts
    )


def _escapes(escape: Callable[[str], str]) -> tuple[bytes, ...]:
    return tuple(escape(chr(code)).encode() for code in range(128))


def _value(
    places: Mapping[str, int],
    fields: Sequence[tuple[str, str]],
    only: str | None,
    field: tuple[str, str] = FIELD,
) -> tuple[Any, ...]:
    if only is not None:
        return field[0].encode(), (places[only], None), field[1].encode()
    parts: list[Any] = []
    for n, (column, name) in enumerate(fields):
        begin = field[0] + "{" if n == 0 else ","
        parts += [(begin + escaped_twice(name) + ":").encode(), (places[column], None)]
    return (*parts, b"}" + field[1].encode())


# -- from the binlog ----------------------------------------------------------------------


def _image_column(column: ColumnMap, table: str, wanted: bool) -> tuple[Any, ...]:
    kind, detail, quoted, extra = _image_reading(column) if wanted else _SKIPPED
    fixed_bytes, length_bytes = layout_of(column, table)
    return kind, detail, fixed_bytes, length_bytes, column.nullable, quoted, extra


def _image_reading(column: ColumnMap) -> PlannedReading:
    kind, meta = column.type, column.meta
    if types.BY_CODE[kind].is_integer:
        return _INTEGER, int(column.unsigned), False, None
    if kind in _WITH_META:
        number, quoted = _WITH_META[kind]
        return number, meta, quoted, None
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == types.FLOAT:
        return CALLED, 0, False, _float_text
    if kind == types.TIME2:
        return CALLED, 0, True, functools.partial(_time_text, digits=meta)
    if kind == types.BIT:
        return CALLED, 0, False, _bit_text
    charset = charset_of(column.collation or 0)
    if kind in (types.ENUM, types.SET):
        labels = tuple(text(label, charset) for label in column.labels or ())
        if kind == types.ENUM:
            # 0 is the empty text of a value that was invalid.
            return _LABEL, 0, True, tuple(label.encode() for label in ("", *labels))
        table_of = TextTable(functools.partial(set_text, labels=labels))
        return CALLED, 0, True, functools.partial(_set_text, texts=table_of)
    if charset is Charset.BINARY:
        width = meta if kind == types.STRING else 0
        return CALLED, 0, True, functools.partial(_padded_base64, width=width)
    if charset is Charset.LATIN1:
        return CALLED, 0, True, latin1_text
    return TEXT, int(charset is Charset.ASCII), True, None


def _float_text(raw: bytes) -> str:
    return float_text(struct.unpack("<f", raw)[0])


def _time_text(raw: bytes, digits: int) -> str:
    return time_text(int.from_bytes(raw, "big"), digits)


def _bit_text(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


def _set_text(raw: bytes, texts: TextTable) -> str:
    return texts[int.from_bytes(raw, "little")]


def _padded_base64(raw: bytes, width: int) -> str:
    # The zero bytes at the end of a BINARY are not in the image.
    return base64_text(raw.ljust(width, b"\0"))
