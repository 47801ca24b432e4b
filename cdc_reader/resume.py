"""Where to go on: the stream's end against what the server still has.

`resume_from` decides and is pure; `read_server_log` asks the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pymysql
from pymysql.connections import Connection

from cdc.errors import PositionLostError
from cdc.message import TableProgress
from cdc.position import GtidSet, MariaDbGtidSet, MySqlGtidSet, Position, file_number
from cdc_reader.tail import Tail
from cdc_reader.transaction import Resume

START_OVER = "start over as docs/guarantees.md says"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLog:
    """What a server's binlog holds now."""

    mariadb: bool
    server: str
    """``server_uuid``, or ``server_id`` of MariaDB."""
    newest: Position
    purged: MySqlGtidSet | None
    """None: no GTIDs, or MariaDB."""
    oldest_file: str


def read_server_log(connection: Connection, *, mariadb: bool, gtid: bool, server: str) -> ServerLog:
    """Return what the server's binlog holds.

    Raises:
        pymysql.MySQLError: a statement is refused.
    """
    with connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        oldest_file = _text((cursor.fetchone() or ("",))[0])
        file, offset, executed = _log_status(cursor)
        purged = None
        gtid_set = None
        if mariadb:
            cursor.execute("SELECT @@global.gtid_binlog_pos")
            gtid_set = _text((cursor.fetchone() or ("",))[0]) or None
        elif gtid:
            gtid_set = executed
            cursor.execute("SELECT @@global.gtid_purged")
            purged = MySqlGtidSet.parse(_text((cursor.fetchone() or ("",))[0]))
    newest = Position(file=file, offset=offset, gtid_set=gtid_set)
    return ServerLog(
        mariadb=mariadb, server=server, newest=newest, purged=purged, oldest_file=oldest_file
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _log_status(cursor: pymysql.cursors.Cursor) -> tuple[str, int, str]:
    try:
        cursor.execute("SHOW BINARY LOG STATUS")
    except pymysql.err.ProgrammingError:  # before MySQL 8.2, and MariaDB
        cursor.execute("SHOW MASTER STATUS")
    row = tuple(cursor.fetchone() or ("", 0, "", "", ""))
    return _text(row[0]), int(_text(row[1])), _text(row[4]) if len(row) > 4 else ""


def resume_from(tail: Tail, log: ServerLog) -> Resume:
    """Return where to go on.

    A new stream begins at the server's newest position.  Else the newest heartbeat's
    boundary counts, and rows up to the stream's newest message are skipped.

    Raises:
        PositionLostError: the server does not have that place any more, or is another one.
    """
    heartbeat = tail.heartbeat
    if heartbeat is None:
        return Resume(epoch=1, position=log.newest, last="", last_of=tail.last_of)
    position = Position(file=heartbeat.file, offset=heartbeat.offset, gtid_set=heartbeat.gtid_set)
    if heartbeat.server != log.server:
        raise _lost(
            f"the stream follows server {heartbeat.server}, and this is server {log.server}",
            position,
        )
    if log.newest.gtid_set is None or position.gtid_set is None:
        position = Position(file=position.file, offset=position.offset, gtid_set=None)
        _check_place(position, log)
    elif log.mariadb:
        _check_place(position, log)
    else:
        _check_gtids(position, log)
    return Resume(epoch=heartbeat.epoch, position=position, last=tail.last, last_of=tail.last_of)


def _check_gtids(position: Position, log: ServerLog) -> None:
    ours = MySqlGtidSet.parse(position.gtid_set or "")
    if not MySqlGtidSet.parse(log.newest.gtid_set or "").issuperset(ours):
        raise _lost("the server does not know transactions that the stream has (RESET?)", position)
    if log.purged is not None and not ours.issuperset(log.purged):
        raise _lost(f"the server purged its binlog up to {log.purged}", position)


def _check_place(position: Position, log: ServerLog) -> None:
    if file_number(position.file) < file_number(log.oldest_file):
        raise _lost(f"the server purged its binlog before {log.oldest_file}", position)
    newest = (file_number(log.newest.file), log.newest.offset)
    if (file_number(position.file), position.offset) > newest:
        raise _lost(f"the server's binlog ends before, at {log.newest} (RESET?)", position)


def _lost(seen: str, position: Position) -> PositionLostError:
    return PositionLostError(
        f"cannot go on at {position}: {seen}",
        safe="nothing was skipped; Redis shows the state of that position",
        remedy=START_OVER,
    )


def parsed_gtid_set(position: Position, *, mariadb: bool) -> GtidSet | None:
    """Return a position's GTID set as an object of its own, None without GTIDs."""
    if position.gtid_set is None:
        return None
    kind = MariaDbGtidSet if mariadb else MySqlGtidSet
    return kind.parse(position.gtid_set)


def initial_progress(
    tables: Iterable[str], known: dict[str, TableProgress], *, snapshot: bool
) -> dict[str, TableProgress]:
    """Return how far each table's snapshot is: as the stream says, new tables at their start.

    Args:
        snapshot: False (``--no-snapshot``): what is not finished counts as done.
    """
    progress = dict(known)
    for table in tables:
        before = known.get(table, TableProgress())
        progress[table] = before if snapshot else TableProgress(done=True, after=before.after)
    return progress
