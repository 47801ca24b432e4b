"""Whether Redis shows a transaction: by the GTID set of every position, and by nothing less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from cdc.errors import CdcError, PreflightError, UsageError
from cdc.message import Heartbeat, Refresh, TableProgress, encode
from cdc.position import MySqlGtidSet
from redis_sink.plan.applied import Applied
from redis_sink.plan.applied import encode as encode_position
from redis_sink.queries.wait import is_shown, wanted_of
from tests.support.planned import planner_of

ROOT = Path(__file__).parents[4]
U = "7271e0ec-e705-11f1-8850-02fc00000001"


def at(gtid_set: str | None, **more: Any) -> Applied:
    return Applied(stream="MYSQL", created="c", seq=1, upto=1, gtid_set=gtid_set, **more)


def example() -> dict[str, Any]:
    """Return the functions of docs/read-your-writes.md."""
    text = (ROOT / "docs/read-your-writes.md").read_text("utf-8")
    namespace: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], namespace)
    return namespace


class _Redis:
    """What the example needs of a client."""

    def __init__(self, positions: list[Applied | None]) -> None:
        self._raws = [None if p is None else encode_position(p) for p in positions]

    def mget(self, keys: list[str]) -> list[bytes | None]:
        assert len(keys) == len(self._raws)
        return self._raws


CASES = [
    (f"{U}:8003", [at(f"{U}:1-8003")], True),
    (f"{U}:8004", [at(f"{U}:1-8003")], False),
    (f"{U}:8004", [None], False),
    (f"{U}:8004", [at(f"{U}:1-8003:8005-9000")], False),
    (f"{U}:8004".upper(), [at(f"{U}:1-8003:8004-9000")], True),
    (f"{U}:mine:7", [at(f"{U}:1-8003")], False),
    (f"{U}:mine:7", [at(f"{U}:1-8003:mine:1-7")], True),
    (f"{U}:1-5,\n{U[:-1]}2:1", [at(f"{U}:1-5")], False),
    (f"{U}:1-5,\n{U[:-1]}2:1", [at(f"{U}:1-5,{U[:-1]}2:1-3")], True),
    (f"{U}:5", [at(f"{U}:1-5"), at(f"{U}:1-4")], False),
    (f"{U}:5", [at(f"{U}:1-5"), at(f"{U}:1-6")], True),
    ("0-1-100", [at("0-1-100")], True),
    ("0-1-100", [at("0-2-105,1-1-3")], True),
    ("0-1-100", [at("0-1-99,1-1-300")], False),
    ("0-1-100,1-1-4", [at("0-1-100,1-1-3")], False),
    (f"{U}:5", [at(f"{U}:1-9", reading=("shop.users",), unread=f"{U}:1-5")], False),
    (f"{U}:6", [at(f"{U}:1-9", reading=("shop.users",), unread=f"{U}:1-5")], True),
    (f"{U}:5", [at(f"{U}:1-9", refreshing={"shop.users": 7}, unread=f"{U}:1-5")], False),
    ("0-1-5", [at("0-1-9", reading=("shop.users",), unread="0-1-7")], False),
]


@pytest.mark.parametrize(("gtids", "positions", "shown"), CASES)
def test_a_transaction_is_shown_when_every_position_has_it(
    gtids: str, positions: list[Applied | None], shown: bool
) -> None:
    """The same rule in the command and in the example of docs/read-your-writes.md."""
    assert is_shown(wanted_of(gtids), positions) == shown
    redis = _Redis(positions)
    assert example()["is_shown"](redis, gtids, partitions=len(positions)) == shown


def test_mariadb_shows_what_was_committed_while_a_table_is_read() -> None:
    """What is newer than the beginning of the reading came through the stream."""
    reading = at("0-1-9", reading=("shop.users",), unread="0-1-7")

    assert is_shown(wanted_of("0-1-8"), [reading])


@pytest.mark.parametrize("text", ["", " , ", "abc", f"{U}", f"{U}:x-y", "0-1", "0-1-x"])
def test_what_is_no_gtid_is_refused(text: str) -> None:
    """With both forms in the fix."""
    with pytest.raises(UsageError) as refused:
        wanted_of(text)
    assert "0-1-100" in refused.value.fix
    assert "MariaDB" not in refused.value.seen


@pytest.mark.parametrize(
    ("gtids", "gtid_set"), [(f"{U}:1", None), (f"{U}:1", "0-1-7"), ("0-1-7", f"{U}:1")]
)
def test_a_position_that_can_never_show_it_is_an_error(gtids: str, gtid_set: str | None) -> None:
    """No GTIDs on the server, or those of the other kind: waiting would not help."""
    with pytest.raises(PreflightError):
        is_shown(wanted_of(gtids), [at(gtid_set)])


def test_sets_that_share_a_transaction_intersect() -> None:
    """By uuid and tag."""
    some = MySqlGtidSet.parse(f"{U}:3-5:mine:1")

    assert some.intersects(MySqlGtidSet.parse(f"{U}:5-9"))
    assert not some.intersects(MySqlGtidSet.parse(f"{U}:1-2:6:other:1"))


def beat(gtid_set: str, **done: bool) -> Heartbeat:
    return Heartbeat(
        epoch=1, server="s", file="b.000002", offset=4, gtid_set=gtid_set, last="", upto=5, ts=9,
        snapshot={f"shop.{name}": TableProgress(done=is_done) for name, is_done in done.items()},
    )  # fmt: skip


def after(position: Applied, *messages: Heartbeat | Refresh) -> Applied:
    """Return the position behind messages."""
    planner = planner_of([])
    for message in messages:
        delivery = (position.seq + 1, f"mysql.{message.op}".encode(), encode(message))
        position = planner.plan(position, [delivery], now_us=1).applied
    return position


def test_the_position_says_what_is_not_read_yet() -> None:
    """From the first heartbeat with a table that is not read, until the one that says it is."""
    begun = after(at(None), beat(f"{U}:1-5", users=False), beat(f"{U}:1-7", users=False))
    assert (begun.gtid_set, begun.unread, begun.upto) == (f"{U}:1-7", f"{U}:1-5", 5)
    assert begun.reading == ("shop.users",)

    more = after(begun, beat(f"{U}:1-9", users=False, orders=False))
    assert more.unread == f"{U}:1-9"

    ended = after(more, beat(f"{U}:1-9", users=True, orders=True))
    assert (ended.reading, ended.unread) == (UNSET, UNSET)


def test_a_refresh_behind_a_gap_hides_what_stands_before_it() -> None:
    """At once with its announcement, which moves the GTID set over the gap."""
    boundary = beat(f"{U}:1-99", users=False)
    gap = Refresh(number=7, tables=("shop.users",), gap=True, boundary=boundary)

    behind = after(at(f"{U}:1-5"), gap)

    assert (behind.gtid_set, behind.unread) == (f"{U}:1-99", f"{U}:1-99")
    assert not is_shown(wanted_of(f"{U}:50"), [behind])
    assert is_shown(wanted_of(f"{U}:50"), [after(behind, beat(f"{U}:1-99", users=True))])


def test_errors_are_ours() -> None:
    """Nothing but a CdcError comes out of a text that a person wrote."""
    for text in (":", "a:b", "1-1-1,x:1", ",,", f"{U}:0-", "0-1-1,"):
        try:
            wanted_of(text)
        except CdcError:
            continue
