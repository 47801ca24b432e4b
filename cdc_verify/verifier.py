"""The loop of a verify: all rows of a table against Redis, then all keys against MySQL.

`Verifier.run` is the loop.  Nothing waits for it: applications write, the sink
applies; what differs is a candidate, and `cdc_verify.settle` decides which of them are wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cdc.errors import UsageError
from cdc.own_keys import verify_key
from cdc.table import WHOLE_TABLE_MAX_ROWS, Table, too_many_rows
from cdc_verify.checkpoint import (
    PROGRESS_KEPT_S,
    Checkpoint,
    checkpoint_of,
    end_fields,
    progress_key,
)
from cdc_verify.compare import Tally
from cdc_verify.expected import PrintedRow
from cdc_verify.orphans import SEEN_MAX, Orphans
from cdc_verify.parted import expected_of
from cdc_verify.parts import has_parts
from cdc_verify.select import KeyText, Selects
from cdc_verify.servers import Servers
from cdc_verify.settle import Settled, Settling

CHUNK_FIRST_ROWS = 500
CHUNK_TARGET_BYTES = 2_000_000
CHUNK_MAX_BYTES = 16_000_000
"""A chunk ends with the row that reaches it: of large rows, few wait in memory."""
SETTLE_EVERY_S = 3.0
CANDIDATES_MAX = 20_000
"""With this many waiting, no more rows are read before they are settled."""
SAVE_EVERY_S = 1.0


class Shown(Protocol):
    """Where progress is shown: a `cdc.status.progress.Progress`."""

    def show(self, done: int) -> None:
        """Show how many rows or keys have been compared in total."""

    def end(self, done: int | None = None) -> None:
        """Mark the end."""


class NewShown(Protocol):
    """Makes one for each part of the work."""

    def __call__(self, what: str, *, total: int | None, done: int, unit: str) -> Shown:
        """Return one for `total` rows or keys, of which `done` were looked at before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of a verify."""

    sample: float = 100.0
    """Percent of the chunks, and of the keys when orphans are looked for."""
    seed: int = 0
    chunk_max_rows: int = 5000
    rows_per_s: int = 0
    """At most this many; 0: no limit."""
    with_values: bool = False
    restart: bool = False
    """Do not go on where an interrupted one stopped."""
    wait_s: float = 60.0
    """How long reader and sink may make no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a verify of one table ended."""

    table: Table
    checkpoint: Checkpoint
    seconds: float
    sample: float
    resumed: bool
    orphans_checked: bool

    @property
    def differences(self) -> int:
        """How many keys are not as they should be."""
        return self.checkpoint.tally.differences


class Verifier:
    """Verifies one table once."""

    def __init__(
        self, servers: Servers, table: Table, others: Sequence[Table], wish: Wish, shown: NewShown
    ) -> None:
        """Args: others: the other tables of the pipeline, whose keys are not this one's."""
        self._servers, self._table, self._wish, self._new_shown = servers, table, wish, shown
        self._expected = expected_of(table)
        self._selects = Selects(table, self._expected)
        self._mysql, self._redis = servers.mysql("walk"), servers.redis_for("walk")
        self._others = others
        self._settling = self.new_settling()
        self._candidates: dict[bytes, None] = {}
        self._task: asyncio.Task[Settled] | None = None
        self._settled_s = self._saved_s = 0.0
        self._rows, self._chunk, self._after = 0, 0, KeyText()
        self._mark = (0, KeyText(), 0)
        """Rows, key and chunk up to which everything is settled once `_task` is."""
        self._done = 0
        self._seen: set[int] = set()
        self._at = Checkpoint(of="", seed=wish.seed, began_us=0)
        self._begun_s = time.monotonic()

    def new_settling(self) -> Settling:
        """Return what settles candidates of this table, on other connections than the walk's."""
        servers = self._servers
        return Settling(
            self._table,
            self._expected,
            self._selects,
            mysql=servers.mysql("settle"),
            redis=servers.redis_for("settle"),
            stream=servers.window,
            positions=servers.positions,
            server=servers.server,
            wait_s=self._wish.wait_s,
        )

    async def run(self) -> Outcome:
        """Compare everything; return how it ended, which is in Redis by then too.

        Raises:
            UnavailableError: a server does not answer, or the sink makes no progress: what was
                settled is kept, and the next verify resumes there.
            CdcError: a server refuses.
        """
        resumed = await self._begin()
        try:
            await self._walk()
            await self._settle_all()
            self._at.walked = True
            orphans = self._new_orphans()
            if orphans.possible:
                await self._look_for(orphans)
            await self._settle_all()
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        self._at.tally.rows = self._rows
        seconds = self._seconds()
        await self._end(seconds)
        return Outcome(
            table=self._table,
            checkpoint=self._at,
            seconds=seconds,
            sample=self._wish.sample,
            resumed=resumed,
            orphans_checked=orphans.possible,
        )

    async def look_again(self, before: Checkpoint) -> Checkpoint:
        """Return what is wrong still of what was, after a repair; this is then how it ended.

        Where not every key was remembered, all of the table is looked at.

        Raises:
            CdcError: as `run`.
        """
        if not before.keeps_all:
            wish = dataclasses.replace(self._wish, sample=100.0, restart=True)
            whole = Verifier(self._servers, self._table, self._others, wish, self._new_shown)
            return (await whole.run()).checkpoint
        settled = await self._settling.settle([one.key for one in before.kept])
        after = dataclasses.replace(before, tally=Tally(rows=before.tally.rows), kept=[])
        after.take(settled.wrong, with_values=self._wish.with_values)
        after.tally.unsettled = len(settled.unsettled)
        self._at = after
        await self._end(self._seconds())
        return after

    async def _walk(self) -> None:
        if self._at.walked:
            return
        total = await asyncio.to_thread(self._mysql.about_rows, self._table)
        shown = self._new_shown(self._table.qualified, total=total, done=self._rows, unit="rows")
        limit = min(CHUNK_FIRST_ROWS, self._wish.chunk_max_rows)
        reading = self._read_on(limit)
        while True:
            # 1. Read rows of MySQL, as it prints them, while those before are compared.
            rows, after, is_last = await reading
            self._refuse_too_many(rows)
            self._chunk, self._after = self._chunk + 1, after or self._after
            limit = self._adapted(limit, rows)
            following = None if is_last else self._read_on(limit)
            # 2. Compare with Redis; what differs is a candidate.
            await self._compare(rows)
            shown.show(self._rows)
            # 3. Settle candidates after the sink, while the walk continues; keep the progress.
            await self._settle_some()
            await self._keep_rate()
            if following is None:
                shown.end(self._rows)
                return
            reading = following

    def _read_on(self, limit: int) -> asyncio.Task[tuple[list[PrintedRow], KeyText, bool]]:
        return asyncio.create_task(asyncio.to_thread(self._read, self._after, self._chunk, limit))

    def _read(
        self, after: KeyText, chunk: int, limit: int
    ) -> tuple[list[PrintedRow], KeyText, bool]:
        """Return the rows of a chunk, its last key, and whether it is the last one."""
        if not self._table.chunk_key:
            statement = self._selects.chunk((), WHOLE_TABLE_MAX_ROWS + 1)
            return self._mysql.rows(statement), (), True
        chance = random.Random(f"{self._at.seed} {chunk}").uniform(0, 100)
        if chance < self._wish.sample:
            wanted = self._selects.chunk(after, limit)
            rows, is_cut = self._mysql.first_rows(wanted, CHUNK_MAX_BYTES)
            is_last = len(rows) < limit and not is_cut
            return rows, self._selects.key_text(rows[-1]) if rows else (), is_last
        keys = self._mysql.rows(self._selects.passed_over(after, limit))
        return [], self._selects.key_text(keys[0]) if keys else (), not keys

    def _refuse_too_many(self, rows: Sequence[PrintedRow]) -> None:
        if not self._table.chunk_key and len(rows) > WHOLE_TABLE_MAX_ROWS:
            raise UsageError(
                too_many_rows(self._table),
                fix="add a primary key",
            )

    def _adapted(self, limit: int, rows: Sequence[PrintedRow]) -> int:
        size_bytes = sum(len(cell) for row in rows[:100] for cell in row if cell)
        size_bytes = size_bytes * len(rows) // max(1, min(100, len(rows)))
        if size_bytes > 2 * CHUNK_TARGET_BYTES:
            return max(1, limit // 2)
        if size_bytes < CHUNK_TARGET_BYTES // 2:
            return min(self._wish.chunk_max_rows, limit * 2)
        return limit

    async def _compare(self, rows: Sequence[PrintedRow]) -> None:
        if has_parts(self._table):
            pairs = [pair for row in rows for pair in self._expected.places(row)]
            keys, wanted = [place for place, _ in pairs], [content for _, content in pairs]
            found = await asyncio.to_thread(self._redis.places, keys, self._table.model)
        else:
            keys = list(map(self._expected.key, rows))
            looking = asyncio.create_task(
                asyncio.to_thread(self._redis.contents, keys, self._table.model)
            )
            wanted = list(map(self._expected.content, rows))
            found = await looking
        if wanted != found:
            for key, want, have in zip(keys, wanted, found, strict=True):
                if want != have and not (have is None and self._table.ttl_s):
                    self._candidates[key] = None
        self._remember(keys)
        self._rows += len(rows)
        self._done += len(rows)

    def _remember(self, keys: Sequence[bytes]) -> None:
        """Keep the keys that were seen; one that comes again may be shared by several rows."""
        hashes = list(map(hash, keys))
        if len(set(hashes)) < len(hashes) or not self._seen.isdisjoint(hashes):
            before: set[int] = set()
            for key, number in zip(keys, hashes, strict=True):
                if number in before or number in self._seen:
                    self._candidates[key] = None
                before.add(number)
        if len(self._seen) < SEEN_MAX:
            self._seen.update(hashes)

    async def _settle_some(self) -> None:
        """Begin to settle what waits, if it is time; take in what has been settled."""
        if self._task is not None and (self._task.done() or len(self._candidates) > CANDIDATES_MAX):
            await self._take()
        now_s = time.monotonic()
        if self._task is None:
            if self._candidates and (
                now_s - self._settled_s > SETTLE_EVERY_S or len(self._candidates) > CANDIDATES_MAX
            ):
                self._begin_to_settle()
            elif not self._candidates:
                self._mark = (self._rows, self._after, self._chunk)
                if now_s - self._saved_s > SAVE_EVERY_S:
                    await self._save()

    def _begin_to_settle(self) -> None:
        self._mark = (self._rows, self._after, self._chunk)
        self._settled_s = time.monotonic()
        candidates, self._candidates = list(self._candidates), {}
        self._task = asyncio.create_task(self._settling.settle(candidates))

    async def _settle_all(self) -> None:
        while self._task is not None or self._candidates:
            if self._task is None:
                self._begin_to_settle()
            await self._take()
        self._mark = (self._rows, self._after, self._chunk)

    async def _take(self) -> None:
        task, self._task = self._task, None
        assert task is not None
        settled = await task
        known = {one.key for one in self._at.kept}
        wrong = [one for one in settled.wrong if one.key not in known]
        self._at.take(wrong, with_values=self._wish.with_values)
        self._at.tally.unsettled += len(settled.unsettled)
        await self._save()

    def _new_orphans(self) -> Orphans:
        return Orphans(
            self._table,
            self._others,
            mysql=self._mysql,
            redis=self._redis,
            sample=self._wish.sample,
            seed=self._at.seed,
            seen=self._seen,
        )

    async def _look_for(self, orphans: Orphans) -> None:
        shown = self._new_shown(self._table.qualified, total=None, done=0, unit="keys")
        cursor, keys = b"0", 0
        while True:
            cursor, looked_at, without_rows = await asyncio.to_thread(orphans.step, cursor)
            self._candidates.update(dict.fromkeys(without_rows))
            self._done += looked_at
            keys += looked_at
            shown.show(keys)
            await self._settle_some()
            await self._keep_rate()
            if cursor == b"0":
                shown.end(keys)
                return

    async def _keep_rate(self) -> None:
        if rate := self._wish.rows_per_s:
            ahead_s = self._done / rate - (time.monotonic() - self._begun_s)
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)

    # -- what is kept in Redis ---------------------------------------------------------

    async def _begin(self) -> bool:
        table, wish = self._table, self._wish
        model = (table.model, table.field, table.fields, table.masks, table.indexes)
        shape = zlib.crc32(repr(model).encode())
        of = f"{table.key.text} {table.value_column} {table.model} {shape} {wish.sample:g}"
        self._at = Checkpoint(of=of, seed=wish.seed, began_us=time.time_ns() // 1000)
        self._progress_key = progress_key(self._servers.settings.pipeline, table.qualified)
        (raw,) = await self._run(("HGETALL", self._progress_key))
        pairs = iter(raw)
        found = None if wish.restart else checkpoint_of(dict(zip(pairs, pairs, strict=True)), of)
        if found is None:
            return False
        self._at = found
        self._rows, self._after, self._chunk = found.tally.rows, found.after, found.chunk
        return True

    def _seconds(self) -> float:
        return self._at.spent_s + time.monotonic() - self._begun_s

    async def _save(self) -> None:
        self._saved_s = time.monotonic()
        spent_s, self._at.spent_s = self._at.spent_s, self._seconds()
        fields = self._at.fields(*self._mark)
        self._at.spent_s = spent_s
        flat = [part for pair in fields.items() for part in pair]
        await self._run(
            ("HSET", self._progress_key, *flat), ("EXPIRE", self._progress_key, PROGRESS_KEPT_S)
        )

    async def _end(self, seconds: float) -> None:
        key = verify_key(self._servers.settings.pipeline, self._table.qualified)
        fields = end_fields(
            self._at.tally,
            now_us=time.time_ns() // 1000,
            seconds=seconds,
            sample=self._wish.sample,
        )
        flat = [part for pair in fields.items() for part in pair]
        await self._run(("HSET", key, *flat), ("UNLINK", self._progress_key))

    async def _run(self, *commands: tuple[Any, ...]) -> list[Any]:
        return await asyncio.to_thread(self._redis.run, *commands)
