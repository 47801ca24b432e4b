"""Rows whose images lack columns: published where they are known, else read, never guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.table import Column, Index, Table
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.event import Op
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.rows.partial_rows import PartialRow, is_whole, key_text
from cdc_reader.rows.row_codec import RowCodec
from cdc_reader.rows.shape import RowAddress, target_of
from tests.unit.cdc_reader.rows.test_row_codec import column, image

NAMES = ("id", "name", "n", "doc", "more")
MAP = TableMap(
    schema="shop",
    table="users",
    columns=(
        column("id", tm.LONGLONG, nullable=False, unsigned=True),
        column("name", tm.VARCHAR, 400),
        column("n", tm.LONG),
        column("doc", tm.JSON, 4),
        column("more", tm.JSON, 4),
    ),
    primary_key=(0,),
)
DATA_TYPES = ("bigint", "varchar", "int", "json", "json")
ALL, ID, NAME, N, DOC, MORE = frozenset(range(5)), 0, 1, 2, 3, 4
JSON_FIVE = b"\x05\x05\x00"
"""``5`` as an INT16 in the binary form of JSON."""


def template(text: str) -> Any:
    return parse_template(text, schema="shop", table="users", pk=("id",), may_be_constant=True)


def a_table(key: str = "users:{id}", generated: str = "", **how: Any) -> Table:
    columns = tuple(
        Column(
            name=name,
            data_type=kind,
            column_type=kind,
            charset="utf8mb4" if kind == "varchar" else None,
            nullable=name != "id",
            extra="STORED GENERATED" if name == generated else "",
        )
        for name, kind in zip(NAMES, DATA_TYPES, strict=True)
    )
    fields: dict[str, Any] = {"model": "string", "value_column": None, "chunk_key": ("id",)}
    return Table(
        schema="shop",
        name="users",
        columns=columns,
        identity=("id",),
        key=template(key),
        **(fields | how),
    )


def raw(row: dict[int, Any]) -> bytes:
    """Return an image of the columns in `row`, by their places; JSON as bytes."""
    bits, out = -1 << len(row), b""
    for n, (place, value) in enumerate(sorted(row.items())):
        if value is None:
            bits |= 1 << n
        elif place in (DOC, MORE):
            out += len(value).to_bytes(4, "little") + value
        else:
            out += image((value,), (MAP.columns[place],))[1:]
    return (bits & (1 << 8) - 1).to_bytes(1, "little") + out


def places(row: dict[int, Any]) -> frozenset[int]:
    return frozenset(row)


def rows(
    op: Op, *images: dict[int, Any], table: Table | None = None, options: bytes | None = None
) -> list[PartialRow]:
    """Return what becomes of one row with these images."""
    bitmaps = bytes(sum(1 << place for place in one) for one in images)
    parts = [raw(one) for one in images]
    if options is not None:
        parts[-1] = options + parts[-1]
    body = b"\x05" + bitmaps + b"".join(parts)
    codec = RowCodec(MAP, target_of(table or a_table()))
    partial = codec.partial(op, body, 0, has_options=options is not None)
    assert partial is not None
    return codec.partial_rows(partial, op, body, 0, len(body))


def test_a_minimal_update_is_read_by_its_key() -> None:
    """Its place in Redis is the same, so nothing goes out before it is read."""
    assert rows("update", {ID: 7}, {N: 5}) == [PartialRow(key=("7",))]


def test_a_changed_key_leaves_the_old_one_at_once() -> None:
    """And the row is read by the new one."""
    (row,) = rows("update", {ID: 7}, {ID: 8})

    assert row == PartialRow("delete", RowAddress("users:7", None, ()), key=("8",))


def test_an_insert_is_read_by_what_was_given() -> None:
    """Without its key, which a default gives, its table is."""
    assert rows("insert", {ID: 7, N: 1}) == [PartialRow(key=("7",))]
    assert rows("insert", {NAME: "a"}) == [PartialRow(is_lost=True)]
    codec = RowCodec(MAP, target_of(a_table()))
    partial = codec.partial("insert", b"\x05\x00", 0)
    assert partial is not None
    assert codec.partial_rows(partial, "insert", b"\x05\x00", 0, 2) == [PartialRow(is_lost=True)]


def test_an_old_place_that_is_not_known_has_the_table_read() -> None:
    """A key template of other columns than the primary key's."""
    table = a_table("users:{name}")

    assert rows("update", {ID: 7}, {N: 5}, table=table) == [PartialRow(key=("7",))]
    assert rows("update", {ID: 7}, {NAME: "b"}, table=table) == [PartialRow(is_lost=True)]
    assert rows("delete", {ID: 7}, table=table) == [PartialRow(is_lost=True)]
    (row,) = rows("update", {ID: 7, NAME: "a", N: 1}, {ID: 7, NAME: "b", N: 1}, table=table)
    assert row == PartialRow("delete", RowAddress("users:a", None, ()), key=("7",))
    same = {ID: 7, NAME: "a", N: 1}
    assert rows("update", same, same | {N: 2}, table=table) == [PartialRow(key=("7",))]


def test_a_table_without_a_key_is_read_as_a_whole() -> None:
    """Nothing tells which row it was."""
    (row,) = rows("insert", {ID: 7}, table=a_table(chunk_key=()))
    assert row == PartialRow(is_lost=True)


