"""Binlog events: the 19-byte header, and the bodies that carry no rows.

Pure.  An `Event` points into the buffer that it arrived in; nothing is copied until
a caller asks.  Layouts: MySQL source documentation, "Binary Log Event" (libs/mysql/
binlog/event); MariaDB knowledge base, "Replication Protocol".
"""

from __future__ import annotations

import functools
import struct
import uuid
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

from cdc.errors import PositionLostError
from cdc_reader.binlog.charset import statement_text

QUERY, STOP, ROTATE, INTVAR, RAND, USER_VAR = 2, 3, 4, 5, 13, 14
FORMAT_DESCRIPTION, XID, BEGIN_LOAD, EXECUTE_LOAD, TABLE_MAP = 15, 16, 17, 18, 19
WRITE_ROWS_V1, UPDATE_ROWS_V1, DELETE_ROWS_V1 = 23, 24, 25
INCIDENT, HEARTBEAT, ROWS_QUERY = 26, 27, 29
WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS = 30, 31, 32
GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS = 33, 34, 35
TRANSACTION_CONTEXT, VIEW_CHANGE, XA_PREPARE = 36, 37, 38
PARTIAL_UPDATE_ROWS, TRANSACTION_PAYLOAD, HEARTBEAT_V2, GTID_TAGGED = 39, 40, 41, 42
MARIADB_ANNOTATE, MARIADB_CHECKPOINT, MARIADB_GTID, MARIADB_GTID_LIST = 160, 161, 162, 163
MARIADB_START_ENCRYPTION, MARIADB_QUERY_COMPRESSED = 164, 165
MARIADB_ROWS_COMPRESSED_V1 = (166, 167, 168)
MARIADB_ROWS_COMPRESSED_V2 = (169, 170, 171)

WITHOUT_ROWS = frozenset(
    (
        STOP,
        INTVAR,
        RAND,
        USER_VAR,
        BEGIN_LOAD,
        HEARTBEAT,
        ROWS_QUERY,
        PREVIOUS_GTIDS,
        TRANSACTION_CONTEXT,
        VIEW_CHANGE,
        HEARTBEAT_V2,
        MARIADB_ANNOTATE,
        MARIADB_CHECKPOINT,
        MARIADB_GTID_LIST,
        MARIADB_START_ENCRYPTION,
    )
)
"""Events that change no row and end no transaction; a statement-based LOAD DATA is judged
at its EXECUTE_LOAD event."""

WITHOUT_POSITION = frozenset((ROTATE, HEARTBEAT, HEARTBEAT_V2))
"""Events that are in no file."""

Op = Literal["insert", "update", "delete"]
_OPS: tuple[Op, Op, Op] = ("insert", "update", "delete")
_ROWS_EVENTS = (
    (WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS),
    (WRITE_ROWS_V1, UPDATE_ROWS_V1, DELETE_ROWS_V1),
    MARIADB_ROWS_COMPRESSED_V1,
    MARIADB_ROWS_COMPRESSED_V2,
)
ROWS: dict[int, Op] = {
    kind: op for kinds in _ROWS_EVENTS for kind, op in zip(kinds, _OPS, strict=True)
}
"""What each rows event does."""
ROWS_V1 = frozenset(_ROWS_EVENTS[1] + _ROWS_EVENTS[2])
ROWS_COMPRESSED = frozenset(_ROWS_EVENTS[2] + _ROWS_EVENTS[3])
GTIDS = frozenset((GTID, ANONYMOUS_GTID, GTID_TAGGED, MARIADB_GTID))
QUERIES = frozenset((QUERY, EXECUTE_LOAD, MARIADB_QUERY_COMPRESSED))

IGNORABLE_FLAG = 0x80
HEADER_BYTES = 19
CHECKSUM_BYTES = 4
TABLE_ID_BYTES = 6
"""What the body of each TABLE_MAP and rows event begins with."""

Needs = Callable[[int, bytes], bool]
"""``(kind, the body's first 6 bytes)``: whether a large event's body has to be held."""

HEADER = struct.Struct("<IBIIIH")
"""Timestamp, type, server id, size, end offset, flags."""
_header = HEADER.unpack_from
_u64 = struct.Struct("<Q").unpack_from


class Event(NamedTuple):
    """One event in its buffer: ``buffer[start:end]`` is the body, without header and CRC."""

    kind: int
    buffer: bytes
    start: int
    end: int
    end_offset: int
    """Low 32 bits of the place in the file where the event ends; 0: not of the file."""
    size_bytes: int
    """Header, body and CRC: what the event takes in the file."""
    timestamp_s: int
    server_id: int
    flags: int


