"""Rows of tables that others refer to: which captured tables a rows event reaches by cascades.

Pure.  A parent need not be captured.  Its delete reaches children, and so does an update of a
column that they refer to.  Where a column cannot be read, it counts as changed: that reads
children once too often.  See docs/adr/0034-cascades.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdc.errors import PositionLostError
from cdc_reader.binlog import types
from cdc_reader.binlog.charset import NotAscii
from cdc_reader.binlog.event import Op
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.rows.body_source import FunctionSource
from cdc_reader.rows.column_source import CONSTANTS
from cdc_reader.rows.image_source import Image, RowsEvent, head_bytes, images_of
from cdc_reader.rows.partial_rows import read_options
from cdc_reader.rows.row_plan import EVERY_ROW, KEYS, OPS, unmoved_plan

WITHOUT_CASCADES = 0x12
"""Of the flags of a rows event: NO_FOREIGN_KEY_CHECKS_F (2), no cascade ran at all; and
USE_SQL_FOREIGN_KEY_F (16), MySQL 9.6 and newer wrote what it did to the binlog.  Source:
mysql-server libs/mysql/binlog/event/rows_event.h; mariadb sql/log_event.h; seen on both."""
_NONE: frozenset[str] = frozenset()
_UNREADABLE = (IndexError, KeyError, ValueError, OverflowError, struct.error, NotAscii)
_ReadImage = Callable[[bytes, int], tuple[int, tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What changes of one table's rows reach."""

    on_delete: frozenset[str] = frozenset()
    """Captured tables, ``{"shop.lines"}``."""
    on_update: Mapping[frozenset[str], frozenset[str]] = field(default_factory=dict)
    """By the referenced columns that change: captured tables."""
    columns: tuple[str, ...] | None = None
    """All of the table's, in order, lower case; None: this login does not see them."""
    generated: frozenset[str] = frozenset()

    @property
    def reached(self) -> frozenset[str]:
        """All captured tables that it leads to."""
        return self.on_delete.union(*self.on_update.values())


class ParentRows:
    """Looks at the rows events that follow one TABLE_MAP of a parent."""

    target = None
    """In the place of a `RowCodec`: its rows are not captured."""

    def __init__(self, table_map: TableMap, parent: Parent) -> None:
        """Generate nothing yet."""
        self.parent = self
        self._map, self._of = table_map, parent
        names = [column.name for column in table_map.columns]
        if any(name is None for name in names):
            # As the catalog shows them: a statement that changes them is looked at.
            names = list(parent.columns or ())
        self._places: dict[str, int] = {}
        if len(names) == len(table_map.columns):
            self._places = {(name or "").lower(): place for place, name in enumerate(names)}
        self._wanted = sorted({name for names in parent.on_update for name in names})
        self._json_columns = sum(column.type == types.JSON for column in table_map.columns)
        self._functions: dict[tuple[bytes, bool], _Changed | None] = {}
        self.plans: dict[int, Any] = {OPS["insert"]: False}
        """For the compiled path: inserts are not looked at, nor updates that change nothing."""
        if not parent.on_update:
            self.plans[OPS["update"]] = False
        if not parent.on_delete:
            self.plans[OPS["delete"]] = False

    def watch(self, op: Op, key_columns: Sequence[str]) -> int:
        """Return which rows of a captured parent the compiled path leaves to Python.

        Args:
            key_columns: whose change it notices.
        """
        if op == "delete":
            return EVERY_ROW if self._of.on_delete else 0
        if op == "insert" or not self._of.on_update:
            return 0
        return KEYS if {*self._wanted} <= {name.lower() for name in key_columns} else EVERY_ROW

    def reached(self, event: RowsEvent) -> frozenset[str]:
        """Return the captured tables whose rows an event may have changed by cascades."""
        if event.op == "insert" or event.flags & WITHOUT_CASCADES:
            return _NONE
        if event.op == "delete":
            return self._of.on_delete
        if not self._of.on_update:
            return _NONE
        changed = self._changed(event)
        reached = (
            tables
            for columns, tables in self._of.on_update.items()
            if changed is None or changed & columns
        )
        return _NONE.union(*reached)

    def _changed(self, event: RowsEvent) -> set[str] | None:
        """Return which referenced columns an update changes; None: that cannot be read."""
        rows_start = event.start + head_bytes(len(self._map.columns))[1]
        head = event.buffer[event.start : rows_start]
        try:
            made = self._functions[head, event.has_options]
        except KeyError:
            made = self._made(head, has_options=event.has_options)
            self._functions[head, event.has_options] = made
        if made is None:
            return None
        try:
            return made.rows(event.buffer, rows_start, event.end)
        except _UNREADABLE:
            return None

    def _made(self, head: bytes, *, has_options: bool) -> _Changed | None:
        images = images_of(head, len(self._map.columns))
        if images is None or any(name not in self._places for name in self._wanted):
            return None
        before, after = images
        changed: set[str] = set()
        places = {}
        for name in self._wanted:
            place = self._places[name]
            if place in before and place in after:
                places[name] = place
            elif place in after or self._of.columns is None or name in self._of.generated:
                changed.add(name)
        if not changed and not has_options:
            found = unmoved_plan(
                self._map, tuple(places.values()), head=head, before=before, after=after
            )
            self.plans[OPS["update"]] = found
        try:
            read = [self._reader(present, tuple(places.values())) for present in (before, after)]
        except PositionLostError:  # a type that is not carried
            return None
        options = self._json_columns if has_options else None
        return _Changed(read[0], read[1], tuple(places), changed, options)

    def _reader(self, present: frozenset[int], places: tuple[int, ...]) -> _ReadImage:
        source = FunctionSource("def generated(b, o):")
        source.constants |= CONSTANTS
        Image(self._map, source, "v", present, keys=(), values=places, plain=True).write()
        source.add(f"return o, ({''.join(f'v{place}, ' for place in places)})")
        read: _ReadImage = source.compile(f"parents of {self._map.qualified!r}")
        return read


class _Changed:
    """Compares the images of an update's rows."""

    def __init__(
        self,
        before: _ReadImage,
        after: _ReadImage,
        names: tuple[str, ...],
        changed: set[str],
        json_columns: int | None,
    ) -> None:
        """Take what reads both images.

        Args:
            names: columns that both have.
            changed: columns that change with each row, as far as is known.
            json_columns: of the table, where options are before each after image.
        """
        self._before, self._after, self._names = before, after, names
        self._changed, self._json_columns = changed, json_columns

    def rows(self, b: bytes, o: int, end: int) -> set[str]:
        """Return which columns some row changes."""
        changed = {*self._changed}
        while o < end:
            began = o
            o, old = self._before(b, o)
            if self._json_columns is not None:
                o, _ = read_options(b, o, self._json_columns)
            o, new = self._after(b, o)
            if not began < o <= end:
                raise IndexError
            if old != new:
                pairs = zip(self._names, old, new, strict=True)
                changed.update(name for name, was, is_ in pairs if was != is_)
        return changed
