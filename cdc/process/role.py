"""One role in a process of its own: ``python -m cdc.process.role``, started by the supervisor.

The job comes through stdin, so that no argument and no environment holds a password, and not
before every server has been asked; the code is loaded meanwhile.  stdin stays open as long as
the parent lives: its end tells the child to drain and leave.  Where the role ends with a
`CdcError`, its words go up through the descriptor that the arguments name.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cdc.errors import EXIT_CODES, CdcError, InternalError
from cdc.process.stopping import OpenLoop
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, Meter, setup

Role = Literal["reader", "sink"]
ENTRY_POINTS: dict[str, str] = {"reader": "cdc_reader.reader:run", "sink": "redis_sink.sink:run"}
"""Loaded by name, in a process of their own; everything else that needs a side imports it."""
REFRESH = "cdc_reader.snapshot.refresh:run"
"""A role that ends on its own: it announces that all tables are read again."""
VERIFY = "cdc_verify.continuous:run"
"""The role that compares MySQL with Redis from time to time, where the settings ask for it."""

_OURS = Path(__file__).parents[2]
_PACKAGES = ("cdc", "cdc_reader", "redis_sink", "cdc_verify")

GARBAGE_OBJECTS = 10_000
"""Python collects garbage after this many new live objects."""
DRAIN_S = 10.0
"""How long a role may take to end; it is killed then."""
REMEMBER_S = 2.0
DEBUG = "CDC_DEBUG"
LOADED = b"\n"
"""Goes up to the parent before anything else; space to JSON."""
WORDS_LONGEST = 8000
"""Characters of an error: they must fit into a pipe that is read only after we end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a role's process is told."""

    role: str
    name: str
    """Of the process, for log lines: the role, or ``sink-1`` where there are several."""
    settings: Settings
    entry_point: str
    """``package.module:function``, as in `ENTRY_POINTS`."""
    tables: tuple[Table, ...] = ()


async def perform(job: Job, log: Log, stop: asyncio.Event) -> None:
    """Run a role until `stop`, with the throughput line; then log the totals.

    Raises:
        CdcError: the role cannot continue.
    """
    run = loaded(job.entry_point)
    # The code stays, so looking through it for garbage is a pause for nothing; and what passes
    # through leaves none, so a look is due more seldom than the default of 700 objects.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    meter = Meter()
    ended = asyncio.Event()
    reporting = asyncio.create_task(meter.report(log, job.settings.report_every_s, ended))
    try:
        await run(job.settings, job.tables, stop=stop, log=log, meter=meter)
    finally:
        ended.set()
        await reporting
    log.info("stopped", **meter.totals())


def loaded(entry_point: str) -> Any:
    """Return the function that ``package.module:function`` names."""
    module, _, function = entry_point.partition(":")
    return getattr(importlib.import_module(module), function)


class InProcess:
    """One role in this process: a generation of `cdc.process.generations`."""

    def __init__(self, job: Job, log: Log) -> None:
        self._job, self._log = job, log

    def start(self) -> None:
        """Load its code."""
        loaded(self._job.entry_point)

    async def loaded(self) -> None:
        """Nothing is left to load."""

    async def run(self, tables: tuple[Table, ...], over: asyncio.Event) -> int:
        """Run the role until `over`; return 0 after the drain.

        Raises:
            CdcError: the role cannot continue.
        """
        job = replace(self._job, tables=tables)
        try:
            await within_drain(perform(job, self._log, over), over)
        except CdcError as error:
            # A reader that runs alone need not know the Redis that is named by default.
            if job.role != "reader":
                await remember(job, error)
            raise
        return 0

    async def close(self) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It ends with this process."""


async def remember(job: Job, error: CdcError) -> None:
    """Keep in Redis why a role ended, for `cdc status`; best effort."""
    with suppress(Exception):
        from redis_sink.queries.status import remember_error

        async with asyncio.timeout(REMEMBER_S):
            await remember_error(job.settings, job.name, error)


async def within_drain(work: Any, stop: asyncio.Event) -> None:
    """Await `work`; leave the process when it is not done `DRAIN_S` after `stop`."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        done, _ = await asyncio.wait((task,), timeout=DRAIN_S)
        if not done:
            os._exit(128 + signal.SIGTERM)
    await task


