"""Changes from MySQL's binlog for `cdc tail`: no NATS, no Redis, no state.

The same source, packets, transactions and codecs as the reader's, so what is shown is what would be
published.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from pymysql.connections import Connection

from cdc.check.finding import together
from cdc.errors import PositionLostError, UsageError
from cdc.mysql.connection import connected
from cdc.position import MariaDbGtidSet, MySqlGtidSet, Position
from cdc.settings import Settings
from cdc.table import Table
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.source import Source
from cdc_reader.catalog.facts import check_rights, server_facts
from cdc_reader.catalog.source_check import ServerFacts, check_source
from cdc_reader.catalog.tables import resolve_tables
from cdc_reader.messages.chains import Run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.transaction import Assembler
from cdc_reader.queries.history import History, read_history
from cdc_reader.resume.resume import Resume
from cdc_reader.resume.server_log import read_server_log
from cdc_reader.rows.shape import target_of
from cdc_reader.schema.change import EVERY_END, SchemaChanged
from cdc_reader.schema.names import Names
from cdc_reader.snapshot.key_range import chunk_columns

READ_TIMEOUT_S = 0.25
FIRST_EVENT = 4
"""Offset of a file's first event, after its magic number."""
PARTIAL = "partial"
"""The operation of rows that the binlog has in part, for people alone: no message has it."""
NOW, EARLIEST = "now", "earliest"
_LIST = re.compile(r"\d+-\d+-\d+")


class Begin:
    """Where a tail begins: a position, and the transaction that is waited for there."""

    def __init__(self, position: Position, gtid: str = "") -> None:
        self.position = position
        self.gtid = gtid
        """Everything before it is skipped; empty: nothing is."""


async def live(
    settings: Settings,
    begin: str,
    stop: asyncio.Event,
    take: Callable[[Run], None],
    note: Callable[[str], None],
) -> None:
    """Give what comes to `take`, in binlog order, until `stop`.

    Args:
        begin: ``now``, ``earliest``, or the GTID of a transaction.
        note: gets what is not shown, in words.

    Raises:
        UsageError: there is no such table or transaction.
        PositionLostError: an event cannot be carried; what was before it was yielded.
        UnavailableError: MySQL closes the connection, or does not answer.
        CdcError: the server's configuration or rights do not suffice.
    """
    facts, tables, start = await asyncio.to_thread(_prepare, settings, begin)
    position, last = start.position, ""
    history: History | None = None
    told: set[str] = set()
    while True:
        source, assembler = await opened(settings, facts, tables, position, history, last)
        try:
            async with aclosing(follow(source, assembler, start)) as runs:
                async for some in runs:
                    for run in some:
                        take(run)
                    for table in sorted(history.names.skipped - told if history else ()):
                        note(f"{table}: rows before its last ALTER are not shown, because the "
                             "binlog does not name their columns")  # fmt: skip
                        told.add(table)
                    if stop.is_set():
                        return
        except SchemaChanged:  # columns that the binlog does not name
            position, last = assembler.position, assembler.last
        finally:
            source.close()
        history = await read_history(settings, facts, tables, position)
        tables = tuple(history.tables)


async def opened(
    settings: Settings,
    facts: ServerFacts,
    tables: Sequence[Table],
    position: Position,
    history: History | None = None,
    last: str = "",
) -> tuple[Source, Assembler]:
    """Open the binlog at a position, with its assembler; the source is to be closed.

    Args:
        history: from there on; None: it was not read, which is only needed for a server that
            does not name columns.
        last: `id` of the newest message that there was.

    Raises:
        CdcError: MySQL refuses, or does not answer.
    """
    # By position: a server that has GTIDs still sends them in the events.
    place = Position(file=position.file, offset=position.offset, gtid_set=None)
    assembler = Assembler(
        resume=Resume(epoch=1, position=place, last=last),
        gtid_set=None,
        targets={table.qualified: target_of(table) for table in tables},
        mariadb=facts.mariadb,
        on_schema_change="continue",
        unread=Unread(columns={table.qualified: chunk_columns(table) for table in tables}),
        passed=EVERY_END,
        names=history.names if history else Names(asks=True),
    )
    source = await Source.open(
        settings.mysql, place, mariadb=facts.mariadb, server_id=settings.server_id
    )
    return source, assembler


