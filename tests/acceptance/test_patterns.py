"""Tables by pattern, in every command that takes tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis, start_together
from tests.support.bench import Bench
from tests.support.commands import cdc
from tests.support.pipeline import wait_for

UNFIT = ("hot", "no_key", "v")


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Tables that a pattern matches, and some that cannot be captured or are not wanted."""
    with ExitStack() as stack:
        mysql, nats, redis = request.param(), Nats(), Redis()
        start_together(stack, mysql, nats, redis)
        made = Bench(mysql, nats, redis, tmp_path)
        made.execute(
            "CREATE TABLE `od*d` (id INT PRIMARY KEY, n INT)",
            "INSERT INTO `od*d` VALUES (1, 1), (2, 2)",
            "CREATE TABLE tmp_1 (id INT PRIMARY KEY)",
            "INSERT INTO tmp_1 VALUES (1)",
            "CREATE TABLE hot (id INT PRIMARY KEY) ENGINE = MEMORY",
            "CREATE TABLE no_key (id INT)",
            "CREATE VIEW v AS SELECT 1 AS a",
        )
        made.pipeline.environment |= {
            "CDC_TABLES": "shop.*",
            "CDC_EXCLUDE_TABLES": "*.tmp_*",
            "CDC_HEARTBEAT_IDLE_S": "0.5",
        }
        yield made


def has(bench: Bench, *keys: str) -> bool:
    """Return whether Redis has all of these keys."""
    return bool(bench.client.exists(*keys) == len(keys))


