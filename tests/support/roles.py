"""Small roles that a test puts in the places of reader and sink, and a parent for them.

``python -m tests.support.roles steady refuses`` supervises two of them; a third argument
``refused`` is a server that says no when both processes have loaded their code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cdc.errors import CdcError, PreflightError, StreamError, UnavailableError
from cdc.output import hold_standard_descriptors
from cdc.process.generations import Generations
from cdc.process.stopping import OpenLoop
from cdc.process.supervisor import jobs
from cdc.settings import load
from cdc.table import Table
from cdc.telemetry import setup
from tests.support.pipeline import wait_for

MARK = "TEST_MARK"
"""Variable with a path: `dies_once` leaves a file there, a process with this code one beside."""

if MARK in os.environ and __name__ != "__main__":
    Path(os.environ[MARK]).with_name(f"loaded-{os.getpid()}").touch()


async def steady(*_: Any, stop: asyncio.Event, log: Any, meter: Any) -> None:
    """Work until told to stop."""
    meter.count("applied", 3)
    log.info("begins", pid=os.getpid())
    await stop.wait()


async def dies_once(*_: Any, stop: asyncio.Event, log: Any, meter: Any) -> None:
    """Die by SIGKILL the first time; then be steady."""
    if is_first_time():
        os.kill(os.getpid(), signal.SIGKILL)
    await steady(stop=stop, log=log, meter=meter)


def is_first_time() -> bool:
    """Say so once."""
    try:
        Path(os.environ[MARK]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def breaks(*_: Any, **__: Any) -> None:
    """Have a bug."""
    raise RuntimeError("Kanarienvogel")


async def refuses(*_: Any, **__: Any) -> None:
    """End with an error that waiting does not heal."""
    raise StreamError("the stream is not ours", safe="nothing was written", fix="look")


async def gives_up(*_: Any, **__: Any) -> None:
    """End with an error that waiting may heal."""
    raise UnavailableError("nobody there")


async def never_ends(*_: Any, log: Any, **__: Any) -> None:
    """Do not listen to `stop`."""
    log.info("begins", pid=os.getpid())
    await asyncio.Event().wait()


async def hangs(*_: Any, log: Any, **__: Any) -> None:
    """Block the whole loop."""
    log.info("begins", pid=os.getpid())
    time.sleep(600)  # noqa: ASYNC251 - that is the fault


async def tables(refused: bool) -> tuple[Table, ...]:
    """Ask no server; refuse once both processes are ready for their job."""
    if refused:
        folder = Path(os.environ[MARK]).parent
        await asyncio.to_thread(
            wait_for, "both processes", lambda: len(list(folder.glob("loaded-*"))) == 2
        )
        raise PreflightError("a server says no", safe="nothing was written", fix="fix it")
    return ()


def main() -> None:
    """Supervise the two named functions."""
    settings = load({}, {})
    log = setup(settings, "cdc")
    places = {
        role: f"tests.support.roles:{name}"
        for role, name in zip(("reader", "sink"), sys.argv[1:3], strict=True)
    }
    try:
        run = Generations(
            (settings, log),
            lambda settings: jobs(settings, places),
            lambda *_: tables("refused" in sys.argv),
        )
        code = OpenLoop().run_until_complete(run.until_ended())
    except CdcError as error:
        print(error.text(), file=sys.stderr)
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    hold_standard_descriptors()  # as the command does
    main()
