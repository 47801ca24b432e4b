"""The sink's loop: from the stream into Redis, exactly once.

Order is everything here.  What cannot be applied is stored as a dead letter first
(invariant 3), then data and position go into Redis in one transaction (1, 5), and only
then does anything else learn of it.  After whatever goes wrong, both connections are
dropped and Redis is asked where it stands: nothing is re-sent from memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from cdc.errors import PermissionDenied, PositionLostError, UnavailableError
from cdc.jetstream.consumer import Consumer
from cdc.jetstream.dead_letters import tables_not_exact
from cdc.jetstream.list_lookup import listed_at
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import (
    Connection,
    StreamState,
    close,
    connect,
    dead_letter_subject,
    declare_dead_letters,
    declare_stream,
    stream_state,
)
from cdc.message import Delivery
from cdc.own_keys import counts_key, position_key, position_keys, templates_key
from cdc.partition import check_partitions, filters
from cdc.settings import Settings
from cdc.sink_state import state_subject
from cdc.table import Table
from cdc.table_list import ListMissing
from cdc.telemetry import Log, names_text
from redis_sink.partitions.backoff import Waiting
from redis_sink.partitions.owner import DRAIN_S, share_partitions
from redis_sink.plan.applied import (
    Applied,
    Start,
    at_refresh,
    decode,
    encode,
    first_start,
    marked,
    refreshed,
    resume,
)
from redis_sink.plan.batch import Batch, EarlierEpoch
from redis_sink.plan.planner import Planner
from redis_sink.plan.state import grounds_of
from redis_sink.store.key_types import refuse_other_kinds
from redis_sink.store.older_forms import Older, forget, remember
from redis_sink.store.preflight import check_server, refuse_foreign_keys
from redis_sink.store.sweep import Sweep
from redis_sink.store.writer import Fenced, Full, Writer
from redis_sink.stream.dead_letter import DeadLetters
from redis_sink.stream.kept_position import Place
from redis_sink.stream.lookup import newest_epoch, refresh_behind, standing
from redis_sink.stream.sink_report import Telling

IDLE_S = 2.0
"""While nothing comes, Redis is asked so often whether it is still as we left it."""
STANDBY_PAUSE_S = 10.0
"""Longest pause of a sink that another one keeps out."""

MOST_READS, MOST_BYTES, MORE_WITHIN_S = 64, 32 << 20, 0.2
"""Limits of a batch that is taken together because Redis was full for a smaller one."""

FENCED = "the position in Redis changed: another sink writes, or Redis was emptied"


class Meter(Protocol):
    """Where the sink counts: `cdc.telemetry.Meter`."""

    def count(self, name: str, n: int) -> None:
        """Add to a counter."""

    def lag(self, seconds: float) -> None:
        """Say how old the newest change is that has just been applied."""


async def run(
    settings: Settings, tables: Sequence[Table], *, stop: asyncio.Event, log: Log, meter: Meter
) -> None:
    """Keep Redis right until `stop` is set; then finish the batch in flight and return.

    Raises:
        PositionLostError: a message is missing, or the stream is not the one applied.
        PreflightError: Redis cannot keep the promise, or holds keys of somebody else.
        CdcError: whatever else waiting does not heal.
    """
    if settings.partitions > 1:

        def begin(partition: int, told: asyncio.Event) -> _Sink:
            about = log.bind(partition=partition)
            return _Sink(settings, tables, told, about, meter, partition)

        await share_partitions(settings, begin, stop=stop, log=log)
        return
    sink = _Sink(settings, tables, stop, log, meter)
    following = asyncio.create_task(sink.follow_for_ever())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
        sink.wake()
        await asyncio.wait((following,), timeout=DRAIN_S)
    finally:
        following.cancel()
        stopping.cancel()
        await asyncio.gather(following, stopping, return_exceptions=True)
    if not following.cancelled():
        following.result()


class _Sink:
    """One partition's way into Redis, over all its connections."""

    def __init__(
        self,
        settings: Settings,
        tables: Sequence[Table],
        stop: asyncio.Event,
        log: Log,
        meter: Meter,
        partition: int = 0,
    ) -> None:
        self._settings, self._tables = settings, tables
        self._stop, self._log, self._meter = stop, log, meter
        several = settings.partitions
        self._planner = Planner(
            tables,
            pipeline=settings.pipeline,
            subject_prefix=settings.subject_prefix,
            bare_messages=settings.bare_messages,
            partition=partition,
            partitions=several,
        )
        self._filters = filters(settings.subject_prefix, partition, several)
        name = f"cdc-sink-{settings.pipeline}" + (f"-{partition}" if several > 1 else "")
        key = position_key(settings.pipeline, partition, several)
        self._writer = Writer(settings.redis, key=key, name=name)
        self._name = name
        self._counts_key = counts_key(settings.pipeline, partition, several)
        self._templates_key = templates_key(settings.pipeline, partition, several)
        self._older: Older = {}
        self._consumer: Consumer | None = None
        self._owns = settings.adopt
        """The keys under the templates are known to be ours."""
        self._begun = False
        self._partition = partition
        self._is_past_gap = False
        """The next connection begins at a refresh behind a gap, and not where Redis says."""
        self._sweep: Sweep | None = None
        self._reads = 1
        """So many reads of the consumer make a batch."""
        self._place = Place(settings, partition)
        self._telling = Telling(
            state_subject(settings.stream, settings.pipeline, partition), tables
        )

    def wake(self) -> None:
        """Make the loop look at `stop`."""
        if self._consumer is not None:
            self._consumer.wake()

    async def follow_for_ever(self) -> None:
        """Follow the stream; begin again after everything that waiting can heal."""
        waiting = Waiting(self._stop, self._log)
        while not self._stop.is_set():
            try:
                await self._follow(waiting)
            except Fenced:
                await waiting.after(FENCED, STANDBY_PAUSE_S)
            except UnavailableError as error:
                if isinstance(error, Full):
                    # What gives room back may stand behind what needs it.
                    self._reads = min(self._reads * 4, MOST_READS)
                self._telling.waits = error.seen
                await waiting.after(error.seen)
            except PermissionDenied as error:
                if not self._begun:
                    raise
                self._telling.waits = error.seen
                await waiting.after(error.seen)

    async def _follow(self, waiting: Waiting) -> None:
        settings = self._settings
        nc = await connect(
            settings.nats, name=self._name, inbox_prefix="_INBOX_sink", log=self._log
        )
        try:
            await self._telling.tell(nc, None)
            # Redis first: another sink moves the position on, and a stream as it was before that
            # would seem to have lost its end.
            await self._writer.open()
            self._telling.may_ask = await check_server(self._writer, self._log)
            raw = await self._writer.arm()
            state = await declare_stream(nc, settings)
            dead_letters = await self._dead_letters(nc, state)
            own = OwnMessages(nc, state.name, settings.subject_prefix, state.seal, self._log)
            self._planner.seal = own.seal
            _, heartbeat = await own.newest_heartbeat()
            check_partitions(heartbeat, settings.partitions, state.name)
            if not self._begun and self._partition == 0:
                await self._say_what_is_not_exact(nc)
            consumer = Consumer(
                nc, state.name, max_messages=settings.batch_max_messages, filters=self._filters
            )
            self._consumer = consumer
            applied = await self._begin(own, raw, state, consumer)
            self._begun = True
            while not self._stop.is_set():
                # 1. Take what has come; when nothing does, make sure that Redis is as we left it.
                deliveries = await self._read(consumer)
                if not deliveries:
                    await self._writer.check()
                applied = await self._sweep_on(applied)
                while deliveries:
                    # 2. Decide: the last state of each key, and the position after it.
                    batch = await self._plan(own, applied, deliveries)
                    # 3. What can never be applied is kept first.
                    if batch.dead:
                        await dead_letters.send(batch.dead)
                    # 4. Data and position, both or neither.
                    await refuse_other_kinds(self._writer, batch.shared)
                    commands = [*batch.commands, *batch.counts.commands(self._counts_key)]
                    position = marked(batch.applied, consumer.stored_ns(batch.applied.seq))
                    await self._writer.apply(commands, encode(position))
                    # 5. It is so; say it.
                    applied, self._reads = position, 1
                    self._report(batch)
                    self._begin_sweep(batch)
                    deliveries = deliveries[batch.consumed :]
                waiting.over()
                self._telling.seq, self._telling.waits = applied.seq, ""
                await self._telling.tell(nc, self._writer)
                await self._place.note(nc, applied.seq)
            await self._place.leave(nc)
        finally:
            self._sweep = None
            self._writer.close()
            if self._consumer is not None:
                await self._consumer.close()
            self._consumer = None
            await close(nc)

    async def _read(self, consumer: Consumer) -> list[Delivery]:
        """Return what has come; where Redis was full, as much as may give room back."""
        out = await consumer.read(0 if self._sweep else IDLE_S)
        for _ in range(1, self._reads if out else 1):
            more = await consumer.read(MORE_WITHIN_S)
            out += more
            if not more or sum(len(body) for _, _, body in out) > MOST_BYTES:
                break
        return out

    async def _begin(
        self, own: OwnMessages, raw: bytes | None, state: StreamState, consumer: Consumer
    ) -> Applied:
        """Make the consumer begin where Redis says that it stands."""
        if raw is None:
            if not self._owns:
                others = position_keys(self._settings.pipeline, self._settings.partitions)
                await refuse_foreign_keys(self._writer, self._tables, others, self._log)
            start = first_start(state, self._settings.partitions)
            self._is_past_gap = False
            # From here on the keys are ours: a later start finds a position, not their absence.
            await self._writer.apply((("UNLINK", self._counts_key),), encode(start.applied))
        else:
            applied = decode(raw, key=self._writer.key, partitions=self._settings.partitions)
            start = await self._resume(own, applied, state)
        self._owns = True
        self._older = await remember(self._writer, self._templates_key, self._tables)
        self._tell(start)
        await self._place.declare(own.nc, start.applied.seq)
        await consumer.open(start.seq)
        return start.applied

    async def _resume(self, own: OwnMessages, applied: Applied, state: StreamState) -> Start:
        """Return where to go on: behind what is applied, or at a refresh behind a gap."""
        seq = 0
        if self._is_past_gap:
            # Asked anew: another sink may have gone past it meanwhile.
            seq = await refresh_behind(own, applied)
            self._is_past_gap = False
        if not seq:
            found = await standing(own, applied, state, self._partition)
            try:
                return resume(applied, state, found)
            except PositionLostError as error:
                seq = await self._past(error, own, applied)
        return at_refresh(applied, state, seq)

    async def _plan(self, own: OwnMessages, applied: Applied, deliveries: list[Delivery]) -> Batch:
        try:
            batch = await self._planned(own, applied, deliveries)
        except PositionLostError as error:
            await self._past(error, own, applied)
            self._is_past_gap = True
            raise UnavailableError("a gap, and a refresh behind it: going on there") from None
        if batch.has_strange_mac and (await stream_state(own.nc, own.stream)).seal != own.seal:
            raise UnavailableError("the stream has another key since: beginning again with it")
        return batch

    async def _planned(
        self, own: OwnMessages, applied: Applied, deliveries: list[Delivery]
    ) -> Batch:
        newest = 0
        while True:
            try:
                return self._planner.plan(
                    applied, deliveries, now_us=time.time_ns() // 1000, newest_epoch=newest
                )
            except ListMissing as missing:
                self._planner.listed = await listed_at(own, missing.at)
            except EarlierEpoch as gap:
                # A refresh behind it closes a gap, whatever made it.
                if not gap.epoch or newest or await refresh_behind(own, applied):
                    raise
                newest = await newest_epoch(own, gap.epoch)
                if not newest:
                    raise

    async def _past(self, gap: PositionLostError, own: OwnMessages, applied: Applied) -> int:
        """Return the sequence of a refresh that closes a gap; raise the gap where there is none.

        Raises:
            Fenced: it is none: another sink has applied what is missing here, since we looked.
        """
        await self._writer.check()
        if not gap.heals_by_refresh:
            raise gap
        seq = await refresh_behind(own, applied)
        if not seq:
            raise gap
        self._log.warning("a gap, closed by a refresh", gap=gap.seen, seq=seq)
        return seq

    async def _sweep_on(self, applied: Applied) -> Applied:
        """Remove some keys of rows that are gone, at the end of a refresh; return the position."""
        sweep = self._sweep
        if sweep is None or applied.open_refreshes.get(sweep.table) != sweep.number:
            # A later refresh of the table came by: with its announcement the set is gone.
            self._sweep = None
            return applied
        await sweep.step(self._writer, encode(applied))
        if not sweep.is_done:
            return applied
        applied, number = refreshed(applied, sweep.table)
        still_used = number in applied.open_refreshes.values()
        ended = () if still_used else (("UNLINK", self._planner.live_keys(number)),)
        await self._writer.apply(ended, encode(applied))
        if self._older.pop(sweep.table, None):
            table = next(t for t in self._tables if t.qualified == sweep.table)
            await forget(self._writer, self._templates_key, table)
        self._sweep = None
        self._log.info("refreshed", table=sweep.table, keys_removed=sweep.removed)
        return applied

    def _begin_sweep(self, batch: Batch) -> None:
        if self._sweep is not None or not batch.read_anew:
            return
        name, number = next(iter(batch.read_anew.items()))
        settings = self._settings
        table = next(t for t in self._tables if t.qualified == name)
        for ground in grounds_of(table):
            if not ground.template.literal_prefix:
                self._log.warning(
                    "keys of rows that are gone cannot be told: the template begins with a column",
                    table=name,
                    key=ground.template.text,
                )
        self._sweep = Sweep(
            table,
            [t for t in self._tables if t is not table],
            number=number,
            live_keys=self._planner.live_keys(number),
            partition=self._partition,
            partitions=settings.partitions,
            older=self._older.get(name, ()),
        )

    async def _say_what_is_not_exact(self, nc: Connection) -> None:
        with suppress(PermissionDenied):  # to look at them takes a right more than to write them
            if found := await tables_not_exact(nc, self._settings):
                self._log.warning(
                    "dead letters are kept: their tables are not exact",
                    n=sum(found.values()),
                    tables=names_text(sorted(filter(None, found))) or None,
                    fix="cdc dead list, then cdc dead retry or drop",
                )

    async def _dead_letters(self, nc: Connection, state: StreamState) -> DeadLetters:
        await declare_dead_letters(nc, self._settings)
        subject = dead_letter_subject(self._settings)
        return DeadLetters(nc, subject=subject, stream=state.name, created=state.created)

    def _tell(self, start: Start) -> None:
        say = self._log.warning if start.why.startswith("stream") else self._log.info
        say(
            "sink begins",
            why=start.why,
            stream=start.applied.stream,
            seq=start.seq,
            id=start.applied.id or None,
        )

    def _report(self, batch: Batch) -> None:
        self._meter.count("applied", batch.changes)
        if batch.changes and batch.applied.ts:
            self._meter.lag(time.time() - batch.applied.ts / 1e6)
        if batch.skipped:
            self._meter.count("skipped", batch.skipped)
        if batch.copies:
            self._log.warning("copies of old messages, passed over", n=batch.copies)
        if batch.dead:
            self._meter.count("dead", len(batch.dead))
            first = batch.dead[0]
            self._log.warning(
                "message quarantined",
                n=len(batch.dead),
                seq=first.seq,
                table=first.table,
                on=dead_letter_subject(self._settings),
            )
        if batch.refresh is not None:
            partly = batch.refresh.ranges_of or ()
            self._log.info(
                "ranges of keys are read anew" if partly else "refresh begins",
                tables=names_text((*batch.refresh.tables, *partly)),
            )
        if batch.lost_refreshes:
            self._log.warning(
                "the stream lost a refresh with its newest messages: these tables are not read",
                tables=names_text(batch.lost_refreshes),
                fix="cdc refresh --only TABLE",
            )
        if batch.barrier is not None:
            self._log.warning(
                "table changed as a whole; its rows in Redis are as before",
                table=batch.barrier.table,
                statement=batch.barrier.statement,
            )
