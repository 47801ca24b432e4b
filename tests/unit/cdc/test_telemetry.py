"""Log lines: human or JSON, never a password; and the line that says what flows."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from cdc.settings import load
from cdc.telemetry import Meter, setup, wants_colour

CANARY = "Kanarienvogel/1"
ENCODED = "Kanarienvogel%2F1"


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(output: io.StringIO, log_format: str = "auto", **flags: Any) -> Any:
    settings = load({"log_format": log_format, "redis": f"redis://:{ENCODED}@h", **flags}, {})
    return setup(settings, "reader", output)


def test_a_file_gets_json_lines() -> None:
    """One object a line: time, level, role, words, then the fields."""
    output = io.StringIO()
    lines(output).info("streaming", position="binlog.000001:4", n=3)
    found = json.loads(output.getvalue())

    assert list(found) == ["ts", "level", "role", "event", "position", "n"]
    assert (found["level"], found["role"], found["n"]) == ("info", "reader", 3)


def test_a_terminal_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """People read thousands with commas, and see warnings in colour."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    output = Terminal()
    log = lines(output)
    log.info("applied", rows=12345, nothing=None)
    log.warning("careful")

    assert output.getvalue().splitlines()[0].endswith("reader applied  rows=12,345")
    assert "\x1b[33m" in output.getvalue().splitlines()[1]


def test_no_color_and_dumb_terminals_get_none() -> None:
    """See no-color.org."""
    assert not wants_colour({"NO_COLOR": "1"})
    assert not wants_colour({"TERM": "dumb"})
    assert wants_colour({"TERM": "xterm"})


def test_lines_below_the_level_are_left_out() -> None:
    """``--log-level warning`` keeps warnings and errors."""
    output = io.StringIO()
    log = lines(output, log_level="warning")
    log.info("no")
    log.warning("yes")

    assert json.loads(output.getvalue())["event"] == "yes"


def test_the_end_of_a_connection_with_tls_is_no_warning() -> None:
    """Asyncio warns of every one that nats-py has upgraded; its other warnings stay."""
    output = io.StringIO()
    lines(output, "json")
    logger = logging.getLogger("asyncio")
    logger.warning("returning true from eof_received() has no effect when using ssl")
    logger.warning("socket.send() raised exception.")

    (line,) = output.getvalue().splitlines()
    assert json.loads(line)["event"] == "socket.send() raised exception."


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_line_holds_a_password(log_format: str) -> None:
    """Not as it is, not percent-encoded, not in an error, a tuple or a library's line."""
    output = io.StringIO()
    log = lines(output, log_format)
    log.warning(CANARY, a=ENCODED, b=ValueError(CANARY), c=(CANARY,), d=b"x")
    log.error("x", url="nats://u:other@h", exc_info=ValueError(CANARY))
    logging.getLogger("nats").warning("cannot reach redis://:%s@h", ENCODED)
    text = output.getvalue()

    assert len(text.splitlines()) == 3
    for secret in (CANARY, ENCODED, "other", "Kanarienvogel"):
        assert secret not in text


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_line_says_rates_totals_and_lag() -> None:
    """Rates are over the time since the last line; totals since the start."""
    clock = Clock()
    meter = Meter(clock)
    meter.count("applied", 20_000)
    meter.lag(-0.5)
    clock.now_s = 10.0

    assert meter.line() == ("applied 2,000 rows/s", {"applied": 20_000, "lag_s": 0.0})
    meter.count("applied", 5)
    clock.now_s = 20.0
    assert meter.line() == ("applied 0.5 rows/s", {"applied": 20_005, "lag_s": 0.0})


def test_idle_is_said_once_and_then_seldom() -> None:
    """A quiet night is not a thousand lines."""
    meter = Meter(Clock())
    meter.count("applied", 1)
    meter.line()
    said = [meter.line() is not None for _ in range(13)]

    assert said == [True, *[False] * 5, True, *[False] * 5, True]


def test_the_report_ends_with_its_event() -> None:
    """It writes until `stop`, and then leaves the totals to its caller."""
    output = io.StringIO()

    async def main() -> dict[str, int]:
        stop = asyncio.Event()

        class StopsAtTheFirstLine(Meter):
            def line(self) -> tuple[str, dict[str, Any]] | None:
                stop.set()
                return super().line()

        meter = StopsAtTheFirstLine()
        meter.count("published", 3)
        await meter.report(lines(output), 0.001, stop)
        return meter.totals()

    assert asyncio.run(main()) == {"published": 3}
    assert "published" in json.loads(output.getvalue().splitlines()[0])["event"]
