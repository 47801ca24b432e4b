"""The first reading of a table that is written to heavily, killed in the middle."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from cdc.demo.servers import MariaDB, MySQL
from tests.conftest import NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.tally import seeded
from tests.support.truth import Observer
from tests.support.writer import Writer

KILLS = by_depth(2, full=6)


def test_a_snapshot_killed_under_load_ends_right_and_never_goes_back(bench: Bench) -> None:
    """Chunks of two rows, keys that change, SIGKILL again and again: no version goes back."""
    chance = seeded()
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    writer = Writer(bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), rows=ROWS)
    with bench.pipeline as pipeline:
        reader = pipeline.process(
            "--role", "reader", "--snapshot-chunk-rows", "2", name="reader"
        ).start()
        sink = pipeline.process("--role", "sink", name="sink").start()
        for _ in range(KILLS):
            bench.wait_for_progress()
            reader.kill_after(chance.uniform(0, 0.15))
        writer.wait_for_commits(50)  # more rows than the table has, however fast the kills were
        writer.stop()
        bench.wait_until_equal()
        assert [reader.stop(), sink.stop()] == [0, 0], pipeline.logs()
        assert "Traceback" not in reader.text() + sink.text()
        assert "never retrieved" not in reader.text()
    observer.stop()

    assert bench.assert_exactly_once() > ROWS


@pytest.mark.parametrize("kind", ["mysql", "mysql without gtids", "mariadb"])
def test_a_snapshot_goes_on_where_nobody_writes(
    kind: str, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """The binlog's end is reached without a change: after a kill, a rotation and a restart."""
    with ExitStack() as stack:
        source: MySQL | MariaDB = MySQL(gtid=kind == "mysql")
        if kind == "mariadb":
            source = MariaDB()
        stack.enter_context(source)
        bench = Bench(source, new_nats(), new_redis(), tmp_path)
        pipeline = stack.enter_context(bench.pipeline)
        reader = pipeline.process(
            "--role", "reader", "--snapshot-chunk-rows", "2", name="reader"
        ).start()
        sink = pipeline.process("--role", "sink", name="sink").start()
        bench.wait_for_progress()
        reader.kill()
        with source.connect() as connection, connection.cursor() as cursor:
            cursor.execute("FLUSH BINARY LOGS")
        reader.start()
        bench.wait_for_progress()
        reader.kill()
        source.kill()
        source.start()
        reader.start()
        bench.wait_until_equal()
        assert [reader.stop(), sink.stop()] == [0, 0], pipeline.logs()

    assert bench.assert_exactly_once() >= ROWS // 2 - 1
