"""What a schema change takes from what tells rows apart."""

from __future__ import annotations

import pytest

from cdc.key import parse_template
from cdc.table import Column, Index, Table
from cdc_reader.binlog.statement import parse_statement
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.binlog.types import LONGLONG, VARCHAR
from cdc_reader.rows.identity import (
    Identity,
    identity_of,
    refusal_of_rows,
    refusal_of_statements,
)

BY_PRIMARY = Identity(
    (frozenset({"id", "code"}),), False, frozenset({"id", "code"}), frozenset({"id"})
)
BY_UNIQUE = Identity((), True, frozenset({"id"}), frozenset({"id"}))


def refusal(text: str, identity: Identity) -> str:
    """Return what the statement is refused for, where schema changes are passed."""
    found = refusal_of_statements([parse_statement(text, "shop")], "shop.t", identity, stops=False)
    return found[0] if found else ""


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t DROP id",
        "ALTER TABLE t DROP COLUMN IF EXISTS `ID`, ADD x INT",
        "ALTER TABLE t ADD x DECIMAL(10,2), DROP code",
        "ALTER TABLE t DROP id PARTITION BY KEY (x)",
        "ALTER TABLE t RENAME COLUMN a TO code, RENAME COLUMN code TO a",
        "ALTER TABLE t CHANGE a id INT",
        "ALTER TABLE t CHANGE COLUMN id id VARCHAR(9)",
        "ALTER TABLE t MODIFY code INT",
        "ALTER TABLE t MODIFY `id` DECIMAL(10,2) AFTER x",
        "ALTER TABLE t MODIFY id",
        "ALTER TABLE t CHANGE `modify` id BIGINT",
        "/*!50100 ALTER TABLE t DROP code */",
        "ALTER TABLE t COMMENT 'a\\', DROP id, COMMENT 'b'",
        "ALTER TABLE t DROP c\ufffdde",
        "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE t ADD SYSTEM VERSIONING",
        "CREATE OR REPLACE TABLE t (id INT) WITH SYSTEM VERSIONING",
    ],
)
def test_a_column_of_the_key_that_may_change_is_refused(text: str) -> None:
    """Its values, its name, or the column itself, in any spelling."""
    assert refusal(text, BY_PRIMARY)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t ADD x INT AFTER id",
        "ALTER TABLE t MODIFY x INT AFTER code",
        "ALTER TABLE t DROP INDEX code, DROP KEY id, DROP CONSTRAINT id, ADD INDEX (id, code)",
        "ALTER TABLE t ALTER COLUMN id SET DEFAULT 0",
        "ALTER TABLE t MODIFY id BIGINT UNSIGNED NOT NULL",
        "ALTER TABLE t CHANGE COLUMN `id` `id` BIGINT NOT NULL FIRST",
        "ALTER TABLE t COMMENT 'DROP id'",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE t DROP PARTITION id",
        "TRUNCATE t",
        "RENAME TABLE t TO x",
    ],
)
def test_what_leaves_the_columns_of_the_key_is_passed(text: str) -> None:
    """Other columns, indexes, and wider numbers."""
    assert not refusal(text, BY_PRIMARY)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("ALTER TABLE t DROP INDEX u", True),
        ("ALTER TABLE t DROP CONSTRAINT u", True),
        ("ALTER TABLE x RENAME TO t", True),
        ("CREATE OR REPLACE INDEX u ON t (x)", True),
        ("DROP TABLE t", True),
        ("ALTER TABLE t DROP FOREIGN KEY f", False),
        ("ALTER TABLE t RENAME INDEX u TO v", False),
        ("ALTER TABLE t ADD x INT", False),
        ("TRUNCATE t", False),
    ],
)
def test_a_unique_key_that_may_be_gone_is_refused(text: str, is_refused: bool) -> None:
    """The binlog does not show it, so the statement has to."""
    assert bool(refusal(text, BY_UNIQUE)) is is_refused


def test_a_key_that_was_dropped_before_the_start_is_refused() -> None:
    """The catalog shows what is left of it when its statement is read."""
    identity = Identity(columns=frozenset({"id"}), by_none=True)

    assert refusal("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)", identity)
    assert not refusal("ALTER TABLE t ADD x INT", identity)


