"""Tables and the backlogs that are written into them.

Each table has a row of its own, `MARKER_ID`, whose column `visits` says how many rows of the
backlog have been written before it.  Whoever reads that row's value in Redis knows how far a
system has come, whichever system it is.

Backlogs are written by stored procedures with `sync_binlog` and the redo log's flush off, so
that writing takes seconds; both are on again before anything is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cdc.demo.servers import MySQL

SCHEMA = "bench"
MARKER_ID = 1_000_000_000
MARKERS = 200
"""How often at most a backlog says how far it is."""
CHURN_SHIFT = 10_000_000
"""By how much a changed key differs from the key before."""
CHURN_LAG = 50
"""Transactions between a row's change of key, its deletion and its return: so many that they do
not meet in one batch of a sink, which would then write less than was changed."""

FILL_ROWS = 100_000
SEQUENCE = """
WITH RECURSIVE seq AS (SELECT {first} AS n UNION ALL SELECT n + 1 FROM seq WHERE n < {last})
"""
USERS = """
CREATE TABLE {table} (
  id BIGINT UNSIGNED PRIMARY KEY,
  name VARCHAR(100) NOT NULL,
  email VARCHAR(120) NOT NULL,
  balance DECIMAL(12,2) NOT NULL,
  status ENUM('new','active','banned') NOT NULL,
  visits INT NOT NULL,
  created_at DATETIME NOT NULL,
  updated_at TIMESTAMP(6) NOT NULL
) CHARACTER SET utf8mb4
"""
USERS_ROW = """
SELECT {id}, CONCAT('Ada Lovelace ', n), CONCAT('ada.lovelace.', n, '@example.com'),
  n % 100000 + 0.5, 1 + n % 3, 0, '2026-01-02 03:04:05', '2026-11-23 12:00:00.000001'
"""


def _wide_columns() -> list[tuple[str, str, str]]:
    """Return name, type and expression in `n` of the wide table's columns: 40 of them."""
    text = "REPEAT(CONCAT('Grüße ', n, ' '), 20)"
    json = (
        "JSON_OBJECT('n', n, 'tags', JSON_ARRAY('red', 'green', n),"
        " 'at', JSON_OBJECT('x', n * 0.5, 'y', NULL, 'name', CONCAT('point ', n)))"
    )
    columns = [("id", "BIGINT UNSIGNED PRIMARY KEY", "{id}"), ("visits", "INT NOT NULL", "0")]
    columns += [(f"int{i}", "INT", f"n + {i}") for i in range(12)]
    columns += [(f"name{i}", "VARCHAR(64)", f"CONCAT('name {i} of ', n)") for i in range(12)]
    columns += [(f"text{i}", "TEXT", text) for i in range(4)]
    columns += [(f"json{i}", "JSON", json) for i in range(4)]
    columns += [(f"price{i}", "DECIMAL(14,4)", f"n / 7 + {i}") for i in range(3)]
    columns += [(f"day{i}", "DATETIME(3)", "'2026-01-02 03:04:05.678'") for i in range(3)]
    return columns


WIDE = (
    "CREATE TABLE {table} ("
    + ", ".join(f"`{name}` {kind}" for name, kind, _ in _wide_columns())
    + ") CHARACTER SET utf8mb4"
)
WIDE_ROW = "SELECT " + ", ".join(expression for _, _, expression in _wide_columns())


PROCEDURE = """
CREATE PROCEDURE backlog(IN wanted INT, IN size INT, IN chunks INT)
BEGIN
  DECLARE done, i, low, marked INT DEFAULT 0;
  WHILE done < wanted DO
    START TRANSACTION;
    {body}
    SET done = done + ROW_COUNT();
    IF marked = 0 OR done >= wanted OR done - marked >= wanted / {MARKERS} THEN
      SET marked = done;
      UPDATE {table} SET visits = done WHERE id = {MARKER_ID};
    END IF;
    COMMIT;
    SET i = i + 1;
  END WHILE;
  SELECT done;
END
"""
UPDATE = """
    SET low = (i % chunks) * size + 1;
    UPDATE {table} SET visits = visits + 1, {also} WHERE id BETWEEN low AND low + size - 1;
"""
CHURN = """
    SET low = ((i DIV 3 + chunks - (i % 3) * {CHURN_LAG}) % chunks) * size + 1;
    CASE i % 3
    WHEN 0 THEN
      UPDATE {table} SET id = id + {CHURN_SHIFT} WHERE id BETWEEN low AND low + size - 1;
    WHEN 1 THEN
      DELETE FROM {table} WHERE id BETWEEN low + {CHURN_SHIFT} AND low + {CHURN_SHIFT} + size - 1;
    ELSE
      INSERT INTO {table} SELECT * FROM {table}_seed
        WHERE i DIV 3 >= 2 * {CHURN_LAG} AND id BETWEEN low AND low + size - 1;
    END CASE;
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of backlog: transactions over chunks of ids, one after the other."""

    name: str
    title: str
    per_transaction: int
    create: str = USERS
    row: str = USERS_ROW
    also: str = "balance = balance + 0.01, updated_at = NOW(6)"
    """What an update changes beside `visits`."""
    tables: int = 1
    """Over how many tables of the same form the transactions are spread."""
    share: float = 1.0
    """Of the rows that a run asks for."""
    churn: bool = False
    """Change keys, delete and insert instead of updating."""

    @property
    def table(self) -> str:
        """Name of its table, which is also the prefix of its Redis keys."""
        return f"{self.name}_rows"

    def names(self) -> list[str]:
        """Return its tables, the one with the marker first."""
        return [self.table, *(f"{self.table}_{n}" for n in range(1, self.tables))]

    def procedure(self) -> str:
        """Return the statement that creates the procedure `backlog` for it."""
        body = (CHURN if self.churn else UPDATE).format(
            table=self.table, also=self.also, CHURN_LAG=CHURN_LAG, CHURN_SHIFT=CHURN_SHIFT
        )
        return PROCEDURE.format(body=body, table=self.table, MARKERS=MARKERS, MARKER_ID=MARKER_ID)

    @property
    def marker_key(self) -> str:
        """Redis key of the marker's row."""
        return f"{self.table}:{MARKER_ID}"


