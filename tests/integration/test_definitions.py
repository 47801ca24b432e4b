"""Triggers, views, routines and foreign keys as each server's catalog shows them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.position import Position
from cdc.settings import load
from cdc.url import parse_url
from cdc_reader.binlog.ahead import defines_something
from cdc_reader.binlog.statement import parse_statement
from cdc_reader.look import look_at_definitions
from cdc_reader.schema.reach import captured_of, reached


@dataclass
class Shop:
    """A schema with every detour to its table `users`."""

    server: MySQL | MariaDB
    schema: str

    def execute(self, *statements: str) -> None:
        """Run statements in a session of their own."""
        with self.server.connect(self.schema) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture
def shop(any_server: MySQL | MariaDB) -> Iterator[Shop]:
    """On each server."""
    schema = f"Def_{uuid.uuid4().hex[:8]}"
    with any_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {schema}")
        if not isinstance(any_server, MariaDB):
            cursor.execute("SET GLOBAL log_bin_trust_function_creators = ON")
    made = Shop(any_server, schema)
    made.execute(
        "CREATE TABLE users (id INT PRIMARY KEY)",
        "CREATE TABLE children (id INT, FOREIGN KEY (id) REFERENCES users (id) ON DELETE CASCADE)",
        "CREATE TABLE log (id INT PRIMARY KEY)",
        "CREATE TABLE watched (id INT PRIMARY KEY)",
        "CREATE TABLE part (id INT PRIMARY KEY) ENGINE = MyISAM",
        "CREATE TABLE merged (id INT PRIMARY KEY) ENGINE = MERGE UNION = (part)",
        "CREATE VIEW a_view AS SELECT * FROM users",
        "CREATE TRIGGER t AFTER INSERT ON watched FOR EACH ROW DELETE FROM a_view",
        "CREATE FUNCTION writes() RETURNS INT DETERMINISTIC "
        "BEGIN CALL a_procedure(); RETURN 1; END",
        "CREATE PROCEDURE a_procedure() INSERT INTO watched VALUES (1)",
    )
    yield made
    made.execute(f"DROP DATABASE {schema}")


WAYS = {
    "INSERT INTO log SELECT id FROM users": [],
    "INSERT INTO log VALUES (writes())": ["children", "users"],
    "INSERT INTO watched VALUES (1)": ["children", "users"],
    "DELETE FROM a_view": ["children", "users"],
    "DELETE FROM users": ["children", "users"],
    "DELETE FROM children": ["children"],
    "DELETE FROM merged": ["children", "part", "users"],
}


def test_each_way_to_a_table_is_found(shop: Shop) -> None:
    """By what the catalog has now."""
    url = shop.server.url
    known, _ = look_at_definitions(load({"mysql": url, "tables": ("users",)}, {}))
    assert known is not None
    captured = [f"{shop.schema}.{table}" for table in ("users", "children", "part")]
    found = {
        way: sorted(
            name.partition(".")[2]
            for name in captured_of(reached([parse_statement(way, shop.schema)], known), captured)
        )
        for way in WAYS
    }

    assert found == WAYS


def test_a_login_that_does_not_see_all_of_them_knows_none(shop: Shop) -> None:
    """What is not shown may be there."""
    user = f"u_{uuid.uuid4().hex[:8]}"
    shop.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
    rights = "BINLOG MONITOR" if isinstance(shop.server, MariaDB) else "REPLICATION CLIENT"
    url = f"mysql://{user}:pw@127.0.0.1:{shop.server.port}"
    settings = load({"mysql": url, "tables": ("users",)}, {})
    shop.execute(f"GRANT SELECT, TRIGGER, {rights} ON *.* TO {user}@'%'")
    assert look_at_definitions(settings)[0] is None
    shop.execute(f"GRANT SHOW VIEW ON *.* TO {user}@'%'")
    known, _ = look_at_definitions(settings)
    shop.execute(f"DROP USER {user}@'%'")

    assert known is not None
    assert (shop.schema.lower(), "writes") in known.routines


def test_definitions_between_a_statement_and_now_are_seen(shop: Shop) -> None:
    """Rows and statements that change rows are none; also over several files."""
    settings = load({"mysql": shop.server.url, "tables": ("users",)}, {})
    url = parse_url(shop.server.url, ("mysql",))
    _, start = look_at_definitions(settings)
    shop.execute("INSERT INTO log VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO log VALUES (2)")
    _, end = look_at_definitions(settings)
    shop.execute("CREATE VIEW late AS SELECT 1 AS n")
    _, after = look_at_definitions(settings)
    since = Position(file=start[0], offset=start[1], gtid_set=None)

    assert not asyncio.run(defines_something(url, since, end))
    assert asyncio.run(defines_something(url, since, after))
