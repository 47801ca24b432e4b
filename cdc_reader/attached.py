"""One attempt of the reader: its three connections, and what is known of each.

`attach` reads from the stream where to resume: no state is kept anywhere else (invariants 1
and 2).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import msgspec

from cdc.errors import PositionLostError, UnavailableError
from cdc.jetstream import stream
from cdc.message import Heartbeat, TableProgress, encode
from cdc.mysql.connection import translated
from cdc.position import MySqlGtidSet
from cdc.settings import Settings
from cdc.table import Table
from cdc.table_list import Naming
from cdc.telemetry import Log, Meter
from cdc_reader.binlog.source import SILENCE_S, Source
from cdc_reader.current_tables import CurrentTables, is_due
from cdc_reader.dump import Dump
from cdc_reader.messages.chains import Run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.beat import Beat
from cdc_reader.publish.publisher import Publisher
from cdc_reader.publish.retention import Retention
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.failover import ask_server_log, follow_to
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import (
    ServerLog,
    Tail,
    initial_progress,
    is_by_gtid,
    parsed_gtid_set,
    resume_from,
)
from cdc_reader.resume.stream_end import read_tail
from cdc_reader.rows.shape import target_of
from cdc_reader.schema.change import ReadAgain, SchemaChanged
from cdc_reader.schema.names import Names
from cdc_reader.snapshot.backpressure import Sinks
from cdc_reader.snapshot.chunk import ChunkReader, chunk_connection
from cdc_reader.snapshot.form import form_of
from cdc_reader.snapshot.key_range import chunk_columns
from cdc_reader.snapshot.pace import Pace
from cdc_reader.snapshot.report import SnapshotReport
from cdc_reader.snapshot.snapshot import Snapshot

READ_TIMEOUT_S = 0.25
SNAPSHOT_READ_TIMEOUT_S = 0.05
CHUNK_READ_TIMEOUT_S = 0.005
CURRENT_S = 10.0
"""A reader whose newest transaction is younger does not lag."""
LIST_KEEP_US = 3_600_000_000
"""A list of tables is written again after this, so that what is before it can be removed."""


@dataclass(slots=True, kw_only=True)
class Attached:
    """The three connections of one attempt, and what is known of each."""

    captured: CurrentTables
    aside: tuple[str, ...] = ()
    """Tables that are set aside."""
    names: Names = field(default_factory=Names)
    dump: Dump
    assembler: Assembler
    snapshot: Snapshot
    publisher: Publisher
    report: SnapshotReport
    epoch: int
    server: str
    began: int
    """When the stream's first reader began, microseconds since 1970."""
    naming: Naming
    list_keep_us: int = LIST_KEEP_US
    silent_since_s: float = 0.0
    began_s: float = field(default_factory=time.monotonic)
    quiet_us: int = 0
    """When MySQL had nothing more for us, microseconds since 1970."""
    beat: Beat

    def take(self, data: bytes) -> PositionLostError | SchemaChanged | None:
        """Take what came in; return why the first event that cannot be carried is refused.

        What is before it is published first, as its error promises.
        """
        assembler = self.assembler
        try:
            self.dump.take(data)
        except (PositionLostError, SchemaChanged) as refused:
            return refused
        self.learn_names()
        if self.names.unsettled and not assembler.in_transaction and is_due(self.began_s):
            return SchemaChanged((), assembler.position_text())  # asks for them again
        back = None
        if self.aside and not assembler.in_transaction:
            back = self.captured.returning(self.aside, assembler.position_text())
        return back or self._reading_again(is_idle=not data)

    def _reading_again(self, *, is_idle: bool) -> ReadAgain | None:
        """Return which tables are read again as a whole now, if any.

        Not inside a transaction, which would be read again, and not while the reader lags: what it
        still meets may need the next reading.
        """
        due, assembler = self.snapshot.refreshes_due(), self.assembler
        if not due or assembler.in_transaction:
            return None
        if not is_idle and time.time() - assembler.event_us / 1e6 > CURRENT_S:
            return None
        return self.captured.reading_again(due, assembler.position_text())

    def learn_names(self) -> None:
        """Note which tables' columns are known from here on; rows of them may be read now."""
        if not self.names.waiting:
            return
        for table in self.names.arrived(self.assembler.has_passed):
            progress, digest = self.snapshot.progress[table], self.captured.digest(table)
            self.snapshot.progress[table] = msgspec.structs.replace(progress, columns=digest)
            self.snapshot.moved.add(table)
            self.snapshot.release(table)
            self.snapshot.chunks += 1  # for a heartbeat: a restart shall know it

    def read_timeout_s(self) -> float:
        """Return how long a read may wait: short while a chunk is on its way."""
        longest_s = SNAPSHOT_READ_TIMEOUT_S if self.snapshot.active else READ_TIMEOUT_S
        if self.snapshot.window is not None:
            longest_s = CHUNK_READ_TIMEOUT_S
        return min(longest_s, self.beat.due_in_s())

    def watch_silence(self, something_came: bool) -> None:
        """Notice a half-open connection: even an idle server sends heartbeats.

        Raises:
            UnavailableError: nothing came for `SILENCE_S`.
        """
        now_s = time.monotonic()
        if something_came:
            self.silent_since_s = now_s
            return
        if now_s - self.silent_since_s > SILENCE_S:
            raise UnavailableError(f"MySQL has been silent for {SILENCE_S:.0f} s")
        self.quiet_us = time.time_ns() // 1000

    def heartbeat_due(self, changed: bool, read_bytes: int) -> bool:
        """Return whether a boundary is published now: see `cdc_reader.publish.beat`."""
        chunks, boundary = self.snapshot.chunks, self._moves()
        return self.beat.due(chunks, boundary, published=changed, read_bytes=read_bytes)

    def _moves(self) -> tuple[object, ...]:
        """Return what a heartbeat carries that moves."""
        return *self.assembler.boundary, self.snapshot.windows

    async def list_tables(self) -> None:
        """Store a list of all tables where the next heartbeat would have to name too many.

        It counts from the heartbeat on that names it: rows that are in line before that one may
        still be on their way.
        """
        progress = self.snapshot.progress
        self.naming.moved(self.snapshot.moved)
        now_us = time.time_ns() // 1000
        if self.naming.needs_list(len(progress), now_us=now_us, keep_us=self.list_keep_us):
            self.naming.is_listed(await self.publisher.list_tables(progress), progress)
            self.snapshot.moved.clear()

    def heartbeat(self) -> Heartbeat:
        """Return the heartbeat that follows everything taken until now."""
        position, chains = self.assembler.position, self.assembler.chains
        self.naming.moved(self.snapshot.moved)
        self.snapshot.moved.clear()
        heartbeat = Heartbeat(
            epoch=self.epoch,
            server=self.server,
            began=self.began,
            file=position.file,
            offset=position.offset,
            gtid_set=position.gtid_set,
            last=self.assembler.last,
            partitions=chains.partitions if chains else 1,
            last_of=tuple(chains.last_of) if chains else (),
            snapshot=self.naming.of(self.snapshot.progress),
            shown=self.snapshot.unread.shown(position.gtid_set),
            listed=self.naming.at,
            # Of a transaction that is open, a part may be missing still.
            upto=max(self.quiet_us, self.assembler.event_us - self.assembler.in_transaction),
            paused=self.snapshot.paused or msgspec.UNSET,
            prepared=self.assembler.xa.prepared.listed(),
            ts=time.time_ns() // 1000,
        )
        self.beat.sent(
            self.snapshot.chunks,
            self._moves(),
            size_bytes=len(encode(heartbeat)),
            in_transaction=self.assembler.in_transaction,
        )
        return heartbeat

    def count(self, runs: list[Run], meter: Meter) -> None:
        """Tell the meter what was published, and its lag."""
        rows = sum(run.rows for run in runs)
        if rows:
            meter.count("published", rows)
            if self.assembler.event_us:
                meter.lag(max(0.0, time.time() - self.assembler.event_us / 1e6))


