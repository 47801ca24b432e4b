"""`python -m tests.soak --hours 8 [--seed 7]`: random faults, and the truth after each few.

A line each minute, a summary at the end, exit code 1 when anything did not hold.  The seed
replays the same faults in the same order; the servers' own timing is theirs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

import redis

from cdc.demo.servers import MySQL, Nats, Redis
from tests.soak.soak_checks import Observer, Sample, Writer, growth, sample
from tests.soak.soak_faults import Faults
from tests.support.bench import TABLE, Bench
from tests.support.pipeline import Process, wait_for
from tests.support.truth import expected, found

ROWS = 2000
BETWEEN_S = (0.2, 4.0)
CHECK_EVERY = 8
"""Faults between two looks at the whole truth."""
EQUAL_WITHIN_S = 120.0
RECOVERED_WITHIN_S = 60.0
MIN_SAMPLES = 9


class Soak:
    """One run."""

    def __init__(self, bench: Bench, process: Process, seed: int, folder: Path) -> None:
        self.bench, self.process = bench, process
        self.counts: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self.samples: list[Sample] = []
        self.checks = 0
        self.chance = random.Random(seed)
        self.writer = Writer(bench.mysql.connect, TABLE, rows=ROWS, seed=seed)
        client = redis.Redis(port=bench.redis.port, socket_timeout=2)
        marks = [f"users:{n}" for n in range(ROWS + 1, ROWS + 51)]
        self.observer = Observer(client, marks)
        self.faults = Faults(bench, process, self.chance, folder, self.observer.forgive)

    def run(self, end_s: float) -> None:
        """Inject faults until then, and look at the truth."""
        said_s = began_s = time.monotonic()
        while time.monotonic() < end_s:
            time.sleep(self.chance.uniform(*BETWEEN_S))
            self._fault()
            if sum(self.counts.values()) % CHECK_EVERY == 0:
                self.check()
            if time.monotonic() - said_s >= 60:
                said_s = time.monotonic()
                print(f"{(said_s - began_s) / 60:5.1f} min  {self.line()}", flush=True)
        self.check()

    def _fault(self) -> None:
        name = self.faults.inject()
        self.counts[name] += 1
        began_s = time.monotonic()
        said = self.process.text()[-3000:]
        assert self.process.is_running(), f"{name}: cdc run has ended\n{said}"
        self._recovered(name)
        self.recoveries_s.append(time.monotonic() - began_s)

    def _recovered(self, name: str) -> None:
        """Wait until a commit made after the fault is in Redis."""
        commits = self.writer.commits
        wait_for(f"{name}: a commit", lambda: self.writer.commits > commits, RECOVERED_WITHIN_S)
        marks = dict(self.writer.acknowledged)
        mark = max(marks, key=lambda row: marks[row])
        wait_for(
            f"{name}: it in Redis", lambda: self._version(mark) >= marks[mark], RECOVERED_WITHIN_S
        )

    def _version(self, row: int) -> int:
        with suppress(redis.RedisError):
            value = self.bench.client.get(f"users:{row}")
            if isinstance(value, bytes):
                return int(json.loads(value)["ver"])
        return -1

    def check(self) -> None:
        """Let the writer rest; then MySQL equals Redis, and what was acknowledged is there."""
        self.writer.pause()
        self.bench.wait_until_equal(EQUAL_WITHIN_S)
        with self.bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT id, ver FROM {TABLE} WHERE id > {ROWS}")
            there = dict(cursor.fetchall())
            assert len(expected(connection, TABLE)) == len(found(self.bench.client, TABLE))
        lost = {r: v for r, v in self.writer.acknowledged.items() if there.get(r, -1) < v}
        assert not lost, f"acknowledged and not there: {lost}"
        assert not self.observer.backwards, self.observer.backwards[:5]
        assert "Traceback" not in self.process.text()
        self.samples.append(sample(self.process.pid))
        self.checks += 1
        self.writer.resume()

    def line(self) -> str:
        """Return what has happened so far, in one line."""
        now = sample(self.process.pid)
        return (
            f"{sum(self.counts.values())} faults, {self.writer.commits} commits "
            f"({self.writer.unsure} unsure), {self.checks} checks, "
            f"recovery median {median(self.recoveries_s or [0]):.1f} s, "
            f"RSS {now.rss_kib // 1024} MiB, {now.fds} fds, {now.threads} threads"
        )


def soak(hours: float, seed: int) -> int:
    """Run; return the exit code."""
    print(f"seed {seed}: make soak HOURS={hours:g} SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with MySQL(options=("--sync-binlog=0",)) as mysql, Nats() as nats, Redis() as server:
            bench = Bench(mysql, nats, server, folder, proxied=True)
            with closing(bench), bench.pipeline as pipeline:
                run = Soak(bench, pipeline.run(), seed, folder)
                try:
                    run.run(time.monotonic() + hours * 3600)
                    print(f"  end      {run.line()}", flush=True)
                finally:
                    run.observer.stop()
                    run.writer.stop()
                code = run.process.stop()
        return summary(run, code)


def summary(run: Soak, code: int) -> int:
    """Print what happened; return the exit code."""
    for name, count in sorted(run.counts.items()):
        print(f"  {count:6}  {name}")
    recoveries_s = run.recoveries_s
    print(f"recovery: median {median(recoveries_s):.1f} s, longest {max(recoveries_s):.1f} s")
    print(f"checks: {run.checks}, samples of the observer: {run.observer.samples}")
    third = max(1, len(run.samples) // 3)
    for name in Sample.__slots__:
        early = median(getattr(s, name) for s in run.samples[:third])
        late = median(getattr(s, name) for s in run.samples[-third:])
        print(f"{name}: {early:.0f} early, {late:.0f} late")
    wrong = growth(run.samples) if len(run.samples) >= MIN_SAMPLES else []
    wrong += [f"exit code {code} at the end"] * (code != 0)
    wrong += ["the observer saw nothing"] * (run.observer.samples == 0)
    print("\n".join(wrong) or "nothing lost, nothing backwards, nothing grew")
    return int(bool(wrong))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1 / 6, help="10 minutes unless told")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    sys.exit(soak(arguments.hours, arguments.seed))


if __name__ == "__main__":
    main()
