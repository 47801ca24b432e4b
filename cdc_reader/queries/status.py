"""Queries to MySQL of `cdc status` and `cdc wait`: cheap and read-only.

The login needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR); an estimate of rows, and no more,
needs some right on the table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from pymysql.connections import Connection

from cdc.errors import PreflightError
from cdc.mysql.connection import connected
from cdc.settings import Settings
from cdc.status.report import BinlogState
from cdc_reader.catalog.facts import server_facts
from cdc_reader.catalog.source_check import ServerFacts
from cdc_reader.resume.server_log import log_status, not_purged

T = TypeVar("T")
READ_TIMEOUT_S = 10


def executed(settings: Settings) -> str:
    """Return all transactions that the server has committed: a GTID set, or MariaDB's position.

    Without those that it purged: they were published long ago, or, where ``SET GLOBAL gtid_purged``
    added them, never will be.

    Raises:
        PreflightError: it has no GTIDs.
        CdcError: it refuses, or does not answer.
    """

    def ask(connection: Connection, facts: ServerFacts) -> str:
        gtid_set = _place(connection, facts)[2]
        if not gtid_set or facts.mariadb:
            return gtid_set
        with connection.cursor() as cursor:
            return not_purged(cursor, gtid_set) or gtid_set

    found = _asked(settings, ask)
    if not found:
        raise PreflightError(
            "MySQL has no GTIDs, or no transaction yet",
            fix="SET GLOBAL gtid_mode = ON, step by step; until then wait for the row itself",
        )
    return found


def source(settings: Settings, tables: Collection[str]) -> BinlogState:
    """Return where the binlog ends, what of it is there, and how large the tables are.

    Args:
        tables: ``schema.table``.

    Raises:
        CdcError: the server refuses, or does not answer.
    """

    def ask(connection: Connection, facts: ServerFacts) -> BinlogState:
        file, offset, gtid_set = _place(connection, facts)
        with connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOGS")
            logs = [(str(row[0]), int(row[1])) for row in cursor.fetchall()]
            return BinlogState(
                server=facts.server,
                version=facts.version_text,
                file=file,
                offset=offset,
                gtid_set=gtid_set or None,
                logs=logs,
                expire_s=int(float(facts.variables.get("binlog_expire_logs_seconds") or 0)),
                rows=_estimates(connection, tables),
            )

    return _asked(settings, ask)


def _asked(settings: Settings, ask: Callable[[Connection, ServerFacts], T]) -> T:
    with connected(settings.mysql, read_timeout=READ_TIMEOUT_S) as connection:
        return ask(connection, server_facts(connection))


def _place(connection: Connection, facts: ServerFacts) -> tuple[str, int, str]:
    with connection.cursor() as cursor:
        file, offset, gtid_set = log_status(cursor)
        if facts.mariadb:
            cursor.execute("SELECT @@global.gtid_binlog_pos")
            gtid_set = str((cursor.fetchone() or ("",))[0] or "")
    return file, offset, gtid_set.replace("\n", "") if facts.gtid else ""


def _estimates(connection: Connection, tables: Collection[str]) -> dict[str, int]:
    """Return what the server believes of the tables' rows; InnoDB's are estimates."""
    wanted = [tuple(name.split(".", 1)) for name in tables if "." in name]
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name, table_rows FROM information_schema.tables"
            f" WHERE (table_schema, table_name) IN ({', '.join(['(%s, %s)'] * len(wanted))})",
            [part for pair in wanted for part in pair],
        )
        return {f"{schema}.{name}": int(rows or 0) for schema, name, rows in cursor.fetchall()}
