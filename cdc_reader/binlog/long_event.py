"""One event of many megabytes, as its packets arrive: held once, or skipped.

Pure.  A row of a table that is not captured can be as large as ``max_allowed_packet``,
1 GiB; of such an event the header and the table id are kept, and its bytes are counted.
"""

from __future__ import annotations

from io import BytesIO
from zlib import crc32

from cdc_reader.binlog.event import (
    CHECKSUM_BYTES,
    HEADER,
    HEADER_BYTES,
    TABLE_ID_BYTES,
    Event,
    damaged,
)

PACKET_MAX_BYTES = 0xFFFFFF
EVENT_AT = 5
"""After a packet's header and its status."""
LONG_BYTES = 1 << 20
"""A packet of more is taken in as it comes."""


class LongEvent:
    """An event that has begun: `take` bytes until it `is_whole`, then `event`.

    Its checksum is verified also where the bytes are not held.
    """

    def __init__(self, begun: bytes, *, checksum: bool, is_needed: bool) -> None:
        """Begin.

        Args:
            begun: the first packet from its header on, at least to the table id; only looked
                at: it is to be given to `take`.
            checksum: the file is written with CRC32.
            is_needed: False: hold only header and table id.
        """
        self.is_whole = False
        self._fields = HEADER.unpack_from(begun, EVENT_AT)
        self._size_bytes: int = self._fields[3]
        self._crc_bytes = CHECKSUM_BYTES if checksum else 0
        self._hold_bytes = self._size_bytes if is_needed else HEADER_BYTES + TABLE_ID_BYTES
        self._held = BytesIO()  # gives what it holds without a copy
        self._came_bytes = -1  # the status byte is before the event
        self._crc, self._tail = 0, b""
        self._packet_header = b""
        self._packet_bytes = 0
        self._is_last_packet = False

    def take(self, data: bytes) -> bytes:
        """Take what belongs to it; return what comes after it.

        Raises:
            PositionLostError: a packet has not the length that the event's size asks for.
        """
        view, at = memoryview(data), 0
        while not self.is_whole and at < len(data):
            if not self._packet_bytes:
                wanted = 4 - len(self._packet_header)
                self._packet_header += data[at : at + wanted]
                at += wanted
                if len(self._packet_header) == 4:
                    self._begin_packet()
                continue
            some = view[at : at + self._packet_bytes]
            at += len(some)
            self._packet_bytes -= len(some)
            self._add(some)
            self.is_whole = self._is_last_packet and not self._packet_bytes
        return data[at:]

    def _begin_packet(self) -> None:
        length = int.from_bytes(self._packet_header[:3], "little")
        self._packet_header = b""
        missing = self._size_bytes - self._came_bytes
        if length != min(missing, PACKET_MAX_BYTES):
            raise damaged(f"a packet of {length} bytes of an event that lacks {missing}")
        self._packet_bytes = length
        self._is_last_packet = length < PACKET_MAX_BYTES
        self.is_whole = not length

    def _add(self, some: memoryview) -> None:
        if self._came_bytes < 0:
            self._came_bytes, some = 0, some[1:]
        room = self._hold_bytes - self._came_bytes
        if room > 0:
            self._held.write(some[:room])
        if self._crc_bytes:
            covered = max(self._size_bytes - self._crc_bytes - self._came_bytes, 0)
            self._crc = crc32(some[:covered], self._crc)
            self._tail += some[covered:]
        self._came_bytes += len(some)

    def event(self) -> Event:
        """Return it, once; its body is the table id where it is not needed.

        Raises:
            PositionLostError: the checksum is wrong.
        """
        timestamp_s, kind, server_id, size_bytes, end_offset, flags = self._fields
        if self._crc_bytes and self._crc != int.from_bytes(self._tail, "little"):
            raise damaged(f"the checksum of event {kind} is wrong")
        end = min(self._hold_bytes, size_bytes - self._crc_bytes)
        place = (HEADER_BYTES, end, end_offset, size_bytes)
        return Event(kind, self._held.getvalue(), *place, timestamp_s, server_id, flags)
