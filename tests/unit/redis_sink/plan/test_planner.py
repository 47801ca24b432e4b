"""Messages become Redis commands: last state wins, nothing skipped, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError, StreamError, UsageError
from cdc.key import parse_template
from cdc.message import (
    Change,
    Delivery,
    Heartbeat,
    ListedAt,
    Member,
    Operation,
    Schema,
    Snapshot,
    SnapshotRow,
    TooLarge,
    encode,
)
from cdc.partition import partition_of
from cdc.table import Index, Table
from cdc.table_list import Listed, ListMissing
from redis_sink.plan import planner as plan_module
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import OWN_KEY, Batch, Command
from redis_sink.plan.planner import Planner
from redis_sink.plan.row_hash import hash_fields
from tests.support.planned import a_table, planner_of

pytestmark = pytest.mark.usefixtures("path")

START = Applied(stream="MYSQL", created="c", seq=0)


def a_planner(*tables: Table, bare_messages: Literal["apply", "quarantine"] = "apply") -> Planner:
    return planner_of(tables or (a_table(), a_table("carts", "hash")), bare_messages=bare_messages)


class Stream:
    """Writes a valid chain of messages."""

    def __init__(self, seq: int = 0, last: str = "") -> None:
        self.deliveries: list[Delivery] = []
        self.seq, self.last, self.offset = seq, last, 100

    def raw(self, subject: str, body: bytes) -> None:
        self.seq += 1
        self.deliveries.append((self.seq, subject.encode(), body))

    def _next_id(self) -> str:
        self.offset += 1
        return f"1.2.{self.offset}.0"

    def change(
        self,
        key: str,
        value: str | None,
        *,
        op: Operation = "update",
        table: str = "shop.users",
        old_key: str | None = None,
    ) -> None:
        prev, self.last = self.last, self._next_id()
        message = Change(
            key=key, value=value, op=op, table=table, old_key=old_key,
            gtid=f"u:{self.offset}", id=self.last, prev=prev, ts=1000 + self.offset,
        )  # fmt: skip
        self.raw(f"mysql.{op}", encode(message))

    def schema(self, statement: str = "TRUNCATE TABLE") -> None:
        prev, self.last = self.last, self._next_id()
        message = Schema(table="shop.users", statement=statement, id=self.last, prev=prev, ts=1)
        self.raw("mysql.schema", encode(message))

    def heartbeat(
        self,
        *,
        last: str | None = None,
        gtid_set: str = "u:1-9",
        began: int = 5,
        listed: ListedAt | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        message = Heartbeat(
            epoch=1, server="u", began=began, file="b.000002", offset=4, gtid_set=gtid_set,
            last=self.last if last is None else last, snapshot={}, listed=listed, ts=1,
        )  # fmt: skip
        self.raw("mysql.heartbeat", encode(message))

    def bare(self, key: str, value: str, **more: Any) -> None:
        self.raw("mysql.update", json.dumps({"key": key, "value": value} | more).encode())


def plan(stream: Stream, applied: Applied = START, planner: Planner | None = None) -> Batch:
    return (planner or a_planner()).plan(applied, stream.deliveries, now_us=7)


def run_commands(commands: Sequence[Command], redis: dict[str, Any]) -> None:
    """Do to a dict what Redis does."""
    for name, *rest in commands:
        arguments = [a.decode() if isinstance(a, bytes) else a for a in rest]
        if name == "MSET":
            redis.update(zip(arguments[::2], arguments[1::2], strict=True))
        elif name == "UNLINK":
            for key in arguments:
                redis.pop(key, None)
        elif name == "HSET":
            fields = dict(zip(arguments[1::2], arguments[2::2], strict=True))
            redis.setdefault(arguments[0], {}).update(fields)
        else:
            raise AssertionError(name)


def test_last_state_of_each_key_is_written_once() -> None:
    """Many changes of one key are one write, of the last value."""
    s = Stream()
    s.change("users:1", "a")
    s.change("users:2", "b")
    s.change("users:1", "c")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:1", "c", "users:2", "b")]
    assert batch.consumed == batch.changes == 3
    applied = batch.applied
    assert (applied.seq, applied.id, applied.id_seq) == (3, "1.2.103.0", 3)
    assert (applied.gtid, applied.ts, applied.applied) == ("u:103", 1103, 7)


def test_delete_and_null_remove_the_key() -> None:
    """A deleted row and a value that became NULL leave no key."""
    s = Stream()
    s.change("users:1", "a")
    s.change("users:1", None, op="delete")
    s.change("users:2", None, op="update")
    assert plan(s).commands == [("UNLINK", "users:1", "users:2")]


def test_changed_key_removes_the_old_one() -> None:
    """A changed key is one step: the new one written, the old one gone."""
    s = Stream()
    s.change("users:2", "a", old_key="users:1")
    assert plan(s).commands == [("UNLINK", "users:1"), ("MSET", "users:2", "a")]


def test_swapped_keys() -> None:
    """Keys that two rows exchange end with what the rows have."""
    s = Stream()
    s.change("users:tmp", "ada", old_key="users:1")
    s.change("users:1", "bob", old_key="users:2")
    s.change("users:2", "ada", old_key="users:tmp")
    redis = {"users:1": "ada", "users:2": "bob"}
    run_commands(plan(s).commands, redis)
    assert redis == {"users:1": "bob", "users:2": "ada"}


def test_hash_is_replaced_whole() -> None:
    """A field that became NULL does not stay: the hash is removed and written anew."""
    s = Stream()
    s.change("carts:1", '{"id":1,"note":null,"total":"17.50"}', table="shop.carts")
    assert plan(s).commands == [
        ("UNLINK", "carts:1"),
        ("HSET", "carts:1", "id", b"1", "total", "17.50"),
    ]


def test_hash_fields() -> None:
    """Strings as they are, numbers as their token, nested JSON compact, NULL absent."""
    row = '{"a":18446744073709551615,"b":1.50,"c":"x\\u00e9\\"","d":[1,{"k":2}],"e":null,"f":true}'
    assert hash_fields(row) == [
        "a", b"18446744073709551615", "b", b"1.50", "c", 'x\u00e9"', "d", b'[1,{"k":2}]',
        "f", b"true",
    ]  # fmt: skip


def test_hash_of_nothing_but_null_is_no_key() -> None:
    """Redis has no empty hash."""
    s = Stream()
    s.change("carts:1", '{"note":null}', table="shop.carts")
    assert plan(s).commands == [("UNLINK", "carts:1")]


def test_hash_of_one_column_is_refused() -> None:
    """--as hash with --value is a mistake that is named, not guessed around."""
    table = Table(
        schema="shop", name="t", columns=(), identity=("id",), chunk_key=("id",),
        key=a_table().key, value_column="name", model="hash",
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"shop\.t"):
        a_planner(table)


def test_value_that_is_no_row_is_quarantined() -> None:
    """A hash table's message without a JSON object goes to the dead letters, the rest flows."""
    s = Stream()
    s.change("carts:1", "no json", table="shop.carts")
    s.change("users:1", "a")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:1", "a")]
    assert [(d.seq, d.key, d.table is None) for d in batch.dead] == [(1, "carts:1", True)]
    assert batch.changes == 1


