"""What a statement in the binlog means for the captured tables.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from cdc.errors import PositionLostError
from cdc.message import Schema, encode
from cdc.position import file_number
from cdc_reader.binlog.engine import refusal_of
from cdc_reader.binlog.event import QueryEvent
from cdc_reader.binlog.statement import (
    DEFINE,
    Statement,
    changed_tables,
    is_dml,
    made_tables,
    parse_statement,
)
from cdc_reader.messages.chains import Chains
from cdc_reader.publish.refusal import refusal_of_rollback
from cdc_reader.rows.identity import refusal_of_statements
from cdc_reader.rows.shape import Target
from cdc_reader.schema.change import End, changed_by
from cdc_reader.schema.foreign_keys import Cascades
from cdc_reader.schema.reach import Reach, UnknownRows, captured_of, reached


class Statements:
    """Looks at the statements of one connection."""

    def __init__(
        self,
        *,
        targets: Mapping[str, Target],
        on_schema_change: Literal["refresh", "stop", "continue"],
        aside: Collection[str],
        passed: Collection[End],
        reach: Reach,
        cascades: Cascades,
        refuse: Callable[..., PositionLostError],
    ) -> None:
        """Begin with the captured tables of this connection.

        Args:
            targets: ``{"shop.users": Target(...)}``: what is captured.
            aside: tables that are set aside: statements that name them are looked at.
            passed: statements that were looked at.
            reach: what is known of statements that change rows.
            cascades: the foreign keys that are followed.
            refuse: makes the error from what was seen and the fix.
        """
        self._targets = targets
        self._by_unique = [name for name, one in targets.items() if one.identity.by_unique]
        self._on_schema_change = on_schema_change
        self._aside, self._passed = aside, passed
        self._followed = (*targets, *aside)
        self._reach, self._cascades, self._refuse = reach, cascades, refuse

    def changed_by(
        self,
        query: QueryEvent,
        end: End,
        file: str,
        position: str,
        is_known: Callable[[Collection[str]], bool],
    ) -> tuple[str, Sequence[str]]:
        """Return a statement's kind and the captured tables that it changes, all looked at.

        ``("ALTER TABLE", ["shop.users"])``

        Args:
            file: whose offset `end` has.
            position: for errors.
            is_known: whether the stream has this statement of these tables.

        Raises:
            SchemaChanged: they were not looked at.
            PositionLostError: it cannot be carried exactly.
        """
        readings = [parse_statement(text, query.schema) for text in query.readings]
        statement = readings[0]
        self._cascades.look_at(readings, self._followed, end, position)
        changed = (changed_tables(reading, self._targets, self._by_unique) for reading in readings)
        tables = {table for tables in changed for table in tables}
        if self._on_schema_change == "refresh":
            if is_dml(statement):
                place = (file, end.offset)
                if query.is_servers and statement.empties_memory:
                    self._read_again(tables, statement.kind, place, position)
                else:
                    self._look_at_rows(readings, end, place, position)
                return statement.kind, ()
            if statement.kind.startswith(DEFINE):
                self._reach.known = None
            concerned = tables.union(*(made_tables(reading, self._aside) for reading in readings))
            if concerned and end not in self._passed and not is_known(tables):
                raise changed_by(readings, concerned, end, position)
            return statement.kind, sorted(tables)
        if refusal := refusal_of(statement, sorted(tables), is_servers=query.is_servers):
            raise self._refuse(*refusal)
        for table in sorted(tables):
            self._refuse_lost_key(readings, table)
        return statement.kind, sorted(tables)

    def roll_back(self, control: str, place: tuple[str, int], position: str) -> None:
        """Pass a rollback of rows that were published, once the tables are read again after it.

        Args:
            control: ``rollback`` or ``rollback to``.
            place: file and offset of its end.

        Raises:
            UnknownRows: they are not.
            PositionLostError: schema changes are not looked at either.
        """
        if self._on_schema_change != "refresh":
            raise self._refuse(*refusal_of_rollback(control))
        self._read_again(self._targets, control.upper(), place, position)

    def _look_at_rows(
        self, readings: Sequence[Statement], end: End, place: tuple[str, int], position: str
    ) -> None:
        """Pass a statement whose rows are not in the binlog."""
        known, here = self._reach.known, (end.file_number, end.offset)
        if all(self._reach.is_read_after(table, here) for table in self._targets):
            return
        kind = readings[0].kind
        if known is None:
            raise UnknownRows((), position, kind=kind, place=place, statements=readings)
        self._read_again(
            captured_of(reached(readings, known), self._targets), kind, place, position
        )

    def _read_again(
        self, tables: Collection[str], kind: str, place: tuple[str, int], position: str
    ) -> None:
        here = (file_number(place[0]), place[1])
        if left := [table for table in tables if not self._reach.is_read_after(table, here)]:
            raise UnknownRows(left, position, kind=kind, place=place)

    def _refuse_lost_key(self, readings: Sequence[Statement], table: str) -> None:
        identity, stops = self._targets[table].identity, self._on_schema_change == "stop"
        if refused := refusal_of_statements(readings, table, identity, stops=stops):
            raise self._refuse(*refused)


def barrier(
    table: str,
    kind: str,
    numbers: tuple[int, ...],
    gtid: str | None,
    last: str,
    chains: Chains | None,
    ts: int,
) -> tuple[str, bytes]:
    """Return id and body of the message that a table's definition or rows changed as a whole.

    Args:
        kind: ``ALTER TABLE``
        numbers: its id.
        last: id of the newest message.
        chains: told of it; None with one partition.
        ts: commit time in microseconds since 1970.
    """
    message = Schema(
        table=table,
        statement=kind,
        gtid=gtid,
        id=".".join(map(str, numbers)),
        prev=last,
        prev_of=tuple(chains.last_of) if chains else None,
        ts=ts,
    )
    if chains:
        chains.barrier(message.id)
    return message.id, encode(message)
