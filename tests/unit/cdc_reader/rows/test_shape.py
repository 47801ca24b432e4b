"""A row's texts, and the key, field, value and index entries that they become."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import KeyTemplate, parse_template
from cdc.mask import Mask, MaskKey
from cdc.table import Index, Table
from cdc_reader.rows.shape import (
    NullKey,
    RowShaper,
    epoch_text,
    needed_columns,
    place_columns,
    shown_columns,
    target_of,
    value_columns,
)
from tests.support.planned import a_table

KINDS = {"id": "int", "user": "int", "name": "varchar", "at": "datetime"}
NAMES = tuple(KINDS)
SECRET = MaskKey(b"0123456789abcdef")


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.orders."""
    return parse_template(text, schema="shop", table="orders", pk=("id",), may_be_constant=True)


def index(kind: Any, key: str, score: str | None = None, member: str | None = None) -> Index:
    """Return an index."""
    return Index(
        kind=kind, key=template(key), score=score,
        member=None if member is None else template(member),
    )  # fmt: skip


PLAIN = a_table("orders", key="orders:{id}", columns=KINDS)
OF = index("set", "of:{user}")
BY = index("zset", "by:{user}", "at", "{name}")
ROW: dict[str, Any] = {"id": 7, "user": 1, "name": 'A"', "at": "1970-01-01T00:01:00"}


def shape(table: Table) -> RowShaper:
    """Return the shape of a table, whose texts are quoted and whose numbers are not."""
    return RowShaper(table, NAMES, {name: kind != "int" for name, kind in KINDS.items()})


def of(**how: Any) -> Table:
    """Return the table with something changed."""
    return dataclasses.replace(PLAIN, **how)


def test_a_row_has_key_value_and_entries() -> None:
    """Entries in the order of the indexes; a score where the index has one."""
    row = shape(of(indexes=(OF, BY))).row(ROW)

    assert ("orders:7", None) == (row.place.key, row.place.field)
    assert (("set", "of:1", "orders:7"), ("zset", "by:1", 'A"')) == row.place.members
    assert (None, "60") == row.scores
    assert row.value == '{"id":7,"user":1,"name":"A\\"","at":"1970-01-01T00:01:00"}'


def test_before_a_change_only_the_place_is_known() -> None:
    """Without scores: an entry is removed by its member, with any score."""
    place = shape(of(indexes=(OF, BY))).place({"id": 7, "user": 1, "name": "A"})

    assert ("orders:7", None, (("set", "of:1", "orders:7"), ("zset", "by:1", "A"))) == place


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ({}, ["set", "zset"]),
        ({"user": None}, []),
        ({"name": None}, ["set"]),
        ({"at": None}, ["set"]),
        ({"at": "0000-00-00 00:00:00"}, ["set"]),
    ],
)
def test_a_row_with_null_in_an_index_has_no_entry_there(
    changed: dict[str, Any], kinds: list[str]
) -> None:
    """Of its key, its member or its score; a date that is none is no score."""
    row = shape(of(indexes=(OF, BY))).row(ROW | changed)

    assert kinds == [kind for kind, _, _ in row.place.members]
    assert len(kinds) == len(row.scores)


@pytest.mark.parametrize(("null", "name"), [("id", "id"), ("user", "user")])
def test_null_in_key_or_field_is_refused_by_its_column(null: str, name: str) -> None:
    """Before a change as after it."""
    made = shape(of(key=template("lines:{user}"), field=template("{id}")))
    for call in (made.row, made.place):
        with pytest.raises(NullKey) as refused:
            call(ROW | {null: None})
        assert name == str(refused.value)


def test_a_field_is_within_the_parents_key() -> None:
    """The value is the row's own."""
    row = shape(of(key=template("lines:{user}"), field=template("{id}"), value_column="name")).row(
        ROW
    )

    assert ("lines:1", "7", 'A"') == (row.place.key, row.place.field, row.value)


