"""Drain of a backlog: from the start of the process, and from the first change in Redis.

``python -m benchmarks.drain --rows 600000`` measures cdc alone, one kind of backlog.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
import redis

from benchmarks import procfs
from benchmarks.servers import Servers
from benchmarks.systems import Cdc, Running, System, SystemFailed, progress
from benchmarks.workload import DRAINS, Workload, fill, write_backlog

POLL_S = 0.01
TABLE_ROWS = 100_000
STALLED_S = 60.0
"""A system that shows nothing for so long is given up."""


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
        SystemFailed: it ended, or nothing moved for a minute.
    """
    running = system.start(workload)
    try:
        with system.servers.redis_client() as client:
            return _follow(system, running, client, workload, rows, limit_s)
    finally:
        running.stop()


def _follow(
    system: System,
    running: Running,
    client: redis.Redis,
    workload: Workload,
    rows: int,
    limit_s: float,
) -> Drain:
    servers = system.servers.pids()
    first, first_at, _ = _next(running, client, workload, 0, STALLED_S)
    before = procfs.cpu_all_s(servers | running.processes())
    seen, seen_at = first, first_at
    limit_at = running.started + limit_s
    while seen < rows and time.monotonic() < limit_at:
        left_s = min(STALLED_S, max(POLL_S, limit_at - time.monotonic()))
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


def prepare(
    servers: Servers, systems: Sequence[System], workload: Workload, rows: int
) -> int:
    """Fill the table, attach all systems, write the backlog; return its rows."""
    table_rows = min(TABLE_ROWS, max(rows, TABLE_ROWS // 4))
    fill(servers.mysql, workload, table_rows)
    for system in systems:
        system.attach(workload)
    return write_backlog(servers.mysql, workload, rows, table_rows)


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
    return (
        f"{drain.system:9} {drain.rate:9,.0f} rows/s, {drain.rate_from_start:9,.0f} from the "
        f"process's start; first change after {drain.start_s:.2f} s{ended}\n"
        f"          CPU us/row: {cpu}\n          peak MB: {peak}"
    )


def _system(kind: str, servers: Servers) -> System:
    from benchmarks import debezium
    from benchmarks.systems import Debezium, Naive

    if kind == "debezium":
        return Debezium(servers, debezium.prepare())
    return Naive(servers) if kind == "naive" else Cdc(servers)


if __name__ == "__main__":
    main()
