"""NATS lost what was applied, in later epochs too: it is read again, and nothing comes twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import nats
import pytest

from tests.support.bench import TABLE, Bench, dead_letters
from tests.support.depth import by_depth
from tests.support.lost_writes import Saved
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import Process, descendants, wait_for
from tests.support.tally import TALLY, seeded
from tests.support.writer import Writer

pytestmark = pytest.mark.timeout(300)

POSITION_LOST = 65
SETTLED_COMMITS = 20
LOSSES = by_depth(1, full=2)
"""By then NATS has written its first heartbeat to the file."""
FLAGS = {"1": (), "3": ("--partitions", "3")}


def refreshed(bench: Bench, process: Process, times: int, *flags: str) -> None:
    """Begin so many epochs; return when Redis has each."""
    for number in range(1, times + 1):
        bench.pipeline.refresh(*flags)
        wait_for("the sweep", lambda n=number: process.text().count('"refreshed"') >= n)  # type: ignore[misc]


def publish_bare(bench: Bench, value: int) -> int:
    """Let an application publish by itself; return its sequence when Redis shows it."""

    async def publish() -> int:
        client = await nats.connect(bench.nats.url)
        body = json.dumps({"key": "marks:77", "value": str(value)})
        stored = await client.jetstream().publish("mysql.update", body.encode())
        await client.close()
        return stored.seq

    seq = asyncio.run(publish())
    wait_for("the bare message", lambda: bench.client.get("marks:77") == b"%d" % value)
    return seq


def saved_behind(bench: Bench, writer: Writer, folder: Path, seq: int) -> Saved:
    """Save NATS, and let as little be lost that a place behind a sequence is still marked.

    Marks are as far apart as they are old, so it takes as long again as the loss does.
    """
    end_s = time.monotonic() + 60
    for number in itertools.count():
        stored = last(bench)
        saved = Saved(bench.nats, folder.with_name(f"{folder.name}-{number}"))
        writer.wait_for_commits(50)
        bench.wait_for_progress()
        positions = [json.loads(line) for line in (bench.position() or b"").splitlines()]
        if all(any(seq <= mark <= stored for mark, _ in at["marks"]) for at in positions):
            return saved
        assert time.monotonic() < end_s, positions
    raise AssertionError


def last(bench: Bench) -> int:
    """Return the stream's last sequence."""

    async def ask() -> int:
        client = await nats.connect(bench.nats.url)
        info = await client.jetstream().stream_info("MYSQL")
        await client.close()
        return int(info.state.last_seq)

    return asyncio.run(ask())


def kill_sink(process: Process) -> None:
    """End the sink of a `cdc run` with SIGKILL; it is started again."""
    for pid in descendants(process.pid):
        with suppress(OSError):
            if b"redis_sink.sink:run" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                TALLY.count("SIGKILL")


@pytest.mark.parametrize(("epoch", "partitions"), [(2, "1"), (3, "1"), (2, "3")])
def test_a_tail_lost_in_a_later_epoch(
    bench: Bench, tmp_path: Path, epoch: int, partitions: str
) -> None:
    """It heals, through restarts of the sink too, and makes no dead letter of what is old."""
    chance = seeded()
    flags = FLAGS[partitions]
    with bench.pipeline:
        process = bench.caught_up(*flags)
        refreshed(bench, process, epoch - 1, *flags)
        bare = max(publish_bare(bench, value) for value in range(5))
        with ordeal(bench, chance, process, pause_s=0.005) as writer:
            for number in range(LOSSES):
                writer.wait_for_commits(SETTLED_COMMITS)
                saved = saved_behind(bench, writer, tmp_path / f"nats{number}", bare)
                saved.put_back()
                kill_sink(process)
                bench.recovered("NATS lost its tail in a later epoch")
        assert "lost its end" in process.text() or "was rewritten" in process.text()
    assert dead_letters(bench.nats.url) == 0
    assert bench.client.get("marks:77") == b"4"


def test_a_stream_that_is_read_from_its_beginning(bench: Bench, tmp_path: Path) -> None:
    """A position without marks, as an older cdc leaves it: all epochs are passed over."""
    chance = seeded()
    with bench.pipeline:
        process = bench.caught_up()
        refreshed(bench, process, 2)
        with ordeal(bench, chance, process, pause_s=0.005) as writer:
            writer.wait_for_commits(SETTLED_COMMITS)
            saved = Saved(bench.nats, tmp_path / "nats")
            writer.wait_for_commits(100)
            bench.wait_for_progress()
            assert process.stop() == 0
            position = json.loads(bench.position() or b"")
            assert position.pop("marks")
            bench.client.set("cdc:default:position", json.dumps(position))
            saved.put_back()
            process.start()
            wait_for("the beginning", lambda: '"seq":1,' in process.text().rpartition("sink s")[2])
            kill_sink(process)
            bench.recovered("NATS lost its tail, and no mark is known")
    assert dead_letters(bench.nats.url) == 0


def test_a_refresh_of_all_that_was_lost_with_the_tail(bench: Bench, tmp_path: Path) -> None:
    """Redis is of a later epoch than the stream: that is said, and another refresh helps."""
    with bench.pipeline as pipeline:
        process = bench.caught_up()
        for _ in range(3):
            bench.wait_for_progress()
        saved = Saved(bench.nats, tmp_path / "nats")
        refreshed(bench, process, 1)
        bench.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        bench.wait_until_equal()
        saved.put_back()
        assert process.wait() == POSITION_LOST
        assert "is of an earlier epoch" in process.text()
        pipeline.refresh()
        assert bench.caught_up().stop() == 0


def test_a_refresh_of_a_table_that_was_lost_with_the_tail(bench: Bench, tmp_path: Path) -> None:
    """Nobody reads the table, so the sink says so and goes on; asked for again, it is read."""
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", name="reader").start()
        sink = pipeline.process("--role", "sink", name="sink").start()
        bench.wait_until_equal()
        for _ in range(3):
            bench.wait_for_progress()
        saved = Saved(bench.nats, tmp_path / "nats")
        reader.freeze()
        pipeline.refresh("--only", "users")
        wait_for("the announcement", lambda: "refresh started" in sink.text())
        saved.put_back()
        reader.thaw()
        wait_for("the word", lambda: "the stream lost a refresh" in sink.text())
        bench.recovered("NATS lost a refresh")
        refreshed(bench, sink, 1, "--only", "users")
        end_well(bench, reader, sink)
