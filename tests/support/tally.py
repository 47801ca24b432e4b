"""What the fault tests did: kills, cuts, restarts, and how long healing took.

Counted where it is done, printed at the end of a run by `tests.support.fault_report`.
"""

from __future__ import annotations

import os
import random
import statistics
from collections import Counter

SEED = "FAULT_SEED"
"""Environment variable: the seed of a run that is to be seen again."""


class Tally:
    """Counts over one run of tests."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        """``{"SIGKILL": 212, "cut": 231, "restart": 54}``"""
        self.recoveries_s: dict[str, list[float]] = {}

    def count(self, what: str, n: int = 1) -> None:
        """Note that something was done."""
        self.of[what] += n

    def recovered(self, fault: str, seconds: float) -> None:
        """Note how long it took from a healed fault to the newest change in Redis."""
        print(f"fault fired and healed: {fault}, {seconds:.2f} s")
        self.recoveries_s.setdefault(fault, []).append(seconds)

    def add(self, counts: dict[str, int], recoveries_s: dict[str, list[float]]) -> None:
        """Take in what another process did."""
        self.of.update(counts)
        for fault, times_s in recoveries_s.items():
            self.recoveries_s.setdefault(fault, []).extend(times_s)

    def median_s(self) -> float:
        """Median of all recoveries; 0 where there was none."""
        every = [s for of_fault in self.recoveries_s.values() for s in of_fault]
        return statistics.median(every) if every else 0.0


TALLY = Tally()


def seeded() -> random.Random:
    """Return what chance is drawn from; its seed is printed, and taken from `SEED` where set."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}; again with {SEED}={seed}")
    return random.Random(seed)
