"""What MySQL says about itself: version, binlog, rights.  The tables are in `tables`.

Read alone; nothing is changed on the source.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import COMMAND

from cdc.errors import PermissionDenied
from cdc.finding import Finding
from cdc.url import Url
from cdc_reader.connection import STATEMENT_REFUSED, connect, connection_settings, translated
from cdc_reader.tables import check_tables, resolve_tables

__all__ = [
    "ServerFacts",
    "check_rights",
    "check_source",
    "check_tables",
    "connect",
    "connection_settings",
    "resolve_tables",
    "server_facts",
    "translated",
]

_VARIABLES = (
    "version",
    "server_id",
    "server_uuid",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_expire_logs_seconds",
    "binlog_do_db",
    "gtid_mode",
    "max_allowed_packet",
    "lower_case_table_names",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server as it described itself; a variable that it does not have is ``""``."""

    mariadb: bool
    version: tuple[int, ...]
    """``(9, 7, 4)``"""
    version_text: str
    gtid: bool
    """Whether positions are GTIDs: MySQL with gtid_mode ON; MariaDB always."""
    server: str
    """``server_uuid`` of MySQL, ``server_id`` of MariaDB: whose coordinates these are."""
    variables: dict[str, str]
    """Global variables by lower-case name, such as ``{"binlog_format": "ROW"}``."""

    @property
    def max_allowed_packet_bytes(self) -> int:
        """Size of the largest row, more or less."""
        return int(self.variables.get("max_allowed_packet") or 0)


def server_facts(connection: Connection[Any]) -> ServerFacts:
    """Return what the server says about itself, in one query that needs no right.

    Raises:
        pymysql.MySQLError: the connection broke; see `translated`.
    """
    names = ",".join(["%s"] * len(_VARIABLES))
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})", _VARIABLES)
        found = {name.lower(): value for name, value in cursor.fetchall()}
    version_text = found["version"]
    mariadb = "mariadb" in version_text.lower()
    numbers = re.match(r"[0-9.]+", version_text)
    return ServerFacts(
        mariadb=mariadb,
        version=tuple(int(n) for n in numbers[0].split(".") if n) if numbers else (),
        version_text=version_text,
        gtid=mariadb or found.get("gtid_mode") == "ON",
        server=found["server_id"] if mariadb else found["server_uuid"],
        variables=found,
    )


def check_source(facts: ServerFacts) -> list[Finding]:
    """Return what of the server's configuration would lose or blur changes.

    Pure: MySQL's and MariaDB's defaults differ, and so do the statements that mend them.
    """
    found = facts.variables
    name = "MariaDB" if facts.mariadb else "MySQL"
    if found.get("log_bin") != "ON":
        return [_binlog_off(name)]
    out = [
        Finding(
            seen=f"{name}: {variable} = {found.get(variable) or '(not there)'}; {why}",
            remedy=_set(facts, variable, wanted),
        )
        for variable, wanted, why in (
            ("binlog_format", "ROW", "changes would be written as statements"),
            ("binlog_row_image", "FULL", "rows would lack columns"),
            ("binlog_row_metadata", "FULL", "columns would have no names"),
        )
        if found.get(variable, "").upper() != wanted
    ]
    if found.get("binlog_row_value_options"):
        out.append(
            Finding(
                seen=f"{name}: binlog_row_value_options = {found['binlog_row_value_options']}; "
                "JSON columns would be written as differences",
                remedy=_set(facts, "binlog_row_value_options", ""),
            )
        )
    if found.get("server_id") == "0":
        out.append(
            Finding(
                seen=f"{name}: server_id = 0; it serves no binlog",
                remedy=_set(facts, "server_id", 1),
            )
        )
    return out + _warnings(facts, name)


def _warnings(facts: ServerFacts, name: str) -> list[Finding]:
    out = []
    if not facts.gtid:
        out.append(
            Finding(
                seen=f"{name}: gtid_mode = {facts.variables.get('gtid_mode') or 'OFF'}; "
                "after a failover to another server cdc cannot find its place",
                remedy="see the manual, 'Changing GTID Mode on Online Servers'",
                stops=False,
            )
        )
    kept_s = int(float(facts.variables.get("binlog_expire_logs_seconds") or 0))
    if 0 < kept_s < 86_400:
        out.append(
            Finding(
                seen=f"{name}: binlogs are kept for {kept_s} s; an outage that lasts longer "
                "cannot be caught up with",
                remedy=_set(facts, "binlog_expire_logs_seconds", 604_800),
                stops=False,
            )
        )
    return out


def _binlog_off(name: str) -> Finding:
    return Finding(
        seen=f"{name}: the binlog is off (log_bin = OFF); there is nothing to follow",
        remedy="put  log_bin = binlog  under [mysqld] in the server's configuration file\n"
        "(and take out skip-log-bin, disable-log-bin), then restart it"
        + (
            "; there also belong\nserver_id = 1, binlog_format = ROW, binlog_row_metadata = FULL"
            if name == "MariaDB"
            else ""
        ),
    )


def _set(facts: ServerFacts, variable: str, value: str | int) -> str:
    literal = f"'{value}'" if isinstance(value, str) else str(value)
    if not facts.mariadb:
        return f"SET PERSIST {variable} = {literal};   -- then let applications connect anew"
    return (
        f"SET GLOBAL {variable} = {literal};   -- then let applications connect anew\n"
        f"and, to keep it over a restart, under [mysqld] in my.cnf:  {variable} = {value}"
    )


def check_rights(connection: Connection[Any], facts: ServerFacts, url: Url) -> list[Finding]:
    """Return the rights that the login lacks, found by trying what needs them.

    Roles and wildcards are thereby counted as the server counts them.
    """
    client = "BINLOG MONITOR" if facts.mariadb else "REPLICATION CLIENT"
    status = (
        "SHOW BINARY LOG STATUS"
        if not facts.mariadb and facts.version >= (8, 2)
        else "SHOW MASTER STATUS"
    )
    missing = [] if _may(connection, status) else [client]
    if not _may_replicate(connection):
        missing.append("REPLICATION SLAVE")
    if not missing:
        return []
    rights = ", ".join(missing)
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        row = cursor.fetchone()
    user, _, host = str(row[0] if row else url.user).rpartition("@")
    return [
        Finding(
            seen=f"MySQL at {url.address}: the user {user!r} lacks {rights}",
            remedy=f"GRANT {rights} ON *.* TO '{user}'@'{host}';",
            kind=PermissionDenied,
        )
    ]


def _may(connection: Connection[Any], statement: str) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in STATEMENT_REFUSED:
            return False
        raise
    return True


def _may_replicate(connection: Connection[Any]) -> bool:
    """Register as a replica, which asks for the same right as the dump, and needs no other.

    The server forgets it when the connection closes.
    Source: MySQL source documentation, COM_REGISTER_SLAVE; sql/rpl_source.cc, register_replica.
    """
    number = random.randrange(1 << 31, 1 << 32)
    body = struct.pack("<IBBBHII", number, 0, 0, 0, 0, 0, 0)
    raw: Any = connection  # PyMySQL has no public way to send a command that is not a query
    try:
        raw._execute_command(COMMAND.COM_REGISTER_SLAVE, body)
        raw._read_packet()
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in STATEMENT_REFUSED:
            return False
        raise
    return True
