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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import redis

from cdc.demo.servers import MySQL, Nats, Redis
from tests.soak.soak_checks import Observer, Sample, Writer, growth, sample, total
from tests.soak.soak_faults import Faults, wait_until_begun
from tests.support.bench import TABLE, Bench, dead_letters
from tests.support.pair import Pair
from tests.support.pipeline import Process, wait_for
from tests.support.truth import expected, found

ROWS = 2000
COPIES = 2
"""Whole `cdc run`s side by side."""
MOST_DEAD = 3
"""Bare messages around the place where NATS lost its tail: old or new, nobody can say."""
BETWEEN_S = (0.2, 4.0)
CHECK_EVERY = 8
"""Faults between two looks at the whole truth."""
EQUAL_WITHIN_S = 120.0
RECOVERED_WITHIN_S = 60.0
MIN_SAMPLES = 9


class Soak:
    """One run."""

    def __init__(
        self, bench: Bench, copies: Sequence[Process], pair: Pair, seed: int, folder: Path
    ) -> None:
        self.bench, self.copies = bench, copies
        self.counts: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self.samples: list[Sample] = []
        self.checks = 0
        self.chance = random.Random(seed)
        self.writer = Writer(self._connect, TABLE, rows=ROWS, seed=seed)
        client = redis.Redis(port=bench.redis.port, socket_timeout=2)
        marks = [f"users:{n}" for n in range(ROWS + 1, ROWS + 51)]
        self.observer = Observer(client, marks)
        self.faults = Faults(
            bench,
            copies,
            pair,
            self.chance,
            folder,
            on_roll_back=self.observer.forgive,
            at_rest=self._at_rest,
        )

    def _connect(self) -> Any:
        return self.bench.mysql.connect()  # the primary of now

    def run(self, end_s: float) -> None:
        """Inject faults until then, and look at the truth."""
        for process in self.copies:
            wait_until_begun(process)
        self.bench.wait_for_progress()
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
        self._recovered(name)
        for process in self.copies:
            said = process.text()[-3000:]
            assert process.is_running(), f"{name}: cdc run has ended\n{said}"
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

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        self.writer.pause()
        try:
            yield
        finally:
            self.writer.resume()

    def check(self) -> None:
        """Let the writer rest; then MySQL equals Redis, and what was acknowledged is there."""
        with self._at_rest():
            self._check()

    def _check(self) -> None:
        self.bench.wait_until_equal(EQUAL_WITHIN_S)
        with self.bench.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT id, ver FROM {TABLE} WHERE id > {ROWS}")
            there = dict(cursor.fetchall())
            assert len(expected(connection, TABLE)) == len(found(self.bench.client, TABLE))
        lost = {r: v for r, v in self.writer.acknowledged.items() if there.get(r, -1) < v}
        assert not lost, f"acknowledged and not there: {lost}"
        assert not self.observer.backwards, self.observer.backwards[:5]
        assert not any("Traceback" in process.text() for process in self.copies)
        dead, tails = dead_letters(self.bench.nats.url), self.counts["NATS lost its tail"]
        assert dead <= tails * MOST_DEAD, f"{dead} dead letters, NATS lost its tail {tails} times"
        self.samples.append(self._sample())
        self.checks += 1

    def _sample(self) -> Sample:
        return total([sample(process.pid) for process in self.copies])

    def line(self) -> str:
        """Return what has happened so far, in one line."""
        now = self._sample()
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
        with ExitStack() as stack:
            one, other = (
                stack.enter_context(MySQL(options=("--sync-binlog=0", f"--server-id={n}")))
                for n in (11, 12)
            )
            nats, server = stack.enter_context(Nats()), stack.enter_context(Redis())
            bench = Bench(one, nats, server, folder, proxied=True)
            pair = Pair(one, other, bench.links["mysql"])
            pair.replicate()
            with closing(bench), bench.pipeline as pipeline:
                run = Soak(bench, [pipeline.run() for _ in range(COPIES)], pair, seed, folder)
                try:
                    run.run(time.monotonic() + hours * 3600)
                    print(f"  end      {run.line()}", flush=True)
                finally:
                    run.observer.stop()
                    run.writer.stop()
                codes = [process.stop() for process in run.copies]
        return summary(run, codes)


def summary(run: Soak, codes: list[int]) -> int:
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
    wrong += [f"exit codes {codes} at the end"] * any(codes)
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
