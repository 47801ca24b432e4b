"""The catalog's columns in a TABLE_MAP without names: what each has, and that both agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.errors import PositionLostError
from cdc.table import Column, Table
from cdc_reader.binlog import types
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.schema.columns import digest_of, labels_of, named
from tests.support.planned import a_table


def column(name: str, kind: str, charset: str | None = None, *, null: bool = True) -> Column:
    data_type = kind.partition("(")[0].partition(" ")[0]
    return Column(name=name, data_type=data_type, column_type=kind, charset=charset, nullable=null)


def wire(kind: int, meta: int = 0, **more: Any) -> ColumnMap:
    given = {"nullable": True, "unsigned": False, "collation": None, "labels": None}
    return ColumnMap(name=None, type=kind, meta=meta, **(given | more))


TABLE = replace(
    a_table(),
    columns=(
        column("id", "bigint unsigned", null=False),
        column("name", "varchar(20)", "utf8mb4"),
        column("kind", "enum('a','it''s')", "latin1"),
        column("raw", "varbinary(9)"),
    ),
    primary=("id",),
)
NO_LOG = TableMap(
    schema="shop",
    table="users",
    columns=(
        wire(types.LONGLONG, nullable=False),
        wire(types.VARCHAR, 80),
        wire(types.ENUM, 1),
        wire(types.VARCHAR, 9),
    ),
    primary_key=(),
    has_signs=False,
)
MINIMAL = replace(
    NO_LOG,
    columns=(
        wire(types.LONGLONG, nullable=False, unsigned=True),
        wire(types.VARCHAR, 80, collation=255),
        wire(types.ENUM, 1),
        wire(types.VARCHAR, 9, collation=63),
    ),
    has_signs=True,
)


def difference(kind: str, charset: str | None, found: ColumnMap) -> str:
    """Return what is said of one column; empty: it is taken."""
    table = replace(a_table(), columns=(column("c", kind, charset),))
    try:
        named(replace(MINIMAL, columns=(found,)), table, ("c",))
    except PositionLostError as error:
        return f"{error.table}: {error.seen}"
    return ""


@pytest.mark.parametrize("table_map", [NO_LOG, MINIMAL], ids=["NO_LOG", "MINIMAL"])
def test_what_the_server_leaves_out_is_the_catalogs(table_map: TableMap) -> None:
    """Names, labels and key; with NO_LOG signs and character sets too."""
    made = named(table_map, TABLE, TABLE.column_names)

    assert [c.name for c in made.columns] == ["id", "name", "kind", "raw"]
    assert [c.unsigned for c in made.columns] == [True, False, False, False]
    assert made.columns[2].labels == (b"a", b"it's")
    assert made.columns[3].collation == 63
    assert made.primary_key == (0,)
    assert made.is_named
    made.require_columns()


@pytest.mark.parametrize(
    ("kind", "charset", "found"),
    [
        ("int", None, wire(types.LONG, unsigned=True)),
        ("int unsigned", None, wire(types.LONG)),
        ("int", None, wire(types.LONGLONG)),
        ("int", None, wire(types.LONG, nullable=False)),
        ("decimal(10,2)", None, wire(types.DECIMAL, 10 << 8 | 3)),
        ("varchar(20)", "utf8mb4", wire(types.VARCHAR, 84, collation=255)),
        ("varchar(20)", "utf8mb4", wire(types.VARCHAR, 80, collation=8)),
        ("varchar(20)", "latin1", wire(types.VARCHAR, 20, collation=63)),
        ("varchar(20)", "cp1251", wire(types.VARCHAR, 20, collation=8)),
        ("varbinary(20)", None, wire(types.VARCHAR, 20, collation=8)),
        ("char(5)", "ascii", wire(types.STRING, 6, collation=11)),
        ("text", "utf8mb3", wire(types.BLOB, 4, collation=33)),
        ("datetime(3)", None, wire(types.DATETIME2, 6)),
        ("bit(9)", None, wire(types.BIT, 10)),
        ("enum('a')", "utf8mb4", wire(types.SET, 1)),
        ("set('a','b','c','d','e','f','g','h','i')", "utf8mb4", wire(types.SET, 1)),
        ("json", None, wire(types.BLOB, 4)),
    ],
)
def test_columns_that_differ_are_refused(kind: str, charset: str | None, found: ColumnMap) -> None:
    """In type, length, digits, sign, character set, or whether they may be NULL."""
    seen = difference(kind, charset, found)
    assert seen.startswith("shop.users: ")
    assert "the catalog shows c" in seen


@pytest.mark.parametrize(
    ("kind", "charset", "found"),
    [
        ("int(10) unsigned zerofill", None, wire(types.LONG, unsigned=True)),
        ("decimal(65,30)", None, wire(types.DECIMAL, 65 << 8 | 30)),
        ("varchar(20)", "cp1251", wire(types.VARCHAR, 20, collation=51)),
        ("timestamp", None, wire(types.TIMESTAMP2)),
        ("datetime /* mariadb-5.3 */", None, wire(types.DATETIME, 8)),
        ("year(4)", None, wire(types.YEAR, unsigned=True)),
        ("year", None, wire(types.YEAR)),
        ("point", None, wire(types.GEOMETRY, 4)),
        ("uuid", None, wire(types.STRING, 16)),
        ("set('a','b','c','d','e','f','g','h','i')", "utf8mb4", wire(types.SET, 2)),
        ("date", None, wire(types.DATE)),
        ("float(7,3)", None, wire(types.FLOAT, 4)),
        ("double", None, wire(types.DOUBLE, 8)),
        ("longtext", "utf8mb4", wire(types.BLOB, 4, collation=46)),
        ("tinyblob", None, wire(types.BLOB, 1, collation=63)),
    ],
)
def test_columns_that_agree_are_taken(kind: str, charset: str | None, found: ColumnMap) -> None:
    """Also those of types and character sets that are not carried: no value of them is read."""
    assert difference(kind, charset, found) == ""


def test_another_number_of_columns_is_refused() -> None:
    """A login that may see some columns only, or a column that no statement in the binlog made."""
    with pytest.raises(PositionLostError, match="4 columns, the catalog shows 3"):
        named(MINIMAL, replace(TABLE, columns=TABLE.columns[:3]), ())


def test_hidden_columns_of_mariadb_are_at_the_end() -> None:
    """As many as it has keys on a hash, and no others."""
    more = replace(NO_LOG, columns=(*NO_LOG.columns, wire(types.LONGLONG)))
    made = named(more, replace(TABLE, hidden_columns=1), ())
    assert made.columns[-1].name == "DB_ROW_HASH_1"

    other = replace(NO_LOG, columns=(*NO_LOG.columns, wire(types.VARCHAR, 9)))
    with pytest.raises(PositionLostError, match="a hidden column is VARCHAR"):
        named(other, replace(TABLE, hidden_columns=1), ())


def test_a_label_that_the_catalog_cannot_show_is_refused_where_it_is_needed() -> None:
    """A question mark may be any character beyond the BMP: a guess would be wrong text."""
    columns = (*TABLE.columns[:2], column("kind", "enum('a','?')", "utf8mb4"), TABLE.columns[3])
    table = replace(TABLE, columns=columns)
    with pytest.raises(PositionLostError, match="a label of kind of"):
        named(MINIMAL, table, ("id", "kind"))

    assert named(MINIMAL, table, ("id", "name")).is_named


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("enum('')", ("",)),
        ("set('a','b c','(')", ("a", "b c", "(")),
        (r"enum('a\\','b','\0\r\n')", ("a\\", "b", "\0\r\n")),
        ("enum('''','x'',''y')", ("'", "x','y")),
        ("enum('unsigned','/* COMPRESSED */')", ("unsigned", "/* COMPRESSED */")),
    ],
)
def test_labels_are_read_as_the_catalog_quotes_them(kind: str, labels: tuple[str, ...]) -> None:
    """Quotes are doubled, and some characters are written with a backslash."""
    assert labels_of(column("e", kind, "utf8mb4")) == labels


@pytest.mark.parametrize(
    "other",
    [
        replace(TABLE, columns=TABLE.columns[::-1]),
        replace(TABLE, columns=(*TABLE.columns, column("z", "int"))),
        replace(TABLE, columns=(replace(TABLE.columns[0], column_type="bigint"),)),
        replace(TABLE, primary=("name",)),
        replace(TABLE, hidden_columns=1),
        replace(TABLE, columns=(TABLE.columns[0], replace(TABLE.columns[1], charset="latin1"))),
    ],
)
def test_other_columns_have_another_digest(other: Table) -> None:
    """Their order, types, signs, character sets and key count."""
    assert digest_of(other) != digest_of(TABLE)


def test_what_versions_write_in_other_ways_has_the_same_digest() -> None:
    """``int(11)`` is ``int`` since MySQL 8.0.19, and ``utf8`` is ``utf8mb3`` since 8.0.28."""
    old = replace(TABLE, columns=(column("id", "int(11)"), column("t", "varchar(9)", "utf8")))
    new = replace(TABLE, columns=(column("id", "int"), column("t", "varchar(9)", "utf8mb3")))
    assert digest_of(old) == digest_of(new)
    assert len(digest_of(old)) == 16
