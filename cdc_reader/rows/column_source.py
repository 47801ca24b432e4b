"""Python source that reads one column of a row image and makes its text.

Pure.  A column is either of fixed size, some fields of a struct, or bytes with their
length before them.  Which types are carried, and how each is laid out in the image, is here
and nowhere else.  Source of the layouts: MySQL source documentation, "Rows_event", and
mysql-server sql/field.cc (Field_*::pack).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cdc.errors import PositionLostError
from cdc_reader.binlog import types
from cdc_reader.binlog.charset import (
    Charset,
    UnknownCharset,
    ascii_text,
    charset_of,
    latin1_text,
    text,
)
from cdc_reader.binlog.table_map import ColumnMap
from cdc_reader.rows import value
from cdc_reader.rows.body_source import BASE64, DIGITS, FunctionSource, TextVariable, quote
from cdc_reader.rows.json_binary import json_text
from cdc_reader.rows.value import TextTable, decimal_groups, group_bytes, set_text

_SIGNED = "-" + DIGITS
_FLOATING = _SIGNED + ".e+"
_TEMPORAL = _SIGNED + ":.TZ "

CONSTANTS: dict[str, object] = {
    "DATES": value.DATES,
    "DAYS": value.DAYS,
    "INSTANTS": value.INSTANTS,
    "MINUTES": value.MINUTES,
    "SECONDS": value.SECONDS,
    "ascii_text": ascii_text,
    "base64_text": value.base64_text,
    "double_text": value.double_text,
    "float_text": value.float_text,
    "json_text": json_text,
    "latin1_text": latin1_text,
    "time_text": value.time_text,
}
"""What the lines of a `ColumnReading` name beside its own constants."""


class Field(NamedTuple):
    """A part of a column that struct reads."""

    name: str
    code: str
    """Of struct: ``B``, ``I``, ``5s``."""
    order: str = ""
    """``<`` or ``>``; empty: the same in both."""


class Layout(NamedTuple):
    """How many bytes a column takes, as far as it is known in advance."""

    fixed_bytes: int
    length_bytes: int = 0
    """Not 0: the bytes follow their length, which takes as many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReading:
    """How a column becomes text."""

    layout: Layout
    text: TextVariable
    fields: tuple[Field, ...] = ()
    lines: tuple[str, ...] = ()
    """Run after the fields are read; ``RAW`` in them is the bytes of a column with a length."""


_INTEGERS = {types.TINY: "b", types.SHORT: "h", types.LONG: "i", types.LONGLONG: "q"}
_LENGTH_IN_META = (types.BLOB, types.JSON, types.VECTOR, types.GEOMETRY, types.BLOB_COMPRESSED)


