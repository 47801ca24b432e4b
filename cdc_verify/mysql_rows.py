"""Rows of MySQL, as the server prints them, and where its binlog ends after them.

Blocking IO, for a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from cdc.errors import CdcError, UnavailableError
from cdc.position import file_number
from cdc.table import Table
from cdc_verify.boundary import Boundary, LogPosition
from cdc_verify.expected import PrintedRow
from cdc_verify.inverse import Condition
from cdc_verify.select import Selects, Statement

CONNECTION: dict[str, Any] = {
    "charset": "utf8mb4",
    "use_unicode": False,
    "conv": {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)},
}
"""Arguments of a connection: text as UTF-8, every value as the bytes that are printed."""
VISIBLE_WAIT_S = 10.0
CONDITIONS_AT_ONCE = 500
_LOCKED = {1205, 1213}
"""ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK."""
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""Bytes of a length that does not fit in one."""
_READ_BYTES = 1 << 18
_WRONG_LITERAL = {1292, 1525}
"""ER_TRUNCATED_WRONG_VALUE, ER_WRONG_VALUE: no column of that type holds what is asked for."""


class MySqlRows:
    """Reads rows on one connection, opened when it is first needed."""

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        translate: Callable[[BaseException], CdcError],
        *,
        mariadb: bool,
        gtid: bool,
    ) -> None:
        """Take what opens a connection with `CONNECTION` settings, and puts its errors in words.

        The session has to print times in UTC and no value padded, and to be at
        REPEATABLE READ, whatever the server's defaults are.
        """
        self._open, self._translate = connect, translate
        self._mariadb, self._gtid = mariadb, gtid
        self._connection: Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection; what a thread reads from it ends."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, AttributeError):
                connection._force_close()  # type: ignore[attr-defined]  # not in the stubs

    def about_rows(self, table: Table) -> int | None:
        """Return how many rows a table has, more or less; None: MySQL does not say.

        Raises:
            CdcError: MySQL refuses or does not answer.
        """
        sql = (
            "SELECT table_rows FROM information_schema.tables"
            " WHERE table_schema = %s AND table_name = %s"
        )
        with _InWords(self) as connection:
            found = _asked(connection, sql, (table.schema, table.name))
        return int(found[0][0]) if found and found[0][0] is not None else None

    def rows(self, statement: Statement) -> list[PrintedRow]:
        """Return the rows of a SELECT.

        Raises:
            CdcError: MySQL refuses or does not answer.
        """
        with _InWords(self) as connection:
            return _fetched(connection, statement)[0]

    def first_rows(self, statement: Statement, most_bytes: int) -> tuple[list[PrintedRow], bool]:
        """Return the first rows of a SELECT up to a size, and whether the rest was left out.

        Raises:
            CdcError: MySQL refuses or does not answer.
        """
        with _InWords(self) as connection:
            rows, is_cut = _fetched(connection, statement, most_bytes)
        if is_cut:
            self.close()  # what is left out is on its way there
        return rows, is_cut

    def found(self, selects: Selects, conditions: Sequence[Condition]) -> list[PrintedRow]:
        """Return the rows that conditions find.

        Raises:
            CdcError: MySQL refuses or does not answer.
        """
        with _InWords(self) as connection:
            return [
                row
                for some in self._found(connection, selects, conditions, locking=False)
                for row in some
            ]

    def rows_behind(
        self, boundary: Boundary, selects: Selects, conditions: Sequence[Condition]
    ) -> tuple[list[list[PrintedRow]], LogPosition]:
        """Return rows that have all changes up to a boundary, and a position after all they have.

        The rows of each SELECT for themselves: two of them may find the same one.

        Raises:
            CdcError: MySQL refuses, does not answer, or does not get to the boundary in time.
        """
        with _InWords(self) as connection:
            self._wait(connection, boundary)
            # Without GTIDs nothing can be waited for; a locking read waits by itself for every
            # transaction that is in the binlog and not yet visible.
            locking = not self._mariadb and not self._gtid
            rows = self._found(connection, selects, conditions, locking=locking)
            if self._mariadb:
                _asked(connection, "COMMIT")
            return rows, place_of(connection)

    def _found(
        self,
        connection: Connection[Any],
        selects: Selects,
        conditions: Sequence[Condition],
        *,
        locking: bool,
    ) -> list[list[PrintedRow]]:
        rows: list[list[PrintedRow]] = []
        for at in range(0, len(conditions), CONDITIONS_AT_ONCE):
            some = conditions[at : at + CONDITIONS_AT_ONCE]
            try:
                rows.append(_patiently(connection, selects.rows(some, locking=locking)))
            except pymysql.MySQLError as error:
                if not error.args or error.args[0] not in _WRONG_LITERAL:
                    raise
                # A value that no row can have: the others are asked for without it.
                for half in (some[: len(some) // 2], some[len(some) // 2 :]):
                    if len(some) > 1:
                        rows += self._found(connection, selects, half, locking=locking)
        return rows

    def _wait(self, connection: Connection[Any], boundary: Boundary) -> None:
        if self._mariadb:
            _begin_behind(connection, boundary.place)
        elif not self._gtid:
            # Only row locks, none on the gaps between rows: no insert waits.
            _asked(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        elif boundary.gtid_set:
            sql = "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)"
            ((timed_out,),) = _asked(connection, sql, (boundary.gtid_set, VISIBLE_WAIT_S))
            if int(timed_out or 1):
                raise UnavailableError("MySQL does not show what its binlog has")


class _InWords:
    """A connection whose errors come out in words; it is closed by each."""

    def __init__(self, side: MySqlRows) -> None:
        self._side = side

    def __enter__(self) -> Connection[Any]:
        side = self._side
        if side._connection is None:
            side._connection = side._open()
        return side._connection

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        self._side.close()
        if isinstance(error, pymysql.MySQLError | OSError):
            raise self._side._translate(error) from None


def _begin_behind(connection: Connection[Any], place: LogPosition) -> None:
    """Begin a read view that has all up to a place: MariaDB reports its exact position."""
    deadline_s = time.monotonic() + VISIBLE_WAIT_S
    while True:
        _asked(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        status = {
            bytes(name).decode().lower(): bytes(value).decode()
            for name, value in _asked(connection, "SHOW STATUS LIKE 'binlog_snapshot%'")
        }
        file, offset = status["binlog_snapshot_file"], status["binlog_snapshot_position"]
        if (file_number(file), int(offset)) >= place:
            return
        _asked(connection, "COMMIT")
        if time.monotonic() > deadline_s:
            raise UnavailableError("MariaDB does not show what its binlog has")
        time.sleep(0.005)


def place_of(connection: Connection[Any]) -> LogPosition:
    """Return where the binlog ends."""
    try:
        (row, *_) = _asked(connection, "SHOW BINARY LOG STATUS")
    except pymysql.err.ProgrammingError:  # before MySQL 8.2, and MariaDB
        (row, *_) = _asked(connection, "SHOW MASTER STATUS")
    return LogPosition(file_number(bytes(row[0]).decode()), int(row[1]))


def _asked(
    connection: Connection[Any], sql: str, bound: Sequence[Any] | None = None
) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, tuple(bound) if bound is not None else None)
        return list(cursor.fetchall())


def _patiently(connection: Connection[Any], statement: Statement) -> list[PrintedRow]:
    """Return the rows of a SELECT that may meet locks: it is the one that gives way."""
    for pause_s in (0.01, 0.05, 0.1, 0.5, 1.0):
        try:
            return _fetched(connection, statement)[0]
        except pymysql.MySQLError as error:
            if not error.args or error.args[0] not in _LOCKED:
                raise
            time.sleep(pause_s)
    return _fetched(connection, statement)[0]


def _fetched(
    connection: Connection[Any], statement: Statement, most_bytes: int = 0
) -> tuple[list[PrintedRow], bool]:
    with SSCursor(connection) as cursor:
        # A tuple even when it is empty: PyMySQL then turns %% into % as well.
        cursor.execute(statement.sql, statement.bound)
        # The columns are described; the rows are still to come.
        stream = connection._rfile  # type: ignore[attr-defined]  # not in the stubs
        rows, refusal = _cut(lambda: stream.read1(_READ_BYTES), statement.columns, most_bytes)
        result = cursor._result  # type: ignore[attr-defined]  # not in the stubs
        result.unbuffered_active, result.connection = False, None
    if refusal:
        pymysql.err.raise_mysql_exception(refusal)
    return rows, refusal is None


def _cut(
    read: Callable[[], bytes], columns: int, most_bytes: int = 0
) -> tuple[list[PrintedRow], bytes | None]:
    """Return rows, and the packet with the server's refusal if it ends them.

    None in its place: `most_bytes` have come, and the rest is left out.

    The text protocol: each row is a packet (length in three bytes, number) with a text for
    each column, its length before it; 0xfb is NULL.  A short packet 0xfe is the end, 0xff a
    refusal.  A packet of 2^24-1 bytes continues in the next.
    Source: MySQL source documentation, "Text Resultset Row", "Protocol::LengthEncodedInteger".
    """
    rows: list[PrintedRow] = []
    pieces: list[bytes] = []
    size = needed = came_bytes = 0
    append = rows.append
    while not (most_bytes and came_bytes >= most_bytes and rows):
        data = read()
        if not data:
            raise UnavailableError("MySQL closed the connection in the middle of a SELECT")
        pieces.append(data)
        size, came_bytes = size + len(data), came_bytes + len(data)
        if size < needed:
            continue
        held, at = b"".join(pieces), 0
        while at + 4 <= size:
            stop = at + 4 + (held[at] | held[at + 1] << 8 | held[at + 2] << 16)
            if stop > size:
                break
            first = held[at + 4]
            if stop - at >= 0xFFFFFF:
                whole, stop = _joined(held, at)
                if not stop:
                    break
                append(_values(whole, 0, columns))
                at = stop
                continue
            if first >= 0xFE:
                if first == 0xFF:
                    return rows, held[at + 4 : stop]
                if stop - at < 13:
                    return rows, b""
            append(_values(held, at + 4, columns))
            at = stop
        pieces, size, needed = [held[at:]], size - at, _needed(held, at)
    return rows, None


def _needed(held: bytes, at: int) -> int:
    """Return how many bytes the row that begins there takes, as far as its packets tell."""
    begin, length = at, 0xFFFFFF
    while length == 0xFFFFFF and at + 4 <= len(held):
        length = int.from_bytes(held[at : at + 3], "little")
        at += 4 + length
    return at - begin


def _joined(held: bytes, at: int) -> tuple[bytes, int]:
    """Return a row of several packets, and where the next begins; 0: it is not whole yet."""
    parts: list[bytes] = []
    while at + 4 <= len(held):
        length = int.from_bytes(held[at : at + 3], "little")
        if at + 4 + length > len(held):
            break
        parts.append(held[at + 4 : at + 4 + length])
        at += 4 + length
        if length < 0xFFFFFF:
            return b"".join(parts), at
    return b"", 0


def _values(data: bytes, at: int, columns: int) -> PrintedRow:
    """Return the row whose first value begins at ``data[at:]``."""
    row: list[bytes | None] = []
    append = row.append
    for _ in range(columns):
        size = data[at]
        at += 1
        if size >= 0xFB:
            if size == 0xFB:
                append(None)
                continue
            width = _WIDTHS[size]
            size = int.from_bytes(data[at : at + width], "little")
            at += width
        append(data[at : at + size])
        at += size
    return row
