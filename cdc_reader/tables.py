"""From the names that a user wrote to captured tables, through information_schema.

Names are bound, never put into SQL; what stands in a statement is the catalog's own name.
`table_of` and what it calls decide and are pure; the rest asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.errors import CdcError, PermissionDenied, PreflightError, UsageError
from cdc.finding import Finding, together
from cdc.key import DEFAULT_TEMPLATE, KeyColumn, KeyTemplate, parse_template
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Column, Table
from cdc.table_settings import TableSettings

_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_CARRIED_TYPES = frozenset((
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit",
    "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json",
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob",
    "date", "datetime", "timestamp", "time", "year",
))  # fmt: skip
_CARRIED_CHARSETS = frozenset(("utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "binary"))
_SELECT_REFUSED = {1142, 1143}
NAMES_LISTED = 8

Key = tuple[str, ...]
"""Columns of a unique key, in its order."""


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


def resolve_tables(connection: Connection[Any], settings: Settings) -> tuple[Table, ...]:
    """Return the tables that the settings name, with columns and keys from the catalog.

    Raises:
        UsageError: no table is named; a table or column does not exist; a key template is wrong.
        PreflightError: a table has no key, or a column whose type is not carried.
        CdcError: the first of several, which are all told.
        pymysql.MySQLError: the connection broke; see `cdc_reader.connection.translated`.
    """
    if not settings.tables:
        raise UsageError(
            "no table is named",
            remedy="cdc run --table your_table   (or CDC_TABLES, or tables in cdc.toml)",
        )
    found: list[Table] = []
    errors: list[CdcError] = []
    for wanted in settings.tables:
        try:
            entry = _entry(connection, wanted.name, settings.mysql.database)
            columns, keys = _columns(connection, entry), _unique_keys(connection, entry)
            found.append(table_of(entry, wanted, columns, keys))
        except CdcError as error:
            errors.append(error)
    errors.extend(_shared_keys(found))
    if errors:
        raise together(errors)
    return tuple(found)


def check_tables(
    connection: Connection[Any], settings: Settings, tables: Sequence[Table]
) -> list[Finding]:
    """Return what of the tables stops a run, or should be known before it."""
    out: list[Finding] = []
    for table in tables:
        if settings.snapshot and not _may_select(connection, table):
            out.append(
                Finding(
                    seen=f"MySQL: {settings.mysql.user!r} may not SELECT from {table.qualified}",
                    remedy=f"GRANT SELECT ON {_quoted(table.schema)}.{_quoted(table.name)} TO "
                    "the user;   (or --no-snapshot)",
                    kind=PermissionDenied,
                )
            )
        out.extend(_key_warnings(table, _unique_keys(connection, _entry_of(table))))
        out.extend(_cascade_warnings(connection, table))
    return out


def _entry_of(table: Table) -> Entry:
    return Entry(schema=table.schema, name=table.name, kind="BASE TABLE")


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
    rows = _rows(
        connection,
        "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        " WHERE table_schema NOT IN (%s, %s, %s, %s)",
        _SYSTEM,
    )
    return [Entry(schema=schema, name=name, kind=kind) for schema, name, kind in rows]


def _names_fold(connection: Connection[Any]) -> bool:
    return any(number != 0 for (number,) in _rows(connection, "SELECT @@lower_case_table_names"))


# -- what it is made of ----------------------------------------------------------------


def _columns(connection: Connection[Any], entry: Entry) -> tuple[Column, ...]:
    """Return all columns, generated and invisible ones too, as row images have them."""
    rows = _rows(
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


def _unique_keys(connection: Connection[Any], entry: Entry) -> list[Key]:
    """Return the keys that tell every row from every other, the primary key first."""
    rows = _rows(
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


def _may_select(connection: Connection[Any], table: Table) -> bool:
    columns = ", ".join(map(_quoted, table.column_names))
    try:
        _rows(
            connection,
            f"SELECT {columns} FROM {_quoted(table.schema)}.{_quoted(table.name)} LIMIT 0",
        )
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in _SELECT_REFUSED:
            return False
        raise
    return True


def _rows(
    connection: Connection[Any], statement: str, bound: Sequence[str] = ()
) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, tuple(bound) or None)
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


# -- what follows from it --------------------------------------------------------------


def table_of(
    entry: Entry, wanted: TableSettings, columns: Sequence[Column], keys: Sequence[Key]
) -> Table:
    """Return the captured table.

    Args:
        keys: unique NOT NULL keys, the primary key first; empty: there is none.

    Raises:
        UsageError: the template or the value names a column that is not there.
        PreflightError: no key and no template, or a type that is not carried.
    """
    names = [column.name for column in columns]
    text = wanted.key or DEFAULT_TEMPLATE
    if not keys and "{pk}" in text:
        raise _no_key(entry, names)
    template = parse_template(
        _cased(text, names),
        schema=entry.schema,
        table=entry.name,
        pk=keys[0] if keys else (),
        columns=names,
    )
    value = _value_column(entry, wanted.value, names)
    needed = {*template.columns, *(names if value is None else (value,))}
    refused = [_refused_type(c) for c in columns if c.name in needed and _refused_type(c)]
    if refused:
        raise PreflightError(
            f"table {entry.qualified} has columns that cannot be carried exactly: "
            + ", ".join(refused),
            safe="nothing was written",
            remedy="carry one other column: --value COLUMN",
        )
    return Table(
        schema=entry.schema,
        name=entry.name,
        columns=tuple(columns),
        identity=keys[0] if keys else template.columns,
        chunk_key=keys[0] if keys else (),
        key=template,
        value_column=value,
        model=wanted.model,
    )


def _cased(text: str, names: Sequence[str]) -> str:
    """Write the template's columns as the catalog does: MySQL's columns have no case."""
    for name in names:
        at = text.lower().find("{" + name.lower() + "}")
        if at >= 0 and name not in ("pk", "table", "schema"):
            text = text[: at + 1] + name + text[at + 1 + len(name) :]
    return text


def _no_key(entry: Entry, names: Sequence[str]) -> PreflightError:
    return PreflightError(
        f"table {entry.qualified} has neither a primary key nor a unique key of NOT NULL columns",
        safe="nothing was written",
        remedy="add a primary key, or name columns that tell its rows apart:\n"
        f"--key '{{table}}:{{{names[0]}}}'",
    )


def _value_column(entry: Entry, wanted: str | None, names: Sequence[str]) -> str | None:
    if wanted is None:
        return None
    for name in names:
        if name.lower() == wanted.lower():
            return name
    raise UsageError(
        f"table {entry.qualified} has no column {wanted!r}{nearest(wanted, names)}",
        remedy="its columns are " + ", ".join(names),
    )


def _refused_type(column: Column) -> str:
    if column.data_type not in _CARRIED_TYPES:
        return f"{column.name} ({column.column_type})"
    if column.charset is not None and column.charset not in _CARRIED_CHARSETS:
        return f"{column.name} ({column.column_type} in {column.charset})"
    return ""


def _key_warnings(table: Table, keys: Sequence[Key]) -> Iterator[Finding]:
    used = set(table.key.columns)
    if not any(used.issuperset(key) for key in keys):
        yield Finding(
            seen=f"{table.qualified}: the key template {table.key.text!r} contains no unique key; "
            "rows with the same key overwrite each other in Redis",
            stops=False,
        )
    nullable = [c.name for c in table.columns if c.name in used and c.nullable]
    if nullable:
        yield Finding(
            seen=f"{table.qualified}: {', '.join(nullable)} may be NULL, and a NULL in a key stops "
            "the reader",
            remedy=f"ALTER TABLE {table.qualified} MODIFY … NOT NULL, or another --key",
            stops=False,
        )


def _cascade_warnings(connection: Connection[Any], table: Table) -> Iterator[Finding]:
    """Tell of changes that InnoDB makes by itself and that stand in no binlog.

    Source: MySQL 9.6 release notes, "Foreign keys" (cascades moved into the SQL layer, undone
    by ``innodb_native_foreign_keys``); MariaDB knowledge base, "Foreign Keys", limitations.
    """
    parents = _rows(
        connection,
        "SELECT DISTINCT referenced_table_name FROM information_schema.referential_constraints"
        " WHERE constraint_schema = %s AND table_name = %s AND (delete_rule IN ('CASCADE',"
        " 'SET NULL', 'SET DEFAULT') OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))",
        (table.schema, table.name),
    )
    if parents and _cascades_inside_innodb(connection):
        yield Finding(
            seen=f"{table.qualified}: its foreign key to {', '.join(name for (name,) in parents)} "
            "changes rows inside InnoDB (CASCADE, SET NULL), which no binlog shows: Redis will not "
            "see them",
            remedy="let the application change the child rows itself, with ON DELETE RESTRICT;\n"
            "MySQL 9.6 and newer write cascades to the binlog",
            stops=False,
        )


def _cascades_inside_innodb(connection: Connection[Any]) -> bool:
    ((version,),) = _rows(connection, "SELECT VERSION()")
    numbers = tuple(int(n) for n in str(version).split("-")[0].split(".")[:2])
    native = _rows(connection, "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
    is_on = bool(native) and native[0][1] == "ON"
    return "mariadb" in str(version).lower() or numbers < (9, 6) or is_on


def _shared_keys(tables: Sequence[Table]) -> Iterator[UsageError]:
    """Refuse two tables of which a row each could have the same key."""
    for one, other in combinations(tables, 2):
        if one.qualified == other.qualified:
            yield UsageError(f"table {one.qualified} is named twice", remedy="name it once")
        elif not _told_apart(one.key, other.key):
            yield UsageError(
                f"rows of {one.qualified} and {other.qualified} could have the same key: "
                f"{one.key.text!r} and {other.key.text!r}",
                remedy="let keys begin differently: --key '{schema}.{table}:{pk}'",
            )


def _told_apart(one: KeyTemplate, other: KeyTemplate) -> bool:
    """Say whether no key fits both: their literal beginnings or endings contradict."""
    heads = sorted((one.literal_prefix, other.literal_prefix), key=len)
    tails = sorted((_literal_suffix(one), _literal_suffix(other)), key=len)
    return not heads[1].startswith(heads[0]) or not tails[1].endswith(tails[0])


def _literal_suffix(template: KeyTemplate) -> str:
    last = template.parts[-1]
    return "" if isinstance(last, KeyColumn) else last