@given(st.sampled_from([N, NAME, DOC]), st.none() | st.just(1))
def test_an_image_of_changed_columns_is_completed(changed: int, more: int | None) -> None:
    """What it lacks did not change: the image of before has it, byte for byte as a whole event."""
    before = {ID: 7, NAME: 'a"', N: more, DOC: JSON_FIVE, MORE: None}
    value = {N: None, NAME: "é", DOC: None}[changed]
    (row,) = rows("update", before, {changed: value})
    codec, out = RowCodec(MAP, target_of(a_table())), list[bytes]()
    body = b"\x05\xff\xff" + raw(before) + raw(before | {changed: value})
    codec.messages(
        "update", body, 0, len(body), first_row=0, id_prefix="1.1.4.", prev="", context="",
        suffix=',"ts":1,"v":1}', skip_rows=0, out=out,
    )  # fmt: skip

    assert (row.op, row.key, row.is_lost) == ("update", None, False)
    assert row.new is not None
    assert row.new.value == msgspec.json.decode(out[0])["value"]


def test_a_generated_column_is_not_taken_from_before() -> None:
    """A server may leave it out although it changed."""
    before = {ID: 7, NAME: "a", N: 1, DOC: None, MORE: None}
    table = a_table(generated="n")
    assert rows("update", before, {NAME: "b"}, table=table) == [PartialRow(key=("7",))]
    keyed = a_table("users:{n}", generated="n")
    assert rows("update", {ID: 7}, {NAME: "b"}, table=keyed) == [PartialRow(is_lost=True)]


def test_differences_of_json_are_read_by_key() -> None:
    """Where an after image has none, it is as whole as any other."""
    before = {ID: 7, NAME: "a", N: 1, DOC: JSON_FIVE, MORE: JSON_FIVE}
    after = before | {MORE: b"\x00\x02\x02\x05\x05\x00"}

    assert rows("update", before, after, options=b"\x01\x02") == [PartialRow(key=("7",))]
    (row,) = rows("update", before, before, options=b"\x00")
    assert (row.op, row.new and row.new.place.key) == ("update", "users:7")
    with pytest.raises(PositionLostError, match="cannot be read"):
        rows("update", before, before, options=b"\x08")


def test_an_entry_of_an_index_is_left_at_once() -> None:
    """Where its old place is known; a score that is NULL now takes the row out of its index."""
    by_name = Index(kind="set", key=template("by:{name}"), score=None, member=None)
    by_n = Index(kind="zset", key=template("by_n"), score="n", member=None)
    table = a_table(indexes=(by_name,))
    before = {ID: 7, NAME: "a"}
    (row,) = rows("update", before, {NAME: "b"}, table=table)
    assert row.old == RowAddress("users:7", None, (("set", "by:a", "users:7"),))
    assert (row.op, row.key) == ("delete", ("7",))
    assert rows("update", {ID: 7}, {NAME: "b"}, table=table) == [PartialRow(is_lost=True)]

    scored = a_table(indexes=(by_n,))
    assert rows("update", {ID: 7}, {N: 5}, table=scored) == [PartialRow(key=("7",))]
    (row,) = rows("update", {ID: 7}, {N: None}, table=scored)
    assert (row.op, row.key) == ("delete", ("7",))


def test_null_in_a_key_is_refused() -> None:
    """As in a whole row."""
    with pytest.raises(PositionLostError, match="has NULL in 'name'"):
        rows("update", {ID: 7, NAME: None}, {NAME: "b"}, table=a_table("users:{name}"))


@given(st.integers(1, 8), st.data())
def test_a_damaged_event_is_refused(cut: int, data: st.DataObject) -> None:
    """Or its rows are read: it never ends in another error."""
    body = b"\x05\x01\x02" + raw({ID: 7}) + raw({NAME: "name"})
    codec = RowCodec(MAP, target_of(a_table()))
    partial = codec.partial("update", body, 0)
    assert partial is not None
    with pytest.raises(PositionLostError, match="cannot be read"):
        codec.partial_rows(partial, "update", body, 0, len(body) - cut)


def test_which_events_are_whole() -> None:
    """Those that have what their messages are made of, and no more."""
    target, by_name = target_of(a_table()), {name: place for place, name in enumerate(NAMES)}
    assert is_whole(target, by_name, "delete", frozenset({ID}), frozenset())
    assert not is_whole(target, by_name, "insert", ALL - {N}, ALL - {N})
    assert is_whole(target, by_name, "update", frozenset({ID}), ALL)
    one = target_of(a_table(value_column="n"))
    assert is_whole(one, by_name, "update", frozenset({ID}), frozenset({ID, N}))


@pytest.mark.parametrize(
    ("kind", "text", "printed"),
    [
        ("bigint", 7, "7"),
        ("decimal", "-1.50", "-1.50"),
        ("bit", 5, "5"),
        ("year", 2026, "2026"),
        ("varchar", "a'b", "a'b"),
        ("varbinary", "AP8=", "00FF"),
        ("datetime", "2026-11-23T10:00:00.12", "2026-11-23 10:00:00.12"),
        ("timestamp", "2026-11-23T10:00:00Z", "2026-11-23 10:00:00"),
        ("date", "2026-11-23", "2026-11-23"),
        ("time", "-12:00:00", "-12:00:00"),
        ("enum", "a", None),
        ("float", "1.1", None),
        ("double", "1.1", None),
        ("int", None, None),
    ],
)
def test_a_part_of_a_key_is_what_the_server_prints(
    kind: str, text: str | int | None, printed: str | None
) -> None:
    """Where that is certain."""
    one = Column(name="k", data_type=kind, column_type=kind, charset=None, nullable=False)
    assert key_text(one, text) == printed
    assert key_text(replace(one, name="other"), text) == printed
