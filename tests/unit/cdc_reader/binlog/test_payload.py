"""The events of a compressed transaction."""

from __future__ import annotations

import random
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.payload import expand_payload


def event(kind: int, body: bytes) -> ev.Event:
    """Return an event whose body is all of its buffer."""
    return ev.Event(kind, body, 0, len(body), 900, len(body) + 23, 7, 1, 0)


def raw_event(kind: int, body: bytes) -> bytes:
    """Return an event as it is inside a compressed transaction: no checksum, no position."""
    return struct.pack("<IBIIIH", 7, kind, 1, 19 + len(body), 0, 0) + body


def lenenc(number: int) -> bytes:
    """Return a length-encoded integer of the 4-byte form."""
    return b"\xfd" + number.to_bytes(3, "little")


def payload(data: bytes, compression: int) -> bytes:
    """Return the body of a TRANSACTION_PAYLOAD event."""
    fields = b""
    for kind, value in ((1, len(data)), (2, compression)):
        fields += bytes([kind]) + b"\x04" + lenenc(value)
    return fields + b"\0" + data


@pytest.mark.parametrize("zstd", [True, False])
@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_a_compressed_transaction_gives_its_events(zstd: bool, sizes: list[int], seed: int) -> None:
    """Every event of the payload comes out whole and in order, at the outer event's place."""
    noise = random.Random(seed)
    bodies = [noise.randbytes(size) for size in sizes]
    data = b"".join(raw_event(ev.WRITE_ROWS, body) for body in bodies)
    outer = event(
        ev.TRANSACTION_PAYLOAD,
        payload(zstandard.compress(data) if zstd else data, 0 if zstd else 255),
    )
    inner = list(expand_payload(outer, lambda *_: True))

    assert [e.buffer[e.start : e.end] for e in inner] == bodies
    assert {(e.end_offset, e.size_bytes) for e in inner} == {(900, outer.size_bytes)}


@pytest.mark.parametrize("zstd", [True, False])
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("more", range(-30, 31, 3))
def test_a_large_event_of_a_compressed_transaction_is_held_if_needed(
    zstd: bool, needed: bool, more: int
) -> None:
    """Wherever the pieces end in it; what comes after it is whole."""
    large = b"\1\2\3\4\5\6" + b"x" * ((1 << 20) + more)
    bodies = [b"before", large, large, b"after"]
    data = b"".join(raw_event(ev.WRITE_ROWS, body) for body in bodies)
    outer = event(
        ev.TRANSACTION_PAYLOAD,
        payload(zstandard.compress(data) if zstd else data, 0 if zstd else 255),
    )
    inner = list(expand_payload(outer, lambda _, table_id: needed or table_id != large[:6]))

    got = [e.buffer[e.start : e.end] for e in inner]
    assert got == (bodies if needed else [b"before", large[:6], large[:6], b"after"])


def test_a_torn_compressed_transaction_stops_the_reader() -> None:
    """A payload that ends in the middle of an event is damage."""
    data = raw_event(ev.WRITE_ROWS, b"x" * 100)[:-1]
    with pytest.raises(PositionLostError, match="middle of an event"):
        list(expand_payload(event(ev.TRANSACTION_PAYLOAD, payload(data, 255)), lambda *_: True))


def test_an_unknown_compression_stops_the_reader() -> None:
    """What a newer server may send is named, not skipped."""
    with pytest.raises(PositionLostError, match="unknown algorithm 7"):
        list(expand_payload(event(ev.TRANSACTION_PAYLOAD, payload(b"", 7)), lambda *_: True))


def test_an_event_of_four_gigabytes_in_a_compressed_transaction_is_refused() -> None:
    """Its length is not believed until the memory is full."""
    head = struct.pack("<IBIIIH", 7, 2, 1, 0xFFFFFFF0, 0, 0)
    with pytest.raises(PositionLostError, match="4294967280 bytes"):
        list(
            expand_payload(
                event(ev.TRANSACTION_PAYLOAD, payload(head + bytes(64), 255)), lambda *_: True
            )
        )


@pytest.mark.parametrize("size", [0, 18])
def test_an_event_that_is_shorter_than_its_header_stops_the_reader(size: int) -> None:
    """Its length would lead nowhere, or round in a circle."""
    data = struct.pack("<IBIIIH", 7, 2, 1, size, 0, 0)
    with pytest.raises(PositionLostError, match="shorter than its header"):
        list(expand_payload(event(ev.TRANSACTION_PAYLOAD, payload(data, 255)), lambda *_: True))


@pytest.mark.parametrize("needed", [True, False])
def test_a_large_event_without_its_end_stops_the_reader(needed: bool) -> None:
    """Whether or not its bytes are of use."""
    data = raw_event(ev.WRITE_ROWS, bytes(1 << 20))[:-1]
    with pytest.raises(PositionLostError, match="middle of an event"):
        list(expand_payload(event(ev.TRANSACTION_PAYLOAD, payload(data, 255)), lambda *_: needed))


def test_damaged_compression_stops_the_reader() -> None:
    """What zstd cannot read is damage, and no other error."""
    with pytest.raises(PositionLostError, match="a compressed transaction"):
        list(expand_payload(event(ev.TRANSACTION_PAYLOAD, payload(b"xxxx", 0)), lambda *_: True))


@given(st.binary(max_size=40))
def test_any_bytes_are_events_or_damage(data: bytes) -> None:
    """No other error comes of a payload that is not compressed."""
    outer = event(ev.TRANSACTION_PAYLOAD, payload(data, 255))
    try:
        inner = list(expand_payload(outer, lambda *_: True))
    except PositionLostError:
        return
    assert len(data) == sum(19 + e.end - e.start for e in inner)


def test_a_payload_without_an_end_mark_is_read_to_the_events_end() -> None:
    """A payload with only header fields has no events."""
    body = payload(b"", 255)[:-1]

    assert [] == list(expand_payload(event(ev.TRANSACTION_PAYLOAD, body), lambda *_: True))
