"""Parents' hashes, indexes, masks and caches end as MySQL says, whatever dies."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.modelled import CREATE, SECRET, Churn, configure, wait_until_equal
from tests.support.pipeline import Pipeline, Process, wait_for
from tests.support.tally import seeded
from tests.support.truth import messages

PARTITIONS = [1, 3]
KILLS = 6
SECRETS = ("a@b", "ü@日本", "'030'", SECRET)
"""What is masked or left out, and must be seen nowhere but in MySQL."""


class Models:
    """Three servers with the tables of every model, and the pipeline between."""

    def __init__(
        self, mysql: MySQL | MariaDB, nats_url: str, redis_port: int, folder: Path, partitions: int
    ) -> None:
        self.mysql, self.nats_url, self.partitions = mysql, nats_url, partitions
        self.client = redis.Redis(port=redis_port)
        with mysql.connect() as connection, connection.cursor() as cursor:
            for statement in ("CREATE DATABASE shop", *CREATE):
                cursor.execute(statement)
            cursor.execute(
                "INSERT INTO shop.orders VALUES (900, 1, 'a@b', '030', 'a@b', 1, NULL, 0)"
            )
            cursor.execute("INSERT INTO shop.order_lines VALUES (9, 1, 'pen', 0), (9, 2, NULL, 0)")
            cursor.execute("INSERT INTO shop.visits VALUES (900, NULL, 0)")
        url = f"redis://127.0.0.1:{redis_port}"
        self.pipeline = Pipeline(folder, mysql=mysql.url, nats=nats_url, redis=url, tables="")
        del self.pipeline.environment["CDC_TABLES"]
        self.pipeline.environment |= configure(folder, partitions=partitions)
        self.flags = ("--partitions", str(partitions))

    def execute(self, *statements: str) -> None:
        with self.mysql.connect("shop") as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def role(self, name: str) -> Process:
        return self.pipeline.process("--role", name, *self.flags, name=name).start()

    def churn(self) -> Churn:
        return Churn(lambda: self.mysql.connect("shop"), seed=seeded().randrange(1 << 32))

    def moved(self) -> None:
        """Wait until something has been applied."""
        before = self._positions()
        wait_for("progress in Redis", lambda: self._positions() not in ([], before))

    def _positions(self) -> list[Any]:
        keys: Any = sorted(self.client.scan_iter(match="cdc:default:position*"))
        found: Any = self.client.mget(keys) if keys else []
        return list(found)

    def wait_until_equal(self) -> None:
        with self.mysql.connect() as connection:
            wait_until_equal(connection, self.client, partitions=self.partitions)

    def assert_nothing_leaked(self) -> None:
        """Neither the stream nor a log has a masked text."""
        bodies = [body for _, body in messages(self.nats_url)]
        said = [str(body) for body in bodies if body.get("table") == "shop.orders"]
        said += [log.read_text(errors="replace") for log in self.pipeline.folder.glob("*.log")]
        assert [(s, text) for text in said for s in SECRETS if s in text] == []


@pytest.fixture(params=PARTITIONS)
def models(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
) -> Models:
    """Rows in each table, and nothing on NATS and Redis."""
    mysql = new_mysql(options=("--sync-binlog=0",))
    return Models(mysql, new_nats().url, new_redis().port, tmp_path, request.param)


def test_churn_under_kills_of_both_sides(models: Models) -> None:
    """Rows move between parents and indexes, keys change; Redis ends as MySQL is."""
    chance = seeded()
    models.pipeline.environment["CDC_SNAPSHOT_CHUNK_ROWS"] = "7"
    models.pipeline.environment["CDC_FLUSH_MAX_MESSAGES"] = "50"
    with models.pipeline:
        roles = {name: models.role(name) for name in ("reader", "sink")}
        models.moved()
        churn = models.churn()
        for number in range(KILLS):
            victim = roles[("reader", "sink")[number % 2]]
            with pytest.raises(subprocess.TimeoutExpired):
                victim.wait(chance.uniform(0.1, 1))
            victim.kill()
            victim.start()
            models.moved()
        assert churn.stop() > 50
        models.wait_until_equal()
        for process in roles.values():
            assert process.stop() == 0, process.text()
    models.wait_until_equal()
    models.assert_nothing_leaked()


def test_a_refresh_removes_what_is_no_row_and_no_entry(models: Models) -> None:
    """Rows that went and moved unseen: their fields and members go, and nothing else."""
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.moved()
        models.execute(
            "INSERT INTO orders SELECT 901, 2, 'x@y', NULL, NULL, 5, '2026-01-01', 0",
            "INSERT INTO order_lines VALUES (8, 1, 'ink', 0), (8, 2, 'nib', 0)",
        )
        models.wait_until_equal()
        assert process.stop() == 0
        models.execute(
            "SET sql_log_bin = 0",
            "DELETE FROM orders WHERE id = 901",
            "UPDATE orders SET user_id = 3 WHERE id = 900",
            "UPDATE order_lines SET order_id = 7 WHERE order_id = 8 AND no = 2",
            "DELETE FROM visits",
        )
        client = models.client
        client.sadd("orders:of:77", "of nobody")
        client.set("order:71:lines", "of another kind")
        client.hset("order:70:lines", "1", "of no row")
        said = pipeline.refresh(*models.flags)
        assert said["gap"] is True
        process = pipeline.run(*models.flags)
        churn = models.churn()
        wait_for("the sweeps", lambda: process.text().count('"refreshed"') == 3 * models.partitions)
        churn.stop()
        models.wait_until_equal()
        assert not client.keys("cdc:*:refresh:*")
        assert process.stop() == 0, process.text()


def test_a_key_of_another_kind_stops_the_sink_before_anything_is_written(models: Models) -> None:
    """Somebody made a text of an index: exit 3, names it; removed and refreshed, all is right."""
    with models.pipeline as pipeline:
        process = pipeline.run(*models.flags)
        models.wait_until_equal()
        models.client.delete("orders:of:1")
        models.client.set("orders:of:1", "mine")
        models.execute("INSERT INTO orders SELECT 902, 1, NULL, NULL, NULL, NULL, NULL, 0")
        assert process.wait() == 3, process.text()
        assert "'orders:of:1' is a string, and cdc keeps a set there" in process.text()
        assert models.client.get("orders:902") is None
        models.client.delete("orders:of:1")
        pipeline.refresh(*models.flags, "--only", "shop.orders")
        process = pipeline.run(*models.flags)
        models.wait_until_equal()
        assert process.stop() == 0, process.text()
