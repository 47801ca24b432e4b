"""Ranges of keys are read anew beside everything else; they lose nothing and repeat nothing."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
import redis

from cdc.check import servers
from cdc.message import Refresh
from cdc.settings import load
from cdc.telemetry import setup
from cdc_reader.snapshot.key_range import Key
from cdc_reader.snapshot.refresh import announce, read_to_the_end
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.checking import QUIET
from tests.support.depth import by_depth
from tests.support.pipeline import wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer, expected, found
from tests.support.writer import Writer

TURNS = by_depth(2, full=6)
"""Each asks for ranges and kills both sides."""


def ask_for(bench: Bench, *flags: str, ranges: dict[str, list[tuple[Key, Key]]]) -> Refresh:
    """Announce ranges of keys, as `cdc snapshot` and `cdc verify --repair` do."""
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    settings = load({"partitions": given.get("--partitions")}, bench.pipeline.environment)

    async def ask() -> Refresh:
        tables = await servers.check(settings, "reader", setup(settings, "cdc"))
        refresh, _ = await announce(settings, tables, (), QUIET, ranges=ranges)
        return refresh

    return asyncio.run(ask())


@pytest.mark.parametrize("partitions", ["1", "3"])
def test_ranges_are_read_while_a_table_is_read_and_both_sides_are_killed(
    bench: Bench, partitions: str
) -> None:
    """They come beside the first reading and lose nothing of it; no row goes back."""
    chance = seeded()
    bench.pipeline.environment["CDC_SNAPSHOT_CHUNK_ROWS"] = "3"
    flags = ("--partitions", partitions)
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        roles = {
            role: pipeline.process("--role", role, *flags, name=role).start()
            for role in ("reader", "sink")
        }
        wait_for("the first rows", lambda: bench.client.exists("users:1") == 1)
        writer = Writer(bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), pause_s=0.001)
        for _ in range(TURNS):
            ends = sorted(chance.sample(range(1, ROWS), 4))
            pairs: list[tuple[Key, Key]] = [
                ((str(first),), (str(last),)) for first, last in pairwise(ends)
            ]
            refresh = ask_for(bench, *flags, ranges={TABLE: pairs})
            assert (refresh.gap, refresh.tables, refresh.ranges_of) == (False, (), (TABLE,))
            for victim in ("reader", "sink"):
                roles[victim].kill_after(chance.uniform(0, 0.3))
        bench.wait_for_progress()
        writer.stop()
        bench.wait_until_equal()
        for process in roles.values():
            assert process.stop() == 0, process.text()
    observer.stop()

    assert bench.assert_exactly_once() > 99
    assert not bench.client.keys("cdc:*:refresh:*")


def test_a_range_mends_its_rows_and_no_others(source: Bench) -> None:
    """Evicted and overwritten keys within it are right again; what is outside stays as it is."""
    with source.pipeline:
        process = source.caught_up()
        source.client.set("users:7", "wrong")
        source.client.delete("users:20")
        source.client.set("users:21", "wrong")
        source.client.set("users:8000", "of no row")
        refresh = ask_for(source, ranges={TABLE: [(("5",), ("9",)), (("20",), ("20",))]})
        settings = load({}, source.pipeline.environment)
        asyncio.run(read_to_the_end(settings, refresh, QUIET))
        source.execute(f"UPDATE {TABLE} SET ver = ver + 1 WHERE id = 98")
        with source.mysql.connect() as connection:
            want = expected(connection, TABLE)
        want |= {"users:21": "wrong", "users:8000": "of no row"}
        wait_for("its rows", lambda: found(source.client, TABLE) == want)
        assert process.stop() == 0, process.text()
