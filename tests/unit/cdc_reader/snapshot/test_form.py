"""The digest of a table's form: equal for equal settings, another one for each that differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.key import parse_template
from cdc.mask import Mask, MaskKey
from cdc.table import Column, Index, Table
from cdc_reader.snapshot.form import form_of

TEMPLATE = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
BY_NAME = parse_template("by:{name}", schema="shop", table="users", pk=("id",))
FIELD = parse_template("{id}", schema="shop", table="users", pk=("id",))
SECRET = MaskKey(b"0123456789abcdef")
ID, NAME = (
    Column(name=name, data_type="int", column_type="int", charset=None, nullable=False)
    for name in ("id", "name")
)
PLAIN = Table(
    schema="shop",
    name="users",
    columns=(ID, NAME),
    identity=("id",),
    chunk_key=("id",),
    key=TEMPLATE,
    value_column=None,
    model="string",
)
HASHED = replace(PLAIN, masks=(("name", Mask(kind="hash", key=SECRET)),))
INDEXED = replace(PLAIN, indexes=(Index(kind="set", key=BY_NAME, score=None, member=None),))
OTHERS = {
    "key": replace(PLAIN, key=BY_NAME),
    "columns of the key": replace(PLAIN, identity=("id", "name")),
    "value": replace(PLAIN, value_column="name"),
    "model": replace(PLAIN, model="hash"),
    "field": replace(PLAIN, model="hash", field=FIELD),
    "names": replace(PLAIN, fields=(("id", "id"), ("name", "n"))),
    "mask": HASHED,
    "kind of mask": replace(PLAIN, masks=(("name", Mask(kind="truncate", length=2)),)),
    "length": replace(PLAIN, masks=(("name", Mask(kind="truncate", length=3)),)),
    "secret": replace(
        PLAIN, masks=(("name", Mask(kind="hash", key=MaskKey(b"another secret!!"))),)
    ),
    "index": INDEXED,
    "kind of index": replace(
        PLAIN, indexes=(Index(kind="zset", key=BY_NAME, score="id", member=None),)
    ),
    "member": replace(PLAIN, indexes=(Index(kind="set", key=BY_NAME, score=None, member=FIELD),)),
    "life": replace(PLAIN, ttl_s=60),
}


def test_each_setting_that_shows_in_redis_gives_another_form() -> None:
    """No two of them are taken for each other."""
    forms = {form_of(table) for table in (PLAIN, *OTHERS.values())}

    assert len(forms) == 1 + len(OTHERS)


@pytest.mark.parametrize("table", [PLAIN, HASHED, INDEXED])
def test_what_does_not_show_in_redis_changes_nothing(table: Table) -> None:
    """Another column, or another way of reading on, leaves the form as it is."""
    other = replace(table, columns=(ID, NAME, replace(NAME, name="more")), chunk_key=("name",))

    assert form_of(other) == form_of(table)


def test_a_form_is_the_same_in_every_version() -> None:
    """It is compared with what an earlier cdc left in the stream."""
    assert [form_of(table) for table in (PLAIN, HASHED, INDEXED)] == [
        "183c6dff",
        "e1e6deb8",
        "7cef1be0",
    ]
