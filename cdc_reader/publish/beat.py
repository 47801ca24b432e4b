"""Decide when the next heartbeat is due.

Pure.  A restart resumes at a heartbeat, and `cdc wait` looks for one in Redis: it states
that all transactions of its GTID set are before it.  So one goes out after a change at once
while the binlog is quiet, as long as the allowance lasts; under load every `heartbeat_s`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ALLOWANCE_S = 60
"""The most of the allowance that can be saved up: a burst of changes is followed closely."""
QUIET_BYTES = 1 << 16
"""Fewer bytes in one read: there is no backlog."""

Progress = int
"""Chunks of snapshots that are in line."""


@dataclass(slots=True, kw_only=True)
class Beat:
    """One connection's heartbeats: ask `due` after each read, tell it what was `sent`."""

    heartbeat_s: float
    idle_s: float
    early_bytes_per_s: int
    """What heartbeats may take that go out before their time; 0: none does."""
    clock: Callable[[], float] = time.monotonic
    _at_s: float = -math.inf
    _progress: Progress = -1
    _boundary: object = None
    _is_owed: bool = False
    _allowance_bytes: float = field(init=False)
    _filled_at_s: float = field(init=False)
    _size_bytes: int = 500

    def __post_init__(self) -> None:
        self._allowance_bytes = self.early_bytes_per_s * ALLOWANCE_S
        self._filled_at_s = self.clock()

    def due(
        self, progress: Progress, boundary: object, *, published: bool, read_bytes: int
    ) -> bool:
        """Return whether a heartbeat goes out now.

        Args:
            progress: with a finished chunk at once, so that a restart resumes there.
            boundary: the newest transaction boundary, ``(2, 27999999)``.
            published: changes go out with this flush.
            read_bytes: what came with the newest read.
        """
        self._is_owed = self._is_owed or published
        now_s = self.clock()
        waited_s = now_s - self._at_s
        if progress != self._progress or waited_s >= self.idle_s:
            return True
        has_moved = boundary != self._boundary
        if waited_s >= self.heartbeat_s and (self._is_owed or has_moved):
            return True
        if not (self._is_owed and has_moved and read_bytes < QUIET_BYTES):
            return False
        return self._early_in_s(now_s) <= 0

    def sent(
        self, progress: Progress, boundary: object, *, size_bytes: int, in_transaction: bool
    ) -> None:
        """Note a heartbeat that goes out, and take its size from the allowance."""
        self._early_in_s(self.clock())
        self._allowance_bytes = max(0.0, self._allowance_bytes - size_bytes)
        self._at_s, self._progress, self._boundary = self.clock(), progress, boundary
        self._is_owed, self._size_bytes = in_transaction, size_bytes

    def due_in_s(self) -> float:
        """Return how long nothing is due if nothing comes."""
        if not self._is_owed:
            return math.inf
        now_s = self.clock()
        return max(0.0, min(self._at_s + self.heartbeat_s - now_s, self._early_in_s(now_s)))

    def _early_in_s(self, now_s: float) -> float:
        """Return when the allowance suffices for a heartbeat."""
        rate = self.early_bytes_per_s
        gained = (now_s - self._filled_at_s) * rate
        self._filled_at_s = now_s
        self._allowance_bytes = min(rate * ALLOWANCE_S, self._allowance_bytes + gained)
        if not rate:
            return math.inf
        return (self._size_bytes - self._allowance_bytes) / rate
