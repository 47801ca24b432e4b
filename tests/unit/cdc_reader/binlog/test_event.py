"""Events without rows: GTIDs, rotation, statements."""

import struct
import tracemalloc
import zlib

import pytest

from cdc.errors import PositionLostError
from cdc_reader.binlog import event as ev


def event(kind: int, body: bytes, *, server_id: int = 1, timestamp_s: int = 7) -> ev.Event:
    """Return an event whose body is all of its buffer."""
    return ev.Event(kind, body, 0, len(body), 900, len(body) + 23, timestamp_s, server_id, 0)


def test_a_mysql_gtid_is_read_with_its_commit_time() -> None:
    """Latency is measured from the commit's microseconds, not from whole seconds."""
    sid = bytes.fromhex("7271e0ece70511f1885002fc00000001")
    commit = (1795414891568123 | 1 << 55).to_bytes(7, "little")
    body = b"\1" + sid + struct.pack("<Q", 8003) + b"\2" + bytes(16) + commit + b"\5"

    assert ev.parse_gtid(event(ev.GTID, body)) == ev.GtidEvent(
        "7271e0ec-e705-11f1-8850-02fc00000001:8003", 1795414891568123, False
    )


def test_a_server_without_commit_times_gives_whole_seconds() -> None:
    """MySQL 5.7 and MariaDB have only the second."""
    sid = bytes(16)

    assert ev.parse_gtid(event(ev.GTID, b"\0" + sid + struct.pack("<Q", 1))).commit_us == 7_000_000


def test_a_mariadb_gtid_names_domain_server_and_number() -> None:
    """A DDL is a transaction of its own; others last until their COMMIT."""
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


@pytest.mark.parametrize(
    "packed",
    [
        b"\x87" + (1 << 40).to_bytes(7, "big") + zlib.compress(b"x"),
        b"\x81\x0a" + zlib.compress(bytes(64 << 20)),
        b"\x81\x01" + zlib.compress(b"x")[:-2],
    ],
)
def test_a_compressed_event_takes_no_more_memory_than_an_event_may(packed: bytes) -> None:
    """A terabyte that is claimed, one that grows past its declared size, one without its end."""
    tracemalloc.start()
    with pytest.raises(PositionLostError):
        ev.inflate(packed)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 1 << 20
