"""What Redis holds under keys, many in one round trip.

Blocking IO, for a thread.  Reads alone, but for `run`, which keeps verify's own state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from cdc import own_keys
from cdc.errors import CdcError, PermissionDenied, PreflightError, UnavailableError
from cdc.network.redis_options import has_tls, naming, redis_options
from cdc.network.secret import with_secret
from cdc.network.tls_probe import explained_by_asking
from cdc.table import Model
from cdc.url import Url
from cdc_verify.compare import WRONG_TYPE, Found
from cdc_verify.parts import Part, part_of

Asked = tuple[str | bytes | int, ...]
AT_ONCE = 1000
"""Commands in one round trip."""
_pack: Callable[[Any], bytes] = hiredis.pack_command


class RedisKeys:
    """One connection, opened when it is first needed."""

    def __init__(self, url: Url, *, name: str) -> None:
        """Take the address, and the name that CLIENT LIST shows."""
        self.address = url.address
        self._url, self._name = url, name
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]  # in redis-py

    def run(self, *commands: Asked) -> list[Any]:
        """Return the replies; one that is an error of its command is a `ResponseError`.

        Raises:
            UnavailableError: Redis does not answer.
            PermissionDenied: login or a right is refused.
        """
        try:
            if self._connection is None:
                self._open()
            assert self._connection is not None
            out: list[Any] = []
            for at in range(0, len(commands), AT_ONCE):
                some = commands[at : at + AT_ONCE]
                packed = b"".join(map(_pack, some))
                self._connection.send_packed_command([packed])  # type: ignore[no-untyped-call]  # in redis-py
                out += [self._reply() for _ in some]
            return out
        except (RedisError, OSError) as error:
            self.close()
            raise self._in_words(error) from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._connection = _connection(with_secret(self._url))
        try:
            self._connection.connect()  # type: ignore[no-untyped-call]  # in redis-py
            packed = _pack(naming(self._name))
            self._connection.send_packed_command([packed])  # type: ignore[no-untyped-call]  # in redis-py
            with suppress(NoPermissionError):
                self._reply()
        except (AuthenticationError, NoPermissionError):
            raise
        except (RedisError, OSError) as error:
            self.close()
            raise explained_by_asking(self._url, error) from None

    def _reply(self) -> Any:
        assert self._connection is not None
        try:
            return self._connection.read_response(disable_decoding=True)
        except NoPermissionError:
            raise
        except ResponseError as error:
            return error

    def contents(self, keys: Sequence[bytes], model: Model) -> list[Found]:
        """Return what each key holds, read as the model has it.

        ``[b'{"id":1}', None, "wrong type"]``

        Raises:
            CdcError: as `run`.
        """
        ours = [key for key in keys if not is_of_cdc(key)]
        if len(ours) < len(keys):
            # No row has a key below cdc:, and other keys there are not ours to read.
            found_ours = iter(self.contents(ours, model))
            return [None if is_of_cdc(key) else next(found_ours) for key in keys]
        if not keys:
            return []
        if model == "hash":
            return [_hash(reply) for reply in self.run(*(("HGETALL", key) for key in keys))]
        found: list[Found] = []
        for at in range(0, len(keys), AT_ONCE):
            (values,) = self.run(("MGET", *keys[at : at + AT_ONCE]))
            found += values
        absent = [n for n, value in enumerate(found) if value is None]
        for n, kind in zip(absent, self.run(*(("TYPE", keys[n]) for n in absent)), strict=True):
            if kind not in (b"none", b"string"):
                found[n] = WRONG_TYPE
        return found

    def places(self, places: Sequence[bytes], model: Model) -> list[Found]:
        """Return what each place of a table holds whose rows share keys.

        ``[b'{"id":1}', b"", b"17.5", None, "wrong type"]``: a key, and of parts the field's value,
        nothing more of a member, the score of one in a sorted set.

        Raises:
            CdcError: as `run`.
        """
        parts = [part_of(place) for place in places]
        keys = [place for place, part in zip(places, parts, strict=True) if part is None]
        asked = [part for part in parts if part is not None and not is_of_cdc(part.key)]
        commands = (
            ({"hash": "HGET", "set": "SISMEMBER", "zset": "ZSCORE"}[part.kind], part.key, part.name)
            for part in asked
        )
        replies = map(_part, asked, self.run(*commands))
        contents = iter(self.contents(keys, model))
        return [
            next(contents) if part is None else None if is_of_cdc(part.key) else next(replies)
            for part in parts
        ]

    def _in_words(self, error: Exception) -> CdcError:
        text = str(error).partition("\n")[0]
        if isinstance(error, AuthenticationError):
            return PermissionDenied(
                f"Redis at {self.address} refuses the login: {text[:120]}",
                fix=self._url.login_fix,
            )
        if isinstance(error, NoPermissionError):
            return PermissionDenied(
                f"Redis at {self.address} refuses: {text[:120]}",
                fix="rights that verify needs: docs/operations.md, least privilege",
            )
        if isinstance(error, ResponseError):
            return PreflightError(f"Redis at {self.address} refuses: {text[:120]}")
        return UnavailableError(
            f"Redis at {self.address} does not answer",
            fix="check the redis setting and that the server is running; cdc verify resumes\n"
            "where it was",
        )


def is_of_cdc(key: bytes) -> bool:
    """Return whether a key is below the prefix of those that cdc keeps for itself."""
    return key.startswith(own_keys.PREFIX.encode())


def _part(part: Part, reply: Any) -> Found:
    if isinstance(reply, ResponseError):
        return WRONG_TYPE
    if part.kind == "set":
        return b"" if reply else None
    if part.kind == "zset" and reply is not None:
        return repr(float(reply)).encode()
    found: Found = reply
    return found


def _hash(reply: Any) -> Found:
    if isinstance(reply, ResponseError):
        return WRONG_TYPE
    pairs = iter(reply)
    return dict(zip(pairs, pairs, strict=True)) or None


def _connection(url: Url) -> Connection:
    kind = SSLConnection if has_tls(url) else Connection
    return kind(retry=Retry(NoBackoff(), 0), **redis_options(url))
