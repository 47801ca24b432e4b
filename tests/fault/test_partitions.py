"""Several partitions: sinks are killed and taken over; two owners at once harm nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import nats
import nats.js.errors
import redis

from tests.support.application import Application
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.pipeline import Process, descendants, wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer
from tests.support.writer import Writer

PARTITIONS = 4
TAKEN_OVER_S = 15.0
KILLS = by_depth(1, full=3)
"""Of each sink."""
READER_KILLS = by_depth(3, full=15)
KILLS_BESIDE = by_depth(2, full=6)
SPREAD = ("--partitions", str(PARTITIONS))


def a_writer(bench: Bench) -> Writer:
    """Let a legacy application write, key changes included."""
    return Writer(
        bench.mysql.connect, TABLE, seed=seeded().randrange(1 << 32), rows=ROWS, pause_s=0.001
    )


def owners(bench: Bench) -> list[bytes]:
    """Return whose lease each partition has now; nobody's where there is none."""

    async def look() -> list[bytes]:
        client = await nats.connect(bench.nats.url)
        out = []
        for n in range(PARTITIONS):
            try:
                subject = f"$KV.cdc_default.sink.{n}"
                found = await client.jetstream().get_last_msg("KV_cdc_default", subject)
                out.append(found.data or b"")
            except nats.js.errors.NotFoundError:
                out.append(b"")
        await client.close()
        return out

    return asyncio.run(look())


def are_shared(bench: Bench) -> bool:
    """Whether two sinks follow two partitions each."""
    counts = Counter(owners(bench))
    return b"" not in counts and sorted(counts.values()) == [2, 2]


def test_killed_sinks_are_taken_over_and_nothing_is_lost(bench: Bench) -> None:
    """SIGKILL of each of two sinks: the other follows all within 15 s, exactly once."""
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", *SPREAD, name="reader").start()
        sinks = [pipeline.process("--role", "sink", *SPREAD, name="sink").start() for _ in range(2)]
        wait_for("both sinks to share", lambda: are_shared(bench))
        writer = a_writer(bench)
        bench.wait_for_progress_of_each(PARTITIONS)
        for kill in range(2 * KILLS):
            victim = sinks[kill % 2]
            victim.kill()
            bench.wait_for_progress_of_each(PARTITIONS, TAKEN_OVER_S)
            victim.start()
            bench.wait_for_progress_of_each(PARTITIONS)
        wait_for("both sinks to share again", lambda: are_shared(bench))
        committed = writer.stop()
        bench.wait_until_equal()
        for process in (reader, *sinks):
            assert process.stop() == 0, process.text()
    observer.stop()

    assert bench.assert_exactly_once() > committed


def test_the_reader_is_killed_between_partitions(bench: Bench) -> None:
    """SIGKILL of the reader at random moments: each chain goes on where it was, also halves."""
    chance = seeded()
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", *SPREAD, name="reader").start()
        sink = pipeline.process("--role", "sink", *SPREAD, name="sink").start()
        bench.wait_for_progress_of_each(PARTITIONS)
        writer = a_writer(bench)
        for _ in range(READER_KILLS):
            bench.wait_for_progress_of_each(PARTITIONS)
            end = time.monotonic() + chance.uniform(0, 0.2)
            wait_for("a random moment", lambda end=end: time.monotonic() > end)  # type: ignore[misc]
            reader.kill()
            reader.start()
        committed = writer.stop()
        bench.wait_until_equal()
        assert (reader.stop(), sink.stop()) == (0, 0), pipeline.logs()
    observer.stop()

    assert bench.assert_exactly_once() > committed


def test_applications_and_second_readers_beside_us(bench: Bench) -> None:
    """Bare messages between ours, two readers, kills: chains and their ends stay right."""
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        readers = [
            pipeline.process("--role", "reader", *SPREAD, name="reader").start() for _ in range(2)
        ]
        sink = pipeline.process("--role", "sink", *SPREAD, name="sink").start()
        bench.wait_for_progress_of_each(PARTITIONS)
        application = Application(bench.nats.url, 200)
        writer = a_writer(bench)
        for kill in range(KILLS_BESIDE):
            for _ in range(5):
                bench.wait_for_progress_of_each(PARTITIONS)
            readers[kill % 2].kill()
            readers[kill % 2].start()
        committed = writer.stop()
        newest = str(application.stop() - 1).encode()
        bench.wait_until_equal(ignore={"users:app"})
        wait_for("the last bare message", lambda: bench.client.get("users:app") == newest)
        for process in (*readers, sink):
            bench.wait_until_equal(ignore={"users:app"})
            process.stop()
    observer.stop()

    assert bench.assert_exactly_once() > committed


def test_one_command_runs_all_of_it(bench: Bench) -> None:
    """`cdc run --partitions 4 --sinks 2`: three processes, drained together, gone on again."""
    committed = 0
    with bench.pipeline as pipeline:
        for _ in range(2):
            process = pipeline.run(*SPREAD, "--sinks", "2")
            bench.wait_for_progress_of_each(PARTITIONS)
            writer = a_writer(bench)
            bench.wait_for_progress_of_each(PARTITIONS)
            committed += writer.stop()
            bench.wait_until_equal()
            assert process.stop() == 0, process.text()

    assert bench.assert_exactly_once() > committed


