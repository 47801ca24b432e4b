"""Transactions in the stream after its newest boundary, by GTID, for a failover.

Pure.  After a failover a message's `id` means nothing in the new server's binlog, but its
GTID does: a transaction is the same one wherever it is, with the same rows of a table in the
same order.  So transactions that are whole in the stream join the boundary's set, and of the
newest one, which may be in it in part, as many of its first rows are skipped
(docs/adr/0010-failover.md).
"""

from __future__ import annotations

from cdc.errors import REFRESH, PositionLostError
from cdc.message import Heartbeat, Placed, parse_id
from cdc.position import file_number
from cdc_reader.messages.chains import WHOLE, Chains


def ends_at_boundary(last: str, heartbeat: Heartbeat) -> bool:
    """Return whether the stream's newest message is before the boundary, by its position.

    Then no transaction after it is in the stream.  A barrier's position is its statement's end.
    """
    if not last:
        return True
    epoch, *place = parse_id(last)[:3]
    boundary = [file_number(heartbeat.file), heartbeat.offset]
    return epoch == heartbeat.epoch and place <= boundary


class Published:
    """The transactions after a boundary that the stream has."""

    def __init__(self) -> None:
        """Begin with none."""
        self.whole: list[str] = []
        """GTIDs of those before the newest, newest first."""
        self.newest = ""
        """GTID of the newest, which may be there in part; empty: there is none."""
        self._rows: dict[str, int] = {}
        self._half: str | None = None

    def note(self, message: Placed) -> None:
        """Take a message in; they come newest first."""
        is_row = message.gtid is not None and len(parse_id(message.id)) == 4
        if self._half is None:
            self._half = message.table if is_row else ""
        if message.gtid is None:
            return  # a row of the snapshot is in no transaction
        if message.gtid != (self.newest or message.gtid):
            if self.whole[-1:] != [message.gtid]:
                self.whole.append(message.gtid)
            return
        self.newest = message.gtid
        # A row whose key leaves its partition has a second message, which is not counted.
        self._rows[message.table] = self._rows.get(message.table, 0) + is_row

    def skip(
        self, gtid: str | None, table: str, first_row: int, chains: Chains | None = None
    ) -> int:
        """Return the row that the stream does not have yet, as `RowCodec.messages` takes it."""
        rows = self._rows.get(table, 0) if gtid == self.newest else 0
        if chains is not None:
            # Only after the stream's newest message the other half of a row may be missing.
            chains.half = first_row + rows - 1 if rows and table == self._half else WHOLE
        return first_row + rows if rows else 0

    def passed(self, gtid: str | None, table: str, rows: int) -> None:
        """Note that `rows` rows were read again."""
        if gtid == self.newest and table in self._rows:
            self._rows[table] = max(0, self._rows[table] - rows)

    def passes_one(self, gtid: str | None, table: str) -> bool:
        """Return whether the stream has the barrier that comes next, and pass it over."""
        has = self.skip(gtid, table, 0) > 0
        self.passed(gtid, table, 1)
        return has

    def after(self, gtid: str | None) -> Published | None:
        """Return what is left after a transaction's end; None: nothing.

        Raises:
            PositionLostError: it has fewer rows than the stream has of it.
        """
        if gtid != self.newest:
            return self
        if any(self._rows.values()):
            raise PositionLostError(
                f"transaction {gtid} has fewer rows on this server than it had on the one before",
                safe="nothing after it was published; nothing was skipped",
                fix=REFRESH,
                heals_by_refresh=True,
            )
        return None
