"""What an assembler does at XA transactions: nothing at PREPARE, all at COMMIT.

Pure.  Rows are published where their transaction is committed, with ids of that place and its
GTID; a COMMIT in one phase is the same with nothing in between.  Both servers write an XA
transaction's events together, with XA_PREPARE at the end (docs/adr/0031-xa.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from msgspec import UNSET

from cdc.message import Prepared
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event, Needs
from cdc_reader.binlog.payload import expand_payload
from cdc_reader.binlog.statement import Name
from cdc_reader.binlog.xa import parse_xa, parse_xa_prepare
from cdc_reader.publish.prepared import Group, PreparedTransactions, table_of
from cdc_reader.publish.stored import Place, Stored
from cdc_reader.rows.parent_rows import Parent
from cdc_reader.schema.change import End, SchemaChanged
from cdc_reader.schema.foreign_keys import name_of
from cdc_reader.schema.names import Names

ROW_EVENTS = frozenset((ev.TABLE_MAP, ev.PARTIAL_UPDATE_ROWS, *ev.ROWS))
DUMP_OFFSET_MAX = 0xFFFFFFFF
"""COM_BINLOG_DUMP has 32 bits for it; a file that one large transaction made may be longer."""
_NOT_WITHIN = frozenset((ev.HEARTBEAT, ev.HEARTBEAT_V2, ev.STOP, ev.XID))
"""The end of the binlog, or of another transaction."""


class Here(NamedTuple):
    """Where an event is."""

    file: str
    offset: int
    """Where it begins."""
    gtid: str | None
    event_us: int
    """Commit time of its transaction, microseconds since 1970."""
    place: Place
    """What the ids of its messages begin with."""
    end: End


class Follows(Protocol):
    """What the assembler does for its XA transactions."""

    def here(self, event: Event) -> Here:
        """Return where an event is."""

    def is_captured(self, event: Event) -> bool:
        """Return whether a TABLE_MAP or rows event is of a captured table, or of a parent."""

    def take_again(self, event: Event) -> None:
        """Publish an event's rows."""

    def end_transaction(self) -> None:
        """Move the boundary here."""

    def position_text(self) -> str:
        """Return the current position, for errors and logs."""


class Committed(NamedTuple):
    """A transaction that is committed here, and where its rows are."""

    noted: Prepared
    tables: tuple[str, ...]
    """Captured tables that it may have changed."""
    end: End
    """Of what commits it."""
    size_bytes: int
    """Of that event: all rows have its place."""


