"""XA transactions in the assembler: what is published where, and what is read again."""

from __future__ import annotations

import struct

import msgspec
import pytest

from cdc.message import Prepared
from cdc.position import Position, Watermark
from cdc_reader.binlog import event as ev
from cdc_reader.publish import prepared as bounds
from cdc_reader.publish.transaction import Assembler
from cdc_reader.publish.xa_transactions import Again
from cdc_reader.resume.resume import Resume
from cdc_reader.schema.change import EVERY_END, SchemaChanged
from cdc_reader.schema.names import Names
from tests.support.binlog import UUID
from tests.support.planned import a_table
from tests.unit.cdc_reader.publish.test_transaction import OTHER, Log, assembler, feed

pytestmark = pytest.mark.usefixtures("path")

XID = "X'61',X'62',1"


def xa_prepare(log: Log, *, one_phase: bool = False, gtrid: bytes = b"a") -> ev.Event:
    body = struct.pack("<?III", one_phase, 1, len(gtrid), 1) + gtrid + b"b"
    return log.event(ev.XA_PREPARE, body)


def prepared(log: Log, number: int, *ids: int) -> list[ev.Event]:
    """Return a group of MySQL that prepares `XID`."""
    begin = [log.gtid(number), log.query(f"XA START {XID}"), log.table_map(), log.insert(*ids)]
    return [*begin, log.query(f"XA END {XID}"), xa_prepare(log)]


def outcome(log: Log, number: int, verb: str = "COMMIT") -> list[ev.Event]:
    return [log.gtid(number), log.query(f"XA {verb} {XID}")]


def resumed(a: Assembler, last: str = "") -> Assembler:
    """Return another connection's assembler, from what a heartbeat would have."""
    position = a.position
    listed = a.xa.prepared.listed() or ()
    return assembler(resume=Resume(epoch=1, position=position, last=last, prepared=listed))


def test_nothing_goes_out_at_prepare_and_all_at_commit() -> None:
    """With the id of its place, its GTID and its time, rows numbered through."""
    log, a = Log(), assembler()
    assert feed(a, *prepared(log, 1, 7, 8)) == []
    assert a.position.gtid_set == f"{UUID}:1"
    (noted,) = a.xa.prepared.listed() or ()
    assert (noted.xid, noted.tables, noted.gtid) == (XID, ("shop.users",), f"{UUID}:1")
    between = feed(a, *log.transaction(2, 1))
    gtid, commit = outcome(log, 3)

    got = feed(a, gtid, commit)

    place = f"1.1.{commit.end_offset - commit.size_bytes}"
    assert [(m["key"], m["id"], m["gtid"], m["ts"]) for m in got] == [
        ("users:7", f"{place}.0", f"{UUID}:3", 3000),
        ("users:8", f"{place}.1", f"{UUID}:3", 3000),
    ]
    assert got[0]["prev"] == between[-1]["id"]
    assert (a.boundary[1], a.position.gtid_set) == (log.end, f"{UUID}:1-3")
    assert not a.xa.prepared.listed()
    assert a.xa.late_tables == {"shop.users"}
    assert len(feed(a, *log.transaction(4, 9))) == 1


def test_a_rollback_forgets_and_one_phase_is_a_commit() -> None:
    """Rows of the one are never published, those of the other at its XA_PREPARE."""
    log, a = Log(), assembler()
    assert feed(a, *prepared(log, 1, 7), *outcome(log, 2, "ROLLBACK")) == []
    assert not a.xa.prepared.listed()

    begin = [log.gtid(3), log.query(f"XA START {XID}"), log.table_map(), log.insert(5, 6)]
    got = feed(a, *begin, xa_prepare(log, one_phase=True))
    assert [m["key"] for m in got] == ["users:5", "users:6"]
    assert not a.xa.prepared.listed()


def test_what_the_stream_has_of_a_commit_is_skipped() -> None:
    """A restart in the middle of its rows publishes the rest."""
    log, a = Log(), assembler()
    feed(a, *prepared(log, 1, 7, 8, 9))
    before, commit = resumed(a), outcome(log, 2)
    first = before.xa.prepared.listed() or ()
    rows = feed(a, *commit)
    half = assembler(
        resume=Resume(epoch=1, position=before.position, last=rows[1]["id"], prepared=first)
    )
    feed(half, *commit)
    assert half.xa.wanted is not None

    for event in _rows_again(Log(), 7, 8, 9):
        half.xa.take_again(event)
    half.xa.end_again()

    (run,) = half.runs
    assert [msgspec.json.decode(body) for body in run.bodies] == rows[2:]
    assert half.boundary == a.boundary


def _rows_again(log: Log, *ids: int) -> list[ev.Event]:
    return [log.table_map(), log.insert(*ids)]


def test_mariadb_tells_prepared_rows_by_a_flag() -> None:
    """There XA START is in no event."""
    log, a = Log(), assembler(mariadb=True)
    begin = log.event(ev.MARIADB_GTID, struct.pack("<QIB", 5, 0, 64) + bytes(6))
    done = log.event(ev.MARIADB_GTID, struct.pack("<QIB", 6, 0, 129) + bytes(6))

    assert feed(a, begin, log.table_map(), log.insert(7), xa_prepare(log)) == []
    got = feed(a, done, log.query(f"XA COMMIT {XID}"))
    assert [(m["key"], m["gtid"]) for m in got] == [("users:7", "0-1-6")]


def test_other_tables_are_noted_without_rows() -> None:
    """Their COMMIT publishes nothing, and reads nothing again."""
    log, a = Log(), assembler()
    begin = [log.gtid(1), log.query(f"XA START {XID}")]
    rows = [log.table_map("other", OTHER), log.insert(7, table_id=OTHER)]
    feed(a, *begin, *rows, xa_prepare(log))
    again = resumed(a)

    assert feed(again, *outcome(log, 2)) == []
    assert again.xa.wanted is None
    assert again.boundary[1] == log.end


