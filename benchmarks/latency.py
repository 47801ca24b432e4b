"""Latency from a commit, as the client sees it, to the row's visibility in Redis.

A writer commits at a fixed rate from several connections, each on a row of its own with a
number that grows (open loop: a slow answer does not slow the schedule down while a connection
is free).  A watcher in a process of its own is told by Redis of every write to these keys
(client tracking in broadcast mode) and reads the keys at once.  Both use the machine's monotonic
clock.  A number that was overtaken before it could be seen counts as seen when a later one of
its row was.

What the method itself adds is measured in the same way, with SETs straight to Redis in place of
a pipeline, and reported beside the figures as `method`.
"""

from __future__ import annotations

import bisect
import multiprocessing
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import hiredis
import msgspec

from benchmarks import procfs
from benchmarks.resp import pack
from benchmarks.servers import Servers
from benchmarks.spread import quantile
from benchmarks.systems import Running
from benchmarks.workload import SCHEMA, Workload

CONNECTIONS = 32
SETTLE_S = 10.0
"""After the last commit, the pipeline has so long to show what is still on its way."""
WARM_UP_SHARE = 0.5
"""So much of the time is written before what is measured: a JVM compiles what it uses."""
COM_QUERY = 3

WORKLOAD = Workload("latency", "commit to Redis", 1)


@dataclass(frozen=True, slots=True)
class Latency:
    """What was seen at one rate."""

    achieved_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    unseen: int
    """Commits that were not in Redis within `SETTLE_S` of the last: the system fell behind."""
    percent_of_a_core: dict[str, float] = field(default_factory=dict)
    """Of each process while it was written, servers included."""


Stamp = tuple[int, int, int]
"""Connection, its number, nanoseconds of the monotonic clock."""


def measure(servers: Servers, running: Running | None, rate: int, lasting_s: float) -> Latency:
    """Write at a rate and watch Redis.

    Args:
        running: a system that streams `WORKLOAD`'s table; None: SETs straight to Redis.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    watcher = context.Process(target=_watch, args=(servers.redis.port, theirs), daemon=True)
    watcher.start()
    ours.recv()
    try:
        if running is None:
            client: Any = _RedisWriter(servers.redis.port)
        else:
            running.check()
            _write(_MySqlWriter(servers), rate, lasting_s * WARM_UP_SHARE)
            client = _MySqlWriter(servers)
        pids = servers.pids() | (running.processes() if running else {})
        before, began = procfs.cpu_all_s(pids), time.monotonic()
        committed = _write(client, rate, lasting_s)
        after, lasted_s = procfs.cpu_all_s(pids), time.monotonic() - began
        newest = max(stamp[2] for stamp in committed)
        wanted = {connection: number for connection, number, _ in committed}
        ours.send(wanted)
        if not ours.poll(SETTLE_S + 30):
            raise TimeoutError("the watcher does not answer")
        busy = procfs.percent_of_a_core(before, after, lasted_s)
        return replace(evaluate(committed, ours.recv(), newest), percent_of_a_core=busy)
    finally:
        watcher.kill()
        watcher.join()


def evaluate(committed: Sequence[Stamp], seen: Sequence[Stamp], newest_ns: int) -> Latency:
    """Match commits with what was seen; pure.

    >>> evaluate([(0, 1, 0), (0, 2, 1_000_000_000)], [(0, 2, 1_003_000_000)], 1_000_000_000).p50_ms
    3.0
    """
    numbers: dict[int, list[int]] = {}
    times: dict[int, list[int]] = {}
    for connection, number, at in seen:
        numbers.setdefault(connection, []).append(number)
        times.setdefault(connection, []).append(at)
    found, unseen = [], 0
    for connection, number, at in committed:
        place = bisect.bisect_left(numbers.get(connection, []), number)
        if place == len(numbers.get(connection, [])):
            unseen += 1
        else:
            found.append((times[connection][place] - at) / 1e6)
    first_ns = min(stamp[2] for stamp in committed)
    lasted_s = max(1e-9, (newest_ns - first_ns) / 1e9)
    if not found:
        return Latency(len(committed) / lasted_s, 0.0, 0.0, 0.0, unseen)
    return Latency(
        achieved_per_s=len(committed) / lasted_s,
        p50_ms=quantile(found, 0.5),
        p99_ms=quantile(found, 0.99),
        max_ms=max(found),
        unseen=unseen,
    )


def _write(client: Any, rate: int, lasting_s: float) -> list[Stamp]:
    """Commit at the rate; return when each answer came."""
    free: deque[int] = deque(range(CONNECTIONS))
    numbers = [client.first] * CONNECTIONS
    done: list[Stamp] = []
    begin = time.monotonic()
    sent, all_ = 0, int(rate * lasting_s)
    while len(done) < all_:
        now = time.monotonic()
        while sent < all_ and free and now >= begin + sent / rate:
            connection = free.popleft()
            numbers[connection] += 1
            client.send(connection, numbers[connection])
            sent += 1
        wait_s = begin + sent / rate - now if sent < all_ and free else 1.0
        for connection in client.answered(max(0.0, wait_s)):
            done.append((connection, numbers[connection], time.monotonic_ns()))
            free.append(connection)
    client.close()
    return done


class _Sockets:
    """Connections that are told apart by number and waited for together."""

    first = 0

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets
        self._selector = selectors.DefaultSelector()
        for number, each in enumerate(sockets):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(each, selectors.EVENT_READ, number)

    def answered(self, wait_s: float) -> list[int]:
        """Return the connections whose answer has come."""
        ready = [key.data for key, _ in self._selector.select(wait_s)]
        for number in ready:
            self.accept(self._sockets[number].recv(65_536))
        return ready

    def accept(self, answer: bytes) -> None:
        """Raise where an answer is a refusal."""

    def close(self) -> None:
        """Drop all connections."""
        self._selector.close()
        for each in self._sockets:
            each.close()


class _MySqlWriter(_Sockets):
    """One-statement transactions, each an UPDATE of the connection's own row."""

    def __init__(self, servers: Servers) -> None:
        self._connections: list[Any] = [servers.mysql.connect(SCHEMA) for _ in range(CONNECTIONS)]
        with self._connections[0].cursor() as cursor:
            cursor.execute(f"SELECT MAX(visits) FROM {WORKLOAD.table} WHERE id <= {CONNECTIONS}")
            self.first = int(cursor.fetchone()[0])
        super().__init__([connection._sock for connection in self._connections])

    def send(self, connection: int, number: int) -> None:
        """Send the statement, autocommit."""
        statement = f"UPDATE {WORKLOAD.table} SET visits={number} WHERE id={connection + 1}"
        body = bytes([COM_QUERY]) + statement.encode()
        self._sockets[connection].sendall(struct.pack("<I", len(body)) + body)

    def accept(self, answer: bytes) -> None:
        """See _Sockets; the fifth byte of an OK packet is 0."""
        if answer[4] != 0:
            raise RuntimeError(f"MySQL refuses the update: {answer[13:]!r}")


