"""The sink's loop: from the stream into Redis, exactly once.

Order is everything here.  What cannot be applied is stored as a dead letter first
(invariant 3), then data and position go into Redis in one transaction (1, 5), and only
then does anything else learn of it.  After any error, both connections are
dropped and the position is read from Redis: nothing is re-sent from memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cdc.errors import CdcError, FencedError, PermissionDenied, PositionLostError, UnavailableError
from cdc.jetstream.consumer import Consumer
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
from cdc.own_keys import counts_key, position_key, position_keys
from cdc.partition import check_partitions, filters
from cdc.process.stopping import until_stopped
from cdc.settings import Settings
from cdc.sink_state import state_subject
from cdc.table import Table
from cdc.table_list import ListMissing
from cdc.telemetry import Log
from redis_sink.partition_log import Meter, PartitionLog
from redis_sink.partitions.backoff import Backoff
from redis_sink.partitions.owner import DRAIN_S, share_partitions
from redis_sink.plan.applied import (
    Applied,
    Start,
    at_refresh,
    decode,
    encode,
    first_start,
    marked,
    resume,
)
from redis_sink.plan.batch import Batch, EarlierEpoch
from redis_sink.plan.joiner import Joiner
from redis_sink.plan.planner import Planner
from redis_sink.store.key_types import refuse_other_kinds
from redis_sink.store.preflight import check_server, refuse_foreign_keys
from redis_sink.store.sweeper import Sweeper
from redis_sink.store.writer import Full, Writer
from redis_sink.stream.dead_letter import DeadLetters
from redis_sink.stream.kept_position import KeptPosition
from redis_sink.stream.lookup import newest_consumed, newest_epoch, refresh_after
from redis_sink.stream.sink_report import SinkReport

IDLE_S = 2.0
"""While nothing arrives, Redis is asked at this interval whether the position is still ours."""
STANDBY_PAUSE_S = 10.0
"""Longest pause of a sink that another one keeps out."""

MOST_READS, MOST_BYTES, MORE_WITHIN_S = 64, 32 << 20, 0.2
"""Limits of a batch that is taken together because Redis was full for a smaller one."""


async def run(
    settings: Settings, tables: Sequence[Table], *, stop: asyncio.Event, log: Log, meter: Meter
) -> None:
    """Keep Redis in sync until `stop` is set; then finish the batch in flight and return.

    Raises:
        PositionLostError: a message is missing, or the stream is not the one applied.
        PreflightError: Redis cannot keep the guarantees, or holds keys of another owner.
        CdcError: anything else that waiting does not heal.
    """
    if settings.partitions > 1:

        def begin(partition: int, told: asyncio.Event) -> _Sink:
            about = log.bind(partition=partition)
            return _Sink(settings, tables, told, about, meter, partition)

        await share_partitions(settings, begin, stop=stop, log=log)
        return
    sink = _Sink(settings, tables, stop, log, meter)
    await until_stopped(sink.follow_for_ever(), stop, drain_s=DRAIN_S, on_stop=sink.wake)


@dataclass(slots=True)
class Attached:
    """Both connections of one attempt, and the position in Redis."""

    nc: Connection
    own: OwnMessages
    consumer: Consumer
    joiner: Joiner
    dead_letters: DeadLetters
    applied: Applied


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
        self._stop, self._log = stop, log
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
        self._consumer: Consumer | None = None
        self._owns = settings.adopt
        """The keys under the templates are known to be ours."""
        self._begun = False
        self._partition = partition
        self._is_past_gap = False
        """The next connection starts at a refresh after a gap, not at the position in Redis."""
        self._reads = 1
        """Reads of the consumer that make a batch."""
        self._kept = KeptPosition(settings, partition)
        self._sink_report = SinkReport(
            state_subject(settings.stream, settings.pipeline, partition), tables
        )
        keeps_rows = settings.on_schema_change == "continue"
        self._report = PartitionLog(
            log, meter, dead_letter_subject(settings), keeps_rows=keeps_rows
        )
        self._sweeper = Sweeper(settings, tables, self._planner.live_keys, partition, log)

    def wake(self) -> None:
        """Make the loop look at `stop`."""
        if self._consumer is not None:
            self._consumer.wake()

    async def follow_for_ever(self) -> None:
        """Follow the stream; begin again after everything that waiting can heal."""
        waiting = Backoff(self._stop, self._log)
        while not self._stop.is_set():
            try:
                async with self._attach() as attached:
                    await self._apply_changes(attached, waiting)
            except FencedError as error:
                await waiting.after(error.seen, STANDBY_PAUSE_S)
            except CdcError as error:
                # Every server took its login when it was checked: a secret was changed.
                is_right = self._begun and isinstance(error, PermissionDenied)
                if not (error.heals_by_waiting or is_right):
                    raise
                if isinstance(error, Full):
                    # What frees memory may come after what needs it.
                    self._reads = min(self._reads * 4, MOST_READS)
                self._sink_report.waits = error.seen
                await waiting.after_error(error)

    async def _apply_changes(self, a: Attached, waiting: Backoff) -> None:
        while not self._stop.is_set():
            # 1. Take what has come; when nothing does, make sure that Redis is as we left it.
            deliveries = await self._read(a.consumer)
            if not deliveries:
                await self._writer.check()
            a.applied = await self._sweeper.step(self._writer, a.applied)
            for some in a.joiner.take(deliveries):
                await self._apply(a, some)
            waiting.over()
            await self._tell(a)
        await self._kept.leave(a.nc)

    async def _apply(self, a: Attached, deliveries: list[Delivery]) -> None:
        while deliveries:
            # 2. Decide: the last state of each key, and the position after it.
            batch = await self._plan(a, deliveries)
            # 3. What can never be applied is kept first.
            if batch.dead:
                await a.dead_letters.send(batch.dead)
            # 4. Data and position, both or neither.
            a.applied = await self._write(a, batch)
            # 5. It is so; report it.
            self._reads = 1
            self._report.batch(batch)
            self._sweeper.begin(batch)
            deliveries = deliveries[batch.consumed :]

    @asynccontextmanager
    async def _attach(self) -> AsyncIterator[Attached]:
        """Connect to both servers and find where to resume; close everything at the end."""
        settings = self._settings
        nc = await connect(
            settings.nats, name=self._name, inbox_prefix="_INBOX_sink", log=self._log
        )
        try:
            await self._sink_report.tell(nc, None)
            # Redis first: another sink moves the position on, and a stream as it was before that
            # would seem to have lost its end.
            await self._writer.open()
            self._sink_report.may_ask = await check_server(self._writer, self._log)
            raw = await self._writer.arm()
            state = await declare_stream(nc, settings)
            dead_letters = await self._dead_letters(nc, state)
            own = OwnMessages(nc, state.name, settings.subject_prefix, state.seal, self._log)
            self._planner.seal = own.seal
            _, heartbeat = await own.newest_heartbeat()
            check_partitions(heartbeat, settings.partitions, state.name)
            if not self._begun and self._partition == 0:
                await self._report.not_exact(nc, settings)
            consumer = Consumer(
                nc, state.name, max_messages=settings.batch_max_messages, filters=self._filters
            )
            self._consumer = consumer
            applied = await self._begin(own, raw, state, consumer)
            self._begun = True
            prefix, partitions = settings.subject_prefix, settings.partitions
            joiner = Joiner(prefix, state.seal, self._partition, partitions)
            yield Attached(nc, own, consumer, joiner, dead_letters, applied)
        finally:
            self._sweeper.stop()
            self._writer.close()
            if self._consumer is not None:
                await self._consumer.close()
            self._consumer = None
            await close(nc)

    async def _write(self, a: Attached, batch: Batch) -> Applied:
        """Write a batch; return the position that is in Redis now."""
        await refuse_other_kinds(self._writer, batch.shared)
        if batch.refresh is not None:
            await self._sweeper.learn(self._writer, batch.refresh)
        commands = [*batch.commands, *batch.counts.commands(self._counts_key)]
        position = marked(batch.applied, a.consumer.stored_ns(batch.applied.seq))
        await self._writer.apply(commands, encode(position))
        return position

    async def _tell(self, a: Attached) -> None:
        """Tell NATS how far this partition is."""
        self._sink_report.seq, self._sink_report.waits = a.applied.seq, ""
        await self._sink_report.tell(a.nc, self._writer)
        await self._kept.note(a.nc, a.applied.seq)

    async def _read(self, consumer: Consumer) -> list[Delivery]:
        """Return what has come; where Redis was full, as much as may give room back."""
        out = await consumer.read(0 if self._sweeper.is_busy else IDLE_S)
        for _ in range(1, self._reads if out else 1):
            more = await consumer.read(MORE_WITHIN_S)
            out += more
            if not more or sum(len(body) for _, _, body in out) > MOST_BYTES:
                break
        return out

    async def _begin(
        self, own: OwnMessages, raw: bytes | None, state: StreamState, consumer: Consumer
    ) -> Applied:
        """Start the consumer after the position in Redis."""
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
        await self._sweeper.remember(self._writer)
        self._report.start(start)
        await self._kept.declare(own.nc, start.applied.seq)
        await consumer.open(start.seq)
        return start.applied

    async def _resume(self, own: OwnMessages, applied: Applied, state: StreamState) -> Start:
        """Return where to resume: after what is applied, or at a refresh after a gap."""
        seq = 0
        if self._is_past_gap:
            # Looked up again: another sink may have passed it since.
            seq = await refresh_after(own, applied)
            self._is_past_gap = False
        if not seq:
            found = await newest_consumed(own, applied, state, self._partition)
            try:
                return resume(applied, state, found)
            except PositionLostError as error:
                seq = await self._past(error, own, applied)
        return at_refresh(applied, state, seq)

    async def _plan(self, a: Attached, deliveries: list[Delivery]) -> Batch:
        own = a.own
        try:
            batch = await self._planned(own, a.applied, deliveries)
        except PositionLostError as error:
            await self._past(error, own, a.applied)
            self._is_past_gap = True
            raise UnavailableError("a gap, and a refresh after it: resuming there") from None
        if batch.has_strange_mac and (await stream_state(own.nc, own.stream)).seal != own.seal:
            raise UnavailableError("the stream has another key now: starting again with it")
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
                # A refresh after it closes a gap, of any cause.
                if not gap.epoch or newest or await refresh_after(own, applied):
                    raise
                newest = await newest_epoch(own, gap.epoch)
                if not newest:
                    raise

    async def _past(self, gap: PositionLostError, own: OwnMessages, applied: Applied) -> int:
        """Return the sequence of a refresh that closes a gap; raise the gap where none follows.

        Raises:
            FencedError: not a gap: another sink has applied what is missing here.
        """
        await self._writer.check()
        if not gap.heals_by_refresh:
            raise gap
        seq = await refresh_after(own, applied)
        if not seq:
            raise gap
        self._log.warning("a gap, closed by a refresh", gap=gap.seen, seq=seq)
        return seq

    async def _dead_letters(self, nc: Connection, state: StreamState) -> DeadLetters:
        await declare_dead_letters(nc, self._settings)
        subject = dead_letter_subject(self._settings)
        return DeadLetters(nc, subject=subject, stream=state.name, created=state.created)