def test_all_tables_are_read_again_where_a_transaction_was_not_noted() -> None:
    """Right in front of its COMMIT, which passes once that is announced."""
    log, a = Log(), assembler()
    commit = outcome(log, 2)
    with pytest.raises(SchemaChanged) as found:
        feed(a, *commit)
    assert (found.value.tables, found.value.kind) == (("shop.users",), "XA COMMIT")
    assert a.boundary[1] == 1000

    assert found.value.end is not None
    passing = assembler(passed=[found.value.end])
    assert feed(passing, *commit) == []
    assert passing.boundary[1] == log.end
    assert feed(assembler(passed=EVERY_END), *commit) == []


def test_a_statement_in_it_has_all_tables_read_again() -> None:
    """Its rows are in no binlog; nor is it known what a ROLLBACK TO took back."""
    for text in ("UPDATE users SET id = 5", "ROLLBACK TO `s`"):
        log, a = Log(), assembler()
        begin = [log.gtid(1), log.query(f"XA START {XID}"), log.table_map(), log.insert(7)]
        assert feed(a, *begin, log.query(text), xa_prepare(log)) == []
        with pytest.raises(SchemaChanged):
            feed(a, *outcome(log, 2))


def test_large_transactions_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the COMMIT, with where its rows are; so in one phase."""
    monkeypatch.setattr(bounds, "HOLD_BYTES", 10)
    log, a = Log(), assembler()
    group = prepared(log, 1, 7)
    feed(a, *group, *outcome(log, 2))
    wanted = a.xa.wanted
    assert wanted is not None
    assert (wanted.noted.file, wanted.noted.offset) == ("b.000001", group[0].end_offset)

    one = assembler()
    feed(one, *group[:-1], xa_prepare(log, one_phase=True))
    assert one.xa.wanted is not None
    assert one.xa.not_there().tables == ("shop.users",)


def test_a_place_that_no_dump_can_begin_at_has_its_tables_read_again() -> None:
    """Beyond 4 GiB of a file, or on another server, where it means nothing."""
    for file, offset in (("b.000001", 1 << 32), ("", 0)):
        one = Prepared(xid=XID, file=file, offset=offset, gtid=f"{UUID}:1", tables=("shop.users",))
        position = Position(file="b.000002", offset=1000, gtid_set="")
        a = assembler(resume=Resume(epoch=1, position=position, last="", prepared=(one,)))
        with pytest.raises(SchemaChanged):
            feed(a, *outcome(Log(), 2))


def noted(gtid: str = f"{UUID}:1") -> Prepared:
    return Prepared(xid=XID, file="b.000001", offset=1, gtid=gtid)


def test_a_transaction_is_found_again_with_its_rows_alone() -> None:
    """From its XA START, or on MariaDB its GTID, to its XA_PREPARE."""
    log, again = Log(), Again(noted())
    found = [row for event in prepared(log, 1, 7)[1:] for row in again.rows(event, _needs)]
    assert [event.kind for event in found] == [ev.TABLE_MAP, ev.WRITE_ROWS]
    assert (again.is_over, again.is_lost) == (True, False)

    mariadb = Again(noted("0-1-5"))
    begin = log.event(ev.MARIADB_GTID, struct.pack("<QIB", 5, 0, 64) + bytes(6))
    for event in (begin, log.table_map(), xa_prepare(log)):
        list(mariadb.rows(event, _needs))
    assert (mariadb.is_over, mariadb.is_lost) == (True, False)


def _needs(_: int, __: bytes) -> bool:
    return True


def test_anything_else_there_is_not_that_transaction() -> None:
    """Rows of another one are never taken for its own."""
    log = Log()
    begun = log.query(f"XA START {XID}")
    for events in (
        [log.query("XA START X'63',X'62',1")],
        [log.query("BEGIN")],
        [log.table_map()],
        [log.gtid(2)],
        [log.event(ev.MARIADB_GTID, struct.pack("<QIB", 6, 0, 64) + bytes(6))],
        [xa_prepare(log)],
        [begun, xa_prepare(log, gtrid=b"c")],
        [begun, log.gtid(1)],
        [begun, log.xid()],
        [begun, log.event(ev.HEARTBEAT)],
    ):
        again = Again(noted())
        rows = [row for event in events for row in again.rows(event, _needs)]
        assert (again.is_lost, again.is_over, rows) == (True, False, []), events


def test_what_is_prepared_goes_with_the_boundary() -> None:
    """A heartbeat inside of the group has the boundary before it, and nothing of it."""
    log, a = Log(), assembler()
    *first, last = prepared(log, 1, 7)
    feed(a, *first)
    assert not a.xa.prepared.listed()
    assert a.position == Position(file="b.000001", offset=1000, gtid_set="")
    feed(a, last)
    assert a.xa.prepared.listed()


def test_rows_that_are_skipped_at_prepare_are_read_again_at_commit() -> None:
    """Their columns may be known by then: with what is held they would be lost."""
    log = Log()
    users = a_table(columns={"id": "int"})
    end = Watermark(gtid_set=None, place=(1, 1 << 40))
    names = Names({"shop.users": users}, until={"shop.users": end}, unread={"shop.users"})
    a = assembler(names=names)
    assert feed(a, *prepared(log, 1, 7)) == []

    assert a.xa.prepared.rows_of(XID)[1] is None
    feed(a, *outcome(log, 2))
    assert a.xa.wanted is not None
    assert a.xa.wanted.tables == ("shop.users",)
