"""What happens in a month: migrations, odd sessions, faults; no command of a person's to cdc."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pymysql
import redis

from cdc.demo.server import Server
from cdc.demo.servers import MariaDB
from tests.month.shop import SCHEMA, Shop
from tests.soak.soak_checks import Observer
from tests.soak.soak_faults import wait_until_begun
from tests.support.pipeline import Process, descendants, wait_for

LARGE_BYTES = 2_000_000
MIGRATIONS = (
    "ALTER TABLE {t} ADD COLUMN c INT NOT NULL DEFAULT 7",
    "ALTER TABLE {t} ADD COLUMN c INT DEFAULT 1, ADD COLUMN d INT DEFAULT 2",
    "ALTER TABLE {t} ADD COLUMN e ENUM('a','b') DEFAULT 'b' FIRST",
    "ALTER TABLE {t} DROP COLUMN c",
    "ALTER TABLE {t} DROP COLUMN d",
    "ALTER TABLE {t} DROP COLUMN e",
    "ALTER TABLE {t} MODIFY e ENUM('b','a') DEFAULT 'a'",
    "ALTER TABLE {t} RENAME COLUMN c TO d, RENAME COLUMN d TO c",
    "ALTER TABLE {t} CHANGE c f BIGINT",
    "ALTER TABLE {t} DROP COLUMN f",
    "ALTER TABLE {t} MODIFY n VARCHAR({length})",
    "ALTER TABLE {t} ADD INDEX i (n)",
    "ALTER TABLE {t} DROP INDEX i",
    "ALTER TABLE {t} COMMENT = 'a comment'",
    "ALTER TABLE {t} AUTO_INCREMENT = 1000",
    "ALTER TABLE {t} ENGINE = InnoDB",
    "ALTER TABLE {t} ENGINE = MyISAM",
    "ALTER TABLE {t} CONVERT TO CHARACTER SET utf8mb4",
    "ALTER TABLE {t} CONVERT TO CHARACTER SET latin1",
    "ALTER TABLE {t} PARTITION BY HASH (id) PARTITIONS 3",
    "ALTER TABLE {t} TRUNCATE PARTITION p1",
    "ALTER TABLE {t} REMOVE PARTITIONING",
    "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id, ver)",
    "ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
    "ALTER TABLE {t} ADD COLUMN p POINT",
    "ALTER TABLE {t} DROP COLUMN p",
    "TRUNCATE TABLE {t}",
    "RENAME TABLE {t} TO x_away; RENAME TABLE x_away TO {t}",
    "CREATE TABLE x_new LIKE {t}; ALTER TABLE x_new ADD COLUMN g INT DEFAULT 1; "
    "INSERT INTO x_new (id, ver, n) SELECT id, ver, n FROM {t}; "
    "RENAME TABLE {t} TO x_old, x_new TO {t}; DROP TABLE x_old",
    "ALTER TABLE {t} DROP COLUMN g",
)
"""One of an application's migrations each; one that does not fit the table as it is, is refused
by the server, and nothing happened."""


class Events:
    """All kinds of events, of which one after the other is drawn."""

    def __init__(
        self,
        shop: Shop,
        servers: dict[str, Server],
        cdc: Process,
        observer: Observer,
        password: Path,
    ) -> None:
        """Describe what they happen to.

        Args:
            servers: ``{"MySQL": …, "NATS": …, "Redis": …}``
            password: the file of cdc's password at MySQL.
        """
        self.shop, self.servers, self.cdc = shop, servers, cdc
        self.observer, self.password = observer, password
        self.chance = shop.chance
        self.is_mariadb = isinstance(shop.server, MariaDB)
        self.made = 0
        kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "migration": (12, self._migration),
            "statement session": (1, self._statements),
            "partial images": (3, self._partial_images),
            "XA": (3, self._xa),
            "large row": (2, self._large_row),
            "rollback": (2, self._rollback),
            "table created": (1, self._created),
            "table dropped and created": (1, self._recreated),
            "binlog purged while cdc was down": (1, self._purged),
            "names of columns in the binlog, or not": (1, self._switch_metadata),
            "password changed": (1, self._password),
            "MySQL restarted": (1, lambda: self._restart("MySQL")),
            "NATS restarted": (1, lambda: self._restart("NATS")),
            "Redis restarted": (1, lambda: self._restart("Redis")),
            "Redis emptied": (1, self._flush),
            "cdc killed": (2, self._kill),
        }
        self.kinds = {name: action for name, (_, action) in kinds.items()}
        self.weights = [weight for weight, _ in kinds.values()]

    def happen(self) -> str:
        """Let one happen; return its name."""
        (name,) = self.chance.choices(list(self.kinds), self.weights)
        with suppress(pymysql.MySQLError):  # a migration that does not fit
            self.kinds[name]()
        return name

    def _table(self) -> str:
        return self.chance.choice(self.shop.tables)

    def _migration(self) -> None:
        migration = self.chance.choice(MIGRATIONS)
        text = migration.format(t=self._table(), length=self.chance.choice((40, 60, 300)))
        try:
            self.shop.execute(*text.split("; "))
        finally:
            if "x_" in text:  # what a cut-over that was refused left behind
                self.shop.execute("DROP TABLE IF EXISTS x_new", "DROP TABLE IF EXISTS x_old")

    def _session(self, setting: str) -> None:
        changes = [self.shop.change(self._table()) for _ in range(self.chance.choice((1, 5)))]
        self.shop.execute(setting, "BEGIN", *changes, "COMMIT")

    def _statements(self) -> None:
        self._session("SET SESSION binlog_format = 'STATEMENT'")

    def _partial_images(self) -> None:
        image = self.chance.choice(("MINIMAL", "NOBLOB"))
        self._session(f"SET SESSION binlog_row_image = '{image}'")

    def _xa(self) -> None:
        xid = f"'x{self.shop.version()}'"
        change = self.shop.change(self._table())
        with self.shop.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            try:
                for step in (f"XA START {xid}", change, f"XA END {xid}", f"XA PREPARE {xid}"):
                    cursor.execute(step)
            finally:
                time.sleep(self.chance.choice((0.0, 0.3, 1.0)))
                cursor.execute(f"XA {self.chance.choice(('COMMIT', 'ROLLBACK'))} {xid}")

    def _large_row(self) -> None:
        table, version = self._table(), self.shop.version()
        with suppress(pymysql.MySQLError):
            self.shop.execute(f"ALTER TABLE {table} ADD COLUMN large LONGTEXT")
        large = f"REPEAT('{self.chance.choice('xyz')}', {LARGE_BYTES})"
        self.shop.execute(
            f"UPDATE {table} SET ver = {version}, large = {large} ORDER BY id LIMIT 1",
            f"UPDATE {table} SET large = NULL, ver = {self.shop.version()} "
            f"WHERE large IS NOT NULL AND ver < {version}",
        )

    def _rollback(self) -> None:
        changes = [self.shop.change(self._table()) for _ in range(5)]
        self.shop.execute("BEGIN", *changes[:2], "SAVEPOINT s", *changes[2:], "ROLLBACK TO s")

    def _created(self) -> None:
        self.made += 1
        self.shop.make(f"t_more{self.made}")

    def _recreated(self) -> None:
        table = self._table()
        self.shop.execute(f"DROP TABLE {table}")
        time.sleep(self.chance.choice((0.0, 0.5)))
        self.shop.make(table)

    def _purged(self) -> None:
        self.stop()
        self.shop.execute("FLUSH BINARY LOGS")
        with suppress(pymysql.MySQLError):  # MariaDB 11 keeps what no replica has asked for
            self.shop.execute("SET GLOBAL slave_connections_needed_for_purge = 0")
        with self.shop.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOGS")
            newest = cursor.fetchall()[-1][0]
            cursor.execute(f"PURGE BINARY LOGS TO '{newest}'")
        self.start()

    def _switch_metadata(self) -> None:
        stock = "NO_LOG" if self.is_mariadb else "MINIMAL"
        value = self.chance.choice(("FULL", stock, stock))
        self.shop.execute(f"SET GLOBAL binlog_row_metadata = '{value}'")

    def _password(self) -> None:
        word = f"secret-{self.shop.version()}"
        self.shop.execute(f"ALTER USER cdc@'%' IDENTIFIED BY '{word}'")
        with self.shop.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'cdc'")
            for (thread,) in cursor.fetchall():
                with suppress(pymysql.MySQLError):
                    cursor.execute(f"KILL {thread}")
        time.sleep(self.chance.choice((0.0, 1.0)))
        self.password.write_text(word)

    def _restart(self, name: str) -> None:
        server = self.servers[name]
        if self.chance.random() < 0.5:
            server.kill()
        else:
            server.stop()
        server.start()

    def _flush(self) -> None:
        with suppress(redis.RedisError):
            redis.Redis(port=self.servers["Redis"].port).flushall()
        self.observer.forgive()

    def _kill(self) -> None:
        children = descendants(self.cdc.pid)
        self.cdc.kill()
        wait_for("the roles' end", lambda: not any(Path(f"/proc/{p}").exists() for p in children))
        self.start()

    def start(self) -> None:
        """Start cdc again."""
        said = len(self.cdc.text())
        self.cdc.start()
        wait_until_begun(self.cdc, said)

    def stop(self) -> None:
        """Stop cdc as a service manager does."""
        assert self.cdc.stop() == 0, self.cdc.text()[-3000:]
