"""`cdc check` as a person starts it: what it prints, how it ends, and that nothing is changed."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MySQL, Nats, Redis, start_together
from cdc.jetstream.stream import close, connect
from tests.support.checking import QUIET, ask_nats
from tests.support.pipeline import wait_for

SUBJECTS = ("$JS.API.", "_INBOX_", "$JS.EVENT.ADVISORY.API")
"""All that may pass through NATS: questions, answers, and JetStream's word that it was asked."""


@dataclass
class Place:
    """Three servers of these tests and a folder to start in."""

    folder: Path
    mysql: MySQL
    nats: Nats
    redis: Redis

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "cdc", "check", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        urls = {"MYSQL": self.mysql, "NATS": self.nats, "REDIS": self.redis}
        named = {f"CDC_{name}_URL": server.url for name, server in urls.items()}
        return {"PATH": os.environ["PATH"], **named, **more}

    def check(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**more),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def sql(self, statement: str) -> Any:
        with self.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A table with a row, and a place for each server."""
    mysql, nats, server = MySQL(), Nats(), Redis()
    with ExitStack() as stack:
        start_together(stack, mysql, nats, server)
        made = Place(tmp_path_factory.mktemp("check"), mysql, nats, server)
        made.sql("CREATE DATABASE shop")
        made.sql("CREATE TABLE shop.users (id INT PRIMARY KEY, name TEXT)")
        made.sql("INSERT INTO shop.users VALUES (1, 'Ada')")
        yield made


@pytest.fixture
def odd(place: Place) -> Iterator[Place]:
    """One error that SQL fixes and one warning that it does not."""
    client: Any = redis.Redis(port=place.redis.port)
    place.sql("SET GLOBAL binlog_format = 'MIXED'")
    client.config_set("maxmemory-policy", "allkeys-lru")
    yield place
    place.sql("SET GLOBAL binlog_format = 'ROW'")
    client.config_set("maxmemory-policy", "noeviction")


def test_servers_that_are_set_up_well(place: Place) -> None:
    """0, with the servers and the table, and no colours in a pipe."""
    done = place.check("--table", "shop.users", "--strict")

    assert (done.returncode, done.stderr) == (0, "")
    assert "✓ shop.users: 1 rows" in done.stdout
    assert "✓ MySQL 9" in done.stdout
    assert done.stdout.endswith("no problems: cdc run can start\n")
    assert "\x1b" not in done.stdout


def test_errors_end_with_3_and_warnings_with_1_where_they_count(odd: Place) -> None:
    """A warning alone is 0 without --strict."""
    assert odd.check("--table", "shop.users").returncode == 3
    odd.sql("SET GLOBAL binlog_format = 'ROW'")
    assert odd.check("--table", "shop.users").returncode == 0
    assert odd.check("--table", "shop.users", "--strict").returncode == 1


def test_fix_sql_is_what_mysql_runs(odd: Place) -> None:
    """All lines that are no comments, run as they are, fix what SQL fixes."""
    done = odd.check("--table", "shop.users", "--fix-sql")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("-- ")]

    assert lines == ["SET PERSIST binlog_format = 'ROW';"]
    assert "-- redis-cli -h 127.0.0.1 " in done.stdout
    for line in lines:
        odd.sql(line)
    assert "mysql." not in odd.check("--table", "shop.users").stdout


def test_json_is_one_object(odd: Place) -> None:
    """With the ids and the exit code."""
    done = odd.check("--table", "shop.users", "--json")
    said = json.loads(done.stdout)

    assert {f["id"]: f["severity"] for f in said["findings"]} == {
        "mysql.binlog-format": "error",
        "redis.eviction": "warning",
    }
    assert (said["exit_code"], done.returncode) == (3, 3)
    assert said["tables"][0]["rows"] == 1


def test_what_check_calls_an_error_run_refuses(odd: Place) -> None:
    """By the same words."""
    command = [sys.executable, "-P", "-m", "cdc", "run", "--table", "shop.users"]
    done = subprocess.run(
        command, env=odd.environment(), cwd=odd.folder, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 3
    assert "binlog_format = MIXED; changes would be written as statements" in done.stderr


def test_a_server_that_is_away_is_one_finding_among_others(place: Place) -> None:
    """The others are asked; the command ends with 3."""
    done = place.check("--table", "shop.usres", "--json", CDC_REDIS_URL="redis://127.0.0.1:1/0")

    assert done.returncode == 3
    ids = [finding["id"] for finding in json.loads(done.stdout)["findings"]]
    assert ids == ["mysql.table", "redis.unreachable"]


@pytest.mark.parametrize("table", ["shop.users", "shop.*"])
def test_an_embedded_nats_is_not_started(place: Place, table: str) -> None:
    """Its folder would be made: it is left alone, and said."""
    done = place.check("--table", table, CDC_NATS_URL="embedded:nats")

    assert done.returncode == 0
    assert "embedded server starts with cdc run" in done.stdout
    assert not (place.folder / "nats").exists()


@pytest.mark.parametrize(("plain", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(place: Place, plain: str, is_coloured: bool) -> None:
    """And for nobody who set NO_COLOR."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        place.command("--table", "shop.users"),
        env=place.environment(NO_COLOR=plain),
        cwd=place.folder,
        stdout=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while data := os.read(ours, 4096):
                said += data
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(ours)

    assert (b"\x1b[32m" in said) is is_coloured


