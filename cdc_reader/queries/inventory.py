"""What `cdc init` asks MySQL: all tables of the databases that are chosen, and how to capture each.

Read-only.  The login needs no right but some right on the tables, which shows them.
"""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection

from cdc.check.finding import together
from cdc.errors import UsageError
from cdc.init.proposal import Inventory
from cdc.mysql.connection import connected, current_user
from cdc.settings import Settings
from cdc_reader.catalog.described import columns_of, keys_of
from cdc_reader.catalog.dialect import dialect_of
from cdc_reader.catalog.facts import server_facts
from cdc_reader.catalog.grants import all_grants
from cdc_reader.catalog.proposal import propose_all
from cdc_reader.catalog.selection import Catalog, select
from cdc_reader.catalog.tables import entries_of, names_fold
from cdc_reader.catalog.unique_key import UniqueKeys


def inventory(settings: Settings) -> Inventory:
    """Return all tables that the settings name, each with how it can be captured.

    Raises:
        UsageError: no table is seen, or a name or pattern is wrong.
        CdcError: MySQL refuses, or does not answer.
    """
    with connected(settings.mysql) as connection:
        return _asked(connection, settings)


def _asked(connection: Connection[Any], settings: Settings) -> Inventory:
    facts = server_facts(connection)
    entries = entries_of(connection)
    if not entries:
        raise UsageError(
            f"MySQL at {settings.mysql.address} shows this login no table",
            fix="a table is seen once the login has a right on it: GRANT SELECT ON …",
        )
    catalog = Catalog(entries, settings.mysql.database, folds=names_fold(connection))
    selection = select(catalog, settings)
    if selection.errors:
        raise together([error for error, _ in selection.errors])
    asked = [one.entry for one in selection.tables]
    columns, keys = columns_of(connection, asked), keys_of(connection, asked)
    proposals = propose_all(
        (
            (one, columns.get(name := one.entry.qualified, []), keys.get(name, UniqueKeys()))
            for one in selection.tables
        ),
        dialect_of(facts.version_text),
    )
    user, account = current_user(connection)
    captured = {one.table for one in proposals if one.state == "captured"}
    readable = (entry.sql for entry in asked if entry.qualified in captured)
    return Inventory(
        server=f"{facts.kind} {facts.version_text} at {settings.mysql.address}",
        tables=tuple(sorted(proposals, key=lambda one: one.table)),
        grants=tuple(all_grants(readable, account, user, mariadb=facts.mariadb)),
    )
