"""The stream, looked at: its newest boundary, and which keys a piece of it speaks of."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection

import msgspec

from cdc.errors import PreflightError, UnavailableError
from cdc.jetstream.consumer import Consumer
from cdc.jetstream.list_lookup import Lists
from cdc.jetstream.own_messages import OwnMessages
from cdc.jetstream.stream import Connection, close, stream_state
from cdc.settings import Settings
from cdc_verify.boundary import Boundary, boundary_of

READ_S = 1.0
SILENCE_S = 15.0
BATCH_MESSAGES = 5000


class _Entry(msgspec.Struct, gc=False):
    set: str | None = None
    zset: str | None = None
    member: str = ""

    @property
    def place(self) -> str:
        kind = "set" if self.set is not None else "zset"
        return _part(kind, self.set or self.zset or "", self.member)


class _RowKeys(msgspec.Struct, gc=False):
    key: str = ""
    field: str | None = None
    index: tuple[_Entry, ...] = ()


class _MessageKeys(_RowKeys, gc=False):
    """The keys of any message of ours, and of a bare one."""

    old_key: str | None = None
    old_field: str | None = None
    old_index: tuple[_Entry, ...] = ()
    rows: tuple[_RowKeys, ...] = ()


_keys = msgspec.json.Decoder(_MessageKeys).decode


class StreamWindow:
    """What verify asks of one stream."""

    def __init__(
        self,
        nc: Connection,
        connect: Callable[[], Awaitable[Connection]],
        settings: Settings,
    ) -> None:
        """Ask on one connection; read messages on new ones."""
        self._nc, self._connect = nc, connect
        self._stream = settings.stream
        self._prefix = settings.subject_prefix

    async def boundary(self) -> Boundary:
        """Return the newest boundary.

        Raises:
            PreflightError: the stream has none.
            CdcError: NATS refuses or does not answer.
        """
        state = await stream_state(self._nc, self._stream)
        own = OwnMessages(self._nc, self._stream, self._prefix, state.seal)
        sequence, heartbeat = await own.newest_heartbeat()
        if heartbeat is None:
            raise PreflightError(
                f"the stream {self._stream} has no heartbeat: no reader has started on it",
                fix="start cdc run; or name the pipeline's stream and subject_prefix",
            )
        heartbeat = await Lists(own).whole(heartbeat)
        return boundary_of(heartbeat, sequence, state.created)

    async def touched(self, after: int, until: int, keys: Collection[str]) -> set[str] | None:
        """Return which keys the messages from ``after + 1`` to `until` speak of.

        None: some of them have left the stream.

        Raises:
            UnavailableError: NATS does not answer.
        """
        out: set[str] = set()
        if until <= after:
            return out
        if (await stream_state(self._nc, self._stream)).first_seq > after + 1:
            return None
        # A consumer has to be the first on its connection.
        nc = await self._connect()
        consumer = Consumer(nc, self._stream, max_messages=BATCH_MESSAGES)
        heard_s, seq = time.monotonic(), after
        try:
            await consumer.open(after + 1)
            while seq < until:
                deliveries = await consumer.read(READ_S)
                if deliveries:
                    heard_s, seq = time.monotonic(), deliveries[-1][0]
                elif time.monotonic() - heard_s > SILENCE_S:
                    raise UnavailableError(f"NATS sends nothing of the stream {self._stream}")
                for _, _, body in deliveries:
                    out.update(key for key in _spoken_of(body) if key in keys)
        finally:
            await consumer.close()
            await close(nc)
        return out


def _spoken_of(body: bytes) -> tuple[str, ...]:
    try:
        message = _keys(body)
    except (msgspec.DecodeError, UnicodeError):
        return ()  # of no row: it becomes a dead letter
    if message.rows:
        return tuple(place for row in message.rows for place in _places(row))
    out = _places(message)
    if message.old_key is not None:
        out.append(_place(message.old_key, message.old_field))
    return (*out, *(entry.place for entry in message.old_index))


def _places(row: _RowKeys) -> list[str]:
    """Return the places that a row is spoken of at, as `cdc_verify.parts` names them."""
    return [_place(row.key, row.field), *(entry.place for entry in row.index)]


def _place(key: str, field: str | None) -> str:
    return key if field is None else _part("hash", key, field)


def _part(kind: str, key: str, name: str) -> str:
    return f"\0{kind}\0{len(key.encode())}\0{key}{name}"
