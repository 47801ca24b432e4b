"""Connections to MySQL and MariaDB, and what their errors mean for a person.

Source: MySQL server error reference (1xxx), client error reference (2xxx).
"""

from __future__ import annotations

import ssl
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.errors import (
    CdcError,
    InternalError,
    PermissionDenied,
    SettingsError,
    UnavailableError,
    UsageError,
)
from cdc.url import Url, redact
from cdc_reader.session import ISOLATION_SQL, SESSION_SQL

CONNECT_TIMEOUT_S = 5
HANDSHAKE_TIMEOUT_S = 8
"""Greeting and login; a server that is frozen takes the connection and says nothing."""
READ_TIMEOUT_S = 120

_LOGIN_REFUSED = {1045, 1130, 1698, 1820, 1862, 3118, 4151}
STATEMENT_REFUSED = {1045, 1227}
"""A statement needs a right that this login has not."""
_RIGHT_MISSING = {1044, 1141, 1142, 1143, 1227, 1370}
_UNKNOWN_DATABASE = 1049
_PLAIN_REFUSED = {3159, 4031}
_TLS_FAILED = 2026
_BUSY_OR_GOING = {1040, 1053, 1077, 1079, 1129, 1158, 1159, 1160, 1161, 1203, 1205, 1226, 1317}
_CLIENT_SIDE = range(2000, 3000)


def connection_settings(url: Url) -> dict[str, Any]:
    """Return what PyMySQL and mysql-replication need to connect to a server.

    TLS as `Url.tls_mode` says; never the silent fallback to plain text that PyMySQL has.  The
    session is as `cdc_reader.session` says, whatever the server's defaults are.

    Raises:
        SettingsError: a certificate file cannot be used.
    """
    settings: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        # PyMySQL itself would encode a str as latin1.
        "password": url.password.encode(),
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "write_timeout": READ_TIMEOUT_S,
        "program_name": "binlog-cdc",
        # Behind what the server's own init_connect sets.
        "init_command": SESSION_SQL,
    }
    try:
        context = url.ssl_context()
    except OSError as error:
        raise SettingsError(
            f"MySQL: a certificate file of the URL cannot be used: {error.strerror or error}",
            remedy="check ssl-ca, ssl-cert and ssl-key of the mysql setting",
        ) from None
    return settings | ({"ssl": context} if context else {"ssl_disabled": True})


def connect(url: Url, **options: Any) -> Connection[Any]:
    """Return a connection in autocommit mode, on the URL's database if it names one.

    Args:
        options: more of PyMySQL's arguments, last one wins.

    Raises:
        PermissionDenied: login or certificate refused.
        UnavailableError: no server answers.
        UsageError: there is no such database.
        SettingsError: a certificate file cannot be used.
    """
    arguments = connection_settings(url) | {"autocommit": True, **options}
    if url.database:
        arguments.setdefault("database", url.database)
    lasting = arguments["read_timeout"]
    try:
        connection = pymysql.connect(**arguments | {"read_timeout": HANDSHAKE_TIMEOUT_S})
        connection._read_timeout = lasting  # type: ignore[attr-defined]  # not in the stubs
        connection.query(ISOLATION_SQL)
        return connection
    except pymysql.MySQLError as error:
        raise translated(error, url) from None
    except OSError as error:
        # A server that is being killed can close in the middle of the handshake.
        raise _unreachable(url, str(error)) from None


def current_user(connection: Connection[Any]) -> tuple[str, str]:
    """Return the login's name, and its account as GRANT takes it: ``'cdc'@'10.0.0.%'``.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        (account,) = cursor.fetchone() or ("",)
    user, _, host = str(account).rpartition("@")
    quoted = [name.replace("\\", "\\\\").replace("'", "''") for name in (user, host)]
    return user, f"'{quoted[0]}'@'{quoted[1]}'"


def translated(error: BaseException, url: Url) -> CdcError:
    """Return a PyMySQL error in words for a person; retryable when waiting may help."""
    number, text = _parts(error)
    if certificate := _certificate(error):
        return _tls_refused(url, certificate)
    if number in _LOGIN_REFUSED:
        return PermissionDenied(
            f"MySQL at {url.address} refuses the login of {url.user!r}: {text} ({number})",
            remedy="check user and password in the mysql setting (CDC_MYSQL_URL,\n"
            "CDC_MYSQL_PASSWORD_FILE), and from which hosts MySQL lets that user in",
        )
    if number in _RIGHT_MISSING:
        return PermissionDenied(
            f"MySQL at {url.address} refuses {url.user!r} a right: {text} ({number})",
            remedy="GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the user, and\n"
            "GRANT SELECT ON each captured table",
        )
    if number == _UNKNOWN_DATABASE:
        return UsageError(
            f"MySQL at {url.address} has no database {url.database!r}",
            remedy="change the database at the end of the mysql setting, or leave it out",
        )
    if number in _PLAIN_REFUSED or number == _TLS_FAILED:
        return _tls_refused(url, text)
    if number in _CLIENT_SIDE or number in _BUSY_OR_GOING:
        return _unreachable(url, f"{text} ({number})")
    return InternalError(
        f"MySQL at {url.address} refuses a statement of ours: {text} ({number})",
        remedy="please report this with the server's version",
    )


def _parts(error: BaseException) -> tuple[int, str]:
    arguments = error.args or (0,)
    is_ours = isinstance(error, pymysql.MySQLError)  # an OSError counts in errno
    number = arguments[0] if is_ours and isinstance(arguments[0], int) else 0
    text = str(arguments[1]) if len(arguments) > 1 else str(error)
    # PyMySQL raises some of its own without a number when the connection is gone.
    lost = number == 0 and isinstance(error, pymysql.err.InterfaceError | OSError)
    return 2013 if lost else number, redact(text or "connection closed")


def _certificate(error: BaseException) -> str:
    """Return why TLS failed, looking at what PyMySQL wrapped; empty: it did not."""
    seen: BaseException | None = getattr(error, "original_exception", None) or error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return getattr(seen, "verify_message", "") or str(seen)
        if isinstance(seen, ssl.SSLError) and "EOF" not in str(seen):
            return seen.reason or str(seen)
        seen = seen.__cause__ or seen.__context__
    return ""


def _tls_refused(url: Url, why: str) -> PermissionDenied:
    return PermissionDenied(
        f"MySQL at {url.address}: no TLS connection as ssl-mode={url.tls_mode} asks: {why}",
        safe="nothing was sent in plain text" if url.tls_mode != "disabled" else "",
        remedy="give the authority's certificate with ?ssl-ca=FILE in the mysql setting,\n"
        "or say what is wanted: ?ssl-mode=verify-identity, verify-ca, required\n"
        "(encrypted, not verified) or disabled (plain text, for a network that is yours)",
    )


def _unreachable(url: Url, why: str) -> UnavailableError:
    return UnavailableError(
        f"MySQL at {url.address} does not answer: {why}",
        remedy="start it, or correct the mysql setting (--mysql, CDC_MYSQL_URL)",
    )
