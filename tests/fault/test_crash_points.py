"""Each step of both loops is the last one of its process, again and again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.application import Application
from tests.support.bench import TABLE, Bench
from tests.support.crashing import MARK, ONCE, POINTS
from tests.support.depth import by_depth
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process
from tests.support.tally import TALLY, seeded

pytestmark = pytest.mark.timeout(400)

MOST_CALLS = 30
AGAIN = {"reader": by_depth(1, full=2), "snapshot": 1, "sink": by_depth(1, full=2)}
"""How often each step is the last one."""
DIES_WITHIN_S = 60.0

Point = tuple[str, str, int]
"""(step, before, half or after, number of the call)"""


def points(role: str, chance: random.Random) -> list[Point]:
    """Return every step of a role with calls drawn by chance, in any order."""

    def drawn() -> Iterator[Point]:
        for step, whens in POINTS[role]:
            for when in whens:
                most = 1 if step.endswith(ONCE) else 5 if role == "snapshot" else MOST_CALLS
                yield from ((step, when, chance.randint(1, most)) for _ in range(AGAIN[role]))

    out = list(drawn())
    chance.shuffle(out)
    return out


def die_at_each(bench: Bench, role: str, todo: Sequence[Point], *arguments: str) -> None:
    """Start the role again and again, and let it kill itself at each of the points."""
    for step, when, k in todo:
        program = ("tests.support.crashing", step, when, str(k))
        name = f"{role}-{step.rpartition(':')[2]}-{when}-{k}-"
        process = bench.pipeline.process("--role", role, *arguments, name=name, program=program)
        began_s = time.monotonic()
        code = process.start().wait(DIES_WITHIN_S)
        print(f"{step} {when} {k}: {time.monotonic() - began_s:.1f} s")
        assert code == -signal.SIGKILL, f"{step} {when} {k}: {code}\n{process.text()}"
        assert f"{MARK}: {step} {when}" in process.text()
        assert "Traceback" not in process.text()
        TALLY.count("SIGKILL")


def test_each_step_of_both_loops_may_be_the_last(bench: Bench) -> None:
    """Killed before, within and after each step, at the k-th call: nothing lost or repeated."""
    chance = seeded()
    # A poisoned message now and then, so that dead letters are sent too.
    junk = Application(bench.nats.url, 50, subject="mysql.insert", body=b"not the contract")
    with bench.pipeline as pipeline:
        todo = {role: points(role, chance) for role in ("reader", "sink")}
        with ordeal(bench, chance, pause_s=0.03) as writer, ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(die_at_each, bench, r, p) for r, p in todo.items()]:
                done.result()
            last: list[Process] = [
                pipeline.process("--role", role, name=role).start() for role in todo
            ]
            writer.wait_for_commits(10)
            junk.stop()
            bench.recovered("kill -9 at each step")
        # Behind the checks, so that a failed one shows its own error.
        assert [process.stop() for process in last] == [0, 0]


def test_each_step_of_a_snapshot_may_be_the_last(bench: Bench) -> None:
    """Killed around each SELECT and each chunk's place in line: every row once, none older."""
    chance = seeded()
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        rows = [(1000 + i, "more", None, 0) for i in range(2000)]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", name="sink").start()
        with ordeal(bench, chance, sink, pause_s=0.02):
            die_at_each(bench, "reader", points("snapshot", chance), "--snapshot-chunk-rows", "5")
            reader = pipeline.process("--role", "reader", name="reader").start()
            bench.recovered("kill -9 during a snapshot")
        assert reader.stop() == 0
