"""How long a table takes and how much room it needs, in numbers and for people."""

from __future__ import annotations

import pytest

from cdc.check.estimate import TableSize, bytes_text, seconds_text


def test_time_and_room_follow_from_the_rows() -> None:
    """80,000 rows a second; 180 bytes a key in Redis, 120 a row in the stream, and the value."""
    size = TableSize(rows=160_000, is_exact=True, size_bytes=1, value_bytes=100)

    assert (2.0, 44_800_000, 35_200_000) == (size.snapshot_s, size.redis_bytes, size.stream_bytes)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (9_940, "9.9 kB"),
        (10_000_000, "10 MB"),
        (98_000_000_000, "98 GB"),
        (2.5e15, "2500 TB"),
    ],
)
def test_a_size_has_two_digits_and_a_unit(size_bytes: float, text: str) -> None:
    """Whole from 10 on; nothing is larger than a terabyte."""
    assert text == bytes_text(size_bytes)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0, "under 1 s"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (600, "10 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (90_000, "25.0 h"),
    ],
)
def test_a_duration_is_rough(value_s: float, text: str) -> None:
    """Seconds up to two minutes, minutes up to two hours."""
    assert text == seconds_text(value_s)
