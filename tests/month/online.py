"""Tables that are changed while others write to them: gh-ost's sequence of statements.

Source: github.com/github/gh-ost, doc/cut-over.md and go/logic/applier.go of 1.1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql

from cdc.demo.servers import MySQL80
from tests.month.shop import SCHEMA, Shop
from tests.support.pipeline import wait_for

CHUNK_ROWS = 10
CHANGELOG = (
    "CREATE TABLE {log} (id bigint unsigned auto_increment, last_update timestamp not null"
    " DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, hint varchar(64) charset ascii"
    " not null, value varchar(4096) charset ascii not null, primary key(id),"
    " unique key hint_uidx(hint)) auto_increment=256 comment='gh-ost changelog'"
)
SENTRY = (
    "CREATE TABLE {old} (id int auto_increment primary key) engine=InnoDB"
    " comment='ghost-cut-over-sentry'"
)


class Ghost:
    """One table on its way; the application writes meanwhile."""

    def __init__(self, shop: Shop, table: str, change: str) -> None:
        """Take a table and what ``ALTER TABLE …`` is followed by."""
        self._shop, self._table, self._change = shop, table, change
        self._new, self._log, self._old = (f"_{table}_{end}" for end in ("gho", "ghc", "del"))

    def migrate(self) -> None:
        """Change the table.

        Raises:
            pymysql.MySQLError: the change does not fit it; nothing is left behind.
        """
        shop = self._shop
        with self._followed(), shop.server.connect(SCHEMA) as applier:
            try:
                self._begin(applier)
                self._copy(applier)
                self._cut_over(applier)
            finally:
                with applier.cursor() as cursor:
                    cursor.execute(f"DROP TABLE IF EXISTS {self._new}, {self._log}, {self._old}")

    @contextmanager
    def _followed(self) -> Iterator[None]:
        """Have the application note its rows, as gh-ost follows the binlog."""
        with self._shop.between():
            self._shop.touched[self._table] = set()
        try:
            yield
        finally:
            del self._shop.touched[self._table]

    def _begin(self, applier: Any) -> None:
        with applier.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self._new}, {self._log}, {self._old}")
            cursor.execute(CHANGELOG.format(log=self._log))
            cursor.execute(f"CREATE TABLE {self._new} LIKE {self._table}")
            cursor.execute(f"ALTER TABLE {self._new} {self._change}")
            self._columns = ", ".join(self._shared(cursor))
        self._note(applier, "state", "GhostTableMigrated")

    def _shared(self, cursor: Any) -> list[str]:
        """Return the columns that both tables have and that are written."""
        cursor.execute(
            "SELECT a.column_name FROM information_schema.columns a"
            " JOIN information_schema.columns b USING (table_schema, column_name)"
            f" WHERE a.table_schema = '{SCHEMA}' AND a.table_name = %s AND b.table_name = %s"
            " AND a.extra NOT LIKE '%%GENERATED%%'",
            (self._table, self._new),
        )
        return [row[0] for row in cursor.fetchall()]

    def _note(self, applier: Any, hint: str, value: str) -> None:
        with applier.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {self._log} (id, hint, value) VALUES (NULLIF(%s, 0), %s, %s)"
                " ON DUPLICATE KEY UPDATE last_update = NOW(), value = VALUES(value)",
                (1 if hint == "heartbeat" else 0, hint, value),
            )

    def _copy(self, applier: Any) -> None:
        """Copy chunk by chunk; what the application changes goes before the next chunk."""
        with applier.cursor() as cursor:
            cursor.execute(f"SELECT MIN(id), MAX(id) FROM {self._table}")
            first, last = cursor.fetchone() or (None, None)
        if first is None or last is None:
            return
        for at in range(first, last + 1, CHUNK_ROWS):
            self._apply(applier)
            with applier.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                cursor.execute(
                    f"INSERT IGNORE INTO {self._new} ({self._columns})"
                    f" (SELECT {self._columns} FROM {self._table} FORCE INDEX (PRIMARY)"
                    f" WHERE id >= {at} AND id < {at + CHUNK_ROWS} LOCK IN SHARE MODE)"
                )
                cursor.execute("COMMIT")
            self._note(applier, "heartbeat", str(at))

    def _apply(self, applier: Any) -> None:
        """Apply what the application has changed since, as row events of the binlog."""
        shop = self._shop
        with shop.between():
            ids, shop.touched[self._table] = shop.touched[self._table], set()
        with applier.cursor() as cursor:
            for id_ in sorted(ids):
                cursor.execute(f"SELECT {self._columns} FROM {self._table} WHERE id = %s", (id_,))
                self._replace(cursor, id_, cursor.fetchone())

    def _replace(self, cursor: Any, id_: int, row: tuple[Any, ...] | None) -> None:
        if row is None:
            cursor.execute(f"DELETE FROM {self._new} WHERE id = %s", (id_,))
        else:
            places = ", ".join(["%s"] * len(row))
            cursor.execute(f"REPLACE INTO {self._new} ({self._columns}) VALUES ({places})", row)

    def _cut_over(self, applier: Any) -> None:
        """Swap both tables in one step, while the application waits for its lock."""
        if isinstance(self._shop.server, MySQL80):
            # 8.0.15 waits for a lock of its own where a table that it has locked is dropped.
            with self._shop.between(), applier.cursor() as cursor:
                self._catch_up(cursor, cursor)
                cursor.execute(self._swap)
            return
        with self._shop.server.connect(SCHEMA) as locking, locking.cursor() as holder:
            holder.execute(f"SELECT GET_LOCK('gh-ost.{self._table}.lock', 0)")
            holder.execute("SET SESSION lock_wait_timeout = 6")
            self._swap_behind_sentry(holder, applier)

    @property
    def _swap(self) -> str:
        return f"RENAME TABLE {self._table} TO {self._old}, {self._new} TO {self._table}"

    def _catch_up(self, holder: Any, cursor: Any) -> None:
        # Not by `between`: the application may wait for this table within a transaction.
        for id_ in sorted(self._shop.touched[self._table].copy()):
            holder.execute(f"SELECT {self._columns} FROM {self._table} WHERE id = %s", (id_,))
            self._replace(cursor, id_, holder.fetchone())

    def _swap_behind_sentry(self, holder: Any, applier: Any) -> None:
        shop = self._shop
        holder.execute(SENTRY.format(old=self._old))
        holder.execute(f"LOCK TABLES {self._table} WRITE, {self._old} WRITE")
        self._note(applier, "state", f"AllEventsUpToLockProcessed:{shop.version()}")
        with applier.cursor() as cursor:
            self._catch_up(holder, cursor)
        failed: list[pymysql.MySQLError] = []
        with shop.server.connect(SCHEMA) as renaming:
            thread = renaming.thread_id()  # type: ignore[no-untyped-call]  # of PyMySQL
            swap = threading.Thread(target=self._rename, args=(renaming, failed))
            swap.start()
            query = (
                "SELECT 1 FROM information_schema.processlist"
                f" WHERE id = {thread} AND info LIKE 'RENAME%'"
            )
            try:
                wait_for("the RENAME", lambda: bool(shop.ask(query)) or bool(failed), 10)
            finally:
                holder.execute(f"DROP TABLE IF EXISTS {self._old}")
                holder.execute("UNLOCK TABLES")
                swap.join(30)
        if failed:
            raise failed[0]

    def _rename(self, connection: Any, failed: list[pymysql.MySQLError]) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION lock_wait_timeout = 3")
                cursor.execute(self._swap)
        except pymysql.MySQLError as error:
            failed.append(error)
