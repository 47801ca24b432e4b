"""``cdc run``'s parent: both roles as processes, restarted when one dies.

A role that exits with an error that waiting does not heal ends the whole run with that error.
A role that dies in another way (a signal, a bug) is restarted after a pause that doubles, with
jitter; it reads from the stream and from Redis where to resume.  With
``on_gap = "refresh"`` a role that meets a gap is started again too, after a refresh.

The processes start while the servers are still being asked, and load their code meanwhile;
none is told its job before every check has passed.
"""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import Any

from cdc.errors import CdcError, InternalError, PositionLostError
from cdc.process.role import (
    DRAIN_S,
    ENTRY_POINTS,
    REFRESH,
    VERIFY,
    Job,
    from_json,
    remember,
)
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log

PAUSE_FIRST_S, PAUSE_LONGEST_S = 0.2, 30.0
STEADY_S = 60.0
"""A process that lived this long begins with the shortest pause again."""
REFRESHES_IN_A_ROW = 3
"""After this many that do not last `STEADY_S`, the next gap ends the run."""
NOT_DRAINED = 128 + signal.SIGTERM


def jobs(settings: Settings, entry_points: dict[str, str] | None = None) -> tuple[Job, ...]:
    """Return the jobs of both roles: one reader, as many sinks as the settings say; and verify's.

    Their tables are not known yet.
    """
    out = []
    for role, entry_point in (entry_points or ENTRY_POINTS).items():
        for number in range(settings.sinks if role == "sink" else 1):
            name = f"{role}-{number}" if role == "sink" and settings.sinks > 1 else role
            out.append(Job(role=role, name=name, settings=settings, entry_point=entry_point))
    if settings.verify_every_s:
        out.append(Job(role="verify", name="verify", settings=settings, entry_point=VERIFY))
    return tuple(out)


