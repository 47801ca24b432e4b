"""Three servers with a table, and a pipeline that can be started on them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import pymysql
import redis
from nats.js.errors import NotFoundError

from cdc.demo.servers import MariaDB, MySQL, Nats, Redis, Server
from tests.support.logins import replication_rights
from tests.support.pipeline import Pipeline, Process, wait_for
from tests.support.proxy import Proxy
from tests.support.tally import TALLY
from tests.support.truth import CREATE, assert_exactly_once, wait_until_equal

TABLE = "shop.users"
MARKS = "shop.marks"
"""One row, which tells how long a change takes after a fault."""
SOURCES = ("mysql", "mysql without gtids", "mariadb")
"""Kinds of the fixture `source` of the fault tests."""
ROWS = 200
"""Ids that a writer draws from; half of the rows stand there before the first start."""


class Bench:
    """A MySQL or MariaDB with a table, a NATS, a Redis, and the pipeline between."""

    def __init__(
        self,
        mysql: MySQL | MariaDB,
        nats: Nats,
        redis_server: Redis,
        folder: Path,
        *,
        proxied: bool = False,
    ) -> None:
        """Make the tables on running servers.

        Args:
            proxied: the pipeline reaches each server through one of `links`.
        """
        self.mysql, self.nats, self.redis = mysql, nats, redis_server
        self.folder = folder
        self.servers: dict[str, Server] = {"mysql": mysql, "nats": nats, "redis": redis_server}
        self.links: dict[str, Proxy] = {}
        self._mark = 0
        self.client = redis.Redis(port=redis_server.port)
        with mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute(CREATE.format(table=TABLE))
            rows = [(i, f"row {i}", "1.00", 0) for i in range(1, ROWS // 2)]
            cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", rows)
            cursor.execute(f"CREATE TABLE {MARKS} (id INT PRIMARY KEY, n INT NOT NULL)")
            cursor.execute(f"INSERT INTO {MARKS} VALUES (1, 0)")
        urls = {"mysql": mysql.url, "nats": nats.url, "redis": redis_server.url}
        if proxied:
            for name, server in self.servers.items():
                self.links[name] = proxy = Proxy(server.port)
                urls[name] = urls[name].replace(f":{server.port}", f":{proxy.port}")
        self.pipeline = Pipeline(folder, **urls, tables=f"{TABLE},{MARKS}")

    def close(self) -> None:
        """End the proxies."""
        for proxy in self.links.values():
            proxy.close()

    def execute(self, *statements: str) -> None:
        """Run statements in a session of their own."""
        with self.mysql.connect("shop") as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def log_in_as_cdc(self, *tables: str) -> None:
        """Give cdc a login with the least rights, for these tables."""
        self.execute(
            "CREATE USER cdc@'%' IDENTIFIED BY 'secret'",
            f"GRANT {replication_rights(self.mysql)} ON *.* TO cdc@'%'",
            *(f"GRANT SELECT ON shop.{table} TO cdc@'%'" for table in tables),
        )
        url = f"mysql://cdc:secret@127.0.0.1:{self.mysql.port}/shop"
        self.pipeline.environment["CDC_MYSQL_URL"] = url

    def caught_up(self, *arguments: str) -> Process:
        """Start `cdc run`; return when Redis shows what MySQL has, by changes and not by luck."""
        process = self.pipeline.run(*arguments)
        wait_for("the reader", lambda: '"streaming"' in process.text())
        self.execute(f"UPDATE {TABLE} SET ver = ver + 1")
        self.wait_until_equal()
        return process

    def dump_threads(self) -> list[int]:
        """Return the threads of MySQL that send a binlog."""
        with self.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")
            return [row[0] for row in cursor.fetchall() if "Binlog Dump" in str(row[4])]

    def kill_dumps(self) -> int:
        """End what sends a binlog; return how many there were."""
        killed = 0
        for thread in self.dump_threads():
            with suppress(pymysql.MySQLError):  # it may have ended by itself
                self.execute(f"KILL {thread}")
                killed += 1
        return killed

    def restart(self, server: Server, *, kill: bool) -> None:
        """End a server with SIGKILL or SIGTERM and start it again."""
        if kill:
            server.kill()
            TALLY.count("SIGKILL")
        else:
            server.stop()
        server.start()
        TALLY.count("restart")

    def recovered(self, fault: str, deadline_s: float = 60.0) -> float:
        """Wait until a change comes through, and note how long after the fault that took."""
        took_s = self.passes(f"a change behind {fault}", deadline_s)
        TALLY.recovered(fault, took_s)
        return took_s

    def passes(self, what: str = "a change", deadline_s: float = 60.0) -> float:
        """Write to MySQL and wait until Redis shows it; return how long that took."""
        self._mark += 1
        mark, began_s = self._mark, time.monotonic()
        with self.mysql.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"UPDATE {MARKS} SET n = %s", (mark,))
        wait_for(what, lambda: self._shows(mark), deadline_s)
        return time.monotonic() - began_s

    def _shows(self, mark: int) -> bool:
        with suppress(redis.RedisError):
            value: Any = self.client.get("marks:1")
            return value is not None and json.loads(value)["n"] == mark
        return False

    def position(self) -> bytes | None:
        """Return the position in Redis as it stands; of several partitions, all of them."""
        keys = [f"cdc:default:position{n}" for n in ("", ":0", ":1", ":2", ":3")]
        with suppress(redis.RedisError):
            values: Any = self.client.mget(keys)
            return b"\n".join(value for value in values if value) or None
        return None

    def positions(self, partitions: int) -> list[bytes | None]:
        """Return the positions of several partitions as they stand."""
        keys = [f"cdc:default:position:{n}" for n in range(partitions)]
        values: Any = self.client.mget(keys)
        return list(values)

    def wait_for_progress(self) -> None:
        """Wait until the position in Redis has moved."""
        before = self.position()
        wait_for("progress in Redis", lambda: self.position() not in (None, before))

    def wait_for_progress_or_end(self, process: Process) -> None:
        """Wait until the position in Redis has moved, or the process has ended."""
        before = self.position()
        wait_for(
            "progress in Redis",
            lambda: self.position() not in (None, before) or not process.is_running(),
        )

    def wait_for_progress_of_each(self, partitions: int, deadline_s: float = 60.0) -> None:
        """Wait until the position of every partition has moved."""
        before = self.positions(partitions)
        wait_for(
            "progress of every partition",
            lambda: all(
                new is not None and new != old
                for new, old in zip(self.positions(partitions), before, strict=True)
            ),
            deadline_s,
        )

    def wait_until_equal(self, deadline_s: float = 60.0, ignore: Collection[str] = ()) -> None:
        """Wait until Redis shows what MySQL has; nobody writes to MySQL any more."""
        with self.mysql.connect() as connection:
            wait_until_equal(connection, self.client, TABLE, deadline_s, ignore)

    def assert_exactly_once(self) -> int:
        """Every message is in the stream once and in order; return how many rows they carry."""
        return assert_exactly_once(self.nats.url)

    def keys(self) -> list[str]:
        """Return the keys of all rows that a writer may write."""
        return [f"users:{i}" for i in range(1, ROWS + 1)]


def dead_letters(url: str) -> int:
    """Return how many dead letters there are."""

    async def count() -> int:
        client = await nats.connect(url)
        jetstream = client.jetstream()
        try:
            name = await jetstream.find_stream_name_by_subject("cdc.dead.default")
            return int((await jetstream.stream_info(name)).state.messages)
        except NotFoundError:
            return 0
        finally:
            await client.close()

    return asyncio.run(count())