async def follow(
    source: Source, assembler: Assembler, begin: Begin | None = None
) -> AsyncGenerator[list[Run], None]:
    """Yield what came with each read, which may be nothing; never ends on its own.

    Args:
        begin: whose transaction is waited for; it has come when there is none in it.

    Raises:
        SchemaChanged: the names of columns have to be looked for from the newest boundary on.
        CdcError: as `live`.
    """
    is_behind = begin is None or not begin.gtid
    while True:
        data = await source.read(READ_TIMEOUT_S)
        refused: Exception | None = None
        try:
            usual = assembler.take_usual if is_behind else None
            for event in source.packets.feed(data, usual, assembler.needs) if data else ():
                if begin and not is_behind and event.kind in ev.GTIDS:
                    is_behind = ev.parse_gtid(event)[0] == begin.gtid
                    begin.gtid = "" if is_behind else begin.gtid
                assembler.take(event)
                assembler.names.arrived(assembler.has_passed)
                if not is_behind:
                    assembler.runs.clear()
                    assembler.unread.drained()
        except (PositionLostError, SchemaChanged) as error:
            refused = error
        runs, assembler.runs = assembler.runs, []
        yield runs + partial_runs(assembler)
        if refused is not None:
            raise refused


def partial_runs(assembler: Assembler) -> list[Run]:
    """Return what a run would read by keys, which the binlog has in part.

    ``{"op":"partial","table":"shop.users","keys":["7","9..12"],"ts":1795414891568123}``; without
    keys the table is read as a whole.
    """
    out = []
    for table, ranges in assembler.unread.drained():
        keys = [
            ",".join(r.first) + (f"..{','.join(r.last)}" if r.last != r.first else "")
            for r in ranges
        ]
        about = {"op": PARTIAL, "table": table, "keys": keys, "ts": assembler.event_us}
        out.append(Run(PARTIAL, table, [msgspec.json.encode(about)]))
    return out


def _prepare(settings: Settings, begin: str) -> tuple[ServerFacts, tuple[Table, ...], Begin]:
    with connected(settings.mysql) as connection:
        facts = server_facts(connection)
        found = check_source(facts)
        found += check_rights(connection, facts, settings.mysql)
        if errors := [finding.error() for finding in found if finding.stops]:
            raise together(errors)
        tables = resolve_tables(connection, settings)
        return facts, tables, _begin(connection, facts, begin)


def _begin(connection: Connection[Any], facts: ServerFacts, begin: str) -> Begin:
    log = read_server_log(connection, mariadb=facts.mariadb, gtid=facts.gtid, server=facts.server)
    if begin == NOW:
        return Begin(log.newest)
    files = [name for name, _ in binlog_files(connection)]
    if begin == EARLIEST:
        return Begin(Position(file=files[0], offset=FIRST_EVENT, gtid_set=None))
    gtid = begin.strip().lower()
    try:
        _parsed(gtid, mariadb=facts.mariadb)
        executed = log.state or MySqlGtidSet.parse(log.newest.gtid_set or "")
        is_there = gtid in executed
    except ValueError:
        raise UsageError(
            f"{begin!r} is not a position to begin at",
            fix="now, earliest, or the GTID of one transaction (SELECT @@gtid_executed)",
        ) from None
    if not is_there:
        raise UsageError(f"MySQL has no transaction {begin}", fix="SELECT @@gtid_executed")
    for file in reversed(files):
        if gtid not in _parsed(_before(connection, file), mariadb=facts.mariadb):
            return Begin(Position(file=file, offset=FIRST_EVENT, gtid_set=None), gtid)
    raise PositionLostError(
        f"MySQL has removed the binlog with transaction {begin}",
        fix="cdc tail --from earliest begins at the oldest that it has",
    )


def _parsed(text: str, *, mariadb: bool) -> MySqlGtidSet | MariaDbGtidSet:
    return MariaDbGtidSet.parse(text) if mariadb else MySqlGtidSet.parse(text)


def binlog_files(connection: Connection[Any]) -> list[tuple[str, int]]:
    """Return name and size in bytes of all binlog files, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        return [(str(row[0]), int(row[1])) for row in cursor.fetchall()]


def _before(connection: Connection[Any], file: str) -> str:
    """Return the transactions before a file, as its second event lists them."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW BINLOG EVENTS IN %s LIMIT 2", (file,))
        for row in cursor.fetchall():
            if row[2] == "Previous_gtids":
                return str(row[5]).replace("\n", "")
            if row[2] == "Gtid_list":
                return ",".join(_LIST.findall(str(row[5])))
    return ""
