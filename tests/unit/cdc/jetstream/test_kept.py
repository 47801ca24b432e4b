"""Who holds the stream, and what may go: decided from values."""

from __future__ import annotations

from typing import Any

from cdc.jetstream.kept import (
    LIST,
    Cut,
    Held,
    Holder,
    by_size,
    holders,
    may_go,
    place_config,
    why,
    with_heard,
)


def consumer(pipeline: str, partition: int, seq: int) -> dict[str, Any]:
    config = place_config("mysql", pipeline, partition, seq=seq, now_us=7)
    return {"name": config["name"], "config": config, "delivered": {}, "ack_floor": {}}


def held(size_bytes: int, room_bytes: int) -> Held:
    return Held(
        first_seq=101, last_seq=200, messages=100, size_bytes=size_bytes, room_bytes=room_bytes
    )


def test_a_place_is_read_as_it_was_written() -> None:
    """Of pipelines with signs in their names, and of several partitions."""
    found = holders([consumer("a-b", 0, 8), consumer("a-b", 2, 9)])

    assert found == [
        Holder("a-b", "cdc-at-a-b-0", 8, 7),
        Holder("a-b.2", "cdc-at-a-b-2", 9, 7),
    ]


def test_durable_consumers_of_others_hold_what_they_did_not_acknowledge() -> None:
    """One without acknowledgements, what it was not sent; one that does not last, nothing."""
    place = {"stream_seq": 5}
    explicit = {"name": "x", "config": {"durable_name": "x", "ack_policy": "explicit"}}
    none = {"name": "y", "config": {"durable_name": "y", "ack_policy": "none"}}
    short = {"name": "z", "config": {"ack_policy": "explicit"}}
    other = {"stream_seq": 9}
    found = holders(
        [
            explicit | {"ack_floor": place, "delivered": other},
            none | {"ack_floor": other, "delivered": place},
            short | {"ack_floor": place, "delivered": place},
        ]
    )

    assert [(h.name, h.seq) for h in found] == [("x", 5), ("y", 5)]


def test_nothing_goes_while_no_sink_is_known() -> None:
    """And the reason says so."""
    cut = may_go([], restart_seq=100, lists=())

    assert cut.seq == 0
    assert "no sink" in why(cut)


def test_the_slowest_holds_and_the_reader_holds_its_boundary() -> None:
    """Whoever needs more."""
    known = holders([consumer("a", 0, 50), consumer("b", 0, 20)])

    assert may_go(known, restart_seq=100, lists=()) == Cut(20, "pipeline b")
    assert may_go(known, restart_seq=10, lists=()) == Cut(10, "the reader")
    assert "pipeline b has not applied" in why(may_go(known, restart_seq=100, lists=()))


def test_the_list_that_the_next_heartbeats_name_stays() -> None:
    """For a sink that is behind an older one than for the reader; unknown ones hold all."""
    known = holders([consumer("a", 0, 50)])

    assert may_go(known, restart_seq=100, lists=[30, 60]) == Cut(30, LIST)
    assert may_go(known, restart_seq=100, lists=[60]).seq == 0


def test_what_live_sinks_say_is_newer_than_their_place() -> None:
    """One that has no place is counted too."""
    known = holders([consumer("a", 0, 50)])

    assert [h.seq for h in with_heard(known, {"a": 70, "old": 3})] == [70, 3]
    assert [h.seq for h in with_heard(known, {"a": 40})] == [50]


def test_the_share_of_the_room() -> None:
    """From half on, down to two fifths; without a limit nothing goes for its size."""
    assert by_size(held(49, 100)) == 0
    assert by_size(held(80, 100)) == 101 + 50 + 1
    assert by_size(held(80, 0)) == 0
    assert held(99, 100).is_full
    assert not held(90, 100).is_full
