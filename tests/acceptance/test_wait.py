"""`cdc wait`: what was written is read, whoever asks, and never too early."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import MariaDB
from cdc.settings import load
from redis_sink.queries.wait import until_shown
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import TABLE, Bench
from tests.support.depth import by_depth
from tests.support.pipeline import wait_for
from tests.support.tally import seeded

ROUNDS = by_depth(250, full=1000)
ROOT = Path(__file__).parents[2]


def an_example() -> Callable[..., bool]:
    """Return `wait_until_shown` of docs/read-your-writes.md."""
    text = (ROOT / "docs/read-your-writes.md").read_text("utf-8")
    namespace: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], namespace)
    wait: Callable[..., bool] = namespace["wait_until_shown"]
    return wait


@pytest.fixture(params=["mysql", "mysql, 4 partitions", "mariadb"])
def bench(
    request: pytest.FixtureRequest,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    tmp_path: Path,
) -> Any:
    """A table of 99 rows, and a pipeline."""
    if request.param == "mariadb":
        with MariaDB() as server:
            yield Bench(server, new_nats(), new_redis(), tmp_path)
        return
    made = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    made.pipeline.environment["CDC_PARTITIONS"] = "4" if "4" in request.param else "1"
    yield made


def cdc_wait(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cdc wait …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cdc", "wait", *arguments],
        env=bench.pipeline.environment | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


class Session:
    """An application's connection, and the GTID of what it committed last."""

    def __init__(self, bench: Bench) -> None:
        self._connection = bench.mysql.connect()
        self._is_mariadb = isinstance(bench.mysql, MariaDB)

    def execute(self, statement: str, *bound: object) -> str:
        """Commit a statement; return its GTID, or a set with it."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, bound)
            # The test writes alone: nothing else is in the set of MySQL's but what it waits for.
            cursor.execute(
                "SELECT @@last_gtid" if self._is_mariadb else "SELECT @@global.gtid_executed"
            )
            ((gtid,),) = cursor.fetchall()
        return str(gtid)


def test_what_was_written_is_read_each_time(bench: Bench) -> None:
    """Write, wait, read Redis, compare: inserts, updates, deletes and changes of keys.

    By turns as the command waits and as the example of the docs does; the values of all rows are
    compared, so that the old key of a row is seen too.
    """
    chance, example = seeded(), an_example()
    settings = load({}, bench.pipeline.environment, None)
    partitions = settings.partitions
    waits_s: list[float] = []
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        session = Session(bench)
        rows = dict.fromkeys(range(1, 100), 0)
        for n in range(1, ROUNDS + 1):
            id_, new = chance.choice(list(rows)), 1000 + n
            kind = chance.choice(("update", "update", "insert", "delete", "key"))
            if kind == "insert" or len(rows) < 5:
                kind, rows[new] = "insert", n
                gtid = session.execute(f"INSERT INTO {TABLE} VALUES (%s, 'new', NULL, %s)", new, n)
            elif kind == "update":
                rows[id_] = n
                gtid = session.execute(f"UPDATE {TABLE} SET ver = %s WHERE id = %s", n, id_)
            elif kind == "delete":
                del rows[id_]
                gtid = session.execute(f"DELETE FROM {TABLE} WHERE id = %s", id_)
            else:
                rows[new] = n
                del rows[id_]
                statement = f"UPDATE {TABLE} SET id = %s, ver = %s WHERE id = %s"
                gtid = session.execute(statement, new, n, id_)
            began_s = time.monotonic()
            if n % 2:
                assert example(bench.client, gtid, timeout_s=30, partitions=partitions)
            else:
                assert asyncio.run(until_shown(settings, gtid, 30))[0]
            touched = [f"users:{i}" for i in {id_, new}]
            values: Any = bench.client.mget(touched)
            waits_s.append(time.monotonic() - began_s)
            found = {
                key: json.loads(value)["ver"]
                for key, value in zip(touched, values, strict=True)
                if value is not None
            }
            want = {f"users:{i}": rows[i] for i in {id_, new} if i in rows}
            assert found == want, (n, kind)
        assert cdc_wait(bench).returncode == 0
        bench.wait_until_equal()
        assert process.stop() == 0, process.text()
    quantiles = statistics.quantiles(waits_s, n=100)
    print(f"wait: median {quantiles[49] * 1e3:.1f} ms, 99 % {quantiles[98] * 1e3:.1f} ms")

    assert quantiles[49] < 0.2


def test_a_row_in_part_is_shown_when_the_wait_for_it_ends(bench: Bench) -> None:
    """It is read after its transaction, and the wait is as long."""
    with bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        settings = load({}, bench.pipeline.environment, None)
        session = Session(bench)
        session.execute("SET SESSION binlog_row_image = 'MINIMAL'")
        for n in range(1, ROUNDS // 5):
            id_ = n % 90 + 1
            gtid = session.execute(f"UPDATE {TABLE} SET ver = %s WHERE id = %s", n, id_)
            assert asyncio.run(until_shown(settings, gtid, 30))[0]
            value: Any = bench.client.get(f"users:{id_}")
            assert json.loads(value)["ver"] == n
        assert process.stop() == 0, process.text()


def test_a_sink_that_stands_still_shows_nothing(bench: Bench) -> None:
    """Not within the time: exit code 1, and what Redis has; once it goes on: 0."""
    with bench.pipeline as pipeline:
        sink = pipeline.process("--role", "sink", name="sink").start()
        reader = pipeline.process("--role", "reader", name="reader").start()
        bench.wait_until_equal()
        sink.freeze()
        gtid = Session(bench).execute(f"UPDATE {TABLE} SET ver = 7 WHERE id = 1")
        late = cdc_wait(bench, "--gtid", gtid, "--timeout", "0.5", "--json")
        assert late.returncode == 1, late.stderr
        said = json.loads(late.stdout)
        assert (said["shown"], said["gtid"]) == (False, gtid)
        assert "Redis has" in cdc_wait(bench, "--gtid", gtid, "--timeout", "0").stderr
        sink.thaw()
        assert cdc_wait(bench, "--gtid", gtid, "--timeout", "30").returncode == 0
        value: Any = bench.client.get("users:1")
        assert json.loads(value)["ver"] == 7
        other = Session(bench).execute("CREATE TABLE shop.other (id INT PRIMARY KEY)")
        assert cdc_wait(bench, "--gtid", other, "--timeout", "30").returncode == 0
        assert cdc_wait(bench, "--gtid", "nonsense").returncode == 2
        assert (sink.stop(), reader.stop()) == (0, 0)


def test_rows_that_stood_there_count_once_they_are_read(bench: Bench) -> None:
    """The first reading has not ended: what was committed before it is not shown yet."""
    bench.pipeline.environment["CDC_SNAPSHOT_CHUNK_ROWS"] = "1"
    more = ", ".join(f"({i}, 'x', NULL, 0)" for i in range(1000, 2000))
    gtid = Session(bench).execute(f"INSERT INTO {TABLE} VALUES {more}")
    with bench.pipeline as pipeline, bench.mysql.connect() as connection:
        process = pipeline.run()
        wait_for("the reading", lambda: b'"reading":["shop.users"' in (bench.position() or b""))
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLES {TABLE} WRITE")  # the next chunk waits
            assert cdc_wait(bench, "--gtid", gtid, "--timeout", "0.5").returncode == 1
            assert not an_example()(bench.client, gtid, 0.5, partitions=_partitions(bench))
            assert bench.client.get("users:1999") is None
            cursor.execute("UNLOCK TABLES")
        assert cdc_wait(bench, "--gtid", gtid, "--timeout", "60").returncode == 0
        assert bench.client.get("users:1999") is not None
        assert process.stop() == 0, process.text()


def _partitions(bench: Bench) -> int:
    return int(bench.pipeline.environment.get("CDC_PARTITIONS", "1"))
