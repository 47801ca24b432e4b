"""Selected rows -> messages; that they are those of the binlog is tested on real servers."""

from __future__ import annotations

from typing import Any

import msgspec
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import PositionLostError, PreflightError
from cdc.key import parse_template
from cdc.message import SnapshotRow
from cdc.table import Column, Table
from cdc_reader.rows.select_codec import CONNECTION, SelectCodec, refusal_of

TS = 1795414891568123
SUFFIX = f',"ts":{TS},"v":1}}'
TYPES = {
    "id": "bigint unsigned",
    "name": "varchar(100)",
    "price": "decimal(10,2) unsigned zerofill",
    "f": "float",
    "y": "year",
    "at": "timestamp(1)",
    "doc": "json",
    "raw": "varbinary(9)",
    "b": "bit(9)",
}


def column(name: str, column_type: str, charset: str | None = None) -> Column:
    data_type = column_type.partition("(")[0].partition(" ")[0]
    text = data_type in ("varchar", "text", "enum", "set", "char")
    return Column(
        name=name,
        data_type=data_type,
        column_type=column_type,
        charset=charset or ("utf8mb4" if text else None),
        nullable=name != "id",
    )


def table(*columns: Column, key: str = "{table}:{pk}", value_column: str | None = None) -> Table:
    columns = columns or tuple(column(name, kind) for name, kind in TYPES.items())
    return Table(
        schema="shop",
        name="users",
        columns=columns,
        identity=("id",),
        chunk_key=("id",),
        key=parse_template(key, schema="shop", table="users", pk=("id",)),
        value_column=value_column,
        model="string",
    )


def run(codec: SelectCodec, *rows: tuple[bytes | None, ...]) -> list[bytes]:
    return codec.rows(rows)


def expected(**fields: Any) -> bytes:
    return msgspec.json.encode(SnapshotRow(**fields))


ROW = (
    b"18446744073709551615", b'A"da', b"00000017.50", b"1.100000023841858", b"0000",
    b"2026-11-23 10:00:00.5", b'{"a b": [1, 2.0]}', b"\x00\xff", b"257",
)  # fmt: skip


def test_every_sort_of_value_has_its_token() -> None:
    """What SELECT prints becomes what the binlog's value would be."""
    bodies = run(SelectCodec(table(), mariadb=False), ROW, (b"1",) + (None,) * 8)
    value = (
        '{"id":18446744073709551615,"name":"A\\"da","price":"17.50","f":1.1,"y":0,'
        '"at":"2026-11-23T10:00:00.5Z","doc":{"a b":[1,2.0]},"raw":"AP8=","b":257}'
    )
    nulls = '{"id":1,' + ",".join(f'"{name}":null' for name in list(TYPES)[1:]) + "}"
    assert bodies == [
        expected(key="users:18446744073709551615", value=value),
        expected(key="users:1", value=nulls),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("id", "18446744073709551615"), ("name", 'A"da'), ("price", "17.50"), ("f", "1.1"),
        ("y", "0"), ("at", "2026-11-23T10:00:00.5Z"), ("doc", '{"a b":[1,2.0]}'),
        ("raw", "AP8="), ("b", "257"),
    ],
)  # fmt: skip
def test_one_column_is_the_value_as_it_is(name: str, text: str) -> None:
    """Only the key's columns and that one are selected; NULL leaves the value out."""
    codec = SelectCodec(table(value_column=name), mariadb=False)
    assert set(codec.indexes) == {"id", name}
    row = tuple(ROW[list(TYPES).index(n)] for n in codec.indexes)
    bodies = run(codec, row)
    assert bodies == [expected(key="users:18446744073709551615", value=text)]
    if name != "id":
        assert run(codec, (b"1", None)) == [expected(key="users:1")]


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_text_is_escaped_as_the_contract_has_it(text: str) -> None:
    """Text inside a JSON string inside a JSON string comes out as it went in."""
    columns = (column("id", "int"), column("t", "text"))
    bodies = run(SelectCodec(table(*columns, key="{t}:{id}"), mariadb=True), (b"7", text.encode()))
    key = text.replace("%", "%25").replace(":", "%3A") + ":7"
    assert bodies == [expected(key=key, value=msgspec.json.encode({"id": 7, "t": text}).decode())]


def test_columns_behind_the_list_are_not_looked_at() -> None:
    """The snapshot selects the chunk key once more after the list."""
    codec = SelectCodec(table(column("id", "int"), column("n", "int")), mariadb=False)
    body = expected(key="users:1", value='{"id":1,"n":2}')
    assert run(codec, (b"1", b"2", None, b"x")) == [body]


def test_names_are_quoted_and_numbers_asked_for_exactly() -> None:
    """Backticks are doubled, percent signs too; FLOAT, DOUBLE and BIT are asked for as numbers."""
    columns = (column("id", "int"), column("a`%b", "float"), column("b", "bit(3)"))
    codec = SelectCodec(table(*columns), mariadb=False)
    assert codec.select_list == "`id`, `a``%%b`*1e0, `b`+0"
    assert codec.indexes == {"id": 0, "a`%b": 1, "b": 2}


def test_null_in_a_key_is_refused_with_the_column() -> None:
    """The error names the column, and no message is handed out."""
    codec = SelectCodec(table(column("id", "int"), column("t", "text"), key="{t}"), mariadb=False)
    with pytest.raises(PositionLostError, match=r"shop\.users has NULL in 't'"):
        codec.rows([(b"1", b"a"), (b"2", None)])


def test_a_row_that_is_not_what_was_asked_for_is_refused_without_showing_it() -> None:
    """A value of another type is an error that names the table, not the value."""
    codec = SelectCodec(table(column("id", "int"), column("f", "float")), mariadb=False)
    for row in ((b"1", b"secret"), (b"1",), (b"1", "secret")):
        with pytest.raises(PositionLostError, match=r"shop\.users") as caught:
            run(codec, row)  # type: ignore[arg-type]
        assert "secret" not in caught.value.text()


@pytest.mark.parametrize(
    ("column_type", "charset", "why"),
    [
        ("geometry", None, "type geometry"), ("vector(3)", None, "type vector"),
        ("uuid", None, "type uuid"), ("inet6", None, "type inet6"),
        ("varchar(9)", "utf16", "character set utf16"),
        ("enum('a')", "binary", "character set binary"),
        ("varchar(9) /*M!100301 COMPRESSED*/", "utf8mb4", "MariaDB's column compression"),
    ],
)  # fmt: skip
def test_what_is_not_carried_is_refused_by_name(
    column_type: str, charset: str | None, why: str
) -> None:
    """The first start reports it before anything is read, while the column is needed."""
    other = column("g", column_type, charset)
    assert refusal_of(other) == why
    with pytest.raises(PreflightError, match=f"'g' of shop.users has {why}"):
        SelectCodec(table(column("id", "int"), other), mariadb=True)
    SelectCodec(table(column("id", "int"), other, value_column="id"), mariadb=True)


def test_a_label_that_reads_compressed_is_a_label() -> None:
    """Only MariaDB's column attribute is meant."""
    assert refusal_of(column("e", "enum('COMPRESSED')")) is None


def test_the_connection_still_encodes_what_it_is_given() -> None:
    """Nothing that is read is converted, what is bound is."""
    encoders = CONNECTION["conv"]
    assert not any(isinstance(kind, int) for kind in encoders)
    assert pymysql.converters.escape_item("a'b", "utf8mb4", encoders) == r"'a\'b'"
