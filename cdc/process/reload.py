"""Take the settings again at SIGHUP, without an end.

The new settings are checked as a start checks them.  Where they are accepted, a next generation
of the roles takes over with them (`cdc.process.generations`); where not, the roles keep what they
have and the log tells why.  A SIGHUP that comes meanwhile counts too.  In a terminal SIGHUP means
that the terminal is gone: it stops `cdc run`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

from cdc.errors import CdcError
from cdc.process.generations import Generations, Known

RETRY_S = 5.0


class Reload:
    """Waits for SIGHUP while the roles run."""

    def __init__(self, load: Callable[[], Known]) -> None:
        """Keep SIGHUP until the roles run.

        Args:
            load: reads the settings, and raises a `CdcError` where they cannot be used.
        """
        self._load = load
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup has it
        self._is_wanted = not (is_ignored or sys.stdin.isatty() or sys.stderr.isatty())
        self._came = False
        if self._is_wanted:
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_: object) -> None:
        self._came = True

    async def watch(self, run: Generations) -> None:
        """Take the settings again at each signal, until cancelled."""
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        if self._is_wanted:
            loop.add_signal_handler(signal.SIGHUP, asked.set)
        if self._came:
            asked.set()
        while True:
            await asked.wait()
            asked.clear()
            try:
                settings, log = self._load()
                if run.is_known(settings):
                    log.info("settings unchanged")
                    continue
                await run.replace((settings, log), "settings reloaded: restarting")
            except CdcError as error:
                again_in_s = RETRY_S if error.retryable else None
                run.log.warning(
                    "settings not reloaded",
                    why=error.seen,
                    fix=error.fix or None,
                    again_in_s=again_in_s,
                )
                if again_in_s:
                    loop.call_later(again_in_s, asked.set)
