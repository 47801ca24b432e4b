"""Keys whose rows the binlog has in part."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from cdc.message import KeyRange, TableProgress
from cdc.table import Column
from cdc_reader.messages.unread import MAX_BYTES, Unread

ID = Column(name="id", data_type="bigint", column_type="bigint", charset=None, nullable=False)
NAME = Column(
    name="n", data_type="varchar", column_type="varchar(9)", charset="utf8mb4", nullable=False
)
COLUMNS = {"shop.users": [ID], "shop.names": [NAME], "shop.both": [ID, NAME]}


def unread(known: dict[str, TableProgress] | None = None, **how: Any) -> Unread:
    return Unread({} if known is None else known, columns=COLUMNS, **how)


def ranges(*ends: tuple[str, str]) -> tuple[KeyRange, ...]:
    return tuple(KeyRange(first=(first,), last=(last,)) for first, last in ends)


def progress(one: Unread, table: str = "shop.users") -> TableProgress:
    return one.progress(table, TableProgress(done=True))


def test_neighbours_become_one_range_and_keys_come_once() -> None:
    """An UPDATE of a whole table is one range, however many rows it has."""
    one = unread()
    for id_ in (*range(1, 100_000), 7, 3, 99_999, 200_001, 200_001):
        one.note("shop.users", (str(id_),))

    assert progress(one).partial == ranges(("1", "99999"), ("200001", "200001"))


def test_texts_have_no_neighbours() -> None:
    """Between two of them others may be."""
    one = unread()
    for name in ("a", "b", "a"):
        one.note("shop.names", (name,))

    assert progress(one, "shop.names").partial == ranges(("a", "a"), ("b", "b"))


def test_a_heartbeat_carries_what_is_read_and_what_waits() -> None:
    """A key that is touched again while it is read is read again; a kill forgets neither."""
    one = unread()
    for id_ in ("1", "5", "9"):
        one.note("shop.users", (id_,))
    assert one.take("shop.users", 2) == ranges(("1", "1"), ("5", "5"))
    one.note("shop.users", ("5",))
    assert progress(one).partial == ranges(("1", "1"), ("5", "5"), ("9", "9"), ("5", "5"))
    one.done("shop.users")
    assert progress(one).partial == ranges(("9", "9"), ("5", "5"))
    assert one.waiting() == ("shop.users",)

    again = unread({"shop.users": progress(one)})
    assert progress(again).partial == ranges(("9", "9"), ("5", "5"))
    assert again.is_known("shop.users")
    assert not again.is_known("shop.names")


def test_what_was_not_read_waits_again() -> None:
    """Its longest range stays, whichever was noted meanwhile."""
    one = unread()
    for id_ in (1, 2, 3):
        one.note("shop.users", (str(id_),))
    one.take("shop.users", 9)
    one.note("shop.users", ("1",))
    one.put_back("shop.users")

    assert progress(one).partial == ranges(("1", "3"))


def test_a_wide_range_is_read_in_parts() -> None:
    """No SELECT reads more rows than a chunk has."""
    one = unread({"shop.users": TableProgress(partial=ranges(("10", "25"), ("40", "40")))})

    taken = []
    while one.waiting():
        taken.append(one.take("shop.users", 7))
        one.done("shop.users")
    assert taken == [
        ranges(("10", "16")), ranges(("17", "23")), ranges(("24", "25"), ("40", "40"))
    ]  # fmt: skip


def test_tables_take_turns() -> None:
    """A table that is always written does not keep the others waiting."""
    one = unread()
    for table, key in (("shop.users", ("1",)), ("shop.names", ("a",)), ("shop.users", ("8",))):
        one.note(table, key)
    assert one.waiting()[0] == "shop.users"
    one.take("shop.users", 1)
    assert one.waiting()[0] == "shop.names"


def test_a_table_is_read_as_a_whole_where_its_keys_are_too_many() -> None:
    """Heartbeats stay small; the table with the most gives way, and nothing of it is noted more."""
    one = unread()
    one.note("shop.names", ("a",))
    for id_ in range(0, 20_000, 2):
        one.note("shop.users", (str(id_),))

    assert one.lost() == ("shop.users",)
    assert progress(one).partial == ()
    assert progress(one).refresh_due is True
    assert progress(one, "shop.names").partial == ranges(("a", "a"))
    one.note("shop.users", ("7",))
    assert unread({"shop.users": progress(one)}).lost() == ("shop.users",)


def test_ranges_that_touch_are_joined_before_a_table_gives_way() -> None:
    """Rows that are written in another order than their key's."""
    one = unread()
    for id_ in (*range(0, 4000, 2), *range(1, 4000, 2)):
        one.note("shop.users", (str(id_),))

    assert one.lost() == ()
    assert len(msgspec.json.encode(progress(one).partial)) <= MAX_BYTES


