"""Ranges of a chunk key: the SQL of each, and which can be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import UsageError
from cdc.key import parse_template
from cdc.message import KeyRange
from cdc.table import Column, Table
from cdc_reader.rows.select_codec import SelectCodec
from cdc_reader.snapshot.key_range import (
    RANGES_AT_ONCE,
    RANGES_MAX_BYTES,
    checked,
    chunk_columns,
    estimate_of,
    key_literal,
    refuse_too_much,
    select_of,
    where_of,
)


def column(name: str, data_type: str = "int") -> Column:
    """Return a column that is NOT NULL."""
    return Column(
        name=name, data_type=data_type, column_type=data_type, nullable=False,
        charset="utf8mb4" if data_type in ("varchar", "enum", "set") else None,
    )  # fmt: skip


def a_table(*columns: Column, key: Sequence[str] | None = None) -> Table:
    """Return a table with these columns, all of them its chunk key unless told."""
    names = tuple(c.name for c in columns)
    return Table(
        schema="shop", name="t", columns=columns, identity=names,
        chunk_key=names if key is None else tuple(key),
        key=parse_template("{table}:{pk}", schema="shop", table="t", pk=names),
        value_column=None, model="string",
    )  # fmt: skip


A, B = column("a"), column("b", "varchar")


@pytest.mark.parametrize(
    ("rows", "where", "bound"),
    [
        (KeyRange(), "", []),
        (KeyRange(first=("7",)), " WHERE ((`a` >= 7))", []),
        (KeyRange(last=("9",)), " WHERE ((`a` <= 9))", []),
        (KeyRange(first=("1",), after=("7",)), " WHERE ((`a` > 7))", []),
        (
            KeyRange(first=("7", "x")),
            " WHERE ((`a` > 7) OR (`a` = 7 AND `b` >= %s))",
            ["x"],
        ),
        (
            KeyRange(after=("7", "x"), last=("9", "y")),
            " WHERE ((`a` > 7) OR (`a` = 7 AND `b` > %s)) "
            "AND ((`a` < 9) OR (`a` = 9 AND `b` <= %s))",
            ["x", "y"],
        ),
    ],
)
def test_both_ends_are_within_and_the_last_row_read_is_not(
    rows: KeyRange, where: str, bound: list[str]
) -> None:
    """Of a key of several parts, only the first may be given."""
    assert (where, bound) == where_of([A, B], rows)


PARTS = st.integers(-3, 3)
PAIRS = st.tuples(PARTS, PARTS)


@given(PAIRS, st.none() | PAIRS | st.tuples(PARTS), st.none() | PAIRS | st.tuples(PARTS))
def test_a_row_is_in_a_range_where_its_key_is_between_both_ends(
    row: tuple[int, int], first: tuple[int, ...] | None, last: tuple[int, ...] | None
) -> None:
    """Compared part by part; a shorter end takes in all keys that begin with it."""
    rows = KeyRange(first=tuple(map(str, first or ())), last=tuple(map(str, last or ())))
    where, _ = where_of([A, column("b")], rows)
    condition = where.removeprefix(" WHERE ") or "True"
    texts = {"`a`": f"({row[0]})", "`b`": f"({row[1]})", "AND": "and", "OR": "or", " = ": " == "}
    for old, new in texts.items():
        condition = condition.replace(old, new)
    wanted = (not first or row[: len(first)] >= first) and (not last or row[: len(last)] <= last)

    assert wanted == eval(condition)


def test_a_chunk_is_read_in_the_keys_order_with_its_last_key() -> None:
    """The order is that of the key, not of the table; the key's texts come last."""
    table = a_table(column("x"), B, A, key=("a", "b"))
    codec = SelectCodec(table, mariadb=False)
    sql, bound = select_of(table, codec, KeyRange(after=("7", "x")), 10)

    assert sql == (
        f"SELECT {codec.select_list}, `a`, `b` FROM `shop`.`t`"
        " WHERE ((`a` > 7) OR (`a` = 7 AND `b` > %s)) ORDER BY `a`, `b` LIMIT 10"
    )
    assert bound == ["x"]
    assert ["a", "b"] == [c.name for c in chunk_columns(table)]


def test_a_table_without_a_key_is_read_in_one_piece() -> None:
    """No order, and nothing to resume from."""
    table = a_table(A, key=())
    codec = SelectCodec(table, mariadb=False)

    assert (f"SELECT {codec.select_list} FROM `shop`.`t` LIMIT 5", []) == select_of(
        table, codec, KeyRange(), 5
    )


