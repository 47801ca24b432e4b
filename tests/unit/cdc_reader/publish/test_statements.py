"""Statements that change rows without showing them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from cdc.errors import PositionLostError
from cdc_reader.binlog.event import QueryEvent
from cdc_reader.publish.statements import Statements
from cdc_reader.rows.shape import target_of
from cdc_reader.schema.change import End
from cdc_reader.schema.foreign_keys import Cascades
from cdc_reader.schema.reach import Definitions, Reach, UnknownRows
from tests.support.planned import a_table

END, PLACE, WHERE = End("7271…:8", 2, 400), ("b.000002", 400), "b.000002:400"
NOTHING = Definitions(triggers={}, views={}, routines={}, children={}, elsewhere=frozenset())


def _refuse(seen: str, fix: str, *_: Any) -> PositionLostError:
    return PositionLostError(seen, safe="yes", fix=fix)


def _statements(reach: Reach, mode: Any = "refresh") -> Statements:
    table = a_table(columns={"id": "int", "name": "varchar"})
    return Statements(
        targets={table.qualified: target_of(table)},
        on_schema_change=mode,
        aside=(),
        passed=(),
        reach=reach,
        cascades=Cascades(),
        refuse=_refuse,
    )


def _never(_: Collection[str]) -> bool:
    return False


def _look(statements: Statements, text: str, *, is_servers: bool = False) -> Any:
    query = QueryEvent("shop", text, None, is_servers)
    return statements.changed_by(query, END, PLACE[0], WHERE, _never)


def test_it_waits_for_the_definitions_and_for_the_tables_to_be_read() -> None:
    """First the definitions are looked up; then what it reaches is read again; then it passes."""
    reach = Reach()
    with pytest.raises(UnknownRows) as met:
        _look(_statements(reach), "UPDATE users SET id = 1")
    assert (met.value.tables, met.value.place, met.value.kind) == ((), PLACE, "UPDATE")
    assert met.value.statements[0].kind == "UPDATE"
    reach.known = NOTHING
    with pytest.raises(UnknownRows) as met:
        _look(_statements(reach), "UPDATE users SET id = 1")
    assert (met.value.tables, met.value.statements) == (("shop.users",), ())
    reach.read_after(["shop.users"], (2, 400))

    assert _look(_statements(reach), "UPDATE users SET id = 1") == ("UPDATE", ())


def test_where_every_table_is_read_again_nothing_is_looked_up() -> None:
    """A reader that lags passes all statements of the part that it has not come to."""
    reach = Reach()
    reach.read_after(["shop.users"], (2, 400))

    assert _look(_statements(reach), "DELETE FROM log") == ("DELETE", ())


def test_a_definition_makes_them_be_looked_up_again() -> None:
    """A trigger may lead from any table to a captured one now."""
    reach = Reach(known=NOTHING)
    assert _look(_statements(reach), "DELETE FROM log") == ("DELETE", ())
    _look(_statements(reach), "CREATE TRIGGER t AFTER DELETE ON log FOR EACH ROW SET @a = 1")

    with pytest.raises(UnknownRows):
        _look(_statements(reach), "DELETE FROM log")


def test_the_server_s_own_statement_changes_what_it_names() -> None:
    """A MEMORY table that a restart has emptied: no trigger runs."""
    reach = Reach()
    assert _look(_statements(reach), "DELETE FROM `shop`.`hot`", is_servers=True)
    with pytest.raises(UnknownRows) as met:
        _look(_statements(reach), "DELETE FROM `shop`.`users`", is_servers=True)

    assert met.value.tables == ("shop.users",)


@pytest.mark.parametrize("mode", ["stop", "continue"])
def test_where_schema_changes_are_not_looked_at_both_are_refused(mode: str) -> None:
    """As before: a person decides."""
    statements = _statements(Reach(), mode)
    with pytest.raises(PositionLostError, match="in the binlog as a statement"):
        _look(statements, "DELETE FROM log")
    with pytest.raises(PositionLostError, match="ROLLBACK TO"):
        statements.roll_back("rollback to", PLACE, WHERE)


def test_a_rollback_passes_once_all_tables_are_read_after_it() -> None:
    """Which of their rows it took back is not known."""
    reach = Reach()
    with pytest.raises(UnknownRows) as met:
        _statements(reach).roll_back("rollback", PLACE, WHERE)
    assert (met.value.tables, met.value.kind) == (("shop.users",), "ROLLBACK")
    reach.read_after(["shop.users"], (2, 400))
    _statements(reach).roll_back("rollback", PLACE, WHERE)
