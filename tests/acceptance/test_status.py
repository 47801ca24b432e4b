"""`cdc status`: what it says is what was done to the pipeline, one thing after the other."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import MARKS, TABLE, Bench
from tests.support.pipeline import wait_for

STOPPED_S = 40.0


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """A table of 99 rows, and a pipeline whose silence is noticed after 10 s."""
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment["CDC_HEARTBEAT_IDLE_S"] = "0.5"
    return made


def cdc_status(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc status …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", "status", *arguments],
        env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def said(bench: Bench, *arguments: str) -> dict[str, Any]:
    """Return what `cdc status --json` says."""
    done = cdc_status(bench, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    about: dict[str, Any] = json.loads(done.stdout)
    return about


def until(bench: Bench, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until the status says so; return it."""
    seen: list[dict[str, Any]] = []

    def looks() -> bool:
        seen[:] = [said(bench)]
        return holds(seen[0])

    try:
        wait_for(what, looks, STOPPED_S)
    except TimeoutError:
        print(json.dumps(seen, indent=1))
        raise
    return seen[0]


def update(bench: Bench, *statements: str) -> None:
    """Commit statements."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def check(bench: Bench, *arguments: str) -> tuple[int, str]:
    """Return exit code and line of `cdc status --check`."""
    done = cdc_status(bench, "--check", *arguments)
    return done.returncode, done.stdout


def rows(about: dict[str, Any], table: str) -> tuple[int, int, int, int]:
    """Return the rows inserted, updated, deleted and read of a table."""
    (one,) = [t for t in about["tables"] if t["table"] == table]
    return one["insert"], one["update"], one["delete"], one["snapshot"]


def test_a_pipeline_is_seen_as_it_is(bench: Bench) -> None:
    """Before its start, while it streams, with a frozen sink, a killed reader, a dead letter."""
    before = said(bench)
    assert (before["state"], before["why"]) == ("starting", "the stream has no heartbeat yet")
    assert before["mysql"]["file"]
    assert check(bench)[0] == 1
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", name="sink").start()
        reader = pipeline.process("--role", "reader", name="reader").start()
        bench.wait_until_equal()
        update(
            bench,
            f"INSERT INTO {TABLE} VALUES (1001, 'a', NULL, 1), (1002, 'b', NULL, 1)",
            f"UPDATE {TABLE} SET ver = 2 WHERE id <= 7",
            f"DELETE FROM {TABLE} WHERE id = 1002",
        )
        bench.wait_until_equal()
        about = until(bench, "streaming", lambda a: a["state"] == "streaming" and a["lag_s"] == 0)
        assert rows(about, TABLE) == (2, 7, 1, 99)
        assert rows(about, MARKS) == (0, 0, 0, 1)
        assert (about["reader"]["behind_bytes"], about["sink"]["pending_messages"]) == (0, 0)
        assert about["reader"]["gtid_set"] == about["mysql"]["gtid_set"]
        assert about["retention"]["bytes"] > 0
        assert about["tables"][1]["reading"]["done"]
        assert check(bench)[0] == 0
        text = cdc_status(bench).stdout
        assert text.startswith("default: STREAMING")
        assert max(map(len, text.splitlines())) <= 100

        sink.freeze()
        update(bench, *[f"UPDATE {TABLE} SET ver = ver + 1 WHERE id = {i}" for i in range(1, 51)])
        behind = until(bench, "lag", lambda a: a["lag_s"] and a["lag_s"] > 1)
        assert behind["sink"]["pending_messages"] >= 50
        assert behind["sink"]["pending_age_s"] > 0.5
        code, line = check(bench, "--warn-lag", "0.5")
        assert code == 1
        assert line.startswith("CDC WARNING - default: lag")
        stopped = until(bench, "the sink", lambda a: a["state"] == "stopped")
        assert stopped["why"].startswith("the sink:")
        assert check(bench)[0] == 2
        sink.thaw()
        until(bench, "streaming again", lambda a: a["state"] == "streaming")

        async def publish() -> None:
            client = await nats.connect(bench.nats.url)
            await client.jetstream().publish("mysql.update", b"junk")
            await client.close()

        asyncio.run(publish())
        wrong = until(bench, "the letter", lambda a: a["check"]["code"] == 1)
        assert wrong["check"]["why"] == ["there are dead letters of no table (cdc dead list)"]
        assert "fix:  cdc dead list" in cdc_status(bench).stdout

        reader.kill()
        stopped = until(bench, "the reader", lambda a: a["state"] == "stopped")
        assert stopped["why"].startswith("the reader:")
        update(bench, f"UPDATE {TABLE} SET ver = 99", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
        late = until(bench, "unread binlog", lambda a: a["reader"]["behind_bytes"] > 1000)
        assert late["reader"]["behind_s"] > 5
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOGS")
            newest = list(cursor.fetchall())[-1][0]
            cursor.execute(f"PURGE BINARY LOGS TO '{newest}'")
        assert said(bench)["retention"]["purged"]
        assert "cdc refresh" in said(bench)["why"]

        bench.mysql.kill()
        gone = said(bench)
        assert "refuses the connection" in gone["mysql"]["error"]
        assert rows(gone, TABLE)[0] == 2
        bench.redis.kill()
        gone = said(bench)
        assert gone["redis"]["error"]
        assert gone["stream"]["messages"] > 100
        assert check(bench)[0] in (2, 3)
        assert "Redis" in cdc_status(bench).stdout


@pytest.mark.parametrize("is_embedded", [False, True], ids=["nats", "embedded"])
def test_the_error_that_ended_a_role_is_kept(
    bench: Bench, tmp_path: Path, is_embedded: bool
) -> None:
    """With its place, its fix and its exit code, after the process is gone: it is the state.

    Also where NATS has gone with it.
    """
    if is_embedded:
        bench.pipeline.environment["CDC_NATS_URL"] = f"embedded:{tmp_path / 'embedded'}"
    with bench.pipeline as pipeline:
        process = pipeline.run("--on-schema-change", "stop")
        bench.wait_until_equal()
        if is_embedded:
            assert said(bench)["state"] == "streaming"
        update(bench, f"ALTER TABLE {TABLE} ADD COLUMN more INT")
        assert process.wait() == 65
        stopped = until(bench, "the stop", lambda about: about["state"] == "stopped")
        assert stopped["why"].startswith("the reader ended with exit code 65: ")
        assert "ALTER TABLE of the captured table shop.users" in stopped["why"]
        code, line = check(bench)
        assert (code, line.count("\n")) == (2, 1)
        assert stopped["why"] in line
        error = said(bench)["last_error"]
        assert (error["role"], error["exit_code"]) == ("reader", 65)
        assert "ALTER TABLE of the captured table shop.users" in error["seen"]
        assert "last error: reader" in cdc_status(bench).stdout


def test_it_is_watched_line_by_line_where_nobody_looks(bench: Bench) -> None:
    """`--watch 0.2` into a pipe: a line each time, until it is ended, and then 0."""
    with bench.pipeline as pipeline:
        pipeline.run()
        bench.wait_until_equal()
        with subprocess.Popen(
            [sys.executable, "-m", "cdc", "status", "--watch", "0.2"],
            env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            text=True,
        ) as watch:
            assert watch.stdout is not None
            lines = [watch.stdout.readline() for _ in range(3)]
            watch.send_signal(signal.SIGINT)
            assert watch.wait(20) == 0
    assert all(" default " in line and " lag_s=" in line for line in lines)


def test_settings_that_change_the_form_of_rows_are_told_until_they_are_read_again(
    bench: Bench,
) -> None:
    """A row that does not change keeps the form of before: told at each start and by the status."""
    bench.pipeline.environment["CDC_TABLES"] = TABLE
    warning = '"the settings of a table changed'

    def older_forms() -> list[bool]:
        return [table["older_forms"] for table in said(bench)["tables"]]

    with bench.pipeline as pipeline:
        process = bench.caught_up()
        assert process.stop() == 0
        assert older_forms() == [False]

        for flags in (("--value", "name"), ()):  # also where they were set back
            process = pipeline.run(*flags)
            wait_for("the warning", lambda p=process: warning in p.text())  # type: ignore[misc]
            assert f"cdc refresh --only {TABLE}" in process.text()
            assert process.stop() == 0
        assert older_forms() == [True]
        code, line = check(bench)
        assert (code, TABLE in line) == (1, True)
        assert f"fix:  cdc refresh --only {TABLE}" in cdc_status(bench).stdout

        process = pipeline.run("--value", "name")
        pipeline.refresh("--only", TABLE)
        wait_for("the other form", lambda: bench.client.get("users:1") == b"row 1")
        until(bench, "the refresh", lambda a: a["tables"][0]["older_forms"] is False)
        assert process.stop() == 0
        process = pipeline.run("--value", "name")
        wait_for("the reader", lambda: '"streaming"' in process.text())
        assert warning not in process.text()
        assert process.stop() == 0
