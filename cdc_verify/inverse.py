"""A Redis key -> the condition in SQL that finds its row.

Pure.  A condition may find more than that row (a collation takes ``a`` and ``A`` for equal, a
float is looked for by a range): who asks makes the key of each row that is found and compares.
It never finds less.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cdc.key import KeyColumn, KeyTemplate
from cdc.table import Column, Table
from cdc_verify.printed import quoted


class Condition(NamedTuple):
    """What finds a row: SQL for PyMySQL, and the values that are bound.

    ``Condition("`id`", "42", ())`` for `` `id` = 42``, and several of them with one left side
    are `` `id` IN (42, 43)``; a left side that is empty is a condition of its own.
    """

    left: str
    right: str
    bound: tuple[str, ...]


EVERY_ROW = Condition("", "TRUE", ())
_LARGEST = sys.float_info.max
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII).fullmatch
_DECIMAL = re.compile(r"-?[0-9]{1,65}(\.[0-9]{1,38})?", re.ASCII).fullmatch
_DOUBLE = re.compile(r"-?[0-9]{1,17}(\.[0-9]{1,20})?(e[-+][0-9]{1,3})?", re.ASCII).fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII).fullmatch
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z?", re.ASCII
).fullmatch
_TIME = re.compile(r"-?[0-9]{2,3}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?", re.ASCII).fullmatch


class Inverse:
    """Reads keys of one table's template."""

    def __init__(self, table: Table, template: KeyTemplate | None = None) -> None:
        """Turn the template round; None: that of the table's keys."""
        template = template or table.key
        by_name = {column.name: column for column in table.columns}
        self._masked = {column for column, _ in table.masks}
        self._parts = [part for part in template.parts if isinstance(part, KeyColumn)]
        self._columns = {part.name: by_name[part.name] for part in self._parts}
        pattern = "".join(
            re.escape(part) if isinstance(part, str) else _group(part) for part in template.parts
        )
        self._match = re.compile(pattern, re.DOTALL).fullmatch

    def texts(self, key: str) -> dict[str, str] | None:
        """Return the text of each key column; None: no row can have this key.

        ``{"order_id": "7", "no": "a:b"}`` for ``lines:7:a%3Ab``
        """
        found = self._match(key)
        if found is None:
            return None
        out: dict[str, str] = {}
        for part, escaped in zip(self._parts, found.groups(), strict=True):
            text = escaped
            for sign, code in reversed(part.escapes):
                text = text.replace(code, sign)
            if out.setdefault(part.name, text) != text:
                return None
        return out

    def condition(self, key: str) -> Condition | None:
        """Return what finds the row of a key; None: no row can have it."""
        texts = self.texts(key)
        if texts is None:
            return None
        terms: list[Condition] = []
        for name, text in texts.items():
            if name in self._masked:
                terms.append(EVERY_ROW)  # nothing leads back from a hash
                continue
            term = _equals(self._columns[name], text)
            if term is None:
                return None
            terms.append(term)
        return terms[0] if len(terms) == 1 else _all_of(terms)


def _all_of(terms: Sequence[Condition]) -> Condition:
    bound = tuple(value for term in terms for value in term.bound)
    if all(term.left for term in terms):
        lefts, rights = (
            ", ".join(side) for side in zip(*(term[:2] for term in terms), strict=True)
        )
        return Condition(f"({lefts})", f"({rights})", bound)
    texts = (f"{term.left} = {term.right}" if term.left else term.right for term in terms)
    return Condition("", "(" + " AND ".join(texts) + ")", bound)


def _group(part: KeyColumn) -> str:
    signs = "".join(re.escape(sign) for sign, _ in part.escapes if sign != "%")
    return f"((?:[^%{signs}]|%[0-9A-F]{{2}})*)" if part.escapes else "(.*)"


def _equals(column: Column, text: str) -> Condition | None:
    kind, name = column.data_type, quoted(column.name)
    if kind in _NUMBERS:
        return Condition(name, text, ()) if _NUMBERS[kind](text) else None
    if kind in ("float", "double"):
        return _about(name, text) if _DOUBLE(text) else None
    if kind in _TIMES:
        shown = text.replace("T", " ", 1).removesuffix("Z")
        return Condition(name, "%s", (shown,)) if _TIMES[kind](text) else None
    if kind in _BINARY:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
        return Condition(name, "UNHEX(%s)", (raw.hex(),))
    if kind == "json":
        return EVERY_ROW
    return Condition(name, "%s", (text,))


def _about(name: str, text: str) -> Condition:
    """Return a range: the text is the shortest of its float, not all of its digits."""
    number = float(text)
    room = abs(number) * 1e-6 + 1e-44
    low, high = max(number - room, -_LARGEST), min(number + room, _LARGEST)
    return Condition("", f"{name} BETWEEN {low!r} AND {high!r}", ())


_NUMBERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), _INTEGER),
    "decimal": _DECIMAL,
}
_TIMES: dict[str, Callable[[str], object]] = {
    "date": _DATE,
    "datetime": _MOMENT,
    "timestamp": _MOMENT,
    "time": _TIME,
}
_BINARY = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
