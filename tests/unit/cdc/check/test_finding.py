"""A finding, the error that it becomes, and several errors as one."""

from __future__ import annotations

import pytest

from cdc.check.finding import Finding, Fix, Report, of_error, together
from cdc.check.reasons import REASONS
from cdc.errors import CdcError, PermissionDenied, PreflightError, StreamError, UsageError

STOPS = Finding(id="mysql.log-bin", seen="MySQL: log_bin = OFF", fix=Fix(advice="turn it on"))
WARNS = Finding(id="redis.eviction", seen="may evict", stops=False)


@pytest.mark.parametrize(
    ("fix", "lines"),
    [
        (Fix(), [""]),
        (Fix(sql=("A;", "B;")), ["A;", "B;"]),
        (Fix(command="c"), ["c"]),
        (
            Fix(sql=("A;",), command="c", file=("f", "[x]\ny = 1"), advice="then z"),
            ["A;", "c", "in f, then restart the server:", "  [x]", "  y = 1", "then z"],
        ),
        (Fix(managed=(("RDS", "CALL x;"),)), [""]),
    ],
)
def test_a_fix_has_its_parts_as_lines(fix: Fix, lines: list[str]) -> None:
    """SQL first, then a command, a file and advice; not what a managed server needs."""
    assert lines == fix.text().split("\n")


def test_a_finding_stops_or_warns() -> None:
    """One of the two, and a report has each on its side."""
    found = Report(findings=[WARNS, STOPS])

    assert ("warning", "error") == (WARNS.severity, STOPS.severity)
    assert ([STOPS], [WARNS]) == (found.errors, found.warnings)


def test_a_finding_becomes_an_error_with_its_reason() -> None:
    """What was seen and why it matters in one sentence; the fix; that nothing was written."""
    error = STOPS.error()
    why = REASONS["mysql.log-bin"]

    assert (PreflightError, f"MySQL: log_bin = OFF; {why}") == (type(error), error.seen)
    assert ("turn it on", "nothing was written") == (error.fix, error.safe)


def test_a_reason_that_is_empty_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No semicolon with nothing after it."""
    monkeypatch.setitem(REASONS, "mysql.log-bin", "")

    assert STOPS.seen == STOPS.sentence()


def test_an_error_that_a_question_ended_with_is_a_finding() -> None:
    """Its class, and so the exit code of cdc run, stays."""
    error = PermissionDenied("MySQL refuses the login", fix="check it")
    finding = of_error("mysql.refused", error, "shop.users")

    assert finding.stops
    assert finding.table == "shop.users"
    assert (finding.error().exit_code, finding.error().fix) == (77, "check it")


def test_one_error_stays_as_it_is() -> None:
    """With its own text and data."""
    error = UsageError("no table a", safe="s", fix="b?")

    assert together([error]) is error


def test_several_errors_are_one_of_the_first_ones_class() -> None:
    """Numbered, each with its fix; the exit code is the first one's."""
    errors: list[CdcError] = [StreamError("a", fix="b\nc"), UsageError("d", safe="s")]
    both = together(errors)

    assert (StreamError, "nothing was written", "") == (type(both), both.safe, both.fix)
    assert [
        "2 problems",
        "  1. a",
        "     fix:  b",
        "           c",
        "  2. d",
    ] == both.seen.split("\n")
