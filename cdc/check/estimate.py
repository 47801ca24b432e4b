"""How long a table takes and how much room it needs, estimated from its rows.

Pure.  The figures behind it: docs/performance.md (snapshot), and Redis' own bytes for a key
(a dict entry, the key, an object, an allocation class too large).
"""

from __future__ import annotations

from dataclasses import dataclass

BACKFILL_ROWS_PER_S = 80_000
MARGIN = 3
"""Retention must cover this many times the snapshot's duration."""
REDIS_KEY_BYTES = 180
"""What a key costs in addition to its value."""
STREAM_ROW_BYTES = 120
"""What a row adds in the stream to its value: its key, its id, the message around it."""
SECONDS_ROUGH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """What the scan of a table found."""

    rows: int
    is_exact: bool
    """False: `rows` is the catalog's estimate; counting would have taken too long."""
    size_bytes: int
    """Data and indexes on MySQL's disk, as the catalog says."""
    value_bytes: int
    """An average row as the value that Redis will hold."""
    largest_bytes: int | None = None
    """The largest row as a message, at least; None: not looked for within the time."""

    @property
    def snapshot_s(self) -> float:
        """Seconds that reading its rows takes."""
        return self.rows / BACKFILL_ROWS_PER_S

    @property
    def redis_bytes(self) -> int:
        """What it takes in Redis."""
        return self.rows * (self.value_bytes + REDIS_KEY_BYTES)

    @property
    def stream_bytes(self) -> int:
        """What its first rows take in the stream."""
        return self.rows * (self.value_bytes + STREAM_ROW_BYTES)


def bytes_text(size_bytes: float) -> str:
    """Return a size for people.

    >>> bytes_text(950), bytes_text(1_234_567), bytes_text(98_000_000_000)
    ('950 B', '1.2 MB', '98 GB')
    """
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return a duration for people.

    >>> seconds_text(0.2), seconds_text(39), seconds_text(7200)
    ('under 1 s', '39 s', '2.0 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < SECONDS_ROUGH:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
