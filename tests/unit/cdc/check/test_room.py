"""What the tables need against what the servers have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.check.estimate import TableSize
from cdc.check.finding import Report
from cdc.check.room import check_room, max_payload
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
    ("largest", "limit", "stops"),
    [
        (0, 1000, []),
        (500, 1000, []),
        (501, 1000, [False]),
        (1000, 1000, [False]),
        (1001, 1000, [True]),
    ],
)
def test_the_largest_row_is_compared_with_max_payload(
    largest: int, limit: int, stops: list[bool]
) -> None:
    """Above it the reader would stop; above half of it escaped signs may make it so."""
    assert [finding.stops for finding in max_payload("shop.users", largest, limit)] == stops


def test_the_wanted_payload_holds_the_row_twice() -> None:
    """A power of two, and never more than NATS takes."""
    (small,) = max_payload("t", 1_200_000, 1 << 20)
    (large,) = max_payload("t", 900_000_000, 1 << 20)

    assert small.fix.file == ("nats-server.conf", f"max_payload: {4 << 20}")
    assert large.fix.file == ("nats-server.conf", f"max_payload: {64 << 20}")
