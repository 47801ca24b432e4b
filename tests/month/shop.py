"""The tables of a month, the application that writes them, and what Redis must show of them."""

from __future__ import annotations

import datetime as dt
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import pymysql
import redis

from tests.support.pair import Pair, Source

SCHEMA = "shop"
PROBE = "t_probe"
"""Of this table nothing changes but a row: how long that takes to Redis is the lag."""
IDS = 60
"""Rows of a table have ids up to this."""
LARGE_ID = IDS + 1
"""The row that has a value of 16 MB at times; the application leaves it alone."""


class Shop:
    """Tables with ``id``, ``ver`` and ``n``; whatever else they have, migrations added."""

    def __init__(self, pair: Pair, tables: int, seed: int) -> None:
        """Make the tables and their rows; `write` begins the application."""
        self.pair, self.chance = pair, random.Random(seed)
        self.tables = [f"t{number}" for number in range(tables)]
        self.plain: set[str] = set()
        """Tables of an engine without transactions: each statement on them is one of its own."""
        self.commits = 0
        self.touched: dict[str, set[int]] = {}
        """Rows that the application may have changed, of tables that somebody follows."""
        self._version = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._stop, self._calm, self._quiet = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.execute(f"CREATE DATABASE {SCHEMA}", schema="")
        for table in [*self.tables, PROBE]:
            self.make(table)

    @property
    def server(self) -> Source:
        """The server that is the primary now."""
        return self.pair.primary

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

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    # -- the application -------------------------------------------------------------

    def write(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def is_calm(self) -> bool:
        """Whether the application rests, or is about to."""
        return self._calm.is_set()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let the application rest."""
        self._calm.set()
        assert self._quiet.wait(60), "the application does not come to rest"
        try:
            with self._turn:  # nor does the probe write
                yield
        finally:
            self._quiet.clear()
            self._calm.clear()

    @contextmanager
    def between(self) -> Iterator[None]:
        """Let no transaction of the application be under way."""
        with self._turn:
            yield

    def stop(self) -> None:
        """End the application."""
        self._stop.set()
        self._thread.join(60)

    def _write(self) -> None:
        connection: Any = None
        while not self._stop.is_set():
            if self._calm.is_set():
                with suppress(Exception):
                    connection.close()  # another server may be the primary afterwards
                connection = None
                self._quiet.set()
                time.sleep(0.01)
                continue
            try:
                with self._turn:
                    connection = connection or self.server.connect(SCHEMA)
                    self._transaction(connection)
                time.sleep(0.005)
            except (pymysql.MySQLError, OSError):  # a table that changes, a server that is away
                with suppress(Exception):
                    connection.close()
                connection = None
                time.sleep(0.05)

    def _transaction(self, connection: Any) -> None:
        tables = self.chance.choices(self.tables, k=self.chance.choice((1, 1, 2, 8)))
        if not self.plain.isdisjoint(tables):
            tables = tables[:1]
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for table in tables:
                cursor.execute(self.change(table))
            cursor.execute("COMMIT")
        self.commits += 1

    def change(self, table: str) -> str:
        """Return a statement of the application."""
        id_, version = self.chance.randint(1, IDS), self.version()
        if table in self.touched:
            self.touched[table].add(id_)
        kind = self.chance.random()
        if kind < 0.15:
            return f"DELETE FROM {table} WHERE id = {id_}"
        if kind < 0.6:
            return f"UPDATE {table} SET ver = {version}, n = 'n{version}' WHERE id = {id_}"
        return f"REPLACE INTO {table} (id, ver, n) VALUES ({id_}, {version}, 'new')"

    def make_fit(self) -> None:
        """Remove what cannot be captured, and has its tables set aside."""
        unfit = "data_type = 'point'"
        if self.pair.is_mariadb:  # its binlog has them with INSERT alone, if at all
            unfit += " OR extra LIKE '%GENERATED%'"
        for table, column in self.ask(
            "SELECT table_name, column_name FROM information_schema.columns"
            f" WHERE table_schema = '{SCHEMA}' AND ({unfit})"
        ):
            self.execute(f"ALTER TABLE {table} DROP COLUMN {column}")

    # -- the truth -------------------------------------------------------------------

    def expected(self) -> dict[str, str]:
        """Return what Redis must hold, by SELECTs of our own."""
        out: dict[str, str] = {}
        with self.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                if not table.startswith("t"):  # of the migrations, and not captured
                    continue
                cursor.execute(f"SHOW KEYS FROM {table} WHERE Key_name = 'PRIMARY'")
                key = [str(row[4]) for row in cursor.fetchall()]
                cursor.execute(f"SELECT * FROM {table}")
                about: Any = cursor.description
                for row in cursor.fetchall():
                    form = {
                        column[0]: _form(value, column[5])
                        for column, value in zip(about, row, strict=True)
                    }
                    name = ":".join([table, *(str(form[one]) for one in key)])
                    out[name] = json.dumps(form, separators=(",", ":"))
        return out


def _form(value: Any, digits: int) -> Any:
    """Return a value of SELECT as docs/message.md has it."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dt.datetime):
        seconds = f"{value:%Y-%m-%dT%H:%M:%S}"
        return f"{seconds}.{value.microsecond:06}"[: len(seconds) + 1 + digits].rstrip(".")
    return value.isoformat() if isinstance(value, dt.date) else value


def found(client: redis.Redis) -> dict[str, str]:
    """Return what Redis holds of the tables."""
    keys: list[Any] = list(client.scan_iter("t*", count=5000))
    values: Any = client.mget(keys) if keys else []
    return {
        key.decode(): value.decode()
        for key, value in zip(keys, values, strict=True)
        if value is not None
    }