class Supervised:
    """The jobs of one generation, each in a process of its own."""

    def __init__(self, todo: Sequence[Job], log: Log) -> None:
        self._stop = asyncio.Event()
        healing = _Healing(log)
        self._keepers = [_Keeper(job, self._stop, log, healing) for job in todo]
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the processes: they load their code, and wait for their jobs."""
        self._running = [asyncio.create_task(keeper.keep()) for keeper in self._keepers]

    async def loaded(self) -> None:
        """Return when every process has loaded its code."""
        for keeper in self._keepers:
            await keeper.loaded.wait()

    async def run(self, tables: tuple[Table, ...], over: asyncio.Event) -> int:
        """Run the jobs until `over` or an error; return the exit code.

        0 after a drain, 143 when the drain took longer than `DRAIN_S`.

        Raises:
            CdcError: of the role that could not continue; the others are drained first.
        """
        for keeper in self._keepers:
            keeper.begin(tables)
        told = asyncio.create_task(over.wait())
        try:
            await asyncio.wait([told, *self._running], return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            for keeper in self._keepers:
                keeper.terminate()
            drained = await _drained(self._running, self._keepers)
        finally:
            self.kill()
            told.cancel()
        for task in self._running:
            if not task.cancelled():
                task.result()
        return 0 if drained else NOT_DRAINED

    async def close(self) -> None:
        """Kill the processes, and wait for their end."""
        self._stop.set()
        self.kill()
        await asyncio.gather(*self._running, return_exceptions=True)

    def kill(self) -> None:
        """End all processes now."""
        for keeper in self._keepers:
            keeper.kill()


async def _drained(running: Sequence[asyncio.Task[None]], keepers: Sequence[_Keeper]) -> bool:
    _, late = await asyncio.wait(running, timeout=DRAIN_S)
    for task, keeper in zip(running, keepers, strict=True):
        if task in late:
            keeper.log.warning(
                "role did not stop in time, killed; no data is lost",
                which=keeper.job.name,
                after_s=DRAIN_S,
            )
        keeper.kill()
    await asyncio.wait(running)
    return not late and not any(keeper.was_late for keeper in keepers)


@dataclass(slots=True)
class _Healing:
    """Announces a refresh where a role cannot resume, if the settings allow it."""

    log: Log
    announced_s: float = -math.inf
    in_a_row: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def heals(
        self, error: CdcError | None, keeper: _Keeper, began_s: float, stopping: asyncio.Task[Any]
    ) -> bool:
        """Return whether the role may be started again.

        Args:
            began_s: when the role's process began; a refresh since then is one for it too.

        Raises:
            CdcError: the refresh is refused.
        """
        if keeper.job.settings.on_gap != "refresh" or not isinstance(error, PositionLostError):
            return False
        async with self.lock:
            if not error.heals_by_refresh or self.in_a_row >= REFRESHES_IN_A_ROW:
                return False
            if self.announced_s > began_s or stopping.done():
                return True
            self.log.warning(
                "gap found: reading all tables again", which=keeper.job.name, why=error.seen
            )
            since_s = time.monotonic() - self.announced_s
            self.in_a_row = self.in_a_row + 1 if since_s < STEADY_S else 1
            refresh = replace(keeper.job, role="refresh", name="refresh", entry_point=REFRESH)
            exit_code, refusal = await keeper.once(refresh)
            if refusal is not None and not refusal.heals_by_waiting:
                raise refusal
            if exit_code == 0:
                self.announced_s = time.monotonic()
            return True


@dataclass(slots=True)
class _Keeper:
    """Keeps one role's process alive."""

    job: Job
    stop: asyncio.Event
    log: Log
    healing: _Healing
    was_late: bool = False
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    """A process has loaded its code, or has ended."""
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _allowed: bool = field(default=False, init=False)

    def begin(self, tables: tuple[Table, ...]) -> None:
        """Let the process do its job, on these tables."""
        self.job, self._allowed = replace(self.job, tables=tables), True
        if self._process is not None:
            self._hand_over(self._process, self.job)

    async def keep(self) -> None:
        """Run the role's process, restarting it, until `stop`.

        Raises:
            CdcError: the role ended with an error that waiting does not heal.
        """
        pause_s = PAUSE_FIRST_S
        stopping = asyncio.create_task(self.stop.wait())
        try:
            while not self.stop.is_set():
                began_s = time.monotonic()
                exit_code, error = await self.once(self.job)
                if error is not None:
                    await remember(self.job, error)
                if self.stop.is_set():
                    self.was_late = exit_code == NOT_DRAINED
                    self._raise_lasting(error)
                    return
                if not await self.healing.heals(error, self, began_s, stopping):
                    self._raise_lasting(error)
                pause_s = PAUSE_FIRST_S if time.monotonic() - began_s > STEADY_S else pause_s
                self._say(exit_code, error, pause_s)
                with suppress(TimeoutError):
                    shielded = asyncio.shield(stopping)
                    await asyncio.wait_for(shielded, pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, PAUSE_LONGEST_S)
        finally:
            stopping.cancel()

    def _raise_lasting(self, error: CdcError | None) -> None:
        if error is None or error.heals_by_waiting or isinstance(error, InternalError):
            return
        raise error

    def _say(self, exit_code: int, error: CdcError | None, pause_s: float) -> None:
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        self.log.error(
            "role exited, restarting",
            which=self.job.name,
            how=how,
            why=error.seen if error else None,
            pause_s=round(pause_s, 1),
        )

    async def once(self, job: Job) -> tuple[int, CdcError | None]:
        """Run one process for the job, which is asked to drain and killed as the role's is."""
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the working directory: it may contain an application's own cdc/.
                "-P",
                "-m",
                "cdc.process.role",
                job.role,
                job.entry_point,
                str(write_end),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_end,),
                # Out of the terminal's group: Ctrl-C reaches the parent alone.
                process_group=0,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._process = process
        if self.stop.is_set():
            self.terminate()
        with os.fdopen(read_end, "rb", buffering=0) as words:
            if self._allowed:
                # The tables may have come while the process was started.
                self._hand_over(process, replace(job, tables=self.job.tables))
            # A grandchild could hold the other end: take what is there, do not wait for its end.
            os.set_blocking(read_end, False)
            said = bytearray()
            loop = asyncio.get_running_loop()
            loop.add_reader(read_end, self._hear, words, said)
            try:
                exit_code = await process.wait()
            finally:
                loop.remove_reader(read_end)
            said += words.read() or b""
            return exit_code, from_json(bytes(said))

    def _hear(self, words: FileIO, said: bytearray) -> None:
        """Take what the process said: that it has loaded its code, or what ended it."""
        said += (part := words.read() or b"")
        self.loaded.set()
        if not part:
            asyncio.get_running_loop().remove_reader(words.fileno())

    def _hand_over(self, process: asyncio.subprocess.Process, job: Job) -> None:
        # stdin stays open: its end is how the child learns that we are gone.
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(job))

    def terminate(self) -> None:
        """Ask the process to drain."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process now; what it had in flight is read again at the next start."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