def layout_of(column: ColumnMap, table: str) -> Layout:
    """Return the layout of a column, carried or not.

    Raises:
        PositionLostError: it cannot be known.
    """
    kind, meta = column.type, column.meta
    code = types.CODES.get(kind)
    if code is not None and code.has_fraction and meta <= 6:
        return Layout(code.fixed_bytes + (meta + 1) // 2)
    if code is not None and code.fixed_bytes and not code.has_fraction:
        return Layout(code.fixed_bytes)
    if kind == types.DECIMAL:
        return Layout(sum(size for _, size in _decimal(column, table)))
    if kind == types.BIT:
        return Layout((meta + 7) // 8)
    if kind in (types.ENUM, types.SET) and meta in (1, 2, 3, 4, 8):
        return Layout(meta)
    if kind in (types.VARCHAR, types.STRING, types.VARCHAR_COMPRESSED):
        return Layout(0, 2 if meta > 255 else 1)
    if kind in _LENGTH_IN_META and 1 <= meta <= 4:
        return Layout(0, meta)
    raise refused(column, table)


def refused(column: ColumnMap, table: str, why: str = "") -> PositionLostError:
    """Return the error for a column that cannot be carried exactly."""
    return PositionLostError(
        f"column {column.name!r} of {table} has type {column.type_name}"
        + (f" with {why}" if why else "")
        + ", which cdc does not carry",
        safe="nothing of this table was published from here on",
        fix="capture one other column of it with --value COLUMN, or take the table out",
    )


def _decimal(column: ColumnMap, table: str) -> list[tuple[int, int]]:
    """Return digits and bytes of each group."""
    try:
        before, after = decimal_groups(column.meta >> 8, column.meta & 0xFF)
    except ValueError:
        raise refused(column, table, "an impossible precision") from None
    return [(digits, group_bytes(digits)) for digits in before + after]


@dataclass(frozen=True, slots=True)
class _ColumnToRead:
    """A column, and the variable that its text goes to."""

    column: ColumnMap
    table: str
    name: str
    source: FunctionSource

    def reading(
        self,
        fields: tuple[Field, ...],
        *lines: str,
        quoted: bool,
        alphabet: str | None,
        size: str = "",
    ) -> ColumnReading:
        """Return the reading of this column."""
        return ColumnReading(
            layout=layout_of(self.column, self.table),
            text=TextVariable(name=self.name, quoted=quoted, alphabet=alphabet, size=size),
            fields=fields,
            lines=lines,
        )

    def refused(self, why: str) -> PositionLostError:
        """Return the error for this column."""
        return refused(self.column, self.table, why)


def reading_of(column: ColumnMap, table: str, name: str, source: FunctionSource) -> ColumnReading:
    """Return how a column is read into the variable `name`; adds its constants to `source`.

    Raises:
        PositionLostError: its type or character set is not carried.
    """
    read = _READERS.get(column.type)
    if read is None:
        raise refused(column, table)
    return read(_ColumnToRead(column, table, name, source))


def _integer(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    alphabet = DIGITS if at.column.unsigned else _SIGNED
    if at.column.type == types.INT24:
        high = "B" if at.column.unsigned else "b"
        fields: tuple[Field, ...] = (Field(name + "a", "H", "<"), Field(name + "b", high))
        lines: tuple[str, ...] = (f"{name} = {name}a | {name}b << 16",)
    else:
        code = _INTEGERS[at.column.type]
        order = "" if code == "b" else "<"
        fields = (Field(name, code.upper() if at.column.unsigned else code, order),)
        lines = ()
    return at.reading(fields, *lines, quoted=False, alphabet=alphabet)


def _year(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    line = f"{name} = {name} + 1900 if {name} else 0"
    return at.reading((Field(name, "B"),), line, quoted=False, alphabet=DIGITS)


def _floating(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    code, convert = ("f", "float_text") if at.column.type == types.FLOAT else ("d", "double_text")
    fields, line = (Field(name, code, "<"),), f"{name} = {convert}({name})"
    return at.reading(fields, line, quoted=False, alphabet=_FLOATING)


def _decimal_reading(at: _ColumnToRead) -> ColumnReading:
    """Read each group as a number; a negative one is stored with all its bits inverted."""
    name = at.name
    scale = at.column.meta & 0xFF
    fields: list[Field] = []
    groups: list[tuple[str, int, int]] = []
    for n, (digits, size) in enumerate(_decimal(at.column, at.table)):
        own = _big_endian(f"{name}_{n}", size)
        fields += own
        joined = own[0].name if len(own) == 1 else f"({own[0].name} << 16 | {own[1].name})"
        groups.append((joined, digits, size))
    top = 0x80 << 8 * (groups[0][2] - 1)
    lines = (
        f"if {groups[0][0]} & {top}:",
        f"    {name} = {_decimal_text(groups, scale, top, negative=False)}",
        "else:",
        f"    {name} = {_decimal_text(groups, scale, top, negative=True)}",
    )
    alphabet = (DIGITS if at.column.unsigned else _SIGNED) + "."
    return at.reading(tuple(fields), *lines, quoted=True, alphabet=alphabet)


def _decimal_text(
    groups: list[tuple[str, int, int]], scale: int, top: int, *, negative: bool
) -> str:
    terms: list[str] = []
    for n, (joined, _, size) in enumerate(groups):
        flip = (1 << 8 * size) - 1 if negative else 0
        flip ^= top if n == 0 else 0
        terms.append(f"({joined} ^ {flip})" if flip else joined)
    before: list[str] = []
    left = sum(digits for _, digits, _ in groups) - scale
    while left > 0:
        left -= groups[len(before)][1]
        before.append(terms[len(before)])
    power = 10 ** (9 * len(before))
    whole = " + ".join(f"{t} * {(power := power // 10**9)}" for t in before) or "0"
    after = "".join(
        f"{{{term}:0{digits}d}}"
        for term, (_, digits, _) in zip(terms[len(before) :], groups[len(before) :], strict=True)
    )
    sign = "-" if negative else ""
    return f"f'{sign}{{{whole}}}" + (f".{after}'" if after else "'")


def _big_endian(name: str, size: int) -> tuple[Field, ...]:
    if size == 3:
        return Field(name + "a", "B"), Field(name + "b", "H", ">")
    return (Field(name, {1: "B", 2: "H", 4: "I", 8: "Q"}[size], ">" if size > 1 else ""),)


def _date(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    fields = (Field(name + "a", "H", "<"), Field(name + "b", "B"))
    line = f"{name} = DATES[{name}a | {name}b << 16]"
    return at.reading(fields, line, quoted=True, alphabet=_TEMPORAL)


def _fraction(digits: int, name: str) -> tuple[tuple[Field, ...], str, str]:
    """Return fields, expression of their number, and template of ``.123``.

    Two digits are stored in a byte, four in two, six in three.
    """
    if not digits:
        return (), "0", ""
    size = (digits + 1) // 2
    fields = _big_endian(name + "f", size)
    number = fields[0].name if size < 3 else f"({fields[0].name} << 16 | {fields[1].name})"
    shown = f"{number} // 10" if digits & 1 else number
    return fields, number, f".{{{shown}:0{digits}d}}"


def _datetime(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    fields, _, fraction = _fraction(at.column.meta, name)
    day = f"{{DAYS[{name}a << 15 | {name}b >> 17]}}"
    clock = f"{{MINUTES[{name}b >> 6 & 2047]}}{{SECONDS[{name}b & 63]}}"
    fields = (Field(name + "a", "B"), Field(name + "b", "I", ">"), *fields)
    line = f"{name} = f'{day}{clock}{fraction}'"
    return at.reading(fields, line, quoted=True, alphabet=_TEMPORAL)


def _timestamp(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    digits = at.column.meta
    fields, number, fraction = _fraction(digits, name)
    zero = "0000-00-00 00:00:00" + ("." + "0" * digits if digits else "")
    known = f"{name}a or {number}" if digits else f"{name}a"
    line = f"{name} = f'{{INSTANTS[{name}a]}}{fraction}Z' if {known} else {zero!r}"
    fields = (Field(name + "a", "I", ">"), *fields)
    return at.reading(fields, line, quoted=True, alphabet=_TEMPORAL)


def _time(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    fields = (Field(name, f"{layout_of(at.column, at.table).fixed_bytes}s"),)
    line = f"{name} = time_text(number({name}, 'big'), {at.column.meta})"
    return at.reading(fields, line, quoted=True, alphabet=_TEMPORAL)


def _bit(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    size = (at.column.meta + 7) // 8
    if size in (1, 2, 4, 8):
        fields = _big_endian(name, size)
        return at.reading(fields, quoted=False, alphabet=DIGITS)
    line = f"{name} = number({name}, 'big')"
    return at.reading((Field(name, f"{size}s"),), line, quoted=False, alphabet=DIGITS)


def _labels(at: _ColumnToRead) -> tuple[tuple[str, ...], str | None]:
    """Return the labels of an ENUM or SET, and their alphabet where none needs escaping."""
    if at.column.labels is None:
        raise at.refused("labels that the binlog does not name")
    charset = _charset(at)
    try:
        if charset is Charset.BINARY:
            raise at.refused("binary labels")
        labels = tuple(text(label, charset) for label in at.column.labels)
    except UnicodeDecodeError:
        raise at.refused("labels that are not of its character set") from None
    alphabet = "".join(sorted({*"".join(labels), ","}))
    plain = len(quote(alphabet).decode()) == len(alphabet) + 2
    return labels, alphabet if plain else None


def _charset(at: _ColumnToRead) -> Charset:
    if at.column.collation is None:
        raise at.refused("a character set that the binlog does not name")
    try:
        return charset_of(at.column.collation)
    except UnknownCharset as error:
        raise at.refused(str(error)) from None


def _enum(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    labels, alphabet = _labels(at)
    # 0 is the empty text of a value that was invalid.
    constant = at.source.constant(f"labels_{name}", ("", *labels))
    fields = (Field(name, "B") if at.column.meta == 1 else Field(name, "H", "<"),)
    line = f"{name} = {constant}[{name}]"
    return at.reading(fields, line, quoted=True, alphabet=alphabet)


def _set(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    labels, alphabet = _labels(at)
    table_of = TextTable(functools.partial(set_text, labels=labels))
    constant = at.source.constant(f"labels_{name}", table_of)
    line = f"{name} = {constant}[{name}]"
    if at.column.meta == 3:
        fields: tuple[Field, ...] = (Field(name + "a", "H", "<"), Field(name + "b", "B"))
        line = f"{name} = {constant}[{name}a | {name}b << 16]"
    else:
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[at.column.meta]
        fields = (Field(name, code, "<" if at.column.meta > 1 else ""),)
    return at.reading(fields, line, quoted=True, alphabet=alphabet)


def _string(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    charset = _charset(at)
    if charset is Charset.BINARY:
        # The zero bytes at the end of a BINARY are not in the image.
        raw = f"RAW.ljust({at.column.meta}, b'\\0')" if at.column.type == types.STRING else "RAW"
        line = f"{name} = base64_text({raw})"
        return at.reading((), line, quoted=True, alphabet=BASE64)
    if charset is Charset.LATIN1:
        line, size = f"{name} = latin1_text(RAW)", f"len({name})"
    else:
        column = at.source.constant(f"column_{name}", at.column.name or "")
        line, size = f"{name} = RAW.decode()", name + "l"
        if charset is Charset.ASCII:
            # A server may take any byte into such a column, and has no text for those above 127.
            line = f"{name} = ascii_text(RAW, {column})"
    return at.reading((), line, quoted=True, alphabet=None, size=size)


def _json(at: _ColumnToRead) -> ColumnReading:
    name = at.name
    line = f"{name} = json_text(RAW)"
    return at.reading((), line, quoted=False, alphabet=None)


_READERS: dict[int, Callable[[_ColumnToRead], ColumnReading]] = {
    **dict.fromkeys((types.TINY, types.SHORT, types.INT24, types.LONG, types.LONGLONG), _integer),
    **dict.fromkeys((types.FLOAT, types.DOUBLE), _floating),
    **dict.fromkeys((types.VARCHAR, types.STRING, types.BLOB), _string),
    types.YEAR: _year,
    types.DECIMAL: _decimal_reading,
    types.DATE: _date,
    types.DATETIME2: _datetime,
    types.TIMESTAMP2: _timestamp,
    types.TIME2: _time,
    types.BIT: _bit,
    types.ENUM: _enum,
    types.SET: _set,
    types.JSON: _json,
}
