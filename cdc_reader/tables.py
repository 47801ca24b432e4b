"""From the names that a user wrote to captured tables, through information_schema.

Names are bound, never put into SQL; what stands in a statement is the catalog's own name.
`table_of` and what it calls decide and are pure; the rest asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pymysql.connections import Connection

from cdc.errors import CdcError, UsageError
from cdc.finding import Finding, of_error, together
from cdc.key_overlap import could_be_equal
from cdc.mask import MaskKey
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Column, Table
from cdc.table_settings import TableSettings
from cdc_reader.models import Key, Modelling, Refused, alphabets_of, identifier

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
NAMES_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One table of the catalog."""

    schema: str
    name: str
    kind: str
    """``BASE TABLE``, ``VIEW``, ``SEQUENCE`` …"""

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """As it stands in a statement without bound values."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def resolve_tables(connection: Connection[Any], settings: Settings) -> tuple[Table, ...]:
    """Return the tables that the settings name, with columns and keys from the catalog.

    Raises:
        UsageError: no table is named; a table or column does not exist; a key template is wrong.
        PreflightError: a table has no key, or a column whose type is not carried.
        CdcError: the first of several, which are all told.
        pymysql.MySQLError: the connection broke; see `cdc_reader.connection.translated`.
    """
    tables, findings = find_tables(connection, settings)
    if findings:
        raise together([finding.error() for finding in findings])
    return tables


def find_tables(
    connection: Connection[Any], settings: Settings
) -> tuple[tuple[Table, ...], list[Finding]]:
    """Return the tables that the settings name and that can be captured, and what is wrong.

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc_reader.connection.translated`.
    """
    if not settings.tables:
        none = UsageError(
            "no table is named",
            remedy="cdc run --table your_table   (or CDC_TABLES, or tables in cdc.toml)",
        )
        return (), [of_error("mysql.table", none)]
    found: list[Table] = []
    findings: list[Finding] = []
    for wanted in settings.tables:
        try:
            entry = _entry(connection, wanted.name, settings.mysql.database)
            columns, keys = _columns(connection, entry), unique_keys(connection, entry)
            found.append(table_of(entry, wanted, columns, keys, settings.mask_key))
        except Refused as refused:
            findings += refused.findings
        except CdcError as error:
            findings.append(of_error("mysql.table", error, wanted.name))
    findings += [of_error("mysql.table", error) for error in _shared_keys(found)]
    return tuple(found), findings


# -- which table -----------------------------------------------------------------------


def _entry(connection: Connection[Any], wanted: str, database: str) -> Entry:
    entries = _entries(connection)
    folded = _names_fold(connection)
    candidates = [e for e in entries if wanted in _names(e, database)] or [
        e for e in entries if folded and wanted.lower() in [n.lower() for n in _names(e, database)]
    ]
    if not candidates and not database:
        candidates = [e for e in entries if e.name == wanted]
    if len(candidates) > 1:
        listed = ", ".join(sorted(e.qualified for e in candidates)[:NAMES_LISTED])
        raise UsageError(
            f"table {wanted!r} stands in several databases: {listed}",
            remedy=f"name one: --table {candidates[0].qualified}",
        )
    if not candidates:
        raise _unknown_table(wanted, database, entries)
    if candidates[0].kind != "BASE TABLE":
        raise UsageError(
            f"{candidates[0].qualified} is a {candidates[0].kind.lower()}, not a table: "
            "it has no changes of its own in the binlog",
            remedy="name the tables that it is made of",
        )
    return candidates[0]


def _names(entry: Entry, database: str) -> tuple[str, ...]:
    """How a user may write a table: with its database, or without inside the default one."""
    return (entry.qualified, entry.name) if entry.schema == database else (entry.qualified,)


def _unknown_table(wanted: str, database: str, entries: Sequence[Entry]) -> UsageError:
    if "." in wanted or not database:
        known = [e.qualified for e in entries] if "." in wanted else [e.name for e in entries]
        where = "MySQL"
    else:
        known = [e.name for e in entries if e.schema == database]
        where = f"database {database!r}"
    hint = nearest(wanted, known)
    elsewhere = [e.qualified for e in entries if e.name.lower() == wanted.lower()]
    listed = ", ".join(sorted(elsewhere or known)[:NAMES_LISTED])
    return UsageError(
        f"{where} has no table {wanted!r} that this login may see{hint}",
        remedy=(f"it shows {listed}" if listed else "it shows no tables at all")
        + "\na table is seen once the login has a right on it: GRANT SELECT ON …",
    )


def _entries(connection: Connection[Any]) -> list[Entry]:
    rows = rows_of(
        connection,
        "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        " WHERE table_schema NOT IN (%s, %s, %s, %s)",
        _SYSTEM,
    )
    return [Entry(schema=schema, name=name, kind=kind) for schema, name, kind in rows]


def _names_fold(connection: Connection[Any]) -> bool:
    return any(number != 0 for (number,) in rows_of(connection, "SELECT @@lower_case_table_names"))


# -- what it is made of ----------------------------------------------------------------


def _columns(connection: Connection[Any], entry: Entry) -> tuple[Column, ...]:
    """Return all columns, generated and invisible ones too, as row images have them."""
    rows = rows_of(
        connection,
        "SELECT column_name, data_type, column_type, character_set_name, is_nullable"
        " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position",
        (entry.schema, entry.name),
    )
    return tuple(
        Column(
            name=name,
            data_type=data_type.lower(),
            column_type=column_type,
            charset=charset,
            nullable=nullable == "YES",
        )
        for name, data_type, column_type, charset, nullable in rows
    )


def unique_keys(connection: Connection[Any], entry: Entry) -> list[Key]:
    """Return the keys that tell every row from every other, the primary key first."""
    rows = rows_of(
        connection,
        "SELECT s.index_name, s.column_name, s.sub_part, c.is_nullable"
        " FROM information_schema.statistics s LEFT JOIN information_schema.columns c"
        " ON c.table_schema = s.table_schema AND c.table_name = s.table_name"
        " AND c.column_name = s.column_name"
        " WHERE s.table_schema = %s AND s.table_name = %s AND s.non_unique = 0"
        " ORDER BY s.index_name, s.seq_in_index",
        (entry.schema, entry.name),
    )
    found: dict[str, list[str]] = {}
    unfit: set[str] = set()
    for index, column, prefix_length, nullable in rows:
        found.setdefault(index, []).append(column)
        # A key on an expression has no column; one on a prefix tells prefixes apart, not rows.
        if column is None or prefix_length is not None or nullable != "NO":
            unfit.add(index)
    names = [index for index in found if index not in unfit]
    names.sort(key=lambda index: (index != "PRIMARY", len(found[index]), index))
    return [tuple(found[index]) for index in names]


def rows_of(
    connection: Connection[Any], statement: str, bound: Sequence[str] = ()
) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a statement with bound values.

    Raises:
        pymysql.MySQLError: it is refused, or the connection broke.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, tuple(bound) or None)
        return list(cursor.fetchall())


# -- what follows from it --------------------------------------------------------------


def table_of(
    entry: Entry,
    wanted: TableSettings,
    columns: Sequence[Column],
    keys: Sequence[Key],
    mask_key: MaskKey | None = None,
) -> Table:
    """Return the captured table.

    Args:
        keys: unique NOT NULL keys, the primary key first; empty: there is none.
        mask_key: the secret of hashes, needed where a column is masked so.

    Raises:
        CdcError: all that is wrong with it, in one; see `cdc_reader.models`.
    """
    return Modelling(entry.schema, entry.name, wanted, columns, keys, mask_key).table()


def _shared_keys(tables: Sequence[Table]) -> Iterator[UsageError]:
    """Refuse two templates of which a row each could have the same key."""
    names = [table.qualified for table in tables]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield UsageError(f"table {name} is named twice", remedy="name it once")
    templates = [
        (f"rows of {table.qualified}", table.key, alphabets_of(table))
        for table in {table.qualified: table for table in tables}.values()
    ] + [
        (f"an index of {table.qualified}", index.key, alphabets_of(table))
        for table in {table.qualified: table for table in tables}.values()
        for index in table.indexes
    ]
    for (one, key, letters), (other, other_key, other_letters) in combinations(templates, 2):
        if could_be_equal(key, letters, other_key, other_letters):
            yield UsageError(
                f"{one} and {other} could have the same key: {key.text!r} and {other_key.text!r}",
                remedy="let keys begin differently: --key '{schema}.{table}:{pk}'",
            )
