"""Bodies of rows that have a shape are those of the contract."""

from __future__ import annotations

import dataclasses
import struct
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc.key import KeyTemplate, parse_template
from cdc.message import Change, Member, SnapshotRow, decode_change, encode, parse_id
from cdc.partition import partition_of
from cdc.table import Column, Index, Table
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows.body_source import TextVariable
from cdc_reader.rows.shape import RowAddress, ShapedRow, target_of
from cdc_reader.rows.shaped_rows import ShapedRows, change_head, selected, shaped_selection

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
MEMBERS = st.lists(st.tuples(st.sampled_from(["set", "zset"]), TEXT, TEXT), max_size=3, unique=True)
ALL = frozenset((0, 1))


def a_member(member: tuple[str, str, str], score: str | None = None) -> Member:
    """Return an entry as the contract has it."""
    kind, key, who = member
    return Member(**{kind: key}, member=who, score=score)


@st.composite
def places(draw: st.DrawFn) -> RowAddress:
    """Return a place of any texts."""
    return RowAddress(draw(TEXT), draw(st.none() | TEXT), tuple(draw(MEMBERS)))


@st.composite
def rows(draw: st.DrawFn) -> ShapedRow:
    """Return a row whose sorted members have a score."""
    place = draw(places())
    scores = tuple("1.5" if kind == "zset" else None for kind, _, _ in place.members)
    return ShapedRow(place, draw(st.none() | TEXT), scores)


@given(st.none() | places(), st.none() | rows())
def test_a_change_is_what_the_contract_encodes(
    old: RowAddress | None, new: ShapedRow | None
) -> None:
    """Fields that are not needed are left out; entries that stay are not among those left."""
    if old is None and new is None:
        with pytest.raises(ValueError, match="nothing"):
            change_head("update", "s.t", old, new)
        return
    if old is not None and new is not None and (old.field is None) != (new.place.field is None):
        return  # a table has a field in all its rows, or in none
    place = new.place if new is not None else old
    assert place is not None
    moved = old is not None and (old.key, old.field) != (place.key, place.field)
    kept = set(new.place.members) if new is not None else set()
    left = tuple(a_member(m) for m in (old.members if old else ()) if m not in kept)
    wanted = Change(
        key=place.key,
        value=new.value if new is not None else None,
        op="update",
        table="s.t",
        old_key=old.key if old is not None and moved else None,
        field=place.field,
        old_field=old.field if old is not None and moved else None,
        index=(tuple(map(a_member, new.place.members, new.scores)) if new else None) or None,
        old_index=left or None,
        id="1",
        prev="",
        ts=5,
    )  # fmt: skip
    made = change_head("update", "s.t", old, new) + '"id":"1","prev":"","ts":5,"v":1}'

    assert encode(wanted) == made.encode()


@given(rows())
def test_a_row_of_a_snapshot_is_what_the_contract_encodes(row: ShapedRow) -> None:
    """Key, value, field and entries."""
    found = msgspec.json.decode(selected(row), type=SnapshotRow)

    assert (row.place.key, row.value, row.place.field) == (found.key, found.value, found.field)
    assert tuple(map(a_member, row.place.members, row.scores)) == tuple(found.index or ())


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.t."""
    return parse_template(text, schema="shop", table="t", pk=("id",), may_be_constant=True)


TABLE = Table(
    schema="shop",
    name="t",
    columns=tuple(
        Column(name=name, data_type="int", column_type="int", charset=None, nullable=True)
        for name in ("id", "n")
    ),
    identity=("id",),
    chunk_key=("id",),
    key=template("t:{id}"),
    value_column="n",
    model="string",
    indexes=(Index(kind="set", key=template("of:{n}"), score=None, member=None),),
)
MAP = TableMap(
    schema="shop",
    table="t",
    columns=tuple(
        ColumnMap(
            name=name, type=tm.LONG, meta=0, nullable=True, unsigned=False, collation=None,
            labels=None,
        )
        for name in ("id", "n")
    ),
    primary_key=(0,),
)  # fmt: skip


def null_key(place: int) -> PositionLostError:
    """Return the error of a column by its place."""
    return PositionLostError(f"NULL at {place}")


def image(number: int | None, n: int | None) -> bytes:
    """Return a row image."""
    bits = 0xFC | (number is None) | (n is None) << 1
    return bytes((bits,)) + b"".join(struct.pack("<i", v) for v in (number, n) if v is not None)


def made(op: str, raw: bytes, *, skip: int = 0) -> list[dict[str, Any]]:
    """Return the bodies of an event's images, of one partition."""
    out: list[bytes] = []
    function = ShapedRows(MAP, target_of(TABLE), 1, null_key).function(op, ALL, ALL)
    function(raw, 0, len(raw), 0, skip, "1.2.3.", "p", '"id":"', '","ts":5,"v":1}', out.append)
    return [msgspec.json.decode(one) for one in out]


