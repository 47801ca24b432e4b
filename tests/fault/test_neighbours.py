"""Others beside us: a second reader, a second sink, an application that publishes by itself."""

from __future__ import annotations

import time

import redis

from tests.support.application import Application
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.pipeline import wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer, messages
from tests.support.writer import Writer

WRITE_S = float(by_depth(2, full=6))
FOREIGN_PER_S = 500
STATEMENTS = by_depth(300, full=1000)
"""Updates of 99 rows each, for a backlog that takes seconds."""


def write_for(bench: Bench, seconds: float) -> int:
    """Let the legacy application write for a while; return its committed transactions."""
    writer = Writer(bench.mysql.connect, TABLE, seed=seeded().randrange(1 << 32), rows=ROWS)
    end = time.monotonic() + seconds
    wait_for("the time to write", lambda: time.monotonic() > end, seconds + 5)
    return writer.stop()


def test_a_second_reader_and_a_second_sink_change_nothing(bench: Bench) -> None:
    """Overlapping deployments: each message once and in order, no value goes back."""
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        processes = [
            pipeline.process("--role", role, name=role).start()
            for role in ("reader", "sink", "reader", "sink")
        ]
        bench.wait_for_progress()
        committed = write_for(bench, WRITE_S)
        bench.wait_until_equal()
        assert [process.stop() for process in processes] == [0, 0, 0, 0], pipeline.logs()
    observer.stop()

    assert bench.assert_exactly_once() > committed


def _drain_s(bench: Bench, first_version: int) -> float:
    """Write a backlog while nothing runs; return how long the pipeline takes for it."""
    with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE users SET ver = %s", (first_version,))
        for _ in range(STATEMENTS):
            cursor.execute("UPDATE users SET ver = ver + 1, name = CONCAT('name ', ver)")
    began_s = time.monotonic()
    process = bench.pipeline.run()
    bench.wait_until_equal(deadline_s=90, ignore={"users:app"})
    took_s = time.monotonic() - began_s
    assert process.stop() == 0, process.text()
    return took_s


def test_an_application_beside_us_loses_nothing_and_halts_nothing(bench: Bench) -> None:
    """500 bare messages a second: all stored, all ours stored, and not one by one.

    A fence that is refused again for every one of them would take a hundred times as long.
    """
    with bench.pipeline as pipeline:
        first = pipeline.run()
        bench.wait_until_equal()
        assert first.stop() == 0, first.text()
        alone_s = _drain_s(bench, 0)
        application = Application(bench.nats.url, FOREIGN_PER_S)
        wait_for("the application to publish", lambda: application.sent > 100)
        before = application.sent
        beside_s = _drain_s(bench, 1_000_000)
        during = application.sent - before
        sent = application.stop()
        newest = str(sent - 1).encode()
        again = pipeline.run()
        wait_for("the last bare message", lambda: bench.client.get("users:app") == newest)
        assert again.stop() == 0
    bench.client.delete("users:app")
    bench.wait_until_equal()
    bare = [body for _, body in messages(bench.nats.url) if "id" not in body and "op" not in body]

    assert bench.assert_exactly_once() > 2 * STATEMENTS * 99
    assert [body["value"] for body in bare] == [str(n) for n in range(sent)]
    assert during > 100
    assert beside_s < 10 * alone_s + 5
