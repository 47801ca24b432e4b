"""How far a long reading is, for a person and for a log."""

from __future__ import annotations

import io

import pytest

from cdc.status.progress import RATE_OVER_S, Pace, Progress


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """Where a bar may be drawn."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_elsewhere_a_line_comes_every_five_seconds(clock: Clock) -> None:
    """Not at once, and not for each call; the last one says that it is done."""
    out = io.StringIO()
    progress = Progress("shop.users", total=1000, output=out, clock=clock)
    for second in range(1, 12):
        clock.now_s += 1
        progress.show(second * 50)
    progress.end(1010)

    assert out.getvalue().splitlines() == [
        "shop.users  25%  250 of about 1,000 rows  50 rows/s  15 s left",
        "shop.users  50%  500 of about 1,000 rows  50 rows/s  10 s left",
        "shop.users  100%  1,010 rows  92 rows/s  done",
    ]


def test_a_terminal_has_one_line_that_is_drawn_over(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar, as wide as the terminal at most; cleared where something else is printed."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    progress = Progress("shop.users", total=1000, output=out, clock=clock)
    clock.now_s += 1
    progress.show(500, "waits: the sink is behind")
    progress.show(501)
    progress.clear()
    progress.end(1000)
    first, last = out.getvalue().split("\r\x1b[K")[1], out.getvalue().split("\r\x1b[K")[-1]

    assert first.startswith("shop.users  [############------------]  50%  500 of about")
    assert len(first) == 59
    assert last.startswith("shop.users  [########################]  100%  1,000 rows")
    assert out.getvalue().count("\n") == 1
    assert "501" not in out.getvalue()


def test_a_dumb_terminal_has_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not go back to the line's beginning."""
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    Progress("t", output=out, clock=clock).end(3)

    assert out.getvalue().endswith("done\n")
    assert "\r" not in out.getvalue()


def test_without_a_total_nobody_knows_how_long(clock: Clock) -> None:
    """Neither share nor time left; what was done by an earlier run is no speed of this one."""
    pace = Pace(done=1000, clock=clock)
    clock.now_s += 2
    pace.note(1100)

    assert pace.fields(None) == {"rows": 1100, "of_about": None, "rows_per_s": 50, "left_s": None}


def test_the_rate_is_that_of_late(clock: Clock) -> None:
    """A slow beginning is forgotten."""
    pace = Pace(clock=clock)
    clock.now_s += 1000
    pace.note(10)
    for _ in range(100):
        clock.now_s += RATE_OVER_S / 30
        pace.note(pace.done + 100)

    assert pace.per_s() == pytest.approx(100, rel=0.05)
    assert pace.left_s(pace.done + 1000) == pytest.approx(10, rel=0.05)