def test_applied_messages_are_skipped() -> None:
    """A message whose id is applied already changes nothing (invariant 5)."""
    s = Stream()
    for i in range(4):
        s.change("users:1", str(i))
    first = a_planner().plan(START, s.deliveries[:3], now_us=1)
    again = plan(s, first.applied)
    assert again.commands == [("MSET", "users:1", "3")]
    assert (again.skipped, again.changes) == (3, 1)


def test_gap_in_the_middle() -> None:
    """A message that does not follow the last one stops the sink, which says both ids."""
    s = Stream()
    for i in range(4):
        s.change("users:1", str(i))
    del s.deliveries[2]
    with pytest.raises(PositionLostError, match=r"1\.2\.104\.0.*1\.2\.103\.0.*1\.2\.102\.0"):
        plan(s)


def test_gap_at_the_beginning() -> None:
    """An empty Redis cannot begin in the middle of a history."""
    s = Stream(seq=50, last="1.2.99.0")
    s.change("users:1", "a")
    with pytest.raises(PositionLostError, match=r"follows 1\.2\.99\.0, but .* none"):
        plan(s)


def test_gap_that_only_the_heartbeat_shows() -> None:
    """A lost last message is seen as soon as a heartbeat names it."""
    s = Stream()
    s.change("users:1", "a")
    s.change("users:1", "b")
    s.heartbeat()
    del s.deliveries[1]
    with pytest.raises(PositionLostError, match="heartbeat"):
        plan(s)


def snapshot(*rows: SnapshotRow, table: str = "shop.users", v: int = 1) -> bytes:
    return encode(Snapshot(rows=rows, table=table, id="1.2.900.41.1", prev="1.2.900.41", ts=1, v=v))


BEFORE = Applied(stream="MYSQL", created="c", seq=9, id="1.2.900.41", id_seq=9)


def test_rows_of_a_snapshot_follow_the_change_before_them() -> None:
    """All rows of the message are written, and counted; its id is the last one then."""
    s = Stream(seq=9)
    s.raw(
        "mysql.snapshot",
        snapshot(SnapshotRow(key="users:1", value="a"), SnapshotRow(key="users:2")),
    )
    batch = plan(s, BEFORE)

    assert batch.commands == [("UNLINK", "users:2"), ("MSET", "users:1", "a")]
    assert (batch.applied.id, batch.changes) == ("1.2.900.41.1", 2)


