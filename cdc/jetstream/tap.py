"""The quick way in: one subscription's messages, cut out of the socket's bytes in bulk.

nats-py's parser costs 3.7 to 6 us a message (two regular expressions, nine fields, a queue).
`Tap` takes its place and cuts the messages of one subscription out of the bytes itself; all
other frames are passed to the original parser.

Source: NATS client protocol (docs.nats.io/reference/reference-protocols/nats-protocol).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from cdc.compiled import native
from cdc.errors import InternalError
from cdc.jetstream.connection import Connection, lost

_BETWEEN_S = 0.001
FRAME_MAX_BYTES = (64 << 20) + (1 << 20)
"""No server's max_payload is above 64 MiB.  Source: nats-server, server/const.go."""
LINE_MAX_BYTES = 1 << 20
"""INFO of a large cluster is the longest line."""
_FIELDS = (4, 5)
"""Words of a MSG line, without and with a reply subject; an HMSG line has one more."""

_native = native("cdc")
Raw = tuple[bytes, bytes, bytes, bytes]
"""``(subject, reply, header block, body)``; the header block is empty for a plain MSG."""


async def tap_on(nc: Connection, *, limit_bytes: int) -> Tap:
    """Return a connection's tap; it is inserted between two messages at the first call."""
    while nc.tap is None and not nc.lost.is_set():
        with suppress(InternalError):
            return Tap(nc, limit_bytes=limit_bytes)
        await asyncio.sleep(_BETWEEN_S)
    if nc.tap is None:
        raise lost(nc)
    nc.tap.limit_bytes = max(limit_bytes, nc.tap.limit_bytes)
    return nc.tap


class Tap:
    """In place of nats-py's parser: one subscription's messages in bulk.

    ``tap = Tap(nc)``; subscribe; ``tap.follow(subscription)``; then `take` returns what has
    arrived and `arrived` is set whenever there is something.

    What may be waiting is bounded by what was asked for (the byte limits of the pull
    requests).  A server that sends more than `limit_bytes` breaks the connection: the
    read loop cannot simply stop, because PONGs and replies come the same way.  A connection has
    one, which follows one subscription after the other.
    """

    def __init__(self, nc: Client, *, limit_bytes: int) -> None:
        inner: Any = nc._ps
        if not isinstance(inner, Parser) or inner.state != AWAITING_CONTROL_LINE:
            raise InternalError("the quick receive path must be put in before the first message")
        self.limit_bytes = limit_bytes
        self.waiting_bytes = 0
        self.arrived = asyncio.Event()
        self._inner = inner
        self._sid = b""
        self._out: list[Raw] = []
        self._pieces: list[bytes] = [bytes(inner.buf)] if inner.buf else []
        self._held_bytes = len(inner.buf)
        self._needed_bytes = 0
        inner.reset()
        nc._ps = self  # type: ignore[assignment]  # does a Parser's work
        if isinstance(nc, Connection):
            nc.tap = self

    def follow(self, subscription: Subscription) -> None:
        """Cut out the messages of this subscription from now on; drop what came of another."""
        self._sid = b"%d" % subscription._id
        self._out, self.waiting_bytes = [], 0

    def take(self) -> list[Raw]:
        """Return all messages that have arrived since the last call, in order."""
        out, self._out = self._out, []
        self.waiting_bytes = 0
        self.arrived.clear()
        return out

    def reset(self) -> None:
        """Forget a half-received frame, as nats-py asks for on reconnect."""
        self._pieces, self._held_bytes, self._needed_bytes = [], 0, 0
        self._inner.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take bytes off the socket, cut anywhere.

        Raises:
            nats.errors.ProtocolError: these are no NATS frames, or too much is waiting.
        """
        self._held_bytes += len(data)
        if self._pieces:
            self._pieces.append(data)
            if self._held_bytes < self._needed_bytes:
                return
            data = b"".join(self._pieces)
        end = await self._cut(data)
        rest = data[end:] if end else data
        self._pieces = [rest] if rest else []
        self._held_bytes = len(rest)

    async def _cut(self, data: bytes) -> int:
        """Consume whole frames; return where the first incomplete one begins."""
        got: list[Raw] = []
        find, sid, append = data.find, self._sid, got.append
        size, start = len(data), 0
        self._needed_bytes = 0
        try:
            while start < size:
                if _native is not None:
                    start = _native.cut(data, start, sid, got)
                line_end = find(b"\r\n", start)
                if line_end < 0:
                    if size - start > LINE_MAX_BYTES:
                        raise nats.errors.ProtocolError("nats: a line has no end")
                    break
                first = data[start]
                if first != 72 and first != 77:  # neither HMSG nor MSG
                    await self._inner.parse(data[start : line_end + 2])
                    start = line_end + 2
                    continue
                fields = data[start:line_end].split()
                if len(fields) - (first == 72) not in _FIELDS:
                    raise ValueError
                body = line_end + 2
                end = body + int(fields[-1])
                if size < end + 2:
                    self._needed_bytes = end + 2 - start
                    if self._needed_bytes > FRAME_MAX_BYTES:
                        raise nats.errors.ProtocolError("nats: a message too large for NATS")
                    break
                if fields[2] != sid:
                    await self._inner.parse(data[start : end + 2])
                elif first == 72 and len(fields) == 6:
                    cut = body + int(fields[4])
                    append((fields[1], fields[3], data[body:cut], data[cut:end]))
                elif first == 72:
                    cut = body + int(fields[3])
                    append((fields[1], b"", data[body:cut], data[cut:end]))
                elif len(fields) == 5:
                    append((fields[1], fields[3], b"", data[body:end]))
                else:
                    append((fields[1], b"", b"", data[body:end]))
                start = end + 2
        except (IndexError, ValueError):
            raise nats.errors.ProtocolError("nats: malformed MSG") from None
        if got:
            self._out += got
            self._count(start)
        return start

    def _count(self, received_bytes: int) -> None:
        self.waiting_bytes += received_bytes
        if self.waiting_bytes > self.limit_bytes:
            raise nats.errors.ProtocolError("nats: more was sent than was requested")
        self.arrived.set()
