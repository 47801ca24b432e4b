"""Each server goes away while changes flow, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cdc.demo.servers import Server
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.pipeline import Process, wait_for
from tests.support.tally import TALLY
from tests.support.writer import Writer

RECOVERY_S = 10.0


def _killed(server: Server, process: Process) -> None:
    said = len(process.text())
    server.kill()
    TALLY.count("SIGKILL")
    wait_for("a warning", lambda: '"warning"' in process.text()[said:])
    server.start()
    TALLY.count("restart")


def _refusing(bench: Bench, process: Process, *, begin: Any, end: Any) -> None:
    said = len(process.text())
    begin()
    wait_for("a warning", lambda: "sink waiting" in process.text()[said:])
    end()


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
            "the dump thread killed": bench.kill_dumps,
            "MySQL killed": lambda: _killed(bench.mysql, process),
        }
        for number, (name, fault) in enumerate(faults.items(), 1):
            writer = Writer(bench.mysql.connect, TABLE, seed=number, rows=ROWS, pause_s=0.002)
            bench.wait_for_progress()
            fault()
            began_s = time.monotonic()
            writer.stop()
            bench.recovered(name)
            assert time.monotonic() - began_s < RECOVERY_S, name
            bench.wait_until_equal()
        assert process.stop() == 0, process.text()
        assert "Traceback" not in process.text()
        assert "role exited" not in process.text()

    assert bench.assert_exactly_once() > ROWS
