"""Rows events, put together by hand, against the messages that `cdc.message` would encode."""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.message import Change, encode
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.shape import Target

Row = Sequence[Any]
TS = 1795414891568123
GTID = "7271e0ec-e705-11f1-8850-02fc00000001:8003"
SUFFIX = f',"ts":{TS},"v":1}}'


def column(name: str, kind: int, meta: int = 0, **how: Any) -> ColumnMap:
    fields: dict[str, Any] = {"nullable": True, "unsigned": False, "collation": 255, "labels": None}
    return ColumnMap(name=name, type=kind, meta=meta, **(fields | how))


ID = column("id", tm.LONGLONG, nullable=False, unsigned=True)
NAME = column("name", tm.VARCHAR, 400)
N = column("n", tm.LONG)
STATUS = column("status", tm.ENUM, 1, labels=(b"new", b'q"uote'))
SHORT = column("short", tm.STRING, 40)


def table(*columns: ColumnMap) -> TableMap:
    return TableMap(schema="shop", table="users", columns=columns, primary_key=(0,))


USERS = table(ID, NAME, N, STATUS, SHORT)


@functools.cache
def codec(
    table_map: TableMap = USERS, key: str = "{table}:{pk}", value: str | None = None
) -> RowCodec:
    template = parse_template(key, schema="shop", table="users", pk=("id",))
    return RowCodec(table_map, Target(table="shop.users", key=template, value_column=value))


def image(row: Row, columns: Sequence[ColumnMap] = USERS.columns) -> bytes:
    """Return a row image; bits after the last column's are set, as MySQL sets them."""
    bits = -1 << len(row)
    raw = b""
    for place, (value, c) in enumerate(zip(row, columns, strict=True)):
        if value is None:
            bits |= 1 << place
        elif c.type == tm.LONGLONG:
            raw += struct.pack("<Q" if c.unsigned else "<q", value)
        elif c.type == tm.LONG:
            raw += struct.pack("<i", value)
        elif c.type == tm.ENUM:
            raw += bytes((value,))
        else:
            data = value if isinstance(value, bytes) else value.encode()
            size = {tm.BLOB: c.meta, tm.GEOMETRY: c.meta}.get(c.type, 2 if c.meta > 255 else 1)
            raw += len(data).to_bytes(size, "little") + data
    width = (len(row) + 7) // 8
    return (bits & (1 << 8 * width) - 1).to_bytes(width, "little") + raw


def head(count: int, images: int = 1) -> bytes:
    return bytes((count,)) + b"\xff" * ((count + 7) // 8) * images


def run(
    made: RowCodec,
    op: Op,
    body: bytes,
    *,
    first_row: int = 0,
    skip_rows: int = 0,
    prev: str = "",
    gtid: str | None = GTID,
) -> tuple[list[bytes], int, str]:
    """Return the bodies of an event inside a larger buffer."""
    out = [b"before"]
    row, last = made.messages(
        op,
        b"\xaa" * 7 + body + b"\xbb" * 9,
        7,
        7 + len(body),
        first_row=first_row,
        id_prefix="1.2.900.",
        prev=prev,
        context=f'"gtid":"{gtid}",' if gtid else "",
        suffix=SUFFIX,
        skip_rows=skip_rows,
        out=out,
    )
    assert out[0] == b"before"
    return out[1:], row, last


def expected(**fields: Any) -> bytes:
    return encode(Change(table="shop.users", ts=TS, **{"gtid": GTID, **fields}))


def value_of(row: Row) -> str:
    """Return the row's JSON from an encoder that has nothing to do with ours."""
    number, name, n, status, short = row
    label = None if status is None else ("", "new", 'q"uote')[status]
    fields = {"id": number, "name": name, "n": n, "status": label, "short": short}
    return msgspec.json.encode(fields).decode()


TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
ROWS = st.tuples(
    st.integers(0, 2**64 - 1),
    st.none() | TEXT,
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(0, 2),
    st.none() | TEXT,
)


@given(st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=5), st.sampled_from([GTID, None]))
def test_the_bytes_are_those_of_the_contract(
    changes: list[tuple[Row, Row]], gtid: str | None
) -> None:
    """Inserts, updates and deletes are what `cdc.message.encode` gives without its nulls."""
    olds, news = [c[0] for c in changes], [c[1] for c in changes]
    ops: list[tuple[Op, bytes]] = [
        ("insert", head(5) + b"".join(map(image, news))),
        ("delete", head(5) + b"".join(map(image, olds))),
        ("update", head(5, 2) + b"".join(image(o) + image(n) for o, n in changes)),
    ]
    for op, body in ops:
        bodies, rows, last = run(codec(), op, body, prev="1.2.4.0", gtid=gtid)
        prev = "1.2.4.0"
        for number, (old, new) in enumerate(changes):
            row = old if op == "delete" else new
            changed = op == "update" and old[0] != new[0]
            assert bodies[number] == expected(
                key=f"users:{row[0]}",
                value=None if op == "delete" else value_of(row),
                op=op,
                old_key=f"users:{old[0]}" if changed else None,
                gtid=gtid,
                id=f"1.2.900.{number}",
                prev=prev,
            )
            prev = f"1.2.900.{number}"
        assert (rows, last) == (len(changes), prev)


