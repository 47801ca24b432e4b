"""Why NATS could not be connected to, from what nats-py reports, and JetStream that is off."""

from __future__ import annotations

import ssl

import nats.errors

from cdc.errors import CdcError, PermissionDenied, StreamError, UnavailableError
from cdc.network.no_connection import client_certificate
from cdc.network.tls_probe import explained_by_asking
from cdc.printable import one_line
from cdc.url import Url


class JetStreamOffError(StreamError):
    """NATS runs without JetStream, or not for this login's account."""


def refusal(
    url: Url, error: BaseException, seen: list[BaseException], certificate_wanted: bool
) -> CdcError:
    """Return why a connection to NATS was not made.

    Args:
        seen: errors that nats-py reported, oldest first.
        certificate_wanted: the server asks for one of the client, and TLS was established.
    """
    for cause in (error, *reversed(seen)):
        text = str(cause).lower()
        if isinstance(cause, nats.errors.Error) and "auth" in text:
            return PermissionDenied(
                f"NATS at {url.address} refuses the login: {one_line(str(cause))}",
                fix=url.login_fix,
            )
        is_other = isinstance(cause, ValueError) and not isinstance(cause, ssl.SSLError)
        if "expecting info" in text or is_other:
            return UnavailableError(
                f"what answers at {url.address} is not NATS",
                fix="correct host and port in the nats setting",
            )
    if certificate_wanted:
        # The connection ends behind the handshake, and the alert is lost on the way here.
        return client_certificate(url, "tls_verify")
    return explained_by_asking(url, error, *reversed(seen))


def jetstream_off(address: str) -> JetStreamOffError:
    """Return the error of a server that answers no JetStream request."""
    return JetStreamOffError(
        f"JetStream is off in NATS{' at ' + address if address else ''}",
        safe="nothing was written",
        fix="start the server with -js, or put  jetstream { store_dir: /data }  into its\n"
        "configuration; with accounts, allow JetStream in this login's account",
    )
