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


def unsigned(number: int) -> bytes:
    """Return a number of event 42: each byte adds 7 bits, up to 8; 9 bytes have 64."""
    for length in range(1, 9):
        if number < 1 << 7 * length:
            return (number << length | (1 << length - 1) - 1).to_bytes(length, "little")
    return b"\xff" + number.to_bytes(8, "little")


def signed(number: int) -> bytes:
    """Return a number with its sign in the lowest bit."""
    return unsigned(number << 1 if number >= 0 else (-number - 1) << 1 | 1)


SID = "7271e0ec-e705-11f1-8850-02fc00000001"
SID_FIELD = unsigned(1) + b"".join(map(unsigned, bytes.fromhex(SID.replace("-", ""))))


def tagged(*fields: bytes) -> ev.Event:
    """Return an event 42: version, size, newest field that must be known, then fields."""
    return event(ev.GTID_TAGGED, unsigned(1) + unsigned(99) + unsigned(6) + b"".join(fields))


@pytest.mark.parametrize(
    "number", [1, 63, 64, 127, 8191, 8192, 1 << 20, 1 << 34, 1 << 55, 1 << 61, (1 << 62) - 1]
)
@pytest.mark.parametrize("tag", ["", "mytag", "t" * 32])
def test_a_tagged_gtid_is_read_with_its_commit_time(number: int, tag: str) -> None:
    """Numbers of every length; fields that are of no use are passed over."""
    commit_us = 1795414891568123
    body = tagged(
        unsigned(0) + unsigned(1),  # flags
        SID_FIELD,
        unsigned(2) + signed(number),
        unsigned(3) + unsigned(len(tag)) + tag.encode(),
        unsigned(4) + signed(number - 1),  # last_committed
        unsigned(5) + signed(number),  # sequence_number
        unsigned(6) + unsigned(commit_us),
        unsigned(7) + b"\xff",  # what follows is not looked at
    )
    gtid = f"{SID}:{tag}:{number}" if tag else f"{SID}:{number}"

    assert ev.parse_gtid(body) == ev.GtidEvent(gtid, commit_us, False)


def test_a_tagged_gtid_without_a_commit_time_has_the_second() -> None:
    """Its header's, as for an untagged one."""
    found = ev.parse_gtid(tagged(SID_FIELD, unsigned(2) + signed(8)))

    assert found == ev.GtidEvent(f"{SID}:8", 7_000_000, False)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (SID_FIELD,),
        (unsigned(2) + signed(8),),
        (SID_FIELD, unsigned(2) + signed(0)),
        (SID_FIELD, unsigned(2) + signed(-1)),
        (SID_FIELD, unsigned(2) + signed(1 << 20)[:2]),
    ],
)
def test_a_tagged_gtid_that_names_no_transaction_stops_the_reader(
    fields: tuple[bytes, ...],
) -> None:
    """It would be taken for another transaction, or for none."""
    with pytest.raises(PositionLostError):
        ev.parse_gtid(tagged(*fields))


def test_an_anonymous_transaction_has_a_time_and_no_gtid() -> None:
    """A server with gtid_mode = OFF writes the same event with zeros."""
    body = b"\1" + bytes(16) + struct.pack("<Q", 0)

    assert ev.parse_gtid(event(ev.ANONYMOUS_GTID, body)) == ev.GtidEvent(None, 7_000_000, False)


def test_a_rotation_to_a_file_without_a_number_stops_the_reader() -> None:
    """Files are compared by their numbers."""
    with pytest.raises(PositionLostError):
        ev.rotate_to(event(ev.ROTATE, struct.pack("<Q", 4) + b"binlog.index"))


@pytest.mark.parametrize(
    ("kind", "codec", "is_of_use"),
    [
        (ev.WRITE_ROWS, None, False),
        (ev.WRITE_ROWS, object(), True),
        (ev.PARTIAL_UPDATE_ROWS, None, False),
        (ev.PARTIAL_UPDATE_ROWS, object(), True),
        (ev.XID, None, True),
        (ev.TRANSACTION_PAYLOAD, None, True),
        (ev.HEARTBEAT, object(), False),
        (ev.ROWS_QUERY, object(), False),
    ],
)
def test_rows_of_tables_that_are_not_captured_are_of_no_use(
    kind: int, codec: object, is_of_use: bool
) -> None:
    """Of an unknown event all is of use: it stops the reader."""
    assert ev.is_of_use(kind, codec) is is_of_use


