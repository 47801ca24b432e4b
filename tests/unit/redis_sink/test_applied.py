"""What a position in Redis says about a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from cdc.errors import PositionLostError
from cdc.own_keys import position_key
from redis_sink.applied import Applied, decode, encode, first_start, resume

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


def test_resume() -> None:
    """The same stream goes on behind the last message applied, heartbeats behind it included."""
    start = resume(AT_90, Extent(1, 200), "1.2.900.0")
    assert (start.seq, start.why, start.applied) == (89, "resume", AT_90)


@pytest.mark.parametrize("first", [89, 91])
def test_resume_when_the_applied_message_has_left(first: int) -> None:
    """Messages that are applied may leave the stream."""
    start = resume(AT_90, Extent(first, 200), None)
    assert (start.seq, start.applied) == (first, AT_90)


def test_trimmed() -> None:
    """Messages that left before they were applied are a loss: stop."""
    with pytest.raises(PositionLostError, match="91 to 94 have left") as caught:
        resume(AT_90, Extent(95, 200), None)
    assert caught.value.heals_by_refresh


@pytest.mark.parametrize(("last", "found", "seq"), [(70, None, 1), (89, "1.2.900.0", 89)])
def test_stream_lost_its_end(last: int, found: str | None, seq: int) -> None:
    """It may have been filled again in part: it is taken from where it is as it was."""
    start = resume(AT_90, Extent(1, last), found)
    assert (start.seq, start.why, start.applied.seq) == (seq, "stream lost its end", seq - 1)
    assert start.applied.id == AT_90.id
    assert start.applied.catching_up


def test_a_restart_while_catching_up_begins_to_catch_up_again() -> None:
    """What was looked through before may have been lost and filled again too."""
    lost = resume(AT_90, Extent(1, 70), None).applied
    assert resume(msgspec.structs.replace(lost, seq=50), Extent(1, 80), None).seq == 1


@pytest.mark.parametrize("found", ["1.2.700.0", ""])
def test_stream_was_rewritten(found: str) -> None:
    """Another message where the last applied one stood: look for it from the beginning."""
    start = resume(AT_90, Extent(3, 200), found)
    assert (start.seq, start.why, start.applied.catching_up) == (3, "stream was rewritten", True)


@pytest.mark.parametrize("last", [0, 50, 500])
def test_another_stream_of_the_same_name(last: int) -> None:
    """A stream that was removed and created again is looked through from its beginning."""
    start = resume(AT_90, Extent(min(1, last), last, created="2026-11-24T00:00:00Z"), None)
    assert (start.seq, start.why) == (1, "stream was rewritten")
    assert start.applied.created == "2026-11-24T00:00:00Z"


def test_another_name_is_refused() -> None:
    """A pipeline does not change its stream in silence."""
    with pytest.raises(PositionLostError, match="OTHER"):
        resume(AT_90, Extent(1, 200, name="OTHER"), None)


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
