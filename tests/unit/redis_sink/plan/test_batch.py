"""Why a message can never be applied, and why the sink cannot resume."""

from __future__ import annotations

import msgspec
import pytest

from cdc.errors import REFRESH, PositionLostError
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import OWN_KEY, DeadLetter, EarlierEpoch, cause_of, missing, why_not


@pytest.mark.parametrize(
    ("hashed", "size_bytes", "reason"),
    [
        (None, 1, "captured"),
        (None, 11, "captured"),
        (True, 11, "11 bytes"),
        (False, 11, "11 bytes"),
        (True, 10, OWN_KEY),
        (False, 10, OWN_KEY),
    ],
)
def test_a_message_that_is_never_applied_has_a_reason(
    hashed: bool | None, size_bytes: int, reason: str
) -> None:
    """Its table first, then its size (the limit itself is allowed), then its key."""
    assert reason in why_not(hashed, b"x" * size_bytes, 10)


@pytest.mark.parametrize("kind", [PositionLostError, EarlierEpoch])
@pytest.mark.parametrize("last_id", ["1.2.3.0", ""])
def test_a_message_that_is_missing_needs_a_refresh(
    kind: type[PositionLostError], last_id: str
) -> None:
    """The error names the stream, where it is missing, and up to where Redis is in sync."""
    applied = Applied(stream="MYSQL", created="c", seq=41)
    error = missing(applied, last_id, 57, "what was seen", kind)

    assert kind is type(error)
    assert [] == [
        part
        for part in ("MYSQL", "57", "what was seen", last_id or "none")
        if part not in error.seen
    ]
    assert "41" in error.safe
    assert REFRESH == error.fix
    assert error.heals_by_refresh


def test_a_cause_shows_no_piece_of_the_body() -> None:
    """Msgspec names types and paths; of any other error the class alone is told."""
    with pytest.raises(msgspec.DecodeError) as refused:
        msgspec.json.decode(b'{"a":"secret"}', type=dict[str, int])

    assert "Expected `int`, got `str`" in cause_of(refused.value)
    assert "secret" not in cause_of(refused.value)
    assert "ValueError" == cause_of(ValueError("secret"))


def test_a_dead_letter_does_not_show_its_body() -> None:
    """It may hold what a mask hides."""
    letter = DeadLetter(seq=1, subject="mysql.insert", reason="r", body=b"secret")

    assert "secret" not in repr(letter)
