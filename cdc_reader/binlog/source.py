"""The dump connection: opened by mysql-replication, read by us.

The library connects, authenticates, sets the session up and sends the dump command; with
MySQL GTIDs our own command goes out in its place (`DumpConnection`), because the library
refuses tagged and empty sets and asks the server to leave tagged transactions out.  Its
decoding, position and reconnect are not used: docs/adr/0002-own-decoder.md.

The private names that this leans on are checked by tests/unit/cdc_reader/binlog/test_source.py.
"""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import ssl
import struct
import uuid
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysqlreplication import BinLogStreamReader

from cdc.errors import UnavailableError, logging_in
from cdc.mysql.connection import (
    HANDSHAKE_TIMEOUT_S,
    connection_settings,
    of_login,
    translated,
)
from cdc.position import MySqlGtidSet, Position
from cdc.url import Url
from cdc_reader.binlog.packet import PacketReader

COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID = 0x12, 0x1E
HEARTBEAT_S = 5.0
SILENCE_S = 15.0
"""Nothing for this long, not even one of three heartbeats: the connection is half-open."""
READ_BYTES = 1 << 18
CHECKSUM_SQL = "SET @master_binlog_checksum = 'CRC32'"
"""We read both kinds.  The library announces it only where it is in force now, and a server refuses
the first file with checksums to a connection that did not."""
RECEIVE_BUFFER_BYTES = 1 << 20
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Of a socket that does not block.  A plain one also returns None to its buffer; one of TLS always
raises, also where half a record has come.  Source: Python, ssl, "Notes on non-blocking sockets".
"""


class DumpConnection(Connection):
    """A PyMySQL connection that sends our dump command in place of the library's."""

    def __init__(self, *, url: Url, dump_command: bytes | None, **options: Any) -> None:
        """Connect; `dump_command` None leaves the library's own.

        Raises:
            PermissionDenied: the login is refused.
        """
        self._dump_command = dump_command
        try:
            super().__init__(**options)
        except pymysql.MySQLError as error:
            raise of_login(error, url) from None
        with self.cursor() as cursor:
            cursor.execute(CHECKSUM_SQL)

    def _write_bytes(self, data: bytes) -> None:
        is_dump = len(data) > 4 and data[4] == COM_BINLOG_DUMP
        if is_dump and self._dump_command is not None:
            data = struct.pack("<I", len(self._dump_command)) + self._dump_command
        super()._write_bytes(data)  # type: ignore[misc]  # not in the stubs

    def take_over(self) -> tuple[socket.socket, bytes]:
        """Return the socket, which does not block any more, and what was read ahead of it."""
        sock: socket.socket = self._sock  # type: ignore[attr-defined]  # not in the stubs
        buffered = self._rfile  # type: ignore[attr-defined]  # not in the stubs
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        try:
            # peek() on an empty buffer reads once from the socket and returns what is there.
            return sock, buffered.read(len(buffered.peek())) or b""
        except _NOTHING_YET:
            return sock, b""

    def drop(self) -> None:
        """Close the socket without a word to the server, which is sending."""
        self._force_close()  # type: ignore[attr-defined]  # not in the stubs


def gtid_dump_command(server_id: int, executed: MySqlGtidSet) -> bytes:
    """Return COM_BINLOG_DUMP_GTID for all that the set lacks.

    Flags are 0: bit 2 would leave out transactions with tags.  Layout: command, flags u16,
    server id u32, name length u32, name, position u64, data length u32, data.
    Source: MySQL source documentation, "COM_BINLOG_DUMP_GTID".
    """
    data = encode_gtid_set(executed)
    return struct.pack("<BHIIQI", COM_BINLOG_DUMP_GTID, 0, server_id, 0, 4, len(data)) + data


def encode_gtid_set(gtid_set: MySqlGtidSet) -> bytes:
    """Return a set as the server reads it.

    Without tags: number of uuids u64, then for each the uuid, the number of intervals u64 and
    each interval as two u64 (first, last + 1).  With tags the first and the last byte of the
    number are 1, and each uuid is followed by its tag as a length byte (doubled) and text.
    Source: mysql-server sql/rpl_gtid_set.cc, Gtid_set::encode; seen on 9.7.
    """
    intervals = gtid_set.intervals()
    tagged = any(":" in name for name in intervals)
    count = len(intervals)
    out = [struct.pack("<Q", count << 8 | 1 | 1 << 56 if tagged else count)]
    for name in sorted(intervals):
        sid, _, tag = name.partition(":")
        out.append(uuid.UUID(sid).bytes)
        if tagged:
            out.append(bytes([len(tag) << 1]) + tag.encode())
        out.append(struct.pack("<Q", len(intervals[name])))
        out.extend(struct.pack("<QQ", *span) for span in intervals[name])
    return b"".join(out)


