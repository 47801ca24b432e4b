"""What the messages of a batch come to."""

from __future__ import annotations

from cdc.message import Change, Delivery, Snapshot, SnapshotRow, encode
from redis_sink.plan.applied import Applied
from redis_sink.plan.chain import Chain
from redis_sink.plan.tally import Tally

APPLIED = Applied(stream="MYSQL", created="c", seq=30, id="2.1.300.0", id_seq=30)


def change(id: str) -> Change:
    return Change(
        key="users:1", value="a", op="update", table="shop.users", id=id, prev="", ts=9, v=1
    )


def delivery(seq: int) -> Delivery:
    return seq, b"mysql.update", b"{}"


def tally() -> Tally:
    return Tally(APPLIED, "cdc:p:refresh:{}".format)


def test_a_batch_of_nothing_leaves_the_position_where_it_was() -> None:
    """Sequence, id and boundary are those of before; only its time is new."""
    batch = tally().batch(Chain(APPLIED), [], 0, 17)

    assert (30, "2.1.300.0", 30, 17) == (
        batch.applied.seq, batch.applied.id, batch.applied.id_seq, batch.applied.applied,
    )  # fmt: skip
    assert ([], [], 0) == (batch.commands, batch.dead, batch.changes)


def test_messages_are_counted_by_what_became_of_them() -> None:
    """Changes are what is left when skipped, refused and other messages are taken away."""
    one, chain = tally(), Chain(APPLIED)
    one.skip(change("2.1.200.0"))
    one.refuse(delivery(32), "its id is not valid")
    one.others += 1
    one.states.keys["users:1"] = "a"
    chain.move("2.1.400.0", 34)
    one.newest = change("2.1.400.0")
    batch = one.batch(chain, [delivery(n) for n in (31, 32, 33, 34)], 4, 17)

    assert (1, 1, 1) == (batch.changes, batch.skipped, len(batch.dead))
    assert (34, "2.1.400.0", 9) == (batch.applied.seq, batch.applied.id, batch.applied.ts)
    assert [("MSET", "users:1", "a")] == batch.commands


def test_a_refused_message_is_kept_whole_and_its_key_stays_alive() -> None:
    """A refresh that is under way must not remove the key of a row that was not written."""
    one = tally()
    one.refuse((32, b"mysql.update", b"body"), "too large", change("2.1.400.0"))
    (dead,) = one.dead

    assert (32, "mysql.update", "too large", "shop.users", "users:1", b"body") == (
        dead.seq, dead.subject, dead.reason, dead.table, dead.key, dead.body,
    )  # fmt: skip
    assert ["users:1"] == one.refreshing.passed_over


def test_what_was_refused_before_is_not_refused_again() -> None:
    """A message up to the position has its dead letter already."""
    one = tally()
    one.refuse(delivery(30), "its id is not valid")

    assert ([], 1) == (one.dead, one.others)


def test_rows_of_a_skipped_snapshot_are_alive() -> None:
    """Applied before: their keys belong to rows."""
    one = tally()
    rows = tuple(SnapshotRow(key=f"users:{n}", value="a") for n in (1, 2))
    one.skip(Snapshot(table="shop.users", rows=rows, id="2.1.1.0.1", prev="", ts=9, v=1))

    assert (1, ["users:1", "users:2"]) == (one.skipped, one.refreshing.passed_over)


def test_a_value_that_is_no_object_is_refused_when_commands_are_made() -> None:
    """Its count is taken back: it was not applied."""
    one, chain = tally(), Chain(APPLIED)
    body = encode(change("2.1.400.0"))
    one.counts.add("shop.users", "update")
    one.states.keys["users:1"] = ("no object", (31, b"mysql.update", body))
    chain.move("2.1.400.0", 31)
    batch = one.batch(chain, [(31, b"mysql.update", body)], 1, 17)

    assert (["users:1"], 0) == ([dead.key for dead in batch.dead], batch.changes)
    assert not any(batch.counts.values())
