"""What comes in, and what one Redis transaction does with it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cdc.errors import REFRESH, PositionLostError
from cdc.message import Refresh, Schema, TooLarge
from redis_sink.plan.applied import Applied
from redis_sink.plan.counts import Counts

OWN_KEY = "its key is one of cdc's own, which begin with cdc:"
Command = tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that can never be applied."""

    seq: int
    subject: str
    reason: str
    table: str | None = None
    key: str | None = None
    body: bytes = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one Redis transaction does.

    ``Batch(commands=[("MSET", "users:1", "{…}"), ("UNLINK", "users:2")], …)``
    """

    commands: list[Command]
    applied: Applied
    counts: Counts
    """Rows that are in here, by table and operation."""
    dead: list[DeadLetter]
    consumed: int
    """How many of the deliveries are in here; the rest follows a barrier."""
    changes: int
    skipped: int
    """Messages of ours that were applied before."""
    barrier: Schema | None
    refresh: Refresh | None
    """Tables are read again from here."""
    read_again: dict[str, int]
    """Tables that are read to their end, with the number of the refresh."""
    has_strange_mac: bool = False
    """A message claims to be ours, and its MAC does not match."""
    copies: int = 0
    """Messages of an earlier epoch that were published a second time; skipped."""
    lost_refreshes: Sequence[str] = ()
    """Tables whose announcement of a refresh the stream has lost."""
    shared: Mapping[str, str] = field(default_factory=dict)
    """Keys that hold several rows, and what TYPE must return for each: ``{"o:of:7": "set"}``."""


def cause_of(error: Exception) -> str:
    """Return what is wrong, without a piece of the body: msgspec names types and paths only."""
    return str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__


class EarlierEpoch(PositionLostError):
    """A message of an earlier epoch: the stream lost a later one, or it is a copy."""

    epoch = 0
    """The epoch that was applied."""


def missing(
    applied: Applied,
    last_id: str,
    seq: int,
    seen: str,
    kind: type[PositionLostError] = PositionLostError,
) -> PositionLostError:
    """Return the error: a message of ours is missing at or before a sequence."""
    return kind(
        f"a message is missing in the stream {applied.stream} at or before sequence {seq}: {seen}, "
        f"but the last one here is {last_id or 'none'}",
        safe=f"Redis is right as of sequence {applied.seq}; nothing after it was written",
        fix=REFRESH,
        heals_by_refresh=True,
    )


def why_not(hashed: bool | None, body: bytes, max_bytes: int) -> str:
    """Return why a message can never be applied."""
    if hashed is None:
        return "its table is not captured here"
    if len(body) > max_bytes:
        return f"{len(body)} bytes: Redis takes {max_bytes} at most"
    return OWN_KEY


def why_too_large(sizes: TooLarge) -> str:
    """Return why a row that the reader left out is a dead letter.

    >>> why_too_large(TooLarge(size_bytes=70_000_312, limit_bytes=67_108_864))
    'too large: its message would have 70,000,312 bytes, the limit is 67,108,864; key removed'
    """
    return (
        f"too large: its message would have {sizes.size_bytes:,} bytes, "
        f"the limit is {sizes.limit_bytes:,}; key removed"
    )