class Source:
    """One dump connection: `open`, then `read` until it raises, then `close`."""

    def __init__(self, connection: DumpConnection, *, checksum: bool) -> None:
        """Take over a connection on which the dump command was sent.

        Args:
            checksum: what the server writes now.
        """
        self._connection = connection
        self._socket, self._first = connection.take_over()
        self.packets = PacketReader(checksum=checksum)
        """Makes events of what `read` returns."""
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls,
        url: Url,
        position: Position,
        *,
        mariadb: bool,
        server_id: int = 0,
        waits: bool = True,
    ) -> Source:
        """Connect and ask for everything after `position`.

        Args:
            server_id: 0: one at random that no real server has.
            waits: False: the server ends the dump at the end of its binlog
                (BINLOG_DUMP_NON_BLOCK); for a position without GTIDs.

        Raises:
            UnavailableError: no server there.
            PermissionDenied: the login or REPLICATION SLAVE is refused.
        """
        server_id = server_id or random.randrange(1 << 31, 1 << 32)
        connection, checksum = await asyncio.to_thread(
            _connect, url, position, mariadb, server_id, waits
        )
        try:
            return cls(connection, checksum=checksum)
        except OSError as error:
            connection.drop()
            raise _broken(error) from None

    async def read(self, timeout_s: float) -> bytes:
        """Return the bytes that came, for `packets`; empty when none came in time.

        Raises:
            UnavailableError: the connection ended; connect again.
        """
        data, self._first = self._first, b""
        try:
            return data or self._received() or await self._receive(timeout_s)
        except TimeoutError:
            return b""
        except OSError as error:
            raise _broken(error) from None

    def _received(self) -> bytes:
        """Return what is there; empty when nothing is.

        Raises:
            UnavailableError: the server closed the connection.
        """
        try:
            data = self._socket.recv(READ_BYTES)
        except _NOTHING_YET:
            return b""
        if not data:
            raise UnavailableError("MySQL closed the binlog connection")
        return data

    async def _receive(self, timeout_s: float) -> bytes:
        async with asyncio.timeout(timeout_s):
            while True:
                await self._readable()
                if data := self._received():
                    return data

    async def _readable(self) -> None:
        readable = self._loop.create_future()
        descriptor = self._socket.fileno()
        self._loop.add_reader(descriptor, _settle, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Close the socket; the server ends its dump thread at the next write."""
        self._connection.drop()


def _broken(error: OSError) -> UnavailableError:
    return UnavailableError(f"MySQL: the binlog connection broke: {error}")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _connect(
    url: Url, position: Position, mariadb: bool, server_id: int, waits: bool
) -> tuple[DumpConnection, bool]:
    by_gtid = position.gtid_set is not None
    command: bytes | None = None
    if by_gtid and not mariadb:
        command = gtid_dump_command(server_id, MySqlGtidSet.parse(position.gtid_set or ""))
    with logging_in():
        login = connection_settings(url)
    reader = BinLogStreamReader(
        # The timeout is that of the session's set-up; what comes after it, we read ourselves.
        connection_settings=login | {"autocommit": True, "read_timeout": HANDSHAKE_TIMEOUT_S},
        server_id=server_id,
        slave_uuid=str(uuid.uuid4()),
        blocking=waits,
        resume_stream=True,
        log_file=position.file,
        log_pos=position.offset,
        auto_position=position.gtid_set if mariadb and by_gtid else None,
        is_mariadb=mariadb and by_gtid,
        slave_heartbeat=HEARTBEAT_S,
        enable_logging=False,
        pymysql_wrapper=functools.partial(DumpConnection, url=url, dump_command=command),
    )
    try:
        reader._BinLogStreamReader__connect_to_stream()
    except pymysql.MySQLError as error:
        raise translated(error, url) from None
    except (OSError, struct.error) as error:
        raise UnavailableError(f"MySQL: {error}") from None
    return reader._stream_connection, reader._BinLogStreamReader__use_checksum
