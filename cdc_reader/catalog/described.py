"""Columns, unique keys and foreign keys of several tables, from the catalog.

A schema of which most tables are wanted is asked for at once, so that 5,000 tables take three
statements; of another one each table is asked for by name, which is what a MariaDB with many
tables answers quickly (it opens only those that the statement names; MariaDB
knowledge base, "Optimizations for Information Schema").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.table import Column
from cdc_reader.binlog.statement import Name
from cdc_reader.catalog.dialect import Dialect, dialect_of
from cdc_reader.catalog.entry import Entry, base_table
from cdc_reader.catalog.unique_key import UniqueKeys
from cdc_reader.schema.foreign_keys import ForeignKey, ForeignKeys, rules_in

WHOLE_FROM_TABLES = 20
"""Up to this many tables of a schema are queried one by one, however many it has."""
WHOLE_FROM_SHARE = 0.25
SELECT_REFUSED = {1142, 1143}
"""Error numbers of a table that may not be read."""
Rows = dict[str, list[tuple[Any, ...]]]
"""Rows of a statement by the table, ``schema.table``, that they are about."""


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


def dialect_on(connection: Connection[Any]) -> Dialect:
    """Return the server's kind and version.

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    ((version,),) = rows_of(connection, "SELECT VERSION()")
    return dialect_of(str(version))


def columns_of(connection: Connection[Any], entries: Sequence[Entry]) -> dict[str, list[Column]]:
    """Return all columns, generated and invisible ones too, as row images have them.

    ``{"shop.users": [Column(name="id", …), …]}``

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    found = _about(
        connection,
        entries,
        "SELECT table_name, column_name, data_type, column_type, character_set_name, is_nullable,"
        " extra FROM information_schema.columns WHERE table_schema = %s{named}"
        " ORDER BY {table}ordinal_position",
        "table_name",
    )
    return {
        table: [
            Column(
                name=name,
                data_type=data_type.lower(),
                column_type=column_type,
                charset=charset,
                nullable=nullable == "YES",
                extra=extra or "",
            )
            for name, data_type, column_type, charset, nullable, extra in rows
        ]
        for table, rows in found.items()
    }


def keys_of(connection: Connection[Any], entries: Sequence[Entry]) -> dict[str, UniqueKeys]:
    """Return the keys that tell every row from every other.

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    found = _about(
        connection,
        entries,
        "SELECT table_name, index_name, column_name, sub_part, nullable, index_type"
        " FROM information_schema.statistics WHERE table_schema = %s{named}"
        " AND non_unique = 0 ORDER BY {table}index_name, seq_in_index",
        "table_name",
    )
    return {table: _unique(rows) for table, rows in found.items()}


def _unique(rows: Sequence[tuple[Any, ...]]) -> UniqueKeys:
    found: dict[str, list[str]] = {}
    unfit: set[str] = set()
    partial: dict[str, str] = {}
    hashes: set[str] = set()
    for index, column, prefix_length, nullable, kind in rows:
        found.setdefault(index, []).append(column)
        is_hash = kind == "HASH" and index != "PRIMARY"  # MariaDB's UNIQUE on a long column
        hashes.update((index,) if is_hash else ())
        if column is None or nullable == "YES":  # a key on an expression has no column
            unfit.add(index)
        elif prefix_length is not None:
            partial[index] = f"{column}({prefix_length})"
        elif is_hash:
            partial[index] = f"a hash of {column}"
    names = [index for index in found if index not in unfit]
    names.sort(key=lambda index: (index != "PRIMARY", len(found[index]), index))
    return UniqueKeys(
        whole=tuple(tuple(found[index]) for index in names if index not in partial),
        partial=tuple((tuple(found[index]), partial[index]) for index in names if index in partial),
        primary=tuple(found.get("PRIMARY", ())),
        hashes=len(hashes),
    )


