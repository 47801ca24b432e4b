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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from cdc.errors import CdcError, PositionLostError, UsageError
from cdc.message import OPERATIONS, KeyRange, TableProgress
from cdc.position import Watermark
from cdc.table import WHOLE_TABLE_MAX_ROWS, Table, too_many_rows
from cdc_reader.messages.chains import Run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.transaction import Assembler
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.snapshot.chunk import Chunk
from cdc_reader.snapshot.late import Late
from cdc_reader.snapshot.pace import Pace

KEYS_AT_ONCE = 2000
"""Rows that one SELECT reads by their keys, at most."""


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
        self,
        table: Table,
        codec: SelectCodec,
        rows: KeyRange,
        limit: int,
        low: Watermark,
        keys: Sequence[KeyRange] = (),
    ) -> ChunkReading:
        """Begin to read the first rows of a range, all changes up to `low` included.

        Args:
            keys: all rows of these ranges instead.
        """


@dataclass(slots=True)
class Window:
    """The chunk that is being read, and the keys that changes touched since."""

    table: Table
    codec: SelectCodec
    reading: ChunkReading
    rows: KeyRange | None
    """The range that it belongs to; None: the whole table."""
    by_keys: bool = False
    """It is of rows that the binlog has in part."""
    touched: set[_KeyAndField] = field(default_factory=set)


