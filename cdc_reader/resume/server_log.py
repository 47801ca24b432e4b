"""Extent of a server's binlog, and where it ends, by SQL."""

from __future__ import annotations

import re
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from cdc.errors import UnavailableError
from cdc.mysql.connection import STATEMENT_REFUSED
from cdc.position import MariaDbState, MySqlGtidSet, Position
from cdc_reader.resume.resume import FileStart, ServerLog

VISIBLE_WAIT_S = 10
EVENTS_AT_ONCE = 1000
_EXECUTING_COMMAND = 1220
_GTID_NEXT = re.compile(r"GTID_NEXT= *'([^']+:\d+)'")
_OWNER = re.compile(r"#\d+")
"""``7271…:8004#12``: the thread that commits it."""


def read_server_log(
    connection: Connection, *, mariadb: bool, gtid: bool, server: str, exact: bool = False
) -> ServerLog:
    """Return what the server's binlog holds.

    Args:
        exact: its GTID set has everything before the newest position, and nothing that begins
            there.

    Raises:
        UnavailableError: MySQL does not finish a commit.
        pymysql.MySQLError: a statement is refused.
    """
    with connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        oldest_file = _text((cursor.fetchone() or ("",))[0])
        file, offset, executed = log_status(cursor)
        purged = None
        gtid_set = None
        state = None
        if mariadb:
            # The exact set costs the server a look through the file.
            if exact:
                cursor.execute("SELECT BINLOG_GTID_POS(%s, %s)", (file, offset))
            else:
                cursor.execute("SELECT @@global.gtid_binlog_pos")
            gtid_set = _text((cursor.fetchone() or ("",))[0]) or None
            cursor.execute("SELECT @@global.gtid_binlog_state")
            state = MariaDbState(_text((cursor.fetchone() or ("",))[0]))
        elif gtid:
            gtid_set = executed
            if exact:
                gtid_set = _executed_up_to_now(cursor)
                offset = _after_executed(cursor, file, offset, MySqlGtidSet.parse(gtid_set))
            cursor.execute("SELECT @@global.gtid_purged")
            purged = MySqlGtidSet.parse(_text((cursor.fetchone() or ("",))[0]))
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Com_xa_commit'")
        _, xa_commits = cursor.fetchone() or ("", "0")
    newest = Position(file=file, offset=offset, gtid_set=gtid_set)
    return ServerLog(
        mariadb=mariadb,
        server=server,
        newest=newest,
        purged=purged,
        oldest_file=oldest_file,
        state=state,
        has_xa=_text(xa_commits) != "0",
    )


