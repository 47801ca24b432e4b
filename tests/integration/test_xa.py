"""XA transactions on each server: nothing at PREPARE, all at COMMIT, nothing at ROLLBACK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pymysql
import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc_reader.publish import prepared
from cdc_reader.schema.change import SchemaChanged
from tests.support.following import Follower, keys
from tests.support.pipeline import wait_for

XID = "X'ff00275c" + "41" * 60 + "',X'" + "00" * 64 + "',2147483647"
"""Of any bytes, and as long as it may be."""


@pytest.fixture
def follower(any_server: MySQL | MariaDB) -> Iterator[Follower]:
    """A captured table `users` with two rows, and one that is not captured, on each server."""
    with Follower(any_server) as follower:
        follower.execute(
            "CREATE TABLE users (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE other (id INT PRIMARY KEY, a INT)",
            "INSERT INTO users VALUES (1, 0), (2, 0)",
        )
        follower.capture("users")
        follower.execute("SET lock_wait_timeout = 20")
        yield follower
        roll_back_all(follower)


def roll_back_all(follower: Follower) -> None:
    """End what a failed test left prepared, whose tables could not be dropped."""
    with follower.connection.cursor() as cursor:
        cursor.execute("XA RECOVER")
        for _, length, _, data in cursor.fetchall():
            xid = data if isinstance(data, str) else data.decode()
            with suppress(pymysql.MySQLError):
                cursor.execute(f"XA ROLLBACK '{xid[:length]}'")


def begin(xid: str, *statements: str) -> tuple[str, ...]:
    return (f"XA START {xid}", *statements, f"XA END {xid}")


def prepare(xid: str, *statements: str) -> tuple[str, ...]:
    return (*begin(xid, *statements), f"XA PREPARE {xid}")


def ends(follower: Follower, statement: str) -> bool:
    """Return whether a transaction is known to no session any more, and end it."""
    try:
        follower.execute(statement)
    except pymysql.MySQLError:
        return False
    return True


class Session:
    """One more session."""

    def __init__(self, follower: Follower) -> None:
        self.connection = follower.server.connect(follower.schema)
        self.execute("SET innodb_lock_wait_timeout = 5")

    def execute(self, *statements: str) -> None:
        """Run statements in it."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


CHANGE = ("INSERT INTO users VALUES (9, 9)", "UPDATE users SET a = 7 WHERE id IN (1, 2)")
CHANGED = [("insert", "users:9"), ("update", "users:1"), ("update", "users:2")]


@pytest.mark.parametrize("hold_bytes", [prepared.HOLD_BYTES, 0], ids=["held", "read again"])
def test_rows_are_published_at_the_commit_with_its_place_and_gtid(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, hold_bytes: int
) -> None:
    """In one reading, from memory or a second dump: as one transaction, after what came between."""
    monkeypatch.setattr(prepared, "HOLD_BYTES", hold_bytes)
    other = Session(follower)
    follower.execute(*prepare(XID, *CHANGE))
    other.execute("INSERT INTO users VALUES (5, 5)")
    follower.execute(f"XA COMMIT {XID}")
    other.execute("UPDATE users SET a = 8 WHERE id = 1")

    between, *rows, after = follower.read()

    assert keys([between, *rows, after]) == [
        ("insert", "users:5"),
        *CHANGED,
        ("update", "users:1"),
    ]
    places = [row["id"].rsplit(".", 1) for row in rows]
    assert len({place for place, _ in places}) == 1
    assert [int(row) for _, row in places] == [0, 1, 2]
    assert len({row.get("gtid") for row in rows}) == 1
    assert rows[0].get("gtid") not in (between.get("gtid"), after.get("gtid"))
    assert [row["prev"] for row in rows] == [between["id"], *(row["id"] for row in rows[:2])]


def test_a_reading_that_begins_after_the_prepare_finds_its_rows(follower: Follower) -> None:
    """The heartbeat has where they are; nothing of it was published before."""
    follower.execute(*prepare(XID, "SAVEPOINT s", *CHANGE, "SAVEPOINT t"))

    assert follower.read() == []
    (noted,) = follower.prepared
    assert noted.tables == (f"{follower.schema}.users",)
    Session(follower).execute("FLUSH BINARY LOGS")
    assert follower.read() == []
    follower.execute(f"XA COMMIT {XID}")

    assert keys(follower.read()) == CHANGED
    assert follower.prepared == ()


def test_a_rollback_leaves_nothing(follower: Follower) -> None:
    """Neither in the stream nor among what is noted; the same xid serves again."""
    follower.execute(*prepare("'x'", *CHANGE))
    assert follower.read() == []
    follower.execute("XA ROLLBACK 'x'", *prepare("'x'", "DELETE FROM users WHERE id = 1"))
    follower.execute("XA ROLLBACK 'x'", *begin("'x'", *CHANGE), "XA ROLLBACK 'x'")
    follower.execute(*prepare("'x'", "DELETE FROM users WHERE id = 2"), "XA COMMIT 'x'")

    assert keys(follower.read()) == [("delete", "users:2")]
    assert follower.prepared == ()


