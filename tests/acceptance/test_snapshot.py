"""`cdc snapshot`: rows are read again while the pipeline runs, as a person asks for them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cdc.commands.snapshot import key_of, state_of
from cdc.message import Heartbeat, KeyRange, TableProgress
from cdc.table import Column, Table
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pipeline import wait_for
from tests.unit.cdc_reader.catalog.test_tables import column, table

LINES = "shop.order_lines"


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """Two tables more: a key of two columns, and none at all."""
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.execute(
        f"CREATE TABLE {LINES} (id INT, no VARCHAR(9), ver INT NOT NULL, PRIMARY KEY (id, no))",
        f"INSERT INTO {LINES} SELECT id, 'a,b', 0 FROM {TABLE}",
        f"INSERT INTO {LINES} SELECT id, 'c', 0 FROM {TABLE}",
        "CREATE TABLE shop.loose (id INT NOT NULL)",
    )
    made.pipeline.environment["CDC_TABLES"] += f",{LINES},shop.loose"
    made.pipeline.environment["CDC_KEY"] = "{table}:{id}"
    return made


def snapshot(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc snapshot …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", "snapshot", *arguments],
        env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_rows_are_read_again_as_far_as_asked(bench: Bench) -> None:
    """A range, the whole table, a part of a key; it waits until they are in the stream."""
    del bench.pipeline.environment["CDC_KEY"]
    bench.pipeline.environment["CDC_TABLES"] = f"{TABLE},{LINES}"
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        wait_for("the lines", lambda: bench.client.exists("order_lines:98:c") == 1)
        bench.client.delete("users:5", "users:6", "users:7", "users:98")
        done = snapshot(bench, "--table", "users", "--from", "5", "--to", "6")
        assert done.returncode == 0, done.stderr
        assert "the rows of shop.users are in MYSQL" in done.stdout
        wait_for("both rows", lambda: bench.client.exists("users:5", "users:6") == 2)
        assert bench.client.exists("users:7", "users:98") == 0

        said = snapshot(bench, "--table", "users", "--json")
        found = json.loads(said.stdout)
        assert (found["tables"], found["done"], found["stream"]) == ([TABLE], True, "MYSQL")
        assert found["about_rows"] > 50
        bench.wait_until_equal()

        bench.client.delete("order_lines:7:a,b", "order_lines:7:c", "order_lines:8:c")
        done = snapshot(bench, "--table", LINES, "--from", '7,"a,b"', "--to", '7,"a,b"')
        wait_for("one", lambda: bench.client.exists("order_lines:7:a,b") == 1)
        assert bench.client.exists("order_lines:7:c") == 0
        assert snapshot(bench, "--table", LINES, "--from", "7", "--to", "7").returncode == 0
        wait_for("both", lambda: bench.client.exists("order_lines:7:c") == 1)
        assert bench.client.exists("order_lines:8:c") == 0
        assert process.stop() == 0, process.text()
        assert '"rows read"' in process.text()


def test_what_cannot_be_read_is_refused_with_a_way_out(bench: Bench) -> None:
    """Nothing is announced: a name, a key, a table without one, a stream without a reader."""
    with bench.pipeline as pipeline:
        assert "no binlog position" in snapshot(bench, "--table", "users").stderr
        process = pipeline.run("--table", TABLE, "--table", "shop.loose")
        bench.wait_until_equal()
        for arguments, words in [
            (("--table", "usres"), "users"),
            (("--table", "users", "--from", "x"), "'x' is no value of column 'id'"),
            (("--table", "users", "--from", "1,2"), "'1,2' is no value of column 'id'"),
            (("--table", LINES), "is not captured by the cdc run"),
            (("--table", "shop.loose"), "cdc refresh --only shop.loose"),
            (("--table", LINES, "--from", '7,"a'), "is no key"),
            (("--table", LINES, "--from", "7,a,b"), "has 2 part(s)"),
            (("--table", "users", "--table", LINES, "--to", "7"), "need exactly one table"),
        ]:
            done = snapshot(bench, *arguments)
            assert done.returncode == 2, (arguments, done.stderr)
            assert words in done.stderr, (arguments, done.stderr)
        assert process.stop() == 0, process.text()
        assert "first=" not in process.text()


def test_a_terminal_shows_a_bar_and_says_why_nothing_comes(bench: Bench) -> None:
    """Nobody runs: it says so, and goes on when somebody does; the rows are announced."""
    with bench.pipeline as pipeline:
        process = pipeline.run("--table", TABLE)
        bench.wait_until_equal()
        bench.client.delete("users:5")
        assert process.stop() == 0
        assert "the running cdc run" in snapshot(bench, "--table", "users", "--no-wait").stdout
        ours, theirs = pty.openpty()
        waiting = subprocess.Popen(
            [sys.executable, "-m", "cdc", "snapshot", "--table", "users"],
            env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin", "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while b"0%" not in shown:
            shown += os.read(ours, 4096)
        process = pipeline.run("--table", TABLE)
        assert waiting.wait(60) == 0
        while b"done" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        assert b"shop.users  [" in shown
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def of_two() -> Table:
    """Return a table whose key is a number and bytes."""
    columns: tuple[Column, ...] = (column("id"), column("raw", "varbinary"))
    return table(columns=columns, keys=[("id", "raw")])


def test_a_key_is_written_as_a_person_would() -> None:
    """One column as it is, commas included; several as a line of CSV; bytes in hex."""
    assert key_of("a,b", table(columns=(column("id", "varchar", "utf8mb4"),))) == ("a,b",)
    assert key_of("7,0x00FF", of_two()) == ("7", "00FF")
    assert key_of("7", of_two()) == ("7",)
    assert key_of(None, of_two()) == ()


def test_progress_is_what_is_not_left() -> None:
    """Ranges that are not in the heartbeat any more are read; others have their count."""
    left = KeyRange(refresh=7, rows=30)
    other = KeyRange(refresh=6, rows=1)
    beat = Heartbeat(
        epoch=1, server="s", file="f.1", offset=4, gtid_set=None, last="", ts=0,
        snapshot={"a": TableProgress(ranges=(other, left)), "b": TableProgress(done=True)},
        paused="the sink is 7 messages behind",
    )  # fmt: skip

    assert state_of(beat, 7, {"a": 100, "b": ROWS}, 1.0) == (
        30 + ROWS,
        "the sink is 7 messages behind",
    )
    assert state_of(beat, 7, {"a": 100}, 100.0)[1] == "no cdc run is running; start it"
