"""Servers that are elsewhere: every connection over TLS, verified, through links with a delay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cdc.demo.ports import free_port
from cdc.demo.servers import MariaDB, MySQL
from tests.conftest import NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.certificates import Authority, mysql_options, nats_options, redis_options
from tests.support.pipeline import wait_for
from tests.support.truth import Observer
from tests.support.writer import Writer

DELAY_S = 0.002
"""Towards each server and back, so 4 ms a round trip."""
COMMITS = 50


@pytest.fixture(params=[MySQL, MariaDB], ids=lambda kind: str(kind.name))
def bench(
    request: pytest.FixtureRequest, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> Iterator[Bench]:
    """Three servers with certificates, each behind its link."""
    authority = Authority(tmp_path / "certificates")
    files = authority.issue("server")
    tls_port = free_port()
    nats = new_nats(f"{nats_options(files, authority)}\nallow_non_tls: true")
    redis_server = new_redis(redis_options(tls_port, files, authority))
    with request.param(options=mysql_options(files, authority)) as source:
        made = Bench(source, nats, redis_server, tmp_path, proxied=True)
        made.links["redis"].target = tls_port
        for link in made.links.values():
            link.delay_s = DELAY_S
        environment = made.pipeline.environment
        for server, scheme in (("mysql", "mysql"), ("nats", "tls"), ("redis", "rediss")):
            name = f"CDC_{server.upper()}_URL"
            _, _, place = environment[name].partition("://")
            environment[name] = f"{scheme}://{place}?ssl-ca={authority.file}"
        yield made
        made.close()


def cdc(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", *arguments],
        env=os.environ | bench.pipeline.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_main_job_over_tls_with_a_delay(bench: Bench) -> None:
    """check, dry run, tail, run over a restart, wait and verify: all as with servers beside us."""
    checked = cdc(bench, "check", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = cdc(bench, "run", "--dry-run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["dry_run"]["redis"]["missing"] == ROWS // 2
    tailed = cdc(bench, "tail", "--table", TABLE, "--from", "earliest", "--limit", "5")
    assert tailed.returncode == 0, tailed.stderr
    assert len(tailed.stdout.splitlines()) == 5

    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        writer = Writer(bench.mysql.connect, TABLE, seed=9, rows=ROWS, pause_s=0.002)
        process = pipeline.run()
        bench.wait_for_progress()
        before = writer.committed
        wait_for("more commits", lambda: writer.committed > before + COMMITS)
        assert process.stop() == 0, process.text()
        writer.stop()
        process = pipeline.run()
        bench.wait_until_equal()
        waited = cdc(bench, "wait", "--timeout", "30")
        assert waited.returncode == 0, waited.stderr
        verified = cdc(bench, "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert process.stop() == 0, process.text()
        assert "Traceback" not in pipeline.logs()
    observer.stop()

    assert bench.assert_exactly_once() > COMMITS
    assert all(link.accepted for link in bench.links.values())
