"""TABLE_MAP events, as MySQL 9.7 and MariaDB 11.8 wrote them for one table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError
from cdc_reader.binlog import types as tm
from cdc_reader.binlog.table_map import TableMap, parse_table_map

# CREATE TABLE t (id BIGINT UNSIGNED, no SMALLINT NOT NULL, name VARCHAR(100) utf8mb4,
# latin CHAR(10) latin1, e ENUM('a','é') NOT NULL, s SET('x','y') latin1, d DECIMAL(12,2), f FLOAT,
# y YEAR, b BIT(9), j LONGTEXT, raw BINARY(3), t TIMESTAMP(3), PRIMARY KEY (id, no))
MYSQL = bytes.fromhex(
    "a400000000000100056661637473000174000d08020ffefefef6040d10fcfe11119001fe0af701f8010c0204010104"
    "fe0303ec1f0101880308fcff0008fcff003f0425026964026e6f046e616d65056c6174696e01650173016401660179"
    "0162016a0372617701740b04fcff000805050201780179060602016102c3a9080200010c02fff8"
)
MARIADB = bytes.fromhex(
    "2300000000000100056661637473000174000d08020ffefefef6040d10fcfe11119001fe0af701f8010c0204010104"
    "fe0303ec1f0101880308fc000908fc00093f0425026964026e6f046e616d65056c6174696e01650173016401660179"
    "0162016a0372617701740b04fc00090805050201780179060602016102c3a908020001"
)
NAMES_AT = MYSQL.index(b"\x04\x25\x02id")


def both() -> list[tuple[bool, TableMap]]:
    return [
        (False, parse_table_map(MYSQL, mariadb=False)),
        (True, parse_table_map(MARIADB, mariadb=True)),
    ]


def test_names_types_and_sizes_are_read() -> None:
    """Each column has its name, type and meta, for both servers."""
    for _, table in both():
        assert table.qualified == "facts.t"
        assert [(c.name, c.type, c.meta) for c in table.columns] == [
            ("id", tm.LONGLONG, 0),
            ("no", tm.SHORT, 0),
            ("name", tm.VARCHAR, 400),
            ("latin", tm.STRING, 10),
            ("e", tm.ENUM, 1),
            ("s", tm.SET, 1),
            ("d", tm.DECIMAL, 12 << 8 | 2),
            ("f", tm.FLOAT, 4),
            ("y", tm.YEAR, 0),
            ("b", tm.BIT, 9),
            ("j", tm.BLOB, 4),
            ("raw", tm.STRING, 3),
            ("t", tm.TIMESTAMP2, 3),
        ]
        table.require_columns()


def test_signs_charsets_labels_and_keys_are_read() -> None:
    """Optional metadata reach the columns that they are about."""
    for mariadb, table in both():
        by_name = {c.name: c for c in table.columns}
        assert [c.name for c in table.columns if c.unsigned] == ["id", "y"]
        assert [c.name for c in table.columns if not c.nullable] == ["id", "no", "e"]
        utf8 = 2304 if mariadb else 255
        assert [by_name[n].collation for n in ("name", "latin", "j", "raw")] == [utf8, 8, utf8, 63]
        assert (by_name["e"].collation, by_name["s"].collation) == (utf8, 8)
        assert by_name["e"].labels == (b"a", "é".encode())
        assert by_name["s"].labels == (b"x", b"y")
        assert table.primary_key == (0, 1)


def test_metadata_of_a_later_version_are_skipped() -> None:
    """An unknown number of optional metadata changes nothing."""
    body = MYSQL + b"\xc8\xfc\x2c\x01" + bytes(300)
    assert parse_table_map(body, mariadb=False) == parse_table_map(MYSQL, mariadb=False)


def test_an_unknown_type_is_refused_for_a_captured_table_only() -> None:
    """Parsing continues, so another table does not stop the reader; asking for columns stops."""
    body = MYSQL.replace(b"\x0d\x08\x02\x0f", b"\x0d\x08\x02\xc8")
    table = parse_table_map(body, mariadb=False)
    assert (table.schema, table.table) == ("facts", "t")
    with pytest.raises(PositionLostError, match="column 3 has the unknown type 200"):
        table.require_columns()


def test_missing_names_are_refused_for_a_captured_table_only() -> None:
    """Without names the fix is the server's setting."""
    table = parse_table_map(MYSQL[:NAMES_AT], mariadb=False)
    with pytest.raises(PositionLostError, match=r"does not name the columns of facts\.t") as caught:
        table.require_columns()
    assert "SET PERSIST binlog_row_metadata = 'FULL'" in caught.value.fix


