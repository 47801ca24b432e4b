"""Count a table's rows and measure their size for ``cdc check``: one scan, with a time limit.

Where the scan would take longer, the catalog's estimates are used and marked as such.
Source: MySQL manual, "Optimizer Hints", MAX_EXECUTION_TIME; MariaDB, "SET STATEMENT".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.check.estimate import TableSize
from cdc.check.finding import Finding
from cdc.mask import Mask
from cdc.table import WHOLE_TABLE_MAX_ROWS, Column, Table
from cdc_reader.binlog.types import Family, type_named
from cdc_reader.catalog.described import SELECT_REFUSED, dialect_on, keys_of, rows_of
from cdc_reader.catalog.entry import entry_of
from cdc_reader.catalog.table_check import sql_name
from cdc_reader.catalog.unique_key import UniqueKeys, identifier, key_fix

SCAN_MS = 10_000
MESSAGE_BYTES = 150
"""Bytes of a message in addition to key and value, at least."""
NUMBER_BYTES = 12
"""A number or a time, on average."""
HASH_BYTES = 64
INDEX_ROW_BYTES = 100
"""What a row's entry in an index takes in Redis, more or less."""
_INTERRUPTED = {3024, 1969, 1317}


def read_size(connection: Connection[Any], table: Table) -> TableSize | None:
    """Return the size of a table; takes `SCAN_MS` at most.  None: this login may not read it.

    Raises:
        pymysql.MySQLError: the connection broke.
    """
    mariadb = dialect_on(connection).mariadb
    ((estimated, average, data, indexes),) = rows_of(
        connection,
        "SELECT table_rows, avg_row_length, data_length, index_length"
        " FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
        (table.schema, table.name),
    )
    size_bytes = int(data or 0) + int(indexes or 0)
    try:
        ((rows, mean, largest),) = rows_of(connection, _limited(table, mariadb=mariadb))
    except pymysql.MySQLError as error:
        number = error.args[0] if error.args else 0
        if number in SELECT_REFUSED:
            return None
        if number not in _INTERRUPTED:
            raise
        return TableSize(
            rows=int(estimated or 0),
            is_exact=False,
            size_bytes=size_bytes,
            value_bytes=int(average or 0) + _beside_bytes(table),
        )
    return TableSize(
        rows=int(rows),
        is_exact=True,
        size_bytes=size_bytes,
        value_bytes=int(mean or 0) + _beside_bytes(table),
        largest_bytes=int(largest or 0) + _names_bytes(table) + MESSAGE_BYTES if rows else 0,
    )


def _limited(table: Table, *, mariadb: bool) -> str:
    masks = dict(table.masks)
    mean, least = (
        sum_of([value_length(c, masks.get(c.name), number_bytes) for c in _carried(table)])
        for number_bytes in (NUMBER_BYTES, 1)
    )
    what = f"COUNT(*), AVG({mean}), MAX({least}) FROM {sql_name(table)}"
    if mariadb:
        return f"SET STATEMENT max_statement_time = {SCAN_MS / 1000} FOR SELECT {what}"
    return f"SELECT /*+ MAX_EXECUTION_TIME({SCAN_MS}) */ {what}"


def sum_of(terms: Sequence[str]) -> str:
    """Return SQL for the sum, which nests no deeper than the logarithm of their number.

    A server's parser nests ``a + b + c``: some 1,000 of them overrun its stack.

    >>> sum_of(["12", "LENGTH(a)", "1", "LENGTH(b)", "LENGTH(c)"])
    '((13 + LENGTH(a)) + (LENGTH(b) + LENGTH(c)))'
    """
    numbers = [term for term in terms if term.isdigit()]
    level = [str(sum(map(int, numbers))), *(term for term in terms if not term.isdigit())]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [f"({' + '.join(pair)})" if len(pair) > 1 else pair[0] for pair in pairs]
    return level[0]


def _carried(table: Table) -> list[Column]:
    """Return the columns that a row's value is made of."""
    if table.value_column is not None:
        names = {table.value_column}
    elif table.fields is not None:
        names = {name for name, _ in table.fields}
    else:
        names = set(table.column_names)
    return [column for column in table.columns if column.name in names]


def value_length(column: Column, mask: Mask | None = None, number_bytes: int = 1) -> str:
    """Return SQL for the least bytes that a column's value has in a message.

    >>> value_length(Column(name="b", data_type="blob", column_type="blob", charset=None,
    ...                     nullable=True))
    'COALESCE(OCTET_LENGTH(`b`) * 4 DIV 3, 4)'

    Args:
        number_bytes: what is counted for a number or a time.
    """
    name = identifier(column.name)
    if mask is not None and mask.kind == "hash":
        return str(HASH_BYTES)
    if mask is not None and mask.kind == "truncate":
        return f"LEAST(COALESCE(OCTET_LENGTH({name}), 4), {mask.length})"
    kind = type_named(column.data_type)
    if kind.is_bytes:
        return f"COALESCE(OCTET_LENGTH({name}) * 4 DIV 3, 4)"
    if kind.is_text:
        return f"COALESCE(OCTET_LENGTH({name}), 4)"
    if kind.family is Family.JSON:  # MySQL prints a space after each comma and colon, we do not
        return f"COALESCE(OCTET_LENGTH({name}) * 2 DIV 3, 4)"
    return str(number_bytes)


def large_columns(table: Table, limit_bytes: int) -> list[str]:
    """Return columns whose type may hold more than that, such as ``b (longblob)``.

    Source: MySQL manual, "Data Type Storage Requirements".
    """
    masked = {name for name, _ in table.masks}
    return [
        f"{column.name} ({column.data_type})"
        for column in _carried(table)
        if column.name not in masked and type_named(column.data_type).largest_bytes > limit_bytes
    ]


def _names_bytes(table: Table) -> int:
    """Return what names, quotes and commas of the row's JSON take."""
    if table.value_column is not None:
        return 0
    return 2 + sum(len(column.name.encode()) + 6 for column in _carried(table))


def _beside_bytes(table: Table) -> int:
    return _names_bytes(table) + INDEX_ROW_BYTES * len(table.indexes)


def check_order(connection: Connection[Any], table: Table, size: TableSize) -> Iterator[Finding]:
    """Find a table that is too large to be read in one piece and has no key to go by."""
    if table.chunk_key or size.rows <= WHOLE_TABLE_MAX_ROWS:
        return
    keys = keys_of(connection, [entry_of(table)]).get(table.qualified, UniqueKeys())
    yield Finding(
        id="mysql.table-unordered",
        seen=f"{table.qualified} has {size.rows:,} rows and no primary or unique NOT NULL key",
        fix=key_fix(
            (table.schema, table.name),
            table.columns,
            has_primary=keys.has_primary,
            dialect=dialect_on(connection),
            otherwise="or run with --no-snapshot",
        ),
        table=table.qualified,
    )
