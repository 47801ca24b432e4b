"""Unique keys of a table, and the statement that gives it one.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cdc.check.finding import Fix
from cdc.table import Column
from cdc_reader.catalog.dialect import Dialect

Key = tuple[str, ...]
"""Columns of a unique key, in its order."""


class UniqueKeys(NamedTuple):
    """Unique keys of columns that are NOT NULL, the primary key first."""

    whole: tuple[Key, ...] = ()
    """Of whole columns: rows are told apart and read in order by them."""
    partial: tuple[tuple[Key, str], ...] = ()
    """On a part of a column, with that part, ``(("k",), "k(3)")``: only tells rows apart."""
    primary: Key = ()
    """Columns of the primary key, also of one on a part of a column; empty: there is none."""
    hashes: int = 0
    """How many keys are on a hash, which MariaDB keeps in a hidden column each."""

    @property
    def all(self) -> tuple[Key, ...]:
        """Columns of each key, whole or not."""
        return (*self.whole, *(key for key, _ in self.partial))

    @property
    def has_primary(self) -> bool:
        """Whether there is a primary key."""
        return bool(self.primary)


def unique_template(keys: UniqueKeys) -> str:
    """Return a key template in which no two rows are equal; empty: there is no key.

    >>> unique_template(UniqueKeys(partial=((("k",), "k(3)"),)))
    '{table}:{k}'
    """
    if keys.whole:
        return "{table}:{pk}"
    return "{table}:" + ":".join(f"{{{c}}}" for c in keys.partial[0][0]) if keys.partial else ""


def identifier(name: str) -> str:
    """Return a name as written in a statement without bound values.

    >>> identifier("a`b")
    '`a``b`'
    """
    return "`" + name.replace("`", "``") + "`"


def key_fix(
    name: tuple[str, str],
    columns: Sequence[Column],
    *,
    has_primary: bool,
    dialect: Dialect,
    otherwise: str,
) -> Fix:
    """Return what gives a table a key that tells its rows apart and in which they are read.

    Args:
        name: schema and table.
        has_primary: whether it has a primary key, which is then on a part of a column.
        otherwise: what else can be done.
    """
    table = ".".join(map(identifier, name))
    kind = "UNIQUE KEY" if has_primary else "PRIMARY KEY"
    for column in columns:
        if column.is_auto_increment:  # a second one is refused
            return Fix(
                sql=(f"ALTER TABLE {table} ADD {kind} ({identifier(column.name)});",),
                is_invasive=True,
                advice="(the table is rebuilt; refused where two rows have the same value),"
                f" {otherwise}",
            )
    names = {column.name.lower() for column in columns}
    new = next(n for n in ("cdc_id", "cdc_id_", "cdc_id__") if n not in names)
    invisible, shown = (" INVISIBLE", "SELECT * does not show it; ")
    if not dialect.has_invisible:
        invisible, shown = "", "SELECT * and INSERT without column names see it; "
    return Fix(
        sql=(
            f"ALTER TABLE {table} ADD COLUMN {identifier(new)} BIGINT UNSIGNED NOT NULL "
            f"AUTO_INCREMENT{invisible} {kind};",
        ),
        is_invasive=True,
        advice=f"({shown}the table is rebuilt), {otherwise}",
    )
