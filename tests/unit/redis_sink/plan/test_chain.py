"""Which message is the next one of a chain, which was applied before, and what is a gap."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.errors import PositionLostError
from cdc.message import Heartbeat
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import EarlierEpoch
from redis_sink.plan.chain import Chain, Relation


def chain(id: str = "2.1.300.0", *, newest_epoch: int = 0, **more: Any) -> Chain:
    fields: dict[str, Any] = {"stream": "MYSQL", "created": "c", "seq": 30, "id_seq": 30} | more
    return Chain(Applied(id=id, **fields), newest_epoch)


def heartbeat(**fields: Any) -> Heartbeat:
    usual: dict[str, Any] = {
        "epoch": 2, "server": "s", "began": 7, "file": "b.1", "offset": 4, "gtid_set": "s:1-9",
        "last": "2.1.300.0", "snapshot": {}, "upto": 5, "ts": 6,
    }  # fmt: skip
    return Heartbeat(**(usual | fields))


def test_a_message_above_the_last_id_that_names_another_one_is_a_gap() -> None:
    """Something between the last one and it did not come."""
    with pytest.raises(PositionLostError, match=r"2\.1\.500\.0 there follows 2\.1\.400\.0"):
        chain().relation(31, "2.1.500.0", "2.1.400.0")


@pytest.mark.parametrize("id", ["2.1.300.0", "2.1.200.0", "1.9.900.0"])
def test_a_message_that_is_not_above_the_last_id_was_applied_before(id: str) -> None:
    """As long as it may have been in the stream when the position was written."""
    assert Relation.BEFORE is chain().relation(29, id, "1.1.1.0")


def test_the_last_message_itself_tells_where_it_is_now() -> None:
    """After the stream lost its end, the id applied is found again at another sequence."""
    one = chain(id_seq=0)

    assert one.catching_up
    assert Relation.BEFORE is one.relation(12, "2.1.300.0", "2.1.200.0")
    assert (12, False) == (one.id_seq, one.catching_up)


def test_existing_rows_that_are_read_again_follow_one_that_is_gone() -> None:
    """The last id applied was a row of a snapshot (five numbers); its message was lost."""
    one = chain("2.1.300.0.7", id_seq=0)

    assert Relation.NEXT is one.relation(12, "2.1.300.0.9", "2.1.300.0")
    with pytest.raises(PositionLostError):
        chain("2.1.300.0.7").relation(12, "2.1.300.0.9", "2.1.300.0")


@pytest.mark.parametrize(
    ("newest_epoch", "outcome"), [(2, Relation.COPY), (3, Relation.COPY), (1, None), (0, None)]
)
def test_an_earlier_epoch_is_a_copy_where_the_newest_heartbeat_is_ours(
    newest_epoch: int, outcome: Relation | None
) -> None:
    """Else the stream lost the epoch that was applied, or it was not looked up yet."""
    one = chain(newest_epoch=newest_epoch)
    if outcome is None:
        with pytest.raises(EarlierEpoch) as error:
            one.relation(31, "1.1.300.0", "1.1.200.0")
        assert 2 == error.value.epoch
    else:
        assert outcome is one.relation(31, "1.1.300.0", "1.1.200.0")


def test_what_is_no_id_is_told() -> None:
    """Whoever asks makes a dead letter of it."""
    with pytest.raises(ValueError, match="id"):
        chain().relation(31, "no id", "2.1.300.0")


def test_a_heartbeat_that_knows_more_is_a_gap() -> None:
    """It says that a message was published which did not come; and so does another history."""
    chain().check_boundary(31, heartbeat(), "2.1.300.0")
    with pytest.raises(PositionLostError, match="was published"):
        chain().check_boundary(31, heartbeat(), "2.1.400.0")
    with pytest.raises(PositionLostError, match="from scratch"):
        chain(began=8).check_boundary(31, heartbeat(), "2.1.300.0")


def test_a_boundary_is_taken_once_all_before_it_has_come() -> None:
    """Not where it may have been taken before, nor while catching up."""
    now, again, late = chain(), chain(), chain(id_seq=0)
    now.take_boundary(31, heartbeat())
    again.take_boundary(30, heartbeat())
    late.take_boundary(31, heartbeat())

    assert [("s:1-9", 5, 7), (None, None, 7), (None, None, 7)] == [
        (one.gtid_set, one.upto or None, one.began) for one in (now, again, late)
    ]


def test_transactions_whose_rows_come_later_are_not_shown_yet() -> None:
    """Rows that the binlog has in part are read later: the position names what is there."""
    one = chain()
    one.take_boundary(31, heartbeat(shown="s:1-7"))

    assert one.gtid_set == "s:1-7"


def test_a_batch_ends_after_the_position_or_at_a_new_chain() -> None:
    """Ids that went back are refused, unless a refresh after a gap began there."""
    back = chain()
    back.move("2.1.200.0", 31)
    with pytest.raises(PositionLostError, match="comes after"):
        back.check_end(31)
    back.begin_after_gap(31, heartbeat(epoch=1), "1.1.100.0")

    assert ("1.1.100.0", 31, 1) == (back.last_id, back.id_seq, back.epoch)
    back.check_end(31)
