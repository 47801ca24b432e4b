"""Parse TABLE_MAP events: which columns the rows that follow have.

Pure.  Layout: MySQL source documentation, "Table_map_event" (libs/mysql/binlog/event/
rows_event.h); MariaDB writes the same with fewer optional fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cdc.errors import FIRST, REFRESH, PositionLostError
from cdc_reader.binlog.types import (
    BIT,
    BY_CODE,
    CODES,
    DECIMAL,
    ENUM,
    SET,
    STRING,
    VAR_STRING,
    Type,
)

# Optional metadata, by their number on the wire; others (geometry type, visibility, vector
# dimensions, what comes next) have nothing that a value depends on.
_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _COLUMN_NAME, _SET_LABELS, _ENUM_LABELS = range(
    1, 7
)
_PRIMARY_KEY, _PRIMARY_KEY_WITH_PREFIX, _LABEL_DEFAULT_CHARSET, _LABEL_COLUMN_CHARSET = 8, 9, 10, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """One column as it is in the row images.

    ``ColumnMap(name="id", type=8, meta=0, nullable=False, unsigned=True, …)``
    """

    name: str | None
    """None: the server does not write names (``binlog_row_metadata`` is not FULL), and the
    catalog's are not put in yet: see `cdc_reader.schema.columns`."""
    type: int
    """As the row image has it: ENUM and SET by their own numbers, never STRING."""
    meta: int
    """Length bytes of a BLOB, JSON, ENUM or SET; greatest length in bytes of CHAR and VARCHAR;
    digits of a fraction; bits of a BIT; precision * 256 + scale of a DECIMAL."""
    nullable: bool
    unsigned: bool
    collation: int | None
    """Number of the collation of a text column, ENUM or SET; None: not given or no text."""
    labels: tuple[bytes, ...] | None
    """Of an ENUM or SET, in the column's character set."""

    @property
    def type_name(self) -> str:
        """``BIGINT``, ``VECTOR``; for errors."""
        code = CODES.get(self.type)
        return f"type {self.type}" if code is None else code.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMap:
    """The table that the rows events after it belong to."""

    schema: str
    table: str
    columns: tuple[ColumnMap, ...]
    primary_key: tuple[int, ...]
    """Indexes of the primary key's columns; empty: none, or not given."""
    has_signs: bool = True
    """Whether `ColumnMap.unsigned` is given: with NO_LOG, MariaDB's default, it is not."""
    unreadable: str = ""
    """Why the columns are not known: a type that this version has never heard of."""

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.table}"

    @property
    def is_named(self) -> bool:
        """Whether the server writes the columns' names."""
        return all(column.name is not None for column in self.columns)

    def require_columns(self) -> None:
        """Make sure that every column is known with its name; for captured tables.

        Raises:
            PositionLostError: a type is unknown, or the server does not write names.
        """
        if self.unreadable:
            raise PositionLostError(
                f"table {self.qualified}: {self.unreadable}",
                safe="nothing of this table was published from here on",
                fix="capture the table without that column's type, or use a newer cdc",
            )
        if not self.is_named:
            raise PositionLostError(
                f"the binlog does not name the columns of {self.qualified}, and which they were "
                "there is not known",
                safe="nothing of this table was published from here on",
                fix="SET PERSIST binlog_row_metadata = 'FULL';\n"
                "(MariaDB: SET GLOBAL, and the same in its configuration file)\n" + FIRST + REFRESH,
            )


def parse_table_map(body: bytes, *, mariadb: bool) -> TableMap:
    """Parse a TABLE_MAP event.

    Args:
        body: the event after its 19-byte header, without checksum; table id first.

    Raises:
        PositionLostError: the bytes are not a TABLE_MAP.
    """
    try:
        return _parse(_Bytes(body, 8, len(body)), mariadb)
    except (IndexError, ValueError) as error:
        raise PositionLostError(
            f"a TABLE_MAP event cannot be read: {error}",
            safe="nothing after the last whole transaction was published",
            fix="check the file on the server: mysqlbinlog --verify-binlog-checksum FILE",
        ) from None


