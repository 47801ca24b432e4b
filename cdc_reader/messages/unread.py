"""Keys whose rows the binlog has only in part, until they are read.

Pure.  The reader notes them as it meets such rows, the snapshot takes them to be read, and each
heartbeat carries those that are not in line yet, so that a restart forgets none.  Keys that follow
one another become one range.  What heartbeats cannot carry is read as a whole instead, as is a
table of which a row's old key is not known.  See docs/adr/0030-partial-images.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, UnsetType

from cdc.message import KeyRange, TableProgress
from cdc.table import Column
from cdc_reader.binlog.types import type_named

RowKey = tuple[str, ...]
"""Parts of a table's chunk key as the server prints them: ``("7", "2024-01-01")``."""
MAX_BYTES = 128 << 10
"""What the keys of all tables together take in a heartbeat, at most: some 3,000 keys."""
_LOST = 1 << 62
_RANGE_BYTES = 30
"""``{"first":,"last":},`` and some room."""


@dataclass(slots=True)
class _Keys:
    """Of one table."""

    has_integers: bool
    """The key is one integer, so that neighbours are known."""
    waiting: dict[RowKey, RowKey] = field(default_factory=dict)
    """First and last key of each range, in the order in which they came."""
    newest: RowKey = ()
    """First key of the range that was noted last."""
    reading: tuple[KeyRange, ...] = ()
    """What is being read: to be read again where that is not finished."""
    taken_whole: int = 0
    """How many of the ranges that waited are in `reading`, to their ends."""
    is_lost: bool = False
    size_bytes: int = 0

    def add(self, key: RowKey) -> None:
        if key in self.waiting:
            return
        if self.has_integers and self.newest in self.waiting:
            first, last = int(self.newest[0]), int(self.waiting[self.newest][0])
            if first <= int(key[0]) <= last + 1:
                self.waiting[self.newest] = max(key, self.waiting[self.newest], key=_number)
                return
        self.waiting[key] = key
        self.newest = key
        self.size_bytes += _size_bytes(key, key)

    def join(self) -> None:
        """Make one range of those that touch."""
        if not self.has_integers:
            return
        joined: dict[RowKey, RowKey] = {}
        first: RowKey = ()
        for low, high in sorted(self.waiting.items(), key=lambda pair: int(pair[0][0])):
            if first and int(low[0]) <= int(joined[first][0]) + 1:
                joined[first] = max(high, joined[first], key=_number)
            else:
                first = low
                joined[first] = high
        self.waiting, self.newest = joined, ()
        self.size_bytes = sum(_size_bytes(*pair) for pair in joined.items())

    def take(self, rows: int) -> tuple[KeyRange, ...]:
        out: list[KeyRange] = []
        self.taken_whole = 0
        while self.waiting and rows > 0:
            first = next(iter(self.waiting))
            last = self.waiting.pop(first)
            self.size_bytes -= _size_bytes(first, last)
            count = int(last[0]) - int(first[0]) + 1 if first != last else 1
            self.taken_whole += count <= rows
            if count > rows:
                rest = (str(int(first[0]) + rows),)
                self.waiting = {rest: last} | self.waiting
                self.size_bytes += _size_bytes(rest, last)
                last, count = (str(int(rest[0]) - 1),), rows
            out.append(KeyRange(first=first, last=last))
            rows -= count
        self.reading = tuple(out)
        return self.reading

    def put_back(self) -> None:
        for part in self.reading:
            last = self.waiting.get(part.first, part.last)
            if self.has_integers:
                last = max(last, part.last, key=_number)
            self.waiting[part.first] = last
        self.reading = ()
        self.size_bytes = sum(_size_bytes(*pair) for pair in self.waiting.items())

    def open(self) -> tuple[KeyRange, ...]:
        waiting = (KeyRange(first=first, last=last) for first, last in self.waiting.items())
        return (*self.reading, *waiting)


def _number(key: RowKey) -> int:
    return int(key[0])


def _size_bytes(first: RowKey, last: RowKey) -> int:
    return _RANGE_BYTES + len(msgspec.json.encode(first)) + len(msgspec.json.encode(last))


