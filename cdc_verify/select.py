"""The SELECTs of verify: a chunk by key, the keys of a chunk that is passed over, single rows.

Pure.  Rows are read in the order of the table's chunk key, from the last row of the chunk
before; a part of that key is carried as the text that its column prints (bytes as hex), the
same text that a heartbeat's ``after`` has (docs/message.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc.table import Column, Table
from cdc_verify.expected import Expected
from cdc_verify.inverse import Condition
from cdc_verify.printed import quoted

KeyText = tuple[str, ...]
"""A chunk key, one text for each of its columns: ``("7", "2024-01-01")``."""

_BY_NUMBER = frozenset(("bit", "enum", "set"))
_BARE = _BY_NUMBER | frozenset(
    ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year")
)
_HEX = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL for PyMySQL with its bound values, and how many columns its rows have."""

    sql: str
    bound: tuple[str, ...]
    columns: int


class Selects:
    """The statements of one table."""

    def __init__(self, table: Table, expected: Expected) -> None:
        """Take the columns that `expected` needs; the chunk key follows them."""
        by_name = {column.name: column for column in table.columns}
        self.key = [by_name[name] for name in table.chunk_key]
        self._from = f" FROM {quoted(table.schema)}.{quoted(table.name)}"
        self._key_list = [_printed(column) for column in self.key]
        self._all = ", ".join([expected.select_list, *self._key_list])
        self._columns = len(expected.columns)
        self._order = ""
        if self.key:
            self._order = " ORDER BY " + ", ".join(map(_compared, self.key))

    def chunk(self, after: KeyText, limit: int) -> Statement:
        """Return what reads the rows after a key; ``()``: from the first."""
        where, bound = self._after(after)
        sql = f"SELECT {self._all}{self._from}{where}{self._order} LIMIT {limit}"
        return Statement(sql, bound, self._columns + len(self.key))

    def passed_over(self, after: KeyText, limit: int) -> Statement:
        """Return what finds the last key of such a chunk without reading it."""
        where, bound = self._after(after)
        keys = ", ".join(self._key_list)
        sql = f"SELECT {keys}{self._from}{where}{self._order} LIMIT 1 OFFSET {limit - 1}"
        return Statement(sql, bound, len(self.key))

    def rows(self, conditions: Sequence[Condition], *, locking: bool = False) -> Statement:
        """Return what reads the rows that any of the conditions finds."""
        equal: dict[str, list[Condition]] = {}
        for condition in conditions:
            equal.setdefault(condition.left, []).append(condition)
        others = equal.pop("", [])
        ways = [f"{left} IN ({', '.join(c.right for c in some)})" for left, some in equal.items()]
        where = " OR ".join([*ways, *(condition.right for condition in others)])
        in_order = [*(c for some in equal.values() for c in some), *others]
        bound = tuple(value for condition in in_order for value in condition.bound)
        share = " FOR SHARE" if locking else ""
        sql = f"SELECT {self._all}{self._from} WHERE {where}{share}"
        return Statement(sql, bound, self._columns + len(self.key))

    def key_text(self, row: Sequence[bytes | None]) -> KeyText:
        """Return the chunk key of a row that one of these statements read."""
        if not self.key:
            return ()
        return tuple((part or b"").decode() for part in row[-len(self.key) :])

    def _after(self, after: KeyText) -> tuple[str, tuple[str, ...]]:
        if not after:
            return "", ()
        ways: list[str] = []
        bound: list[str] = []
        for n in range(len(self.key)):
            terms: list[str] = []
            for m in range(n + 1):
                literal, values = _literal(self.key[m], after[m])
                terms.append(f"{_compared(self.key[m])} {'>' if m == n else '='} {literal}")
                bound += values
            ways.append("(" + " AND ".join(terms) + ")")
        return " WHERE " + " OR ".join(ways), tuple(bound)


def _compared(column: Column) -> str:
    """Return what rows are ordered by: ENUM, SET and BIT by their number, as their index is."""
    return quoted(column.name) + (" + 0" if column.data_type in _BY_NUMBER else "")


def _printed(column: Column) -> str:
    """Return what prints exactly the value that `_literal` reads."""
    if column.data_type in _HEX:
        return f"HEX({quoted(column.name)})"
    # FLOAT alone is printed with six digits.
    return _compared(column) + (" * 1e0" if column.data_type == "float" else "")


def _literal(column: Column, text: str) -> tuple[str, tuple[str, ...]]:
    if column.data_type in _HEX:
        return "UNHEX(%s)", (text,)
    # Unquoted, because a text would be compared as a floating-point number.
    return (text, ()) if column.data_type in _BARE else ("%s", (text,))
