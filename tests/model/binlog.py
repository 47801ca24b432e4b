"""A short history of one table as the binlog events that MySQL would write, and as rows.

``Binlog([[[("insert", 1, 10)], [("insert", 2, 10)]], [[("move", 1, 3, 20)]]])`` has two
transactions; the first comes in two pieces, as a large one does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from cdc.key import parse_template
from cdc.position import MySqlGtidSet, Position
from cdc.table import Column, Table
from cdc_reader.binlog import event as ev
from cdc_reader.binlog.event import Event
from cdc_reader.rows.shape import Target

UUID = "7271e0ec-e705-11f1-8850-02fc00000001"
FILE = "b.000001"
BEGIN = 1000
"""Offset of the first transaction; what stands before was there before cdc."""

KEY = parse_template("{table}:{pk}", schema="shop", table="t", pk=("id",))
TARGET = Target(table="shop.t", key=KEY, value_column=None)
TABLE = Table(
    schema="shop",
    name="t",
    columns=tuple(
        Column(name=name, data_type="int", column_type="int", charset=None, nullable=False)
        for name in ("id", "ver")
    ),
    identity=("id",),
    chunk_key=("id",),
    key=KEY,
    value_column=None,
    model="string",
)

Change = tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int] | tuple[str]
"""``insert id ver``, ``update id ver``, ``move id new_id ver``, ``delete id``, ``alter``."""
Transaction = Sequence[Sequence[Change]]
Rows = dict[int, int]
"""``{id: ver}``"""

_TABLE_ID = b"\1\0\0\0\0\0"
_MAP = _TABLE_ID + b"\1\0\4shop\0\1t\0" + b"\2\3\3\0\0" + b"\1\1\0" + b"\4\7\2id\3ver"
_KINDS = {"insert": ev.WRITE_ROWS, "update": ev.UPDATE_ROWS, "move": ev.UPDATE_ROWS}


class Binlog:
    """The events, and the table after each transaction."""

    def __init__(self, transactions: Sequence[Transaction], rows: Rows | None = None) -> None:
        """Args: rows: what stands in the table before the first transaction."""
        self.rows: list[Rows] = [dict(rows or {})]
        """After each transaction; the first before all."""
        self.pieces: list[tuple[int, list[Event]]] = []
        """Number of the transaction, from 0 on, and events."""
        self.ends = [BEGIN]
        """Offset before and behind each transaction."""
        self._end = BEGIN
        self.touched: list[set[int]] = []
        """Ids that each transaction changes."""
        for number, transaction in enumerate(transactions):
            now = dict(self.rows[-1])
            self.touched.append(set())
            for n, piece in enumerate(transaction):
                events = self._head(number) if n == 0 else []
                for change in piece:
                    events += self._events(change, now)
                if n == len(transaction) - 1 and piece[-1] != ("alter",):
                    events.append(self._event(ev.XID, bytes(8)))
                self.pieces.append((number, events))
            self.rows.append(now)
            self.ends.append(self._end)

    def _event(self, kind: int, body: bytes) -> Event:
        size = 19 + len(body) + 4
        self._end += size
        return Event(kind, body, 0, len(body), self._end, size, 7, 1, 0)

    def _head(self, number: int) -> list[Event]:
        sid = bytes.fromhex(UUID.replace("-", ""))
        body = b"\1" + sid + struct.pack("<Q", number + 1) + b"\2" + bytes(16)
        body += (number + 1).to_bytes(7, "little") + b"\5"
        return [self._event(ev.GTID, body)]

    def _query(self, text: str) -> Event:
        head = struct.pack("<IIBHH", 1, 0, 4, 0, 0) + b"shop\0"
        return self._event(ev.QUERY, head + text.encode())

    def _events(self, change: Change, now: Rows) -> list[Event]:
        op, *numbers = change
        if op == "alter":
            return [self._query("ALTER TABLE t ADD COLUMN x INT")]
        row, new = numbers[0], numbers[1] if op == "move" else numbers[0]
        before = [row, now.pop(row)] if row in now else []
        self.touched[-1] |= {row, new}
        if op == "delete":
            images, kind = [before], ev.DELETE_ROWS
        else:
            now[new] = numbers[-1]
            images = [before] * (op != "insert") + [[new, numbers[-1]]]
            kind = _KINDS[op]
        body = _TABLE_ID + b"\1\0\2\0\2" + b"\xff" * len(images)
        body += b"".join(b"\0" + struct.pack("<ii", *image) for image in images)
        return [self._event(ev.TABLE_MAP, _MAP), self._event(kind, body)]

    def place(self, transactions: int) -> Position:
        """Return the boundary behind so many transactions."""
        return Position(file=FILE, offset=self.ends[transactions], gtid_set=gtids(transactions))

    def first_piece(self, gtid_set: str) -> int:
        """Return where a dump of all that the set lacks begins."""
        held = transactions_in(gtid_set)
        return next((n for n, (t, _) in enumerate(self.pieces) if t >= held), len(self.pieces))


def gtids(transactions: int) -> str:
    """Return the GTID set of the first so many transactions."""
    return f"{UUID}:1-{transactions}" if transactions > 1 else f"{UUID}:1" * transactions


@lru_cache(1000)
def transactions_in(gtid_set: str) -> int:
    """Return how many transactions a set holds: the first so many."""
    spans = MySqlGtidSet.parse(gtid_set).intervals().get(UUID, [])
    return spans[-1][1] - 1 if spans else 0
