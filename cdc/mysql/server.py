"""Which server a connection leads to: MySQL or MariaDB, with GTIDs or not, and its identity.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IDENTITY = ("version", "gtid_mode", "server_id", "server_uuid")
"""Global variables that `server_of` needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MySqlServer:
    """What a MySQL or MariaDB is: ``MySqlServer(mariadb=True, gtid=True, server="1")``."""

    mariadb: bool
    gtid: bool
    """Whether positions are GTIDs: MySQL with gtid_mode ON; MariaDB always."""
    server: str
    """``server_uuid`` of MySQL, ``server_id`` of MariaDB: whose coordinates these are."""


def is_mariadb(version: str) -> bool:
    """Return whether ``SELECT VERSION()`` is MariaDB's.

    >>> is_mariadb("11.8.9-MariaDB-4 from Debian-log")
    True
    """
    return "mariadb" in version.lower()


def server_of(variables: Mapping[str, str]) -> MySqlServer:
    """Return the server that has these global variables, those of `IDENTITY` among them."""
    mariadb = is_mariadb(variables["version"])
    return MySqlServer(
        mariadb=mariadb,
        gtid=mariadb or variables.get("gtid_mode") == "ON",
        server=variables["server_id" if mariadb else "server_uuid"],
    )
