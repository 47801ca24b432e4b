"""The application that was there before: plain SQL, and nothing of cdc in it.

It keeps customers in a MySQL table, as it has done for years.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymysql

from cdc.demo.servers import MySQL

SETUP = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.your_table ("
    "id INT PRIMARY KEY, name VARCHAR(80) NOT NULL, balance DECIMAL(10,2) NOT NULL, "
    "visits INT NOT NULL DEFAULT 0) CHARACTER SET utf8mb4",
    "INSERT INTO shop.your_table (id, name, balance) VALUES "
    "(1, 'Ada', 17.50), (2, 'Grace', 99.00), (3, 'Linus', 5.25)",
)


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that the application does: one transaction."""

    title: str
    statements: tuple[str, ...]
    rows: int
    """How many rows it changes."""


DAY: Sequence[Deed] = (
    Deed(
        "a customer signs up",
        ("INSERT INTO your_table (id, name, balance) VALUES (4, 'José', 0.00)",),
        1,
    ),
    Deed("a name is corrected", ("UPDATE your_table SET name = 'Ada L.' WHERE id = 1",), 1),
    Deed("a payment", ("UPDATE your_table SET balance = balance + 0.01 WHERE id = 4",), 1),
    Deed("a customer gets another number", ("UPDATE your_table SET id = 20 WHERE id = 2",), 1),
    Deed("a customer leaves", ("DELETE FROM your_table WHERE id = 3",), 1),
    Deed(
        "money moves, both rows or none",
        (
            "UPDATE your_table SET balance = balance - 10 WHERE id = 20",
            "UPDATE your_table SET balance = balance + 10 WHERE id = 1",
        ),
        2,
    ),
    Deed(
        "two more sign up together",
        ("INSERT INTO your_table (id, name, balance) VALUES (5, 'Edsger', 1), (6, '高橋', 2)",),
        2,
    ),
    Deed("everybody visits", ("UPDATE your_table SET visits = visits + 1",), 5),
)


class Application:
    """One connection to MySQL, and work to do."""

    def __init__(self, mysql: MySQL) -> None:
        """Connect to it."""
        self._connection: Any = pymysql.connect(**mysql.login)

    def set_up(self) -> None:
        """Make the table, with rows in it."""
        with self._connection.cursor() as cursor:
            for statement in SETUP:
                cursor.execute(statement)
        self._connection.commit()
        self._connection.select_db("shop")

    def do(self, deed: Deed) -> float:
        """Do it; return when its COMMIT was sent, as `time.time` counts."""
        with self._connection.cursor() as cursor:
            for statement in deed.statements:
                cursor.execute(statement)
        # Before, not after: a value can stand in Redis before COMMIT has returned to us.
        sent = time.time()
        self._connection.commit()
        return sent

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows, ``[{"id": 1, "name": "Ada", "balance": "17.50", "visits": 0}]``."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, name, CAST(balance AS CHAR), visits FROM your_table ORDER BY id"
            )
            names = ("id", "name", "balance", "visits")
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        self._connection.commit()
        return rows

    def close(self) -> None:
        """Go home."""
        self._connection.close()
