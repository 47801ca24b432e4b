"""When a heartbeat is published: right after a change, but never more than is allowed."""

from __future__ import annotations

from cdc_reader.publish.beat import ALLOWANCE_S, QUIET_BYTES, Beat

SIZE_BYTES = 500


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_beat(clock: Clock, early_bytes_per_s: int = 10_000) -> Beat:
    """Return the beat of a connection whose first heartbeat is out."""
    beat = Beat(heartbeat_s=1.0, idle_s=5.0, early_bytes_per_s=early_bytes_per_s, clock=clock)
    sent(beat, 0)
    return beat


def sent(beat: Beat, boundary: int, *, in_transaction: bool = False) -> None:
    beat.sent(0, boundary, size_bytes=SIZE_BYTES, in_transaction=in_transaction)


def due(beat: Beat, boundary: int, *, published: bool = False, read_bytes: int = 300) -> bool:
    return beat.due(0, boundary, published=published, read_bytes=read_bytes)


def test_a_change_is_followed_at_once_while_the_binlog_is_quiet() -> None:
    """So that who waits for it sees it with the very write that shows it."""
    beat = a_beat(Clock())

    assert due(beat, 1, published=True)
    sent(beat, 1)
    assert due(beat, 2, published=True)


def test_under_load_one_comes_every_heartbeat_s() -> None:
    """After a full read there is a backlog."""
    clock = Clock()
    beat = a_beat(clock)

    assert not due(beat, 1, published=True, read_bytes=QUIET_BYTES)
    clock.now_s += 1.0
    assert due(beat, 2, published=True, read_bytes=QUIET_BYTES)


def test_early_heartbeats_take_what_is_allowed_and_no_more() -> None:
    """A burst may spend a minute's worth; after that the rate holds, and the wait is known."""
    clock = Clock()
    beat = a_beat(clock)
    began_s, out = clock.now_s, 0
    for boundary in range(1, 400_000):
        clock.now_s += 0.001
        if due(beat, boundary, published=True):
            sent(beat, boundary)
            out += 1
        else:
            assert 0 < beat.due_in_s() <= SIZE_BYTES / 10_000
    allowed_bytes = 10_000 * (ALLOWANCE_S + clock.now_s - began_s)

    assert allowed_bytes * 0.95 < out * SIZE_BYTES <= allowed_bytes


def test_none_goes_out_early_where_none_is_allowed() -> None:
    """`heartbeat_early_bytes = 0`: every `heartbeat_s`, also when the change was the last one."""
    clock = Clock()
    beat = a_beat(clock, early_bytes_per_s=0)

    assert not due(beat, 1, published=True)
    assert beat.due_in_s() == 1.0
    clock.now_s += 1.0
    assert due(beat, 1)


def test_half_a_transaction_owes_one_for_the_rest() -> None:
    """The boundary does not move in its middle; when it does, that is told at once."""
    beat = a_beat(Clock())

    assert not due(beat, 0, published=True)
    assert due(beat, 1)
    sent(beat, 1, in_transaction=True)
    assert not due(beat, 1)
    assert due(beat, 2)


def test_transactions_of_other_tables_are_told_after_heartbeat_s() -> None:
    """They cost no early one; and nothing at all is told after `idle_s`."""
    clock = Clock()
    beat = a_beat(clock)

    assert not due(beat, 1)
    clock.now_s += 1.0
    assert due(beat, 1)
    sent(beat, 1)
    clock.now_s += 4.9
    assert not due(beat, 1)
    clock.now_s += 0.1
    assert due(beat, 1)


def test_a_chunk_that_is_read_is_told_at_once() -> None:
    """A restart resumes there."""
    beat = a_beat(Clock())

    assert beat.due(1, 0, published=False, read_bytes=0)