@given(st.lists(ROWS, max_size=6), st.integers(0, 8), st.integers(0, 3))
def test_rows_published_before_are_read_over(
    rows: list[Row], skip_rows: int, first_row: int
) -> None:
    """Their numbers count, they give no message, and `prev` continues from the one before."""
    body = head(5) + b"".join(map(image, rows))
    every, end, last = run(codec(), "insert", body, first_row=first_row)
    some, end_again, last_again = run(
        codec(), "insert", body, first_row=first_row, skip_rows=skip_rows
    )
    skipped = min(len(rows), max(0, skip_rows - first_row))
    assert end == end_again == first_row + len(rows)
    assert len(some) == len(rows) - skipped
    assert some[1:] == every[skipped + 1 :]
    assert last_again == (last if some else "")
    if some:
        assert b'"prev":""' in some[0]


KEYS = ["{name}", "user:{id}", "{id}:{name}", "{{{name}}}-{n}/{id}", "{status}'{short}\"{id}"]


@given(ROWS, ROWS, st.sampled_from(KEYS))
def test_keys_are_those_of_their_template(old: Row, new: Row, key: str) -> None:
    """Escapes, quotes and braces are as `KeyTemplate.render` has them; `old_key` where changed."""

    def rendered(row: Row) -> str:
        texts = dict(zip(("id", "name", "n", "status", "short"), row, strict=True))
        texts["status"] = ("", "new", 'q"uote')[row[3]]
        return template.render({name: str(text) for name, text in texts.items()})

    old, new = (
        tuple({1: "", 2: 0, 3: 0, 4: ""}.get(i, 0) if v is None else v for i, v in enumerate(row))
        for row in (old, new)
    )
    made = codec(key=key)
    template = made.target.key
    bodies, _, last = run(made, "update", head(5, 2) + image(old) + image(new))
    assert bodies == [
        expected(
            key=rendered(new),
            value=value_of(new),
            op="update",
            old_key=rendered(old) if rendered(old) != rendered(new) else None,
            id=last,
            prev="",
        )
    ]


@given(ROWS, st.sampled_from(["id", "name", "n", "status", "short"]))
def test_one_column_is_the_value_as_it_is(row: Row, name: str) -> None:
    """Text stays as it is, a number is its token, and NULL leaves the value out."""
    place = ("id", "name", "n", "status", "short").index(name)
    text = row[place]
    if name == "status" and text is not None:
        text = ("", "new", 'q"uote')[text]
    bodies, _, last = run(codec(value=name), "insert", head(5) + image(row))
    wanted = None if text is None else str(text)
    assert bodies == [expected(key=f"users:{row[0]}", value=wanted, op="insert", id=last, prev="")]


@pytest.mark.parametrize("op", ["insert", "update", "delete"])
def test_null_in_a_key_is_refused_with_the_column(op: Op) -> None:
    """A row without a key has no place in Redis."""
    row = (1, None, 2, 1, "x")
    body = head(5, 2) + image(row) + image(row) if op == "update" else head(5) + image(row)
    with pytest.raises(PositionLostError, match=r"shop\.users has NULL in 'name'"):
        run(codec(key="{name}"), op, body)


def test_a_failure_leaves_no_message_behind() -> None:
    """Rows before the one that cannot be carried are not handed out."""
    out: list[bytes] = [b"held"]
    body = head(5) + image((1, "a", 2, 1, "x")) + image((2, None, 2, 1, "x"))
    with pytest.raises(PositionLostError):
        codec(key="{name}").messages(
            "insert", body, 0, len(body), first_row=0, id_prefix="1.", prev="", context="",
            suffix=SUFFIX, skip_rows=0, out=out,
        )  # fmt: skip
    assert out == [b"held"]


@given(st.data())
def test_a_damaged_event_is_refused_or_read(data: st.DataObject) -> None:
    """No wrong byte and no early end leads to another error than the one for it."""
    rows = data.draw(st.lists(ROWS, min_size=1, max_size=3))
    op: Literal["insert", "update"] = data.draw(st.sampled_from(["insert", "update"]))
    images = 2 if op == "update" else 1
    raw = bytearray(head(5, images) + b"".join(map(image, rows * images)))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(raw[: data.draw(st.integers(2, len(raw)))])
    with contextlib.suppress(PositionLostError):
        run(codec(), op, body)


