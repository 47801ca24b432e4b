"""What makes rows of a captured table share a key is refused, on each server."""

from __future__ import annotations

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import PositionLostError, UsageError
from tests.support.following import Follower, keys

PRIMARY = "CREATE TABLE {t} (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20), INDEX (a))"
UNIQUE = "CREATE TABLE {t} (id INT NOT NULL, a INT NOT NULL, b VARCHAR(20), UNIQUE u (id))"
PARTED = (
    "CREATE TABLE {t} (id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) "
    "(PARTITION p VALUES LESS THAN (10), PARTITION q VALUES LESS THAN (20))"
)
ROW = "INSERT INTO {t} (id, a, b) VALUES (1, 1, '3')"
SWAP = "RENAME TABLE {t} TO {t}_old, {t}_new TO {t}"
NEW = "CREATE TABLE {t}_new "


@pytest.fixture(params=["mariadb", "mariadb1011"])
def any_mariadb(request: pytest.FixtureRequest) -> MariaDB:
    """Each MariaDB."""
    server: MariaDB = request.getfixturevalue(request.param)
    return server


REFUSED = [
    (PRIMARY, ["ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)", ROW], "by id, a now"),
    (PRIMARY, ["ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (a)", ROW], "by a now"),
    (PRIMARY, ["ALTER TABLE {t} DROP PRIMARY KEY", ROW], "by no column now"),
    (PRIMARY, ["DROP INDEX `PRIMARY` ON {t}", ROW], "by no column now"),
    (
        PRIMARY,
        [NEW + "(id INT, a INT, b INT, PRIMARY KEY (id, a))", SWAP, ROW],
        "by id, a now, in Redis by id",
    ),
    (PRIMARY, [NEW + "(id VARCHAR(9) PRIMARY KEY, a INT, b INT)", SWAP, ROW], "the type of id"),
    (PRIMARY, ["DROP TABLE {t}", "CREATE TABLE {t} (id INT, a INT, b INT)", ROW], "by no column"),
    (PRIMARY, ["ALTER TABLE {t} MODIFY id VARCHAR(20) NOT NULL"], "it may change id"),
    (PRIMARY, ["ALTER TABLE {t} CHANGE id no INT"], "it may change id"),
    (PRIMARY, ["ALTER TABLE {t} RENAME COLUMN id TO no"], "it may change id"),
    (
        PRIMARY,
        ["ALTER TABLE {t} DROP PRIMARY KEY, DROP id, ADD id INT AUTO_INCREMENT PRIMARY KEY FIRST"],
        "it may change id",
    ),
    (UNIQUE, ["ALTER TABLE {t} DROP KEY u"], "a unique key tells its rows apart"),
    (UNIQUE, ["DROP INDEX u ON {t}"], "a unique key tells its rows apart"),
    (UNIQUE, ["ALTER TABLE {t} DROP INDEX u, ADD UNIQUE u (id, a)"], "a unique key tells its rows"),
    (UNIQUE, ["RENAME TABLE {t} TO {t}_old"], "a unique key tells its rows apart"),
]


def test_what_takes_the_key_of_rows_is_refused(any_server: MySQL | MariaDB) -> None:
    """With `continue` too: a row more under a key would remove another one's."""
    with Follower(any_server, on_schema_change="continue") as follower:
        for number, (create, statements, seen) in enumerate(REFUSED):
            table = f"t{number}"
            follower.execute(create.format(t=table))
            follower.capture(table)
            error = follower.refusal(*(text.format(t=table) for text in statements))

            assert error is not None, statements
            assert seen in error.seen
            assert f"{follower.schema}.{table}" in error.seen
            assert "cdc refresh" in error.fix


def test_a_unique_key_less_is_refused_where_every_change_stops(
    any_server: MySQL | MariaDB,
) -> None:
    """An index that goes is no schema change elsewhere."""
    with Follower(any_server) as follower:
        follower.execute(UNIQUE.format(t="t"))
        follower.capture("t")
        error = follower.refusal("DROP INDEX u ON t")

        assert error is not None
        assert "DROP INDEX of the captured table" in error.seen


