"""The rights that a login of cdc needs, as statements.

Pure.  `cdc check` prints those that are missing, `cdc init` all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

NEW_ACCOUNT = "'cdc'@'%'"


def rights(*, mariadb: bool) -> tuple[str, str]:
    """Return the rights on all databases: to read the binlog, and to see where it ends.

    >>> rights(mariadb=False), rights(mariadb=True)
    (('REPLICATION SLAVE', 'REPLICATION CLIENT'), ('REPLICATION SLAVE', 'BINLOG MONITOR'))
    """
    return "REPLICATION SLAVE", "BINLOG MONITOR" if mariadb else "REPLICATION CLIENT"


def grant(names: Sequence[str], account: str) -> str:
    """Return the statement that gives rights on all databases.

    >>> grant(("REPLICATION SLAVE",), "'cdc'@'%'")
    "GRANT REPLICATION SLAVE ON *.* TO 'cdc'@'%';"
    """
    return f"GRANT {', '.join(names)} ON *.* TO {account};"


def grant_select(table: str, account: str) -> str:
    """Return the statement that lets a login read a table.

    Args:
        table: as written in a statement: ```shop`.`users```.
    """
    return f"GRANT SELECT ON {table} TO {account};"


def all_grants(tables: Iterable[str], account: str, user: str, *, mariadb: bool) -> Iterator[str]:
    """Yield all that a login needs; for an administrator's, those of a login of its own.

    Args:
        tables: as written in statements.
        account: as GRANT takes it; `user` is its name.
    """
    if user in ("root", ""):
        account = NEW_ACCOUNT
        yield f"CREATE USER {account} IDENTIFIED BY 'choose-a-password';"
    yield grant(rights(mariadb=mariadb), account)
    yield from (grant_select(table, account) for table in tables)
