"""The statements that each session begins with."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from cdc.mysql.session import ISOLATION_SQL, SESSION_SQL


def assigned(version: int, *, mariadb: bool) -> dict[str, str]:
    """Return what a server of this version reads, comments with versions as it takes them."""

    def taken(found: re.Match[str]) -> str:
        where, text = found.groups()
        is_run = mariadb if where == "M!" else not mariadb and version >= int(where[1:])
        return text if is_run else ""

    sql = re.sub(r"/\*(M!|!\d{5}) (.*?) \*/", taken, SESSION_SQL)
    pairs = re.findall(r"SESSION (\w+) = ('[^']*'|\S+?)(?=,|\s|$)", sql)
    assert len(pairs) == len(re.findall("SESSION", sql)) == sql.count(",") + 1
    return dict(pairs)


SERVERS = [(80000, False), (80046, False), (90704, False), (101118, True), (110809, True)]


@pytest.mark.parametrize(("version", "mariadb"), SERVERS)
def test_one_statement_for_every_server(version: int, mariadb: bool) -> None:
    """Whatever comments it takes in, it is a list of assignments and sets the common ones."""
    found = assigned(version, mariadb=mariadb)

    assert {
        "sql_mode": "''",
        "time_zone": "'+00:00'",
        "character_set_results": "utf8mb4",
        "sql_select_limit": "18446744073709551615",
        "autocommit": "1",
        "completion_type": "0",
        "sql_safe_updates": "0",
    }.items() <= found.items()


@pytest.mark.parametrize(
    ("name", "servers"),
    [
        ("max_execution_time", [True, True, True, False, False]),
        ("use_secondary_engine", [False, True, True, False, False]),
        ("show_gipk_in_create_table_and_information_schema", [False, True, True, False, False]),
        ("max_statement_time", [False, False, False, True, True]),
    ],
)
def test_a_variable_is_set_where_it_exists(name: str, servers: list[bool]) -> None:
    """Another server would refuse the whole statement."""
    assert servers == [name in assigned(version, mariadb=mariadb) for version, mariadb in SERVERS]


def test_no_variable_is_set_twice() -> None:
    """The second one would win."""
    counts = Counter(re.findall(r"SESSION (\w+) =", SESSION_SQL))

    assert [] == [name for name, count in counts.items() if count > 1]


def test_a_read_sees_nothing_that_is_not_committed() -> None:
    """And a read view lasts: READ COMMITTED would not do for a snapshot."""
    assert ISOLATION_SQL == "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
