"""Facts about the MySQL server: version, binlog, replication, rights.

Read-only; nothing is changed on the source.  What follows from it is in `source_check`; the
tables are in `tables` and `table_check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from cdc.check.finding import Finding, Fix, of_error
from cdc.errors import PermissionDenied, PositionLostError, PreflightError, UnavailableError
from cdc.mysql.connection import (
    STATEMENT_REFUSED,
    current_user,
    global_variables,
)
from cdc.mysql.server import IDENTITY, server_of
from cdc.url import Url
from cdc_reader.binlog.dump_check import OLDEST, try_dump
from cdc_reader.catalog.dialect import dialect_of
from cdc_reader.catalog.grants import grant, rights
from cdc_reader.catalog.source_check import (
    ServerFacts,
    ServerState,
    check_source,
)

_VARIABLES = (
    *IDENTITY,
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "log_bin_compress",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "log_replica_updates",
    "log_slave_updates",
    "max_allowed_packet",
    "lower_case_table_names",
    "basedir",
)
_NOT_ASKED = {*STATEMENT_REFUSED, 1401, 1142, 1146}
"""A right is missing: also ER_XAER_RMERR, which XA RECOVER answers without XA_RECOVER_ADMIN, and
a table that may not be read or that MariaDB does not have."""
_SESSIONS = """
SELECT DISTINCT t.processlist_id AS id FROM performance_schema.variables_by_thread v
 JOIN performance_schema.threads t ON t.thread_id = v.thread_id
 WHERE v.variable_name = 'binlog_format' AND v.variable_value <> 'ROW'
 ORDER BY id"""


def server_facts(connection: Connection[Any]) -> ServerFacts:
    """Return the server's version and settings, in one query that needs no right.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    found = global_variables(connection, _VARIABLES)
    server = server_of(found)
    return ServerFacts(
        mariadb=server.mariadb,
        version=dialect_of(found["version"]).version,
        version_text=found["version"],
        gtid=server.gtid,
        server=server.server,
        variables=found,
    )


def server_state(
    connection: Connection[Any], facts: ServerFacts, server_id: int = 0
) -> ServerState:
    """Return the server's replication status, as far as this login may query it.

    Args:
        server_id: the setting.  Replicas are only listed for a number that was chosen:
            MySQL 8.0.15 dies of the list after a client has registered and left without a dump.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    (log,) = _asked(connection, _log_status(facts)) or [{}]
    new_words = not facts.mariadb and facts.version >= (8, 0, 22)
    sources = _asked(
        connection,
        "SHOW ALL SLAVES STATUS"
        if facts.mariadb
        else f"SHOW {'REPLICA' if new_words else 'SLAVE'} STATUS",
    )
    replicas = (
        _asked(connection, f"SHOW {'REPLICAS' if new_words else 'SLAVE HOSTS'}")
        if server_id
        else None
    )
    prepared = _asked(
        connection, "XA RECOVER FORMAT='SQL'" if facts.mariadb else "XA RECOVER CONVERT XID"
    )
    sessions = _asked(connection, _SESSIONS)
    return ServerState(
        do_dbs=_names(log.get("Binlog_Do_DB")),
        ignore_dbs=_names(log.get("Binlog_Ignore_DB")),
        source=None if sources is None else (sources[0] if sources else {}),
        replica_ids=None
        if replicas is None
        else frozenset(int(next(iter(row.values()))) for row in replicas),
        prepared=None if prepared is None else tuple(map(_xid, prepared)),
        odd_sessions=None if sessions is None else tuple(row["id"] for row in sessions),
    )


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(name for name in (listed or "").split(",") if name)


def _xid(row: Mapping[str, Any]) -> str:
    """Return a transaction's id as XA COMMIT takes it: ``X'61',X'',1``."""
    data = str(row["data"])
    if not data.startswith("0x"):  # MariaDB's FORMAT='SQL' writes it out
        return data
    cut = 2 + 2 * int(row["gtrid_length"])
    return f"X'{data[2:cut]}',X'{data[cut:]}',{row['formatID']}"


def _asked(connection: Connection[Any], statement: str) -> list[dict[str, Any]] | None:
    """Return the rows of a statement; None: this login may not ask."""
    try:
        with connection.cursor(DictCursor) as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in _NOT_ASKED:
            return None
        raise


def _log_status(facts: ServerFacts) -> str:
    new_words = not facts.mariadb and facts.version >= (8, 2)
    return "SHOW BINARY LOG STATUS" if new_words else "SHOW MASTER STATUS"


def check_rights(connection: Connection[Any], facts: ServerFacts, url: Url) -> list[Finding]:
    """Return the rights that the login lacks, and why no binlog comes, by trying what needs them.

    Roles and wildcards are thereby counted as the server counts them.  To be called in a thread
    without a loop.

    Raises:
        UnavailableError: the dump's connection breaks; PermissionDenied: its login is refused.
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    dump, client = rights(mariadb=facts.mariadb)
    log = _asked(connection, _log_status(facts))
    missing = [client] if log is None else []
    place = (str(log[0]["File"]), int(log[0]["Position"])) if log else OLDEST
    found: list[Finding] = []
    try:
        try_dump(url, place)
    except PermissionDenied:
        missing.append(dump)
    except (PositionLostError, UnavailableError) as error:
        if check_source(facts):
            pass  # its text gives the reason why the binlog cannot be read
        elif isinstance(error, UnavailableError):
            raise
        else:
            found.append(of_error("mysql.dump", PreflightError(error.seen)))
    if missing:
        user, login = current_user(connection)
        found.append(
            Finding(
                id="mysql.rights",
                seen=f"MySQL at {url.address}: the user {user!r} lacks {', '.join(missing)}",
                fix=Fix(sql=(grant(missing, login),)),
                kind=PermissionDenied,
            )
        )
    return found
