"""GTID sets and positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.position import MariaDbGtidSet, MariaDbState, MySqlGtidSet, Position, file_number

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


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_difference_and_union_are_those_of_the_numbers(one: set[int], other: set[int]) -> None:
    """Neither changes the sets that it is made of."""
    a, b = MySqlGtidSet(), MySqlGtidSet()
    for number in one:
        a.add(f"{A}:{number}")
    for number in other:
        b.add(f"{A}:{number}")

    for found, expected in ((a.minus(b), one - other), (a.union(b), one | other), (a, one)):
        assert [n for n in range(32) if f"{A}:{n}" in found] == sorted(expected)


def test_difference_and_union_keep_servers_and_tags_apart() -> None:
    """The same number of another uuid or tag is another transaction."""
    a = MySqlGtidSet.parse(f"{A}:1-5:mytag:1-3,{B}:7")
    b = MySqlGtidSet.parse(f"{A}:2-3:mytag:3,{B}:8")

    assert str(a.minus(b)) == f"{A}:1:4-5:mytag:1-2,{B}:7"
    assert str(a.union(b)) == f"{A}:1-5:mytag:1-3,{B}:7-8"
    assert str(a.minus(a)) == ""


@pytest.mark.parametrize(
    ("other", "has_common"),
    [("", False), (f"{A}:5", True), (f"{A}:6-9", False), (f"{B}:1-5", False)],
)
def test_sets_with_a_common_transaction_are_told_from_others(other: str, has_common: bool) -> None:
    """Only the very transactions count."""
    assert MySqlGtidSet.parse(f"{A}:1-5").intersects(MySqlGtidSet.parse(other)) is has_common


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


def test_a_copy_of_mariadbs_position_is_independent() -> None:
    """Equal to the other until one of them moves."""
    a = MariaDbGtidSet.parse("0-1-100")
    b = a.copy()
    assert a == b
    a.add("0-1-101")

    assert (str(a), str(b)) == ("0-1-101", "0-1-100")
    assert a != b
    assert b != "0-1-100"


@pytest.mark.parametrize("text", ["0-1", "0-1-x", "0-1-2-3", "x"])
def test_what_is_no_mariadb_position_is_refused(text: str) -> None:
    """A set of MySQL is none either."""
    with pytest.raises(ValueError, match="not a MariaDB GTID"):
        MariaDbGtidSet.parse(text)


@pytest.mark.parametrize(
    ("gtid", "is_there"),
    [
        ("0-1-100", True),
        ("0-1-101", False),
        ("0-2-205", True),
        ("0-2-206", False),
        ("0-3-1", False),
        ("1-1-1", False),
    ],
)
def test_mariadbs_binlog_has_the_transactions_of_each_server(gtid: str, is_there: bool) -> None:
    """Unlike its position, which has one server for each domain."""
    assert (gtid in MariaDbState("0-1-100,\n0-2-205")) is is_there
    assert gtid not in MariaDbState("")


def test_file_numbers_are_read_from_the_end() -> None:
    """A binlog's base name may have dots itself."""
    assert file_number("mysql.bin.000412") == 412
    with pytest.raises(ValueError, match="binlog"):
        file_number("mysql-bin")


def test_a_position_reads_like_a_place() -> None:
    """Errors show file, offset and set."""
    assert str(Position(file="b.000001", offset=4, gtid_set=f"{A}:1")) == f"b.000001:4 ({A}:1)"