CLIENT_LATIN1 = b"\x04\x08\0\x08\0\x08\0"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (CLIENT_LATIN1, "DROP ä"),
        (b"\0\1\0\0\0\1\1\0\0\0\0\0\0\0" + CLIENT_LATIN1, "DROP ä"),
        (b"\x06\x03std" + CLIENT_LATIN1, "DROP ä"),
        (b"\x02\x03std\0" + CLIENT_LATIN1, "DROP ä"),
        (b"\xee" + CLIENT_LATIN1, "DROP \ufffd"),
        (b"\x04\x08", "DROP \ufffd"),
        (b"", "DROP \ufffd"),
    ],
)
def test_a_statement_is_read_as_its_client_wrote_it(status: bytes, text: str) -> None:
    """Known status variables are stepped over; after an unknown one nothing is guessed."""
    body = struct.pack("<IIBHH", 1, 0, 0, 0, len(status)) + status + b"\0DROP \xe4"
    found = ev.parse_query(event(ev.QUERY, body))

    assert (found.text, found.readings) == (text, (text,))


def test_a_statement_that_may_be_the_servers_own_has_both_readings() -> None:
    """The server writes its own in UTF-8, whatever the event names."""
    body = struct.pack("<IIBHH", 1, 0, 0, 0, len(CLIENT_LATIN1)) + CLIENT_LATIN1
    found = ev.parse_query(event(ev.QUERY, body + b"\0DROP \xc3\xa4"))

    assert found.readings == ("DROP Ã¤", "DROP ä")


def test_only_a_begin_is_a_begin() -> None:
    """A schema may be called so, and a statement may end so."""
    head = struct.pack("<IIBHH", 1, 0, 0, 0, 0) + b"\0"
    assert ev.is_begin(event(ev.QUERY, head + b"BEGIN"))
    assert not ev.is_begin(event(ev.QUERY, head + b"XA BEGIN"))


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (b"\xfa", (250, 1)),
        (b"\xfc\xfb\0", (251, 3)),
        (b"\xfd\0\0\1", (1 << 16, 4)),
        (b"\xfe\0\0\0\1\0\0\0\0", (1 << 24, 9)),
    ],
)
def test_a_length_is_read_with_where_it_ends(packed: bytes, expected: tuple[int, int]) -> None:
    """It has one, three, four or nine bytes."""
    assert ev.read_lenenc(packed, 0) == expected
    assert ev.read_lenenc(b"xx" + packed, 2) == (expected[0], expected[1] + 2)


@pytest.mark.parametrize("first", [0xFB, 0xFF])
def test_what_is_no_length_stops_the_reader(first: int) -> None:
    """251 is NULL and 255 an error; neither counts anything."""
    with pytest.raises(PositionLostError):
        ev.read_lenenc(bytes((first,)) + bytes(9), 0)


@pytest.mark.parametrize("images", [1, 2])
def test_compressed_rows_keep_what_precedes_them(images: int) -> None:
    """The count of columns and one bitmap an image are not compressed."""
    head, rows = b"\x09" + b"\xff\x01" * images, b"row" * 40
    packed = b"\x81" + bytes((len(rows),)) + zlib.compress(rows)
    buffer = b"before" + head + packed + b"crc!"
    found, start, end = ev.inflated_rows(buffer, 6, len(buffer) - 4, images=images)

    assert found[start:end] == head + rows


@pytest.mark.parametrize(
    ("kind", "expected"), [(ev.WRITE_ROWS_V1, 10), (166, 10), (ev.WRITE_ROWS, 15), (169, 15)]
)
def test_rows_begin_after_the_extra_data(kind: int, expected: int) -> None:
    """Version 1 has none; the length of version 2 counts its own two bytes."""
    body = b"id" + bytes(6) + b"\0\0" + struct.pack("<H", 5) + b"xyz"
    wide = ev.Event(kind, body, 2, len(body), 0, 0, 0, 0, 0)
    raw = b"id" + bytes(8) + struct.pack("<H", 5) + b"xyz"

    assert ev.rows_at(wide._replace(buffer=raw)) == expected