def test_a_snapshot_applied_before_is_passed_over_and_one_behind_a_gap_stops() -> None:
    """The same rule as for changes."""
    s = Stream(seq=9)
    s.raw("mysql.snapshot", snapshot(SnapshotRow(key="users:1", value="a")))
    later = msgspec.structs.replace(BEFORE, id="1.2.900.41.1")

    assert (plan(s, later).commands, plan(s, later).skipped) == ([], 1)
    with pytest.raises(PositionLostError, match="follows"):
        plan(s, msgspec.structs.replace(BEFORE, id="1.2.900.40"))


@pytest.mark.parametrize(
    ("body", "reason", "table"),
    [
        (snapshot(SnapshotRow(key="x"), table="shop.other"), "not captured", "shop.other"),
        (snapshot(SnapshotRow(key="cdc:default:position")), "one of cdc's own", "shop.users"),
        (snapshot(SnapshotRow(key="users:1", value="a"), v=2), "not ours", None),
        (b'{"rows":7}', "not the contract", None),
    ],
    ids=["table", "own key", "version", "junk"],
)
def test_a_snapshot_that_cannot_be_applied_is_quarantined_whole(
    body: bytes, reason: str, table: str | None
) -> None:
    """Nothing of it is written; its table, where it is known, is not exact."""
    s = Stream(seq=9)
    s.raw("mysql.snapshot", body)
    batch = plan(s, BEFORE)

    assert batch.commands == []
    assert reason in batch.dead[0].reason
    assert batch.dead[0].table == table


def test_rows_of_a_snapshot_become_hashes_where_the_table_asks_for_them() -> None:
    """A hash is replaced as a whole, as by a change."""
    s = Stream(seq=9)
    row = SnapshotRow(key="carts:1", value='{"id":1,"n":null}')
    s.raw("mysql.snapshot", snapshot(row, table="shop.carts"))

    assert plan(s, BEFORE).commands == [("UNLINK", "carts:1"), ("HSET", "carts:1", "id", b"1")]


def test_heartbeat_moves_the_position_alone() -> None:
    """A heartbeat carries the GTID set to the position and writes nothing else."""
    s = Stream()
    s.change("users:1", "a")
    s.heartbeat(gtid_set="u:1-101")
    batch = plan(s)
    assert (batch.applied.seq, batch.applied.id_seq, batch.changes) == (2, 1, 1)
    assert batch.applied.gtid_set == "u:1-101"


def test_heartbeats_of_two_lists_of_tables_are_planned_one_list_after_the_other() -> None:
    """After a restart both stand in one batch: each list is asked for once, and none again."""
    s = Stream()
    old, new = ListedAt(number=1, seq=1), ListedAt(number=2, seq=9)
    s.heartbeat(listed=old, gtid_set="u:1-1")
    s.change("users:1", "a")
    s.heartbeat(listed=new, gtid_set="u:1-2")
    planner, applied, asked = a_planner(), START, []
    while s.deliveries:
        try:
            batch = plan(s, applied, planner)
        except ListMissing as missing:
            asked.append(missing.at)
            planner.listed = Listed(missing.at, {})
            continue
        applied = batch.applied
        s.deliveries = s.deliveries[batch.consumed :]
        assert applied.gtid_set == ("u:1-2" if not s.deliveries else "u:1-1")

    assert asked == [old, new]


def test_barrier_ends_the_batch() -> None:
    """What stands before a change of the table is applied before it, what follows after."""
    s = Stream()
    s.change("users:1", "a")
    s.schema()
    s.change("users:2", "b")
    planner = a_planner()
    one = planner.plan(START, s.deliveries, now_us=1)
    two = planner.plan(one.applied, s.deliveries[1:], now_us=1)
    three = planner.plan(two.applied, s.deliveries[2:], now_us=1)
    assert [b.consumed for b in (one, two, three)] == [1, 1, 1]
    assert [b.barrier is not None for b in (one, two, three)] == [False, True, False]
    assert three.applied.id == s.last


def test_malformed_barrier_is_quarantined() -> None:
    """A barrier that cannot be read is kept like any other message."""
    s = Stream()
    s.raw("mysql.schema", b"[]")
    s.change("users:1", "a")
    batch = plan(s)
    assert (len(batch.dead), batch.commands) == (1, [("MSET", "users:1", "a")])


