"""What was decided for tables, counted and as JSON."""

from __future__ import annotations

import pytest

from cdc.init.proposal import Inventory, Proposal, State, as_json


def inventory(*states: State) -> Inventory:
    tables = tuple(Proposal(table=f"shop.t{n}", state=state) for n, state in enumerate(states))
    return Inventory(server="MySQL 9.7.4 at h:3306", tables=tables, grants=("GRANT …;",))


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ((), "0 tables captured, 0 need a key, 0 excluded"),
        (("captured", "needs key"), "1 table captured, 1 needs a key, 0 excluded"),
        (("excluded",) * 2, "0 tables captured, 0 need a key, 2 excluded"),
    ],
)
def test_states_are_counted(states: tuple[State, ...], text: str) -> None:
    """One line for a person."""
    assert inventory(*states).counted() == text


def test_json_has_all_of_it() -> None:
    """Lists in place of tuples, null in place of nothing."""
    one = Proposal(
        table="shop.gen",
        state="captured",
        settings=(("exclude", ("g",)),),
        about="primary key (id)",
    )
    about = as_json(Inventory(server="MySQL", tables=(one,), grants=("GRANT …;",)), "cdc.toml")

    assert about == {
        "v": 1,
        "file": "cdc.toml",
        "server": "MySQL",
        "tables": [
            {
                "table": "shop.gen",
                "state": "captured",
                "settings": {"exclude": ["g"]},
                "about": "primary key (id)",
                "why": [],
                "fix": [],
            }
        ],
        "grants": ["GRANT …;"],
    }