def is_of_use(kind: int, codec: object) -> bool:
    """Return whether more than the header and table id of an event is read.

    Args:
        codec: what reads the rows of the table with its table id; None: it is not captured.
    """
    if kind in ROWS or kind == PARTIAL_UPDATE_ROWS:
        return codec is not None
    return kind not in WITHOUT_ROWS


def parse_event(buffer: bytes, start: int, end: int, checksum: bool) -> Event:
    """Return the event at ``buffer[start:end]``, header first.

    Args:
        checksum: the file is written with CRC32, which is verified here; TCP's own sum
            lets one damaged packet in some millions pass.

    Raises:
        PositionLostError: the event is torn or its checksum is wrong.
    """
    if end - start < HEADER_BYTES:
        raise damaged("an event shorter than its header")
    timestamp_s, kind, server_id, size, end_offset, flags = _header(buffer, start)
    if size != end - start:
        raise damaged(f"event {kind} declares {size} bytes and has {end - start}")
    body_end = end
    if checksum or kind == FORMAT_DESCRIPTION:
        body_end -= CHECKSUM_BYTES
        if checksum:
            _verify_checksum(buffer, start, body_end, kind)
    return Event(
        kind,
        buffer,
        start + HEADER_BYTES,
        body_end,
        end_offset,
        size,
        timestamp_s,
        server_id,
        flags,
    )


def _verify_checksum(buffer: bytes, start: int, body_end: int, kind: int) -> None:
    want = int.from_bytes(buffer[body_end : body_end + CHECKSUM_BYTES], "little")
    if zlib.crc32(memoryview(buffer)[start:body_end]) != want:
        raise damaged(f"the checksum of event {kind} is wrong")


def damaged(what: str) -> PositionLostError:
    """Return the error for bytes that do not follow the protocol."""
    return PositionLostError(
        f"the binlog stream is damaged: {what}",
        safe="nothing after the last whole transaction was published",
        fix="start cdc again; if it stops at the same position, check the file on the server:\n"
        "mysqlbinlog --verify-binlog-checksum FILE",
    )


def checksum_of(event: Event) -> bool:
    """Return whether the file that this FORMAT_DESCRIPTION begins is written with CRC32.

    The algorithm is one byte before the event's own checksum, which is always there.
    Source: libs/mysql/binlog/event/control_events.cpp, Format_description_event.
    """
    return event.buffer[event.end - 1] == 1


def rotate_to(event: Event) -> tuple[str, int]:
    """Return ``("binlog.000002", 4)`` from a ROTATE event."""
    (offset,) = _u64(event.buffer, event.start)
    file = event.buffer[event.start + 8 : event.end]
    if not file.rpartition(b".")[2].isdigit():
        raise damaged("a ROTATE to a file without a number")
    return file.decode("utf-8", "replace"), offset


class GtidEvent(NamedTuple):
    """A transaction begins."""

    gtid: str | None
    """``uuid:8003``, ``uuid:tag:8003``, ``0-1-100``; None without GTIDs."""
    commit_us: int
    """Commit time in microseconds since 1970."""
    standalone: bool
    """MariaDB: one statement follows and no COMMIT."""
    prepared: bool = False
    """MariaDB: rows of an XA transaction follow, whose outcome is not known yet."""


def parse_gtid(event: Event) -> GtidEvent:
    """Parse a GTID, ANONYMOUS_GTID or MariaDB GTID event."""
    if event.kind == MARIADB_GTID:
        return _parse_mariadb_gtid(event)
    if event.kind == GTID_TAGGED:
        return _parse_tagged_gtid(event)
    b, s = event.buffer, event.start
    commit_us = 0
    # After flags, sid and gno: the logical timestamps' type, two u64, then 7 bytes of
    # immediate commit time since 8.0.1; their top bit means that the original one differs.
    if event.end >= s + 50 and b[s + 25] == 2:
        commit_us = _u64(b, s + 42)[0] & _COMMIT_TIME_BITS
    if not commit_us:
        commit_us = event.timestamp_s * 1_000_000
    if event.kind == ANONYMOUS_GTID:
        return GtidEvent(None, commit_us, False)
    return GtidEvent(f"{_uuid(b[s + 1 : s + 17])}:{_u64(b, s + 17)[0]}", commit_us, False)


_COMMIT_TIME_BITS = (1 << 55) - 1


@functools.lru_cache(maxsize=64)
def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


# Source: mariadb sql/log_event.h, Gtid_log_event.  XA START and XA END are in no event.
_FL_STANDALONE, _FL_PREPARED_XA = 1, 64


