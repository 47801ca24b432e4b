"""Rows events of tables of every model, through both sides, into a Redis of dicts.

Whatever changes, in whatever batches, and with several partitions at whatever speed each: what is
left is what the table's rows are.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.mask import Mask, MaskKey
from cdc.message import Change, Delivery, Member, encode
from cdc.table import Column, Index, Table
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.messages.chains import Chains
from cdc_reader.rows.identity import Identity
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.rows.shape import Target, target_of
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import Command
from tests.support.planned import planner_of

SECRET = MaskKey(b"0123456789abcdef")
TS = 1795414891568123
Row = tuple[int, int | None, str | None]
"""id, user, name."""
Event = tuple[Op, list[Row]]
"""An update has the row before and after."""
Redis = dict[str, Any]


def template(text: str) -> Any:
    return parse_template(text, schema="shop", table="orders", pk=("id",), may_be_constant=True)


def column(name: str, data_type: str, *, nullable: bool = True) -> Column:
    charset = "utf8mb4" if data_type == "varchar" else None
    return Column(
        name=name, data_type=data_type, column_type=data_type, charset=charset, nullable=nullable
    )


def a_table(**how: Any) -> Table:
    defaults: dict[str, Any] = {
        "schema": "shop",
        "name": "orders",
        "columns": (
            column("id", "int", nullable=False),
            column("user", "int"),
            column("name", "varchar"),
        ),
        "identity": ("id",),
        "chunk_key": ("id",),
        "key": template("orders:{id}"),
        "value_column": None,
        "model": "string",
    }
    return Table(**(defaults | how))


def an_index(**how: Any) -> Index:
    return Index(**({"score": None, "member": None} | how))


INDEXES = (
    an_index(kind="set", key=template("of:{user}")),
    an_index(kind="zset", key=template("by:{user}"), score="id"),
    an_index(kind="zset", key=template("all"), score="user"),
    an_index(kind="set", key=template("named:{name}:{user}")),
)
INDEXED = a_table(indexes=INDEXES, masks=(("name", Mask(kind="hash", key=SECRET)),))
LINES = a_table(key=template("lines:{user}"), model="hash", field=template("{id}"))
LINE = a_table(
    key=template("lines:{user}"), model="hash", field=template("{id}"), value_column="name"
)
CACHE = a_table(model="hash", ttl_s=60)
TABLES = [INDEXED, LINES, LINE, CACHE]
NAMES = ["indexed", "a field for each row", "a column for each row", "a cache"]

MAP = TableMap(
    schema="shop",
    table="orders",
    columns=(
        ColumnMap(
            name="id", type=tm.LONG, meta=0, nullable=False, unsigned=False, collation=None,
            labels=None,
        ),
        ColumnMap(
            name="user", type=tm.LONG, meta=0, nullable=True, unsigned=False, collation=None,
            labels=None,
        ),
        ColumnMap(
            name="name", type=tm.VARCHAR, meta=400, nullable=True, unsigned=False, collation=255,
            labels=None,
        ),
    ),
    primary_key=(0,),
)  # fmt: skip


def image(row: Row) -> bytes:
    number, user, name = row
    bits = 0xF8 | (user is None) << 1 | (name is None) << 2
    raw = struct.pack("<i", number) + (b"" if user is None else struct.pack("<i", user))
    text = b"" if name is None else name.encode()
    return bytes((bits,)) + raw + (b"" if name is None else struct.pack("<H", len(text)) + text)


def hashed(text: str) -> str:
    return hmac.new(SECRET.secret, text.encode(), hashlib.sha256).hexdigest()


def expected(table: Table, rows: Sequence[Row]) -> Redis:
    out: Redis = {}
    for number, user, name in rows:
        key = f"orders:{number}"
        if table is INDEXED:
            who = None if name is None else hashed(name)
            out[key] = text_of({"id": number, "user": user, "name": who})
            if user is not None:
                out.setdefault(f"of:{user}", {})[key] = ""
                out.setdefault(f"by:{user}", {})[key] = str(number)
                out.setdefault("all", {})[key] = str(user)
            if user is not None and who is not None:
                out.setdefault(f"named:{who}:{user}", {})[key] = ""
        elif table is CACHE:
            fields = {"id": str(number), "user": user and str(user), "name": name}
            fields["user"] = None if user is None else str(user)
            out[key] = {k: v for k, v in fields.items() if v is not None}
        else:
            row = {"id": number, "user": user, "name": name}
            value = name if table is LINE else text_of(row)
            if value is not None:
                out.setdefault(f"lines:{user}", {})[str(number)] = value
    return out


def text_of(row: dict[str, Any]) -> str:
    return msgspec.json.encode(row).decode()


def execute(redis: Redis, commands: Sequence[Command]) -> None:
    for verb, key, *more in [tuple(map(text, command)) for command in commands]:
        if verb == "MSET":
            pairs = [key, *more]
            redis.update(zip(pairs[::2], pairs[1::2], strict=True))
        elif verb == "UNLINK":
            for name in (key, *more):
                redis.pop(name, None)
        elif verb in ("HSET", "SADD", "ZADD"):
            step = {"HSET": 1, "ZADD": -1}.get(verb)
            entries = (
                [(m, "") for m in more] if step is None else zip(*[iter(more)] * 2, strict=True)
            )
            redis.setdefault(key, {}).update(dict(pair[:: step or 1] for pair in entries))
        elif verb in ("HDEL", "SREM", "ZREM"):
            for name in more:
                redis.get(key, {}).pop(name, None)
            if not redis.get(key):
                redis.pop(key, None)
        else:
            assert (verb, key in redis, more) == ("EXPIRE", True, ["60"])


def text(part: str | bytes) -> str:
    return part if isinstance(part, str) else part.decode()


ROWS = st.tuples(
    st.integers(0, 4),
    st.none() | st.integers(1, 3),
    st.none() | st.sampled_from(["a", 'é"', "b:c"]),
)
CHANGES = st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=25)


def played(table: Table, wanted: list[tuple[Row, bool]]) -> tuple[list[Event], list[Row]]:
    """Return events that a server may write, and the rows that are left."""
    is_field = table.field is not None
    rows: dict[int, Row] = {}
    out: list[Event] = []
    for (number, user, name), moves in wanted:
        row = (number, 1 if is_field and user is None else user, name)
        if moves and rows:
            old = rows.pop(min(rows))
            if row[0] in rows:
                rows[old[0]] = old
                continue
            out.append(("update", [old, row]))
        elif number in rows and user is None and not moves:
            out.append(("delete", [rows.pop(number)]))
            continue
        elif number in rows:
            out.append(("update", [rows[number], row]))
        else:
            out.append(("insert", [row]))
        rows[row[0]] = row
    return out, list(rows.values())


@functools.cache
def codec_of(table: Table, partitions: int) -> RowCodec:
    return RowCodec(MAP, target_of(table), partitions)


def deliveries(table: Table, events: list[Event], partitions: int) -> list[list[Delivery]]:
    """Return what each partition's sink is given, as the reader writes it."""
    codec = codec_of(table, partitions)
    chains = Chains([""] * partitions) if partitions > 1 else None
    out: list[list[Delivery]] = [[] for _ in range(partitions)]
    prev, seq = "", 0
    for n, (op, rows) in enumerate(events):
        bodies: list[bytes] = []
        addresses: list[bytes] | None = [] if chains else None
        body = b"\x03" + b"\xff" * len(rows) + b"".join(map(image, rows))
        _, prev = codec.messages(
            op, body, 0, len(body), first_row=0, id_prefix=f"1.2.{n + 900}.", prev=prev,
            context="", suffix=f',"ts":{TS},"v":1}}', skip_rows=0, out=bodies, chains=chains,
            addresses=addresses,
        )  # fmt: skip
        for i, one in enumerate(bodies):
            seq += 1
            address = addresses[i] if addresses else op.encode()
            chain = int(address.rpartition(b".")[2]) if chains else 0
            out[chain].append((seq, b"mysql." + address, one))
    return out


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("table", TABLES, ids=NAMES)
@settings(deadline=None)
@given(CHANGES, st.data())
def test_whatever_changes_redis_is_what_the_rows_are(
    table: Table, partitions: int, changes: list[tuple[Row, bool]], data: st.DataObject
) -> None:
    """In batches of any size, the partitions in any order; and again from the start."""
    events, rows = played(table, changes)
    redis: Redis = {}
    waiting = deliveries(table, events, partitions)
    at = [0] * partitions
    applied = [Applied(stream="MYSQL", created="c", seq=0) for _ in range(partitions)]
    planners = [planner_of([table], partition=n, partitions=partitions) for n in range(partitions)]
    while chains := [n for n in range(partitions) if at[n] < len(waiting[n])]:
        n = data.draw(st.sampled_from(chains))
        size = data.draw(st.integers(1, len(waiting[n]) - at[n]))
        batch = planners[n].plan(applied[n], waiting[n][at[n] : at[n] + size], now_us=1)
        assert batch.dead == []
        execute(redis, batch.commands)
        kinds = {key: kind for key, kind in batch.shared.items() if kind == "hash"}
        assert not kinds or table.field is not None
        applied[n], at[n] = batch.applied, at[n] + batch.consumed

    assert redis == expected(table, rows)


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
@given(st.lists(ROWS, max_size=5, unique_by=lambda row: row[0]))
def test_both_codecs_give_a_row_alike(table: Table, rows: list[Row]) -> None:
    """Key, field, value and entries from a SELECT are those from the binlog."""
    if table.field is not None:
        rows = [(number, user or 1, name) for number, user, name in rows]
    made = [d[2] for d in deliveries(table, [("insert", [row]) for row in rows], 1)[0]]
    printed = [(*(None if v is None else str(v).encode() for v in row), b"more") for row in rows]
    selected = SelectCodec(table, mariadb=False).rows(printed)

    for change, row in zip(made, selected, strict=True):
        fields = msgspec.json.decode(change)
        wanted = {n: fields[n] for n in ("key", "value", "field", "index") if n in fields}
        assert msgspec.json.decode(row) == wanted
        assert list(msgspec.json.decode(row)) == list(wanted)


