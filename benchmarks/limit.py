"""What the three servers can do by themselves: bytes out, bytes in, nothing decoded.

Each server is driven by one socket that sends blocks prepared before the clock starts and only
counts what comes back.  The sum of the servers' own CPU time a row gives the ceiling of the
machine: with `cores` cores and no other program at all, no pipeline of one message a row through
these servers can be faster.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hiredis

from benchmarks import procfs
from benchmarks.resp import pack
from benchmarks.servers import Servers
from cdc.demo.servers import MySQL
from cdc.message import Change, encode

FLOW = 500
"""Messages that the stream acknowledges at once, the server's own greatest number."""
WINDOW = 8 * FLOW
BLOCK = 500
RECEIVE_BYTES = 1 << 20
COM_BINLOG_DUMP = 0x12
DUMP_NON_BLOCK = 1
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
MAX_ROWS = 200_000
"""So many messages are prepared in memory at most; more change no rate."""


@dataclass(frozen=True, slots=True)
class Alone:
    """One server by itself."""

    step: str
    rows: int
    wall_s: float
    server_cpu_s: float

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.wall_s

    @property
    def cpu_us_per_row(self) -> float:
        """CPU time of the server for one row."""
        return self.server_cpu_s / self.rows * 1e6


def ceiling(steps: list[Alone], cores: int) -> float:
    """Return the rows/s at which the servers alone use all cores."""
    return cores * 1e6 / sum(step.cpu_us_per_row for step in steps)


def measure(servers: Servers, start: tuple[str, int], backlog_rows: int) -> list[Alone]:
    """Measure dump, publish, pull and write, in this order.

    Args:
        start: binlog file and offset before a backlog of `backlog_rows` rows.
    """
    servers.restore("blank")
    changes = list(messages(min(backlog_rows, MAX_ROWS)))
    nats = _Nats(servers.nats.port)
    pids = servers.pids()
    try:
        return [
            _timed("dump", pids["mysql"], backlog_rows, lambda: dump(servers.mysql, *start)),
            _publish(nats, pids["nats"], changes),
            _timed("pull", pids["nats"], len(changes), lambda: nats.pull(len(changes))),
            _write(servers.redis.port, pids["redis"], changes),
        ]
    finally:
        nats.close()


def _timed(step: str, pid: int, rows: int, work: Callable[[], object]) -> Alone:
    cpu, wall = procfs.cpu_s(pid), time.monotonic()
    work()
    return Alone(step, rows, time.monotonic() - wall, procfs.cpu_s(pid) - cpu)


def messages(rows: int) -> Iterator[Change]:
    """Yield messages of the contract, as many bytes each as those of the drains."""
    for n in range(1, rows + 1):
        row = {
            "id": n,
            "name": f"Ada Lovelace {n}",
            "email": f"ada.lovelace.{n}@example.com",
            "balance": f"{n % 100000}.51",
            "status": "active",
            "visits": 1,
            "created_at": "2026-01-02T03:04:05",
            "updated_at": "2026-11-23T12:00:00.123456Z",
        }
        yield Change(
            key=f"users:{n}",
            value=json.dumps(row, separators=(",", ":")),
            op="update",
            table="bench.users",
            gtid="7271e0ec-e705-11f1-8850-02fc00000001:8003",
            id=f"1.2.{28_000_000 + n * 200}.{n % 100}",
            prev=f"1.2.{28_000_000 + n * 200}.{n % 100}",
            ts=1795414891568123,
        )


def dump(mysql: MySQL, file: str, offset: int) -> int:
    """Read the binlog from a position to its end; return the bytes.

    Source: MySQL, "COM_BINLOG_DUMP".
    """
    with mysql.connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET @source_binlog_checksum = @@GLOBAL.binlog_checksum")
        command = struct.pack("<IHI", offset, DUMP_NON_BLOCK, 85_745) + file.encode()
        private: Any = connection
        private._execute_command(COM_BINLOG_DUMP, command)
        connected: socket.socket = private._sock
        count, end = 0, b""
        while not _is_end(end):
            data = connected.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionError("the server closed the dump")
            count += len(data)
            end = (end + data)[-9:]
        return count


def _is_end(tail: bytes) -> bool:
    """Say whether the bytes are an EOF packet: length 5, a number, 0xfe."""
    return len(tail) == 9 and tail[:3] == b"\x05\0\0" and tail[4] == 0xFE


