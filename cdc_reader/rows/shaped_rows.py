"""Rows events and selected rows of tables with a `RowShaper` -> message bodies.

Pure.  What `row_codec` and `select_codec` generate for all other tables is written out here;
only the reading of an image's columns is generated.  The bytes are those of `cdc.message.encode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdc.errors import PositionLostError
from cdc.partition import partition_of
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.rows.body_source import FunctionSource, TextVariable, quote
from cdc_reader.rows.column_source import CONSTANTS, reading_of
from cdc_reader.rows.image_source import Image
from cdc_reader.rows.shape import (
    Member,
    NullKey,
    RowAddress,
    RowShaper,
    ShapedRow,
    Target,
    Text,
    needed_columns,
    place_columns,
    shown_columns,
)

Function = Callable[..., tuple[int, int, str]]
_Read = Callable[[bytes, int], tuple[int, tuple[Text, ...], tuple[Text, ...]]]


class ShapedRows:
    """Makes functions with the arguments of those that `RowCodec` generates."""

    def __init__(
        self,
        table_map: TableMap,
        target: Target,
        partitions: int,
        null_key: Callable[[int], PositionLostError],
    ) -> None:
        """Take one TABLE_MAP.

        Args:
            null_key: the error for a NULL in a key column, by its place.
        """
        if target.shaped is None:
            raise ValueError(f"{target.table} has no shape")
        self._map, self._target, self._partitions = table_map, target, partitions
        self._null_key = null_key
        names = [column.name or "" for column in table_map.columns]
        self._places = {name: place for place, name in enumerate(names)}
        self._old_names = place_columns(target)
        self._new_names = needed_columns(target, names)
        scratch = FunctionSource("")
        quoted = {
            name: reading_of(table_map.columns[self._places[name]], target.table, "v", scratch)
            .text.quoted
            for name in self._new_names
        }  # fmt: skip
        self._shape = RowShaper(target.shaped, shown_columns(target, names), quoted)

    def function(self, op: str, before: frozenset[int], after: frozenset[int]) -> Function:
        """Return the function for an operation.

        Args:
            before, after: places of the columns that the images have.
        """
        read = self._reader(op, before, after)
        if self._partitions == 1:
            return self._one_chain(op, read)
        return self._several_chains(op, read)

    def _reader(self, op: str, before: frozenset[int], after: frozenset[int]) -> _Read:
        source = FunctionSource("def generated(b, o):")
        source.constants |= CONSTANTS
        sides = {"p": "()", "v": "()"}
        if op != "insert":
            sides["p"] = self._write_image(source, "p", before)
        if op != "delete":
            sides["v"] = self._write_image(source, "v", after)
        source.add(f"return o, {sides['p']}, {sides['v']}")
        function: _Read = source.compile(f"images of {self._target.table!r}, {op}")
        return function

    def _write_image(self, source: FunctionSource, prefix: str, present: frozenset[int]) -> str:
        """Write the reading of an image; return the tuple of its texts."""
        names = self._old_names if prefix == "p" else self._new_names
        places = tuple(self._places[name] for name in names)
        Image(self._map, source, prefix, present, keys=(), values=places, plain=True).write()
        return "(" + "".join(f"{prefix}{place}, " for place in places) + ")"

    def _old(self, texts: Sequence[Text]) -> RowAddress | None:
        if not texts:
            return None
        try:
            return self._shape.place(dict(zip(self._old_names, texts, strict=True)))
        except NullKey as error:
            raise self._null_key(self._places[str(error)]) from None

    def _new(self, texts: Sequence[Text]) -> ShapedRow | None:
        if not texts:
            return None
        try:
            return self._shape.row(dict(zip(self._new_names, texts, strict=True)))
        except NullKey as error:
            raise self._null_key(self._places[str(error)]) from None

    def _one_chain(self, op: str, read: _Read) -> Function:
        table = self._target.table

        def generated(
            b: bytes, o: int, end: int, row: int, skip: int, prefix: str, prev: str, middle: str,
            tail: str, append: Callable[[bytes], None],
        ) -> tuple[int, int, str]:  # fmt: skip
            while o < end:
                o, old, new = read(b, o)
                if o > end:
                    raise IndexError
                if row >= skip:
                    about = change_head(op, table, self._old(old), self._new(new))
                    own = f"{prefix}{row}"
                    append(f'{about}{middle}{own}","prev":"{prev}{tail}'.encode())
                    prev = own
                row += 1
            return o, row, prev

        return generated

    def _several_chains(self, op: str, read: _Read) -> Function:
        """Return the same for several partitions; see `RowCodec._emit_to_chains`."""
        table, partitions = self._target.table, self._partitions

        def generated(
            b: bytes, o: int, end: int, row: int, skip: int, prefix: str, last: str, middle: str,
            tail: str, append: Callable[[bytes], None], half: int, prevs: list[str],
            address: Callable[[bytes], None],
        ) -> tuple[int, int, str]:  # fmt: skip
            def send(
                kind: str, own: str, chain: int, old: RowAddress | None, new: ShapedRow | None
            ) -> None:
                about = change_head(kind, table, old, new)
                append(f'{about}{middle}{own}","prev":"{prevs[chain]}{tail}'.encode())
                address(f"{kind}.{chain}".encode())
                prevs[chain] = own

            while o < end:
                o, old_texts, new_texts = read(b, o)
                if o > end:
                    raise IndexError
                if row >= skip or (op == "update" and row == half):
                    old, new = self._old(old_texts), self._new(new_texts)
                    own = f"{prefix}{row}"
                    was, at = (_partition(place, partitions) for place in (old, new and new.place))
                    moves = was is not None and at is not None and was != at
                    if row >= skip:
                        chain = was if at is None else at
                        send(op, own, chain or 0, None if moves else old, new)
                        last = own
                    if moves:
                        last = f"{own}.0"
                        send("delete", last, was or 0, old, None)
                row += 1
            return o, row, last

        return generated


def _partition(place: RowAddress | None, partitions: int) -> int | None:
    return None if place is None else partition_of(place.key, partitions)


def change_head(op: str, table: str, old: RowAddress | None, new: ShapedRow | None) -> str:
    """Return a change's body up to what follows `old_index`: fields as `cdc.message.Change` has.

    Args:
        old: before the change; None: it was not there, or another message removes it.
        new: after it; None: it is gone.
    """
    place = new.place if new is not None else old
    if place is None:
        raise ValueError("a change of nothing")
    out = [f'{{"key":{_json(place.key)},']
    if new is not None and new.value is not None:
        out.append(f'"value":{_json(new.value)},')
    out.append(f'"op":"{op}","table":{_json(table)},')
    moved = old is not None and (old.key, old.field) != (place.key, place.field)
    if moved and old is not None:
        out.append(f'"old_key":{_json(old.key)},')
    if place.field is not None:
        out.append(f'"field":{_json(place.field)},')
    if moved and old is not None and old.field is not None:
        out.append(f'"old_field":{_json(old.field)},')
    if new is not None:
        out.append(_index_field(new))
    kept = frozenset(new.place.members) if new is not None else frozenset[Member]()
    left = [_entry(member, None) for member in (old.members if old else ()) if member not in kept]
    if left:
        out.append(f'"old_index":[{",".join(left)}],')
    return "".join(out)


def selected(row: ShapedRow) -> bytes:
    """Return a row of a snapshot: fields as `cdc.message.SnapshotRow` has them."""
    out = [f'{{"key":{_json(row.place.key)}']
    if row.value is not None:
        out.append(f',"value":{_json(row.value)}')
    if row.place.field is not None:
        out.append(f',"field":{_json(row.place.field)}')
    index = _index_field(row)[:-1]
    return ("".join(out) + ("," + index if index else "") + "}").encode()


def _index_field(row: ShapedRow) -> str:
    entries = [_entry(m, s) for m, s in zip(row.place.members, row.scores, strict=True)]
    return f'"index":[{",".join(entries)}],' if entries else ""


def _entry(member: Member, score: str | None) -> str:
    kind, key, who = member
    scored = f',"score":"{score}"' if score is not None else ""
    return f'{{"{kind}":{_json(key)},"member":{_json(who)}{scored}}}'


def _json(text: str) -> str:
    return quote(text).decode()


def shaped_selection(
    target: Target,
    texts: Mapping[str, TextVariable],
    names: Sequence[str],
    null_key: Callable[[str], PositionLostError],
) -> Callable[[tuple[Text, ...]], bytes]:
    """Return what makes a snapshot's row of a selected one.

    Args:
        texts: of the selected columns, in their order.
        names: all columns of the table.
        null_key: the error for a NULL in a key column.
    """
    if target.shaped is None:
        raise ValueError(f"{target.table} has no shape")
    columns = list(texts)
    shape = RowShaper(target.shaped, names, {name: text.quoted for name, text in texts.items()})

    def made(row: tuple[Any, ...]) -> bytes:
        try:
            return selected(shape.row(dict(zip(columns, row, strict=True))))
        except NullKey as error:
            raise null_key(str(error)) from None

    return made
