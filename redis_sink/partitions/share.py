"""How sinks divide the partitions among themselves.

Pure.  Each decides for itself, from what all can see: how many sinks live, and which
partitions have an owner.  There is no leader, so none has to be elected.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Board:
    """What all sinks of a pipeline see."""

    live: int
    """Sinks that reported lately, this one included."""
    held: frozenset[int]
    """Partitions with a lease that has not expired."""


def fair_share(partitions: int, live: int) -> int:
    """Return how many partitions one sink follows at most.

    >>> fair_share(4, 3)
    2
    """
    return -(-partitions // max(live, 1))


def surplus(owned: Collection[int], share: int) -> list[int]:
    """Return which partitions a sink gives up, the last ones first.

    >>> surplus({0, 1, 3}, 2)
    [3]
    """
    return sorted(owned, reverse=True)[: max(len(owned) - share, 0)]


def candidates(
    owned: Collection[int], partitions: int, held: Collection[int], at: int
) -> list[int]:
    """Return the partitions to try for, those without a lease first.

    Args:
        at: where this sink started to look, so that several do not all try the same one.

    >>> candidates({0}, 4, {0, 2}, 3)
    [3, 1, 2]
    """
    others = [(at + n) % partitions for n in range(partitions)]
    return sorted((n for n in others if n not in owned), key=lambda n: n in held)
