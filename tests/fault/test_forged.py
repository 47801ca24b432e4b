"""What others publish on our subjects stops nothing, moves nothing and skips nothing."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import nats
import pytest

from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import TABLE, Bench
from tests.support.forger import LOGINS, forged, publish
from tests.support.pipeline import wait_for
from tests.support.truth import messages

POSITION_LOST = 65
BARE_WHILE_AWAY = 20_000
CHANGED = f"UPDATE {TABLE} SET ver = ver + 1"


@pytest.fixture
def guarded(new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path) -> Bench:
    """Servers whose NATS has logins: that of cdc, and those that may publish alone."""
    mysql = new_mysql(options=("--sync-binlog=0",))
    return Bench(mysql, new_nats(LOGINS), new_redis(), tmp_path)


def server_uuid(bench: Bench) -> bytes:
    """Return whose binlog the forged heartbeats speak of."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@server_uuid")
        (found,) = cursor.fetchone() or ("",)
    return str(found).encode()


def dead_letters(bench: Bench) -> int:
    """Return how many messages were kept as dead letters."""

    async def ask() -> int:
        client = await nats.connect(bench.nats.url)
        count = (await client.jetstream().stream_info("MYSQL_DEAD")).state.messages
        await client.close()
        return count

    return asyncio.run(ask())


def test_forged_messages_of_every_kind_do_nothing(guarded: Bench) -> None:
    """While two copies run, while nothing runs, before a refresh: Redis is what MySQL is.

    Each is kept as a dead letter, once.
    """
    sent = 0
    with guarded.pipeline as pipeline:
        both = [guarded.caught_up(), pipeline.run()]
        lies = forged(server_uuid(guarded))
        for lie in lies:
            sent += publish(guarded.nats, "loud", [lie])
            guarded.passes(f"a change behind {lie}")
        assert [process.stop() for process in both] == [0, 0], pipeline.logs()

        sent += publish(guarded.nats, "loud", lies)
        guarded.execute(CHANGED)
        both = [pipeline.run(), pipeline.run()]
        guarded.passes()
        guarded.wait_until_equal()
        assert [process.stop() for process in both] == [0, 0], pipeline.logs()

        sent += publish(guarded.nats, "loud", lies)
        guarded.execute(f"DELETE FROM {TABLE} WHERE id < 20", CHANGED)
        assert pipeline.refresh()["gap"] is True
        last = pipeline.run()
        wait_for("the sweep", lambda: '"refreshed"' in last.text())
        guarded.passes()
        guarded.wait_until_equal()
        assert last.stop() == 0, last.text()
    epochs = {body["epoch"] for _, body in messages(guarded.nats.url) if "began" in body}

    assert epochs == {1, 2, 99}  # the last one is of the forged heartbeats
    assert dead_letters(guarded) == sent


async def _own(bench: Bench) -> list[tuple[str, bytes]]:
    """Return the newest update, rows and schema message, as they are in the stream."""
    client = await nats.connect(bench.nats.url)
    out = []
    for op in ("update", "snapshot", "schema"):
        stored = await client.jetstream().get_last_msg("MYSQL", f"mysql.{op}")
        out.append((f"mysql.{op}", stored.data or b""))
    await client.close()
    return out


def test_true_messages_of_an_earlier_epoch_do_nothing(guarded: Bench) -> None:
    """Whoever consumes the stream sends them a second time, behind a refresh: nothing stops."""
    flags = ("--on-schema-change", "continue")
    with guarded.pipeline as pipeline:
        process = guarded.caught_up(*flags)
        guarded.execute(CHANGED, f"TRUNCATE TABLE {TABLE}")
        wait_for("the schema", lambda: "changed as a whole" in process.text())
        guarded.passes()
        old = asyncio.run(_own(guarded))
        pipeline.refresh(*flags)
        wait_for("the sweep", lambda: '"refreshed"' in process.text())
        guarded.passes("the refresh")
        for copy in old:
            before = process.text().count("copies of old messages")
            publish(guarded.nats, "loud", [copy])
            wait_for(
                f"the warning of {copy[0]}",
                partial(lambda n: process.text().count("copies of old messages") > n, before),
                20,
            )
            guarded.passes(f"a change behind a copy on {copy[0]}")
        guarded.wait_until_equal()
        assert process.stop() == 0, process.text()

        process = pipeline.run(*flags)
        guarded.passes()
        guarded.wait_until_equal()
        assert process.stop() == 0, process.text()
    assert dead_letters(guarded) == 0


async def _forget_the_key(bench: Bench) -> None:
    client = await nats.connect(bench.nats.url)
    config = json.loads((await client.request("$JS.API.STREAM.INFO.MYSQL", timeout=10)).data)
    changed = json.dumps(config["config"] | {"metadata": {}}).encode()
    done = await client.request("$JS.API.STREAM.UPDATE.MYSQL", changed, timeout=10)
    assert "error" not in json.loads(done.data)
    await client.close()


def test_a_stream_that_was_spoilt_before_it_had_a_key_is_healed_by_a_refresh(
    guarded: Bench,
) -> None:
    """What an older cdc took for its own stays so; a refresh begins above it, in Redis too."""
    with guarded.pipeline as pipeline:
        process = guarded.caught_up()
        assert process.stop() == 0, process.text()
        asyncio.run(_forget_the_key(guarded))
        publish(guarded.nats, "app", forged(server_uuid(guarded))[:2])
        guarded.execute(f"DELETE FROM {TABLE} WHERE id < 20", CHANGED)
        process = pipeline.run()
        assert process.wait() == POSITION_LOST, process.text()

        assert pipeline.refresh()["gap"] is True
        process = pipeline.run()
        wait_for("the sweep", lambda: '"refreshed"' in process.text())
        guarded.passes()
        guarded.wait_until_equal()
        assert process.stop() == 0, process.text()


@pytest.mark.parametrize("partitions", ["1", "3"])
def test_bare_messages_while_the_reader_is_away_do_not_keep_it_out(
    guarded: Bench, partitions: str
) -> None:
    """However many: it goes on behind them, they are applied, and a refresh works over them."""
    newest = str(BARE_WHILE_AWAY - 1).encode()
    lie = forged(server_uuid(guarded))[:1]
    with guarded.pipeline as pipeline:
        process = guarded.caught_up("--partitions", partitions)
        assert process.stop() == 0, process.text()
        bare = [
            ("mysql.update", b'{"key":"users:app","value":"%d"}' % n)
            for n in range(BARE_WHILE_AWAY)
        ]
        publish(guarded.nats, "app", [*lie, *bare])
        guarded.execute(CHANGED)
        process = pipeline.run("--partitions", partitions)
        wait_for("the last bare message", lambda: guarded.client.get("users:app") == newest)
        guarded.wait_until_equal(ignore={"users:app"})
        assert process.stop() == 0, process.text()

        publish(guarded.nats, "app", [*lie, *bare])
        guarded.execute(f"DELETE FROM {TABLE} WHERE id < 20", CHANGED)
        assert pipeline.refresh("--partitions", partitions)["gap"] is True
        process = pipeline.run("--partitions", partitions)
        wait_for("the sweep", lambda: '"refreshed"' in process.text())
        guarded.wait_until_equal(ignore={"users:app"})
        assert process.stop() == 0, process.text()
