"""Connections to MySQL and MariaDB, and what their errors mean for a person.

Source: MySQL server error reference (1xxx), client error reference (2xxx).
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.connections import Connection

from cdc.errors import (
    CdcError,
    InternalError,
    PermissionDenied,
    UnavailableError,
    UsageError,
    logging_in,
)
from cdc.mysql.session import ISOLATION_SQL, SESSION_SQL
from cdc.network.no_connection import chain, explained
from cdc.network.secret import with_secret
from cdc.printable import one_line
from cdc.url import Url, redact

CONNECT_TIMEOUT_S = 5
HANDSHAKE_TIMEOUT_S = 8
"""Greeting and login; a server that is frozen takes the connection and says nothing."""
READ_TIMEOUT_S = 120

CLEARTEXT_PLUGINS = ("mysql_clear_password", "dialog", "mysql_old_password")
"""Login plugins that send the password as it is (PAM, LDAP), or in a hash that breaks at once.
Any server may ask for them, also a man in the middle."""
_PLUGIN_UNKNOWN = 2059
_PLUGIN = re.compile(r"plugin '(?:b')?([A-Za-z0-9_]+)'")
_LOGIN_REFUSED = {1045, 1130, 1820, 1862, 3118, 3955, 4150, 4151}
"""The account's password has expired, or it is locked, count as well."""
STATEMENT_REFUSED = {1045, 1227}
"""A statement needs a right that this login has not."""
_RIGHT_MISSING = {1044, 1141, 1142, 1143, 1227, 1370}
_UNKNOWN_DATABASE = 1049
_NO_PASSWORD_HELPS = 1698
"""ER_ACCESS_DENIED_NO_PASSWORD_ERROR."""
_SAID_BY_THE_SOCKET = (ssl.SSLError, socket.gaierror, ConnectionRefusedError)
_PLAIN_REFUSED = {3159, 4031}
_TLS_FAILED = 2026
_BUSY_OR_GOING = {1040, 1053, 1077, 1079, 1129, 1158, 1159, 1160, 1161, 1203, 1205, 1226, 1317}
_CLIENT_SIDE = range(2000, 3000)


class RefusedPlugin:
    """Replaces a login plugin that would expose the password to an eavesdropper."""

    def __init__(self, connection: object) -> None:
        """Take what PyMySQL gives to every plugin."""

    def authenticate(self, _packet: object) -> None:
        """Send nothing.

        Raises:
            PermissionDenied: always.
        """
        raise PermissionDenied(
            "MySQL asks for the password in clear text, or nearly so, without encryption",
            safe="no password was sent",
            fix="enable TLS (?ssl-mode=required or better in the mysql setting), or give\n"
            "the user another login plugin; on a private network:\n"
            "?enable-cleartext-plugin=1",
        )


def connection_settings(url: Url) -> dict[str, Any]:
    """Return what PyMySQL and mysql-replication need to connect to a server.

    TLS as `Url.tls_mode` says; never the silent fallback to plain text that PyMySQL has.  The
    session is as `cdc.mysql.session` says, whatever the server's defaults are.  Password and
    certificates are read now, for this one connection; blocking.

    Raises:
        SettingsError: a password or a certificate cannot be read.
    """
    url = with_secret(url)
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
        # After what the server's own init_connect sets.
        "init_command": SESSION_SQL,
    }
    context = url.ssl_context()
    if context is None and url.option("enable-cleartext-plugin") != "1":
        settings["auth_plugin_map"] = dict.fromkeys(CLEARTEXT_PLUGINS, RefusedPlugin)
    return settings | ({"ssl": context} if context else {"ssl_disabled": True})


def connect(url: Url, **options: Any) -> Connection[Any]:
    """Return a connection in autocommit mode, on the URL's database if it names one.

    Args:
        options: more of PyMySQL's arguments, last one wins.

    Raises:
        PermissionDenied: login or certificate refused.
        UnavailableError: no server answers.
        UsageError: there is no such database.
        SettingsError: a password or a certificate cannot be read.
    """
    with logging_in():
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
        raise of_login(error, url) from None
    except OSError as error:
        # A server that is being killed can close in the middle of the handshake.
        with logging_in():
            raise explained(url, error) from None
    except (struct.error, IndexError, ValueError, TypeError) as error:
        # PyMySQL parses any greeting.
        raise _not_mysql(url) from error


@contextmanager
def connected(url: Url, **options: Any) -> Iterator[Connection[Any]]:
    """Connect to ask some questions, and close at the end; errors of the server are in words.

    Args:
        options: as of `connect`.

    Raises:
        CdcError: of `connect`, and as `translated`.
    """
    connection = connect(url, **options)
    try:
        yield connection
    except (pymysql.MySQLError, OSError) as error:
        raise translated(error, url) from None
    finally:
        connection.close()


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


