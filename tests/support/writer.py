"""A legacy application: plain SQL, no cdc in it, a version column that only grows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pymysql


class Writer:
    """Writes random transactions from one thread until `stop`."""

    def __init__(
        self,
        connect: Callable[[], pymysql.Connection[Any]],
        table: str,
        *,
        seed: int,
        rows: int = 200,
        pause_s: float = 0.0,
    ) -> None:
        """Begin writing to a table made by `truth.CREATE`.

        Args:
            rows: ids are drawn from 1 to this.
            pause_s: after each transaction.
        """
        self.committed = 0
        self.error: BaseException | None = None
        self._connect = connect
        self._table = table
        self._random = random.Random(seed)
        self._rows = rows
        self._pause_s = pause_s
        self._version = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End writing; return the number of committed transactions."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.committed

    def _write(self) -> None:
        try:
            connection = self._connect()
            connection.autocommit(False)
            with connection, connection.cursor() as cursor:
                while not self._stop.is_set():
                    for _ in range(self._random.choice((1, 1, 1, 2, 5, 40))):
                        self._statement(cursor)
                    connection.commit()
                    self.committed += 1
                    if self._pause_s:
                        time.sleep(self._pause_s)
        except (pymysql.MySQLError, OSError) as error:
            self.error = error

    def _statement(self, cursor: Any) -> None:
        self._version += 1
        row = self._random.randint(1, self._rows)
        name = f'näme-{self._random.randint(0, 999)} "quoted" 日本'
        kind = self._random.random()
        if kind < 0.15:
            cursor.execute(f"DELETE FROM {self._table} WHERE id = %s", (row,))
        elif kind < 0.25:
            other = self._random.randint(1, self._rows)
            cursor.execute(
                f"UPDATE IGNORE {self._table} SET id = %s, ver = %s WHERE id = %s",
                (other, self._version, row),
            )
        else:
            cursor.execute(
                f"INSERT INTO {self._table} VALUES (%s, %s, %s, %s) ON DUPLICATE KEY UPDATE "
                "name = VALUES(name), balance = VALUES(balance), ver = VALUES(ver)",
                (row, name, self._random.choice((None, "17.50", "-0.01")), self._version),
            )