class Todo(NamedTuple):
    """What is read next."""

    table: Table
    part: KeyRange | None = None
    """The range; None: the whole table."""
    by_keys: bool = False
    """Rows that the binlog has in part."""


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
        unread: Unread | None = None,
        has_xa: bool = False,
    ) -> None:
        """Resume at `progress`, from the newest heartbeat.

        Args:
            unread: keys of rows that the binlog has in part; the assembler notes them there.
            has_xa: XA transactions were committed on the server.
        """
        self.unread = Unread() if unread is None else unread
        self.windows = 0
        """How often such rows were read."""
        self.progress = progress
        self.chunks = 0
        """How many were put in line: progress that a heartbeat should carry."""
        self.newest = Newest()
        self.moved: set[str] = set()
        """Tables that have progressed; cleared by the code that reports them."""
        tables = tuple(tables)
        self._tables = {table.qualified: table for table in tables}
        self.held: set[str] = set()
        """Tables that are not read yet, because rows of theirs are skipped: see
        `cdc_reader.schema.names`."""
        self._in_ranges = {t.qualified: t for t in tables if progress[t.qualified].open_ranges}
        self._unread = {t.qualified: t for t in tables if not progress[t.qualified].done}
        self._reader = reader
        self._mariadb = mariadb
        self._pace = pace
        self._key_paces: dict[str, Pace] = {}
        """Of rows that are read by their keys, by table: their sizes and times differ."""
        self._codecs: dict[str, SelectCodec] = {}
        self.window: Window | None = None
        """The chunk that is being read."""
        self._late = Late(has_xa=has_xa)
        self._released: list[str] = []
        self._note_unread()

    @property
    def paused(self) -> str:
        """Why no chunk may begin now; empty: it may, or there is nothing to read."""
        return self._pace.paused if self.active else ""

    @property
    def active(self) -> bool:
        """Whether some table, or a range of one, is not read to its end."""
        return self.next() is not None

    def next(self, *, was_by_keys: bool = False) -> Todo | None:
        """Return what is read next: by keys, then ranges that were asked for, then tables.

        Args:
            was_by_keys: the others have their turn.
        """
        waiting = self.unread.waiting()
        if waiting and not was_by_keys:
            return Todo(self._tables[waiting[0]], by_keys=True)
        for name, table in self._in_ranges.items():
            return Todo(table, self.progress[name].open_ranges[0])
        for name, table in self._unread.items():
            if name not in self.held:
                return Todo(table)
        return Todo(self._tables[waiting[0]], by_keys=True) if waiting else None

    def release(self, table: str) -> None:
        """Note that no rows of a table are skipped any more: it may be read."""
        self.held.discard(table)
        self._released.append(table)

    def refreshes_due(self) -> dict[str, int]:
        """Return the tables that are to be read again as a whole, and are read to their end.

        With how many rows they had then.
        """
        lost = [name for name in self.unread.lost() if name in self._tables]
        return {name: self.progress[name].rows or 0 for name in lost if self.progress[name].done}

    def step(self, assembler: Assembler) -> int:
        """Note what changed, put a finished chunk in line, begin the next; return its rows.

        Raises:
            UnavailableError: the chunk could not be read; the next step tries again.
        """
        # Before the next heartbeat: its boundary is after the rows that these keys are of.
        self._note_unread()
        published_rows, was_by_keys = 0, False
        self._note_late(assembler)
        while self._released:
            self._late.release(self._released.pop())
        if (window := self.window) is not None:
            self._note(window, assembler.runs)
            if not window.reading.done():
                return 0
            chunk = self._result(window)
            if not assembler.has_passed(chunk.high):
                return 0
            published_rows = self._put_in_line(window, chunk, assembler)
            was_by_keys = window.by_keys
        todo = self.next(was_by_keys=was_by_keys)
        if todo is None or assembler.is_behind_the_stream():
            return published_rows
        if self._late.is_settling(todo.table.qualified, by_keys=todo.by_keys):
            return published_rows
        # Rows that the binlog has in part are changes, which nothing else holds back.
        if todo.by_keys or self._pace.is_due(todo.table.qualified):
            self._begin(todo, assembler)
        return published_rows

    def _note_unread(self) -> None:
        for name in self.unread.moved:
            if name in self.progress:
                self.progress[name] = self.unread.progress(name, self.progress[name])
                self.moved.add(name)
        self.unread.moved.clear()

    def _result(self, window: Window) -> Chunk:
        try:
            return window.reading.result()
        except CdcError:
            self.window = None
            if window.by_keys:
                self.unread.put_back(window.table.qualified)
            raise

    def _begin(self, todo: Todo, assembler: Assembler) -> None:
        table = todo.table
        codec = self._codecs.get(table.qualified)
        if codec is None:
            codec = self._codecs[table.qualified] = SelectCodec(table, mariadb=self._mariadb)
        after = tuple(part or "" for part in self.progress[table.qualified].after)
        wanted = todo.part or KeyRange(after=after)
        low = assembler.seen()
        if todo.by_keys:
            pace = self._key_paces.setdefault(table.qualified, Pace(max_rows=KEYS_AT_ONCE))
            keys = self.unread.take(table.qualified, pace.chunk_rows())
            reading = self._reader.begin(table, codec, wanted, 0, low, keys)
        else:
            if table.qualified != self.newest.table:
                self._pace.begin_table()
            limit = self._pace.chunk_rows() if table.chunk_key else WHOLE_TABLE_MAX_ROWS + 1
            reading = self._reader.begin(table, codec, wanted, limit, low)
        self.window = Window(table, codec, reading, todo.part, todo.by_keys)

    @staticmethod
    def _note(window: Window, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.table == window.table.qualified and run.op in OPERATIONS:
                for body in run.bodies:
                    keys = _decode_keys(body)
                    window.touched.update((keys.place, keys.old_place))

    def _note_late(self, assembler: Assembler) -> None:
        """Note rows that a SELECT may not show yet, although the binlog has their XA COMMIT."""
        for table in assembler.xa.late_tables:
            self._late.begin(table)
        for run in assembler.runs if assembler.xa.late_tables else ():
            is_read = run.table in self._unread or run.table in self._in_ranges
            for body in run.bodies if is_read and run.op in OPERATIONS else ():
                keys = _decode_keys(body)
                self._late.note(run.table, keys.place, keys.old_place)
        assembler.xa.late_tables.clear()

    def _put_in_line(self, window: Window, chunk: Chunk, assembler: Assembler) -> int:
        table = window.table
        if not table.chunk_key and not chunk.done:
            raise UsageError(
                too_many_rows(table),
                fix="add a primary key, or run with --no-snapshot",
                table=table.qualified,
            )
        if window.by_keys and chunk.is_cut:
            # Of rows this large fewer are read at once: all of these again.
            self.unread.put_back(table.qualified)
            self._key_paces[table.qualified].took(len(chunk.rows), chunk.size_bytes, chunk.took_s)
            self.window = None
            return 0
        try:
            rows = window.codec.rows(chunk.rows)
        except PositionLostError as error:
            error.table = table.qualified
            raise
        if window.touched:
            rows = [row for row in rows if _decode_keys(row).place not in window.touched]
        if not window.by_keys and (late := self._late.of(table.qualified)):
            rows = [row for row in rows if _decode_keys(row).place not in late]
        if rows:
            run = assembler.snapshot_run(table.qualified, rows, read_us=chunk.read_us)
            assembler.runs.append(run)
        if window.by_keys:
            # A row that is not there is gone in the binlog, before the SELECT or after it.
            self.unread.done(table.qualified)
            self.windows += 1
            self._note_unread()
            pace = self._key_paces[table.qualified]
        else:
            self._move(table.qualified, chunk, window.rows)
            pace = self._pace
        pace.took(len(chunk.rows), chunk.size_bytes, chunk.took_s)
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
