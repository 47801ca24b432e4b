"""Each server goes away while changes flow, and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pymysql
import redis

from cdc.demo.servers import Server
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pipeline import Process, wait_for
from tests.support.writer import Writer

RECOVERY_S = 10.0
MARK = 150
"""An id that is written when everything is there again."""


def _killed(server: Server, process: Process) -> None:
    said = len(process.text())
    server.kill()
    wait_for("a warning", lambda: '"warning"' in process.text()[said:])
    server.start()


def _dump_killed(bench: Bench) -> None:
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        for row in cursor.fetchall():
            if "Binlog Dump" in str(row[4]):
                cursor.execute(f"KILL {row[0]}")


def _refusing(bench: Bench, process: Process, *, begin: Any, end: Any) -> None:
    said = len(process.text())
    begin()
    wait_for("a warning", lambda: "sink waits" in process.text()[said:])
    end()


def _write_mark(bench: Bench, version: int) -> None:
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"REPLACE INTO {TABLE} VALUES ({MARK}, 'mark', '1.00', {version})")


def _shows(bench: Bench, version: int) -> bool:
    with suppress(redis.RedisError):
        value: Any = bench.client.get(f"users:{MARK}")
        return value is not None and json.loads(value)["ver"] == version
    return False


def test_every_server_may_go_away_while_changes_flow(bench: Bench) -> None:
    """It is said, waited for, and caught up with in 10 s; nothing is lost or repeated."""
    client = bench.client
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        faults: dict[str, Callable[[], Any]] = {
            "NATS killed": lambda: _killed(bench.nats, process),
            "Redis killed": lambda: _killed(bench.redis, process),
            "FLUSHALL": client.flushall,
            "Redis full": lambda: _refusing(
                bench,
                process,
                begin=lambda: client.config_set("maxmemory", "1"),
                end=lambda: client.config_set("maxmemory", "0"),
            ),
            "Redis a replica": lambda: _refusing(
                bench,
                process,
                begin=lambda: client.replicaof("127.0.0.1", bench.nats.port),
                end=lambda: client.replicaof("NO", "ONE"),
            ),
            "the dump thread killed": lambda: _dump_killed(bench),
            "MySQL killed": lambda: _killed(bench.mysql, process),
        }
        for number, (name, fault) in enumerate(faults.items(), 1):
            writer = Writer(bench.mysql.connect, TABLE, seed=number, rows=ROWS, pause_s=0.002)
            bench.wait_for_progress()
            fault()
            began_s = time.monotonic()
            # It was connected to the MySQL that is gone.
            with suppress(pymysql.MySQLError):
                writer.stop()
            version = number * 1_000_000
            _write_mark(bench, version)
            wait_for(f"{name}: the mark", lambda v=version: _shows(bench, v))  # type: ignore[misc]
            assert time.monotonic() - began_s < RECOVERY_S, name
            bench.wait_until_equal()
        assert process.stop() == 0, process.text()
        assert "Traceback" not in process.text()
        assert "a role died" not in process.text()

    assert bench.assert_exactly_once() > ROWS
