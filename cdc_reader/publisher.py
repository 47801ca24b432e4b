"""Exactly once into the stream: one flush in flight, fenced.

Every flush is published against the sequence that the stream must have before it
(``Nats-Expected-Last-Sequence``).  So a second reader, a lost tail or a lost
acknowledgement shows up as a refused flush, and never as a repeated or missing message.

A flush is one fast-ingest batch (NATS ADR-50: one acknowledgement for the whole) where the
server has it, and acknowledged single publishes where it has not.  Both end at the first
refused message: what was stored is a prefix of the flush.  A batch names itself in its first
message, so that whoever takes over can end it first: docs/adr/0007-fence.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from nats.aio.msg import Msg

from cdc import wire
from cdc.errors import PositionLostError, StreamError, UnavailableError
from cdc.message import decode_change, subject_for
from cdc.stream import message_get, stream_state, write_block
from cdc_reader.tail import BATCH_HEADER, ours_in
from cdc_reader.transaction import Run

ACK_TIMEOUT_S = 10.0
"""The server forgets a batch after 10 s of silence (NATS ADR-50)."""
_FLOW_MESSAGES = 500
_WRONG_LAST_SEQUENCE, _WRONG_LAST_ID = 10071, 10070
_BATCH_UNKNOWN = 10208
_FULL = {10077, 10122, 10023}
"""Stream limits, account limits, insufficient resources: back-pressure, not failure."""
_FULL_PAUSE_S = 1.0


class FencedError(UnavailableError):
    """Somebody else publishes our messages: read the tail again and go on from there."""


class Log(Protocol):
    """What this module needs of a structlog logger."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Say something that a person should look at."""


@dataclass(slots=True)
class Flush:
    """Messages on their way, with what is needed to send the rest of them again."""

    messages: list[tuple[bytes, bytes]]
    """(subject, body)"""
    token: str
    """Part of the reply subjects: answers to an earlier attempt are not ours."""
    done: asyncio.Future[tuple[int, int]]
    """(messages stored, error code or 0)"""
    acked: int = 0


