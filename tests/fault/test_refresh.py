"""`cdc refresh` goes on where nothing else does; Redis ends as MySQL is, rows gone included."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import nats
import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL
from tests.support.bench import ROWS, SOURCES, TABLE, Bench
from tests.support.depth import by_depth, variants
from tests.support.pipeline import Process, wait_for
from tests.support.truth import Observer
from tests.support.writer import Writer

POSITION_LOST = 65
REFRESHES = by_depth(2, full=6)
"""Each with a SIGKILL of both sides."""
CHANGED = f"UPDATE {TABLE} SET ver = ver + 1"
GONE = f"DELETE FROM {TABLE} WHERE id % 3 = 0"
COME = f"INSERT INTO {TABLE} SELECT id + 1000, name, balance, ver FROM {TABLE}"


def healed(bench: Bench, *arguments: str) -> Process:
    """Refresh, start, and see every key right; return the process."""
    said = bench.pipeline.refresh(*arguments)
    assert said["gap"] is True
    process = bench.caught_up(*arguments)
    wait_for("the sweep", lambda: '"refreshed"' in process.text())
    bench.wait_until_equal()
    wait_for("the sets of keys", lambda: not bench.client.keys("cdc:*:refresh:*"))
    return process


async def _on_stream(bench: Bench, what: str) -> None:
    client = await nats.connect(bench.nats.url)
    jetstream = client.jetstream()
    await (jetstream.delete_stream if what == "delete" else jetstream.purge_stream)("MYSQL")
    await client.close()


def lose_the_binlog(bench: Bench, how: str) -> None:
    """Purge what the reader has not seen, or begin the binlog anew."""
    bench.execute(GONE, COME, CHANGED)
    if how == "reset":
        is_mariadb = isinstance(bench.mysql, MariaDB)
        bench.execute("RESET MASTER" if is_mariadb else "RESET BINARY LOGS AND GTIDS")
        return
    bench.execute("FLUSH BINARY LOGS")
    if isinstance(bench.mysql, MariaDB):  # its default keeps what no replica has asked for
        bench.execute("SET GLOBAL slave_connections_needed_for_purge = 0")

    def is_purged() -> bool:
        """A dump that has ended holds its file until the server writes to it."""
        with bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOGS")
            files = [row[0] for row in cursor.fetchall()]
            cursor.execute(f"PURGE BINARY LOGS TO '{files[-1]}'")
        return len(files) == 1

    wait_for("the purge", is_purged)


@pytest.mark.parametrize(
    ("source", "how"), variants(SOURCES, ("purge", "reset")), indirect=["source"]
)
def test_a_binlog_that_is_gone(source: Bench, how: str) -> None:
    """What changed unseen is read from the tables; keys of rows that went are removed."""
    with source.pipeline:
        assert source.caught_up().stop() == 0
        lose_the_binlog(source, how)
        process = source.pipeline.run()
        assert process.wait() == POSITION_LOST
        assert "cdc refresh" in process.text()
        assert healed(source).stop() == 0
        assert source.caught_up().stop() == 0


@pytest.mark.parametrize(("how", "partitions"), variants(("delete", "purge"), ("1", "3")))
def test_a_stream_that_is_gone(bench: Bench, how: str, partitions: str) -> None:
    """Deleted or purged before the sink had it: the sink resumed at the refresh."""
    flags = ("--partitions", partitions)
    with bench.pipeline as pipeline:
        assert bench.caught_up(*flags).stop() == 0
        reader = pipeline.run("--role", "reader", *flags)
        wait_for("the reader", lambda: '"streaming"' in reader.text())
        bench.execute(GONE, COME, CHANGED)
        wait_for("the changes", lambda: '"idle"' in reader.text() or _published(bench) > 250)
        assert reader.stop() == 0
        asyncio.run(_on_stream(bench, how))
        process = pipeline.run(*flags)
        if how == "delete":
            assert process.wait() == POSITION_LOST, process.text()
        else:
            bench.execute(CHANGED)
            assert process.wait() == POSITION_LOST, process.text()
        assert "cdc refresh" in process.text()
        assert healed(bench, *flags).stop() == 0
        assert bench.caught_up(*flags).stop() == 0


def _published(bench: Bench) -> int:
    async def count() -> int:
        client = await nats.connect(bench.nats.url)
        info = await client.jetstream().stream_info("MYSQL")
        await client.close()
        return int(info.state.messages)

    return asyncio.run(count())


def test_a_redis_that_lost_everything_behind_the_streams_beginning(bench: Bench) -> None:
    """Flushed while the stream no longer has its first message."""
    with bench.pipeline as pipeline:
        process = bench.caught_up()
        asyncio.run(_on_stream(bench, "purge"))
        bench.execute(CHANGED)
        bench.wait_until_equal()
        assert process.stop() == 0
        bench.client.flushall()
        process = pipeline.run()
        assert process.wait() == POSITION_LOST
        assert healed(bench).stop() == 0


def test_keys_that_somebody_changed_while_it_runs(bench: Bench) -> None:
    """Evicted, overwritten or added: one table is refreshed in line, nothing stops."""
    with bench.pipeline:
        process = bench.caught_up()
        bench.client.delete(*[f"users:{n}" for n in range(1, 40)])
        bench.client.set("users:50", "wrong")
        bench.client.set("users:5000", "of no row")
        said = bench.pipeline.refresh("--only", "users")
        assert said["gap"] is False
        assert said["tables"] == [TABLE]
        wait_for("the sweep", lambda: '"refreshed"' in process.text())
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()

    assert bench.assert_exactly_once() > 99


def test_a_table_that_was_truncated(bench: Bench) -> None:
    """After --on-schema-change continue its keys are there still; a refresh removes them."""
    with bench.pipeline:
        process = bench.caught_up("--on-schema-change", "continue")
        bench.execute(f"TRUNCATE {TABLE}")
        wait_for("the barrier", lambda: "table changed as a whole" in process.text())
        bench.execute(f"INSERT INTO {TABLE} VALUES (7, 'seven', NULL, 1)")
        bench.pipeline.refresh("--only", TABLE, "--on-schema-change", "continue")
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


@pytest.mark.parametrize(("how", "partitions"), variants(("all", "only"), ("1", "3")))
def test_under_load_and_kills_nothing_alive_disappears(
    bench: Bench, partitions: str, how: str
) -> None:
    """Refreshes while rows come, go and change their keys, and both sides are killed."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    bench.pipeline.environment["CDC_SNAPSHOT_CHUNK_ROWS"] = "7"
    bench.pipeline.environment["CDC_FLUSH_MAX_MESSAGES"] = "20"
    flags = ("--partitions", partitions)
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        roles = {
            role: pipeline.process("--role", role, *flags, name=role).start()
            for role in ("reader", "sink")
        }
        bench.wait_for_progress()
        writer = Writer(bench.mysql.connect, TABLE, seed=seed, rows=ROWS, pause_s=0.001)
        for number in range(REFRESHES):
            bench.client.set(f"users:{9000 + number}", "of no row")
            bench.pipeline.refresh(*flags, *(("--only", "users") if how == "only" else ()))
            for victim in ("reader", "sink"):
                roles[victim].kill_after(chance.uniform(0, 0.4))
        bench.wait_for_progress()
        writer.stop()
        bench.wait_until_equal()
        wait_for("the sets of keys", lambda: not bench.client.keys("cdc:*:refresh:*"))
        for process in roles.values():
            assert process.stop() == 0, process.text()
        bench.wait_until_equal()
    observer.stop()

    assert bench.assert_exactly_once() > 99