def test_the_bytes_are_those_of_the_contract() -> None:
    """What `cdc.message.encode` gives: a moved row with entries that stay, come and go."""
    old, new = (1, 1, None), (1, 2, None)
    ((_, _, body),) = deliveries(a_table(indexes=INDEXES[:3]), [("update", [old, new])], 1)[0]

    assert body == encode(
        Change(
            key="orders:1",
            value='{"id":1,"user":2,"name":null}',
            op="update",
            table="shop.orders",
            index=(
                Member(set="of:2", member="orders:1"),
                Member(zset="by:2", member="orders:1", score="1"),
                Member(zset="all", member="orders:1", score="2"),
            ),
            old_index=(
                Member(set="of:1", member="orders:1"),
                Member(zset="by:1", member="orders:1"),
            ),
            id="1.2.900.0",
            prev="",
            ts=TS,
        )
    )


def test_a_field_that_moves_names_the_old_one() -> None:
    """Also within its hash: `old_key` is then the same key."""
    ((_, _, body),) = deliveries(LINE, [("update", [(1, 1, "a"), (2, 1, "a")])], 1)[0]

    assert body == encode(
        Change(
            key="lines:1", value="a", op="update", table="shop.orders", old_key="lines:1",
            field="2", old_field="1", id="1.2.900.0", prev="", ts=TS,
        )
    )  # fmt: skip


