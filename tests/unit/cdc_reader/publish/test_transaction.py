"""The assembler: which messages events become, and where a restart may begin."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal

import msgspec
import pytest
import zstandard

from cdc.errors import PositionLostError
from cdc.key import parse_template
from cdc.message import Placed, TableProgress
from cdc.position import MySqlGtidSet, Position, Watermark
from cdc.table import Column, Table
from cdc_reader.binlog import event as ev
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import Resume, parsed_gtid_set
from cdc_reader.rows.shape import Target, target_of
from cdc_reader.schema.change import End, ReadAgain, SchemaChanged
from cdc_reader.schema.names import Names
from tests.support.binlog import UUID, Events

pytestmark = pytest.mark.usefixtures("path")

USERS, OTHER = b"\x01\0\0\0\0\0", b"\x02\0\0\0\0\0"


class Log(Events[ev.Event]):
    """A binlog file that is written event by event, as a server would."""

    def __init__(self, offset: int = 1000) -> None:
        self.end = offset

    def event(self, kind: int, body: bytes = b"", **how: Any) -> ev.Event:
        """Append an event; return it as `PacketReader` does."""
        size = 19 + len(body) + 4
        self.end += size
        fields = {"end_offset": self.end & 0xFFFFFFFF, "timestamp_s": 7, "flags": 0} | how
        return ev.Event(
            kind=kind,
            buffer=body,
            start=0,
            end=len(body),
            size_bytes=size,
            server_id=1,
            **fields,
        )

    def table_map(self, table: str = "users", table_id: bytes = USERS) -> ev.Event:
        """Append the map of a table with one column, id INT."""
        name = table.encode()
        body = table_id + b"\1\0\4shop\0" + bytes([len(name)]) + name + b"\0"
        body += b"\1\x03\0\0" + b"\1\1\0" + b"\4\3\2id"
        return self.event(ev.TABLE_MAP, body)

    def insert(self, *ids: int, table_id: bytes = USERS) -> ev.Event:
        """Append rows."""
        rows = b"".join(b"\0" + struct.pack("<i", i) for i in ids)
        return self.event(ev.WRITE_ROWS, table_id + b"\1\0\2\0\1\xff" + rows)

    def transaction(self, number: int, *ids: int) -> list[ev.Event]:
        """Append a whole transaction that inserts rows."""
        begin = [self.gtid(number), self.query("BEGIN")]
        return [*begin, self.table_map(), self.insert(*ids), self.xid()]


def assembler(
    *,
    offset: int = 1000,
    last: str = "",
    gtid_set: str | None = "",
    mariadb: bool = False,
    resume: Resume | None = None,
    on_schema_change: Literal["refresh", "stop", "continue"] = "stop",
    aside: Collection[str] = (),
    passed: Collection[End] = (),
    names: Names | None = None,
) -> Assembler:
    """Return an assembler that captures shop.users and begins at b.000001:1000."""
    key = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    position = Position(file="b.000001", offset=offset, gtid_set=gtid_set)
    resume = resume or Resume(epoch=1, position=position, last=last)
    return Assembler(
        resume=resume,
        gtid_set=parsed_gtid_set(resume.position, mariadb=mariadb),
        targets={"shop.users": Target(table="shop.users", key=key, value_column=None)},
        mariadb=mariadb,
        on_schema_change=on_schema_change,
        aside=aside,
        passed=passed,
        names=names,
    )


def feed(a: Assembler, *events: ev.Event) -> list[dict[str, Any]]:
    """Take events in; return the messages that came of them."""
    for event in events:
        a.take(event)
    runs, a.runs = a.runs, []
    return [msgspec.json.decode(body) for run in runs for body in run.bodies]


def test_every_row_is_a_message_and_the_boundary_is_the_transactions_end() -> None:
    """Ids are positions in the binlog, chained; the boundary moves only at XID (invariant 2)."""
    log, a = Log(), assembler()
    *events, xid = log.transaction(5, 7, 8)
    rows_at = 1000 + sum(e.size_bytes for e in events[:-1])
    got = feed(a, *events)

    assert [(m["key"], m["id"], m["prev"]) for m in got] == [
        ("users:7", f"1.1.{rows_at}.0", ""),
        ("users:8", f"1.1.{rows_at}.1", f"1.1.{rows_at}.0"),
    ]
    assert (got[0]["gtid"], got[0]["ts"]) == (f"{UUID}:5", 5000)
    assert a.position == Position(file="b.000001", offset=1000, gtid_set="")
    feed(a, xid)
    assert a.position == Position(file="b.000001", offset=log.end, gtid_set=f"{UUID}:5")


def test_rows_that_the_stream_has_are_skipped_to_the_row() -> None:
    """A restart in the middle of a transaction resumes at the next row, with the same ids."""
    events = Log().transaction(5, 7, 8, 9)
    whole = feed(assembler(), *events)
    rest = feed(assembler(last=whole[1]["id"]), *events)

    assert rest == [whole[2]]
    assert feed(assembler(last=whole[2]["id"]), *events) == []


def test_a_restart_behind_a_snapshot_row_skips_up_to_the_change_before_it() -> None:
    """A snapshot row's id is that of the change before it with one more counter."""
    log = Log()
    events = [*log.transaction(5, 7), *log.transaction(6, 8)]
    whole = feed(assembler(), *events)
    rest = feed(assembler(last=whole[0]["id"] + ".12"), *events)

    assert [m["key"] for m in rest] == ["users:8"]
    assert rest[0]["prev"] == whole[0]["id"] + ".12"


