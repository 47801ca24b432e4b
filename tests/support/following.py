"""A captured table on a real server, and what the reader makes of what is done to it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any, Literal, Self

import msgspec
from pymysql.constants import COMMAND

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import PositionLostError
from cdc.message import Prepared
from cdc.mysql.connection import connect
from cdc.position import Position
from cdc.settings import load
from cdc.url import parse_url
from cdc_reader.binlog.source import Source
from cdc_reader.catalog.tables import resolve_tables
from cdc_reader.dump import Dump
from cdc_reader.publish.transaction import Assembler
from cdc_reader.resume.resume import Resume
from cdc_reader.rows.shape import Target, target_of
from cdc_reader.schema.change import End

DEADLINE_S = 30


class Follower:
    """A schema of its own with captured tables; `read` follows the binlog to its end."""

    def __init__(
        self,
        server: MySQL | MariaDB,
        *,
        on_schema_change: Literal["stop", "continue"] = "stop",
        schema: str = "",
    ) -> None:
        """Connect; `schema` empty: one with a name of its own."""
        self.server = server
        self.mariadb = isinstance(server, MariaDB)
        self.schema = schema or f"f_{uuid.uuid4().hex[:10]}"
        self.on_schema_change = on_schema_change
        self.targets: dict[str, Target] = {}
        self.prepared: tuple[Prepared, ...] = ()
        """XA transactions without an outcome where the reading begins."""
        self.passed: frozenset[End] = frozenset()
        """XA COMMITs whose tables were read again."""
        self.connection = server.connect()
        self.execute(f"CREATE DATABASE {self.schema}", f"USE {self.schema}")
        self.position = self.newest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.connection:
            self.execute(f"DROP DATABASE IF EXISTS {self.schema}")

    def execute(self, *statements: str) -> None:
        """Run statements in the session."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def typed(self, charset: str, statement: bytes) -> None:
        """Run one statement whose bytes a session of another character set has typed."""
        self.execute(f"SET NAMES {charset}")
        self.connection._execute_command(COMMAND.COM_QUERY, statement)  # type: ignore[attr-defined]  # not in the stubs
        self.connection._read_query_result()  # type: ignore[attr-defined]  # not in the stubs
        self.execute("SET NAMES utf8mb4")

    def newest(self) -> Position:
        """Return the newest place of the binlog."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(self.server.newest_place_sql)
            file, offset, *_ = cursor.fetchone() or ("", 0)
        return Position(file=str(file), offset=int(offset), gtid_set=None)

    def capture(self, *names: str) -> None:
        """Take tables from the catalog, as `cdc run` does; the reading begins here."""
        listed = [f"{self.schema}.{name}" for name in names]
        settings = load({"mysql": self.server.url, "tables": tuple(listed)}, {})
        with connect(settings.mysql) as connection:
            tables = resolve_tables(connection, settings)
        self.targets = {table.qualified: target_of(table) for table in tables}
        self.position = self.newest()

    def read(self) -> list[dict[str, Any]]:
        """Return the messages of all that was written since; the reading goes on behind it.

        Raises:
            PositionLostError: as of the reader.
        """
        return asyncio.run(self._read())

    async def _read(self) -> list[dict[str, Any]]:
        until, url = self.newest(), parse_url(self.server.url, ("mysql",))
        source = await Source.open(url, self.position, mariadb=self.mariadb)
        assembler = Assembler(
            resume=Resume(epoch=1, position=self.position, last="", prepared=self.prepared),
            gtid_set=None,
            targets=self.targets,
            mariadb=self.mariadb,
            on_schema_change=self.on_schema_change,
            passed=self.passed,
        )
        dump = Dump(source, assembler, url, mariadb=self.mariadb)
        end = (int(until.file.rpartition(".")[2]), until.offset)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while assembler.boundary < end:
                    dump.take(await dump.read(1.0))
        finally:
            dump.close()
        self.position, self.prepared = assembler.position, assembler.xa.prepared.listed() or ()
        return [msgspec.json.decode(body) for run in assembler.runs for body in run.bodies]

    def refusal(self, *statements: str) -> PositionLostError | None:
        """Run statements and return why the reader refuses them; None: it does not."""
        self.execute(*statements)
        try:
            self.read()
        except PositionLostError as error:
            return error
        return None


def keys(messages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return operation and key of each message: ``[("insert", "users:1")]``."""
    return [(message["op"], message["key"]) for message in messages if "key" in message]
