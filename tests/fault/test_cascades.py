"""Cascades that are in no binlog: captured children are read again, and nothing else is."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL80
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import Bench
from tests.support.cascades import DELETE, FOLLOWED, PASSED, Family, rows_of, shown
from tests.support.depth import by_depth
from tests.support.ordeal import end_well, ordeal
from tests.support.pipeline import Process, wait_for
from tests.support.tally import seeded

pytestmark = pytest.mark.timeout(300)

NATIVE = ("--innodb-native-foreign-keys=ON",)
KINDS = {"mysql80": MySQL80, "mariadb": MariaDB, "mariadb1011": MariaDB1011}
FAMILIES = (*FOLLOWED, *PASSED)


SORTS = ("mysql80", "mysql native", "mariadb", "mariadb1011")
"""Kinds of server that do not write cascades to the binlog."""
TURNS = by_depth(2, full=12)
LATER = (
    ("ALTER TABLE {c} DROP FOREIGN KEY fk0c",),
    ("ALTER TABLE {b} DROP FOREIGN KEY fk1b",),
    ("RENAME TABLE {a} TO another",),
    ("ALTER TABLE {b} DROP FOREIGN KEY fk3b", "DROP TABLE {a}"),
)
"""What happens to foreign keys after a cascade, before the reader sees it."""
_BOTH_A, _BOTH_B, _BOTH_C = (
    f"p INT, FOREIGN KEY (p) REFERENCES {{{a}}} (id) ON DELETE CASCADE ON UPDATE CASCADE"
    for a in "abc"
)
LEVELS = Family("under_load", ("", _BOTH_A, _BOTH_B, _BOTH_C), (), "bd")
TREE = Family(
    "a_tree",
    ("p INT, FOREIGN KEY (p) REFERENCES {a} (id) ON DELETE CASCADE",),
    (),
    "a",
    ("({i}, {i} DIV 2 + ({i} = 1))",),
)


@contextmanager
def _bench(
    kind: str,
    new_mysql: NewMySQL,
    new_nats: NewNats,
    new_redis: NewRedis,
    folder: Path,
    families: Sequence[Family],
) -> Iterator[Bench]:
    """Yield a kind of server with families, and a login with the least rights."""
    with ExitStack() as stack:
        known = KINDS.get(kind)
        options = NATIVE if kind == "mysql native" else ()
        server = stack.enter_context(known()) if known else new_mysql(options=options)
        bench = Bench(server, new_nats(), new_redis(), folder)
        metadata = seeded().choice(("FULL", "MINIMAL"))
        bench.execute(f"SET GLOBAL binlog_row_metadata = '{metadata}'")
        for family in families:
            bench.execute(*family.create())
        captured = _captured(families)
        bench.log_in_as_cdc("users", "marks", *captured)
        bench.execute(
            *(
                f"GRANT REFERENCES ON shop.{table} TO cdc@'%'"
                for family in families
                for table in family.tables.values()
            )
        )
        names = ["shop.users", "shop.marks", *(f"shop.{table}" for table in captured)]
        bench.pipeline.environment["CDC_TABLES"] = ",".join(names)
        yield bench


@pytest.fixture
def made(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> Callable[[str, Sequence[Family]], AbstractContextManager[Bench]]:
    """Make a kind of server with families."""
    return lambda kind, families: _bench(kind, new_mysql, new_nats, new_redis, tmp_path, families)


def _captured(families: Sequence[Family]) -> list[str]:
    return [table for family in families for table in family.of(family.captured)]


def _is_equal(bench: Bench, families: Sequence[Family]) -> bool:
    tables = _captured(families)
    with bench.mysql.connect("shop") as connection:
        return rows_of(connection, tables) == shown(bench.client, tables)


def _read_again(process: Process) -> set[str]:
    return set(re.findall(r'"table is read again".*?"table":"shop\.(\w+)"', process.text()))


def _is_logged(bench: Bench) -> bool:
    """Return whether the server writes cascades to its binlog."""
    with bench.mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
        return cursor.fetchone() == ("innodb_native_foreign_keys", "OFF")


@pytest.mark.parametrize("kind", ["mysql80", "mysql", "mysql native", "mariadb", "mariadb1011"])
def test_each_way_of_a_cascade_is_followed_and_nothing_else_is_read(
    made: Callable[..., AbstractContextManager[Bench]], kind: str
) -> None:
    """Deletes, moves, several levels, parents that are not captured; by the least rights."""
    with made(kind, FAMILIES) as bench, bench.pipeline:
        process = bench.caught_up()
        wait_for("the first rows", lambda: _is_equal(bench, FAMILIES))
        for family in FAMILIES:
            bench.execute(*map(family.text, family.change))
        bench.passes("another table")
        wait_for("MySQL's rows", lambda: _is_equal(bench, FAMILIES))
        reached = {table for family in FOLLOWED for table in family.of(family.reached)}
        assert _read_again(process) == (set() if _is_logged(bench) else reached)
        end_well(bench, process)


def test_foreign_keys_that_change_while_the_reader_lags(
    made: Callable[..., AbstractContextManager[Bench]],
) -> None:
    """What the catalog shows is of later than what the binlog has: nothing is missed by it."""
    kind = seeded().choice(SORTS)
    late = [
        Family(
            f"late{n}",
            (
                "",
                f"p INT, CONSTRAINT fk{n}b FOREIGN KEY (p) REFERENCES {{a}} (id) ON DELETE CASCADE",
                f"p INT, CONSTRAINT fk{n}c FOREIGN KEY (p) REFERENCES {{b}} (id) ON DELETE CASCADE",
            ),
            (),
            "c",
        )
        for n in range(4)
    ]
    with made(kind, late) as bench, bench.pipeline as pipeline:
        process = bench.caught_up()
        wait_for("the first rows", lambda: _is_equal(bench, late))
        assert process.stop() == 0
        for family, later in zip(late, LATER, strict=True):
            bench.execute(family.text(DELETE), *map(family.text, later))
        process = pipeline.run()
        wait_for("what was deleted", lambda: _is_equal(bench, late))
        bench.execute(
            late[0].text(
                "ALTER TABLE {c} ADD FOREIGN KEY (p) REFERENCES {b} (id) ON DELETE CASCADE"
            ),
            late[0].text("DELETE FROM {b} WHERE id = 6"),
        )
        wait_for("a foreign key that is new", lambda: _is_equal(bench, late))
        end_well(bench, process)


def test_cascades_under_load_with_kills(
    made: Callable[..., AbstractContextManager[Bench]],
) -> None:
    """Parents change all the time, the pipeline is killed: Redis ends as MySQL is."""
    chance = seeded()
    both = (LEVELS, TREE)
    with made(chance.choice(SORTS), both) as bench, bench.pipeline as pipeline:
        bench.pipeline.environment["CDC_PARTITIONS"] = str(chance.choice((1, 3)))
        process, sink = pipeline.impatient()
        with ordeal(bench, chance, process, sink, pause_s=0.01):
            for _ in range(TURNS):
                process.kill_after(chance.uniform(0.2, 1.0))
                for _ in range(40):
                    _change(bench, chance)
            wait_for("MySQL's rows", lambda: _is_equal(bench, both))


def _change(bench: Bench, chance: random.Random) -> None:
    """Do something to a parent, or make rows that it may be done to; MySQL may refuse it."""
    i, j = chance.randrange(1, 30), chance.randrange(1, 30)
    family = chance.choice((LEVELS, TREE))
    table = family.tables[chance.choice([*family.tables])]
    row = f"({i}, {j})" if table != LEVELS.tables["a"] else f"({i})"
    statement = chance.choice(
        (
            f"INSERT INTO {table} VALUES {row}",
            f"INSERT INTO {table} VALUES {row}",
            f"DELETE FROM {table} WHERE id = {i}",
            f"UPDATE {table} SET id = {j} WHERE id = {i}",
        )
    )
    with suppress(pymysql.err.IntegrityError):
        bench.execute(statement)