def test_null_in_a_parents_key_stops_the_reader() -> None:
    """As NULL in any key does; the column is named, no value is."""
    with pytest.raises(PositionLostError, match="NULL in 'user'"):
        deliveries(LINES, [("insert", [(1, None, "secret")])], 1)


@pytest.mark.parametrize("mask", [Mask(kind="hash", key=SECRET), Mask(kind="truncate", length=2)])
def test_a_masked_column_is_nowhere(mask: Mask) -> None:
    """In no operation, and in no part of a message."""
    table = a_table(masks=(("name", mask),), indexes=INDEXES[:2])
    row, other = (1, 1, "secret"), (2, 1, "secrets")
    events: list[Event] = [
        ("insert", [row]), ("update", [row, other]), ("delete", [other]),
    ]  # fmt: skip

    assert b"secret" not in b"".join(d[2] for d in deliveries(table, events, 1)[0])
    assert SECRET.secret.decode() not in repr(table)


@given(st.lists(ROWS, min_size=1, max_size=4), st.permutations(["id", "user", "name"]))
def test_a_projection_is_made_by_the_quick_paths(rows: list[Row], names: list[str]) -> None:
    """Some columns in another order under other names: generated and compiled code agree."""
    fields = tuple((name, f'{name}"s') for name in names[:2])
    table = a_table(fields=fields)
    assert target_of(table)._replace(identity=Identity()) == Target(
        table="shop.orders",
        key=table.key,
        value_column=None,
        fields=fields,
        known=table.column_names,
        described=table,
    )
    made = deliveries(table, [("insert", [row]) for row in rows], 1)[0]
    printed = [tuple(None if v is None else str(v).encode() for v in row) for row in rows]
    needed = ["id", *(name for name in ("user", "name") if name in names[:2])]
    places = [("id", "user", "name").index(name) for name in needed]
    selected = SelectCodec(table, mariadb=False).rows(
        [tuple(row[place] for place in places) for row in printed]
    )
    for row, (_, _, body), picked in zip(rows, made, selected, strict=True):
        values = dict(zip(("id", "user", "name"), row, strict=True))
        value = text_of({field: values[name] for name, field in fields})
        assert msgspec.json.decode(body)["value"] == value
        assert msgspec.json.decode(picked) == {"key": f"orders:{row[0]}", "value": value}


def test_a_sink_that_knows_no_index_keeps_the_message() -> None:
    """Settings that differ are a dead letter, not an entry that nobody removes."""
    messages = deliveries(INDEXED, [("insert", [(1, 1, "a")])], 1)[0]
    lines = deliveries(LINES, [("insert", [(1, 1, "a")])], 1)[0]
    for table, some in ((CACHE, messages), (CACHE, lines), (LINES, messages), (INDEXED, lines)):
        planner = planner_of([table])
        batch = planner.plan(Applied(stream="MYSQL", created="c", seq=0), some, now_us=1)
        assert [letter.reason for letter in batch.dead] == [
            "a field or an index that the settings of this sink do not know"
        ]
        assert batch.commands == []
