"""Find the position to resume from in the stream: the stream is the checkpoint.

Nothing can be "published but not checkpointed", because the messages themselves are the
checkpoint: docs/adr/0003-stream-is-the-checkpoint.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

from nats.aio.msg import Msg

from cdc import errors
from cdc.errors import PositionLostError, UnavailableError
from cdc.jetstream.connection import Warns, unless_lost
from cdc.jetstream.list_lookup import Lists
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import Connection, stream_state
from cdc.message import HEARTBEAT, SCHEMA, Heartbeat, Placed, Refresh, parse_id, subject_for
from cdc.partition import check_partitions, row_subjects
from cdc.position import MariaDbGtidSet, MySqlGtidSet
from cdc.table_list import Naming
from cdc_reader.messages.flush import batch_of, begins_flush
from cdc_reader.resume.published import Published, ends_at_boundary
from cdc_reader.resume.resume import Tail, tail_of

END_BATCH_TIMEOUT_S = 10.0


async def end_running_batch(own: OwnMessages, *, newest: int) -> None:
    """Make sure that no batch of another reader still stores messages after our claim.

    Only a batch's first message is fenced, so one that began before the claim would continue.
    Any client can end a batch by its name, with a step that leaves a gap.
    Source: NATS ADR-50, gap mode ``fail``; tests/integration/test_publisher.py.

    Args:
        newest: sequence of our newest message before the claim, or of one after it.

    Raises:
        UnavailableError: NATS does not answer.
    """
    async for stored in own.backwards(newest):
        if not own.is_ours(stored) or not begins_flush(stored.headers):
            continue
        # The newest one: where it was published singly, its reader had ended all batches before.
        if batch := batch_of(stored.headers):
            with unless_lost(own.nc):
                await _end_batch(own.nc, own.prefix, batch)
        return


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
    nc: Connection,
    stream: str,
    prefix: str,
    partitions: int = 1,
    *,
    needs_heartbeat: bool = True,
    log: Warns | None = None,
) -> Tail:
    """Return the end of the stream.

    Args:
        needs_heartbeat: False: a refresh comes, which needs no position in the binlog.

    Raises:
        StreamError: it has another number of partitions.
        PositionLostError: the stream has messages, but no heartbeat of ours.
        UnavailableError: NATS does not answer.
    """
    state = await stream_state(nc, stream)
    own = OwnMessages(nc, stream, prefix, state.seal, log)
    heartbeat_at, heartbeat = await _newest_boundary(own)
    check_partitions(heartbeat, partitions, stream)
    naming = Naming()
    if heartbeat is not None:
        named = heartbeat.snapshot
        lists = Lists(own)
        # Where a refresh comes, the list may have left with all that the refresh replaces.
        with suppress(*(() if needs_heartbeat else (PositionLostError,))):
            heartbeat = await lists.whole(heartbeat)
        naming = Naming(lists.listed, named)
    ours_at, newest = await _newest_of_each(own, partitions, state.last_seq, heartbeat_at)
    # The state was read first: what was stored since makes the fence refuse the first flush.
    tail = tail_of(
        state.name,
        state.last_seq,
        heartbeat,
        newest,
        partitions,
        needs_heartbeat=needs_heartbeat,
        naming=naming,
        heartbeat_at=heartbeat_at,
    )
    return dataclasses.replace(tail, ours_at=max(ours_at, heartbeat_at))


async def _newest_of_each(
    own: OwnMessages, partitions: int, sequence: int, floor: int
) -> tuple[int, list[tuple[int | None, Placed]]]:
    """Return the message of ours with the greatest id in each chain after `floor`.

    With its partition; None: a barrier, which is in all of them.  Before them, the sequence
    of the last one of ours, 0 when there is none.  All messages are looked
    at: the newest on a subject may be a copy of an older one, which who can read it put there.
    """
    homes = {subject: n for n, subject in row_subjects(own.prefix, partitions)}
    newest: dict[int | None, tuple[tuple[int, ...], Placed]] = {}
    ours_at = 0
    async for stored in own.backwards(sequence, floor=floor):
        ours = own.placed(stored)
        if ours is None or (ours.op != SCHEMA and stored.subject not in homes):
            continue
        ours_at = ours_at or stored.seq
        home, place = homes.get(stored.subject), parse_id(ours.id)
        if home not in newest or place > newest[home][0]:
            newest[home] = place, ours
    return ours_at, [(home, ours) for home, (_, ours) in newest.items()]


async def newest_boundary(nc: Connection, stream: str, prefix: str) -> Heartbeat | None:
    """Return the stream's newest boundary, with all tables; None: there is none of ours.

    Raises:
        PositionLostError: the list of tables that it names is not in the stream any more.
        UnavailableError: NATS does not answer.
    """
    own = OwnMessages(nc, stream, prefix, (await stream_state(nc, stream)).seal)
    _, heartbeat = await _newest_boundary(own)
    return await Lists(own).whole(heartbeat) if heartbeat is not None else None


async def _newest_boundary(own: OwnMessages) -> tuple[int, Heartbeat | None]:
    heartbeat_at, heartbeat = await own.newest_heartbeat()
    refresh = await own.newest_refresh()
    if refresh is not None and refresh[0] > heartbeat_at:
        return refresh[0], refresh[1].boundary
    return heartbeat_at, heartbeat


async def newest_refresh(nc: Connection, stream: str, prefix: str) -> tuple[int, Refresh] | None:
    """Return sequence and body of the newest refresh of ours; None: there is none."""
    state = await stream_state(nc, stream)
    return await OwnMessages(nc, stream, prefix, state.seal).newest_refresh()


async def published_behind(
    nc: Connection, stream: str, prefix: str, tail: Tail, *, mariadb: bool
) -> Published:
    """Return the transactions that the stream has after its newest boundary.

    Raises:
        PositionLostError: the stream does not reach back to the boundary.
    """
    published = Published()
    own = OwnMessages(nc, stream, prefix, (await stream_state(nc, stream)).seal)
    heartbeat, oldest = tail.heartbeat, 1
    if heartbeat is None or ends_at_boundary(tail.last, heartbeat):
        return published
    kind = MariaDbGtidSet if mariadb else MySqlGtidSet
    before = kind.parse(heartbeat.gtid_set or "")
    async for stored in own.backwards(tail.sequence):
        oldest = stored.seq
        if (older := own.heartbeat(stored)) is not None:
            # Everything before an older boundary is within the newest one, and so is all
            # before one at the same position that nothing follows.
            if older.gtid_set != heartbeat.gtid_set or ends_at_boundary(older.last, older):
                return published
        elif (refresh := own.refresh(stored)) is not None:
            if refresh.gap:
                return published
        elif (message := own.placed(stored)) is not None:
            if message.gtid is not None and message.gtid in before:
                return published
            published.note(message)
    if oldest > 1:
        raise PositionLostError(
            f"stream {stream} does not reach back to its newest boundary any more",
            safe="nothing was published or skipped",
            fix=errors.REFRESH,
            heals_by_refresh=True,
        )
    return published
