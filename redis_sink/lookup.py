"""What the sink looks up in the stream: what stands where it left off, and what closes a gap."""

from __future__ import annotations

from contextlib import suppress

from cdc.message import (
    REFRESH,
    decode_placed,
    decode_refresh,
    subject_for,
)
from cdc.stream import Connection, StreamState, message_get
from redis_sink.applied import Applied


async def id_at(
    nc: Connection, applied: Applied, state: StreamState, prefix: str, partition: int = 0
) -> str | None:
    """Return the id of what stands where the newest applied message stood.

    Empty: it is none of ours; None: no message stands there.

    Raises:
        UnavailableError: NATS does not answer.
    """
    if not state.first_seq <= applied.id_seq <= state.last_seq or not applied.id_seq:
        return None
    message = await message_get(nc, state.name, seq=applied.id_seq)
    if message is None:
        return None
    with suppress(ValueError):
        if message.subject == subject_for(prefix, REFRESH):
            boundary = decode_refresh(message.data).boundary
            return boundary.last_of[partition] if boundary.last_of else boundary.last
    with suppress(ValueError):
        return decode_placed(message.data).id
    return ""


async def refresh_behind(nc: Connection, stream: str, prefix: str, applied: Applied) -> int:
    """Return the sequence of the newest refresh that closes a gap, 0 when there is none.

    Raises:
        UnavailableError: NATS does not answer.
    """
    subject, at, newest = subject_for(prefix, REFRESH), 1, 0
    while message := await message_get(nc, stream, seq=at, next_by_subject=subject):
        at = message.seq + 1
        with suppress(ValueError):
            refresh = decode_refresh(message.data)
            if refresh.gap and refresh.number > (applied.refresh or 0):
                newest = message.seq
    return newest
