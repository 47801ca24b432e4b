"""Questions to the catalog while the reader runs: what tables are now, and since where.

Blocking IO, for a thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.check.finding import Finding, LeftOut
from cdc.mysql.connection import connected
from cdc.position import MySqlGtidSet, Watermark, file_number
from cdc.settings import Settings
from cdc.table import Table
from cdc_reader.binlog.statement import Name
from cdc_reader.catalog.definitions import definitions
from cdc_reader.catalog.described import foreign_keys_of
from cdc_reader.catalog.entry import Entry, base_table, entry_of
from cdc_reader.catalog.tables import Captured, find_tables
from cdc_reader.resume.server_log import log_status, not_purged
from cdc_reader.schema.foreign_keys import ForeignKeys
from cdc_reader.schema.reach import Definitions

GONE = "the table does not exist any more, or this login may not see it"
GONE_FIX = "nothing, if it was dropped; a table of this name that is created is read"
_OF_THE_CONNECTION = (0, *range(2000, 3000))
"""Error numbers of PyMySQL and of the client's side."""
LOCK_WAIT_S = 1
"""How long a statement that holds a table's lock is waited for, before others are read on."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the catalog shows now."""

    tables: Mapping[str, Table]
    findings: Sequence[Finding]
    left_out: Sequence[LeftOut]
    visible: Collection[str]
    """All tables that this login may see."""

    until: Watermark | None = None
    """Where the binlog ended after that; None: that was not asked."""
    locked: frozenset[str] = frozenset()
    """Tables that a statement had locked: what is shown of them may be what was before it."""

    def why_not(self, table: str) -> tuple[str, str]:
        """Return why a table cannot be captured, and the fix."""
        name = table.partition(".")[2]
        for finding in self.findings:
            if finding.table in (table, name):
                return finding.seen, finding.fix.text()
        return next((one.why for one in self.left_out if one.table == table), GONE), GONE_FIX


def look(settings: Settings, changed: Sequence[Table] = ()) -> Looked:
    """Ask the catalog for all tables that the settings name.

    Args:
        changed: tables that a statement changes: its end is waited for.

    Raises:
        CdcError: the server refuses, or does not answer.
    """
    with connected(settings.mysql) as connection:
        locked = _wait_for_statements(connection, map(entry_of, changed))
        return _looked(find_tables(connection, settings), locked)


def look_again(settings: Settings, tables: Sequence[Table], *, gtid: bool) -> Looked:
    """Ask the catalog for some tables, after statements that change them, and for the end.

    Args:
        gtid: whether the end is to have the executed GTID set.

    Raises:
        CdcError: the server refuses, or does not answer.
    """
    with connected(settings.mysql) as connection, connection.cursor() as cursor:
        locked = _wait_for_statements(connection, map(entry_of, tables))
        found = find_tables(connection, settings, only={table.qualified for table in tables})
        file, offset, executed = log_status(cursor)
        gtid_set = MySqlGtidSet.parse(not_purged(cursor, executed)) if gtid else None
    until = Watermark(gtid_set=gtid_set, place=(file_number(file), offset))
    return _looked(found, locked, until)


def _looked(found: Captured, locked: frozenset[str], until: Watermark | None = None) -> Looked:
    tables = {table.qualified: table for table in found.tables}
    return Looked(tables, found.findings, found.left_out, found.visible, until, locked)


def _wait_for_statements(connection: Connection[Any], tables: Iterable[Entry]) -> frozenset[str]:
    """Wait for each table's metadata lock; return the tables that could not be locked.

    A statement that changes a table is in the binlog before the catalog shows what it did, and
    holds the lock until then.  Source: MySQL manual, "Metadata Locking".

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    locked = set()
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = %s", (LOCK_WAIT_S,))
        for table in tables:
            try:
                cursor.execute(f"SELECT 1 FROM {table.sql} LIMIT 0")
            except pymysql.MySQLError as error:
                if not error.args or error.args[0] in _OF_THE_CONNECTION:
                    raise
                locked.add(table.qualified)
    return frozenset(locked)


def look_at_definitions(settings: Settings) -> tuple[Definitions | None, tuple[str, int]]:
    """Return what the catalog defines, if it is all visible, and the binlog's end after that.

    Raises:
        CdcError: the server refuses, or does not answer.
    """
    with connected(settings.mysql) as connection, connection.cursor() as cursor:
        found = definitions(connection)
        file, offset, _ = log_status(cursor)
    return found, (file, offset)


def look_at_foreign_keys(
    settings: Settings, tables: Sequence[Table], named: Collection[Name] = ()
) -> tuple[ForeignKeys, tuple[int, int]]:
    """Return the foreign keys that lead to tables, and where the binlog ended after that.

    Args:
        named: tables of a statement that is waited for: see `_wait_for_statements`.

    Raises:
        CdcError: the server refuses, or does not answer.
    """
    with connected(settings.mysql) as connection, connection.cursor() as cursor:
        if _wait_for_statements(connection, [base_table(*name) for name in named]):
            time.sleep(LOCK_WAIT_S)  # a table that this login may not read cannot be waited for
        known = foreign_keys_of(connection, [entry_of(table) for table in tables])
        file, offset, _ = log_status(cursor)
    return known, (file_number(file), offset)
