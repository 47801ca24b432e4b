"""Of which tables the names of columns are known, at the place in the binlog that is read.

Pure.  A TABLE_MAP without names is read with the catalog's columns only where they are proven to
be those of that place.  Two proofs exist:

1. The stream has a digest of the table's columns at the boundary where the reader resumes, and
   the catalog's columns have the same digest: they hold from there to the next statement that
   names the table, which ends the connection.
2. The catalog was asked after the reader had found where it resumes, and the binlog ended at E
   after that.  Where no statement that names the table comes before E, its columns hold from E
   on.  Rows before E are skipped, which only a table may do that is read afterwards.

See docs/adr/0029-stock-server.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from cdc.message import TableProgress
from cdc.position import Watermark
from cdc.table import Table
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.rows.shape import Target, needed_columns
from cdc_reader.schema.change import End, SchemaChanged
from cdc_reader.schema.columns import named

UNKNOWN = "columns without names in the binlog"
"""Why a table is read again whose rows came where its columns are not known."""


class Names:
    """What is known of one connection's tables."""

    def __init__(
        self,
        tables: Mapping[str, Table] | None = None,
        *,
        known: Collection[str] = (),
        until: Mapping[str, Watermark] | None = None,
        unsettled: Iterable[str] = (),
        unread: Collection[str] = (),
        asks: bool = False,
        passed: Collection[End] = (),
    ) -> None:
        """Begin where the reader resumes; without tables nothing is known.

        Args:
            tables: as the catalog shows them, by ``schema.table``.
            known: tables whose columns hold where the reader resumes.
            until: tables whose columns hold from a later position on, with that one.
            unsettled: tables that a statement kept locked: they are asked for again later.
            unread: tables of which rows may be skipped, because they are read afterwards.
            asks: rows of other tables end the connection, so that these are read again; False:
                they stop the reader.
            passed: statements that were looked at.
        """
        self._tables = tables or {}
        self._known = set(known)
        self.waiting = dict(until or {})
        """Tables whose columns hold from a later position on."""
        self.made: dict[bytes, Any] = {}
        """What was made of each TABLE_MAP; emptied when other names are known."""
        self.skipped: set[str] = set()
        """Tables of which rows were skipped."""
        self.unsettled = frozenset(unsettled)
        self._unread = unread
        self._asks, self._passed = asks, passed

    @property
    def held(self) -> set[str]:
        """Tables whose rows are skipped, so that they must not be read yet."""
        return (self.waiting.keys() | self.unsettled) & set(self._unread)

    def of(self, table: str) -> Table | None:
        """Return a table with the columns that its rows here have; None: they are not known."""
        return self._tables.get(table) if table in self._known else None

    def put_in(self, table_map: TableMap, target: Target, position: str) -> TableMap | None:
        """Return a TABLE_MAP of a captured table with names; None: its rows are skipped.

        Where no names are known and none may be asked for, it is returned as it is.

        Raises:
            SchemaChanged: its rows may not be skipped, as the stream is now.
            PositionLostError: the table is not as its catalog shows it.
        """
        if table_map.is_named:
            return table_map
        table = self.of(target.table)
        if table is not None:
            return named(table_map, table, needed_columns(target, table.column_names))
        if target.table in self.held:
            self.skipped.add(target.table)
            return None
        if self._asks:
            raise SchemaChanged((target.table,), position, kind=UNKNOWN)
        return table_map

    def forget(self, tables: Collection[str], end: End) -> None:
        """Note a statement that changes tables: their columns are not known any more.

        Args:
            end: its own, which tells whether it was looked at.
        """
        if tables and end not in self._passed:
            self._known.difference_update(tables)
            self.made.clear()

    def arrived(self, has_passed: Callable[[Watermark], bool]) -> list[str]:
        """Return the tables whose columns are known from here on, and were not before.

        Args:
            has_passed: whether the newest boundary is at or after a position.
        """
        if not self.waiting:
            return []
        is_here = {id(one): has_passed(one) for one in self.waiting.values()}
        names = sorted(name for name, one in self.waiting.items() if is_here[id(one)])
        for name in names:
            del self.waiting[name]
        self._known.update(names)
        if names:
            self.made.clear()
        return names


def is_unread(progress: TableProgress | None, *, snapshot: bool) -> bool:
    """Return whether a table is read as a whole from now on, so that skipped rows are no loss.

    Args:
        progress: in the stream; None: the table is new there, and begins at any place.
        snapshot: False (``--no-snapshot``): only what a refresh wants is read.
    """
    if progress is None:
        return True
    is_wanted = snapshot or progress.refresh is not UNSET
    return is_wanted and not progress.done and not progress.after
