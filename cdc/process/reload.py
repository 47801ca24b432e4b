"""Take the settings again at SIGHUP, without an end.

The new settings are checked as a start checks them.  Where they are accepted, all roles drain and
start again with them, as a person would restart them; where not, the roles keep what they have and
the log tells why.  In a terminal SIGHUP means that the terminal is gone: it stops `cdc run`.
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


class Reload:
    """Waits for SIGHUP while the roles run; made once for a `cdc run`."""

    def __init__(self, load: Callable[[], Known], role: str) -> None:
        """Ignore SIGHUP until the roles run.

        Args:
            load: reads the settings, and raises a `CdcError` where they cannot be used.
            role: ``both``, ``reader`` or ``sink``.
        """
        self._load, self._role = load, role
        self.accepted: Known | None = None
        """The new settings: the roles have drained, and are to start again with them."""
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup has it
        self._is_wanted = not (is_ignored or sys.stdin.isatty() or sys.stderr.isatty())
        self.hold()

    def hold(self) -> None:
        """Ignore SIGHUP while no role runs, as between two starts."""
        self.accepted = None
        if self._is_wanted:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def beside(self, settings: Settings, log: Log) -> list[Coroutine[Any, Any, None]]:
        """Return what runs beside the roles: it ends once there are new settings."""
        return [self._watch(settings, log)] if self._is_wanted else []

    async def _watch(self, settings: Settings, log: Log) -> None:
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        while True:
            await asked.wait()
            asked.clear()
            try:
                known = self._load()
                if known[0] == settings:
                    log.info("settings unchanged")
                    continue
                await servers.captured_tables(known[0], self._role)
            except CdcError as error:
                log.warning("settings not reloaded", why=error.seen, fix=error.fix or None)
                continue
            log.info("settings reloaded: restarting")
            self.accepted = known
            return
