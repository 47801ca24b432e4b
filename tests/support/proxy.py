"""A TCP proxy on loopback that does to a connection whatever networks do.

It runs in a thread with a loop of its own, so that tests call it like any object.  Bytes
are counted from a connection's first on, in each direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from cdc.demo.ports import free_port
from tests.support.tally import TALLY

Direction = Literal["up", "down"]
"""Towards the server, and back."""
Cut = tuple[Direction, int, bool]
"""(direction, bytes that pass before it, with RST)"""
_RESET = struct.pack("ii", 1, 0)
_READ_BYTES = 1 << 16


@dataclass(eq=False, slots=True)
class Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    cut: Cut | None
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    swallowed: bool = False
    flips: dict[Direction, int] = field(default_factory=dict)
    """Offset of the byte to be changed."""

    def close(self, *, reset: bool) -> None:
        """End both halves."""
        for writer in (self.client, self.server):
            if reset:
                raw = writer.get_extra_info("socket")
                with contextlib.suppress(OSError, AttributeError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Stands before one server: ``with Proxy(nats.port) as proxy: connect(proxy.port)``."""

    def __init__(self, target: int) -> None:
        """Begin to pass connections on to a port of loopback."""
        self.target = target
        self.port = free_port()
        self.accepted = 0
        """Connections taken so far."""
        self.cuts = 0
        self.flipped = 0
        self.delay_s = 0.0
        self.bytes_per_s = 0
        """0: as many as there are."""
        self.swallows = False
        """New connections pass nothing."""
        self.cut_next: Callable[[], Cut | None] = lambda: None
        """Asked at each new connection."""
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, *, reset: bool = False) -> int:
        """Cut every connection now; return how many there were."""
        return int(self._do(self._cut_all(reset)))

    def passed(self, direction: Direction) -> int:
        """Return how many bytes have passed on what is connected now."""
        return sum(link.passed[direction] for link in list(self._links))

    def swallow(self) -> int:
        """Let no byte through any more on what is connected now, and say nothing: half-open."""

        async def mark() -> int:
            for link in self._links:
                link.swallowed = True
            return len(self._links)

        return int(self._do(mark()))

    def half_open(self) -> int:
        """Return how many connections are half-open since `swallow`, and not yet given up."""
        return sum(link.swallowed for link in list(self._links))

    def flip(self, direction: Direction, after_bytes: int) -> None:
        """Change one bit of what passes so many bytes from now, on every connection."""

        async def mark() -> None:
            for link in self._links:
                link.flips[direction] = link.passed[direction] + after_bytes

        self._do(mark())

    def switch(self, target: int) -> None:
        """Send connections to another server from now on; what is connected is cut."""
        self.target = target
        self.cut()

    def refuse(self) -> None:
        """Take no connection any more, until `listen`."""

        async def stop() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None

        self._do(stop())

    def listen(self) -> None:
        """Take connections again."""
        self._do(self._listen())

    # -- inside the loop --------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close(reset=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut_all(self, reset: bool) -> int:
        links = list(self._links)
        for link in links:
            self._cut(link, reset=reset)
        return len(links)

    def _cut(self, link: Link, *, reset: bool) -> None:
        if link in self._links:
            self._links.discard(link)
            self.cuts += 1
            TALLY.count("cut")
        link.close(reset=reset)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, to_server, self.cut_next(), swallowed=self.swallows)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, "up", reader, to_server),
                self._pump(link, "down", from_server, writer),
            )
        finally:
            self._links.discard(link)
            link.close(reset=False)

    async def _pump(
        self,
        link: Link,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while data := await reader.read(self._piece_bytes()):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                if link.swallowed:
                    continue
                data, is_last = self._altered(link, direction, data)
                writer.write(data)
                await writer.drain()
                if is_last:
                    self._cut(link, reset=link.cut is not None and link.cut[2])
                    return
        # One half ended: so does the other, but for a half-open one.
        if not link.swallowed:
            link.close(reset=False)

    def _piece_bytes(self) -> int:
        return max(1, min(_READ_BYTES, self.bytes_per_s // 20)) if self.bytes_per_s else _READ_BYTES

    def _altered(self, link: Link, direction: Direction, data: bytes) -> tuple[bytes, bool]:
        """Return what passes of the data, and whether the connection is cut behind it."""
        before = link.passed[direction]
        link.passed[direction] += len(data)
        flip = link.flips.get(direction)
        if flip is not None and before <= flip < before + len(data):
            changed = bytearray(data)
            changed[flip - before] ^= 1
            data = bytes(changed)
            del link.flips[direction]
            self.flipped += 1
        if link.cut is not None and link.cut[0] == direction:
            room = link.cut[1] - before
            if len(data) >= room:
                return data[:room], True
        return data, False
