"""What every fault test goes through: a writer and an observer before, three checks behind.

MySQL equals Redis exactly; nobody saw a value go back; what MySQL acknowledged is there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pipeline import Process
from tests.support.truth import Observer
from tests.support.writer import Writer


@contextmanager
def ordeal(
    bench: Bench,
    chance: random.Random,
    *processes: Process,
    pause_s: float = 0.001,
    sizes: tuple[int, ...] = (1, 1, 1, 2, 5, 40),
) -> Iterator[Writer]:
    """Let the legacy application write while the body does harm; then check.

    Args:
        processes: that run at the end; they are drained.
        pause_s: of the writer, after each transaction.
        sizes: numbers of statements that a transaction may have.
    """
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    writer = Writer(
        bench.mysql.connect,
        TABLE,
        seed=chance.randrange(1 << 32),
        rows=ROWS,
        pause_s=pause_s,
        sizes=sizes,
    )
    try:
        yield writer
        committed = writer.stop()
        assert committed > 0
        end_well(bench, *processes)
        observer.stop()
    finally:
        # After a failure too: what still runs would disturb the tests behind.
        writer.end()
        observer.end()


def end_well(bench: Bench, *processes: Process) -> None:
    """MySQL equals Redis, the processes drain without a word of a bug, each message is once."""
    bench.wait_until_equal()
    for process in processes:
        assert process.stop() == 0, process.text()
        assert not bugs(process.text())
    bench.wait_until_equal()
    assert bench.assert_exactly_once() > 0


def bugs(text: str) -> list[str]:
    """Return the lines of a log that tell of a bug."""
    return [line for line in text.splitlines() if "Traceback" in line or "never retrieved" in line]
