"""What of the binlog the stream has already: a restart reads it again and skips it.  Pure."""

from __future__ import annotations

from collections.abc import Collection

from cdc.message import parse_id
from cdc_reader.messages.chains import WHOLE, Chains
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import Resume

Place = tuple[int, int, int]
"""Epoch, file number and offset of an event: an id without its row."""


class Stored:
    """Tells what is to be skipped, up to the stream's newest message."""

    def __init__(self, resume: Resume) -> None:
        """Begin at the newest message and, on another server, with the GTIDs after it."""
        self._newest = parse_id(resume.last)
        self._published: Published | None = resume.published
        self.is_past = self._is_past()
        """Nothing is skipped any more, and the compiled path may take over."""

    def _is_past(self) -> bool:
        return not self._newest and self._published is None

    def is_after(self, boundary: Place) -> bool:
        """Return whether the stream has more than what was read up to a boundary."""
        return self._published is not None or bool(self._newest and boundary < self._newest[:3])

    def first_row(
        self, place: Place, gtid: str | None, table: str, row: int, chains: Chains | None
    ) -> int | None:
        """Return the row of an event from which on the stream lacks them; None: it has them all.

        Args:
            row: number of the event's first.
            chains: told of a row that may be half stored.
        """
        skip_rows = 0
        if self._newest:
            newest = self._newest[:3]
            # Before the newest message's event: all of it is in the stream.
            if place < newest:
                return None
            # In that event: the rows up to the newest message are.
            skip_rows = self._newest[3] + 1 if place == newest else 0
            if chains:
                # After a row's own message, the delete of its old key may be missing.
                is_half = place == newest and len(self._newest) == 4
                chains.half = self._newest[3] if is_half else WHOLE
            if place > newest:
                self._newest = ()
                self.is_past = self._is_past()
        # On another server positions mean nothing: GTIDs and row numbers tell what is published.
        if self._published is not None:
            return self._published.skip(gtid, table, row, chains)
        return skip_rows

    def passed(self, gtid: str | None, table: str, rows: int) -> None:
        """Note that rows of an event were read again, those too that are skipped."""
        if self._published is not None:
            self._published.passed(gtid, table, rows)

    def lose_count(self, gtid: str | None, table: str) -> bool:
        """Note that rows without a message are among those of an event; nothing more is skipped.

        Returns:
            Whether rows are counted, as on another server.
        """
        if self._published is None:
            return False
        self._published.passed(gtid, table, 1 << 62)
        return True

    def has_statement(self, end: Place, gtid: str | None, tables: Collection[str]) -> bool:
        """Return whether the stream has the statement that ends here, of one of these tables."""
        published = self._published
        return (*end, 0) <= self._newest[:4] or (
            published is not None and any(published.skip(gtid, one, 0) for one in tables)
        )

    def passes_barrier(self, id: tuple[int, ...], gtid: str | None, table: str) -> bool:
        """Return whether the stream has the barrier that comes next, and pass it over."""
        known = self._published is not None and self._published.passes_one(gtid, table)
        return known or id <= self._newest[:4]

    def lose(self, gtid: str | None) -> None:
        """Forget how many rows of a transaction are stored: its tables are read again."""
        if self._published is not None and self._published.newest == gtid:
            self._published = None
            self.is_past = self._is_past()

    def end_transaction(self, gtid: str | None) -> None:
        """Note a transaction's end.

        Raises:
            PositionLostError: it has fewer rows than the stream has of it.
        """
        if self._published is not None:
            self._published = self._published.after(gtid)
            self.is_past = self._is_past()
