"""The statements of verify."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import parse_template
from cdc.table import Column, Table
from cdc_verify.expected import Expected
from cdc_verify.inverse import EVERY_ROW, Condition
from cdc_verify.select import Selects, Statement


def selects(key: Sequence[str] = ("a",), **kinds: str) -> Selects:
    """Return the statements of a table with these columns, and one that is called ``v``."""
    columns = tuple(
        Column(name=name, data_type=kind, column_type=kind, charset=None, nullable=False)
        for name, kind in {**kinds, "v": "int"}.items()
    )
    table = Table(
        schema="shop", name="t%", columns=columns, identity=("v",), chunk_key=tuple(key),
        key=parse_template("t:{v}", schema="shop", table="t", pk=("v",)),
        value_column="v", model="string",
    )  # fmt: skip
    return Selects(table, Expected(table))


def test_a_chunk_is_read_in_the_order_of_the_key() -> None:
    """With the key's texts behind the columns; from the first row, or after one."""
    one = selects(("a", "b"), b="varchar", a="int")
    head = "SELECT `v`, `a`, `b` FROM `shop`.`t%%`"

    assert Statement(f"{head} ORDER BY `a`, `b` LIMIT 10", (), 3) == one.chunk((), 10)
    assert Statement(
        f"{head} WHERE (`a` > 7) OR (`a` = 7 AND `b` > %s) ORDER BY `a`, `b` LIMIT 10", ("x",), 3
    ) == one.chunk(("7", "x"), 10)


def test_a_table_without_a_key_is_read_in_one_piece() -> None:
    """No order, and no key of a row."""
    one = selects(())

    assert Statement("SELECT `v` FROM `shop`.`t%%` LIMIT 9", (), 1) == one.chunk((), 9)
    assert () == one.key_text((b"7",))


def test_the_last_key_of_a_chunk_is_found_without_its_rows() -> None:
    """That of the row which a chunk of so many rows would end with."""
    assert Statement(
        "SELECT `a` FROM `shop`.`t%%` WHERE (`a` > 7) ORDER BY `a` LIMIT 1 OFFSET 99", (), 1
    ) == selects(a="int").passed_over(("7",), 100)


@pytest.mark.parametrize(
    ("kind", "printed", "order", "literal", "bound"),
    [
        ("int", "`a`", "`a`", "7", ()),
        ("decimal", "`a`", "`a`", "7", ()),
        ("float", "`a` * 1e0", "`a`", "7", ()),
        ("enum", "`a` + 0", "`a` + 0", "7", ()),
        ("bit", "`a` + 0", "`a` + 0", "7", ()),
        ("varbinary", "HEX(`a`)", "`a`", "UNHEX(%s)", ("7",)),
        ("varchar", "`a`", "`a`", "%s", ("7",)),
        ("date", "`a`", "`a`", "%s", ("7",)),
    ],
)
def test_a_key_is_printed_and_compared_as_its_type(
    kind: str, printed: str, order: str, literal: str, bound: tuple[str, ...]
) -> None:
    """Numbers bare, because a text would be compared as a float; bytes as hex."""
    assert Statement(
        f"SELECT {printed} FROM `shop`.`t%%` WHERE ({order} > {literal})"
        f" ORDER BY {order} LIMIT 1 OFFSET 0",
        bound,
        1,
    ) == selects(a=kind).passed_over(("7",), 1)


PARTS = st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2))


@given(PARTS, PARTS)
def test_rows_after_a_key_are_those_whose_key_is_greater(
    row: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """Compared part by part."""
    sql = selects(("a", "b", "c"), a="int", b="int", c="int").chunk(tuple(map(str, after)), 1).sql
    where = sql.split(" WHERE ")[1].split(" ORDER BY ")[0]
    texts = {f"`{n}`": f"({v})" for n, v in zip("abc", row, strict=True)}
    for old, new in {**texts, "AND": "and", "OR": "or", " = ": " == "}.items():
        where = where.replace(old, new)

    assert (row > after) == eval(where)


@pytest.mark.parametrize("locking", [False, True])
def test_single_rows_are_found_by_any_of_their_conditions(locking: bool) -> None:
    """Those with one left side share an IN; values are bound in the order of their signs."""
    conditions = [
        Condition("`a`", "%s", ("x",)),
        Condition("", "(`b` BETWEEN 1 AND 2)", ()),
        Condition("`c`", "UNHEX(%s)", ("00",)),
        Condition("`a`", "%s", ("y",)),
        Condition("", "(`d` = %s)", ("z",)),
    ]

    assert Statement(
        "SELECT `v`, `a` FROM `shop`.`t%%` WHERE `a` IN (%s, %s) OR `c` IN (UNHEX(%s))"
        " OR (`b` BETWEEN 1 AND 2) OR (`d` = %s)" + (" FOR SHARE" if locking else ""),
        ("x", "y", "00", "z"),
        2,
    ) == selects(a="int").rows(conditions, locking=locking)


def test_a_condition_that_every_row_fulfils_reads_every_row() -> None:
    """Nothing leads back from a hash."""
    assert selects(a="int").rows([EVERY_ROW]).sql.endswith(" WHERE TRUE")


def test_the_key_of_a_row_is_behind_its_columns() -> None:
    """As texts, which resume the walk."""
    one = selects(("a", "b"), a="int", b="varchar")

    assert ("7", "é") == one.key_text((b"1", b"7", "é".encode()))
    assert ("7", "") == one.key_text((None, b"7", None))
