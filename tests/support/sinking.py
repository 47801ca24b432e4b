"""A stream written by hand, and the sink that follows it: what the sink's tests share."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from cdc.demo.servers import Nats, Redis
from cdc.jetstream.stream import Connection, close, connect, declare_stream, write_block
from cdc.message import Change, Heartbeat, Operation, encode
from cdc.seal import Seal
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, as_json
from cdc.url import parse_url
from redis_sink import sink
from tests.support.planned import a_table

LOG = Log(sys.stdout, as_json)
DEADLINE_S = 30.0
P = ParamSpec("P")


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def settings_for(nats: Nats, redis: Redis, name: str = "T", **more: Any) -> Settings:
    """Return settings whose stream, subjects and pipeline are this test's own."""
    return Settings(
        nats=parse_url(nats.url, ("nats",)),
        redis=parse_url(redis.url, ("redis",)),
        stream=name,
        subject_prefix=name.lower(),
        pipeline=name.lower(),
        **more,
    )


class Chain:
    """Publishes a valid chain of messages of ours, and what stands between them."""

    def __init__(self, nc: Connection, prefix: str, seal: Seal) -> None:
        self.nc, self.prefix, self.seal = nc, prefix, seal
        self.last = ""
        self.offset = 1000
        self.expected: dict[str, str] = {}
        """What Redis must hold at the end."""
        self._history: list[tuple[str, str | None] | None] = []

    def change(
        self, key: str, value: str | None, *, table: str = "shop.users", op: Operation = "update"
    ) -> bytes:
        """Return the line of one change."""
        self.offset += 100
        prev, self.last = self.last, f"1.2.{self.offset}.0"
        message = Change(
            key=key, value=value, op=op, table=table, id=self.last, prev=prev,
            ts=time.time_ns() // 1000,
        )  # fmt: skip
        _apply(self.expected, key, value)
        line = self.line(op, self.seal.sealed(encode(message)))
        self._history[-1] = (key, value)
        return line

    def state_at(self, seq: int) -> dict[str, str]:
        """Return what Redis must hold when it says that it has come to `seq`."""
        out: dict[str, str] = {}
        for step in self._history[:seq]:
            if step is not None:
                _apply(out, *step)
        return out

    def heartbeat(self) -> bytes:
        """Return the line of a heartbeat."""
        message = Heartbeat(
            epoch=1, server="u", file="b.000002", offset=self.offset, gtid_set=f"u:1-{self.offset}",
            last=self.last, snapshot={}, ts=time.time_ns() // 1000,
        )  # fmt: skip
        return self.line("heartbeat", self.seal.sealed(encode(message)))

    def line(self, op: str, body: bytes) -> bytes:
        """Return the protocol line of any message, with a header as the reader sends it."""
        self._history.append(None)
        header = b"NATS/1.0\r\nNats-Test: 1\r\n\r\n"
        size = len(header) + len(body)
        subject = f"{self.prefix}.{op}".encode()
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(header), size, header, body)

    async def send(self, *lines: bytes) -> None:
        """Publish lines and return when NATS has them."""
        await write_block(self.nc, b"".join(lines))
        await self.nc.flush(30)

    async def some(self, count: int, *, start: int = 0) -> None:
        """Publish changes of 100 keys; each tenth is a delete; heartbeats in between."""
        lines = []
        for i in range(start, start + count):
            key = f"users:{i % 100}"
            lines.append(self.change(key, None if i % 10 == 9 else f'{{"id":{i % 100},"n":{i}}}'))
            if i % 50 == 0:
                lines.append(self.heartbeat())
        await self.send(*lines)


def _apply(redis: dict[str, str], key: str, value: str | None) -> None:
    if value is None:
        redis.pop(key, None)
    else:
        redis[key] = value


@asynccontextmanager
async def a_chain(settings: Settings) -> AsyncIterator[Chain]:
    """Declare the stream and give a chain to write to it."""
    nc = await connect(settings.nats, name="test", inbox_prefix="_INBOX_test", log=LOG)
    try:
        state = await declare_stream(nc, settings)
        yield Chain(nc, settings.subject_prefix, state.seal)
    finally:
        await close(nc)


class Counts:
    """A meter that can be looked at."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.lags_s: list[float] = []

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter."""
        self.of[name] = self.of.get(name, 0) + n

    def lag(self, seconds: float) -> None:
        """Note the age of a change."""
        self.lags_s.append(seconds)


class Running:
    """A sink inside this process."""

    def __init__(self, task: asyncio.Task[None], stop: asyncio.Event, meter: Counts) -> None:
        self.task, self._stop, self.meter = task, stop, meter

    @property
    def applied(self) -> int:
        """How many changes it has applied."""
        return self.meter.of.get("applied", 0)

    async def stop(self) -> None:
        """Drain it."""
        self._stop.set()
        await self.task


@asynccontextmanager
async def a_sink(settings: Settings, *tables: Table) -> AsyncIterator[Running]:
    """Run a sink; its error, if it ends with one, is raised at the end."""
    stop, meter = asyncio.Event(), Counts()
    captured = tables or (a_table(), a_table("carts", "hash"))
    task = asyncio.create_task(sink.run(settings, captured, stop=stop, log=LOG, meter=meter))
    running = Running(task, stop, meter)
    try:
        yield running
    finally:
        await running.stop()


async def until(
    what: str, condition: Callable[[], bool | Awaitable[bool]], deadline_s: float = DEADLINE_S
) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not; says what was waited for.
    """
    end = time.monotonic() + deadline_s
    while True:
        held = condition()
        if not isinstance(held, bool):
            held = await held
        if held:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s:.0f} s")
        await asyncio.sleep(0.01)


def client(server: Redis) -> redis_py.Redis:
    """Return an ordinary client, as an application has it."""
    retry = Retry(NoBackoff(), 0)
    return redis_py.Redis(port=server.port, decode_responses=True, protocol=2, retry=retry)


def strings(redis: redis_py.Redis, pattern: str = "users:*") -> dict[str, str]:
    """Return every string key that matches, with its value; {} while Redis is down."""
    try:
        keys: Any = sorted(redis.scan_iter(pattern, count=1000))
        values: Any = redis.mget(keys) if keys else []
    except redis_py.RedisError:
        return {}
    return {key: value for key, value in zip(keys, values, strict=True) if value is not None}
