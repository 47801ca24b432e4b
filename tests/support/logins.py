"""Logins of cdc at MySQL and MariaDB."""

from __future__ import annotations

from contextlib import suppress

import pymysql

from cdc.demo.servers import MariaDB, MySQL


def replication_rights(server: MySQL | MariaDB) -> str:
    """Return what a login needs to follow the binlog: ``REPLICATION SLAVE, BINLOG MONITOR``."""
    client = "BINLOG MONITOR" if isinstance(server, MariaDB) else "REPLICATION CLIENT"
    return f"REPLICATION SLAVE, {client}"


def end_connections(server: MySQL | MariaDB) -> None:
    """End all connections of the account ``cdc``."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'cdc'")
        for (thread,) in cursor.fetchall():
            with suppress(pymysql.MySQLError):  # it may have ended meanwhile
                cursor.execute(f"KILL {thread}")