class _Nats:
    """One plain socket to NATS, and the stream on it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.recv(65_536)
        self._socket.sendall(CONNECT + b"SUB _R.> 1\r\nSUB _P 2\r\n")
        config = {"name": "LIMIT", "subjects": ["limit.>"], "storage": "file"}
        self.api("STREAM.CREATE.LIMIT", config | {"allow_batched": True})

    def api(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask JetStream and return its answer.

        Raises:
            RuntimeError: it refuses.
        """
        text = json.dumps(body).encode()
        self._socket.sendall(
            b"PUB $JS.API.%s _R.api %d\r\n%s\r\n" % (subject.encode(), len(text), text)
        )
        answer: dict[str, Any] = next(self._replies())
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer

    def publish(self, blocks: list[bytes], rows: int) -> None:
        """Send prepared blocks as fast as the stream acknowledges them.

        Source: NATS ADR-50, fast-ingest batches.
        """
        replies, acknowledged = self._replies(), 0
        for number, block in enumerate(blocks):
            while number * BLOCK - acknowledged > WINDOW:
                acknowledged = next(replies).get("seq", acknowledged)
            self._socket.sendall(block)
        while True:
            reply = next(replies)
            if "stream" in reply or "error" in reply:
                break
        if reply.get("count") != rows:
            raise RuntimeError(f"the stream took {reply} of {rows} messages")

    def pull(self, rows: int) -> None:
        """Receive the whole stream in one pull."""
        config = {"name": "c", "ack_policy": "none", "deliver_policy": "all", "mem_storage": True}
        self.api("CONSUMER.CREATE.LIMIT.c", {"stream_name": "LIMIT", "config": config})
        ask = b'{"batch":%d,"expires":60000000000}' % rows
        self._socket.sendall(
            b"PUB $JS.API.CONSUMER.MSG.NEXT.LIMIT.c _P %d\r\n%s\r\n" % (len(ask), ask)
        )
        found, tail = 0, b""
        while found < rows:
            data = tail + self._socket.recv(RECEIVE_BYTES)
            found += data.count(b"$JS.ACK.")
            tail = data[-7:]

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def _replies(self) -> Iterator[dict[str, Any]]:
        """Yield what arrives in `_R.>`, each a JSON object."""
        reader = self._socket.makefile("rb")
        while True:
            line = reader.readline()
            if line.startswith(b"MSG"):
                size = int(line.split()[-1])
                yield json.loads(reader.read(size + 2))
            elif line.startswith(b"HMSG"):
                raise RuntimeError(f"NATS: {reader.read(int(line.split()[-1]))!r}")
            elif line.startswith(b"PING"):
                self._socket.sendall(b"PONG\r\n")
            elif line.startswith(b"-ERR") or not line:
                raise RuntimeError(f"NATS: {line!r}")


def _publish(nats: _Nats, pid: int, changes: list[Change]) -> Alone:
    inbox = b"_R." + uuid.uuid4().hex.encode() + b".%d.fail." % FLOW
    lines = []
    for n, change in enumerate(changes, 1):
        body = encode(change)
        head = (inbox, n, 0 if n == 1 else 1, len(body))
        lines.append(b"PUB limit.update %s%d.%d.$FI %d\r\n" % head + body + b"\r\n")
    lines.append(b"PUB limit.update %s%d.3.$FI 0\r\n\r\n" % (inbox, len(changes) + 1))
    blocks = [b"".join(lines[at : at + BLOCK]) for at in range(0, len(lines), BLOCK)]
    return _timed("publish", pid, len(changes), lambda: nats.publish(blocks, len(changes)))


def _write(port: int, pid: int, changes: list[Change]) -> Alone:
    """Write the values as the sink does: MULTI, MSET of 500, the position, EXEC."""
    blocks = []
    for at in range(0, len(changes), BLOCK):
        pairs = [text for c in changes[at : at + BLOCK] for text in (c.key, c.value or "")]
        position = ("SET", "cdc:limit:position", json.dumps({"seq": at}))
        commands = (("MULTI",), ("MSET", *pairs), position, ("EXEC",))
        blocks.append(b"".join(pack(*command) for command in commands))

    def write() -> None:
        reader = hiredis.Reader()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for block in blocks:
                connection.sendall(block)
                replies = 0
                while replies < 4:
                    answer = reader.gets()
                    if answer is False:
                        reader.feed(connection.recv(65_536))
                    else:
                        replies += 1

    return _timed("write", pid, len(changes), write)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
