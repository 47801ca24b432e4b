"""A captured table: where it comes from, which key and value its rows get.

Pure.  Made from settings and information_schema by `cdc_reader.catalog.table_of`; what the
sink needs of it, `key` and `model`, needs no MySQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cdc.key import KeyTemplate
from cdc.mask import Mask

Model = Literal["string", "hash"]
Mode = Literal["mirror", "cache"]

WHOLE_TABLE_MAX_ROWS = 100_000
"""A table without a unique key is read at once; more rows would not fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as information_schema describes it."""

    name: str
    data_type: str
    """``bigint``, ``varchar``, …: lower case, without length."""
    column_type: str
    """``bigint unsigned``, ``enum('a','b')``, …"""
    charset: str | None
    """``utf8mb4`` …; None for columns that are not text."""
    nullable: bool
    extra: str = ""
    """``auto_increment``, ``STORED GENERATED``, ``auto_increment INVISIBLE``, …"""

    @property
    def is_generated(self) -> bool:
        """Whether the server computes it: VIRTUAL or STORED, and not a mere default."""
        return re.search(r"\b(VIRTUAL|STORED|PERSISTENT)\b", self.extra.upper()) is not None

    @property
    def is_auto_increment(self) -> bool:
        """Whether it is the table's AUTO_INCREMENT column; there is one at most."""
        return "auto_increment" in self.extra.lower()

    @property
    def is_implicit(self) -> bool:
        """Whether MySQL itself made it, as the key of a table without one.

        Source: MySQL manual, "Generated Invisible Primary Keys".
        """
        words = self.extra.lower().split()
        return self.name == "my_row_id" and {"auto_increment", "invisible"} <= set(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A set or sorted set whose members are rows."""

    kind: Literal["set", "zset"]
    key: KeyTemplate
    score: str | None
    """The column that a zset is ordered by; None: a set."""
    member: KeyTemplate | None
    """None: the row's Redis key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose changes are captured."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    identity: tuple[str, ...]
    """Columns of the primary key, or of a unique NOT NULL key, or named by ``--key``."""
    chunk_key: tuple[str, ...]
    """Columns by which the snapshot reads on: a primary or unique NOT NULL key; may be empty."""
    key: KeyTemplate
    value_column: str | None
    """The one column that becomes the value; None: the row as a JSON object."""
    model: Model
    fields: tuple[tuple[str, str], ...] | None = None
    """Columns of the row's object, each with its name there; None: all, under their own."""
    masks: tuple[tuple[str, Mask], ...] = ()
    """By column; one that is dropped is in no `fields`, and needs no more."""
    field: KeyTemplate | None = None
    """With ``hash``: the key is the parent's, and each row is this field of it."""
    indexes: tuple[Index, ...] = ()
    primary: tuple[str, ...] = ()
    """Columns of the primary key in the catalog; empty: there is none, or it is not known."""
    unique_keys: tuple[tuple[str, ...], ...] = ()
    """Columns of each key that tells its rows apart, the primary one too."""
    hidden_columns: int = 0
    """Of MariaDB, one for each UNIQUE on a long column: at the end of its rows, in no catalog."""
    ttl_s: int = 0
    """Not 0: ``mode = "cache"``; a key expires this long after its row's last change."""

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    @property
    def places(self) -> tuple[frozenset[str], ...]:
        """Columns that decide where a row is: in Redis, and in each index."""
        own = (*self.key.columns, *(self.field.columns if self.field else ()))
        members = (index.member or self.key for index in self.indexes)
        return (frozenset(own), *(frozenset(member.columns) for member in members))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in the table's order."""
        return tuple(column.name for column in self.columns)


def too_many_rows(table: Table) -> str:
    """Return why the rows of a table without a unique key cannot be read.

    ``shop.log has more than 100,000 rows and no primary or unique NOT NULL key, so …``
    """
    return (
        f"{table.qualified} has more than {WHOLE_TABLE_MAX_ROWS:,} rows and no primary or unique "
        "NOT NULL key, so its rows cannot be read in parts"
    )
