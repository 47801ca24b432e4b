"""The reader's part of `cdc run --dry-run`: messages of the last minutes, and of some rows.

The same source, codecs and chunks as the reader's; nothing is published.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

import msgspec

from cdc.check.nats_rights import Refusals
from cdc.errors import PositionLostError
from cdc.jetstream import stream
from cdc.message import KeyRange
from cdc.mysql.connection import connected, translated
from cdc.position import MySqlGtidSet, Position, Watermark, file_number
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import names_text
from cdc_reader.catalog.facts import server_facts
from cdc_reader.catalog.source_check import ServerFacts
from cdc_reader.messages.large import within
from cdc_reader.publish.transaction import Assembler
from cdc_reader.queries.history import History, read_history
from cdc_reader.queries.tail import FIRST_EVENT, PARTIAL, binlog_files, follow, opened
from cdc_reader.resume.resume import ServerLog
from cdc_reader.resume.server_log import read_server_log
from cdc_reader.resume.stream_end import newest_boundary
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.schema.change import SchemaChanged
from cdc_reader.snapshot.chunk import ChunkReader, chunk_connection

LAST_S = 300
"""Seconds of binlog that are read, as far as that is no more than `LOG_BYTES`."""
LOG_BYTES = 128_000_000
SAMPLE_ROWS = 100
"""Of each table."""
KEPT_MESSAGES = 10_000
SILENT_S = 10.0


class _Placed(msgspec.Struct):
    ts: int = 0


_decode_ts = msgspec.json.Decoder(_Placed).decode


@dataclass(slots=True, kw_only=True)
class DryRunMessages:
    """Messages as they would be published, each after the one before."""

    messages: list[tuple[str, bytes]]
    """Operation and body; at most the newest `KEPT_MESSAGES` of the binlog, then the rows'."""
    changes: int
    """How many of them the binlog gave."""
    rows: int
    """Rows that were read from the tables."""
    log_bytes: int
    """How much of the binlog was read."""
    notes: list[str]
    """What could not be looked at, and why."""


async def dry_run(settings: Settings, tables: Sequence[Table]) -> DryRunMessages:
    """Return what the last minutes and some rows would become.

    Raises:
        CdcError: MySQL refuses, or does not answer.
    """
    facts, log, files = await asyncio.to_thread(_asked, settings)
    notes: list[str] = []
    start = _start(log.newest, files)
    log_bytes = sum(size for name, size in files if name >= start.file) if start else 0
    if start is None:
        notes.append(
            f"the newest binlog file has more than {LOG_BYTES // 1_000_000} MB, so none of it was "
            "read; FLUSH BINARY LOGS begins another"
        )
    begins = await _begins(settings, log, files)
    position = start or log.newest
    history: History | None = None
    while True:
        source, assembler = await opened(settings, facts, tables, position, history)
        try:
            changes = await _changes(source, assembler, log.newest, begins, notes) if start else []
        except SchemaChanged:
            history = await read_history(settings, facts, tables, position)
            continue
        finally:
            source.close()
        if changes is not None or position == begins:
            break
        # An event before the position where a run begins stops no run: only later ones count.
        position, history = begins, None
    if history is not None and history.names.skipped:
        notes.append(
            "rows before the last ALTER of their table were not read, because the binlog does not "
            f"name their columns: {names_text(sorted(history.names.skipped))}"
        )
    since_us = (time.time() - LAST_S) * 1e6
    changes = list(dropwhile(lambda message: _decode_ts(message[1]).ts < since_us, changes or ()))
    rows = await asyncio.to_thread(_rows, settings, tables, facts, log, assembler)
    messages = [("snapshot", body) for run in assembler.runs for body in run.bodies]
    most_bytes = settings.max_row_bytes
    return DryRunMessages(
        messages=[(op, within(op, body, most_bytes)) for op, body in changes + messages],
        changes=len(changes),
        rows=rows,
        log_bytes=log_bytes,
        notes=notes,
    )


