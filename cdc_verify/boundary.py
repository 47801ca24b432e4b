"""What of the binlog is in Redis: the rule by which verify trusts what it reads.

Pure.  The sink's position says up to which message of the stream Redis has everything, and the
newest heartbeat says up to which place of the binlog the stream has everything before it.  So
Redis has all up to a place P of the binlog

- when a heartbeat at P or later is at or before the position's ``seq``, or
- when the position's ``id``, the newest change applied, begins at P or later, in the epoch
  of the newest heartbeat: changes are applied in the order of their ids, without a hole.

With several partitions both are asked of each.  GTIDs are not needed; they would say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cdc.errors import PreflightError
from cdc.message import Heartbeat, TableProgress, parse_id
from cdc.position import file_number


class LogPosition(NamedTuple):
    """The binlog position: ``LogPosition(2, 27999999)``."""

    file: int
    offset: int


class SinkPosition(msgspec.Struct, frozen=True):
    """What verify needs of the position in Redis (docs/message.md; `cdc:<pipeline>:position`)."""

    stream: str
    created: str
    seq: int
    id: str = ""
    partitions: int = 1
    refresh: int = 0
    refreshing: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """The newest heartbeat, and its position in the stream."""

    seq: int
    created: str
    """When the stream was created."""
    epoch: int
    server: str
    place: LogPosition
    gtid_set: str | None
    partitions: int
    snapshot: dict[str, TableProgress]


def boundary_of(heartbeat: Heartbeat, seq: int, created: str) -> Boundary:
    """Return the boundary of a heartbeat."""
    return Boundary(
        seq=seq,
        created=created,
        epoch=heartbeat.epoch,
        server=heartbeat.server,
        place=LogPosition(file_number(heartbeat.file), heartbeat.offset),
        gtid_set=heartbeat.gtid_set,
        partitions=heartbeat.partitions,
        snapshot=heartbeat.snapshot,
    )


_decode = msgspec.json.Decoder(SinkPosition).decode


def positions_of(raws: Sequence[bytes | None], keys: Sequence[str]) -> list[SinkPosition] | None:
    """Return the position of each partition; None: one of them is not there.

    Raises:
        PreflightError: the key does not hold a position.
    """
    out: list[SinkPosition] = []
    for raw, key in zip(raws, keys, strict=True):
        if raw is None:
            return None
        try:
            out.append(_decode(raw))
        except msgspec.DecodeError:
            raise PreflightError(
                f"the value of the Redis key {key} is not a position of cdc",
                fix="give this pipeline's name: --pipeline",
            ) from None
    return out


def has_passed(positions: Sequence[SinkPosition], boundary: Boundary, place: LogPosition) -> bool:
    """Return whether Redis has everything up to a place."""
    return all(_has(applied, boundary, place) for applied in positions)


def _has(applied: SinkPosition, boundary: Boundary, place: LogPosition) -> bool:
    if applied.created != boundary.created:
        return False
    if boundary.place >= place and applied.seq >= boundary.seq:
        return True
    epoch, *newest = parse_id(applied.id)[:3] or (0, 0, 0)
    return epoch == boundary.epoch and tuple(newest) >= place
