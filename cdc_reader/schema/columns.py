"""Columns as the catalog shows them, put into a TABLE_MAP that does not name its own.

Pure.  A stock server writes types, lengths and which columns may be NULL; MySQL's MINIMAL also
signs and character sets.  The rest is the catalog's, and what both have must agree.  That the
catalog's columns are those of the place in the binlog is proven elsewhere:
`cdc_reader.schema.names`.  See docs/adr/0029-stock-server.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import replace

import msgspec

from cdc.errors import PositionLostError
from cdc.table import Column, Table
from cdc_reader.binlog.charset import Charset, UnknownCharset, charset_of
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.binlog.types import (
    BLOB_COMPRESSED,
    DATETIME,
    LONGLONG,
    TIME,
    TIMESTAMP,
    VARCHAR_COMPRESSED,
    Family,
    Type,
    type_named,
)

DIGEST_BYTES = 8
_HASH_COLUMN = "DB_ROW_HASH_{}"
"""MariaDB's column for a UNIQUE on a long column, after all others: in the binlog, in no catalog.
Source: MariaDB sql/sql_table.cc, make_unique_invisible_field_name."""
_COLLATIONS = {"utf8mb4": 45, "utf8mb3": 33, "utf8": 33, "ascii": 11, "latin1": 8}
"""One of each character set that is carried."""
_BINARY, _UTF8 = 63, 45
_BYTES_EACH = {"utf8mb4": 4, "utf8mb3": 3, "utf8": 3, "ascii": 1, "latin1": 1}
_LENGTH_BYTES = {"tiny": 1, "": 2, "medium": 3, "long": 4}
_WITHOUT_LENGTH = {BLOB_COMPRESSED, VARCHAR_COMPRESSED, DATETIME, TIME, TIMESTAMP}
"""Codes whose metadata are not what the type's words tell; rows with them are not carried."""
_NUMBERS = re.compile(r"\((\d+)(?:,(\d+))?\)")
_UNSIGNED = re.compile(r"\b(unsigned|zerofill)\b")
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "0": "\0"}
_LOST = "?"
"""What the catalog shows for a character outside the BMP, and for a question mark."""


def digest_of(table: Table) -> str:
    """Return a short text that is equal for equal columns: ``9f3ac0d1e2b45566``.

    Of all that the rows of a table are read with; what servers of several versions write in
    other ways (the width of an integer, ``utf8``) counts as the same.
    """
    columns = [(c.name, _kind(c), _charset(c), c.nullable) for c in table.columns]
    text = msgspec.json.encode((columns, table.primary, table.hidden_columns))
    return hashlib.sha256(text).hexdigest()[: 2 * DIGEST_BYTES]


def named(table_map: TableMap, table: Table, needed: Collection[str]) -> TableMap:
    """Return a TABLE_MAP with all that the catalog knows and it does not.

    Args:
        table: as it is where the rows are written.
        needed: columns whose values are read.

    Raises:
        PositionLostError: both do not agree, or the catalog cannot show a label.
    """
    if why := "; ".join(_differences(table_map, table)):
        raise PositionLostError(
            f"the columns of {table.qualified} in the binlog are not those that its catalog shows: "
            + why,
            safe="nothing of this table was published from here on",
            table=table.qualified,
            fix="let the login see the whole table: GRANT SELECT ON it, not on some columns of it;"
            "\nor let the server name the columns: SET PERSIST binlog_row_metadata = 'FULL';\n"
            "(MariaDB: SET GLOBAL, and the same in its configuration file)",
        )
    for column in table.columns:
        if column.name in needed and _is_lossy(column):
            raise PositionLostError(
                f"a label of {column.name} of {table.qualified} has a character that the catalog "
                "shows as a question mark, or is one",
                safe="nothing of this table was published from here on",
                table=table.qualified,
                fix="let the server write labels: SET PERSIST binlog_row_metadata = 'FULL';\n"
                "(MariaDB: SET GLOBAL, and the same in its configuration file)",
            )
    names = table.column_names
    shown = [
        _named(wire, column, has_signs=table_map.has_signs)
        for wire, column in zip(table_map.columns, table.columns, strict=False)
    ]
    hidden = [
        replace(wire, name=_HASH_COLUMN.format(n), unsigned=True)
        for n, wire in enumerate(table_map.columns[len(shown) :], 1)
    ]
    return replace(
        table_map,
        columns=(*shown, *hidden),
        primary_key=tuple(names.index(name) for name in table.primary),
        has_signs=True,
    )


def _named(wire: ColumnMap, column: Column, *, has_signs: bool) -> ColumnMap:
    kind = type_named(column.data_type)
    collation, labels = wire.collation, wire.labels
    if kind.is_labels:
        collation, labels = _UTF8, tuple(label.encode() for label in labels_of(column))
    elif collation is None and kind.is_bytes:
        collation = _BINARY
    elif collation is None and kind.is_text:
        collation = _COLLATIONS.get(column.charset or "")
    unsigned = wire.unsigned if has_signs else _is_unsigned(column)
    return replace(wire, name=column.name, unsigned=unsigned, collation=collation, labels=labels)


