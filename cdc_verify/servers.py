"""The three servers of one verify: opened, and asked whether they belong together."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from cdc.errors import CdcError, PreflightError
from cdc.jetstream import stream
from cdc.mysql.connection import connect, connected, global_variables, translated
from cdc.mysql.server import IDENTITY, MySqlServer, server_of
from cdc.own_keys import position_keys
from cdc.settings import Settings
from cdc.telemetry import Log
from cdc_verify.boundary import SinkPosition, positions_of
from cdc_verify.mysql_rows import CONNECTION, MySqlRows
from cdc_verify.redis_keys import RedisKeys
from cdc_verify.stream_window import StreamWindow

ANSWER_S = 10
Use = Literal["walk", "settle"]
"""What a connection is for: both go on at the same time."""


@dataclass(slots=True)
class Servers:
    """Connections of a verify, opened by `opened`."""

    settings: Settings
    nc: stream.Connection
    window: StreamWindow
    mariadb: bool
    gtid: bool
    server: str
    """Whose binlog MySQL's is: ``server_uuid``, on MariaDB ``server_id``."""
    redis: RedisKeys
    """For verify's own state and the position; others by `redis_for`."""
    _mysql: dict[Use, MySqlRows] = field(default_factory=dict)
    _redis: dict[Use, RedisKeys] = field(default_factory=dict)

    def mysql(self, use: Use) -> MySqlRows:
        """Return the connection to MySQL for a use.

        One for all tables, which are compared one after the other: however many there are, an
        application finds MySQL's connections free.
        """
        if use in self._mysql:
            return self._mysql[use]
        url = self.settings.mysql
        rows = MySqlRows(
            lambda: connect(url, **CONNECTION),
            lambda error: translated(error, url),
            mariadb=self.mariadb,
            gtid=self.gtid,
        )
        self._mysql[use] = rows
        return rows

    def redis_for(self, use: Use) -> RedisKeys:
        """Return the connection to Redis for a use."""
        if use not in self._redis:
            name = f"cdc-verify-{self.settings.pipeline}"
            self._redis[use] = RedisKeys(self.settings.redis, name=name)
        return self._redis[use]

    def positions(self) -> list[SinkPosition]:
        """Return the position of each partition; blocking.

        Raises:
            PreflightError: there is none: nothing of this pipeline was ever applied here.
        """
        return positions(self.settings, self.redis)

    def close(self) -> None:
        """Close all."""
        self.redis.close()
        for rows in self._mysql.values():
            rows.close()
        for keys in self._redis.values():
            keys.close()


@asynccontextmanager
async def opened(settings: Settings, log: Log) -> AsyncIterator[Servers]:
    """Connect to all three servers, and make sure that Redis is the one of this pipeline.

    Raises:
        PreflightError: Redis holds no position of the pipeline, or one of another stream.
        CdcError: a server refuses or does not answer.
    """
    redis = RedisKeys(settings.redis, name=f"cdc-verify-{settings.pipeline}")
    mysql = await asyncio.to_thread(mysql_server, settings)
    connect_nats = functools.partial(
        stream.connect, settings.nats, name="cdc-verify", inbox_prefix="_INBOX_sink", log=log
    )
    nc = await connect_nats()
    servers = Servers(
        settings=settings,
        nc=nc,
        window=StreamWindow(nc, connect_nats, settings),
        mariadb=mysql.mariadb,
        gtid=mysql.gtid,
        server=mysql.server,
        redis=redis,
    )
    try:
        await asyncio.to_thread(servers.positions)
        yield servers
    finally:
        servers.close()
        await stream.close(nc)


def mysql_server(settings: Settings) -> MySqlServer:
    """Return which server MySQL's address leads to; blocking.

    Raises:
        CdcError: it refuses or does not answer.
    """
    with connected(settings.mysql, read_timeout=ANSWER_S) as connection:
        return server_of(global_variables(connection, IDENTITY))


def positions(settings: Settings, redis: RedisKeys) -> list[SinkPosition]:
    """Return the position of each partition; blocking.

    Raises:
        PreflightError: there is none, or it is of another stream or number of partitions.
    """
    several = settings.partitions
    keys = position_keys(settings.pipeline, several)
    (raws,) = redis.run(("MGET", *keys))
    found = positions_of(raws, keys)
    if found is None:
        raise _no_position(settings, redis, keys)
    for applied in found:
        if applied.stream != settings.stream or applied.partitions != several:
            raise PreflightError(
                f"Redis holds data from the stream {applied.stream} in {applied.partitions} "
                f"partitions; the settings say {settings.stream}, {several}",
                safe="nothing was compared",
                fix="give the settings of cdc run: --stream, --partitions, --pipeline",
            )
    return found


def _no_position(settings: Settings, redis: RedisKeys, keys: Sequence[str]) -> CdcError:
    database = settings.redis.database or "0"
    others: list[str] = []
    with suppress(CdcError):
        (info,) = redis.run(("INFO", "keyspace"))
        info = b"" if isinstance(info, Exception) else info
        names = [line.partition(b":")[0] for line in info.splitlines() if line[:2] == b"db"]
        others = [name.decode()[2:] for name in names if name.decode()[2:] != database]
    hint = f"\ndatabases with keys are {', '.join(others)} (this is {database})" if others else ""
    return PreflightError(
        f"Redis at {settings.redis.address}, database {database}, has no position of the pipeline "
        f"{settings.pipeline!r} ({keys[0]}): nothing was ever applied here",
        safe="nothing was compared",
        fix="check the database at the end of the redis setting and --pipeline, or start cdc "
        "run first" + hint,
    )