@asynccontextmanager
async def attach(captured: CurrentTables, log: Log) -> AsyncIterator[Attached]:
    """Connect to both servers and find where to resume; close everything at the end.

    Raises:
        CdcError: a server refuses, or does not answer; resuming would lose or guess.
    """
    settings = captured.settings
    nc = await stream.connect(
        settings.nats, name="cdc-reader", inbox_prefix="_INBOX_reader", log=log
    )
    source: Source | None = None
    dump: Dump | None = None
    chunks: ChunkReader | None = None
    retention: Retention | None = None
    try:
        state = await stream.declare_stream(nc, settings)
        tail = await read_tail(
            nc, settings.stream, settings.subject_prefix, settings.partitions, log=log
        )
        server, next_event = await asyncio.to_thread(ask_server_log, settings, tail.heartbeat)
        published = None
        if is_by_gtid(tail, server):
            server, published = await follow_to(nc, settings, tail, server)
        resume = resume_from(tail, server, next_event, published)
        captured.reach.begin(server.server)
        await captured.follow(server.server)
        known = tail.heartbeat.snapshot if tail.heartbeat else {}
        gtid_set = parsed_gtid_set(resume.position, mariadb=server.mariadb)
        names = await captured.named(known, gtid=isinstance(gtid_set, MySqlGtidSet))
        aside, tables = captured.parted(known)
        if tail.heartbeat and tail.heartbeat.server != server.server:
            log.warning(
                "another server: resuming there by GTID, in a new epoch",
                server=server.server,
                before=tail.heartbeat.server,
                epoch=resume.epoch,
            )
        fast_ingest = bool(state.config.get("allow_batched", False))
        publisher = Publisher.after(tail, nc, settings, state, log, fast_ingest=fast_ingest)
        sinks = _sinks(settings, tables, tail, publisher)
        await sinks.listen(nc, settings.stream)
        unread = _unread(tables, tail, published)
        captured.cascades.prepare(unread, [table.qualified for table in tables])
        assembler = Assembler(
            resume=resume,
            gtid_set=gtid_set,
            targets={table.qualified: target_of(table) for table in tables},
            mariadb=server.mariadb,
            on_schema_change=settings.on_schema_change,
            aside=(*aside, *captured.dropped),
            passed=captured.passed,
            reach=captured.reach,
            unread=unread,
            names=names,
            cascades=captured.cascades,
        )
        chunks = _chunks(settings, server)
        snapshot = _snapshot(settings, tables, known, server, chunks, sinks, unread)
        snapshot.progress.update(aside)
        snapshot.held = names.held
        captured.note_columns(snapshot.progress, names)
        naming = tail.naming
        naming.begin(snapshot.progress)
        source = await Source.open(
            settings.mysql,
            resume.position,
            mariadb=server.mariadb,
            server_id=settings.server_id,
        )
        dump = Dump(source, assembler, settings.mysql, mariadb=server.mariadb)
        attached = Attached(
            captured=captured,
            aside=tuple(aside),
            names=names,
            dump=dump,
            assembler=assembler,
            snapshot=snapshot,
            publisher=publisher,
            report=SnapshotReport(log),
            epoch=resume.epoch,
            server=server.server,
            began=tail.heartbeat.began if tail.heartbeat else time.time_ns() // 1000,
            naming=naming,
            list_keep_us=_list_keep_us(settings),
            silent_since_s=time.monotonic(),
            beat=Beat(
                heartbeat_s=settings.heartbeat_s,
                idle_s=settings.heartbeat_idle_s,
                early_bytes_per_s=settings.heartbeat_early_bytes,
            ),
        )
        retention = _retention(nc, settings, tail, state, attached, sinks, log)
        attached.learn_names()
        await attached.list_tables()
        await publisher.open(attached.heartbeat())
        captured.cascades.unread.clear()  # the stream has it now
        retention.begin()
        _say_older_forms(snapshot.progress, log)
        log.info("streaming", position=str(resume.position), after=resume.last or None)
        yield attached
    finally:
        if dump is not None:
            dump.close()
        elif source is not None:
            source.close()
        if chunks is not None:
            chunks.close()
        if retention is not None:
            retention.end()
        await stream.close(nc)