def test_a_projection_has_its_columns_in_its_order_under_its_names() -> None:
    """NULL is null."""
    made = shape(of(fields=(("name", 'n"'), ("id", "number"))))

    assert {'n"': None, "number": 7} == json.loads(made.row(ROW | {"name": None}).value or "")
    assert (made.row(ROW).value or "").startswith('{"n\\""')


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 5))
def test_a_mask_hides_a_column_wherever_it_is_used(name: str, length: int) -> None:
    """In key, value, member and index key; a number becomes a text; NULL stays NULL."""
    masks = (
        ("name", Mask(kind="truncate", length=length)),
        ("user", Mask(kind="hash", key=SECRET)),
    )
    table = of(masks=masks, key=template("k:{name}"), indexes=(OF, BY))
    user = hmac.new(SECRET.secret, b"1", hashlib.sha256).hexdigest()
    row = shape(table).row(ROW | {"name": name})

    assert row.place.key == f"k:{name[:length]}"
    assert (("set", f"of:{user}", row.place.key), ("zset", f"by:{user}", name[:length])) == (
        row.place.members
    )
    value = json.loads(row.value or "")
    assert (name[:length], user) == (value["name"], value["user"])
    assert json.loads(shape(table).row(ROW | {"user": None}).value or "")["user"] is None


@pytest.mark.parametrize(
    ("table", "place", "value", "needed"),
    [
        (PLAIN, ("id",), NAMES, NAMES),
        (of(value_column="name"), ("id",), ("name",), ("id", "name")),
        (of(fields=(("at", "x"),)), ("id",), ("at",), ("id", "at")),
        (
            of(value_column="id", indexes=(OF, BY)),
            ("id", "user", "name"),
            ("id",),
            ("id", "user", "name", "at"),
        ),
        (
            of(value_column="id", field=template("{name}"), key=template("l:{user}")),
            ("user", "name"),
            ("id",),
            ("user", "name", "id"),
        ),
    ],
)
def test_only_the_columns_that_are_needed_are_read(
    table: Table, place: tuple[str, ...], value: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    """Of an image before a change only those of the address, each once."""
    target = target_of(table)

    assert (place, value, needed) == (
        place_columns(target),
        value_columns(target, NAMES),
        needed_columns(target, NAMES),
    )


@pytest.mark.parametrize(
    ("how", "is_shaped"),
    [
        ({}, False),
        ({"fields": (("id", "n"),)}, False),
        ({"model": "hash"}, False),
        ({"ttl_s": 9}, False),
        ({"field": template("{id}")}, True),
        ({"masks": (("name", Mask(kind="drop")),)}, True),
        ({"indexes": (OF,)}, True),
    ],
)
def test_a_table_that_asks_for_more_has_a_shape(how: dict[str, Any], is_shaped: bool) -> None:
    """A field, a mask or an index; all others take the generated functions."""
    target = target_of(of(**how))

    assert (is_shaped, "shop.orders", NAMES) == (
        target.shaped is not None,
        target.table,
        target.known,
    )


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("DB_ROW_HASH_1", False),
        ("DB_ROW_HASH_12", False),
        ("DB_ROW_HASH_", True),
        ("DB_ROW_HASH_1x", True),
        ("db_row_hash_1", True),
        ("DB_ROW_HASH_9", True),
    ],
)
def test_the_hash_that_mariadb_keeps_of_a_long_column_is_no_column(
    name: str, is_shown: bool
) -> None:
    """Unless the catalog has a column of that name."""
    columns = (*PLAIN.columns, dataclasses.replace(PLAIN.columns[0], name="DB_ROW_HASH_9"))
    target = target_of(of(columns=columns))

    assert (["id", name] if is_shown else ["id"]) == shown_columns(target, ["id", name])


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [
        ("1970-01-01T00:00:00", "0"),
        ("2026-11-23T10:00:00.120Z", "1795428000.12"),
        ("1969-12-31T23:59:59.5", "-0.5"),
        ("2026-11-23", "1795392000"),
        ("9999-12-31T23:59:59.999999", "253402300799.999999"),
        ("0000-00-00", None),
        ("0000-00-00 00:00:00", None),
        ("2026-00-10", None),
        (None, None),
    ],
)
def test_a_time_is_seconds_since_1970(printed: str | None, seconds: str | None) -> None:
    """Exactly, before 1970 too; what is no date has no score."""
    assert epoch_text(printed) == seconds
