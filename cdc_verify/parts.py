"""Places in Redis that several rows share a key of: fields of parents' hashes, index entries.

Pure.  Verify goes by places.  That of a row with a key of its own is the key; that of a part of a
key begins with a NUL, its kind, and the length of the key: no key of a table with parts does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from cdc.key import KeyTemplate
from cdc.table import Index, Table
from cdc_verify.inverse import Condition, Inverse

PartKind = Literal["hash", "set", "zset"]
TIMES = frozenset(("date", "datetime", "timestamp"))
"""Types whose score is seconds since 1970; that of others is the number itself."""
_EPOCH = dt.date(1970, 1, 1).toordinal()


class Part(NamedTuple):
    """A field of a hash, a member of a set or of a sorted set."""

    kind: PartKind
    key: bytes
    name: bytes

    @property
    def place(self) -> bytes:
        r"""What it goes by: ``b"\0set\0" b"11\0orders:of:7orders:42"``."""
        return b"\0%b\0%d\0%b%b" % (self.kind.encode(), len(self.key), self.key, self.name)


_KINDS: dict[bytes, PartKind] = {b"hash": "hash", b"set": "set", b"zset": "zset"}


def part_of(place: bytes) -> Part | None:
    """Return the part that goes by a place; None: the place is a key."""
    if place[:1] != b"\0":
        return None
    _, kind, size, rest = place.split(b"\0", 3)
    return Part(_KINDS[kind], rest[: int(size)], rest[int(size) :])


def in_words(place: bytes) -> str:
    r"""Return a place in words.

    >>> in_words(b"users:7"), in_words(b"\0set\0" b"11\0orders:of:7orders:42")
    ('users:7', 'orders:42 in the set orders:of:7')
    """
    part = part_of(place)
    if part is None:
        return place.decode(errors="backslashreplace")
    key, name = (raw.decode(errors="backslashreplace") for raw in part[1:])
    return f"field {name} of {key}" if part.kind == "hash" else f"{name} in the {part.kind} {key}"


def has_parts(table: Table) -> bool:
    """Return whether rows of a table share keys."""
    return table.field is not None or bool(table.indexes)


def grounds(table: Table) -> list[tuple[PartKind | None, KeyTemplate]]:
    """Return the templates of a table's rows, each with what its keys are.

    None: a key for each row.
    """
    own: PartKind | None = "hash" if table.field is not None else None
    return [(own, table.key), *((index.kind, index.key) for index in table.indexes)]


class Places:
    """Finds the row of a place."""

    def __init__(self, table: Table) -> None:
        """Turn the templates round."""
        self._table = table
        self._key = Inverse(table)
        self._field = None if table.field is None else Inverse(table, table.field)
        self._indexes: list[tuple[Index, Inverse, Inverse]] = [
            (index, Inverse(table, index.key), Inverse(table, index.member or table.key))
            for index in table.indexes
        ]

    def condition(self, place: bytes) -> Condition | None:
        """Return what finds the row of a place; None: no row can have it."""
        part = part_of(place)
        if part is None:
            return self._key.condition(place.decode())
        try:
            key, name = part.key.decode(), part.name.decode()
        except UnicodeDecodeError:
            return None
        if part.kind == "hash":
            if self._field is None:
                return None
            ways = [self._key.condition(key), self._field.condition(name)]
            if None in ways:
                return None
            found = [way for way in ways if way is not None]
            sql = " AND ".join(f"{w.left} = {w.right}" if w.left else w.right for w in found)
            return Condition("", f"({sql})", tuple(v for way in found for v in way.bound))
        for index, where, who in self._indexes:
            if index.kind == part.kind and where.texts(key) is not None:
                condition = who.condition(name)
                if condition is not None:
                    return condition
        return None


def seconds(printed: bytes) -> float | None:
    """Return the score of a date or time that SELECT prints; None: it is no date.

    >>> seconds(b"1970-01-02 00:00:00.5"), seconds(b"0000-00-00")
    (86400.5, None)
    """
    text = printed.decode()
    try:
        day = dt.date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal() - _EPOCH
    except ValueError:
        return None
    past = Decimal(day * 86_400)
    if len(text) > 10:
        hours, minutes, rest = text[11:].split(":")
        past += int(hours) * 3600 + int(minutes) * 60 + Decimal(rest)
    return float(past)


def names_of(reply: Sequence[bytes], kind: PartKind) -> Iterator[bytes]:
    """Yield fields or members of what HSCAN, SSCAN or ZSCAN answers."""
    return iter(reply if kind == "set" else reply[::2])
