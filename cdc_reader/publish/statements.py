"""What a statement in the binlog means for the captured tables.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from cdc.errors import PositionLostError
from cdc_reader.binlog.engine import refusal_of
from cdc_reader.binlog.event import QueryEvent
from cdc_reader.binlog.statement import (
    Statement,
    changed_tables,
    is_dml,
    made_tables,
    parse_statement,
)
from cdc_reader.rows.identity import refusal_of_statements
from cdc_reader.rows.shape import Target
from cdc_reader.schema.change import End, changed_by


class Statements:
    """Looks at the statements of one connection."""

    def __init__(
        self,
        *,
        targets: Mapping[str, Target],
        on_schema_change: Literal["refresh", "stop", "continue"],
        aside: Collection[str],
        passed: Collection[End],
        refuse: Callable[..., PositionLostError],
    ) -> None:
        """Begin with the captured tables of this connection.

        Args:
            targets: ``{"shop.users": Target(...)}``: what is captured.
            aside: tables that are set aside: statements that name them are looked at.
            passed: statements that were looked at.
            refuse: makes the error from what was seen and the fix.
        """
        self._targets = targets
        self._by_unique = [name for name, one in targets.items() if one.identity.by_unique]
        self._on_schema_change = on_schema_change
        self._aside, self._passed = aside, passed
        self._refuse = refuse

    def changed_by(
        self,
        query: QueryEvent,
        end: End,
        position: str,
        is_known: Callable[[Collection[str]], bool],
    ) -> tuple[str, Sequence[str]]:
        """Return a statement's kind and the captured tables that it changes, all looked at.

        ``("ALTER TABLE", ["shop.users"])``

        Args:
            position: for errors.
            is_known: whether the stream has this statement of these tables.

        Raises:
            SchemaChanged: they were not looked at.
            PositionLostError: it cannot be carried exactly.
        """
        readings = [parse_statement(text, query.schema) for text in query.readings]
        statement = readings[0]
        changed = (changed_tables(reading, self._targets, self._by_unique) for reading in readings)
        tables = {table for tables in changed for table in tables}
        if self._on_schema_change == "refresh" and not is_dml(statement):
            concerned = tables.union(*(made_tables(reading, self._aside) for reading in readings))
            if concerned and end not in self._passed and not is_known(tables):
                raise changed_by(readings, concerned, end, position)
            return statement.kind, sorted(tables)
        if refusal := refusal_of(statement, sorted(tables), is_servers=query.is_servers):
            raise self._refuse(*refusal)
        for table in sorted(tables):
            self._refuse_lost_key(readings, table)
        return statement.kind, sorted(tables)

    def _refuse_lost_key(self, readings: Sequence[Statement], table: str) -> None:
        identity, stops = self._targets[table].identity, self._on_schema_change == "stop"
        if refused := refusal_of_statements(readings, table, identity, stops=stops):
            raise self._refuse(*refused)
