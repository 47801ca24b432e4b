"""Statements in the binlog whose rows it does not have: nothing stops, tables are read again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB
from tests.conftest import NewNats, NewRedis
from tests.support.bench import TABLE, Bench
from tests.support.commands import cdc
from tests.support.depth import by_depth
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(300)

KILLED = by_depth(1, full=3) / 4
STATEMENT = "SET SESSION binlog_format = 'STATEMENT'"
UPDATE = f"UPDATE {TABLE} SET ver = ver + 1, name = 'by statement'"
WAYS = (
    UPDATE,
    f"UPDATE {TABLE} AS u JOIN marks AS m ON m.id = 1 SET u.ver = u.ver + 1",
    "DELETE FROM users WHERE id % 7 = 3",
    "INSERT INTO users VALUES (5001, 'by statement', 1, 1), (5002, 'x', 2, 2)",
    "UPDATE a_view SET ver = ver + 1",
    "INSERT INTO watched VALUES (1)",
    "INSERT INTO unwatched VALUES (writes())",
    "INSERT INTO unwatched SELECT w + 10 FROM b_view",
)
"""Each changes rows of the captured table, on its own or by a trigger, a view or a function."""
DETOURS = (
    f"CREATE VIEW a_view AS SELECT * FROM {TABLE}",
    "CREATE TABLE watched (id INT PRIMARY KEY)",
    "CREATE TABLE unwatched (id INT PRIMARY KEY)",
    f"CREATE TRIGGER t AFTER INSERT ON watched FOR EACH ROW {UPDATE}",
    f"CREATE FUNCTION writes() RETURNS INT DETERMINISTIC BEGIN {UPDATE}; RETURN 1; END",
    "CREATE VIEW b_view AS SELECT writes() AS w",
)


def _passed(process: Process, times: int) -> bool:
    return process.text().count("statement passed") == times


@pytest.fixture
def detours(source: Bench) -> Bench:
    """Views, a trigger and a function that lead to the captured table; no load on it."""
    if not isinstance(source.mysql, MariaDB):
        source.execute("SET GLOBAL log_bin_trust_function_creators = ON")
    source.execute(*DETOURS)
    return source


def test_rows_that_a_statement_changed_are_read_again(detours: Bench) -> None:
    """By each way that leads to the table, and within a transaction; kills forget nothing."""
    bench, chance = detours, seeded()
    with bench.pipeline as pipeline:
        process, sink = pipeline.impatient()
        bench.wait_until_equal()
        for way in WAYS:
            bench.execute(STATEMENT, "BEGIN", way, "DELETE FROM unwatched", "COMMIT")
            if chance.random() < KILLED:
                process.kill_after(chance.choice((0.0, 0.1, 0.3)))
            bench.passes(f"another table after {way}")
            bench.wait_until_equal()
        assert "is in the binlog without the rows that it changed" in process.text()
        end_well(bench, process, sink)


def test_many_statements_set_a_table_aside_in_between(bench: Bench) -> None:
    """Reading it again for each would never end; other tables keep flowing."""
    chance = seeded()
    with bench.pipeline as pipeline:
        process, sink = pipeline.impatient()
        bench.wait_until_equal()
        with ordeal(bench, chance, process, sink, pause_s=0.02):
            for _ in range(20):
                bench.execute(STATEMENT, "DELETE FROM users WHERE id > 5000")
            bench.passes("another table")
        assert process.text().count("table is read again") < 20


def test_check_and_verify_show_what_is_set_aside(bench: Bench) -> None:
    """The table looks well in the catalog; the stream alone tells that it is not exact."""
    environment = bench.pipeline.environment
    with bench.pipeline:
        process = bench.caught_up()
        bench.execute(STATEMENT, "DELETE FROM users WHERE id = 7")
        wait_for("the reading", lambda: "table is read again" in process.text())
        bench.execute(STATEMENT, "DELETE FROM users WHERE id = 8")
        wait_for("it is set aside", lambda: "table set aside" in process.text())
        checked = json.loads(cdc(environment, "check", "--json").stdout)
        verified = cdc(environment, "verify")
        assert "mysql.set-aside" in [finding["id"] for finding in checked["findings"]]
        assert verified.returncode == 1
        assert "shop.users: SET ASIDE   not compared, keys kept, not exact" in verified.stdout
        assert "shop.marks: equal" in verified.stdout


def test_a_statement_that_reaches_no_captured_table_passes(detours: Bench) -> None:
    """By the words alone that is not known: the definitions are looked up, and looked up again."""
    bench = detours
    with bench.pipeline:
        process = bench.caught_up()
        for number in range(1, 4):
            bench.execute(STATEMENT, f"INSERT INTO unwatched SELECT id + {number} FROM marks")
            wait_for("the look", partial(_passed, process, number))
            bench.execute(f"CREATE OR REPLACE VIEW c_view AS SELECT {number} AS n")
        bench.execute(STATEMENT, *[f"DELETE FROM unwatched WHERE id = {n}" for n in range(50)])
        bench.passes("another table")
        assert _passed(process, 4)
        assert "table is read again" not in process.text()
        end_well(bench, process)


def test_without_the_rights_to_see_definitions_all_tables_are_read_again(detours: Bench) -> None:
    """A login with no more rights than cdc needs cannot tell what a trigger does."""
    bench = detours
    bench.log_in_as_cdc("users", "marks")
    with bench.pipeline:
        process = bench.caught_up()
        bench.execute(STATEMENT, "INSERT INTO watched VALUES (7)")
        bench.wait_until_equal()
        wait_for("both read again", lambda: process.text().count("table is read again") == 2)
        end_well(bench, process)


def test_rows_that_were_rolled_back_after_all_are_read_again(
    new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """MariaDB keeps them in the binlog, with a ROLLBACK, where a trigger wrote to another engine.

    MySQL writes the rows of the other engine alone; with GTIDs it refuses such a transaction.
    """
    with MariaDB() as server:
        _roll_back(Bench(server, new_nats(), new_redis(), tmp_path))


def _roll_back(bench: Bench) -> None:
    bench.execute(
        "CREATE TABLE kept (id INT PRIMARY KEY AUTO_INCREMENT) ENGINE = MyISAM",
        f"CREATE TRIGGER k AFTER UPDATE ON {TABLE} FOR EACH ROW INSERT INTO kept VALUES ()",
    )
    with bench.pipeline as pipeline:
        process, sink = pipeline.impatient()
        bench.wait_until_equal()
        for end in ("ROLLBACK", "SAVEPOINT s; ROLLBACK TO s; COMMIT"):
            first, *rest = end.split("; ")
            begin = ("BEGIN", *([first] if rest else []))
            change = f"UPDATE {TABLE} SET ver = ver + 1 WHERE id = 7"
            bench.execute(*begin, change, *(rest or [first]))
            bench.passes(f"another table after {end}")
            bench.wait_until_equal()
        assert "ROLLBACK is in the binlog without the rows" in process.text()
        end_well(bench, process, sink)
