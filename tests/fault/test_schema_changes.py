"""The schema changes under a running pipeline: nothing stops, MySQL ends as Redis is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cdc.demo.servers import MariaDB
from tests.support.bench import Bench
from tests.support.commands import cdc
from tests.support.depth import by_depth
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(300)

USAGE = 2
KILLED = by_depth(1, full=3) / 4
"""How many changes are followed by a SIGKILL."""
CHANGES = (
    "ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 7",
    "ALTER TABLE t ADD INDEX by_n (n), COMMENT = 'harmless'",
    "ALTER TABLE t MODIFY n VARCHAR(60)",
    "ALTER TABLE t CHANGE c d BIGINT",
    "ALTER TABLE t ADD COLUMN e VARCHAR(9) DEFAULT 'new' FIRST",
    "ALTER TABLE t DROP COLUMN e, ADD COLUMN e VARCHAR(9) DEFAULT 'newer'",
    "ALTER TABLE t DROP COLUMN d",
    "TRUNCATE TABLE t",
    "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)",
    "ALTER TABLE t ADD COLUMN f INT DEFAULT 5, DROP PRIMARY KEY, ADD PRIMARY KEY (f, id, n)",
    "TRUNCATE t",
    "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 3",
    "ALTER TABLE t TRUNCATE PARTITION p1",
    "ALTER TABLE t REMOVE PARTITIONING",
    "RENAME TABLE t TO elsewhere",
    "RENAME TABLE elsewhere TO t",
    "DROP TABLE t",
    "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(60), z INT DEFAULT 3)",
    "CREATE TABLE t_new LIKE t; ALTER TABLE t_new ADD COLUMN y INT DEFAULT 1; "
    "INSERT INTO t_new (id, n) SELECT id, n FROM t; RENAME TABLE t TO t_old, t_new TO t; "
    "DROP TABLE t_old",
)
"""Statements of an application's migrations, one after the other; rows are written after each."""


