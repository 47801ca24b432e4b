"""NATS or Redis acknowledged writes and lost them: a power cut, or an older copy put back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
import pytest
import redis

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import TABLE, Bench
from tests.support.depth import by_depth
from tests.support.lost_writes import Saved, wait_until_written
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer, messages
from tests.support.writer import Writer

pytestmark = pytest.mark.timeout(300)

MORE_ROWS = 600
SNAPSHOT_ROUNDS = by_depth(2, full=4)
ROUNDS = by_depth(2, full=3)
SETTLED_COMMITS = 20


def test_a_tail_lost_while_tables_are_read(bench: Bench, tmp_path: Path) -> None:
    """Rows that are read again get ids of their own: none is taken for one applied before."""
    chance = seeded()
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        rows = [(1000 + i, "more", None, 0) for i in range(MORE_ROWS)]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", "--snapshot-chunk-rows", "3", name="reader")
        sink = pipeline.process("--role", "sink", name="sink")
        reader.start()
        sink.start()
        bench.wait_for_progress()
        with ordeal(bench, chance, reader, sink, pause_s=0.02) as writer:
            writer.wait_for_commits(SETTLED_COMMITS)
            wait_until_written(bench.nats)
            for number in range(SNAPSHOT_ROUNDS):
                saved = Saved(bench.nats, tmp_path / f"nats{number}")
                writer.wait_for_commits(chance.randint(1, 20))
                bench.wait_for_progress()
                if number == SNAPSHOT_ROUNDS - 1:
                    writer.end()
                saved.put_back()
                bench.wait_for_progress()
            bench.recovered("NATS lost its tail during a snapshot")


def test_a_tail_lost_under_load_and_while_idle(bench: Bench, tmp_path: Path) -> None:
    """It is published again from the binlog; what is applied is passed over."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        with ordeal(bench, chance, process) as writer:
            writer.wait_for_commits(SETTLED_COMMITS)
            wait_until_written(bench.nats)
            for number in range(ROUNDS):
                saved = Saved(bench.nats, tmp_path / f"nats{number}")
                writer.wait_for_commits(chance.randint(50, 200))
                bench.wait_for_progress()
                is_idle = number == ROUNDS - 1
                if is_idle:
                    writer.end()
                    bench.wait_until_equal()
                before = _changes(bench)
                saved.put_back()
                if is_idle:
                    # Nobody writes: it is brought again without being asked for.
                    wait_for("the lost messages", lambda b=before: _changes(bench) >= b)  # type: ignore[misc]
                bench.recovered(f"NATS lost its tail {'while idle' if is_idle else 'under load'}")
        assert "stream lost its end" in process.text() or "was rewritten" in process.text()


def _changes(bench: Bench) -> int:
    """Heartbeats that were lost do not come again, what they stood behind does."""
    return sum("id" in body for _, body in messages(bench.nats.url))


def _stored(bench: Bench) -> int:
    return len(messages(bench.nats.url))


def test_lost_heartbeats_and_changes_in_their_places(bench: Bench, tmp_path: Path) -> None:
    """The stream has grown past the sink's place before the sink looks: no gap, no loss."""
    with bench.pipeline as pipeline:
        reader = pipeline.process(
            "--role", "reader", "--heartbeat-idle-s", "0.2", name="reader"
        ).start()
        sink = pipeline.process("--role", "sink", name="sink").start()
        bench.wait_until_equal()
        bench.passes()
        for _ in range(3):
            bench.wait_for_progress()
        saved = Saved(bench.nats, tmp_path / "nats")
        for _ in range(5):
            bench.wait_for_progress()
        sink.freeze()
        saved.put_back()
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        wait_for("the changes in the stream", lambda: _stored(bench) > 2 * 99 + 10)
        sink.thaw()
        bench.recovered("NATS lost heartbeats")
        end_well(bench, reader, sink)


