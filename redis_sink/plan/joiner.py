"""Rows that came in parts, put together: in place of the last part, the message as one.

Pure but for the clock.  What comes between the first part and the last is held until the row is
whole, so that no position is between them: a restart begins before the first part again.  A row
whose parts end early was given up by its reader, which publishes it again from its first part, or
the stream lost some: then the next message of the chain shows the gap (`prev`).
See docs/adr/0032-large-rows.md.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

import msgspec

from cdc.message import (
    OPERATIONS,
    PART,
    SCHEMA,
    SNAPSHOT,
    Delivery,
    RowPart,
    decode_part,
    decode_placed,
    parse_id,
    subject_for,
)
from cdc.partition import row_subject
from cdc.seal import Seal

HELD_MESSAGES, HELD_S = 10_000, 10.0
"""More is not held for a row, nor for longer after its newest part: its reader may be gone."""
_MALFORMED = (msgspec.DecodeError, UnicodeError, ValueError)
_subject_of: Callable[[Delivery], bytes] = itemgetter(1)


@dataclass(slots=True)
class _Row:
    """A row of which some parts have come."""

    first: RowPart
    place: tuple[int, ...]
    slices: list[bytes] = field(default_factory=list)
    came_s: float = 0.0

    def is_of(self, part: RowPart) -> bool:
        """Return whether a part was cut from the same body."""
        first = self.first
        return (part.id, part.parts, part.whole) == (first.id, first.parts, first.whole)

    def add(self, part: RowPart) -> None:
        """Take the part that comes next; any other is a copy, or one before it is missing.

        Raises:
            ValueError: its slice is not base64.
        """
        if part.part == len(self.slices) + 1:
            self.slices.append(base64.b64decode(part.slice, validate=True))
            self.came_s = time.monotonic()


class Joiner:
    """Puts the parts of one partition's rows together; made for each connection.

    ``for some in joiner.take(deliveries): …`` yields lists without parts, each ending with a
    row that was in parts, or with the newest message.
    """

    def __init__(self, prefix: str, seal: Seal, partition: int = 0, partitions: int = 1) -> None:
        """Begin between two rows."""
        self._seal = seal
        self._part = row_subject(prefix, PART, partition, partitions).encode()
        self._subjects = {
            op: row_subject(prefix, op, partition, partitions).encode()
            for op in (*OPERATIONS, SNAPSHOT)
        }
        self._chain = {*self._subjects.values(), subject_for(prefix, SCHEMA).encode()}
        self._row: _Row | None = None
        self._held: list[Delivery] = []

    def take(self, deliveries: list[Delivery]) -> Iterator[list[Delivery]]:
        """Yield what can be applied now, in order."""
        if self._row is None and self._part not in map(_subject_of, deliveries):
            yield deliveries
            return
        out: list[Delivery] = []
        for delivery in deliveries:
            part = self._part_in(delivery)
            if part is None:
                if self._row is not None and self._gives_up(self._row, delivery):
                    out += self._released()
                    self._row = None
                (out if self._row is None else self._held).append(delivery)
            elif self._takes(part, out) and self._row is not None:
                body = b"".join(self._row.slices)
                self._row = None
                yield [*out, *self._released(), (delivery[0], self._subjects[part.of], body)]
                out = []
        if self._row is not None and self._is_long_ago(self._row):
            out += self._released()
        if out:
            yield out

    def _part_in(self, delivery: Delivery) -> RowPart | None:
        """Return the part of ours that a message is; None: it is none."""
        seq, subject, body = delivery
        if subject != self._part or seq < self._seal.since or not self._seal.fits(seq, body):
            return None
        try:
            part = decode_part(body)
            parse_id(part.id)
        except _MALFORMED:
            return None
        return part

    def _takes(self, part: RowPart, out: list[Delivery]) -> bool:
        """Take a part in; return whether its row is whole."""
        row, place = self._row, parse_id(part.id)
        if row is None or not row.is_of(part):
            if part.part != 1 or (row is not None and place < row.place):
                return False  # a copy of an older one, or its first part is gone
            out += self._released()
            row = self._row = _Row(part, place)
        row.add(part)
        return len(row.slices) == row.first.parts

    def _gives_up(self, row: _Row, delivery: Delivery) -> bool:
        """Return whether a message comes after a row in the chain: its parts come no more."""
        seq, subject, body = delivery
        if subject not in self._chain or not self._seal.fits(seq, body):
            return False
        try:
            return parse_id(decode_placed(body).id) >= row.place
        except _MALFORMED:
            return False

    def _is_long_ago(self, row: _Row) -> bool:
        is_late = time.monotonic() - row.came_s > HELD_S
        return len(self._held) > HELD_MESSAGES or is_late

    def _released(self) -> list[Delivery]:
        held, self._held = self._held, []
        return held
