"""From bytes to events, with reads that end anywhere."""

import collections
import struct
import sys
import tracemalloc
import zlib
from itertools import pairwise

import pytest

from cdc.errors import PermissionDenied, PositionLostError, UnavailableError
from cdc_reader.binlog import event as ev
from cdc_reader.binlog import long_event, packet
from cdc_reader.binlog.long_event import PACKET_MAX_BYTES
from cdc_reader.binlog.packet import PacketReader


def event_bytes(
    kind: int,
    body: bytes,
    *,
    end_offset: int = 0,
    checksum: bool = True,
    timestamp_s: int = 7,
    flags: int = 0,
) -> bytes:
    """Return an event as it is in a file: header, body, CRC."""
    size = ev.HEADER_BYTES + len(body) + (4 if checksum else 0)
    raw = struct.pack("<IBIIIH", timestamp_s, kind, 1, size, end_offset, flags) + body
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


SMALL_PACKET_BYTES = 127


@pytest.fixture
def small_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of 127 bytes in place of 16 MB, so that every cut of the bytes can be tried."""
    for module in (packet, long_event, sys.modules[__name__]):
        monkeypatch.setattr(module, "PACKET_MAX_BYTES", SMALL_PACKET_BYTES)
    monkeypatch.setattr(packet, "LONG_BYTES", 40)


@pytest.mark.usefixtures("small_packets")
@pytest.mark.parametrize("event_size_bytes", [60, 125, 126, 127, 150, 252, 253, 254, 300])
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_large_event_comes_out_once_wherever_the_reads_are_cut(
    event_size_bytes: int, needed: bool, checksum: bool
) -> None:
    """One that is not needed leaves header and table id, and what it took in the file."""
    body = bytes(range(1, 7)) + b"x" * (event_size_bytes - 25 - 4 * checksum)
    before, after = (event_bytes(ev.XID, b"1234567" + n, checksum=checksum) for n in (b"a", b"z"))
    large = event_bytes(30, body, end_offset=4711, checksum=checksum)
    data = dump(before, large, large, after)
    asked: set[tuple[int, bytes]] = set()

    def needs(kind: int, table_id: bytes) -> bool:
        asked.add((kind, table_id))
        return needed

    cuts = [(cut,) for cut in range(len(data) + 1)] + [tuple(range(len(data)))]
    cuts += [(cut, cut + 3) for cut in range(len(data))]
    for some in cuts:
        reader = PacketReader(checksum=checksum)
        parts = [data[a:b] for a, b in pairwise((0, *some, len(data)))]
        events = [e for part in parts for e in reader.feed(part, needs=needs)]
        assert [e.kind for e in events] == [ev.XID, 30, 30, ev.XID]
        assert [(e.end_offset, e.size_bytes) for e in events[1:3]] == [(4711, len(large))] * 2
        for event in events[1:3]:
            got = event.buffer[event.start : event.end]
            assert got == body or (not needed and got == body[:6])
        assert bodies(events)[::3] == [(ev.XID, b"1234567a"), (ev.XID, b"1234567z")]
    assert asked == {(30, body[:6])}


@pytest.mark.parametrize("needed", [True, False])
def test_a_large_event_is_cut_byte_by_byte(needed: bool) -> None:
    """Around its header, its packets' and its checksum, reads of a single byte change nothing."""
    body = b"\1\2\3\4\5\6" + b"x" * PACKET_MAX_BYTES
    data = dump(event_bytes(30, body), event_bytes(ev.XID, b"12345678"))
    second = 4 + PACKET_MAX_BYTES
    parts = [data[i : i + 1] for i in range(60)] + [data[60 : second - 9]]
    parts += [data[i : i + 1] for i in range(second - 9, len(data))]
    reader = PacketReader(checksum=True)
    events = [e for part in parts for e in reader.feed(part, needs=lambda *_: needed)]

    assert bodies(events) == [(30, body if needed else body[:6]), (ev.XID, b"12345678")]


