r"""Rows events -> message bodies, by one generated function for each table and operation.

Pure.  `RowCodec` is made once for each TABLE_MAP; the function it generates goes from the
bytes of the row images to the bytes of the messages without an object between: adjacent
columns of fixed size in one struct call, columns that are not captured skipped by their
length, names and other constants escaped in advance.  For ``users(id BIGINT, name
VARCHAR(9))`` and an insert it is in essence::

    while o < end:
        n = b[o] & 3                                  # which columns are NULL
        if not n:
            v0, v1l, = unpack(b, o + 1)               # <qB
            o += 10
            v1 = b[o:o + v1l].decode()
            o += v1l
            e = quote(v1)
            v1t = v1 if len(e) == v1l + 2 else …      # escaped where there is something
            value = f'"value":"{{\\"id\\":{v0},\\"name\\":\\"{v1t}\\"}}",'
        else:
            …                                         # the same, column by column
        if row >= skip:
            id = f'{prefix}{row}'
            append(f'{{"key":"users:{v0}",{value}"op":"insert",…}}'.encode())
            prev = id
        row += 1

Measured with CPython 3.11 on an update of 8 columns: 2.7 us a row, 1.0 us with one column as
the value; mysql-replication's decoder takes 75 us before any JSON.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, Literal, cast

from cdc.errors import FIRST, REFRESH, PositionLostError
from cdc_reader.binlog.charset import NotAscii
from cdc_reader.binlog.table_map import TableMap
from cdc_reader.messages.chains import WHOLE, Chains, cut
from cdc_reader.rows.body_source import (
    FunctionSource,
    TextVariable,
    body,
    chain_end,
    column_line,
    f_string,
    key_template,
    partition_number,
    plain_key,
    row_line,
)
from cdc_reader.rows.column_source import CONSTANTS
from cdc_reader.rows.identity import refusal_of_rows
from cdc_reader.rows.image_source import Image, head_bytes, images_of
from cdc_reader.rows.parent_rows import ParentRows
from cdc_reader.rows.partial_rows import PartialRow, PartialRows, is_whole
from cdc_reader.rows.row_plan import OPS, row_plan
from cdc_reader.rows.shape import Target, needed_columns, shown_columns, value_columns
from cdc_reader.rows.shaped_rows import ShapedRows

Op = Literal["insert", "update", "delete"]
_Function = Callable[..., tuple[int, int, str]]

_SIGNATURE = "def generated(b, o, end, row, skip, prefix, prev, middle, tail, append):"
_CHAINS_SIGNATURE = (
    "def generated(b, o, end, row, skip, prefix, last, middle, tail, append, half, prevs, address):"
)
_UNREADABLE = (NotAscii, IndexError, KeyError, ValueError, OverflowError, struct.error)


class RowCodec:
    """Makes messages of the rows events that follow one TABLE_MAP."""

    def __init__(self, table_map: TableMap, target: Target, partitions: int = 1) -> None:
        """Generate nothing yet.

        Args:
            partitions: of the stream; with several, `messages` needs its chains.

        Raises:
            PositionLostError: the binlog does not name the table's columns, a column of the
                key or value is not there, or its type is not carried.
        """
        table_map.require_columns()
        self.target = target
        self.parent: ParentRows | None = None
        """Looks at the rows too, where others refer to the table."""
        self._partitions = partitions
        self._map = table_map
        names = [column.name or "" for column in table_map.columns]
        self._places = {name: place for place, name in enumerate(names)}
        for name in needed_columns(target, names):
            if name not in self._places:
                raise _without_column(target.table, name)
        if lost := refusal_of_rows(target.identity, table_map):
            raise PositionLostError(
                lost.seen,
                safe="nothing of this table was published from here on",
                fix=lost.fix,
                heals_by_refresh=lost.heals_by_refresh,
            )
        self._keys = tuple(dict.fromkeys(self._places[name] for name in target.key.columns))
        self._values = tuple(self._places[name] for name in value_columns(target, names))
        self._fields = target.fields or tuple((n, n) for n in shown_columns(target, names))
        self._functions: dict[tuple[Op, bytes], _Function] = {}
        self._partial: dict[tuple[Op, bytes, bool], PartialRows | None] = {}
        self.plans: dict[int, Any] = {}
        """By number of the operation, for the compiled path; the newest head's."""
        self._head_bytes = head_bytes(len(table_map.columns))
        # Fails here rather than at the first row: an update needs all that the others need.
        self._shaped: ShapedRows | None = None
        if target.shaped is None:
            self.source("update")
        else:
            self._shaped = ShapedRows(table_map, target, partitions, self._null_key)
            every = frozenset(range(len(names)))
            self._shaped.function("update", every, every)

    def messages(
        self,
        op: Op,
        event: bytes,
        start: int,
        end: int,
        *,
        first_row: int,
        id_prefix: str,
        prev: str,
        context: str,
        suffix: str,
        skip_rows: int,
        out: list[bytes],
        chains: Chains | None = None,
        addresses: list[bytes] | None = None,
    ) -> tuple[int, str]:
        """Append one message body to `out` for each row of a rows event.

        With several partitions a row whose key moves to another one gives two.

        Args:
            event: ``event[start:end]`` is the body from the number of columns on, without CRC.
            first_row: number of the event's first row.
            id_prefix: ``1.2.27999999.``; the row's number is put after it.
            prev: id of the message of ours before these.
            context: ``"gtid":"…",`` or empty.
            suffix: ``,"ts":1795414891568123,"v":1}``.
            skip_rows: rows with a smaller number are skipped: they are published already.
            chains: the chains of several partitions, moved on; None with one.
            addresses: gets ``b"update.2"`` for each body in `out`, only with chains.

        Returns:
            Number of the row after the last, and id of the last message (or `prev`).

        Raises:
            PositionLostError: the rows cannot be carried exactly; `out`, `chains` and `addresses`
                are as they were.
        """
        rows_start = start + self._head_bytes[op == "update"]
        head = event[start:rows_start]
        function = self._functions.get((op, head))
        if function is None:
            function = self._functions[op, head] = self._generate(op, head)
        held = len(out)
        middle, tail = context + '"id":"', '"' + suffix
        last_of = chains.last_of.copy() if chains is not None else None
        plan = self.plans.get(OPS[op])
        whole = first_row >= skip_rows and (chains is None or chains.half == WHOLE)
        if plan is not None and plan.head == head and whole:
            ids = (first_row, id_prefix, prev, middle, tail)
            made = plan.rows(event, rows_start, end, *ids, out, last_of, addresses)
            if made is not None:
                if chains is not None and last_of is not None:
                    chains.last_of = last_of
                return cast("tuple[int, str]", made)
        chain: tuple[Any, ...] = ()
        if chains is not None and addresses is not None:
            chain = (chains.half, last_of, addresses.append)
        try:
            o, row, last = function(
                event,
                rows_start,
                end,
                first_row,
                skip_rows,
                id_prefix,
                prev,
                middle,
                tail,
                out.append,
                *chain,
            )
        except (*_UNREADABLE, PositionLostError) as error:
            cut(held, out, addresses)
            raise self._refusal(error) from None
        if o != end:
            cut(held, out, addresses)
            raise self._damaged("rows that do not end with it")
        if chains is not None and last_of is not None:
            chains.last_of = last_of
        return row, last

    def partial(
        self, op: Op, event: bytes, start: int, *, has_options: bool = False
    ) -> PartialRows | None:
        """Return what reads a rows event that lacks columns; None: `messages` does.

        Args:
            event: as of `messages`.
            has_options: it is a PARTIAL_UPDATE_ROWS.

        Raises:
            PositionLostError: it does not go with its TABLE_MAP.
        """
        head = event[start : start + self._head_bytes[op == "update"]]
        try:
            return self._partial[op, head, has_options]
        except KeyError:
            before, after = self._images(head)
            is_partial = has_options or not is_whole(self.target, self._places, op, before, after)
            made = None
            if is_partial:
                made = PartialRows(
                    self._map, self.target, op, before, after,
                    null_key=self._null_key, has_options=has_options,
                )  # fmt: skip
            self._partial[op, head, has_options] = made
            return made

    def partial_rows(
        self, partial: PartialRows, op: Op, event: bytes, start: int, end: int
    ) -> list[PartialRow]:
        """Return what becomes of each row of an event that lacks columns.

        Args:
            partial: what `partial` returned.
            event: as of `messages`.

        Raises:
            PositionLostError: the rows cannot be carried exactly.
        """
        rows_start = start + self._head_bytes[op == "update"]
        try:
            return list(partial.rows(event, rows_start, end))
        except _UNREADABLE as error:
            raise self._refusal(error) from None

    def _images(self, head: bytes) -> tuple[frozenset[int], frozenset[int]]:
        found = images_of(head, len(self._map.columns))
        if found is None:
            raise self._damaged("another number of columns than its TABLE_MAP")
        return found

    def _generate(self, op: Op, head: bytes) -> _Function:
        """Return the function for the columns that are present according to an event's head.

        MariaDB leaves generated columns out of updates and deletes, stored ones too, so that
        an absent column is no reason to read rows by their keys unless it is captured.
        """
        before, after = self._images(head)
        if not is_whole(self.target, self._places, op, before, after):
            raise self._damaged("rows without columns that are needed")
        if self._shaped is not None:
            return self._shaped.function(op, before, after)
        source = self.source(op, before=before, after=after)
        self.plans[OPS[op]] = row_plan(
            self._map,
            op=op,
            table=self.target.table,
            key=self.target.key,
            value_column=self.target.value_column,
            fields=self._fields,
            head=head,
            before=before,
            after=after,
            partitions=self._partitions,
            watch=self.parent.watch(op, self.target.key.columns) if self.parent else 0,
        )
        return source.compile(f"rows of {self.target.table!r}, {op}")

    def source(
        self, op: Op, *, before: frozenset[int] | None = None, after: frozenset[int] | None = None
    ) -> FunctionSource:
        """Return the source of an operation's function.

        Args:
            before, after: places of the columns that the images have; None: all.

        Raises:
            PositionLostError: the type of a column that is needed is not carried.
        """
        several = self._partitions > 1
        source = FunctionSource(_CHAINS_SIGNATURE if several else _SIGNATURE)
        source.constants |= CONSTANTS
        source.constant("null_key", self._null_key)
        old = new = self._image(source, "p", before, values=())
        with source.block("while o < end:"):
            if op != "insert":
                old.write()
            if op != "delete":
                new = self._image(source, "v", after, values=self._values)
                new.write(functools.partial(self._value_line, new))
            with source.block("if o > end:"):
                source.add("raise IndexError")
            if several:
                self._emit_to_chains(source, op, old, new)
            else:
                with source.block("if row >= skip:"):
                    source.add("id = f'{prefix}{row}'")
                    self._emit(source, op, old, new)
                    source.add("prev = id")
            source.add("row += 1")
        source.add("return o, row, last" if several else "return o, row, prev")
        return source

    def _image(
        self,
        source: FunctionSource,
        prefix: str,
        present: frozenset[int] | None,
        values: tuple[int, ...],
    ) -> Image:
        if present is None:
            present = frozenset(range(len(self._map.columns)))
        nested = self.target.value_column is None
        return Image(
            self._map, source, prefix, present, keys=self._keys, values=values, nested=nested
        )

    def _value_line(self, image: Image, some_null: bool) -> str:
        only = self.target.value_column
        if only is not None:
            place = self._places[only]
            return column_line(image.texts[place], null=some_null and image.nullable(place))
        return row_line(
            [
                (field, image.texts[place], some_null and image.nullable(place))
                for place, (_, field) in zip(self._values, self._fields, strict=True)
            ]
        )

    def _emit(self, source: FunctionSource, op: Op, before: Image, after: Image) -> None:
        table = self.target.table
        value = "" if op == "delete" else "{value}"
        lines, key = self._key(after)
        source.add(*lines)
        if op != "update":
            source.add(f"append({body(op, table, key, value=value)})")
            return
        same = " and ".join(f"p{place} == v{place}" for place in before.texts)
        with source.block(f"if {same}:"):
            source.add(f"append({body(op, table, key, value=value)})")
        with source.block("else:"):
            source.add(f"key = {f_string(key)}")
            old_lines, old_key = self._key(before)
            source.add(*old_lines)
            whole = body(op, table, "{key}", value=value, old_key=old_key)
            source.add(f"append({whole})")

    def _emit_to_chains(self, source: FunctionSource, op: Op, before: Image, after: Image) -> None:
        """Write what `_emit` does for several partitions, each with its own chain.

        A key that leaves its partition is deleted there, by a message after the row's.
        """
        if op != "update":
            with source.block("if row >= skip:"):
                source.add("id = f'{prefix}{row}'", *self._partition(after, "at"))
                self._emit(source, op, before, after)
                source.add(*chain_end(op, "at", self._partitions, source))
            return
        with source.block("if row >= skip or row == half:"):
            source.add("id = f'{prefix}{row}'", *self._partition(after, "at"))
            same = " and ".join(f"p{place} == v{place}" for place in before.texts)
            source.add(f"was = at if {same} else {self._partition_number(before)}")
            with source.block("if row >= skip:"):
                with source.block("if was == at:"):
                    self._emit(source, op, before, after)
                with source.block("else:"):
                    # To its own partition the row is one like any other.
                    self._emit_row(source, op, after)
                source.add(*chain_end(op, "at", self._partitions, source))
            with source.block("if was != at:"):
                source.add("id = f'{prefix}{row}.0'", "prev = prevs[was]")
                self._emit_row(source, "delete", before)
                source.add(*chain_end("delete", "was", self._partitions, source))

    def _emit_row(self, source: FunctionSource, op: Op, image: Image) -> None:
        lines, key = self._key(image)
        whole = body(op, self.target.table, key, value="" if op == "delete" else "{value}")
        source.add(*lines, f"append({whole})")

    def _partition(self, image: Image, place: str) -> list[str]:
        return [f"{place} = {self._partition_number(image)}", f"prev = prevs[{place}]"]

    def _partition_number(self, image: Image) -> str:
        key = plain_key(self.target.key, self._key_texts(image))
        return partition_number(key, self._partitions)

    def _key_texts(self, image: Image) -> dict[str, TextVariable]:
        return {name: image.texts[self._places[name]] for name in self.target.key.columns}

    def _key(self, image: Image) -> tuple[list[str], str]:
        return key_template(self.target.key, self._key_texts(image))

    # -- what can go wrong ------------------------------------------------------------

    def _null_key(self, place: int) -> PositionLostError:
        return PositionLostError(
            f"a row of {self.target.table} has NULL in {self._map.columns[place].name!r}, "
            "a column of its key",
            safe="nothing after the last whole transaction was published",
            fix="make the key of columns that are NOT NULL: --key TEMPLATE;\n" + FIRST + REFRESH,
        )

    def _refusal(self, error: Exception) -> PositionLostError:
        if isinstance(error, NotAscii):
            return self._not_ascii(str(error))
        # Another error's own text can hold a value of the row.
        if isinstance(error, PositionLostError):
            return error
        return self._damaged(type(error).__name__)

    def _not_ascii(self, column: str) -> PositionLostError:
        name = self.target.table
        return PositionLostError(
            f"a row of {name} has bytes above 127 in {column!r}, a column in the character set "
            "ascii, which has no text for them",
            safe="nothing after the last whole transaction was published",
            fix="correct such rows, or give the column its true character set, then\n"
            "cdc refresh; "
            f'or leave it out, exclude = ["{column}"] in [tables."{name}"] of cdc.toml',
        )

    def _damaged(self, what: str) -> PositionLostError:
        return PositionLostError(
            f"a rows event of {self.target.table} cannot be read: {what}",
            safe="nothing after the last whole transaction was published",
            fix="check the file on the server: mysqlbinlog --verify-binlog-checksum FILE",
        )


def _without_column(table: str, name: str) -> PositionLostError:
    return PositionLostError(
        f"{table} has no column {name!r} in the binlog",
        safe="nothing of this table was published from here on",
        fix="the table was changed: start cdc again, which reads its columns again, or name\n"
        "a column that it has with --key or --value; if it stops at the same place again:\n"
        + REFRESH,
    )
