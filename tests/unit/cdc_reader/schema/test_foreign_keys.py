"""Foreign keys: what a parent's change reaches, and what statements do to that."""

from __future__ import annotations

import pytest

from cdc.table import Column
from cdc_reader.binlog.statement import parse_statement
from cdc_reader.messages.unread import Unread
from cdc_reader.schema.change import End
from cdc_reader.schema.foreign_keys import (
    Cascades,
    ForeignKey,
    ForeignKeys,
    ForeignKeysChanged,
    rules_in,
)

CAPTURED = ["shop.B", "shop.d"]


def key(
    child: str,
    parent: str,
    on_delete: str | None,
    on_update: str | None = "NO ACTION",
    columns: tuple[str, ...] = ("p",),
    referenced: tuple[str, ...] = ("id",),
) -> ForeignKey:
    return ForeignKey(
        name=f"{child}_{parent}",
        child=("shop", child),
        parent=("shop", parent),
        columns=columns,
        referenced=referenced,
        on_delete=on_delete,
        on_update=on_update,
    )


CHAIN = (key("b", "a", "CASCADE"), key("c", "b", "CASCADE"), key("d", "c", "CASCADE"))


def test_a_delete_reaches_all_levels_of_cascades() -> None:
    """Through tables that are not captured; each table by its own name."""
    parents = ForeignKeys(CHAIN).parents(CAPTURED)

    assert {name: set(parent.on_delete) for (_, name), parent in parents.items()} == {
        "a": {"shop.B", "shop.d"},
        "b": {"shop.d"},
        "c": {"shop.d"},
    }
    assert not any(parent.on_update for parent in parents.values())
    assert parents["shop", "a"].reached == {"shop.B", "shop.d"}


def test_set_null_is_an_update_of_the_child() -> None:
    """It goes on only to those that refer to its column, by what they do on update."""
    keys = (
        key("b", "a", "SET NULL"),
        key("c", "b", "CASCADE"),
        key("d", "b", "NO ACTION", "CASCADE", referenced=("p",)),
    )
    assert ForeignKeys(keys).parents(["shop.b", "shop.c", "shop.d"])["shop", "a"].on_delete == {
        "shop.b",
        "shop.d",
    }


def test_an_update_reaches_those_that_refer_to_its_columns() -> None:
    """A generated column of a child may follow what changes in it."""
    keys = (
        key("b", "a", "NO ACTION", "CASCADE", referenced=("x", "y")),
        key("c", "a", "CASCADE", "SET NULL", referenced=("id",)),
        key("d", "b", "NO ACTION", "CASCADE", referenced=("made",)),
    )
    made = Column(
        name="Made",
        data_type="int",
        column_type="int",
        charset=None,
        nullable=False,
        extra="STORED GENERATED",
    )
    captured = ["shop.b", "shop.c", "shop.d"]
    parent = ForeignKeys(keys, {("shop", "b"): [made]}).parents(captured)["shop", "a"]

    assert dict(parent.on_update) == {
        frozenset(("x", "y")): {"shop.b", "shop.d"},
        frozenset(("id",)): {"shop.c"},
    }


def test_an_action_that_is_not_seen_may_be_any() -> None:
    """A login that may not see a table's definition."""
    keys = (
        key("b", "a", None, None),
        key("c", "b", "CASCADE"),
        key("d", "b", "NO ACTION", "CASCADE", referenced=("p",)),
    )
    parent = ForeignKeys(keys).parents(["shop.b", "shop.c", "shop.d"])["shop", "a"]

    assert parent.on_delete == {"shop.b", "shop.c", "shop.d"}
    assert parent.on_update == {frozenset(("id",)): {"shop.b", "shop.d"}}
    assert keys[0].actions == "ON DELETE ?, ON UPDATE ?"


def test_a_table_of_itself_ends() -> None:
    """Self-references, and circles of two."""
    circle = (key("b", "b", "CASCADE"), key("d", "b", "CASCADE"), key("b", "d", "CASCADE"))
    parents = ForeignKeys(circle).parents(CAPTURED)

    assert parents["shop", "b"].on_delete == parents["shop", "d"].on_delete == {"shop.B", "shop.d"}
    assert ForeignKeys(circle).above("shop.d") == {("shop", "b"), ("shop", "d")}


def test_keys_that_refuse_lead_nowhere() -> None:
    """RESTRICT and NO ACTION let no parent go that has children."""
    keys = ForeignKeys((key("b", "a", "RESTRICT"),))

    assert keys.parents(["shop.b"]) == {}
    assert keys.to("shop.b") == []
    assert keys.above("shop.b") == set()
    assert ForeignKeys(CHAIN).above("shop.d") == {("shop", "a"), ("shop", "b"), ("shop", "c")}


