"""Problems of the captured tables that stop a run or should be known before it.

Asks information_schema and, for many tables at once, for no rows of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.check.estimate import TableSize
from cdc.check.finding import Finding, Fix
from cdc.errors import PermissionDenied
from cdc.mysql.connection import current_user
from cdc.settings import Settings
from cdc.table import Table
from cdc_reader.binlog.statement import Name
from cdc_reader.catalog.described import (
    SELECT_REFUSED,
    dialect_on,
    foreign_keys_of,
    keys_of,
    rows_of,
    shown_definition,
)
from cdc_reader.catalog.entry import Entry, entry_of
from cdc_reader.catalog.grants import grant_select
from cdc_reader.catalog.unique_key import UniqueKeys, identifier, unique_template
from cdc_reader.schema.foreign_keys import ForeignKey, ForeignKeys

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
    keys, foreign_keys = keys_of(connection, entries), _unlogged(connection, entries)
    unreadable = _unreadable(connection, tables) if settings.snapshot else ()
    account = current_user(connection)[1] if foreign_keys.hidden else ""
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
        own = foreign_keys.to(table.qualified)
        if own and settings.cascades == "warn":
            out.append(_cascades(table, own, is_native=_native_foreign_keys(connection)))
        elif hidden := foreign_keys.hidden.keys() & foreign_keys.above(table.qualified):
            names = [foreign_keys.hidden[name] for name in hidden]
            out.append(_hidden(table, names, account))
    return out


def cascade_notes(
    connection: Connection[Any], tables: Sequence[Table], sizes: Mapping[str, TableSize]
) -> list[str]:
    """Return which tables are followed by which constraint, and what that costs.

    Args:
        sizes: of the tables, as far as they are known.

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    found = _unlogged(connection, [entry_of(table) for table in tables])
    out = []
    for table in tables:
        for key in found.to(table.qualified):
            size = sizes.get(table.qualified)
            rows = f", {size.rows:,} rows" if size else ""
            out.append(
                f"{table.qualified}: follows {'.'.join(key.spelled)} by the foreign key {key.name} "
                f"({key.actions}),\nwhich InnoDB runs in no binlog: each such change of a parent "
                f"has the table read again{rows}"
            )
    return out


def _unlogged(connection: Connection[Any], entries: Sequence[Entry]) -> ForeignKeys:
    """Return the foreign keys that change rows in no binlog."""
    found = foreign_keys_of(connection, entries)
    is_logged = bool(found.keys) and _native_foreign_keys(connection) is False
    return ForeignKeys() if is_logged else found


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
    text = shown_definition(connection, entry_of(table))
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
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


def _cascades(table: Table, keys: Sequence[ForeignKey], *, is_native: bool | None) -> Finding:
    """Report changes that InnoDB makes itself and that are in no binlog.

    Source: MySQL 9.6 release notes, "Foreign keys" (cascades moved into the SQL layer, undone
    by ``innodb_native_foreign_keys``); MariaDB knowledge base, "Foreign Keys", limitations.
    """
    parents = sorted({key.spelled[1] for key in keys})
    return Finding(
        id="mysql.cascade",
        seen=f"{table.qualified}: its foreign key to {', '.join(parents)} changes rows inside "
        "InnoDB (CASCADE, SET NULL)",
        fix=Fix(
            sql=tuple(statement for key in keys for statement in _restricted(table, key)),
            is_invasive=True,
            file=("my.cnf", "[mysqld]\ninnodb_native_foreign_keys = OFF") if is_native else None,
            advice='cascades = "follow" in cdc.toml has such rows read again; or\n'
            + (
                "either of these; the second takes nothing away: MySQL then writes cascades to "
                f"the binlog.\nThe first {_PRICE}"
                if is_native
                else f"this {_PRICE}\nMySQL 9.6 and newer write cascades to the binlog"
            ),
        ),
        stops=False,
        table=table.qualified,
    )


def _hidden(table: Table, parents: Iterable[Name], account: str) -> Finding:
    """Report parents of which this login does not see whose children they are."""
    names = sorted(parents)
    return Finding(
        id="mysql.cascade-hidden",
        seen=f"{table.qualified}: this login may not see the foreign keys of "
        + ", ".join(".".join(name) for name in names),
        fix=Fix(
            sql=tuple(
                f"GRANT REFERENCES ON {'.'.join(map(identifier, name))} TO {account};"
                for name in names
            )
        ),
        stops=False,
        table=table.qualified,
    )


_PRICE = (
    "has a price: MySQL then refuses to delete a parent that has child rows, so the application\n"
    "has to change these first; between both statements nothing keeps them together."
)


def _restricted(table: Table, key: ForeignKey) -> tuple[str, str]:
    own, theirs = (", ".join(map(identifier, names)) for names in (key.columns, key.referenced))
    where, name = ".".join(map(identifier, key.spelled)), identifier(key.name)
    # MySQL cannot drop and add a constraint of one name at once.
    return (
        f"ALTER TABLE {sql_name(table)} DROP FOREIGN KEY {name};",
        f"ALTER TABLE {sql_name(table)} ADD CONSTRAINT {name} FOREIGN KEY ({own}) "
        f"REFERENCES {where} ({theirs});",
    )


def _native_foreign_keys(connection: Connection[Any]) -> bool | None:
    """Return whether InnoDB itself cascades; None: this server knows no other way."""
    found = rows_of(connection, "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
    dialect = dialect_on(connection)
    if dialect.mariadb or dialect.version < (9, 6):
        return None
    return bool(found) and found[0][1] == "ON"
