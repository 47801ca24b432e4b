"""Look up captured tables in information_schema by the names that a user wrote.

Names are bound, never put into SQL; a statement contains only the catalog's own name.
`table_of` and what it calls decide and are pure; the rest asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pymysql.connections import Connection

from cdc.check.finding import Finding, of_error, together
from cdc.errors import CdcError, UsageError
from cdc.key import KeyTemplate
from cdc.mask import MaskKey
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Column, Table
from cdc.table_settings import TableSettings
from cdc_reader.binlog.engine import engine_finding
from cdc_reader.catalog.described import Entry, columns_of, dialect_on, keys_of, rows_of
from cdc_reader.catalog.dialect import NEWEST, Dialect
from cdc_reader.catalog.key_overlap import could_be_equal, pairs_to_compare
from cdc_reader.catalog.table_of import Refused, TableBuilder, alphabets_of
from cdc_reader.catalog.unique_key import UniqueKeys

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
NAMES_LISTED = 8
SHARED_KEYS_LISTED = 20
"""Of 5,000 tables with one key template there are 12 million pairs."""


def resolve_tables(connection: Connection[Any], settings: Settings) -> tuple[Table, ...]:
    """Return the tables that the settings name, with columns and keys from the catalog.

    Raises:
        UsageError: no table is named; a table or column does not exist; a key template is wrong.
        PreflightError: a table has no key, or a column whose type is not carried.
        CdcError: the first of several, which are all told.
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
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
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    if not settings.tables:
        none = UsageError(
            "no table is named",
            fix="cdc run --table your_table   (or CDC_TABLES, or tables in cdc.toml)",
        )
        return (), [of_error("mysql.table", none)]
    found: list[Table] = []
    findings: list[Finding] = []
    known = Catalog(_entries(connection), settings.mysql.database, folds=_names_fold(connection))
    entries: list[tuple[TableSettings, Entry]] = []
    for wanted in settings.tables:
        try:
            entry = known.entry(wanted.name)
        except CdcError as error:
            findings.append(of_error("mysql.table", error, wanted.name))
            continue
        if (finding := engine_finding(entry.qualified, entry.sql, entry.engine)) is not None:
            findings.append(finding)
        else:
            entries.append((wanted, entry))
    asked, dialect = [entry for _, entry in entries], dialect_on(connection)
    columns, keys = columns_of(connection, asked), keys_of(connection, asked)
    for wanted, entry in entries:
        try:
            of, unique = columns.get(entry.qualified, []), keys.get(entry.qualified, UniqueKeys())
            found.append(table_of(entry, wanted, of, unique, settings.mask_key, dialect))
        except Refused as refused:
            findings += refused.findings
        except CdcError as error:
            findings.append(of_error("mysql.table", error, wanted.name))
    findings += [of_error("mysql.table", error) for error in _named_twice(entries)]
    findings += [of_error("mysql.table", error) for error in _shared_keys(found)]
    return tuple(found), findings


def _named_twice(entries: Sequence[tuple[TableSettings, Entry]]) -> Iterator[UsageError]:
    names: dict[str, list[str]] = {}
    for wanted, entry in entries:
        names.setdefault(entry.qualified, []).append(repr(wanted.name))
    for table, some in sorted(names.items()):
        if len(some) > 1:
            yield UsageError(
                f"table {table} is named twice, as {' and as '.join(some)}", fix="keep one"
            )


# -- which table -----------------------------------------------------------------------


