"""Problems of the captured tables that stop a run or should be known before it.

Asks information_schema and, for many tables at once, for no rows of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.check.finding import Finding, Fix
from cdc.errors import PermissionDenied
from cdc.mysql.connection import current_user
from cdc.settings import Settings
from cdc.table import Table
from cdc_reader.catalog.described import cascades_of, dialect_on, keys_of, rows_of
from cdc_reader.catalog.entry import entry_of
from cdc_reader.catalog.grants import grant_select
from cdc_reader.catalog.unique_key import UniqueKeys, identifier, unique_template

SELECT_REFUSED = {1142, 1143}
SELECTED_TOGETHER = 50
"""Tables of one statement: 5,000 single ones take as long as all other questions together."""


def check_tables(
    connection: Connection[Any], settings: Settings, tables: Sequence[Table]
) -> list[Finding]:
    """Return what the tables' rights, keys and foreign keys break.

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    out: list[Finding] = []
    entries = [entry_of(table) for table in tables]
    keys, cascades = keys_of(connection, entries), cascades_of(connection, entries)
    unreadable = _unreadable(connection, tables) if settings.snapshot else ()
    is_native = _native_foreign_keys(connection) if cascades else None
    for table in tables:
        if table.qualified in unreadable:
            user, account = current_user(connection)
            out.append(
                Finding(
                    id="mysql.select",
                    seen=f"MySQL: the user {user!r} may not SELECT from {table.qualified}",
                    fix=Fix(
                        sql=(grant_select(sql_name(table), account),),
                        advice="(or --no-snapshot)",
                    ),
                    kind=PermissionDenied,
                    table=table.qualified,
                )
            )
        out.extend(_keys(connection, table, keys.get(table.qualified, UniqueKeys())))
        if constraints := cascades.get(table.qualified):
            out.extend(_cascades(table, constraints, is_native=is_native))
    return out


def sql_name(table: Table) -> str:
    """Return a table as written in a statement without bound values."""
    return entry_of(table).sql


def _unreadable(connection: Connection[Any], tables: Sequence[Table]) -> set[str]:
    """Return those that this login may not SELECT the columns of."""
    out: set[str] = set()
    for at in range(0, len(tables), SELECTED_TOGETHER):
        some = tables[at : at + SELECTED_TOGETHER]
        if not _may_select(connection, some):
            out.update(t.qualified for t in some if not _may_select(connection, [t]))
    return out


def _may_select(connection: Connection[Any], tables: Sequence[Table]) -> bool:
    """Return whether this login may SELECT all columns of all these tables."""
    selects = (
        f"(SELECT 1 FROM (SELECT {', '.join(map(identifier, table.column_names))} "
        f"FROM {sql_name(table)} LIMIT 0) t)"
        for table in tables
    )
    try:
        rows_of(connection, " UNION ALL ".join(selects))
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in SELECT_REFUSED:
            return False
        raise
    return True


def _keys(connection: Connection[Any], table: Table, found: UniqueKeys) -> Iterator[Finding]:
    used = set(table.key.columns)
    # A field that tells a parent's rows apart is made sure of by `cdc_reader.catalog.table_of`.
    if table.field is None and not any(used.issuperset(key) for key in found.all):
        yield Finding(
            id="mysql.key-not-unique",
            seen=f"{table.qualified}: the key template {table.key.text!r} contains no unique key",
            fix=Fix(
                advice=f"name the columns of one: --key '{unique_template(found)}'"
                if found.all
                else "make sure that its columns tell rows apart;\n"
                "cdc verify counts the keys that several rows share"
            ),
            stops=False,
            table=table.qualified,
        )
    nullable = [c.name for c in table.columns if c.name in used and c.nullable]
    if nullable:
        lines = _definitions(connection, table)
        changes = ", ".join(f"MODIFY COLUMN {not_null(lines[name])}" for name in nullable if lines)
        yield Finding(
            id="mysql.key-nullable",
            seen=f"{table.qualified}: {', '.join(nullable)} may be NULL",
            fix=Fix(
                sql=(f"ALTER TABLE {sql_name(table)} {changes};",) if changes else (),
                is_invasive=True,
                advice="(it fails where a value is NULL), or another --key"
                if changes
                else "make them NOT NULL, or another --key",
            ),
            stops=False,
            table=table.qualified,
        )


