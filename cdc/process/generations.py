"""One `cdc run` over all its settings: each generation of the roles takes over from the last.

Where the settings change or a table joins, every check of a start is made and the processes of the
next generation load their code while the last one runs.  Only then the last one drains and the
next is told its jobs: a change is a pause of one drain and one attach, and what a start would
refuse changes nothing (docs/adr/0036-handing-over.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cdc.errors import SettingsError
from cdc.process import supervisor
from cdc.process.role import InProcess, Job, stop_on_signals
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log
from cdc.url import Url

Known = tuple[Settings, Log]
NAMES_PIPELINE = ("pipeline", "stream", "subject_prefix")
"""Settings that make it another pipeline, which begins at its own start."""
Check = Callable[[Settings, Log], Awaitable[tuple[Table, ...]]]


class Roles(Protocol):
    """All roles of a generation, as processes or in this one."""

    def start(self) -> None:
        """Begin to load their code."""

    async def loaded(self) -> None:
        """Return when all have loaded it."""

    async def run(self, tables: tuple[Table, ...], over: asyncio.Event) -> int:
        """Do the jobs until `over`; return the exit code after the drain."""

    async def close(self) -> None:
        """End what still runs."""

    def kill(self) -> None:
        """End all processes now."""


@dataclass(slots=True)
class _Generation:
    settings: Settings
    log: Log
    roles: Roles
    tables: tuple[Table, ...] = ()
    over: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Task[int] | None = None


class Generations:
    """Runs the roles, and has a next generation take over when it is asked for one."""

    def __init__(
        self,
        known: Known,
        jobs: Callable[[Settings], Sequence[Job]],
        check: Check,
        nats: Url | None = None,
    ) -> None:
        """Take what `cdc run` was started with.

        Args:
            nats: as it is in the settings file, where an embedded server was started for it.
            jobs: what is to run with these settings.
            check: what a start checks: it returns the captured tables, or raises a `CdcError`.
        """
        self._jobs, self._check = jobs, check
        self._given_nats = nats or known[0].nats
        self._asked = asyncio.Event()
        self._replacing = asyncio.Lock()
        self._now = self._made(*known)
        self._next: _Generation | None = None

    @property
    def settings(self) -> Settings:
        """Those of the roles that run."""
        return self._now.settings

    @property
    def log(self) -> Log:
        """The log that goes with them."""
        return self._now.log

    @property
    def tables(self) -> frozenset[str]:
        """Names of the tables that they capture: ``{"shop.users"}``."""
        return frozenset(table.qualified for table in self._now.tables)

    async def until_ended(self, companions: Iterable[Coroutine[Any, Any, None]] = ()) -> int:
        """Run until SIGTERM, SIGINT or an error; return the exit code.

        Args:
            companions: what runs beside the roles for as long; the first that ends has them drain.

        0 after a drain, 130 at a second signal, 143 when the drain took too long.

        Raises:
            CdcError: of the check, or of the role that could not continue; the others are drained.
        """
        asked = asyncio.ensure_future(self._asked.wait())
        beside: list[asyncio.Future[Any]] = [asked]
        try:
            first = self._now
            first.roles.start()
            first.tables = await self._check(first.settings, first.log)
            stop_on_signals(self._asked, first.log, self._kill)
            self._begin(first)
            beside += [asyncio.ensure_future(work) for work in companions]
            return await self._ended(beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            for generation in self._alive():
                await generation.roles.close()

    async def _ended(self, beside: Sequence[asyncio.Future[Any]]) -> int:
        while True:
            now = self._now
            await now.began.wait()
            assert now.ending is not None
            await asyncio.wait([now.ending, *beside], return_when=asyncio.FIRST_COMPLETED)
            if now is not self._now:
                continue  # it made way
            now.over.set()
            code = await now.ending
            for task in beside:
                if task.done():
                    task.result()
            return code

    def is_known(self, settings: Settings) -> bool:
        """Return whether these are the settings of the roles that run.

        Raises:
            SettingsError: they ask for what a running `cdc run` cannot change.
        """
        return self._with_same_nats(settings) == self.settings

    async def replace(self, known: Known | None, event: str, **fields: Any) -> None:
        """Have a next generation take over.

        Args:
            known: its settings and log; None: as they are.
            event: the log line, once it is sure that it takes over.

        Raises:
            CdcError: a start would refuse it, or a server does not answer; nothing changed.
        """
        async with self._replacing:
            before = self._now
            settings, log = known or (before.settings, before.log)
            settings = self._with_same_nats(settings)
            self._refuse_another(settings)
            after = self._next = self._made(settings, log)
            after.roles.start()
            try:
                after.tables = await self._check(self.beside(settings), log)
                await after.roles.loaded()
                log.info(event, **fields)
                self._now, self._next = after, None
                before.over.set()
                assert before.ending is not None
                # What ended one of them is met by the next as well.
                await asyncio.gather(before.ending, return_exceptions=True)
                self._begin(after)
            finally:
                if self._next is after:
                    self._next = None
                    await after.roles.close()

    def beside(self, settings: Settings) -> Settings:
        """Return settings to check beside the roles that run.

        A server id that was chosen is in use then, by our own reader.
        """
        is_ours = settings.server_id == self.settings.server_id
        return replace(settings, server_id=0) if is_ours else settings

    def _refuse_another(self, settings: Settings) -> None:
        for name in NAMES_PIPELINE:
            if getattr(settings, name) != getattr(self.settings, name):
                raise SettingsError(
                    f"{name} names another pipeline, which a running cdc run cannot become",
                    safe="nothing was changed",
                    fix="stop cdc run, and start it again; or start another one beside it",
                )

    def _with_same_nats(self, settings: Settings) -> Settings:
        """Return the settings with the address of an embedded server, which runs on."""
        if settings.nats in (self._given_nats, self.settings.nats):
            return replace(settings, nats=self.settings.nats)
        if "embedded" in (settings.nats.scheme, self._given_nats.scheme):
            raise SettingsError(
                "the embedded NATS cannot be exchanged while it runs",
                safe="nothing was changed",
                fix="stop cdc run, and start it again",
            )
        return settings

    def _made(self, settings: Settings, log: Log) -> _Generation:
        jobs = self._jobs(settings)
        roles = supervisor.Supervised(jobs, log) if len(jobs) > 1 else InProcess(jobs[0], log)
        return _Generation(settings, log, roles)

    def _begin(self, generation: _Generation) -> None:
        running = generation.roles.run(generation.tables, generation.over)
        generation.ending = asyncio.ensure_future(running)
        generation.began.set()

    def _kill(self) -> None:
        for generation in self._alive():
            generation.roles.kill()

    def _alive(self) -> list[_Generation]:
        return [one for one in (self._now, self._next) if one is not None]
