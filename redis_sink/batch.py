"""What comes in, and what one Redis transaction does with it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from cdc.message import Refresh, Schema
from redis_sink.applied import Applied

Delivery = tuple[int, bytes, bytes]
"""``(stream sequence, subject, body)``."""
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
    dead: list[DeadLetter]
    consumed: int
    """How many of the deliveries are in here; the rest follows a barrier."""
    changes: int
    skipped: int
    """Messages of ours that were applied before."""
    barrier: Schema | None
    refresh: Refresh | None
    """Tables are read anew from here."""
    read_anew: dict[str, int]
    """Tables that are read to their end, with the number of the refresh."""


def cause_of(error: Exception) -> str:
    """Return what is wrong, without a piece of the body: msgspec names types and paths only."""
    return str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__
