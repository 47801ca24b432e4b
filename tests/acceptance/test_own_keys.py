"""Rows whose text names a key of cdc's own, of this pipeline or of another one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench
from tests.support.pipeline import wait_for

MODELS = {
    "strings": 'value = "v"',
    "hashes": 'as = "hash"',
    "fields": 'as = "hash"\nfield = "{id}"',
}


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """Tables of each model, whose keys are a column's text."""
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment.pop("CDC_TABLES")
    for table in MODELS:
        made.execute(
            f"CREATE TABLE {table} (id INT PRIMARY KEY, k VARCHAR(80) NOT NULL UNIQUE, v TEXT)"
        )
    return made


def cdc(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", *arguments],
        env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def _publish(url: str, body: bytes) -> None:
    client = await nats.connect(url)
    await client.jetstream().publish("mysql.update", body)
    await client.close()


def victim(bench: Bench, pipeline: str) -> dict[bytes, bytes | None]:
    """Return all that is kept below a pipeline's prefix, as Redis would dump it."""
    keys: Any = bench.client.keys(f"cdc:{pipeline}:*")
    return {key: bench.client.dump(key) for key in sorted(keys)}


@pytest.mark.parametrize(("model", "partitions"), [("strings", 1), ("hashes", 3), ("fields", 1)])
def test_no_row_reaches_a_key_of_cdc(bench: Bench, model: str, partitions: int) -> None:
    """First reading, changes, a changed key, deletes and bare messages; they are dead letters."""
    (bench.folder / "cdc.toml").write_text(
        f"partitions = {partitions}\n[tables.'shop.{model}']\nkey = '{{k}}'\n{MODELS[model]}\n"
    )
    bench.pipeline.environment["CDC_CONFIG"] = str(bench.folder / "cdc.toml")
    for name in ("position", "position:1", "error"):
        bench.client.set(f"cdc:other:{name}", "of the other pipeline")
    bench.client.hset("cdc:other:counts", "shop.users:insert", "7")
    bench.client.hset("cdc:other:verify:shop.users", "ts", "7")
    bench.client.sadd("cdc:other:refresh:7", "users:1")
    before = victim(bench, "other")
    names = [key.decode() for key in before] + ["cdc:default:error"]

    def insert(first: int) -> None:
        with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            rows = [(first + n, name) for n, name in enumerate(names)]
            cursor.executemany(f"INSERT INTO {model} VALUES (%s, %s, 'x')", rows)

    insert(0)
    bench.execute(f"INSERT INTO {model} VALUES (90, 'first', 'fine')")
    with bench.pipeline as pipeline:
        process = pipeline.run()
        wait_for("the rows beside", lambda: bench.client.exists("first") == 1)
        bench.execute(
            f"UPDATE {model} SET v = 'y' WHERE id < 80",
            f"UPDATE {model} SET k = CONCAT('moved:', k) WHERE id = 0",
            f"DELETE FROM {model} WHERE id BETWEEN 1 AND 80",
        )
        insert(100)
        for name in names:
            asyncio.run(_publish(bench.nats.url, json.dumps({"key": name, "value": "z"}).encode()))
        bench.execute(
            *(f"INSERT INTO {model} VALUES ({n}, 'last:{n}', '')" for n in range(500, 520))
        )
        wait_for("the changes", lambda: len(bench.client.keys("last:*")) == 20)
        letters = [
            json.loads(line) for line in cdc(bench, "dead", "list", "--json").stdout.splitlines()
        ]
        of_rows = [letter for letter in letters if letter["table"] == f"shop.{model}"]
        assert len(of_rows) >= 3 * len(names)
        assert all("cdc's own" in letter["reason"] for letter in of_rows), of_rows
        assert victim(bench, "other") == before
        assert not bench.client.exists("cdc:default:error")

        verified = cdc(bench, "verify", "--json")
        assert verified.returncode == 1, verified.stderr
        # Those below the prefix, and the row that was moved away from there.
        assert json.loads(verified.stdout)["tables"][0]["missing"] == len(names) + 1
        assert process.stop() == 0, process.text()
    assert victim(bench, "other") == before


def test_a_template_below_the_prefix_is_refused_before_anything_is_written(bench: Bench) -> None:
    """By the reader, by the sink alone, and by `cdc check`."""
    for arguments in (
        ("run", "--table", "shop.strings", "--key", "cdc:{k}"),
        ("run", "--role", "sink", "--table", "shop.strings", "--key", "cdc:{k}"),
        ("check", "--table", "shop.strings", "--key", "cdc:{k}"),
    ):
        done = cdc(bench, *arguments)
        assert done.returncode != 0
        assert "keys that begin with cdc: are for cdc's own" in done.stderr + done.stdout
        assert bench.client.dbsize() == 0
