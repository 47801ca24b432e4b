"""A table, a view or the like, as the catalog lists it.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc.errors import UsageError
from cdc.table import Table
from cdc_reader.catalog.unique_key import identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One table of the catalog."""

    schema: str
    name: str
    kind: str
    """``BASE TABLE``, ``VIEW``, ``SEQUENCE`` …"""
    engine: str = ""
    """``InnoDB``, ``MEMORY`` …; empty: it has none, or was not asked for."""

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """As written in a statement without bound values."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def base_table(schema: str, name: str) -> Entry:
    """Return the entry of a table that is known by its name alone."""
    return Entry(schema=schema, name=name, kind="BASE TABLE")


def entry_of(table: Table) -> Entry:
    """Return the catalog's entry of a captured table."""
    return base_table(table.schema, table.name)


def no_base_table(entry: Entry) -> UsageError | None:
    """Return why something of the catalog is no table whose rows are carried; None: it is one."""
    if entry.kind == "BASE TABLE":
        return None
    if entry.kind == "SYSTEM VERSIONED":  # MariaDB: old rows stay in the table
        return UsageError(
            f"{entry.qualified} is a system-versioned table: its changes in the binlog are those "
            "of its history too, which cdc does not tell apart",
            fix=f"capture other tables, or keep no history:\n"
            f"ALTER TABLE {entry.sql} DROP SYSTEM VERSIONING;   (removes the history)",
        )
    if entry.kind in ("VIEW", "SYSTEM VIEW"):
        return UsageError(
            f"{entry.qualified} is a view, not a table: it has no changes of its own in the binlog",
            fix="name the tables that it is made of",
        )
    return UsageError(
        f"{entry.qualified} is a {entry.kind.lower()}, and no table whose rows cdc carries",
        fix="name other tables",
    )