def test_rules_are_read_from_what_a_server_prints() -> None:
    """Names in either quotes; what is not printed is RESTRICT."""
    text = """CREATE TABLE `t` (
  `a` int DEFAULT NULL COMMENT ') ON DELETE CASCADE',
  CONSTRAINT `f``1` FOREIGN KEY (`a`) REFERENCES `o`.`p` (`i`) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT "f2" FOREIGN KEY ("a", "b") REFERENCES "p" ("x", "y") ON UPDATE NO ACTION,
  CONSTRAINT `f3` FOREIGN KEY (`a`) REFERENCES `p` (`id`)
) ENGINE=InnoDB"""
    assert rules_in(text) == {
        "f`1": ("SET NULL", "CASCADE"),
        "f2": ("RESTRICT", "NO ACTION"),
        "f3": ("RESTRICT", "RESTRICT"),
    }


# -- over connections -----------------------------------------------------------------


def _look(cascades: Cascades, text: str, end: End) -> None:
    cascades.look_at([parse_statement(text, "shop")], CAPTURED, end, "b.000002:400")


HERE = End("7271…:8", 2, 400)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ALTER TABLE c DROP FOREIGN KEY f", {"c"}),
        ("ALTER TABLE a RENAME COLUMN id TO x", {"a"}),
        ("RENAME TABLE c TO e", {"c"}),
        ("RENAME TABLE other TO d", {"d"}),
        ("CREATE TABLE d (id INT REFERENCES e (id))", {"d"}),
        ("ALTER TABLE b ADD CONSTRAINT f FOREIGN KEY (p) REFERENCES e (id)", {"b"}),
        ("DROP TABLE IF EXISTS c, x", {"c"}),
        ("DROP DATABASE shop", {"a", "b", "c", "d"}),
        ("ALTER TABLE \ufffd\ufffd ADD x INT", set()),
    ],
)
def test_a_statement_on_such_a_table_has_them_looked_up(text: str, names: set[str]) -> None:
    """Once; then it passes."""
    cascades = Cascades(ForeignKeys(CHAIN), (2, 100))
    with pytest.raises(ForeignKeysChanged) as met:
        _look(cascades, text, HERE)
    assert {name for _, name in met.value.names} == names
    cascades.looked(met.value, ForeignKeys(CHAIN), (2, 500), CAPTURED)
    assert (cascades.unread, cascades.until) == (set(), (2, 500))
    _look(cascades, text, HERE)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE e (id INT)",
        "CREATE TABLE e (id INT REFERENCES f (id))",
        "CREATE TEMPORARY TABLE c (id INT)",
        "ALTER TABLE e DROP FOREIGN KEY f",
        "DROP DATABASE other",
        "CREATE VIEW c_view AS SELECT 1 FROM c",
        "TRUNCATE c",
        "GRANT SELECT ON c TO x",
    ],
)
def test_other_statements_pass(text: str) -> None:
    """They leave what leads to captured tables as it is."""
    _look(Cascades(ForeignKeys(CHAIN), (2, 100)), text, HERE)


def test_a_statement_before_the_look_has_what_it_leads_to_read_again() -> None:
    """Rows before it were looked at with the foreign keys of after it."""
    cascades = Cascades(ForeignKeys(CHAIN[2:]), (2, 900))
    with pytest.raises(ForeignKeysChanged) as met:
        _look(cascades, "ALTER TABLE b DROP FOREIGN KEY f", HERE)
    cascades.looked(met.value, ForeignKeys(CHAIN[2:]), (2, 950), CAPTURED)
    assert cascades.unread == {"shop.B"}
    unread = Unread()
    cascades.prepare(unread, CAPTURED)
    assert unread.lost() == ("shop.B",)
    with pytest.raises(ForeignKeysChanged) as met:
        _look(cascades, "ALTER TABLE \ufffd DROP FOREIGN KEY f", End("", 2, 940))
    cascades.looked(met.value, ForeignKeys(CHAIN), (2, 960), CAPTURED)
    assert cascades.unread == {"shop.B", "shop.d"}


def test_the_stream_tells_of_tables_that_cascades_reach() -> None:
    """So that they are read again after a failover."""
    unread = Unread({}, columns={"shop.B": (), "shop.d": ()})
    cascades = Cascades(ForeignKeys(CHAIN))
    cascades.prepare(unread, CAPTURED)
    assert unread.moved == {"shop.B", "shop.d"}
    assert unread.lost() == ()
    cascades.note({"shop.d"}, unread)
    assert (unread.lost(), cascades.met) == (("shop.d",), {"shop.d"})


def test_another_server_has_foreign_keys_of_its_own() -> None:
    """And its places mean nothing here."""
    cascades = Cascades(ForeignKeys(CHAIN), (2, 900), {HERE})
    cascades.begin("one")
    assert (cascades.known, cascades.passed) == (None, set())
    assert cascades.parents(CAPTURED) == {}
    cascades.known = ForeignKeys(CHAIN)
    cascades.begin("one")
    assert cascades.known is not None
    cascades.begin("two")
    assert cascades.known is None