async def _begins(settings: Settings, log: ServerLog, files: Sequence[tuple[str, int]]) -> Position:
    """Return where a `cdc run` would begin: at the stream's newest boundary, or now."""
    if settings.nats.scheme == "embedded":
        return log.newest
    try:
        async with stream.opened(
            settings.nats, name="cdc-dry-run", inbox_prefix="_INBOX_reader", log=Refusals()
        ) as nc:
            found = await newest_boundary(nc, settings.stream, settings.subject_prefix)
    except stream.ApiError as error:
        if error.err_code != stream.NO_STREAM:
            raise
        found = None
    if found is None or found.server != log.server or found.file not in dict(files):
        return log.newest
    return Position(file=found.file, offset=found.offset, gtid_set=None)


def _asked(settings: Settings) -> tuple[ServerFacts, ServerLog, list[tuple[str, int]]]:
    with connected(settings.mysql) as connection:
        facts = server_facts(connection)
        log = read_server_log(
            connection, mariadb=facts.mariadb, gtid=facts.gtid, server=facts.server
        )
        return facts, log, binlog_files(connection)


def _start(newest: Position, files: Sequence[tuple[str, int]]) -> Position | None:
    """Return the oldest file from which no more than `LOG_BYTES` have to be read."""
    size_bytes, found = newest.offset, None
    if size_bytes <= LOG_BYTES:
        found = newest.file
        for name, file_bytes in reversed(files):
            if file_number(name) >= file_number(newest.file):
                continue
            size_bytes += file_bytes
            if size_bytes > LOG_BYTES:
                break
            found = name
    return Position(file=found, offset=FIRST_EVENT, gtid_set=None) if found else None


async def _changes(
    source: Any, assembler: Assembler, newest: Position, begins: Position, notes: list[str]
) -> list[tuple[str, bytes]] | None:
    """Return the messages up to a position; None: an event stops them before a run would begin.

    Raises:
        SchemaChanged: the names of columns have to be looked for.
    """
    end = (file_number(newest.file), newest.offset)
    kept: deque[tuple[str, bytes]] = deque(maxlen=KEPT_MESSAGES)
    came_s, in_part = time.monotonic(), set[str]()
    try:
        async with aclosing(follow(source, assembler)) as runs:
            async for some in runs:
                whole = [run for run in some if run.op != PARTIAL]
                kept.extend((run.op, body) for run in whole for body in run.bodies)
                in_part.update(run.table for run in some if run.op == PARTIAL)
                came_s = time.monotonic() if some else came_s
                if assembler.seen().place >= end or time.monotonic() - came_s > SILENT_S:
                    break
    except SchemaChanged:
        if assembler.seen().place < end:
            raise
    except PositionLostError as error:
        if assembler.seen().place <= (file_number(begins.file), begins.offset):
            return None
        notes.append(f"cdc run would stop at an event ahead of it: {error.seen}")
    notes.extend(
        f"rows of {table} are in the binlog in part: cdc run reads them by their keys"
        for table in sorted(in_part)
    )
    return list(kept)


def _rows(
    settings: Settings,
    tables: Sequence[Table],
    facts: ServerFacts,
    log: ServerLog,
    assembler: Assembler,
) -> int:
    """Put some rows of each table in line; return how many."""
    gtid = facts.gtid and log.newest.gtid_set is not None
    executed = MySqlGtidSet.parse(log.newest.gtid_set or "") if gtid and not facts.mariadb else None
    low = Watermark(gtid_set=executed, place=(file_number(log.newest.file), log.newest.offset))
    reader = ChunkReader(
        lambda: chunk_connection(settings),
        mariadb=facts.mariadb,
        gtid=gtid,
        translate=lambda error: translated(error, settings.mysql),
    )
    assembler.runs, read_rows = [], 0
    try:
        for table in tables:
            codec = SelectCodec(table, mariadb=facts.mariadb)
            chunk = reader.read(table, codec, KeyRange(), SAMPLE_ROWS, low)
            rows = codec.rows(chunk.rows)
            if rows:
                run = assembler.snapshot_run(table.qualified, rows, read_us=chunk.read_us)
                assembler.runs.append(run)
                read_rows += len(rows)
    finally:
        reader.close()
    return read_rows