class XaTransactions:
    """Follows XA transactions for an assembler."""

    def __init__(
        self,
        prepared: Iterable[Prepared],
        captured: Collection[str],
        parents: Mapping[Name, Parent],
        passed: Collection[End],
        stored: Stored,
        assembler: Follows,
        names: Names,
    ) -> None:
        """Begin with what is prepared at the boundary.

        Args:
            captured: ``{"shop.users": …}``
            parents: tables whose changes reach captured ones by foreign keys.
            passed: COMMITs whose tables were announced to be read again.
            names: of which tables columns are known.
        """
        self.group: Group | None = None
        """Whose events are being read, up to its XA_PREPARE."""
        self.wanted: Committed | None = None
        """What is committed here; its rows are to be read again, with `Again`."""
        self.prepared = PreparedTransactions(prepared)
        self.late_tables: set[str] = set()
        """Whose rows were published at a COMMIT; cleared by the code that looks at it."""
        self._captured, self._passed, self._names = captured, passed, names
        self._parents = parents
        self._stored, self._assembler = stored, assembler
        self._decided: tuple[Prepared, list[Event] | None] | None = None

    def begin(self, event: Event | None) -> None:
        """Begin a transaction of XA with its first event; None: it is another transaction."""
        self.group = None
        if event is not None:
            here = self._assembler.here(event)
            self.group = Group(here.file, here.offset, here.gtid)

    def hold(self, event: Event) -> None:
        """Keep a TABLE_MAP or rows event until the transaction has its outcome."""
        if self.group is None:
            return
        self.group.hold(event, is_captured=self._assembler.is_captured(event))
        if event.kind == ev.TABLE_MAP and table_of(event) in self._names.held:
            self.group.events = None  # read again at COMMIT, when its columns may be known

    def control(self, text: str, event: Event) -> None:
        """Take a statement in that begins with XA."""
        verb, xid = parse_xa(text)
        if verb in ("START", "BEGIN"):
            self.begin(event)
        elif verb == "COMMIT":
            self._decided = self.prepared.rows_of(xid)
            self.decide(event)
        elif verb == "ROLLBACK" or self.group is None:
            self.group = None
            self.prepared.forget(xid)
            self._assembler.end_transaction()

    def prepare(self, event: Event) -> None:
        """Take the XA_PREPARE in that ends a transaction's events; `decide` follows.

        Raises:
            PositionLostError: the bytes are damaged.
        """
        xid, one_phase = parse_xa_prepare(event)
        here, group = self._assembler.here(event), self.group
        if group is None:
            group = Group("", 0, None)
            group.lose()
        self.group = None
        if one_phase:
            self._decided = group.noted(xid, since=here.event_us), group.events
        else:
            self.prepared.prepare(xid, group, since=here.event_us)

    def decide(self, event: Event) -> None:
        """Publish what the event commits; where it commits nothing, only the boundary moves.

        Raises:
            PositionLostError: a row cannot be carried exactly.
            SchemaChanged: its rows are not known; its tables are to be read again.
        """
        if self._decided is None:
            self._assembler.end_transaction()
            return
        (noted, events), self._decided = self._decided, None
        here = self._assembler.here(event)
        named = set(self._captured if noted.tables is UNSET else noted.tables)
        found = (self._parents.get(name_of(table)) for table in named)
        children = (parent.reached for parent in found if parent is not None)
        tables = tuple(sorted((named & set(self._captured)).union(*children)))
        self.wanted = Committed(noted, tables, here.end, event.size_bytes)
        if not tables:
            self.end_again()
        elif events is not None:
            for held in events:
                self.take_again(held)
            self.end_again()
        elif here.end in self._passed:
            self._stored.lose(here.gtid)
            self.end_again()
        elif not noted.file or noted.offset > DUMP_OFFSET_MAX:
            raise self.not_there()

    def take_again(self, event: Event) -> None:
        """Publish the rows of a TABLE_MAP or rows event of the `wanted` transaction.

        Raises:
            PositionLostError: a row cannot be carried exactly.
        """
        if self.wanted is not None:
            self.late_tables.update(self.wanted.tables)
            self._assembler.take_again(event._replace(size_bytes=self.wanted.size_bytes))

    def end_again(self) -> None:
        """End the `wanted` transaction: all its rows were taken in."""
        if self.wanted is not None:
            self.prepared.forget(self.wanted.noted.xid)
        self.wanted = None
        self._assembler.end_transaction()

    def not_there(self) -> SchemaChanged:
        """Return that the tables of the `wanted` transaction are to be read again."""
        tables, end = (self.wanted.tables, self.wanted.end) if self.wanted else ((), None)
        position = self._assembler.position_text()
        return SchemaChanged(tables, position, kind="XA COMMIT", end=end)


class Again:
    """Finds the rows of a prepared transaction in a binlog that is read again."""

    def __init__(self, noted: Prepared) -> None:
        """Look for this one."""
        self.is_over = False
        """All its rows were yielded."""
        self.is_lost = False
        """It is not there."""
        self._noted = noted
        self._has_begun = False

    def rows(self, event: Event, needs: Needs) -> Iterator[Event]:
        """Yield the TABLE_MAP and rows events of an event that came, which are its own.

        Raises:
            PositionLostError: the bytes are damaged.
        """
        kind = event.kind
        if kind == ev.TRANSACTION_PAYLOAD:
            for inner in expand_payload(event, needs):
                yield from self.rows(inner, needs)
        elif kind == ev.XA_PREPARE:
            self.is_over = self._has_begun and parse_xa_prepare(event)[0] == self._noted.xid
            self.is_lost = not self.is_over
        elif kind in ROW_EVENTS:
            self.is_lost |= not self._has_begun
            if self._has_begun:
                yield event
        elif kind in ev.GTIDS:
            gtid = ev.parse_gtid(event)
            self.is_lost = self._has_begun or gtid.gtid != (self._noted.gtid or None)
            self._has_begun = gtid.prepared
        elif kind in ev.QUERIES and not self._has_begun:
            self._has_begun = parse_xa(ev.parse_query(event).text) == ("START", self._noted.xid)
            self.is_lost = not self._has_begun
        elif kind in _NOT_WITHIN:
            self.is_lost = True
