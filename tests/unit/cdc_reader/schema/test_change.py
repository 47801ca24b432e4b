"""What a statement means for a captured table: nothing, a new reading, or that it is set aside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.table import Table
from cdc_reader.binlog.statement import parse_statement
from cdc_reader.schema.change import End, Verdict, changed_by, is_harmless, may_remove, verdict_of
from tests.support.planned import a_table

END = End("7271…:8", 2, 400)
USERS = replace(
    a_table(columns={"id": "int", "name": "varchar"}), primary=("id",), unique_keys=(("id",),)
)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE users ADD INDEX by_name (name, id)",
        "ALTER TABLE `users` ADD UNIQUE (name), DROP KEY old, COMMENT = 'a, b'",
        "ALTER TABLE shop.users ENGINE=InnoDB, ALGORITHM=INPLACE, LOCK=NONE",
        "ALTER TABLE `shop`.`users` AUTO_INCREMENT 77",
        "ALTER ONLINE TABLE users ADD CONSTRAINT c FOREIGN KEY (name) REFERENCES t (id)",
        "ALTER TABLE users ADD PARTITION (PARTITION p3 VALUES LESS THAN (30) TABLESPACE = t)",
        "ALTER TABLE users RENAME INDEX a TO b, ALTER INDEX b INVISIBLE",
        "ALTER TABLE users FORCE",
        "DROP INDEX by_name ON users",
    ],
)
def test_what_leaves_rows_and_columns_alone_is_harmless(text: str) -> None:
    """All of its clauses are of the list."""
    assert is_harmless(parse_statement(text, "shop"), "shop.users")


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE users ADD x INT",
        "ALTER TABLE users ADD COLUMN (x INT, y INT)",
        "ALTER TABLE users ADD INDEX (name), DROP x",
        "ALTER TABLE users MODIFY name TEXT",
        "ALTER TABLE users ADD PRIMARY KEY (id)",
        "ALTER TABLE users ADD CONSTRAINT p PRIMARY KEY (id)",
        "ALTER TABLE users DROP CONSTRAINT p",
        "ALTER TABLE users COMMENT 'a' /*!50100 TRUNCATE PARTITION p0 */",
        "ALTER TABLE users DROP PARTITION p1",
        "ALTER TABLE users COALESCE PARTITION 2",
        "ALTER TABLE users EXCHANGE PARTITION p WITH TABLE t",
        "ALTER TABLE users REORGANIZE PARTITION p INTO (PARTITION q VALUES IN (1))",
        "ALTER TABLE users IMPORT TABLESPACE",
        "ALTER TABLE users CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE users ADD SYSTEM VERSIONING",
        "ALTER TABLE users RENAME TO people",
        "ALTER TABLE users",
        "ALTER TABLE people ADD INDEX (id)",
        "TRUNCATE users",
        "DROP TABLE users",
        "RENAME TABLE users TO people",
    ],
)
def test_everything_else_is_not(text: str) -> None:
    """Also what is only not certain: reading once too often costs time alone."""
    assert not is_harmless(parse_statement(text, "shop"), "shop.users")


def test_a_change_has_each_table_and_which_of_them_are_untouched() -> None:
    """One reading that is not harmless is enough."""
    harmless = parse_statement("ALTER TABLE users ADD INDEX (id)", "shop")
    other = parse_statement("ALTER TABLE users ADD x INT", "shop")
    sure = changed_by([harmless], {"shop.users"}, END, "b:4")
    unsure = changed_by([harmless, other], {"shop.users"}, END, "b:4")

    assert (sure.kind, sure.tables, sure.end) == ("ALTER TABLE", ("shop.users",), END)
    assert (sure.harmless, unsure.harmless) == (frozenset({"shop.users"}), frozenset())


@pytest.mark.parametrize(
    ("text", "removes"),
    [
        ("DROP TABLE users", True),
        ("DROP DATABASE shop", True),
        ("RENAME TABLE users TO people", True),
        ("ALTER TABLE users ADD x INT, RENAME people", True),
        ("ALTER TABLE users ADD x INT", False),
        ("TRUNCATE users", False),
    ],
)
def test_a_table_that_cannot_be_seen_is_gone_only_after_a_statement_that_removes_it(
    text: str, removes: bool
) -> None:
    """Elsewhere the login may have lost its right: the keys stay."""
    statement = parse_statement(text, "shop")

    assert may_remove(statement) == removes
    assert changed_by([statement], {"shop.users"}, END, "").may_remove == removes


def keyless(table: Table) -> Table:
    """Return a table whose unique keys are not in its key template."""
    return replace(table, primary=("name",), unique_keys=(("name",),))


@pytest.mark.parametrize(
    ("before", "after", "harmless", "verdict"),
    [
        (USERS, USERS, True, Verdict.UNCHANGED),
        (USERS, USERS, False, Verdict.READ),
        (USERS, replace(USERS, columns=USERS.columns[:1]), True, Verdict.READ),
        (USERS, replace(USERS, identity=("name",), primary=("name",)), True, Verdict.READ),
        (None, USERS, True, Verdict.READ),
        (USERS, None, True, Verdict.ASIDE),
        (None, None, False, Verdict.ASIDE),
        (USERS, keyless(USERS), False, Verdict.ASIDE),
        (keyless(USERS), keyless(USERS), False, Verdict.READ),
    ],
)
def test_verdicts(
    before: Table | None, after: Table | None, harmless: bool, verdict: Verdict
) -> None:
    """Words and catalog have to agree that nothing changed; rows never come to share keys."""
    assert verdict_of(before, after, harmless=harmless) is verdict
