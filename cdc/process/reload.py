"""Take the settings again at SIGHUP, without an end.

The new settings are checked as a start checks them.  Where they are accepted, all roles drain and
start again with them, as a person would restart them; where not, the roles keep what they have and
the log tells why.  A SIGHUP that comes while they drain or start counts too.  In a terminal SIGHUP
means that the terminal is gone: it stops `cdc run`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from cdc.check import servers
from cdc.errors import CdcError
from cdc.settings import Settings
from cdc.telemetry import Log

Known = tuple[Settings, Log]
RETRY_S = 5.0


class Reload:
    """Waits for SIGHUP while the roles run; made once for a `cdc run`."""

    def __init__(self, load: Callable[[], Known], role: str) -> None:
        """Keep SIGHUP until the roles run.

        Args:
            load: reads the settings, and raises a `CdcError` where they cannot be used.
            role: ``both``, ``reader`` or ``sink``.
        """
        self._load, self._role = load, role
        self.accepted: Known | None = None
        """The new settings: the roles have drained, and are to start again with them."""
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup has it
        self._is_wanted = not (is_ignored or sys.stdin.isatty() or sys.stderr.isatty())
        self._came = False
        self._hold()

    def _hold(self) -> None:
        """Only note SIGHUP while no role runs, as between two starts."""
        if self._is_wanted:
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_: object) -> None:
        self._came = True

    def beside(self, settings: Settings, log: Log) -> list[Coroutine[Any, Any, None]]:
        """Return what runs beside the roles: it ends once there are new settings."""
        self.accepted = None
        return [self._watch(settings, log)] if self._is_wanted else []

    async def _watch(self, settings: Settings, log: Log) -> None:
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, asked.set)
        if self._came:
            asked.set()
        while True:
            await asked.wait()
            asked.clear()
            self._came = False
            try:
                known = self._load()
                if known[0] == settings:
                    log.info("settings unchanged")
                    continue
                await servers.captured_tables(known[0], self._role)
            except CdcError as error:
                again_in_s = RETRY_S if error.retryable else None
                log.warning(
                    "settings not reloaded",
                    why=error.seen,
                    fix=error.fix or None,
                    again_in_s=again_in_s,
                )
                if again_in_s:
                    loop.call_later(again_in_s, asked.set)
                continue
            log.info("settings reloaded: restarting")
            self.accepted = known
            loop.remove_signal_handler(signal.SIGHUP)
            self._hold()
            if asked.is_set():
                self._came = True
            return
