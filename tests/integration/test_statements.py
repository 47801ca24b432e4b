"""Statements in every spelling that a server takes, on real servers: none passes unseen."""

from __future__ import annotations

import pymysql
import pytest
from pymysql.constants import ER

from cdc.demo.servers import MariaDB, MySQL
from tests.support.following import Follower

SPELLINGS = (
    "--\nTRUNCATE TABLE preis€",
    "TRUNCATE TABLE --\npreis€",
    "TRUNCATE TABLE {schema}/* a */./* b */preis€",
    "TRUNCATE TABLE /*! {schema}. */ preis€",
    "TRUNCATE TABLE .preis€",
    'TRUNCATE TABLE "a""b"',
    "DELETE FROM `{schema}`.`v`",
)
"""``DELETE`` in a session with ``binlog_format = STATEMENT``, through a view."""
SPELLING_OF_SOME = "TRUNCATE TABLE .preis€"
"""MariaDB, and MySQL before 8.1, take it."""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_statement_on_a_captured_table_stops_however_it_is_spelt(
    spelling: str, any_server: MySQL | MariaDB
) -> None:
    """A sign above 127 is a letter; comments may be anywhere; a view hides the table."""
    with Follower(any_server) as follower:
        follower.execute(
            "CREATE TABLE preis€ (id INT PRIMARY KEY, n INT)",
            'CREATE TABLE `a"b` (id INT PRIMARY KEY)',
            "INSERT INTO preis€ VALUES (1, 1)",
            "CREATE VIEW v AS SELECT * FROM preis€",
        )
        follower.capture("preis€", 'a"b')
        follower.execute(
            "SET SESSION binlog_format = STATEMENT", "SET SESSION sql_mode = 'ANSI_QUOTES'"
        )
        if spelling.startswith("TRUNCATE TABLE ") and "{schema}" in spelling:
            follower.execute("USE mysql")
        try:
            error = follower.refusal(spelling.format(schema=follower.schema))
        except pymysql.err.ProgrammingError as refused:
            is_of_some = spelling == SPELLING_OF_SOME and not follower.mariadb
            if is_of_some and refused.args[0] == ER.PARSE_ERROR:
                return
            raise
    assert error is not None
    assert ("DELETE" if "DELETE" in spelling else "TRUNCATE") in error.seen
