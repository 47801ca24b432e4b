"""A large table is read while it is written to, and nobody feels it more than was asked for.

``BACKFILL_ROWS=1000000`` (``make backfill``) reads a million rows in the first test.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import pytest
import redis

from tests.support.bench import TABLE, Bench
from tests.support.depth import by_depth
from tests.support.load import Load
from tests.support.ordeal import bugs
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer, assert_equal

ROWS = int(os.environ.get("BACKFILL_ROWS") or by_depth(30_000, full=150_000))
"""Of the table that is killed over; in CI so many as a minute allows."""
KILLS = 10
ROWS_PER_S = 2000
HOT = 300
"""Rows that the observer looks at and a third of the writes goes to."""
MORE = "shop.more"


def fill(bench: Bench, rows: int, table: str = TABLE, more: str = "") -> None:
    """Put rows into a table, ids from 1 on."""
    bench.execute(
        # A reader that begins a little before would publish them as changes.
        "SET SESSION sql_log_bin = 0",
        f"DELETE FROM {table}",
        f"SET SESSION cte_max_recursion_depth = {rows + 1}",
        f"INSERT INTO {table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        f"WHERE i < {rows}) SELECT i, CONCAT('row ', i{more}), 1.5, 0 FROM n",
    )


def size(bench: Bench) -> int:
    """Return how many keys Redis has."""
    count: Any = bench.client.dbsize()
    return int(count)


def wait_for_rows(bench: Bench, rows: int, deadline_s: float = 60.0) -> None:
    """Wait until Redis has so many keys."""
    wait_for("rows", lambda: size(bench) >= rows, deadline_s)


def has_read(reader: Process, bench: Bench | None = None, rows: int = 0) -> bool:
    """Say whether Redis has so many keys, or the table is read to its end."""
    if bench is not None and size(bench) >= rows:
        return True
    return '"rows read","table":"shop.users"' in reader.text()


def waits(process: Process, what: str) -> bool:
    """Say whether the reader holds the snapshot back for a reason."""
    lines = [x for x in process.text().splitlines() if '"the snapshot ' in x]
    return bool(lines) and "the snapshot is paused" in lines[-1] and what in lines[-1]


@pytest.mark.timeout(0)
def test_a_backfill_under_load_killed_ten_times_ends_equal_and_never_goes_back(
    bench: Bench,
) -> None:
    """Updates, inserts, deletes and key changes all the time; each side is killed five times."""
    chance = seeded()
    fill(bench, ROWS)
    hot = chance.sample(range(1, ROWS + 1), HOT)
    observer = Observer(redis.Redis(port=bench.redis.port), [f"users:{n}" for n in hot])
    with bench.pipeline as pipeline:
        load = Load(
            bench.mysql.port, TABLE, seed=chance.randrange(1 << 32), ids=ROWS, hot=hot,
            rows_per_s=ROWS_PER_S,
        )  # fmt: skip
        began_s = time.monotonic()
        roles = [pipeline.process("--role", role, name=role).start() for role in ("reader", "sink")]
        for kill in range(KILLS):
            share = (kill + chance.random()) / (KILLS + 1)
            # On a slow machine the load removes more rows than are left to be read.
            wait_for("rows", partial(has_read, roles[0], bench, int(share * ROWS)), 600)
            roles[kill % 2].kill()
            roles[kill % 2].start()
        wait_for("the end", partial(has_read, roles[0]), 600)
        bench.passes("the rows' end", 600)
        took_s, per_s = time.monotonic() - began_s, load.per_s()
        written = load.stop()
        bench.passes("the load's end", 120)
        with bench.mysql.connect() as connection:
            assert_equal(connection, bench.client, TABLE)
        for process in roles:
            assert process.stop() == 0, process.text()
            assert not bugs(process.text())
    observer.stop()
    print(
        f"{ROWS:,} rows in {took_s:.1f} s beside {per_s:,.0f} rows/s written ({written:,}), "
        f"{KILLS} SIGKILLs; the observer looked {observer.samples:,} times at {HOT} rows"
    )

    assert bench.assert_exactly_once() > ROWS / 2


def test_a_rate_is_not_exceeded_and_changes_do_not_wait_for_it(bench: Bench) -> None:
    """`snapshot_rows_per_s`: the source serves so many rows a second and no more."""
    fill(bench, 3000)
    with bench.pipeline as pipeline:
        began_s = time.monotonic()
        process = pipeline.run("--snapshot-rows-per-s", "1000")
        wait_for("rows", lambda: size(bench) > 100)
        bench.passes("a change beside it")
        assert '"rows read","table":"shop.users"' not in process.text()
        wait_for("the end", lambda: '"rows read","table":"shop.users"' in process.text())
        took_s = time.monotonic() - began_s
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()

    assert took_s > 2.8


def test_the_snapshot_waits_for_a_sink_that_is_behind(bench: Bench) -> None:
    """Redis holds writes up: rows that stand there anyway wait, changes go into the stream."""
    fill(bench, 20_000)
    flags = ["--snapshot-chunk-rows", "100", "--snapshot-max-lag-messages", "10"]
    flags += ["--snapshot-rows-per-s", "4000"]
    with bench.pipeline as pipeline:
        process = pipeline.run(*flags)
        wait_for("rows", lambda: size(bench) > 100)
        bench.client.client_pause(4000, all=False)
        wait_for("the wait", lambda: waits(process, "messages behind"))
        wait_for("its end", lambda: "the snapshot resumed" in process.text())
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def test_the_snapshot_waits_for_room_in_redis(bench: Bench) -> None:
    """Nearly full: changes still fit."""
    fill(bench, 20_000)
    bench.client.set("filler", "x" * (64 << 20))
    flags = ("--snapshot-chunk-rows", "100", "--snapshot-rows-per-s", "2000")
    with bench.pipeline as pipeline:
        process = pipeline.run(*flags)
        wait_for("rows", lambda: size(bench) > 500)
        used: Any = bench.client.info("memory")
        bench.client.config_set("maxmemory", used["used_memory"] * 100 // 95)
        wait_for("the wait", lambda: waits(process, "of its maxmemory"))
        bench.passes("a change")
        assert size(bench) < 20_000
        bench.client.config_set("maxmemory", 0)
        wait_for("its end", lambda: "the snapshot resumed" in process.text())
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()


def add_a_table(bench: Bench, rows: int) -> None:
    """Make a table that the pipeline has not followed so far."""
    bench.execute(f"CREATE TABLE {MORE} LIKE {TABLE}")
    fill(bench, rows, MORE)


def has_more(bench: Bench) -> None:
    """Wait until Redis shows the added table, rows that went meanwhile gone."""
    bench.passes("what was written before")
    with bench.mysql.connect() as connection:
        assert_equal(connection, bench.client, MORE)
        assert_equal(connection, bench.client, TABLE)


def test_a_table_that_is_added_is_read_while_the_others_go_on(bench: Bench) -> None:
    """A restart with one table more; rows of it are deleted while it is read."""
    slowly = ("--snapshot-rows-per-s", "1000", "--snapshot-chunk-rows", "50")
    with bench.pipeline as pipeline:
        process = bench.caught_up(*slowly)
        add_a_table(bench, 3000)
        assert process.stop() == 0, process.text()
        bench.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        pipeline.environment["CDC_TABLES"] += f",{MORE}"
        process = pipeline.run(*slowly)
        wait_for("rows", lambda: bench.client.exists("more:100") == 1)
        bench.passes("a change of the others")
        assert not bench.client.exists("more:3000")
        bench.execute(f"DELETE FROM {MORE} WHERE id % 3 = 0", f"UPDATE {MORE} SET ver = 7")
        wait_for("the end", lambda: f'"rows read","table":"{MORE}"' in process.text())
        has_more(bench)
        assert process.stop() == 0, process.text()
    assert bench.assert_exactly_once() > 3000


@pytest.mark.parametrize("first", ["sink", "reader"])
def test_a_table_that_is_added_to_one_side_first(bench: Bench, first: str) -> None:
    """The sink first: right at once.  The reader first: it waits, and says for whom."""
    with bench.pipeline as pipeline:
        old = {
            role: pipeline.process("--role", role, name=role).start() for role in ("reader", "sink")
        }
        bench.wait_until_equal()
        add_a_table(bench, 500)
        pipeline.environment["CDC_TABLES"] += f",{MORE}"
        second = "reader" if first == "sink" else "sink"
        assert old[first].stop() == 0
        new = {first: pipeline.process("--role", first, name=first).start()}
        bench.passes("a change of the others")
        if first == "reader":
            wait_for("the wait", lambda: waits(new["reader"], MORE))
            bench.passes("a change of the others")
            assert not bench.client.keys("more:*")
        assert old[second].stop() == 0
        new[second] = pipeline.process("--role", second, name=second).start()
        wait_for("the end", lambda: f'"rows read","table":"{MORE}"' in new["reader"].text())
        has_more(bench)
        for process in new.values():
            assert process.stop() == 0, process.text()
            assert "quarantined" not in process.text()


def test_the_snapshot_waits_while_redis_is_full(bench: Bench) -> None:
    """Nothing can be written: rows wait too, so the stream does not grow by them."""
    fill(bench, 20_000)
    flags = ("--snapshot-chunk-rows", "100", "--snapshot-rows-per-s", "2000")
    with bench.pipeline as pipeline:
        process = pipeline.run(*flags)
        wait_for("rows", lambda: size(bench) > 500)
        bench.client.config_set("maxmemory", 1_000_000)
        wait_for("the wait", lambda: waits(process, ""), 30)
        assert size(bench) < 20_000
        bench.client.config_set("maxmemory", 0)
        wait_for("its end", lambda: "the snapshot resumed" in process.text())
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()
