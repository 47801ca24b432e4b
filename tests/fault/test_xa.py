"""XA transactions at random, with kills and restarts between PREPARE and its outcome."""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
import redis

from cdc.demo.servers import MariaDB
from tests.support.bench import Bench
from tests.support.depth import by_depth
from tests.support.ordeal import bugs, ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded
from tests.support.truth import messages

pytestmark = pytest.mark.timeout(300)

ROUNDS = by_depth(2, full=12)
STEPS = 8
"""Transactions that begin in a round."""
IDS = 60


@dataclass
class Open:
    """A prepared transaction: its xid, its rows, and the values that they would have."""

    xid: str
    ids: set[int]
    values: set[int]


class Applications:
    """Sessions that use XA on ``shop.xa``, and what they know of each value."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench, self.chance = bench, chance
        self.open: list[Open] = []
        self.allowed_s: dict[int, float] = {}
        """When each value's COMMIT was sent; what is not here must never be seen."""
        self.value = self.number = 0
        rows = ",".join(f"({id_}, 0)" for id_ in range(IDS))
        bench.execute(
            "CREATE TABLE xa (id INT PRIMARY KEY, n BIGINT NOT NULL)",
            f"INSERT INTO xa VALUES {rows}",
        )
        self.allowed_s[0] = 0.0
        bench.pipeline.environment["CDC_TABLES"] += ",shop.xa"

    def begin(self) -> None:
        """Do a transaction, and leave it prepared or end it in one of the ways."""
        chance = self.chance
        locked = {id_ for one in self.open for id_ in one.ids}
        free = [id_ for id_ in range(IDS) if id_ not in locked]
        self.number += 1
        many = chance.choice((False, False, True))
        first = 1000 * self.number
        ids = set(range(first, first + 300)) if many else set(chance.sample(free, k=3))
        one = Open(f"X'{self.number:08x}27',X'00',7", ids, set())
        statements = [self._statement(one, id_) for id_ in sorted(ids)]
        ways = ("one phase", "at once", "rolled back at once", "left", "left", "abandoned")
        way = chance.choice(ways)
        # A session that is closed leaves what it prepared.
        with self.bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(f"XA START {one.xid}")
            with suppress(pymysql.err.OperationalError):  # a row or gap of one that is prepared
                for statement in statements:
                    cursor.execute(statement)
            cursor.execute(f"XA END {one.xid}")
            if way == "abandoned":
                cursor.execute(f"XA ROLLBACK {one.xid}")
            elif way == "one phase":
                self._allow(one)
                cursor.execute(f"XA COMMIT {one.xid} ONE PHASE")
            else:
                cursor.execute(f"XA PREPARE {one.xid}")
                if way == "at once":
                    self._allow(one)
                    cursor.execute(f"XA COMMIT {one.xid}")
                elif way == "rolled back at once":
                    cursor.execute(f"XA ROLLBACK {one.xid}")
        if way == "left":
            self.open.append(one)

    def _statement(self, one: Open, id_: int) -> str:
        if self.chance.random() < 0.2:
            return f"DELETE FROM xa WHERE id = {id_}"
        self.value += 1
        one.values.add(self.value)
        return f"REPLACE INTO xa VALUES ({id_}, {self.value})"

    def _allow(self, one: Open) -> None:
        self.allowed_s |= dict.fromkeys(one.values, time.monotonic())

    def end_one(self) -> None:
        """Commit a prepared transaction, or roll it back, from a session that did not begin it."""
        if not self.open:
            return
        one = self.open.pop(self.chance.randrange(len(self.open)))
        commits = self.chance.random() < 0.6
        if commits:
            self._allow(one)
        statement = f"XA {'COMMIT' if commits else 'ROLLBACK'} {one.xid}"
        wait_for("the end of the session", lambda: self._ends(statement), 20.0)

    def _ends(self, statement: str) -> bool:
        with suppress(pymysql.MySQLError):
            self.bench.execute(statement)
            return True
        return False

    def rows(self) -> dict[str, int]:
        """Return what Redis must hold."""
        with self.bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id, n FROM xa")
            return {f"xa:{id_}": int(n) for id_, n in cursor.fetchall()}


class Watcher:
    """Notes when each value was seen first in Redis."""

    def __init__(self, port: int) -> None:
        self.seen_s: dict[int, float] = {}
        self._client = redis.Redis(port=port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def rows(self) -> dict[str, int]:
        """Return what Redis holds."""
        keys: list[Any] = list(self._client.scan_iter("xa:*", count=5000))
        values: Any = self._client.mget(keys) if keys else []
        pairs = zip(keys, values, strict=True)
        return {str(key, "utf-8"): json.loads(value)["n"] for key, value in pairs if value}

    def _watch(self) -> None:
        while not self._stop.is_set():
            for value in self.rows().values():
                self.seen_s.setdefault(value, time.monotonic())

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
        self._thread.join(20.0)


def test_uncommitted_values_are_never_seen_and_all_ends_equal(source: Bench) -> None:
    """Prepared over restarts of MySQL and kills of cdc, ended by other sessions, many at once."""
    bench, chance = source, seeded()
    applications = Applications(bench, chance)
    if chance.random() < 0.5:
        bench.pipeline.environment["CDC_PARTITIONS"] = "3"
    for _ in range(2):
        applications.begin()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_for_progress()
        watcher = Watcher(bench.redis.port)
        with ordeal(bench, chance, process, pause_s=0.01) as writer:
            for number in range(ROUNDS):
                for _ in range(STEPS):
                    applications.begin()
                    if chance.random() < 0.5:
                        applications.end_one()
                _harm(bench, process, chance, number)
                writer.wait_for_commits(1)
                bench.recovered("a kill while transactions were prepared")
            while applications.open:
                applications.end_one()
            _wait_until_equal(applications, watcher, process)
        watcher.stop()
        assert not bugs(process.text())
    published = {
        json.loads(body["value"])["n"]
        for _, body in messages(bench.nats.url)
        if body.get("table") == "shop.xa" and body.get("value")
    }
    never = (published | watcher.seen_s.keys()) - applications.allowed_s.keys()
    assert not never, sorted(never)[:20]
    early = [n for n, seen in watcher.seen_s.items() if seen < applications.allowed_s[n]]
    assert not early, early[:20]
    assert len(published) > STEPS


def _harm(bench: Bench, process: Process, chance: random.Random, number: int) -> None:
    if number % 4 != 2:
        process.kill()
    if number % 2:
        # Left prepared over both.
        is_mariadb = isinstance(bench.mysql, MariaDB)
        bench.restart(bench.mysql, kill=not is_mariadb and chance.random() < 0.5)
    if not process.is_running():
        process.start()


def _wait_until_equal(applications: Applications, watcher: Watcher, process: Process) -> None:
    try:
        wait_for("MySQL and Redis to be equal", lambda: watcher.rows() == applications.rows())
    except TimeoutError:
        found, wanted = watcher.rows(), applications.rows()
        keys = [key for key in found | wanted if found.get(key) != wanted.get(key)]
        differing = [(key, found.get(key), wanted.get(key)) for key in keys[:10]]
        raise AssertionError(f"{len(keys)}: {differing}\n{process.text()[-3000:]}") from None
