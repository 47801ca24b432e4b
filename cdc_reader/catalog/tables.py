"""Look up captured tables in information_schema by the names that a user wrote.

Names are bound, never put into SQL; a statement contains only the catalog's own name.
`table_of` and what it calls decide and are pure; the rest asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pymysql.connections import Connection

from cdc.check.finding import Finding, LeftOut, of_error, together
from cdc.errors import CdcError, PreflightError, UsageError
from cdc.key import KeyTemplate
from cdc.mask import MaskKey
from cdc.settings import Settings
from cdc.table import Column, Table
from cdc.table_settings import TableSettings
from cdc_reader.binlog.engine import engine_finding
from cdc_reader.catalog.described import columns_of, dialect_on, keys_of, rows_of
from cdc_reader.catalog.dialect import NEWEST, Dialect
from cdc_reader.catalog.entry import Entry, no_base_table
from cdc_reader.catalog.key_overlap import could_be_equal, pairs_to_compare
from cdc_reader.catalog.selection import (
    NAMES_LISTED,
    Catalog,
    Selected,
    select,
)
from cdc_reader.catalog.table_of import Refused, TableBuilder, alphabets_of
from cdc_reader.catalog.unique_key import UniqueKeys

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
SHARED_KEYS_LISTED = 20
"""Of 5,000 tables with one key template there are 12 million pairs."""


@dataclass(slots=True)
class Captured:
    """The captured tables, and why others are not."""

    tables: list[Table] = field(default_factory=list)
    wanted: list[TableSettings] = field(default_factory=list)
    """The settings of each, under a name of its own."""
    findings: list[Finding] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    """Matched by a pattern only, and not fit to be captured."""
    visible: frozenset[str] = frozenset()
    """All tables and views that the login may see, as ``schema.table``."""


def resolve_tables(connection: Connection[Any], settings: Settings) -> tuple[Table, ...]:
    """Return the tables that the settings name, with columns and keys from the catalog.

    Raises:
        UsageError: no table is named; a table or column does not exist; a key template is wrong.
        PreflightError: a table has no key, or a column whose type is not carried.
        CdcError: the first of several, which are all told.
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    found = find_tables(connection, settings)
    if errors := [finding.error() for finding in found.findings if finding.stops]:
        raise together(errors)
    return tuple(found.tables)


def find_tables(
    connection: Connection[Any], settings: Settings, *, only: Collection[str] | None = None
) -> Captured:
    """Return the tables that the settings name and that can be captured, and what is wrong.

    What only a pattern matches and cannot be captured for what it is (a view, an engine, no key,
    a column) is left out; a mistake in the settings is a finding, however the table is named.

    Args:
        only: ``schema.table`` of those that are looked at; None: all.

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    made = Captured()
    if not settings.tables:
        none = UsageError(
            "no table is named",
            fix="cdc run --table your_table   (or CDC_TABLES, or tables in cdc.toml, which\n"
            "cdc init writes)",
        )
        made.findings.append(of_error("mysql.table", none))
        return made
    entries = entries_of(connection)
    made.visible = frozenset(entry.qualified for entry in entries)
    catalog = Catalog(entries, settings.mysql.database, folds=names_fold(connection))
    selection = select(catalog, settings)
    made.findings += [of_error("mysql.table", error, name) for error, name in selection.errors]
    made.findings += selection.warnings
    wanted = [one for one in selection.tables if only is None or one.entry.qualified in only]
    fit = [one for one in wanted if not _refused(one, _unfit(one.entry), made)]
    asked, dialect = [one.entry for one in fit], dialect_on(connection)
    columns, keys = columns_of(connection, asked), keys_of(connection, asked)
    for one in fit:
        try:
            of = columns.get(one.entry.qualified, [])
            unique = keys.get(one.entry.qualified, UniqueKeys())
            table = table_of(one.entry, one.wanted, of, unique, settings.mask_key, dialect)
            made.tables.append(table)
            made.wanted.append(one.wanted)
        except Refused as refused:
            _refused(one, refused.findings, made)
        except CdcError as error:
            _refused(one, [of_error("mysql.table", error, one.wanted.name)], made)
    made.findings += [of_error("mysql.table", error) for error in _named_twice(selection.tables)]
    made.findings += [of_error("mysql.table", error) for error in _shared_keys(made.tables)]
    if made.left_out and not made.tables and not made.findings:
        made.findings.append(of_error("mysql.table", _none_left(made.left_out)))
    return made


def _none_left(left_out: Sequence[LeftOut]) -> PreflightError:
    reasons = "".join(f"\n{one.why}" for one in left_out[:NAMES_LISTED])
    return PreflightError(
        f"none of the tables that match can be captured: {len(left_out)} of them{reasons}",
        fix="name one itself: cdc check --table prints how to fix it",
    )


def selected_names(connection: Connection[Any], settings: Settings) -> frozenset[str]:
    """Return the names of all that the settings name or match, ``shop.users``, fit or not.

    One statement lists the catalog, so it may be asked from time to time.

    Raises:
        pymysql.MySQLError: as `find_tables`.
    """
    database, folds = settings.mysql.database, names_fold(connection)
    catalog = Catalog(entries_of(connection), database, folds=folds)
    return frozenset(one.entry.qualified for one in select(catalog, settings).tables)


def _unfit(entry: Entry) -> list[Finding]:
    """Return why no table of that kind or engine can be captured."""
    if (error := no_base_table(entry)) is not None:
        return [of_error("mysql.table", error, entry.qualified)]
    finding = engine_finding(entry.qualified, entry.sql, entry.engine)
    return [] if finding is None else [finding]


def _refused(one: Selected, findings: Sequence[Finding], made: Captured) -> bool:
    """Take in why a table cannot be captured; return whether there is a reason."""
    is_of_table = all(f.id != "mysql.table" or f.kind is not UsageError for f in findings)
    if one.pattern and findings and (is_of_table or one.entry.kind != "BASE TABLE"):
        # That there is nothing to capture then is not why.
        said = (f.seen if f.id == "mysql.table" else f.sentence() for f in findings)
        why = "; ".join(said)
        made.left_out.append(LeftOut(table=one.entry.qualified, pattern=one.pattern, why=why))
    else:
        made.findings += findings
    return bool(findings)


def _named_twice(selected: Sequence[Selected]) -> Iterator[UsageError]:
    names: dict[str, list[str]] = {}
    for one in selected:
        names.setdefault(one.entry.qualified, []).append(repr(one.wanted.name))
    for table, some in sorted(names.items()):
        if len(some) > 1:
            yield UsageError(
                f"table {table} is named twice, as {' and as '.join(some)}", fix="keep one"
            )


def entries_of(connection: Connection[Any]) -> list[Entry]:
    """Return all tables and views that the login may see, those of the system left out.

    Raises:
        pymysql.MySQLError: as `find_tables`.
    """
    rows = rows_of(
        connection,
        "SELECT table_schema, table_name, table_type, engine FROM information_schema.tables"
        " WHERE table_schema NOT IN (%s, %s, %s, %s) ORDER BY table_schema, table_name",
        _SYSTEM,
    )
    return [
        Entry(schema=schema, name=name, kind=kind, engine=engine or "")
        for schema, name, kind, engine in rows
    ]


def names_fold(connection: Connection[Any]) -> bool:
    """Return whether upper and lower case of names are one.

    Raises:
        pymysql.MySQLError: as `find_tables`.
    """
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
