"""The main job, through the command alone, on every kind of source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pipeline import Pipeline, wait_for
from tests.support.truth import Observer, messages
from tests.support.writer import Writer

COMMITS = 100
PEAK_BYTES = 150_000_000


SPREADS = pytest.mark.parametrize(
    "spread", [{}, {"CDC_PARTITIONS": "3", "CDC_SINKS": "2"}], ids=["1 partition", "3 partitions"]
)


def run_main_job(bench: Bench, seed: int, spread: dict[str, str]) -> None:
    """Start `cdc run` on a table with rows, write, restart it twice, and compare."""
    bench.pipeline.environment.update(spread)
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        writer = Writer(bench.mysql.connect, TABLE, seed=seed, rows=ROWS, pause_s=0.002)
        for _ in range(3):
            process = pipeline.run()
            bench.wait_for_progress()
            before = writer.committed
            wait_for("more commits", lambda before=before: writer.committed > before + COMMITS)  # type: ignore[misc]
            assert process.stop() == 0, process.text()
        writer.stop()
        process = pipeline.run()
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()
        assert "Traceback" not in pipeline.logs()
    observer.stop()

    assert bench.assert_exactly_once() > COMMITS


@SPREADS
def test_mysql_with_gtids(
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
    spread: dict[str, str],
) -> None:
    """Every change is a message and then in Redis; restarts lose and repeat nothing."""
    run_main_job(Bench(new_mysql(), new_nats(), new_redis(), tmp_path), seed=1, spread=spread)


@SPREADS
def test_mysql_without_gtids(
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
    spread: dict[str, str],
) -> None:
    """File and offset carry the same promise on one server."""
    run_main_job(
        Bench(new_mysql(gtid=False), new_nats(), new_redis(), tmp_path), seed=2, spread=spread
    )


@SPREADS
def test_mariadb(
    new_nats: NewNats, new_redis: NewRedis, tmp_path: Path, spread: dict[str, str]
) -> None:
    """MariaDB with its GTIDs is a source like MySQL."""
    with MariaDB() as mariadb:
        run_main_job(Bench(mariadb, new_nats(), new_redis(), tmp_path), seed=3, spread=spread)


@pytest.fixture
def plain(
    mysql: MySQL, new_nats: NewNats, new_redis: NewRedis, fresh_schema: str, tmp_path: Path
) -> tuple[MySQL, str, Nats, Redis, Pipeline]:
    """The plainest table: a key and a value."""
    with mysql.connect(fresh_schema) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE your_table (your_key VARCHAR(64) PRIMARY KEY, your_column VARCHAR(64))"
        )
        cursor.execute("INSERT INTO your_table VALUES ('user:123', 'Jane Roe')")
    nats, redis_server = new_nats(), new_redis()
    pipeline = Pipeline(
        tmp_path,
        mysql=f"{mysql.url}/{fresh_schema}",
        nats=nats.url,
        redis=redis_server.url,
        tables="your_table",
    )
    return mysql, fresh_schema, nats, redis_server, pipeline


def test_the_plainest_form(plain: tuple[MySQL, str, Nats, Redis, Pipeline]) -> None:
    """`--key '{your_key}' --value your_column`: user:123 is John Doe, on NATS and in Redis."""
    mysql, schema, nats, redis_server, pipeline = plain
    client = redis.Redis(port=redis_server.port)
    with pipeline:
        process = pipeline.run("--key", "{your_key}", "--value", "your_column")
        wait_for("the row that was there", lambda: client.get("user:123") == b"Jane Roe")
        with mysql.connect(schema) as connection, connection.cursor() as cursor:
            cursor.execute(
                "UPDATE your_table SET your_column = 'John Doe' WHERE your_key = 'user:123'"
            )
            wait_for("the new value", lambda: client.get("user:123") == b"John Doe")
            cursor.execute("UPDATE your_table SET your_column = NULL")
            wait_for("no value for NULL", lambda: not client.exists("user:123"))
        assert process.stop() == 0, process.text()
    updates = [body for subject, body in messages(nats.url) if subject == "mysql.update"]

    assert list(updates[0])[:2] == ["key", "value"]
    assert (updates[0]["key"], updates[0]["value"]) == ("user:123", "John Doe")
    assert "value" not in updates[1]


def test_a_hash_for_each_row(plain: tuple[MySQL, str, Nats, Redis, Pipeline]) -> None:
    """`--as hash`: a field for each column, absent where it is NULL."""
    mysql, schema, _, redis_server, pipeline = plain
    client = redis.Redis(port=redis_server.port, decode_responses=True)
    with pipeline:
        process = pipeline.run("--as", "hash")
        key = "your_table:user:123"
        wait_for("the row", lambda: client.exists(key) == 1)
        assert client.hgetall(key) == {"your_key": "user:123", "your_column": "Jane Roe"}
        with mysql.connect(schema) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE your_table SET your_column = NULL")
            wait_for("the field to go", lambda: client.hgetall(key) == {"your_key": "user:123"})
            cursor.execute("UPDATE your_table SET your_key = 'user:9'")
            wait_for("the new key", lambda: client.exists("your_table:user:9") == 1)
        assert not client.exists(key)
        assert process.stop() == 0, process.text()


@pytest.mark.timeout(180)
def test_one_transaction_of_a_million_rows_stays_in_bounds(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """Memory of each process does not grow with the transaction."""
    mysql = new_mysql(options=("--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0"))
    nats, redis_server = new_nats(), new_redis()
    client = redis.Redis(port=redis_server.port)
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE shop")
        cursor.execute(
            "CREATE TABLE shop.big (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(99))"
        )
    pipeline = Pipeline(
        tmp_path, mysql=mysql.url, nats=nats.url, redis=redis_server.url, tables="shop.big"
    )
    with pipeline:
        process = pipeline.run()
        wait_for("all tables", lambda: '"rows read"' in process.text())
        with mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION cte_max_recursion_depth = 1000000")
            cursor.execute(
                "INSERT INTO big (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                "FROM n WHERE i < 1000000) SELECT CONCAT('row number ', i) FROM n"
            )
            cursor.execute("INSERT INTO big (id, name) VALUES (2000000, 'the last')")
        wait_for("the last row", lambda: client.exists("big:2000000") == 1, deadline_s=120)
        peaks = process.peak_bytes()
        assert process.stop() == 0, process.text()

    assert client.dbsize() == 1_000_001 + len(("position", "counts", "templates"))
    assert json.loads(str(client.get("big:777777"), "ascii")) == {  # type: ignore[arg-type]
        "id": 777777,
        "name": "row number 777777",
    }
    assert len(peaks) == 3
    assert max(peaks.values()) < PEAK_BYTES