def test_redis_loses_writes_that_the_stream_still_has(bench: Bench, tmp_path: Path) -> None:
    """Restored from an older copy, under load and stopped: the position went back with the data."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        for number in range(ROUNDS):
            writer = Writer(
                bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), pause_s=0.002
            )
            bench.wait_for_progress()
            saved = Saved(bench.redis, tmp_path / f"redis{number}")
            writer.wait_for_commits(100)
            bench.wait_for_progress()
            if number == ROUNDS - 1:
                assert process.stop() == 0
            saved.put_back()
            if number == ROUNDS - 1:
                process = pipeline.run()
            # From here on no value goes back: what Redis lost was its own.
            bench.wait_for_progress()
            writer.stop()
            bench.recovered("Redis restored from an older copy")
            bench.wait_until_equal()
            observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
            bench.passes()
            observer.stop()
        end_well(bench, process)


def test_a_consumer_deleted_and_a_stream_that_is_full(bench: Bench) -> None:
    """Another consumer is made; a full stream is waited for, said so, and goes on with room."""
    chance = seeded()
    with bench.pipeline as pipeline:
        # Nothing that is applied is removed, or it would never be full.
        limit = ("--stream-max-bytes", str(4 << 20), "--stream-keep-s", "0")
        reader = pipeline.process("--role", "reader", *limit, name="reader")
        sink = pipeline.process("--role", "sink", *limit, name="sink")
        reader.start()
        sink.start()
        bench.wait_for_progress()
        with ordeal(bench, chance, reader, sink):
            for _ in range(3):
                assert asyncio.run(_delete_consumers(bench)) > 0
                bench.wait_for_progress()
            bench.recovered("the sink's consumer deleted")
            wait_for("the full stream", lambda: "the stream is full" in reader.text())
            asyncio.run(_make_room(bench))
            bench.recovered("a full stream")


async def _delete_consumers(bench: Bench) -> int:
    client = await nats.connect(bench.nats.url)
    jetstream = client.jetstream()
    names = [info.name for info in await jetstream.consumers_info("MYSQL")]
    for name in names:
        await jetstream.delete_consumer("MYSQL", name)
    await client.close()
    return len(names)


async def _make_room(bench: Bench) -> None:
    """Let the stream grow, as `nats stream edit` does."""
    client = await nats.connect(bench.nats.url)
    jetstream = client.jetstream()
    config = (await jetstream.stream_info("MYSQL")).config
    config.max_bytes = 1 << 30
    await jetstream.update_stream(config)
    await client.close()


def test_a_nats_without_room_on_its_disk(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """NATS takes three quarters of what is free and then refuses: waited for, said, caught up.

    Here its share is a setting, because a small file system needs root; what it answers then
    is the same.
    """
    chance = seeded()
    store = {"store_dir": str(tmp_path / "store")}
    server = new_nats({"jetstream": store | {"max_file_store": 2 << 20}})
    bench = Bench(new_mysql(options=("--sync-binlog=0",)), server, new_redis(), tmp_path)
    with bench.pipeline as pipeline:
        process = pipeline.run("--stream-keep-s", "0")  # else what is applied makes room
        bench.wait_for_progress()
        with ordeal(bench, chance, process) as writer:
            wait_for("the full disk", lambda: "the stream is full" in process.text())
            assert "JetStream file resource limits exceeded" in server.log_tail()
            writer.wait_for_commits(20)
            server.options = {"jetstream": store}
            bench.restart(server, kill=True)
            bench.recovered("a full disk of NATS")


def test_a_key_of_another_type_and_one_that_is_gone(bench: Bench) -> None:
    """The next change of its row makes a key right, whatever somebody made of it."""
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        bench.client.delete("users:1", "users:2", "users:3")
        bench.client.rpush("users:1", "a list")
        bench.client.hset("users:2", "a", "hash")
        bench.client.expire("users:4", 1000)
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        bench.recovered("keys of other types")
        bench.wait_until_equal()
        assert bench.client.ttl("users:4") == -1
        end_well(bench, process)
