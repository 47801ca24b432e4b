"""The connection to NATS: nats-py's, with a quick way in and a quick way out.

Everything of nats-py that is not its public interface is used in this module and in
no other; tests/unit/cdc/jetstream/test_connection.py holds those names to the version range
in setup.cfg.

- In: nats-py's parser costs 3.7 to 6 us a message (two regular expressions, nine
  fields, a queue).  `Tap` stands in its place and cuts the messages of one
  subscription out of the bytes itself; all else goes on to the original parser.
- Out: `write_block` hands a block of many PUB lines to the socket in one piece.

Source: NATS client protocol (docs.nats.io/reference/reference-protocols/nats-protocol).
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from cdc.compiled import native
from cdc.errors import (
    InternalError,
    PermissionDenied,
    SettingsError,
    UnavailableError,
)
from cdc.jetstream.login import read_credentials
from cdc.jetstream.refusal import refusal
from cdc.url import Url, parse_url

CONNECT_TIMEOUT_S = 5
NEXT_AFTER_S = 2
"""Of several servers, one that is silent so long is left for the next one."""
CLOSE_TIMEOUT_S = 2.0
WRITE_BUFFER_BYTES = 1 << 20
"""What may wait for the socket before `write_block` waits too."""

_BETWEEN_S = 0.001
FRAME_MAX_BYTES = (64 << 20) + (1 << 20)
"""No server's max_payload is above 64 MiB.  Source: nats-server, server/const.go."""
LINE_MAX_BYTES = 1 << 20
"""INFO of a large cluster is the longest line."""
_FIELDS = (4, 5)
"""Words of a MSG line, without and with a reply subject; an HMSG line has one more."""

_native = native("cdc")
Raw = tuple[bytes, bytes, bytes, bytes]
"""``(subject, reply, header block, body)``; the header block is empty for a plain MSG."""


