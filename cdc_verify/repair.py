"""Repair: rows that differ are read again through the normal stream, in order with the changes.

Nothing is written to Redis from here.  Few rows are read as ranges of one key each; many, those
of a table without a key, and keys of no row as the whole table, whose sweep removes the
latter (docs/adr/0011-refresh.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cdc.errors import UnavailableError
from cdc.message import Refresh, TableProgress
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log
from cdc_verify.checkpoint import Checkpoint
from cdc_verify.select import KeyText
from cdc_verify.servers import Servers

LOOK_S = 0.1
ROWS_ALONE = 100
"""Up to this many rows are read one by one; beyond it, the whole table."""


class Announce(Protocol):
    """Stores the announcement of a reading, as `cdc refresh` and `cdc snapshot` do."""

    async def __call__(
        self,
        settings: Settings,
        tables: Sequence[Table],
        only: Collection[str],
        log: Log,
        *,
        ranges: Mapping[str, Sequence[tuple[KeyText, KeyText]]] | None = None,
    ) -> tuple[Refresh, int]:
        """Return it and its sequence in the stream."""
        ...


@dataclass(frozen=True, slots=True)
class RowReading:
    """How rows are read through the normal stream: the reader's own way, given by the command."""

    announce: Announce
    is_done: Callable[[Refresh, Mapping[str, TableProgress]], bool]
    """Whether all that it reads is in the stream, from the snapshot of a boundary."""


def rows_to_read(found: Checkpoint) -> list[KeyText] | None:
    """Return chunk keys of the rows that a repair reads; None: it takes the whole table."""
    rows = [one.row for one in found.kept]
    if not found.keeps_all or found.tally.counts["orphan"] or len(rows) > ROWS_ALONE:
        return None
    return rows if all(rows) else None


async def read_again(
    servers: Servers,
    tables: Sequence[Table],
    table: Table,
    rows: Sequence[KeyText] | None,
    reading: RowReading,
    *,
    wait_s: float,
    log: Log,
) -> None:
    """Announce that rows are read again; return when Redis has all of it and is swept.

    Args:
        rows: chunk keys; None: the whole table.

    Raises:
        UnavailableError: no `cdc run` does it: reader or sink makes no progress for `wait_s`.
        CdcError: a server refuses.
    """
    name = table.qualified
    ranges = None if rows is None else {name: [(row, row) for row in rows]}
    only = [name] if rows is None else []
    refresh, sequence = await reading.announce(servers.settings, tables, only, log, ranges=ranges)
    log.info("repair: reading rows again", table=name, rows=len(rows) if rows else None)
    before: object = None
    read_seq = 0
    """Of the heartbeat that says that all is read; 0: none has come."""
    since_s = time.monotonic()
    while True:
        positions = await asyncio.to_thread(servers.positions)
        boundary = await servers.window.boundary()
        if not read_seq and boundary.seq > sequence and reading.is_done(refresh, boundary.snapshot):
            read_seq = boundary.seq
        is_applied = all(
            applied.seq >= read_seq and applied.refreshing.get(name, 0) != refresh.number
            for applied in positions
        )
        if read_seq and is_applied:
            return
        now = (
            sorted(applied.seq for applied in positions)
            if read_seq
            else (boundary.seq, boundary.snapshot.get(name))
        )
        if now != before:
            before, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > wait_s:
            who = "sink" if read_seq else "reader"
            raise UnavailableError(
                f"the repair of {name} is announced, and no {who} does it: nothing has moved "
                f"for {wait_s:.0f} s",
                safe="the rows are read again as soon as cdc run is running",
                fix="start cdc run, then cdc verify again",
            )
        await asyncio.sleep(LOOK_S)