def test_table_not_captured_is_quarantined() -> None:
    """A change of a table that this sink does not know is kept, and the chain goes on."""
    s = Stream()
    s.change("other:1", "a", table="shop.other")
    s.change("users:1", "b")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:1", "b")]
    assert [(d.table, d.key) for d in batch.dead] == [("shop.other", "other:1")]
    assert batch.applied.id == s.last


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("mysql.update", b"not json"),
        ("mysql.update", b"\xff\xfe"),
        ("mysql.update", b'{"key":"\\ud800","value":"a"}'),
        ("mysql.update", b'{"key":1,"value":"a"}'),
        ("mysql.update", b'{"key":"users:1","value":"a","extra":1}'),
        ("mysql.insert", b'{"key":"users:1","value":"a"}'),
        ("mysql.insert", b""),
        ("mysql.heartbeat", b"{}"),
        ("mysql.something", b"{}"),
        ("mysql", b"{}"),
    ],
)
def test_malformed_is_quarantined_and_the_rest_flows(subject: str, body: bytes) -> None:
    """What is not the contract is kept with its bytes; what follows is applied."""
    s = Stream()
    s.change("users:1", "a")
    s.raw(subject, body)
    s.change("users:2", "b")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:1", "a", "users:2", "b")]
    (dead,) = batch.dead
    assert (dead.seq, dead.subject, dead.body) == (2, subject, body)
    assert dead.reason
    assert repr(body) not in repr(dead)
    assert (batch.applied.seq, batch.changes) == (3, 2)


def test_subject_and_op_must_agree() -> None:
    """A change on another operation's subject is not believed."""
    s = Stream()
    s.change("users:1", "a", op="insert")
    seq, _, body = s.deliveries.pop()
    s.deliveries.append((seq, b"mysql.delete", body))
    batch = plan(s)
    assert (batch.commands, len(batch.dead), batch.applied.id) == ([], 1, "")


def test_bare_message_of_an_application() -> None:
    """A bare message is a SET where a captured table could have made the key."""
    s = Stream()
    s.change("users:1", "a")
    s.bare("users:9", "John Doe")
    s.change("users:1", "b")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:1", "b", "users:9", "John Doe")]
    assert (batch.dead, batch.applied.id_seq, batch.applied.seq) == ([], 3, 3)


@pytest.mark.parametrize("key", ["orders:1", "carts:1", "cdc:default:position"])
def test_bare_message_for_no_key_of_ours(key: str) -> None:
    """A bare message may not write where no captured string table can."""
    s = Stream()
    s.bare(key, "x")
    batch = plan(s)
    assert (batch.commands, [d.key for d in batch.dead]) == ([], [key])


def test_bare_messages_can_be_quarantined() -> None:
    """With bare_messages = quarantine none is applied."""
    s = Stream()
    s.bare("users:1", "x")
    batch = plan(s, planner=a_planner(bare_messages="quarantine"))
    assert (batch.commands, len(batch.dead)) == ([], 1)


@pytest.mark.parametrize("where", ["key", "old_key", "bare"])
def test_the_position_is_never_a_value(where: str) -> None:
    """A template that could make any key does not make the position's."""
    planner = a_planner(a_table(key="{id}"))
    s = Stream()
    if where == "bare":
        s.bare("cdc:default:position", "x")
    elif where == "key":
        s.change("cdc:default:position", "x")
    else:
        s.change("users:1", "x", old_key="cdc:default:position")
    batch = plan(s, planner=planner)
    assert (batch.commands, len(batch.dead)) == ([], 1)


