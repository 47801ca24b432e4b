"""A row -> what Redis has to hold for it.

Pure.  The one place that knows what a table's model makes of a row; keys are made by the
table's template from texts of our own (`cdc_verify.printed`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdc.errors import PreflightError
from cdc.key import KeyColumn
from cdc.mask import Mask
from cdc.table import Column, Table
from cdc_verify.printed import Printed, Text, escaped, printed

PrintedRow = Sequence[bytes | None]
"""Values as SELECT prints them; None: NULL."""
Content = bytes | dict[bytes, bytes] | None
"""A string, a hash, or nothing."""


class Expected:
    """Makes key and content of selected rows of one table."""

    def __init__(self, table: Table, more: Collection[str] = ()) -> None:
        """Choose the columns that are needed, and how each is formatted.

        Args:
            more: columns that are needed beside those of key and value.
        """
        self._table = table
        values = _values(table)
        needed = {*table.key.columns, *(name for name, _ in values), *more}
        self.columns: tuple[Column, ...] = tuple(c for c in table.columns if c.name in needed)
        masks = dict(table.masks)
        how = [_masked(printed(column), masks.get(column.name)) for column in self.columns]
        self.select_list = ", ".join(one.expression for one in how)
        """What to select, in the order of `columns`."""
        place = {column.name: n for n, column in enumerate(self.columns)}
        self._key: list[bytes | tuple[int, Printed, KeyColumn]] = [
            part.encode()
            if isinstance(part, str)
            else (place[part.name], how[place[part.name]], part)
            for part in table.key.parts
        ]
        self._value = place[table.value_column] if table.value_column is not None else None
        self._how = how
        self._fields = [(place[column], name.encode()) for column, name in values]
        self._template = b"{%b}" % b",".join(
            escaped(name).replace(b"%", b"%%") + b":%b" for _, name in self._fields
        )
        places = [n for n, _ in self._fields]
        self._order = None if places == list(range(len(how))) else places
        """Positions of the object's columns in a row; None: all, in order."""
        self._tokens = [
            (n, token) for n, at in enumerate(places) if (token := _token(how[at])) is not None
        ]
        self._is_hash = table.model == "hash" and table.field is None

    def key(self, row: PrintedRow) -> bytes:
        """Return the Redis key of a row.

        Raises:
            PreflightError: NULL in a column of the key.
        """
        parts: list[bytes] = []
        for part in self._key:
            if isinstance(part, bytes):
                parts.append(part)
                continue
            n, how, column = part
            raw = row[n]
            if raw is None:
                raise null_in_key(self._table, column.name)
            text = how.of(raw)
            parts.append(column.escape(text.decode()).encode() if column.escapes else text)
        return b"".join(parts)

    def places(self, row: PrintedRow) -> list[tuple[bytes, Content]]:
        """Return each place of a row in Redis with what has to be there; see `cdc_verify.parts`."""
        return [(self.key(row), self.content(row))]

    def content(self, row: PrintedRow) -> Content:
        """Return what the row's key must hold; None: nothing.

        Args:
            row: more values than `columns` may follow.
        """
        if self._value is not None:
            raw = row[self._value]
            return None if raw is None else self._how[self._value].of(raw)
        if self._is_hash:
            texts = {
                name: self._how[n].in_hash(raw)
                for n, name in self._fields
                if (raw := row[n]) is not None
            }
            return {name: text for name, text in texts.items() if text is not None} or None
        order = self._order
        cells = list(row[: len(self._how)]) if order is None else [row[n] for n in order]
        for n, token in self._tokens:
            raw = cells[n]
            if raw is not None:
                cells[n] = token(raw)
        if None in cells:
            cells = [b"null" if cell is None else cell for cell in cells]
        return self._template % tuple(cells)


def null_in_key(table: Table, column: str) -> PreflightError:
    """Return the error for a row whose key cannot be made."""
    return PreflightError(
        f"a row of {table.qualified} has NULL in {column!r}, a column of its key",
        safe="nothing was written",
        fix="make the key of columns that are NOT NULL: --key TEMPLATE",
    )


def _values(table: Table) -> list[tuple[str, str]]:
    """Return the columns of the value, each with its name in the row's object."""
    if table.value_column is not None:
        return [(table.value_column, table.value_column)]
    if table.fields is not None:
        return list(table.fields)
    return [(name, name) for name in table.column_names]


def _masked(how: Printed, mask: Mask | None) -> Printed:
    """Return how a masked column is read."""
    if mask is None or mask.kind == "drop":
        return how
    return Printed(
        how.expression, lambda raw: mask.applied(how.of(raw).decode()).encode(), "escaped"
    )


def _token(how: Printed) -> Text | None:
    """Return what makes the token of a row's JSON; None: the printed bytes are it."""
    text = how.text
    if how.quoting == "bare":
        return text
    if how.quoting == "escaped":
        return escaped if text is None else lambda raw: escaped(text(raw))
    if text is None:
        return lambda raw: b'"%b"' % raw
    return lambda raw: b'"%b"' % text(raw)
