"""What it means that a connection could not be made: the cause, whether waiting helps, what to do.

No IO of its own: from the exceptions of a library, and what these were raised from, to one
error.  The same for MySQL, NATS and Redis; what a server itself answers is judged by the code of
its own client.
Source: OpenSSL, x509_vfy.h (codes of verification) and sslerr.h (reasons).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from cdc.errors import CdcError, PermissionDenied, UnavailableError, UsageError
from cdc.printable import printable
from cdc.url import Url

_NAMES = {"mysql": "MySQL", "nats": "NATS", "tls": "NATS", "redis": "Redis", "rediss": "Redis"}
_SETTINGS = {"MySQL": "mysql", "NATS": "nats", "Redis": "redis"}
_START = {"MySQL": "start it", "NATS": "start it: nats-server -js", "Redis": "start it"}
NO_DATABASE = "DB index"
"""In the answer of Redis for a database that it does not have."""
_EXPIRED, _NOT_YET = {10}, {9}
_OTHER_NAME = {62, 64}
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
"""What came was no TLS record.  ``RECORD_LAYER_FAILURE`` comes for it as well since OpenSSL 3.2."""
_CLIENT = (
    "CERTIFICATE_REQUIRED",
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_DECRYPT_ERROR",
    "ALERT_ACCESS_DENIED",
)
"""Alerts that the server sends about our certificate, or about having none."""
_OLD = ("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")


def chain(*errors: BaseException) -> Iterator[BaseException]:
    """Yield errors and all that they were raised from, once each.

    PyMySQL keeps what it wraps in ``original_exception``.
    """
    seen: set[int] = set()
    waiting = [*errors]
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "original_exception", None), one.__cause__, one.__context__)
        waiting += [e for e in inner if isinstance(e, BaseException)]


def explained(url: Url, *errors: BaseException, speaks_tls: bool | None = None) -> CdcError:
    """Return why a server could not be connected to.

    Args:
        errors: what came of it, likeliest first.
        speaks_tls: whether TLS was tried and spoken at that port; None: it was not tried.
    """
    causes = list(chain(*errors))
    name = _NAMES[url.scheme]
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(url, name, cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and (found := _handshake(url, name, cause)):
            return found
    where = f"{name} at {url.address}"
    setting = _SETTINGS[name]
    if url.tls_mode == "disabled" and speaks_tls:
        return PermissionDenied(
            f"{where} uses TLS from the first byte, but the {setting} setting does not",
            safe="no password was sent",
            fix=_encrypted(url),
        )
    if url.tls_mode != "disabled" and speaks_tls is False:
        return _no_tls(url, name)
    if any(NO_DATABASE in str(cause) for cause in causes):
        return UsageError(
            f"{where} has no database {url.database}",
            fix="end the redis setting in a smaller number, such as /0, or raise databases in\n"
            "redis.conf",
        )
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return UnavailableError(
                f"{name}: the host name of {url.address} cannot be resolved: {_words(cause)}",
                fix=f"correct the host in the {setting} setting, or the DNS or /etc/hosts of\n"
                "this machine (getent hosts NAME has to answer)",
            )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return UnavailableError(
            f"{where} refuses the connection",
            fix=f"{_START[name]}, or correct host and port in the {setting} setting",
        )
    known = next((c for c in causes if isinstance(c, OSError) and c.strerror), None)
    silent = known is None and any(isinstance(cause, TimeoutError) for cause in causes)
    why = "in time" if silent else f": {_words(known)}" if known else ""
    return UnavailableError(
        f"{where} does not answer {why}".replace(" :", ":").rstrip(),
        fix=f"check that it is running, host and port in the {setting} setting, and firewalls",
    )


def _certificate(url: Url, name: str, cause: ssl.SSLCertVerificationError) -> CdcError:
    code = getattr(cause, "verify_code", 0)
    why = getattr(cause, "verify_message", "") or str(cause)
    fix = (
        "name the CA that signed it: ?ssl-ca=FILE in the URL; or set the mode:\n"
        "?ssl-mode=verify-identity, verify-ca, or required (encrypted, not verified)"
    )
    if code in _EXPIRED:
        why, fix = "it has expired", "give the server a new certificate (and check the clocks)"
    elif code in _NOT_YET:
        why, fix = "it is not valid yet", "check the clocks of this machine and of the server"
    elif code in _OTHER_NAME:
        why = f"it is not for this host: {why}"
        fix = (
            "use a host in the URL that the certificate names, or check only the\n"
            "CA: ?ssl-mode=verify-ca"
        )
    elif not url.option("ssl-ca"):
        why = f"who signed it is not known here: {why}"
    else:
        why = f"{url.option('ssl-ca')} does not vouch for it: {why}"
    return PermissionDenied(
        f"{name} at {url.address}: its TLS certificate is refused: {printable(why)}",
        safe="no password was sent",
        fix=fix,
    )


def _handshake(url: Url, name: str, cause: ssl.SSLError) -> CdcError | None:
    reason = cause.reason or ""
    where = f"{name} at {url.address}"
    if any(word in reason for word in _NO_TLS):
        return _no_tls(url, name)
    if any(word in reason for word in _CLIENT):
        return client_certificate(url, reason)
    if any(word in reason for word in _OLD):
        return PermissionDenied(
            f"{where} does not support TLS 1.2 or later ({reason})",
            safe="no password was sent",
            fix="enable TLS 1.2 or 1.3 in the server",
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "EOF" in reason:
        return None  # the connection ended; TLS as such is not at fault
    return PermissionDenied(
        f"{where}: no TLS connection comes about: {printable(reason or str(cause))}",
        safe="no password was sent",
        fix="compare ssl-mode, ssl-ca, ssl-cert and ssl-key of the URL with the server's TLS",
    )


def client_certificate(url: Url, why: str) -> CdcError:
    """Return that the server refuses our certificate, or that we have none.

    Args:
        why: the server's word for it, such as ``TLSV13_ALERT_CERTIFICATE_REQUIRED``.
    """
    given = url.option("ssl-cert")
    seen = f"refuses the client certificate {given}" if given else "wants a client certificate"
    return PermissionDenied(
        f"{_NAMES[url.scheme]} at {url.address} {seen} ({why})",
        safe="no password was sent",
        fix="give one that the server's authority signed and that has not expired:\n"
        "?ssl-cert=FILE&ssl-key=FILE in the URL",
    )


def _no_tls(url: Url, name: str) -> CdcError:
    setting = _SETTINGS[name]
    return PermissionDenied(
        f"{name} at {url.address} offers no TLS there, but the {setting} setting asks for it",
        safe="no password was sent",
        fix="enable TLS in the server, or correct the port, or ask for plain text:\n" + _plain(url),
    )


def _plain(url: Url) -> str:
    if url.scheme == "mysql":
        return "?ssl-mode=disabled"
    plain = {"tls": "nats", "rediss": "redis"}.get(url.scheme, url.scheme)
    return f"{plain}:// without ssl-mode and ssl-ca, on a private network"


def _encrypted(url: Url) -> str:
    if url.scheme in ("nats", "tls"):
        return (
            "let NATS greet first: tls { handshake_first: false } in its configuration, and\n"
            "tls:// in the URL"
        )
    return "write rediss:// in the URL, with ?ssl-ca=FILE where the authority is your own"


def _words(error: OSError) -> str:
    return printable(str(error.strerror or error))
