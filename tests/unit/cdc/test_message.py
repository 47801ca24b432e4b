"""The wire contract: golden files, round trips, ids."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc import message
from cdc.message import (
    Bare,
    Change,
    Heartbeat,
    KeyRange,
    ListedAt,
    Member,
    Prepared,
    Refresh,
    RowPart,
    Schema,
    Snapshot,
    SnapshotRow,
    TableProgress,
    Tables,
    TooLarge,
    parse_id,
)
from cdc.seal import Seal

GOLDEN = Path(__file__).parents[2] / "golden" / "messages"

GTID = "7271e0ec-e705-11f1-8850-02fc00000001:8003"
PLACE: dict[str, Any] = {"id": "1.2.27999999.41", "prev": "1.2.27999999.40", "ts": 1795414891568123}

MESSAGES: dict[str, Any] = {
    "update": Change(
        key="users:42",
        value='{"id":42,"name":"Ada","balance":"17.50"}',
        op="update",
        table="shop.users",
        gtid=GTID,
        **PLACE,
    ),
    "update_key_changed": Change(
        key="users:43",
        value='{"id":43}',
        op="update",
        table="shop.users",
        old_key="users:42",
        gtid=GTID,
        **PLACE,
    ),
    "update_index": Change(
        key="orders:42",
        value='{"id":42,"user_id":7}',
        op="update",
        table="shop.orders",
        index=(
            Member(set="orders:of:7", member="orders:42"),
            Member(zset="orders:by_user:7", member="orders:42", score="1795428000.5"),
        ),
        old_index=(Member(set="orders:of:6", member="orders:42"),),
        gtid=GTID,
        **PLACE,
    ),
    "update_field": Change(
        key="order:42:lines",
        value='{"article":"pen"}',
        op="update",
        table="shop.order_lines",
        old_key="order:41:lines",
        field="2",
        old_field="1",
        gtid=GTID,
        **PLACE,
    ),
    "update_too_large": Change(
        key="users:42",
        op="update",
        table="shop.users",
        too_large=TooLarge(size_bytes=70_000_312, limit_bytes=67_108_864),
        gtid=GTID,
        **PLACE,
    ),
    "part": RowPart(
        of="update",
        table="shop.users",
        gtid=GTID,
        id=PLACE["id"],
        prev=PLACE["prev"],
        part=1,
        parts=2,
        whole="UUmYRWd2B3bN",
        slice=base64.b64encode(b'{"key":"users:42","value":"{\\"id\\":42').decode(),
    ),
    "insert_plain_value": Change(
        key="user:123", value="John Doe", op="insert", table="shop.your_table", **PLACE
    ),
    "delete": Change(key="users:42", op="delete", table="shop.users", gtid=GTID, **PLACE),
    "snapshot": Snapshot(
        rows=(
            SnapshotRow(key="users:7", value='{"id":7}'),
            SnapshotRow(key="users:8", value='{"id":8}'),
        ),
        table="shop.users",
        **(PLACE | {"id": "1.2.27999999.41.1795414891568123", "prev": "1.2.27999999.41"}),
    ),
    "schema": Schema(table="shop.users", statement="ALTER TABLE", gtid=GTID, **PLACE),
    "heartbeat": Heartbeat(
        epoch=1,
        server="7271e0ec-e705-11f1-8850-02fc00000001",
        began=1795414000000000,
        file="binlog.000002",
        offset=27999999,
        gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
        last="1.2.27999999.41",
        snapshot={"shop.users": TableProgress(done=False, after=("42",))},
        upto=1795414891567000,
        ts=1795414891568123,
    ),
    "refresh": Refresh(
        number=1795414891568123,
        tables=("shop.users",),
        gap=True,
        boundary=Heartbeat(
            epoch=2,
            server="7271e0ec-e705-11f1-8850-02fc00000001",
            began=1795414000000000,
            file="binlog.000007",
            offset=157,
            gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-9120",
            last="1.2.27999999.41",
            snapshot={"shop.users": TableProgress(refresh=1795414891568123)},
            ts=1795414891568123,
        ),
    ),
    "refresh_ranges": Refresh(
        number=1795414891568123,
        tables=(),
        ranges_of=("shop.users",),
        gap=False,
        boundary=Heartbeat(
            epoch=1,
            server="7271e0ec-e705-11f1-8850-02fc00000001",
            began=1795414000000000,
            file="binlog.000002",
            offset=27999999,
            gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
            last="1.2.27999999.41",
            snapshot={
                "shop.users": TableProgress(
                    done=True,
                    after=("999",),
                    ranges=(KeyRange(refresh=1795414891568123, first=("7",), last=("42",)),),
                )
            },
            ts=1795414891568123,
        ),
    ),
    "heartbeat_listed": Heartbeat(
        epoch=1,
        server="7271e0ec-e705-11f1-8850-02fc00000001",
        began=1795414000000000,
        file="binlog.000002",
        offset=27999999,
        gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
        last="1.2.27999999.41",
        snapshot={"shop.users": TableProgress(done=False, after=("42",))},
        listed=ListedAt(number=1795414891500000, seq=8123),
        upto=1795414891567000,
        ts=1795414891568123,
    ),
    "tables": Tables(
        number=1795414891500000,
        part=1,
        parts=2,
        snapshot={
            "shop.orders": TableProgress(done=True, after=("7",), form="a3f1902c"),
            "shop.users": TableProgress(form="00c1b2d3"),
        },
    ),
    "heartbeat_partitions": Heartbeat(
        epoch=1,
        server="7271e0ec-e705-11f1-8850-02fc00000001",
        began=1795414000000000,
        file="binlog.000002",
        offset=27999999,
        gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
        last="1.2.27999999.41",
        partitions=2,
        last_of=("1.2.27999999.40", "1.2.27999999.41"),
        snapshot={"shop.users": TableProgress(done=True, after=("42",))},
        ts=1795414891568123,
    ),
    "heartbeat_partial": Heartbeat(
        epoch=1,
        server="7271e0ec-e705-11f1-8850-02fc00000001",
        began=1795414000000000,
        file="binlog.000002",
        offset=27999999,
        gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
        last="1.2.27999999.41",
        snapshot={
            "shop.orders": TableProgress(done=True, partial=(), refresh_due=True),
            "shop.users": TableProgress(done=True, partial=(KeyRange(first=("7",), last=("7",)),)),
        },
        shown="7271e0ec-e705-11f1-8850-02fc00000001:1-8001",
        ts=1795414891568123,
    ),
    "heartbeat_prepared": Heartbeat(
        epoch=1,
        server="7271e0ec-e705-11f1-8850-02fc00000001",
        began=1795414000000000,
        file="binlog.000002",
        offset=27999999,
        gtid_set="7271e0ec-e705-11f1-8850-02fc00000001:1-8003",
        last="1.2.27999999.41",
        snapshot={"shop.users": TableProgress(done=True)},
        prepared=(
            Prepared(
                xid="X'6f7264657234',X'',1",
                file="binlog.000002",
                offset=27912345,
                gtid="7271e0ec-e705-11f1-8850-02fc00000001:7990",
                tables=("shop.users",),
                since=1795414812345678,
            ),
        ),
        ts=1795414891568123,
    ),
}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_is_what_its_golden_file_says(name: str) -> None:
    """The contract does not change by accident: bytes on the wire equal the file's."""
    sent = Seal(bytes(range(32)), since=1).sealed(message.encode(MESSAGES[name]))

    assert sent == (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")


def test_every_golden_file_has_its_message() -> None:
    """No file of the contract is left untested."""
    assert {p.stem for p in GOLDEN.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_survives_the_way(name: str) -> None:
    """What was encoded is what is decoded."""
    sent = MESSAGES[name]
    decode = msgspec.json.Decoder(type(sent)).decode

    assert decode(message.encode(sent)) == sent


def test_key_and_value_come_first() -> None:
    """A client that knows only key and value finds them at the front."""
    fields = list(json.loads((GOLDEN / "update.json").read_text()))

    assert fields[:2] == ["key", "value"]


def test_a_bare_message_has_key_and_value_and_nothing_else() -> None:
    """What an application publishes by itself is not mistaken for ours."""
    assert message.decode_bare(b'{"key":"user:123","value":"John Doe"}') == Bare(
        key="user:123", value="John Doe"
    )
    with pytest.raises(msgspec.ValidationError):
        message.decode_bare((GOLDEN / "update.json").read_bytes())
    with pytest.raises(msgspec.ValidationError):
        message.decode_change(b'{"key":"user:123","value":"John Doe"}')


@given(st.lists(st.integers(0, 10**18 - 1), min_size=4, max_size=5))
def test_ids_are_read_as_numbers(numbers: list[int]) -> None:
    """Ids compare in binlog order, not as text."""
    assert parse_id(".".join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3",
        "1.2.3.x",
        "1.2.3.-4",
        "1.2.3.4.5.6",
        "1..3.4",
        "1.2.3.٤",
        "1.2.3." + "9" * 5000,
        "1.2.3.4\n",
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """A damaged id does not become a small one."""
    with pytest.raises(ValueError, match="not a message id"):
        parse_id(text)
