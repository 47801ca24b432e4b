"""The captured tables, looked at again when the schema changes.

A reader ends its connections at a statement that changes captured tables, and at a row that one
of them does not allow.  `CurrentTables.settle` then asks the catalog, announces in the stream
what is read again and what is set aside, and the reader resumes right before the statement or the
row.  So no boundary ever passes a change that was not looked at (docs/adr/0028-schema.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from cdc.errors import CdcError
from cdc.message import Aside, TableProgress, keys_text
from cdc.position import Position, file_number
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, names_text
from cdc_reader.binlog.ahead import defines_something
from cdc_reader.binlog.statement import Name
from cdc_reader.catalog.selection import is_matched
from cdc_reader.look import Looked, look, look_again, look_at_definitions, look_at_foreign_keys
from cdc_reader.schema.change import End, ReadAgain, SchemaChanged, Verdict, verdict_of
from cdc_reader.schema.columns import digest_of
from cdc_reader.schema.foreign_keys import (
    WHY_READ,
    Cascades,
    ForeignKeys,
    ForeignKeysChanged,
)
from cdc_reader.schema.names import Names, is_unread
from cdc_reader.schema.reach import Place, Reach, UnknownRows, captured_of, reached
from cdc_reader.snapshot.refresh import announce_changes

LOOK_S, LOOK_LONGEST_S = 15.0, 3600.0
"""How often a table that is set aside is looked at; one that comes back in vain is looked at
after twice as long each time."""
LOOKS_TO_LEAVE = 3
"""A dropped table that is not there again after so many looks is forgotten."""
STATEMENTS_S = 600.0
"""A table that statements change more often than this is set aside in between."""
ROW_FORMAT = "keep every session at binlog_format = ROW: SET PERSIST binlog_format = 'ROW';"
AGAIN_S, AGAIN_ROWS_PER_S = 5.0, 5000
"""A table is not read again as a whole sooner than this after the time before, nor so often that
it would be more rows a second on average."""
IN_PART = "rows are in the binlog in part, without their keys or too many"
OTHER_KEY = "its key template has no unique key any more: rows would share keys in Redis"
OTHER_KEY_FIX = "name the columns that tell rows apart in the key template, then start cdc again"


@dataclass(slots=True)
class CurrentTables:
    """The tables of one reader, over all its connections."""

    settings: Settings
    log: Log
    tables: dict[str, Table]
    """By ``schema.table``, as their rows are carried now."""
    names: frozenset[str] = frozenset()
    """All that the settings name, those too that are set aside."""
    aside: Mapping[str, TableProgress] = field(default_factory=dict)
    """Those that the stream's newest boundary sets aside."""
    lost: dict[str, Aside] = field(default_factory=dict)
    """Tables that could not be captured when the process began, and not since."""
    passed: set[End] = field(default_factory=set)
    """Statements that were looked at: they do not stop the reader again."""
    reach: Reach = field(default_factory=Reach)
    """What is known of statements whose rows are not in the binlog."""
    dropped: set[str] = field(default_factory=set)
    """Tables that patterns alone name and that are gone: read as soon as they are created."""
    cascades: Cascades = field(default_factory=Cascades)
    """What is known of foreign keys."""
    met: SchemaChanged | CdcError | None = None
    """What ended the connections, and is not settled yet."""
    _gone_s: dict[str, float] = field(default_factory=dict)
    """When a table was first not to be seen."""
    _is_current: bool = False
    _tries: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How often a table came back in vain, and when it last did."""
    _read_s: dict[str, float] = field(default_factory=dict)
    """When a table was last read again for a statement."""
    _digests: dict[str, tuple[Table, str]] = field(default_factory=dict)
    _due_s: dict[str, float] = field(default_factory=dict)
    _again_s: dict[str, float] = field(default_factory=dict)
    """When a table may be read again as a whole, at the earliest."""
    _looking: asyncio.Task[Looked] | None = None
    _due: Sequence[str] = ()
    """What is looked for."""

    @classmethod
    def of(cls, settings: Settings, tables: Iterable[Table], log: Log) -> CurrentTables:
        """Begin with the tables as they were found at the start."""
        by_name = {table.qualified: table for table in tables}
        return cls(settings, log, by_name, frozenset(by_name))

    def parted(
        self, known: Mapping[str, TableProgress]
    ) -> tuple[dict[str, TableProgress], tuple[Table, ...]]:
        """Return the tables that are set aside, by name, and the other tables.

        Args:
            known: each table's progress in the stream.
        """
        aside = {
            name: one
            for name, one in known.items()
            if one.aside is not UNSET and name in self.names
        }
        for name, why in self.lost.items():
            progress = known.get(name, TableProgress())
            aside.setdefault(name, msgspec.structs.replace(progress, aside=why))
        self.dropped |= {n for n in self.lost.keys() - known.keys() if is_matched(self.settings, n)}
        aside = {name: one for name, one in aside.items() if name not in self.dropped}
        self.aside = aside
        skipped = aside.keys() | self.dropped
        return aside, tuple(t for name, t in self.tables.items() if name not in skipped)

    async def named(self, known: Mapping[str, TableProgress], *, gtid: bool) -> Names:
        """Return of which tables the columns are known where the reader resumes.

        To be called after the stream's end was read: what the catalog shows then is not of
        before that.

        Args:
            known: each table's progress in the stream.
            gtid: whether the reader follows GTIDs of MySQL.

        Raises:
            CdcError: a server refuses, or does not answer.
        """
        settings = self.settings
        if settings.on_schema_change == "continue":
            return Names()  # statements that pass would take the proof away
        names = [n for n in self.tables if n not in known or known[n].aside is UNSET]
        waiting = [name for name in names if not self._is_as_known(name, known)]
        looked: Looked | None = None
        if waiting:
            look_at = [self.tables[name] for name in waiting]
            looked = await asyncio.to_thread(look_again, settings, look_at, gtid=gtid)
            self.tables |= {n: t for n, t in looked.tables.items() if n in waiting}
            waiting = [n for n in waiting if n in looked.tables and not self._is_as_known(n, known)]
        locked = looked.locked if looked else frozenset()
        until = looked.until if looked else None
        return Names(
            self.tables,
            known=[name for name in names if self._is_as_known(name, known)],
            until={name: until for name in waiting if until and name not in locked},
            unsettled=[name for name in waiting if name in locked],
            unread={n for n in waiting if is_unread(known.get(n), snapshot=settings.snapshot)},
            asks=settings.on_schema_change == "refresh",
            passed=self.passed,
        )

    def _is_as_known(self, name: str, known: Mapping[str, TableProgress]) -> bool:
        return name in known and known[name].columns == self.digest(name)

    def digest(self, name: str) -> str:
        """Return that of a table's columns as they are known: see `digest_of`."""
        table, held = self.tables[name], self._digests.get(name)
        if held is None or held[0] is not table:
            held = self._digests[name] = (table, digest_of(table))
        return held[1]

    def note_columns(self, progress: dict[str, TableProgress], names: Names) -> None:
        """Note in each table's progress whether its columns are known where reading resumes."""
        for table, read in progress.items():
            columns = self.digest(table) if names.of(table) is not None else UNSET
            if read.columns != columns:
                progress[table] = msgspec.structs.replace(read, columns=columns)

    async def settle(self) -> None:
        """Announce what follows from what was met; nothing where nothing was.

        Raises:
            CdcError: a server refuses, or does not answer; ask again.
        """
        met = self.met
        if not self._is_current and self.settings.on_schema_change == "refresh":
            await self._begin()
        if isinstance(met, ReadAgain):
            await self._read_again(met)
        elif isinstance(met, ForeignKeysChanged):
            known, until = await self._foreign_keys(met.names)
            self.cascades.looked(met, known, until, self.names)
        elif isinstance(met, UnknownRows):
            await self._look_at_rows(met)
        elif isinstance(met, SchemaChanged):
            if met.tables:
                await self._look_at(met)
        elif met is not None:
            await self._set_aside(met)
        self.met = None

    async def follow(self, server: str) -> None:
        """Look up the foreign keys on a server, if they are not known there.

        Raises:
            CdcError: a server refuses, or does not answer.
        """
        cascades = self.cascades
        cascades.begin(server)
        if cascades.known is None and self.settings.cascades == "follow":
            cascades.known, cascades.until = await self._foreign_keys()
            if parents := cascades.parents(self.names):
                reached = set().union(*(parent.reached for parent in parents.values()))
                self.log.info("cascades are followed", tables=names_text(sorted(reached)))

    async def _foreign_keys(self, named: Collection[Name] = ()) -> tuple[ForeignKeys, Place]:
        tables = list(self.tables.values())
        return await asyncio.to_thread(look_at_foreign_keys, self.settings, tables, named)

    async def _begin(self) -> None:
        """Look at all tables: the schema may have changed since the process was told of them."""
        looked = await asyncio.to_thread(look, self.settings)
        self.tables |= {name: t for name, t in looked.tables.items() if name in self.names}
        for name in sorted(self.names - looked.tables.keys()):
            self.lost[name] = self._aside(*looked.why_not(name), "", removes=False)
            self._warn(name, self.lost[name])
        self._is_current = True

    async def _read_again(self, met: ReadAgain) -> None:
        """Announce tables of whose rows not enough is in the binlog."""
        if met.first:
            self.log.info(
                "rows are in the binlog in part: they are read by their keys",
                table=met.first,
                position=met.where,
            )
        tables = [self.tables[name] for name in met.tables if name not in self.aside]
        if tables:
            await announce_changes(self.settings, tables, {}, self.log)
        for table in tables:
            is_cascade = table.qualified in self.cascades.met
            self.log.info(
                "table is read again",
                table=table.qualified,
                why=WHY_READ if is_cascade else IN_PART,
                position=met.where,
            )
            self.cascades.met.discard(table.qualified)

    async def _look_at(self, change: SchemaChanged) -> None:
        changed = [self.tables[name] for name in change.tables if name in self.tables]
        looked = await asyncio.to_thread(look, self.settings, changed)
        read: list[str] = []
        aside: dict[str, Aside] = {}
        for name in change.tables:
            before, after = self.tables.get(name), looked.tables.get(name)
            harmless = name in change.harmless and name not in self.aside
            verdict = verdict_of(before, after, harmless=harmless)
            if verdict is Verdict.ASIDE:
                why = looked.why_not(name) if after is None else (OTHER_KEY, OTHER_KEY_FIX)
                is_gone = change.may_remove and name not in looked.visible
                aside[name] = self._aside(*why, change.where, removes=is_gone or None)
            elif verdict is Verdict.READ:
                read.append(name)
        if read or aside:
            tables = [looked.tables[name] for name in read]
            await announce_changes(self.settings, tables, aside, self.log)
        for name in change.tables:
            if name not in aside:
                self.tables[name] = looked.tables[name]
                self._due_s.pop(name, None)
                self.lost.pop(name, None)
                self.dropped.discard(name)
        if change.end is not None:
            self.passed.add(change.end)
        self._report(change, read, aside)

    async def _look_at_rows(self, change: UnknownRows) -> None:
        """Read tables again that a statement may have changed; set those aside that it did often.

        What is read after this place has everything up to it: later statements there pass.
        """
        known, end = await asyncio.to_thread(look_at_definitions, self.settings)
        tables = set(change.tables)
        if change.statements:
            since = Position(file=change.place[0], offset=change.place[1], gtid_set=None)
            if known is not None and await defines_something(self.settings.mysql, since, end):
                known = None  # of a later moment
            self.reach.known = known
            names = None if known is None else reached(change.statements, known)
            tables = set(captured_of(names, self.tables))
        tables -= self.aside.keys()
        now_s = time.monotonic()
        often = {n for n in tables if self._read_s.get(n, -STATEMENTS_S) > now_s - STATEMENTS_S}
        read = sorted(tables - often)
        why = f"{change.kind} is in the binlog without the rows that it changed"
        aside = {n: self._aside(why, ROW_FORMAT, change.where) for n in sorted(often)}
        if tables:
            await announce_changes(self.settings, [self.tables[n] for n in read], aside, self.log)
        else:
            self.log.info(
                "statement passed: it changes no captured table",
                statement=change.kind,
                position=change.where,
            )
        self._read_s |= dict.fromkeys(tables, now_s)
        self.reach.read_after(read, (file_number(end[0]), end[1]))
        for name in read:
            self.log.warning(
                "table is read again", table=name, why=why, position=change.where, fix=ROW_FORMAT
            )
        for name, one in aside.items():
            self._wait_longer(name)
            self._warn(name, one)

    async def _set_aside(self, error: CdcError) -> None:
        """Set the table aside that an error is about."""
        name = error.table
        aside = {name: self._aside(error.seen, error.fix, error.position)}
        await announce_changes(self.settings, (), aside, self.log)
        self._wait_longer(name)
        self._warn(name, aside[name])

    def _wait_longer(self, name: str) -> None:
        """Look at a table later than the last time, unless that was long ago."""
        now_s = time.monotonic()
        tries, last_s = self._tries.get(name, (0, now_s))
        tries = 1 if now_s - last_s > 2 * LOOK_LONGEST_S else tries + 1
        self._tries[name] = tries, now_s
        self._due_s[name] = now_s + min(LOOK_S * 2 ** (tries - 1), LOOK_LONGEST_S)

    def _aside(self, reason: str, fix: str, position: str, *, removes: bool | None = None) -> Aside:
        """Return why a table is set aside; `removes` is as the settings have it where not given."""
        if removes is None:
            removes = self.settings.on_set_aside == "remove"
        return Aside(
            reason=reason,
            fix=fix,
            position=position,
            since=time.time_ns() // 1000,
            removed=removes,
        )

    def reading_again(self, due: Mapping[str, int], position: str) -> ReadAgain | None:
        """Return which tables are to be read again as a whole now; None: none.

        Args:
            due: those that are to be read, some time, and how many rows each had the last time.
            position: ``binlog.000012:4711``
        """
        now_s = time.monotonic()
        now = {n: rows for n, rows in due.items() if self._again_s.get(n, now_s) <= now_s}
        for name, rows in now.items():
            self._again_s[name] = now_s + max(AGAIN_S, rows / AGAIN_ROWS_PER_S)
        return ReadAgain(now, position) if now else None

    def returning(self, aside: Collection[str], position: str) -> SchemaChanged | None:
        """Return which tables may come back; asks the catalog in the background, now and then.

        Args:
            aside: those that are set aside.
            position: ``binlog.000012:4711``
        """
        if self._looking is not None and self._looking.done():
            task, self._looking = self._looking, None
            if not task.cancelled() and task.exception() is None:
                looked = task.result()
                back = [name for name in aside if self._may_return(name, looked)]
                if left := {name for name in aside if self._has_left(name, looked)}:
                    self.dropped |= left
                    self.log.info("dropped tables leave", tables=names_text(sorted(left)))
                return SchemaChanged(back, position) if back or left else None
        now_s = time.monotonic()
        due = [name for name in aside if self._due_s.setdefault(name, now_s) <= now_s]
        if due and self._looking is None:
            self._due_s |= dict.fromkeys(due, now_s + self._look_s)
            self._due = due
            self._looking = asyncio.create_task(asyncio.to_thread(look, self.settings))
        return None

    @property
    def _look_s(self) -> float:
        return min(LOOK_S, self.settings.new_tables_every_s or LOOK_S)

    def _has_left(self, name: str, looked: Looked) -> bool:
        """Return whether a table is gone for good, as far as can be told: a pattern may leave it.

        Its keys are removed since it was set aside; nothing of it is left but the name.
        """
        aside = self.aside[name].aside
        if name in looked.visible or not aside or not aside.removed:
            self._gone_s.pop(name, None)
            return False
        if not self.settings.new_tables_every_s or not is_matched(self.settings, name):
            return False
        now_s = time.monotonic()
        since_s = self._gone_s.setdefault(name, now_s)
        return now_s - since_s > LOOKS_TO_LEAVE * self._look_s

    def _may_return(self, name: str, looked: Looked) -> bool:
        before, after = self.tables.get(name), looked.tables.get(name)
        is_due = name in self._due
        return is_due and verdict_of(before, after, harmless=False) is Verdict.READ

    def _report(
        self, change: SchemaChanged, read: Sequence[str], aside: Mapping[str, Aside]
    ) -> None:
        what = change.kind or "it can be captured again"
        for name in change.tables:
            if name in aside:
                self._warn(name, aside[name])
            elif name in read:
                self.log.info("table is read again", table=name, why=what, position=change.where)
            else:
                self.log.info(
                    "schema change passed: same columns and key", table=name, statement=what
                )

    def _warn(self, name: str, aside: Aside) -> None:
        self.log.warning(
            "table set aside: its changes are skipped until it can be captured again",
            table=name,
            why=aside.reason,
            keys=keys_text(is_removed=aside.removed),
            fix=aside.fix or None,
        )


def is_due(since_s: float) -> bool:
    """Return whether tables are looked at again that were looked at at `time.monotonic`."""
    return time.monotonic() - since_s > LOOK_S