def _list_keep_us(settings: Settings) -> int:
    """Return how old a list of tables gets: what is removed by its age is long after it."""
    age_us = settings.stream_max_age_s * 1_000_000
    return min(LIST_KEEP_US, age_us // 4) if age_us else LIST_KEEP_US


def _say_older_forms(progress: Mapping[str, TableProgress], log: Log) -> None:
    for table, read in progress.items():
        if read.has_older_forms is True:
            log.warning(
                "the settings of a table changed: rows that did not change since keep their form",
                table=table,
                fix=f"cdc refresh --only {table}",
            )


def _sinks(
    settings: Settings, tables: tuple[Table, ...], tail: Tail, publisher: Publisher
) -> Sinks:
    names = [table.qualified for table in tables]
    return Sinks(
        max_lag_messages=settings.snapshot_max_lag_messages,
        max_memory_percent=settings.snapshot_max_memory_percent,
        sequence=lambda: publisher.sequence,
        added=[n for n in names if tail.heartbeat and n not in tail.heartbeat.snapshot],
    )


def _retention(
    nc: stream.Connection,
    settings: Settings,
    tail: Tail,
    state: stream.StreamState,
    attached: Attached,
    sinks: Sinks,
    log: Log,
) -> Retention:
    publisher = attached.publisher

    def restart_seq(presses: bool) -> int:
        return (publisher.heartbeat_seq or tail.heartbeat_at) if presses else publisher.boundary_seq

    def has_room(room_bytes: int) -> None:
        publisher.room_bytes = room_bytes

    has_room(max(0, int(state.config.get("max_bytes", -1))))
    retention = Retention(
        nc,
        settings,
        restart_seq=restart_seq,
        lists=attached.naming.starts_from,
        wants_list=attached.naming.expire,
        heard=sinks.applied,
        has_room=has_room,
        log=log,
    )
    publisher.make_room = partial(retention.look, is_full=True)
    return retention


def _chunks(settings: Settings, server: ServerLog) -> ChunkReader:
    return ChunkReader(
        lambda: chunk_connection(settings),
        mariadb=server.mariadb,
        gtid=server.newest.gtid_set is not None,
        translate=lambda error: translated(error, settings.mysql),
    )


def _unread(tables: tuple[Table, ...], tail: Tail, published: Published | None) -> Unread:
    """Return the keys that are still to be read.

    After a failover transactions that are whole in the stream are not read again, and keys of rows
    without a message, which they may have, are in no heartbeat: such tables are read as a whole.
    """
    columns = {table.qualified: chunk_columns(table) for table in tables}
    newest = tail.heartbeat
    known = newest.snapshot if newest else {}
    shown = newest.gtid_set if newest else None
    if newest is not None and newest.shown is not msgspec.UNSET:
        shown = newest.shown
    unread = Unread(known, columns=columns, shown=shown)
    if published is not None and (published.whole or published.newest):
        for name in columns:
            if name in known and known[name].partial is not msgspec.UNSET:
                unread.lose(name)
    return unread


def _snapshot(
    settings: Settings,
    tables: tuple[Table, ...],
    known: Mapping[str, TableProgress],
    server: ServerLog,
    chunks: ChunkReader,
    sinks: Sinks,
    unread: Unread,
) -> Snapshot:
    forms = {table.qualified: form_of(table) for table in tables}
    progress = initial_progress(forms, known, snapshot=settings.snapshot)
    for table in tables:
        if table.qualified not in known:
            of_new = msgspec.structs.replace(progress[table.qualified], key=table.identity)
            progress[table.qualified] = of_new
    return Snapshot(
        tables,
        progress,
        chunks,
        mariadb=server.mariadb,
        unread=unread,
        has_xa=server.has_xa,
        pace=Pace(
            max_rows=settings.snapshot_chunk_rows,
            target_s=settings.snapshot_chunk_ms / 1000,
            rows_per_s=settings.snapshot_rows_per_s,
            held_back=sinks.held_back,
        ),
    )
