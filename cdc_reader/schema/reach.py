"""Which tables a statement that changes rows can reach, by the definitions in the catalog.

Pure.  A statement's words are names and no more: a table that it writes has triggers and foreign
keys, a view leads to its tables, a function may write to any.  What is found is too much rather
than too little (docs/adr/0033-statements.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc_reader.binlog.statement import UNSURE, Name, Statement
from cdc_reader.schema.change import SchemaChanged

Names = frozenset[Name]
Place = tuple[int, int]
"""File number and offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """What leads from a name to others: ``{("shop", "log"): {("shop", "users")}}``; lower case."""

    triggers: Mapping[Name, Names]
    """By table: all names in the bodies of its triggers."""
    views: Mapping[Name, Names]
    routines: Mapping[Name, Names]
    """Stored functions and procedures."""
    children: Mapping[Name, Names]
    """By table: those whose foreign keys refer to it."""
    elsewhere: Names
    """Tables whose rows are in others, which nothing tells: MERGE, FEDERATED and the like."""


def reached(statements: Iterable[Statement], known: Definitions) -> Names | None:
    """Return the tables that a statement may change; None: that may be any.

    Args:
        statements: it, in each way that it may be read.
    """
    walk = _Walk(known)
    for statement in statements:
        if any(UNSURE in part for name in statement.names for part in name):
            return None
        walk.read(statement.names)
        walk.write(statement.written)
    return None if walk.written & known.elsewhere else frozenset(walk.written)


def captured_of(names: Collection[Name] | None, captured: Iterable[str]) -> frozenset[str]:
    """Return which captured tables are among the names; None are all of them.

    >>> sorted(captured_of({("shop", "users")}, ["Shop.users", "shop.carts"]))
    ['Shop.users']
    """
    if names is None:
        return frozenset(captured)
    found = {f"{schema}.{name}" for schema, name in names}
    return frozenset(table for table in captured if table.lower() in found)


class UnknownRows(SchemaChanged):
    """Rows may have changed that are not in the binlog; all changes before it are published."""

    def __init__(
        self,
        tables: Collection[str],
        where: str,
        *,
        kind: str,
        place: tuple[str, int],
        statements: Sequence[Statement] = (),
    ) -> None:
        """Set what is known.

        Args:
            tables: that may have changed; looked up by `statements` where there are any.
            kind: ``INSERT``
            place: file and offset of its end.
        """
        super().__init__(tables, where, kind=kind)
        self.place, self.statements = place, tuple(statements)


@dataclass(slots=True)
class Reach:
    """What is known of statements that change rows, over all connections of a reader."""

    known: Definitions | None = None
    """None: not looked up, or this login does not see them."""
    _until: dict[str, Place] = field(default_factory=dict)
    _server: str = ""

    def begin(self, server: str) -> None:
        """Continue on a server: places of another one mean nothing there."""
        if server != self._server:
            self._server = server
            self._until.clear()

    def is_read_after(self, table: str, place: Place) -> bool:
        """Return whether a table is read again anyway, later than at this place."""
        return self._until.get(table, (0, 0)) >= place

    def read_after(self, tables: Iterable[str], place: Place) -> None:
        """Note that tables are read again, later than at this place."""
        self._until |= dict.fromkeys(tables, place)


@dataclass(slots=True)
class _Walk:
    known: Definitions
    written: set[Name] = field(default_factory=set)
    _seen: set[Name] = field(default_factory=set)

    def write(self, names: Iterable[Name]) -> None:
        """Follow names that may be tables that are changed."""
        known, todo = self.known, list(names)
        while todo:
            name = todo.pop()
            if name in self.written:
                continue
            self.written.add(name)
            for leads in (known.triggers, known.children, known.views, known.routines):
                todo += leads.get(name, ())

    def read(self, names: Iterable[Name]) -> None:
        """Follow names that are only read: a table is not changed, a function may change all."""
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in self._seen:
                continue
            self._seen.add(name)
            todo += self.known.views.get(name, ())
            self.write(self.known.routines.get(name, ()))