def test_two_outputs_are_refused(place: Place) -> None:
    """Before anything is asked."""
    done = place.check("--json", "--fix-sql")

    assert done.returncode == 2


def test_nothing_is_changed_anywhere(odd: Place) -> None:
    """Not in MySQL, NATS or Redis, and nobody receives a message but questions and answers."""
    client: Any = redis.Redis(port=odd.redis.port)
    client.set("users:7", "legacy")

    def state() -> tuple[Any, ...]:
        info = ask_nats(odd.nats, "INFO")
        return (
            odd.sql("SELECT @@gtid_executed, @@global.binlog_format"),
            odd.sql("SELECT * FROM shop.users"),
            (info["streams"], info["consumers"], info["storage"]),
            {key: client.dump(key) for key in client.scan_iter()},
            client.info("persistence")["rdb_changes_since_last_save"],
        )

    async def watched() -> list[str]:
        nc = await connect(odd.nats.url, name="watch", inbox_prefix="_INBOX_w", log=QUIET)
        seen: list[str] = []

        async def note(message: Any) -> None:
            seen.append(message.subject)

        await nc.subscribe(">", cb=note)
        await nc.flush()
        done = await asyncio.to_thread(odd.check, "--table", "shop.users")
        assert done.returncode == 3
        assert "redis.foreign-keys" in done.stdout
        await nc.flush()
        await close(nc)
        return seen

    before = state()
    seen = asyncio.run(watched())

    assert state() == before
    assert seen
    assert [subject for subject in seen if not subject.startswith(SUBJECTS)] == []
    asked = {s.removeprefix("$JS.API.").split(".")[0] for s in seen if s.startswith("$JS.API.")}
    assert asked <= {"INFO", "STREAM"}
    assert not [s for s in seen if ".CREATE." in s or ".DELETE." in s or ".UPDATE." in s]
    client.delete("users:7")


def test_a_pipeline_that_runs_has_no_findings(place: Place) -> None:
    """Its own stream, keys, position and server_id are no strangers."""
    flags = ("--table", "shop.users", "--server-id", "77")
    command = [sys.executable, "-P", "-m", "cdc", "run", *flags]
    client: Any = redis.Redis(port=place.redis.port)
    with subprocess.Popen(command, env=place.environment(), cwd=place.folder) as running:
        try:
            wait_for("the row", lambda: bool(client.exists("users:1")))
            done = place.check(*flags, "--strict")
        finally:
            running.terminate()
            running.wait(30)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
