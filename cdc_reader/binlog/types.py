"""MySQL's column types: one row each, with everything that does not depend on a value.

Pure.  A new type is one row of `TYPES`, its decoders in `cdc_reader.rows` (`column_source` and
`row_plan` for the binlog, `select_codec` for SELECT) and their tests.  Source: MySQL manual,
"Data Type Storage Requirements"; mysql-server include/field_types.h (enum_field_types).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple

TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, INT24 = 1, 2, 3, 4, 5, 7, 8, 9
DATE, TIME, DATETIME, YEAR, VARCHAR, BIT = 10, 11, 12, 13, 15, 16
TIMESTAMP2, DATETIME2, TIME2, TYPED_ARRAY = 17, 18, 19, 20
BLOB_COMPRESSED, VARCHAR_COMPRESSED = 140, 141
VECTOR, JSON, DECIMAL, ENUM, SET, BLOB = 242, 245, 246, 247, 248, 252
VAR_STRING, STRING, GEOMETRY = 253, 254, 255


class Family(enum.Enum):
    """What a type's values are."""

    INTEGER = enum.auto()
    DECIMAL = enum.auto()
    FLOATING = enum.auto()
    YEAR = enum.auto()
    BIT = enum.auto()
    INSTANT = enum.auto()
    """DATE, DATETIME and TIMESTAMP."""
    DURATION = enum.auto()
    """TIME."""
    LABELS = enum.auto()
    """ENUM and SET."""
    TEXT = enum.auto()
    BYTES = enum.auto()
    JSON = enum.auto()
    OPAQUE = enum.auto()
    """Not carried."""


_NUMBERS = (Family.INTEGER, Family.DECIMAL, Family.FLOATING, Family.YEAR)


class Code(NamedTuple):
    """A type as the binlog numbers it."""

    number: int
    name: str
    """``BIGINT``; for errors."""
    meta_bytes: int = 0
    """Of metadata in a TABLE_MAP."""
    fixed_bytes: int = 0
    """Of a value in a row image; 0: its metadata, or a length before it, tell."""
    has_fraction: bool = False
    """The bytes of up to six digits of a fraction follow the fixed ones."""


_CHAR = Code(STRING, "CHAR", 2)
_VARCHARS = (
    Code(VARCHAR, "VARCHAR", 2),
    Code(VAR_STRING, "VARCHAR", 2),
    Code(VARCHAR_COMPRESSED, "COMPRESSED VARCHAR", 2),
)
_BLOBS = (Code(BLOB, "BLOB", 1), Code(BLOB_COMPRESSED, "COMPRESSED BLOB", 1))


@dataclass(frozen=True, slots=True)
class Type:
    """One type: ``Type("bigint", Family.INTEGER, (Code(8, "BIGINT", fixed_bytes=8),))``."""

    name: str
    """As ``information_schema.columns.data_type`` prints it."""
    family: Family
    codes: tuple[Code, ...] = ()
    largest_bytes: int = 0
    """Of a value, where a message may be too small for it; 0: it never is."""
    has_same_text_in_key: bool = False
    """Its text in a Redis key is the literal that MySQL compares the column with."""
    synonym: str = ""
    """Another name of it in statements."""
    collation_in: Literal["", "mysql", "mariadb"] = ""
    """The only server whose TABLE_MAP has a collation of it, though it is no text."""

    @property
    def is_integer(self) -> bool:
        """TINYINT to BIGINT."""
        return self.family is Family.INTEGER

    @property
    def is_number(self) -> bool:
        """Numbers, of which a TABLE_MAP has the sign, and YEAR."""
        return self.family in _NUMBERS

    @property
    def is_instant(self) -> bool:
        """DATE, DATETIME and TIMESTAMP, which seconds since 1970 can be made of."""
        return self.family is Family.INSTANT

    @property
    def is_text(self) -> bool:
        """CHAR to LONGTEXT."""
        return self.family is Family.TEXT

    @property
    def is_bytes(self) -> bool:
        """BINARY to LONGBLOB."""
        return self.family is Family.BYTES

    @property
    def is_labels(self) -> bool:
        """ENUM and SET."""
        return self.family is Family.LABELS

    @property
    def is_compared_by_number(self) -> bool:
        """ENUM, SET and BIT, in ranges of a key."""
        return self.family in (Family.LABELS, Family.BIT)

    @property
    def can_be_score(self) -> bool:
        """Numbers, BIT, and instants as seconds since 1970."""
        return self.is_number or self.family in (Family.BIT, Family.INSTANT)

    @property
    def is_truncatable(self) -> bool:
        """Texts, labels and times, for ``mask = 'truncate'``."""
        return self.family in (Family.TEXT, Family.LABELS, Family.INSTANT, Family.DURATION)

    @property
    def is_carried(self) -> bool:
        """Its values can be published."""
        return self.family is not Family.OPAQUE

    def has_collation(self, *, mariadb: bool) -> bool:
        """Return whether that server's TABLE_MAP counts the column among the texts."""
        server = "mariadb" if mariadb else "mysql"
        return self.is_text or self.is_bytes or self.collation_in == server


