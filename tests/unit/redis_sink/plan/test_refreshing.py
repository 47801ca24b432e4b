"""Tables that are read again: which keys stay, when the rest may go, and where a gap ends."""

from __future__ import annotations

import msgspec
import pytest

from cdc.errors import PositionLostError
from cdc.message import (
    Change,
    Delivery,
    Heartbeat,
    KeyRange,
    Operation,
    Refresh,
    TableProgress,
    encode,
)
from redis_sink.plan.applied import Applied, refreshed
from redis_sink.plan.batch import Batch
from redis_sink.plan.planner import Planner
from tests.unit.redis_sink.plan.test_planner import a_planner

AT_7 = Applied(stream="MYSQL", created="c", seq=7, id="1.2.100.0", id_seq=7)
LIVE = "cdc:default:refresh:50"


def heartbeat(*, last: str, epoch: int = 2, **progress: TableProgress) -> Heartbeat:
    """Return a boundary; names are tables of the schema shop."""
    snapshot = {f"shop.{name}": value for name, value in progress.items()}
    return Heartbeat(
        epoch=epoch, server="u", file="b.000003", offset=4, gtid_set=None, last=last,
        snapshot=snapshot, ts=1,
    )  # fmt: skip


def refresh(*, last: str = "1.2.100.0", number: int = 50, gap: bool = True) -> Refresh:
    """Return an announcement for shop.users."""
    boundary = heartbeat(last=last, users=TableProgress(refresh=number))
    return Refresh(number=number, tables=("shop.users",), gap=gap, boundary=boundary)


def change(key: str, id: str, prev: str, value: str | None = "v") -> Change:
    """Return a change of a row, or a delete."""
    op: Operation = "delete" if value is None else "update"
    return Change(key=key, value=value, op=op, table="shop.users", id=id, prev=prev, ts=1)


def plan(
    applied: Applied, *messages: Change | Heartbeat | Refresh, planner: Planner | None = None
) -> Batch:
    """Plan a batch of messages that follow the position."""
    deliveries: list[Delivery] = [
        (applied.seq + n, f"mysql.{message.op}".encode(), encode(message))
        for n, message in enumerate(messages, 1)
    ]
    return (planner or a_planner()).plan(applied, deliveries, now_us=9)


def test_keys_are_remembered_from_the_announcement_on() -> None:
    """Those before it in the batch are not; deleted ones need not be."""
    before = plan(
        AT_7,
        change("users:1", "1.2.101.0", "1.2.100.0"),
        refresh(last="1.2.101.0"),
        change("users:2", "2.3.1.0", "1.2.101.0"),
    )
    assert before.consumed == 2
    assert before.commands == [("MSET", "users:1", "v"), ("UNLINK", LIVE)]
    assert before.applied.open_refreshes == {"shop.users": 50}
    assert before.refresh is not None
    after = plan(
        before.applied,
        change("users:2", "2.3.1.0", "1.2.101.0"),
        change("users:3", "2.3.2.0", "2.3.1.0", None),
    )

    assert ("SADD", LIVE, "users:2") in after.commands


def test_keys_of_messages_that_are_passed_over_or_refused_stay() -> None:
    """They speak of rows that may be alive; what was applied before is not written again."""
    applied = msgspec.structs.replace(AT_7, refresh=50, refreshing={"shop.users": 50})
    batch = plan(
        applied,
        change("users:1", "1.2.99.0", "1.2.98.0"),
        Change(
            key="users:2", value="v", op="update", table="shop.other", id="1.2.101.0",
            prev="1.2.100.0", ts=1,
        ),
    )  # fmt: skip

    assert batch.skipped == 1
    assert len(batch.dead) == 1
    assert batch.commands == [("SADD", LIVE, "users:1", "users:2")]


def test_a_refresh_closes_a_gap() -> None:
    """Whatever was applied, the chain begins there; ids may be smaller after a new stream."""
    for applied in (AT_7, msgspec.structs.replace(AT_7, id="9.9.9.9", id_seq=0)):
        batch = plan(applied, refresh(last="1.5.0.0"), change("users:1", "2.3.1.0", "1.5.0.0"))
        assert (batch.applied.id, batch.applied.id_seq) == ("1.5.0.0", 8)
        assert plan(batch.applied, change("users:1", "2.3.1.0", "1.5.0.0")).changes == 1


def test_without_a_gap_the_chain_must_be_whole() -> None:
    """A table that is read in line closes nothing."""
    assert plan(AT_7, refresh(gap=False)).applied.id == AT_7.id
    with pytest.raises(PositionLostError, match="refresh there says"):
        plan(AT_7, refresh(gap=False, last="1.5.0.0"))