def _definitions(connection: Connection[Any], table: Table) -> dict[str, str]:
    """Return each column's own line of SHOW CREATE TABLE, by name; none without SELECT."""
    try:
        ((_, text, *_),) = rows_of(connection, f"SHOW CREATE TABLE {sql_name(table)}")
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in SELECT_REFUSED:
            return {}
        raise
    lines = [line.strip().rstrip(",") for line in str(text).splitlines()]
    return {
        name: line
        for name in table.column_names
        for line in lines
        if line.startswith(f"{identifier(name)} ")
    }


def not_null(definition: str) -> str:
    """Return a column's definition with NOT NULL.

    >>> not_null("`a` varchar(9) COLLATE utf8mb4_bin DEFAULT NULL COMMENT 'x'")
    "`a` varchar(9) COLLATE utf8mb4_bin NOT NULL COMMENT 'x'"
    >>> not_null("`a` timestamp NULL DEFAULT NULL")
    '`a` timestamp NOT NULL'
    """
    if re.search(r" DEFAULT NULL(?= |$)", definition):
        without = re.sub(r" NULL(?= DEFAULT NULL( |$))", "", definition, count=1)
        return re.sub(r" DEFAULT NULL(?= |$)", " NOT NULL", without, count=1)
    head, comment, rest = definition.partition(" COMMENT ")
    return f"{re.sub(r' NULL(?= |$)', '', head, count=1)} NOT NULL{comment}{rest}"


# -- foreign keys ----------------------------------------------------------------------


def _cascades(
    table: Table, rows: Sequence[tuple[Any, ...]], *, is_native: bool | None
) -> Iterator[Finding]:
    """Report changes that InnoDB makes itself and that are in no binlog.

    Source: MySQL 9.6 release notes, "Foreign keys" (cascades moved into the SQL layer, undone
    by ``innodb_native_foreign_keys``); MariaDB knowledge base, "Foreign Keys", limitations.
    """
    if is_native is False:
        return
    columns: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for name, parent, schema, column, referenced in rows:
        columns.setdefault((name, schema, parent), []).append((column, referenced))
    parents = sorted({parent for _, _, parent in columns})
    yield Finding(
        id="mysql.cascade",
        seen=f"{table.qualified}: its foreign key to {', '.join(parents)} changes rows inside "
        "InnoDB (CASCADE, SET NULL)",
        fix=Fix(
            sql=tuple(
                statement
                for (name, schema, parent), pairs in columns.items()
                for statement in _restricted(table, name, (schema, parent), pairs)
            ),
            is_invasive=True,
            file=("my.cnf", "[mysqld]\ninnodb_native_foreign_keys = OFF") if is_native else None,
            advice="either of them; the second takes nothing away: MySQL then writes cascades to "
            f"the binlog.\nThe first {_PRICE}"
            if is_native
            else f"this {_PRICE}\n"
            "MySQL 9.6 and newer write cascades to the binlog; here cdc verify --repair finds such "
            "rows",
        ),
        stops=False,
        table=table.qualified,
    )


_PRICE = (
    "has a price: MySQL then refuses to delete a parent that has child rows, so the application\n"
    "has to change these first; between both statements nothing keeps them together."
)


def _restricted(
    table: Table, name: str, parent: tuple[str, str], pairs: Sequence[tuple[str, str]]
) -> tuple[str, str]:
    own = ", ".join(identifier(column) for column, _ in pairs)
    theirs = ", ".join(identifier(column) for _, column in pairs)
    where = ".".join(map(identifier, parent))
    key = identifier(name)
    # MySQL cannot drop and add a constraint of one name at once.
    return (
        f"ALTER TABLE {sql_name(table)} DROP FOREIGN KEY {key};",
        f"ALTER TABLE {sql_name(table)} ADD CONSTRAINT {key} FOREIGN KEY ({own}) "
        f"REFERENCES {where} ({theirs});",
    )


def _native_foreign_keys(connection: Connection[Any]) -> bool | None:
    """Return whether InnoDB itself cascades; None: this server knows no other way."""
    found = rows_of(connection, "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
    dialect = dialect_on(connection)
    if dialect.mariadb or dialect.version < (9, 6):
        return None
    return bool(found) and found[0][1] == "ON"
