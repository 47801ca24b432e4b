"""The tables of a month, the application that writes them, and what Redis must show of them."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
import redis

from cdc.demo.servers import MariaDB, MySQL

SCHEMA = "shop"
IDS = 60
"""Rows of a table have ids up to this."""


class Shop:
    """Tables with ``id``, ``ver`` and ``n``; whatever else they have, migrations added."""

    def __init__(self, server: MySQL | MariaDB, tables: int, seed: int) -> None:
        """Make the tables and their rows; `write` begins the application."""
        self.server, self.chance = server, random.Random(seed)
        self.tables = [f"t{number}" for number in range(tables)]
        self.commits = 0
        self._version = 0
        self._lock = threading.Lock()
        self._stop, self._calm, self._quiet = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.execute(f"CREATE DATABASE {SCHEMA}", schema="")
        for table in self.tables:
            self.make(table)

    def make(self, table: str) -> None:
        """Create a table with rows."""
        self.execute(
            f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, ver BIGINT NOT NULL, n VARCHAR(40))"
        )
        rows = ",".join(f"({id_}, {self.version()}, 'first')" for id_ in range(1, IDS // 2))
        self.execute(f"INSERT INTO {table} VALUES {rows}")

    def version(self) -> int:
        """Return a number greater than all before."""
        with self._lock:
            self._version += 1
            return self._version

    def execute(self, *statements: str, schema: str = SCHEMA) -> None:
        """Run statements in a session of their own."""
        with self.server.connect(schema) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    # -- the application -------------------------------------------------------------

    def write(self) -> None:
        """Begin to write."""
        self._thread.start()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let the application rest."""
        self._calm.set()
        assert self._quiet.wait(60), "the application does not come to rest"
        try:
            yield
        finally:
            self._quiet.clear()
            self._calm.clear()

    def stop(self) -> None:
        """End the application."""
        self._stop.set()
        self._thread.join(60)

    def _write(self) -> None:
        connection: Any = None
        while not self._stop.is_set():
            if self._calm.is_set():
                self._quiet.set()
                time.sleep(0.01)
                continue
            try:
                connection = connection or self.server.connect(SCHEMA)
                self._transaction(connection)
                time.sleep(0.005)
            except (pymysql.MySQLError, OSError):  # a table that changes, a server that is away
                with suppress(Exception):
                    connection.close()
                connection = None
                time.sleep(0.05)

    def _transaction(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for _ in range(self.chance.choice((1, 1, 2, 8))):
                cursor.execute(self.change(self.chance.choice(self.tables)))
            cursor.execute("COMMIT")
        self.commits += 1

    def change(self, table: str) -> str:
        """Return a statement of the application."""
        id_, version = self.chance.randint(1, IDS), self.version()
        kind = self.chance.random()
        if kind < 0.15:
            return f"DELETE FROM {table} WHERE id = {id_}"
        if kind < 0.6:
            return f"UPDATE {table} SET ver = {version}, n = 'n{version}' WHERE id = {id_}"
        return f"REPLACE INTO {table} (id, ver, n) VALUES ({id_}, {version}, 'new')"

    def make_fit(self) -> None:
        """Remove what cannot be captured, and has its tables set aside."""
        with self.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.columns"
                " WHERE table_schema = %s AND data_type = 'point'",
                (SCHEMA,),
            )
            for (table,) in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {table} DROP COLUMN p")

    # -- the truth -------------------------------------------------------------------

    def expected(self) -> dict[str, str]:
        """Return what Redis must hold, by SELECTs of our own."""
        out: dict[str, str] = {}
        with self.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                if table.startswith("x_"):  # of the migrations, and not captured
                    continue
                cursor.execute(f"SHOW KEYS FROM {table} WHERE Key_name = 'PRIMARY'")
                key = [str(row[4]) for row in cursor.fetchall()]
                cursor.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                for row in cursor.fetchall():
                    values = dict(zip(names, row, strict=True))
                    name = ":".join([table, *(str(values[one]) for one in key)])
                    out[name] = json.dumps(values, separators=(",", ":"))
        return out


def found(client: redis.Redis) -> dict[str, str]:
    """Return what Redis holds of the tables."""
    keys: list[Any] = list(client.scan_iter("t*", count=5000))
    values: Any = client.mget(keys) if keys else []
    return {
        key.decode(): value.decode()
        for key, value in zip(keys, values, strict=True)
        if value is not None
    }
