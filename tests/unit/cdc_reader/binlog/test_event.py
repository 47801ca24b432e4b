"""Events without rows: GTIDs, rotation, statements, compressed transactions."""

import random
import struct
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.payload import expand_payload


def event(kind: int, body: bytes, *, server_id: int = 1, timestamp_s: int = 7) -> ev.Event:
    """Return an event whose body is all of its buffer."""
    return ev.Event(kind, body, 0, len(body), 900, len(body) + 23, timestamp_s, server_id, 0)


def raw_event(kind: int, body: bytes) -> bytes:
    """Return an event as it stands inside a compressed transaction: no checksum, no place."""
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


def test_a_mysql_gtid_is_read_with_its_commit_time() -> None:
    """Latency is measured from the commit's microseconds, not from whole seconds."""
    sid = bytes.fromhex("7271e0ece70511f1885002fc00000001")
    commit = (1795414891568123 | 1 << 55).to_bytes(7, "little")
    body = b"\1" + sid + struct.pack("<Q", 8003) + b"\2" + bytes(16) + commit + b"\5"

    assert ev.parse_gtid(event(ev.GTID, body)) == ev.GtidEvent(
        "7271e0ec-e705-11f1-8850-02fc00000001:8003", 1795414891568123, False
    )


def test_a_server_without_commit_times_gives_whole_seconds() -> None:
    """MySQL 5.7 and MariaDB say the second alone."""
    sid = bytes(16)

    assert ev.parse_gtid(event(ev.GTID, b"\0" + sid + struct.pack("<Q", 1))).commit_us == 7_000_000


def test_a_mariadb_gtid_names_domain_server_and_number() -> None:
    """A DDL stands alone; a transaction goes on to its COMMIT."""
    body = struct.pack("<QI", 100, 2)

    assert ev.parse_gtid(event(ev.MARIADB_GTID, body + b"\1", server_id=9)) == ev.GtidEvent(
        "2-9-100", 7_000_000, True
    )
    assert not ev.parse_gtid(event(ev.MARIADB_GTID, body + b"\0")).standalone


def test_a_rotation_names_the_next_file() -> None:
    """Offsets may need 64 bits."""
    body = struct.pack("<Q", 1 << 33) + b"binlog.000009"

    assert ev.rotate_to(event(ev.ROTATE, body)) == ("binlog.000009", 1 << 33)


@pytest.mark.parametrize("schema", ["", "shop", "b\u00fccher"])
def test_a_statement_comes_with_its_schema(schema: str) -> None:
    """Status variables of any length are passed over."""
    name = schema.encode()
    body = struct.pack("<IIBHH", 1, 0, len(name), 0, 5) + b"12345" + name + b"\0" + b"TRUNCATE t"

    assert ev.parse_query(event(ev.QUERY, body)) == ev.QueryEvent(schema, "TRUNCATE t")


@pytest.mark.parametrize(
    ("status", "is_servers"),
    [
        (b"\x12\xff\x00", True),
        (b"\x12\xff\x00\x0c\x01shop\x00", False),
        (b"\x0c\x01shop\x00\x12\xff\x00", False),
        (b"", False),
        (b"\x12\xff", False),
        (b"\x12\xff\x00\xee\x01", False),
    ],
)
def test_a_statement_of_mysql_8_without_databases_is_the_servers(
    status: bytes, is_servers: bool
) -> None:
    """Code 18 is of MySQL 8.0, 12 names databases; what is cut off or unknown proves nothing."""
    body = struct.pack("<IIBHH", 1, 0, 0, 0, len(status)) + status + b"\0DELETE FROM `shop`.`mem`"

    assert ev.parse_query(event(ev.QUERY, body)).is_servers is is_servers


def test_a_mariadb_compressed_statement_is_unpacked() -> None:
    """log_bin_compress hides no DDL."""
    text = b"ALTER TABLE t ADD c INT" * 20
    packed = b"\x82" + len(text).to_bytes(2, "big") + zlib.compress(text)
    body = struct.pack("<IIBHH", 1, 0, 1, 0, 0) + b"d\0" + packed

    assert ev.parse_query(event(ev.MARIADB_QUERY_COMPRESSED, body)).text == text.decode()


@pytest.mark.parametrize(
    "packed", [b"", b"\x02\0\1x", b"\xf1\1x", b"\x81\1x", b"\x81\2" + zlib.compress(b"x")]
)
def test_damaged_compression_stops_the_reader(packed: bytes) -> None:
    """An unknown algorithm, a wrong length or torn data is never passed over."""
    with pytest.raises(PositionLostError):
        ev.inflate(packed)


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


@pytest.mark.parametrize(
    "packed",
    [
        b"\x87" + (1 << 40).to_bytes(7, "big") + zlib.compress(b"x"),
        b"\x81\x0a" + zlib.compress(bytes(64 << 20)),
        b"\x81\x01" + zlib.compress(b"x")[:-2],
    ],
)
def test_a_compressed_event_takes_no_more_memory_than_an_event_may(packed: bytes) -> None:
    """A terabyte that is claimed, one that grows past what it says, one without its end."""
    tracemalloc.start()
    with pytest.raises(PositionLostError):
        ev.inflate(packed)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 1 << 20


def test_an_event_of_four_gigabytes_in_a_compressed_transaction_is_refused() -> None:
    """Its length is not believed until the memory is full."""
    head = struct.pack("<IBIIIH", 7, 2, 1, 0xFFFFFFF0, 0, 0)
    with pytest.raises(PositionLostError, match="4294967280 bytes"):
        list(
            expand_payload(
                event(ev.TRANSACTION_PAYLOAD, payload(head + bytes(64), 255)), lambda *_: True
            )
        )