def foreign_keys_of(connection: Connection[Any], entries: Sequence[Entry]) -> ForeignKeys:
    """Return the foreign keys of tables, of their parents, and so on up.

    MariaDB shows what a key does (CASCADE, SET NULL) in information_schema only to who may change
    the table, and in SHOW CREATE TABLE to who may read it.

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    keys: list[ForeignKey] = []
    seen: set[Name] = set()
    level = list(entries)
    while level:
        seen.update((entry.schema, entry.name) for entry in level)
        found = _foreign_keys(connection, level)
        keys += found.values()
        parents = {(schema, name) for _, schema, name in found} - seen
        level = [base_table(*parent) for parent in sorted(parents)]
    if not keys:
        return ForeignKeys()
    every = [base_table(*name) for name in sorted(seen)]
    described = columns_of(connection, every)
    columns = {_name(e.schema, e.name): described.get(e.qualified, []) for e in every}
    own = {entry.qualified for entry in entries}
    hidden = {
        _name(e.schema, e.name): (e.schema, e.name)
        for e in every
        if e.qualified not in described and e.qualified not in own
    }
    return ForeignKeys(tuple(keys), columns, hidden)


_ForeignKeyId = tuple[str, str, str]
"""``("shop.lines fk", schema and name of the parent)``."""


def _foreign_keys(
    connection: Connection[Any], entries: Sequence[Entry]
) -> dict[_ForeignKeyId, ForeignKey]:
    pairs = _about(
        connection,
        entries,
        "SELECT table_name, constraint_name, referenced_table_schema, referenced_table_name,"
        " column_name, referenced_column_name FROM information_schema.key_column_usage"
        " WHERE table_schema = %s{named} AND referenced_table_name IS NOT NULL"
        " ORDER BY {table}constraint_name, ordinal_position",
        "table_name",
    )
    children = [entry for entry in entries if entry.qualified in pairs]
    rules = _about(
        connection,
        children,
        "SELECT table_name, constraint_name, delete_rule, update_rule"
        " FROM information_schema.referential_constraints WHERE constraint_schema = %s{named}",
        "table_name",
    )
    out: dict[_ForeignKeyId, ForeignKey] = {}
    for child in children:
        shown = {
            name: (deletes, updates) for name, deletes, updates in rules.get(child.qualified, ())
        }
        columns: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for name, schema, parent, own, theirs in pairs[child.qualified]:
            columns.setdefault((name, schema, parent), []).append((own.lower(), theirs.lower()))
        if any(name not in shown for name, _, _ in columns):
            shown |= rules_in(shown_definition(connection, child))
        for (name, schema, parent), both in columns.items():
            on_delete, on_update = shown.get(name, (None, None))
            out[f"{child.qualified} {name}", schema, parent] = ForeignKey(
                name=name,
                child=_name(child.schema, child.name),
                parent=_name(schema, parent),
                columns=tuple(own for own, _ in both),
                referenced=tuple(theirs for _, theirs in both),
                on_delete=on_delete,
                on_update=on_update,
                spelled=(schema, parent),
            )
    return out


def shown_definition(connection: Connection[Any], entry: Entry) -> str:
    """Return what SHOW CREATE TABLE has of a table; empty without SELECT.

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    try:
        ((_, text, *_),) = rows_of(connection, f"SHOW CREATE TABLE {entry.sql}")
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in SELECT_REFUSED:
            return ""
        raise
    return str(text)


def _name(schema: str, name: str) -> Name:
    return schema.lower(), name.lower()


def _about(
    connection: Connection[Any], entries: Sequence[Entry], statement: str, name: str
) -> Rows:
    """Return a statement's rows by table; a table without rows is not in it.

    Args:
        statement: its first column is the table's name; ``{named}`` and ``{table}`` mark where
            one table is asked for, or the rows of all are told apart.
    """
    out: Rows = {}
    for schema, some in _by_schema(entries).items():
        for bound in _bounds(connection, schema, some):
            parts = (f" AND {name} = %s", "") if len(bound) > 1 else ("", f"{name}, ")
            text = statement.format(named=parts[0], table=parts[1])
            for table, *rest in rows_of(connection, text, bound):
                # The catalog returns names as it stores them, not as they were asked for.
                if table in some:
                    out.setdefault(f"{schema}.{table}", []).append(tuple(rest))
    return out


def _by_schema(entries: Sequence[Entry]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for entry in entries:
        out.setdefault(entry.schema, set()).add(entry.name)
    return out


def _bounds(connection: Connection[Any], schema: str, names: set[str]) -> Iterator[tuple[str, ...]]:
    if len(names) > WHOLE_FROM_TABLES:
        ((has,),) = rows_of(
            connection,
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s",
            (schema,),
        )
        if len(names) >= WHOLE_FROM_SHARE * has:
            yield (schema,)
            return
    yield from ((schema, name) for name in sorted(names))
