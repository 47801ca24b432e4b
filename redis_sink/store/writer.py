"""The way into Redis: one connection, one transaction in flight, nothing sent twice.

redis-py connects, authenticates and encrypts.  It does not write: its retries re-send
whole batches after a timeout, and an old batch that was still in a buffer then lands on
newer data.  Here every batch is one round trip

    MULTI  MSET …  UNLINK …  SET <position>  EXEC  WATCH <position>  GET <position>

on a connection that WATCHes the position since the batch before, so EXEC answers nil
when anything else touched it (a second sink, FLUSHALL, a batch of ours from a
connection given up).  In any doubt the connection is dropped and Redis asked again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import hiredis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cdc.errors import (
    REFRESH,
    CdcError,
    FencedError,
    InternalError,
    UnavailableError,
    logging_in,
)
from cdc.network.redis_options import REPLY_TIMEOUT_S, has_tls, naming, redis_options
from cdc.network.secret import with_secret
from cdc.network.tls_probe import explained_by_asking
from cdc.url import Url
from redis_sink.plan.batch import Command
from redis_sink.plan.full import (
    APPLIED,
    NOT_AS_LEFT,
    TOO_LARGE,
    is_full,
    is_not_run,
    script_call,
)
from redis_sink.store.verdict import lacking, refusal, refused_transaction

_READ_BYTES = 1 << 16
SLOWEST_BYTES_PER_S = 1_000_000
"""A large row has so much more time to arrive."""
REPLY_MAX_BYTES = 1 << 30
"""Redis sends no string above 512 MiB (proto-max-bulk-len); anything longer is not a reply."""
_pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # stub: a tuple of one
FENCED = "the position in Redis changed: another sink writes, or Redis was emptied"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Full(UnavailableError):
    """Redis is at its maxmemory, and the batch needs more room than it gives back."""


class Writer:
    """Applies batches to Redis.

    ``w = Writer(url, key="cdc:default:position", name="cdc-sink-default")``,
    ``await w.open()``, ``raw = await w.arm()``, then ``await w.apply(commands, position)``
    for each batch.
    """

    def __init__(self, url: Url, *, key: str, name: str) -> None:
        self.address = url.address
        self.url = url
        self.key = key
        self._name = name
        self._connection: Connection | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._replies = hiredis.Reader()
        self._position: bytes | None = None

    async def open(self) -> None:
        """Connect again, with password and certificates as they are now.

        Raises:
            UnavailableError: Redis does not answer, or cannot serve now.
            PermissionDenied: the login or a right is refused.
            SettingsError: a password or a certificate cannot be read.
        """
        self.close()
        with logging_in():
            await self._open()

    async def _open(self) -> None:
        url = self.url
        connection = _connection(await asyncio.to_thread(with_secret, url) if url.secret else url)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            raise await asyncio.to_thread(self._cannot_connect, error) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None:
            raise InternalError("redis-py connected without a stream")
        self._connection, self._reader, self._writer = connection, reader, writer
        self._replies = hiredis.Reader()
        try:
            await self._exchange([naming(self._name)])
        except UnavailableError as error:
            # The first bytes: a port that speaks TLS, or wants a certificate, ends it here.
            found = await asyncio.to_thread(explained_by_asking, self.url, error)
            raise (error if isinstance(found, UnavailableError) else found) from None

    async def arm(self) -> bytes | None:
        """Return the position as it is in Redis; from now on the fence is up.

        Raises:
            UnavailableError, PermissionDenied: as `ask`.
        """
        _, self._position = await self.ask(("WATCH", self.key), ("GET", self.key))
        return self._position

    async def apply(self, commands: Iterable[Command], position: bytes) -> None:
        """Run commands and set the position, both or neither (invariants 1 and 5).

        Raises:
            FencedError: the position was touched; nothing is applied.
            Full: Redis has no room for it; nothing is applied.
            UnavailableError: whether it is applied, only Redis knows: open again.
            PermissionDenied, PreflightError, InternalError: Redis refuses; nothing is applied.
        """
        commands = list(commands)
        replies = await self._exchange(
            [
                ("MULTI",),
                *commands,
                ("SET", self.key, position),
                ("EXEC",),
                ("WATCH", self.key),
                ("GET", self.key),
            ]
        )
        done, current = replies[-3], replies[-1]
        if isinstance(done, hiredis.ReplyError) and is_full(replies):
            await self._apply_if_it_fits(commands, position)
            return
        if isinstance(done, hiredis.ReplyError):
            self.close()
            queued = [str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError)]
            raise refused_transaction(self.address, queued)
        if done is None or current != position:
            self.close()
            raise FencedError(FENCED)
        failed = [reply for reply in done if isinstance(reply, hiredis.ReplyError)]
        if failed:
            self.close()
            raise InternalError(
                f"Redis at {self.address} applied a transaction in part "
                f"({str(failed[0]).split(' ', 1)[0]})",
                safe="the position has moved past a write that failed",
                fix=REFRESH + "\nplease report it",
            )
        self._position = position

    async def _apply_if_it_fits(self, commands: list[Command], position: bytes) -> None:
        """Do the same in a Redis that is full, where that takes no more room than it gives back.

        EVAL is one step as a transaction is; MULTI and EXEC after it end the WATCH.

        Raises:
            CdcError: as `apply`.
        """
        why = refusal(self.address, "OOM")
        before = self._position
        call = script_call(self.key, before, position, commands) if before is not None else None
        if call is None:
            self.close()
            raise Full(why.seen, fix=why.fix)
        done, *_, current = await self._exchange(
            [call, ("MULTI",), ("EXEC",), ("WATCH", self.key), ("GET", self.key)]
        )
        if done == APPLIED and current == position:
            self._position = position
            return
        self.close()
        if done in (APPLIED, NOT_AS_LEFT):
            raise FencedError(FENCED)
        if done == TOO_LARGE or is_not_run(done):
            raise Full(why.seen, fix=why.fix)
        raise refusal(self.address, str(done), "EVAL")

    async def check(self) -> None:
        """Make sure that Redis is there and the position is as we left it.

        Raises:
            FencedError: it is not.
            UnavailableError: Redis does not answer.
        """
        (current,) = await self.ask(("GET", self.key))
        if current != self._position:
            self.close()
            raise FencedError(FENCED)

    async def ask(self, *commands: Command) -> list[Any]:
        """Run commands outside a transaction and return their replies.

        Raises:
            CdcError: Redis refuses one; see `redis_sink.store.verdict`.
        """
        replies = await self._exchange(list(commands))
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                self.close()
                raise self._refusal(str(reply), str(command[0]))
        return replies

    async def ask_for(self, *command: str) -> Any:
        """Return the reply; None: this login may not, or this Redis has no such command.

        Raises:
            CdcError: another refusal, or no answer.
        """
        (reply,) = await self._exchange([command])
        if isinstance(reply, hiredis.ReplyError):
            if lacking(reply):
                return None
            self.close()
            raise self._refusal(str(reply), command[0])
        return reply

    async def refused(self, *commands: Command) -> list[str]:
        """Return what this login lacks for each command; none is run.

        Redis looks at rights when a command is queued; the connection is dropped before EXEC.

        Returns:
            ``command``, ``key``, or an empty text where it may.

        Raises:
            CdcError: MULTI itself is refused; or as `ask`.
        """
        # Sent separately: what follows a MULTI that is refused would be run.
        await self.ask(("MULTI",))
        replies = await self._exchange(list(commands))
        self.close()
        return [lacking(reply) for reply in replies]

    def close(self) -> None:
        """Drop the connection immediately; what is still on its way to Redis is cut off."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        raw = self._writer.get_extra_info("socket")
        with suppress(OSError, AttributeError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()
        connection._reader = connection._writer = None

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        """Send commands in one piece and return one reply each; errors are replies too."""
        if self._connection is None:
            raise UnavailableError(f"the connection to Redis at {self.address} is closed")
        data = b"".join(map(_pack, commands))
        timeout_s = REPLY_TIMEOUT_S + len(data) / SLOWEST_BYTES_PER_S
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(data)
                del data
                return await self._receive(len(commands))
        except TimeoutError:
            self.close()
            raise UnavailableError(
                f"Redis at {self.address} does not answer within {timeout_s:.0f} s"
            ) from None
        except (OSError, EOFError, hiredis.ProtocolError):
            self.close()
            raise UnavailableError(f"the connection to Redis at {self.address} is lost") from None
        except BaseException:
            self.close()
            raise

    async def _receive(self, count: int) -> list[Any]:
        out: list[Any] = []
        held_bytes = 0
        gets, feed, read = self._replies.gets, self._replies.feed, self._reader.read
        while len(out) < count:
            reply = gets()
            if reply is not False:
                out.append(reply)
                held_bytes = 0
                continue
            data = await read(_READ_BYTES)
            if not data:
                raise EOFError
            held_bytes += len(data)
            if held_bytes > REPLY_MAX_BYTES:
                raise hiredis.ProtocolError("a reply that does not end")
            feed(data)
        return out

    def _refusal(self, reply: str, command: str = "") -> CdcError:
        return refusal(self.address, reply, command, login_fix=self.url.login_fix)

    def _cannot_connect(self, error: BaseException) -> CdcError:
        text = str(error)
        kind = type(error).__name__
        if kind in ("AuthenticationError", "AuthenticationWrongNumberOfArgsError"):
            # redis-py takes the code off the reply.
            refused = "username-password" in text
            return self._refusal("WRONGPASS" if refused else "NOAUTH")
        if kind == "NoPermissionError":
            return self._refusal("NOPERM")
        if kind == "BusyLoadingError":
            return self._refusal("LOADING")
        if kind == "MaxConnectionsError" or "max number of clients" in text:
            return self._refusal("ERR max number of clients")
        return explained_by_asking(self.url, error)


def _connection(url: Url) -> Connection:
    kind = SSLConnection if has_tls(url) else Connection
    return kind(retry=Retry(NoBackoff(), 0), **redis_options(url))
