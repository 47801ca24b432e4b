"""Columns, unique keys and foreign keys of several tables, from the catalog.

A schema of which most tables are wanted is asked for at once, so that 5,000 tables take three
statements; of another one each table is asked for by name, which is what a MariaDB with many
tables answers quickly (it opens only those that the statement names; MariaDB
knowledge base, "Optimizations for Information Schema").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pymysql.connections import Connection

from cdc.table import Column
from cdc_reader.catalog.dialect import Dialect, dialect_of
from cdc_reader.catalog.entry import Entry
from cdc_reader.catalog.unique_key import UniqueKeys

WHOLE_FROM_TABLES = 20
"""Up to this many tables of a schema are queried one by one, however many it has."""
WHOLE_FROM_SHARE = 0.25
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


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


def cascades_of(connection: Connection[Any], entries: Sequence[Entry]) -> Rows:
    """Return the foreign keys of tables whose actions change rows, a row for each column.

    ``{"shop.lines": [("fk", "orders", "shop", "order_id", "id")]}``: constraint, parent, the
    parent's schema, column, the parent's column.

    Raises:
        pymysql.MySQLError: as `rows_of`.
    """
    actions = ", ".join(f"'{action}'" for action in _ACTIONS)
    return _about(
        connection,
        entries,
        "SELECT r.table_name, r.constraint_name, r.referenced_table_name,"
        " k.referenced_table_schema, k.column_name, k.referenced_column_name"
        " FROM information_schema.referential_constraints r"
        " JOIN information_schema.key_column_usage k"
        " ON k.constraint_schema = r.constraint_schema AND k.table_name = r.table_name"
        " AND k.constraint_name = r.constraint_name"
        " WHERE r.constraint_schema = %s{named}"
        f" AND (r.delete_rule IN ({actions}) OR r.update_rule IN ({actions}))"
        " ORDER BY {table}r.constraint_name, k.ordinal_position",
        "r.table_name",
    )


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
