"""One event of many megabytes, taken in as its packets come."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog import long_event
from cdc_reader.binlog.long_event import EVENT_AT, LongEvent

PACKET_BYTES = 127
TABLE_ID = b"\1\2\3\4\5\6"


@pytest.fixture(autouse=True)
def _small_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of 127 bytes in place of 16 MB."""
    monkeypatch.setattr(long_event, "PACKET_MAX_BYTES", PACKET_BYTES)


def event_bytes(more: int, *, checksum: bool) -> bytes:
    """Return an event whose body has this many bytes after its table id."""
    size = 25 + more + 4 * checksum
    raw = struct.pack("<IBIIIH", 7, 30, 9, size, 4711, 1) + TABLE_ID + b"x" * more
    return raw + (struct.pack("<I", zlib.crc32(raw)) if checksum else b"")


def packets(payload: bytes) -> bytes:
    """Return a payload in packets; a full last one is followed by an empty one."""
    out = b""
    for at in range(0, len(payload) + 1, PACKET_BYTES):
        piece = payload[at : at + PACKET_BYTES]
        out += len(piece).to_bytes(3, "little") + b"\0" + piece
    return out


def begun(data: bytes, *, checksum: bool, is_needed: bool = True) -> LongEvent:
    """Return an event that nothing has been given to yet."""
    return LongEvent(data[: EVENT_AT + 25], checksum=checksum, is_needed=is_needed)


@given(
    more=st.integers(0, 400),
    checksum=st.booleans(),
    is_needed=st.booleans(),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
def test_an_event_is_whole_after_its_last_byte_wherever_it_is_cut(
    more: int, checksum: bool, is_needed: bool, cuts: list[int]
) -> None:
    """What comes after it is handed back; one that is not needed keeps only its table id."""
    long_event.PACKET_MAX_BYTES = PACKET_BYTES
    raw = event_bytes(more, checksum=checksum)
    data = packets(b"\0" + raw)
    one = begun(data, checksum=checksum, is_needed=is_needed)
    ends = [0, *sorted(min(cut, len(data) - 1) for cut in cuts), len(data) - 1]
    for start, end in pairwise(ends):
        assert (b"", False) == (one.take(data[start:end]), one.is_whole)
    assert b"next" == one.take(data[-1:] + b"next")

    event = one.event()
    assert one.is_whole
    assert TABLE_ID + b"x" * (more if is_needed else 0) == event.buffer[event.start : event.end]
    assert (30, 7, 9, 1, 4711, len(raw)) == (
        event.kind, event.timestamp_s, event.server_id, event.flags, event.end_offset,
        event.size_bytes,
    )  # fmt: skip


@pytest.mark.parametrize("is_needed", [True, False])
@pytest.mark.parametrize("at", [6, 40, 200, -1])
def test_a_flipped_bit_is_found_whether_or_not_the_bytes_are_kept(is_needed: bool, at: int) -> None:
    """The checksum covers all of the event, and is not believed itself."""
    raw = bytearray(event_bytes(300, checksum=True))
    raw[at + 19 if at > 0 else at] ^= 1
    data = packets(b"\0" + bytes(raw))
    one = begun(data, checksum=True, is_needed=is_needed)
    one.take(data)

    assert one.is_whole
    with pytest.raises(PositionLostError, match="checksum"):
        one.event()


@pytest.mark.parametrize("length", [0, 1, 126, 128])
def test_a_packet_of_another_length_is_damage(length: int) -> None:
    """An event of 300 bytes fills its first packet."""
    data = packets(b"\0" + event_bytes(300, checksum=False))
    one = begun(data, checksum=False)

    with pytest.raises(PositionLostError, match=f"a packet of {length} bytes"):
        one.take(length.to_bytes(3, "little") + data[3:])