PASSED = [
    (PRIMARY, "ALTER TABLE {t} ADD c INT AFTER id"),
    (PRIMARY, "ALTER TABLE {t} MODIFY a BIGINT NOT NULL AFTER id"),
    (PRIMARY, "ALTER TABLE {t} MODIFY COLUMN id BIGINT NOT NULL, ALGORITHM = COPY"),
    (PRIMARY, "ALTER TABLE {t} CHANGE id id BIGINT UNSIGNED NOT NULL"),
    (PRIMARY, "ALTER TABLE {t} DROP INDEX a, ADD INDEX i (id, a)"),
    (PRIMARY, "ALTER TABLE {t} ADD UNIQUE v (a), DROP COLUMN b"),
    (PRIMARY, "ALTER TABLE {t} CONVERT TO CHARACTER SET latin1"),
    (PRIMARY, "DROP INDEX a ON {t}"),
    (PRIMARY, "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id DESC)"),
    (UNIQUE, "ALTER TABLE {t} ADD c INT"),
    (UNIQUE, "ALTER TABLE {t} ADD PRIMARY KEY (a)"),
    (PARTED, "ALTER TABLE {t} TRUNCATE PARTITION p"),
    (PARTED, "ALTER TABLE {t} DROP PARTITION p"),
]


def test_what_leaves_the_key_of_rows_is_passed(any_server: MySQL | MariaDB) -> None:
    """Columns, indexes and wider numbers are what `continue` is for."""
    with Follower(any_server, on_schema_change="continue") as follower:
        tables = [f"t{number}" for number in range(len(PASSED))]
        for table, (create, _) in zip(tables, PASSED, strict=True):
            follower.execute(create.format(t=table))
        follower.capture(*tables)
        for table, (_, statement) in zip(tables, PASSED, strict=True):
            follower.execute(
                f"INSERT INTO {table} (id, a) VALUES (11, 7)",
                statement.format(t=table),
                f"INSERT INTO {table} (id, a) VALUES (12, 8)",
            )
        messages = follower.read()

        assert keys(messages) == [("insert", f"{t}:{id_}") for t in tables for id_ in (11, 12)]
        named = {message["table"] for message in messages if message["op"] == "schema"}
        assert named == {
            f"{follower.schema}.{table}"
            for table, (_, statement) in zip(tables, PASSED, strict=True)
            if not statement.startswith("DROP INDEX")
        }


def test_each_change_of_rows_by_partitions_or_files_is_named(any_server: MySQL | MariaDB) -> None:
    """No rows event has what they take or bring: a barrier, as TRUNCATE is."""
    with Follower(any_server, on_schema_change="continue") as follower:
        follower.execute(
            PARTED.format(t="t"),
            "CREATE TABLE x (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE f (id INT PRIMARY KEY, a INT)",
        )
        follower.capture("t", "x", "f")
        follower.execute(
            "INSERT INTO t VALUES (1, 1), (11, 1)",
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE x",
            "ALTER TABLE t TRUNCATE PARTITION q",
            "ALTER TABLE t DROP PARTITION q",
            "ALTER TABLE f DISCARD TABLESPACE",
        )
        named = [(m["statement"], m["table"]) for m in follower.read() if m["op"] == "schema"]

        t, x, f = (("ALTER TABLE", f"{follower.schema}.{name}") for name in "txf")
        assert named == [t, x, t, t, f]


@pytest.mark.parametrize("create", [PRIMARY, UNIQUE])
def test_a_history_of_rows_is_refused(any_mariadb: MariaDB, create: str) -> None:
    """An UPDATE inserts the row of before beside it, a DELETE updates the row's end."""
    with Follower(any_mariadb, on_schema_change="continue") as follower:
        follower.execute(create.format(t="t"))
        follower.capture("t")
        error = follower.refusal("ALTER TABLE t ADD SYSTEM VERSIONING")

        assert error is not None
        assert "rows of its history" in error.seen
        assert "DROP SYSTEM VERSIONING" in error.fix
        with pytest.raises(UsageError, match="system-versioned"):
            follower.capture("t")


def test_a_table_with_a_history_in_the_place_of_another_is_refused(any_mariadb: MariaDB) -> None:
    """No statement tells then that it has one; its primary key does."""
    with Follower(any_mariadb, on_schema_change="continue") as follower:
        follower.execute(PRIMARY.format(t="t"))
        follower.capture("t")
        follower.execute("CREATE TABLE t_new LIKE t", "ALTER TABLE t_new ADD SYSTEM VERSIONING")
        follower.execute(SWAP.format(t="t"), ROW.format(t="t"))
        with pytest.raises(PositionLostError, match="told apart by id, row_end now"):
            follower.read()