DRAINS = (
    Workload("drain100", "100-row transactions, 8 columns", 100),
    Workload("drain1", "1-row transactions, 8 columns", 1, share=0.5),
    Workload(
        "wide",
        "wide rows: 40 columns, text and JSON",
        100,
        create=WIDE,
        row=WIDE_ROW,
        also="int0 = int0 + 1",
        share=0.25,
    ),
    Workload("churn", "a third each: key changes, deletes, inserts", 100, churn=True, share=0.5),
)


def fill(mysql: MySQL, workload: Workload, rows: int) -> None:
    """Make a workload's table anew with ids 1 to `rows` and its marker, past the binlog."""
    table, row = workload.table, workload.row
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {SCHEMA}")
        cursor.execute(f"USE {SCHEMA}")
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(workload.create.format(table=table))
        # Not in the binlog: what stands there before a backlog is none of a drain's work.
        cursor.execute("SET SESSION sql_log_bin = 0, cte_max_recursion_depth = 1000000000")
        for first in range(1, rows + 1, FILL_ROWS):
            sequence = SEQUENCE.format(first=first, last=min(rows, first + FILL_ROWS - 1))
            cursor.execute(f"INSERT INTO {table} {sequence} {row.format(id='n')} FROM seq")
        marker = row.format(id=MARKER_ID) + " FROM (SELECT 1 AS n) AS one"
        cursor.execute(f"INSERT INTO {table} {marker}")
        for name in workload.names()[1:]:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
            cursor.execute(f"CREATE TABLE {name} LIKE {table}")
            cursor.execute(f"INSERT INTO {name} SELECT * FROM {table}")
        cursor.execute(f"DROP TABLE IF EXISTS {table}_seed")
        if workload.churn:
            cursor.execute(f"CREATE TABLE {table}_seed LIKE {table}")
            cursor.execute(f"INSERT INTO {table}_seed SELECT * FROM {table}")


def touch_marker(mysql: MySQL, table: str, visits: int) -> None:
    """Set the marker to what no backlog sets it to: a negative number."""
    with mysql.connect(SCHEMA) as connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET visits = %s WHERE id = {MARKER_ID}", (visits,))


def write_backlog(mysql: MySQL, workload: Workload, rows: int, table_rows: int) -> int:
    """Write a backlog of `rows` changed rows or a few more; return how many it has.

    The marker says 1 transaction's rows first, and the returned number last.
    """
    size = workload.per_transaction
    with fast_commits(mysql), mysql.connect(SCHEMA) as connection, connection.cursor() as cursor:
        cursor.execute("DROP PROCEDURE IF EXISTS backlog")
        cursor.execute(workload.procedure())
        cursor.execute("CALL backlog(%s, %s, %s)", (rows, size, table_rows // size))
        done = int(one(cursor))
    os.sync()
    return done


def write_spread(mysql: MySQL, workload: Workload, rows: int, table_rows: int) -> int:
    """Write a backlog over all tables of a workload in turn; return its rows.

    For few transactions: each goes through the client.
    """
    size, names = workload.per_transaction, workload.names()
    transactions = rows // size
    with fast_commits(mysql), mysql.connect(SCHEMA) as connection, connection.cursor() as cursor:
        connection.autocommit(False)
        for i in range(transactions):
            low = (i // len(names) * size) % (table_rows - size + 1) + 1
            update = f"SET visits = visits + 1, {workload.also} WHERE id BETWEEN {low} AND"
            cursor.execute(f"UPDATE {names[i % len(names)]} {update} {low + size - 1}")
            if i % max(1, transactions // MARKERS) == 0 or i == transactions - 1:
                marker = (size * (i + 1),)
                cursor.execute(
                    f"UPDATE {workload.table} SET visits = %s WHERE id = {MARKER_ID}", marker
                )
            connection.commit()
    os.sync()
    return transactions * size


@contextmanager
def fast_commits(mysql: MySQL) -> Iterator[None]:
    """Let commits not wait for the disk while a backlog is being written."""
    names = ("sync_binlog", "innodb_flush_log_at_trx_commit")
    with mysql.connect() as connection, connection.cursor() as cursor:
        before = {}
        for name in names:
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            before[name] = one(cursor)
            cursor.execute(f"SET GLOBAL {name} = 0")
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = {value}")


def one(cursor: Any) -> Any:
    """Return the only value of the only row.

    Raises:
        LookupError: there is no row.
    """
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the statement gave no row")
    return row[0]
