"""What a person or a machine reads while cdc runs: log lines, and one that says what flows.

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
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import msgspec
import structlog

from cdc.settings import Settings
from cdc.url import hide

Event = MutableMapping[str, Any]
IDLE_LINES_BETWEEN = 6
"""While nothing flows, only every so many of the regular lines is written."""
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": "\x1b[2m"}
_PLAIN = "\x1b[0m"


def setup(settings: Settings, role: str, output: TextIO | None = None) -> Any:
    """Configure all logging of this process; return its logger.

    Args:
        role: ``reader``, ``sink`` or ``cdc``; stands in every line.
        output: stderr unless given.
    """
    output = output or sys.stderr
    secrets = secrets_of(settings)
    human = settings.log_format == "human" or (settings.log_format == "auto" and output.isatty())
    colours = human and output.isatty() and wants_colour(os.environ)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _named_error,
            _hiding(secrets),
            _human(colours) if human else _json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, settings.log_level.upper())
        ),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger().bind(role=role)
    # Libraries speak through the standard module; their warnings belong here too.
    logging.basicConfig(handlers=[_Forward(log)], level=logging.WARNING, force=True)
    return log


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every text of the settings that must not be printed."""
    return (*settings.mysql.secrets, *settings.nats.secrets, *settings.redis.secrets)


def wants_colour(env: Mapping[str, str]) -> bool:
    """Say whether colours are welcome; see no-color.org."""
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb"


class _Forward(logging.Handler):
    """Passes what libraries log on to our logger, without tracebacks."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"library": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        level = "warning" if record.levelno >= logging.WARNING else "debug"
        getattr(self._log, level)(record.getMessage(), **fields)


def _named_error(_: Any, __: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, BaseException):
            event[name] = f"{type(value).__name__}: {value}"
    event.pop("exc_info", None)
    return event


def _hiding(secrets: Iterable[str]) -> Callable[[Any, str, Event], Event]:
    kept = tuple(secrets)

    def hide_secrets(_: Any, __: str, event: Event) -> Event:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = hide(value, kept)
            elif not isinstance(value, int | float | None):
                event[name] = hide(str(value), kept)
        return event

    return hide_secrets


def _json(_: Any, __: str, event: Event) -> str:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    ordered = {
        "ts": now.replace("+00:00", "Z"),
        "level": event.pop("level"),
        "role": event.pop("role", ""),
        "event": event.pop("event"),
    }
    return msgspec.json.encode(ordered | dict(event)).decode()


def _human(colours: bool) -> Callable[[Any, str, Event], str]:
    def render(_: Any, __: str, event: Event) -> str:
        level = event.pop("level")
        role, text = event.pop("role", ""), event.pop("event")
        fields = "".join(
            f"  {name}={_readable(value)}" for name, value in event.items() if value is not None
        )
        mark = "" if level == "info" else f"{level}: "
        line = f"{time.strftime('%H:%M:%S')} {role:6} {mark}{text}{fields}"
        colour = _COLOURS.get(level, "") if colours else ""
        return f"{colour}{line}{_PLAIN}" if colour else line

    return render


def _readable(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


class Meter:
    """Counts what a role has done and how far behind it is.

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
        """Say how long ago the newest change that was handled was committed."""
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

    async def report(self, log: Any, every_s: float, stop: asyncio.Event) -> None:
        """Write a line every so often until `stop`; the totals are for the caller to say."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every_s)
                return
            if line := self.line():
                log.info(line[0], **line[1])


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
