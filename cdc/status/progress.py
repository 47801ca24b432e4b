"""Progress of a long task: a bar on a terminal, a line every few seconds elsewhere.

Small on purpose: `rich` would cost every start more than it shows (docs/adr/0005-dependencies.md).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from cdc.output import write

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.2
RATE_OVER_S = 30.0
"""The window of the rate: only the most recent seconds count."""
_BAR = 24
_CLEAR = "\r\x1b[K"


class Pace:
    """Rate and time left, from what was done when.

    >>> now = [0.0]
    >>> pace = Pace(clock=lambda: now[0])
    >>> now[0] = 2.0
    >>> pace.note(500)
    >>> pace.per_s(), pace.left_s(1500)
    (250.0, 4.0)
    """

    def __init__(self, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at `done`, which does not count towards the rate."""
        self.done = done
        self._clock = clock
        self._noted = deque([(clock(), done)])

    def note(self, done: int) -> None:
        """Note how much is done in total."""
        now_s = self._clock()
        self.done = done
        self._noted.append((now_s, done))
        while len(self._noted) > 2 and now_s - self._noted[1][0] >= RATE_OVER_S:
            self._noted.popleft()

    def per_s(self) -> float:
        """Return how much is done in a second."""
        then_s, then = self._noted[0]
        return max(0, self.done - then) / max(self._clock() - then_s, 1e-9)

    def left_s(self, total: int | None) -> float | None:
        """Return how long the rest will take; None: not known."""
        per_s = self.per_s()
        return max(0, total - self.done) / per_s if total is not None and per_s else None

    def fields(self, total: int | None, unit: str = "rows") -> dict[str, Any]:
        """Return it as fields of a log line.

        ``{"rows": 450000, "of_about": 1000000, "rows_per_s": 98000, "left_s": 6}``
        """
        left_s = self.left_s(total)
        return {
            unit: self.done,
            "of_about": total,
            f"{unit}_per_s": round(self.per_s()),
            "left_s": None if left_s is None else round(left_s),
        }


class Progress:
    """Progress of one task: ``p = Progress("shop.users", total=1_000_000)``, then `show`, `end`."""

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        done: int = 0,
        unit: str = "rows",
        output: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show nothing yet.

        Args:
            total: about how many there are; None: not known.
            done: how many an earlier run did.
            output: stderr unless given.
        """
        self.total = total
        self._what, self._unit = what, unit
        self._output = output or sys.stderr
        self._is_bar = self._output.isatty() and os.environ.get("TERM") != "dumb"
        self._every_s = BAR_EVERY_S if self._is_bar else LINE_EVERY_S
        self._clock = clock
        self._pace = Pace(done, clock)
        self._shown_s = clock() - (self._every_s if self._is_bar else 0.0)

    def show(self, done: int, note: str = "") -> None:
        """Show how much is done in total; cheap, may be called for every row.

        Args:
            note: why it is paused, or what it does.
        """
        self._pace.note(done)
        if self._clock() - self._shown_s >= self._every_s:
            self._shown_s = self._clock()
            self._write(self._text(note))

    def end(self, done: int | None = None) -> None:
        """Show the last state, and leave the line."""
        if done is not None:
            self._pace.note(done)
        self._write(self._text("done"))
        if self._is_bar:
            write(self._output, "\n")

    def clear(self) -> None:
        """Take the bar off the terminal, so that something else can be printed."""
        if self._is_bar:
            write(self._output, _CLEAR)
            self._shown_s = self._clock() - self._every_s

    def _write(self, text: str) -> None:
        if self._is_bar:
            width = shutil.get_terminal_size().columns - 1
            write(self._output, _CLEAR + text[:width])
        else:
            write(self._output, text + "\n")

    def _text(self, note: str) -> str:
        done, total = self._pace.done, self.total
        parts = [self._what]
        if total:
            share = min(done / total, 1.0) if note != "done" else 1.0
            if self._is_bar:
                full = round(share * _BAR)
                parts.append("[" + "#" * full + "-" * (_BAR - full) + "]")
            parts.append(f"{share:.0%}")
        of = f" of about {total:,}" if total and note != "done" else ""
        parts += [f"{done:,}{of} {self._unit}", f"{self._pace.per_s():,.0f} {self._unit}/s"]
        left_s = self._pace.left_s(total)
        if left_s is not None and note != "done":
            parts.append(f"{in_words(left_s)} left")
        if note:
            parts.append(note)
        return "  ".join(parts)


def in_words(seconds: float) -> str:
    """Return a time for a person.

    >>> in_words(7.2), in_words(125), in_words(7300), in_words(200000)
    ('7 s', '2 min 05 s', '2 h 02 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
