"""A key leads back to the condition that finds its row, or to none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import parse_template
from cdc.table import Column, Table
from cdc_verify.inverse import Condition, Inverse


def table(key: str, **kinds: str) -> Table:
    """Return a table with these columns."""
    columns = tuple(
        Column(name=name, data_type=kind, column_type=kind, charset=None, nullable=False)
        for name, kind in kinds.items()
    )
    return Table(
        schema="s",
        name="t",
        columns=columns,
        identity=(),
        chunk_key=(),
        key=parse_template(key, schema="s", table="t", pk=tuple(kinds)),
        value_column=None,
        model="string",
    )


@given(st.text(), st.text())
@pytest.mark.parametrize("key", ["t:{a}:{b}", "{a}-x{b}%", "{a}/{a}:{b}", "é{a}::{b}x"])
def test_the_template_turned_round_gives_the_texts(key: str, a: str, b: str) -> None:
    """Whatever the values, signs of the template in them included."""
    made = table(key, a="varchar", b="varchar")

    assert Inverse(made).texts(made.key.render({"a": a, "b": b})) == {"a": a, "b": b}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", "-42", Condition("`a`", "-42", ())),
        ("decimal", "17.50", Condition("`a`", "17.50", ())),
        ("varchar", "x'y", Condition("`a`", "%s", ("x'y",))),
        ("timestamp", "2026-11-23T10:00:00Z", Condition("`a`", "%s", ("2026-11-23 10:00:00",))),
        ("binary", "AP8=", Condition("`a`", "UNHEX(%s)", ("00ff",))),
        ("json", "{}", Condition("", "TRUE", ())),
    ],
)
def test_a_value_is_looked_for_as_its_type(kind: str, text: str, expected: Condition) -> None:
    """Numbers bare, texts bound, bytes from base64."""
    assert Inverse(table("t:{a}", a=kind)).condition("t:" + text) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1 OR 1=1"),
        ("int", "1.0"),
        ("int", ""),
        ("int", "٣"),
        ("decimal", "1e5"),
        ("double", "nan"),
        ("date", "yesterday"),
        ("datetime", "2026-11-23"),
        ("time", "10:00"),
        ("binary", "not base64"),
    ],
)
def test_what_no_value_prints_is_of_no_row(kind: str, text: str) -> None:
    """Nothing of a key that is not of the column's form comes near a statement."""
    assert Inverse(table("t:{a}", a=kind)).condition("t:" + text) is None


def test_a_float_is_looked_for_by_a_range() -> None:
    """Its text is the shortest that reads back, not all of its digits."""
    condition = Inverse(table("t:{a}", a="float")).condition("t:1.1")

    assert condition is not None
    low, high = (float(part) for part in condition.right.split(" BETWEEN ")[1].split(" AND "))
    assert low < 1.100000023841858 < high


def test_a_key_of_another_form_is_of_no_row() -> None:
    """The literals of the template are asked for too."""
    inverse = Inverse(table("t:{a}:{b}", a="int", b="int"))

    assert inverse.condition("t:1") is None
    assert inverse.condition("u:1:2") is None
    assert inverse.condition("t:1:2") == Condition("(`a`, `b`)", "(1, 2)", ())
