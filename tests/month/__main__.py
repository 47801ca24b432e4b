"""`python -m tests.month --minutes 60 [--seed 7]`: a month in production, without a person.

On each kind of server in turn: an application writes, its schema migrates, sessions do odd things,
servers and cdc die.  cdc gets no command but its start.  At random moments of quiet MySQL equals
Redis exactly, and no value that Redis showed ever went back.  Exit code 1 where it did not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import redis

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL, MySQL80, Nats, Redis
from tests.month.events import Events
from tests.month.shop import SCHEMA, Shop, found
from tests.soak.soak_checks import Observer
from tests.soak.soak_faults import wait_until_begun
from tests.support.ordeal import bugs
from tests.support.pipeline import Pipeline, Process, wait_for

KINDS = {"mysql": MySQL, "mysql80": MySQL80, "mariadb": MariaDB, "mariadb1011": MariaDB1011}
BETWEEN_S = (0.2, 3.0)
QUIET_EVERY = 12
"""Events between two moments of quiet."""
EXACT_WITHIN_S = 240.0
WATCHED = 20
"""Of these ids every value that Redis shows is looked at."""


def play(kind: str, seconds: float, tables: int, seed: int, folder: Path) -> list[str]:
    """Play on one kind of server; return what did not hold."""
    with ExitStack() as stack:
        server = stack.enter_context(KINDS[kind]())
        nats, redis_server = stack.enter_context(Nats()), stack.enter_context(Redis())
        shop = Shop(server, tables, seed)
        stock = "NO_LOG" if isinstance(server, MariaDB) else "MINIMAL"
        shop.execute(f"SET GLOBAL binlog_row_metadata = '{stock}'")
        password = folder / "password"
        password.write_text("secret-0")
        right = "BINLOG MONITOR" if isinstance(server, MariaDB) else "REPLICATION CLIENT"
        shop.execute(
            "CREATE USER cdc@'%' IDENTIFIED BY 'secret-0'",
            f"GRANT REPLICATION SLAVE, {right} ON *.* TO cdc@'%'",
            f"GRANT SELECT ON {SCHEMA}.* TO cdc@'%'",
        )
        pipeline = stack.enter_context(
            Pipeline(
                folder,
                mysql=f"mysql://cdc@127.0.0.1:{server.port}/{SCHEMA}",
                nats=nats.url,
                redis=redis_server.url,
                tables=f"{SCHEMA}.t*",
            )
        )
        del pipeline.environment["CDC_ON_GAP"]
        pipeline.environment["CDC_MYSQL_PASSWORD_FILE"] = str(password)
        pipeline.environment["CDC_NEW_TABLES_EVERY_S"] = "2"
        cdc = pipeline.run()
        wait_until_begun(cdc)
        client = redis.Redis(port=redis_server.port, socket_timeout=5)
        watched = [f"{table}:{id_}" for table in shop.tables for id_ in range(1, WATCHED)]
        observer = Observer(redis.Redis(port=redis_server.port, socket_timeout=5), watched)
        servers = {"MySQL": server, "NATS": nats, "Redis": redis_server}
        events = Events(shop, servers, cdc, observer, password)
        shop.write()
        counts: Counter[str] = Counter()
        exact_s: list[float] = []
        wrong: list[str] = []
        try:
            exact_s.append(_exact(shop, client, cdc))
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                time.sleep(shop.chance.uniform(*BETWEEN_S))
                name = events.happen()
                counts[name] += 1
                assert cdc.is_running(), f"after {name} cdc ended\n{cdc.text()[-4000:]}"
                if counts.total() % QUIET_EVERY == 0:
                    exact_s.append(_exact(shop, client, cdc))
            exact_s.append(_exact(shop, client, cdc))
            events.stop()
        except (AssertionError, TimeoutError) as error:
            wrong.append(f"{kind}: {error}")
        finally:
            observer.stop()
            shop.stop()
        wrong += [f"{kind}: {line}" for line in bugs(cdc.text())[:3]]
        wrong += [f"{kind}: went back: {one}" for one in observer.backwards[:3]]
        wrong += [f"{kind}: the observer saw nothing"] * (observer.samples == 0)
        aside = cdc.text().count('"table set aside')
        print(
            f"{kind}: {counts.total()} events, {shop.commits} commits, {observer.samples} looks, "
            f"{len(exact_s)} times exact, within {median(exact_s or [0]):.1f} s (longest "
            f"{max(exact_s or [0]):.1f} s), {aside} times a table aside",
            flush=True,
        )
        for name, count in sorted(counts.items()):
            print(f"  {count:5}  {name}")
        return wrong


def _exact(shop: Shop, client: redis.Redis, cdc: Process) -> float:
    """Wait, in a moment of quiet, until Redis shows what MySQL has; return how long that took."""
    began_s = time.monotonic()
    with shop.quiet():
        shop.make_fit()
        try:
            wait_for("equality", lambda: found(client) == shop.expected(), EXACT_WITHIN_S)
        except TimeoutError:
            want, have = shop.expected(), found(client)
            differing = sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))
            shown = [(k, str(want.get(k))[:200], str(have.get(k))[:200]) for k in differing[:5]]
            raise AssertionError(
                f"{len(differing)} keys differ, (key, MySQL, Redis): {shown}\n{cdc.text()[-5000:]}"
            ) from None
    return time.monotonic() - began_s


def main() -> None:
    """Read the arguments and play."""
    parser = argparse.ArgumentParser(prog="python -m tests.month", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all servers together [10]")
    parser.add_argument("--tables", type=int, default=8)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}: make month MINUTES={given.minutes:g} SEED={given.seed}", flush=True)
    kinds, wrong = given.only or list(KINDS), []
    for number, kind in enumerate(kinds):
        with tempfile.TemporaryDirectory(prefix="month-") as folder:
            seconds = given.minutes * 60 / len(kinds)
            wrong += play(kind, seconds, given.tables, given.seed + number, Path(folder))
    print("\n".join(wrong) or "exact each time, nothing went back, and no command by a person")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
