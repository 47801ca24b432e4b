"""From a catalog's columns and keys to a captured table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cdc.errors import PreflightError, UsageError
from cdc.table import Column, Table
from cdc.table_settings import TableSettings
from cdc_reader.catalog.entry import Entry
from cdc_reader.catalog.tables import _shared_keys, table_of
from cdc_reader.catalog.unique_key import Key, UniqueKeys

USERS = Entry(schema="shop", name="users", kind="BASE TABLE")


def column(name: str, data_type: str = "int", charset: str | None = None) -> Column:
    return Column(
        name=name, data_type=data_type, column_type=data_type, charset=charset, nullable=False
    )


COLUMNS = (column("id"), column("No"), column("name", "varchar", "utf8mb4"))


def table(
    key: str | None = None,
    value: str | None = None,
    columns: Sequence[Column] = COLUMNS,
    keys: Sequence[Key] = (("id",),),
    entry: Entry = USERS,
) -> Table:
    wanted = TableSettings(name="users", key=key, value=value)
    return table_of(entry, wanted, columns, UniqueKeys(tuple(keys)))


def test_the_primary_key_is_identity_chunk_key_and_template() -> None:
    """The default: ``users:7``, read on by id."""
    found = table()

    assert (found.identity, found.chunk_key) == (("id",), ("id",))
    assert found.key.render({"id": "7"}) == "users:7"


def test_the_first_key_is_taken() -> None:
    """The catalog gives the primary key first, then unique NOT NULL keys."""
    assert table(keys=[("id", "No"), ("name",)]).key.render({"id": "1", "No": "2"}) == "users:1:2"


def test_columns_have_no_case_and_come_out_as_the_catalog_writes_them() -> None:
    """``{NO}`` and ``NAME`` are ``No`` and ``name``."""
    found = table(key="u:{NO}", value="NAME")

    assert (found.key.columns, found.value_column) == (("No",), "name")


def test_without_a_key_a_template_must_name_columns() -> None:
    """Neither primary nor unique key: refused without a guess at a template; with one, taken."""
    with pytest.raises(PreflightError, match="neither a primary key") as refused:
        table(keys=[])
    found = table(key="u:{id}", keys=[])

    assert "all of them: --key TEMPLATE" in refused.value.fix
    assert (found.identity, found.chunk_key) == (("id",), ())


def test_an_unknown_column_names_the_nearest() -> None:
    """A typo in ``--value`` or ``--key`` ends with 2 and the columns that are there."""
    with pytest.raises(UsageError, match="did you mean 'name'"):
        table(value="nane")
    with pytest.raises(UsageError, match="has no column 'nmae'"):
        table(key="{nmae}")


@pytest.mark.parametrize(
    "bad", [column("g", "geometry"), column("v", "vector"), column("t", "varchar", "gbk")]
)
def test_a_column_that_cannot_be_carried_is_refused_by_name(bad: Column) -> None:
    """Only where it is needed: ``--value`` of another column leaves it out."""
    with pytest.raises(PreflightError, match=rf"\b{bad.name} \("):
        table(columns=(*COLUMNS, bad))

    assert table(columns=(*COLUMNS, bad), value="name").value_column == "name"


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("users:{id}", "orders:{id}", True),
        ("users:{name}", "users:x:{id}", False),
        ("users:{id}", "users:x:{id}", True),
        ("users:{id}", "users:{No}:x", True),
        ("users:{id}", "users:7{id}", False),
        ("{id}", "{id}", False),
        ("{id}:users", "{id}:orders", True),
        ("a:{id}:users", "{name}:users", False),
        ("a:{id}:users", "{id}:users", True),
        ("l:{id}:{name}", "l:{name}", False),
        ("l:{id}:{name}", "l:{id}", True),
    ],
)
def test_two_tables_never_share_a_key(one: str, other: str, *, apart: bool) -> None:
    """They are refused unless words, or what numbers can be, tell their keys apart."""
    orders = Entry(schema="shop", name="orders", kind="BASE TABLE")
    refused = list(_shared_keys([table(key=one), table(key=other, entry=orders)]))

    assert (refused == []) is apart