def test_value_larger_than_redis_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value above 512 MB would break the connection for ever: quarantined."""
    monkeypatch.setattr(plan_module, "MAX_VALUE_BYTES", 300)
    s = Stream()
    s.change("users:1", "x" * 400)
    s.change("users:2", "b")
    batch = plan(s)
    assert batch.commands == [("MSET", "users:2", "b")]
    assert len(batch.dead) == 1


def test_stream_that_lost_its_end_is_followed() -> None:
    """Rows published again are skipped until the first that was never applied."""
    s = Stream()
    for i in range(5):
        s.change("users:1", str(i))
    applied = a_planner().plan(START, s.deliveries[:4], now_us=1).applied
    # The stream kept two messages; the reader has sent the rest again, at other sequences.
    again = Stream(seq=2)
    again.bare("users:1", "from the application")
    for _, subject, body in s.deliveries[2:]:
        again.raw(subject.decode(), body)
    shorter = Applied(
        stream="MYSQL", created="c", seq=2, id=applied.id, id_seq=0, gtid_set="u:1-4", again_to=3
    )
    batch = plan(again, shorter)
    assert batch.commands == [("MSET", "users:1", "4")]
    assert (batch.skipped, len(batch.dead)) == (2, 1)
    # Where the sink has never been, it is new whatever else is read again.
    new = plan(again, msgspec.structs.replace(shorter, again_to=2))
    assert new.dead == []
    assert new.commands == [("MSET", "users:1", "4")]
    assert (new.changes, new.skipped) == (2, 2)
    assert not batch.applied.catching_up
    assert batch.applied.id == s.last


def _snapshot_row(s: Stream, id: str, prev: str) -> None:
    row = SnapshotRow(key=f"users:{id[-1]}", value=id)
    message = Snapshot(rows=(row,), table="shop.users", id=id, prev=prev, ts=1)
    s.raw("mysql.snapshot", encode(message))


LOST_ROW = msgspec.structs.replace(START, seq=3, id="1.2.900.0.17", id_seq=0)
"""The newest message applied was the row of a snapshot, and is not in the stream any more."""


def test_rows_that_are_read_again_follow_the_lost_ones() -> None:
    """NATS lost its end during a snapshot: new ids, no gap, and every row is applied."""
    s = Stream(3)
    _snapshot_row(s, "1.2.900.0.25", "1.2.900.0")
    _snapshot_row(s, "1.2.900.0.26", "1.2.900.0.25")
    batch = plan(s, LOST_ROW)

    assert batch.commands == [("MSET", "users:5", "1.2.900.0.25", "users:6", "1.2.900.0.26")]
    assert (batch.applied.id, batch.applied.catching_up) == ("1.2.900.0.26", False)


def test_a_change_follows_where_no_row_is_read_again() -> None:
    """The other reading had fewer rows: what comes behind them is no gap either."""
    s = Stream(3, last="1.2.900.0")
    s.offset = 950
    s.change("users:1", "a")

    assert plan(s, LOST_ROW).applied.id == "1.2.951.0"


@pytest.mark.parametrize(
    ("applied", "prev"),
    [
        (msgspec.structs.replace(LOST_ROW, id_seq=2), "1.2.900.0"),
        (msgspec.structs.replace(LOST_ROW, id="1.2.900.0"), "1.2.800.0"),
        (msgspec.structs.replace(LOST_ROW, id="1.2.900.0.0"), "1.2.800.0"),
        (LOST_ROW, "1.2.901.0"),
    ],
    ids=["still there", "a change", "half of a row", "from behind it"],
)
def test_a_gap_is_one_still(applied: Applied, prev: str) -> None:
    """Only behind a lost row of a snapshot, and only from before it."""
    s = Stream(3, last=prev)
    s.offset = 950
    s.change("users:1", "a")

    with pytest.raises(PositionLostError, match="a message is missing"):
        plan(s, applied)


AT_3 = msgspec.structs.replace(START, seq=3, id="1.2.101.0", id_seq=1, began=5)
"""A change, a heartbeat and a bare message were consumed."""


def test_what_is_not_ours_is_not_consumed_twice() -> None:
    """Taken again from the last change on: bare messages and dead letters count once."""
    s = Stream(1, last="1.2.101.0")
    s.raw("mysql.nonsense", b"")
    s.bare("users:9", "before")
    s.bare("users:9", "after")
    first = a_planner().plan(AT_3, s.deliveries[:1], now_us=7)
    batch = plan(s, AT_3)

    assert first.applied.seq == 3
    assert (batch.commands, batch.dead) == ([("MSET", "users:9", "after")], [])
    assert (batch.applied.seq, batch.changes) == (4, 1)


def test_a_change_where_a_heartbeat_stood_is_applied() -> None:
    """The stream lost its end and was filled again: behind the last change all is looked at."""
    s = Stream(1, last="1.2.101.0")
    s.offset = 150
    s.change("users:1", "a")

    assert plan(s, AT_3).commands == [("MSET", "users:1", "a")]


def test_another_history_is_a_gap() -> None:
    """A stream that was begun anew does not go on with what is applied, whatever its ids."""
    s = Stream()
    s.heartbeat(last="", began=6)

    with pytest.raises(PositionLostError, match="from scratch"):
        plan(s, AT_3)
    assert plan(s, START).applied.began == 6
    s.heartbeat(began=0)
    assert plan(s, START).applied.began == 6, "a heartbeat that does not say it"


def test_an_epoch_that_is_read_again_is_no_gap() -> None:
    """Boundaries and rows of an epoch before are passed over, as far as they may be old."""
    s = Stream()
    s.change("users:1", "old")
    s.heartbeat()
    applied = msgspec.structs.replace(AT_3, seq=0, id="2.3.100.0", id_seq=0, again_to=2)
    batch = plan(s, applied)
    assert (batch.skipped, batch.commands, batch.applied.id) == (1, [], "2.3.100.0")
    for again_to in (0, 1):
        with pytest.raises(PositionLostError, match="of an earlier epoch"):
            plan(s, msgspec.structs.replace(applied, again_to=again_to))


def test_a_copy_of_an_earlier_epoch_is_passed_over() -> None:
    """Where the newest heartbeat is of the epoch applied, the stream did not lose it."""
    s = Stream()
    s.change("users:1", "old")
    s.heartbeat(gtid_set="u:1-1")
    s.schema()
    applied = msgspec.structs.replace(
        AT_3, seq=0, id="2.3.100.0", id_seq=3, gtid_set="u:1-4", again_to=msgspec.UNSET
    )
    batch = a_planner().plan(applied, s.deliveries[:2], now_us=7, newest_epoch=2)
    assert (batch.copies, batch.skipped, batch.changes, batch.commands) == (2, 1, 0, [])
    assert (batch.applied.id, batch.applied.gtid_set) == ("2.3.100.0", "u:1-4")
    assert a_planner().plan(applied, s.deliveries[2:], now_us=7, newest_epoch=2).copies == 1
    for epoch in (0, 1):
        with pytest.raises(PositionLostError, match="of an earlier epoch"):
            a_planner().plan(applied, s.deliveries, now_us=7, newest_epoch=epoch)
    lost = msgspec.structs.replace(applied, id_seq=0)
    with pytest.raises(PositionLostError, match="of an earlier epoch"):
        a_planner().plan(lost, s.deliveries, now_us=7, newest_epoch=2)


def test_catching_up_survives_a_restart() -> None:
    """Half way through what is applied already, the position says so."""
    s = Stream()
    for i in range(4):
        s.change("users:1", str(i))
    s.heartbeat(last="1.2.101.0", gtid_set="u:1-1")
    applied = a_planner().plan(START, s.deliveries[:4], now_us=1).applied
    before = Applied(stream="MYSQL", created="d", seq=0, id=applied.id, gtid_set="u:1-4")
    batch = a_planner().plan(before, [s.deliveries[0], s.deliveries[4]], now_us=1)
    assert batch.applied.catching_up
    assert (batch.applied.id, batch.applied.gtid_set) == (applied.id, "u:1-4")


def test_ids_never_go_back() -> None:
    """A chain whose ids fall is not believed (invariant 2)."""
    applied = Applied(stream="MYSQL", created="c", seq=9, id="1.2.900.0", id_seq=9)
    message = Change(
        key="users:1", value="a", op="update", table="shop.users",
        id="1.2.800.0", prev="1.2.900.0", ts=1,
    )  # fmt: skip
    with pytest.raises(PositionLostError):
        plan_one(message, applied)


def plan_one(message: Change, applied: Applied) -> Batch:
    s = Stream(seq=applied.seq)
    s.raw("mysql.update", encode(message))
    return plan(s, applied)


KEYS = st.sampled_from([f"users:{i}" for i in range(4)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, KEYS),
        st.tuples(st.just("delete"), KEYS, KEYS),
        st.tuples(st.just("move"), KEYS, KEYS),
        st.tuples(st.just("hash"), KEYS, KEYS),
    ),
    max_size=30,
)


@given(STEPS, st.lists(st.integers(1, 8), max_size=12))
def test_any_batches_end_alike(steps: list[tuple[str, str, str]], sizes: list[int]) -> None:
    """However a stream is cut into batches, and whatever is delivered again, Redis ends alike."""
    planner = a_planner()
    s, one_by_one = Stream(), dict[str, Any]()
    for n, (what, key, other) in enumerate(steps):
        if what == "hash":
            s.change(key, f'{{"n":{n}}}', table="shop.carts")
        elif what == "move":
            s.change(key, str(n), old_key=other)
        else:
            s.change(key, str(n) if what == "set" else None)
    for delivery in s.deliveries:
        applied = Applied(stream="MYSQL", created="c", seq=0, id=prev_of(delivery), id_seq=1)
        run_commands(planner.plan(applied, [delivery], now_us=1).commands, one_by_one)
    redis, applied, at = dict[str, Any](), START, 0
    for size in [*sizes, len(s.deliveries)]:
        again = max(0, at - 2)
        batch = planner.plan(applied, s.deliveries[again : at + size], now_us=1)
        run_commands(batch.commands, redis)
        applied, at = batch.applied, min(at + size, len(s.deliveries))
    assert redis == one_by_one


def prev_of(delivery: Delivery) -> str:
    prev: str = json.loads(delivery[2])["prev"]
    return prev


# -- several partitions -------------------------------------------------------------------

PARTITIONS = 3


def of_partition(partition: int) -> Planner:
    return planner_of((a_table(),), partition=partition, partitions=PARTITIONS)


def a_row(seq: int, key: str, id: str, prev: str) -> Delivery:
    partition = partition_of(key, PARTITIONS)
    change = Change(key=key, value="v", op="update", table="shop.users", id=id, prev=prev, ts=1)
    return seq, b"mysql.update.%d" % partition, encode(change)


def a_heartbeat(seq: int, last_of: tuple[str, ...], partitions: int = PARTITIONS) -> Delivery:
    message = Heartbeat(
        epoch=1, server="u", file="b.000002", offset=4, gtid_set=None, last=max(last_of),
        partitions=partitions, last_of=last_of, snapshot={}, ts=1,
    )  # fmt: skip
    return seq, b"mysql.heartbeat", encode(message)


HOME = partition_of("users:1", PARTITIONS)


def ends(home: str) -> tuple[str, ...]:
    """Return `last_of` where only the partition of ``users:1`` ends at `home`."""
    return tuple(home if n == HOME else "1.2.999.0" for n in range(PARTITIONS))


def test_a_partition_follows_its_own_chain() -> None:
    """Ids of others stand between; its heartbeats are measured by its own end."""
    rows = [a_row(1, "users:1", "1.2.100.0", ""), a_heartbeat(4, ends("1.2.100.0"))]
    rows.append(a_row(9, "users:1", "1.2.300.0", "1.2.100.0"))
    batch = of_partition(HOME).plan(START, rows, now_us=1)

    assert (batch.applied.id, batch.applied.seq, batch.changes) == ("1.2.300.0", 9, 2)
    with pytest.raises(PositionLostError, match="missing"):
        of_partition(HOME).plan(START, [rows[2]], now_us=1)
    with pytest.raises(PositionLostError, match="missing"):
        of_partition(HOME).plan(START, [rows[0], a_heartbeat(2, ends("1.2.200.0"))], now_us=1)


def test_another_number_of_partitions_ends_the_sink() -> None:
    """A heartbeat says how many there are; nothing is written on another's word."""
    for planner, beat in (
        (of_partition(HOME), a_heartbeat(1, ("",), partitions=1)),
        (a_planner(), a_heartbeat(1, ("", "", ""))),
    ):
        with pytest.raises(StreamError, match="partitions"):
            planner.plan(START, [beat], now_us=1)


