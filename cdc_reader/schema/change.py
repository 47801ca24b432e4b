"""What a statement that changes captured tables means for their rows in Redis.

Pure.  A table is read again after every statement but those that provably leave its rows and
columns alone: they have only clauses of a list, and the catalog shows the same columns and key.
Reading once too often costs time; too seldom would leave wrong rows (docs/adr/0028-schema.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from cdc.table import Table
from cdc_reader.binlog.statement import Clause, Statement
from cdc_reader.rows.identity import identity_of

_BEFORE_NAME = {"ALTER", "ONLINE", "OFFLINE", "IGNORE", "TABLE", "IF", "EXISTS"}
_HARMLESS = (
    ("ADD", "INDEX"),
    ("ADD", "KEY"),
    ("ADD", "UNIQUE"),
    ("ADD", "FULLTEXT"),
    ("ADD", "SPATIAL"),
    ("ADD", "FOREIGN"),
    ("ADD", "CHECK"),
    ("ADD", "PARTITION"),
    ("DROP", "INDEX"),
    ("DROP", "KEY"),
    ("DROP", "FOREIGN"),
    ("DROP", "CHECK"),
    ("RENAME", "INDEX"),
    ("RENAME", "KEY"),
    ("ALTER", "INDEX"),
    ("ALTER", "CHECK"),
    ("ANALYZE", "PARTITION"),
    ("CHECK", "PARTITION"),
    ("OPTIMIZE", "PARTITION"),
    ("REBUILD", "PARTITION"),
    ("ENABLE", "KEYS"),
    ("DISABLE", "KEYS"),
    ("COMMENT",),
    ("AUTO_INCREMENT",),
    ("ENGINE",),
    ("ROW_FORMAT",),
    ("KEY_BLOCK_SIZE",),
    ("STATS_PERSISTENT",),
    ("STATS_AUTO_RECALC",),
    ("STATS_SAMPLE_PAGES",),
    ("ALGORITHM",),
    ("LOCK",),
    ("FORCE",),
)
"""How a clause may begin that changes neither columns nor rows.  What else it may change (the
engine, the key) shows in the catalog.  Source: MySQL manual, "ALTER TABLE Statement"."""
_NEVER = {
    *("COLUMN", "CONVERT", "CHANGE", "MODIFY", "PRIMARY", "TRUNCATE", "EXCHANGE", "COALESCE"),
    *("REORGANIZE", "DISCARD", "IMPORT", "TABLESPACE", "VERSIONING", "PERIOD", "PARTITIONING"),
}
"""Words that a harmless clause does not have, unless something is named so."""


class End(NamedTuple):
    """Where a statement ends in the binlog, which tells it from every other."""

    gtid: str
    file_number: int
    offset: int


class _EveryEnd(frozenset[End]):
    def __contains__(self, _: object) -> bool:
        return True


EVERY_END = _EveryEnd()
"""For what shows changes only: it reads no table again."""


class SchemaChanged(Exception):
    """Captured tables have to be looked at, or read again, before the reader continues.

    All changes before it are published.
    """

    def __init__(
        self,
        tables: Collection[str],
        where: str,
        *,
        kind: str = "",
        end: End | None = None,
        harmless: Collection[str] = (),
        may_remove: bool = False,
    ) -> None:
        """Set what changed.

        Args:
            where: ``binlog.000012:4711, GTID 7271…:8004``
            kind: ``ALTER TABLE``; empty: no statement, tables that are set aside may come back.
            end: of the statement, which is passed once the tables were looked at.
            harmless: tables whose rows and columns it leaves alone, as its words tell.
            may_remove: a table may not exist any more after it, or have another name.
        """
        super().__init__(f"{kind} of {', '.join(sorted(tables))} at {where}")
        self.tables, self.harmless = tuple(sorted(tables)), frozenset(harmless)
        self.kind, self.end, self.where = kind, end, where
        self.may_remove = may_remove


class ReadAgain(SchemaChanged):
    """Tables are to be read again as a whole, as they are captured; none: only connect again.

    No statement changed them: rows of them are in the binlog in part, and their keys are not
    known (docs/adr/0030-partial-images.md).
    """

    def __init__(self, tables: Collection[str], where: str, *, first: str = "") -> None:
        """Set which.

        Args:
            where: ``binlog.000012:4711, GTID 7271…:8004``
            first: a table that has such rows for the first time; the stream tells it from here on.
        """
        super().__init__(tables, where)
        self.first = first


def changed_by(
    readings: Sequence[Statement], tables: Collection[str], end: End, where: str
) -> SchemaChanged:
    """Return what a statement, in each way that it may be read, changes."""
    harmless = [t for t in tables if all(is_harmless(one, t) for one in readings)]
    return SchemaChanged(
        tables,
        where,
        kind=readings[0].kind,
        end=end,
        harmless=harmless,
        may_remove=any(may_remove(one) for one in readings),
    )


def may_remove(statement: Statement) -> bool:
    """Return whether a table may not exist any more after a statement, or have another name."""
    if statement.kind == "ALTER TABLE":
        return any("RENAME" in clause.words for clause in statement.clauses)
    return statement.kind.startswith("DROP ") or statement.kind == "RENAME TABLE"


class Verdict(Enum):
    """What becomes of a table after a change."""

    UNCHANGED = "unchanged"
    """Nothing: its rows and columns are as before."""
    READ = "read"
    """Its rows are read again, and keys whose rows are gone are removed."""
    ASIDE = "aside"
    """It cannot be captured as it is now."""


def is_harmless(statement: Statement, table: str) -> bool:
    """Return whether a statement, by its words, leaves a table's rows and columns alone.

    Args:
        table: ``shop.users``.
    """
    if statement.kind in ("DROP INDEX", "CREATE OR REPLACE INDEX", "CREATE OR REPLACE UNIQUE"):
        return True
    if statement.kind != "ALTER TABLE" or not statement.clauses:
        return False
    first, *rest = statement.clauses
    named = _after_name(first, table)
    return named is not None and all(_is_harmless(clause.words) for clause in (named, *rest))


def _after_name(clause: Clause, table: str) -> Clause | None:
    """Return what follows the table's name in the first clause; None: that is not certain."""
    start = 0
    while start < len(clause.words) and clause.words[start] in _BEFORE_NAME:
        start += 1
    schema, _, name = table.lower().partition(".")
    if clause.names[start : start + 2] == (schema, name):
        start += 2
    elif clause.names[start : start + 1] == (name,):
        start += 1
    else:
        return None
    return Clause(clause.words[start:], clause.names[start:])