def of_login(error: BaseException, url: Url) -> CdcError:
    """Return an error of a connection that begins as `translated`, marked as one of its login.

    Not where a right is missing, such as that to the database of the URL.
    """
    found = translated(error, url)
    found.is_login = isinstance(found, PermissionDenied) and _parts(error)[0] not in _RIGHT_MISSING
    return found


def translated(error: BaseException, url: Url) -> CdcError:
    """Return a PyMySQL error in words for a person; retryable when waiting may help."""
    number, text = _parts(error)
    plain = url.tls_mode == "disabled"
    if any(isinstance(cause, _SAID_BY_THE_SOCKET) for cause in chain(error)):
        return explained(url, error)
    if number == _PLUGIN_UNKNOWN:
        return _unknown_plugin(url, text)
    if number == _NO_PASSWORD_HELPS:
        return PermissionDenied(
            f"MySQL at {url.address} refuses the login of {url.user!r}: {text} ({number})",
            fix="its account logs in without a password (auth_socket, unix_socket), only on the\n"
            "server's own machine: create one for cdc, CREATE USER … IDENTIFIED BY 'PASSWORD'",
        )
    if text.startswith("Packet sequence number wrong"):
        return _not_mysql(url)
    if number in _LOGIN_REFUSED:
        return PermissionDenied(
            f"MySQL at {url.address} refuses the login of {url.user!r}: {text} ({number})",
            fix=f"{url.login_fix}, and from which hosts MySQL lets that user in"
            + ("; one with REQUIRE SSL\nneeds ?ssl-mode=required or better" if plain else ""),
        )
    if number in _RIGHT_MISSING:
        return PermissionDenied(
            f"MySQL at {url.address} refuses {url.user!r} a right: {text} ({number})",
            fix="GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the user, and\n"
            "GRANT SELECT ON each captured table",
        )
    if number == _UNKNOWN_DATABASE:
        return UsageError(
            f"MySQL at {url.address} has no database {url.database!r}",
            fix="change the database at the end of the mysql setting, or leave it out",
        )
    if number in _PLAIN_REFUSED or number == _TLS_FAILED:
        return _tls_refused(url, text)
    if number in _CLIENT_SIDE or number in _BUSY_OR_GOING:
        return _unreachable(url, f"{text} ({number})")
    return InternalError(
        f"MySQL at {url.address} refuses a statement of ours: {text} ({number})",
        fix="please report this with the server's version",
    )


def _parts(error: BaseException) -> tuple[int, str]:
    arguments = error.args or (0,)
    is_ours = isinstance(error, pymysql.MySQLError)  # an OSError counts in errno
    number = arguments[0] if is_ours and isinstance(arguments[0], int) else 0
    text = str(arguments[1]) if len(arguments) > 1 else str(error)
    # PyMySQL raises some of its own without a number when the connection is gone.
    lost = number == 0 and isinstance(error, pymysql.err.InterfaceError | OSError)
    return 2013 if lost else number, one_line(redact(text or "connection closed"))


def _tls_refused(url: Url, why: str) -> PermissionDenied:
    return PermissionDenied(
        f"MySQL at {url.address}: no TLS connection as ssl-mode={url.tls_mode} asks: {why}",
        safe="no password was sent in plain text" if url.tls_mode != "disabled" else "",
        fix="pass the CA certificate with ?ssl-ca=FILE in the mysql setting,\n"
        "or set the mode: ?ssl-mode=verify-identity, verify-ca, required\n"
        "(encrypted, not verified) or disabled (plain text, for a private network)",
    )


def _unknown_plugin(url: Url, text: str) -> PermissionDenied:
    found = _PLUGIN.search(text)
    plugin = found[1] if found else "another"
    return PermissionDenied(
        f"MySQL at {url.address} wants {url.user!r} to log in by the plugin {plugin}, which cdc\n"
        "does not have",
        safe="no password was sent",
        fix="give cdc a user with another one: MySQL, CREATE USER … IDENTIFIED WITH\n"
        "caching_sha2_password BY 'PASSWORD'; MariaDB, CREATE USER … IDENTIFIED VIA ed25519\n"
        "USING PASSWORD('PASSWORD')",
    )


def _not_mysql(url: Url) -> UnavailableError:
    return UnavailableError(
        f"what answers at {url.address} is not MySQL",
        fix="correct host and port in the mysql setting",
    )


def _unreachable(url: Url, why: str) -> UnavailableError:
    return UnavailableError(
        f"MySQL at {url.address} does not answer: {why}",
        fix="start it, or correct the mysql setting (--mysql, CDC_MYSQL_URL)",
    )


def global_variables(connection: Connection[Any], names: Sequence[str]) -> dict[str, str]:
    """Return global variables by lower-case name, in one query that needs no right.

    A variable that the server does not have is left out.

    Raises:
        pymysql.MySQLError: the connection broke.
    """
    places = ",".join(["%s"] * len(names))
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({places})", names)
        return {name.lower(): value for name, value in cursor.fetchall()}
