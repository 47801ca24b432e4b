"""What cannot be followed without a gap ends with an error whose fix works."""

from __future__ import annotations

import asyncio

import nats

from cdc.demo.servers import MariaDB
from tests.support.bench import TABLE, Bench
from tests.support.pipeline import wait_for
from tests.support.truth import messages

POSITION_LOST = 65
CHILD = f"FOREIGN KEY (parent) REFERENCES {TABLE} (id) ON DELETE CASCADE"


def start_over(bench: Bench) -> None:
    """Follow docs/guarantees.md; Redis shows what MySQL has."""
    bench.pipeline.refresh()
    assert bench.caught_up().stop() == 0


async def _remove_stream(bench: Bench) -> None:
    client = await nats.connect(bench.nats.url)
    await client.jetstream().delete_stream("MYSQL")
    await client.close()


def reset_statement(bench: Bench) -> str:
    """Return what throws the binlog away and begins it anew."""
    return "RESET MASTER" if isinstance(bench.mysql, MariaDB) else "RESET BINARY LOGS AND GTIDS"


def test_a_binlog_begun_anew_under_a_stopped_reader_is_noticed(source: Bench) -> None:
    """Even where it has grown past our place and its GTIDs look like those that we have."""
    with source.pipeline:
        assert source.caught_up().stop() == 0
        source.execute(reset_statement(source))
        source.execute(*[f"UPDATE {TABLE} SET ver = ver + 1 WHERE id = 7"] * 150)
        source.execute(f"UPDATE {TABLE} SET ver = ver + 1", f"UPDATE {TABLE} SET ver = ver + 1")
        process = source.pipeline.run()

        assert process.wait() == POSITION_LOST
        assert "the server's binlog was reset" in process.text()
        start_over(source)


def test_a_stream_removed_while_running_is_noticed(bench: Bench) -> None:
    """The changes in it are gone: the sink says so and how to begin anew, exit code 65."""
    with bench.pipeline:
        process = bench.caught_up()
        asyncio.run(_remove_stream(bench))
        bench.execute(f"UPDATE {TABLE} SET ver = ver + 1")

        assert process.wait() == POSITION_LOST
        assert "a message is missing in the stream MYSQL" in process.text()
        start_over(bench)


def test_cascades_that_no_binlog_shows_are_told_at_the_start(source: Bench) -> None:
    """With cascades = "warn": MariaDB's; those of MySQL 9.6 and newer are in the binlog."""
    source.pipeline.environment["CDC_CASCADES"] = "warn"
    source.pipeline.environment["CDC_TABLES"] = f"{TABLE},shop.children"
    source.execute(
        f"CREATE TABLE children (id INT PRIMARY KEY, parent INT, {CHILD})",
        "INSERT INTO children VALUES (1, 1), (2, 2)",
    )
    with source.pipeline:
        process = source.caught_up()
        source.execute(f"DELETE FROM {TABLE} WHERE id = 1")
        source.wait_until_equal()
        if isinstance(source.mysql, MariaDB):
            assert "shop.children: its foreign key to users changes rows" in process.text()
        else:
            wait_for("the cascade", lambda: not source.client.exists("children:1"))
            assert "foreign key" not in process.text()
        assert process.stop() == 0


def test_what_stands_before_a_refused_change_is_published(bench: Bench) -> None:
    """The error says so, and a restart that may pass the change goes on without a gap."""
    with bench.pipeline as pipeline:
        assert bench.caught_up().stop() == 0
        before = len(messages(bench.nats.url))
        bench.execute(f"UPDATE {TABLE} SET ver = ver + 1", f"ALTER TABLE {TABLE} ADD extra INT")
        bench.execute(f"ALTER TABLE {TABLE} DROP extra", f"UPDATE {TABLE} SET ver = ver + 1")
        process = pipeline.run("--on-schema-change", "stop")
        assert process.wait() == POSITION_LOST
        assert "ALTER TABLE of the captured table shop.users" in process.text()
        assert "all changes before it were published" in process.text()
        published = [b["op"] for _, b in messages(bench.nats.url)[before:] if "id" in b]
        process = pipeline.run("--on-schema-change", "continue")
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()

    assert published == ["update"] * 99
    assert bench.assert_exactly_once() > 99