@given(st.integers(0, len(MYSQL) - 1))
def test_a_cut_event_is_refused_or_lacks_metadata(length: int) -> None:
    """No length reads past the end, and none gives another table."""
    try:
        table = parse_table_map(MYSQL[:length], mariadb=False)
    except PositionLostError:
        return
    assert table.qualified == "facts.t"
    assert len(table.columns) == 13


@given(st.integers(8, len(MYSQL) - 1), st.integers(0, 255))
def test_a_damaged_event_is_refused_or_read(at: int, byte: int) -> None:
    """No byte makes anything but a table or the one error."""
    body = MYSQL[:at] + bytes((byte,)) + MYSQL[at + 1 :]
    try:
        table = parse_table_map(body, mariadb=False)
        table.require_columns()
    except PositionLostError:
        return
    assert len(table.columns) == 13


def test_names_longer_than_one_byte_of_length_are_read() -> None:
    """A column name of 250 bytes and more has a length of three bytes."""
    long_name = "列" * 64
    field = b"\xc0" + long_name.encode()
    head = b"\0" * 8 + b"\x01s\0\x01t\0" + b"\x01\x03" + b"\x00" + b"\x00"
    table = parse_table_map(head + b"\x04" + bytes((len(field),)) + field, mariadb=False)
    assert table.columns[0].name == long_name
    field = b"\xfc\x2c\x01" + b"n" * 300
    table = parse_table_map(head + b"\x04\xfc\x2f\x01" + field, mariadb=False)
    assert table.columns[0].name == "n" * 300


HEAD = b"\0" * 8 + b"\x01s\0\x01t\0"
TWO_NUMBERS = HEAD + b"\x02\x08\x03" + b"\x00" + b"\x00"
TWO_TEXTS = HEAD + b"\x02\x0f\x0f" + b"\x04\x28\x00\x28\x00" + b"\x00"


def test_collations_that_differ_from_the_default_are_of_their_columns() -> None:
    """A default, and then pairs of a text column's place and its collation."""
    table = parse_table_map(TWO_TEXTS + b"\x02\x05\xfc\xff\x00\x01\x08", mariadb=False)

    assert [column.collation for column in table.columns] == [255, 8]


@pytest.mark.parametrize("kind", [tm.ENUM, tm.SET])
def test_labels_of_a_type_of_its_own_have_their_length(kind: int) -> None:
    """Servers write it inside a STRING; both mean the same."""
    own = HEAD + bytes((1, kind)) + b"\x02" + bytes((kind, 2)) + b"\x00"
    inside = HEAD + bytes((1, tm.STRING)) + b"\x02" + bytes((kind, 2)) + b"\x00"
    (column,) = parse_table_map(own, mariadb=False).columns

    assert (column.type, column.meta) == (kind, 2)
    assert parse_table_map(inside, mariadb=False).columns == (column,)


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"\xfb" + bytes(9),  # NULL columns
        HEAD + b"\xff" + bytes(9),
        HEAD + b"\x01\x08" + b"\x01\x00" + b"\x00",  # metadata of a type that has none
        TWO_NUMBERS + b"\x01\x02\x00\x00",  # signs of nine numbers and more
        TWO_NUMBERS + b"\x01\x00",
        TWO_NUMBERS + b"\x08\x01\x02",  # a third column in the primary key
        TWO_NUMBERS + b"\x09\x02\x02\x00",
        TWO_TEXTS + b"\x02\x03\x08\x02\x08",  # a collation of a third text
        TWO_TEXTS + b"\x03\x01\x08",  # collations of one text of two
    ],
)
def test_metadata_that_do_not_fit_the_columns_stop_the_reader(body: bytes) -> None:
    """They would be another table's."""
    with pytest.raises(PositionLostError):
        parse_table_map(body, mariadb=False)
