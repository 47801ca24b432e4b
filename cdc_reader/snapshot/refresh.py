"""Refresh of tables: announced in the stream, done by the reader that follows it.

An announcement is a boundary like a heartbeat, with the tables' snapshots at their
beginning.  So a reader that runs is fenced off, reads the stream's end and resumes from
there; one that starts later does the same (docs/adr/0011-refresh.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from typing import Any, Protocol

import msgspec
import pymysql

from cdc.errors import FencedError, UnavailableError, UsageError
from cdc.jetstream import stream
from cdc.message import Aside, Heartbeat, KeyRange, Refresh
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, names_text
from cdc_reader.catalog.table_check import sql_name
from cdc_reader.publish.publisher import Publisher
from cdc_reader.resume.failover import ask_server_log
from cdc_reader.resume.resume import ServerLog, Tail
from cdc_reader.resume.stream_end import newest_boundary, newest_refresh, read_tail
from cdc_reader.resume.trust import refuse_emptied, refuse_unknown, rows_expected
from cdc_reader.snapshot.announcement import claim, is_done, plan_changes, plan_ranges, plan_refresh
from cdc_reader.snapshot.chunk import about_rows, chunk_connection
from cdc_reader.snapshot.key_range import Ranges, checked

LOOK_S = 0.5
CLAIM_S = 30.0
"""A reader that runs publishes between our look at the stream's end and our claim of it."""


async def run(settings: Settings, tables: tuple[Table, ...], *, log: Log, **_: Any) -> None:
    """Announce that all tables are read again, as a role that exits on its own.

    Raises:
        PositionLostError: it is not the server that the stream followed, or its tables were
            emptied: see `cdc_reader.resume.trust`.
        CdcError: a server refuses, or does not answer.
    """
    await _refuse_untrusted(settings, tables, log)
    refresh, sequence = await announce(settings, tables, (), log)
    log.warning("refresh announced", tables=names_text(refresh.tables), seq=sequence)


async def _refuse_untrusted(settings: Settings, tables: Sequence[Table], log: Log) -> None:
    async with _opened(settings, log) as nc:
        heartbeat = await newest_boundary(nc, settings.stream, settings.subject_prefix)
    server, _ = await asyncio.to_thread(ask_server_log, settings, None)
    refuse_unknown(heartbeat, server)
    expected = rows_expected(heartbeat.snapshot if heartbeat else {})
    refuse_emptied(await asyncio.to_thread(_count, settings, tables, expected), expected)


def _count(
    settings: Settings, tables: Sequence[Table], expected: Mapping[str, int]
) -> dict[str, int]:
    with closing(chunk_connection(settings)) as connection, connection.cursor() as cursor:
        found = {}
        for table in tables:
            if (least := expected.get(table.qualified, 0)) > 0:
                rows = f"SELECT 1 FROM {sql_name(table)} LIMIT {least}"
                cursor.execute(f"SELECT COUNT(*) FROM ({rows}) AS some")
                found[table.qualified] = int((cursor.fetchone() or (0,))[0])
        return found


async def announce(
    settings: Settings,
    tables: Sequence[Table],
    only: Collection[str],
    log: Log,
    *,
    ranges: Ranges | None = None,
) -> tuple[Refresh, int]:
    """Store the announcement; return it and its sequence.

    Args:
        only: ``schema.table`` of those to read; empty: all, from the newest position of the binlog.
        ranges: read only these rows, ``{"shop.users": [(("1",), ("1000",))]}``, and remove
            nothing; `only` is not looked at then.

    Raises:
        UsageError: a range cannot be read.
        CdcError: a server refuses, or does not answer.
    """
    if ranges is not None:
        await asyncio.to_thread(ask_for_ranges, settings, tables, ranges)
    deadline_s = time.monotonic() + CLAIM_S
    names = [table.qualified for table in tables]
    is_in_line = bool(only) or ranges is not None

    def plan(tail: Tail, server: ServerLog | None, *, number: int, now_us: int) -> Refresh:
        if ranges is not None:
            return plan_ranges(tail, ranges, number=number, now_us=now_us)
        return plan_refresh(tail, server, names, only, number=number, now_us=now_us)

    while True:
        try:
            async with _opened(settings, log) as nc:
                return await _announce(nc, settings, plan, log, is_in_line=is_in_line)
        except FencedError:
            if time.monotonic() > deadline_s:
                raise UnavailableError(
                    "a reader publishes without a pause, so that nothing can be put in line",
                    safe="nothing was announced",
                    fix="stop cdc run, run cdc refresh, start cdc run again",
                ) from None


