"""What a port speaks: probed when a connection to it failed without a reason.

Blocks for a few seconds at most.  Nothing secret is sent: the first message of a TLS handshake,
or a PING.
"""

from __future__ import annotations

import socket
import ssl

from cdc.errors import CdcError
from cdc.network.no_connection import NO_DATABASE, chain, explained
from cdc.url import Url

PROBE_S = 2.0
_SAYS_ENOUGH = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


def explained_by_asking(url: Url, *errors: BaseException) -> CdcError:
    """Return why a connection failed; where the error does not tell, the port is probed.

    ``explained_by_asking(parse_url("redis://127.0.0.1:6380", ("redis",)), TimeoutError())``
    """
    if any(isinstance(cause, _SAYS_ENOUGH) or _has_reason(cause) for cause in chain(*errors)):
        return explained(url, *errors)
    if url.scheme in ("nats", "tls"):
        # It greets in plain text first: a port that answers a handshake at once is another one.
        speaks_tls = True if _handshake(url.host, url.port) is None else None
        return explained(url, *errors, speaks_tls=speaks_tls)
    context = url.ssl_context()
    told = _handshake(url.host, url.port, context)
    if context is None:
        is_tls = told is None or _is_alert(told)
        return explained(url, *errors, speaks_tls=is_tls)
    if isinstance(told, TimeoutError) and _answers_ping(url.host, url.port):
        return explained(url, *errors, speaks_tls=False)
    return explained(url, *(() if told is None else (told,)), *errors)


def _has_reason(cause: BaseException) -> bool:
    if isinstance(cause, ssl.SSLError):
        return bool(cause.reason) and "EOF" not in cause.reason
    return NO_DATABASE in str(cause)


def _is_alert(error: OSError) -> bool:
    """Return whether TLS was answered, if only by a refusal (of our certificate)."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _handshake(host: str, port: int, context: ssl.SSLContext | None = None) -> OSError | None:
    """Shake hands and listen for a moment; return what went wrong, if anything.

    With TLS 1.3 a server reports only after the handshake that it wants another certificate; who
    sends something at once may lose that word.
    """
    asks_more = context is not None
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), PROBE_S) as raw,
            context.wrap_socket(raw, server_hostname=host) as encrypted,
        ):
            if asks_more:
                encrypted.settimeout(PROBE_S / 2)
                try:
                    encrypted.recv(1)
                except TimeoutError:
                    return None  # silent, as a server that waits for a command is
    except OSError as error:
        return error
    return None


def _answers_ping(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), PROBE_S) as raw:
            raw.sendall(b"PING\r\n")
            return raw.recv(1) in (b"+", b"-")
    except OSError:
        return False
