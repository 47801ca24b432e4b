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

from cdc.errors import CdcError, PreflightError, UsageError
from cdc.finding import Finding, Fix, of_error, together
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
            found.append(table_of(entry, wanted, columns, keys))
        except Refused as refused:
            findings += refused.findings
        except CdcError as error:
            findings.append(of_error("mysql.table", error, wanted.name))
    findings += [of_error("mysql.table", error) for error in _shared_keys(found)]
    return tuple(found), findings


class Refused(PreflightError):
    """Raised for a table that cannot be captured as it is; says everything about it."""

    findings: tuple[Finding, ...] = ()

    @classmethod
    def by(cls, findings: Sequence[Finding]) -> Refused:
        """Return the findings as one error."""
        said = together([finding.error() for finding in findings])
        refused = cls(said.seen, safe=said.safe, remedy=said.remedy)
        refused.findings = tuple(findings)
        return refused


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


def identifier(name: str) -> str:
    """Return a name as it stands in a statement without bound values.

    >>> identifier("a`b")
    '`a``b`'
    """
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
        needed_at_least = columns if wanted.value is None else ()
        raise Refused.by([_no_key(entry, names), *_not_carried(entry, needed_at_least)])
    template = parse_template(
        _cased(text, names),
        schema=entry.schema,
        table=entry.name,
        pk=keys[0] if keys else (),
        columns=names,
    )
    value = _value_column(entry, wanted.value, names)
    needed = {*template.columns, *(names if value is None else (value,))}
    refused = _not_carried(entry, [c for c in columns if c.name in needed])
    if refused:
        raise Refused.by(refused)
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


def add_key(schema: str, table: str, names: Sequence[str]) -> str:
    """Return the statement that gives a table a primary key which ``SELECT *`` does not show."""
    name = next(n for n in ("cdc_id", "cdc_id_", "cdc_id__") if n not in names)
    return (
        f"ALTER TABLE {identifier(schema)}.{identifier(table)} ADD COLUMN {identifier(name)} "
        "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY;"
    )


def _no_key(entry: Entry, names: Sequence[str]) -> Finding:
    return Finding(
        id="mysql.table-key",
        seen=f"table {entry.qualified} has neither a primary key nor a unique key of NOT NULL "
        "columns",
        table=entry.qualified,
        fix=Fix(
            sql=(add_key(entry.schema, entry.name, names),),
            is_invasive=True,
            advice="(SELECT * does not show it; the table is rebuilt), or name columns that tell\n"
            f"its rows apart: --key '{{table}}:{{{names[0]}}}'",
        ),
    )


def _not_carried(entry: Entry, columns: Sequence[Column]) -> list[Finding]:
    def told(id: str, named: Sequence[str], fix: Fix) -> Finding:
        seen = f"table {entry.qualified} has columns that cannot be carried exactly: "
        return Finding(id=id, seen=seen + ", ".join(named), fix=fix, table=entry.qualified)

    types = [f"{c.name} ({c.column_type})" for c in columns if not _has_carried_type(c)]
    charsets = [
        f"{c.name} ({c.column_type} in {c.charset})"
        for c in columns
        if _has_carried_type(c) and c.charset is not None and c.charset not in _CARRIED_CHARSETS
    ]
    other = "carry one other column: --value COLUMN"
    out = []
    if types:
        out.append(told("mysql.column-type", types, Fix(advice=other)))
    if charsets:
        convert = f"ALTER TABLE {entry.sql} CONVERT TO CHARACTER SET utf8mb4;"
        fix = Fix(sql=(convert,), is_invasive=True, advice=f"(rebuilds the table), or {other}")
        out.append(told("mysql.column-charset", charsets, fix))
    return out


def _has_carried_type(column: Column) -> bool:
    return column.data_type in _CARRIED_TYPES


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
