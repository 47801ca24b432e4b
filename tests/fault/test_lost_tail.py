"""NATS acknowledged messages and lost them: what a power cut does to its newest ones."""

from __future__ import annotations

from pathlib import Path

import redis

from tests.support.bench import TABLE, Bench
from tests.support.lost_writes import Saved
from tests.support.ordeal import end_well
from tests.support.tally import seeded
from tests.support.truth import Observer
from tests.support.writer import Writer

MORE_ROWS = 600
ROUNDS = 4


def test_a_tail_lost_while_tables_are_read(bench: Bench, tmp_path: Path) -> None:
    """Rows that are read again get ids of their own: none is taken for one applied before."""
    chance = seeded()
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        rows = [(1000 + i, "more", None, 0) for i in range(MORE_ROWS)]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", "--snapshot-chunk-rows", "3", name="reader")
        sink = pipeline.process("--role", "sink", name="sink")
        observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
        reader.start()
        sink.start()
        bench.wait_for_progress()
        writer = Writer(
            bench.mysql.connect, TABLE, seed=chance.randrange(1 << 32), rows=1600, pause_s=0.02
        )
        # NATS has written its first heartbeat to the file by then.
        writer.wait_for_commits(20)
        for round_ in range(ROUNDS):
            saved = Saved(bench.nats, tmp_path / f"nats{round_}")
            writer.wait_for_commits(chance.randint(1, 20))
            bench.wait_for_progress()
            if round_ == ROUNDS - 1:
                assert writer.stop()
            saved.put_back()
            bench.wait_for_progress()
        bench.recovered("NATS lost its tail during a snapshot")
        end_well(bench, reader, sink)
        observer.stop()
