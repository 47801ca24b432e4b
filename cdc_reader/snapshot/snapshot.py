"""Read the existing rows consistently with the changes that happen meanwhile.

A chunk is one SELECT by key.  Its rows may enter the stream only where none of them is
older than what the stream has: the chunk is read after everything published is visible
(low watermark), the place in the binlog is noted after the read (high watermark), and when
the reader has passed it, the rows go out without those that a change touched meanwhile.
No lock and no write on the source (one exception in `cdc_reader.snapshot.chunk`); no row ever goes
backwards.  See docs/adr/0006-snapshot-in-line.md.

Decides only; `cdc_reader.snapshot.chunk` reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from cdc.errors import CdcError, PositionLostError, UsageError
from cdc.message import OPERATIONS, KeyRange, TableProgress
from cdc.position import Watermark
from cdc.table import WHOLE_TABLE_MAX_ROWS, Table, too_many_rows
from cdc_reader.messages.chains import Run
from cdc_reader.publish.transaction import Assembler
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.snapshot.chunk import Chunk
from cdc_reader.snapshot.pace import Pace


class _MessageKeys(msgspec.Struct):
    """The keys of a message, for the window; the rest is not looked at."""

    key: str = ""
    old_key: str | None = None
    field: str | None = None
    old_field: str | None = None

    @property
    def place(self) -> _KeyAndField:
        """The key, with the field where the hash of a parent has one for each row."""
        return self.key, self.field

    @property
    def old_place(self) -> _KeyAndField:
        """The same before the change; the key is "" where it had none."""
        return self.old_key or "", self.old_field


_KeyAndField = tuple[str, str | None]
_decode_keys = msgspec.json.Decoder(_MessageKeys).decode


class ChunkReading(Protocol):
    """A chunk that is being read: a future."""

    def done(self) -> bool:
        """Whether it has been read, or cannot be."""

    def result(self) -> Chunk:
        """Return it; raises why it cannot be read."""


class Chunks(Protocol):
    """What reads: a `cdc_reader.snapshot.chunk.ChunkReader`."""

    def begin(
        self, table: Table, codec: SelectCodec, rows: KeyRange, limit: int, low: Watermark
    ) -> ChunkReading:
        """Begin to read the first rows of a range, all changes up to `low` included."""


@dataclass(slots=True)
class Window:
    """The chunk that is being read, and the keys that changes touched since."""

    table: Table
    codec: SelectCodec
    reading: ChunkReading
    rows: KeyRange | None
    """The range that it belongs to; None: the whole table."""
    touched: set[_KeyAndField] = field(default_factory=set)


class Newest(NamedTuple):
    """What the newest chunk belonged to, and how far that is."""

    table: str = ""
    part: KeyRange | None = None
    """The range as it was announced; None: the whole table."""
    rows: int = 0
    about_rows: int = 0
    done: bool = False


class Snapshot:
    """Which table is read next, and which of a chunk's rows may go out."""

    def __init__(
        self,
        tables: Iterable[Table],
        progress: dict[str, TableProgress],
        reader: Chunks,
        *,
        mariadb: bool,
        pace: Pace,
    ) -> None:
        """Resume at `progress`, from the newest heartbeat."""
        self.progress = progress
        self.chunks = 0
        """How many were put in line: progress that a heartbeat should carry."""
        self.newest = Newest()
        self.moved: set[str] = set()
        """Tables that have progressed; cleared by the code that reports them."""
        tables = tuple(tables)
        self._in_ranges = {t.qualified: t for t in tables if progress[t.qualified].open_ranges}
        self._unread = {t.qualified: t for t in tables if not progress[t.qualified].done}
        self._reader = reader
        self._mariadb = mariadb
        self._pace = pace
        self._codecs: dict[str, SelectCodec] = {}
        self.window: Window | None = None
        """The chunk that is being read."""

    @property
    def paused(self) -> str:
        """Why no chunk may begin now; empty: it may, or there is nothing to read."""
        return self._pace.paused if self.active else ""

    @property
    def active(self) -> bool:
        """Whether some table, or a range of one, is not read to its end."""
        return self.next() is not None

    def next(self) -> tuple[Table, KeyRange | None] | None:
        """Return what is read next: ranges that were asked for, then tables as a whole."""
        for name, table in self._in_ranges.items():
            return table, self.progress[name].open_ranges[0]
        for table in self._unread.values():
            return table, None
        return None

    def step(self, assembler: Assembler) -> int:
        """Note what changed, put a finished chunk in line, begin the next; return its rows.

        Raises:
            UnavailableError: the chunk could not be read; the next step tries again.
        """
        published_rows = 0
        if (window := self.window) is not None:
            self._note(window, assembler.runs)
            if not window.reading.done():
                return 0
            chunk = self._result(window)
            if not assembler.has_passed(chunk.high):
                return 0
            published_rows = self._put_in_line(window, chunk, assembler)
        elif not self.active:
            return 0
        todo = self.next()
        if todo is None or assembler.is_behind_the_stream():
            return published_rows
        if self._pace.is_due(todo[0].qualified):
            self._begin(*todo, assembler)
        return published_rows

    def _result(self, window: Window) -> Chunk:
        try:
            return window.reading.result()
        except CdcError:
            self.window = None
            raise

    def _begin(self, table: Table, rows: KeyRange | None, assembler: Assembler) -> None:
        codec = self._codecs.get(table.qualified)
        if codec is None:
            codec = self._codecs[table.qualified] = SelectCodec(table, mariadb=self._mariadb)
        if table.qualified != self.newest.table:
            self._pace.begin_table()
        after = tuple(part or "" for part in self.progress[table.qualified].after)
        wanted = rows or KeyRange(after=after)
        limit = self._pace.chunk_rows() if table.chunk_key else WHOLE_TABLE_MAX_ROWS + 1
        reading = self._reader.begin(table, codec, wanted, limit, assembler.seen())
        self.window = Window(table, codec, reading, rows)

    @staticmethod
    def _note(window: Window, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.table == window.table.qualified and run.op in OPERATIONS:
                for body in run.bodies:
                    keys = _decode_keys(body)
                    window.touched.update((keys.place, keys.old_place))

    def _put_in_line(self, window: Window, chunk: Chunk, assembler: Assembler) -> int:
        table = window.table
        if not table.chunk_key and not chunk.done:
            raise UsageError(
                too_many_rows(table),
                fix="add a primary key, or run with --no-snapshot",
                table=table.qualified,
            )
        try:
            rows = window.codec.rows(chunk.rows)
        except PositionLostError as error:
            error.table = table.qualified
            raise
        if window.touched:
            rows = [row for row in rows if _decode_keys(row).place not in window.touched]
        if rows:
            run = assembler.snapshot_run(table.qualified, rows, read_us=chunk.read_us)
            assembler.runs.append(run)
        self._move(table.qualified, chunk, window.rows)
        self._pace.took(len(chunk.rows), chunk.size_bytes, chunk.took_s)
        self.window = None
        return len(rows)

    def _move(self, table: str, chunk: Chunk, part: KeyRange | None) -> None:
        """Note a table's progress after a chunk, of its first open range or of the whole."""
        progress = self.progress[table]
        read: TableProgress | KeyRange = part or progress
        rows = (read.rows or 0) + len(chunk.rows)
        about = chunk.about_rows or read.about_rows or 0
        moved = {"after": chunk.after, "rows": rows, "about_rows": about}
        if part is None:
            self.progress[table] = msgspec.structs.replace(progress, done=chunk.done, **moved)
        else:
            rest = () if chunk.done else (msgspec.structs.replace(part, **moved),)
            self.progress[table] = progress.with_ranges((*rest, *progress.open_ranges[1:]))
            part = KeyRange(refresh=part.refresh, first=part.first, last=part.last)
        self.moved.add(table)
        if self.progress[table].done:
            self._unread.pop(table, None)
        if not self.progress[table].open_ranges:
            self._in_ranges.pop(table, None)
        self.newest = Newest(table, part, rows, about, chunk.done)
        self.chunks += 1
