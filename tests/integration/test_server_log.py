"""Extent of a server's binlog while it commits."""

from __future__ import annotations

import struct
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from cdc.demo.servers import MySQL
from cdc.errors import UnavailableError
from cdc_reader.resume import server_log
from cdc_reader.resume.resume import ServerLog
from cdc_reader.resume.server_log import event_at, log_status, read_server_log
from tests.support.pipeline import wait_for


def asked(mysql: MySQL) -> ServerLog:
    """Ask for the newest place and the set that belongs to it."""
    with mysql.connect() as connection:
        return read_server_log(connection, mariadb=False, gtid=True, server="one", exact=True)


def is_waited_for(mysql: MySQL) -> bool:
    """Return whether a session waits for a commit."""
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        return any("WAIT_FOR_EXECUTED_GTID_SET" in str(row[7]) for row in cursor.fetchall())


def test_what_is_being_committed_is_waited_for(mysql: MySQL) -> None:
    """A transaction may be in the binlog before gtid_executed has it: that is asked for after."""
    gtid = f"{uuid.uuid4()}:7"
    with mysql.connect() as session, session.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute(f"SET gtid_next = '{gtid}'")
        answer = threads.submit(asked, mysql)
        wait_for("the wait", lambda: is_waited_for(mysql))
        cursor.execute("BEGIN")
        cursor.execute("COMMIT")
        cursor.execute("SET gtid_next = 'AUTOMATIC'")

        assert gtid in (answer.result().newest.gtid_set or "")


def test_nothing_that_begins_at_the_place_is_in_the_set(
    mysql: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed between the two questions is passed, up to the first that the set lacks."""
    monkeypatch.setattr(server_log, "EVENTS_AT_ONCE", 3)
    uid, later = uuid.uuid4(), uuid.uuid4()
    with ExitStack() as stack:
        held, other, look = (stack.enter_context(mysql.connect()) for _ in range(3))
        threads = stack.enter_context(ThreadPoolExecutor(1))
        cursor = stack.enter_context(held.cursor())
        cursor.execute("CREATE DATABASE place")
        cursor.execute("CREATE TABLE place.t (n INT PRIMARY KEY)")
        before = newest_offset(look)
        cursor.execute(f"SET gtid_next = '{uid}:1'")
        answer = threads.submit(asked, mysql)
        wait_for("the wait", lambda: is_waited_for(mysql))
        with other.cursor() as others:
            for number in range(4):
                others.execute("INSERT INTO place.t VALUES (%s)", (number,))
        cursor.execute("BEGIN")
        cursor.execute("COMMIT")
        newest = answer.result().newest
        cursor.execute(f"SET gtid_next = '{later}:1'")
        cursor.execute("BEGIN")
        cursor.execute("COMMIT")

        assert newest.offset > before
        assert newest.gtid_set is not None
        assert f"{uid}:1" in newest.gtid_set
        assert f"{later}:1" in str(event_at(look, newest.file, newest.offset))


def newest_offset(connection: Connection[Cursor]) -> int:
    """Return where the newest file ends."""
    with connection.cursor() as cursor:
        return log_status(cursor)[1]


def test_a_commit_that_does_not_end_is_said(mysql: MySQL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not within the time: MySQL is not ready, and what it commits is named."""
    monkeypatch.setattr(server_log, "VISIBLE_WAIT_S", 0.1)
    gtid = f"{uuid.uuid4()}:8"
    with mysql.connect() as session, session.cursor() as cursor:
        cursor.execute(f"SET gtid_next = '{gtid}'")
        with pytest.raises(UnavailableError, match=gtid):
            asked(mysql)
        cursor.execute("ROLLBACK")


def test_bytes_inside_an_event_that_look_like_one(mysql: MySQL) -> None:
    """The server shows them as an event, with text that is none: no event begins there."""
    body = struct.pack("<IIBHH", 1, 0, 4, 0, 0) + b"shop\0" + b"\xff\xfe\xfd" + bytes(4)
    event = struct.pack("<IBIIIH", 1, 2, 1, 19 + len(body), 1 << 30, 0) + body
    with mysql.connect() as session, session.cursor() as cursor:
        cursor.execute("CREATE DATABASE inside")
        cursor.execute("CREATE TABLE inside.t (id INT PRIMARY KEY, v VARBINARY(200))")
        before = asked(mysql).newest
        cursor.execute("INSERT INTO inside.t VALUES (1, %s)", (event,))
        session.commit()
        binlog = (mysql.folder / before.file).read_bytes()
        assert event_at(session, before.file, before.offset)
    with mysql.connect() as session:
        assert event_at(session, before.file, binlog.index(event)) is None
