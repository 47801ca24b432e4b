"""A failover to a replica: by GTID nothing is lost, repeated or shown backwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from cdc.demo.servers import MariaDB
from cdc.message import parse_id
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pair import Pair, Source
from tests.support.partial_images import PartialWriter
from tests.support.pipeline import wait_for
from tests.support.switch import Switch
from tests.support.truth import Observer, messages
from tests.support.writer import Writer

POSITION_LOST = 65
FAILOVERS = 2
"""There and back."""


@pytest.fixture(params=["mysql", "mariadb"])
def pair(request: pytest.FixtureRequest, new_mysql: NewMySQL) -> Iterator[Pair]:
    """Two servers of a kind that log what they replicate."""
    with ExitStack() as stack:
        if request.param == "mysql":
            options = ("--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2")
            servers: list[Source] = [
                new_mysql(options=(*options, f"--server-id={n}")) for n in (11, 12)
            ]
        else:
            servers = [
                stack.enter_context(MariaDB((f"--server-id={n}", "--log-slave-updates=ON")))
                for n in (11, 12)
            ]
        switch = stack.enter_context(Switch(servers[0].port))
        yield Pair(servers[0], servers[1], switch, switch.url)


def bench_on(pair: Pair, new_nats: NewNats, new_redis: NewRedis, folder: Path) -> Bench:
    """Make a pipeline on the pair's address; the replica has what the primary has."""
    bench = Bench(pair.primary, new_nats(), new_redis(), folder)
    bench.pipeline.environment["CDC_MYSQL_URL"] = pair.url
    bench.pipeline.environment["CDC_FLUSH_MAX_MESSAGES"] = "7"
    pair.replicate()
    return bench


@pytest.mark.parametrize(
    ("is_killed", "partitions", "in_part"),
    [(True, "1", False), (True, "3", False), (False, "1", False), (True, "1", True)],
    ids=["killed", "killed, partitions", "running", "killed, rows in part"],
)
def test_a_promoted_replica_is_followed_from_the_row_that_the_stream_has(
    pair: Pair,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
    is_killed: bool,
    partitions: str,
    in_part: bool,
) -> None:
    """There and back, under load and inside transactions: one chain, in a new epoch each."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    bench = bench_on(pair, new_nats, new_redis, tmp_path)
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", "--partitions", partitions).start()
        reader = pipeline.process("--role", "reader", "--partitions", partitions).start()
        for _ in range(FAILOVERS):
            bench.wait_for_progress()
            pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 1000")
            seed = chance.randrange(1 << 32)
            if in_part:
                writer: Writer = PartialWriter(pair.primary, TABLE, seed=seed, rows=ROWS)
            else:
                writer = Writer(pair.primary.connect, TABLE, seed=seed, rows=ROWS)
            for _ in range(3):
                bench.wait_for_progress()
            reader.let_run(chance.uniform(0, 0.5))
            if is_killed:
                reader.kill()
            writer.stop()
            pair.wait_for_the_replica()
            pair.primary.kill()
            pair.stop_replicating()
            pair.promote()
            if is_killed:
                reader.start()
            pair.replica.start()
            pair.replicate()
        bench.mysql = pair.primary
        if not in_part:  # else it would give each row whole
            pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 100000")
        bench.wait_until_equal()
        assert reader.stop() == 0, reader.text()
        assert sink.stop() == 0, sink.text()
        assert reader.text().count("another server") >= FAILOVERS
    observer.stop()

    epochs = [parse_id(b["id"])[0] for _, b in messages(bench.nats.url) if "id" in b]
    assert bench.assert_exactly_once() >= len(epochs)
    assert epochs == sorted(epochs)
    assert max(epochs) == 1 + FAILOVERS


def test_a_replica_that_lacks_what_the_stream_has_stops_the_reader(
    pair: Pair, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """A failover that lost transactions: Redis shows rows that MySQL no longer has."""
    bench = bench_on(pair, new_nats, new_redis, tmp_path)
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        pair.wait_for_the_replica()
        pair.stop_replicating()
        pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 1")
        bench.wait_until_equal()
        pair.primary.kill()
        pair.promote()
        pair.execute(pair.primary, f"DELETE FROM {TABLE} WHERE id = 1")

        assert process.wait() == POSITION_LOST
        assert "lacks transactions that the stream has" in process.text()


def test_a_replica_that_is_still_applying_is_waited_for(
    pair: Pair, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """An address that moves before the replica has caught up is no loss."""
    bench = bench_on(pair, new_nats, new_redis, tmp_path)
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        pair.wait_for_the_replica()
        with pair.replica.connect() as holding, holding.cursor() as cursor:
            cursor.execute(f"LOCK TABLES {TABLE} READ")
            pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 1")
            bench.wait_until_equal()
            pair.promote()
            wait_for("the reader", lambda: '"waiting for a server"' in process.text())
            process.let_run(1.0)
        bench.mysql = pair.primary
        wait_for("the new server", lambda: '"another server' in process.text())
        pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 1")
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def test_a_replica_that_purged_what_we_lack_stops_the_reader(
    pair: Pair, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """Its GTIDs include ours, and its binlog does not reach back to them."""
    bench = bench_on(pair, new_nats, new_redis, tmp_path)
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        assert process.stop() == 0
        pair.execute(pair.primary, f"UPDATE {TABLE} SET ver = ver + 1")
        pair.wait_for_the_replica()
        pair.stop_replicating()
        pair.promote()
        pair.execute(pair.primary, "FLUSH BINARY LOGS")
        if pair.is_mariadb:  # its default keeps what no replica has asked for
            pair.execute(pair.primary, "SET GLOBAL slave_connections_needed_for_purge = 0")

        def is_purged() -> bool:
            """A file that a checkpoint or an ending dump still needs is kept, without a word."""
            with pair.primary.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SHOW BINARY LOGS")
                files = [row[0] for row in cursor.fetchall()]
                cursor.execute(f"PURGE BINARY LOGS TO '{files[-1]}'")
            return len(files) == 1

        wait_for("the purge", is_purged)
        process.start()

        assert process.wait() == POSITION_LOST
        assert "purged" in process.text()


def test_a_transaction_that_was_prepared_before_a_failover_is_committed_after_it(
    pair: Pair, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """Where its rows are on the new server is not known: its table is read again, at its COMMIT."""
    bench = bench_on(pair, new_nats, new_redis, tmp_path)
    with bench.pipeline:
        process = bench.caught_up()
        with pair.primary.connect("shop") as gone, gone.cursor() as cursor:
            for statement in ("START", "END", "PREPARE"):
                cursor.execute(f"XA {statement} 'moved'")
                if statement == "START":
                    cursor.execute(f"UPDATE {TABLE} SET name = 'prepared' WHERE id < 9")
        bench.passes("what follows the PREPARE")
        pair.wait_for_the_replica()
        pair.primary.kill()
        pair.stop_replicating()
        pair.promote()
        bench.mysql = pair.primary
        bench.recovered("a failover with a prepared transaction")
        assert b"prepared" not in (bench.client.get("users:1") or b"")
        bench.execute("XA COMMIT 'moved'")
        bench.wait_until_equal()
        assert b"prepared" in (bench.client.get("users:1") or b"")

        assert '"why":"XA COMMIT"' in process.text()
        assert process.stop() == 0, process.text()