class _Bytes:
    """A cursor in bytes that moves forward; never past ``end``."""

    __slots__ = ("_all", "at", "end")

    def __init__(self, all_: bytes, at: int, end: int) -> None:
        self._all, self.at, self.end = all_, at, end

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            IndexError: there are not as many.
        """
        at, self.at = self.at, self.at + count
        if self.at > self.end:
            raise IndexError("it is cut off")
        return self._all[at : self.at]

    def number(self) -> int:
        """Return the next length-encoded integer."""
        first = self.take(1)[0]
        if first < 251:
            return first
        if first not in (252, 253, 254):
            raise ValueError("a length that is none")
        return int.from_bytes(self.take({252: 2, 253: 3, 254: 8}[first]), "little")

    def numbers(self) -> Iterator[int]:
        """Yield length-encoded integers up to the end."""
        while self.at < self.end:
            yield self.number()

    def string(self) -> bytes:
        """Return bytes that follow their length."""
        return self.take(self.number())

    def part(self, count: int) -> _Bytes:
        """Return the next bytes as a cursor of their own."""
        at = self.at
        self.take(count)
        return _Bytes(self._all, at, self.at)


@dataclass(slots=True)
class _Draft:
    """A column while its optional metadata are read."""

    type: int
    meta: int
    nullable: bool
    name: str | None = None
    unsigned: bool = False
    collation: int | None = None
    labels: tuple[bytes, ...] | None = None


def _parse(rest: _Bytes, mariadb: bool) -> TableMap:
    schema = rest.take(_short(rest)).decode()
    rest.take(1)
    table = rest.take(_short(rest)).decode()
    rest.take(1)
    types = rest.take(rest.number())
    unknown = [kind for kind in types if kind not in CODES]
    if unknown:
        return TableMap(
            schema=schema,
            table=table,
            columns=(),
            primary_key=(),
            unreadable=f"column {types.index(unknown[0]) + 1} has the unknown type {unknown[0]}",
        )
    metadata = rest.part(rest.number())
    kinds = [_kind(kind, metadata.take(CODES[kind].meta_bytes)) for kind in types]
    if metadata.at != metadata.end:
        raise ValueError("its metadata are too long")
    nullable = rest.take((len(types) + 7) // 8)
    drafts = [
        _Draft(kind, meta, bool(nullable[i >> 3] >> (i & 7) & 1))
        for i, (kind, meta) in enumerate(kinds)
    ]
    primary_key, has_signs = _optional(rest, drafts, mariadb=mariadb)
    return TableMap(
        schema=schema,
        table=table,
        columns=tuple(_column(draft) for draft in drafts),
        primary_key=primary_key,
        has_signs=has_signs,
    )


def _short(rest: _Bytes) -> int:
    return rest.take(1)[0]


def _kind(kind: int, raw: bytes) -> tuple[int, int]:
    """Return type and meta as in `ColumnMap` from the type on the wire and its metadata."""
    if kind in (STRING, VAR_STRING):
        real, length = raw
        if real in (ENUM, SET):
            return real, length
        # Two bits of a CHAR's length hide in its type, inverted.
        # Source: mysql-server sql/field.cc, Field_string::do_save_field_metadata.
        return STRING, ((real << 4 & 0x300) ^ 0x300) + length
    if kind == BIT:
        return kind, raw[0] + 8 * raw[1]
    if kind == DECIMAL:
        return kind, raw[0] << 8 | raw[1]
    if kind in (ENUM, SET):
        return kind, raw[1]
    return kind, int.from_bytes(raw, "little")


def _column(draft: _Draft) -> ColumnMap:
    return ColumnMap(
        name=draft.name,
        type=draft.type,
        meta=draft.meta,
        nullable=draft.nullable,
        unsigned=draft.unsigned,
        collation=draft.collation,
        labels=draft.labels,
    )


def _optional(rest: _Bytes, drafts: list[_Draft], *, mariadb: bool) -> tuple[tuple[int, ...], bool]:
    """Fill the optional metadata in; return the primary key's indexes, and whether signs are."""

    def of(is_wanted: Callable[[Type], bool]) -> list[_Draft]:
        return [draft for draft in drafts if is_wanted(BY_CODE[draft.type])]

    def has_collation(kind: Type) -> bool:
        return kind.has_collation(mariadb=mariadb)

    def is_labels(kind: Type) -> bool:
        return kind.is_labels

    primary_key: tuple[int, ...] = ()
    has_signs = False
    while rest.at < rest.end:
        kind = _short(rest)
        field = rest.part(rest.number())
        if kind == _SIGNEDNESS:
            _signedness(field, of(lambda one: one.is_number))
            has_signs = True
        elif kind in (_DEFAULT_CHARSET, _LABEL_DEFAULT_CHARSET):
            _default_charset(field, of(has_collation if kind == _DEFAULT_CHARSET else is_labels))
        elif kind in (_COLUMN_CHARSET, _LABEL_COLUMN_CHARSET):
            columns = of(has_collation if kind == _COLUMN_CHARSET else is_labels)
            for draft, collation in zip(columns, field.numbers(), strict=True):
                draft.collation = collation
        elif kind == _COLUMN_NAME:
            for draft in drafts:
                draft.name = field.string().decode()
        elif kind in (_SET_LABELS, _ENUM_LABELS):
            labelled = SET if kind == _SET_LABELS else ENUM
            for draft in (one for one in drafts if one.type == labelled):
                draft.labels = tuple(field.string() for _ in range(field.number()))
        elif kind in (_PRIMARY_KEY, _PRIMARY_KEY_WITH_PREFIX):
            step = 1 if kind == _PRIMARY_KEY else 2
            primary_key = tuple(field.numbers())[::step]
            if any(place >= len(drafts) for place in primary_key):
                raise ValueError("its primary key has a column too many")
    return primary_key, has_signs


def _signedness(field: _Bytes, columns: list[_Draft]) -> None:
    bits = field.take(field.end - field.at)
    if len(bits) != (len(columns) + 7) // 8:
        raise ValueError("its signs are not those of its numbers")
    for i, draft in enumerate(columns):
        draft.unsigned = bool(bits[i >> 3] & 0x80 >> (i & 7))


def _default_charset(field: _Bytes, columns: list[_Draft]) -> None:
    numbers = list(field.numbers())
    for draft in columns:
        draft.collation = numbers[0]
    for place, collation in zip(numbers[1::2], numbers[2::2], strict=True):
        columns[place].collation = collation
