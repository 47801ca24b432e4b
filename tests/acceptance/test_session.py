"""Every command on a server whose defaults would change what our statements say or do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80, Nats, Redis
from cdc.mysql import connection
from cdc.url import parse_url
from tests.support.logins import replication_rights
from tests.support.pipeline import Pipeline, wait_for

PASSWORD = "geheim"
EVERYWHERE = {
    "sql_select_limit": "1",
    "max_join_size": "1",
    "sql_big_selects": "0",
    "sql_safe_updates": "1",
    "sql_auto_is_null": "1",
    "div_precision_increment": "0",
    "group_concat_max_len": "4",
    "max_sort_length": "64",
    "sql_quote_show_create": "0",
    "lc_time_names": "'de_DE'",
    "time_zone": "'+05:30'",
    "completion_type": "2",
    "autocommit": "0",
    "wait_timeout": "1",
    "net_write_timeout": "1",
    "net_read_timeout": "1",
    "lock_wait_timeout": "1",
    "innodb_lock_wait_timeout": "1",
}
MODE = (
    "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH"
)
MYSQL = {"max_execution_time": "1", "sql_mode": f"'{MODE}'"}
MYSQL_NEW = {
    "show_gipk_in_create_table_and_information_schema": "OFF",
    "information_schema_stats_expiry": "31536000",
}
MARIADB = {
    "sql_mode": f"'{MODE},ORACLE,EMPTY_STRING_IS_NULL'",
    "max_statement_time": "0.9",
    "idle_transaction_timeout": "1",
    "idle_readonly_transaction_timeout": "1",
}
INIT_CONNECT = "SET SESSION sql_select_limit = 1, autocommit = 0, time_zone = '+05:30'"
"""Run by the server for logins without its administrator's right, as ours is."""
ROWS = 25
LAST = '{"id":%d,"name":"n%d","code":"x","at":"2026-01-02T03:04:05Z","price":"0.10"}'


class Hostile:
    """A server whose every default is set against us, and a login with the documented rights."""

    def __init__(self, server: MySQL | MariaDB) -> None:
        """Turn its settings; sessions that were open before keep theirs."""
        self.server = server
        self.application = server.connect()
        self.globals = dict(EVERYWHERE)
        if isinstance(server, MySQL80):
            del self.globals["lc_time_names"]  # it comes without other languages
        if isinstance(server, MariaDB):
            self.globals |= MARIADB
        else:
            self.globals |= MYSQL if isinstance(server, MySQL80) else MYSQL | MYSQL_NEW
        init = INIT_CONNECT
        if "information_schema_stats_expiry" in self.globals:
            init += ", use_secondary_engine = FORCED"
        self.execute(
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            "CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, code CHAR(9),"
            " at TIMESTAMP NULL, price DECIMAL(9,2))",
            f"CREATE USER cdc@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT {replication_rights(server)} ON *.* TO cdc@'%'",
            "GRANT SELECT ON shop.* TO cdc@'%'",
            "SET SESSION wait_timeout = 3600, time_zone = '+00:00'",
            *(f"INSERT INTO shop.users VALUES {self.row(n)}" for n in range(ROWS)),
            *(f"SET GLOBAL {name} = {value}" for name, value in self.globals.items()),
            f'SET GLOBAL init_connect = "{init}"',
            "SET GLOBAL TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY",
            "SET SESSION TRANSACTION READ WRITE",
        )
        self.url = f"mysql://cdc:{PASSWORD}@127.0.0.1:{server.port}/shop"

    @staticmethod
    def row(number: int) -> str:
        """Return a row as SQL; `LAST` is what it becomes."""
        return f"({number}, 'n{number}', 'x', '2026-01-02 03:04:05', 0.10)"

    def execute(self, *statements: str) -> Any:
        """Run statements in the application's session; return the last one's rows."""
        with self.application.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()


@pytest.fixture(params=[MySQL, MySQL80, MariaDB, MariaDB1011])
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    """Each server that cdc reads from, of its own because of its settings."""
    with request.param() as server:
        yield Hostile(server)


def test_no_default_of_the_server_reaches_what_is_read(
    hostile: Hostile, nats: Nats, redis_server: Redis, tmp_path: Path
) -> None:
    """Check, first read, changes, verify, dry run, tail and snapshot are right all the same."""
    client = redis.Redis(port=redis_server.port, db=7, decode_responses=True)
    client.flushdb()
    name = f"session{hostile.server.port}"
    with Pipeline(
        tmp_path,
        mysql=hostile.url,
        nats=nats.url,
        redis=f"redis://127.0.0.1:{redis_server.port}/7",
        tables="shop.users",
    ) as pipeline:
        pipeline.environment |= {"CDC_PIPELINE": name, "CDC_STREAM": name} | {
            "CDC_SUBJECT_PREFIX": name,
            "CDC_SNAPSHOT_CHUNK_ROWS": "10",
        }

        def cdc(*arguments: str, code: int = 0) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "cdc", *arguments],
                env=os.environ | pipeline.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert done.returncode == code, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout

        _sessions_are_ours(hostile)
        assert f"{ROWS} rows" in cdc("check")
        hostile.execute(
            "BEGIN",
            f"INSERT INTO shop.users VALUES {hostile.row(900)}",
            "UPDATE shop.users SET name = 'not committed' WHERE id = 3",
        )
        cdc("run", "--dry-run")
        process = pipeline.run()
        wait_for("the first rows", lambda: len(client.keys("users:*")) >= ROWS)
        hostile.execute("ROLLBACK")
        assert client.get("users:900") is None
        assert [client.get(f"users:{n}") for n in range(ROWS)] == [
            LAST % (n, n) for n in range(ROWS)
        ]

        hostile.execute(f"INSERT INTO shop.users VALUES {hostile.row(901)}", "COMMIT")
        wait_for("a change", lambda: client.get("users:901") == LAST % (901, 901))
        assert f"equal   {ROWS + 1} rows" in cdc("verify")
        client.delete("users:5")
        client.set("users:6", "bent")
        (table,) = json.loads(cdc("verify", "--json", code=1))["tables"]
        assert (table["missing"], table["stale"]) == (1, 1), table
        cdc("snapshot", "--table", "users")
        wait_for("the row", lambda: client.get("users:5") == LAST % (5, 5))
        shown = cdc("tail", "--from", "earliest", "--format", "json", "--limit", "1")
        assert json.loads(shown)["key"].startswith("users:")
        assert process.stop() == 0, process.text()


def _sessions_are_ours(hostile: Hostile) -> None:
    """No variable that the server was given for new sessions is what ours has."""
    names = ", ".join(f"'{name}'" for name in (*hostile.globals, "transaction_isolation"))
    with connection.connect(parse_url(hostile.url, ("mysql",))) as ours, ours.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        theirs = dict(cursor.fetchall())
        cursor.execute(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
        found = dict(cursor.fetchall())
    assert len(found) > len(EVERYWHERE)
    assert {name: value for name, value in found.items() if theirs[name] == value} == {}
