"""Sessions that write rows in part: each transaction chooses its row image at random."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pymysql

from cdc.demo.servers import MariaDB, MariaDB1011, MySQL
from tests.support.writer import Row, Writer

CREATE = (
    """CREATE TABLE docs (
  id INT AUTO_INCREMENT PRIMARY KEY,
  a VARCHAR(20) NOT NULL DEFAULT 'unnamed',
  ver INT NOT NULL DEFAULT 0,
  j JSON,
  k JSON,
  b MEDIUMBLOB,
  changed TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  UNIQUE KEY (a))""",
    """CREATE TABLE parts (
  tenant VARBINARY(8) NOT NULL,
  day DATETIME(2) NOT NULL DEFAULT '2026-01-01',
  c CHAR(9) NOT NULL DEFAULT 'x',
  score INT DEFAULT 1,
  n INT,
  t TEXT,
  PRIMARY KEY (tenant, day),
  UNIQUE KEY (c))""",
    "CREATE TABLE byname (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, n INT, UNIQUE KEY (name))",
)
"""Tables with what a row may lack: defaults, blobs, JSON, keys of several columns."""
SETTINGS = """
[tables."shop.parts"]
as = "hash"
index = [{ set = "of:{c}" }, { zset = "by_score", score = "score" }]

[tables."shop.byname"]
key = "byname:{name}"
"""
"""An index, and a key of other columns than the primary one."""
TABLES = ("docs", "parts", "byname")


def images_of(server: MySQL | MariaDB) -> tuple[tuple[str, ...], ...]:
    """Return the statements of each way in which a session may write rows."""
    if isinstance(server, MariaDB1011):
        kinds: tuple[str, ...] = ("FULL", "MINIMAL", "NOBLOB")
    elif isinstance(server, MariaDB):
        kinds = ("FULL", "MINIMAL", "NOBLOB", "FULL_NODUP")
    else:
        kinds = ("FULL", "MINIMAL", "NOBLOB")
    images = tuple((f"SET SESSION binlog_row_image = '{kind}'",) for kind in kinds)
    if isinstance(server, MariaDB):
        return images
    diffs = "SET SESSION binlog_row_value_options = '{}'"
    return tuple((*one, diffs.format(how)) for one in images for how in ("", "PARTIAL_JSON"))


class PartialWriter(Writer):
    """The legacy application, in sessions with a row image of their own."""

    def __init__(self, server: MySQL | MariaDB, table: str, **options: Any) -> None:
        """Begin writing: see `Writer`."""
        self._images = images_of(server)
        super().__init__(server.connect, table, **options)

    def _transaction(self, cursor: Any) -> dict[int, Row]:
        for statement in self._random.choice(self._images):
            cursor.execute(statement)
        return super()._transaction(cursor)


class DocumentWriter:
    """Writes to the tables of `CREATE` until `stop`, each transaction with an image of its own."""

    def __init__(self, server: MySQL | MariaDB, *, seed: int, pause: Callable[[], bool]) -> None:
        """Begin.

        Args:
            pause: waits after each transaction, and returns whether to end.
        """
        self.transactions = 0
        self.error: BaseException | None = None
        self._server, self._pause = server, pause
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End; return how many transactions were written."""
        self._stop.set()
        self._thread.join(60)
        if self.error is not None:
            raise self.error
        return self.transactions

    def _write(self) -> None:
        try:
            with self._server.connect("shop") as connection, connection.cursor() as cursor:
                connection.autocommit(False)
                while not self._stop.is_set() and not self._pause():
                    for statement in self._chance.choice(images_of(self._server)):
                        cursor.execute(statement)
                    for _ in range(self._chance.choice((1, 1, 3))):
                        self._statement(cursor)
                    connection.commit()
                    self.transactions += 1
        except pymysql.MySQLError as error:
            self.error = error

    def _statement(self, cursor: Any) -> None:
        chance = self._chance
        n, other = chance.randint(1, 30), chance.randint(1, 30)
        path = "'$.n'" if chance.random() < 0.5 else "'$.deep.list[0]'"
        statement, values = chance.choice(
            (
                ("INSERT IGNORE INTO docs (id, a, j) VALUES (%s, %s, %s)",
                 (n, f"a{n}", '{"n":1,"deep":{"list":[1,2,3]},"text":"' + "x" * 99 + '"}')),
                ("INSERT IGNORE INTO docs (a, b) VALUES (%s, %s)", (f"a{n}", b"\x00\xff" * n)),
                (f"UPDATE docs SET j = JSON_SET(j, {path}, %s), ver = ver + 1 WHERE id = %s",
                 (other, n)),
                (f"UPDATE docs SET j = JSON_SET(j, {path}, %s) WHERE id BETWEEN %s AND %s + 3",
                 (other, n, n)),
                ("UPDATE docs SET k = j, j = JSON_REMOVE(j, '$.n') WHERE id = %s", (n,)),
                ("UPDATE docs SET b = %s WHERE id = %s", (b"blob" * other, n)),
                ("UPDATE docs SET ver = ver + 1 WHERE id > %s", (n,)),
                ("UPDATE IGNORE docs SET id = %s WHERE id = %s", (other, n)),
                ("DELETE FROM docs WHERE id = %s", (n,)),
                ("REPLACE INTO parts (tenant, c) VALUES (%s, %s)", (bytes((n, 255)), f"c{n}")),
                ("INSERT IGNORE INTO parts VALUES (%s, '2026-05-05 12:13:14.5', %s, NULL, 2, 'te')",
                 (b"t", f"c{other}")),
                ("UPDATE IGNORE parts SET c = %s WHERE tenant = %s",
                 (f"c{other}", bytes((n, 255)))),
                ("UPDATE parts SET n = %s WHERE tenant = %s", (other, bytes((n, 255)))),
                ("UPDATE parts SET score = %s, t = %s WHERE tenant = %s",
                 (chance.choice((None, other)), "t" * other, bytes((n, 255)))),
                ("UPDATE IGNORE parts SET day = NOW(2) WHERE tenant = %s", (bytes((n, 255)),)),
                ("DELETE FROM parts WHERE tenant = %s", (bytes((n, 255)),)),
                ("INSERT IGNORE INTO byname VALUES (%s, %s, 1)", (n, f"n{other}")),
                ("UPDATE byname SET n = %s WHERE id = %s", (other, n)),
                ("UPDATE IGNORE byname SET name = %s WHERE id = %s", (f"n{other}", n)),
                ("DELETE FROM byname WHERE id = %s", (n,)),
            )
        )  # fmt: skip
        cursor.execute(statement, values)
