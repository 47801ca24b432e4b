"""How a connection to Redis is made of an address: for redis-py, blocking or not.

Pure, but for certificate files, which are looked at.
"""

from __future__ import annotations

from typing import Any

from cdc.url import Url

CONNECT_TIMEOUT_S = 5
REPLY_TIMEOUT_S = 15.0
"""A fork or an fsync can hold Redis up for seconds; that is not a failure."""


def naming(name: str) -> tuple[str, ...]:
    """Return the command that gives a connection its name in CLIENT LIST; a refusal is no harm.

    Managed servers leave CLIENT out (``rename-command CLIENT ""``), and a login may lack it.
    """
    return ("CLIENT", "SETNAME", name)


def redis_options(url: Url) -> dict[str, Any]:
    """Return the arguments of redis-py's `Connection`, of `SSLConnection` where `has_tls`.

    Args:
        url: with its password, as `cdc.network.secret.with_secret` returns it.

    Raises:
        SettingsError: a certificate file cannot be used; redis-py would blame the server.
    """
    options: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "db": int(url.database or 0),
        "username": url.user or None,
        "password": url.password or None,
        # No CLIENT here: redis-py ends a connection that is refused it.  See `naming`.
        "driver_info": None,
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
    }
    if has_tls(url):
        url.ssl_context()
        options |= {
            "ssl_cert_reqs": "none" if url.tls_mode == "required" else "required",
            "ssl_check_hostname": url.tls_mode == "verify-identity",
            "ssl_ca_certs": url.option("ssl-ca") or None,
            "ssl_certfile": url.option("ssl-cert") or None,
            "ssl_keyfile": url.option("ssl-key") or None,
        }
    return options


def has_tls(url: Url) -> bool:
    """Return whether the connection is encrypted."""
    return url.tls_mode != "disabled"
