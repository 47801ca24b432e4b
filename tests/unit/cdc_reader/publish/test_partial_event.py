"""Rows events that lack columns: what goes out in their place, and what is noted."""

from __future__ import annotations

import pytest

from cdc.message import Placed, TableProgress, decode_change, encode
from cdc.partition import partition_of
from cdc.position import Position
from cdc.table import Column
from cdc_reader.messages.chains import WHOLE, Chains, Run
from cdc_reader.messages.unread import Unread
from cdc_reader.publish.partial_event import ALL_ROWS, EventAt, PartialEvents
from cdc_reader.publish.stored import Stored
from cdc_reader.resume.published import Published
from cdc_reader.resume.resume import Resume
from cdc_reader.rows.partial_rows import PartialRow
from cdc_reader.rows.shape import RowAddress, ShapedRow
from cdc_reader.schema.change import ReadAgain

TABLE = "shop.users"
ID = Column(name="id", data_type="int", column_type="int", charset=None, nullable=False)
PLACE = EventAt(TABLE, "u:5", 0, "1.2.900.", '"gtid":"u:5",', ',"ts":9,"v":1}', 0)


def address(id_: int) -> RowAddress:
    return RowAddress(f"users:{id_}", None, ())


def shaped(id_: int) -> ShapedRow:
    return ShapedRow(address(id_), f'{{"id":{id_}}}', ())


ROWS = (
    PartialRow("update", address(1), shaped(1)),
    PartialRow(key=("2",)),
    PartialRow("delete", address(3), key=("4",)),
    PartialRow("delete", address(5)),
    PartialRow("update", address(6), shaped(8)),
)


class Sent:
    """What a connection has published of a table that is known to have such rows."""

    def __init__(self, chains: Chains | None = None, *, known: bool = True) -> None:
        self.runs: list[Run] = []
        self.unread = Unread(
            {TABLE: TableProgress(partial=())} if known else {}, columns={TABLE: [ID]}
        )
        self.chains = chains
        self.events = PartialEvents(self.unread, chains, self.run)

    def run(self, op: str, table: str) -> Run:
        if not self.runs or self.runs[-1].op != op:
            self.runs.append(Run(op, table, [], [] if self.chains else None))
        return self.runs[-1]

    def take(
        self, place: EventAt = PLACE, published: Published | None = None
    ) -> tuple[int, str, int]:
        position = Position(file="binlog.000002", offset=4, gtid_set=None)
        stored = Stored(Resume(epoch=1, position=position, last="", published=published))
        return self.events.take(
            ROWS, place, last="1.2.4.0", stored=stored, where="binlog.000002:950"
        )

    @property
    def ids(self) -> list[tuple[str, str, str, str]]:
        """Operation, key, id and what is before, of each message."""
        bodies = [decode_change(body) for run in self.runs for body in run.bodies]
        return [(one.op, one.key, one.id.removeprefix("1.2."), one.prev) for one in bodies]

    @property
    def noted(self) -> list[str]:
        return [part.first[0] for part in self.unread.progress(TABLE, TableProgress()).partial_keys]


def test_what_is_known_goes_out_in_its_place() -> None:
    """Each kind on its own subject, in the one chain; the others are noted."""
    sent = Sent()

    assert sent.take() == (5, "1.2.900.4", 4)
    assert sent.ids == [
        ("update", "users:1", "900.0", "1.2.4.0"),
        ("delete", "users:3", "900.2", "1.2.900.0"),
        ("delete", "users:5", "900.3", "1.2.900.2"),
        ("update", "users:8", "900.4", "1.2.900.3"),
    ]
    assert [run.op for run in sent.runs] == ["update", "delete", "update"]
    assert sent.noted == ["2", "4"]
    for run in sent.runs:
        for body in run.bodies:
            assert encode(decode_change(body)) == body


def test_rows_that_the_stream_has_are_noted_again() -> None:
    """A heartbeat that has their keys may not be there."""
    sent = Sent()
    sent.take(PLACE._replace(skip_rows=3))
    assert [id_ for _, _, id_, _ in sent.ids] == ["900.3", "900.4"]
    assert sent.noted == ["2", "4"]

    nothing = Sent()
    assert nothing.take(PLACE._replace(skip_rows=ALL_ROWS)) == (5, "1.2.4.0", 4)
    assert (nothing.ids, nothing.noted) == ([], ["2", "4"])


def test_each_partition_has_its_chain() -> None:
    """A row whose key moves to another one is deleted there, also where that alone is missing."""
    at, was = (partition_of(f"users:{n}", 3) for n in (8, 6))
    assert at != was
    ends = ["1.2.1.0", "1.2.2.0", "1.2.3.0"]
    sent = Sent(Chains(list(ends)))
    assert sent.take() == (5, "1.2.900.4.0", 4)
    assert [sent.ids[n][:3] for n in (-2, -1)] == [
        ("update", "users:8", "900.4"), ("delete", "users:6", "900.4.0")
    ]  # fmt: skip
    addresses = [one for run in sent.runs for one in run.addresses or ()]
    assert addresses[-2:] == [f"update.{at}".encode(), f"delete.{was}".encode()]
    assert sent.chains is not None
    assert sent.chains.last_of[was] == "1.2.900.4.0"

    half = Sent(Chains(list(ends), half=4))
    half.take(PLACE._replace(skip_rows=5))
    assert [one[:3] for one in half.ids] == [("delete", "users:6", "900.4.0")]
    whole = Sent(Chains(list(ends), half=WHOLE))
    whole.take(PLACE._replace(skip_rows=5))
    assert whole.ids == []


def test_the_stream_tells_of_such_a_table_before_its_first_row() -> None:
    """Else a failover, which skips whole transactions, would forget what is noted of them."""
    sent = Sent(known=False)
    with pytest.raises(ReadAgain) as met:
        sent.take()

    assert (met.value.first, met.value.tables, sent.ids) == (TABLE, (), [])
    assert sent.unread.moved == {TABLE}
    assert sent.unread.progress(TABLE, TableProgress()).partial == ()


def test_behind_a_failover_rows_without_messages_are_not_counted() -> None:
    """Which of a transaction's rows the stream has is not known then: the table is read."""
    published = Published()
    published.note(Placed(op="update", table=TABLE, gtid="u:5", id="1.1.900.0", prev=""))
    sent = Sent()
    sent.take(PLACE._replace(skip_rows=1), published)

    assert (sent.ids, sent.unread.lost()) == ([], (TABLE,))
    assert published.after("u:5") is None