def test_a_barrier_follows_the_end_of_each_partition() -> None:
    """`prev_of` has one entry for each; the next row of any follows the barrier."""
    schema = Schema(
        table="shop.users", statement="ALTER TABLE", id="1.2.500.0", prev="1.2.999.0",
        prev_of=ends("1.2.100.0"), ts=1,
    )  # fmt: skip
    rows = [a_row(1, "users:1", "1.2.100.0", ""), (2, b"mysql.schema", encode(schema))]
    planner = of_partition(HOME)
    first = planner.plan(START, rows, now_us=1)
    second = planner.plan(first.applied, rows[first.consumed :], now_us=1)
    third = planner.plan(second.applied, [a_row(3, "users:1", "1.2.600.0", "1.2.500.0")], now_us=1)

    assert second.barrier == schema
    assert third.applied.id == "1.2.600.0"


def test_a_bare_message_is_applied_by_the_partition_of_its_key() -> None:
    """All see it; one writes it. What has no key is kept once, by the first."""
    bare = (1, b"mysql.update", b'{"key":"users:1","value":"x"}')
    broken = (2, b"mysql.update", b"no json")
    plans = [of_partition(n).plan(START, [bare, broken], now_us=1) for n in range(PARTITIONS)]

    assert [p.commands for p in plans] == [
        [("MSET", "users:1", "x")] if n == HOME else [] for n in range(PARTITIONS)
    ]
    assert [len(p.dead) for p in plans] == [1, 0, 0]
    assert all(p.applied.seq == 2 for p in plans)


