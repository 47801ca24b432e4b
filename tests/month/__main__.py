"""`python -m tests.month --minutes 60 [--seed 7]`: a month in production, without a person.

On each kind of server in turn, a primary with its replica: an application writes, its schema
migrates, sessions do odd things, secrets are replaced, servers and cdc die and are upgraded.  cdc
gets no command but its start.  At random moments of quiet MySQL equals Redis exactly, and no value
that Redis showed ever went back.  Exit code 1 where it did not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import redis

from cdc.demo.server import ServerFailed
from tests.month.events import Events
from tests.month.migrations import NATIVE, OTHERS
from tests.month.report import (
    MOST_S,
    Probe,
    events_text,
    lag_of_others,
    not_exact,
    percentile,
    summary,
    tables_text,
)
from tests.month.shop import SCHEMA, Shop, found
from tests.month.stage import KINDS, Stage
from tests.soak.soak_checks import Observer
from tests.soak.soak_faults import wait_until_begun
from tests.support.logins import replication_rights
from tests.support.ordeal import bugs
from tests.support.pipeline import Pipeline, wait_for

BETWEEN_S = (0.2, 3.0)
QUIETS = 5
"""Moments of quiet on each kind of server, beside its beginning and its end."""
EXACT_WITHIN_S = 240.0
WATCHED = 6
"""Of ids below this every value that Redis shows is looked at."""
SLOW_S = 5.0
"""It is printed what is waited for after this."""
OVERLOADED = 2.5
"""Processes that want to run, for each core; the month alone has fewer."""
KEPT = Path("build/month")
"""Logs and events."""
MIGRATED: Counter[str] = Counter()
"""Migrations that were done on all servers together, by kind."""


def play(kind: str, seconds: float, tables: int, seed: int, folder: Path) -> list[str]:
    """Play on one kind of server; return what did not hold."""
    with ExitStack() as stack:
        chance = random.Random(seed)
        stage = Stage(kind, stack, folder, chance)
        shop = Shop(stage.pair, tables, seed)
        pipeline = stack.enter_context(_pipeline(stage, shop, chance.random() < 0.5))
        cdc = pipeline.run()
        watched = [f"{table}:{id_}" for table in shop.tables for id_ in range(1, WATCHED)]
        observer = Observer(stage.client(), watched)
        month = Month(shop, Events(shop, stage, pipeline, cdc, observer), stage.client())
        probe = Probe(shop, stage.client())
        wrong: list[str] = []
        try:
            wait_until_begun(cdc)
            shop.write()
            month.is_exact()
            probe.start()
            month.live(seconds, chance)
            month.is_exact()
            month.events.stop()
        except (AssertionError, TimeoutError, ServerFailed) as error:
            wrong.append(f"{error}\nthe events before:\n{month.events.chronicle.last()}")
        finally:
            for one in (probe, observer, shop):
                one.stop()
        log = month.events.log()
        wrong += bugs(log)[:3] + [f"went back: {one}" for one in observer.backwards[:3]]
        wrong += ["the observer saw nothing"] * (observer.samples == 0)
        aways, history = not_exact(log, time.time()), month.events.chronicle.events
        quiet_s, of_event = lag_of_others(probe.samples, history, aways)
        print(
            f"{kind}: {len(history)} events, {shop.commits} commits, "
            f"{observer.samples} looks, {len(month.exact_s)} times exact: "
            f"{summary(month.exact_s)}\n  lag of tables that nothing concerned: "
            f"{summary(quiet_s)}, {len(quiet_s)} times",
            *events_text(history, of_event),
            *tables_text(aways),
            sep="\n",
            flush=True,
        )
        MIGRATED.update(month.events.migrated)
        if quiet_s and percentile(quiet_s, 99) > MOST_S and not _is_overloaded():
            wrong.append(f"tables that nothing concerned lagged: {summary(quiet_s)}")
        kept = KEPT / f"{kind}-{seed}"
        kept.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.log"):
            shutil.copy(path, kept)
        (kept / "events").write_text(month.events.chronicle.last(0) + "\n")
        if wrong:
            wrong.append(f"its logs: {kept}")
        if wrong:
            print(*wrong, sep="\n", flush=True)
        return [f"{kind}: {line.splitlines()[0]}" for line in wrong]


def _is_overloaded() -> bool:
    """Whether others keep the machine so busy that a lag tells nothing about cdc."""
    load, cores = os.getloadavg()[1], os.cpu_count() or 1
    return load > OVERLOADED * cores


class Month:
    """The application, what happens, and whether Redis is exact in between."""

    def __init__(self, shop: Shop, events: Events, client: redis.Redis) -> None:
        """Take what there is."""
        self.shop, self.events, self._client = shop, events, client
        self._slow = ""
        self.exact_s: list[float] = []
        """How long each moment of quiet was, until Redis was exact."""

    def live(self, seconds: float, chance: random.Random) -> None:
        """Let one event after the other happen, and moments of quiet among them."""
        began_s = time.monotonic()
        quiet_s = sorted(chance.uniform(0, seconds) for _ in range(QUIETS))
        while (at_s := time.monotonic() - began_s) < seconds:
            time.sleep(chance.uniform(*BETWEEN_S))
            name = self.events.happen()
            cdc = self.events.cdc
            assert cdc.is_running(), f"after {name} cdc ended\n{cdc.text()[-4000:]}"
            if quiet_s and at_s > quiet_s[0]:
                quiet_s.pop(0)
                self.is_exact()

    def is_exact(self) -> None:
        """Wait, in a moment of quiet, until Redis shows what MySQL has."""
        began_s = time.monotonic()
        self._slow = ""
        with self.shop.quiet():
            self.shop.make_fit()
            try:
                wait_for("equality", lambda: self._is_equal(began_s), EXACT_WITHIN_S)
            except TimeoutError:
                raise AssertionError(self._differing()) from None
        self.exact_s.append(time.monotonic() - began_s)
        if self._slow:
            print(f"  exact after {self.exact_s[-1]:.1f} s: {self._slow}", flush=True)

    def _is_equal(self, began_s: float) -> bool:
        want, have = self.shop.expected(), found(self._client)
        if want == have:
            return True
        if not self._slow and time.monotonic() > began_s + SLOW_S:
            keys = [k for k in want.keys() | have.keys() if want.get(k) != have.get(k)]
            tables = sorted({key.partition(":")[0] for key in keys})
            self._slow = f"{len(keys)} keys of {', '.join(tables)} after\n"
            self._slow += self.events.chronicle.last(5)
        return False

    def _differing(self) -> str:
        want, have = self.shop.expected(), found(self._client)
        differing = sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))
        shown = [(k, str(want.get(k))[:300], str(have.get(k))[:300]) for k in differing[:8]]
        text = "\n".join(
            f"  {key}\n    MySQL {one}\n    Redis {other}" for key, one, other in shown
        )
        return f"{len(differing)} keys differ:\n{text}\n{self.events.cdc.text()[-5000:]}"


def _pipeline(stage: Stage, shop: Shop, sees_definitions: bool) -> Pipeline:
    """Return cdc with a login of least rights, and secrets that are in files."""
    stock = "NO_LOG" if stage.is_mariadb else "MINIMAL"
    for server in (stage.pair.primary, stage.pair.replica):
        stage.pair.execute(server, f"SET GLOBAL binlog_row_metadata = '{stock}'")
    shop.execute(
        f"CREATE USER cdc@'%' IDENTIFIED BY '{stage.passwords['mysql']}'",
        f"GRANT {replication_rights(shop.server)} ON *.* TO cdc@'%'",
        f"GRANT SELECT ON {SCHEMA}.* TO cdc@'%'",
    )
    if sees_definitions:
        shop.execute("GRANT SELECT, TRIGGER, SHOW VIEW ON *.* TO cdc@'%'")
    pipeline = Pipeline(
        stage.folder,
        mysql=stage.url("mysql", f"/{SCHEMA}"),
        nats=stage.url("nats"),
        redis=stage.url("redis", "/0"),
        tables=f"{SCHEMA}.t*",
    )
    del pipeline.environment["CDC_ON_GAP"]
    for name in stage.passwords:
        path = f"{stage.folder}/{name}/password"
        pipeline.environment[f"CDC_{name.upper()}_PASSWORD_FILE"] = path
    pipeline.environment["CDC_NEW_TABLES_EVERY_S"] = "2"
    return pipeline


def main() -> None:
    """Read the arguments and play."""
    parser = argparse.ArgumentParser(prog="python -m tests.month", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all servers together [10]")
    parser.add_argument("--tables", type=int, default=30)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}: make month MINUTES={given.minutes:g} SEED={given.seed}", flush=True)
    kinds, wrong = given.only or list(KINDS), []
    for kind in kinds:
        seed = given.seed + list(KINDS).index(kind)
        with tempfile.TemporaryDirectory(prefix="month-") as folder:
            seconds = given.minutes * 60 / len(kinds)
            wrong += play(kind, seconds, given.tables, seed, Path(folder))
    kinds_all = [*NATIVE, *OTHERS]
    done = sum(1 for one in kinds_all if MIGRATED[one])
    print(
        f"{MIGRATED.total()} migrations, {done} of {len(kinds_all)} kinds; "
        f"pt-online-schema-change {MIGRATED['pt-online-schema-change']}, "
        f"gh-ost {MIGRATED['gh-ost']}"
    )
    print("\n".join(wrong) or "exact each time, nothing went back, and no command by a person")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