def test_a_large_event_that_is_not_needed_is_not_held() -> None:
    """Of 64 MB come and passed over, nothing stays; of a needed one, one copy and some reads."""

    def never(*_: object) -> bool:
        return False

    def always(*_: object) -> bool:
        return True

    body = b"\1\2\3\4\5\6" + b"x" * (64 << 20)
    data = dump(event_bytes(30, body))
    peaks = []
    for needed in (False, True):
        reader = PacketReader(checksum=True)
        tracemalloc.start()
        for at in range(0, len(data), 1 << 18):
            part = data[at : at + (1 << 18)]
            for event in reader.feed(part, needs=(never, always)[needed]):
                assert event.size_bytes == len(body) + 23
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[0] < 2 << 20
    # BytesIO grows by an eighth.
    assert peaks[1] < 80 << 20


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("at", [30, 1 << 20, -1])
def test_a_flipped_bit_in_a_large_event_stops_the_reader(needed: bool, at: int) -> None:
    """Its checksum counts whether or not its bytes are held (invariant 6)."""
    data = bytearray(dump(event_bytes(30, b"x" * PACKET_MAX_BYTES)))
    data[at] ^= 1
    reader = PacketReader(checksum=True)
    parts = [bytes(data[begin : begin + (1 << 18)]) for begin in range(0, len(data), 1 << 18)]
    with pytest.raises(PositionLostError, match="checksum"):
        collections.deque(e for p in parts for e in reader.feed(p, needs=lambda *_: needed))


@pytest.mark.parametrize("bit", range(24))
def test_a_flipped_bit_in_a_later_packets_length_stops_the_reader(bit: int) -> None:
    """The event's size tells how long each of its packets is."""
    data = bytearray(dump(event_bytes(30, b"x" * (PACKET_MAX_BYTES + 9)), event_bytes(2, b"q")))
    data[4 + PACKET_MAX_BYTES + bit // 8] ^= 1 << bit % 8
    with pytest.raises(PositionLostError, match="a packet of"):
        list(PacketReader(checksum=True).feed(bytes(data)))


def test_a_flipped_bit_stops_the_reader() -> None:
    """A damaged event is never decoded (invariant 6)."""
    data = bytearray(dump(event_bytes(ev.XID, b"12345678")))
    data[30] ^= 1
    with pytest.raises(PositionLostError, match="checksum"):
        list(PacketReader(checksum=True).feed(bytes(data)))


@pytest.mark.parametrize("bit", range(24))
def test_a_flipped_bit_in_the_length_is_not_waited_for(bit: int) -> None:
    """No checksum covers a packet's length; the header that follows it has another."""
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


ARTIFICIAL = 0x20


@pytest.mark.parametrize("of_the_file", [True, False])
@pytest.mark.parametrize("of_the_event", [True, False])
@pytest.mark.parametrize(
    ("kind", "flags"),
    [(ev.ROTATE, ARTIFICIAL), (ev.HEARTBEAT, 0), (ev.HEARTBEAT_V2, 0)],
)
def test_an_event_that_is_in_no_file_tells_itself_whether_it_has_a_checksum(
    kind: int, flags: int, of_the_event: bool, of_the_file: bool
) -> None:
    """Its four last bytes belong to the name of a file, or do not."""
    body = bytes(8) + b"binlog.000009"
    data = dump(event_bytes(kind, body, checksum=of_the_event, flags=flags))
    reader = PacketReader(checksum=of_the_file)

    assert bodies(list(reader.feed(data))) == [(kind, body)]


def test_the_rotation_at_the_end_of_a_file_has_the_files_checksum() -> None:
    """Only what the server makes up for a connection may differ from it."""
    data = dump(event_bytes(ev.ROTATE, bytes(8) + b"binlog.000009", checksum=False))

    with pytest.raises(PositionLostError):
        list(PacketReader(checksum=True).feed(data))


@pytest.mark.parametrize("code", [1045, 1227])
def test_a_login_that_may_not_read_the_binlog_is_denied(code: int) -> None:
    """Waiting would not help."""
    text = b"\xff" + struct.pack("<H", code) + b"#28000Access denied"

    with pytest.raises(PermissionDenied):
        list(PacketReader(checksum=True).feed(packets(text)))


def test_an_error_without_a_state_is_read_as_well() -> None:
    """An old server's; the number decides, and an unknown one is waited for."""
    text = b"\xff" + struct.pack("<H", 1053) + b"Server shutdown in progress"

    with pytest.raises(UnavailableError, match="1053: Server shutdown in progress"):
        list(PacketReader(checksum=True).feed(packets(text)))


def test_an_error_comes_out_wherever_the_reads_are_cut() -> None:
    """Its packet has a length of its own, and no event's header."""
    data = packets(b"\xff" + struct.pack("<H", 1236) + b"#HY000could not find next log")
    for cut in range(1, len(data)):
        reader = PacketReader(checksum=True)
        assert list(reader.feed(data[:cut])) == []
        with pytest.raises(PositionLostError, match="could not find next log"):
            list(reader.feed(data[cut:]))


def test_an_error_of_16_mb_is_not_waited_for() -> None:
    """No server sends one: the length is damaged."""
    begun = PACKET_MAX_BYTES.to_bytes(3, "little") + b"\0\xff" + bytes(40)

    with pytest.raises(PositionLostError):
        list(PacketReader(checksum=True).feed(begun))
