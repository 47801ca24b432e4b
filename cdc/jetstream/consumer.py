"""The way out of the stream: an own pull loop on one plain subscription.

The consumer is ephemeral and acknowledges nothing: the position is in Redis.  Two
pull requests overlap, so the server always has one to serve, and their byte limits
bound what waits here.  nats-py's `fetch` would cost 26 us a message and hide a consumer
that was deleted; see `cdc.jetstream.tap.Tap` for what is used instead.

Source: nats-server's consumer.go, statuses of pull requests: 100 idle heartbeat,
404 and 408 nothing (more) in time, 409 ended with a description, 503 no responders.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.subscription import Subscription

from cdc.compiled import native
from cdc.errors import InternalError, UnavailableError
from cdc.jetstream.connection import lost
from cdc.jetstream.stream import NO_STREAM, ApiError, Connection, api
from cdc.jetstream.tap import Raw, Tap
from cdc.message import Delivery

PULLS = 2
HEARTBEAT_S = 2.0
SILENCE_S = 5.0
"""Without a message or a heartbeat for this time, the pull requests count as lost."""
EXPIRES_S = 30.0
INACTIVE_S = 60.0
PULL_BYTES = 4 << 20
"""Limit of one pull request, unless a single message may be larger."""

_native = native("cdc")
_S_NS = 1_000_000_000
_ENDED = (b"batch completed", b"message size exceeds maxbytes")
"""Descriptions of a 409 that ends one pull request; any other ends the consumer for us."""
_PENDING = re.compile(rb"Nats-Pending-Messages:\s*(\d+)", re.IGNORECASE)


class Consumer:
    """Delivers the messages of a stream in order, from a sequence on, without a hole.

    One connection, one consumer.  ``c = Consumer(nc, "MYSQL", max_messages=2000)``,
    ``await c.open(8124)``, then ``await c.read(1.0)`` again and again.
    """

    def __init__(
        self, nc: Connection, stream: str, *, max_messages: int, filters: Sequence[str] = ()
    ) -> None:
        """Args: filters: subjects, ``("mysql.*.2", "mysql.heartbeat")``; empty: all."""
        self._filters = list(filters)
        self._nc, self._stream, self._max_messages = nc, stream, max_messages
        self._pull_bytes = max(PULL_BYTES, nc.max_payload + (64 << 10))
        self._tap = nc.tap or Tap(nc, limit_bytes=0)
        self._tap.limit_bytes = 2 * PULLS * self._pull_bytes
        nc.wakes.append(self._tap.arrived)
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._next_seq = 1
        self._consumer_seq = 0
        self._asked = 0
        """Messages that open pull requests may still bring."""
        self._heard_s = 0.0
        self._ready: list[Delivery] = []
        self._came: list[tuple[int, list[Raw]]] = []
        """Where the messages in `_ready`, and those of the newest `read`, are from, with the
        last sequence of each."""

    async def open(self, seq: int) -> None:
        """Start, or start again, at a stream sequence.

        Raises:
            UnavailableError: NATS is gone, has no leader, or not our stream any more.
        """
        await self.close()
        self._next_seq = seq
        self._consumer = f"cdc-sink-{uuid.uuid4().hex}"
        config: dict[str, Any] = {
            "name": self._consumer,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": seq,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(INACTIVE_S * _S_NS),
        }
        if self._filters:
            config["filter_subjects"] = self._filters
        try:
            self._inbox = self._nc.new_inbox()
            self._subscription = await self._nc.subscribe(self._inbox)
        except nats.errors.Error:
            raise lost(self._nc) from None
        self._tap.follow(self._subscription)
        await self._create({"stream_name": self._stream, "config": config})
        self._heard_s = time.monotonic()
        await self._pull()

    async def _create(self, request: dict[str, Any]) -> None:
        try:
            await api(self._nc, f"CONSUMER.CREATE.{self._stream}.{self._consumer}", request)
        except ApiError as error:
            if error.err_code != NO_STREAM:
                raise
            # Started again, the sink finds another stream of that name and reports it.
            raise UnavailableError(f"the stream {self._stream} was removed") from None

    async def read(self, timeout_s: float) -> list[Delivery]:
        """Return what has arrived, at most ``max_messages``; waits for the first.

        Returns nothing after ``timeout_s``, or when `wake` is called.

        Raises:
            UnavailableError: NATS is gone.
        """
        self._came = [came for came in self._came if self._ready and came[0] >= self._ready[0][0]]
        if not self._ready and not self._tap.arrived.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._tap.arrived.wait()
        if len(self._ready) < self._max_messages:
            await self._collect()
        out = self._ready[: self._max_messages]
        del self._ready[: self._max_messages]
        return out

    def stored_ns(self, seq: int) -> int:
        """Return when NATS stored a message of the newest `read`, nanoseconds since 1970.

        0: not one of them.  Asked once for each batch, so the deliveries do not carry it.
        """
        return next((stored_ns(raws, seq) for last, raws in self._came if last >= seq), 0)

    def wake(self) -> None:
        """Make a waiting `read` return."""
        self._tap.arrived.set()

    async def close(self) -> None:
        """Drop the consumer and all that came from it; never raises, waits for no reply."""
        if self._subscription is not None and not self._nc.is_closed:
            with suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
                subject = f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}"
                await self._nc.publish(subject)
        self._subscription = None
        self._tap.take()
        self._ready.clear()
        self._came.clear()
        self._consumer_seq = self._asked = 0

    async def _collect(self) -> None:
        """Move what has arrived to `_ready`, and keep the pull requests going."""
        raws = self._tap.take()
        if self._nc.lost.is_set():
            raise lost(self._nc)
        now_s = time.monotonic()
        if raws:
            self._heard_s = now_s
        healthy = self._sort(raws)
        if not healthy or now_s - self._heard_s > SILENCE_S:
            ready, came = self._ready.copy(), self._came.copy()
            await self.open(self._next_seq)
            self._ready, self._came = ready, came
        else:
            await self._pull()

    def _sort(self, raws: list[Raw]) -> bool:
        """Put messages into `_ready`; return False when the consumer must be created again."""
        ready, before, consumer_seq = self._ready, len(self._ready), 0
        healthy, n = True, 0
        while n < len(raws):
            if _native is not None:
                n, newest = _native.deliveries(raws, n, ready)
                consumer_seq = max(consumer_seq, newest)
                if n == len(raws):
                    break
            subject, reply, header, body = raws[n]
            n += 1
            if is_status(raws[n - 1]):
                healthy = self._status(header) and healthy
                continue
            # …<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, anything may come before.
            tokens = reply.rsplit(b".", 4)
            ready.append((int(tokens[1]), subject, body))
            consumer_seq = int(tokens[2])
        if count := len(ready) - before:
            self._asked -= count
            self._consumer_seq += count
            if self._consumer_seq != consumer_seq:
                del ready[before:]
                return False
            self._next_seq = ready[-1][0] + 1
            self._came.append((ready[-1][0], raws))
        return healthy

    def _status(self, header: bytes) -> bool:
        """Take a status in; return False when the consumer must be created again."""
        line = header.split(b"\r\n", 1)[0]
        code, text = line[9:12], line[13:].lower()
        if code in (b"404", b"408") or (code == b"409" and text.startswith(_ENDED)):
            pending = _PENDING.search(header)
            self._asked -= int(pending[1]) if pending else self._max_messages
            return True
        if code == b"400":
            raise InternalError(f"NATS does not take our pull request: {text.decode()}")
        return code == b"100"

    async def _pull(self) -> None:
        """Send pull requests until `PULLS` of them are open."""
        request = {
            "batch": self._max_messages,
            "max_bytes": self._pull_bytes,
            "expires": int(EXPIRES_S * _S_NS),
            "idle_heartbeat": int(HEARTBEAT_S * _S_NS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        while self._asked <= self._max_messages * (PULLS - 1):
            try:
                await self._nc.publish(subject, json.dumps(request).encode(), reply=self._inbox)
            except nats.errors.Error:
                raise lost(self._nc) from None
            self._asked += self._max_messages


def stored_ns(raws: Sequence[Raw], seq: int) -> int:
    """Return when NATS stored the message of a sequence; 0: it is not among these.

    ``…<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`` is where a message is to be
    acknowledged; sequences grow, and statuses come in between.
    """
    low, high = 0, len(raws)
    while low < high:
        at = middle = (low + high) // 2
        while at >= low and is_status(raws[at]):
            at -= 1
        if at < low:
            low = middle + 1
            continue
        tokens = raws[at][1].rsplit(b".", 4)
        found = int(tokens[1])
        if found == seq:
            return int(tokens[3])
        low, high = (middle + 1, high) if found < seq else (low, at)
    return 0


def is_status(raw: Raw) -> bool:
    """Return whether it is NATS's word about a pull request and no message."""
    return bool(raw[2]) and raw[2][8:9] == b" "
