"""Tables that patterns match and that were created while `cdc run` runs.

The parent looks at MySQL's catalog from time to time.  Where a new table can be captured, and a
start would be accepted now, all roles drain and start again with it, as a person would restart
them: the others resume, and the new one is read by a snapshot (docs/snapshot.md).

A sink that runs alone joins at the first look, a process with the reader only after several:
sinks elsewhere know the table before its rows come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cdc.check import servers
from cdc.check.finding import Report
from cdc.errors import CdcError, UnavailableError
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, names_text

LOOKS_OF_READER = 4
"""A sink alone needs one look, and less than two of these intervals to drain and start again."""
RETRY_S = 2.0


class NewTables:
    """Looks for new tables, and remembers whether there are some."""

    def __init__(self, settings: Settings, role: str, log: Log, *, is_restart: bool) -> None:
        """Take what `cdc run` was started with.

        Args:
            role: ``both``, ``reader`` or ``sink``.
            is_restart: the roles ran before and drained for a new table: a server that does not
                answer now is waited for.
        """
        self._settings, self._role, self._log = settings, role, log
        self._is_restart = is_restart
        self._loop: asyncio.AbstractEventLoop | None = None
        self._known: frozenset[str] | None = None
        self._looks = 1 if role == "sink" else LOOKS_OF_READER
        self.found = False
        """The roles have drained, and are to start again."""

    async def captured(
        self, check: Callable[[], Awaitable[tuple[Table, ...]]]
    ) -> tuple[Table, ...]:
        """Return the tables that a start captures, and begin to look for others.

        Raises:
            CdcError: of the check.
        """
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                tables = await check()
            except UnavailableError as error:
                if not self._is_restart:
                    raise
                self._log.warning("waiting for a server", why=error.seen)
                await asyncio.sleep(RETRY_S)
            else:
                self._known = frozenset(table.qualified for table in tables)
                return tables

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs beside the roles: it ends once there is a new table to capture."""
        is_wanted = self._settings.new_tables_every_s and servers.has_patterns(self._settings)
        return [self._watch()] if is_wanted else []

    def release(self) -> None:
        """Give the signals back that the roles' loop handled, before they start again."""
        if self._loop is not None:
            self._loop.close()

    async def _watch(self) -> None:
        sightings: dict[str, int] = {}
        unfit: set[str] = set()
        is_first = True
        while True:
            await asyncio.sleep(self._settings.new_tables_every_s)
            try:
                matched = await asyncio.to_thread(servers.matched_names, self._settings)
            except CdcError:
                continue  # the roles log it, and wait for the server
            assert self._known is not None
            sightings = {n: sightings.get(n, 0) + 1 for n in matched - self._known - unfit}
            due = {name for name, times in sightings.items() if times >= self._looks}
            if not due:
                continue
            report = await servers.ask(self._settings, self._role)
            if any(finding.kind.retryable for finding in report.errors):
                continue
            if joining := due & {t.qualified for t in report.tables} if not report.errors else ():
                self._log.info("new tables: restarting", tables=names_text(sorted(joining)))
                self.found = True
                return
            if not is_first:  # the start has logged what it left out
                self._tell(due, report)
            unfit |= due
            is_first = False

    def _tell(self, names: set[str], report: Report) -> None:
        for one in report.left_out:
            if one.table in names:
                self._log.warning("table not captured", table=one.table, why=one.why)
        for finding in report.errors:
            self._log.warning(
                "new tables are not captured", tables=names_text(sorted(names)), why=finding.seen
            )
