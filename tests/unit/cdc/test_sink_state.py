"""What a sink tells a reader, and where."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.sink_state import SinkState, decode_state, encode_state, state_subject

STATES = st.builds(
    SinkState,
    seq=st.integers(0, 2**63),
    waits=st.text(st.characters(codec="utf-8")),
    used_bytes=st.integers(0, 2**63),
    max_bytes=st.integers(0, 2**63),
    tables=st.lists(st.text(st.characters(codec="utf-8")), max_size=3).map(tuple),
)


@given(STATES)
def test_a_state_is_read_as_it_was_written(state: SinkState) -> None:
    """Whatever it holds."""
    assert state == decode_state(encode_state(state))


def test_what_is_not_known_is_left_out() -> None:
    """An empty state is an empty object; a reader of another version may send more."""
    assert b"{}" == encode_state(SinkState())
    assert SinkState(seq=8) == decode_state(b'{"seq":8,"of_later":[1]}')


def test_what_is_no_state_is_refused() -> None:
    """Not guessed at."""
    with pytest.raises(msgspec.DecodeError):
        decode_state(b'{"seq":"8"}')


def test_a_sink_has_a_subject_that_the_readers_subscription_matches() -> None:
    """One for each partition of a pipeline; without names, those of all."""
    own = state_subject("MYSQL", "default", 3).split(".")
    every = state_subject("MYSQL").split(".")

    assert ["cdc", "sink", "MYSQL", "default", "3"] == own
    assert len(own) == len(every)
    assert [] == [(o, e) for o, e in zip(own, every, strict=True) if e not in ("*", o)]
