"""Ranges of a table's chunk key: as SQL, and as a person or a program asks for them.

Pure.  Rows are read by a key: after the last one of the chunk before, or from the beginning
of a range, up to its end.  Parts of a key are texts as the server prints them (bytes as hex, ENUM,
SET and BIT by their number).  See docs/adr/0016-ranges-and-pace.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from cdc.errors import UsageError
from cdc.message import KeyRange
from cdc.setting import nearest
from cdc.table import Column, Table
from cdc_reader.binlog.types import type_named
from cdc_reader.rows.select_codec import SelectCodec, quoted

Key = Sequence[str]
"""Parts of a chunk key as texts, ``("7", "2024-01-01")``; a prefix of them is allowed."""
Ranges = Mapping[str, Sequence[tuple[Key, Key]]]
"""``{"shop.users": [(("1",), ("1000",))]}``: both ends within; an empty one: no end."""

RANGES_AT_ONCE = 100
RANGES_MAX_BYTES = 128 << 10
"""What open ranges take in every heartbeat, at most."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"([0-9a-f]{2})*", re.IGNORECASE | re.ASCII)


def chunk_columns(table: Table) -> list[Column]:
    """Return the columns of the chunk key, in its order."""
    return [c for name in table.chunk_key for c in table.columns if c.name == name]


def select_of(
    table: Table, codec: SelectCodec, rows: KeyRange, limit: int, keys: Sequence[KeyRange] = ()
) -> tuple[str, list[str]]:
    """Return SQL for PyMySQL and its bound values: `limit` rows of a range, in the key's order.

    Args:
        keys: all rows of these ranges instead.
    """
    columns = chunk_columns(table)
    where, bound = keys_where(columns, keys) if keys else where_of(columns, rows)
    order = " ORDER BY " + ", ".join(map(_compared, columns)) if columns else ""
    what = ", ".join([codec.select_list, *map(_printed, columns)])
    most = "" if keys else f" LIMIT {limit}"
    return f"SELECT {what} FROM {_name(table)}{where}{order}{most}", bound


def estimate_of(table: Table, rows: KeyRange) -> tuple[str, list[str]]:
    """Return what asks the server how many rows it thinks a range has."""
    where, bound = where_of(chunk_columns(table), rows)
    return f"EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {_name(table)}{where}", bound


def where_of(columns: Sequence[Column], rows: KeyRange) -> tuple[str, list[str]]:
    """Return the WHERE clause of a range, in the form that uses the index.

    >>> column = Column(name="id", data_type="int", column_type="int", charset=None, nullable=False)
    >>> where_of([column], KeyRange(after=("7",), last=("9",)))
    (' WHERE ((`id` > 7)) AND ((`id` <= 9))', [])

    Raises:
        UsageError: a text is not what its column's type prints.
    """
    clauses: list[str] = []
    bound: list[str] = []
    sides = [(rows.after, ">", ">")] if rows.after else [(rows.first, ">", ">=")]
    for key, sign, last_sign in (*sides, (rows.last, "<", "<=")):
        if key:
            clause, values = _side(columns, key, sign, last_sign)
            clauses.append(clause)
            bound += values
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), bound


def keys_where(columns: Sequence[Column], keys: Sequence[KeyRange]) -> tuple[str, list[str]]:
    """Return the WHERE clause of several ranges, most of which are one key.

    >>> column = Column(name="id", data_type="int", column_type="int", charset=None, nullable=False)
    >>> keys = [KeyRange(first=("7",), last=("7",)), KeyRange(first=("9",), last=("12",))]
    >>> keys_where([column], keys)
    (' WHERE (`id` = 7) OR (((`id` >= 9)) AND ((`id` <= 12)))', [])

    Raises:
        UsageError: a text is not what its column's type prints.
    """
    clauses: list[str] = []
    bound: list[str] = []
    for part in keys:
        if part.first != part.last:
            clause, values = where_of(columns, part)
            clauses.append(f"({clause.removeprefix(' WHERE ')})")
            bound += values
            continue
        terms = [
            (column, key_literal(column, t)) for column, t in zip(columns, part.first, strict=True)
        ]
        clauses.append("(" + " AND ".join(f"{_compared(c)} = {sql}" for c, (sql, _) in terms) + ")")
        bound += [value for _, (_, values) in terms for value in values]
    return f" WHERE {' OR '.join(clauses)}", bound