@given(st.lists(ROWS, min_size=1, max_size=3), st.integers(1, 40))
def test_an_event_that_is_cut_is_refused(rows: list[Row], cut: int) -> None:
    """What follows the event in the buffer is never taken for a row."""
    body = head(5) + b"".join(map(image, rows))
    last_row = len(image(rows[-1]))
    if cut >= last_row:
        return
    with pytest.raises(PositionLostError, match="cannot be read"):
        run(codec(), "insert", body[:-cut])


def test_another_number_of_columns_is_refused() -> None:
    """An event that does not belong to its TABLE_MAP is not guessed at."""
    with pytest.raises(PositionLostError, match="number of columns"):
        run(codec(), "insert", head(6) + image((1, "a", 2, 1, "x")))


def test_a_null_bit_of_a_not_null_column_is_refused() -> None:
    """By the TABLE_MAP there is no such row."""
    with pytest.raises(PositionLostError, match="cannot be read"):
        run(codec(), "insert", head(5) + image((None, "a", 2, 1, "x")))


def test_an_absent_column_is_no_message_where_it_is_needed() -> None:
    """Of such rows `partial` tells more; a column that is there is enough for a row of it alone."""
    body = bytes((5, 0b11011)) + image((1, "a", 1, "x"), (ID, NAME, STATUS, SHORT))
    with pytest.raises(PositionLostError, match="without columns that are needed"):
        run(codec(), "insert", body)
    one = codec(value="short")
    bodies, _, last = run(one, "insert", body)
    assert bodies == [expected(key="users:1", value="x", op="insert", id=last, prev="")]
    assert one.partial("insert", body, 0) is None


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (column("g", tm.GEOMETRY, 4), "GEOMETRY"),
        (column("g", tm.VARCHAR, 400, collation=54), "VARCHAR with character set utf16"),
        (column("g", tm.VARCHAR, 400, collation=None), "does not name"),
        (column("g", tm.ENUM, 1), "labels that the binlog does not name"),
    ],
)
def test_a_column_that_is_not_carried_is_refused_by_name(other: ColumnMap, named: str) -> None:
    """The row needs it; another column as the value does not."""
    users = table(ID, other, NAME)
    with pytest.raises(PositionLostError, match=r"column 'g' of shop\.users") as caught:
        codec(users)
    assert named in caught.value.seen or named in caught.value.seen.replace("that the binlog ", "")
    raw = 1 if other.type == tm.ENUM else b"\x00\xff"
    body = head(3) + image((7, raw, "Ada"), users.columns)
    bodies, _, last = run(codec(users, value="name"), "insert", body)
    assert bodies == [expected(key="users:7", value="Ada", op="insert", id=last, prev="")]


@pytest.mark.parametrize("kind", [tm.TIMESTAMP, tm.TIME, tm.DATETIME])
def test_temporal_types_of_old_tables_are_refused_even_beside(kind: int) -> None:
    """Their size is not given, so that nothing after them can be found."""
    with pytest.raises(PositionLostError, match=r"of MySQL 5\.5"):
        codec(table(ID, column("t", kind), NAME), value="name")


def test_a_column_that_is_not_in_the_table_is_refused() -> None:
    """After an ALTER the key's or value's column may be gone."""
    with pytest.raises(PositionLostError, match="no column 'gone'"):
        codec(key="{gone}")
    with pytest.raises(PositionLostError, match="no column 'gone'"):
        codec(value="gone")


def test_text_that_is_not_of_its_character_set_is_refused_without_showing_it() -> None:
    """The error names the table and not the value."""
    with pytest.raises(PositionLostError) as caught:
        run(codec(), "insert", head(5) + image((1, b"secret\xff", 2, 1, "x")))
    assert "secret" not in caught.value.text()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=10))
def test_any_column_name_is_a_name(name: str) -> None:
    """Quotes, braces, backslashes and line ends of a name never become source."""
    users = table(ID, column(name + "_", tm.LONG))
    bodies, _, last = run(codec(users), "insert", head(2) + image((1, 5), users.columns))
    value = msgspec.json.encode({"id": 1, name + "_": 5}).decode()
    assert bodies == [expected(key="users:1", value=value, op="insert", id=last, prev="")]


def test_more_than_250_columns_are_read() -> None:
    """From there on the number of columns has three bytes."""
    users = table(ID, *(column(f"c{n}", tm.LONG) for n in range(299)))
    row = (1, *(None if n % 7 == 0 else n for n in range(299)))
    body = b"\xfc\x2c\x01" + b"\xff" * 38 + image(row, users.columns)
    bodies, _, last = run(codec(users), "insert", body)
    fields = {c.name: v for c, v in zip(users.columns, row, strict=True)}
    value = msgspec.json.encode(fields).decode()
    assert bodies == [expected(key="users:1", value=value, op="insert", id=last, prev="")]
