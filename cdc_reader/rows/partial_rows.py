"""Rows whose images lack columns: what is published of each, and which key is read for the rest.

Pure.  A session at ``binlog_row_image = MINIMAL`` or ``NOBLOB`` (MariaDB: also ``FULL_NODUP``) or
at ``binlog_row_value_options = PARTIAL_JSON`` writes such rows, and MariaDB leaves generated
columns out.  What the two images give together is published; a row that they do not give is read
by its key, and where not even the old Redis key is known, the table is read again as a whole.
Nothing is guessed.  See docs/adr/0030-partial-images.md.

Source of PARTIAL_UPDATE_ROWS: mysql-server libs/mysql/binlog/event/rows_event.h, "partial_bits".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from cdc.errors import PositionLostError
from cdc.table import Column
from cdc_reader.binlog import types
from cdc_reader.binlog.event import Op, read_lenenc
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.binlog.types import Family, type_named
from cdc_reader.messages.unread import RowKey
from cdc_reader.rows.body_source import FunctionSource
from cdc_reader.rows.column_source import CONSTANTS, reading_of
from cdc_reader.rows.image_source import Image
from cdc_reader.rows.shape import (
    NullKey,
    RowAddress,
    RowShaper,
    ShapedRow,
    Target,
    Text,
    epoch_text,
    needed_columns,
    place_columns,
    shown_columns,
)

_Texts = dict[str, Text]
_Read = Callable[[bytes, int], tuple[int, tuple[Text, ...]]]
_AS_PRINTED = (Family.INTEGER, Family.YEAR, Family.BIT, Family.DECIMAL, Family.DURATION)
_PARTIAL_JSON = 1
"""Of the options before an after image: JSON columns may be differences."""


class PartialRow(NamedTuple):
    """What becomes of one row."""

    op: Literal["", "insert", "update", "delete"] = ""
    """What is published at its place; empty: nothing."""
    old: RowAddress | None = None
    new: ShapedRow | None = None
    key: RowKey | None = None
    """By which the row is read; None: it need not be, or `is_lost`."""
    is_lost: bool = False
    """What it left in Redis, or its key, is not known: the table is to be read as a whole."""


def key_text(column: Column, text: Text) -> str | None:
    """Return a part of a row's key as the server prints it; None: that is not certain.

    >>> id = Column(name="id", data_type="binary", column_type="binary(2)", charset=None,
    ...             nullable=False)
    >>> key_text(id, "AP8=")
    '00FF'
    """
    kind = type_named(column.data_type)
    if text is None:
        return None
    if kind.family in _AS_PRINTED or kind.is_text:
        return str(text)
    if kind.family is Family.INSTANT:
        return str(text).replace("T", " ").removesuffix("Z")
    if kind.is_bytes:
        return base64.b64decode(str(text)).hex().upper()
    return None


class PartialRows:
    """Reads the rows of one operation on one table whose images have the same columns."""

    def __init__(
        self,
        table_map: TableMap,
        target: Target,
        op: Op,
        before: frozenset[int],
        after: frozenset[int],
        *,
        null_key: Callable[[int], PositionLostError],
        has_options: bool = False,
    ) -> None:
        """Generate the reading of the images.

        Args:
            before, after: places of the columns that the images have.
            null_key: the error for a NULL in a key column, by its place.
            has_options: of PARTIAL_UPDATE_ROWS: options are before each after image.

        Raises:
            PositionLostError: the type of a column that is needed is not carried.
        """
        table = target.described
        if table is None:
            raise ValueError(f"{target.table} has no description")
        self._op, self._null_key, self._has_options = op, null_key, has_options
        self._map, self._table = table_map, table
        names = [column.name or "" for column in table_map.columns]
        self._places = {name: place for place, name in enumerate(names)}
        columns = {column.name: column for column in table.columns}
        self._address = place_columns(target)
        self._needed = needed_columns(target, names)
        self._key = [columns[name] for name in table.chunk_key]
        self._generated = {column.name for column in table.columns if column.is_generated}
        self._scores = {i.score: columns[i.score] for i in table.indexes if i.score is not None}
        scratch = FunctionSource("")
        quoted = {
            name: reading_of(table_map.columns[self._places[name]], target.table, "v", scratch)
            .text.quoted
            for name in self._needed
        }  # fmt: skip
        self._shape = RowShaper(table, shown_columns(target, names), quoted)
        wanted = [*self._needed, *(c.name for c in self._key if _is_read(c)), *self._scores]
        wanted = [name for name in dict.fromkeys(wanted) if name in self._places]
        self._before, self._after = ({names[place] for place in some} for some in (before, after))
        self._old_names = [name for name in wanted if name in self._before]
        self._new_names = [name for name in wanted if name in self._after]
        is_json = {c.name for c in table_map.columns if c.type == types.JSON}
        self._json_columns = len(is_json)
        self._whole_names = [name for name in self._new_names if name not in is_json]
        self._read_old = self._reader(before, self._old_names)
        self._read_new = self._reader(after, self._new_names)
        self._read_whole = self._reader(after, self._whole_names)

    def rows(self, b: bytes, o: int, end: int) -> Iterator[PartialRow]:
        """Yield what becomes of each row of an event, from its first row at ``b[o]``.

        Raises:
            PositionLostError: a column of a key is NULL.
            ValueError, IndexError, KeyError, struct.error: the event is damaged.
        """
        if o == end and self._op == "insert" and not self._after:
            yield PartialRow(is_lost=True)  # rows of defaults alone take no byte
        while o < end:
            began, old = o, _Texts()
            new = _Texts()
            if self._op != "insert":
                o, texts = self._read_old(b, o)
                old = dict(zip(self._old_names, texts, strict=True))
            if self._op != "delete":
                read, names = self._read_new, self._new_names
                if self._has_options:
                    o, has_differences = read_options(b, o, self._json_columns)
                    if has_differences:
                        read, names = self._read_whole, self._whole_names
                o, texts = read(b, o)
                new = dict(zip(names, texts, strict=True))
            if not began < o <= end:
                raise IndexError
            try:
                yield self._row(old, new)
            except NullKey as error:
                raise self._null_key(self._places[str(error)]) from None
        if o != end:
            raise IndexError

    def _row(self, old: _Texts, new: _Texts) -> PartialRow:
        if self._op == "delete":
            if any(name not in old for name in self._address):
                return PartialRow(is_lost=True)
            return PartialRow("delete", old=self._shape.place(old))
        # What an after image lacks did not change, but for generated columns.
        kept = {n: t for n, t in old.items() if n not in self._after and n not in self._generated}
        known = kept | new
        is_placed = all(name in old for name in self._address)
        leaves = self._op == "update" and self._leaves(old, new)
        if all(name in known for name in self._needed) and (is_placed or not leaves):
            before = self._shape.place(old) if self._op == "update" and is_placed else None
            return PartialRow(self._op, before, self._shape.row(known))
        if leaves and not is_placed:
            return PartialRow(is_lost=True)
        key = self._key_of(known)
        if leaves:
            return PartialRow("delete", self._shape.place(old), key=key, is_lost=key is None)
        return PartialRow(key=key, is_lost=key is None)

    def _leaves(self, old: Mapping[str, Text], new: Mapping[str, Text]) -> bool:
        """Return whether a row may leave its key, its field or an entry of an index."""
        for name in self._address:
            if self._may_differ(name, old, new):
                return True
        for name, column in self._scores.items():
            if self._may_differ(name, old, new):
                text = new.get(name)
                is_instant = type_named(column.data_type).is_instant
                if text is None or (is_instant and epoch_text(text) is None):
                    return True
        return False

    def _may_differ(self, name: str, old: Mapping[str, Text], new: Mapping[str, Text]) -> bool:
        if name not in self._after:
            return name in self._generated
        return name not in old or name not in new or old[name] != new[name]

    def _key_of(self, known: Mapping[str, Text]) -> RowKey | None:
        parts = [key_text(column, known.get(column.name)) for column in self._key]
        certain = tuple(part for part in parts if part is not None)
        return certain if certain and len(certain) == len(parts) else None

    def _reader(self, present: frozenset[int], names: Iterable[str]) -> _Read:
        if not present:
            return lambda _, o: (o, ())
        source = FunctionSource("def generated(b, o):")
        source.constants |= CONSTANTS
        places = tuple(self._places[name] for name in names)
        Image(self._map, source, "v", present, keys=(), values=places, plain=True).write()
        source.add(f"return o, ({''.join(f'v{place}, ' for place in places)})")
        read: _Read = source.compile(f"partial images of {self._table.qualified!r}, {self._op}")
        return read


def _is_read(column: Column) -> bool:
    """Return whether a column's text may be part of a key that is read by."""
    kind = type_named(column.data_type)
    is_certain = kind.family in (*_AS_PRINTED, Family.INSTANT)
    return is_certain or kind.is_text or kind.is_bytes


def read_options(b: bytes, o: int, json_columns: int) -> tuple[int, bool]:
    """Return where an after image begins, and whether columns of it are differences.

    Args:
        json_columns: how many the table has.

    Raises:
        ValueError: there are options of another kind.
    """
    options, o = read_lenenc(b, o)
    if options & ~_PARTIAL_JSON:
        raise ValueError
    if not options:
        return o, False
    width = (json_columns + 7) // 8
    bits = int.from_bytes(b[o : o + width], "little") & ((1 << json_columns) - 1)
    return o + width, bool(bits)


def is_whole(
    target: Target, places: Mapping[str, int], op: Op, before: frozenset[int], after: frozenset[int]
) -> bool:
    """Return whether the images of an operation have all columns that its messages are made of.

    Args:
        places: of the table's columns, by name.
        before, after: places of the columns that the images have.
    """
    old = {places[name] for name in place_columns(target)}
    new = {places[name] for name in needed_columns(target, list(places))}
    return (op == "insert" or old <= before) and (op == "delete" or new <= after)