def test_on_another_server_the_rows_that_the_stream_has_are_passed_over() -> None:
    """The newest transaction resumes at its next row; the offset is known from its end on."""
    log, published = Log(4), Published()
    message = {"key": "users:7", "op": "insert", "table": "shop.users", "prev": "", "ts": 1}
    published.note(msgspec.convert({**message, "gtid": f"{UUID}:5", "id": "1.9.9.0"}, Placed))
    resume = Resume(
        epoch=2,
        position=Position(file="b.000001", offset=4, gtid_set=f"{UUID}:1-4"),
        last="1.9.9.0",
        published=published,
        is_position_known=False,
    )
    a = assembler(resume=resume)
    feed(a, log.event(ev.FORMAT_DESCRIPTION, bytes(100)), log.event(ev.PREVIOUS_GTIDS, b"x"))
    assert a.is_behind_the_stream()
    assert a.position.offset == 4
    got = feed(a, *log.transaction(5, 7, 8), *log.transaction(6, 9))

    assert [m["key"] for m in got] == ["users:8", "users:9"]
    assert (got[0]["prev"], got[0]["id"].split(".")[0]) == ("1.9.9.0", "2")
    assert not a.is_behind_the_stream()
    assert a.position == Position(file="b.000001", offset=log.end, gtid_set=f"{UUID}:1-6")


def test_tables_that_are_not_captured_cost_a_look_and_move_the_boundary() -> None:
    """Their transactions are skipped, and a restart begins after them."""
    log, a = Log(), assembler()
    events = [log.gtid(1), log.query("BEGIN"), log.table_map("other", OTHER)]
    events += [log.insert(1, table_id=OTHER), log.xid()]

    assert feed(a, *events) == []
    assert a.position.gtid_set == f"{UUID}:1"


def test_a_compressed_transaction_gives_ids_at_its_own_place() -> None:
    """Inner events have no place: all rows are counted through at the payload's."""
    inner, log, a = Log(0), Log(), assembler()
    gtid = log.gtid(5)
    parts = [inner.query("BEGIN"), inner.table_map(), inner.insert(7, 8)]
    parts += [inner.table_map(), inner.insert(9), inner.xid()]
    raw = b"".join(
        struct.pack("<IBIIIH", 7, e.kind, 1, 19 + len(e.buffer), 0, 0) + e.buffer for e in parts
    )
    packed = zstandard.compress(raw)
    body = b"\2\1\0" + b"\1\3\xfc" + struct.pack("<H", len(packed)) + b"\0" + packed
    got = feed(a, gtid, log.event(ev.TRANSACTION_PAYLOAD, body))
    place = 1000 + gtid.size_bytes

    assert [m["id"] for m in got] == [f"1.1.{place}.{row}" for row in range(3)]
    assert a.position == Position(file="b.000001", offset=log.end, gtid_set=f"{UUID}:5")


def test_a_file_longer_than_four_gib_keeps_its_places_apart() -> None:
    """An event's header has 32 bits for the offset; ids keep growing."""
    offset = (1 << 32) - 60
    log, a = Log(offset), assembler(offset=offset)
    got = feed(a, *log.transaction(5, 7), *log.transaction(6, 8))

    assert int(got[0]["id"].split(".")[2]) > offset
    assert int(got[1]["id"].split(".")[2]) > 1 << 32
    assert a.position.offset == log.end > 1 << 32


