"""Places of rows that share a key, and the condition that finds the row of one."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import KeyTemplate, parse_template
from cdc.table import Column, Index, Table
from cdc_verify.inverse import Condition
from cdc_verify.parts import Part, Places, grounds, has_parts, in_words, names_of, part_of, seconds


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.orders."""
    return parse_template(text, schema="shop", table="orders", pk=("id",), may_be_constant=True)


def column(name: str, data_type: str) -> Column:
    """Return a column of a type."""
    return Column(
        name=name, data_type=data_type, column_type=data_type, charset=None, nullable=True
    )


def index(kind: Literal["set", "zset"], key: str, member: str | None = None) -> Index:
    """Return an index of members, or of rows' keys."""
    return Index(
        kind=kind,
        key=template(key),
        score="id" if kind == "zset" else None,
        member=None if member is None else template(member),
    )


PLAIN = Table(
    schema="shop",
    name="orders",
    columns=(column("id", "int"), column("user", "int"), column("name", "varchar")),
    identity=("id",),
    chunk_key=("id",),
    key=template("orders:{id}"),
    value_column=None,
    model="string",
)
LINES = dataclasses.replace(
    PLAIN, model="hash", key=template("lines:{user}"), field=template("{id}")
)
INDEXED = dataclasses.replace(
    PLAIN, indexes=(index("set", "of:{user}"), index("zset", "all", "{name}"))
)

KINDS: st.SearchStrategy[Any] = st.sampled_from(["hash", "set", "zset"])


@given(KINDS, st.binary(), st.binary())
def test_a_place_leads_back_to_its_part(kind: Any, key: bytes, name: bytes) -> None:
    """Whatever bytes key and name have, NUL and digits among them."""
    part = Part(kind, key, name)

    assert part == part_of(part.place)


@given(KINDS, st.binary(), st.binary(), st.binary(), st.binary())
def test_two_parts_have_two_places(
    kind: Any, key: bytes, name: bytes, other_key: bytes, other_name: bytes
) -> None:
    """Where key ends and name begins is part of the place."""
    one, two = Part(kind, key, name), Part(kind, other_key, other_name)

    assert (one == two) == (one.place == two.place)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_key_is_its_own_place(key: str) -> None:
    """No key of a table begins with NUL."""
    assert part_of(key.encode()) is None


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (b"users:7", "users:7"),
        (b"users:\xff", "users:\\xff"),
        (Part("hash", b"lines:7", b"1").place, "field 1 of lines:7"),
        (Part("set", b"of:7", b"o:1").place, "o:1 in the set of:7"),
        (Part("zset", b"all", b"\xff").place, "\\xff in the zset all"),
    ],
)
def test_a_place_is_told_to_people(place: bytes, words: str) -> None:
    """What is no text is written out."""
    assert words == in_words(place)


def test_a_table_has_parts_where_rows_share_keys() -> None:
    """With a field, or with an index."""
    assert [False, True, True] == [has_parts(table) for table in (PLAIN, LINES, INDEXED)]


def test_each_template_has_keys_of_one_kind() -> None:
    """None is a key for each row."""
    assert [[(None, "orders:")], [("hash", "lines:")], [(None, "orders:"), ("set", "of:"),
            ("zset", "all")]] == [
        [(kind, one.parts[0]) for kind, one in grounds(table)]
        for table in (PLAIN, LINES, INDEXED)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "place", "condition"),
    [
        (PLAIN, b"orders:7", Condition("`id`", "7", ())),
        (PLAIN, b"orders:x", None),
        (PLAIN, b"other:7", None),
        (PLAIN, Part("hash", b"orders:7", b"1").place, None),
        (LINES, Part("hash", b"lines:7", b"1").place, Condition("", "(`user` = 7 AND `id` = 1)",
                                                               ())),
        (LINES, Part("hash", b"lines:x", b"1").place, None),
        (LINES, Part("hash", b"lines:7", b"x").place, None),
        (LINES, Part("hash", b"lines:\xff", b"1").place, None),
        (INDEXED, Part("set", b"of:7", b"orders:3").place, Condition("`id`", "3", ())),
        (INDEXED, Part("set", b"of:7", b"orders:x").place, None),
        (INDEXED, Part("set", b"of:x:y", b"other:3").place, None),
        (INDEXED, Part("zset", b"all", b"Ada").place, Condition("`name`", "%s", ("Ada",))),
        (INDEXED, Part("zset", b"of:7", b"Ada").place, None),
        (INDEXED, Part("set", b"of:7", b"\xff").place, None),
    ],
)  # fmt: skip
def test_a_place_finds_its_row(table: Table, place: bytes, condition: Condition | None) -> None:
    """By all columns of key and field, or by those of a member; None: no row can have it."""
    assert condition == Places(table).condition(place)


def test_a_hashed_field_is_looked_for_among_all_rows_of_its_key() -> None:
    """Nothing leads back from a hash, so its side of the condition is always true."""
    from cdc.mask import Mask

    table = dataclasses.replace(LINES, masks=(("id", Mask(kind="hash")),))

    assert Condition("", "(`user` = 7 AND TRUE)", ()) == Places(table).condition(
        Part("hash", b"lines:7", b"00ff").place
    )


@pytest.mark.parametrize(
    ("printed", "score"),
    [
        (b"1970-01-01", 0.0),
        (b"1970-01-01 00:00:00", 0.0),
        (b"1970-01-02 00:00:00.5", 86400.5),
        (b"1969-12-31 23:59:59", -1.0),
        (b"2026-11-23 10:00:00.120", 1795428000.12),
        (b"9999-12-31 23:59:59.999999", 253402300799.999999),
        (b"0000-00-00", None),
        (b"0000-00-00 00:00:00", None),
        (b"2026-00-10", None),
        (b"2026-02-30", None),
    ],
)
def test_a_time_is_seconds_since_1970(printed: bytes, score: float | None) -> None:
    """Of UTC; what is no date has no score."""
    assert score == seconds(printed)


@pytest.mark.parametrize(
    ("kind", "reply", "names"),
    [
        ("set", [b"a", b"b"], [b"a", b"b"]),
        ("hash", [b"a", b"1", b"b", b"2"], [b"a", b"b"]),
        ("zset", [b"a", b"1.5"], [b"a"]),
        ("zset", [], []),
    ],
)
def test_names_are_every_second_part_of_a_reply(
    kind: Literal["hash", "set", "zset"], reply: list[bytes], names: list[bytes]
) -> None:
    """A set has no values between them."""
    assert names == list(names_of(reply, kind))