class _RedisWriter(_Sockets):
    """SETs straight to Redis: what the method itself adds."""

    def __init__(self, port: int) -> None:
        super().__init__(
            [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        )

    def send(self, connection: int, number: int) -> None:
        """Send the SET."""
        command = pack("SET", f"{WORKLOAD.table}:{connection + 1}", f'{{"visits":{number}}}')
        self._sockets[connection].sendall(command)


def _watch(port: int, pipe: Connection) -> None:
    """Note when each number is readable, until those asked for are, or time is up."""
    seen: list[Stamp] = []
    wanted: dict[int, int] = {}
    asked_at: list[float] = []

    def listen() -> None:
        wanted.update(pipe.recv())
        asked_at.append(time.monotonic())

    threading.Thread(target=listen, daemon=True).start()
    reader = _Tracked(port)
    pipe.send("ready")
    newest: dict[int, int] = {}

    def note(connection: int, number: int, at: int) -> None:
        if number > newest.get(connection, -1):
            newest[connection] = number
            seen.append((connection, number, at))

    while True:
        reader.turn(note)
        if asked_at:
            complete = all(newest.get(each, -1) >= number for each, number in wanted.items())
            if complete or time.monotonic() > asked_at[0] + SETTLE_S:
                break
    pipe.send(seen)


class _Tracked:
    """A connection that Redis tells of every write to the table's keys.

    Source: Redis documentation, "Client-side caching", broadcasting mode.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._dirty: set[bytes] = set()
        self._asked: list[bytes] = []
        prefix = f"{WORKLOAD.table}:"
        for command in (("HELLO", "3"), ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix)):
            self._socket.sendall(pack(*command))
            while self._reader.gets() is False:
                self._reader.feed(self._socket.recv(65_536))
        self._socket.settimeout(0.1)

    def turn(self, note: Callable[[int, int, int], None]) -> None:
        """Take what has come; ask for what has changed."""
        try:
            self._reader.feed(self._socket.recv(65_536))
        except TimeoutError:
            return
        while (answer := self._reader.gets()) is not False:
            if isinstance(answer, hiredis.PushNotification):
                self._dirty.update(answer[1] or ())
                continue
            at = time.monotonic_ns()
            for key, value in zip(self._asked, answer, strict=True):
                connection = int(key.rpartition(b":")[2]) - 1
                if value is not None and connection < CONNECTIONS:
                    note(connection, int(msgspec.json.decode(value)["visits"]), at)
            self._asked = []
        if self._dirty and not self._asked:
            self._asked, self._dirty = list(self._dirty), set()
            self._socket.sendall(pack("MGET", *self._asked))
