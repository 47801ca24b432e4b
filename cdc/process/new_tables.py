"""Tables that patterns match and that were created while `cdc run` runs.

The parent looks at MySQL's catalog from time to time.  Where a new table can be captured, and a
start would be accepted now, a next generation of the roles takes over with it
(`cdc.process.generations`): the others resume, and the new one is read by a snapshot
(docs/snapshot.md).

A sink that runs alone joins at the first look, a process with the reader only after several:
sinks elsewhere know the table before its rows come.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cdc.check import servers
from cdc.check.finding import Report
from cdc.errors import CdcError
from cdc.process.generations import Generations
from cdc.settings import Settings
from cdc.telemetry import Log, names_text

LOOKS_OF_READER = 4
"""A sink alone needs one look, and less than two of these intervals to drain and start again."""
UNWANTED_S = 5.0
"""How often the settings are looked at where they ask for no look."""


class NewTables:
    """Looks for new tables, and has a next generation take over where there are some."""

    def __init__(self, role: str) -> None:
        """Take which role runs: ``both``, ``reader`` or ``sink``."""
        self._role = role
        self._looks = 1 if role == "sink" else LOOKS_OF_READER

    async def watch(self, run: Generations) -> None:
        """Look for new tables until cancelled."""
        while True:
            settings = run.settings
            if is_wanted(settings):
                await self._watch(run, settings)
            else:
                await asyncio.sleep(UNWANTED_S)

    async def _watch(self, run: Generations, settings: Settings) -> None:
        """Look until other settings are used."""
        sightings: dict[str, int] = {}
        unfit: set[str] = set()
        is_first = True
        while True:
            await asyncio.sleep(settings.new_tables_every_s)
            if run.settings is not settings:
                return
            try:
                matched = await asyncio.to_thread(servers.matched_names, settings)
            except CdcError:
                continue  # the roles log it, and wait for the server
            new = matched - run.tables - unfit
            sightings = {name: sightings.get(name, 0) + 1 for name in new}
            due = {name for name, times in sightings.items() if times >= self._looks}
            if not due:
                continue
            report = await servers.ask(run.beside(settings), self._role)
            if any(finding.kind.retryable for finding in report.errors):
                continue
            if joining := due & {t.qualified for t in report.tables} if not report.errors else ():
                names = names_text(sorted(joining))
                with suppress(CdcError):  # a server went away right now: the next look tries again
                    await run.replace(None, "new tables: restarting", tables=names)
                    return
                continue
            if not is_first:  # the start has logged what it left out
                _tell(run.log, due, report)
            unfit |= due
            is_first = False


def is_wanted(settings: Settings) -> bool:
    """Return whether new tables are to be looked for."""
    return bool(settings.new_tables_every_s) and servers.has_patterns(settings)


def _tell(log: Log, names: set[str], report: Report) -> None:
    for one in report.left_out:
        if one.table in names:
            log.warning("table not captured", table=one.table, why=one.why)
    for finding in report.errors:
        log.warning(
            "new tables are not captured", tables=names_text(sorted(names)), why=finding.seen
        )
