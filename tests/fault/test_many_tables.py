"""Many tables: started quickly, through kills, and heartbeats that cost what changes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MySQL, Nats, Redis
from cdc.jetstream.stream import close, connect, message_get
from tests.support.checking import QUIET
from tests.support.depth import by_depth
from tests.support.pipeline import Pipeline, Process, wait_for

pytestmark = pytest.mark.timeout(400)

TABLES = by_depth(90, full=150)
"""More than heartbeats name by themselves (`cdc.table_list.NAMED_MOST`)."""


REFRESHED_WITHIN_S = 240.0
"""Each table is read, swept and noted on its own, beside three other tests."""


class Many:
    """Two rows in each of many tables, and a pipeline of the test's own."""

    def __init__(
        self, mysql: MySQL, schema: str, nats: Nats, redis_server: Redis, folder: Path
    ) -> None:
        """Make the tables."""
        self.mysql, self.nats, self.schema = mysql, nats, schema
        self.names = [f"t{n:03d}" for n in range(TABLES)]
        name = uuid.uuid4().hex[:8]
        self.stream, self.prefix = f"S_{name}", f"m_{name}"
        self.pipeline = Pipeline(
            folder,
            mysql=f"{mysql.url}/{schema}",
            nats=nats.url,
            redis=f"redis://127.0.0.1:{redis_server.port}/0",
            tables=self.tables(),
        )
        self.pipeline.environment |= {
            "CDC_PIPELINE": name,
            "CDC_STREAM": self.stream,
            "CDC_SUBJECT_PREFIX": self.prefix,
            "CDC_KEY": f"{name}:{{table}}:{{pk}}",
        }
        self.key = f"{name}:{{}}:{{}}"
        self.client = redis.Redis(port=redis_server.port, decode_responses=True)
        for table in self.names:
            self.sql(
                f"CREATE TABLE {table} (id INT PRIMARY KEY, a INT)",
                f"INSERT INTO {table} VALUES (1, 0), (2, 0)",
            )

    def tables(self, first: int = 0) -> str:
        """Return the setting `tables`."""
        return ",".join(f"{self.schema}.{name}" for name in self.names[first:])

    def sql(self, *statements: str) -> None:
        """Run statements in the schema."""
        with self.mysql.connect(self.schema) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def values(self) -> dict[str, int | None]:
        """Return `a` of each row in Redis, by its key."""
        keys = [self.key.format(name, pk) for name in self.names for pk in (1, 2)]
        found = self.client.mget(keys)
        return {k: json.loads(v)["a"] if v else None for k, v in zip(keys, found, strict=True)}

    def has_rows(self, least: int) -> bool:
        """Say whether so many rows are in Redis."""
        return sum(value is not None for value in self.values().values()) >= least

    def heartbeat(self) -> bytes:
        """Return the newest heartbeat."""

        async def ask() -> bytes:
            nc = await connect(self.nats.url, name="t", inbox_prefix="_INBOX_t", log=QUIET)
            try:
                subject = f"{self.prefix}.heartbeat"
                stored = await message_get(nc, self.stream, last_by_subject=subject)
                return stored.data if stored else b"{}"
            finally:
                await close(nc)

        return asyncio.run(ask())

    def run(self, *words: str, **environment: str) -> Any:
        """Run a command that prints JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "cdc", *words],
            env=os.environ | self.pipeline.environment | environment,
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def refreshed(self, process: Process, *words: str) -> None:
        """Refresh, and wait until all is swept."""
        announced = self.run("refresh", "--yes", "--json", *words)["tables"]
        # Each partition's sink says it.
        swept = len(announced) * int(self.pipeline.environment.get("CDC_PARTITIONS", "1"))
        wait_for(
            "the refresh", lambda: process.text().count('"refreshed"') >= swept, REFRESHED_WITHIN_S
        )


@pytest.fixture
def many(mysql: MySQL, fresh_schema: str, nats: Nats, redis_server: Redis, tmp_path: Path) -> Many:
    """Everything, with nothing running."""
    return Many(mysql, fresh_schema, nats, redis_server, tmp_path)


def test_many_tables(many: Many) -> None:
    """Killed while they are read, changed, taken out and refreshed: each table stays exact."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    many.pipeline.environment["CDC_PARTITIONS"] = chosen.choice("12")
    with many.pipeline as pipeline:
        process = pipeline.run()
        for part in (0.2, 0.5, 0.8):
            wait_for("some rows", partial(many.has_rows, round(part * 2 * TABLES)))
            process.kill_after(chosen.random() * 0.3)
        wait_for("all rows", lambda: set(many.values().values()) == {0})
        wait_for("all are read", lambda: b'"done":false' not in many.heartbeat())
        beat = json.loads(many.heartbeat())
        assert beat["listed"]
        assert len(many.heartbeat()) < 64 * 200
        said = many.run("status", "--json")
        assert len(said["tables"]) == TABLES
        assert all(table["reading"]["done"] for table in said["tables"])

        # What is in a list alone is refreshed, beside changes.
        stale = many.key.format("t007", 99)
        many.client.set(stale, "{}")
        many.refreshed(process, "--only", f"{many.schema}.t007")
        assert many.client.get(stale) is None
        many.sql(*(f"UPDATE {name} SET a = 7" for name in many.names))
        wait_for("all changes", lambda: set(many.values().values()) == {7})

        # One is not captured any more; the others are not read again.
        assert process.stop() == 0
        many.sql("UPDATE t000 SET a = 8", "UPDATE t001 SET a = 8")
        pipeline.environment["CDC_TABLES"] = many.tables(1)
        process = pipeline.run()
        wait_for("the change", lambda: many.values()[many.key.format("t001", 1)] == 8)
        assert many.values()[many.key.format("t000", 1)] == 7
        assert '"rows read"' not in process.text()
        assert process.stop() == 0

        # It is put back, and read; then everything is.
        pipeline.environment["CDC_TABLES"] = many.tables()
        process = pipeline.run()
        wait_for("it is read", lambda: many.values()[many.key.format("t000", 1)] == 8)
        wait_for("all are read", lambda: b'"done":false' not in many.heartbeat())
        names = (many.names[0], many.names[TABLES // 2], many.names[-1])
        strays = [many.key.format(name, 99) for name in names]
        many.client.mset(dict.fromkeys(strays, "{}"))
        many.refreshed(process)
        assert many.client.mget(strays) == [None] * 3
        assert set(many.values().values()) == {7, 8}
        checked = many.run("verify", "--json", CDC_TABLES=many.tables(TABLES - 9))
        assert sum(t["missing"] + t["stale"] + t["orphan"] for t in checked["tables"]) == 0
        assert process.stop() == 0