class Catalog:
    """All tables that a login may see, by the names that a user may write."""

    def __init__(self, entries: Sequence[Entry], database: str, *, folds: bool) -> None:
        """Take the catalog's tables.

        Args:
            database: the default one; empty: none.
            folds: upper and lower case of names are one (``lower_case_table_names``).
        """
        self._entries, self._database, self._folds = entries, database, folds
        self._exact: dict[str, list[Entry]] = {}
        self._folded: dict[str, list[Entry]] = {}
        self._alone: dict[str, list[Entry]] = {}
        for entry in entries:
            self._alone.setdefault(entry.name, []).append(entry)
            for name in _names(entry, database):
                self._exact.setdefault(name, []).append(entry)
                self._folded.setdefault(name.lower(), []).append(entry)

    def entry(self, wanted: str) -> Entry:
        """Return the table of that name.

        Raises:
            UsageError: there is none, several, or it is no table.
        """
        candidates = self._exact.get(wanted, [])
        if not candidates and self._folds:
            candidates = self._folded.get(wanted.lower(), [])
        if not candidates and not self._database:
            candidates = self._alone.get(wanted, [])
        if len(candidates) > 1:
            listed = ", ".join(sorted(e.qualified for e in candidates)[:NAMES_LISTED])
            raise UsageError(
                f"table {wanted!r} exists in several databases: {listed}",
                fix=f"name one: --table {candidates[0].qualified}",
            )
        if not candidates:
            raise _unknown_table(wanted, self._database, self._entries)
        if candidates[0].kind != "BASE TABLE":
            raise _no_base_table(candidates[0])
        return candidates[0]


def _no_base_table(entry: Entry) -> UsageError:
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
    if any(sign in wanted for sign in "*%?"):
        return UsageError(
            f"{wanted!r} looks like a pattern: tables are named one by one",
            fix="name each: --table shop.users --table shop.orders; what a new table would\n"
            "bring into Redis is thereby decided by a person",
        )
    hint = nearest(wanted, known)
    elsewhere = [e.qualified for e in entries if e.name.lower() == wanted.lower()]
    listed = ", ".join(sorted(elsewhere or known)[:NAMES_LISTED])
    return UsageError(
        f"{where} has no table {wanted!r} that this login may see{hint}",
        fix=(f"it shows {listed}" if listed else "it shows no tables at all")
        + "\na table is seen once the login has a right on it: GRANT SELECT ON …",
    )


def _entries(connection: Connection[Any]) -> list[Entry]:
    rows = rows_of(
        connection,
        "SELECT table_schema, table_name, table_type, engine FROM information_schema.tables"
        " WHERE table_schema NOT IN (%s, %s, %s, %s)",
        _SYSTEM,
    )
    return [
        Entry(schema=schema, name=name, kind=kind, engine=engine or "")
        for schema, name, kind, engine in rows
    ]


def _names_fold(connection: Connection[Any]) -> bool:
    return any(number != 0 for (number,) in rows_of(connection, "SELECT @@lower_case_table_names"))


# -- what follows from it --------------------------------------------------------------


def table_of(
    entry: Entry,
    wanted: TableSettings,
    columns: Sequence[Column],
    keys: UniqueKeys,
    mask_key: MaskKey | None = None,
    dialect: Dialect = NEWEST,
) -> Table:
    """Return the captured table.

    Args:
        mask_key: the secret of hashes, needed where a column is masked so.
        dialect: the server's kind and version.

    Raises:
        CdcError: all that is wrong with it, in one; see `cdc_reader.catalog.table_of`.
    """
    return TableBuilder(entry.schema, entry.name, wanted, columns, keys, mask_key, dialect).table()


def _shared_keys(tables: Sequence[Table]) -> Iterator[UsageError]:
    """Refuse two templates of which a row each could have the same key."""
    templates = [
        (f"rows of {table.qualified}", table.key, alphabets_of(table))
        for table in {table.qualified: table for table in tables}.values()
    ] + [
        (f"an index of {table.qualified}", index.key, alphabets_of(table))
        for table in {table.qualified: table for table in tables}.values()
        for index in table.indexes
    ]
    found = pairs_to_compare([key for _, key, _ in templates])
    yield from islice(filter(None, (_shared(templates[a], templates[b]) for a, b in found)),
                      SHARED_KEYS_LISTED)  # fmt: skip


_Named = tuple[str, KeyTemplate, Mapping[str, str]]


def _shared(first: _Named, second: _Named) -> UsageError | None:
    (one, key, letters), (other, other_key, other_letters) = first, second
    if not could_be_equal(key, letters, other_key, other_letters):
        return None
    return UsageError(
        f"{one} and {other} could have the same key: {key.text!r} and {other_key.text!r}",
        fix="let keys begin differently: --key '{schema}.{table}:{pk}'",
    )
