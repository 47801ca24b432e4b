"""Split the bytes of the dump connection into events.

Pure: bytes in, events out (`PacketReader.feed`).  A MySQL packet is ``length u24,
sequence u8, payload``; a payload of 2^24 - 1 bytes is continued in the next packet.
In a dump, a payload is one status byte (0 ok, 0xfe end, 0xff error) and one event.
A large event is held once, or not at all: see `cdc_reader.binlog.long_event`.
Source: MySQL source documentation, "MySQL Packets" and "COM_BINLOG_DUMP".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from zlib import crc32

from cdc.errors import (
    REFRESH,
    CdcError,
    PermissionDenied,
    PositionLostError,
    UnavailableError,
)
from cdc_reader.binlog.event import (
    CHECKSUM_BYTES,
    EVENT_MAX_BYTES,
    FORMAT_DESCRIPTION,
    HEADER,
    HEADER_BYTES,
    HEARTBEAT,
    HEARTBEAT_V2,
    ROTATE,
    TABLE_ID_BYTES,
    Event,
    Needs,
    checksum_of,
    damaged,
    parse_event,
)
from cdc_reader.binlog.long_event import EVENT_AT, LONG_BYTES, PACKET_MAX_BYTES, LongEvent

Usual = Callable[[bytes, int, bool], int]
"""``(buffer, at, checksum) -> at``: takes whole packets off the front, or none."""
_OF_THE_FILE = frozenset((FORMAT_DESCRIPTION, ROTATE))
"""Events that declare, or end, the format of a file."""
_new = tuple.__new__
"""Half the time of calling a NamedTuple, whose constructor is written in Python."""
_header = HEADER.unpack_from
_u32 = struct.Struct("<I").unpack_from
_LOST_ERRORS = {1236}
"""ER_SOURCE_FATAL_ERROR_READING_BINLOG: purged, unknown file, bad position, bad GTID set."""

_DENIED_ERRORS = {1045, 1227}
"""ER_ACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR."""


_NOT_OUR_POSITION = ("uuid", "server_id", "can not handle replication events with the checksum")
"""Refused for another reason, which the next connection avoids."""


class PacketReader:
    """Splits a dump connection's bytes into events; reads may end anywhere in them."""

    def __init__(self, *, checksum: bool) -> None:
        """Begin at a packet's first byte.

        Args:
            checksum: what the server writes now; each FORMAT_DESCRIPTION corrects it for
                its file.
        """
        self._file_checksum = checksum
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._need_bytes = 4
        self._long: LongEvent | None = None

    def feed(
        self, data: bytes, usual: Usual | None = None, needs: Needs | None = None
    ) -> Iterator[Event]:
        """Yield the events that are whole after these bytes; to be read to its end.

        Args:
            usual: called at each packet; may itself take packets off the front.
            needs: is asked of each large event; without it, all are held.

        Raises:
            UnavailableError: the server ended the dump; connect again.
            PositionLostError: it cannot serve our position, or the bytes are damaged.
        """
        while True:
            if self._long is not None:
                data = self._long.take(data)
                if not self._long.is_whole:
                    return
                event, self._long = self._long.event(), None
                yield event
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._need_bytes:
                return
            buffer = data if len(self._held) == 1 else b"".join(self._held)
            at = yield from self._cut(buffer, usual)
            data = buffer[at:]
            self._keep(data, needs)
            if self._long is None:
                return

    def _cut(self, buffer: bytes, usual: Usual | None) -> Generator[Event, None, int]:
        """Yield the events that are whole; return where the first that is not begins.

        The usual event is taken apart here, in one go: five events for one row leave no time
        for a call each.  What is unusual goes the long way.
        """
        view, size = memoryview(buffer), len(buffer)
        checksum, at = self._file_checksum, 0
        while at + 4 <= size:
            if usual is not None and (after := usual(buffer, at, checksum)) != at:
                at = after
                continue
            length = _u32(buffer, at)[0] & PACKET_MAX_BYTES
            stop = at + 4 + length
            if stop > size or length == PACKET_MAX_BYTES:
                break
            if HEADER_BYTES + 5 < length and buffer[at + 4] == 0 and checksum:
                timestamp_s, kind, server_id, event_bytes, end_offset, flags = _header(
                    buffer, at + 5
                )
                end = stop - 4
                if (
                    event_bytes == length - 1
                    and kind not in _OF_THE_FILE
                    and crc32(view[at + 5 : end]) == _u32(buffer, end)[0]
                ):
                    fields = (kind, buffer, at + 24, end, end_offset, event_bytes)
                    yield _new(Event, (*fields, timestamp_s, server_id, flags))
                    at = stop
                    continue
            yield self._event(buffer, at + 4, stop)
            at, checksum = stop, self._file_checksum
        return at

    def _keep(self, rest: bytes, needs: Needs | None) -> None:
        """Hold what has begun: a large event as far as it is needed, anything else as it came."""
        self._held, self._held_bytes = ([rest] if rest else []), len(rest)
        self._need_bytes = 4
        if len(rest) < EVENT_AT + HEADER_BYTES:
            return
        length = _checked_length(rest)
        # A packet is joined once, when it is whole, not at every read.
        self._need_bytes = 4 + length
        if length <= LONG_BYTES or rest[EVENT_AT - 1] != 0 or rest[EVENT_AT + 4] in _OF_THE_FILE:
            return
        self._need_bytes = EVENT_AT + HEADER_BYTES + TABLE_ID_BYTES
        if len(rest) >= self._need_bytes:
            kind = rest[EVENT_AT + 4]
            table_id = rest[EVENT_AT + HEADER_BYTES : self._need_bytes]
            is_needed = needs is None or needs(kind, table_id)
            self._long = LongEvent(rest, checksum=self._file_checksum, is_needed=is_needed)
            self._held, self._held_bytes, self._need_bytes = [], 0, 4

    def _event(self, buffer: bytes, start: int, end: int) -> Event:
        status = buffer[start] if end > start else -1
        if status == 0:
            checksum = self._file_checksum
            if _is_format(buffer, start + 1, end):
                # It declares that itself.  Sent from a later position it is changed, and has a
                # checksum that is right only where the file has them.
                checksum = buffer[end - CHECKSUM_BYTES - 1] == 1
            elif _is_invented(buffer, start + 1, end):
                # Which checksum it carries differs: what was agreed for the session, or that of
                # the file before.  `binlog_checksum` may change with every file.
                checksum = _has_checksum(buffer, start + 1, end)
            event = parse_event(buffer, start + 1, end, checksum)
            if event.kind == FORMAT_DESCRIPTION:
                self._file_checksum = checksum_of(event)
            return event
        if status == 0xFF:
            raise dump_error(buffer[start:end])
        if status == 0xFE:
            raise UnavailableError(
                "MySQL ended the binlog dump (shutdown, a killed dump thread, or another "
                "client with our server_id)"
            )
        raise damaged(f"a packet that begins with {status}")