class Migrated:
    """The table ``shop.t``, which a migration changes and an application writes."""

    def __init__(self, bench: Bench) -> None:
        """Make it, with rows; the binlog names its columns, or does not, as by default."""
        self.bench, self.next_id = bench, 1
        stock = "NO_LOG" if isinstance(bench.mysql, MariaDB) else "MINIMAL"
        metadata = seeded().choice(("FULL", stock))
        bench.execute(f"SET GLOBAL binlog_row_metadata = '{metadata}'")
        self.key: list[str] = []
        bench.execute("CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(20))")
        self.write()
        bench.pipeline.environment["CDC_TABLES"] += ",shop.t"

    def key_by(self, template: str) -> None:
        """Give the table a key template; empty: it has the default one."""
        if template:
            self.key = re.findall("{(.*?)}", template)
            path = self.bench.folder / "keys.toml"
            path.write_text(f'[tables."shop.t"]\nkey = "{template}"\n')
            self.bench.pipeline.environment["CDC_CONFIG"] = str(path)

    def capture(self) -> None:
        """Run cdc until Redis has the rows, and stop it."""
        process = self.bench.pipeline.run()
        self.wait_until_equal(process, "the snapshot")
        assert process.stop() == 0, process.text()

    def write(self, *, is_named: bool = True) -> None:
        """Insert some rows, change one, and remove one; without `n` where that is not there."""
        first, self.next_id = self.next_id, self.next_id + 4
        column = "n" if is_named else "m"
        for id_ in range(first, self.next_id):
            self.bench.execute(f"INSERT INTO t (id, {column}) VALUES ({id_}, 'n{id_}')")
        self.bench.execute(
            f"UPDATE t SET {column} = 'changed' WHERE id = {first}",
            f"DELETE FROM t WHERE id = {first + 1}",
        )

    def expected(self) -> dict[str, str]:
        """Return what Redis must hold, by a SELECT of our own; without the table, nothing."""
        with self.bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES LIKE 't'")
            if not cursor.fetchall():
                return {}
            cursor.execute("SHOW KEYS FROM t WHERE Key_name = 'PRIMARY'")
            key = self.key or [str(row[4]) for row in cursor.fetchall()]
            cursor.execute("SELECT * FROM t")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {
            ":".join(["t", *(str(row[name]) for name in key)]): json.dumps(
                row, separators=(",", ":")
            )
            for row in rows
        }

    def found(self) -> dict[str, str]:
        """Return what Redis holds."""
        keys = list(self.bench.client.scan_iter("t:*", count=5000))
        values: Any = self.bench.client.mget(keys) if keys else []
        return {
            str(key, "utf-8"): str(value, "utf-8")
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    def wait_until_equal(self, process: Process, what: str) -> None:
        """Wait until Redis shows what MySQL has."""
        try:
            wait_for(what, lambda: self.found() == self.expected())
        except TimeoutError:
            raise AssertionError(
                f"{what}\nMySQL {self.expected()}\nRedis {self.found()}\n{process.text()[-3000:]}"
            ) from None


@pytest.fixture
def migrated(source: Bench) -> Migrated:
    """The table on each kind of source."""
    return Migrated(source)


def test_each_change_of_the_schema_passes_while_others_write(migrated: Migrated) -> None:
    """After each statement the table is exact again, and changes of other tables keep flowing."""
    bench, chance = migrated.bench, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        migrated.wait_until_equal(process, "the snapshot")
        with ordeal(bench, chance, process, pause_s=0.02):
            for change in CHANGES:
                bench.execute(*change.split("; "))
                migrated.wait_until_equal(process, change)
                if "RENAME TABLE t TO elsewhere" in change or change == "DROP TABLE t":
                    continue
                migrated.write()
                migrated.wait_until_equal(process, f"rows after {change}")
                bench.passes(f"another table after {change}")
        assert "schema change passed" in process.text()


def test_changes_that_happened_while_it_was_down_are_passed_in_order(migrated: Migrated) -> None:
    """Rows between several changes of a table, with names that only then were right."""
    bench, chance = migrated.bench, seeded()
    with bench.pipeline as pipeline:
        migrated.capture()
        for change in CHANGES[:-5]:
            bench.execute(*change.split("; "))
            if "elsewhere" not in change:
                migrated.write()
        bench.execute("ALTER TABLE t ADD COLUMN a INT DEFAULT 1, ADD COLUMN b INT DEFAULT 2")
        migrated.write()
        bench.execute("ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a")
        migrated.write()
        with ordeal(bench, chance, pause_s=0.02):
            process = pipeline.run()
            migrated.wait_until_equal(process, "all changes")
        end_well(bench, process)


REASONS = {
    "a type that is not carried": (
        "",
        "ALTER TABLE t ADD COLUMN p POINT",
        "ALTER TABLE t DROP COLUMN p",
    ),
    "an engine that loses rows": (
        "",
        "ALTER TABLE t ENGINE = MEMORY",
        "ALTER TABLE t ENGINE = InnoDB",
    ),
    "no key": (
        "",
        "ALTER TABLE t DROP PRIMARY KEY",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
    ),
    "a key that tells no rows apart": (
        "t:{id}",
        "ALTER TABLE t ADD COLUMN u INT DEFAULT 0, DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id), DROP COLUMN u",
    ),
    "NULL in a key": (
        "t:{id}:{n}",
        "UPDATE t SET n = NULL WHERE id > 3",
        "UPDATE t SET n = CONCAT('n', id) WHERE n IS NULL",
    ),
    "a column of the key is gone": (
        "t:{id}:{n}",
        "ALTER TABLE t CHANGE n m VARCHAR(20)",
        "ALTER TABLE t CHANGE m n VARCHAR(20)",
    ),
    "no right to read it": (
        "",
        "REVOKE SELECT ON shop.t FROM cdc; TRUNCATE t; INSERT INTO t (id, n) VALUES (1000, 'x')",
        "GRANT SELECT ON shop.t TO cdc",
    ),
}
"""Why a table is set aside: its key template, what sets it aside, and what brings it back."""


@pytest.mark.parametrize("reason", REASONS)
def test_a_table_that_cannot_be_captured_stands_aside_and_returns(
    migrated: Migrated, reason: str
) -> None:
    """Its changes are skipped, its keys stay, others keep flowing; it returns without a person."""
    bench, chance = migrated.bench, seeded()
    key, breaks, heals = REASONS[reason]
    migrated.key_by(key)
    if "REVOKE" in breaks:
        bench.log_in_as_cdc("users", "marks", "t")
    with bench.pipeline as pipeline:
        process, sink = pipeline.impatient()
        migrated.wait_until_equal(process, "the snapshot")
        before = migrated.found()
        with ordeal(bench, chance, process, sink, pause_s=0.02):
            bench.execute(*breaks.split("; "))
            wait_for("the table aside", lambda: "table set aside" in process.text())
            migrated.write(is_named="CHANGE n" not in breaks)
            bench.passes("another table")
            assert migrated.found().keys() >= before.keys()
            assert process.is_running()
            bench.execute(*heals.split("; "))
            migrated.wait_until_equal(process, "it is back")
            migrated.write()
            migrated.wait_until_equal(process, "changes after it")


@pytest.mark.parametrize("flags", [(), ("--partitions", "3")], ids=["one", "partitions"])
def test_kills_among_changes_of_the_schema_forget_nothing(
    bench: Bench, flags: tuple[str, ...]
) -> None:
    """SIGKILL of everything at random moments of the same changes; two copies at the end."""
    migrated, chance = Migrated(bench), seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run(*flags)
        migrated.wait_until_equal(process, "the snapshot")
        with ordeal(bench, chance, pause_s=0.02):
            for change in CHANGES:
                bench.execute(*change.split("; "))
                if "elsewhere" not in change and change != "DROP TABLE t":
                    migrated.write()
                if chance.random() < KILLED:
                    process.kill_after(chance.choice((0.0, 0.05, 0.1, 0.3)))
                    bench.wait_for_progress()
            copy = pipeline.run(*flags)
            bench.execute("ALTER TABLE t ADD COLUMN last INT DEFAULT 9")
            migrated.write()
            migrated.wait_until_equal(process, "all changes")
        end_well(bench, process, copy)


def test_an_emptied_redis_is_filled_past_a_change_of_the_key(source: Bench) -> None:
    """It applies the stream from its beginning: keys of the old primary key come, and go again."""
    migrated, chance, bench = Migrated(source), seeded(), source
    with bench.pipeline as pipeline:
        process = pipeline.run()
        migrated.wait_until_equal(process, "the snapshot")
        with ordeal(bench, chance, pause_s=0.02):
            bench.execute("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)")
            migrated.write()
            migrated.wait_until_equal(process, "the other key")
            assert process.stop() == 0
            process.start()
            bench.passes("a change")
        bench.client.flushall()
        migrated.wait_until_equal(process, "all of it again")
        bench.execute("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id)")
        migrated.wait_until_equal(process, "the first key")
        end_well(bench, process)


def test_a_start_passes_a_table_that_is_gone_and_a_new_name_is_refused(source: Bench) -> None:
    """The stream knows the first, so it is set aside; nothing knows the second: a mistake."""
    migrated, chance, bench = Migrated(source), seeded(), source
    with bench.pipeline as pipeline:
        migrated.capture()
        bench.execute("DROP TABLE t")
        bench.pipeline.environment["CDC_TABLES"] += ",shop.never"
        refused = pipeline.run()
        assert refused.wait() == USAGE
        assert "shop.never" in refused.text()
        assert "shop.t'" not in refused.text()
        tables = bench.pipeline.environment["CDC_TABLES"].removesuffix(",shop.never")
        bench.pipeline.environment["CDC_TABLES"] = tables
        with ordeal(bench, chance, pause_s=0.02):
            process = pipeline.run()
            migrated.wait_until_equal(process, "no key")
            bench.execute("CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(60))")
            migrated.write()
            migrated.wait_until_equal(process, "the new table")
        end_well(bench, process)


def test_a_start_passes_a_table_that_cannot_be_captured_any_more(source: Bench) -> None:
    """Its keys stay as they were, and it returns; nothing is asked of a person."""
    migrated, chance, bench = Migrated(source), seeded(), source
    with bench.pipeline as pipeline:
        migrated.capture()
        before = migrated.found()
        bench.execute("ALTER TABLE t ADD COLUMN p POINT")
        migrated.write()
        with ordeal(bench, chance, pause_s=0.02):
            process = pipeline.run()
            wait_for("the table aside", lambda: "table set aside" in process.text())
            bench.passes("another table")
            assert migrated.found() == before
            bench.execute("ALTER TABLE t DROP COLUMN p")
            migrated.wait_until_equal(process, "it is back")
        end_well(bench, process)


def test_a_memory_table_that_a_restart_empties_is_no_incident(source: Bench) -> None:
    """It is set aside as MEMORY; the server writes a statement of its own when it is used again."""
    migrated, chance, bench = Migrated(source), seeded(), source
    with bench.pipeline as pipeline:
        process = pipeline.run()
        migrated.wait_until_equal(process, "the snapshot")
        with ordeal(bench, chance, process, pause_s=0.02):
            bench.execute("ALTER TABLE t ENGINE = MEMORY")
            wait_for("the table aside", lambda: "table set aside" in process.text())
            migrated.write()
            bench.restart(bench.mysql, kill=bool(chance.getrandbits(1)))
            bench.execute("SELECT COUNT(*) FROM t")
            bench.recovered("a restart")
            migrated.write()
            bench.execute("ALTER TABLE t ENGINE = InnoDB")
            migrated.wait_until_equal(process, "it is back")
        end_well(bench, process)


def test_keys_of_a_table_that_is_set_aside_are_removed_where_asked(source: Bench) -> None:
    """on_set_aside = "remove": a cache that is empty is better than one that is wrong."""
    migrated, chance, bench = Migrated(source), seeded(), source
    with bench.pipeline as pipeline:
        process = pipeline.run("--on-set-aside", "remove")
        migrated.wait_until_equal(process, "the snapshot")
        with ordeal(bench, chance, process, pause_s=0.02):
            bench.execute("ALTER TABLE t ADD COLUMN p POINT")
            wait_for("no key", lambda: migrated.found() == {})
            migrated.write()
            bench.passes("another table")
            assert migrated.found() == {}
            found = cdc(bench.pipeline.environment, "verify", "--json", "--only", "t")
            (about,) = json.loads(found.stdout)["tables"]
            assert (found.returncode, about["aside"]["removed"]) == (1, True), found.stderr
            assert "POINT" in about["aside"]["reason"].upper()
            bench.execute("ALTER TABLE t DROP COLUMN p")
            migrated.wait_until_equal(process, "it is back")


def test_a_verify_from_time_to_time_takes_the_columns_of_now(source: Bench) -> None:
    """The role was told of the tables as they were when cdc run began."""
    migrated, bench = Migrated(source), source

    def verified(process: Process) -> int:
        lines = process.text().splitlines()
        return sum('"verified: equal","table":"shop.t"' in line for line in lines)

    with bench.pipeline as pipeline:
        process = pipeline.run("--verify-every-s", "1")
        migrated.wait_until_equal(process, "the snapshot")
        bench.execute("ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 7")
        migrated.wait_until_equal(process, "the change")
        before = verified(process)
        wait_for("two more", lambda: verified(process) > before + 1)
        assert process.stop() == 0
        assert "Redis differs" not in process.text()