@given(st.lists(st.text(max_size=9), min_size=1), st.integers(300, 3000))
def test_what_heartbeats_carry_is_bounded(names: list[str], max_bytes: int) -> None:
    """Whatever is in the keys: quotes, and letters of several bytes."""
    one = unread(max_bytes=max_bytes)
    for name in names:
        one.note("shop.both", ("1", name))
        size = len(msgspec.json.encode(progress(one, "shop.both").partial_keys))
        assert size <= max_bytes + 2


@pytest.mark.parametrize("partial", [ranges(("1", "1")), ()])
def test_keys_of_another_definition_have_the_table_read(partial: tuple[KeyRange, ...]) -> None:
    """Their texts would be compared with other columns."""
    one = unread({"shop.both": TableProgress(partial=partial)})

    assert one.lost() == (("shop.both",) if partial else ())


def test_transactions_are_shown_when_the_rows_they_have_in_part_are_read() -> None:
    """All up to a boundary, once the keys that were open there are read, however many follow."""
    one = unread(shown="u:1-3")
    assert one.shown("u:1-4") is UNSET
    for key in ("1", "5"):
        one.note("shop.users", (key,))
    one.note("shop.names", ("a",))
    assert one.shown("u:1-6") == "u:1-4"
    one.take("shop.users", 1)
    one.done("shop.users")
    one.note("shop.users", ("9",))
    assert one.shown("u:1-7") == "u:1-4"
    for table in ("shop.names", "shop.users"):
        one.take(table, 1)
        one.done(table)
    assert one.shown("u:1-8") == "u:1-6"
    one.take("shop.users", 1)
    one.done("shop.users")
    assert one.shown("u:1-9") is UNSET

    assert unread({"shop.users": progress(one)}, shown="u:1-4").shown("u:1-9") is UNSET
    waits = TableProgress(partial=ranges(("1", "1")))
    assert unread({"shop.users": waits}, shown="u:1-4").shown("u:1-9") == "u:1-4"
    assert unread({"shop.users": waits}).shown(None) is UNSET


def test_a_range_that_is_read_in_part_holds_its_transactions_back() -> None:
    """As does a table that is to be read as a whole."""
    one = unread({"shop.users": TableProgress(partial=ranges(("1", "9")))}, shown="u:1")
    assert one.shown("u:1-2") == "u:1"
    one.take("shop.users", 5)
    one.done("shop.users")
    assert one.shown("u:1-3") == "u:1"
    one.take("shop.users", 5)
    one.done("shop.users")
    one.lose("shop.users")
    assert [one.shown(f"u:1-{n}") for n in (4, 5, 6)] == ["u:1-2"] * 3


def test_without_a_stream_every_table_may_have_such_rows() -> None:
    """`cdc tail` and a dry run keep nothing."""
    assert Unread().is_known("shop.users")
    one = unread()
    one.begin("shop.users")
    assert (one.moved, one.is_known("shop.users")) == ({"shop.users"}, True)
    assert progress(one).partial == ()
