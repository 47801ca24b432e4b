"""Sessions write rows in part, and both sides are killed: Redis ends as MySQL is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL80
from tests.conftest import SQL_SERVERS, NewMySQL, NewNats, NewRedis
from tests.support.bench import ROWS, TABLE, Bench
from tests.support.commands import cdc
from tests.support.depth import by_depth
from tests.support.ordeal import end_well
from tests.support.partial_images import CREATE, SETTINGS, TABLES, DocumentWriter, PartialWriter
from tests.support.pipeline import wait_for
from tests.support.tally import seeded
from tests.support.truth import Observer

pytestmark = pytest.mark.timeout(300)

TURNS = by_depth(1, full=6)
"""Each kills both sides."""
KINDS = {"mysql80": MySQL80, "mariadb": MariaDB, "mariadb1011": MariaDB1011}


@pytest.fixture(params=SQL_SERVERS)
def partial(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """Each kind of server, with tables whose rows may be written in part."""
    with ExitStack() as stack:
        kind = KINDS.get(request.param)
        server = new_mysql() if kind is None else stack.enter_context(kind())
        bench = Bench(server, new_nats(), new_redis(), tmp_path_factory.mktemp("logs"))
        bench.execute(*CREATE)
        settings = bench.folder / "models.toml"
        settings.write_text(SETTINGS)
        bench.pipeline.environment |= {
            "CDC_CONFIG": str(settings),
            "CDC_TABLES": ",".join([TABLE, "shop.marks", *(f"shop.{table}" for table in TABLES)]),
            "CDC_SNAPSHOT_CHUNK_ROWS": "50",
        }
        yield bench


def is_equal(bench: Bench) -> bool:
    """Return whether an independent comparison finds no difference in any table."""
    done = cdc(bench.pipeline.environment, "verify", "--json")
    print(done.stdout, done.stderr)
    return done.returncode == 0


def paused() -> bool:
    """Give the servers of a small machine some room between transactions."""
    time.sleep(0.004)
    return False


def test_rows_in_part_are_carried_exactly_through_kills(partial: Bench) -> None:
    """Every image that the server has, at random: no version goes back, and nothing is left."""
    chance, bench = seeded(), partial
    bench.pipeline.environment["CDC_ON_SCHEMA_CHANGE"] = chance.choice(("refresh", "continue"))
    bench.pipeline.environment["CDC_PARTITIONS"] = str(chance.choice((1, 3)))
    observer = Observer(redis.Redis(port=bench.redis.port), bench.keys())
    with bench.pipeline as pipeline:
        # Copies that fence each other off take a machine of their own.
        copies = chance.choice((1, by_depth(1, full=2)))
        names = ("reader",) * copies + ("sink",)
        roles = [pipeline.process("--role", role, name=role) for role in names]
        for process in roles:
            process.start()
        wait_for("the first rows", lambda: bench.client.exists("users:1") == 1)
        seeds = (chance.randrange(1 << 32), chance.randrange(1 << 32))
        writer = PartialWriter(bench.mysql, TABLE, seed=seeds[0], rows=ROWS, pause_s=0.004)
        documents = DocumentWriter(bench.mysql, seed=seeds[1], pause=paused)
        for _ in range(TURNS):
            for process in roles:
                process.kill_after(chance.uniform(0.3, 1.5))
            # Beside what else is read, and with rows that have come and gone since.
            ask = ("snapshot", "--table", TABLE, "--from", "5", "--to", "150", "--no-wait")
            assert cdc(bench.pipeline.environment, *ask).returncode == 0
            pipeline.refresh("--only", "shop.docs")
            readers = roles[:-1]
            for reader in readers:
                reader.kill()
            writer.wait_for_commits(50)
            for reader in readers:
                reader.start()
        bench.wait_for_progress()
        assert documents.stop() > 0
        assert writer.stop() > 0
        bench.wait_until_equal()
        wait_for("no difference", lambda: is_equal(bench))
        end_well(bench, *roles)
    observer.stop()
