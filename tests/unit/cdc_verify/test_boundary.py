"""When Redis has everything up to a place of the binlog."""

from __future__ import annotations

import pytest

from cdc.errors import PreflightError
from cdc_verify.boundary import Boundary, LogPosition, SinkPosition, has_passed, positions_of

HEARTBEAT = Boundary(
    seq=100,
    created="then",
    epoch=2,
    server="a",
    place=LogPosition(3, 500),
    gtid_set=None,
    partitions=1,
    snapshot={},
)


def applied(seq: int, id: str = "", created: str = "then") -> SinkPosition:
    """Return a position."""
    return SinkPosition(stream="MYSQL", created=created, seq=seq, id=id)


@pytest.mark.parametrize(
    ("position", "place", "passed"),
    [
        (applied(100), LogPosition(3, 500), True),
        (applied(101), LogPosition(3, 499), True),
        (applied(100), LogPosition(3, 501), False),
        (applied(99), LogPosition(3, 500), False),
        (applied(99), LogPosition(2, 9000), False),
        # The newest change begins at the place or behind it.
        (applied(99, "2.3.500.0"), LogPosition(3, 500), True),
        (applied(99, "2.3.499.7"), LogPosition(3, 500), False),
        (applied(99, "2.4.4.0"), LogPosition(3, 500), True),
        # Of an epoch before: other coordinates.
        (applied(99, "1.9.900.0"), LogPosition(3, 500), False),
        # Of another stream of that name.
        (applied(200, "2.9.900.0", created="now"), LogPosition(3, 500), False),
    ],
)
def test_the_rule(position: SinkPosition, place: LogPosition, passed: bool) -> None:
    """By the newest heartbeat, or by the newest change that is applied."""
    assert has_passed([position], HEARTBEAT, place) is passed


def test_every_partition_has_to_be_there() -> None:
    """One that is behind is enough."""
    assert has_passed([applied(100), applied(150)], HEARTBEAT, LogPosition(3, 500))
    assert not has_passed([applied(100), applied(99)], HEARTBEAT, LogPosition(3, 500))


def test_what_is_no_position_is_refused() -> None:
    """Nothing is guessed from a key that holds something else."""
    assert positions_of([None], ["cdc:a:position"]) is None
    with pytest.raises(PreflightError, match="cdc:a:position"):
        positions_of([b"{}"], ["cdc:a:position"])