class Publisher:
    """Publishes flushes in order and knows the stream's last sequence exactly."""

    def __init__(
        self,
        nc: wire.Connection,
        *,
        stream: str,
        prefix: str,
        sequence: int,
        fast_ingest: bool,
        flush_max_messages: int,
        flush_max_bytes: int,
        log: Log,
    ) -> None:
        """Begin behind `sequence`, the stream's last one.

        Args:
            nc: connected; opened and closed by the caller.
            fast_ingest: the stream allows batches (nats-server 2.14 and newer).
        """
        self.sequence = sequence
        self._nc = nc
        self._stream = stream
        self._prefix = prefix
        self._fast = fast_ingest
        self._max_messages = flush_max_messages
        self._max_bytes = flush_max_bytes
        self._log = log
        self._inbox = nc.new_inbox()
        # Batches of all readers share one space of names.
        self._name = self._inbox.rpartition(".")[2]
        self._tokens = itertools.count(1)
        self._flush: Flush | None = None
        self._watch: asyncio.Task[None] | None = None
        self._subjects: dict[str, bytes] = {}
        # The server counts headers in; 512 bytes are more than ours ever take.
        self._max_body_bytes = nc.max_payload - 512

    async def open(self) -> None:
        """Subscribe to the acknowledgements, and watch the connection."""
        await self._nc.subscribe(f"{self._inbox}.>", cb=self._on_reply)
        self._watch = asyncio.create_task(self._connection_lost())

    async def _connection_lost(self) -> None:
        await self._nc.lost.wait()
        if self._flush is not None and not self._flush.done.done():
            self._flush.done.set_exception(wire.lost(self._nc))

    async def send(self, runs: Iterable[Run]) -> None:
        """Put messages on their way; wait only for the flush before the last.

        Raises:
            FencedError: another reader published.
            PositionLostError: a message is larger than NATS carries.
            UnavailableError: NATS does not answer.
        """
        for messages in self._parts(runs):
            await self.settle()
            self._flush = self._begin(messages)
            await self._write(self._flush)

    async def settle(self) -> None:
        """Wait until everything sent is stored (invariant 1)."""
        while (flush := self._flush) is not None:
            try:
                stored, code = await asyncio.wait_for(flush.done, ACK_TIMEOUT_S)
            except TimeoutError:
                raise UnavailableError(
                    f"NATS did not acknowledge {len(flush.messages)} messages in "
                    f"{ACK_TIMEOUT_S:.0f} s"
                ) from None
            self.sequence += stored
            if stored == len(flush.messages):
                self._flush = None
                return
            await self._refused(code)
            self._flush = self._begin(flush.messages[stored:])
            await self._write(self._flush)

    # -- sending --------------------------------------------------------------------

    def _parts(self, runs: Iterable[Run]) -> Iterator[list[tuple[bytes, bytes]]]:
        messages: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        for run in runs:
            subject = self._subject(run.op)
            largest = max(map(len, run.bodies), default=0)
            if largest > self._max_body_bytes:
                self._refuse_large(run)
            for body in run.bodies:
                messages.append((subject, body))
                size_bytes += len(body)
                if len(messages) >= self._max_messages or size_bytes >= self._max_bytes:
                    yield messages
                    messages, size_bytes = [], 0
        if messages:
            yield messages

    def _subject(self, op: str) -> bytes:
        if op not in self._subjects:
            self._subjects[op] = subject_for(self._prefix, op).encode()
        return self._subjects[op]

    def _begin(self, messages: list[tuple[bytes, bytes]]) -> Flush:
        token = f"{self._name}-{next(self._tokens)}"
        return Flush(messages, token, asyncio.get_running_loop().create_future())

    async def _write(self, flush: Flush) -> None:
        one = len(flush.messages) == 1
        make = plain_block if one or not self._fast else fast_block
        await write_block(
            self._nc,
            make(flush.messages, f"{self._inbox}.{flush.token}", self.sequence),
        )

    def _refuse_large(self, run: Run) -> None:
        body = max(run.bodies, key=len)
        try:
            key = decode_change(body).key
        except msgspec.DecodeError:
            key = "(a schema change)"
        raise PositionLostError(
            f"the message for {key!r} of {run.table} has {len(body):,} bytes; NATS carries "
            f"{self._max_body_bytes:,} (max_payload {self._nc.max_payload:,})",
            safe="all changes before it were published; nothing was skipped",
            remedy=f"in nats-server.conf: max_payload: {_next_mib(len(body))}MB, then start cdc "
            "again; or leave large columns out with --value COLUMN",
        )

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
        if reply.get("type") in ("ack", "gap", "err"):
            if reply["type"] == "err":
                flush.acked = -int(reply["error"].get("err_code", 1))
            return
        self._final(flush, reply, single=not rest.endswith("$FI"))

    def _final(self, flush: Flush, reply: dict[str, Any], *, single: bool) -> None:
        code = int(reply.get("error", {}).get("err_code", 0))
        if single:
            if code:
                flush.done.set_result((flush.acked, code))
                return
            flush.acked += 1
            if flush.acked == len(flush.messages):
                flush.done.set_result((flush.acked, 0))
        elif code == _BATCH_UNKNOWN:
            self._lost(flush, "NATS forgot the batch (restarted?)")
        elif code:
            flush.done.set_result((0, code))
        else:
            # A batch that ended early said why before, in its "err" reply.
            flush.done.set_result((int(reply["count"]), max(-flush.acked, 0)))

    @staticmethod
    def _lost(flush: Flush, why: str) -> None:
        flush.done.set_exception(UnavailableError(why))

    async def _refused(self, code: int) -> None:
        if code in _FULL:
            self._log.warning(
                "the stream is full; waiting, the binlog keeps what comes",
                stream=self._stream,
                error_code=code,
            )
            await asyncio.sleep(_FULL_PAUSE_S)
        elif code not in (_WRONG_LAST_SEQUENCE, _WRONG_LAST_ID, 0):
            raise StreamError(
                f"NATS refuses to store messages in {self._stream} (error {code})",
                safe="all messages before were stored; nothing was skipped",
                remedy=f"nats stream info {self._stream}; see the error's text in the server's log",
            )
        await self._step_over_foreign()

    async def _step_over_foreign(self) -> None:
        """Take the stream's new end as ours, if nobody but applications wrote behind us.

        Raises:
            FencedError: a message of ours stands there that this reader did not send, or the
                stream ends before our last message (its tail was lost).
        """
        state = await stream_state(self._nc, self._stream)
        if state.last_seq < self.sequence:
            raise FencedError(f"stream {self._stream} lost its tail; going back to what it holds")
        for sequence in range(self.sequence + 1, state.last_seq + 1):
            stored = await message_get(self._nc, self._stream, seq=sequence)
            if stored is not None and is_ours(self._prefix, stored):
                raise FencedError("another reader publishes to the stream; reading its end again")
            self.sequence = sequence


