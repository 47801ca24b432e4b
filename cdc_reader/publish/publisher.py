"""Publish exactly once to the stream: one flush in flight, fenced.

Every flush is published against what the stream must have before it.  So a second reader, a
lost tail or a lost acknowledgement shows up as a refused flush, and never as a repeated or
missing message.

A flush is one fast-ingest batch (NATS ADR-50: one acknowledgement for the whole) where the
server has it, and acknowledged single publishes where it has not.  Both end at the first
refused message: what was stored is a prefix of the flush.  A batch names itself in its first
message, so that a reader that takes over can end it first: docs/adr/0007-fence.md.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import msgspec
from nats.aio.msg import Msg

from cdc.errors import CdcError, StreamError, UnavailableError
from cdc.jetstream import connection
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import ApiError, StreamState, right_refused, stream_state, write_block
from cdc.jetstream.unacknowledged import unacknowledged
from cdc.message import (
    HEARTBEAT,
    REFRESH,
    TABLES,
    Heartbeat,
    ListedAt,
    Refresh,
    TableProgress,
    Tables,
    encode,
    subject_for,
)
from cdc.seal import Seal
from cdc.settings import Settings
from cdc.table_list import listing
from cdc.telemetry import Log
from cdc_reader.messages.chains import Run
from cdc_reader.messages.flush import (
    CLAIM_HEADER,
    Flush,
    Message,
    Outcome,
    ends_row,
    fast_block,
    heartbeat_fence,
    id_of,
    newest_of_each,
    parts,
    plain_block,
    sequence_fence,
)
from cdc_reader.messages.large import LargeRow, parts_of, pieces
from cdc_reader.messages.oversize import HEADERS_BYTES, boundary_too_large
from cdc_reader.publish.fence import check_end
from cdc_reader.publish.publisher_log import PublisherLog
from cdc_reader.resume.published import ends_at_boundary
from cdc_reader.resume.resume import Tail
from cdc_reader.resume.stream_end import end_running_batch

ACK_TIMEOUT_S = 10.0
"""The server forgets a batch after 10 s of silence (NATS ADR-50)."""
LEADER_ASKED_EVERY_S = 0.5
"""While an acknowledgement is awaited: a stream's next leader has none for what came before."""
STEPPED_OVER_SINGLY = 64
"""At once: what lasts until the claim is sent again decides whether others come between."""
CROWDED_FLUSHES = 100
"""After this many flushes without a foreign message, the stream counts as only ours again."""
_WRONG_LAST_SEQUENCE, _WRONG_LAST_ID, _WRONG_IN_FLIGHT = 10071, 10070, 10164
_BATCH_UNKNOWN = 10208
_FULL = {10077, 10122, 10023}
"""Stream limits, account limits, insufficient resources: back-pressure, not failure."""
_FULL_PAUSE_S = 1.0
LIST_MESSAGE_BYTES = 256 << 10
HEARTBEATS_IN_ROOM = 16
LARGE_ROWS_IN_ROOM = 2
"""In parts a row takes a third more, and nothing of it can be removed before it is whole."""


