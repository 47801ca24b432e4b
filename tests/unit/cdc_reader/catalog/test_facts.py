"""What of a server's configuration is refused, and the statement that fixes it."""

from __future__ import annotations

import ssl

import pymysql
import pytest

from cdc.errors import (
    CdcError,
    InternalError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)
from cdc.mysql.connection import of_login, translated
from cdc.url import parse_url
from cdc_reader.catalog.source_check import ServerFacts, check_retention, check_source

URL = parse_url("mysql://ada:Kanarienvogel@db.example/shop", ("mysql",))
GOOD = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_row_value_options": "",
    "binlog_expire_logs_seconds": "2592000",
    "server_id": "1",
}


def facts(
    changed: dict[str, str] | None = None, *, mariadb: bool = False, gtid: bool = True
) -> ServerFacts:
    return ServerFacts(
        mariadb=mariadb,
        version=(11, 8, 9) if mariadb else (9, 7, 4),
        version_text="11.8.9-MariaDB" if mariadb else "9.7.4",
        gtid=gtid,
        server="uuid",
        variables=GOOD | (changed or {}),
    )


def test_a_server_that_is_set_up_well_has_no_findings() -> None:
    """A correct setting has no finding."""
    assert check_source(facts()) == []


@pytest.mark.parametrize(
    ("variable", "value", "statement"),
    [
        ("binlog_format", "MIXED", "SET PERSIST binlog_format = 'ROW';"),
        ("server_id", "0", "SET PERSIST server_id = 1;"),
    ],
)
def test_what_would_lose_changes_stops_with_its_statement(
    variable: str, value: str, statement: str
) -> None:
    """One finding, which stops, with the exact SQL."""
    (finding,) = check_source(facts({variable: value}))

    assert finding.stops
    assert finding.error().exit_code == 3
    assert variable in finding.seen
    assert statement in finding.fix.text()


@pytest.mark.parametrize("value", ["MINIMAL", "NO_LOG", ""])
def test_a_server_that_names_no_columns_is_refused_where_statements_pass(value: str) -> None:
    """With on_schema_change = "continue" alone: the catalog's names could be of another moment."""
    server = facts({"binlog_row_metadata": value})
    (finding,) = check_source(server, needs_names=True)

    assert (finding.id, finding.stops) == ("mysql.binlog-row-metadata", True)
    assert "SET PERSIST binlog_row_metadata = 'FULL';" in finding.fix.text()
    assert check_source(server) == []
    assert check_source(facts(), needs_names=True) == []


def test_mariadb_gets_its_own_statement_and_a_line_for_its_file() -> None:
    """MariaDB has no SET PERSIST."""
    (finding,) = check_source(facts({"binlog_format": "MIXED"}, mariadb=True))

    assert "SET GLOBAL binlog_format = 'ROW';" in finding.fix.text()
    assert "my.cnf:  binlog_format = ROW" in finding.fix.text()


def test_a_binlog_that_is_off_is_the_only_finding() -> None:
    """What it would write does not matter before it writes."""
    (finding,) = check_source(facts({"log_bin": "OFF", "binlog_format": "MIXED"}))

    assert "binlog is off" in finding.seen
    assert "log_bin = binlog" in finding.fix.text()


def test_all_findings_come_together() -> None:
    """Two wrong variables are two findings; rows in part and without names are none."""
    found = check_source(
        facts(
            {
                "binlog_format": "MIXED",
                "binlog_row_image": "MINIMAL",
                "binlog_row_metadata": "MINIMAL",
                "server_id": "0",
            }
        )
    )

    assert len(found) == 2


def test_what_may_hurt_later_is_said_and_does_not_stop() -> None:
    """No GTIDs; binlogs that are kept for an hour."""
    short = facts({"binlog_expire_logs_seconds": "3600"}, gtid=False)
    found = [*check_source(short), *check_retention(short)]

    assert [finding.stops for finding in found] == [False, False]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1045, PermissionDenied),
        (1142, PermissionDenied),
        (1227, PermissionDenied),
        (3159, PermissionDenied),
        (1049, UsageError),
        (1040, UnavailableError),
        (1053, UnavailableError),
        (2003, UnavailableError),
        (2013, UnavailableError),
        (1064, InternalError),
    ],
)
def test_numbers_of_errors_become_kinds_of_errors(number: int, kind: type[CdcError]) -> None:
    """A login is refused, a server is away, a statement of ours is wrong: each its own."""
    error = translated(pymysql.err.OperationalError(number, "words"), URL)

    assert type(error) is kind
    assert "db.example:3306" in error.seen
    assert "Kanarienvogel" not in error.text()


@pytest.mark.parametrize(
    ("number", "is_login"),
    [
        *((n, True) for n in (1045, 1130, 1698, 1820, 1862, 2026, 3118, 3159, 3955, 4150, 4151)),
        *((n, False) for n in (1044, 1142, 1227, 1040, 1049, 2003, 1064)),
    ],
)
def test_another_password_heals_a_login_and_nothing_else(number: int, is_login: bool) -> None:
    """A right that is missing is none, also where it is that to the database of the URL."""
    assert of_login(pymysql.err.OperationalError(number, "words"), URL).is_login == is_login


def test_a_connection_lost_without_a_number_is_waited_for() -> None:
    """PyMySQL raises (0, '') on a connection that is gone."""
    assert translated(pymysql.err.InterfaceError(0, ""), URL).retryable
    assert translated(ConnectionResetError(104, "reset"), URL).retryable


def test_a_certificate_that_fails_is_no_server_that_is_down() -> None:
    """Retrying does not help, so it exits with 77 and names the fix."""
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error = pymysql.err.OperationalError(2003, "Can't connect")
    error.__cause__ = cause

    assert isinstance(translated(error, URL), PermissionDenied)
    assert "ssl-ca" in translated(error, URL).fix
