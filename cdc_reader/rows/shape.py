"""A row's texts -> its key, field, value and index entries, for tables that ask for more.

Pure.  Tables with a field, a mask or an index; all others take the generated ways of
`row_codec` and `select_codec`.  Both codecs give their texts to one `RowShaper`, so what a mask
hides is hidden in one place, before anything leaves the reader, and both give equal bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cdc.key import KeyTemplate
from cdc.table import Index, Table
from cdc_reader.binlog.types import type_named
from cdc_reader.rows.body_source import quote
from cdc_reader.rows.identity import Identity, identity_of

Text = str | int | None
"""A column's text; the codecs leave integers as they are.  None: NULL."""
Member = tuple[str, str, str]
"""``("zset", "orders:by_user:7", "orders:42")``: kind, key and member of an index entry."""
_Shown = Mapping[str, str | None]
_HASH_COLUMN = re.compile(r"DB_ROW_HASH_\d+").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NullKey(Exception):
    """A column of a row's key or field is NULL; its name."""


class RowAddress(NamedTuple):
    """Where a row is in Redis: what an update leaves, or keeps."""

    key: str
    field: str | None
    members: tuple[Member, ...]


class ShapedRow(NamedTuple):
    """A row as it goes out."""

    place: RowAddress
    value: str | None
    scores: tuple[str | None, ...]
    """Of each of the place's members; None in a set."""


class Target(NamedTuple):
    """What a captured table's rows become: of a `Table`, all that a codec needs."""

    table: str
    """``shop.users``."""
    key: KeyTemplate
    value_column: str | None
    """The one column that becomes the value; None: the row as a JSON object."""
    fields: tuple[tuple[str, str], ...] | None = None
    """As of `Table`."""
    shaped: Table | None = None
    """The table, where a `RowShaper` makes its rows."""
    known: tuple[str, ...] = ()
    """The table's columns as its catalog shows them."""
    identity: Identity = Identity()
    """What tells its rows apart, to be compared with the binlog."""
    described: Table | None = None
    """The table itself, for rows that the binlog has in part."""


def target_of(table: Table) -> Target:
    """Return what a table's rows become."""
    is_shaped = table.field is not None or table.masks or table.indexes
    return Target(
        table=table.qualified,
        key=table.key,
        value_column=table.value_column,
        fields=table.fields,
        shaped=table if is_shaped else None,
        known=table.column_names,
        identity=identity_of(table),
        described=table,
    )


def shown_columns(target: Target, names: Sequence[str]) -> list[str]:
    """Return the columns that a SELECT could show.

    MariaDB keeps the hash of a UNIQUE on a long column in one of its own, which the binlog has and
    no catalog.  Source: MariaDB sql/sql_table.cc, make_unique_invisible_field_name.

    Args:
        names: all columns of the table in the binlog, or in the catalog.

    >>> from cdc.key import parse_template
    >>> key = parse_template("t:{id}", schema="s", table="t", pk=("id",), columns=["id"])
    >>> shown_columns(Target("s.t", key, None), ["id", "t", "DB_ROW_HASH_1"])
    ['id', 't']
    """
    return [name for name in names if not _HASH_COLUMN(name) or name in target.known]


def place_columns(target: Target) -> tuple[str, ...]:
    """Return the columns of a row's address: all that is read of a before image."""
    table = target.shaped
    templates = [target.key]
    if table is not None:
        templates += [table.field] if table.field is not None else []
        for index in table.indexes:
            templates += [index.key] + ([index.member] if index.member is not None else [])
    return tuple(dict.fromkeys(name for one in templates for name in one.columns))


