"""What the stream says of where we were: the stream is the checkpoint.

Nothing can be "published but not checkpointed", because the messages themselves are the
checkpoint: docs/adr/0003-stream-is-the-checkpoint.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from cdc import errors
from cdc.errors import PositionLostError, UnavailableError
from cdc.list_lookup import Lists
from cdc.message import (
    HEARTBEAT,
    REFRESH,
    SCHEMA,
    Heartbeat,
    Placed,
    Refresh,
    decode_heartbeat,
    decode_placed,
    decode_refresh,
    parse_id,
    subject_for,
)
from cdc.partition import check_partitions, is_row_subject, row_subjects
from cdc.position import MariaDbGtidSet, MySqlGtidSet
from cdc.stream import Connection, StoredMessage, message_get, stream_state
from cdc.table_list import Naming
from cdc.wire import unless_lost
from cdc_reader.flush import batch_of, begins_flush
from cdc_reader.published import Published, ends_at_boundary
from cdc_reader.resume import Tail, tail_of

END_BATCH_TIMEOUT_S = 10.0
_STEPS_BACK = 20_000
"""Foreign messages looked at before giving up: 40 s of 500 a second."""
_REQUESTS_TOGETHER = 64


async def end_running_batch(
    nc: Connection, stream: str, prefix: str, *, claim_sequence: int
) -> None:
    """Make sure that no batch of another reader goes on storing messages behind our claim.

    Only a batch's first message is fenced, so one that began before the claim would go on.
    Any client can end a batch by its name, with a step that leaves a gap.
    Source: NATS ADR-50, gap mode ``fail``; tests/integration/test_publisher.py.

    Raises:
        UnavailableError: NATS does not answer.
    """
    async for stored in _backwards(nc, stream, claim_sequence - 1):
        if not begins_flush(stored.headers):
            continue
        # The newest one: where it was published singly, its reader had ended all batches before.
        if batch := batch_of(stored.headers):
            with unless_lost(nc):
                await _end_batch(nc, prefix, batch)
        return


async def _backwards(
    nc: Connection, stream: str, newest: int, steps: int = _STEPS_BACK
) -> AsyncIterator[StoredMessage]:
    """Yield messages from a sequence on backwards, so many at most; most ask for one."""
    at, oldest, together = newest, max(newest - steps, 0), 1
    while at > oldest:
        sequences = range(at, max(at - together, oldest), -1)
        for stored in await asyncio.gather(*(message_get(nc, stream, seq=s) for s in sequences)):
            if stored is not None:
                yield stored
        at -= len(sequences)
        together = min(together * 4, _REQUESTS_TOGETHER)


async def _end_batch(nc: Connection, prefix: str, batch: str) -> None:
    inbox = nc.new_inbox()
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_reply(msg: Msg) -> None:
        # "gap" comes first and is not the end; then "ended" or "unknown batch" is.
        if b'"type"' not in msg.data and not answered.done():
            answered.set_result(None)

    subscription = await nc.subscribe(f"{inbox}.>", cb=on_reply)
    gap = 1 << 40
    await nc.publish(
        subject_for(prefix, HEARTBEAT), b"", reply=f"{inbox}.{batch}.1.fail.{gap}.3.$FI"
    )
    lost = asyncio.ensure_future(nc.lost.wait())
    await asyncio.wait(
        (answered, lost), timeout=END_BATCH_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
    )
    lost.cancel()
    if not answered.done():
        raise UnavailableError("NATS does not answer")
    await subscription.unsubscribe()


async def read_tail(
    nc: Connection, stream: str, prefix: str, partitions: int = 1, *, needs_heartbeat: bool = True
) -> Tail:
    """Return the end of the stream.

    Args:
        needs_heartbeat: False: a refresh comes, which needs no place in the binlog.

    Raises:
        StreamError: it has another number of partitions.
        PositionLostError: messages are there, but no heartbeat of ours.
        UnavailableError: NATS does not answer.
    """
    state = await stream_state(nc, stream)
    heartbeat_at, heartbeat = await _newest_heartbeat(nc, stream, prefix)
    if (refresh := await newest_refresh(nc, stream, prefix)) and refresh[0] > heartbeat_at:
        heartbeat_at, heartbeat = refresh[0], refresh[1].boundary
    check_partitions(heartbeat, partitions, stream)
    naming = Naming()
    if heartbeat is not None:
        named = heartbeat.snapshot
        lists = Lists(nc, stream, prefix)
        # Where a refresh comes, the list may have left with all that the refresh replaces.
        with suppress(*(() if needs_heartbeat else (PositionLostError,))):
            heartbeat = await lists.whole(heartbeat)
        naming = Naming(lists.listed, named)
    newest = await _newest_of_each(nc, stream, prefix, partitions, heartbeat_at)
    # The state was read first: what was stored since makes the fence refuse the first flush.
    return tail_of(
        state.name,
        state.last_seq,
        heartbeat,
        newest,
        partitions,
        needs_heartbeat=needs_heartbeat,
        naming=naming,
    )


async def _newest_of_each(
    nc: Connection, stream: str, prefix: str, partitions: int, floor: int
) -> list[tuple[int | None, Placed]]:
    """Return the newest message of ours on each subject behind `floor`, with its partition.

    None as the partition: a barrier, which stands in all of them.
    """
    subjects = [(None, subject_for(prefix, SCHEMA)), *row_subjects(prefix, partitions)]
    out: list[tuple[int | None, Placed]] = []
    for at in range(0, len(subjects), _REQUESTS_TOGETHER):
        some = subjects[at : at + _REQUESTS_TOGETHER]
        found = await asyncio.gather(
            *(message_get(nc, stream, last_by_subject=subject) for _, subject in some)
        )
        for (partition, subject), stored in zip(some, found, strict=True):
            only = subject if partitions > 1 else None
            ours = await _ours_at_or_before(nc, stream, prefix, stored, floor=floor, only=only)
            if ours is not None:
                out.append((partition, ours))
    return out


async def _newest_heartbeat(
    nc: Connection, stream: str, prefix: str
) -> tuple[int, Heartbeat | None]:
    subject = subject_for(prefix, HEARTBEAT)
    found = await message_get(nc, stream, last_by_subject=subject)
    if found is None:
        return 0, None
    async for stored in _backwards(nc, stream, found.seq):
        if stored.subject == subject:
            with suppress(msgspec.DecodeError):
                return stored.seq, decode_heartbeat(stored.data)
    if found.seq <= _STEPS_BACK:
        return 0, None  # every message was looked at
    raise _too_many_foreign(stream)


async def newest_refresh(nc: Connection, stream: str, prefix: str) -> tuple[int, Refresh] | None:
    """Return sequence and body of the newest refresh; None: none, or what stands there is none."""
    found = await message_get(nc, stream, last_by_subject=subject_for(prefix, REFRESH))
    if found is not None:
        with suppress(msgspec.DecodeError):
            return found.seq, decode_refresh(found.data)
    return None


async def _ours_at_or_before(
    nc: Connection,
    stream: str,
    prefix: str,
    found: StoredMessage | None,
    *,
    floor: int,
    only: str | None,
) -> Placed | None:
    """Return the newest message of ours, on the subject `only` or on any."""
    if found is None or found.seq <= floor:
        return None
    async for stored in _backwards(nc, stream, found.seq):
        if stored.seq <= floor:
            return None
        if only in (None, stored.subject) and (ours := ours_in(prefix, stored)) is not None:
            return ours
    if found.seq <= _STEPS_BACK:
        return None  # every message was looked at
    raise _too_many_foreign(stream)


async def published_behind(
    nc: Connection, stream: str, prefix: str, tail: Tail, *, mariadb: bool
) -> Published:
    """Return the transactions that the stream has behind its newest boundary.

    Raises:
        PositionLostError: the stream does not reach back so far.
    """
    published = Published()
    heartbeat, oldest = tail.heartbeat, 1
    if heartbeat is None or ends_at_boundary(tail.last, heartbeat):
        return published
    kind = MariaDbGtidSet if mariadb else MySqlGtidSet
    before = kind.parse(heartbeat.gtid_set or "")
    async for stored in _backwards(nc, stream, tail.sequence, tail.sequence):
        oldest = stored.seq
        if stored.subject == subject_for(prefix, HEARTBEAT):
            with suppress(msgspec.DecodeError):
                # What stands before an older boundary is within the newest one.
                if decode_heartbeat(stored.data).gtid_set != heartbeat.gtid_set:
                    return published
        elif stored.subject == subject_for(prefix, REFRESH):
            with suppress(msgspec.DecodeError):
                if decode_refresh(stored.data).gap:
                    return published
        elif (message := ours_in(prefix, stored)) is not None:
            if message.gtid is not None and message.gtid in before:
                return published
            published.note(message)
    if oldest > 1:
        raise PositionLostError(
            f"stream {stream} does not reach back to its newest boundary any more",
            safe="nothing was published or skipped",
            remedy=errors.REFRESH,
        )
    return published


def ours_in(prefix: str, stored: StoredMessage) -> Placed | None:
    """Return what a stored message says of its place, None when it is not one of ours."""
    try:
        ours = decode_placed(stored.data)
        parse_id(ours.id)
    except (msgspec.DecodeError, ValueError):
        return None
    return ours if is_row_subject(prefix, ours.op, stored.subject) else None


def _too_many_foreign(stream: str) -> PositionLostError:
    return PositionLostError(
        f"the newest {_STEPS_BACK} messages of stream {stream} are not ours",
        safe="nothing was published or skipped",
        remedy="let nobody else publish on our subjects (docs/operations.md, NATS permissions)",
    )