def test_a_refresh_that_comes_by_again_is_passed_over() -> None:
    """In a stream that was restored: what follows it was applied before."""
    applied = msgspec.structs.replace(AT_7, refresh=50)
    batch = plan(applied, refresh(last="1.1.1.0"))

    assert (batch.applied.id, batch.refresh, batch.commands) == (AT_7.id, None, [])


def test_a_table_is_read_when_a_heartbeat_says_so_for_this_refresh() -> None:
    """One that is done from before is not; one that is captured no more is forgotten."""
    applied = msgspec.structs.replace(AT_7, refresh=50, refreshing={"shop.users": 50})
    last = AT_7.id
    for progress, left in (
        (TableProgress(done=True), {}),
        (TableProgress(done=True, refresh=49), {}),
        (TableProgress(done=False, refresh=50), {"shop.users": 50}),
    ):
        batch = plan(applied, heartbeat(last=last, users=progress))
        assert (batch.read_again, batch.applied.open_refreshes) == ({}, left)
    done = plan(applied, heartbeat(last=last, users=TableProgress(done=True, refresh=50)))
    assert done.read_again == {"shop.users": 50}
    gone = plan(applied, heartbeat(last=last))
    assert (gone.read_again, gone.applied.open_refreshes) == ({}, {})
    assert gone.commands == [("UNLINK", LIVE)]


def test_a_second_refresh_of_a_table_begins_with_no_keys() -> None:
    """Keys from before it may be of rows that went in between."""
    applied = msgspec.structs.replace(AT_7, refresh=50, refreshing={"shop.users": 50})
    batch = plan(applied, refresh(number=51))

    assert batch.applied.open_refreshes == {"shop.users": 51}
    assert batch.commands == [("UNLINK", LIVE), ("UNLINK", "cdc:default:refresh:51")]


def test_a_table_that_was_refreshed_leaves_the_position() -> None:
    """The others stay in it, and the number tells a second one from the first."""
    applied = msgspec.structs.replace(AT_7, refreshing={"shop.users": 50, "shop.carts": 50})
    once, number = refreshed(applied, "shop.users")
    assert (once.open_refreshes, number) == ({"shop.carts": 50}, 50)
    twice, _ = refreshed(once, "shop.carts")
    assert twice.refreshing is msgspec.UNSET


def test_a_heartbeat_of_an_epoch_before_is_a_gap() -> None:
    """A stream that was removed begins anew, with ids that look applied."""
    applied = msgspec.structs.replace(AT_7, id="3.1.1.0")
    with pytest.raises(PositionLostError, match="earlier epoch"):
        plan(applied, heartbeat(last="2.9.9.0"))


def test_ranges_of_keys_sweep_nothing() -> None:
    """No key is remembered and none removed; a sweep that is under way goes on."""
    progress = TableProgress(done=True, ranges=(KeyRange(refresh=60, first=("1",)),))
    ranges = Refresh(
        number=60,
        tables=(),
        ranges_of=("shop.users",),
        gap=False,
        boundary=heartbeat(last="1.2.100.0", epoch=1, users=progress),
    )
    batch = plan(AT_7, ranges)

    assert (batch.applied.refresh, batch.applied.open_refreshes) == (60, {})
    swept = msgspec.structs.replace(AT_7, refresh=50, refreshing={"shop.users": 50})
    assert plan(swept, ranges).applied.open_refreshes == {"shop.users": 50}


def test_an_announcement_that_the_stream_lost_is_said() -> None:
    """A boundary behind it knows nothing of it: nobody reads the table, so nothing is removed."""
    applied = msgspec.structs.replace(AT_7, refresh=50, refreshing={"shop.users": 50})
    for progress in (TableProgress(done=True), TableProgress(done=True, refresh=40)):
        beat = heartbeat(last="1.2.100.0", users=progress)
        batch = plan(applied, beat)
        assert list(batch.lost_refreshes) == ["shop.users"]
        assert (batch.applied.open_refreshes, batch.commands) == ({}, [("UNLINK", LIVE)])
        again = plan(msgspec.structs.replace(applied, again_to=8), beat)
        assert list(again.lost_refreshes) == [], "it may be a boundary of before"


def test_behind_a_refreshs_gap_nothing_of_an_epoch_before_follows() -> None:
    """The stream lost the announcement: its reader goes on as if there had been none."""
    applied = plan(AT_7, refresh()).applied
    old = heartbeat(last="1.2.100.0", epoch=1, users=TableProgress(done=True))
    assert applied.epoch == 2
    with pytest.raises(PositionLostError, match="of an earlier epoch"):
        plan(applied, old)
    assert plan(msgspec.structs.replace(applied, again_to=9), old).applied.id == applied.id
    assert plan(applied, refresh(number=51)).applied.open_refreshes == {"shop.users": 51}