def stop_on_signals(
    stop: asyncio.Event, log: Log, at_once: Callable[[], None] | None = None
) -> None:
    """Set `stop` at SIGTERM, SIGINT or SIGHUP; at the second of them leave with 130.

    Not at SIGHUP where it was ignored when we started, as ``nohup`` has it.
    """

    def received(name: str) -> None:
        if stop.is_set():
            if at_once:
                at_once()
            os._exit(128 + signal.SIGINT)
        log.info("stopping; a second signal exits immediately, no data is lost either way", by=name)
        stop.set()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    # nohup asks to survive it, and `cdc.process.reload` handles it.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, received, signal.Signals(number).name)


def in_words(error: BaseException) -> CdcError:
    """Return any error as one that can be printed: what it is and where, never a traceback."""
    if isinstance(error, CdcError):
        return error
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    return InternalError(
        f"{type(error).__name__} in {_place(error)}: {_first_line(error)}",
        safe="positions move only with the data; nothing was skipped",
        fix=f"please report this; {DEBUG}=1 prints the traceback",
    )


def _place(error: BaseException) -> str:
    """Return where in our code it arose: ``cdc/process/role.py:60``."""
    trace = error.__traceback__
    place = "the command"
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(_OURS) and path.relative_to(_OURS).parts[0] in _PACKAGES:
            place = f"{path.relative_to(_OURS)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _first_line(error: BaseException) -> str:
    # Without values: an error of a codec or a library may quote the row that it met.
    if isinstance(error, OSError | ImportError | AttributeError | NameError | TypeError):
        return str(error).partition("\n")[0][:200]
    return "its text is left out because it may contain data"


def to_json(error: CdcError) -> bytes:
    """Return an error as it goes up to the parent."""
    seen = error.seen[:WORDS_LONGEST]
    heals = [error.heals_by_refresh, error.is_login]
    return json.dumps([error.exit_code, seen, error.safe, error.fix, *heals]).encode()


def from_json(text: bytes) -> CdcError | None:
    """Return the child's error; None: it left without a word."""
    try:
        exit_code, seen, safe, fix, heals, is_login = json.loads(text)
    except ValueError:
        return None
    kind = EXIT_CODES.get(exit_code, InternalError)
    error = kind(seen, safe=safe, fix=fix, heals_by_refresh=heals)
    error.is_login = is_login
    return error


def main() -> None:
    """Do the job that is read from stdin; never returns."""
    entry_point, upward = sys.argv[2], int(sys.argv[3])
    # The parent alone decides what Ctrl-C means; it reaches the whole terminal, as SIGHUP may.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loaded(entry_point)
        os.write(upward, LOADED)
        try:
            job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent, same code
        except EOFError:
            os._exit(0)  # the parent was refused, or is gone
        # Not asyncio.run: it would wait for threads that wait for a server.
        OpenLoop().run_until_complete(_main(job))
    except BaseException as error:  # noqa: BLE001 - the parent is told what ended us
        words = in_words(error)
        with suppress(OSError):  # the parent is gone too
            os.write(upward, to_json(words))
        os._exit(words.exit_code)
    os._exit(0)


async def _main(job: Job) -> None:
    log = setup(job.settings, job.name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    threading.Thread(target=_watch_parent, args=(loop, stop, log), daemon=True).start()
    await within_drain(perform(job, log, stop), stop)


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, log: Log) -> None:
    """Drain when the parent is gone; leave even where the loop hangs."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)
    with suppress(OSError):
        log.warning("parent process exited, stopping")
    time.sleep(DRAIN_S + 1)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
