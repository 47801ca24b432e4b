"""Medians with their spread.  Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and the smallest and greatest of them."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0, rounds=3)

        Raises:
            ValueError: there is none.
        """
        if not values:
            raise ValueError("no values")
        return cls(statistics.median(values), min(values), max(values), len(values))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all values do not exceed.

    Nearest rank: always a value that was measured.

    >>> quantile([5, 1, 4, 2, 3], 0.5)
    3

    Raises:
        ValueError: there are no values, or the share is not within 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no {share} quantile of {len(values)} values")
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours divided by theirs, round by round: a disturbance of one round hits both.

    Rounds that one of the two does not have, or where theirs is 0, are left out.
    """
    return [a / b for a, b in zip(ours, theirs, strict=False) if b]
