"""Refuse storage engines whose changes are not all in the binlog.

Pure.  Source of the statements: mysql-server and mariadb sql/sql_base.cc, where a MEMORY table
is opened for the first time after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc.check.finding import Finding, Fix
from cdc.errors import FIRST, REFRESH
from cdc_reader.binlog.statement import Statement, is_dml

_MEMORY = "a restart of the server empties it"
_NO_ROWS = "it keeps no rows"
_ELSEWHERE = "its rows are in other tables, whose changes are not its own in the binlog"
_OUTSIDE = "its rows are outside of this server, whose binlog has not all of their changes"
ENGINES = {
    "MEMORY": _MEMORY,
    "HEAP": _MEMORY,
    "BLACKHOLE": _NO_ROWS,
    "EXAMPLE": _NO_ROWS,
    "MRG_MYISAM": _ELSEWHERE,
    "MERGE": _ELSEWHERE,
    "FEDERATED": _OUTSIDE,
    "CONNECT": _OUTSIDE,
    "SPIDER": _OUTSIDE,
}
"""Why a table of each cannot be captured, by the names in the catalog and in statements."""


def engine_finding(table: str, sql_name: str, engine: str) -> Finding | None:
    """Return why a table cannot be captured because of its engine; None: it can.

    >>> found = engine_finding("shop.hot", "`shop`.`hot`", "MEMORY")
    >>> found.seen
    'shop.hot: ENGINE = MEMORY, a restart of the server empties it'
    >>> found.fix.sql
    ('ALTER TABLE `shop`.`hot` ENGINE = InnoDB;',)
    """
    reason = ENGINES.get(engine.upper())
    if reason is None:
        return None
    if reason == _ELSEWHERE:
        fix = Fix(advice="name the tables that it is made of")
    elif reason == _OUTSIDE:
        fix = Fix(advice="run cdc on the server that has its rows, or capture other tables")
    else:
        fix = Fix(sql=(f"ALTER TABLE {sql_name} ENGINE = InnoDB;",), is_invasive=True)
    return Finding(
        id="mysql.table-engine",
        seen=f"{table}: ENGINE = {engine}, {reason}",
        fix=fix,
        table=table,
    )


def refusal_of(
    statement: Statement, tables: Sequence[str], *, is_servers: bool
) -> tuple[str, str] | None:
    """Return why a statement in the binlog stops the reader, and the fix; None: it does not.

    Args:
        tables: the captured ones that it changes.
        is_servers: no session wrote it.  A session's DELETE may reach captured tables that it does
            not name; a TRUNCATE, whose comment is the server's, empties only what it names.
    """
    names = ", ".join(tables)
    is_emptied = statement.empties_memory and (is_servers or not is_dml(statement))
    if tables and is_emptied:
        return (
            f"the server reports that {names} is empty, as it does for a table of ENGINE = MEMORY "
            "after a restart, and its rows are gone without changes in the binlog",
            _to_innodb(tables),
        )
    engine = next((engine for engine in sorted(statement.engines) if engine in ENGINES), "")
    if tables and engine:
        return (
            f"{statement.kind} of the captured table {names} to ENGINE = {engine}: "
            f"{ENGINES[engine]}, so its changes cannot be captured",
            _to_innodb(tables),
        )
    if not is_dml(statement) or is_emptied:
        return None
    where = (
        names or "other tables, which triggers, views or functions may carry on to captured ones,"
    )
    return (
        f"{statement.kind} on {where} is in the binlog as a statement, so its rows are not known",
        "keep every session at binlog_format = ROW:\nSET PERSIST binlog_format = 'ROW';\n"
        + FIRST
        + REFRESH,
    )


def _to_innodb(tables: Sequence[str]) -> str:
    lines = [f"ALTER TABLE {table} ENGINE = InnoDB;   (or capture it no more)" for table in tables]
    return "\n".join(lines) + "\n" + FIRST + REFRESH
