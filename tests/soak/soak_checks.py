"""What must hold: nothing lost, nothing shown backwards, nothing that grows."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pymysql
import redis

from tests.support.pipeline import descendants

TOLERANCE = {"rss_kib": (1.3, 16_384), "fds": (1.2, 10), "threads": (1.0, 3)}
"""Late medians may be this many times the early ones, and so much more."""


class Writer:
    """An application that outlives its server: inserts, updates, deletes, keys that change.

    It notes what was acknowledged; a commit whose answer was lost may be there or not.
    """

    def __init__(self, connect: Callable[[], Any], table: str, *, rows: int, seed: int) -> None:
        self.commits = 0
        self.unsure = 0
        self.version = 0
        self.acknowledged: dict[int, int] = {}
        """Marks: row -> version of the newest acknowledged commit that wrote it."""
        self._connect, self._table, self._rows = connect, table, rows
        self._chance = random.Random(seed)
        self._calm, self._stop = threading.Event(), threading.Event()
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Return when nothing is under way any more."""
        self._calm.set()
        assert self._quiet.wait(120), "the writer does not come to rest"

    def resume(self) -> None:
        """Go on."""
        self._quiet.clear()
        self._calm.clear()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(120)

    def _write(self) -> None:
        connection: Any = None
        while not self._stop.is_set():
            if self._calm.is_set():
                if connection is not None:
                    connection.close()  # behind a failover another server is the primary
                    connection = None
                self._quiet.set()
                time.sleep(0.01)
                continue
            try:
                if connection is None:
                    connection = self._connect()
                    connection.autocommit(False)
                self._transaction(connection)
                time.sleep(0.002)
            except (pymysql.Error, OSError):
                self.unsure += 1
                with suppress(Exception):
                    connection.close()
                connection = None
                time.sleep(0.1)

    def _transaction(self, connection: Any) -> None:
        marks: dict[int, int] = {}
        big = self._chance.random() < 0.01
        with connection.cursor() as cursor:
            for _ in range(2000 if big else self._chance.choice((1, 1, 1, 2, 5, 40))):
                self.version += 1
                self._statement(cursor)
            # A row that nothing else touches: the newest acknowledged version must be there.
            mark = self._rows + self._chance.randint(1, 50)
            self.version += 1
            values = (mark, "mark", None, self.version)
            cursor.execute(f"REPLACE INTO {self._table} VALUES (%s, %s, %s, %s)", values)
            marks[mark] = self.version
        connection.commit()
        self.commits += 1
        self.acknowledged |= marks

    def _statement(self, cursor: Any) -> None:
        row, kind = self._chance.randint(1, self._rows), self._chance.random()
        if kind < 0.15:
            cursor.execute(f"DELETE FROM {self._table} WHERE id = %s", (row,))
        elif kind < 0.25:
            other = self._chance.randint(1, self._rows)
            sql = f"UPDATE IGNORE {self._table} SET id = %s, ver = %s WHERE id = %s"
            cursor.execute(sql, (other, self.version, row))
        else:
            sql = f"REPLACE INTO {self._table} VALUES (%s, %s, %s, %s)"
            cursor.execute(sql, (row, f"näme {self.version}", "17.50", self.version))


class Observer:
    """Watches the marks in Redis; a version that goes back is kept, unless that is forgiven."""

    def __init__(self, client: redis.Redis, keys: Sequence[str]) -> None:
        self.backwards: list[tuple[str, int, int]] = []
        self.samples = 0
        self._client, self._keys = client, list(keys)
        self._newest: dict[str, int] = {}
        self._forgiven = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def forgive(self) -> None:
        """Forget what was seen: Redis is being put back."""
        with self._lock:
            self._newest.clear()
            self._forgiven += 1

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            began = self._forgiven
            try:
                values: Any = self._client.mget(self._keys)
            except redis.RedisError:
                continue
            with self._lock:
                if began == self._forgiven:
                    self._look(values)
            self.samples += 1

    def _look(self, values: list[bytes | None]) -> None:
        for key, value in zip(self._keys, values, strict=True):
            if value is not None:
                version = json.loads(value)["ver"]
                before = self._newest.get(key, version)
                if version < before:
                    self.backwards.append((key, before, version))
                self._newest[key] = version

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(60)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the processes of `cdc run` take together."""

    rss_kib: int
    fds: int
    threads: int


def sample(pid: int) -> Sample:
    """Return what a process and its children take now."""
    rss = fds = threads = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):
            status = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{each}/status").read_text().splitlines()
                if ":" in line
            )
            rss += int(status.get("VmRSS", "0 kB").split()[0])
            threads += int(status["Threads"])
            fds += len(list(Path(f"/proc/{each}/fd").iterdir()))
    return Sample(rss, fds, threads)


def total(samples: Sequence[Sample]) -> Sample:
    """Return what several take together."""
    return Sample(*(sum(getattr(s, name) for s in samples) for name in Sample.__slots__))


def growth(samples: Sequence[Sample]) -> list[str]:
    """Return what is greater in the last third than in the first, by more than `TOLERANCE`."""
    third = len(samples) // 3
    out = []
    for name, (times, more) in TOLERANCE.items():
        early = median(getattr(s, name) for s in samples[:third])
        late = median(getattr(s, name) for s in samples[-third:])
        if late > early * times + more:
            out.append(f"{name}: {early:.0f} -> {late:.0f}")
    return out
