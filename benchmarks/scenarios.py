"""The scenarios of a run; each adds its values to the results."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks import drain, latency, limit, procfs
from benchmarks.measurement import OURS, Results
from benchmarks.servers import Servers, wait_until
from benchmarks.systems import Naive, Running, System, SystemFailed
from benchmarks.workload import DRAINS, Workload, fill, touch_marker, write_backlog

RATES_PER_S = (100, 1_000, 5_000)
IDLE_S, SETTLE_S = 15.0, 3.0
HELP_RUNS = 10
TABLES = (1, 10, 100)
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
MANY_ROWS = 1_000_000
"""More take minutes: they are measured once, with ours alone."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rows: int = 500_000
    """Of a drain's backlog; half of a backfill's table."""
    large_rows: int = 10_000_000
    """Of the one transaction, and of the largest backlog of growth."""
    rounds: int = 3
    limit_s: float = 60.0
    """Longest single drain; a slow system is measured as far as it comes.  Ten times as long
    for a backfill, one transaction and growth."""
    latency_s: float = 6.0
    """How long each rate of the latency scenario lasts."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a scenario works with."""

    servers: Servers
    systems: Sequence[System]
    options: Options
    results: Results
    say: Callable[[str], None]
    keep: Callable[[], None] = lambda: None
    """Writes down what has been measured so far."""

    @property
    def ours(self) -> list[System]:
        """The system that this project is, where it is measured."""
        return [system for system in self.systems if system.name == OURS]

    @property
    def fast(self) -> list[System]:
        """All but the naive form, whose rate is known after the drains."""
        return [system for system in self.systems if not isinstance(system, Naive)]

    @contextmanager
    def attempt(self, scenario: str, system: str) -> Iterator[None]:
        """Note what ends one measurement and go on with the others."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the hour before it is not lost
            why = str(error) if isinstance(error, SystemFailed | TimeoutError) else repr(error)
            self.results.note(f"{scenario}: {system} failed: {why}")
            self.say(f"  {system} failed: {why}")
        finally:
            self.keep()

    def patient(self, rows: int) -> Run:
        """Return the same run with more time, and one round alone for `MANY_ROWS`."""
        options = replace(self.options, limit_s=self.options.limit_s * 10)
        if rows > MANY_ROWS:
            options = replace(options, rounds=1)
        return replace(self, options=options)

    def in_turn(self, systems: Sequence[System]) -> Iterator[tuple[int, System]]:
        """Yield every system in every round; the first of a round changes."""
        for number in range(self.options.rounds):
            shift = number % max(1, len(systems))
            for system in [*systems[shift:], *systems[:shift]]:
                yield number, system


def drains(run: Run, workload: Workload) -> None:
    """Every system drains the same backlog, round by round; the limit for the first kind."""
    systems = _attached(run, workload, run.systems)
    start = _binlog_end(run.servers)
    written = _backlog(run, workload, _wanted(run, workload))
    run.results.note(f"{workload.name}: a backlog of {written:,} rows")
    for _, system in run.in_turn(systems):
        with run.attempt(workload.name, system.name):
            _one_drain(run, workload, system, written)
    if workload.name == DRAINS[0].name:
        for _ in range(run.options.rounds):
            _limit(run, workload.name, start, written)


def _one_drain(
    run: Run, workload: Workload, system: System, rows: int, scenario: str | None = None
) -> drain.Drain:
    limit_s = min(run.options.limit_s, system.longest_s)
    done = drain.measure(system, workload, rows, limit_s)
    run.say(drain.text(done))
    name = scenario or workload.name
    add = run.results.add
    if done.rows:
        add(name, system.name, "rows/s", done.rate)
    add(name, system.name, "rows/s from start", done.rate_from_start)
    per_row = done.cpu_us_per_row()
    if per_row:
        add(name, system.name, "CPU us/row", sum(per_row.values()))
    for process, us in per_row.items():
        add(name, system.name, f"CPU us/row: {process}", us)
    for process, size in done.peak_bytes.items():
        add(name, system.name, f"peak MB: {process}", size / 1e6)
    if not done.finished:
        run.results.note(
            f"{name}: {system.name} was stopped after {limit_s:g} s; its rates are "
            "those up to there"
        )
    return done


def _limit(run: Run, scenario: str, start: tuple[str, int], rows: int) -> None:
    steps = limit.measure(run.servers, start, rows)
    top = limit.ceiling(steps, limit.cores())
    run.results.add(scenario, "limit", "rows/s", top)
    total = sum(step.cpu_us_per_row for step in steps)
    run.results.add(scenario, "limit", "CPU us/row", total)
    for step in steps:
        run.results.add(scenario, "limit", f"rows/s: {step.step} alone", step.rate)
        run.results.add(scenario, "limit", f"CPU us/row: {step.step}", step.cpu_us_per_row)
    run.say(f"limit     {top:9,.0f} rows/s, servers alone {total:.1f} us/row")


def latencies(run: Run) -> None:
    """Commit to Redis at three rates, and what the method adds."""
    workload = latency.WORKLOAD
    fill(run.servers.mysql, workload, latency.CONNECTIONS)
    run.servers.restore("blank")
    for _ in range(run.options.rounds):
        with run.attempt("latency", "method"):
            for rate in RATES_PER_S:
                _add_latency(run, "method", None, rate)
    for _, system in run.in_turn(run.systems):
        with run.attempt("latency", system.name):
            running = system.begin(workload)
            try:
                system.await_streaming(running, workload)
                for rate in RATES_PER_S:
                    if not _add_latency(run, system.name, running, rate):
                        break
            finally:
                running.stop()


def _add_latency(run: Run, system: str, running: Running | None, rate: int) -> bool:
    """Measure at one rate; return whether the system kept up."""
    name = f"latency {rate}/s"
    seen = latency.measure(run.servers, running, rate, run.options.latency_s)
    run.say(
        f"{system:9} p50 {seen.p50_ms:.2f} p99 {seen.p99_ms:.2f} max {seen.max_ms:.2f} ms "
        f"at {seen.achieved_per_s:,.0f}/s, unseen {seen.unseen}"
    )
    if seen.unseen and not seen.max_ms:
        raise SystemFailed(f"none of {seen.unseen:,} commits at {rate:,}/s came through")
    for quantity in ("p50_ms", "p99_ms", "max_ms"):
        run.results.add(name, system, quantity.replace("_", " "), getattr(seen, quantity))
    run.results.add(name, system, "commits/s", seen.achieved_per_s)
    for process, percent in seen.percent_of_a_core.items():
        run.results.add(name, system, f"% of a core: {process}", percent)
    if seen.achieved_per_s < 0.95 * rate:
        run.results.note(
            f"{name}: beside {system}, MySQL committed less than {rate:,}/s: the machine was full"
        )
    if seen.unseen:
        run.results.note(f"{name}: {system} fell behind, {seen.unseen} commits not seen")
    return not seen.unseen


def backfill(run: Run) -> None:
    """Read a table that has rows already into an empty Redis."""
    rows = 2 * run.options.rows
    workload = Workload("backfill", "rows that stand there already", 100)
    run.results.note(f"backfill: {rows:,} rows; Redis is empty, each round a new start")
    fill(run.servers.mysql, workload, rows)
    for _, system in run.in_turn(run.fast):
        with run.attempt("backfill", system.name):
            run.servers.restore("blank")
            system.forget()
            running = system.run(workload.names(), snapshot=True)
            try:
                _one_backfill(run, running, workload, rows)
            finally:
                running.stop()


def _one_backfill(run: Run, running: Running, workload: Workload, rows: int) -> None:
    with run.servers.redis_client() as client:

        def enough(wanted: int) -> bool:
            running.check()
            return int(client.dbsize()) >= wanted

        limit_s = run.patient(rows).options.limit_s
        wait_until("the first row", lambda: enough(3), limit_s, pause_s=0.01)
        first_at = time.monotonic()
        # The marker's row is one of them; its key comes last.
        found = lambda: enough(rows) and client.exists(workload.marker_key) == 1  # noqa: E731
        wait_until("all rows", found, limit_s, pause_s=0.01)
    now = time.monotonic()
    pids = run.servers.pids() | running.processes()
    run.results.add("backfill", running.name, "rows/s", rows / (now - first_at))
    run.results.add("backfill", running.name, "rows/s from start", rows / (now - running.started))
    for process, pid in pids.items():
        run.results.add(
            "backfill", running.name, f"peak MB: {process}", procfs.peak_bytes(pid) / 1e6
        )
    run.say(f"{running.name:9} {rows / (now - first_at):9,.0f} rows/s")


def one_transaction(run: Run) -> None:
    """One transaction of many rows: what each process needs of memory."""
    rows = run.options.large_rows
    workload = Workload("onetx", "one transaction", rows)
    fill(run.servers.mysql, workload, rows)
    some = run.ours if rows > MANY_ROWS else run.fast
    systems = _attached(run, workload, some, filled=True)
    written = write_backlog(run.servers.mysql, workload, rows, rows)
    run.results.note(f"onetx: one transaction of {written:,} rows")
    patient = run.patient(rows)
    for _, system in patient.in_turn(systems):
        with run.attempt(workload.name, system.name):
            _one_drain(patient, workload, system, written)


def start_up(run: Run) -> None:
    """`cdc --help`, and from the start of a process to a change that waited for it in Redis."""
    for _ in range(HELP_RUNS):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "cdc", "--help"], check=True, capture_output=True)
        run.results.add("start", OURS, "--help ms", (time.monotonic() - began) * 1e3)
    workload = Workload("start", "start of a process", 1)
    fill(run.servers.mysql, workload, 1000)
    systems = _attached(run, workload, run.systems, filled=True)
    touch_marker(run.servers.mysql, workload.table, 1)
    for _, system in run.in_turn(systems):
        with run.attempt("start", system.name):
            done = drain.measure(system, workload, 1, run.options.limit_s)
            run.results.add("start", system.name, "to streaming ms", done.start_s * 1e3)
            run.say(f"{system.name:9} streams after {done.start_s * 1e3:.0f} ms")


def idle(run: Run) -> None:
    """CPU of a system that has nothing to do, and of the servers beside it."""
    workload = Workload("idle", "nothing to do", 1)
    fill(run.servers.mysql, workload, 1000)
    for _, system in run.in_turn(_attached(run, workload, run.systems, filled=True)):
        with run.attempt("idle", system.name):
            running = system.start(workload)
            try:
                system.await_streaming(running, workload)
                _one_idle(run, running)
            finally:
                running.stop()


def _one_idle(run: Run, running: Running) -> None:
    time.sleep(SETTLE_S)
    own = running.processes()
    pids = run.servers.pids() | own
    before = procfs.cpu_all_s(pids)
    time.sleep(IDLE_S)
    after = procfs.cpu_all_s(pids)
    used = procfs.percent_of_a_core(before, after, IDLE_S)
    run.results.add("idle", running.name, "% of a core", sum(used[name] for name in own))
    for name, percent in used.items():
        run.results.add("idle", running.name, f"% of a core: {name}", percent)
    for name, pid in own.items():
        run.results.add("idle", running.name, f"peak MB: {name}", procfs.peak_bytes(pid) / 1e6)
    run.say(f"{running.name:9} {sum(used[name] for name in own):.2f} % of a core")


def growth(run: Run) -> None:
    """Ours alone: rate and memory from ten thousand rows up, and over more tables."""
    for rows in [size for size in SIZES if size <= run.options.large_rows]:
        _grown(run, f"growth {rows:,} rows", DRAINS[0], rows)
    for tables in TABLES:
        workload = Workload("spread", "many tables", 100, tables=tables)
        _grown(run, f"growth {tables} tables", workload, min(200_000, run.options.rows))


def _grown(run: Run, scenario: str, workload: Workload, rows: int) -> None:
    written = drain.prepare(run.servers, run.ours, workload, rows)
    patient = run.patient(rows)
    for _, system in patient.in_turn(run.ours):
        with run.attempt(scenario, system.name):
            _one_drain(patient, workload, system, written, scenario)


def _attached(
    run: Run, workload: Workload, systems: Sequence[System], filled: bool = False
) -> list[System]:
    """Attach systems to a workload's table; return those that could be."""
    if not filled:
        fill(run.servers.mysql, workload, drain.table_rows(workload, _wanted(run, workload)))
    done = []
    for system in systems:
        with run.attempt(workload.name, system.name):
            system.attach(workload)
            done.append(system)
    return done


def _wanted(run: Run, workload: Workload) -> int:
    return int(run.options.rows * workload.share)


def _backlog(run: Run, workload: Workload, rows: int) -> int:
    return write_backlog(run.servers.mysql, workload, rows, drain.table_rows(workload, rows))


def _binlog_end(servers: Servers) -> tuple[str, int]:
    with servers.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOG STATUS")
        row = cursor.fetchone()
    assert row is not None, "the binlog is on"
    return str(row[0]), int(row[1])


def _drain_of(workload: Workload) -> Callable[[Run], None]:
    return lambda run: drains(run, workload)


SCENARIOS: dict[str, Callable[[Run], None]] = {
    **{workload.name: _drain_of(workload) for workload in DRAINS},
    "latency": latencies,
    "backfill": backfill,
    "onetx": one_transaction,
    "start": start_up,
    "idle": idle,
    "growth": growth,
}