def test_a_dump_by_gtid_that_begins_at_its_files_start_does_not_move_us_back() -> None:
    """Format description and earlier sets of a file are before the boundary (invariant 2)."""
    a, early = assembler(), Log(0)
    feed(a, early.event(ev.ROTATE, struct.pack("<Q", 4) + b"b.000001", timestamp_s=0))
    feed(a, early.event(ev.FORMAT_DESCRIPTION, bytes(100)), early.event(ev.PREVIOUS_GTIDS, b"x"))

    assert a.position.offset == 1000


def test_rotation_between_transactions_moves_the_boundary_to_the_next_file() -> None:
    """Without GTIDs a restart must find the file, also when nothing was written since."""
    log, a = Log(), assembler(gtid_set=None)
    feed(a, log.event(ev.ROTATE, struct.pack("<Q", 4) + b"b.000002"))
    feed(a, Log(4).event(ev.FORMAT_DESCRIPTION, bytes(100)))

    assert (a.position.file, a.position.offset) == ("b.000002", 127)


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["ALTER TABLE users ADD c INT"], "ALTER TABLE of the captured table shop.users"),
        (["TRUNCATE users"], "TRUNCATE of the captured table"),
        (["DROP TABLE `users`"], "DROP TABLE of the captured table"),
        (["RENAME TABLE users TO x"], "RENAME TABLE of the captured table"),
        (["BEGIN", "UPDATE users SET id = 1"], "UPDATE on shop.users is in the binlog as a stat"),
        (["BEGIN", "DELETE FROM shop.users"], "DELETE on shop.users is in the binlog as a state"),
    ],
)
def test_a_statement_on_a_captured_table_stops_with_its_place(
    statements: list[str], says: str
) -> None:
    """Definition changes, and rows changed by a statement, are never passed over."""
    log, a = Log(), assembler()
    with pytest.raises(PositionLostError) as error:
        feed(a, log.gtid(5), *map(log.query, statements))

    assert says in error.value.seen
    assert f"b.000001:{log.end}, GTID {UUID}:5" in error.value.seen
    assert error.value.safe
    assert error.value.fix


def test_a_schema_change_may_be_a_barrier_instead() -> None:
    """With on_schema_change = continue it is a message in line, and is skipped when stored."""
    log = Log()
    events = [log.gtid(5), log.query("ALTER TABLE users ADD c INT"), *log.transaction(6, 7)]
    got = feed(assembler(on_schema_change="continue"), *events)
    again = feed(assembler(on_schema_change="continue", last=got[0]["id"]), *events)

    assert [m["op"] for m in got] == ["schema", "insert"]
    assert (got[0]["statement"], got[1]["prev"]) == ("ALTER TABLE", got[0]["id"])
    assert again == got[1:]


def test_a_schema_change_is_looked_at_before_it_is_passed() -> None:
    """With on_schema_change = refresh; once looked at, or where the stream has it, it passes."""
    log = Log()
    events = [log.gtid(5), log.query("TRUNCATE users"), *log.transaction(6, 7)]
    a = assembler(on_schema_change="refresh")
    with pytest.raises(SchemaChanged) as met:
        feed(a, *events)
    change = met.value
    assert change.end is not None
    got = feed(assembler(on_schema_change="refresh", passed={change.end}), *events)
    again = feed(assembler(on_schema_change="refresh", last=got[0]["id"]), *events)

    assert (change.tables, change.kind, change.end.gtid) == (
        ("shop.users",), "TRUNCATE", f"{UUID}:5",
    )  # fmt: skip
    assert a.position.gtid_set == ""
    assert [m["op"] for m in got] == ["schema", "insert"]
    assert again == got[1:]


