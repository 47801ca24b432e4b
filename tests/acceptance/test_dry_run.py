"""`cdc run --dry-run`: what would happen is shown and compared, and nothing is written anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from cdc.demo.servers import MariaDB
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import MARKS, TABLE, Bench

SETTINGS = """
[tables."shop.users"]
index = [{ zset = "users:by_ver", score = "ver" }]

[tables."shop.marks"]
as = "hash"
"""


@pytest.fixture(params=["mysql", "mariadb"])
def bench(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
) -> Iterator[Bench]:
    """A table of 99 rows with an index, one kept as a hash, and a pipeline."""
    settings = tmp_path / "cdc.toml"
    settings.write_text(SETTINGS)
    if request.param == "mariadb":
        with MariaDB() as server:
            made = Bench(server, new_nats(), new_redis(), tmp_path)
            made.pipeline.environment["CDC_CONFIG"] = str(settings)
            yield made
        return
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment["CDC_CONFIG"] = str(settings)
    yield made


def dry_run(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc run --dry-run …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", "run", "--dry-run", *arguments],
        env=os.environ | bench.pipeline.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def dry_run_of(bench: Bench) -> dict[str, Any]:
    """Return what `--json` says of the dry run."""
    done = dry_run(bench, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    about: dict[str, Any] = json.loads(done.stdout)["dry_run"]
    return about


def traces(bench: Bench) -> dict[str, Any]:
    """Return all that a write anywhere would change."""

    async def streams() -> list[Any]:
        client = await nats.connect(bench.nats.url)
        found = [
            (info.config.name, info.state.last_seq, info.state.consumer_count)
            for info in await client.jetstream().streams_info()
        ]
        await client.close()
        return found

    variable = "gtid_binlog_pos" if isinstance(bench.mysql, MariaDB) else "gtid_executed"
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT @@global.{variable}")
        ((gtids,),) = cursor.fetchall()
        cursor.execute("SHOW BINARY LOGS")
        logs = [tuple(row) for row in cursor.fetchall()]
    info: Any = bench.client.info("persistence")
    return {
        "gtids": gtids,
        "logs": logs,
        "streams": asyncio.run(streams()),
        "keys": bench.client.dbsize(),
        "writes": info["rdb_changes_since_last_save"],
    }


def execute(bench: Bench, *statements: str) -> None:
    """Commit statements."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_what_would_happen_is_shown_and_nothing_is_written(bench: Bench) -> None:
    """Before the first start all is missing; behind a run all is the same but what was bent."""
    execute(
        bench,
        f"UPDATE {TABLE} SET ver = 5 WHERE id = 7",
        f"UPDATE {TABLE} SET id = 500 WHERE id = 8",
        f"DELETE FROM {TABLE} WHERE id = 9",
    )
    before = traces(bench)
    about = dry_run_of(bench)
    assert traces(bench) == before
    # Each string with its index entry, the hash; what the key change and the delete leave.
    assert about["changes"] == 99 + 1 + 3
    assert about["rows"] == 98 + 1
    assert about["notes"] == about["quarantined"] == []
    found = {word: about["redis"][word] for word in ("same", "other", "missing", "surplus")}
    assert found == {"same": 2 + 2, "other": 0, "missing": 98 * 2 + 1, "surplus": 0}
    assert about["commands"]["ZADD"] == 1
    assert any('"key":"users:' in message["body"] for message in about["messages"])
    text = dry_run(bench).stdout
    assert "cdc run can start" in text
    assert text.endswith("dry run: nothing was written\n")
    assert traces(bench) == before

    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        waited = subprocess.run(
            [sys.executable, "-m", "cdc", "wait", "--timeout", "30"],
            env=os.environ | bench.pipeline.environment,
            timeout=60,
        )
        assert waited.returncode == 0
        assert process.stop() == 0, process.text()
    before = traces(bench)
    redis = dry_run_of(bench)["redis"]
    assert (redis["other"], redis["missing"], redis["surplus"]) == (0, 0, 0), redis
    assert traces(bench) == before

    bench.client.set("users:1", "bent")
    bench.client.delete("users:2", "users:3")
    bench.client.hset("users:3", "of", "another type")
    bench.client.set("users:9", "an orphan")
    bench.client.zadd("users:by_ver", {"users:7": 6})
    bench.client.hset("marks:1", "n", "77")
    redis = dry_run_of(bench)["redis"]
    assert (redis["other"], redis["missing"], redis["surplus"]) == (4, 1, 1), redis
    assert redis["keys"]["missing"] == ["users:2"]
    assert redis["keys"]["surplus"] == ["users:9"]
    assert sorted(redis["keys"]["other"]) == [
        "marks:1", "users:1", "users:3", "users:by_ver users:7",
    ]  # fmt: skip


def test_an_event_that_would_stop_a_run_is_told_where_it_waits_for_it(bench: Bench) -> None:
    """What stands before the place where a run begins stops none, and hides nothing behind it."""
    unknown = "SET SESSION binlog_format = 'STATEMENT'"
    execute(bench, unknown, f"UPDATE {TABLE} SET ver = 6 WHERE id = 7")
    assert dry_run_of(bench)["notes"] == []

    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()
    execute(bench, f"UPDATE {TABLE} SET ver = 7 WHERE id = 7")
    about = dry_run_of(bench)
    assert (about["notes"], about["changes"]) == ([], 1)

    execute(bench, unknown, f"UPDATE {TABLE} SET ver = 8 WHERE id = 7")
    (note,) = dry_run_of(bench)["notes"]
    assert note.startswith("cdc run would stop at an event ahead of it: UPDATE on shop.users is")


def test_rows_in_part_are_told_without_their_values(bench: Bench) -> None:
    """Only a run reads them, by their keys."""
    image = "SET SESSION binlog_row_image = 'MINIMAL'"
    execute(bench, image, f"UPDATE {TABLE} SET ver = 6 WHERE id = 7")

    about = dry_run_of(bench)
    assert about["notes"] == [
        "rows of shop.users are in the binlog in part: cdc run reads them by their keys"
    ]


def test_what_cannot_start_has_no_dry_run(bench: Bench) -> None:
    """Exit code 3, each finding with its fix, and still nothing is written."""
    execute(bench, "SET GLOBAL binlog_format = 'MIXED'")
    before = traces(bench)

    done = dry_run(bench, "--json")

    assert done.returncode == 3
    about = json.loads(done.stdout)
    assert about["dry_run"] is None
    assert [f["id"] for f in about["check"]["findings"] if f["severity"] == "error"] == [
        "mysql.binlog-format"
    ]
    assert traces(bench) == before
    assert MARKS in dry_run(bench).stdout
