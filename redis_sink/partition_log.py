"""What a person reads of the sink: its log lines and counters."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Protocol

from cdc.errors import PermissionDenied
from cdc.jetstream.dead_letters import tables_not_exact
from cdc.jetstream.stream import Connection
from cdc.settings import Settings
from cdc.telemetry import Log, names_text
from redis_sink.plan.applied import Start
from redis_sink.plan.batch import Batch


class Meter(Protocol):
    """Where the sink counts: `cdc.telemetry.Meter`."""

    def count(self, name: str, n: int) -> None:
        """Add to a counter."""

    def lag(self, seconds: float) -> None:
        """Record the age of the newest change that was just applied."""


class PartitionLog:
    """Log lines and counters of one partition."""

    def __init__(self, log: Log, meter: Meter, dead_subject: str, *, keeps_rows: bool) -> None:
        """Set what is logged.

        Args:
            dead_subject: where dead letters go, ``cdc.dead.default``.
            keeps_rows: a table that changed as a whole is not read again.
        """
        self._log, self._meter, self._dead_subject = log, meter, dead_subject
        self._keeps_rows = keeps_rows

    def start(self, start: Start) -> None:
        """Log where the sink starts; a warning where the stream lost messages."""
        log = self._log.warning if start.why.is_loss else self._log.info
        log(
            "sink started",
            why=start.why.value,
            stream=start.applied.stream,
            seq=start.seq,
            id=start.applied.id or None,
        )

    def batch(self, batch: Batch) -> None:
        """Count what a batch applied; log what is unusual in it."""
        self._meter.count("applied", batch.changes)
        if batch.changes and batch.applied.ts:
            self._meter.lag(time.time() - batch.applied.ts / 1e6)
        if batch.skipped:
            self._meter.count("skipped", batch.skipped)
        if batch.copies:
            self._log.warning("copies of old messages, skipped", n=batch.copies)
        if batch.dead:
            self._meter.count("dead", len(batch.dead))
            first = batch.dead[0]
            self._log.warning(
                "dead letter written",
                n=len(batch.dead),
                seq=first.seq,
                table=first.table,
                on=self._dead_subject,
            )
        if batch.refresh is not None:
            partly = batch.refresh.ranges_of or ()
            self._log.info(
                "refresh of key ranges started" if partly else "refresh started",
                tables=names_text((*batch.refresh.tables, *partly)),
            )
        if batch.lost_refreshes:
            self._log.warning(
                "the stream lost a refresh with its newest messages: these tables are not read",
                tables=names_text(batch.lost_refreshes),
                fix="cdc refresh --only TABLE",
            )
        if batch.barrier is not None and self._keeps_rows:
            self._log.warning(
                "table changed as a whole; its rows in Redis are as before",
                table=batch.barrier.table,
                statement=batch.barrier.statement,
            )

    async def not_exact(self, nc: Connection, settings: Settings) -> None:
        """Warn of tables that have dead letters."""
        with suppress(PermissionDenied):  # reading them takes one right more than writing them
            if found := await tables_not_exact(nc, settings):
                self._log.warning(
                    "dead letters exist: their tables are not exact",
                    n=sum(found.values()),
                    tables=names_text(sorted(filter(None, found))) or None,
                    fix="cdc dead list, then cdc dead retry or drop",
                )