@pytest.mark.parametrize(
    ("statement", "looked_at"),
    [
        ("CREATE TABLE orders (id INT)", True),
        ("RENAME TABLE new TO orders", True),
        ("ALTER TABLE orders ADD PRIMARY KEY (id)", True),
        ("CREATE TEMPORARY TABLE orders (id INT)", False),
        ("CREATE TABLE others (id INT)", False),
        ("CREATE INDEX orders ON others (id)", False),
    ],
)
def test_what_may_bring_back_a_table_is_looked_at(statement: str, looked_at: bool) -> None:
    """A table that is set aside has no rows here; a statement that names it has a meaning."""
    log = Log()
    a = assembler(on_schema_change="refresh", aside=("shop.orders",))
    feed(a, log.gtid(5))
    if not looked_at:
        assert feed(a, log.query(statement)) == []
        return
    with pytest.raises(SchemaChanged) as met:
        feed(a, log.query(statement))
    assert met.value.tables == ("shop.orders",)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (ev.INCIDENT, "events were lost"),
        (77, "event of type 77"),
        (20, "event of type 20"),
    ],
)
def test_what_cannot_be_read_stops(kind: int, says: str) -> None:
    """An incident or an unknown event is never skipped (invariant 3)."""
    with pytest.raises(PositionLostError, match=says) as refused:
        feed(assembler(), Log().event(kind, b"x"))
    assert refused.value.table == ""


def test_an_unknown_event_that_may_be_ignored_is_ignored() -> None:
    """The server marks what a reader may leave out."""
    assert feed(assembler(), Log().event(77, b"x", flags=ev.IGNORABLE_FLAG)) == []


def known_in_part(last: str = "", *, is_known: bool = True) -> tuple[Log, Assembler]:
    """Return an assembler whose stream tells that rows of shop.users may be in part."""
    id_ = Column(name="id", data_type="int", column_type="int", charset=None, nullable=False)
    n = replace(id_, name="n")
    key = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    table = Table(
        schema="shop", name="users", columns=(id_, n), identity=("id",), chunk_key=("id",), key=key,
        value_column=None, model="string",
    )  # fmt: skip
    known = {"shop.users": TableProgress(partial=())} if is_known else {}
    position = Position(file="b.000001", offset=1000, gtid_set="")
    return Log(), Assembler(
        resume=Resume(epoch=1, position=position, last=last),
        gtid_set=parsed_gtid_set(position, mariadb=False),
        targets={"shop.users": target_of(table)},
        mariadb=False,
        on_schema_change="stop",
        unread=Unread(known, columns={"shop.users": [id_]}),
    )


def noted(a: Assembler) -> list[str]:
    return [part.first[0] for part in a.unread.progress("shop.users", TableProgress()).partial_keys]


def two_columns(log: Log) -> ev.Event:
    """Append the map of a table with the columns id and n."""
    body = USERS + b"\1\0\4shop\0\5users\0\2\x03\x03\0\0" + b"\1\1\0" + b"\4\5\2id\1n"
    return log.event(ev.TABLE_MAP, body)


def whole(log: Log, id_: int) -> ev.Event:
    """Append a row with both."""
    row = b"\0" + struct.pack("<ii", id_, 1)
    return log.event(ev.WRITE_ROWS, USERS + b"\1\0\2\0\2\3" + row)


def minimal(log: Log, *ids: int) -> ev.Event:
    """Append updates that have id before, and nothing after: what changed is not carried."""
    rows = b"".join(b"\0" + struct.pack("<i", i) for i in ids)
    return log.event(ev.UPDATE_ROWS, USERS + b"\1\0\2\0\2\1\0" + rows)


def test_rows_in_part_are_noted_to_be_read_by_their_keys() -> None:
    """They are no messages, and the rows beside them are."""
    log, a = known_in_part()
    begin = [log.gtid(5), log.query("BEGIN"), two_columns(log)]
    got = feed(a, *begin, whole(log, 7), minimal(log, 8, 10), whole(log, 9), log.xid())

    assert [one["key"] for one in got] == ["users:7", "users:9"]
    assert [one["prev"] for one in got] == ["", got[0]["id"]]
    assert noted(a) == ["8", "10"]
    assert a.position.gtid_set == f"{UUID}:5"


def test_rows_in_part_before_the_newest_message_are_noted_again() -> None:
    """The stream has no message of them, and perhaps no heartbeat that has their keys."""
    log, a = known_in_part()
    events: list[ev.Event] = []
    for number, id_ in ((5, 8), (6, 20)):
        events += [log.gtid(number), log.query("BEGIN"), two_columns(log), minimal(log, id_)]
        events += [whole(log, number), log.xid()]
    newest = feed(a, *events)[-1]["id"]
    _, again = known_in_part(newest)

    assert feed(again, *events) == []
    assert noted(again) == ["8", "20"]