def labels_of(column: Column) -> tuple[str, ...]:
    r"""Return the labels of an ENUM or SET.

    >>> labels_of(Column(name="e", data_type="enum", column_type=r"enum('a''b','c,d','\n')",
    ...                  charset="utf8mb4", nullable=True))
    ("a'b", 'c,d', '\n')
    """
    return tuple(_ESCAPED.sub(_plain, text) for text in _LABEL.findall(column.column_type))


def _plain(escaped: re.Match[str]) -> str:
    letter = escaped[1]
    return "'" if letter is None else _ESCAPES.get(letter, letter)


def _is_lossy(column: Column) -> bool:
    is_labels = type_named(column.data_type).is_labels
    return is_labels and column.charset == "utf8mb4" and _LOST in column.column_type


def _is_unsigned(column: Column) -> bool:
    return _UNSIGNED.search(column.column_type) is not None


def _charset(column: Column) -> str | None:
    return "utf8mb3" if column.charset == "utf8" else column.charset


def _kind(column: Column) -> str:
    kind = type_named(column.data_type)
    if kind.is_integer or kind.family is Family.YEAR:
        return f"{kind.name} unsigned" if _is_unsigned(column) else kind.name
    return column.column_type


# -- whether both agree --------------------------------------------------------------------


def _differences(table_map: TableMap, table: Table) -> Iterator[str]:
    wires, columns = table_map.columns, table.columns
    wanted = len(columns) + table.hidden_columns
    if len(wires) != wanted:
        yield f"{len(wires)} columns, the catalog shows {wanted}"
        return
    for place, column in enumerate(columns):
        wire = wires[place]
        if what := _difference(wire, column, has_signs=table_map.has_signs):
            yield f"column {place + 1} is {what}, the catalog shows {column.name}"
    for wire in wires[len(columns) :]:
        if wire.type != LONGLONG:
            yield f"a hidden column is {wire.type_name}"


def _difference(wire: ColumnMap, column: Column, *, has_signs: bool) -> str:
    """Return what a column is in the binlog and not in the catalog; empty: both agree."""
    kind = type_named(column.data_type)
    if wire.nullable != column.nullable:
        return "NULL" if wire.nullable else "NOT NULL"
    if kind.family is Family.OPAQUE:
        return ""  # no value of it is read
    if wire.type not in {code.number for code in kind.codes}:
        return wire.type_name
    meta = _meta(kind, column)
    if meta is not None and wire.type not in _WITHOUT_LENGTH and wire.meta != meta:
        return f"{wire.type_name} with {wire.meta} for {meta}"
    # A YEAR has no sign: MySQL 8.0.15 writes one, 9.7 writes none.
    is_signed = kind.is_number and kind.family is not Family.YEAR
    if has_signs and is_signed and wire.unsigned != _is_unsigned(column):
        return "unsigned" if wire.unsigned else "signed"
    if wire.collation is not None and (kind.is_text or kind.is_bytes):
        found = _carried(wire.collation)
        if found is not _expected(kind, column):
            return f"in another character set, collation number {wire.collation}"
    return ""


def _carried(collation: int) -> Charset | None:
    try:
        return charset_of(collation)
    except UnknownCharset:
        return None


def _expected(kind: Type, column: Column) -> Charset | None:
    if kind.is_bytes:
        return Charset.BINARY
    collation = _COLLATIONS.get(column.charset or "")
    return None if collation is None else charset_of(collation)


def _meta(kind: Type, column: Column) -> int | None:
    """Return `ColumnMap.meta` as the type's words tell; None: they do not."""
    family = kind.family
    found = _NUMBERS.search(column.column_type) if family is not Family.LABELS else None
    first, second = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if family is Family.DECIMAL:
        return first << 8 | second
    if family is Family.BIT:
        return first
    if family in (Family.INSTANT, Family.DURATION) and kind.name != "date":
        return first
    if family is Family.LABELS:
        return _label_bytes(kind, len(labels_of(column)))
    if family is Family.FLOATING:
        return 4 if kind.name == "float" else 8
    if family is Family.JSON:
        return 4
    if family is Family.BYTES or family is Family.TEXT:
        return _length(kind, column, first)
    return None


def _length(kind: Type, column: Column, characters: int) -> int | None:
    for suffix in ("text", "blob"):
        if kind.name.endswith(suffix):
            return _LENGTH_BYTES[kind.name.removesuffix(suffix)]
    if kind.is_bytes:
        return characters
    each = _BYTES_EACH.get(column.charset or "")
    return None if each is None else characters * each


def _label_bytes(kind: Type, labels: int) -> int:
    if kind.name == "enum":
        return 1 if labels < 256 else 2
    least = (labels + 7) // 8
    return least if least <= 4 else 8
