"""A legacy application: plain SQL, no cdc in it, a version column that only grows.

It keeps a list of what MySQL has acknowledged, and `Writer.stop` compares: a commit that a
server forgot would not be seen by a comparison of MySQL with Redis.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pymysql

from tests.support.pipeline import wait_for

Row = tuple[str, str | None, int]
"""(name, balance, ver)"""
END_WITHIN_S = 60.0
_RECONNECT_PAUSE_S = 0.05
_GOING = range(2000, 3000)
"""MySQL error numbers of the client side: the connection is gone."""
_SHUTDOWN = {1053, 1077, 1927}


class Writer:
    """Writes random transactions from one thread until `stop`; goes on when MySQL is back."""

    def __init__(
        self,
        connect: Callable[[], pymysql.Connection[Any]],
        table: str,
        *,
        seed: int,
        rows: int = 200,
        pause_s: float = 0.0,
        sizes: tuple[int, ...] = (1, 1, 1, 2, 5, 40),
    ) -> None:
        """Begin writing to a table made by `truth.CREATE`, which nobody else writes to.

        Args:
            rows: ids are drawn from 1 to this.
            pause_s: after each transaction.
            sizes: numbers of statements that a transaction may have.
        """
        self.committed = 0
        self.error: BaseException | None = None
        self.rows: dict[int, Row] = {}
        """What the table holds by all that was acknowledged."""
        self._connect = connect
        self._table = table
        self._ledger = f"{table.rpartition('.')[0]}.ledger"
        self._name = uuid.uuid4().int >> 65
        self._random = random.Random(seed)
        self._ids = rows
        self._pause_s = pause_s
        self._sizes = sizes
        self._version = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._ledger} "
                "(writer BIGINT UNSIGNED PRIMARY KEY, committed INT NOT NULL)"
            )
            self.rows = self._selected(cursor)
        self._version = max((ver for _, _, ver in self.rows.values()), default=0)
        self._thread.start()

    def end(self) -> None:
        """End writing, whatever has become of it."""
        self._stop.set()
        self._thread.join(END_WITHIN_S)

    def stop(self) -> int:
        """End writing; return the number of committed transactions, all of them still there."""
        self.end()
        assert not self._thread.is_alive(), "MySQL does not answer"
        if self.error is not None:
            raise self.error
        with self._connect() as connection, connection.cursor() as cursor:
            assert self._selected(cursor) == self.rows, "MySQL forgot what it had acknowledged"
        return self.committed

    def wait_for_commits(self, count: int = 1) -> None:
        """Wait until so many more transactions were acknowledged."""
        goal = self.committed + count
        wait_for("commits", lambda: self.committed >= goal or self.error is not None)

    def _selected(self, cursor: Any) -> dict[int, Row]:
        cursor.execute(f"SELECT id, name, CAST(balance AS CHAR), ver FROM {self._table}")
        return {id_: (name, balance, ver) for id_, name, balance, ver in cursor.fetchall()}

    def _write(self) -> None:
        pending: dict[int, Row] | None = None
        try:
            while not self._stop.is_set() or pending is not None:
                try:
                    with self._connect() as connection, connection.cursor() as cursor:
                        if pending is not None and self._has_committed(cursor):
                            self._acknowledged(pending)
                        pending = None
                        connection.autocommit(False)
                        while not self._stop.is_set():
                            rows = self._transaction(cursor)
                            pending = rows
                            connection.commit()
                            self._acknowledged(rows)
                            pending = None
                            if self._pause_s:
                                time.sleep(self._pause_s)
                except (pymysql.MySQLError, OSError) as error:
                    if not _is_lost(error):
                        raise
                    time.sleep(_RECONNECT_PAUSE_S)
        except (pymysql.MySQLError, OSError) as error:
            self.error = error

    def _acknowledged(self, rows: dict[int, Row]) -> None:
        self.rows = rows
        self.committed += 1

    def _has_committed(self, cursor: Any) -> bool:
        """Whether MySQL has the transaction whose acknowledgement was lost."""
        cursor.execute(f"SELECT committed FROM {self._ledger} WHERE writer = %s", (self._name,))
        row = cursor.fetchone()
        return row is not None and int(row[0]) > self.committed

    def _transaction(self, cursor: Any) -> dict[int, Row]:
        rows = self.rows.copy()
        for _ in range(self._random.choice(self._sizes)):
            self._statement(cursor, rows)
        cursor.execute(
            f"INSERT INTO {self._ledger} VALUES (%s, %s) "
            "ON DUPLICATE KEY UPDATE committed = VALUES(committed)",
            (self._name, self.committed + 1),
        )
        return rows

    def _statement(self, cursor: Any, rows: dict[int, Row]) -> None:
        self._version += 1
        row = self._random.randint(1, self._ids)
        name = f'näme-{self._random.randint(0, 999)} "quoted" 日本'
        kind = self._random.random()
        if kind < 0.15:
            cursor.execute(f"DELETE FROM {self._table} WHERE id = %s", (row,))
            rows.pop(row, None)
        elif kind < 0.25:
            other = self._random.randint(1, self._ids)
            cursor.execute(
                f"UPDATE IGNORE {self._table} SET id = %s, ver = %s WHERE id = %s",
                (other, self._version, row),
            )
            if row in rows and (other == row or other not in rows):
                name, balance, _ = rows.pop(row)
                rows[other] = (name, balance, self._version)
        else:
            balance = self._random.choice((None, "17.50", "-0.01"))
            cursor.execute(
                f"INSERT INTO {self._table} VALUES (%s, %s, %s, %s) ON DUPLICATE KEY UPDATE "
                "name = VALUES(name), balance = VALUES(balance), ver = VALUES(ver)",
                (row, name, balance, self._version),
            )
            rows[row] = (name, balance, self._version)


def _is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and not a statement refused."""
    if isinstance(error, pymysql.err.InterfaceError) or not isinstance(error, pymysql.MySQLError):
        return True
    number = error.args[0] if error.args else 0
    return number in _GOING or number in _SHUTDOWN