def _is_harmless(words: Sequence[str]) -> bool:
    begins = any(tuple(words[: len(begin)]) == begin for begin in _HARMLESS)
    if tuple(words[:2]) == ("ADD", "CONSTRAINT"):  # of which kind is said after its name
        begins = bool({"FOREIGN", "CHECK", "UNIQUE"} & set(words[2:5]))
    is_new_partition = ("ADD", "PARTITION") == tuple(words[:2])
    risky = _NEVER - ({"TABLESPACE"} if is_new_partition else set())
    return begins and not risky & set(words) and ("DROP", "PARTITION") not in pairwise(words)


def verdict_of(before: Table | None, after: Table | None, *, harmless: bool) -> Verdict:
    """Return what becomes of a table after a statement.

    Args:
        before: as it was captured; None: it was not.
        after: as the catalog shows it now; None: it cannot be captured.
        harmless: the statement's words leave its rows and columns alone.
    """
    if after is None or (before is not None and loses_its_key(before, after)):
        return Verdict.ASIDE
    if before is None or not harmless or _shape(before) != _shape(after):
        return Verdict.READ
    return Verdict.UNCHANGED


def loses_its_key(before: Table, after: Table) -> bool:
    """Return whether two rows may share a key in Redis now, and could not before."""
    return not identity_of(before).by_none and identity_of(after).by_none


def _shape(table: Table) -> tuple[object, ...]:
    return (
        table.columns,
        table.hidden_columns,
        table.primary,
        table.identity,
        table.key.text,
        table.fields,
    )
