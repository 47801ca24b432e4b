"""The list of all tables that a heartbeat names, looked up in the stream."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from cdc.errors import REFRESH, PositionLostError
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import message_get
from cdc.message import TABLES, Heartbeat, ListedAt, TableProgress, decode_tables, subject_for
from cdc.table_list import NONE_LISTED, Listed, named_by, whole


async def listed_at(own: OwnMessages, at: ListedAt) -> Listed:
    """Return a list of tables.

    Raises:
        PositionLostError: it is not in the stream any more.
        UnavailableError: NATS does not answer.
    """
    if at == NONE_LISTED.at:
        return NONE_LISTED
    subject, seq = subject_for(own.prefix, TABLES), at.seq
    found: dict[str, TableProgress] = {}
    part = 1
    while stored := await message_get(own.nc, own.stream, seq=seq, next_by_subject=subject):
        seq = stored.seq + 1
        if not own.is_ours(stored):
            continue
        with suppress(msgspec.DecodeError):
            tables = decode_tables(stored.data)
            if (tables.number, tables.part) != (at.number, part):
                continue  # of a reader that was fenced off
            found.update(tables.snapshot)
            if part == tables.parts:
                return Listed(at, found)
            part += 1
    raise PositionLostError(
        f"stream {own.stream} does not hold the list of tables that a heartbeat names any more "
        f"(it began at sequence {at.seq})",
        safe="nothing was published or skipped",
        fix=REFRESH,
        heals_by_refresh=True,
    )


class Lists:
    """Lists of tables, asked for once each."""

    def __init__(self, own: OwnMessages) -> None:
        """Know none yet."""
        self._own = own
        self.listed = NONE_LISTED
        """The newest that was asked for."""

    async def whole(self, heartbeat: Heartbeat) -> Heartbeat:
        """Return a heartbeat of this stream as if it named all tables.

        Raises:
            PositionLostError: what it does not name is not in the stream any more.
            UnavailableError: NATS does not answer.
        """
        if not named_by(heartbeat, self.listed):
            at = heartbeat.listed or NONE_LISTED.at
            self.listed = await listed_at(self._own, at)
        return whole(heartbeat, self.listed)