def _integer(name: str, number: int, fixed_bytes: int, synonym: str = "") -> Type:
    code = Code(number, name.upper(), fixed_bytes=fixed_bytes)
    return Type(name, Family.INTEGER, (code,), has_same_text_in_key=True, synonym=synonym)


TYPES = (
    _integer("tinyint", TINY, 1),
    _integer("smallint", SHORT, 2),
    _integer("mediumint", INT24, 3),
    _integer("int", LONG, 4, "integer"),
    _integer("bigint", LONGLONG, 8),
    Type("decimal", Family.DECIMAL, (Code(DECIMAL, "DECIMAL", 2),), has_same_text_in_key=True),
    Type("float", Family.FLOATING, (Code(FLOAT, "FLOAT", 1, 4),)),
    Type("double", Family.FLOATING, (Code(DOUBLE, "DOUBLE", 1, 8),)),
    Type("year", Family.YEAR, (Code(YEAR, "YEAR", 0, 1),)),
    Type("bit", Family.BIT, (Code(BIT, "BIT", 2),)),
    Type("date", Family.INSTANT, (Code(DATE, "DATE", 0, 3),), has_same_text_in_key=True),
    Type(
        "datetime",
        Family.INSTANT,
        (
            Code(DATETIME2, "DATETIME", 1, 5, has_fraction=True),
            Code(DATETIME, "DATETIME of MySQL 5.5"),
        ),
    ),
    Type(
        "timestamp",
        Family.INSTANT,
        (
            Code(TIMESTAMP2, "TIMESTAMP", 1, 4, has_fraction=True),
            Code(TIMESTAMP, "TIMESTAMP of MySQL 5.5"),
        ),
    ),
    Type(
        "time",
        Family.DURATION,
        (Code(TIME2, "TIME", 1, 3, has_fraction=True), Code(TIME, "TIME of MySQL 5.5")),
    ),
    Type("enum", Family.LABELS, (Code(ENUM, "ENUM", 2),)),
    Type("set", Family.LABELS, (Code(SET, "SET", 2),)),
    Type("char", Family.TEXT, (_CHAR,), has_same_text_in_key=True),
    Type("varchar", Family.TEXT, _VARCHARS, has_same_text_in_key=True),
    Type("tinytext", Family.TEXT, _BLOBS),
    Type("text", Family.TEXT, _BLOBS),
    Type("mediumtext", Family.TEXT, _BLOBS, largest_bytes=(1 << 24) - 1),
    Type("longtext", Family.TEXT, _BLOBS, largest_bytes=(1 << 32) - 1),
    Type("binary", Family.BYTES, (_CHAR,)),
    Type("varbinary", Family.BYTES, _VARCHARS),
    Type("tinyblob", Family.BYTES, _BLOBS),
    Type("blob", Family.BYTES, _BLOBS),
    Type("mediumblob", Family.BYTES, _BLOBS, largest_bytes=(1 << 24) - 1),
    Type("longblob", Family.BYTES, _BLOBS, largest_bytes=(1 << 32) - 1),
    Type("json", Family.JSON, (Code(JSON, "JSON", 1),), largest_bytes=(1 << 32) - 1),
    Type("vector", Family.OPAQUE, (Code(VECTOR, "VECTOR", 1),), collation_in="mysql"),
    Type("geometry", Family.OPAQUE, (Code(GEOMETRY, "GEOMETRY", 1),), collation_in="mariadb"),
)
CODES = {code.number: code for one in TYPES for code in one.codes}
"""By their numbers."""
BY_CODE = {code.number: one for one in reversed(TYPES) for code in one.codes}
"""The type of a number; of texts and bytes, which share theirs, a text."""
_BY_NAME = {name: one for one in TYPES for name in (one.name, one.synonym) if name}


def type_named(name: str) -> Type:
    """Return a type by its name in the catalog or in a statement; not known: one not carried.

    >>> type_named("integer").name, type_named("point").is_carried
    ('int', False)
    """
    return _BY_NAME.get(name, Type(name, Family.OPAQUE))