def is_ours(prefix: str, stored: Any) -> bool:
    """Say whether a stored message is of a reader of this pipeline, heartbeats included."""
    return stored.subject == subject_for(prefix, "heartbeat") or ours_in(prefix, stored) is not None


def fast_block(messages: Sequence[tuple[bytes, bytes]], reply: str, sequence: int) -> bytes:
    """Return one fast-ingest batch as bytes for the socket.

    The reply subject is ``<inbox>.<batch>.<flow>.<gap mode>.<n>.<step>.$FI``; steps: 0 begin,
    1 append, 2 append and commit.  Source: NATS ADR-50, "Fast-ingest batch publishing".
    """
    prefix = f"{reply}.{_FLOW_MESSAGES}.fail.".encode()
    subject, body = messages[0]
    batch = reply.rpartition(".")[2].encode()
    header = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\n%b: %b\r\n\r\n" % (
        sequence, BATCH_HEADER.encode(), batch
    )  # fmt: skip
    size_bytes = len(header) + len(body)
    out = [
        b"HPUB %b %b1.0.$FI %d %d\r\n%b%b\r\n"
        % (subject, prefix, len(header), size_bytes, header, body)
    ]
    number = 1
    for number, (subject, body) in enumerate(messages[1:-1], 2):
        out.append(b"PUB %b %b%d.1.$FI %d\r\n%b\r\n" % (subject, prefix, number, len(body), body))
    subject, body = messages[-1]
    out.append(b"PUB %b %b%d.2.$FI %d\r\n%b\r\n" % (subject, prefix, number + 1, len(body), body))
    return b"".join(out)


def plain_block(messages: Sequence[tuple[bytes, bytes]], reply: str, sequence: int) -> bytes:
    """Return acknowledged single publishes as bytes for the socket.

    The first expects the sequence; each other one expects the message before it by id,
    because a predicted sequence could come true by a foreign message in the gap that a
    refused one left.
    """
    out: list[bytes] = []
    for number, (subject, body) in enumerate(messages, 1):
        name = f"{reply}.{number}".encode()
        fence = (
            b"Nats-Expected-Last-Sequence: %d" % sequence
            if number == 1
            else b"Nats-Expected-Last-Msg-Id: %b.%d" % (reply.encode(), number - 1)
        )
        named = b"\r\nNats-Msg-Id: %b" % name if len(messages) > 1 else b""
        header = b"NATS/1.0\r\n%b%b\r\n\r\n" % (fence, named)
        out.append(
            b"HPUB %b %b %d %d\r\n%b%b\r\n"
            % (subject, name, len(header), len(header) + len(body), header, body)
        )
    return b"".join(out)


def _next_mib(size_bytes: int) -> int:
    return max(2, 1 << (size_bytes // (1 << 20)).bit_length())
