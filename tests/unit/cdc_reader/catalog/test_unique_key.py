"""Unique keys, and the statement that gives a table one."""

from __future__ import annotations

import pytest

from cdc.table import Column
from cdc_reader.catalog.dialect import Dialect, dialect_of
from cdc_reader.catalog.unique_key import UniqueKeys, identifier, key_fix, unique_template

OLD, NEW = dialect_of("8.0.22"), dialect_of("9.7.0")


def column(name: str, extra: str = "") -> Column:
    """Return a whole-number column."""
    return Column(
        name=name, data_type="int", column_type="int", charset=None, nullable=False, extra=extra
    )


@pytest.mark.parametrize(
    ("whole", "partial", "template"),
    [
        ((), (), ""),
        ((("id",),), (), "{table}:{pk}"),
        ((("id",),), ((("k",), "k(3)"),), "{table}:{pk}"),
        ((), ((("k",), "k(3)"),), "{table}:{k}"),
        ((), ((("a", "b"), "b(3)"), (("c",), "c(1)")), "{table}:{a}:{b}"),
    ],
)
def test_the_first_key_makes_every_rows_key_its_own(
    whole: tuple[tuple[str, ...], ...], partial: tuple[tuple[tuple[str, ...], str], ...],
    template: str,
) -> None:  # fmt: skip
    """A whole key goes before one on a part of a column, of which all columns are taken."""
    assert template == unique_template(UniqueKeys(whole=whole, partial=partial))


def test_keys_on_a_part_of_a_column_tell_rows_apart_too() -> None:
    """Whole ones first; a primary key may be of either kind."""
    keys = UniqueKeys(whole=(("id",),), partial=((("k",), "k(3)"),), primary=("k",))

    assert (("id",), ("k",)) == keys.all
    assert (True, False) == (keys.has_primary, UniqueKeys(whole=(("id",),)).has_primary)


@pytest.mark.parametrize(("name", "quoted"), [("a", "`a`"), ("a`b", "`a``b`"), ("`", "````")])
def test_a_name_is_quoted(name: str, quoted: str) -> None:
    """A backtick in it is doubled, so that no name ends the quotes."""
    assert quoted == identifier(name)


INVISIBLE = "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY;"


@pytest.mark.parametrize(
    ("columns", "has_primary", "dialect", "what"),
    [
        ((column("a"),), False, NEW, f"COLUMN `cdc_id` {INVISIBLE}"),
        ((column("a"),), False, OLD, f"COLUMN `cdc_id` {INVISIBLE}".replace(" INVISIBLE", "")),
        ((column("a"),), True, NEW, f"COLUMN `cdc_id` {INVISIBLE}".replace("PRIMARY", "UNIQUE")),
        ((column("CDC_ID"),), False, NEW, f"COLUMN `cdc_id_` {INVISIBLE}"),
        ((column("cdc_id"), column("cdc_id_")), False, NEW, f"COLUMN `cdc_id__` {INVISIBLE}"),
        ((column("a"), column("n", "auto_increment")), False, NEW, "PRIMARY KEY (`n`);"),
        ((column("n", "auto_increment"),), True, OLD, "UNIQUE KEY (`n`);"),
    ],
)
def test_a_table_without_a_key_gets_one(
    columns: tuple[Column, ...], has_primary: bool, dialect: Dialect, what: str
) -> None:
    """The column that counts already, else a new one, unseen where the server can hide it."""
    fix = key_fix(
        ("shop", "t`x"), columns, has_primary=has_primary, dialect=dialect, otherwise="or not"
    )

    assert (f"ALTER TABLE `shop`.`t``x` ADD {what}",) == fix.sql
    assert fix.is_invasive
    assert fix.advice.endswith("or not")