@pytest.mark.parametrize("bench", [MySQL], indirect=True)
def test_every_command_takes_patterns(bench: Bench) -> None:
    """What matches is captured, what cannot be is told with its reason, and a new one joins."""
    environment = bench.pipeline.environment

    def works(*arguments: str) -> str:
        done = cdc(environment, *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    found = json.loads(works("check", "--json"))
    assert {one["table"] for one in found["tables"]} == {"shop.users", "shop.marks", "shop.od*d"}
    unfit = {one["table"]: one["why"] for one in found["not_captured"]}
    assert set(unfit) == {f"shop.{name}" for name in UNFIT}
    assert "ENGINE = MEMORY" in unfit["shop.hot"]
    assert "not captured, only 'shop.*' matches it: shop.v is a view" in works("check")
    assert "dry run: nothing was written" in works("run", "--dry-run")
    by_name = cdc(environment, "check", "--table", "shop.no_key")
    assert by_name.returncode == 3
    with bench.pipeline as pipeline:
        process = pipeline.run()
        wait_for("the rows", lambda: has(bench, "od*d:2", "marks:1", "users:99"))
        lines = [json.loads(line) for line in process.text().splitlines()]
        logged = [one for one in lines if one["event"] == "table not captured"]
        assert {one["table"] for one in logged} == set(unfit)
        assert not bench.client.exists("tmp_1:1")
        bench.execute("UPDATE `od*d` SET n = 3 WHERE id = 1")
        works("wait", "--timeout", "30")
        assert b'"n":3' in (bench.client.get("od*d:1") or b"")
        assert "shop.od*d" in works("status")
        changes = works("tail", "--table", "shop.o*", "--from", "earliest", "--limit", "2")
        assert {line.split()[2] for line in changes.splitlines()} == {"shop.od*d"}
        works("verify")
        bench.client.set("od*d:7", "of no row")
        assert cdc(environment, "verify", "--only", "o*").returncode == 1
        works("verify", "--only", "m*", "--only", "users")
        assert "od*d" in works("refresh", "--only", "shop.o*", "--yes")
        wait_for("the sweep", lambda: not bench.client.exists("od*d:7"))
        works("snapshot", "--table", "shop.m*")
        bench.execute("CREATE TABLE later (id INT PRIMARY KEY)", "INSERT INTO later VALUES (1)")
        assert process.stop() == 0, process.text()
        process = pipeline.run()
        wait_for("the new table", lambda: has(bench, "later:1"))
        assert process.stop() == 0, process.text()
        purged = cdc(environment, "purge", "--table", "shop.late*", "--yes", "--json")
        assert json.loads(purged.stdout)["removed"] == 1, purged.stderr


@pytest.mark.parametrize("bench", [MariaDB], indirect=True)
def test_a_sink_alone_asks_mysql_for_the_names(bench: Bench) -> None:
    """Reader and sink apart capture the same tables; names alone need no MySQL."""
    environment = bench.pipeline.environment
    with bench.pipeline as pipeline:
        sink, reader = pipeline.run("--role", "sink"), pipeline.run("--role", "reader")
        wait_for("the rows", lambda: has(bench, "od*d:2", "marks:1", "users:99"))
        bench.execute("UPDATE marks SET n = 5")
        wait_for("a change", lambda: b'"n":5' in (bench.client.get("marks:1") or b""))
        assert (sink.stop(), reader.stop()) == (0, 0)
        away = "mysql://cdc@127.0.0.1:1/shop"
        refused = cdc(environment | {"CDC_MYSQL_URL": away}, "run", "--role", "sink")
        assert refused.returncode == 69
        named = environment | {"CDC_MYSQL_URL": away, "CDC_TABLES": "shop.users"}
        assert cdc(named, "check", "--role", "sink").returncode == 0


@pytest.mark.parametrize("bench", [MySQL], indirect=True)
def test_a_table_that_is_created_joins_while_it_runs(bench: Bench) -> None:
    """With its rows and every later change; what cannot be captured is told and stops nothing."""
    environment = bench.pipeline.environment
    environment["CDC_NEW_TABLES_EVERY_S"] = "0.3"
    with bench.pipeline as pipeline:
        process = pipeline.run()
        wait_for("the rows", lambda: has(bench, "od*d:2", "marks:1", "users:99"))
        bench.execute("CREATE TABLE no_key_either (id INT)")
        wait_for("the warning", lambda: "shop.no_key_either" in process.text())
        assert "new tables: restarting" not in process.text()
        bench.execute("CREATE TABLE later (id INT PRIMARY KEY, n INT)")
        numbers = itertools.count(1)

        def is_written() -> bool:
            bench.execute(
                f"INSERT INTO later VALUES ({next(numbers)}, 0)", "UPDATE later SET n = n + 1"
            )
            return has(bench, "later:1")

        wait_for("the new table", is_written)
        bench.execute("DELETE FROM later WHERE id = 1", "UPDATE later SET n = -1 WHERE id = 2")
        wait_for("the delete", lambda: not bench.client.exists("later:1"))
        wait_for("a change", lambda: b'"n":-1' in (bench.client.get("later:2") or b""))
        assert "new tables: restarting" in process.text()
        assert cdc(environment, "verify").returncode == 0
        assert cdc(environment, "dead", "list").stdout.startswith("no ")
        bench.execute("CREATE TABLE one_more (id INT PRIMARY KEY)")
        wait_for("two restarts", lambda: process.text().count("new tables: restarting") == 2)
        wait_for("the start", lambda: process.text().count('"streaming"') == 3)
        assert process.stop() == 0, process.text()
        assert [line for line in process.text().splitlines() if line[:1] != "{"] == []


@pytest.mark.parametrize("bench", [MariaDB], indirect=True)
def test_a_new_table_joins_a_sink_before_its_rows_come(bench: Bench) -> None:
    """Reader and sink apart: no change of it becomes a dead letter."""
    environment = bench.pipeline.environment
    environment["CDC_NEW_TABLES_EVERY_S"] = "2"
    with bench.pipeline as pipeline:
        sink, reader = pipeline.run("--role", "sink"), pipeline.run("--role", "reader")
        wait_for("the rows", lambda: has(bench, "od*d:2", "marks:1", "users:99"))
        bench.execute("CREATE TABLE later (id INT PRIMARY KEY)", "INSERT INTO later VALUES (1)")
        wait_for("the sink", lambda: "new tables: restarting" in sink.text())
        assert "new tables: restarting" not in reader.text()
        wait_for("the new table", lambda: has(bench, "later:1"))
        assert "new tables: restarting" in reader.text()
        bench.execute("INSERT INTO later VALUES (2)")
        wait_for("a change", lambda: has(bench, "later:2"))
        assert cdc(environment, "dead", "list").stdout.startswith("no ")
        assert (sink.stop(), reader.stop()) == (0, 0)


@pytest.mark.parametrize("bench", [MySQL, MariaDB], indirect=True)
def test_a_table_that_is_dropped_leaves(bench: Bench) -> None:
    """Its keys go, then its name; created again it is read; also what happens while cdc is down."""
    environment = bench.pipeline.environment
    environment["CDC_NEW_TABLES_EVERY_S"] = "0.3"
    make = "CREATE TABLE late (id INT PRIMARY KEY)", "INSERT INTO late VALUES (1)"

    def is_well() -> bool:
        """No table is set aside."""
        return cdc(environment, "status", "--check").returncode == 0

    bench.execute(*make)
    with bench.pipeline as pipeline:
        process = pipeline.run()
        wait_for("the rows", lambda: has(bench, "late:1", "users:99"))
        bench.execute("DROP TABLE late")
        wait_for("the keys", lambda: not bench.client.exists("late:1"))
        wait_for("the name", lambda: "dropped tables leave" in process.text())
        wait_for("the status", is_well)
        bench.execute(*make)
        wait_for("the new rows", lambda: has(bench, "late:1"))
        assert process.stop() == 0, process.text()
        bench.execute("INSERT INTO late VALUES (2)", "DROP TABLE late")
        process = pipeline.run()
        wait_for("the keys", lambda: not bench.client.exists("late:1", "late:2"))
        wait_for("the name", lambda: "dropped tables leave" in process.text())
        wait_for("the status", is_well)
        assert process.stop() == 0, process.text()
        process = pipeline.run()
        bench.execute(*make, "UPDATE marks SET n = 8")
        wait_for("the new rows", lambda: has(bench, "late:1"))
        wait_for("a change", lambda: b'"n":8' in (bench.client.get("marks:1") or b""))
        assert cdc(environment, "verify").returncode == 0
        assert process.stop() == 0, process.text()