def _executed_up_to_now(cursor: Cursor) -> str:
    """Return `gtid_executed` when it has all that is in the binlog at the time of the call.

    A GTID that exists and is not executed is owned by the session that commits it.
    """
    cursor.execute("SELECT @@global.gtid_owned")
    owned = _OWNER.sub("", _text((cursor.fetchone() or ("",))[0]))
    if owned:
        cursor.execute("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (owned, VISIBLE_WAIT_S))
        if int(_text((cursor.fetchone() or (1,))[0])):
            raise UnavailableError(f"MySQL has not committed {owned[:80]} yet")
    cursor.execute("SELECT @@global.gtid_executed")
    return _text((cursor.fetchone() or ("",))[0])


def _after_executed(cursor: Cursor, file: str, offset: int, executed: MySqlGtidSet) -> int:
    """Return where the first transaction after a place begins that the set lacks.

    The set was asked for after the place, so it may have what was committed in between.  A reader
    that is cut off before it moves would find an older transaction at its place, as after a RESET.

    Raises:
        UnavailableError: a statement between has text that is not UTF-8; ask for a newer place.
    """
    while True:
        try:
            cursor.execute(
                "SHOW BINLOG EVENTS IN %s FROM %s LIMIT %s", (file, offset, EVENTS_AT_ONCE)
            )
            events = cursor.fetchall()
        except UnicodeDecodeError:
            raise UnavailableError(f"the binlog at {file}:{offset} cannot be shown yet") from None
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in STATEMENT_REFUSED:
                return offset
            raise
        for _, begin, kind, _, end, text in events:
            if "gtid" in _text(kind).lower():
                gtid = _GTID_NEXT.search(_text(text))
                if gtid is None or gtid[1] not in executed:
                    return int(begin)
            offset = int(end)
        if len(events) < EVENTS_AT_ONCE:
            return offset


def wait_until_visible(connection: Connection, gtid_set: str) -> None:
    """Wait until MySQL has executed what came out of its binlog, or for `VISIBLE_WAIT_S`.

    Events reach us before their commit is finished, with semi-synchronous replication long
    before: a reader that begins again at once would miss transactions of its own.

    Raises:
        pymysql.MySQLError: the connection broke.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (gtid_set, VISIBLE_WAIT_S))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return "" if value is None else str(value)


def log_status(cursor: Cursor) -> tuple[str, int, str]:
    """Return file, offset and executed GTID set of the newest position; the last may be empty."""
    try:
        cursor.execute("SHOW BINARY LOG STATUS")
    except pymysql.err.ProgrammingError:  # before MySQL 8.2, and MariaDB
        cursor.execute("SHOW MASTER STATUS")
    row = tuple(cursor.fetchone() or ("", 0, "", "", ""))
    return _text(row[0]), int(_text(row[1])), _text(row[4]) if len(row) > 4 else ""


def not_purged(cursor: Cursor, executed: str) -> str:
    """Return what of a GTID set of MySQL is in its binlog, or will be.

    What ``SET GLOBAL gtid_purged = '+…'`` added is executed, and no event will ever bring it.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    cursor.execute("SELECT GTID_SUBTRACT(%s, @@global.gtid_purged)", (executed,))
    return _text((cursor.fetchone() or ("",))[0]).replace("\n", "")


def file_start(connection: Connection[Any], file: str) -> FileStart | None:
    """Return the header that a binlog file begins with.

    None: the file does not exist or has no such list, or this login may not look.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.

    Source: MySQL manual, "SHOW BINLOG EVENTS"; the second event of a file is Previous_gtids,
    MariaDB's Gtid_list has brackets around it.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute("SHOW BINLOG EVENTS IN %s LIMIT 3", (file,))
        except pymysql.MySQLError as error:
            number = error.args[0] if error.args else 0
            if number == _EXECUTING_COMMAND or number in STATEMENT_REFUSED:
                return None
            raise
        _, listed, third = (*cursor.fetchall(), None, None, None)[:3]
    if listed is None or _text(listed[2]) not in ("Previous_gtids", "Gtid_list"):
        return None
    before = re.sub(r"[\s\[\]]", "", _text(listed[5]))
    if third is None or not (gtid := _GTID_NEXT.search(_text(third[5]))):
        return FileStart(before=before)
    return FileStart(before=before, first_offset=int(third[1]), first_gtid=gtid[1])


def event_at(connection: Connection[Any], file: str, offset: int) -> str | None:
    """Return the server's text of the event that begins at a position, such as its GTID.

    ``SET @@SESSION.GTID_NEXT= '7271…:8004'``; empty: nothing is there yet, the file is
    gone, or this login may not look; None: no event begins there.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute("SHOW BINLOG EVENTS IN %s FROM %s LIMIT 1", (file, offset))
        except UnicodeDecodeError:
            # A place inside an event, whose bytes look like one: a boundary's event is ASCII.
            return None
        except pymysql.MySQLError as error:
            number, text = (*error.args, 0, "")[:2]
            if number == _EXECUTING_COMMAND and "target log" not in str(text):
                return None
            if number == _EXECUTING_COMMAND or number in STATEMENT_REFUSED:
                return ""
            raise
        row = cursor.fetchone()
    return str(row[5]) if row else ""
