"""What the dump connection brings, and rows of prepared transactions from a second one.

At the COMMIT of an XA transaction whose rows are not held any more, reading stops in front of the
next event, the transaction is read again where its PREPARE is, and then reading continues
(docs/adr/0031-xa.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from cdc.errors import PositionLostError
from cdc.message import Prepared
from cdc.position import Position
from cdc.url import Url
from cdc_reader.binlog.event import Event
from cdc_reader.binlog.source import Source
from cdc_reader.publish.transaction import Assembler
from cdc_reader.publish.xa_transactions import Again


class Dump:
    """Reads for an assembler: ``data = await dump.read(1.0)``, then ``dump.take(data)``."""

    def __init__(self, source: Source, assembler: Assembler, url: Url, *, mariadb: bool) -> None:
        """Take over a dump connection that is at the assembler's position."""
        self._source, self._assembler = source, assembler
        self._url, self._mariadb = url, mariadb
        self._second: Source | None = None
        self._again: Again | None = None
        self._events: Iterator[Event] | None = None
        """The rest of what came, after an XA COMMIT."""

    async def read(self, timeout_s: float) -> bytes:
        """Return the bytes that came; empty when none came in time.

        Raises:
            UnavailableError: the connection ended; connect again.
            PermissionDenied: the login or REPLICATION SLAVE is refused.
        """
        wanted = self._assembler.xa.wanted
        if wanted is not None and self._second is None:
            self._second, self._again = await self._open(wanted.noted), Again(wanted.noted)
        return await (self._second or self._source).read(timeout_s)

    async def _open(self, noted: Prepared) -> Source:
        # Another number than the first one's: MariaDB ends an older dump of the same.
        place = Position(file=noted.file, offset=noted.offset, gtid_set=None)
        return await Source.open(self._url, place, mariadb=self._mariadb)

    def take(self, data: bytes) -> None:
        """Take in what was read, up to an XA COMMIT whose rows have to be read again.

        Raises:
            PositionLostError: an event cannot be carried exactly.
            SchemaChanged: tables have to be looked at, or read again.
        """
        if self._again is not None:
            if not self._take_again(self._again, data):
                return
            data = b""
        events, self._events = self._events, None
        self._follow(events if events is not None else self._feed(data))

    def _feed(self, data: bytes) -> Iterator[Event]:
        assembler = self._assembler
        return self._source.packets.feed(data, assembler.take_usual, assembler.needs)

    def _follow(self, events: Iterator[Event]) -> None:
        assembler = self._assembler
        for event in events:
            assembler.take(event)
            if assembler.xa.wanted is not None:
                self._events = events
                return

    def _take_again(self, again: Again, data: bytes) -> bool:
        """Return whether all of the transaction has come."""
        assert self._second is not None
        try:
            for event in self._second.packets.feed(data, needs=self._assembler.needs):
                for row_event in again.rows(event, self._assembler.needs):
                    self._assembler.xa.take_again(row_event)
                if again.is_over or again.is_lost:
                    break
        except PositionLostError as error:
            # An error of one of its tables has its name; any other is of the place.
            if error.table:
                raise
            again.is_lost = True
        if again.is_lost:
            raise self._assembler.xa.not_there()
        if again.is_over:
            self.close_second()
            self._assembler.xa.end_again()
        return again.is_over

    def close_second(self) -> None:
        """Close the connection on which rows are read again, if there is one."""
        if self._second is not None:
            self._second.close()
        self._second = self._again = None

    def close(self) -> None:
        """Close the connections; the server ends its dump threads at the next write."""
        self.close_second()
        self._source.close()