@pytest.mark.parametrize("hold_bytes", [prepared.HOLD_BYTES, 0], ids=["held", "read again"])
def test_a_commit_in_one_phase_is_a_transaction_like_any_other(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, hold_bytes: int
) -> None:
    """MySQL writes it as a PREPARE that is the COMMIT."""
    monkeypatch.setattr(prepared, "HOLD_BYTES", hold_bytes)
    rows = ("SAVEPOINT s", "DELETE FROM users", "ROLLBACK TO s", *CHANGE)
    follower.execute(*begin("'x'", *rows), "XA COMMIT 'x' ONE PHASE")

    assert keys(follower.read()) == CHANGED
    assert follower.prepared == ()


def test_several_are_prepared_at_once_and_end_in_another_order(follower: Follower) -> None:
    """Each with its own rows, from other sessions, and empty ones and other tables among them."""
    one, two, three = (Session(follower) for _ in range(3))
    one.execute(*prepare("'one'", "UPDATE users SET a = 1 WHERE id = 1"))
    two.execute(*prepare("'two'", "UPDATE users SET a = 2 WHERE id = 2"))
    three.execute(*prepare("'three'", "INSERT INTO users VALUES (3, 3)"))
    follower.execute(*prepare("'other'", "INSERT INTO other VALUES (1, 1)"), "XA COMMIT 'other'")
    follower.execute(*prepare("'empty'"), "XA COMMIT 'empty'")
    three.execute("XA COMMIT 'three'")
    first = follower.read()
    two.execute("XA COMMIT 'two'")
    one.execute("XA ROLLBACK 'one'")

    assert keys([*first, *follower.read()]) == [("insert", "users:3"), ("update", "users:2")]
    assert follower.prepared == ()


def test_one_whose_session_ended_is_committed_by_another(follower: Follower) -> None:
    """It stays prepared without its session."""
    gone = Session(follower)
    gone.execute(*prepare("'x'", *CHANGE))
    gone.connection.close()
    assert follower.read() == []
    wait_for("the end of the session", lambda: ends(follower, "XA COMMIT 'x'"))

    assert keys(follower.read()) == CHANGED


def test_compressed_transactions_are_read_again_as_well(follower: Follower) -> None:
    """MySQL puts all of it into one event, MariaDB compresses each."""
    many = "INSERT INTO users VALUES " + ",".join(f"({n}, 1)" for n in range(10, 400))
    switch, off = "SET GLOBAL log_bin_compress = ON", "SET GLOBAL log_bin_compress = OFF"
    if not follower.mariadb:
        switch, off = "SET SESSION binlog_transaction_compression = ON", "DO 0"
    if follower.server.version.startswith("8.0.15"):
        switch = "DO 0"
    follower.execute(switch)
    try:
        follower.execute(*prepare("'x'", many))
        begun = follower.read()
        follower.execute("XA COMMIT 'x'", *begin("'y'", "DELETE FROM users WHERE id > 5"))
        follower.execute("XA COMMIT 'y' ONE PHASE")
        rows = follower.read()
    finally:
        follower.execute(off)

    assert begun == []
    assert keys(rows) == [
        *(("insert", f"users:{n}") for n in range(10, 400)),
        *(("delete", f"users:{n}") for n in range(10, 400)),
    ]


def test_tables_of_one_that_was_not_noted_are_read_again(follower: Follower) -> None:
    """It was prepared before the stream began: which tables it changed is not known."""
    follower.execute(*prepare("'x'", *CHANGE))
    assert follower.read() == []
    follower.prepared = ()
    follower.execute("XA COMMIT 'x'", "INSERT INTO users VALUES (50, 5)")

    with pytest.raises(SchemaChanged) as found:
        follower.read()
    assert found.value.tables == (f"{follower.schema}.users",)
    follower.passed = frozenset(filter(None, [found.value.end]))
    assert keys(follower.read()) == [("insert", "users:50")]


@pytest.mark.parametrize("place", ["purged", "of another transaction", "of no event"])
def test_tables_of_one_whose_events_are_not_there_are_read_again(
    follower: Follower, place: str
) -> None:
    """Its tables are known, and only these are read."""
    follower.execute("INSERT INTO users VALUES (40, 4)", *prepare("'x'", *CHANGE))
    before = follower.position
    assert keys(follower.read()) == [("insert", "users:40")]
    (noted,) = follower.prepared
    if place == "purged":
        noted = msgspec.structs.replace(noted, file=noted.file[:-6] + "000000")
    else:
        wrong = before.offset if place == "of another transaction" else noted.offset + 3
        noted = msgspec.structs.replace(noted, offset=wrong)
    follower.prepared = (noted,)
    follower.execute("XA COMMIT 'x'")

    with pytest.raises(SchemaChanged) as found:
        follower.read()
    assert found.value.tables == (f"{follower.schema}.users",)
