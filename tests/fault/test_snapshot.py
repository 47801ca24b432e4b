"""The first reading of a table that is written to heavily, killed in the middle."""

from __future__ import annotations

import subprocess

import pytest
import redis

from tests.support.bench import ROWS, TABLE, Bench
from tests.support.tally import seeded
from tests.support.truth import Observer
from tests.support.writer import Writer

KILLS = 6


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
            # A random moment, not a wait for anything.
            with pytest.raises(subprocess.TimeoutExpired):
                reader.wait(chance.uniform(0, 0.15))
            reader.kill()
            reader.start()
        writer.stop()
        bench.wait_until_equal()
        assert [reader.stop(), sink.stop()] == [0, 0], pipeline.logs()
        assert "Traceback" not in reader.text() + sink.text()
        assert "never retrieved" not in reader.text()
    observer.stop()

    assert bench.assert_exactly_once() > ROWS