def _side(columns: Sequence[Column], key: Key, sign: str, last_sign: str) -> tuple[str, list[str]]:
    alternatives: list[str] = []
    bound: list[str] = []
    parts = min(len(key), len(columns))
    for n in range(parts):
        terms: list[str] = []
        for column, text in zip(columns[: n + 1], key, strict=False):
            sql, values = key_literal(column, text)
            is_last = column is columns[n]
            how = "=" if not is_last else last_sign if n == parts - 1 else sign
            terms.append(f"{_compared(column)} {how} {sql}")
            bound.extend(values)
        alternatives.append("(" + " AND ".join(terms) + ")")
    return f"({' OR '.join(alternatives)})", bound


def key_literal(column: Column, text: str) -> tuple[str, tuple[str, ...]]:
    """Return SQL and its bound values for one part of a chunk key.

    Numbers are unquoted, because a string would be compared as a floating-point number.
    Source: MySQL manual, "Type Conversion in Expression Evaluation".

    Raises:
        UsageError: the text is not what the column's type prints.
    """
    kind = type_named(column.data_type)
    if kind.is_bytes:
        if not _HEX.fullmatch(text):
            raise UsageError(f"{text!r} is no value of column {column.name!r}: bytes are hex")
        return "UNHEX(%s)", (text,)
    if kind.is_number or kind.is_compared_by_number:
        if not _NUMBER.fullmatch(text):
            what = ": ENUM, SET and BIT go by number" if kind.is_compared_by_number else ""
            raise UsageError(f"{text!r} is no value of column {column.name!r}{what}")
        return text, ()
    return "%s", (text,)


def _compared(column: Column) -> str:
    """Return what a chunk is ordered and compared by: ENUM, SET and BIT by their number."""
    by_number = type_named(column.data_type).is_compared_by_number
    return quoted(column.name) + ("+0" if by_number else "")


def _printed(column: Column) -> str:
    """Return what to select so that its text is exactly the key's last value."""
    if type_named(column.data_type).is_bytes:
        return f"HEX({quoted(column.name)})"
    # Only FLOAT is printed with six digits, which is another number: rows would be read
    # twice for ever, or not at all.
    return _compared(column) + ("*1e0" if column.data_type == "float" else "")


def _name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def checked(tables: Sequence[Table], ranges: Ranges) -> None:
    """Make sure that ranges can be read.

    Raises:
        UsageError: a table is not captured or has no key, a key is not one of its, or it is too
            much for one announcement.
    """
    by_name = {table.qualified: table for table in tables}
    for name, wanted in ranges.items():
        table = by_name.get(name)
        if table is None:
            raise UsageError(
                f"{name} is not captured{nearest(name, by_name)}",
                fix="captured are " + ", ".join(sorted(by_name)),
            )
        if not table.chunk_key:
            raise UsageError(
                f"{name} has no primary or unique NOT NULL key, so no range of it can be read",
                fix=f"read it as a whole:  cdc refresh --only {name}",
            )
        columns = chunk_columns(table)
        for key in (key for both in wanted for key in both):
            if len(key) > len(columns):
                raise UsageError(
                    f"a key of {name} has {len(columns)} part(s), {', '.join(table.chunk_key)}, "
                    f"and not {len(key)}"
                )
            for column, text in zip(columns, key, strict=False):
                key_literal(column, text)
    count = sum(map(len, ranges.values()))
    if not 0 < count <= RANGES_AT_ONCE:
        raise UsageError(f"{count} ranges of keys; 1 to {RANGES_AT_ONCE} can be asked for at once")


def refuse_too_much(ranges: Sequence[KeyRange]) -> None:
    """Make sure that heartbeats can carry a table's open ranges.

    Raises:
        UsageError: they cannot.
    """
    if len(msgspec.json.encode(ranges)) > RANGES_MAX_BYTES:
        raise UsageError(
            "too many ranges of keys wait to be read",
            safe="nothing was announced",
            fix="wait until cdc run has read those that were asked for before, or read the\n"
            "whole table:  cdc refresh --only TABLE",
        )
