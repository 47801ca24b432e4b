"""What the tables need against what the servers have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.check.estimate import TableSize
from cdc.check.finding import Report
from cdc.check.room import check_room, large_row
from cdc.settings import Settings

SIZE = TableSize(rows=1000, is_exact=True, size_bytes=100_000, value_bytes=100, largest_bytes=1000)


def found(settings: Settings | None = None, **report: object) -> list[tuple[str, bool]]:
    about = Report(sizes={"shop.users": SIZE}, max_payload_bytes=1 << 20)
    for name, value in report.items():
        setattr(about, name, value)
    return [(f.id, f.stops) for f in check_room(settings or Settings(), about)]


def test_what_has_no_limit_has_room() -> None:
    """None is no limit that a server tells of."""
    assert found(stream_room_bytes=None, redis_room_bytes=None) == []


def test_room_is_compared_with_the_estimate() -> None:
    """220 bytes a row for the stream, 280 for Redis: a byte more is enough, a byte less not."""
    assert found(stream_room_bytes=220_001, redis_room_bytes=280_001) == []
    assert found(stream_room_bytes=220_000) == [("nats.stream-room", False)]
    assert found(redis_room_bytes=280_000) == [("redis.memory", False)]


def test_without_a_snapshot_a_stream_needs_room_for_changes_alone() -> None:
    """A full one is told of all the same."""
    without = replace(Settings(), snapshot=False)

    assert found(without, stream_room_bytes=1) == []
    assert found(without, stream_room_bytes=0) == [("nats.stream-room", False)]


@pytest.mark.parametrize(
    ("largest", "limit", "words"),
    [
        (0, 1000, []),
        (500, 1000, []),
        (501, 1000, ["more where it is escaped"]),
        (1000, 1000, ["more where it is escaped"]),
        (1001, 1000, ["max_row_bytes is"]),
    ],
)
def test_the_largest_row_is_compared_with_what_is_carried(
    largest: int, limit: int, words: list[str]
) -> None:
    """Above it the row becomes a dead letter; above half of it escaped signs may make it so."""
    found = list(large_row("shop.users", largest, limit))

    assert len(words) == len(found)
    assert all(word in one.seen and not one.stops for word, one in zip(words, found, strict=True))
