"""What the sink looks up in the stream: what stands where it left off, and what closes a gap."""

from __future__ import annotations

from cdc.message import REFRESH, subject_for
from cdc.own_messages import OwnMessages
from cdc.stream import StoredMessage, StreamState, message_get
from redis_sink.applied import Applied


async def id_at(
    own: OwnMessages, applied: Applied, state: StreamState, partition: int = 0
) -> str | None:
    """Return the id of what stands where the newest applied message stood.

    Empty: it is none of ours; None: no message stands there.

    Raises:
        UnavailableError: NATS does not answer.
    """
    if not state.first_seq <= applied.id_seq <= state.last_seq or not applied.id_seq:
        return None
    message = await message_get(own.nc, state.name, seq=applied.id_seq)
    if message is None:
        return None
    if (refresh := own.refresh(message)) is not None:
        boundary = refresh.boundary
        return boundary.last_of[partition] if boundary.last_of else boundary.last
    ours = own.placed(message)
    return ours.id if ours is not None else ""


async def refresh_behind(own: OwnMessages, applied: Applied) -> int:
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