def test_a_table_that_first_has_rows_in_part_connects_again() -> None:
    """Before anything of the event is taken; tables that are not captured are passed over."""
    log, a = known_in_part(is_known=False)
    begin = [log.gtid(5), log.query("BEGIN"), log.table_map("other", OTHER), two_columns(log)]
    feed(a, *begin, log.event(ev.PARTIAL_UPDATE_ROWS, OTHER + b"\1\0"))
    with pytest.raises(ReadAgain):
        feed(a, minimal(log, 7))

    assert a.unread.moved == {"shop.users"}


def test_a_rollback_behind_published_rows_stops() -> None:
    """Only tables without transactions bring one into the log; the rows are already out."""
    log, a = Log(), assembler()
    begin = [log.gtid(1), log.query("BEGIN")]
    feed(a, *begin, log.query("ROLLBACK"))

    assert a.position.gtid_set == f"{UUID}:1"
    with pytest.raises(PositionLostError, match="ROLLBACK"):
        feed(
            a,
            log.gtid(2),
            log.query("BEGIN"),
            log.table_map(),
            log.insert(7),
            log.query("ROLLBACK"),
        )


def test_rows_without_their_table_map_stop() -> None:
    """Another connection's table ids mean nothing: they are never guessed."""
    log = Log()
    with pytest.raises(PositionLostError, match="without its TABLE_MAP"):
        feed(assembler(), log.gtid(1), log.query("BEGIN"), log.insert(7))


def test_mariadb_transactions_begin_with_their_gtid_and_have_no_places_inside() -> None:
    """From 11.4 on only a transaction's first and last event tell where they are."""
    log, a = Log(), assembler(gtid_set="0-1-4", mariadb=True)
    gtid = log.event(ev.MARIADB_GTID, struct.pack("<QI", 5, 0) + b"\0")
    table_map, rows = log.table_map(), log.insert(7)
    inside = [e._replace(end_offset=0) for e in (table_map, rows)]
    got = feed(a, gtid, *inside, log.xid())

    assert got[0]["id"] == f"1.1.{1000 + gtid.size_bytes + table_map.size_bytes}.0"
    assert got[0]["gtid"] == "0-1-5"
    assert a.position == Position(file="b.000001", offset=log.end, gtid_set="0-1-5")


def test_a_watermark_is_passed_at_a_boundary_that_has_all_of_it() -> None:
    """A snapshot's rows wait for the reader to have passed what the SELECT may have seen."""
    log, a = Log(), assembler()
    high = Watermark(gtid_set=MySqlGtidSet.parse(f"{UUID}:5"), place=(0, 0))
    *events, xid = log.transaction(5, 7)
    feed(a, *events)

    assert not a.has_passed(high)
    feed(a, xid)
    assert a.has_passed(high)
    for gtid_set in (None, high.gtid_set):
        assert a.has_passed(Watermark(gtid_set=gtid_set, place=(1, log.end)))
        assert not a.has_passed(Watermark(gtid_set=gtid_set, place=(1, log.end + 1)))


def test_a_reader_is_behind_the_stream_until_it_has_read_all_of_it_again() -> None:
    """Its SELECT need not show a published row before; skipped rows touch keys too."""
    events = Log().transaction(5, 7, 8)
    rows = events[-2]
    a = assembler(last=f"1.1.{rows.end_offset - rows.size_bytes}.0")
    for event in events:
        assert a.is_behind_the_stream()
        a.take(event)

    assert not a.is_behind_the_stream()


def test_what_was_seen_includes_the_open_transaction() -> None:
    """Its rows may be out already: a SELECT must not be older than them."""
    log, a = Log(), assembler()
    feed(a, *log.transaction(5, 7)[:-1])
    seen = a.seen()

    assert str(seen.gtid_set) == f"{UUID}:5"
    assert a.position.gtid_set == ""


def test_only_what_is_read_of_a_large_event_is_held() -> None:
    """Rows of a table that is not captured, and texts of statements, may be passed over."""
    log, a = Log(), assembler()
    feed(a, log.gtid(1), log.query("BEGIN"), log.table_map(), log.table_map("other", OTHER))
    rows = (*ev.ROWS, ev.PARTIAL_UPDATE_ROWS)

    assert [kind for kind in range(256) if not a.needs(kind, USERS)] == sorted(ev.WITHOUT_ROWS)
    passed_over = [kind for kind in range(256) if not a.needs(kind, OTHER)]
    assert passed_over == sorted((*ev.WITHOUT_ROWS, *rows))
    # Without its TABLE_MAP it is refused when it is whole.
    assert all(a.needs(kind, b"\3\0\0\0\0\0") for kind in rows)
