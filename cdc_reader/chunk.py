"""One chunk of a table: the SELECT by key, and the watermarks around it.

Blocking IO, for a thread (`ChunkReader`); what makes the SQL is pure.
See docs/adr/0006-snapshot-in-line.md.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.errors import CdcError, PositionLostError, UnavailableError, UsageError
from cdc.position import MySqlGtidSet, Watermark, file_number
from cdc.table import Column, Table
from cdc_reader.result_set import fetch_rows
from cdc_reader.select_codec import Row, SelectCodec, quoted
from cdc_reader.server_log import VISIBLE_WAIT_S, log_status

_NUMBERS = frozenset(
    ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year")
)
_BY_NUMBER = frozenset(("bit", "enum", "set"))
_BYTES = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
_DEFINITION_CHANGED = {1054, 1146, 1412}
"""ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE, ER_TABLE_DEF_CHANGED."""
_NUMBER = re.compile(rb"-?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows of one SELECT, and where the binlog ended after it: it saw nothing beyond."""

    rows: list[Row]
    """Columns of `SelectCodec.select_list`, then those of the chunk key."""
    after: tuple[str, ...]
    """Chunk key of the last row, as text; empty when the table has none."""
    done: bool
    high: Watermark
    size_bytes: int
    read_us: int
    """When it was read, in microseconds since 1970."""


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
        self, table: Table, codec: SelectCodec, after: Sequence[str], limit: int, low: Watermark
    ) -> asyncio.Future[Chunk]:
        """Begin to `read` in a thread of the running loop."""
        reading = asyncio.get_running_loop().run_in_executor(
            None, self.read, table, codec, after, limit, low
        )
        # The loop may end before anybody asks; asyncio would print the error with its trace.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading

    def read(
        self, table: Table, codec: SelectCodec, after: Sequence[str], limit: int, low: Watermark
    ) -> Chunk:
        """Return the rows after a key, all changes up to `low` included.

        Raises:
            UnavailableError: MySQL does not answer or does not get there in time.
            PositionLostError: the table, or a column of it, is gone.
            CdcError: MySQL refuses; what `translate` says.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                return self._read(cursor, table, codec, after, limit, low)
        except (pymysql.MySQLError, OSError) as error:
            self.close()
            raise self._in_words(table, error) from None
        except AttributeError:
            if self._connection is not None:
                raise
            # PyMySQL, when `close` took the socket away meanwhile; nobody waits for us.
            raise UnavailableError("the connection was closed") from None

    def _in_words(self, table: Table, error: Exception) -> CdcError:
        number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
        if number in _DEFINITION_CHANGED:
            return PositionLostError(
                f"the rows of {table.qualified} cannot be read any more: the table or a column "
                f"of it is gone (MySQL error {number})",
                safe="what was read before was published; nothing was skipped",
                remedy="start cdc again: it looks at the table's definition anew and goes on\n"
                "where it was; name other tables or columns if these are gone for good",
            )
        if number and self._translate is not None:
            return self._translate(error)
        return UnavailableError(f"reading {table.qualified}: MySQL error {number or error}")

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
            self._consistent_snapshot(cursor, low)
            rows = fetch_rows(cursor.connection, sql, bound)
            cursor.execute("COMMIT")
        elif self._gtid:
            cursor.execute(
                "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (str(low.gtid_set), VISIBLE_WAIT_S)
            )
            if int(_one(cursor)[0] or 1):
                raise UnavailableError("MySQL does not show what its binlog has")
            rows = fetch_rows(cursor.connection, sql, bound)
        else:
            # Without GTIDs nothing can be waited for; a locking read waits by itself for
            # every transaction that is in the binlog and not yet visible.
            rows = fetch_rows(cursor.connection, sql + " FOR SHARE", bound)
        # Not where the SELECT stood: what is in the binlog may have been published before, on
        # another connection, though no SELECT shows it yet; a row must not go out before it.
        file, offset, executed = log_status(cursor)
        gtid_set = MySqlGtidSet.parse(executed) if self._gtid and not self._mariadb else None
        high = Watermark(gtid_set=gtid_set, place=(file_number(file), offset))
        return chunk_of(rows, columns, limit, high)

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


def _select(
    table: Table, codec: SelectCodec, columns: Sequence[Column], after: Sequence[str], limit: int
) -> tuple[str, list[str]]:
    keys = [_printed(column) for column in columns]
    where, bound = after_clause(columns, after)
    order = " ORDER BY " + ", ".join(map(key_expression, columns)) if columns else ""
    name = f"{quoted(table.schema)}.{quoted(table.name)}"
    what = ", ".join([codec.select_list, *keys])
    return f"SELECT {what} FROM {name}{where}{order} LIMIT {limit}", bound


def _printed(column: Column) -> str:
    """Return what to select so that its text is exactly the key's last value."""
    if column.data_type in _BYTES:
        return f"HEX({quoted(column.name)})"
    # FLOAT alone is printed with six digits, which is another number: rows would be read
    # twice for ever, or not at all.
    return key_expression(column) + ("*1e0" if column.data_type == "float" else "")


def _one(cursor: pymysql.cursors.Cursor) -> Row:
    row = cursor.fetchone()
    if row is None:
        raise UnavailableError("MySQL answers nothing")
    return tuple(row)


def chunk_of(rows: list[Row], columns: Sequence[Column], limit: int, high: Watermark) -> Chunk:
    """Return what was read just now, and whether it was the rest of the table."""
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
