"""Which sweep is under way: at the end of a refresh, keys of rows that are gone are removed.

One partition's.  ``sweeper.begin(batch)`` starts a sweep where a batch ends a refresh, and each
``await sweeper.step(writer, applied)`` removes some keys and returns the position after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import UNSET

from cdc.message import Refresh
from cdc.own_keys import templates_key
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log
from redis_sink.plan.applied import Applied, encode, refreshed
from redis_sink.plan.batch import Batch
from redis_sink.plan.state import grounds_of
from redis_sink.store.older_forms import Older, forget, remember, with_key
from redis_sink.store.sweep import Sweep
from redis_sink.store.writer import Writer


class Sweeper:
    """Runs at most one sweep at a time."""

    def __init__(
        self,
        settings: Settings,
        tables: Sequence[Table],
        live_keys: Callable[[int], str],
        partition: int,
        log: Log,
    ) -> None:
        """Args: live_keys: the name of the set of keys written since a refresh."""
        self._tables, self._live_keys, self._log = tables, live_keys, log
        self._partition, self._partitions = partition, settings.partitions
        self._templates_key = templates_key(settings.pipeline, partition, settings.partitions)
        self._older: Older = {}
        self._sweep: Sweep | None = None

    @property
    def is_busy(self) -> bool:
        """Whether keys are still to be removed."""
        return self._sweep is not None

    async def remember(self, writer: Writer) -> None:
        """Store the templates of now, and learn which older ones tables' keys were made by."""
        self._older = await remember(writer, self._templates_key, self._tables)

    async def learn(self, writer: Writer, refresh: Refresh) -> None:
        """Store the templates of tables that have another key from a refresh on.

        Raises:
            CdcError: Redis does not answer.
        """
        # A sink whose Redis was emptied applies a stream of before the last change again.
        changed = [
            with_key(table, keys[table.qualified])
            for keys in (refresh.keys_before, refresh.keys)
            if keys is not UNSET
            for table in self._tables
            if keys.get(table.qualified, table.identity) != table.identity
        ]
        if changed:
            await remember(writer, self._templates_key, changed)
            await self.remember(writer)

    def stop(self) -> None:
        """Leave the sweep; the next connection begins it again."""
        self._sweep = None

    def begin(self, batch: Batch) -> None:
        """Begin a sweep where the batch, or one before it, ended a refresh."""
        if self._sweep is not None or not batch.read_again:
            return
        name, number = next(iter(batch.read_again.items()))
        table = self._table(name)
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
            live_keys=self._live_keys(number),
            partition=self._partition,
            partitions=self._partitions,
            older=self._older.get(name, ()),
        )

    async def step(self, writer: Writer, applied: Applied) -> Applied:
        """Remove some keys, at the end of a refresh; return the position.

        Raises:
            FencedError: another sink wrote; nothing was removed.
            CdcError: as `Writer.apply`.
        """
        sweep = self._sweep
        if sweep is None or applied.open_refreshes.get(sweep.table) != sweep.number:
            # A later refresh of the table came: its announcement removed the set.
            self._sweep = None
            return applied
        await sweep.step(writer, encode(applied))
        if not sweep.is_done:
            return applied
        applied, number = refreshed(applied, sweep.table)
        still_used = number in applied.open_refreshes.values()
        ended = () if still_used else (("UNLINK", self._live_keys(number)),)
        await writer.apply(ended, encode(applied))
        if self._older.pop(sweep.table, None):
            await forget(writer, self._templates_key, self._table(sweep.table))
        self._sweep = None
        self._log.info("refreshed", table=sweep.table, keys_removed=sweep.removed)
        return applied

    def _table(self, name: str) -> Table:
        return next(table for table in self._tables if table.qualified == name)
