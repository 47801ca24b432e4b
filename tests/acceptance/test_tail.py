"""`cdc tail`: the changes of a table, live, with MySQL and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import MariaDB, MySQL
from tests.conftest import NewMySQL
from tests.support.pipeline import wait_for


@pytest.fixture(params=["mysql", "mariadb", "no GTIDs"])
def server(request: pytest.FixtureRequest, new_mysql: NewMySQL) -> Iterator[MySQL | MariaDB]:
    """A server with a table of three rows, and no NATS or Redis anywhere."""
    if request.param == "mariadb":
        with MariaDB() as made:
            _fill(made)
            yield made
    else:
        made_too = new_mysql(gtid=request.param == "mysql", options=("--sync-binlog=0",))
        _fill(made_too)
        yield made_too


def _fill(server: MySQL | MariaDB) -> None:
    execute(
        server,
        "CREATE DATABASE shop",
        "CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(80) CHARACTER SET utf8mb4)",
        "CREATE TABLE shop.other (id INT PRIMARY KEY)",
        "INSERT INTO shop.users VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    )


def execute(server: MySQL | MariaDB, *statements: str) -> Any:
    """Commit statements; return the last one's first value."""
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        row = cursor.fetchone()
    return row[0] if row else None


def environment(server: MySQL | MariaDB) -> dict[str, str]:
    """Return where only MySQL answers."""
    nowhere = {"CDC_NATS_URL": "nats://127.0.0.1:1", "CDC_REDIS_URL": "redis://127.0.0.1:1"}
    return os.environ | nowhere | {"CDC_MYSQL_URL": server.url, "CDC_TABLES": "shop.users"}


def tailing(server: MySQL | MariaDB, *arguments: str) -> subprocess.Popen[str]:
    """Start `cdc tail …`."""
    return subprocess.Popen(
        [sys.executable, "-m", "cdc", "tail", *arguments],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tailed(server: MySQL | MariaDB, *arguments: str) -> tuple[int, list[str], str]:
    """Run `cdc tail …` to its end; return exit code, lines and what stands on stderr."""
    with tailing(server, *arguments) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err


def test_changes_are_shown_as_they_happen(server: MySQL | MariaDB) -> None:
    """From now on: what stood there is not shown; one line each; Ctrl-C ends with 0."""
    with tailing(server) as process:
        assert process.stdout is not None

        def dumps() -> bool:
            found = execute(server, "SELECT COUNT(*) FROM information_schema.processlist"
                            " WHERE command LIKE 'Binlog Dump%'")  # fmt: skip
            return bool(found)

        wait_for("the dump", dumps)
        execute(
            server,
            "UPDATE shop.users SET name = 'Ada\\nL.' WHERE id = 1",
            "INSERT INTO shop.other VALUES (1)",
            "UPDATE shop.users SET id = 9 WHERE id = 2",
            "DELETE FROM shop.users WHERE id = 3",
            "TRUNCATE shop.users",
        )
        lines = [process.stdout.readline().rstrip("\n")[13:] for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert lines == [
        'UPDATE shop.users  users:1  {"id":1,"name":"Ada\\nL."}',
        'UPDATE shop.users  users:2 -> users:9  {"id":9,"name":"b"}',
        "DELETE shop.users  users:3",
        "SCHEMA shop.users  TRUNCATE",
    ]


def test_rows_in_part_are_shown_by_their_keys(server: MySQL | MariaDB) -> None:
    """What the binlog does not have is not looked up: only a run reads it."""
    minimal = "SET SESSION binlog_row_image = 'MINIMAL'"
    execute(server, minimal, "UPDATE shop.users SET id = id + 6 WHERE id > 1")
    how = ("--from", "earliest", "--limit", "6")
    code, lines, err = tailed(server, *how)
    assert code == 0, err
    assert [line[13:] for line in lines[3:]] == [
        "DELETE shop.users  users:2",
        "DELETE shop.users  users:3",
        "PARTIAL shop.users  rows in part, read by key: 8..9",
    ]
    code, lines, _ = tailed(server, *how, "--format", "json")
    about = json.loads(lines[-1])
    assert (about["op"], about["table"], about["keys"]) == ("partial", "shop.users", ["8..9"])


def test_it_begins_where_it_is_told(server: MySQL | MariaDB) -> None:
    """At the oldest binlog, or with a transaction, whichever file it stands in."""
    execute(server, "FLUSH BINARY LOGS", "UPDATE shop.users SET name = 'x' WHERE id = 1")
    variable = "gtid_binlog_pos" if isinstance(server, MariaDB) else "gtid_executed"
    executed = str(execute(server, f"SELECT @@global.{variable}")).replace("\n", "")
    gtid = executed.replace(":1-", ":")
    execute(server, "FLUSH BINARY LOGS", "UPDATE shop.users SET name = 'y' WHERE id = 2")

    code, lines, err = tailed(server, "--from", "earliest", "--format", "json", "--limit", "5")
    assert code == 0, err
    changes = [json.loads(line) for line in lines]
    assert [(c["op"], c["key"]) for c in changes] == [
        ("insert", "users:1"),
        ("insert", "users:2"),
        ("insert", "users:3"),
        ("update", "users:1"),
        ("update", "users:2"),
    ]
    if executed:
        assert changes[3]["gtid"] == gtid
        code, lines, err = tailed(server, "--from", gtid, "--limit", "2")
        assert (code, [line.split("  ")[1] for line in lines]) == (0, ["users:1", "users:2"]), err
        oldest = execute(server, "SHOW BINARY LOGS")
        newest = execute(server, "FLUSH BINARY LOGS", "SHOW BINARY LOGS") and _newest(server)
        assert newest != oldest
        execute(server, f"PURGE BINARY LOGS TO '{newest}'")
        assert tailed(server, "--from", gtid)[0] == 65
        assert tailed(server, "--from", f"{gtid}999")[0] == 2
    assert tailed(server, "--from", "nonsense")[0] == 2
    assert tailed(server, "--table", "shop.usres")[0] == 2


def _newest(server: MySQL | MariaDB) -> str:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOGS")
        return str(list(cursor.fetchall())[-1][0])


def test_masks_and_projections_are_applied(new_mysql: NewMySQL, tmp_path: Path) -> None:
    """What must not leave the reader is not shown either."""
    server = new_mysql(options=("--sync-binlog=0",))
    _fill(server)
    settings = tmp_path / "cdc.toml"
    settings.write_text('[tables."shop.users"]\nmask = { name = "drop" }\n')

    code, lines, err = tailed(
        server, "--config", str(settings), "--from", "earliest", "--limit", "1"
    )

    assert code == 0, err
    assert "users:1" in lines[0]
    assert '"a"' not in lines[0]
