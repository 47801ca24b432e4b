"""Redis at its maxmemory: what is deleted in MySQL makes room, and what waits is applied."""

from __future__ import annotations

import pytest

from tests.support.bench import TABLE, Bench
from tests.support.ordeal import end_well
from tests.support.pipeline import wait_for

MORE = "INSERT INTO {table} SELECT id + {by}, REPEAT('x', 80), balance, ver FROM {table}"


@pytest.mark.parametrize("partitions", ["1", "3"])
def test_rows_deleted_in_mysql_make_room(bench: Bench, partitions: str) -> None:
    """Behind inserts that wait for room, and without anybody doing anything to Redis."""
    bench.execute(*[MORE.format(table=TABLE, by=100 << n) for n in range(4)])
    with bench.pipeline:
        process = bench.caught_up("--partitions", partitions)
        used = bench.client.info("memory")
        assert isinstance(used, dict)
        bench.client.config_set("maxmemory", used["used_memory"] - 20_000)
        bench.execute(MORE.format(table=TABLE, by=10_000))
        wait_for("the wait", lambda: "its memory is full" in process.text())
        bench.execute(f"DELETE FROM {TABLE} WHERE id < 10000")
        bench.wait_until_equal()
        assert "sink resumed" in process.text()
        bench.client.config_set("maxmemory", 0)
        end_well(bench, process)
