"""Which tables a statement can reach: its own, and those that triggers and views lead to."""

from __future__ import annotations

import pytest

from cdc_reader.binlog.statement import UNSURE, parse_statement
from cdc_reader.schema.reach import Definitions, Names, Reach, captured_of, reached


def _names(*texts: str) -> Names:
    return frozenset(("shop", text) for text in texts)


KNOWN = Definitions(
    triggers={("shop", "watched"): _names("users", "new", "id")},
    views={("shop", "a_view"): _names("users"), ("shop", "b_view"): _names("writes", "w")},
    routines={("shop", "writes"): _names("b", "carts"), ("shop", "harmless"): _names("x")},
    children={("shop", "parents"): _names("children"), ("shop", "children"): _names("toys")},
    elsewhere=_names("merged"),
)
CAPTURED = ("shop.users", "shop.carts", "shop.toys")


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("UPDATE users SET a = 1", ["shop.users"]),
        ("INSERT INTO log SELECT * FROM users", []),
        ("INSERT INTO log SELECT harmless(x) FROM users", []),
        ("INSERT INTO other.users VALUES (1)", []),
        ("UPDATE a_view SET x = 1", ["shop.users"]),
        ("INSERT INTO watched VALUES (1)", ["shop.users"]),
        ("INSERT INTO log VALUES (writes())", ["shop.carts"]),
        ("REPLACE log SELECT w FROM b_view", ["shop.carts"]),
        ("DELETE FROM parents WHERE id = 7", ["shop.toys"]),
        ("DELETE log FROM log JOIN users", ["shop.users"]),
        ("LOAD DATA INFILE 'x' INTO TABLE log (a) SET b = (SELECT 1 FROM carts)", ["shop.carts"]),
        ("SELECT writes()", ["shop.carts"]),
        ("INSERT INTO merged VALUES (1)", sorted(CAPTURED)),
        (f"INSERT INTO l{UNSURE}g VALUES (1)", sorted(CAPTURED)),
    ],
)
def test_what_a_statement_reaches(text: str, tables: list[str]) -> None:
    """What it writes, by every way that the definitions have; what it only reads is not changed."""
    names = reached([parse_statement(text, "shop")], KNOWN)

    assert sorted(captured_of(names, CAPTURED)) == tables


def test_a_table_counts_as_read_after_a_place_until_the_server_is_another() -> None:
    """Places of another server mean nothing."""
    reach = Reach()
    reach.begin("a")
    reach.read_after(["shop.users"], (2, 400))
    reach.begin("a")
    assert reach.is_read_after("shop.users", (2, 400))
    assert not reach.is_read_after("shop.users", (2, 401))
    assert not reach.is_read_after("shop.carts", (1, 4))
    reach.begin("b")
    assert not reach.is_read_after("shop.users", (1, 4))