OWN = [
    "cdc:default:position",
    "cdc:default:refresh:7",
    "cdc:other:position",
    "cdc:other:counts:3",
    "cdc:other:verify:shop.users",
    "cdc:what a later version keeps",
]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("table", ["users", "carts"])
def test_no_row_stands_below_the_prefix_of_cdc(own: str, table: str) -> None:
    """A template that begins with a column takes any text; neither writes nor deletes go there."""
    s = Stream()
    s.change(own, '{"id":1}', table=f"shop.{table}")
    s.change(own, None, op="delete", table=f"shop.{table}")
    s.change("plain", '{"id":1}', old_key=own, table=f"shop.{table}")
    s.change("users:1", '{"id":1}')
    s.raw("mysql.update", msgspec.json.encode({"key": own, "value": "mine"}))
    batch = plan(s, planner=a_planner(a_table(key="{id}"), a_table("carts", "hash", "{id}")))

    assert batch.commands == [("MSET", "users:1", '{"id":1}')]
    assert [letter.table for letter in batch.dead] == [f"shop.{table}"] * 3 + [None]
    assert {letter.key for letter in batch.dead} == {own, "plain"}
    assert all("cdc's own" in letter.reason for letter in batch.dead)
    assert batch.counts == {"shop.users:update": 1}


@pytest.mark.parametrize("own", OWN)
def test_rows_beside_one_below_the_prefix_are_applied(own: str) -> None:
    """One row of a snapshot's message is refused, not the message: others would be missing."""
    s = Stream(seq=9)
    rows = (SnapshotRow(key="users:1", value="a"), SnapshotRow(key=own, value="b"))
    s.raw("mysql.snapshot", snapshot(*rows, SnapshotRow(key="users:2", value="c")))
    batch = plan(s, BEFORE)

    assert batch.commands == [("MSET", "users:1", "a", "users:2", "c")]
    assert [(letter.key, letter.table) for letter in batch.dead] == [(own, "shop.users")]
    assert (batch.changes, batch.counts) == (2, {"shop.users:snapshot": 2})