class Unread:
    """The keys of all tables of one connection of the reader."""

    def __init__(
        self,
        known: Mapping[str, TableProgress] | None = None,
        *,
        columns: Mapping[str, Sequence[Column]] | None = None,
        shown: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Resume at the stream's newest heartbeat.

        Args:
            known: each table's progress there; None: of no stream, where nothing has to be kept.
            columns: of each table's chunk key, in its order; of others nothing is resumed.
            shown: GTIDs of the transactions whose rows are all in line.
        """
        self.moved: set[str] = set()
        """Tables whose progress is to be taken over: see `progress`."""
        self._columns, self._max_bytes = columns or {}, max_bytes
        self._is_kept = known is not None
        self._shown, self._next = shown, shown
        self._ahead: dict[str, int] = {}
        """Ranges of each table that were open when `_next` was the newest boundary."""
        self._tables: dict[str, _Keys] = {}
        for name in self._columns:
            if known is not None and name in known and known[name].partial is not UNSET:
                self._resume(name, known[name])

    def _resume(self, table: str, progress: TableProgress) -> None:
        keys = self._tables[table] = self._empty(table)
        for part in progress.partial_keys:
            keys.waiting[part.first] = part.last
            keys.size_bytes += _size_bytes(part.first, part.last)
        parts = len(self._columns[table])
        # Another key since: its texts would be compared with other columns.
        if progress.refresh_due is True or any(len(key) != parts for key in keys.waiting):
            self.lose(table)

    def _empty(self, table: str) -> _Keys:
        columns = self._columns.get(table, ())
        return _Keys(len(columns) == 1 and type_named(columns[0].data_type).is_integer)

    def is_known(self, table: str) -> bool:
        """Return whether the stream tells that rows of a table may be in the binlog in part."""
        return not self._is_kept or table in self._tables

    def begin(self, table: str) -> None:
        """Have the next heartbeat tell it."""
        self._tables.setdefault(table, self._empty(table))
        self.moved.add(table)

    def note(self, table: str, key: RowKey) -> None:
        """Note a row that is to be read."""
        keys = self._tables.get(table)
        if keys is None:
            keys = self._tables[table] = self._empty(table)
        if keys.is_lost:
            return  # all of it is read
        keys.add(key)
        self.moved.add(table)
        if keys.size_bytes > self._max_bytes // 4 and self._size_bytes() > self._max_bytes:
            self._shrink()

    def lose(self, table: str) -> None:
        """Note that a table is to be read as a whole."""
        keys = self._tables.setdefault(table, self._empty(table))
        if not keys.is_lost:
            keys.is_lost = True
            keys.waiting, keys.size_bytes = {}, 0
            self.moved.add(table)

    def _size_bytes(self) -> int:
        return sum(keys.size_bytes for keys in self._tables.values())

    def _shrink(self) -> None:
        for keys in self._tables.values():
            keys.join()
        self._ahead = self._open_ranges()  # in another order now
        while self._size_bytes() > self._max_bytes * 3 // 4:
            largest = max(self._tables, key=lambda name: self._tables[name].size_bytes)
            self.lose(largest)

    def lost(self) -> tuple[str, ...]:
        """Return the tables that are to be read as a whole."""
        return tuple(name for name, keys in self._tables.items() if keys.is_lost)

    def waiting(self) -> tuple[str, ...]:
        """Return the tables with keys that are to be read, in order."""
        return tuple(name for name, keys in self._tables.items() if keys.waiting)

    def take(self, table: str, rows: int) -> tuple[KeyRange, ...]:
        """Return what is read next of a table, about so many rows at most."""
        keys = self._tables[table] = self._tables.pop(table)  # the others are before it now
        return keys.take(rows)

    def put_back(self, table: str) -> None:
        """Note that what was taken last was not read."""
        self._tables[table].put_back()

    def done(self, table: str) -> None:
        """Note that what was taken last is in line."""
        keys = self._tables[table]
        keys.reading = ()
        self._ahead[table] = max(0, self._ahead.get(table, 0) - keys.taken_whole)
        self.moved.add(table)

    def shown(self, gtid_set: str | None) -> str | UnsetType:
        """Return of which transactions all rows are in line; unset: of all up to a boundary.

        Asked at each heartbeat.  Keys are read in the order in which they were noted: when those
        are read that were open at a boundary, all transactions up to that one are shown.

        Args:
            gtid_set: at the newest boundary; None: there are no GTIDs.
        """
        ahead = self._open_ranges()
        if not ahead or gtid_set is None:
            self._shown = self._next = gtid_set
            self._ahead = {}
            return UNSET
        if not any(self._ahead.values()):
            self._shown = self._next
            self._next, self._ahead = gtid_set, ahead
        return self._shown or ""

    def _open_ranges(self) -> dict[str, int]:
        """Return how many ranges are open of each table; of one that is lost, more than any."""
        open_ranges = {
            name: _LOST if keys.is_lost else len(keys.waiting) + len(keys.reading)
            for name, keys in self._tables.items()
        }
        return {name: count for name, count in open_ranges.items() if count}

    def drained(self) -> list[tuple[str, tuple[KeyRange, ...]]]:
        """Return all that is noted, by table, and note nothing more of it: for who reads nothing.

        A table that is to be read as a whole has no keys.
        """
        out: list[tuple[str, tuple[KeyRange, ...]]] = []
        for name, keys in self._tables.items():
            if keys.waiting or keys.is_lost:
                out.append((name, keys.open()))
                self._tables[name] = self._empty(name)
        return out

    def progress(self, table: str, before: TableProgress) -> TableProgress:
        """Return a table's progress with what is to be read of it now."""
        keys = self._tables[table]
        due = True if keys.is_lost else UNSET
        return msgspec.structs.replace(before, partial=keys.open(), refresh_due=due)
