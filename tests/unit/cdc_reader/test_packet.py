"""From bytes to events, whatever the reads' boundaries are."""

import struct
import zlib

import pytest

from cdc.errors import PositionLostError, UnavailableError
from cdc_reader import event as ev
from cdc_reader.packet import PACKET_MAX_BYTES, PacketReader


def event_bytes(
    kind: int, body: bytes, *, end_offset: int = 0, checksum: bool = True, timestamp_s: int = 7
) -> bytes:
    """Return an event as it stands in a file: header, body, CRC."""
    size = ev.HEADER_BYTES + len(body) + (4 if checksum else 0)
    raw = struct.pack("<IBIIIH", timestamp_s, kind, 1, size, end_offset, 0) + body
    return raw + (struct.pack("<I", zlib.crc32(raw)) if checksum else b"")


def packets(payload: bytes, sequence: int = 0) -> bytes:
    """Return a payload cut into MySQL packets."""
    out = b""
    while True:
        piece, payload = payload[:PACKET_MAX_BYTES], payload[PACKET_MAX_BYTES:]
        out += len(piece).to_bytes(3, "little") + bytes([sequence & 255]) + piece
        sequence += 1
        if len(piece) < PACKET_MAX_BYTES:
            return out


def dump(*events: bytes) -> bytes:
    """Return events as a dump sends them."""
    return b"".join(packets(b"\0" + event) for event in events)


def bodies(events: list[ev.Event]) -> list[tuple[int, bytes]]:
    """Return what can be compared of events."""
    return [(e.kind, e.buffer[e.start : e.end]) for e in events]


def test_events_come_out_whole_wherever_the_reads_are_cut() -> None:
    """TCP may cut anywhere: every two-part cut gives the same events."""
    data = dump(event_bytes(ev.XID, b"12345678"), event_bytes(ev.STOP, b""), event_bytes(2, b"q"))
    expected = [(ev.XID, b"12345678"), (ev.STOP, b""), (2, b"q")]

    for cut in range(len(data) + 1):
        reader = PacketReader(checksum=True)
        assert bodies([*reader.feed(data[:cut]), *reader.feed(data[cut:])]) == expected


def test_events_come_out_byte_by_byte() -> None:
    """The smallest reads give the same events as the largest."""
    data = dump(event_bytes(ev.XID, b"12345678"), event_bytes(2, b"q" * 300))
    reader = PacketReader(checksum=True)
    events = [e for i in range(len(data)) for e in reader.feed(data[i : i + 1])]

    assert bodies(events) == [(ev.XID, b"12345678"), (2, b"q" * 300)]


@pytest.mark.parametrize("extra_bytes", [-25, -24, -23, 0, 1, PACKET_MAX_BYTES])
def test_an_event_larger_than_a_packet_is_joined(extra_bytes: int) -> None:
    """A row of 16 MiB and more comes in several packets; exact multiples end in an empty one."""
    body = b"x" * (PACKET_MAX_BYTES + extra_bytes)
    data = dump(event_bytes(31, body), event_bytes(ev.XID, b"12345678"))
    reader = PacketReader(checksum=True)
    events: list[ev.Event] = []
    for at in range(0, len(data), 1 << 18):
        events += reader.feed(data[at : at + (1 << 18)])

    assert [(k, len(b)) for k, b in bodies(events)] == [(31, len(body)), (ev.XID, 8)]


def test_a_flipped_bit_stops_the_reader() -> None:
    """A damaged event is never decoded (invariant 6)."""
    data = bytearray(dump(event_bytes(ev.XID, b"12345678")))
    data[30] ^= 1
    with pytest.raises(PositionLostError, match="checksum"):
        list(PacketReader(checksum=True).feed(bytes(data)))


@pytest.mark.parametrize("bit", range(24))
def test_a_flipped_bit_in_the_length_is_not_waited_for(bit: int) -> None:
    """No checksum covers a packet's length; the header that follows it says another."""
    data = bytearray(dump(event_bytes(2, b"q" * 300)) + dump(event_bytes(ev.XID, b"12345678")))
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(PositionLostError, match="damaged"):
        list(PacketReader(checksum=True).feed(bytes(data)))


def test_a_files_own_checksum_setting_counts() -> None:
    """Files written before binlog_checksum was changed are read as they were written."""
    body = b"\4\0" + b"9.7.4".ljust(50, b"\0") + bytes(4) + b"\x13" + bytes(40)
    without = event_bytes(15, body + b"\0" + b"crc!", checksum=False)
    data = dump(without, event_bytes(ev.XID, b"12345678", checksum=False))
    reader = PacketReader(checksum=True)
    reader._file_checksum = False

    assert bodies([*reader.feed(data)])[1] == (ev.XID, b"12345678")


def test_the_end_of_a_dump_is_not_success() -> None:
    """A killed dump thread or a shutdown is waited for, never taken for the end."""
    with pytest.raises(UnavailableError, match="ended the binlog dump"):
        list(PacketReader(checksum=True).feed(packets(b"\xfe\0\0\2\0")))


def test_a_purged_position_is_lost() -> None:
    """Error 1236 cannot be waited for."""
    text = b"\xff" + struct.pack("<H", 1236) + b"#HY000could not find next log"
    with pytest.raises(PositionLostError, match="could not find next log"):
        list(PacketReader(checksum=True).feed(packets(text)))


def test_a_twin_with_our_server_id_is_waited_for() -> None:
    """The same error number with another cause does not end the reader for good."""
    text = b"\xff" + struct.pack("<H", 1236)
    text += b"#HY000A replica with the same server_uuid/server_id as this replica has connected"
    with pytest.raises(UnavailableError):
        list(PacketReader(checksum=True).feed(packets(text)))


@pytest.mark.parametrize("payload", [b"", b"\x07abc", b"\0short"])
def test_bytes_that_are_no_event_stop_the_reader(payload: bytes) -> None:
    """What the protocol does not know is damage, not something to skip."""
    with pytest.raises(PositionLostError, match="damaged"):
        list(PacketReader(checksum=True).feed(packets(payload)))