def test_rows_are_numbered_and_each_names_the_one_before() -> None:
    """Those that were published are read over, and their numbers count."""
    raw = image(1, 5) + image(2, None) + image(3, 6)
    found = made("insert", raw, skip=1)

    assert [("1.2.3.1", "p"), ("1.2.3.2", "1.2.3.1")] == [(m["id"], m["prev"]) for m in found]
    assert ["t:2", "t:3"] == [m["key"] for m in found]
    assert [False, True] == ["value" in m for m in found]


def test_an_update_has_both_images_and_a_delete_the_first() -> None:
    """An entry that the row leaves is in `old_index`."""
    (update,) = made("update", image(1, 5) + image(2, 6))
    (delete,) = made("delete", image(1, 5))

    assert ("t:2", "t:1", "6") == (update["key"], update["old_key"], update["value"])
    assert [{"set": "of:6", "member": "t:2"}] == update["index"]
    assert [{"set": "of:5", "member": "t:1"}] == update["old_index"] == delete["old_index"]
    assert "value" not in delete


@pytest.mark.parametrize(
    ("op", "raw"),
    [
        ("insert", image(None, 5)),
        ("delete", image(None, 5)),
        ("update", image(None, 5) + image(1, 5)),
        ("update", image(1, 5) + image(None, 5)),
    ],
)
def test_null_in_a_key_stops_with_its_column(op: str, raw: bytes) -> None:
    """By its place in the table."""
    with pytest.raises(PositionLostError, match="NULL at 0"):
        made(op, raw)


def test_an_image_that_goes_over_its_events_end_is_damage() -> None:
    """What follows the event in the buffer is never taken for a row."""
    raw = image(1, 5) + b"\xff" * 9
    for partitions in (1, 3):
        function = ShapedRows(MAP, target_of(TABLE), partitions, null_key).function(
            "insert", ALL, ALL
        )
        more: tuple[Any, ...] = () if partitions == 1 else (-1, [""] * 3, [].append)
        with pytest.raises(IndexError):
            function(raw, 0, len(image(1, 5)) - 1, 0, 0, "1.", "", "", "", [].append, *more)


IDS = st.integers(0, 30)


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8), st.data())
def test_each_partition_has_its_chain(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """A key that leaves its partition is deleted there; a restart sends the rest and no more."""
    raw = b"".join(image(old, 5) + image(new, 5) for old, new in changes)
    function = ShapedRows(MAP, target_of(TABLE), 3, null_key).function("update", ALL, ALL)

    def run(skip: int, half: int, prevs: list[str]) -> list[tuple[bytes, bytes]]:
        out: list[bytes] = []
        addresses: list[bytes] = []
        function(
            raw, 0, len(raw), 0, skip, "1.2.3.", "", '"id":"', '","ts":5,"v":1}', out.append, half,
            prevs, addresses.append,
        )  # fmt: skip
        return list(zip(addresses, out, strict=True))

    ends = ["", "", ""]
    whole = run(0, -1, ends)
    heads = ["", "", ""]
    found = [(int(a[-1:]), decode_change(b)) for a, b in whole]
    for chain, change in found:
        assert (partition_of(change.key, 3), heads[chain]) == (chain, change.prev)
        heads[chain] = change.id
    assert heads == ends
    assert all(parse_id(a.id) < parse_id(b.id) for (_, a), (_, b) in pairwise(found))
    moved = [o for o, n in changes if partition_of(f"t:{o}", 3) != partition_of(f"t:{n}", 3)]
    assert [f"t:{old}" for old in moved] == [c.key for _, c in found if c.op == "delete"]

    cut = data.draw(st.integers(1, len(whole)))
    stored = ["", "", ""]
    for chain, change in found[:cut]:
        stored[chain] = change.id
    last = found[cut - 1][1].id.split(".")
    half = int(last[3]) if len(last) == 4 else -1
    assert whole[cut:] == run(int(last[3]) + 1, half, stored)


def test_a_selected_row_is_made_of_its_columns() -> None:
    """A NULL in a key is refused by the column's name."""

    def refused(name: str) -> PositionLostError:
        return PositionLostError(f"NULL in {name}")

    texts = {n: TextVariable(name=n, quoted=False, alphabet=None) for n in ("id", "n")}
    row = shaped_selection(target_of(TABLE), texts, ("id", "n"), refused)

    assert row(("7", "5")) == (b'{"key":"t:7","value":"5","index":[{"set":"of:5","member":"t:7"}]}')
    with pytest.raises(PositionLostError, match="NULL in id"):
        row((None, "5"))


def test_a_table_without_a_shape_is_a_mistake_of_ours() -> None:
    """It has its generated function."""
    plain = target_of(dataclasses.replace(TABLE, indexes=()))
    with pytest.raises(ValueError, match="no shape"):
        ShapedRows(MAP, plain, 1, null_key)
    with pytest.raises(ValueError, match="no shape"):
        shaped_selection(plain, {}, (), PositionLostError)
