"""Our own messages in the stream, found among others however many those are.

Whoever may publish on a subject of ours can put any number of messages behind our newest one.
So looking back begins with single requests and goes over to reading in bulk, in pieces of a few
thousand messages: a million foreign ones take seconds (docs/adr/0017-who-may-say-what.md).
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors

from cdc.errors import UnavailableError
from cdc.jetstream.connection import Warns, lost
from cdc.jetstream.stream import Connection, StoredMessage, api, message_get
from cdc.jetstream.tap import Raw, tap_on
from cdc.message import (
    HEARTBEAT,
    REFRESH,
    Heartbeat,
    Placed,
    Refresh,
    decode_heartbeat,
    decode_placed,
    decode_refresh,
    parse_id,
    subject_for,
)
from cdc.partition import is_row_subject
from cdc.seal import Seal

SINGLY = (1, 4, 16)
"""So many are asked for one by one first: mostly the newest is ours."""
PIECE_FIRST, PIECE_MESSAGES, PIECE_BYTES = 64, 4096, 16 << 20
"""Sequences in a piece; fewer where messages are large."""
SILENCE_S = 5.0
SAID_EVERY_S = 5.0
_INACTIVE_NS = 30_000_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnMessages:
    """Our messages in one stream.

    ``OwnMessages(nc, state.name, "mysql", state.seal)``
    """

    nc: Connection
    stream: str
    prefix: str
    seal: Seal
    log: Warns | None = None
    """Told how far a long way back is."""

    def is_ours(self, stored: StoredMessage) -> bool:
        """Return whether a reader of this stream wrote a message."""
        return self.seal.fits(stored.seq, stored.data)

    def placed(self, stored: StoredMessage) -> Placed | None:
        """Return the id and more of a message of ours; None: it has none, or is not ours.

        Of a row in parts, the last part has it.
        """
        if not self.is_ours(stored):
            return None
        try:
            ours = decode_placed(stored.data)
            parse_id(ours.id)
        except ValueError:
            return None
        is_there = ours.is_whole and is_row_subject(self.prefix, ours.op, stored.subject)
        return ours if is_there else None

    def heartbeat(self, stored: StoredMessage) -> Heartbeat | None:
        """Return a heartbeat of ours; None: it is not one."""
        return self._boundary(stored, HEARTBEAT, decode_heartbeat)

    def refresh(self, stored: StoredMessage) -> Refresh | None:
        """Return an announcement of ours; None: it is not one."""
        return self._boundary(stored, REFRESH, decode_refresh)

    def _boundary(self, stored: StoredMessage, op: str, decode: Callable[[bytes], T]) -> T | None:
        if stored.subject != subject_for(self.prefix, op) or not self.is_ours(stored):
            return None
        try:
            return decode(stored.data)
        except ValueError:
            return None

    async def newest_heartbeat(self) -> tuple[int, Heartbeat | None]:
        """Return the newest heartbeat and its sequence; 0 and None: there is none.

        Raises:
            UnavailableError: NATS does not answer.
        """
        found = await self.newest(subject_for(self.prefix, HEARTBEAT), self.heartbeat)
        return found or (0, None)

    async def newest_refresh(self) -> tuple[int, Refresh] | None:
        """Return the newest announcement of a refresh and its sequence; None: there is none.

        Raises:
            UnavailableError: NATS does not answer.
        """
        return await self.newest(subject_for(self.prefix, REFRESH), self.refresh)

    async def newest(
        self, subject: str, accept: Callable[[StoredMessage], T | None]
    ) -> tuple[int, T] | None:
        """Return the newest message on a subject that is accepted, and its sequence.

        Raises:
            UnavailableError: NATS does not answer.
        """
        last = await message_get(self.nc, self.stream, last_by_subject=subject)
        if last is None:
            return None
        if (found := accept(last)) is not None:
            return last.seq, found
        async for stored in self.backwards(last.seq - 1, subject=subject):
            if (found := accept(stored)) is not None:
                return stored.seq, found
        return None

    async def backwards(
        self,
        newest: int,
        *,
        floor: int = 0,
        subject: str = "",
        singly: Sequence[int] = SINGLY,
    ) -> AsyncIterator[StoredMessage]:
        """Yield messages backwards from a sequence on, ours and others.

        Args:
            floor: messages up to this sequence are left out.
            subject: of messages on this one alone; empty: all.
            singly: asked for by as many requests at the same time, before all is read in bulk.

        Raises:
            UnavailableError: NATS does not answer.
        """
        at = newest
        for together in singly:
            sequences = range(at, max(at - together, floor), -1)
            found = await asyncio.gather(
                *(message_get(self.nc, self.stream, seq=seq) for seq in sequences)
            )
            for stored in found:
                if stored is not None and subject in ("", stored.subject):
                    yield stored
            at -= len(sequences)
        piece, said_s = PIECE_FIRST, time.monotonic()
        while at > floor:
            first = max(at - piece, floor) + 1
            some = await self._between(first, at, subject)
            for stored in reversed(some):
                yield stored
            at = first - 1
            size_bytes = sum(len(stored.data) for stored in some)
            fitting = PIECE_BYTES * len(some) // size_bytes if size_bytes else PIECE_MESSAGES
            piece = max(PIECE_FIRST, min(piece * 4, fitting, PIECE_MESSAGES))
            if self.log is not None and time.monotonic() - said_s > SAID_EVERY_S:
                said_s = time.monotonic()
                self.log.warning(
                    "searching for our latest message before those of others",
                    looked_at=newest - at,
                    left_at_most=at - floor,
                )

    async def _between(self, first: int, last: int, subject: str) -> list[StoredMessage]:
        """Return messages from one sequence to another, by a consumer of its own."""
        nc, name = self.nc, f"cdc-look-{uuid.uuid4().hex}"
        tap = await tap_on(nc, limit_bytes=PIECE_BYTES + (last - first + 1) * nc.max_payload)
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _INACTIVE_NS,
        }
        if subject:
            config["filter_subject"] = subject
        nc.wakes.append(tap.arrived)
        try:
            inbox = nc.new_inbox()
            subscription = await nc.subscribe(inbox)
            tap.follow(subscription)
            request = {"stream_name": self.stream, "config": config}
            await api(nc, f"CONSUMER.CREATE.{self.stream}.{name}", request)
            pull = json.dumps({"batch": last - first + 1, "no_wait": True}).encode()
            next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{name}"
            out: list[StoredMessage] = []
            end_s = time.monotonic() + SILENCE_S
            while True:
                await nc.publish(next_subject, pull, reply=inbox)
                before = len(out)
                if await self._collect(tap, last, out, inbox, name):
                    break
                # NATS reports the end; too much depends on it to trust that unchecked.
                at = out[-1].seq + 1 if out else first
                there = await message_get(
                    nc, self.stream, seq=at, next_by_subject=subject or f"{self.prefix}.>"
                )
                if there is None or there.seq > last:
                    break
                end_s = time.monotonic() + SILENCE_S if len(out) > before else end_s
                if time.monotonic() > end_s:
                    raise UnavailableError(f"NATS sends nothing of the stream {self.stream}")
            await subscription.unsubscribe()
            await nc.publish(f"$JS.API.CONSUMER.DELETE.{self.stream}.{name}")
        except nats.errors.Error:
            raise lost(nc) from None
        finally:
            nc.wakes.remove(tap.arrived)
            tap.take()
        return out

    async def _collect(
        self, tap: Any, last: int, out: list[StoredMessage], inbox: str, consumer: str
    ) -> bool:
        """Add what arrives to `out`; return whether `last` was reached, or passed."""
        to_us, from_ours = inbox.encode(), f".{consumer}.".encode()
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    await tap.arrived.wait()
            except TimeoutError:
                raise UnavailableError(f"NATS sends nothing of the stream {self.stream}") from None
            has_ended = False
            for raw in tap.take():
                if from_ours not in raw[1] and raw[0] != to_us:
                    continue  # late, of the piece before
                stored = _stored(raw)
                if stored is None:
                    has_ended = True
                elif stored.seq <= last:
                    out.append(stored)
                if stored is not None and stored.seq >= last:
                    return True
            if has_ended:
                return False
            if self.nc.lost.is_set():
                raise lost(self.nc)


def _stored(raw: Raw) -> StoredMessage | None:
    """Return a message as it was delivered; None: it is a status, which ends the piece."""
    subject, reply, header, body = raw
    if header[8:9] == b" ":
        return None
    # …<delivered>.<stream seq>.<consumer seq>.<time in ns>.<pending>, anything may come before.
    tokens = reply.rsplit(b".", 4)
    return StoredMessage(int(tokens[1]), subject.decode(errors="replace"), body, header, "")
