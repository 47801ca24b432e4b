"""Rows are counted once, by table and operation, as they are applied."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.compiled import native
from cdc.key import parse_template
from cdc.message import Change, Schema, Snapshot, SnapshotRow, encode
from cdc.own_keys import counts_key
from cdc.table import Table
from redis_sink.plan import planner as plan
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import Batch
from redis_sink.plan.counts import Counts
from tests.support.planned import planner_of

ORDER = ("insert", "update", "delete")


def table(name: str, model: Any = "string") -> Table:
    return Table(
        schema="shop", name=name, columns=(), identity=("id",), chunk_key=("id",),
        key=parse_template("{table}:{pk}", schema="shop", table=name, pk=("id",)),
        value_column=None, model=model,
    )  # fmt: skip


TABLES = tuple(table(f"t{n}", "hash" if n == 9 else "string") for n in range(10))


@pytest.fixture(params=["compiled", "python"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule holds on both paths."""
    if request.param == "python":
        monkeypatch.setattr(plan, "_native", None)
    else:
        assert native("redis_sink") is not None


def planned(*messages: Any, applied_id: str = "1.2.1.0") -> Batch:
    """Return the batch of messages, each behind the one before."""
    deliveries, last = [], applied_id
    for seq, message in enumerate(messages, 8):
        body, op = message if isinstance(message, tuple) else (message, message.op)
        if not isinstance(body, bytes):
            body = encode(body)
        deliveries.append((seq, f"mysql.{op}".encode(), body))
    planner = planner_of(TABLES, pipeline="p")
    before = Applied(stream="MYSQL", created="c", seq=7, id=last, id_seq=7)
    return planner.plan(before, deliveries, now_us=1)


def change(number: int, name: str, op: Any, *, id: str = "", value: str = "{}") -> Change:
    return Change(
        key=f"{name}:1", value=None if op == "delete" else value, op=op, table=f"shop.{name}",
        id=id or f"1.2.{number}.0", prev=f"1.2.{number - 1}.0", ts=1,
    )  # fmt: skip


def test_rows_are_counted_by_table_and_operation() -> None:
    """Every message counts, those too whose key is written again in the batch; many tables as few.

    The compiled path keeps eight counters at hand: ten tables with three operations overflow them.
    """
    messages = [change(n + 2, f"t{n % 10}", ORDER[n % 3]) for n in range(60)]

    batch = planned(*messages)

    assert batch.counts == {f"shop.t{n}:{op}": 2 for n in range(10) for op in ORDER}
    assert sum(batch.counts.values()) == batch.changes == 60


def test_what_was_applied_before_is_not_counted_again() -> None:
    """A message at or before the position is passed over."""
    messages = [change(n, "t1", "insert") for n in range(2, 6)]

    batch = planned(*messages, applied_id="1.2.4.0")

    assert (batch.counts, batch.skipped) == ({"shop.t1:insert": 1}, 3)


def test_rows_of_a_snapshot_and_bare_messages_are_counted_apart() -> None:
    """A message of a snapshot counts as many rows as it has; a barrier counts nothing."""
    rows = (SnapshotRow(key="t1:1", value="a"), SnapshotRow(key="t1:2"))
    batch = planned(
        Schema(table="shop.t1", statement="ALTER TABLE", id="1.2.2.0", prev="1.2.1.0", ts=1),
    )
    assert batch.counts == {}

    batch = planned(
        Snapshot(rows=rows, table="shop.t1", id="1.2.1.0.9", prev="1.2.1.0", ts=1),
        (b'{"key":"t1:9","value":"by hand"}', "update"),
    )

    assert batch.counts == {"shop.t1:snapshot": 2, "bare": 1}


def test_a_row_whose_key_leaves_the_partition_counts_where_it_goes() -> None:
    """The delete of the old key has one number more in its id, and is no row of its own."""
    batch = planned(change(2, "t1", "delete", id="1.2.2.0.1"))

    assert (batch.counts, batch.changes) == ({}, 1)
    assert batch.commands == [("UNLINK", "t1:1")]


def test_what_is_quarantined_is_not_counted() -> None:
    """Neither where the message is refused at once, nor where its row makes no hash."""
    unknown = Change(
        key="x:1", value="1", op="insert", table="shop.x", id="1.2.2.0", prev="1.2.1.0", ts=1
    )
    batch = planned(unknown, change(3, "t9", "insert", value="[1]"), change(4, "t1", "insert"))

    assert len(batch.dead) == 2
    assert {name: n for name, n in batch.counts.items() if n} == {"shop.t1:insert": 1}


def test_the_key_and_commands_of_a_partition() -> None:
    """A hash for each partition, so that each stands beside its own position."""
    assert counts_key("p", 1, 2) == "cdc:p:counts:1"
    assert Counts({"a": 2}).commands("k") == [("HINCRBY", "k", "a", "2")]
