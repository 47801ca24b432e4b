"""Check that a table's rows are still told apart by the columns of their Redis keys.

Pure.  Two rows with one Redis key would overwrite and remove each other, so a captured table whose
key template has the columns of a unique key needs that key as long as it is captured.  The binlog
tells which primary key a table has, with its rows.  Of other keys, and of what an ALTER does to a
column that stays, only statements tell.

A TABLE_MAP of a table without a primary key has in its place a unique key of NOT NULL columns.
Source: mysql-server sql/table.cc, open_binary_frm; the same in MariaDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from cdc.errors import FIRST, REFRESH
from cdc.table import Table
from cdc_reader.binlog.statement import Clause, Statement, may_name
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.binlog.types import BY_CODE, type_named

_NO_COLUMN = frozenset(
    ("INDEX", "KEY", "CONSTRAINT", "CHECK", "PARTITION", "PRIMARY", "FOREIGN", "TO", "AS")
)
"""Words that may follow DROP or RENAME instead of a column; all of them are reserved."""
_OTHER_KEY = "name the columns that tell rows apart now in the key template;\n" + FIRST + REFRESH
_NO_HISTORY = (
    "capture other tables, or drop the history:\n"
    "ALTER TABLE … DROP SYSTEM VERSIONING;   (removes the history)\n" + FIRST + REFRESH
)


class Identity(NamedTuple):
    """What of a captured table must stay, so that each row keeps a key of its own."""

    by_primary: tuple[frozenset[str], ...] = ()
    """Columns of the Redis key, and of each index's members, where the primary key is in them."""
    by_unique: bool = False
    """Another unique key is in some of them, and the primary one is not."""
    columns: frozenset[str] = frozenset()
    """All columns of a row's address."""
    integers: frozenset[str] | None = None
    """Those of them that are integers; None: not known."""
    by_none: bool = False
    """No unique key is in one of them, as the catalog is now; one may have been dropped since."""
    by_name: bool = False
    """The key template has names of columns, and not only ``{pk}``."""


def identity_of(table: Table) -> Identity:
    """Return what of a table must stay."""
    primary = frozenset(table.primary)
    rest = [place for place in table.places if not primary or not place >= primary]
    columns = frozenset().union(
        *table.places, *(frozenset(index.key.columns) for index in table.indexes)
    )
    return Identity(
        by_primary=tuple(place for place in table.places if primary and place >= primary),
        by_unique=any(place.issuperset(key) for place in rest for key in table.unique_keys),
        columns=columns,
        integers=frozenset(
            c.name
            for c in table.columns
            if c.name in columns and type_named(c.data_type).is_integer
        ),
        by_none=not all(
            any(place.issuperset(key) for key in table.unique_keys) for place in table.places
        ),
        by_name="{pk}" not in table.key.text + (table.field.text if table.field else ""),
    )


class Refusal(NamedTuple):
    """Why a table's rows cannot be followed any more, and what is to be done."""

    seen: str
    fix: str
    heals_by_refresh: bool = False


def refusal_of_rows(identity: Identity, table_map: TableMap) -> Refusal | None:
    """Return why rows after a TABLE_MAP may share a Redis key; None: they do not."""
    names = [column.name or "" for column in table_map.columns]
    primary = [names[place] for place in table_map.primary_key]
    told_apart = f"{', '.join(primary) or 'no column'} now"
    for place in identity.by_primary:
        if not primary or not place.issuperset(primary):
            seen = (
                f"the primary key of {table_map.qualified} is another one: its rows are told apart "
                f"by {told_apart}, in Redis by {', '.join(sorted(place))}"
            )
            if identity.by_name:
                return Refusal(seen, _OTHER_KEY)
            return Refusal(seen, REFRESH, heals_by_refresh=True)
    for column in table_map.columns:
        if identity.integers is None or column.name not in identity.columns:
            continue
        if BY_CODE[column.type].is_integer != (column.name in identity.integers):
            seen = (
                f"the type of {column.name} of {table_map.qualified} is another one, "
                f"{column.type_name}: keys of rows may be other texts now"
            )
            return Refusal(seen, REFRESH, heals_by_refresh=True)
    return None


