"""`cdc dead`: what could not be applied is seen, repaired and removed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import nats
import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import MARKS, TABLE, Bench
from tests.support.pipeline import wait_for


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """A table of 99 rows, and a pipeline that keeps bare messages out."""
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment["CDC_BARE_MESSAGES"] = "quarantine"
    return made


def dead(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc dead …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", "dead", *arguments],
        env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def listed(bench: Bench) -> list[dict[str, object]]:
    """Return what `cdc dead list --json` says."""
    done = dead(bench, "list", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def _publish(bench: Bench, *bodies: bytes) -> None:
    client = await nats.connect(bench.nats.url)
    for body in bodies:
        await client.jetstream().publish("mysql.update", body)
    await client.close()


def test_dead_letters_are_listed_shown_repaired_and_dropped(bench: Bench) -> None:
    """A letter of a row is gone once the row was read anew; another one has to be dropped."""
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        asyncio.run(_publish(bench, b'{"key":"users:5","value":"mine"}', b"junk"))
        wait_for("the letters", lambda: len(listed(bench)) == 2)
        first, second = listed(bench)
        assert (first["key"], second["key"]) == ("users:5", None)
        table = dead(bench, "list").stdout
        assert table.startswith("NUMBER  TIME")
        assert "users:5  a bare message, and bare_messages is quarantine" in table
        shown = dead(bench, "show", str(second["number"]))
        assert shown.stdout.endswith("body\njunk\n")

        bench.client.set("users:5", "mine")
        refused = dead(bench, "retry", str(second["number"]))
        assert refused.returncode == 2
        assert "it has neither a table nor a key" in refused.stderr
        assert process.stop() == 0
        process = pipeline.run()
        wait_for("the mark", lambda: "their tables are not exact" in process.text())
        done = dead(bench, "retry", "--all")
        assert done.returncode == 0, done.stderr
        assert f"{TABLE}: waiting for cdc run to read a row again" in done.stderr
        bench.wait_until_equal()
        assert [one["number"] for one in listed(bench)] == [second["number"]]

        assert dead(bench, "drop", "--all").returncode == 2
        assert dead(bench, "drop", "77", "--yes").returncode == 2
        assert dead(bench, "drop").returncode == 2
        assert dead(bench, "drop", "--all", "--yes").returncode == 0
        assert listed(bench) == []
        assert "no dead letters" in dead(bench, "list").stdout
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def test_rows_of_a_table_that_the_sink_was_not_told_of_are_read_again(bench: Bench) -> None:
    """Their message is kept whole, and its table known: so `retry` brings the rows."""
    both = bench.pipeline.environment["CDC_TABLES"]
    with bench.pipeline as pipeline:
        reader = pipeline.run("--role", "reader")
        pipeline.environment["CDC_TABLES"] = TABLE
        sink = pipeline.run("--role", "sink")
        wait_for("the letter", lambda: bool(listed(bench)))
        (letter,) = listed(bench)
        assert (letter["table"], letter["key"]) == (MARKS, None)
        bench.wait_until_equal()
        assert not bench.client.exists("marks:1")
        assert sink.stop() == 0

        pipeline.environment["CDC_TABLES"] = both
        sink = pipeline.run("--role", "sink")
        wait_for("the mark", lambda: f'"tables":"{MARKS}"' in sink.text())
        done = dead(bench, "retry", "--all")
        assert done.returncode == 0, done.stderr
        assert bench.client.get("marks:1") == b'{"id":1,"n":0}'
        assert listed(bench) == []
        assert [role.stop() for role in (reader, sink)] == [0, 0]
