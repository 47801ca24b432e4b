"""What a month was like: its events, which tables were not exact and why, and the lag of others."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import pymysql
import redis

from tests.month.shop import PROBE, SCHEMA, Shop

ALL = "all"
"""Of an event that concerns every table, as a restart does."""
EVERY_S = 0.05
MOST_S = 1.0
"""Lag of tables that nothing concerns."""


@dataclass(slots=True)
class Event:
    """One of a month's events."""

    name: str
    detail: str
    table: str
    """That it concerns, `ALL`, or nothing."""
    begin_s: float
    """As `time.time` counts, as all that follows."""
    end_s: float = 0.0
    refused: str = ""
    """Why nothing happened."""


@dataclass(frozen=True, slots=True)
class Away:
    """A table was not exact for a time."""

    table: str
    begin_s: float
    end_s: float
    why: str


@dataclass
class Probe:
    """Writes to a table of its own and waits until Redis shows it: the lag of such tables."""

    shop: Shop
    client: redis.Redis
    samples: list[tuple[float, float]] = field(default_factory=list)
    """When it was committed, and how many seconds later Redis had it."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            if self.shop.is_calm:
                continue
            with suppress(pymysql.MySQLError, OSError, redis.RedisError):
                self._one()

    def _one(self) -> None:
        server = self.shop.server
        with server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            while not self._stop.is_set():
                with self.shop.between():
                    if self.shop.is_calm or self.shop.server is not server:
                        return
                    version = self.shop.version()
                    cursor.execute(f"UPDATE {PROBE} SET ver = {version} WHERE id = 1")
                    committed_s = time.time()
                if not self._arrives(version):
                    return
                self.samples.append((committed_s, time.time() - committed_s))
                self._stop.wait(EVERY_S)

    def _arrives(self, version: int) -> bool:
        while not self._stop.wait(0.003):
            with suppress(redis.RedisError):
                value = self.client.get(f"{PROBE}:1")
                if isinstance(value, bytes) and json.loads(value)["ver"] >= version:
                    return True
        return False


@dataclass
class Chronicle:
    """The events of a month as they come."""

    events: list[Event] = field(default_factory=list)

    @contextmanager
    def happens(self, name: str) -> Iterator[Event]:
        """Note one event; the body may say more about it."""
        event = Event(name, "", "", time.time())
        self.events.append(event)
        try:
            yield event
        finally:
            event.end_s = time.time()

    def last(self, number: int = 12) -> str:
        """Return the newest events as text; all of them for 0."""
        return "\n".join(
            f"  {_clock(e.begin_s)} +{e.end_s - e.begin_s:.1f} s  "
            + " ".join(filter(None, (e.name, e.table, e.detail, e.refused)))
            for e in self.events[-number:]
        )


def not_exact(log: str, until_s: float) -> list[Away]:
    """Return when tables were not exact, by cdc's own words.

    Args:
        log: all lines of `cdc run`.
        until_s: the end of a time that the log does not end.
    """
    begun: dict[str, tuple[float, str]] = {}
    out: list[Away] = []
    for line in log.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            event, table = entry["event"], entry.get("table", "")
            at_s = dt.datetime.fromisoformat(entry["ts"]).timestamp()
            if event == "table is read again":
                begun.setdefault(table, (at_s, entry["why"]))
            elif event.startswith("table set aside"):
                why = f"set aside: {entry['why'].partition(':')[0].replace(table, 'it')}"
                begun[table] = (begun.get(table, (at_s, ""))[0], why)
            elif event == "refreshed" and table in begun:
                since_s, why = begun.pop(table)
                out.append(Away(table, since_s, at_s, why))
    return out + [Away(table, at_s, until_s, why) for table, (at_s, why) in begun.items()]


def lag_of_others(
    samples: Sequence[tuple[float, float]], events: Sequence[Event], aways: Iterable[Away]
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the lag while nothing concerned the probe's table, and by event that of each.

    An event that concerns all tables lasts until a change that was committed after it arrived.
    """
    away = [(one.begin_s, one.end_s) for one in aways if one.table.endswith(PROBE)]
    quiet: list[float] = []
    of_event: dict[str, list[float]] = defaultdict(list)
    at = 0
    for committed_s, lag_s in sorted(samples):
        while at < len(events) and events[at].begin_s <= committed_s + lag_s:
            at += 1
        before = events[max(0, at - 3) : at]
        # The event that was under way, or after which this is the first to arrive.
        disturbing = [e for e in before if e.table == ALL and committed_s < e.end_s + MOST_S]
        if any(begin_s < committed_s + lag_s and committed_s < end_s for begin_s, end_s in away):
            continue
        if disturbing:
            of_event[disturbing[-1].name].append(lag_s)
        else:
            quiet.append(lag_s)
            if before:
                of_event[before[-1].name].append(lag_s)
    return quiet, of_event


def percentile(times_s: Sequence[float], percent: int) -> float:
    """Return the one that so many percent are not longer than."""
    ordered = sorted(times_s)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def summary(times_s: Sequence[float]) -> str:
    """Return p50, p99 and the longest."""
    if not times_s:
        return "none"
    p50, p99 = percentile(times_s, 50), percentile(times_s, 99)
    return f"p50 {p50:.3f} s, p99 {p99:.3f} s, longest {max(times_s):.3f} s"


def tables_text(aways: Sequence[Away]) -> list[str]:
    """Return how long tables were not exact, by table and by reason."""
    by_table: dict[str, float] = defaultdict(float)
    by_why: dict[str, list[float]] = defaultdict(list)
    for one in aways:
        by_table[one.table] += one.end_s - one.begin_s
        by_why[one.why].append(one.end_s - one.begin_s)
    worst = sorted(by_table.items(), key=lambda item: -item[1])
    lines = ["  not exact, by table: " + ", ".join(f"{t} {s:.1f} s" for t, s in worst)]
    for why, times_s in sorted(by_why.items(), key=lambda item: -sum(item[1])):
        lines.append(f"  {len(times_s):5}  {why}: {sum(times_s):.1f} s, {summary(times_s)}")
    return lines


def events_text(events: Sequence[Event], of_event: dict[str, list[float]]) -> list[str]:
    """Return each kind of event with its number, its time, and what it cost others."""
    kinds: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        kinds[event.name].append(event)
    return [
        f"  {len(some):5}  {name}: took {median(e.end_s - e.begin_s for e in some):.1f} s; lag of "
        f"other tables up to {max(of_event.get(name, [0.0])):.2f} s"
        + "".join(f"; refused: {e.refused}" for e in some if e.refused)
        for name, some in sorted(kinds.items())
    ]


def _clock(at_s: float) -> str:
    return f"{dt.datetime.fromtimestamp(at_s, dt.UTC):%H:%M:%S}"
