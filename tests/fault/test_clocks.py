"""Clocks that step: of the reader, of the sink, and of MySQL's sessions."""

from __future__ import annotations

import random
import signal

import pytest

from tests.support.bench import MARKS, TABLE, Bench
from tests.support.depth import by_depth
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process
from tests.support.stepping import DAY_S, MARK
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(300)

MORE_ROWS = 1000
STEPS = by_depth(10, full=20)


def stepping(bench: Bench, role: str, chance: random.Random, *flags: str) -> Process:
    """Return a role whose clock steps at each SIGUSR1, started."""
    program = ("tests.support.stepping", str(chance.randrange(1 << 32)))
    return bench.pipeline.process("--role", role, *flags, name=role, program=program).start()


@pytest.mark.parametrize("flags", [(), ("--partitions", "3")], ids=["1", "3"])
def test_clocks_that_step_decide_nothing(bench: Bench, flags: tuple[str, ...]) -> None:
    """A day forward or back, under load, in a snapshot, before and after kills: nothing changes."""
    chance = seeded()
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        rows = [(1000 + i, "more", None, 0) for i in range(MORE_ROWS)]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
    with bench.pipeline:
        reader = stepping(bench, "reader", chance, *flags, "--snapshot-chunk-rows", "5")
        sink = stepping(bench, "sink", chance, *flags)
        roles = (reader, sink)
        with ordeal(bench, chance, *roles, pause_s=0.005) as writer:
            for number in range(STEPS):
                bench.wait_for_progress()
                role = chance.choice(roles)
                if number % 5 == 4:
                    role.kill_after(0)
                else:
                    role.process.send_signal(signal.SIGUSR1)
                server_s = 1_700_000_000 + chance.randint(-DAY_S, DAY_S)
                bench.execute(f"SET timestamp = {server_s}", f"UPDATE {MARKS} SET n = -1 - ABS(n)")
                writer.wait_for_commits(10)
            bench.recovered("clocks that step")
        assert sum(role.text().count(MARK) for role in roles) >= STEPS + len(roles)
