"""What a position in Redis says about a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from cdc.errors import PositionLostError
from cdc.own_keys import position_key
from redis_sink.plan.applied import Applied, Start, Why, decode, encode, first_start, marked, resume

KEY = position_key("default")
CREATED = "2026-11-23T12:00:06Z"


@dataclass(frozen=True)
class Extent:
    """A stream as `resume` sees it."""

    first_seq: int
    last_seq: int
    name: str = "MYSQL"
    created: str = CREATED


AT_90 = Applied(stream="MYSQL", created=CREATED, seq=90, id="1.2.900.0", id_seq=88, ts=5)


def test_round_trip() -> None:
    """What is written is what is read."""
    applied = msgspec.structs.replace(AT_90, gtid_set="u:1-5", gtid="u:5", applied=6)
    assert decode(encode(applied), key=KEY) == applied
    assert encode(applied).startswith(b'{"v":1,"stream":"MYSQL",')


@pytest.mark.parametrize(
    "raw", [b"", b"secret", b"{}", b"\xff", encode(msgspec.structs.replace(AT_90, v=2))]
)
def test_foreign_position_is_refused(raw: bytes) -> None:
    """A value that is no position of ours stops the sink, and is not repeated."""
    with pytest.raises(PositionLostError) as caught:
        decode(raw, key=KEY)
    assert KEY in caught.value.text()
    assert "secret" not in caught.value.text()


@pytest.mark.parametrize(("first", "last", "seq"), [(0, 0, 1), (1, 5, 1), (40, 50, 40)])
def test_first_start(first: int, last: int, seq: int) -> None:
    """A Redis without a position takes the stream from its first message."""
    start = first_start(Extent(first, last))
    assert (start.seq, start.applied.seq, start.applied.id) == (seq, seq - 1, "")
    assert not start.applied.catching_up


S_NS = 1_000_000_000
MARKED = msgspec.structs.replace(AT_90, marks=((60, 5 * S_NS), (89, 9 * S_NS), (90, 10 * S_NS)))


def test_resume() -> None:
    """Where the last message consumed stands as it did, it is gone on behind it."""
    start = resume(MARKED, Extent(1, 200), 90)
    assert (start.seq, start.why, start.applied) == (91, Why.RESUME, MARKED)


def test_resume_of_a_position_without_marks() -> None:
    """An older cdc kept none: behind the last message applied, heartbeats included."""
    start = resume(AT_90, Extent(1, 200), 88)
    assert (start.seq, start.why, start.applied) == (89, Why.RESUME, AT_90)
    assert resume(AT_90, Extent(91, 200), 88).seq == 91
    assert resume(AT_90, Extent(1, 200), 0).why == Why.REWRITTEN
    assert resume(AT_90, Extent(1, 89), 88).why == Why.LOST_END
    catching_up = msgspec.structs.replace(AT_90, id_seq=0)
    assert resume(catching_up, Extent(1, 200), 0).why == Why.REWRITTEN


def test_trimmed() -> None:
    """Messages that left before they were applied are a loss: stop."""
    assert resume(MARKED, Extent(91, 200), 90).seq == 91
    with pytest.raises(PositionLostError, match="91 to 94 have left") as caught:
        resume(MARKED, Extent(95, 200), 90)
    assert caught.value.heals_by_refresh


@pytest.mark.parametrize(
    ("last", "consumed", "seq", "id_seq", "again_to", "why"),
    [
        (70, 60, 61, 0, 70, Why.LOST_END),
        (89, 89, 90, 88, UNSET, Why.LOST_END),
        (200, 89, 90, 88, 90, Why.REWRITTEN),
        (200, 60, 61, 0, 90, Why.REWRITTEN),
        (200, 0, 3, 0, 90, Why.REWRITTEN),
        (75, 0, 3, 0, 75, Why.LOST_END),
    ],
)
def test_a_stream_that_is_not_as_it_was(
    last: int, consumed: int, seq: int, id_seq: int, again_to: object, why: Why
) -> None:
    """It is taken from where it is as it was; behind `again_to` all is new."""
    start = resume(MARKED, Extent(3, last), consumed)
    assert (start.seq, start.why, start.applied.seq) == (seq, why, seq - 1)
    assert (start.applied.id, start.applied.id_seq) == (AT_90.id, id_seq)
    assert start.applied.again_to == again_to
    assert start.applied.marks == tuple(m for m in MARKED.marks if m[0] < seq)


def test_a_restart_while_catching_up_goes_on_there() -> None:
    """What was looked through stands as it did; had it been lost again, it begins again."""
    lost = resume(MARKED, Extent(1, 80), 60).applied
    at_70 = marked(msgspec.structs.replace(lost, seq=70), 20 * S_NS)
    assert resume(at_70, Extent(1, 85), 70) == Start(71, at_70, Why.RESUME)
    again = resume(at_70, Extent(1, 85), 60)
    assert (again.seq, again.applied.again_to, again.applied.catching_up) == (61, 80, True)


def test_marks_are_dense_where_they_are_new() -> None:
    """One of each age stays, whatever the load: a minute's loss is found within two."""
    applied = AT_90
    for n in range(40_000):
        applied = marked(msgspec.structs.replace(applied, seq=100 + n), S_NS * n // 4)
    ages_s = [(applied.marks[-1][1] - stored_ns) / S_NS for _, stored_ns in applied.marks]
    assert applied.marks[-1] == (100 + 39_999, S_NS * 39_999 // 4)
    assert len(applied.marks) < 20
    assert ages_s == sorted(ages_s, reverse=True)
    for lost_s in (0.5, 1, 10, 60, 600):
        assert min(age for age in ages_s if age >= lost_s) <= 2 * lost_s
    assert marked(applied, 0) == applied


@pytest.mark.parametrize("last", [0, 50, 500])
def test_another_stream_of_the_same_name(last: int) -> None:
    """A stream that was removed and created again is looked through from its beginning."""
    start = resume(MARKED, Extent(min(1, last), last, created="2026-11-24T00:00:00Z"), 0)
    assert (start.seq, start.why, start.applied.marks) == (1, Why.REWRITTEN, ())
    assert start.applied.again_to == (last or UNSET)
    assert start.applied.created == "2026-11-24T00:00:00Z"


def test_another_name_is_refused() -> None:
    """A pipeline does not change its stream in silence."""
    with pytest.raises(PositionLostError, match="OTHER"):
        resume(AT_90, Extent(1, 200, name="OTHER"), 0)


@pytest.mark.parametrize("change", [{"seq": "x"}, {"stream": None}])
def test_wrong_types_are_refused(change: dict[str, Any]) -> None:
    """A position is read strictly."""
    raw = msgspec.json.encode(msgspec.to_builtins(AT_90) | change)
    with pytest.raises(PositionLostError):
        decode(raw, key=KEY)


def test_each_partition_has_a_position_of_its_own_number() -> None:
    """With one partition nothing is added; another number's position is not gone on from."""
    state = Extent(first_seq=1, last_seq=9)
    plain, several = first_start(state).applied, first_start(state, 4).applied

    assert b"partitions" not in encode(plain)
    assert decode(encode(plain), key=KEY) == plain
    assert decode(encode(several), key=KEY, partitions=4) == several
    assert position_key("default", 3, 4) == "cdc:default:position:3"
    for applied, partitions in ((plain, 4), (several, 1), (several, 8)):
        with pytest.raises(PositionLostError, match="partitions"):
            decode(encode(applied), key=KEY, partitions=partitions)