class Publisher:
    """Publishes flushes in order and knows the sequence of its last message."""

    def __init__(
        self,
        nc: connection.Connection,
        *,
        stream: str,
        prefix: str,
        sequence: int,
        seal: Seal,
        ours_at: int,
        fast_ingest: bool,
        flush_max_messages: int,
        flush_max_bytes: int,
        max_row_bytes: int,
        log: Log,
    ) -> None:
        """Begin after `sequence`, the stream's last one.

        Args:
            nc: connected; opened and closed by the caller.
            seal: the stream's.
            ours_at: sequence of our newest message.
            fast_ingest: the stream allows batches (nats-server 2.14 and newer).
            max_row_bytes: a row of more is left out; one larger than NATS carries goes in parts.
        """
        self.sequence = sequence
        """Of our newest message, or of the foreign one that we stepped over after it."""
        self._nc = nc
        self._stream = stream
        self._prefix = prefix
        self._seal = seal
        self._ours_at = ours_at
        self._own = OwnMessages(nc, stream, prefix, seal, log)
        self._fast = fast_ingest
        self._max_messages, self._max_bytes = flush_max_messages, flush_max_bytes
        self._max_row_bytes = max_row_bytes
        self._lines = PublisherLog(log, stream)
        self._leader = ""
        """Who leads the stream in a cluster, when it was last looked at."""
        self._inbox = nc.new_inbox()
        # Batches of all readers share one space of names.
        self._name = self._inbox.rpartition(".")[2]
        self._tokens = itertools.count(1)
        self._flush: Flush | None = None
        self._watch: asyncio.Task[None] | None = None
        self._heartbeat: Heartbeat | None = None
        self._heartbeat_subject = subject_for(prefix, HEARTBEAT).encode()
        self._newest_is_heartbeat = False
        self.heartbeat_seq = self.boundary_seq = 0
        """Of the newest heartbeat, and of the newest with nothing after it; 0: none yet."""
        self.room_bytes = 0
        """What the stream takes in all; 0: no limit is known."""
        self._since_heartbeat_bytes = 0
        self.make_room: Callable[[], Awaitable[str]] | None = None
        """Removes what may go from a full stream; reports what holds the rest."""
        self._crowded_flushes = 0
        self._max_body_bytes = nc.max_payload - HEADERS_BYTES

    @classmethod
    def after(
        cls,
        tail: Tail,
        nc: connection.Connection,
        settings: Settings,
        state: StreamState,
        log: Log,
        *,
        fast_ingest: bool,
    ) -> Self:
        """Return one that begins after a stream's end."""
        return cls(
            nc,
            stream=settings.stream,
            prefix=settings.subject_prefix,
            sequence=tail.sequence,
            seal=state.seal,
            ours_at=tail.ours_at,
            fast_ingest=fast_ingest,
            flush_max_messages=settings.flush_max_messages,
            flush_max_bytes=settings.flush_max_bytes,
            max_row_bytes=settings.max_row_bytes,
            log=log,
        )

    async def open(self, claim: Heartbeat | Refresh) -> None:
        """Claim the stream's end with a boundary; no other reader stores anything after it.

        Until the claim another reader may begin a batch, so batches are ended after it.

        Raises:
            FencedError: another reader was quicker.
            PermissionDenied: this login may not publish.
            UnavailableError: NATS does not answer.
        """
        await self._listen()
        self._heartbeat = claim.boundary if isinstance(claim, Refresh) else claim
        subject = subject_for(self._prefix, claim.op).encode()
        await self._begin([(subject, self._sealed(claim))], is_claim=True)
        await self.settle()
        # The fence of the claim: none of ours was stored between that one and it.
        await end_running_batch(self._own, newest=self._ours_at)
        await self._step_over_foreign()

    async def list_tables(self, snapshot: Mapping[str, TableProgress]) -> ListedAt:
        """Store a list of all tables; a heartbeat has to name it before it counts.

        It is as a claim: a search for a running batch skips it.

        Raises:
            FencedError: another reader published.
            UnavailableError: NATS does not answer.
        """
        await self._listen()
        await self.settle()
        number, first = time.time_ns() // 1000, 0
        subject = subject_for(self._prefix, TABLES).encode()
        most_bytes = min(LIST_MESSAGE_BYTES, self._max_body_bytes // 2)
        for part in listing(snapshot, number=number, max_bytes=most_bytes):
            await self._begin([(subject, self._sealed(part))], is_claim=True)
            await self.settle()
            first = first or self.sequence
        return ListedAt(number=number, seq=first)

    async def _listen(self) -> None:
        """Listen to answers, once."""
        if self._watch is not None:
            return
        with connection.unless_lost(self._nc):
            await self._nc.subscribe(f"{self._inbox}.>", cb=self._on_reply)
            with suppress(ApiError):  # without a stream, the claim reports what is missing
                self._leader = (await stream_state(self._nc, self._stream)).leader
        self._watch = asyncio.create_task(self._watch_for_loss())
        self._nc.on_denied.append(self._denied)

    async def _watch_for_loss(self) -> None:
        """End a flush that cannot be answered any more."""
        before: Flush | None = None
        while not self._nc.lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nc.lost.wait(), LEADER_ASKED_EVERY_S)
            flush = self._flush
            if flush is not None and flush is before and not flush.done.done():
                await self._ask_for_leader(flush)
            before = flush
        if self._flush is not None and not self._flush.done.done():
            self._flush.done.set_exception(connection.lost(self._nc))

    async def _ask_for_leader(self, flush: Flush) -> None:
        with suppress(CdcError):  # during a leader election no server answers
            leader = (await stream_state(self._nc, self._stream)).leader
            if leader and self._leader and leader != self._leader and not flush.done.done():
                self._lost(flush, f"the stream {self._stream} has another leader, {leader}")

    def _denied(self) -> None:
        """End a flush that NATS refuses to take: it is never answered."""
        flush = self._flush
        if flush is None or flush.done.done():
            return
        for subject in sorted({subject.decode() for subject, _ in flush.messages}):
            if self._nc.has_denied(subject):
                flush.done.set_exception(right_refused(subject))
                return

    async def send(self, runs: Sequence[Run], heartbeat: Heartbeat | None = None) -> None:
        """Put messages on their way; wait only for the flush before the last.

        Args:
            heartbeat: the boundary after the runs; goes out after them.

        Raises:
            FencedError: another reader published.
            UnavailableError: NATS does not answer.
        """
        room_bytes = self.room_bytes // LARGE_ROWS_IN_ROOM or self._max_row_bytes
        most_bytes = min(self._max_row_bytes, room_bytes)
        limits = {"max_body_bytes": self._max_body_bytes, "limit_bytes": most_bytes}
        every_bytes = self.room_bytes // HEARTBEATS_IN_ROOM or self._max_bytes
        size = {"max_messages": self._max_messages, "max_bytes": min(self._max_bytes, every_bytes)}
        for piece in pieces(runs, self._prefix, left_out=self._lines.left_out, **limits):
            if isinstance(piece, LargeRow):
                for body in parts_of(piece.body, self._seal, self._max_body_bytes):
                    await self._put([(piece.subject, body)])
                continue
            sealed = [run._replace(bodies=self._seal.all_sealed(run.bodies)) for run in piece]
            for messages in parts(sealed, self._prefix, **size):
                await self._put(messages)
        if heartbeat is not None:
            await self.settle()
            self._heartbeat, self._since_heartbeat_bytes = heartbeat, 0
            await self._begin([(self._heartbeat_subject, self._sealed(heartbeat))])

    async def _put(self, messages: list[Message]) -> None:
        await self.settle()
        self._note_ends(messages)
        self._since_heartbeat_bytes += sum(len(body) for _, body in messages)
        # Messages after the newest heartbeat cannot be removed: they must not fill the stream.
        every_bytes = self.room_bytes // HEARTBEATS_IN_ROOM
        is_due = bool(every_bytes) and self._since_heartbeat_bytes >= every_bytes
        # None is between the parts of a row: their id is in the stream with the last one alone.
        if (self._crowded_flushes or is_due) and ends_row(messages[-1]):
            messages.append(self._repeated_heartbeat(messages))
            self._since_heartbeat_bytes = 0
        await self._begin(messages)

    async def announce(self, refresh: Refresh) -> int:
        """Store the announcement of a refresh; return its sequence.

        Raises:
            FencedError: another reader published.
            UnavailableError: NATS does not answer.
        """
        await self._begin([(subject_for(self._prefix, REFRESH).encode(), self._sealed(refresh))])
        await self.settle()
        return self.sequence

    async def settle(self) -> None:
        """Wait until everything sent is stored (invariant 1)."""
        while (flush := self._flush) is not None:
            try:
                outcome = await asyncio.wait_for(flush.done, ACK_TIMEOUT_S)
            except TimeoutError:
                count = len(flush.messages)
                seen = f"NATS did not acknowledge {count} messages in {ACK_TIMEOUT_S:.0f} s"
                raise await unacknowledged(self._nc, self._stream, seen) from None
            self._take_in(flush, outcome)
            if outcome.stored == len(flush.messages):
                self._flush = None
                return
            await self._refused(outcome.error_code)
            await self._begin(flush.messages[outcome.stored :], is_claim=flush.is_claim)

    def _take_in(self, flush: Flush, outcome: Outcome) -> None:
        if not outcome.stored:
            return
        if outcome.sequence - self.sequence > outcome.stored:
            self._crowded_flushes = CROWDED_FLUSHES
        elif self._crowded_flushes:
            self._crowded_flushes -= 1
        self.sequence = outcome.sequence
        self._newest_is_heartbeat = flush.messages[outcome.stored - 1][0] == self._heartbeat_subject
        if self._newest_is_heartbeat:
            self.heartbeat_seq = outcome.sequence
            beat = self._heartbeat
            if len(flush.messages) == 1 and beat and ends_at_boundary(beat.last, beat):
                self.boundary_seq = outcome.sequence

    # -- sending --------------------------------------------------------------------

    def _note_ends(self, messages: Sequence[Message]) -> None:
        """With several partitions, keep the newest heartbeat's ends up to what was sent since."""
        if self._heartbeat is not None and self._heartbeat.last_of:
            last_of = tuple(newest_of_each(messages, self._heartbeat.last_of))
            self._heartbeat = msgspec.structs.replace(self._heartbeat, last_of=last_of)

    def _repeated_heartbeat(self, messages: Sequence[Message]) -> Message:
        """Return the newest heartbeat once more, to fence the next flush by.

        Its boundary still holds: it is no newer, and rows up to `last` are skipped.
        """
        if self._heartbeat is None:
            raise StreamError("a flush before the reader's claim")
        heartbeat = msgspec.structs.replace(
            self._heartbeat,
            last=id_of(messages[-1]),
            ts=time.time_ns() // 1000,
        )
        return self._heartbeat_subject, self._sealed(heartbeat)

    def _sealed(self, message: Heartbeat | Refresh | Tables) -> bytes:
        return self._seal.sealed(encode(message))

    async def _begin(self, messages: list[Message], *, is_claim: bool = False) -> None:
        token = f"{self._name}-{next(self._tokens)}"
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # The loop may end before anybody asks; asyncio would print the error as one forgotten.
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if len(messages) == 1 and len(messages[0][1]) > self._max_body_bytes:
            raise boundary_too_large(*messages[0], max_payload=self._nc.max_payload)
        self._flush = Flush(messages, token, done, is_claim)
        await self._write(self._flush)

    async def _write(self, flush: Flush) -> None:
        if self._crowded_flushes and self._newest_is_heartbeat:
            # With foreign messages our sequence is outdated before the flush arrives.
            fence = heartbeat_fence(self.heartbeat_seq, self._prefix)
        else:
            fence = sequence_fence(self.sequence)
        if flush.is_claim:
            fence += b"\r\n" + CLAIM_HEADER
        make = fast_block if self._fast and len(flush.messages) > 1 else plain_block
        await write_block(self._nc, make(flush.messages, f"{self._inbox}.{flush.token}", fence))

    # -- answers ---------------------------------------------------------------------

    async def _on_reply(self, msg: Msg) -> None:
        flush = self._flush
        if flush is None or flush.done.done():
            return
        token, _, rest = msg.subject[len(self._inbox) + 1 :].partition(".")
        if token != flush.token:
            return
        if msg.headers and (status := msg.headers.get("Status")):
            self._lost(flush, f"NATS answers {status} (no stream listens on our subjects)")
            return
        try:
            reply = msgspec.json.decode(msg.data)
        except msgspec.DecodeError:
            self._lost(flush, "NATS answers something unreadable")
            return
        if reply.get("type") == "err":
            flush.error_code = int(reply["error"].get("err_code", 0))
        elif "type" not in reply:
            self._final(flush, reply, single=not rest.endswith("$FI"))

    def _final(self, flush: Flush, reply: dict[str, Any], *, single: bool) -> None:
        code = int(reply.get("error", {}).get("err_code", 0))
        if code == _BATCH_UNKNOWN:
            self._lost(flush, "NATS forgot the batch (it was ended, or the server restarted)")
        elif code:
            flush.done.set_result(Outcome(flush.stored, flush.sequence, code))
        elif not single:
            flush.done.set_result(Outcome(int(reply["count"]), int(reply["seq"]), flush.error_code))
        else:
            flush.stored, flush.sequence = flush.stored + 1, int(reply["seq"])
            if flush.stored == len(flush.messages):
                flush.done.set_result(Outcome(flush.stored, flush.sequence, 0))

    @staticmethod
    def _lost(flush: Flush, why: str) -> None:
        flush.done.set_exception(UnavailableError(why))

    async def _refused(self, code: int) -> None:
        if code in _FULL:
            held_by = await self.make_room() if self.make_room is not None else ""
            if held_by or self.make_room is None:
                self._lines.full(code, held_by)
                await asyncio.sleep(_FULL_PAUSE_S)
        elif code not in (_WRONG_LAST_SEQUENCE, _WRONG_LAST_ID, _WRONG_IN_FLIGHT, 0):
            raise StreamError(
                f"NATS refuses to store messages in {self._stream} (error {code})",
                safe="all messages before were stored; nothing was skipped",
                fix=f"nats stream info {self._stream}; the server's log has the error's text",
            )
        await self._step_over_foreign()

    async def _step_over_foreign(self) -> None:
        """Take the stream's new end as ours, if only applications wrote after us.

        Raises:
            FencedError: a message of ours exists that this reader did not send, or the
                stream ends before our last message (its tail was lost).
        """
        state = await stream_state(self._nc, self._stream)
        after = self._own.backwards(
            state.last_seq, floor=self.sequence, singly=(STEPPED_OVER_SINGLY,)
        )
        ours = [stored async for stored in after if self._own.is_ours(stored)]
        check_end(self.sequence, state.last_seq, self._prefix, ours)
        if state.last_seq > self.sequence:
            self._crowded_flushes = CROWDED_FLUSHES
        self.sequence, self._leader = state.last_seq, state.leader
