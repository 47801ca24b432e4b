"""Reading the rows that are there, in line with the changes, while both move.

A chunk is one SELECT by key.  Its rows may enter the stream only where none of them is
older than what the stream has: the chunk is read after everything published is visible
(low watermark), the place in the binlog is noted after the read (high watermark), and when
the reader has passed it, the rows go out without those that a change touched meanwhile.
No lock and no write on the source (one exception below); no row ever goes backwards.
See docs/adr/0006-snapshot-in-line.md.

`read_chunk` is blocking IO and runs in a thread; `Snapshot` decides and does none.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import pymysql
from pymysql.connections import Connection

from cdc.errors import UnavailableError, UsageError
from cdc.message import TableProgress
from cdc.position import MySqlGtidSet, file_number
from cdc.table import Column, Table
from cdc_reader.lanes import Run
from cdc_reader.select_codec import Row, SelectCodec
from cdc_reader.transaction import Assembler, Watermark

VISIBLE_WAIT_S = 10
CHUNK_FIRST_ROWS = 500
CHUNK_TARGET_BYTES = 1_500_000
WHOLE_TABLE_MAX_ROWS = 100_000
"""A table without a unique key is read at once; more rows would not fit in memory."""

_NUMBERS = frozenset(
    ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year")
)
_BY_NUMBER = frozenset(("bit", "enum", "set"))
_BYTES = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
_NUMBER = re.compile(rb"-?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)


class _Keys(msgspec.Struct):
    """The keys of a message, for the window; the rest is not looked at."""

    key: str = ""
    old_key: str | None = None


_decode_keys = msgspec.json.Decoder(_Keys).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows of one SELECT, and the place in the binlog that it surely does not see beyond."""

    rows: list[Row]
    """Columns of `SelectCodec.select_list`, then those of the chunk key."""
    after: tuple[str, ...]
    """Chunk key of the last row, as text; empty when the table has none."""
    done: bool
    high: Watermark
    size_bytes: int
    read_us: int
    """When it was read, in microseconds since 1970."""


def quoted(name: str) -> str:
    """Return an identifier of the catalog as SQL.

    >>> quoted("a`b")
    '`a``b`'
    """
    return "`" + name.replace("`", "``") + "`"


def key_expression(column: Column) -> str:
    """Return what a chunk is ordered and compared by: ENUM, SET and BIT by their number."""
    return quoted(column.name) + ("+0" if column.data_type in _BY_NUMBER else "")


def key_literal(column: Column, text: str) -> tuple[str, tuple[str, ...]]:
    """Return SQL and its bound values for one part of a chunk key.

    Numbers stand unquoted, because a string would be compared as a floating-point number.
    Source: MySQL manual, "Type Conversion in Expression Evaluation".

    Raises:
        UsageError: the text is not what the column's type prints.
    """
    if column.data_type in _BYTES:
        return "UNHEX(%s)", (text,)
    if column.data_type in _NUMBERS | _BY_NUMBER:
        if not _NUMBER.fullmatch(text.encode()):
            raise UsageError(f"not a value of column {column.name!r}")
        return text, ()
    return "%s", (text,)


def after_clause(columns: Sequence[Column], after: Sequence[str]) -> tuple[str, list[str]]:
    """Return the WHERE clause for rows after a key, in the form that uses the index.

    >>> column = Column(name="id", data_type="int", column_type="int", charset=None, nullable=False)
    >>> after_clause([column], ["7"])
    (' WHERE ((`id` > 7))', [])
    """
    if not after:
        return "", []
    alternatives: list[str] = []
    bound: list[str] = []
    for last in range(len(columns)):
        terms: list[str] = []
        for column, text in zip(columns[: last + 1], after, strict=False):
            sql, values = key_literal(column, text)
            sign = ">" if column is columns[last] else "="
            terms.append(f"{key_expression(column)} {sign} {sql}")
            bound.extend(values)
        alternatives.append("(" + " AND ".join(terms) + ")")
    return f" WHERE ({' OR '.join(alternatives)})", bound