def test_what_tells_rows_apart_is_asked_of_each_place() -> None:
    """A member of an index has a key of its own, which may be another one than the row's."""
    names = ("id", "email", "n")
    template = {
        text: parse_template(text, schema="shop", table="t", pk=("id",), columns=names)
        for text in ("t:{pk}", "t:{email}", "by:{n}", "t:{n}")
    }

    def of(key: str, member: str, *keys: tuple[str, ...]) -> Identity:
        return identity_of(
            Table(
                schema="shop", name="t", identity=("id",), chunk_key=("id",), value_column=None,
                model="string", key=template[key], primary=("id",), unique_keys=(("id",), *keys),
                indexes=(Index(
                    kind="set", key=template["by:{n}"], score=None, member=template[member]
                ),),
                columns=tuple(Column(
                    name=n, data_type="int", column_type="int", charset=None, nullable=False
                ) for n in names),
            )
        )  # fmt: skip

    by_both = of("t:{pk}", "t:{email}", ("email",))
    assert by_both.by_primary == (frozenset({"id"}),)
    assert by_both.by_unique
    assert by_both.columns == by_both.integers == frozenset(names)
    assert not by_both.by_name
    assert not by_both.by_none
    assert not of("t:{pk}", "t:{pk}", ("email",)).by_unique
    neither = of("t:{n}", "t:{n}")
    assert neither == Identity(
        (), False, frozenset({"n"}), frozenset({"n"}), by_none=True, by_name=True
    )


def mapped(*primary: str, **types: int) -> TableMap:
    """Return a TABLE_MAP of id, code and x; a BIGINT, a VARCHAR and a BIGINT."""
    types = {"id": LONGLONG, "code": VARCHAR, "x": LONGLONG} | types
    columns = tuple(
        ColumnMap(
            name=name,
            type=code,
            meta=0,
            nullable=False,
            unsigned=False,
            collation=None,
            labels=None,
        )
        for name, code in types.items()
    )
    places = tuple(list(types).index(name) for name in primary)
    return TableMap(schema="shop", table="t", columns=columns, primary_key=places)


@pytest.mark.parametrize(
    ("identity", "table_map"),
    [
        (BY_PRIMARY, mapped("id")),
        (BY_PRIMARY, mapped("id", "code")),
        (BY_PRIMARY, mapped("id", x=VARCHAR)),  # in no key
        (BY_PRIMARY._replace(integers=None), mapped("id", id=VARCHAR)),  # not known what it was
        (BY_UNIQUE, mapped("x")),  # another key than the primary one tells rows apart
        (Identity(), mapped()),
    ],
)
def test_rows_that_are_told_apart_as_before_are_passed(
    identity: Identity, table_map: TableMap
) -> None:
    """The primary key is within the columns of the Redis key, and their texts are the same."""
    assert refusal_of_rows(identity, table_map) is None


@pytest.mark.parametrize(
    "table_map",
    [
        mapped(),
        mapped("x"),
        mapped("id", "x"),
        mapped("id", id=VARCHAR),
        mapped("id", code=LONGLONG),
    ],
)
def test_rows_that_may_share_a_key_are_refused(table_map: TableMap) -> None:
    """The primary key is gone or wider, or keys have other texts: a refresh reads them all."""
    found = refusal_of_rows(BY_PRIMARY, table_map)

    assert found is not None
    assert found.heals_by_refresh


def test_a_template_with_names_of_columns_needs_a_person() -> None:
    """A refresh would use the same columns, which do not tell the rows apart."""
    found = refusal_of_rows(BY_PRIMARY._replace(by_name=True), mapped("x"))

    assert found is not None
    assert not found.heals_by_refresh


def test_every_place_of_a_row_is_looked_at() -> None:
    """A member of an index may have fewer columns than the row's key."""
    two = BY_PRIMARY._replace(by_primary=(frozenset({"id", "code"}), frozenset({"id"})))

    assert refusal_of_rows(two, mapped("id")) is None
    assert refusal_of_rows(two, mapped("id", "code")) is not None


@pytest.mark.parametrize(
    ("identity", "text", "stops", "heals"),
    [
        (BY_PRIMARY, "ALTER TABLE t ADD x INT", False, None),
        (BY_PRIMARY, "ALTER TABLE t ADD x INT", True, False),
        (BY_PRIMARY, "ALTER TABLE t DROP id", False, True),
        (BY_PRIMARY, "ALTER TABLE t DROP id", True, True),
        (BY_PRIMARY, "ALTER TABLE t ADD SYSTEM VERSIONING", False, False),
        (Identity(by_none=True), "ALTER TABLE t DROP KEY u", False, False),
    ],
)
def test_a_schema_change_stops_where_it_was_asked_for_or_takes_a_key(
    identity: Identity, text: str, stops: bool, heals: bool | None
) -> None:
    """None: it is passed; else whether a refresh is all that it needs."""
    found = refusal_of_statements([parse_statement(text, "shop")], "shop.t", identity, stops=stops)

    assert (found and found.heals_by_refresh) is heals


def test_each_reading_of_a_statement_counts() -> None:
    """One of them is what the server did."""
    readings = [parse_statement(f"ALTER TABLE t DROP {name}", "shop") for name in ("x", "code")]

    assert refusal_of_statements(readings, "shop.t", BY_PRIMARY, stops=False)
    assert not refusal_of_statements(readings[:1], "shop.t", BY_PRIMARY, stops=False)
