"""Choose the size of the snapshot's next chunk, and when it may begin.

Pure but for the clock.  A chunk aims at a time and at a size, whichever is less: the time is what
one statement holds up on the source, the size what waits here in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_ROWS = 500
LEAST_ROWS = 100
"""Fewer rows do not make a SELECT quicker, only large ones do."""
TARGET_BYTES = 1_500_000
SHRINK_BELOW = 2 / 3
"""What a chunk had to be multiplied by to meet its aim; from 2 on it is doubled."""
_RATE_PARTS = 10
"""With a rate set, a chunk has at most this fraction (1/10) of one second's rows."""


class Pace:
    """Adapts chunks, and holds the snapshot back where it is told to."""

    def __init__(
        self,
        *,
        max_rows: int,
        target_s: float = 0.05,
        rows_per_s: int = 0,
        held_back: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with small chunks.

        Args:
            max_rows: of one chunk.
            target_s: what a chunk's SELECT may take.
            rows_per_s: at most; 0: no limit.
            held_back: returns why no chunk of a table may begin now; empty: it may.
        """
        self.paused = ""
        """Why no chunk was begun at the last question; empty: one was, or it is only the rate."""
        self._max_rows = max_rows
        self._rows = float(min(FIRST_ROWS, max_rows))
        self._target_s = target_s
        self._rows_per_s = rows_per_s
        self._held_back = held_back
        self._clock = clock
        self._due_s = 0.0

    def chunk_rows(self) -> int:
        """Return how many rows the next chunk has, at most."""
        rows = int(self._rows)
        if self._rows_per_s:
            rows = min(rows, self._rows_per_s // _RATE_PARTS)
        return max(1, rows)

    def is_due(self, table: str) -> bool:
        """Return whether the next chunk, of this table, may begin now."""
        if self._rows_per_s and self._clock() < self._due_s:
            return False
        self.paused = self._held_back(table)
        return not self.paused

    def begin_table(self) -> None:
        """Begin with a small chunk again: rows of another table may be large."""
        self._rows = float(min(FIRST_ROWS, self._max_rows))

    def took(self, rows: int, size_bytes: int, took_s: float) -> None:
        """Note a chunk that was read: the next ones follow its size and its time."""
        if self._rows_per_s:
            self._due_s = max(self._due_s, self._clock()) + rows / self._rows_per_s
        by_size = TARGET_BYTES / max(size_bytes, 1)
        by_time = self._target_s / max(took_s, 1e-9)
        if min(by_size, by_time) >= 2 and rows >= int(self._rows):
            self._rows = min(self._rows * 2, self._max_rows)
        elif by_size < SHRINK_BELOW:
            self._rows = max(self._rows * max(by_size, 1 / 2), 1.0)
        elif by_time < SHRINK_BELOW and self._rows > LEAST_ROWS:
            self._rows = max(self._rows * max(by_time, 1 / 2), LEAST_ROWS)
