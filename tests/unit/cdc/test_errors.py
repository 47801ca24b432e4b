"""Errors: exit codes, what may be retried, what a person sees, and the way between processes."""

from __future__ import annotations

import pickle

import pytest

from cdc import errors
from cdc.errors import (
    EXIT_CODES,
    REFRESH,
    CdcError,
    PermissionDenied,
    PositionLostError,
    SettingsError,
    UnavailableError,
    logging_in,
)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        ("CdcError", 1),
        ("UsageError", 2),
        ("PreflightError", 3),
        ("PositionLostError", 65),
        ("UnavailableError", 69),
        ("InternalError", 70),
        ("StreamError", 73),
        ("PermissionDenied", 77),
        ("SettingsError", 78),
    ],
)
def test_each_error_has_its_exit_code(kind: str, exit_code: int) -> None:
    """The numbers are a contract with whoever starts the command."""
    assert exit_code == getattr(errors, kind).exit_code


def test_a_writer_that_was_overtaken_may_try_again() -> None:
    """Over the pipe of its process it arrives as what it is a kind of: a server to wait for."""
    assert (69, True) == (errors.FencedError("s").exit_code, errors.FencedError("s").retryable)


def test_an_exit_code_leads_back_to_its_error() -> None:
    """All but the base, which is never raised, and a kind of another that keeps its code."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    raised = {k for k in kinds if issubclass(k, CdcError) and "exit_code" in vars(k)} - {CdcError}

    assert {kind.exit_code: kind for kind in raised} == EXIT_CODES
    assert len(raised) == len(EXIT_CODES)


def test_only_a_server_that_is_away_is_retried() -> None:
    """Everything else ends the command."""
    assert [UnavailableError] == [kind for kind in EXIT_CODES.values() if kind.retryable]
    assert not CdcError.retryable


@pytest.mark.parametrize(
    ("safe", "fix", "lines"),
    [
        ("", "", ["error: s"]),
        ("d", "", ["error: s", "  data: d"]),
        ("", "f", ["error: s", "  fix:  f"]),
        ("d", "f\ng", ["error: s", "  data: d", "  fix:  f", "        g"]),
    ],
)
def test_the_text_has_what_was_given_and_no_empty_line(
    safe: str, fix: str, lines: list[str]
) -> None:
    """What was seen, whether the data is safe, what to do; more lines of a fix are below it."""
    assert lines == CdcError("s", safe=safe, fix=fix).text().split("\n")


def test_control_characters_of_a_server_are_written_out() -> None:
    """A server's words may not move the cursor of a terminal."""
    assert "\x1b" not in CdcError("a\x1b[2Jb", safe="\x1b", fix="\x1b").text()


@pytest.mark.parametrize("kind", [CdcError, *EXIT_CODES.values()])
def test_an_error_arrives_whole_in_another_process(kind: type[CdcError]) -> None:
    """Its class, and all three parts."""
    back = pickle.loads(pickle.dumps(kind("s", safe="d", fix="f", heals_by_refresh=True)))

    assert (kind, "s", "d", "f", ("s",)) == (type(back), back.seen, back.safe, back.fix, back.args)
    assert back.heals_by_refresh


def test_a_refresh_heals_only_what_says_so() -> None:
    """The words of the fix decide nothing; where something else is to be done, it does not."""
    assert PositionLostError("s", fix="", heals_by_refresh=True).heals_by_refresh
    assert not PositionLostError("s", fix=REFRESH).heals_by_refresh


@pytest.mark.parametrize("kind", EXIT_CODES.values())
def test_an_error_of_a_login_heals_by_waiting(kind: type[CdcError]) -> None:
    """What a server or a file refuses while logging in; no other error becomes one."""
    with pytest.raises(kind) as caught, logging_in():
        raise kind("s", fix="f\ng")
    is_login = kind in (PermissionDenied, SettingsError)

    assert is_login == caught.value.is_login
    assert caught.value.heals_by_waiting == (is_login or kind is UnavailableError)
    assert caught.value.login_fix == ("f g" if is_login else None)
    assert not kind("s").is_login
