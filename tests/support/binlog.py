"""A binlog that is written event by event: as events, or as the bytes that a dump brings."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Generic, TypeVar
from zlib import crc32

from cdc_reader.binlog import event as ev

SID = bytes.fromhex("7271e0ece70511f1885002fc00000001")
UUID = "7271e0ec-e705-11f1-8850-02fc00000001"

E = TypeVar("E")


class Events(ABC, Generic[E]):
    """Writes the events of a server, one after the other."""

    @abstractmethod
    def event(self, kind: int, body: bytes = b"") -> E:
        """Append an event."""

    def gtid(self, number: int) -> E:
        """Begin a MySQL transaction."""
        body = b"\1" + SID + struct.pack("<Q", number) + b"\2" + bytes(16)
        return self.event(ev.GTID, body + (number * 1000).to_bytes(7, "little") + b"\5")

    def query(self, text: str, schema: str = "shop") -> E:
        """Append a statement."""
        name = schema.encode()
        head = struct.pack("<IIBHH", 1, 0, len(name), 0, 0)
        return self.event(ev.QUERY, head + name + b"\0" + text.encode())

    def xid(self) -> E:
        """End a transaction."""
        return self.event(ev.XID, bytes(8))


class Binlog(Events[None]):
    """Events in packets; ``b.data`` is what has been written.

    >>> b = Binlog(offset=1000)
    >>> b.gtid(5)
    >>> b.xid()
    """

    def __init__(self, *, offset: int = 1000, checksum: bool = True) -> None:
        self.data = bytearray()
        self.end = offset
        self._checksum = checksum

    def event(
        self, kind: int, body: bytes = b"", *, placed: bool = True, timestamp_s: int = 7
    ) -> None:
        """Append an event; not `placed`: with 0 for its place, as MariaDB has it."""
        size = ev.HEADER_BYTES + len(body) + 4 * self._checksum
        self.end += size
        end = self.end & 0xFFFFFFFF if placed else 0
        raw = struct.pack("<IBIIIH", timestamp_s, kind, 1, size, end, 0) + body
        if self._checksum:
            raw += struct.pack("<I", crc32(raw))
        payload = b"\0" + raw
        self.data += len(payload).to_bytes(3, "little") + b"\x07" + payload

    def anonymous(self, number: int) -> None:
        """Begin a transaction of a server without GTIDs."""
        body = b"\1" + bytes(24) + b"\2" + bytes(16)
        self.event(ev.ANONYMOUS_GTID, body + (number * 1000).to_bytes(7, "little"))

    def mariadb_gtid(self, number: int, *, domain: int = 0, standalone: bool = False) -> None:
        """Begin a MariaDB transaction."""
        self.event(ev.MARIADB_GTID, struct.pack("<QIB", number, domain, standalone) + bytes(6))

    def rows(
        self, kind: int, table_id: int, rows: bytes, *, placed: bool = True, flags: int = 1
    ) -> None:
        """Append a rows event.

        Args:
            rows: from the number of columns on.
        """
        v1 = kind in ev.ROWS_V1
        head = struct.pack("<IHH", table_id, 0, flags) + (b"" if v1 else b"\2\0")
        self.event(kind, head + rows, placed=placed)
