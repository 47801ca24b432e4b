"""Random writes at a rate, to a table of any size: a legacy application that is busy."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import pymysql
from pymysql.constants import CLIENT

from cdc.demo.servers import PASSWORD

END_WITHIN_S = 60.0


class Load:
    """Writes `rows_per_s` rows from one thread until `stop`, in transactions of `size` rows.

    Every write has a version of its own, greater than all before.
    """

    def __init__(
        self,
        port: int,
        table: str,
        *,
        seed: int,
        ids: int,
        hot: Sequence[int] = (),
        rows_per_s: int = 2000,
        size: int = 20,
    ) -> None:
        """Begin writing to a table made by `truth.CREATE`.

        Args:
            ids: of rows: 1 to this.
            hot: of these a third of the writes is.
        """
        self.rows = 0
        self.error: BaseException | None = None
        self._port, self._table = port, table
        self._random = random.Random(seed)
        self._ids, self._hot = ids, hot
        self._per_s, self._size = rows_per_s, size
        self._stop = threading.Event()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def per_s(self) -> float:
        """Return how many rows a second were written so far."""
        return self.rows / (time.monotonic() - self._began_s)

    def end(self) -> None:
        """End writing, whatever has become of it."""
        self._stop.set()
        self._thread.join(END_WITHIN_S)

    def stop(self) -> int:
        """End writing; return how many rows were written."""
        self.end()
        if self.error is not None:
            raise self.error
        return self.rows

    def _write(self) -> None:
        try:
            with pymysql.connect(
                host="127.0.0.1",
                port=self._port,
                user="root",
                password=PASSWORD,
                autocommit=True,
                client_flag=CLIENT.MULTI_STATEMENTS,
            ) as connection:
                while not self._stop.is_set():
                    statements = [self._statement(self.rows + n + 1) for n in range(self._size)]
                    with connection.cursor() as cursor:
                        cursor.execute(";".join(["BEGIN", *statements, "COMMIT"]))
                        while cursor.nextset():
                            pass
                    self.rows += self._size
                    due_s = self._began_s + self.rows / self._per_s
                    self._stop.wait(max(0.0, due_s - time.monotonic()))
        except (pymysql.MySQLError, OSError) as error:
            self.error = error

    def _id(self) -> int:
        if self._hot and self._random.random() < 1 / 3:
            return self._random.choice(self._hot)
        return self._random.randint(1, self._ids)

    def _statement(self, version: int) -> str:
        row, kind = self._id(), self._random.random()
        if kind < 0.15:
            return f"DELETE FROM {self._table} WHERE id = {row}"
        if kind < 0.25:
            return (
                f"UPDATE IGNORE {self._table} SET id = {self._id()}, ver = {version} "
                f"WHERE id = {row}"
            )
        if kind < 0.5:
            return (
                f"INSERT INTO {self._table} VALUES ({row}, 'n{version}', NULL, {version}) "
                f"ON DUPLICATE KEY UPDATE name = VALUES(name), ver = VALUES(ver)"
            )
        return f"UPDATE {self._table} SET name = 'u{version}', ver = {version} WHERE id = {row}"