def test_the_server_estimates_the_rows_of_the_same_range() -> None:
    """With the same condition and values."""
    assert (
        "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM `shop`.`t`"
        " WHERE ((`a` > 7) OR (`a` = 7 AND `b` >= %s))",
        ["x"],
    ) == estimate_of(a_table(A, B), KeyRange(first=("7", "x")))


@pytest.mark.parametrize(
    ("data_type", "text", "sql", "bound"),
    [
        ("int", "-7", "-7", ()),
        ("decimal", "1.50", "1.50", ()),
        ("double", "1e-7", "1e-7", ()),
        ("enum", "3", "3", ()),
        ("bit", "255", "255", ()),
        ("varbinary", "00FF", "UNHEX(%s)", ("00FF",)),
        ("binary", "", "UNHEX(%s)", ("",)),
        ("varchar", "x'; --", "%s", ("x'; --",)),
        ("datetime", "2026-11-23 10:00:00", "%s", ("2026-11-23 10:00:00",)),
    ],
)
def test_a_part_of_a_key_is_compared_as_its_type(
    data_type: str, text: str, sql: str, bound: tuple[str, ...]
) -> None:
    """Numbers bare, because a text would be compared as a float; texts bound; bytes from hex."""
    assert (sql, bound) == key_literal(column("a", data_type), text)


@pytest.mark.parametrize(
    ("data_type", "text"),
    [
        ("int", "1 OR 1=1"),
        ("int", ""),
        ("int", "٣"),
        ("int", "7\n"),
        ("double", "nan"),
        ("enum", "red"),
        ("blob", "0"),
        ("blob", "xy"),
    ],
)
def test_what_a_column_never_prints_is_refused(data_type: str, text: str) -> None:
    """It comes near no statement."""
    with pytest.raises(UsageError):
        key_literal(column("a", data_type), text)


@pytest.mark.parametrize(
    ("data_type", "printed", "order"),
    [
        ("int", "`a`", "`a`"),
        ("float", "`a`*1e0", "`a`"),
        ("double", "`a`", "`a`"),
        ("enum", "`a`+0", "`a`+0"),
        ("set", "`a`+0", "`a`+0"),
        ("bit", "`a`+0", "`a`+0"),
        ("varbinary", "HEX(`a`)", "`a`"),
    ],
)
def test_a_keys_text_is_exactly_its_value(data_type: str, printed: str, order: str) -> None:
    """A FLOAT would be printed with six digits; ENUM, SET and BIT are ordered by number."""
    table = a_table(column("a", data_type))
    codec = SelectCodec(table, mariadb=False)
    sql, _ = select_of(table, codec, KeyRange(), 1)

    assert sql == f"SELECT {codec.select_list}, {printed} FROM `shop`.`t` ORDER BY {order} LIMIT 1"


@pytest.mark.parametrize(
    ("ranges", "is_taken"),
    [
        ({"shop.t": [(("1",), ("9",))]}, True),
        ({"shop.t": [((), ())]}, True),
        ({"shop.t": [(("1", "x"), ())]}, True),
        ({"shop.t": [((), ())] * RANGES_AT_ONCE}, True),
        ({"shop.t": [((), ())] * (RANGES_AT_ONCE + 1)}, False),
        ({"shop.t": []}, False),
        ({}, False),
        ({"shop.u": [((), ())]}, False),
        ({"shop.t": [(("1", "x", "2"), ())]}, False),
        ({"shop.t": [((), ("x",))]}, False),
        ({"shop.heap": [((), ())]}, False),
    ],
)
def test_a_range_that_cannot_be_read_is_refused(
    ranges: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]], is_taken: bool
) -> None:
    """A table that is not captured or has no key, a key of another form, none or too many."""
    tables = [a_table(A, B), dataclasses.replace(a_table(A, key=()), name="heap")]
    if is_taken:
        checked(tables, ranges)
        return
    with pytest.raises(UsageError):
        checked(tables, ranges)


def test_open_ranges_fit_into_a_heartbeat() -> None:
    """128 KiB of them, as they are written there."""
    empty = len(b'[{"first":[""]}]')
    refuse_too_much([KeyRange(first=("x" * (RANGES_MAX_BYTES - empty),))])
    with pytest.raises(UsageError):
        refuse_too_much([KeyRange(first=("x" * (RANGES_MAX_BYTES - empty + 1),))])
