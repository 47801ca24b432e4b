"""Two whole copies of `cdc run` at once, as a rolling restart has them: both go on."""

from __future__ import annotations

import pytest

from tests.support.bench import Bench
from tests.support.depth import by_depth
from tests.support.ordeal import ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(300)

ROUNDS = by_depth(1, full=2)
ALARMS = ("lost its end", "rewritten", "a message is missing", "quarantined")


@pytest.mark.parametrize(("epoch", "partitions"), [(1, "1"), (2, "1"), (2, "3")])
def test_a_rolling_restart_under_load(bench: Bench, epoch: int, partitions: str) -> None:
    """Each copy begins beside the one before, which ends only when both have seen the other."""
    chance = seeded()
    flags = ("--partitions", partitions)
    with bench.pipeline as pipeline:
        copies = [bench.caught_up(*flags)]
        for _ in range(1, epoch):
            pipeline.refresh(*flags)
        with ordeal(bench, chance):
            for _ in range(ROUNDS):
                older, newer = copies[-1], pipeline.run(*flags)
                copies.append(newer)
                wait_for("the newer copy", lambda: _takes_part(newer))  # noqa: B023 - at once
                for _ in range(5):
                    bench.wait_for_progress()
                assert older.is_running(), older.text()
                assert newer.is_running(), newer.text()
                assert older.stop() == 0, older.text()
                bench.recovered("a copy stopped beside another")
        assert copies[-1].stop() == 0, copies[-1].text()
    for process in copies:
        assert not [alarm for alarm in ALARMS if alarm in process.text()], process.text()


def _takes_part(process: Process) -> bool:
    """It has come as far as to follow the stream, or to be kept from it."""
    said = process.text()
    reads = '"streaming"' in said or "another reader publishes" in said
    return reads and ("sink started" in said or "another sink" in said)
