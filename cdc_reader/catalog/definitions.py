"""What the catalog says of triggers, views, stored routines and foreign keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pymysql.connections import Connection

from cdc.mysql.connection import global_variables
from cdc_reader.binlog.engine import ENGINES
from cdc_reader.binlog.statement import Name, parse_statement
from cdc_reader.schema.reach import Definitions, Names

RIGHTS = ("SELECT", "TRIGGER", "SHOW VIEW")
"""On all databases: without them definitions are not shown, or without their text."""
_PARTIAL = "partial_revokes"
# One who may read everything is shown the rights of all accounts.
_RIGHTS = """
SELECT privilege_type FROM information_schema.user_privileges
 WHERE grantee = CONCAT("'", REPLACE(CURRENT_USER(), '@', "'@'"), "'")"""
_TRIGGERS = """
SELECT event_object_schema, event_object_table, trigger_schema, action_statement
 FROM information_schema.triggers"""
_VIEWS = """
SELECT table_schema, table_name, table_schema, view_definition FROM information_schema.views
 WHERE table_schema NOT IN ('sys', 'information_schema')"""
_ROUTINES = """
SELECT routine_schema, routine_name, routine_schema, routine_definition
 FROM information_schema.routines WHERE routine_schema <> 'sys'"""
_CHILDREN = """
SELECT unique_constraint_schema, referenced_table_name, constraint_schema, table_name
 FROM information_schema.referential_constraints"""
_ENGINES = "SELECT table_schema, table_name, engine FROM information_schema.tables"


def definitions(connection: Connection[Any]) -> Definitions | None:
    """Return all definitions; None: this login does not see all of them.

    Raises:
        pymysql.MySQLError: the connection broke; see `cdc.mysql.connection.translated`.
    """
    has_all = set(RIGHTS) <= {right for (right,) in _rows(connection, _RIGHTS)}
    # With it on, a right on all databases may be none on one of them.
    if not has_all or global_variables(connection, [_PARTIAL]).get(_PARTIAL) == "ON":
        return None
    texts = {query: list(_rows(connection, query)) for query in (_TRIGGERS, _VIEWS, _ROUTINES)}
    if any(text is None for rows in texts.values() for *_, text in rows):
        return None
    children: defaultdict[Name, set[Name]] = defaultdict(set)
    for schema, name, child_schema, child in _rows(connection, _CHILDREN):
        children[_name(schema, name)].add(_name(child_schema, child))
    return Definitions(
        triggers=_by_name(texts[_TRIGGERS]),
        views=_by_name(texts[_VIEWS]),
        routines=_by_name(texts[_ROUTINES]),
        children={name: frozenset(found) for name, found in children.items()},
        elsewhere=frozenset(
            _name(schema, name)
            for schema, name, engine in _rows(connection, _ENGINES)
            if (engine or "").upper() in ENGINES
        ),
    )


def _by_name(rows: Iterable[tuple[str, ...]]) -> dict[Name, Names]:
    """Return the names in texts: ``(schema, name, schema of the text, text)``."""
    found: defaultdict[Name, set[Name]] = defaultdict(set)
    for schema, name, default_schema, text in rows:
        found[_name(schema, name)] |= parse_statement(text, default_schema).names
    return {name: frozenset(names) for name, names in found.items()}


def _name(schema: str, name: str) -> Name:
    return schema.lower(), name.lower()


def _rows(connection: Connection[Any], query: str) -> Iterable[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
