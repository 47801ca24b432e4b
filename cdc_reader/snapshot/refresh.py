"""Refresh of tables: announced in the stream, done by the reader that follows it.

An announcement is a boundary like a heartbeat, with the tables' snapshots at their
beginning.  So a reader that runs is fenced off, reads the stream's end and resumes from
there; one that starts later does the same (docs/adr/0011-refresh.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

import msgspec
import pymysql

from cdc.errors import FencedError, UnavailableError, UsageError
from cdc.jetstream import stream
from cdc.message import Aside, Heartbeat, KeyRange, Refresh, TableProgress, parse_id
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, names_text
from cdc_reader.catalog.table_check import sql_name
from cdc_reader.publish.publisher import Publisher
from cdc_reader.resume.failover import ask_server_log
from cdc_reader.resume.resume import ServerLog, Tail
from cdc_reader.resume.stream_end import newest_boundary, newest_refresh, read_tail
from cdc_reader.resume.trust import refuse_emptied, refuse_unknown, rows_expected
from cdc_reader.snapshot.chunk import about_rows, chunk_connection
from cdc_reader.snapshot.key_range import Ranges, checked, refuse_too_much

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
    nc = await stream.connect(
        settings.nats, name="cdc-refresh", inbox_prefix="_INBOX_reader", log=log
    )
    try:
        heartbeat = await newest_boundary(nc, settings.stream, settings.subject_prefix)
    finally:
        await stream.close(nc)
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
        nc = await stream.connect(
            settings.nats, name="cdc-refresh", inbox_prefix="_INBOX_reader", log=log
        )
        try:
            return await _announce(nc, settings, plan, log, is_in_line=is_in_line)
        except FencedError:
            if time.monotonic() > deadline_s:
                raise UnavailableError(
                    "a reader publishes without a pause, so that nothing can be put in line",
                    safe="nothing was announced",
                    fix="stop cdc run, run cdc refresh, start cdc run again",
                ) from None
        finally:
            await stream.close(nc)


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
    nc = await stream.connect(
        settings.nats, name="cdc-reader", inbox_prefix="_INBOX_reader", log=log
    )
    try:

        def plan(tail: Tail, server: ServerLog | None, *, number: int, now_us: int) -> Refresh:
            assert server is None  # in line: no newer position is asked for
            return plan_changes(tail, read, aside, number=number, now_us=now_us)

        await _announce(nc, settings, plan, log)
    finally:
        await stream.close(nc)


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
    nc = await stream.connect(
        settings.nats, name="cdc-refresh", inbox_prefix="_INBOX_reader", log=log
    )
    try:
        while True:
            boundary = await newest_boundary(nc, settings.stream, settings.subject_prefix)
            if is_done(refresh, boundary.snapshot if boundary else {}):
                return
            if seen is not None and boundary is not None:
                seen(boundary)
            await asyncio.sleep(LOOK_S)
    finally:
        await stream.close(nc)


def is_read(progress: TableProgress | None, number: int) -> bool:
    """Return whether a table was read to its end for a refresh, or for one after it."""
    return bool(progress and progress.done and (progress.refresh or 0) >= number)


def are_read(progress: TableProgress | None, number: int) -> bool:
    """Return whether the ranges of a refresh were read, or the whole table for one after it."""
    if progress is None:
        return False
    if progress.refresh is not msgspec.UNSET and progress.refresh > number:
        return progress.done  # a whole reading that was announced later took their place
    return all(part.refresh > number for part in progress.open_ranges)


def is_done(refresh: Refresh, snapshot: Mapping[str, TableProgress]) -> bool:
    """Return whether all that a refresh reads is in the stream.

    Raises:
        UnavailableError: the reader that runs does not capture one of the tables.
    """
    partly = () if refresh.ranges_of is msgspec.UNSET else refresh.ranges_of
    if missing := [name for name in (*refresh.tables, *partly) if name not in snapshot]:
        raise UnavailableError(
            f"the running cdc run does not capture {', '.join(missing)}",
            safe="nothing was changed by this",
            fix="give it the same tables, and ask again",
        )
    return all(is_read(snapshot[name], refresh.number) for name in refresh.tables) and all(
        are_read(snapshot[name], refresh.number) for name in partly
    )


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
        await publisher.open(claim(tail, tail.heartbeat))
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


def plan_refresh(
    tail: Tail,
    server: ServerLog | None,
    tables: Collection[str],
    only: Collection[str],
    *,
    number: int,
    now_us: int,
) -> Refresh:
    """Return the announcement for the stream's end.

    Without `server`, the boundary stays where it is; else it is the newest place of the binlog, in
    a new epoch, and all tables are read, those too that only the stream knows of.

    Raises:
        UsageError: a table is not captured, or the stream is new.
    """
    progress: Mapping[str, TableProgress] = tail.heartbeat.snapshot if tail.heartbeat else {}
    # What cannot be captured is read when it can be again.
    held = {
        name: one
        for name, one in progress.items()
        if one.aside is not msgspec.UNSET and name not in tables
    }
    wanted = tuple(only or dict.fromkeys([*tables, *(n for n in progress if n not in held)]))
    for name in wanted:
        if only and name not in tables:
            raise UsageError(
                f"{name} is not captured{nearest(name, tables)}",
                fix="captured are " + ", ".join(sorted(tables)),
            )
    fresh = {
        name: progress.get(name, TableProgress()).begun_again(number, keeps_columns=server is None)
        for name in wanted
    }
    if server is None:
        boundary = msgspec.structs.replace(_of_now(tail), snapshot={**progress, **fresh})
    else:
        boundary = Heartbeat(
            epoch=_newest_epoch(tail) + 1,
            server=server.server,
            file=server.newest.file,
            offset=server.newest.offset,
            gtid_set=server.newest.gtid_set,
            last=tail.last,
            partitions=len(tail.last_of) or 1,
            snapshot=held | fresh,
            began=tail.heartbeat.began if tail.heartbeat else now_us,
            ts=now_us,
        )
    boundary = msgspec.structs.replace(boundary, last=tail.last, last_of=tail.last_of, ts=now_us)
    return Refresh(number=number, tables=wanted, gap=server is not None, boundary=boundary)


def plan_changes(
    tail: Tail, read: Sequence[Table], aside: Mapping[str, Aside], *, number: int, now_us: int
) -> Refresh:
    """Return the announcement that tables are read again and others are set aside.

    The rows of a table whose keys are removed are read to their end with it: it has none.

    Raises:
        UsageError: the stream is new.
    """
    heartbeat = _of_now(tail)
    snapshot = dict(heartbeat.snapshot)
    keys = {table.qualified: table.identity for table in read}
    keys_before = _keys_before(snapshot, keys)
    for name, columns in keys.items():
        again = snapshot.get(name, TableProgress()).begun_again(number)
        snapshot[name] = msgspec.structs.replace(again, key=columns)
    for name, why in aside.items():
        before = snapshot.get(name, TableProgress())
        snapshot[name] = msgspec.structs.replace(
            TableProgress(refresh=number, done=True) if why.removed else before,
            ranges=msgspec.UNSET,
            partial=msgspec.UNSET,
            refresh_due=msgspec.UNSET,
            aside=why.after(before.aside),
            columns=msgspec.UNSET,
        )
    boundary = msgspec.structs.replace(
        heartbeat, snapshot=snapshot, last=tail.last, last_of=tail.last_of, ts=now_us
    )
    return Refresh(
        number=number,
        tables=(*keys, *(name for name, why in aside.items() if why.removed)),
        keys=keys or msgspec.UNSET,
        keys_before=keys_before or msgspec.UNSET,
        gap=False,
        boundary=boundary,
    )


def _keys_before(
    snapshot: Mapping[str, TableProgress], keys: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    known = {name: snapshot[name].key for name in keys if name in snapshot}
    return {name: key for name, key in known.items() if key and key != keys[name]}


def plan_ranges(tail: Tail, ranges: Ranges, *, number: int, now_us: int) -> Refresh:
    """Return the announcement of ranges of keys, after all that is being read anyway.

    A table's progress in a whole snapshot stays as it is; ranges are kept separately.

    Raises:
        UsageError: the stream is new, the reader that runs does not capture a table, or too many
            ranges wait already.
    """
    heartbeat = _of_now(tail)
    snapshot = dict(heartbeat.snapshot)
    for name, wanted in ranges.items():
        if name not in snapshot:
            raise UsageError(
                f"{name} is not captured by the cdc run that last wrote to the stream"
                f"{nearest(name, snapshot)}",
                fix="start cdc run with it: it takes a snapshot of the table",
            )
        more = (
            KeyRange(refresh=number, first=tuple(first), last=tuple(last)) for first, last in wanted
        )
        snapshot[name] = snapshot[name].with_ranges((*snapshot[name].open_ranges, *more))
        refuse_too_much(snapshot[name].open_ranges)
    boundary = msgspec.structs.replace(
        heartbeat, snapshot=snapshot, last=tail.last, last_of=tail.last_of, ts=now_us
    )
    return Refresh(number=number, tables=(), ranges_of=tuple(ranges), gap=False, boundary=boundary)


def _of_now(tail: Tail) -> Heartbeat:
    if tail.heartbeat is None:
        raise UsageError(
            "the stream has no binlog position yet, so there is nothing to refresh",
            fix="start cdc run, or refresh all tables",
        )
    return tail.heartbeat


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


def _newest_epoch(tail: Tail) -> int:
    # A message may be of a later epoch than the boundary before it.
    of_last = parse_id(tail.last)[0] if tail.last else 0
    return max(of_last, tail.heartbeat.epoch if tail.heartbeat else 0)


def claim(tail: Tail, heartbeat: Heartbeat) -> Heartbeat:
    """Return the heartbeat that takes the stream's end over before the announcement.

    It repeats the newest one, so that nothing is lost if we end between the two.
    """
    now_us = time.time_ns() // 1000
    return msgspec.structs.replace(
        heartbeat,
        snapshot=tail.naming.of(heartbeat.snapshot),
        listed=tail.naming.at,
        last=tail.last,
        last_of=tail.last_of,
        ts=now_us,
    )
