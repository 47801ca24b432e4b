"""What follows from a table's description."""

from __future__ import annotations

import dataclasses

import pytest

from cdc.key import KeyTemplate, parse_template
from cdc.table import Column, Index, Table


def column(name: str = "a", extra: str = "") -> Column:
    """Return a column of which the catalog has this EXTRA."""
    return Column(
        name=name, data_type="bigint", column_type="bigint", charset=None, nullable=False,
        extra=extra,
    )  # fmt: skip


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.users."""
    return parse_template(text, schema="shop", table="users", pk=("id",), may_be_constant=True)


USERS = Table(
    schema="shop",
    name="users",
    columns=(column("id"), column("name")),
    identity=("id",),
    chunk_key=("id",),
    key=template("users:{id}"),
    value_column=None,
    model="string",
)


@pytest.mark.parametrize(
    ("extra", "is_generated"),
    [
        ("", False),
        ("VIRTUAL GENERATED", True),
        ("STORED GENERATED", True),
        ("stored generated invisible", True),
        ("PERSISTENT", True),
        ("DEFAULT_GENERATED", False),
        ("DEFAULT_GENERATED on update CURRENT_TIMESTAMP", False),
        ("auto_increment", False),
    ],
)
def test_a_column_that_the_server_computes_is_generated(extra: str, is_generated: bool) -> None:
    """A default that is an expression does not make it one."""
    assert is_generated == column(extra=extra).is_generated


@pytest.mark.parametrize(
    ("name", "extra", "is_auto_increment", "is_implicit"),
    [
        ("my_row_id", "auto_increment INVISIBLE", True, True),
        ("my_row_id", "auto_increment", True, False),
        ("my_row_id", "INVISIBLE", False, False),
        ("id", "auto_increment INVISIBLE", True, False),
        ("id", "AUTO_INCREMENT", True, False),
        ("id", "", False, False),
    ],
)
def test_a_key_that_mysql_made_itself_is_known(
    name: str, extra: str, is_auto_increment: bool, is_implicit: bool
) -> None:
    """By its name, and as it is invisible and counted."""
    about = column(name, extra)

    assert (is_auto_increment, is_implicit) == (about.is_auto_increment, about.is_implicit)


def test_names_come_with_the_schema_and_in_the_tables_order() -> None:
    """``schema.table``."""
    assert ("shop.users", ("id", "name")) == (USERS.qualified, USERS.column_names)


def test_a_row_is_in_redis_and_in_each_index() -> None:
    """The columns of key and field together; of a member, or of the key without one."""
    indexes = (
        Index(kind="set", key=template("all"), score=None, member=None),
        Index(kind="zset", key=template("all"), score="id", member=template("{name}")),
    )
    table = dataclasses.replace(USERS, field=template("{name}"), indexes=indexes)

    assert (frozenset({"id"}),) == USERS.places
    assert (frozenset({"id", "name"}), frozenset({"id"}), frozenset({"name"})) == table.places
