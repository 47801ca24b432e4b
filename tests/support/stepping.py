"""``python -m tests.support.stepping SEED run --role reader …``: a role whose clock steps.

The role is the one that users run.  Here its wall clock is moved from outside: by up to a day,
forward or back, at its start and at each SIGUSR1.
"""

from __future__ import annotations

import random
import signal
import sys
import time

from cdc.cli import main

MARK = "clock stepped"
DAY_S = 86_400


class _Clock:
    """The wall clock, and how far it is off."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now_ns = time.time_ns
        self._off_s = 0

    def step(self, *_: object) -> None:
        """Go somewhere else."""
        self._off_s = self._chance.randint(-DAY_S, DAY_S)
        print(f"{MARK} to {self._off_s:+d} s", file=sys.stderr, flush=True)

    def time_ns(self) -> int:
        """As `time.time_ns`."""
        return self._now_ns() + self._off_s * 1_000_000_000

    def time(self) -> float:
        """As `time.time`."""
        return self.time_ns() / 1e9


if __name__ == "__main__":
    clock = _Clock(int(sys.argv[1]))
    time.time_ns, time.time = clock.time_ns, clock.time
    clock.step()
    signal.signal(signal.SIGUSR1, clock.step)
    main(sys.argv[2:])