def test_a_gap_heals_without_a_person(bench: Bench) -> None:
    """`on_gap = "refresh"`, the default: whichever side meets it, all tables are read again."""
    del bench.pipeline.environment["CDC_ON_GAP"]
    with bench.pipeline as pipeline:
        assert bench.caught_up().stop() == 0
        lose_the_binlog(bench, "purge")
        process = bench.caught_up()
        assert process.text().count("gap found: reading all tables again") == 1
        wait_for("the sweep", lambda: '"refreshed"' in process.text())
        assert process.stop() == 0, process.text()
        bench.client.flushall()
        asyncio.run(_on_stream(bench, "purge"))
        process = pipeline.run()
        wait_for("the refresh", lambda: "sink started" in process.text())
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def test_a_gap_waits_for_a_person_where_the_tables_were_emptied(source: Bench) -> None:
    """A server that was restored empty would empty Redis; the word of a person makes it right."""
    bench = source
    del bench.pipeline.environment["CDC_ON_GAP"]
    bench.execute(*(f"INSERT INTO {TABLE} VALUES ({n}, 'x', 1, 1)" for n in range(1001, 1102)))
    with bench.pipeline as pipeline:
        assert bench.caught_up().stop() == 0
        before = sorted(bench.client.keys("users:*"))
        bench.execute(f"DELETE FROM {TABLE} WHERE id > 50")
        lose_the_binlog(bench, "purge")
        process = pipeline.run()
        assert process.wait() == POSITION_LOST
        assert re.search(r"shop\.users has \d\d rows, and had \d+ or more", process.text())
        assert sorted(bench.client.keys("users:*")) == before
        pipeline.refresh()
        assert bench.caught_up().stop() == 0


def test_a_gap_waits_for_a_person_on_another_server(bench: Bench, tmp_path: Path) -> None:
    """An address that leads to a server that the stream never followed is no reason to trust it."""
    del bench.pipeline.environment["CDC_ON_GAP"]
    with bench.pipeline as pipeline:
        assert bench.caught_up().stop() == 0
        before = sorted(bench.client.keys("users:*"))
        with MySQL() as other:
            Bench(other, bench.nats, bench.redis, tmp_path)
            bench.pipeline.environment["CDC_MYSQL_URL"] = other.url
            process = pipeline.run()
            assert process.wait() == POSITION_LOST
            assert "the tables are not read again without a person" in process.text()
            assert sorted(bench.client.keys("users:*")) == before
