"""The three servers of one verify: opened, and asked whether they belong together."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from cdc.errors import CdcError, PreflightError
from cdc.jetstream import stream
from cdc.own_keys import position_keys
from cdc.process import role
from cdc.settings import Settings
from cdc_verify.boundary import Applied, positions_of
from cdc_verify.mysql_rows import CONNECTION, MySqlRows
from cdc_verify.redis_keys import RedisKeys
from cdc_verify.stream_window import StreamWindow

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
        connect, translated = role.loaded(role.CONNECT), role.loaded(role.TRANSLATED)
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

    def positions(self) -> list[Applied]:
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
async def opened(settings: Settings, log: Any) -> AsyncIterator[Servers]:
    """Connect to all three servers, and make sure that Redis is the one of this pipeline.

    Raises:
        PreflightError: Redis holds no position of the pipeline, or one of another stream.
        CdcError: a server refuses or does not answer.
    """
    redis = RedisKeys(settings.redis, name=f"cdc-verify-{settings.pipeline}")
    facts = await asyncio.to_thread(role.loaded(role.SERVER_FACTS), settings)
    connect = functools.partial(
        stream.connect, settings.nats, name="cdc-verify", inbox_prefix="_INBOX_sink", log=log
    )
    nc = await connect()
    servers = Servers(
        settings=settings,
        nc=nc,
        window=StreamWindow(nc, connect, settings, role.loaded(role.CONSUMER)),
        mariadb=facts.mariadb,
        gtid=facts.gtid,
        server=facts.server,
        redis=redis,
    )
    try:
        await asyncio.to_thread(servers.positions)
        yield servers
    finally:
        servers.close()
        await stream.close(nc)


def positions(settings: Settings, redis: RedisKeys) -> list[Applied]:
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
                f"Redis holds what came from the stream {applied.stream} in {applied.partitions} "
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