def value_columns(target: Target, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the value.

    Args:
        names: all columns of the table, of which a row without a list has those that are shown.
    """
    if target.value_column is not None:
        return (target.value_column,)
    shown = shown_columns(target, names)
    return tuple(shown) if target.fields is None else tuple(name for name, _ in target.fields)


def needed_columns(target: Target, names: Sequence[str]) -> tuple[str, ...]:
    """Return all columns that a row is made of; see `value_columns`."""
    scores = [i.score for i in target.shaped.indexes if i.score] if target.shaped else []
    return tuple(dict.fromkeys((*place_columns(target), *value_columns(target, names), *scores)))


class RowShaper:
    """Makes the rows of one table."""

    def __init__(self, table: Table, names: Sequence[str], quoted: Mapping[str, bool]) -> None:
        """Take what a codec reads.

        Args:
            names: all columns, in the table's order.
            quoted: whether a column's text is quoted in the row's object.
        """
        self._table = table
        self._masks = dict(table.masks)
        fields = tuple((name, name) for name in names) if table.fields is None else table.fields
        self._fields = [
            (quote(name).decode(), column, column in self._masks or quoted[column])
            for column, name in (fields if table.value_column is None else ())
        ]
        data_types = {column.name: column.data_type for column in table.columns}
        self._scores = [
            None if index.score is None else (index.score, _score_of(data_types[index.score]))
            for index in table.indexes
        ]

    def place(self, texts: Mapping[str, Text]) -> RowAddress:
        """Return a row's address.

        Args:
            texts: those of `place_columns` at least.

        Raises:
            NullKey: a column of the key or the field is NULL.
        """
        shown = self._shown(texts)
        key, field = self._key(shown)
        members = [_member(index, key, shown) for index in self._table.indexes]
        return RowAddress(key, field, tuple(member for member in members if member is not None))

    def row(self, texts: Mapping[str, Text]) -> ShapedRow:
        """Return a row as it goes out.

        Args:
            texts: those of `needed_columns`.

        Raises:
            NullKey: as `place`.
        """
        shown = self._shown(texts)
        key, field = self._key(shown)
        members: list[Member] = []
        scores: list[str | None] = []
        for index, scored in zip(self._table.indexes, self._scores, strict=True):
            member = _member(index, key, shown)
            score = None
            if scored is not None:
                score = scored[1](texts[scored[0]])
                member = None if score is None else member
            if member is not None:
                members.append(member)
                scores.append(score)
        only = self._table.value_column
        value = self._object(shown) if only is None else shown[only]
        return ShapedRow(RowAddress(key, field, tuple(members)), value, tuple(scores))

    def _shown(self, texts: Mapping[str, Text]) -> _Shown:
        """Return the texts as they may be seen."""
        shown = {name: None if text is None else str(text) for name, text in texts.items()}
        for name, mask in self._masks.items():
            if (text := shown.get(name)) is not None:
                shown[name] = mask.applied(text)
        return shown

    def _key(self, shown: _Shown) -> tuple[str, str | None]:
        table = self._table
        key = _rendered(table.key, shown)
        field = None if table.field is None else _rendered(table.field, shown)
        if key is None or (field is None and table.field is not None):
            names = (*table.key.columns, *(table.field.columns if table.field else ()))
            raise NullKey(next(name for name in names if shown[name] is None))
        return key, field

    def _object(self, shown: _Shown) -> str:
        pieces = []
        for name, column, is_quoted in self._fields:
            text = shown[column]
            if text is None:
                text = "null"
            elif is_quoted:
                text = quote(text).decode()
            pieces.append(f"{name}:{text}")
        return "{" + ",".join(pieces) + "}"


def _rendered(template: KeyTemplate, shown: _Shown) -> str | None:
    """Return a template's text; None: a column of it is NULL."""
    values = {name: text for name in template.columns if (text := shown[name]) is not None}
    return template.render(values) if len(values) == len(template.columns) else None


def _member(index: Index, key: str, shown: _Shown) -> Member | None:
    """Return a row's entry in an index; None: a column is NULL, so it has none."""
    where = _rendered(index.key, shown)
    who = key if index.member is None else _rendered(index.member, shown)
    return None if where is None or who is None else (index.kind, where, who)


def _score_of(data_type: str) -> Callable[[Text], str | None]:
    return epoch_text if type_named(data_type).is_instant else _number_text


def _number_text(text: Text) -> str | None:
    return None if text is None else str(text)


def epoch_text(text: Text) -> str | None:
    """Return a date or time as seconds since 1970, exactly; None: it is NULL or no date.

    >>> epoch_text("2026-11-23T10:00:00.120Z"), epoch_text("1969-12-31"), epoch_text("0000-00-00")
    ('1795428000.12', '-86400', None)
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(str(text).removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None
    past = time - _EPOCH
    us = (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
    whole, part = divmod(abs(us), 1_000_000)
    return ("-" if us < 0 else "") + str(whole) + f".{part:06d}".rstrip("0").rstrip(".")