def _parse_mariadb_gtid(event: Event) -> GtidEvent:
    b, s = event.buffer, event.start
    (sequence,) = _u64(b, s)
    domain = int.from_bytes(b[s + 8 : s + 12], "little")
    gtid = f"{domain}-{event.server_id}-{sequence}"
    flags = b[s + 12]
    return GtidEvent(
        gtid,
        event.timestamp_s * 1_000_000,
        standalone=bool(flags & _FL_STANDALONE),
        prepared=bool(flags & _FL_PREPARED_XA),
    )


class _Serialized:
    """A cursor over the ``mysql::serialization`` format of event 42.

    Integers are as long as their first byte has trailing one bits, plus one byte.
    Source: mysql-server libs/mysql/serialization/variable_length_integers.h.
    """

    def __init__(self, event: Event) -> None:
        self._buffer, self._at, self._end = event.buffer, event.start, event.end

    def more(self) -> bool:
        return self._at < self._end

    def unsigned(self) -> int:
        first = self._buffer[self._at]
        extra = 0
        while extra < 8 and first >> extra & 1:
            extra += 1
        length = extra + 1
        raw = int.from_bytes(self._buffer[self._at : self._at + length], "little")
        self._at += length
        if self._at > self._end:
            raise damaged("a tagged GTID ends too early")
        return raw >> 8 if extra == 8 else raw >> length

    def signed(self) -> int:
        raw = self.unsigned()
        return -(raw >> 1) - 1 if raw & 1 else raw >> 1

    def text(self) -> str:
        length = self.unsigned()
        self._at += length
        return self._buffer[self._at - length : self._at].decode("ascii")


def _parse_tagged_gtid(event: Event) -> GtidEvent:
    cursor = _Serialized(event)
    cursor.unsigned()  # version of the format
    cursor.unsigned()  # size of the message
    cursor.unsigned()  # newest field that a reader must know
    sid, tag, number, commit_us = "", "", 0, event.timestamp_s * 1_000_000
    while cursor.more():
        field = cursor.unsigned()
        if field == 1:
            sid = _uuid(bytes(cursor.unsigned() for _ in range(16)))
        elif field == 2:
            number = cursor.signed()
        elif field == 3:
            tag = cursor.text()
        elif field == 6:
            commit_us = cursor.unsigned()
            break
        else:  # 0 flags, 4 last_committed, 5 sequence_number
            cursor.signed() if field in (4, 5) else cursor.unsigned()
    if not sid or number <= 0:
        raise damaged("a tagged GTID without uuid or number")
    return GtidEvent(":".join(filter(None, (sid, tag, str(number)))), commit_us, False)


class QueryEvent(NamedTuple):
    """A statement as text: BEGIN, COMMIT, DDL, or DML under STATEMENT format."""

    schema: str
    text: str
    """As the session's character set has it; ``\\ufffd`` where that is not certain."""
    as_utf8: str | None = None
    """What it is if the server wrote it, where that is another text."""
    is_servers: bool = False
    """MySQL 8.0: no session wrote it."""

    @property
    def readings(self) -> tuple[str, ...]:
        """Every text that it can be."""
        return (self.text,) if self.as_utf8 is None else (self.text, self.as_utf8)


def is_begin(event: Event) -> bool:
    """Return whether a QUERY event is the BEGIN that nearly every transaction has."""
    return event.buffer[event.end - 6 : event.end] == b"\0BEGIN"


def parse_query(event: Event) -> QueryEvent:
    """Return the default schema and the statement of a QUERY or EXECUTE_LOAD event."""
    b, s = event.buffer, event.start
    schema_bytes = b[s + 8]
    status_bytes = b[s + 11] | b[s + 12] << 8
    at = s + 13 + (13 if event.kind == EXECUTE_LOAD else 0)
    status = b[at : at + status_bytes]
    collation, is_servers = _client_collation(status), _is_servers(status)
    at += status_bytes
    schema = b[at : at + schema_bytes].decode("utf-8", "replace")
    body = b[at + schema_bytes + 1 : event.end]
    if event.kind == MARIADB_QUERY_COMPRESSED:
        body = inflate(body)
    text = statement_text(body, collation)
    try:
        # A statement that the server wrote itself (DROP TABLE) is UTF-8, regardless of the event.
        as_utf8 = body.decode("utf-8")
    except UnicodeDecodeError:
        return QueryEvent(schema, text, None, is_servers)
    return QueryEvent(schema, text, as_utf8 if as_utf8 != text else None, is_servers)


