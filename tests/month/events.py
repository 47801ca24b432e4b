"""What happens in a month: migrations, odd sessions, faults; no command of a person's to cdc."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pymysql
import redis

from cdc.demo.server import Server
from tests.month.migrations import COPIED, LENGTHS, NATIVE, OTHERS, Deck
from tests.month.online import CHUNK_ROWS, Ghost
from tests.month.report import ALL, Chronicle, Event
from tests.month.shop import LARGE_ID, SCHEMA, Shop
from tests.month.stage import Stage, purge
from tests.soak.soak_checks import Observer
from tests.soak.soak_faults import wait_until_begun
from tests.support.percona import OnlineChange
from tests.support.pipeline import Pipeline, Process, descendants, wait_for

LARGE_BYTES = 16_000_000
MORE_TABLES = 5
ATTEMPTS = 5
PAUSES_S = (0.0, 0.3, 1.0)


class Refused(Exception):
    """No table takes it as it is now."""


class Events:
    """All kinds of events, of which one after the other is drawn."""

    def __init__(
        self, shop: Shop, stage: Stage, pipeline: Pipeline, cdc: Process, observer: Observer
    ) -> None:
        """Describe what they happen to."""
        self.shop, self.stage, self.pipeline, self.observer = shop, stage, pipeline, observer
        self.copies = [cdc]
        """Processes of cdc, the newest last; the others have ended."""
        self.chance = stage.chance
        self.chronicle = Chronicle()
        self.migrated: Counter[str] = Counter()
        """Migrations that were done, by kind."""
        self._made = 0
        self._event: Event
        self._percona = OnlineChange()
        self._native = Deck(self.chance, dict.fromkeys([*NATIVE, *OTHERS], 1))
        self._copied = Deck(self.chance, dict.fromkeys(COPIED, 1))
        kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "migration": (24, self._migration),
            "gh-ost": (3, self._ghost),
            "statement session": (2, self._statements),
            "partial images": (4, self._partial_images),
            "XA": (4, self._xa),
            "large row": (2, self._large_row),
            "rollback": (2, self._rollback),
            "table created": (1, self._created),
            "table dropped and created": (1, self._recreated),
            "binlog purged while cdc was down": (1, self._purged),
            "names of columns in the binlog, or not": (1, self._switch_metadata),
            "failover": (2, self._failed_over),
            "blue-green switch": (1, self._blue_green),
            "MySQL restarted": (1, lambda: self._restart(shop.server)),
            "NATS restarted": (1, lambda: self._restart(stage.nats)),
            "Redis restarted": (1, lambda: self._restart(stage.redis)),
            "Redis emptied": (1, self._flush),
            "cdc killed": (2, self._kill),
            "cdc upgraded": (1, self._upgrade),
            "Redis 7 to 8": (1, self._upgrade_redis),
        }
        if stage.kind != "mysql80":  # the program refuses 8.0.15, for a fault of that server
            kinds["pt-online-schema-change"] = (3, self._percona_changes)
        if stage.kind == "mariadb1011":
            kinds["MariaDB 10.11 to 11.8"] = (1, self._upgrade_mariadb)
        for name, label in (("mysql", "MySQL"), ("nats", "NATS"), ("redis", "Redis")):
            kinds[f"password of {label} changed"] = (1, self._password(name))
            kinds[f"certificate of {label} changed"] = (1, self._certificate(name))
        self.kinds = {name: action for name, (_, action) in kinds.items()}
        self._deck = Deck(self.chance, {name: times for name, (times, _) in kinds.items()})

    @property
    def cdc(self) -> Process:
        """The process of cdc that runs."""
        return self.copies[-1]

    def log(self) -> str:
        """Return all that cdc printed."""
        return "".join(copy.text() for copy in self.copies)

    def happen(self) -> str:
        """Let one happen; return its name."""
        name = self._deck.draw()
        with self.chronicle.happens(name) as self._event:
            try:
                self.kinds[name]()
            except (pymysql.MySQLError, Refused, RuntimeError) as error:
                self._event.refused = str(error)[:200]
        return name

    def _all(self) -> None:
        self._event.table = ALL

    def _table(self) -> str:
        """Return one of the tables, which this event concerns."""
        self._event.table = self.chance.choice(self.shop.tables)
        return self._event.table

    def _transactional(self) -> str:
        while (table := self._table()) in self.shop.plain:
            pass
        return table

    # -- migrations ------------------------------------------------------------------

    def _migration(self) -> None:
        """Take the first kind and the first table, in a random order, that fit each other."""
        for kind in self._native.offer():
            self._event.detail = kind
            for table in self.chance.sample(self.shop.tables, len(self.shop.tables)):
                self._event.table = table
                with suppress(pymysql.MySQLError, Refused):
                    self._migrate(kind, table)
                    self.migrated[kind] += 1
                    return
        raise Refused("nothing fits")

    def _migrate(self, kind: str, table: str) -> None:
        if kind in OTHERS:
            try:
                with self.shop.quiet():  # what is changed after a row's copy would go back
                    self.shop.execute(*(one.format(t=table) for one in OTHERS[kind]))
            finally:
                self.shop.execute("DROP TABLE IF EXISTS x_new", "DROP TABLE IF EXISTS x_old")
            return
        change = NATIVE[kind].format(length=self.chance.choice(LENGTHS))
        if kind == "another engine":
            with self.shop.between():
                self.shop.plain.add(table)
        if kind == "the primary key as before":
            self._leave_newest(table)
        try:
            self.shop.execute(f"ALTER TABLE {table} {change}")
        finally:
            self.note_engines()

    def note_engines(self) -> None:
        """Learn which tables have no transactions."""
        rows = self.shop.ask(
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = '{SCHEMA}' AND engine = 'MyISAM'"
        )
        with self.shop.between():
            self.shop.plain.clear()
            self.shop.plain.update(row[0] for row in rows)

    def _leave_newest(self, table: str) -> None:
        key = self.shop.ask(f"SHOW KEYS FROM {table} WHERE Key_name = 'PRIMARY'")
        if len(key) < 2:
            raise Refused("it has that key")
        self.shop.execute(
            f"DELETE a FROM {table} a JOIN {table} b ON a.id = b.id AND a.ver < b.ver"
        )

    def _fitting(self) -> tuple[str, str]:
        """Return a change and a table that takes it, whose rows a copy tells apart by their id."""
        for kind in self._copied.offer():
            self._event.detail = kind
            change = COPIED[kind].format(length=self.chance.choice(LENGTHS))
            for table in self.chance.sample(self.shop.tables, ATTEMPTS):
                key = self.shop.ask(f"SHOW KEYS FROM {table} WHERE Key_name = 'PRIMARY'")
                if len(key) == 1 and table not in self.shop.plain and self._takes(table, change):
                    self._event.table = table
                    return table, change
        raise Refused("nothing fits")

    def _takes(self, table: str, change: str) -> bool:
        empty = (f"CREATE TABLE x_new LIKE {table}", f"ALTER TABLE x_new {change}")
        try:
            self.shop.execute(*empty)
        except pymysql.MySQLError:
            return False
        finally:
            self.shop.execute("DROP TABLE IF EXISTS x_new")
        return True

    def _percona_changes(self) -> None:
        table, change = self._fitting()
        self._percona.alter(self.shop.server, SCHEMA, table, change, CHUNK_ROWS)
        self.migrated["pt-online-schema-change"] += 1

    def _ghost(self) -> None:
        table, change = self._fitting()
        Ghost(self.shop, table, change).migrate()
        self.migrated["gh-ost"] += 1

    # -- sessions --------------------------------------------------------------------

    def _session(self, setting: str, table: str) -> None:
        changes = [self.shop.change(table) for _ in range(self.chance.choice((1, 5)))]
        self.shop.execute(setting, "BEGIN", *changes, "COMMIT")

    def _statements(self) -> None:
        self._session("SET SESSION binlog_format = 'STATEMENT'", self._transactional())

    def _partial_images(self) -> None:
        image = self.chance.choice(("MINIMAL", "NOBLOB"))
        self._session(f"SET SESSION binlog_row_image = '{image}'", self._transactional())

    def _xa(self) -> None:
        xid = f"'x{self.shop.version()}'"
        change = self.shop.change(self._transactional())
        with self.shop.server.connect(SCHEMA) as connection, connection.cursor() as cursor:
            try:
                for step in (f"XA START {xid}", change, f"XA END {xid}", f"XA PREPARE {xid}"):
                    cursor.execute(step)
            finally:
                time.sleep(self.chance.choice(PAUSES_S))
                cursor.execute(f"XA {self.chance.choice(('COMMIT', 'ROLLBACK'))} {xid}")

    def _large_row(self) -> None:
        table = self._table()
        self._all()  # the changes after it wait for it
        with suppress(pymysql.MySQLError):
            self.shop.execute(f"ALTER TABLE {table} ADD COLUMN large LONGTEXT")
        large = f"REPEAT('{self.chance.choice('xyz')}', {LARGE_BYTES})"
        values = f"({LARGE_ID}, {self.shop.version()}, {large})"
        self.shop.execute(f"REPLACE INTO {table} (id, ver, large) VALUES {values}")
        time.sleep(self.chance.choice(PAUSES_S))
        after = (
            f"DELETE FROM {table} WHERE id = {LARGE_ID}",
            f"UPDATE {table} SET large = NULL, ver = {self.shop.version()} WHERE id = {LARGE_ID}",
        )
        self.shop.execute(self.chance.choice(after))

    def _rollback(self) -> None:
        changes = [self.shop.change(self._transactional()) for _ in range(5)]
        self.shop.execute("BEGIN", *changes[:2], "SAVEPOINT s", *changes[2:], "ROLLBACK TO s")

    def _created(self) -> None:
        self._made += 1
        if self._made <= MORE_TABLES:
            self._all()
            self.shop.make(f"t_more{self._made}")
            self.shop.tables.append(f"t_more{self._made}")

    def _recreated(self) -> None:
        table = self._table()
        self.shop.execute(f"DROP TABLE {table}")
        time.sleep(self.chance.choice(PAUSES_S))
        self.shop.make(table)
        self.note_engines()

    # -- servers ---------------------------------------------------------------------

    def _purged(self) -> None:
        self._all()
        self.stop()
        self.stage.pair.wait_for_the_replica()
        purge(self.shop.server)
        self.start()

    def _switch_metadata(self) -> None:
        stock = "NO_LOG" if self.stage.is_mariadb else "MINIMAL"
        value = self._event.detail = self.chance.choice(("FULL", stock, stock))
        for server in (self.stage.pair.primary, self.stage.pair.replica):
            self.stage.pair.execute(server, f"SET GLOBAL binlog_row_metadata = '{value}'")

    def _failed_over(self) -> None:
        self._all()
        killed = self._may_kill() and self.chance.random() < 0.5
        self._event.detail = "killed" if killed else "planned"
        with self.shop.quiet():
            self.stage.fail_over(killed=killed)

    def _blue_green(self) -> None:
        self._all()
        with self.shop.quiet():
            green = self.stage.copy()
        self.stage.follow(green)
        with self.shop.quiet():
            self.stage.blue_green(green)

    def _upgrade_mariadb(self) -> None:
        if self.stage.is_upgraded:
            raise Refused("it was upgraded before")
        self._all()
        with self.shop.quiet():
            self.stage.upgrade()

    def _upgrade_redis(self) -> None:
        if not self.stage.redis.version.startswith("7."):
            raise Refused("it was upgraded before")
        self._all()
        self.stage.upgrade_redis()

    def _may_kill(self) -> bool:
        """Whether a server may be killed: without transactions, binlog and table differ then."""
        return not self.shop.plain

    def _restart(self, server: Server) -> None:
        self._all()
        if self.chance.random() < 0.5 and self._may_kill():
            self._event.detail = "killed"
            server.kill()
        else:
            server.stop()
        server.start()

    def _flush(self) -> None:
        self._all()
        with suppress(redis.RedisError):
            self.stage.client().flushall()
        self.observer.forgive()

    # -- secrets ---------------------------------------------------------------------

    def _password(self, name: str) -> Callable[[], None]:
        def change() -> None:
            self._all()
            first, pause_s = self.chance.random() < 0.5, self.chance.choice(PAUSES_S)
            self._event.detail = f"{'server' if first else 'file'} first, {pause_s} s"
            self.stage.change_password(name, first=first, pause_s=pause_s)

        return change

    def _certificate(self, name: str) -> Callable[[], None]:
        def change() -> None:
            self._all()
            other, first = self.chance.random() < 0.7, self.chance.random() < 0.5
            pause_s = self.chance.choice(PAUSES_S)
            self._event.detail = f"{'other' if other else 'same'} authority, "
            self._event.detail += f"{'server' if first else 'file'} first, {pause_s} s"
            self.stage.change_certificate(name, other=other, first=first, pause_s=pause_s)

        return change

    # -- cdc -------------------------------------------------------------------------

    def _kill(self) -> None:
        self._all()
        children = descendants(self.cdc.pid)
        self.cdc.kill()
        wait_for("the roles' end", lambda: not any(Path(f"/proc/{p}").exists() for p in children))
        self.start()

    def _upgrade(self) -> None:
        """Stop it and start the next, or start the next beside it first."""
        self._all()
        if self.chance.random() < 0.5:
            self._event.detail = "one after the other"
            self.stop()
            self.start()
            return
        self._event.detail = "side by side"
        old = self.cdc
        self.copies.append(self.pipeline.run())
        wait_until_begun(self.cdc)
        assert old.stop(30) == 0, old.text()[-3000:]

    def start(self) -> None:
        """Start cdc again."""
        said = len(self.cdc.text())
        self.cdc.start()
        wait_until_begun(self.cdc, said)

    def stop(self) -> None:
        """Stop cdc as a service manager does."""
        assert self.cdc.stop() == 0, self.cdc.text()[-3000:]