class ChunkReader:
    """Reads chunks on one connection of its own; blocking, for a thread."""

    def __init__(self, connect: Callable[[], Connection], *, mariadb: bool, gtid: bool) -> None:
        """Take what opens a connection with `select_codec.CONNECTION` settings."""
        self._connect = connect
        self._mariadb = mariadb
        self._gtid = gtid
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read(
        self, table: Table, codec: SelectCodec, after: Sequence[str], limit: int, low: Watermark
    ) -> Chunk:
        """Return the rows after a key, all changes up to `low` included.

        Raises:
            UnavailableError: MySQL does not answer or does not get there in time.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                return self._read(cursor, table, codec, after, limit, low)
        except pymysql.MySQLError as error:
            self.close()
            raise UnavailableError(
                f"reading {table.qualified}: MySQL error {error.args[0] if error.args else ''}"
            ) from None

    def _read(
        self,
        cursor: pymysql.cursors.Cursor,
        table: Table,
        codec: SelectCodec,
        after: Sequence[str],
        limit: int,
        low: Watermark,
    ) -> Chunk:
        columns = [c for name in table.chunk_key for c in table.columns if c.name == name]
        sql, bound = _select(table, codec, columns, after, limit)
        if self._mariadb:
            high = self._consistent_snapshot(cursor, low)
            rows = _rows(cursor, sql, bound)
            cursor.execute("COMMIT")
        elif self._gtid:
            cursor.execute(
                "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (str(low.gtid_set), VISIBLE_WAIT_S)
            )
            if int(_one(cursor)[0] or 1):
                raise UnavailableError("MySQL does not show what its binlog has")
            rows = _rows(cursor, sql, bound)
            cursor.execute("SELECT @@global.gtid_executed")
            executed = MySqlGtidSet.parse((_one(cursor)[0] or b"").decode())
            high = Watermark(gtid_set=executed, place=(0, 0))
        else:
            # Without GTIDs nothing can be waited for; a locking read waits by itself for
            # every transaction that is in the binlog and not yet visible.
            rows = _rows(cursor, sql + " FOR SHARE", bound)
            high = Watermark(gtid_set=None, place=_log_status(cursor))
        return _chunk(rows, columns, limit, high)

    def _consistent_snapshot(self, cursor: pymysql.cursors.Cursor, low: Watermark) -> Watermark:
        """Begin a read view whose exact place in the binlog MariaDB tells."""
        deadline = time.monotonic() + VISIBLE_WAIT_S
        while True:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            cursor.execute("SHOW STATUS LIKE 'binlog_snapshot%'")
            status = {bytes(n).decode().lower(): bytes(v).decode() for n, v in cursor.fetchall()}
            place = (
                file_number(status["binlog_snapshot_file"]),
                int(status["binlog_snapshot_position"]),
            )
            if place >= low.place:
                return Watermark(gtid_set=None, place=place)
            cursor.execute("COMMIT")
            if time.monotonic() > deadline:
                raise UnavailableError("MariaDB does not show what its binlog has")
            time.sleep(0.005)


def _select(
    table: Table, codec: SelectCodec, columns: Sequence[Column], after: Sequence[str], limit: int
) -> tuple[str, list[str]]:
    keys = [
        f"HEX({quoted(c.name)})" if c.data_type in _BYTES else key_expression(c) for c in columns
    ]
    where, bound = after_clause(columns, after)
    order = " ORDER BY " + ", ".join(map(key_expression, columns)) if columns else ""
    name = f"{quoted(table.schema)}.{quoted(table.name)}"
    what = ", ".join([codec.select_list, *keys])
    return f"SELECT {what} FROM {name}{where}{order} LIMIT {limit}", bound


def _rows(cursor: pymysql.cursors.Cursor, sql: str, bound: list[str]) -> list[Row]:
    # PyMySQL formats with % only when values are given.
    cursor.execute(sql, bound) if bound else cursor.execute(sql.replace("%%", "%"))
    return list(cursor.fetchall())


def _one(cursor: pymysql.cursors.Cursor) -> Row:
    row = cursor.fetchone()
    if row is None:
        raise UnavailableError("MySQL answers nothing")
    return tuple(row)


def _log_status(cursor: pymysql.cursors.Cursor) -> tuple[int, int]:
    try:
        cursor.execute("SHOW BINARY LOG STATUS")
    except pymysql.err.ProgrammingError:  # before 8.2
        cursor.execute("SHOW MASTER STATUS")
    file, offset, *_ = _one(cursor)
    return file_number(bytes(file or b"").decode()), int(offset or 0)


def _chunk(rows: list[Row], columns: Sequence[Column], limit: int, high: Watermark) -> Chunk:
    after: tuple[str, ...] = ()
    if rows and columns:
        after = tuple(bytes(part or b"").decode() for part in rows[-1][-len(columns) :])
    size_bytes = sum(len(value) for row in rows for value in row if value is not None)
    return Chunk(
        rows=rows,
        after=after,
        done=len(rows) < limit,
        high=high,
        size_bytes=size_bytes,
        read_us=time.time_ns() // 1000,
    )


@dataclass(slots=True)
class _Window:
    """The chunk that is being read, and the keys that changes touched since."""

    table: Table
    codec: SelectCodec
    reading: asyncio.Future[Chunk]
    limit: int
    touched: set[str] = field(default_factory=set)


class Snapshot:
    """Which table is read next, and which of a chunk's rows may go out."""

    def __init__(
        self,
        tables: Iterable[Table],
        progress: dict[str, TableProgress],
        reader: ChunkReader,
        *,
        mariadb: bool,
        chunk_max_rows: int,
    ) -> None:
        """Go on where `progress`, from the newest heartbeat, says."""
        self.progress = progress
        self._pending = [t for t in tables if not progress[t.qualified].done]
        self._reader = reader
        self._mariadb = mariadb
        self._chunk_max_rows = chunk_max_rows
        self._chunk_rows = min(CHUNK_FIRST_ROWS, chunk_max_rows)
        self._window: _Window | None = None

    @property
    def active(self) -> bool:
        """Whether some table is not read to its end."""
        return bool(self._pending)

    def step(self, assembler: Assembler) -> int:
        """Note what changed, put a finished chunk in line, begin the next; return its rows.

        Raises:
            UnavailableError: the chunk could not be read; the next step tries again.
        """
        if not self._pending:
            return 0
        published_rows = 0
        if (window := self._window) is not None:
            self._note(window, assembler.runs)
            if not window.reading.done():
                return 0
            chunk = self._result(window)
            if not assembler.has_passed(chunk.high):
                return 0
            published_rows = self._put_in_line(window, chunk, assembler)
        if self._pending:
            self._begin(assembler)
        return published_rows

    def _result(self, window: _Window) -> Chunk:
        try:
            return window.reading.result()
        except UnavailableError:
            self._window = None
            raise

    def _begin(self, assembler: Assembler) -> None:
        table = self._pending[0]
        lanes = assembler.lanes
        codec = SelectCodec(
            table, mariadb=self._mariadb, partitions=lanes.partitions if lanes else 1
        )
        after = [part or "" for part in self.progress[table.qualified].after]
        limit = self._chunk_rows if table.chunk_key else WHOLE_TABLE_MAX_ROWS + 1
        reading = asyncio.get_running_loop().run_in_executor(
            None, self._reader.read, table, codec, after, limit, assembler.seen()
        )
        self._window = _Window(table, codec, reading, limit)

    @staticmethod
    def _note(window: _Window, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.table == window.table.qualified and run.op != "schema":
                for body in run.bodies:
                    keys = _decode_keys(body)
                    window.touched.add(keys.key)
                    if keys.old_key is not None:
                        window.touched.add(keys.old_key)

    def _put_in_line(self, window: _Window, chunk: Chunk, assembler: Assembler) -> int:
        table = window.table
        if not table.chunk_key and not chunk.done:
            raise UsageError(
                f"{table.qualified} has more than {WHOLE_TABLE_MAX_ROWS:,} rows and no primary or "
                "unique NOT NULL key, so its rows cannot be read in parts",
                remedy="add a primary key, or run with --no-snapshot",
            )
        rows = chunk.rows
        if window.touched:
            run = assembler.snapshot_run(window.codec, rows, read_us=chunk.read_us, keep=False)
            keys = [_decode_keys(body).key for body in run.bodies]
            rows = [r for r, key in zip(rows, keys, strict=True) if key not in window.touched]
        if rows:
            run = assembler.snapshot_run(window.codec, rows, read_us=chunk.read_us, keep=True)
            assembler.runs.append(run)
        self.progress[table.qualified] = TableProgress(done=chunk.done, after=chunk.after)
        if chunk.done:
            self._pending.pop(0)
        self._adapt(chunk)
        self._window = None
        return len(rows)

    def _adapt(self, chunk: Chunk) -> None:
        if chunk.size_bytes > 2 * CHUNK_TARGET_BYTES:
            self._chunk_rows = max(1, self._chunk_rows // 2)
        elif chunk.size_bytes < CHUNK_TARGET_BYTES // 2:
            self._chunk_rows = min(self._chunk_max_rows, self._chunk_rows * 2)