_Q_CHARSET = 4
_STATUS_BYTES = {0: 4, 1: 8, 3: 4, _Q_CHARSET: 6}
_Q_CATALOG, _Q_CATALOG_NZ = 2, 6


def _client_collation(status: bytes) -> int | None:
    """Return the collation id of ``character_set_client``; None: the event lacks it.

    Source: libs/mysql/binlog/event/statement_events.h, Query_event, "Status variables"; it comes
    only after those that are known here, on MariaDB too (sql/log_event_server.cc).
    """
    at = 0
    while at < len(status):
        code = status[at]
        at += 1
        if code == _Q_CHARSET:
            return int.from_bytes(status[at : at + 2], "little") if at + 2 <= len(status) else None
        if code in (_Q_CATALOG, _Q_CATALOG_NZ) and at < len(status):
            at += 1 + status[at] + (code == _Q_CATALOG)
        elif code in _STATUS_BYTES:
            at += _STATUS_BYTES[code]
        else:
            return None
    return None


_Q_TIME_ZONE, _Q_UPDATED_DBS = 5, 12
_Q_COLLATION_UTF8MB4 = 18
"""Only MySQL 8.0 and newer write it."""
_MORE_STATUS_BYTES = _STATUS_BYTES | {
    7: 2, 8: 2, 9: 8, 10: 4, 13: 3, 16: 1, 17: 8, _Q_COLLATION_UTF8MB4: 2, 19: 1, 20: 1
}  # fmt: skip


def _is_servers(status: bytes) -> bool:
    """Return whether a DML statement of MySQL 8.0 is the server's own: it names no database used.

    False: a session wrote it, or may have; MariaDB's event does not tell.
    Source: as `_client_collation`, Q_UPDATED_DB_NAMES.
    """
    at, ends_known = 0, False
    while at < len(status):
        code = status[at]
        at += 1
        if code == _Q_UPDATED_DBS:
            return False
        if code in (_Q_CATALOG_NZ, _Q_TIME_ZONE) and at < len(status):
            at += 1 + status[at]
        elif code in _MORE_STATUS_BYTES:
            at += _MORE_STATUS_BYTES[code]
            ends_known |= code == _Q_COLLATION_UTF8MB4
        else:
            return False
    return ends_known and at == len(status)


EVENT_MAX_BYTES = (1 << 30) + (1 << 20)
"""No server writes a larger event: a row is at most max_allowed_packet, which is at most 1 GiB."""


def inflate(data: bytes) -> bytes:
    """Return what MariaDB's ``log_bin_compress`` made small.

    One byte ``1aaa0lll`` (a: algorithm, 0 is zlib; l: bytes of the length), the length
    big-endian, then the data.  Source: mariadb sql/log_event.cc, binlog_buf_uncompress.
    """
    if not data or not data[0] & 0x80 or data[0] >> 4 & 7:
        raise damaged("a compressed event of an unknown algorithm")
    length_bytes = data[0] & 7
    size = int.from_bytes(data[1 : 1 + length_bytes], "big")
    if size > EVENT_MAX_BYTES:
        raise damaged(f"a compressed event that declares {size} bytes")
    try:
        # A length of 0 would be no limit.
        unpacking = zlib.decompressobj()
        out = unpacking.decompress(data[1 + length_bytes :], size + 1)
    except zlib.error as error:
        raise damaged(f"a compressed event: {error}") from None
    if len(out) != size or not unpacking.eof:
        raise damaged(f"a compressed event of {len(out)} bytes that declares {size}")
    return out


def read_lenenc(b: bytes, at: int) -> tuple[int, int]:
    """Return a length-encoded integer and the offset after it."""
    first = b[at]
    if first < 251:
        return first, at + 1
    width = {252: 2, 253: 3, 254: 8}.get(first)
    if width is None:
        raise damaged("a length that is none")
    return int.from_bytes(b[at + 1 : at + 1 + width], "little"), at + 1 + width


def inflated_rows(buffer: bytes, at: int, end: int, *, images: int) -> tuple[bytes, int, int]:
    """Return buffer, start and end of a MariaDB rows event with its rows unpacked."""
    columns, after = read_lenenc(buffer, at)
    after += images * ((columns + 7) // 8)
    unpacked = buffer[at:after] + inflate(buffer[after:end])
    return unpacked, 0, len(unpacked)


def rows_at(event: Event) -> int:
    """Return the index in its buffer after a rows event's table id, flags and extra data."""
    at = event.start + 8
    return at if event.kind in ROWS_V1 else at + (event.buffer[at] | event.buffer[at + 1] << 8)
