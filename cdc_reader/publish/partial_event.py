"""Rows events that lack columns: what is known goes out, what is not is noted to be read.

Pure.  `cdc_reader.rows.partial_rows` decides for each row; here its messages get their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cdc.partition import partition_of
from cdc_reader.messages.chains import Chains, Run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.stored import Stored
from cdc_reader.rows.partial_rows import PartialRow
from cdc_reader.rows.shape import RowAddress, ShapedRow
from cdc_reader.rows.shaped_rows import change_head
from cdc_reader.schema.change import ReadAgain

ALL_ROWS = 1 << 62
"""Of any event: as `EventAt.skip_rows`, none of its messages go out."""


class EventAt(NamedTuple):
    """Where an event is; the fields are the arguments of `RowCodec.messages`."""

    table: str
    gtid: str | None
    first_row: int
    id_prefix: str
    context: str
    suffix: str
    skip_rows: int


class _RowMessage(NamedTuple):
    """One message of a row."""

    id: str
    op: str
    chain: int
    old: RowAddress | None
    new: ShapedRow | None


class PartialEvents:
    """Takes such events in, for one connection."""

    def __init__(
        self, unread: Unread, chains: Chains | None, run: Callable[[str, str], Run]
    ) -> None:
        """Take where things go.

        Args:
            run: ``run("update", "shop.users")`` returns the run that a message is appended to.
        """
        self.unread, self._chains, self._run = unread, chains, run

    def take(
        self,
        rows: Sequence[PartialRow],
        place: EventAt,
        *,
        last: str,
        stored: Stored,
        where: str,
    ) -> tuple[int, str, int]:
        """Publish what is known of an event's rows, and note the others.

        Rows that the stream has are noted again: what was noted of them may be in no heartbeat.

        Args:
            last: id of the newest message.
            stored: what the stream has.
            where: ``binlog.000012:4711, GTID 7271…:8004``

        Returns:
            Number of the row after the last, id of the last message, and how many rows have one,
            those included that the stream has.

        Raises:
            ReadAgain: the stream does not tell yet that the table has such rows.
        """
        if not self.unread.is_known(place.table):
            self.unread.begin(place.table)
            raise ReadAgain((), where, first=place.table)
        if place.skip_rows and stored.lose_count(place.gtid, place.table):
            self.unread.lose(place.table)
            place = place._replace(skip_rows=ALL_ROWS)
        row = place.first_row
        for one in rows:
            if one.is_lost:
                self.unread.lose(place.table)
            elif one.key is not None:
                self.unread.note(place.table, one.key)
            for part in _parts(one, row, place, self._chains):
                self._send(part, place, last)
                last = part.id
            row += 1
        return row, last, sum(bool(one.op) for one in rows)

    def _send(self, part: _RowMessage, place: EventAt, last: str) -> None:
        chains, run = self._chains, self._run(part.op, place.table)
        prev = chains.last_of[part.chain] if chains else last
        head = change_head(part.op, place.table, part.old, part.new)
        body = f'{head}{place.context}"id":"{part.id}","prev":"{prev}"{place.suffix}'
        run.bodies.append(body.encode())
        if chains is not None and run.addresses is not None:
            run.addresses.append(f"{part.op}.{part.chain}".encode())
            chains.last_of[part.chain] = part.id


def _parts(
    one: PartialRow, row: int, place: EventAt, chains: Chains | None
) -> Iterator[_RowMessage]:
    """Yield a row's messages that the stream does not have: see `RowCodec._emit_to_chains`."""
    is_half = chains is not None and row == chains.half
    if not one.op or (row < place.skip_rows and not is_half):
        return
    own = f"{place.id_prefix}{row}"
    partitions = chains.partitions if chains else 1
    was = partition_of(one.old.key, partitions) if one.old is not None else None
    at = partition_of(one.new.place.key, partitions) if one.new is not None else None
    moves = was is not None and at is not None and was != at
    if row >= place.skip_rows:
        chain = was if at is None else at
        yield _RowMessage(own, one.op, chain or 0, None if moves else one.old, one.new)
    if moves:
        yield _RowMessage(f"{own}.0", "delete", was or 0, one.old, None)
