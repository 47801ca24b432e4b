"""Python source that reads one row image, before or after a change.

Pure.  An image is a bitmap of its NULL columns, then the others' bytes in order.  Two
ways through it are written: without NULL, where adjacent columns of fixed size share a
struct call, and with NULL, where the nullable ones are taken one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from cdc_reader.binlog.event import (
    PARTIAL_UPDATE_ROWS,
    ROWS,
    ROWS_COMPRESSED,
    TABLE_ID_BYTES,
    Event,
    Op,
    inflated_rows,
    rows_at,
)
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.rows.body_source import FunctionSource, TextVariable, f_string, nested_token
from cdc_reader.rows.column_source import ColumnReading, Field, Layout, layout_of, reading_of


class _Column(NamedTuple):
    place: int
    mask: int
    """Its bit in the bitmap of NULL columns."""
    layout: Layout
    reading: ColumnReading | None
    """None: not wanted."""
    nullable: bool


class Image:
    """What is read of one row image, and into which variables.

    The text of column 3 is in ``v3`` (prefix ``v``); where the column may be NULL and is,
    its JSON token ``v3j`` is ``null`` and, outside of a row's object, ``v3`` is None.
    """

    def __init__(
        self,
        table_map: TableMap,
        source: FunctionSource,
        prefix: str,
        present: frozenset[int],
        *,
        keys: tuple[int, ...],
        values: tuple[int, ...],
        nested: bool = False,
        plain: bool = False,
    ) -> None:
        """Take which columns are read.

        Args:
            present: places of the columns that the image has; the others' are not in it at all.
            keys: places of columns whose text the key needs.
            values: places of columns whose token the value needs.
            nested: the tokens are for the row's object.
            plain: no tokens, only the texts; None where a column is NULL.
        """
        self._source = source
        self._plain = plain
        self._prefix = prefix
        self._keys, self._values, self._nested = frozenset(keys), frozenset(values), nested
        self._columns: list[_Column] = []
        self.texts: dict[int, TextVariable] = {}
        """By place, in the order of `keys`, then of the table."""
        readings: dict[int, ColumnReading] = {}
        table = table_map.qualified
        for place in dict.fromkeys((*keys, *values)):
            name = f"{prefix}{place}"
            readings[place] = reading_of(table_map.columns[place], table, name, source)
            self.texts[place] = readings[place].text
        for n, place in enumerate(sorted(present)):
            column = table_map.columns[place]
            layout, reading = layout_of(column, table), readings.get(place)
            self._columns.append(_Column(place, 1 << n, layout, reading, column.nullable))

    def nullable(self, place: int) -> bool:
        """Return whether the column, present in the image, can be NULL."""
        return any(column.place == place and column.nullable for column in self._columns)

    def write(self, last: Callable[[bool], str] | None = None) -> None:
        """Write the lines that read the image.

        Args:
            last: gives one more line for the end of each way; its argument tells whether
                nullable columns may be NULL on that way.
        """
        source, width = self._source, (len(self._columns) + 7) // 8
        # Bits after the last column's are set by MySQL.  Source: sql/rpl_record.cc, pack_row.
        every = (1 << len(self._columns)) - 1
        never = sum(column.mask for column in self._columns if not column.nullable)
        bitmap = "b[o]" if width == 1 else f"number(b[o:o + {width}], 'little')"
        source.add(f"n = {bitmap} & {every}")
        with source.block("if not n:"):
            self._write_way(_Run(source, width), None, last)
        if never:
            with source.block(f"elif n & {never}:"):
                source.add("raise ValueError")
        if never != every:
            with source.block("else:"):
                self._write_way(_Run(source, width), "n", last)

    def _write_way(self, run: _Run, bits: str | None, last: Callable[[bool], str] | None) -> None:
        for column in self._columns:
            if bits is None or not column.nullable:
                self._write_column(run, column, some_null=False)
                continue
            run.flush()
            if column.reading is None:
                with self._source.block(f"if not {bits} & {column.mask}:"):
                    self._write_alone(column)
                continue
            with self._source.block(f"if {bits} & {column.mask}:"):
                self._write_null(column)
            with self._source.block("else:"):
                self._write_alone(column)
        run.flush()
        if last is not None:
            self._source.add(last(bits is not None))

    def _write_alone(self, column: _Column) -> None:
        run = _Run(self._source, 0)
        self._write_column(run, column, some_null=True)
        run.flush()

    def _write_null(self, column: _Column) -> None:
        name = f"{self._prefix}{column.place}"
        if column.place in self._keys:
            self._source.add(f"raise null_key({column.place})")
        elif self._plain:
            self._source.add(f"{name} = None")
        elif self._nested:
            self._source.add(f"{name}j = 'null'")
        else:
            self._source.add(f"{name} = {name}t = None")

    def _write_column(self, run: _Run, column: _Column, *, some_null: bool) -> None:
        reading, layout = column.reading, column.layout
        name = f"{self._prefix}{column.place}"
        if reading is None:
            if layout.length_bytes:
                run.skip_bytes(name, layout.length_bytes)
            else:
                run.at += layout.fixed_bytes
            return
        own = [*reading.lines]
        if column.place in self._values and not self._plain:
            own += reading.text.token_lines(nested=self._nested)
            if some_null and self._nested:
                own.append(f"{reading.text.or_null} = {f_string(nested_token(reading.text))}")
        if layout.length_bytes:
            run.take_bytes(name, layout.length_bytes, own)
        else:
            run.take(reading.fields, own, layout.fixed_bytes)


class _Run:
    """Adjacent columns whose distance from ``o`` is known, read together by `flush`."""

    def __init__(self, source: FunctionSource, at: int) -> None:
        self._source = source
        self.at = at
        """Distance of the next column from ``o``, in bytes."""
        self._fields: list[tuple[int, Field]] = []
        self._lines: list[str] = []

    def take(self, fields: tuple[Field, ...], lines: list[str], size: int) -> None:
        """Read a column of fixed size."""
        at = self.at
        for field in fields:
            self._fields.append((at, field))
            at += struct.calcsize("<" + field.code)
        self._lines += lines
        self.at += size

    def take_bytes(self, name: str, length_bytes: int, lines: list[str]) -> None:
        """Read a column with its length before it; its bytes are ``RAW`` in the lines."""
        self._length(name, length_bytes)
        self.flush()
        raw = f"b[o:o + {name}l]"
        self._source.add(*(line.replace("RAW", raw) for line in lines[:1]))
        self._source.add(f"o += {name}l")
        self._source.add(*lines[1:])

    def skip_bytes(self, name: str, length_bytes: int) -> None:
        """Go over a column with its length before it."""
        self._length(name, length_bytes)
        self.flush(f"{name}l")

    def _length(self, name: str, size: int) -> None:
        if size == 3:
            fields: tuple[Field, ...] = (Field(name + "la", "H", "<"), Field(name + "lb", "B"))
            self.take(fields, [f"{name}l = {name}la | {name}lb << 16"], size)
        else:
            code = {1: "B", 2: "H", 4: "I"}[size]
            self.take((Field(name + "l", code, "<" if size > 1 else ""),), [], size)

    def flush(self, more: str = "") -> None:
        """Write the reading of what was taken, and continue after it and `more` bytes."""
        orders: dict[str, list[tuple[int, Field]]] = {"<": [], ">": [], "": []}
        for at, field in self._fields:
            orders[field.order].append((at, field))
        orders["<" if orders["<"] or not orders[">"] else ">"] += orders.pop("")
        for order, fields in orders.items():
            if fields:
                self._unpack(order, sorted(fields))
        self._source.add(*self._lines)
        steps = [str(self.at)] * bool(self.at) + [more] * bool(more)
        if steps:
            self._source.add(f"o += {' + '.join(steps)}")
        self._fields, self._lines, self.at = [], [], 0

    def _unpack(self, order: str, fields: list[tuple[int, Field]]) -> None:
        start = fields[0][0]
        place = f"o + {start}" if start else "o"
        if len(fields) == 1 and fields[0][1].code == "B":
            self._source.add(f"{fields[0][1].name} = b[{place}]")
            return
        code, end = order, start
        for at, field in fields:
            code += f"{at - end}x" * (at > end) + field.code
            end = at + struct.calcsize("<" + field.code)
        name = f"unpack_{len(self._source.constants)}"
        self._source.constant(name, struct.Struct(code).unpack_from)
        names = ", ".join(field.name for _, field in fields)
        self._source.add(f"{names}, = {name}(b, {place})")


class RowsEvent(NamedTuple):
    """One rows event: ``buffer[start:end]`` is its body from the number of columns on."""

    op: Op
    buffer: bytes
    start: int
    end: int
    flags: int
    """``1``: the last one of a statement; see `cdc_reader.rows.parent_rows.WITHOUT_CASCADES`."""
    has_options: bool
    """It is a PARTIAL_UPDATE_ROWS: options are before each after image."""


def rows_event(event: Event) -> RowsEvent:
    """Return a rows event, unpacked where it is compressed.

    Raises:
        PositionLostError: it is damaged.
    """
    op, buffer, at, end = ROWS.get(event.kind, "update"), event.buffer, rows_at(event), event.end
    flags_at = event.start + TABLE_ID_BYTES
    flags = int.from_bytes(buffer[flags_at : flags_at + 2], "little")
    if event.kind in ROWS_COMPRESSED:
        buffer, at, end = inflated_rows(buffer, at, end, images=2 if op == "update" else 1)
    return RowsEvent(op, buffer, at, end, flags, event.kind == PARTIAL_UPDATE_ROWS)


def images_of(head: bytes, columns: int) -> tuple[frozenset[int], frozenset[int]] | None:
    """Return the places of the columns that a rows event's images have, before and after.

    Where there is one image both are of it.  None: the event has another number of columns.

    Args:
        head: what precedes the first row: the number of columns, then a bitmap for each image.

    >>> sorted(images_of(bytes((3, 0b001, 0b011)), 3)[1])
    [0, 1]
    """
    width = (columns + 7) // 8
    bitmaps = head[len(_count(columns)) :]
    if head != _count(columns) + bitmaps:
        return None
    images = [
        frozenset(place for place in range(columns) if bits >> place & 1)
        for bits in (
            int.from_bytes(bitmaps[at : at + width], "little")
            for at in range(0, len(bitmaps), width)
        )
    ]
    return images[0], images[-1]


def head_bytes(columns: int) -> tuple[int, int]:
    """Return how many bytes precede the first row: with one bitmap, with two."""
    width = (columns + 7) // 8
    return len(_count(columns)) + width, len(_count(columns)) + 2 * width


def _count(columns: int) -> bytes:
    """Return a number of columns, which is at most 4,096, as a length-encoded integer."""
    return bytes((columns,)) if columns < 251 else b"\xfc" + columns.to_bytes(2, "little")
