"""Of which tables the columns are known where the reader is, and what becomes of other rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.message import TableProgress
from cdc.position import Watermark
from cdc_reader.binlog import types
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows.shape import target_of
from cdc_reader.schema.change import End, SchemaChanged
from cdc_reader.schema.names import UNKNOWN, Names, is_unread
from tests.support.planned import a_table

USERS = replace(a_table(columns={"id": "int"}), primary=("id",))
TABLES = {"shop.users": USERS}
HERE = End("", 2, 350)
END = Watermark(gtid_set=None, place=(2, 400))
UNNAMED = TableMap(
    schema="shop",
    table="users",
    columns=(
        ColumnMap(
            name=None, type=types.LONG, meta=0, nullable=True, unsigned=False, collation=None,
            labels=None,
        ),
    ),
    primary_key=(),
)  # fmt: skip
NAMED = replace(UNNAMED, columns=(replace(UNNAMED.columns[0], name="other"),))


def put_in(names: Names, table_map: TableMap = UNNAMED) -> TableMap | None:
    return names.put_in(table_map, target_of(USERS), "binlog.000002:300")


def test_columns_that_are_known_are_put_in() -> None:
    """From where the reader resumes."""
    made = put_in(Names(TABLES, known=["shop.users"]))

    assert made is not None
    assert [column.name for column in made.columns] == ["id"]


@pytest.mark.parametrize("names", [Names(), Names(TABLES, known=["shop.users"])])
def test_names_of_the_binlog_are_its_own(names: Names) -> None:
    """A server that writes them is believed, whatever the catalog shows."""
    assert put_in(names, NAMED) is NAMED


def test_rows_before_the_catalog_was_asked_are_skipped_where_they_are_read_later() -> None:
    """And decoded from the end on that the binlog had then, not before."""
    names = Names(TABLES, until={"shop.users": END}, unread={"shop.users"}, asks=True)
    assert names.held == {"shop.users"}
    assert put_in(names) is None
    assert names.skipped == {"shop.users"}
    assert names.arrived(lambda end: end.place <= (2, 399)) == []
    assert put_in(names) is None

    assert names.arrived(lambda end: end.place <= (2, 400)) == ["shop.users"]
    assert names.held == set()
    assert put_in(names) is not None
    assert names.arrived(lambda _: True) == []


def test_rows_of_a_table_that_was_read_are_never_skipped() -> None:
    """They end the connection: it is read again; or they stop the reader, where that is asked."""
    read = Names(TABLES, until={"shop.users": END}, asks=True)
    assert read.held == set()
    with pytest.raises(SchemaChanged) as caught:
        put_in(read)
    assert (caught.value.tables, caught.value.kind) == (("shop.users",), UNKNOWN)

    assert put_in(Names(TABLES, until={"shop.users": END})) is UNNAMED


def test_a_statement_that_was_not_looked_at_takes_the_names_away() -> None:
    """As with on_schema_change = "continue", where it ends no connection."""
    names = Names(TABLES, known=["shop.users"], asks=True)
    names.forget(["shop.orders"], HERE)
    assert put_in(names) is not None

    names.forget(["shop.orders", "shop.users"], HERE)
    with pytest.raises(SchemaChanged):
        put_in(names)


def test_a_statement_that_was_looked_at_leaves_the_names() -> None:
    """It is harmless, or the names are those after it."""
    names = Names(TABLES, known=["shop.users"], asks=True, passed={HERE})

    names.forget(["shop.users"], HERE)
    assert put_in(names) is not None


def test_a_table_that_a_statement_holds_is_asked_for_later() -> None:
    """Its rows are skipped until then, however far the reader comes."""
    names = Names(TABLES, unsettled=["shop.users"], unread={"shop.users"}, asks=True)

    assert put_in(names) is None
    assert names.arrived(lambda _: True) == []
    assert put_in(names) is None


@pytest.mark.parametrize(
    ("progress", "snapshot", "unread"),
    [
        (None, True, True),
        (None, False, True),
        (TableProgress(), True, True),
        (TableProgress(), False, False),
        (TableProgress(refresh=7), False, True),
        (TableProgress(refresh=7, after=("1",)), True, False),
        (TableProgress(refresh=7, done=True), True, False),
    ],
)
def test_only_a_table_that_is_read_as_a_whole_from_now_on_may_lose_rows(
    progress: TableProgress | None, snapshot: bool, unread: bool
) -> None:
    """A new one begins at any place; one that was begun has rows that would not be read again."""
    assert is_unread(progress, snapshot=snapshot) is unread
