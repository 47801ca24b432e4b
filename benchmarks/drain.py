"""Drain of a backlog: from the start of the process, and from the first change in Redis.

``python -m benchmarks.drain --rows 600000`` measures cdc alone, one kind of backlog.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import redis

from benchmarks import procfs
from benchmarks.servers import Servers
from benchmarks.systems import Cdc, Running, System, SystemFailed, progress
from benchmarks.workload import (
    CHURN_SHIFT,
    DRAINS,
    SCHEMA,
    Workload,
    fill,
    write_backlog,
    write_spread,
)

POLL_S = 0.01
SAMPLE_ROWS = 1_000
"""Rows that are compared after a drain."""
TABLE_ROWS = 100_000


@dataclass(slots=True)
class Drain:
    """How one system took one backlog."""

    system: str
    rows: int
    """Changed rows between the first and the last one seen in Redis."""
    start_s: float
    """From the start of the process to the first change in Redis."""
    first_s: float
    """From the first change seen in Redis to the last."""
    total_rows: int
    finished: bool
    """False: the time was up; `total_rows` is as far as it came."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """CPU time of each process from the first change to the last, servers included."""
    peak_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Rows per second from the first change to the last."""
        return self.rows / self.first_s if self.first_s > 0 else 0.0

    @property
    def rate_from_start(self) -> float:
        """Rows per second from the start of the process."""
        return self.total_rows / (self.start_s + self.first_s)

    def cpu_us_per_row(self) -> dict[str, float]:
        """Return ``{"cdc reader": 7.4, "mysql": 0.3}``."""
        return {name: s / self.rows * 1e6 for name, s in self.cpu_s.items() if self.rows}


def measure(system: System, workload: Workload, rows: int, limit_s: float) -> Drain:
    """Start an attached system and follow it to the end of the backlog, or to the limit.

    Raises:
        SystemFailed: it ended, or showed nothing within the limit.
    """
    running = system.start(workload)
    try:
        with system.servers.redis_client() as client:
            done = _follow(system, running, client, workload, rows, limit_s)
            if done.finished:
                check(system, client, workload, rows)
            return done
    finally:
        running.stop()


def check(system: System, client: redis.Redis, workload: Workload, rows: int) -> None:
    """Compare some rows in Redis with MySQL's.

    A row that the backlog did not touch may be missing in Redis, none may differ.

    Raises:
        SystemFailed: one does; its rate would be that of another job.
    """
    filled = table_rows(workload, rows)
    ids = random.sample(range(1, filled + 1), k=min(SAMPLE_ROWS, filled))
    if workload.churn:
        ids += [each + CHURN_SHIFT for each in ids]
    with system.servers.mysql.connect(SCHEMA) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id, visits FROM {workload.table} WHERE id IN %s", (ids,))
        visits = dict(cursor.fetchall())
    values: Any = client.mget([f"{workload.table}:{each}" for each in ids])
    for each, value in zip(ids, values, strict=True):
        missing_but_touched = value is None and visits.get(each, 0) > 0
        if missing_but_touched or (value is not None and progress(value) != visits.get(each)):
            raise SystemFailed(f"{system.name} shows {each} otherwise than MySQL")


def _follow(
    system: System,
    running: Running,
    client: redis.Redis,
    workload: Workload,
    rows: int,
    limit_s: float,
) -> Drain:
    servers = system.servers.pids()
    first, first_at, _ = _next(running, client, workload, 0, limit_s)
    before = procfs.cpu_all_s(servers | running.processes())
    seen, seen_at = first, first_at
    limit_at = running.started + limit_s
    while seen < rows and time.monotonic() < limit_at:
        left_s = max(POLL_S, limit_at - time.monotonic())
        seen, seen_at, moved = _next(running, client, workload, seen, left_s)
        if not moved:
            break
    pids = servers | running.processes()
    after = procfs.cpu_all_s(pids)
    return Drain(
        system=system.name,
        rows=seen - first,
        start_s=first_at - running.started,
        first_s=seen_at - first_at,
        total_rows=seen,
        finished=seen >= rows,
        cpu_s={name: after[name] - before.get(name, 0.0) for name in after},
        peak_bytes={name: procfs.peak_bytes(pid) for name, pid in pids.items()},
    )


def _next(
    running: Running, client: redis.Redis, workload: Workload, seen: int, wait_s: float
) -> tuple[int, float, bool]:
    """Wait until the marker says more than `seen`; return what it says, when, and whether so."""
    end = time.monotonic() + wait_s
    while True:
        found = progress(client.get(workload.marker_key))
        now = time.monotonic()
        if found > seen:
            return found, now, True
        if now > end:
            if seen == 0:
                raise SystemFailed(f"{running.name} shows nothing within {wait_s:g} s")
            return seen, now, False
        running.check()
        time.sleep(POLL_S)


def prepare(servers: Servers, systems: Sequence[System], workload: Workload, rows: int) -> int:
    """Fill the table, attach all systems, write the backlog; return its rows."""
    size = table_rows(workload, rows)
    fill(servers.mysql, workload, size)
    for system in systems:
        system.attach(workload)
    write = write_spread if workload.tables > 1 else write_backlog
    return write(servers.mysql, workload, rows, size)


def table_rows(workload: Workload, rows: int) -> int:
    """Return how many rows each table has for a backlog of so many changes."""
    size = min(TABLE_ROWS, max(rows, TABLE_ROWS // 4)) // workload.tables
    return max(size, workload.per_transaction)


@click.command(context_settings={"show_default": True})
@click.option("--rows", default=600_000, help="Rows changed in the backlog.")
@click.option("--rounds", default=3, help="How often it is drained.")
@click.option(
    "--workload",
    "name",
    default=DRAINS[0].name,
    type=click.Choice([workload.name for workload in DRAINS]),
)
@click.option("--limit-s", default=120.0, help="Longest drain.")
@click.option("--system", "kind", default="cdc", type=click.Choice(["cdc", "naive", "debezium"]))
def main(rows: int, rounds: int, name: str, limit_s: float, kind: str) -> None:
    """Drain a backlog through NATS into Redis and print rows/s and CPU a row."""
    workload = next(each for each in DRAINS if each.name == name)
    with Servers() as servers:
        system = _system(kind, servers)
        written = prepare(servers, [system], workload, rows)
        click.echo(f"{workload.title}: {written:,} rows")
        for _ in range(rounds):
            click.echo(text(measure(system, workload, written, limit_s)))


def text(drain: Drain) -> str:
    """Return a drain in two lines for a person."""
    cpu = "  ".join(f"{name} {us:.1f}" for name, us in drain.cpu_us_per_row().items())
    peak = "  ".join(f"{name} {size / 1e6:.0f}" for name, size in drain.peak_bytes.items())
    ended = "" if drain.finished else f" (stopped at {drain.total_rows:,})"
    lines = [
        f"{drain.system:9} {drain.rate:9,.0f} rows/s, {drain.rate_from_start:9,.0f} from the "
        f"process's start; first change after {drain.start_s:.2f} s{ended}"
    ]
    if cpu:
        lines.append(f"          CPU us/row: {cpu}")
    return "\n".join([*lines, f"          peak MB: {peak}"])


def _system(kind: str, servers: Servers) -> System:
    from benchmarks import debezium
    from benchmarks.systems import Debezium, Naive

    if kind == "debezium":
        return Debezium(servers, debezium.prepare())
    return Naive(servers) if kind == "naive" else Cdc(servers)


if __name__ == "__main__":
    main()