async def announce_changes(
    settings: Settings, read: Sequence[Table], aside: Mapping[str, Aside], log: Log
) -> None:
    """Store that tables are read again and others are set aside, at the stream's newest boundary.

    Args:
        read: the tables as they are now.
        aside: by name, ``{"shop.users": Aside(…)}``.

    Raises:
        CdcError: a server refuses, or does not answer; a reader that runs was quicker.
    """

    def plan(tail: Tail, server: ServerLog | None, *, number: int, now_us: int) -> Refresh:
        assert server is None  # in line: no newer position is asked for
        return plan_changes(tail, read, aside, number=number, now_us=now_us)

    async with _opened(settings, log, name="cdc-reader") as nc:
        await _announce(nc, settings, plan, log)


async def read_to_the_end(
    settings: Settings,
    refresh: Refresh,
    log: Log,
    *,
    seen: Callable[[Heartbeat], None] | None = None,
) -> None:
    """Return when all rows that a refresh reads are in the stream, from any reader.

    Args:
        seen: told of the newest heartbeat, twice a second.

    Raises:
        UnavailableError: NATS does not answer.
    """
    async with _opened(settings, log) as nc:
        while True:
            boundary = await newest_boundary(nc, settings.stream, settings.subject_prefix)
            if is_done(refresh, boundary.snapshot if boundary else {}):
                return
            if seen is not None and boundary is not None:
                seen(boundary)
            await asyncio.sleep(LOOK_S)


def _opened(
    settings: Settings, log: Log, name: str = "cdc-refresh"
) -> AbstractAsyncContextManager[stream.Connection]:
    return stream.opened(settings.nats, name=name, inbox_prefix="_INBOX_reader", log=log)


class _Plan(Protocol):
    def __call__(
        self, tail: Tail, server: ServerLog | None, *, number: int, now_us: int
    ) -> Refresh: ...


async def _announce(
    nc: stream.Connection, settings: Settings, plan: _Plan, log: Log, *, is_in_line: bool = True
) -> tuple[Refresh, int]:
    """Store the announcement.

    Args:
        is_in_line: it follows the stream's newest boundary; False: the binlog's newest position.
    """
    state = await stream.declare_stream(nc, settings)
    tail = await read_tail(
        nc,
        settings.stream,
        settings.subject_prefix,
        settings.partitions,
        log=log,
        needs_heartbeat=is_in_line,
    )
    publisher = Publisher.after(tail, nc, settings, state, log, fast_ingest=False)
    if tail.heartbeat is not None:
        # At once: a reader that runs moves the stream's end on.
        await publisher.open(claim(tail, tail.heartbeat, time.time_ns() // 1000))
    before = await newest_refresh(nc, settings.stream, settings.subject_prefix)
    # The place is asked for after the stream's end: nothing in the stream lies after it.
    server = None if is_in_line else (await asyncio.to_thread(ask_server_log, settings, None))[0]
    now_us = time.time_ns() // 1000
    number = max(now_us, before[1].number + 1 if before else 0)
    refresh = await _listing(publisher, tail, plan(tail, server, number=number, now_us=now_us))
    if tail.heartbeat is not None:
        return refresh, await publisher.announce(refresh)
    # A reader that begins at a boundary without the refresh would not know that a gap is before it.
    await publisher.open(refresh)
    return refresh, publisher.sequence


async def _listing(publisher: Publisher, tail: Tail, refresh: Refresh) -> Refresh:
    """Return an announcement that names no more tables than it has to; list them first."""
    naming, progress = tail.naming, refresh.boundary.snapshot
    naming.begin(progress)
    if naming.needs_list(len(progress), now_us=0, keep_us=0):
        naming.is_listed(await publisher.list_tables(progress), progress)
    boundary = msgspec.structs.replace(
        refresh.boundary, snapshot=naming.of(progress), listed=naming.at
    )
    return msgspec.structs.replace(refresh, boundary=boundary)


def ask_for_ranges(settings: Settings, tables: Sequence[Table], ranges: Ranges) -> list[int]:
    """Return about how many rows each range has; MySQL accepts their keys or refuses them.

    Raises:
        UsageError: they cannot be read, or a key is none that MySQL can compare.
        CdcError: MySQL does not answer.
    """
    checked(tables, ranges)
    rows = []
    with closing(chunk_connection(settings)) as connection:
        by_name = {table.qualified: table for table in tables}
        for name, ends in ranges.items():
            table = by_name[name]
            for first, last in ends:
                wanted = KeyRange(first=tuple(first), last=tuple(last))
                try:
                    rows.append(about_rows(connection, table, wanted))
                except pymysql.MySQLError as error:
                    number, text = (*error.args, 0, "")[:2]
                    raise UsageError(
                        f"{table.qualified} has no such key: the server reports {number}, {text}"
                    ) from None
    return rows
