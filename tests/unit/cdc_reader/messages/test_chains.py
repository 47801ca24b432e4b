"""A stream of several partitions: chains, keys that move, and where a restart resumes."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.message import decode_change, decode_schema, decode_snapshot, parse_id
from cdc.partition import partition_of
from cdc.position import Position
from cdc.table import Column, Table
from cdc_reader.binlog import event as ev
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.event import Event
from cdc_reader.binlog.table_map import ColumnMap, TableMap
from cdc_reader.messages.chains import SNAPSHOT_MESSAGE_BYTES, packed
from cdc_reader.messages.flush import Message, newest_of_each, parts
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume
from cdc_reader.rows.row_codec import Op, RowCodec
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.rows.shape import Target

pytestmark = pytest.mark.usefixtures("path")

PARTITIONS = 3
TABLE_ID = b"\x07" + bytes(5)
COLUMNS = tuple(
    ColumnMap(
        name=name, type=tm.LONGLONG, meta=0, nullable=False, unsigned=True, collation=255,
        labels=None,
    )
    for name in ("id", "ver")
)  # fmt: skip
MAP = TableMap(schema="shop", table="users", columns=COLUMNS, primary_key=(0,))
KEY = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
TARGET = Target(table="shop.users", key=KEY, value_column=None)
HOME = partition_of("users:1", PARTITIONS)
NEAR = next(n for n in range(2, 99) if partition_of(f"users:{n}", PARTITIONS) == HOME)
AWAY = next(n for n in range(2, 99) if partition_of(f"users:{n}", PARTITIONS) != HOME)
KINDS: dict[Op, int] = {
    "insert": ev.WRITE_ROWS,
    "update": ev.UPDATE_ROWS,
    "delete": ev.DELETE_ROWS,
}

Rows = list[tuple[int, int]]
"""Id before and after; the same where the key stays."""
Step = tuple[Op, Rows]
OPS: list[Op] = ["insert", "update", "delete"]
ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=5)
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.sampled_from(OPS), ROWS), min_size=1, max_size=5
)


def image(number: int) -> bytes:
    return b"\xfc" + struct.pack("<QQ", number, number * 2)


def events(steps: list[Step]) -> list[Event]:
    """Return rows events, each a transaction of its own."""
    out, end = [], 1000
    for op, rows in steps:
        images = {"insert": (1,), "delete": (0,), "update": (0, 1)}[op]
        body = TABLE_ID + b"\0\0\2\0" + b"\2" + b"\xff" * len(images)
        body += b"".join(image(row[n]) for row in rows for n in images)
        for kind, content in ((KINDS[op], body), (ev.XID, bytes(8))):
            end += len(content) + 19
            out.append(Event(kind, content, 0, len(content), end, len(content) + 19, 1, 1, 0))
    return out


def assembler(last: str = "", last_of: tuple[str, ...] = ("",) * PARTITIONS) -> Assembler:
    position = Position(file="binlog.000002", offset=900, gtid_set=None)
    made = Assembler(
        resume=Resume(epoch=1, position=position, last=last, last_of=last_of),
        gtid_set=None,
        targets={"shop.users": TARGET},
        mariadb=False,
        on_schema_change="continue",
    )
    made._by_id[TABLE_ID] = RowCodec(MAP, TARGET, len(last_of) or 1)
    made._suffix = ',"ts":1,"v":1}'
    return made


def messages(made: Assembler) -> list[Message]:
    return [m for part in parts(made.runs, "mysql", max_messages=7, max_bytes=9999) for m in part]


def taken(steps: list[Step], last: str = "", **more: Any) -> list[Message]:
    made = assembler(last, **more)
    for event in events(steps):
        made.take(event)
    return messages(made)


def ids(some: list[Message]) -> list[str]:
    return [decode_change(body).id for _, body in some]


@given(STEPS)
def test_ids_grow_through_all_and_each_partition_has_its_chain(steps: list[Step]) -> None:
    """One order of ids; `prev` is the message before in the partition that the key belongs to."""
    found = taken(steps)
    last_of = [""] * PARTITIONS
    for subject, body in found:
        change = decode_change(body)
        partition = partition_of(change.key, PARTITIONS)
        assert subject.decode() == f"mysql.{change.op}.{partition}"
        assert change.prev == last_of[partition]
        last_of[partition] = change.id

    assert all(parse_id(one) < parse_id(two) for one, two in pairwise(ids(found)))
    assert newest_of_each(found, [""] * PARTITIONS) == last_of


@given(STEPS, st.data())
def test_a_restart_goes_on_behind_any_message(steps: list[Step], data: st.DataObject) -> None:
    """Whatever was stored, the rest comes once, byte for byte, the half of a moved row too."""
    whole = taken(steps)
    cut = data.draw(st.integers(0, len(whole)))
    stored = whole[:cut]
    last_of = tuple(newest_of_each(stored, [""] * PARTITIONS))
    last = ids(stored)[-1] if stored else ""

    assert taken(steps, last, last_of=last_of) == whole[cut:]


@given(STEPS)
def test_what_a_key_ends_as_is_what_one_partition_would_say(steps: list[Step]) -> None:
    """Applied by partition, one after the other, the result is that of the single stream."""

    def final(some: list[Message]) -> dict[str, str]:
        redis: dict[str, str] = {}
        for _, body in some:
            change = decode_change(body)
            redis.pop(change.old_key or "", None)
            redis.pop(change.key, None)
            if change.value is not None:
                redis[change.key] = change.value
        return redis

    one = final(taken(steps, last_of=()))
    found = taken(steps)
    several: dict[str, str] = {}
    for partition in range(PARTITIONS):
        several |= final([m for m in found if m[0].endswith(b".%d" % partition)])

    assert several == one


def test_a_key_that_moves_is_deleted_behind_its_row() -> None:
    """The row keeps its id and has no old_key; the delete has one more counter, 0."""
    (at, row), (gone_at, gone) = taken([("update", [(1, AWAY)])])

    assert at == b"mysql.update.%d" % partition_of(f"users:{AWAY}", PARTITIONS)
    assert gone_at == b"mysql.delete.%d" % HOME
    assert decode_change(row).old_key is None
    assert decode_change(gone).key == "users:1"
    assert decode_change(gone).value is None
    assert decode_change(gone).id == decode_change(row).id + ".0"


def test_a_key_that_changes_within_its_partition_is_one_message() -> None:
    """As with one partition: `old_key` goes in the same step."""
    ((_, body),) = taken([("update", [(1, NEAR)])])

    assert decode_change(body).old_key == "users:1"


def test_rows_of_the_snapshot_follow_a_moved_key() -> None:
    """Their counter continues after that of the delete, whose 0 no row of the snapshot has."""
    columns = tuple(
        Column(
            name=n, data_type="bigint", column_type="bigint unsigned", charset=None, nullable=False
        )
        for n in ("id", "ver")
    )
    users = Table(
        schema="shop", name="users", columns=columns, identity=("id",), chunk_key=("id",),
        key=KEY, value_column=None, model="string",
    )  # fmt: skip
    codec = SelectCodec(users, mariadb=False)
    made = assembler()
    for event in events([("update", [(1, AWAY)])]):
        made.take(event)
    rows = codec.rows([(b"%d" % n, b"0") for n in range(5, 25)])
    before = made.last
    made.runs.append(made.snapshot_run("shop.users", rows, read_us=9))
    ends = dict(enumerate(made.chains.last_of if made.chains else ()))
    found = [(m[0].decode(), decode_snapshot(m[1])) for m in messages(made)[-PARTITIONS:]]

    assert before.endswith(".0.0")
    assert [m.id.split(".", 4)[4] for _, m in found] == ["9", "10", "11"][:PARTITIONS]
    for subject, message in found:
        number = int(subject.removeprefix("mysql.snapshot."))
        assert {partition_of(row.key, PARTITIONS) for row in message.rows} == {number}
        assert ends[number] == message.id
    assert sorted(int(row.key[6:]) for _, m in found for row in m.rows) == list(range(5, 25))


def test_a_row_that_may_be_half_published_keeps_the_snapshot_waiting() -> None:
    """Until its transaction is read again, its second counter must stay free."""
    step: list[Step] = [("update", [(1, AWAY)])]
    half = taken(step)[:1]
    last_of = tuple(newest_of_each(half, [""] * PARTITIONS))
    made = assembler(ids(half)[0], last_of)

    assert made.is_behind_the_stream()
    for event in events(step):
        made.take(event)
    assert not made.is_behind_the_stream()
    assert [m[0] for m in messages(made)] == [b"mysql.delete.%d" % HOME]


def test_an_event_that_cannot_be_read_moves_no_chain() -> None:
    """Messages before it are published, and a heartbeat after them tells nothing of its rows."""
    made = assembler()
    first, _, damaged, _ = events([("insert", [(0, n) for n in range(5)]), ("update", [(1, AWAY)])])
    made.take(first)
    assert made.chains is not None
    before = (messages(made), made.last, made.chains.last_of.copy())
    content = damaged.buffer + damaged.buffer[-30:-3]
    with pytest.raises(PositionLostError):
        made.take(damaged._replace(buffer=content, end=len(content)))

    assert before == (messages(made), made.last, made.chains.last_of)


def test_a_barrier_stands_in_every_chain() -> None:
    """It names the message before it in each partition, and precedes the next in all of them."""
    made = assembler("1.2.850.0", ("1.2.840.0", "", "1.2.850.0"))
    made._schema_change("ALTER TABLE", "shop.users", 0)
    (body,) = made.runs[-1].bodies
    schema = decode_schema(body)

    assert schema.prev == "1.2.850.0"
    assert schema.prev_of == ("1.2.840.0", "", "1.2.850.0")
    assert made.chains is not None
    assert made.chains.last_of == [schema.id] * PARTITIONS
    assert newest_of_each([(b"mysql.schema", body)], ["", "", ""]) == [schema.id] * PARTITIONS


@pytest.mark.parametrize("key", ["{id}", 'a"{id}:{ver}', "{table}:{name}", "é{name}:{id}"])
@given(st.text(st.characters(codec="utf-8"), max_size=8), st.integers(0, 2**64 - 1))
def test_the_partition_is_that_of_the_key_as_it_is(key: str, name: str, number: int) -> None:
    """Not of its JSON form: quotes, escapes and other letters count as in Redis."""
    text = ColumnMap(
        name="name", type=tm.VARCHAR, meta=400, nullable=False, unsigned=False, collation=255,
        labels=None,
    )  # fmt: skip
    mapped = TableMap(schema="s", table="t", columns=(*COLUMNS, text), primary_key=(0,))
    template = parse_template(key, schema="s", table="t", pk=("id",))
    target = Target(table="s.t", key=template, value_column="id")
    made = assembler()
    made._by_id[TABLE_ID] = RowCodec(mapped, target, PARTITIONS)
    raw = name.encode()
    body = TABLE_ID + b"\0\0\2\0\3\xff\xf8" + struct.pack("<QQH", number, 5, len(raw)) + raw
    made.take(Event(ev.WRITE_ROWS, body, 0, len(body), 1000, len(body) + 19, 1, 1, 0))
    ((subject, out),) = messages(made)
    change = decode_change(out)

    assert change.key == template.render({"id": str(number), "ver": "5", "name": name})
    assert subject.endswith(b".%d" % partition_of(change.key, PARTITIONS))


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_large_row_of_a_snapshot_is_a_message_of_its_own(partitions: int) -> None:
    """With others it would be larger than the one that NATS just takes; none is lost."""
    sizes = [10, SNAPSHOT_MESSAGE_BYTES, 10, 2 * SNAPSHOT_MESSAGE_BYTES, 10, 10]
    rows = [b'{"key":"t:%d","value":"%b"}' % (n, b"x" * size) for n, size in enumerate(sizes)]
    made = [some for _, some in packed(rows, partitions)]

    assert sorted(row for some in made for row in some) == sorted(rows)
    assert all(len(some) == 1 for some in made if max(map(len, some)) > SNAPSHOT_MESSAGE_BYTES)