class Connection(Client):
    """A client that never reconnects by itself: each role reads the truth anew first.

    `lost` is set, and every request ended, the moment the connection is gone or closed,
    whatever nats-py is still waiting for; `denied` holds the server's last refusal of a right,
    or "".
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost = asyncio.Event()
        self.wakes: list[asyncio.Event] = []
        """Set together with `lost`, for who waits for something else at the same time."""
        self.denied = ""
        self.on_denied: list[Callable[[], None]] = []
        """Called at a refusal, for who would wait for an answer that never comes."""
        self.tap: Tap | None = None
        self.address = ""
        """``127.0.0.1:4222``, for messages; never a password."""
        self.wants_tls = False

    def has_denied(self, subject: str) -> bool:
        """Say whether the last right that the server refused was that to publish there."""
        return f'"{subject}"'.lower() in self.denied.lower()

    @property
    def has_tls(self) -> bool:
        """Whether it is encrypted."""
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # A server with allow_non_tls offers TLS without requiring it; nats-py encrypts only
        # where it is required.  Source: nats-server, server/server.go, type Info.
        if self.wants_tls and info.get("tls_available"):
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        for event in (self.lost, *self.wakes):
            event.set()
        if self._err is not None:
            # Flushed to a connection that broke, it would end the tidying up half-way.
            self._pending, self._pending_data_size = [], 0
        # A request would wait for its whole timeout although no answer can come any more.
        for answer in self._resp_map.values():
            if not answer.done():
                answer.set_exception(nats.errors.ConnectionClosedError())
                answer.exception()  # seen, also where its asker has been cancelled meanwhile
        # wait_closed() of a peer that is frozen would last until TCP gives up (15 minutes).
        rescue = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, abort, self)
        try:
            await super()._close(status, do_cbs)
        finally:
            rescue.cancel()


def abort(nc: Client) -> None:
    """Drop the connection without a word; what is unsent is lost."""
    writer = getattr(nc._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


class Warns(Protocol):
    """What a connection needs of a log."""

    def warning(self, event: str, **fields: Any) -> None:
        """Take a refusal of the server: ``warning("nats refuses a right", error="…")``."""


async def connect(url: Url | str, *, name: str, inbox_prefix: str, log: Warns) -> Connection:
    """Return a connection to NATS.

    Args:
        url: ``nats://user:password@host:4222``; ``tls://`` insists on TLS.
        name: what the server's monitoring shows, such as ``cdc-sink-default``.
        inbox_prefix: ``_INBOX_sink``: a prefix of its own lets rights be given by role.
        log: the process's log.

    Raises:
        SettingsError: the URL, or a file that it names, cannot be used.
        UnavailableError: no server answers.
        PermissionDenied: the login or the certificate is refused.
    """
    url = _read(url) if isinstance(url, str) else url
    # Here, because nats-py gives up at the first silent server where it must not reconnect.
    places = url.address.split(",")
    *others, last = random.sample(places, len(places))
    for place in others:
        with suppress(UnavailableError):
            return await _connect(url, place, NEXT_AFTER_S, name, inbox_prefix, log)
    return await _connect(url, last, CONNECT_TIMEOUT_S, name, inbox_prefix, log)


async def _connect(
    url: Url, place: str, timeout_s: int, name: str, inbox_prefix: str, log: Warns
) -> Connection:
    nc = Connection()
    nc.address, nc.wants_tls = url.address, url.tls_mode != "disabled"
    seen: list[BaseException] = []

    async def error_cb(error: Exception) -> None:
        seen.append(error)
        del seen[:-8]
        if "permissions violation" in str(error):
            nc.denied = str(error)
            log.warning("nats refuses a right", error=str(error))
            for call in nc.on_denied:
                call()

    login = _login(nc, url)
    try:
        async with asyncio.timeout(timeout_s):
            await nc.connect(
                f"{url.scheme}://{place}",
                name=name,
                inbox_prefix=inbox_prefix,
                error_cb=error_cb,
                allow_reconnect=False,
                connect_timeout=timeout_s,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
                ping_interval=5,
                max_outstanding_pings=2,
                pending_size=8 << 20,
                flush_timeout=5,
                **login,
            )
        _refuse_plain(nc, url)
    except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
        # ValueError: nats-py takes a greeting apart that was cut within its first word.
        await _discard(nc)
        wanted = nc.has_tls and bool(nc._server_info.get("tls_verify"))
        raise await asyncio.to_thread(refusal, url, error, seen, wanted) from None
    except BaseException:
        await _discard(nc)
        raise
    _writer(nc).transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    return nc


async def close(nc: Client) -> None:
    """Close the connection; never raises, lasts 4 s at most."""
    try:
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await nc.close()
    except (OSError, nats.errors.Error, TimeoutError):
        abort(nc)


async def _discard(nc: Connection) -> None:
    abort(nc)
    # Before the first task there is nothing to tidy up, and after a TLS handshake that
    # failed nats-py would wait for ever for a protocol that has been taken off its socket.
    if nc._reading_task is not None:
        await close(nc)


def _writer(nc: Client) -> asyncio.StreamWriter:
    writer: asyncio.StreamWriter = nc._transport._io_writer  # type: ignore[union-attr]  # over TCP
    return writer


def _read(text: str) -> Url:
    try:
        return parse_url(text, ("nats", "tls"))
    except ValueError as error:
        raise SettingsError(
            f"the NATS URL {error}", fix="it looks like nats://127.0.0.1:4222"
        ) from None


def _login(nc: Connection, url: Url) -> dict[str, Any]:
    context = url.ssl_context()
    options: dict[str, Any] = {}
    if context is None and url.is_loopback:
        # For a server that asks for TLS by itself; nobody stands between us and it.
        # No authorities: reading them would take as long as all else of a start.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if context is not None:
        options["tls"] = context

    # nats-py speaks plain text when the server offers no TLS, tls:// or not; asked for
    # through a function, the secret leaves only once the socket is known to be encrypted.
    def once_safe(secret: str) -> Callable[[], str]:
        def give() -> str:
            _refuse_plain(nc, url)
            return secret

        return give

    if url.option("creds"):
        credentials = read_credentials(url.option("creds"))

        def sign(nonce: str) -> bytes:
            _refuse_plain(nc, url)
            return credentials.sign(nonce)

        # The signature is asked for first, and the JWT behind it.
        options["signature_cb"] = sign
        options["user_jwt_cb"] = credentials.jwt.encode
    if url.user and url.password:
        options |= {"user": url.user, "password": once_safe(url.password)}
    elif url.user:
        options["token"] = once_safe(url.user)
    return options


def _refuse_plain(nc: Connection, url: Url) -> None:
    if url.tls_mode != "disabled" and not nc.has_tls:
        raise PermissionDenied(
            f"NATS at {nc.address} offers no TLS, but its URL asks for it",
            safe="no password, token or signature was sent",
            fix="switch TLS on in the server, or write nats:// in the URL",
        )


async def write_block(nc: Client, block: bytes) -> None:
    r"""Send whole protocol lines in one piece, behind what nats-py has queued itself.

    Returns when at most 1 MiB still waits for the socket, so a slow server slows the caller.

    ``await write_block(nc, b"PUB mysql.update _INBOX.x 2\r\n{}\r\n" * 500)``

    Raises:
        UnavailableError: the connection is gone; whether the block arrived is not known.
    """
    transport = nc._transport
    if nc.is_closed or transport is None:
        raise lost(nc)
    try:
        if nc._pending:
            transport.writelines(nc._pending[:])
            nc._pending = []
            nc._pending_data_size = 0
        transport.write(block)
        await transport.drain()  # type: ignore[no-untyped-call]  # untyped in nats-py
    except (OSError, RuntimeError):
        raise lost(nc) from None


@contextmanager
def unless_lost(nc: Client) -> Iterator[None]:
    """Tell errors of nats-py as what they are: the connection is gone.

    Raises:
        UnavailableError: one of them came.
    """
    try:
        yield
    except (nats.errors.Error, OSError):
        raise lost(nc) from None


def lost(nc: Client) -> UnavailableError:
    """Return the error of a connection that is gone."""
    address = getattr(nc, "address", "")
    return UnavailableError(f"the connection to NATS at {address} is lost")


async def tap_on(nc: Connection, *, limit_bytes: int) -> Tap:
    """Return a connection's tap, put in between two messages where there is none yet."""
    while nc.tap is None and not nc.lost.is_set():
        with suppress(InternalError):
            return Tap(nc, limit_bytes=limit_bytes)
        await asyncio.sleep(_BETWEEN_S)
    if nc.tap is None:
        raise lost(nc)
    nc.tap.limit_bytes = max(limit_bytes, nc.tap.limit_bytes)
    return nc.tap


