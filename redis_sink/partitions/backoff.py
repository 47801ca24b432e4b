"""Pauses between attempts, and the log lines about them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from cdc.errors import CdcError
from cdc.network.secret import LOGIN_PAUSE_MAX_S
from cdc.telemetry import Log

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
REPEAT_S = 10.0
"""A wait is logged again after this time; after as long without one, pauses start short again."""


class Backoff:
    """Growing pauses; logs what is waited for: immediately, then every 10 s."""

    def __init__(self, stop: asyncio.Event, log: Log) -> None:
        self._stop, self._log = stop, log
        self._pause_s = FIRST_PAUSE_S
        self._since_s = self._said_s = self._last_s = 0.0
        self._for = ""

    async def after(
        self, seen: str, longest_s: float = LONGEST_PAUSE_S, *, fix: str | None = None
    ) -> None:
        """Wait after something that time can heal; returns early when `stop` is set."""
        now_s = time.monotonic()
        if now_s - self._last_s > REPEAT_S:
            self._pause_s = FIRST_PAUSE_S
        self._since_s = self._since_s or now_s
        if seen != self._for or now_s - self._said_s >= REPEAT_S:
            since_s = round(now_s - self._since_s, 1)
            self._log.warning("sink waiting", reason=seen, since_s=since_s, fix=fix)
            self._for, self._said_s = seen, now_s
        with suppress(TimeoutError):
            # Jitter: two sinks that fence each other must not meet again.
            async with asyncio.timeout(min(self._pause_s, longest_s) * random.uniform(0.5, 1.0)):
                await self._stop.wait()
        self._pause_s *= 2
        self._last_s = time.monotonic()

    async def after_error(self, error: CdcError, of: str = "") -> None:
        """Wait after an error; longer after a login that is refused, with what to do about it.

        Args:
            of: what waits, ``leases: ``.
        """
        longest_s = (LOGIN_PAUSE_MAX_S,) if error.is_login else ()
        await self.after(of + error.seen, *longest_s, fix=error.login_fix)

    def over(self) -> None:
        """Note that the wait is over."""
        if self._since_s:
            waited_s = time.monotonic() - self._since_s
            self._log.info("sink resumed", after_s=round(waited_s, 1))
            self._since_s, self._for = 0.0, ""
