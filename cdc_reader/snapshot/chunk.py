"""One chunk of a table: the SELECT by key, and the watermarks around it.

Blocking IO, for a thread (`ChunkReader`); `cdc_reader.snapshot.key_range` makes the SQL.
See docs/adr/0006-snapshot-in-line.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.errors import CdcError, PositionLostError, UnavailableError
from cdc.message import KeyRange
from cdc.mysql.connection import connect
from cdc.position import MySqlGtidSet, Watermark, file_number
from cdc.settings import Settings
from cdc.table import Column, Table
from cdc_reader.resume.server_log import VISIBLE_WAIT_S, log_status, not_purged
from cdc_reader.rows.result_set import fetch_rows
from cdc_reader.rows.select_codec import CONNECTION, SelectCodec, SelectedRow
from cdc_reader.snapshot.key_range import chunk_columns, estimate_of, select_of

_DEFINITION_CHANGED = {1054, 1146, 1412}
"""ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE, ER_TABLE_DEF_CHANGED."""

CHUNK_MAX_BYTES = 16 << 20
"""A chunk ends with the row that reaches it: of large rows, few wait in memory."""

_SELECT_DENIED = {1142, 1143}
"""ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows of one SELECT, and where the binlog ended after it: it saw nothing beyond."""

    rows: list[SelectedRow]
    """Columns of `SelectCodec.select_list`, then those of the chunk key."""
    after: tuple[str, ...]
    """Chunk key of the last row, as text; empty when the table has none."""
    done: bool
    """It was the rest of what was asked for."""
    high: Watermark
    size_bytes: int
    read_us: int
    """When it was read, in microseconds since 1970."""
    took_s: float = 0.0
    """How long the SELECT took, its rows included."""
    about_rows: int = 0
    """How many rows the server thinks the whole or the range has; 0: not its first chunk."""
    is_cut: bool = False
    """It has fewer rows than asked for, because these are large."""


class ChunkReader:
    """Reads chunks on one connection of its own; blocking, for a thread."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        mariadb: bool,
        gtid: bool,
        translate: Callable[[BaseException], CdcError] | None = None,
    ) -> None:
        """Take what opens a connection with `select_codec.CONNECTION` settings.

        Args:
            translate: a MySQL error in words, such as `connection.translated`.
        """
        self._connect = connect
        self._translate = translate
        self._mariadb = mariadb
        self._gtid = gtid
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        raw: Any = connection
        # Not close(): it would talk to a server that may be frozen, from under the thread
        # that reads; the shutdown wakes that thread.
        with suppress(OSError, AttributeError):
            raw._sock.shutdown(socket.SHUT_RDWR)
        raw._force_close()

    def begin(
        self,
        table: Table,
        codec: SelectCodec,
        rows: KeyRange,
        limit: int,
        low: Watermark,
        keys: Sequence[KeyRange] = (),
    ) -> asyncio.Future[Chunk]:
        """Begin to `read` in a thread of the running loop."""
        reading = asyncio.get_running_loop().run_in_executor(
            None, self.read, table, codec, rows, limit, low, keys
        )
        # The loop may end before anybody asks; asyncio would print the error with its trace.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading

    def read(
        self,
        table: Table,
        codec: SelectCodec,
        rows: KeyRange,
        limit: int,
        low: Watermark,
        keys: Sequence[KeyRange] = (),
    ) -> Chunk:
        """Return the first rows of a range, all changes up to `low` included.

        Args:
            keys: all rows of these ranges instead.

        Raises:
            UnavailableError: MySQL does not answer or does not get there in time.
            PositionLostError: the table, or a column of it, is gone.
            CdcError: MySQL refuses; see `translate`.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                return self._read(cursor, table, codec, rows, limit, low, keys)
        except (pymysql.MySQLError, OSError) as error:
            self.close()
            raise self._in_words(table, error) from None
        except AttributeError:
            if self._connection is not None:
                raise
            # PyMySQL, when `close` took the socket away meanwhile; no caller waits for this.
            raise UnavailableError("the connection was closed") from None

    def _in_words(self, table: Table, error: Exception) -> CdcError:
        number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
        if number in _DEFINITION_CHANGED:
            return PositionLostError(
                f"the rows of {table.qualified} cannot be read any more: the table or a column "
                f"of it is gone (MySQL error {number})",
                safe="what was read before was published; nothing was skipped",
                fix="start cdc again: it reads the table's definition again and resumes\n"
                "where it was; name other tables or columns if these are gone",
                table=table.qualified,
            )
        if number and self._translate is not None:
            found = self._translate(error)
            found.table = table.qualified if number in _SELECT_DENIED else ""
            return found
        return UnavailableError(f"reading {table.qualified}: MySQL error {number or error}")

    def _read(
        self,
        cursor: pymysql.cursors.Cursor,
        table: Table,
        codec: SelectCodec,
        wanted: KeyRange,
        limit: int,
        low: Watermark,
        keys: Sequence[KeyRange],
    ) -> Chunk:
        columns = chunk_columns(table)
        is_begun = bool(wanted.after or keys)
        about = 0 if is_begun else about_rows(cursor.connection, table, wanted)
        sql, bound = select_of(table, codec, wanted, limit, keys)
        is_one = len(keys) == 1 and keys[0].first == keys[0].last
        most_bytes = CHUNK_MAX_BYTES if table.chunk_key and not is_one else 0
        if self._mariadb:
            self._consistent_snapshot(cursor, low)
            rows, took_s = _timed(cursor, sql, bound, most_bytes)
            if cursor.connection.open:
                cursor.execute("COMMIT")
        elif self._gtid:
            cursor.execute(
                "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (str(low.gtid_set), VISIBLE_WAIT_S)
            )
            if int(_one(cursor)[0] or 1):
                raise UnavailableError("MySQL does not show what its binlog has")
            rows, took_s = _timed(cursor, sql, bound, most_bytes)
        else:
            # Without GTIDs nothing can be waited for; a locking read itself waits for
            # every transaction that is in the binlog and not yet visible.
            rows, took_s = _timed(cursor, sql + " FOR SHARE", bound, most_bytes)
        if is_cut := not cursor.connection.open:
            self._connection = self._connect()
            cursor = self._connection.cursor()
        # Not the SELECT's own position: what is in the binlog may be published already, on
        # another connection, though no SELECT shows it yet; a row must not go out before it.
        file, offset, executed = log_status(cursor)
        gtid_set = None
        if self._gtid and not self._mariadb:
            gtid_set = MySqlGtidSet.parse(not_purged(cursor, executed))
        high = Watermark(gtid_set=gtid_set, place=(file_number(file), offset))
        chunk = chunk_of(rows, columns, limit, high)
        done = chunk.done and not is_cut
        return dataclasses.replace(chunk, done=done, took_s=took_s, about_rows=about, is_cut=is_cut)

    @staticmethod
    def _consistent_snapshot(cursor: pymysql.cursors.Cursor, low: Watermark) -> None:
        """Begin a read view that has all up to `low`: MariaDB tells its exact place."""
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
                return
            cursor.execute("COMMIT")
            if time.monotonic() > deadline:
                raise UnavailableError("MariaDB does not show what its binlog has")
            time.sleep(0.005)


def chunk_connection(settings: Settings) -> Any:
    """Return a connection that reads chunks as `select_codec` wants them.

    Raises:
        CdcError: MySQL does not answer, or refuses.
    """
    return connect(settings.mysql, **CONNECTION)


def about_rows(connection: Connection, table: Table, wanted: KeyRange) -> int:
    """Return how many rows the server thinks a range has.

    Raises:
        pymysql.MySQLError: it refuses a key, or the connection broke.
    """
    sql, bound = estimate_of(table, wanted)
    with connection.cursor() as cursor:
        cursor.execute(sql, tuple(bound))
        names = [str(column[0]).lower() for column in cursor.description]
        row = dict(zip(names, cursor.fetchone() or (), strict=False))
    return int(row.get("rows") or 0)


def _timed(
    cursor: pymysql.cursors.Cursor, sql: str, bound: Sequence[str], most_bytes: int
) -> tuple[list[SelectedRow], float]:
    began_s = time.monotonic()
    rows = fetch_rows(cursor.connection, sql, bound, most_bytes=most_bytes)
    return rows, time.monotonic() - began_s


def _one(cursor: pymysql.cursors.Cursor) -> SelectedRow:
    row = cursor.fetchone()
    if row is None:
        raise UnavailableError("MySQL answers nothing")
    return tuple(row)


def chunk_of(
    rows: list[SelectedRow], columns: Sequence[Column], limit: int, high: Watermark
) -> Chunk:
    """Return what was read just now, and whether it was the rest."""
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