@pytest.mark.parametrize("own", ["cdc:default:position:0", "cdc:default:position:2"])
def test_no_row_overwrites_a_position_of_any_partition(own: str) -> None:
    """It is quarantined, whichever partition's it is."""
    planner = of_partition(partition_of(own, PARTITIONS))
    batch = planner.plan(START, [a_row(1, own, "1.2.100.0", "")], now_us=1)

    assert batch.commands == []
    assert len(batch.dead) == 1


def test_a_message_whose_id_is_none_is_quarantined() -> None:
    """A forged message that follows the chain; nothing could be compared with it later."""
    stream = Stream()
    stream.change("users:1", "{}")
    seq, subject, body = stream.deliveries[0]
    forged = (seq, subject, body.replace(b'"id":"1.2.', b'"id":"1-2.'))
    batch = a_planner().plan(START, [forged], now_us=5)

    assert [letter.reason for letter in batch.dead] == ["its id is not valid"]
    assert (batch.commands, batch.applied.id) == ([], "")


@pytest.mark.parametrize("own", OWN)
def test_neither_a_parent_s_hash_nor_an_index_stands_below_the_prefix_of_cdc(own: str) -> None:
    """Also where the entry that a change leaves behind would be removed there."""
    fields = replace(a_table("lines", "hash", "{id}"), field=a_table(key="{id}").key)
    key = parse_template("{id}", schema="shop", table="users", pk=("id",))
    indexed = replace(a_table(), indexes=(Index(kind="set", key=key, score=None, member=None),))
    s = Stream()

    def send(**about: Any) -> None:
        prev, s.last = s.last, s._next_id()
        message = Change(op="update", id=s.last, prev=prev, ts=1, **about)
        s.raw("mysql.update", encode(message))

    entry, users = (Member(set=own, member="users:1"),), {"table": "shop.users", "value": "1"}
    send(table="shop.lines", key=own, field="1", value="x")
    send(table="shop.lines", key="fine", old_key=own, field="1", old_field="1", value="x")
    send(key="users:1", index=entry, **users)
    send(key="users:1", old_index=entry, **users)
    batch = plan(s, planner=a_planner(fields, indexed))

    assert batch.commands == []
    assert [OWN_KEY] * 4 == [letter.reason for letter in batch.dead]


SIZES = TooLarge(size_bytes=3_000_235, limit_bytes=2_000_000)
WHY = "too large: its message would have 3,000,235 bytes, the limit is 2,000,000; key removed"


@pytest.mark.parametrize("table", ["shop.users", "shop.carts"])
def test_a_row_that_is_too_large_is_a_dead_letter_and_has_no_key(table: str) -> None:
    """Its old key goes too; the row after it is applied, and a smaller version of it as usual."""
    stream = Stream()
    stream.change("t:1", '{"id":1}', table=table)
    left_out = Change(
        key="t:1", op="update", table=table, old_key="t:0", too_large=SIZES, gtid="u:9",
        id="1.2.900.0", prev=stream.last, ts=9,
    )  # fmt: skip
    stream.raw("mysql.update", encode(left_out))
    stream.last, stream.offset = left_out.id, 900
    stream.change("t:2", '{"id":2}', table=table)

    batch = a_planner().plan(START, stream.deliveries, now_us=1)

    (letter,) = batch.dead
    assert (letter.key, letter.table, letter.reason, letter.seq) == ("t:1", table, WHY, 2)
    assert {"t:0", "t:1"} <= {key for c in batch.commands if c[0] == "UNLINK" for key in c[1:]}
    assert not any("t:1" in c for c in batch.commands if c[0] != "UNLINK")
    assert batch.counts == {f"{table}:update": 2}
    assert (batch.changes, batch.applied.seq, batch.applied.id) == (2, 3, stream.last)

    stream.change("t:1", '{"id":1}', table=table)
    again = a_planner().plan(batch.applied, stream.deliveries[3:], now_us=1)
    assert again.dead == []
    assert any("t:1" in c for c in again.commands if c[0] in ("MSET", "HSET"))


def test_a_row_of_a_snapshot_that_is_too_large_is_a_dead_letter() -> None:
    """What is in Redis from an earlier read goes."""
    row = SnapshotRow(key="t:1", too_large=SIZES)
    rows = Snapshot(rows=(row,), table="shop.users", id="1.2.900.0.7", prev="", ts=9)

    batch = a_planner().plan(START, [(1, b"mysql.snapshot", encode(rows))], now_us=1)

    (letter,) = batch.dead
    assert (letter.key, letter.table, letter.reason) == ("t:1", "shop.users", WHY)
    assert batch.commands == [("UNLINK", "t:1")]
    assert (batch.changes, sum(batch.counts.values())) == (0, 0)
