"""What is kept of prepared transactions, and within which bounds."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event
from cdc_reader.publish import prepared
from cdc_reader.publish.prepared import Group, PreparedTransactions


def table_map(table: bytes) -> Event:
    body = b"\1\0\0\0\0\0\1\0\4shop\0" + bytes([len(table)]) + table + b"\0"
    return Event(ev.TABLE_MAP, b"#" + body, 1, 1 + len(body), 0, 0, 0, 0, 0)


def rows(size: int) -> Event:
    return Event(ev.WRITE_ROWS, bytes(size), 0, size, 0, 0, 0, 0, 0)


def group(*events: Event) -> Group:
    one = Group("b.000001", 700, "0-1-5")
    for event in events:
        one.hold(event, is_captured=True)
    return one


def test_a_group_keeps_captured_rows_and_the_names_of_all_tables() -> None:
    """A table that is captured only later is told by its name."""
    one = group(table_map(b"users"), rows(10))
    one.hold(table_map(b"other"), is_captured=False)
    one.hold(rows(1 << 30), is_captured=False)

    assert one.events is not None
    assert [event.kind for event in one.events] == [ev.TABLE_MAP, ev.WRITE_ROWS]
    assert one.events[0].start == 0
    noted = one.noted("x", since=5)
    assert noted.tables == ("shop.other", "shop.users")
    assert (noted.file, noted.offset, noted.gtid, noted.since) == ("b.000001", 700, "0-1-5", 5)


def test_of_many_tables_and_of_statements_no_table_is_known() -> None:
    """All captured tables count as changed."""
    names = [str(n).encode() for n in range(prepared.TABLES_MAX + 1)]
    assert group(*map(table_map, names)).noted("x", since=0).tables is UNSET

    one = group(table_map(b"users"))
    one.lose()
    noted = one.noted("x", since=0)
    assert (noted.tables, noted.file, noted.gtid, one.events) == (UNSET, "", UNSET, None)


def test_rows_are_held_up_to_a_bound_and_the_newest_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is forgotten is still noted, with where it is."""
    monkeypatch.setattr(prepared, "HOLD_BYTES", 1000)
    assert group(rows(900)).events is None
    all_ = PreparedTransactions(())
    for xid in ("one", "two"):
        all_.prepare(xid, group(rows(400)), since=0)

    assert all_.rows_of("one")[0].offset == 700
    assert all_.rows_of("one")[1] is None
    assert len(all_.rows_of("two")[1] or ()) == 1
    all_.forget("two")
    all_.prepare("three", group(rows(700)), since=0)
    assert len(all_.rows_of("three")[1] or ()) == 1


def test_the_heartbeat_has_the_newest_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first, nothing where nothing is prepared, and again what it had."""
    all_ = PreparedTransactions(())
    assert all_.listed() is UNSET
    for xid in "abcd":
        all_.prepare(xid, group(), since=0)
    listed = all_.listed()
    assert [one.xid for one in listed or ()] == list("abcd")
    assert PreparedTransactions(listed or ()).listed() == listed

    monkeypatch.setattr(prepared, "LISTED_BYTES", 200)
    all_.forget("d")
    assert [one.xid for one in all_.listed() or ()] == ["b", "c"]
    monkeypatch.setattr(prepared, "NOTED_MAX", 3)
    for xid in "ef":
        all_.prepare(xid, group(), since=0)
    assert all_.rows_of("a")[0].file == ""
    assert all_.rows_of("c")[0].file == "b.000001"