def _is_format(buffer: bytes, start: int, end: int) -> bool:
    return end - start > HEADER_BYTES + CHECKSUM_BYTES and buffer[start + 4] == FORMAT_DESCRIPTION


def _is_invented(buffer: bytes, start: int, end: int) -> bool:
    """Return whether an event is in no file: a ROTATE before a file, or a heartbeat.

    Source: mysql-server sql/rpl_binlog_sender.cc, fake_rotate_event; LOG_EVENT_ARTIFICIAL_F.
    """
    if end - start < HEADER_BYTES + CHECKSUM_BYTES:
        return False
    kind, flags = buffer[start + 4], buffer[start + 17]
    return kind in (HEARTBEAT, HEARTBEAT_V2) or (kind == ROTATE and bool(flags & _ARTIFICIAL_FLAG))


def _has_checksum(buffer: bytes, start: int, end: int) -> bool:
    """Return whether the last four bytes of an event are the CRC32 of those before them."""
    own = int.from_bytes(buffer[end - CHECKSUM_BYTES : end], "little")
    return crc32(memoryview(buffer)[start : end - CHECKSUM_BYTES]) == own


_ARTIFICIAL_FLAG = 0x20


def _checked_length(begun: bytes) -> int:
    """Return the length of a packet that has begun, or raise where it cannot have that.

    No checksum covers that length.  Too long, it would have us wait for bytes that never
    come, and take the next events for this one's.
    """
    length: int = _u32(begun)[0] & PACKET_MAX_BYTES
    if begun[EVENT_AT - 1] != 0:
        if length == PACKET_MAX_BYTES:
            raise damaged(f"a packet of {length} bytes that begins with {begun[EVENT_AT - 1]}")
        return length
    event_bytes = _header(begun, EVENT_AT)[3]
    declared = min(event_bytes + 1, PACKET_MAX_BYTES)
    if declared != length or event_bytes > EVENT_MAX_BYTES:
        raise damaged(f"a packet of {length} bytes that begins an event of {event_bytes}")
    return length


def dump_error(payload: bytes) -> CdcError:
    """Return the error for an ERR packet inside a dump: ``0xff, code u16, '#', state, text``."""
    code = int.from_bytes(payload[1:3], "little")
    text = payload[9:] if payload[3:4] == b"#" else payload[3:]
    seen = f"MySQL error {code}: {text.decode('utf-8', 'replace')}"
    if code in _LOST_ERRORS and not any(words in seen for words in _NOT_OUR_POSITION):
        return PositionLostError(
            f"MySQL cannot continue the binlog at our position. {seen}",
            safe="nothing was skipped; Redis shows the state of that position",
            fix=REFRESH,
            heals_by_refresh=True,
        )
    if code in _DENIED_ERRORS:
        return PermissionDenied(
            f"MySQL gives this login no binlog. {seen}",
            fix="GRANT REPLICATION SLAVE ON *.* TO the user of the mysql setting",
        )
    return UnavailableError(seen)