def refusal_of_statements(
    readings: Sequence[Statement], table: str, identity: Identity, *, stops: bool
) -> Refusal | None:
    """Return what a schema change stops the reader for; None: it does not.

    Args:
        readings: the statement, in each way that it may be read.
        table: ``shop.users``.
        stops: every schema change is to be looked at by a person.
    """
    kind = readings[0].kind
    for reading in readings:
        if any({"SYSTEM", "VERSIONING"} <= set(clause.words) for clause in reading.clauses):
            what = "rows of its history would be taken for its rows"
            return Refusal(f"{kind} of the captured table {table}: {what}", _NO_HISTORY)
        if identity.by_none and any(_drops_key(set(c.words)) for c in reading.clauses):
            what = "its key template has no unique key now, and it may have had this one"
            return Refusal(f"{kind} of the captured table {table}: {what}", _OTHER_KEY)
        if lost := _lost(reading, identity):
            seen = f"{kind} of the captured table {table}: {lost}"
            return Refusal(seen, REFRESH, heals_by_refresh=True)
    if not stops:
        return None
    way = "where Redis may keep the rows:  cdc run --on-schema-change continue …\nwhere not:  "
    return Refusal(f"{kind} of the captured table {table}", way + REFRESH)


def _lost(statement: Statement, identity: Identity) -> str:
    """Return what a statement takes from a table's identity; empty: nothing."""
    if identity.by_unique and _may_drop_key(statement):
        return "a unique key tells its rows apart in Redis, and it may be gone"
    if statement.kind != "ALTER TABLE":
        return ""
    has_texts = bool(identity.columns - (identity.integers or frozenset()))
    for clause in statement.clauses:
        for column in sorted(identity.columns):
            if _alters(clause, column, is_integer=column in (identity.integers or ())):
                return f"it may change {column}, which is part of its rows' keys"
        is_converted = ("CONVERT", "TO") in pairwise(clause.words) and has_texts
        if is_converted and "utf8mb4" not in clause.names:
            return "it may change texts in keys of its rows"
    return ""


def _may_drop_key(statement: Statement) -> bool:
    if statement.kind in ("ALTER TABLE", "TRUNCATE"):
        return any(_drops_key(set(clause.words)) for clause in statement.clauses)
    return True  # an index less, or another table under this name


def _drops_key(words: set[str]) -> bool:
    if "RENAME" in words:
        return not words & {"COLUMN", "INDEX", "KEY"}  # of the table
    of_key = words & {"INDEX", "KEY", "CONSTRAINT"} and "FOREIGN" not in words
    return "DROP" in words and bool(of_key)


def _alters(clause: Clause, column: str, *, is_integer: bool) -> bool:
    """Return whether a clause of an ALTER TABLE may change the values or the name of a column."""
    words, names = clause
    if "AFTER" in words[-2:-1] and column.lower() != "after":
        words, names = words[:-2], names[:-2]
    if not may_name(names, column):
        return False
    if not {"CHANGE", "MODIFY"} & set(words):
        return any(
            verb in ("DROP", "RENAME") and what not in _NO_COLUMN for verb, what in pairwise(words)
        )
    return not (is_integer and _stays_integer(names, column.lower()))


def _stays_integer(names: Sequence[str], column: str) -> bool:
    """Return whether ``MODIFY id BIGINT …`` or ``CHANGE id id BIGINT …`` is in the statement."""
    verbs = [place for place, name in enumerate(names) if name in ("modify", "change")]
    if len(verbs) != 1:
        return False
    rest = [n for n in names[verbs[0] + 1 :] if n not in ("column", "if", "exists")]
    same = 2 if names[verbs[0]] == "change" else 1
    return rest[:same] == [column] * same and any(
        type_named(name).is_integer for name in rest[same : same + 1]
    )
