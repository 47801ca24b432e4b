"""Servers that do not name columns in the binlog, as all do by default.

No row is decoded with names of another moment: the application inserts only rows whose `a` is
positive and whose `b` is negative, whatever the columns with these names are at the moment.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.demo.servers import MariaDB
from tests.support.bench import Bench
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import wait_for
from tests.support.tally import seeded
from tests.support.truth import messages

pytestmark = pytest.mark.timeout(300)

SWAPPED = "shop.swapped"
SWAP = "ALTER TABLE swapped RENAME COLUMN a TO b, RENAME COLUMN b TO a"


def names(bench: Bench, *, given: bool) -> None:
    """Have the server name columns in the binlog, or not, as it does by default."""
    default = "NO_LOG" if isinstance(bench.mysql, MariaDB) else "MINIMAL"
    bench.execute(f"SET GLOBAL binlog_row_metadata = '{'FULL' if given else default}'")


class Swapped:
    """The table ``shop.swapped``, two columns of which change their names."""

    def __init__(self, bench: Bench) -> None:
        """Make it, with a row."""
        self.bench, self.last_id = bench, 0
        names(bench, given=False)
        bench.execute("CREATE TABLE swapped (id INT PRIMARY KEY, a INT, b INT)")
        bench.pipeline.environment["CDC_TABLES"] += f",{SWAPPED}"
        self.write()

    def write(self, rows: int = 1) -> None:
        """Insert rows, each in a transaction of its own."""
        first, self.last_id = self.last_id + 1, self.last_id + rows
        self.bench.execute(
            *(
                f"INSERT INTO swapped (id, a, b) VALUES ({n}, {n}, {-n})"
                for n in range(first, self.last_id + 1)
            )
        )

    def change(self, rows: int = 1) -> None:
        """Swap the names, and write."""
        self.bench.execute(SWAP)
        self.write(rows)

    def expected(self) -> dict[str, str]:
        """Return what Redis must hold, by a SELECT of our own."""
        with self.bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM swapped")
            columns = [column[0] for column in cursor.description]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        return {f"swapped:{row['id']}": json.dumps(row, separators=(",", ":")) for row in rows}

    def found(self) -> dict[str, str]:
        """Return what Redis holds."""
        keys = list(self.bench.client.scan_iter("swapped:*", count=5000))
        values: Any = self.bench.client.mget(keys) if keys else []
        pairs = zip(keys, values, strict=True)
        return {key.decode(): value.decode() for key, value in pairs if value is not None}

    def wait_until_equal(self) -> None:
        """Wait until Redis shows what MySQL has of it."""
        wait_for("the table", lambda: self.found() == self.expected())

    def assert_right(self) -> int:
        """Assert that no insert has the names of another moment; return how many there are."""
        inserts = [
            body
            for subject, body in messages(self.bench.nats.url)
            if subject == "mysql.insert" and body["table"] == SWAPPED
        ]
        for body in inserts:
            n = int(body["key"].removeprefix("swapped:"))
            assert json.loads(body["value"]) == {"id": n, "a": n, "b": -n}
        return len(inserts)


@pytest.fixture
def swapped(source: Bench) -> Swapped:
    """The table on each kind of source."""
    return Swapped(source)


def test_columns_that_swap_their_names_while_the_reader_lags(swapped: Swapped) -> None:
    """Swapped once and twice while it is down, and again while it reads what was then."""
    bench, chance = swapped.bench, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        swapped.wait_until_equal()
        swapped.change(3)
        swapped.wait_until_equal()
        swapped.write(3)
        swapped.wait_until_equal()
        live = swapped.assert_right()
        assert live >= 3, "the last three were written when their names were known"
        assert process.stop() == 0, process.text()
        for swaps in (1, 2):
            swapped.write(20)
            for _ in range(swaps):
                swapped.change(20)
            with ordeal(bench, chance, pause_s=0.02):
                process = pipeline.run()
                for _ in range(chance.randrange(1, 4)):
                    swapped.change(5)
                swapped.wait_until_equal()
                if chance.random() < 0.5:
                    process.kill_after(chance.choice((0.0, 0.1, 0.3)))
                swapped.change(5)
                copy = pipeline.run()
                wait_for("the copy", lambda: '"streaming"' in copy.text())  # noqa: B023 - at once
                swapped.write(5)
                swapped.wait_until_equal()
            assert copy.stop() == 0, copy.text()
            end_well(bench, process)
            swapped.assert_right()


def test_a_server_that_begins_and_ends_to_name_columns_is_followed(swapped: Swapped) -> None:
    """Names of the binlog and of the catalog, one after the other, with changes between."""
    bench, chance = swapped.bench, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.run()
        swapped.wait_until_equal()
        with ordeal(bench, chance, process, pause_s=0.02):
            for n in range(6):
                names(bench, given=n % 2 == 0)
                swapped.write(3)
                if chance.random() < 0.5:
                    swapped.change(3)
                swapped.wait_until_equal()
        swapped.assert_right()
        assert "set aside" not in process.text()


def test_a_harmless_statement_needs_no_reading(bench: Bench) -> None:
    """An index gives no column another name: rows right after it are known."""
    swapped = Swapped(bench)
    with bench.pipeline as pipeline:
        process = pipeline.run()
        swapped.wait_until_equal()
        bench.execute("ALTER TABLE swapped ADD INDEX by_a (a)")
        swapped.write(5)
        swapped.wait_until_equal()
        assert "schema change passed" in process.text()
        assert "table is read again" not in process.text()
        assert swapped.assert_right() == 5
        end_well(bench, process)


def test_a_table_that_is_locked_is_asked_for_later(swapped: Swapped) -> None:
    """Its columns cannot be asked for as long; other tables are followed in the meantime."""
    bench, chance = swapped.bench, seeded()
    with bench.pipeline as pipeline:
        process = pipeline.process(program=("tests.support.impatient",)).start()
        swapped.wait_until_equal()
        with bench.mysql.connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES swapped WRITE")
            cursor.execute(SWAP)
            wait_for("the change", lambda: "table is read again" in process.text())
            bench.passes("another table")
            before = swapped.found()
            cursor.execute("INSERT INTO swapped (id, a, b) VALUES (2, 2, -2)")
            bench.passes("another table again")
            assert swapped.found() == before
        swapped.last_id = 2
        with ordeal(bench, chance, process, pause_s=0.02):
            swapped.wait_until_equal()
            swapped.write(3)
            swapped.wait_until_equal()
        assert swapped.assert_right() >= 3


def test_with_stop_a_row_without_names_stops_and_a_refresh_resumes(bench: Bench) -> None:
    """A change while it was down; with "continue" such a server is refused at the start."""
    swapped = Swapped(bench)
    with bench.pipeline as pipeline:
        process = pipeline.run("--on-schema-change", "stop")
        swapped.wait_until_equal()
        swapped.write(3)
        swapped.wait_until_equal()
        assert process.stop() == 0, process.text()
        swapped.write()
        swapped.change()
        stopped = pipeline.run("--on-schema-change", "stop")
        assert stopped.wait() == 65
        assert "does not name the columns of shop.swapped" in stopped.text()
        refused = pipeline.run("--on-schema-change", "continue")
        assert refused.wait() == 3
        assert "SET PERSIST binlog_row_metadata" in refused.text()
        pipeline.refresh()
        process = pipeline.run("--on-schema-change", "stop")
        swapped.wait_until_equal()
        swapped.write(3)
        swapped.wait_until_equal()
        swapped.assert_right()
        end_well(bench, process)
