"""A row of a table with a field or an index -> each place in Redis, and what has to be there.

Pure.  Written from docs/models.md.
"""

from __future__ import annotations

from cdc.key import KeyTemplate
from cdc.table import Index, Table
from cdc_verify.expected import Content, Expected, PrintedRow, null_in_key
from cdc_verify.parts import TIMES, Part, has_parts, seconds


def expected_of(table: Table) -> Expected:
    """Return what makes keys and contents of a table's rows."""
    return Parted(table) if has_parts(table) else Expected(table)


class Parted(Expected):
    """`Expected` of rows that share keys."""

    def __init__(self, table: Table) -> None:
        """Choose the columns that are needed."""
        templates = [table.key, table.field, *(index.key for index in table.indexes)]
        templates += [index.member for index in table.indexes]
        more = {name for one in templates if one is not None for name in one.columns}
        more |= {index.score for index in table.indexes if index.score is not None}
        super().__init__(table, more)
        self._place = {column.name: n for n, column in enumerate(self.columns)}
        self._types = {column.name: column.data_type for column in table.columns}

    def places(self, row: PrintedRow) -> list[tuple[bytes, Content]]:
        """Return each place of a row with what has to be there."""
        table, key = self._table, self.key(row)
        place = key
        if table.field is not None:
            name = self._made(table.field, row)
            if name is None:
                missing = next(c for c in table.field.columns if row[self._place[c]] is None)
                raise null_in_key(table, missing)
            place = Part("hash", key, name).place
        out = [(place, self.content(row))]
        for index in table.indexes:
            out += self._entry(index, key, row)
        return out

    def _entry(self, index: Index, key: bytes, row: PrintedRow) -> list[tuple[bytes, Content]]:
        where = self._made(index.key, row)
        who = key if index.member is None else self._made(index.member, row)
        if where is None or who is None:
            return []
        place = Part(index.kind, where, who).place
        if index.score is None:
            return [(place, b"")]
        n = self._place[index.score]
        raw = row[n]
        if raw is None:
            return []
        is_time = self._types[index.score] in TIMES
        number = seconds(raw) if is_time else float(self._how[n].of(raw))
        return [] if number is None else [(place, repr(number).encode())]

    def _made(self, template: KeyTemplate, row: PrintedRow) -> bytes | None:
        """Return a template's text; None: a column of it is NULL."""
        values: dict[str, str] = {}
        for name in template.columns:
            n = self._place[name]
            raw = row[n]
            if raw is None:
                return None
            values[name] = self._how[n].of(raw).decode()
        return template.render(values).encode()
