"""What the sink looks up in the stream: the message at its position, and what closes a gap."""

from __future__ import annotations

import asyncio

from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import StoredMessage, StreamState, message_get
from cdc.message import REFRESH, subject_for
from redis_sink.plan.applied import Applied

LOOKS, LOOK_EVERY_S = 10, 0.3
"""A reader with changes to publish sends a heartbeat each second."""


async def newest_consumed(
    own: OwnMessages, applied: Applied, state: StreamState, partition: int = 0
) -> int:
    """Return the sequence of the newest message consumed that is still in the stream.

    0: none is.  What has left the stream at its head counts as still there.

    Raises:
        UnavailableError: NATS does not answer.
    """
    for seq, stored_ns in reversed(applied.marks):
        if seq < state.first_seq:
            return seq if seq == applied.seq else 0
        if seq <= state.last_seq:
            message = await message_get(own.nc, state.name, seq=seq)
            if message is not None and message.stored_ns == stored_ns:
                return seq
    if applied.marks or not applied.id_seq:
        return 0
    if applied.id_seq < state.first_seq:
        return applied.id_seq
    return applied.id_seq if await _has_its_id(own, applied, state, partition) else 0


async def _has_its_id(
    own: OwnMessages, applied: Applied, state: StreamState, partition: int
) -> bool:
    """Return whether the newest message applied is where it was: for a position without marks.

    Not certain for what has no id: a message that was published again has the same.
    """
    message = None
    if applied.id_seq <= state.last_seq:
        message = await message_get(own.nc, state.name, seq=applied.id_seq)
    if message is None:
        return False
    if (refresh := own.refresh(message)) is not None:
        boundary = refresh.boundary
        last = boundary.last_of[partition] if boundary.last_of else boundary.last
        return last == applied.id
    ours = own.placed(message)
    return ours is not None and ours.id == applied.id


async def newest_epoch(own: OwnMessages, applied_epoch: int) -> int:
    """Return the epoch of the newest heartbeat.

    A copy of an old one is the newest until the reader's next: for as long it is looked at again.

    Raises:
        UnavailableError: NATS does not answer.
    """
    for _ in range(LOOKS):
        _, heartbeat = await own.newest_heartbeat()
        if heartbeat is not None and heartbeat.epoch >= applied_epoch:
            return heartbeat.epoch
        await asyncio.sleep(LOOK_EVERY_S)
    return 0


async def refresh_after(own: OwnMessages, applied: Applied) -> int:
    """Return the sequence of the newest refresh that closes a gap, 0 when there is none.

    Raises:
        UnavailableError: NATS does not answer.
    """

    def closes(stored: StoredMessage) -> bool | None:
        refresh = own.refresh(stored)
        is_newer = refresh is not None and refresh.number > (applied.refresh or 0)
        return True if refresh is not None and refresh.gap and is_newer else None

    found = await own.newest(subject_for(own.prefix, REFRESH), closes)
    return found[0] if found else 0
