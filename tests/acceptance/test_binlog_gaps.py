"""Histories that look like a gap and are none, on real servers: nothing stops, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80, Nats
from tests.acceptance.test_command import Place
from tests.conftest import NewRedis
from tests.support.pipeline import wait_for

ROWS = 300


def made(server: MySQL | MariaDB, nats: Nats, new_redis: NewRedis, folder: Path) -> Place:
    """A place with a table of some rows."""
    schema = f"t_{uuid.uuid4().hex[:8]}"
    place = Place(folder, server, new_redis(), nats.url, schema)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
    values = ", ".join(f"({n}, 'x')" for n in range(1, ROWS + 1))
    place.sql(
        "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(80))",
        f"INSERT INTO users VALUES {values}",
    )
    return place


@pytest.fixture
def place(
    request: pytest.FixtureRequest, nats: Nats, new_redis: NewRedis, tmp_path: Path
) -> Iterator[Place]:
    """A place on a server of its own, with a table of some rows."""
    server: MySQL | MariaDB = request.param()
    with server:
        place = made(server, nats, new_redis, tmp_path)
        yield place
        for process in place.processes:
            process.kill()
            process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


def follows(place: Place, number: int) -> None:
    """A row that is inserted now appears."""
    place.sql(f"INSERT INTO users VALUES ({number}, 'new')")
    place.wait_for_key(f"users:{number}", f'{{"id":{number},"name":"new"}}')


def purge_all_but_a_new_file(server: MySQL | MariaDB) -> None:
    """Begin a file, and remove all before it."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH BINARY LOGS")
        cursor.execute(server.newest_place_sql)
        file, *_ = cursor.fetchone() or ("",)

        def is_alone() -> bool:
            # MariaDB keeps a file for a moment, until its checkpoint has passed.
            cursor.execute(f"PURGE BINARY LOGS TO '{file}'")
            cursor.execute("SHOW BINARY LOGS")
            return len(cursor.fetchall()) == 1

        wait_for("one file", is_alone, 20)


@pytest.mark.parametrize("place", [MySQL, MySQL80], indirect=True)
def test_gtids_that_no_event_brings(place: Place) -> None:
    """SET GLOBAL gtid_purged while first rows are read, as restoring a dump does: read on.

    `cdc wait` waits for none of them, and a restart, also behind new files, misses nothing.
    """
    slow = ("--table", "users", "--snapshot-rows-per-s", "100", "--snapshot-chunk-rows", "20")
    run = place.start(*slow)
    place.wait_for_key("users:1", '{"id":1,"name":"x"}')
    assert not place.client().exists(f"users:{ROWS}")
    place.sql(f"SET GLOBAL gtid_purged = '+{uuid.uuid4()}:1-5'")
    place.wait_for_key(f"users:{ROWS}", f'{{"id":{ROWS},"name":"x"}}')
    follows(place, 1001)
    waited = subprocess.run(
        [sys.executable, "-P", "-m", "cdc", "wait", "--timeout", "20"],
        env=place.environment,
        capture_output=True,
        check=False,
    )
    assert waited.returncode == 0, waited.stderr
    stop(run)
    for number in (1002, 1003):
        place.sql(f"SET GLOBAL gtid_purged = '+{uuid.uuid4()}:1-5'")
        run = place.start(*slow)
        follows(place, number)
        stop(run)
        place.sql("FLUSH BINARY LOGS", "FLUSH BINARY LOGS")


@pytest.mark.parametrize("place", [MySQL, MySQL80, MariaDB, MariaDB1011], indirect=True)
def test_files_that_were_purged_when_we_had_all_of_them(place: Place) -> None:
    """FLUSH and PURGE while cdc is away: it resumes where the newest file begins."""
    run = place.start("--table", "users")
    follows(place, 1001)
    stop(run)
    purge_all_but_a_new_file(place.mysql)
    run = place.start("--table", "users")
    follows(place, 1002)
    stop(run)


@pytest.mark.parametrize("place", [MySQL, MariaDB], indirect=True)
def test_files_that_had_more_than_we_have_are_missing(place: Place) -> None:
    """The same with one change that nobody read: 65, and nothing is skipped."""
    run = place.start("--table", "users")
    follows(place, 1001)
    stop(run)
    place.sql("INSERT INTO users VALUES (1002, 'lost')")
    purge_all_but_a_new_file(place.mysql)

    assert place.start("--table", "users", "--on-gap", "stop").wait(30) == 65
