"""Each side, and both, are killed at random moments under load; nothing is lost or repeated."""

from __future__ import annotations

import pytest
import redis

from tests.support.bench import ROWS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.pipeline import Process
from tests.support.tally import seeded
from tests.support.truth import Observer
from tests.support.writer import Writer

KILLS = by_depth(6, full=30)


@pytest.mark.parametrize("victims", [("reader",), ("sink",), ("reader", "sink")], ids="+".join)
def test_killed_at_random_moments_loses_and_repeats_nothing(
    bench: Bench, victims: tuple[str, ...]
) -> None:
    """SIGKILL at any moment: MySQL equals Redis, each id is in the stream once and in order."""
    chance = seeded()
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        roles: dict[str, Process] = {
            role: pipeline.process("--role", role, name=role).start() for role in ("reader", "sink")
        }
        bench.wait_for_progress()
        writer = Writer(
            bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), rows=ROWS, pause_s=0.001
        )
        for kill in range(KILLS):
            victim = roles[victims[kill % len(victims)]]
            bench.wait_for_progress()
            victim.kill_after(chance.uniform(0, 0.2))
        committed = writer.stop()
        bench.wait_until_equal()
        for process in roles.values():
            assert process.stop() == 0, process.text()
        bench.wait_until_equal()
    observer.stop()

    assert bench.assert_exactly_once() > committed > KILLS
