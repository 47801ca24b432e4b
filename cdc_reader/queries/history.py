"""From where in the binlog on the catalog's columns hold, for what shows a piece of binlog.

`cdc tail` and `cdc run --dry-run` have no state, so they look ahead: the statements between their
beginning and the end of the binlog, where the catalog was asked, tell what its columns are of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from cdc.errors import UnavailableError
from cdc.position import Position, Watermark
from cdc.settings import Settings
from cdc.table import Table
from cdc_reader.binlog.source import Source
from cdc_reader.catalog.source_check import ServerFacts
from cdc_reader.look import look_again
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume
from cdc_reader.schema.change import End, SchemaChanged
from cdc_reader.schema.names import Names

READ_TIMEOUT_S = 0.25
SILENT_S = 10.0


@dataclass(slots=True)
class History:
    """What is known of a piece of binlog."""

    tables: list[Table]
    """As the catalog shows them at its end; as they were known where it does not."""
    names: Names


async def read_history(
    settings: Settings, facts: ServerFacts, tables: Sequence[Table], begin: Position
) -> History:
    """Ask the catalog, and look for the statements that name the tables.

    Args:
        begin: where the rows that are shown begin.

    Raises:
        CdcError: MySQL refuses, or does not answer.
    """
    looked = await asyncio.to_thread(look_again, settings, tables, gtid=False)
    if looked.until is None:
        raise ValueError("the end was not asked for")
    now = {table.qualified: looked.tables.get(table.qualified, table) for table in tables}
    found = await _statements(settings, facts, list(now), begin, looked.until)
    certain = looked.tables.keys() - looked.locked
    names = Names(
        now,
        known=[name for name in certain if name not in found.last],
        until={name: found.last[name] for name in certain if name in found.last},
        unsettled=now.keys() - certain,
        unread=frozenset(now),
        asks=True,
        passed=found.ends,
    )
    return History(list(now.values()), names)


@dataclass(slots=True)
class _LastChanges:
    last: dict[str, Watermark] = field(default_factory=dict)
    """By table, the end of the last statement that names it."""
    ends: set[End] = field(default_factory=set)


async def _statements(
    settings: Settings,
    facts: ServerFacts,
    tables: Sequence[str],
    begin: Position,
    until: Watermark,
) -> _LastChanges:
    place = Position(file=begin.file, offset=begin.offset, gtid_set=None)
    assembler = Assembler(
        resume=Resume(epoch=1, position=place, last=""),
        gtid_set=None,
        targets={},
        mariadb=facts.mariadb,
        on_schema_change="refresh",
        aside=tables,
    )
    found = _LastChanges()
    source = await Source.open(
        settings.mysql, place, mariadb=facts.mariadb, server_id=settings.server_id
    )
    try:
        async with asyncio.timeout(SILENT_S) as silence:
            while assembler.seen().place < until.place:
                data = await source.read(READ_TIMEOUT_S)
                if data:
                    silence.reschedule(asyncio.get_running_loop().time() + SILENT_S)
                for event in source.packets.feed(data, assembler.take_usual, assembler.needs):
                    try:
                        assembler.take(event)
                    except SchemaChanged as change:
                        _note(found, change)
    except TimeoutError:
        raise UnavailableError(f"MySQL has been silent for {SILENT_S:.0f} s") from None
    finally:
        source.close()
    return found


def _note(found: _LastChanges, change: SchemaChanged) -> None:
    if change.end is None:
        return
    found.ends.add(change.end)
    end = Watermark(gtid_set=None, place=(change.end.file_number, change.end.offset))
    found.last |= dict.fromkeys(change.tables, end)
