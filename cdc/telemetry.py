"""What a person or a machine reads while cdc runs: log lines, one of them with throughput.

Lines go to stderr: for people on a terminal, JSON otherwise.  Passwords are hidden in all of
them; values of rows never come here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import msgspec

from cdc.output import write
from cdc.printable import printable
from cdc.settings import Settings
from cdc.url import hide

Fields = dict[str, Any]
Render = Callable[[str, str, Fields], str]
"""From a level, the words and the fields to a line."""

LEVELS = ("debug", "info", "warning", "error")
IDLE_LINES_BETWEEN = 6
"""While idle, only one of this many regular lines is written."""
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"}
_PLAIN = "\x1b[0m"


NAMES_LISTED = 20


def names_text(names: Sequence[str]) -> str:
    """Return names for one line of the log: of many the first.

    >>> names_text([f"shop.t{n}" for n in range(1000)])[-30:]
    'shop.t18 shop.t19 and 980 more'
    """
    more = len(names) - NAMES_LISTED
    return " ".join(names[:NAMES_LISTED]) + (f" and {more:,} more" if more > 0 else "")


class Log:
    """Writes lines: words that are always the same, and fields.

    ``Log(sys.stderr, as_json).bind(role="sink").info("streaming", seq=3)``
    """

    def __init__(
        self, output: TextIO, render: Render, *, level: str = "info", fields: Fields | None = None
    ) -> None:
        """Leave out what is less important than `level`; add `fields` to every line."""
        self._output, self._render = output, render
        self._level, self._fields = level, fields or {}

    def bind(self, **fields: Any) -> Log:
        """Return a log whose lines have more fields."""
        more = self._fields | fields
        return Log(self._output, self._render, level=self._level, fields=more)

    def debug(self, event: str, **fields: Any) -> None:
        """Log what helps to find a bug."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log normal operation."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log something that needs attention."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log something that needs action."""
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: Fields) -> None:
        if LEVELS.index(level) >= LEVELS.index(self._level):
            line = self._render(level, event, self._fields | fields)
            # In one piece: several processes write to the same terminal.
            write(self._output, f"{line}\n")


def setup(settings: Settings, role: str, output: TextIO | None = None) -> Log:
    """Configure all logging of this process; return its logger.

    Args:
        role: ``reader``, ``sink`` or ``cdc``; part of every line.
        output: stderr unless given.
    """
    output = output or sys.stderr
    human = settings.log_format == "human" or (settings.log_format == "auto" and output.isatty())
    colours = human and output.isatty() and wants_colour(os.environ)
    render = _hiding(secrets_of(settings), as_words(colours) if human else as_json)
    log = Log(output, render, level=settings.log_level, fields={"role": role})
    # Libraries log through the standard module; their warnings belong here too.
    logging.basicConfig(handlers=[_Forward(log)], level=logging.WARNING, force=True)
    return log


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every text of the settings that must not be printed."""
    return (*settings.mysql.secrets, *settings.nats.secrets, *settings.redis.secrets)


def wants_colour(env: Mapping[str, str]) -> bool:
    """Return whether colours are welcome; see no-color.org."""
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb"


HARMLESS = "returning true from eof_received()"
"""What asyncio says at the end of each connection that nats-py has upgraded to TLS: its protocol is
not told of the TLS.  Source: nats-py 2.16, aio/transport.py, connect_tls."""


class _Forward(logging.Handler):
    """Passes what libraries log on to our logger, without tracebacks."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"library": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        text = record.getMessage()
        is_warning = record.levelno >= logging.WARNING and not text.startswith(HARMLESS)
        getattr(self._log, "warning" if is_warning else "debug")(text, **fields)


def _hiding(secrets: Iterable[str], render: Render) -> Render:
    kept = tuple(secrets)

    def shown(value: Any) -> Any:
        if isinstance(value, int | float | None):
            return value
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value
        return hide(str(text), kept)

    def render_hidden(level: str, event: str, fields: Fields) -> str:
        return render(level, shown(event), {name: shown(value) for name, value in fields.items()})

    return render_hidden


def as_json(level: str, event: str, fields: Fields) -> str:
    """Return ``{"ts":"2026-11-23T12:00:00.123Z","level":"info","role":"sink","event":…}``."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    role = fields.pop("role", "")
    line = {"ts": now.replace("+00:00", "Z"), "level": level, "role": role, "event": event}
    return msgspec.json.encode(line | fields).decode()


def as_words(colours: bool) -> Render:
    """Return what renders ``12:00:00 sink   applied  rows=12,345``."""

    def render(level: str, event: str, fields: Fields) -> str:
        role = fields.pop("role", "")
        shown = "".join(
            f"  {name}={printable(_readable(value))}"
            for name, value in fields.items()
            if value is not None
        )
        mark = "" if level == "info" else f"{level}: "
        line = f"{time.strftime('%H:%M:%S')} {role:6} {mark}{printable(event)}{shown}"
        colour = _COLOURS.get(level, "") if colours else ""
        return f"{colour}{line}{_PLAIN}" if colour else line

    return render


def _readable(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


class Meter:
    """Counts what a role has done, and its lag.

    >>> meter = Meter()
    >>> meter.count("published", 3)
    >>> meter.totals()
    {'published': 3}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at nothing; `clock` counts seconds."""
        self._totals: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._lag_s: float | None = None
        self._clock = clock
        self._reported_at_s = clock()
        self._idle_lines = 0

    def count(self, name: str, n: int) -> None:
        """Add to a counter, such as ``published`` or ``applied``."""
        self._totals[name] = self._totals.get(name, 0) + n

    def lag(self, seconds: float) -> None:
        """Set the age of the newest change handled, from its commit."""
        self._lag_s = max(0.0, seconds)

    def totals(self) -> dict[str, int]:
        """Return all counters since the start."""
        return dict(self._totals)

    def line(self) -> tuple[str, dict[str, Any]] | None:
        """Return the next line's words and fields; None: nothing worth a line.

        ``("published 1,234 rows/s", {"published": 12340, "lag_s": 0.012})``
        """
        now_s = self._clock()
        elapsed_s = max(now_s - self._reported_at_s, 1e-9)
        rates = {
            name: (total - self._reported.get(name, 0)) / elapsed_s
            for name, total in self._totals.items()
        }
        self._reported, self._reported_at_s = dict(self._totals), now_s
        if not any(rates.values()):
            self._idle_lines += 1
            if self._idle_lines % IDLE_LINES_BETWEEN != 1:
                return None
            return "idle", self.totals()
        self._idle_lines = 0
        flowing = (f"{name} {_rate(rate)} rows/s" for name, rate in rates.items() if rate)
        lag = {} if self._lag_s is None else {"lag_s": round(self._lag_s, 3)}
        return ", ".join(flowing), self.totals() | lag

    async def report(self, log: Log, every_s: float, stop: asyncio.Event) -> None:
        """Log throughput every `every_s` until `stop`; the caller logs the totals."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every_s)
                return
            if line := self.line():
                log.info(line[0], **line[1])


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
