"""XA transactions between PREPARE and their outcome.

Pure.  Their rows stay locked on the server until the outcome, so the images that the binlog has at
PREPARE are exact at COMMIT, and in commit order there.  They are held in memory up to a bound;
what is noted in the heartbeat tells where they are to be read again (docs/adr/0031-xa.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET, UnsetType

from cdc.message import Prepared
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event

HOLD_BYTES = 16 << 20
"""Of rows that wait in memory for their outcome; what is more is read from the binlog again."""
HELD_EVENT_BYTES = 200
"""What an event takes in memory beside its bytes."""
NOTED_MAX = 10_000
"""Of prepared transactions that a reader knows; at the COMMIT of others it reads all tables."""
LISTED_BYTES = 64 << 10
"""Of those in one heartbeat: the newest ones; for the others the same is true after a restart."""
TABLES_MAX = 32
"""Of one transaction; with more, all tables count as changed by it."""


@dataclass(slots=True)
class Group:
    """The XA transaction whose events are being read, up to its PREPARE."""

    file: str
    offset: int
    """Where its first event begins."""
    gtid: str | None
    tables: set[str] | None = field(default_factory=set)
    """All that it changes, captured or not; None: that is not known."""
    events: list[Event] | None = field(default_factory=list)
    """Those of captured tables; None: too large to be held."""
    size_bytes: int = 0

    def lose(self) -> None:
        """Note that its rows are not known: a statement changed them, or took some back."""
        self.file, self.offset, self.gtid = "", 0, None
        self.tables = self.events = None

    def hold(self, event: Event, *, is_captured: bool) -> None:
        """Take a TABLE_MAP or rows event in."""
        if event.kind == ev.TABLE_MAP and self.tables is not None:
            self.tables.add(table_of(event))
            if len(self.tables) > TABLES_MAX:
                self.tables = None
        if not is_captured or self.events is None:
            return
        self.size_bytes += event.end - event.start + HELD_EVENT_BYTES
        if self.size_bytes > HOLD_BYTES:
            self.events = None
            return
        body = bytes(event.buffer[event.start : event.end])
        self.events.append(event._replace(buffer=body, start=0, end=len(body)))

    def noted(self, xid: str, *, since: int) -> Prepared:
        """Return what the heartbeat keeps of it.

        Args:
            since: microseconds since 1970.
        """
        return Prepared(
            xid=xid,
            file=self.file,
            offset=self.offset,
            gtid=self.gtid or UNSET,
            tables=UNSET if self.tables is None else tuple(sorted(self.tables)),
            since=since,
        )


class PreparedTransactions:
    """What is prepared at the newest boundary, and the rows that are held."""

    def __init__(self, noted: Iterable[Prepared]) -> None:
        """Begin with what the heartbeat has."""
        self._noted = {one.xid: one for one in noted}
        self._held: dict[str, tuple[int, list[Event]]] = {}
        self._held_bytes = 0
        self._listed: tuple[Prepared, ...] = ()
        self._is_listed = False

    def prepare(self, xid: str, group: Group, *, since: int) -> None:
        """Note a transaction with its PREPARE.

        Args:
            since: microseconds since 1970.
        """
        self.forget(xid)
        self._noted[xid] = group.noted(xid, since=since)
        if len(self._noted) > NOTED_MAX:
            self.forget(next(iter(self._noted)))
        if group.events is not None:
            self._hold(xid, group.size_bytes, group.events)

    def _hold(self, xid: str, size_bytes: int, events: list[Event]) -> None:
        self._held[xid] = size_bytes, events
        self._held_bytes += size_bytes
        while self._held_bytes > HOLD_BYTES:
            oldest = next(iter(self._held))
            self._held_bytes -= self._held.pop(oldest)[0]

    def rows_of(self, xid: str) -> tuple[Prepared, list[Event] | None]:
        """Return what is noted of a transaction, perhaps only its xid, and its events if held."""
        return self._noted.get(xid, Prepared(xid=xid)), self._held.get(xid, (0, None))[1]

    def forget(self, xid: str) -> None:
        """Forget a transaction that has its outcome."""
        self._is_listed = False
        self._noted.pop(xid, None)
        self._held_bytes -= self._held.pop(xid, (0, None))[0]

    def listed(self) -> tuple[Prepared, ...] | UnsetType:
        """Return what the heartbeat keeps; UNSET: nothing is prepared."""
        if not self._is_listed:
            self._listed, self._is_listed = _newest(self._noted.values()), True
        return self._listed or UNSET


def _newest(noted: Iterable[Prepared]) -> tuple[Prepared, ...]:
    """Return the newest transactions that fit into a heartbeat, oldest first."""
    size_bytes, out = 0, []
    for one in reversed(list(noted)):
        size_bytes += len(msgspec.json.encode(one)) + 1
        if size_bytes > LISTED_BYTES:
            break
        out.append(one)
    return tuple(reversed(out))


def table_of(event: Event) -> str:
    """Return ``shop.users`` of a TABLE_MAP: a length, the schema, 0, a length and the table."""
    b, at = event.buffer, event.start + 8
    schema = b[at + 1 : at + 1 + b[at]]
    at += 2 + b[at]
    table = b[at + 1 : at + 1 + b[at]]
    return f"{schema.decode('utf-8', 'replace')}.{table.decode('utf-8', 'replace')}"
