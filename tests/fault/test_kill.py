"""Each side, and both, are killed at random moments under load; nothing is lost or repeated."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MySQL, Nats, Redis
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.pipeline import Pipeline, Process, wait_for
from tests.support.truth import (
    CREATE,
    Observer,
    assert_equal,
    assert_exactly_once,
    wait_until_equal,
)
from tests.support.writer import Writer

TABLE = "shop.users"
ROWS = 200
KILLS = 30


class Bench:
    """Three servers with a table of their own, and a pipeline on it."""

    def __init__(self, mysql: MySQL, nats: Nats, redis_server: Redis, folder: Path) -> None:
        self.mysql, self.nats, self.redis = mysql, nats, redis_server
        self.client = redis.Redis(port=redis_server.port)
        with mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute(CREATE.format(table=TABLE))
            rows = [(i, f"row {i}", "1.00", 0) for i in range(1, ROWS // 2)]
            cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
        self.pipeline = Pipeline(
            folder, mysql=mysql.url, nats=nats.url, redis=redis_server.url, tables=TABLE
        )

    def position(self) -> bytes | None:
        """Return the position in Redis as it stands."""
        value: Any = self.client.get("cdc:default:position")
        return value if isinstance(value, bytes) else None

    def wait_for_progress(self) -> None:
        """Wait until the position in Redis has moved."""
        before = self.position()
        wait_for("progress in Redis", lambda: self.position() not in (None, before))


@pytest.fixture
def bench(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """Servers of the test's own, because it stops at nothing."""
    return Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)


@pytest.mark.parametrize("victims", [("reader",), ("sink",), ("reader", "sink")])
def test_killed_at_random_moments_loses_and_repeats_nothing(
    bench: Bench, victims: tuple[str, ...]
) -> None:
    """SIGKILL at any moment: MySQL equals Redis, each id is in the stream once and in order."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    observer = Observer(
        redis.Redis(port=bench.redis.port), [f"users:{i}" for i in range(1, ROWS + 1)]
    )
    with bench.pipeline as pipeline:
        roles: dict[str, Process] = {
            role: pipeline.process("--role", role, name=role).start() for role in ("reader", "sink")
        }
        bench.wait_for_progress()
        writer = Writer(bench.mysql.connect, TABLE, seed=seed, rows=ROWS, pause_s=0.001)
        for kill in range(KILLS):
            victim = roles[victims[kill % len(victims)]]
            bench.wait_for_progress()
            # A random moment, not a wait for anything.
            with pytest.raises(subprocess.TimeoutExpired):
                victim.wait(chance.uniform(0, 0.2))
            victim.kill()
            victim.start()
        committed = writer.stop()
        with bench.mysql.connect() as connection:
            wait_until_equal(connection, bench.client, TABLE)
            for process in roles.values():
                assert process.stop() == 0, process.text()
            assert_equal(connection, bench.client, TABLE)
    observer.stop()

    assert assert_exactly_once(bench.nats.url) > committed > KILLS
