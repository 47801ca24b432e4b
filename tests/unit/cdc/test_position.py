"""GTID sets and positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.position import MariaDbGtidSet, MySqlGtidSet, Position, file_number

A = "7271e0ec-e705-11f1-8850-02fc00000001"
B = "8271e0ec-e705-11f1-8850-02fc00000002"


@pytest.mark.parametrize(
    "text",
    ["", f"{A}:1", f"{A}:1-7", f"{A}:1-7:9:11-12", f"{A}:1,{B}:5-6", f"{A}:1-3:mytag:1-2,{B}:4"],
)
def test_a_mysql_set_prints_as_it_was_read(text: str) -> None:
    """What the server printed goes back to it unchanged."""
    assert str(MySqlGtidSet.parse(text)) == text


def test_a_set_with_only_a_tag_keeps_the_tag() -> None:
    """A tag belongs to its uuid's numbers, with or without untagged ones before it."""
    s = MySqlGtidSet.parse(f"{A}:mytag:4")

    assert f"{A}:mytag:4" in s
    assert f"{A}:4" not in s


@given(st.lists(st.integers(1, 40), max_size=60))
def test_a_mysql_set_is_the_set_of_its_numbers(numbers: list[int]) -> None:
    """Whatever order transactions come in, the set holds those and no others."""
    s = MySqlGtidSet()
    for number in numbers:
        s.add(f"{A}:{number}")

    assert [n for n in range(42) if f"{A}:{n}" in s] == sorted(set(numbers))
    assert MySqlGtidSet.parse(str(s)) == s


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_superset_is_that_of_the_numbers(one: set[int], other: set[int]) -> None:
    """A purged or missing transaction is noticed by the sets' inclusion."""
    a, b = MySqlGtidSet(), MySqlGtidSet()
    for number in one:
        a.add(f"{A}:{number}")
    for number in other:
        b.add(f"{A}:{number}")

    assert a.issuperset(b) == (one >= other)


def test_a_copy_is_independent() -> None:
    """A watermark does not move with the reader."""
    a = MySqlGtidSet.parse(f"{A}:1")
    b = a.copy()
    a.add(f"{A}:2")

    assert f"{A}:2" not in b


@pytest.mark.parametrize("text", ["x", A, f"{A}:x-2", f"{A}:1-x", "7271:1"])
def test_what_is_no_set_is_refused(text: str) -> None:
    """A damaged heartbeat does not become an empty set."""
    with pytest.raises(ValueError, match="not a GTID"):
        MySqlGtidSet.parse(text)


def test_mariadb_keeps_the_newest_of_each_domain() -> None:
    """MariaDB's position is one transaction for each domain."""
    s = MariaDbGtidSet.parse("1-2-7,0-1-100")
    s.add("0-3-101")

    assert str(s) == "0-3-101,1-2-7"
    assert "0-1-100" in s
    assert "0-1-102" not in s


def test_file_numbers_are_read_from_the_end() -> None:
    """A binlog's base name may have dots itself."""
    assert file_number("mysql.bin.000412") == 412
    with pytest.raises(ValueError, match="binlog"):
        file_number("mysql-bin")


def test_a_position_reads_like_a_place() -> None:
    """Errors show file, offset and set."""
    assert str(Position(file="b.000001", offset=4, gtid_set=f"{A}:1")) == f"b.000001:4 ({A}:1)"
