"""The connection to NATS: nats-py's, with login and TLS as the URL asks, and a quick way out.

`write_block` hands a block of many PUB lines to the socket in one piece; the quick way in is
`cdc.jetstream.tap`.  What of nats-py is not its public interface is used in these two modules
alone; tests/unit/cdc/jetstream/test_connection.py holds those names to the version range in
setup.cfg.

Source: NATS client protocol (docs.nats.io/reference/reference-protocols/nats-protocol).
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import nats.errors
from nats.aio.client import Client

from cdc.errors import (
    PermissionDenied,
    SettingsError,
    UnavailableError,
    logging_in,
)
from cdc.jetstream.login import read_credentials
from cdc.jetstream.refusal import refusal
from cdc.network.secret import with_secret
from cdc.url import Url, parse_url

if TYPE_CHECKING:
    from cdc.jetstream.tap import Tap

CONNECT_TIMEOUT_S = 5
NEXT_AFTER_S = 2
"""Of several servers, one that is silent for this time is left for the next one."""
CLOSE_TIMEOUT_S = 2.0
WRITE_BUFFER_BYTES = 1 << 20
"""What may wait for the socket before `write_block` waits too."""


class Connection(Client):
    """A client that never reconnects on its own: each role first reads where to resume.

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
        """Return whether the last right that the server refused was that to publish there."""
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


def server_info(nc: Client) -> dict[str, Any]:
    """Return what the server sent about itself at the start: ``{"version": "2.14.0", …}``.

    Source: nats-server, server/server.go, type Info.
    """
    return nc._server_info


def abort(nc: Client) -> None:
    """Drop the connection without a word; what is unsent is lost."""
    writer = getattr(nc._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


class Warns(Protocol):
    """What a connection needs of a log."""

    def warning(self, event: str, **fields: Any) -> None:
        """Take a refusal of the server: ``warning("permission denied by nats", error="…")``."""


async def connect(url: Url | str, *, name: str, inbox_prefix: str, log: Warns) -> Connection:
    """Return a connection to NATS, with password, certificates and credentials as they are now.

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
    with logging_in():
        return await _connect_to_one(url, name, inbox_prefix, log)


async def _connect_to_one(url: Url, name: str, inbox_prefix: str, log: Warns) -> Connection:
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
            log.warning("permission denied by nats", error=str(error))
            for call in nc.on_denied:
                call()

    login = _login(nc, await asyncio.to_thread(with_secret, url) if url.secret else url)
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
        wanted = nc.has_tls and bool(server_info(nc).get("tls_verify"))
        raise await asyncio.to_thread(refusal, url, error, seen, wanted) from None
    except BaseException:
        await _discard(nc)
        raise
    _writer(nc).transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    return nc


@asynccontextmanager
async def opened(
    url: Url | str, *, name: str, inbox_prefix: str, log: Warns
) -> AsyncIterator[Connection]:
    """Connect as `connect` does, and close the connection at the end."""
    nc = await connect(url, name=name, inbox_prefix=inbox_prefix, log=log)
    try:
        yield nc
    finally:
        await close(nc)


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
            f"the NATS URL {error}", fix="for example nats://127.0.0.1:4222"
        ) from None


def _login(nc: Connection, url: Url) -> dict[str, Any]:
    context = url.ssl_context()
    options: dict[str, Any] = {}
    if context is None and url.is_loopback:
        # For a server that asks for TLS itself; nothing is between us and it.
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
            fix="enable TLS in the server, or write nats:// in the URL",
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