def _sinks_of(process: Process) -> set[int]:
    """Return the process ids of the sinks that a command started."""
    found = set()
    for pid in descendants(process.pid):
        with suppress(OSError):
            if b"cdc.process.role\0sink\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def test_two_sinks_run_apart_from_the_reader(bench: Bench) -> None:
    """`cdc run --role sink --sinks 2` is a command of two processes."""
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", *SPREAD, name="reader").start()
        sinks = pipeline.process("--role", "sink", "--sinks", "2", *SPREAD, name="sinks").start()
        wait_for("both sinks to share", lambda: are_shared(bench))
        assert len(_sinks_of(sinks)) == 2
        bench.wait_until_equal()
        assert (reader.stop(), sinks.stop()) == (0, 0), pipeline.logs()


def test_a_sink_of_one_command_is_started_again_by_itself(bench: Bench) -> None:
    """The other goes on in the same process; the leases of the dead one are taken over."""
    with bench.pipeline as pipeline:
        process = pipeline.run(*SPREAD, "--sinks", "2")
        wait_for("both sinks to share", lambda: are_shared(bench))
        writer = a_writer(bench)
        bench.wait_for_progress_of_each(PARTITIONS)
        victim, other = sorted(_sinks_of(process))
        os.kill(victim, signal.SIGKILL)
        wait_for("another process", lambda: len(_sinks_of(process) - {victim}) == 2)
        assert other in _sinks_of(process)
        bench.wait_for_progress_of_each(PARTITIONS, TAKEN_OVER_S)
        wait_for("both sinks to share again", lambda: are_shared(bench))
        writer.stop()
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()
        assert "which=sink-" in process.text() or '"which":"sink-' in process.text()

    bench.assert_exactly_once()


def test_another_number_of_partitions_is_refused(bench: Bench) -> None:
    """By both sides, with the number that the stream has, and nothing is written."""
    with bench.pipeline as pipeline:
        first = pipeline.run(*SPREAD)
        bench.wait_until_equal()
        assert first.stop() == 0, first.text()
        before = bench.positions(PARTITIONS)
        for role, number in (("reader", "8"), ("sink", "8"), ("reader", "1"), ("sink", "1")):
            process = pipeline.process("--role", role, "--partitions", number, "--adopt").start()
            assert process.wait() == 73, process.text()
            assert "run with --partitions 4" in process.text()

    assert bench.positions(PARTITIONS) == before
    assert not bench.client.exists("cdc:default:position")


def _forget_leases(bench: Bench) -> None:
    """Remove all leases and all signs of life, so that each sink believes to be alone."""

    async def purge() -> None:
        client = await nats.connect(bench.nats.url)
        await client.jetstream().purge_stream("KV_cdc_default")
        await client.close()

    asyncio.run(purge())


def test_two_owners_at_once_harm_nothing(bench: Bench) -> None:
    """Leases are taken away under both: they write at the same time, and the fence decides."""
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", *SPREAD, name="reader").start()
        sinks = [pipeline.process("--role", "sink", *SPREAD, name="sink").start() for _ in range(2)]
        wait_for("both sinks to share", lambda: are_shared(bench))
        writer = a_writer(bench)

        def fenced() -> bool:
            return any("another sink writes" in sink.text() for sink in sinks)

        end = time.monotonic() + 60
        while not fenced() and time.monotonic() < end:
            _forget_leases(bench)
            bench.wait_for_progress_of_each(PARTITIONS)
        bench.wait_for_progress_of_each(PARTITIONS)
        committed = writer.stop()
        bench.wait_until_equal()
        for process in (reader, *sinks):
            assert process.stop() == 0, process.text()
        assert fenced()
    observer.stop()

    assert bench.assert_exactly_once() > committed


def test_a_sink_that_wakes_up_late_writes_nothing_old(bench: Bench) -> None:
    """SIGSTOP for longer than a lease: the other follows all; what it held in hand is fenced."""
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        reader = pipeline.process("--role", "reader", *SPREAD, name="reader").start()
        sinks = [pipeline.process("--role", "sink", *SPREAD, name="sink").start() for _ in range(2)]
        wait_for("both sinks to share", lambda: are_shared(bench))
        writer = a_writer(bench)
        bench.wait_for_progress_of_each(PARTITIONS)
        sinks[0].process.send_signal(signal.SIGSTOP)
        bench.wait_for_progress_of_each(PARTITIONS, TAKEN_OVER_S)
        sinks[0].process.send_signal(signal.SIGCONT)
        wait_for(
            "the late one to notice",
            lambda: "another sink took partitions over" in sinks[0].text(),
        )
        bench.wait_for_progress_of_each(PARTITIONS)
        committed = writer.stop()
        bench.wait_until_equal()
        for process in (reader, *sinks):
            assert process.stop() == 0, process.text()
    observer.stop()

    assert bench.assert_exactly_once() > committed