class Tap:
    """In place of nats-py's parser: one subscription's messages in bulk.

    ``tap = Tap(nc)``; subscribe; ``tap.follow(subscription)``; then `take` returns what has
    arrived and `arrived` is set whenever there is something.

    What may be waiting is bounded by what was asked for (the byte limits of the pull
    requests).  A server that sends more than `limit_bytes` breaks the connection: the
    read loop cannot simply stop, because PONGs and replies come the same way.  A connection has
    one, which follows one subscription after the other.
    """

    def __init__(self, nc: Client, *, limit_bytes: int) -> None:
        inner: Any = nc._ps
        if not isinstance(inner, Parser) or inner.state != AWAITING_CONTROL_LINE:
            raise InternalError("the quick receive path must be put in before the first message")
        self.limit_bytes = limit_bytes
        self.waiting_bytes = 0
        self.arrived = asyncio.Event()
        self._inner = inner
        self._sid = b""
        self._out: list[Raw] = []
        self._pieces: list[bytes] = [bytes(inner.buf)] if inner.buf else []
        self._held_bytes = len(inner.buf)
        self._needed_bytes = 0
        inner.reset()
        nc._ps = self  # type: ignore[assignment]  # does a Parser's work
        if isinstance(nc, Connection):
            nc.tap = self

    def follow(self, subscription: Subscription) -> None:
        """Cut out the messages of this subscription from now on; drop what came of another."""
        self._sid = b"%d" % subscription._id
        self._out, self.waiting_bytes = [], 0

    def take(self) -> list[Raw]:
        """Return all messages that have arrived since the last call, in order."""
        out, self._out = self._out, []
        self.waiting_bytes = 0
        self.arrived.clear()
        return out

    def reset(self) -> None:
        """Forget a half-received frame, as nats-py asks for on reconnect."""
        self._pieces, self._held_bytes, self._needed_bytes = [], 0, 0
        self._inner.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take bytes off the socket, cut anywhere.

        Raises:
            nats.errors.ProtocolError: these are no NATS frames, or too much is waiting.
        """
        self._held_bytes += len(data)
        if self._pieces:
            self._pieces.append(data)
            if self._held_bytes < self._needed_bytes:
                return
            data = b"".join(self._pieces)
        end = await self._cut(data)
        rest = data[end:] if end else data
        self._pieces = [rest] if rest else []
        self._held_bytes = len(rest)

    async def _cut(self, data: bytes) -> int:
        """Consume whole frames; return where the first incomplete one begins."""
        got: list[Raw] = []
        find, sid, append = data.find, self._sid, got.append
        size, start = len(data), 0
        self._needed_bytes = 0
        try:
            while start < size:
                if _native is not None:
                    start = _native.cut(data, start, sid, got)
                line_end = find(b"\r\n", start)
                if line_end < 0:
                    if size - start > LINE_MAX_BYTES:
                        raise nats.errors.ProtocolError("nats: a line without an end")
                    break
                first = data[start]
                if first != 72 and first != 77:  # neither HMSG nor MSG
                    await self._inner.parse(data[start : line_end + 2])
                    start = line_end + 2
                    continue
                fields = data[start:line_end].split()
                if len(fields) - (first == 72) not in _FIELDS:
                    raise ValueError
                body = line_end + 2
                end = body + int(fields[-1])
                if size < end + 2:
                    self._needed_bytes = end + 2 - start
                    if self._needed_bytes > FRAME_MAX_BYTES:
                        raise nats.errors.ProtocolError("nats: a message too large for NATS")
                    break
                if fields[2] != sid:
                    await self._inner.parse(data[start : end + 2])
                elif first == 72 and len(fields) == 6:
                    cut = body + int(fields[4])
                    append((fields[1], fields[3], data[body:cut], data[cut:end]))
                elif first == 72:
                    cut = body + int(fields[3])
                    append((fields[1], b"", data[body:cut], data[cut:end]))
                elif len(fields) == 5:
                    append((fields[1], fields[3], b"", data[body:end]))
                else:
                    append((fields[1], b"", b"", data[body:end]))
                start = end + 2
        except (IndexError, ValueError):
            raise nats.errors.ProtocolError("nats: malformed MSG") from None
        if got:
            self._out += got
            self._count(start)
        return start

    def _count(self, received_bytes: int) -> None:
        self.waiting_bytes += received_bytes
        if self.waiting_bytes > self.limit_bytes:
            raise nats.errors.ProtocolError("nats: more is sent than was asked for")
        self.arrived.set()
