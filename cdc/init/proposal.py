"""What `cdc init` decides for each table of a server.

Pure.  `cdc_reader.catalog.proposal` decides it, `cdc.init.settings_file` writes it down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["captured", "needs key", "excluded"]
STATES: tuple[State, ...] = ("captured", "needs key", "excluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One table or view: ``Proposal(table="shop.users", state="captured", about="…")``."""

    table: str
    """``shop.users``."""
    state: State
    settings: tuple[tuple[str, Any], ...] = ()
    """Lines of its section: ``(("exclude", ("place",)),)``."""
    about: str = ""
    """What its rows are told apart by, of one that is captured: ``primary key (id)``."""
    why: tuple[str, ...] = ()
    """Why it is not captured as it is: whole sentences."""
    fix: tuple[str, ...] = ()
    """What would change that; lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All tables of a server that were looked at."""

    server: str
    """``MySQL 9.7.4 at db.example:3306``."""
    tables: tuple[Proposal, ...]
    grants: tuple[str, ...]
    """Statements that give a login what it needs."""

    def of(self, state: State) -> list[Proposal]:
        """Return the tables of one state."""
        return [one for one in self.tables if one.state == state]

    def counted(self) -> str:
        """Return how many tables there are of each state.

        >>> Inventory(server="MySQL", tables=(), grants=()).counted()
        '0 tables captured, 0 need a key, 0 excluded'
        """
        captured, keyless, excluded = (len(self.of(state)) for state in STATES)
        return (
            f"{captured} table{'' if captured == 1 else 's'} captured, {keyless} "
            f"need{'s' if keyless == 1 else ''} a key, {excluded} excluded"
        )


def as_json(inventory: Inventory, file: str) -> dict[str, Any]:
    """Return what ``cdc init --json`` prints; fields are only ever added."""
    return {
        "v": 1,
        "file": file,
        "server": inventory.server,
        "tables": [_table(one) for one in inventory.tables],
        "grants": list(inventory.grants),
    }


def _table(one: Proposal) -> dict[str, Any]:
    settings = {name: _plain(value) for name, value in one.settings}
    return {
        "table": one.table,
        "state": one.state,
        "settings": settings,
        "about": one.about or None,
        "why": list(one.why),
        "fix": list(one.fix),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
