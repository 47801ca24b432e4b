"""Current position in the binlog's files, and the newest transaction boundary.

Pure.  Offsets are kept with 64 bits, although an event's header has room for 32.
"""

from __future__ import annotations

from cdc.position import Position, file_number
from cdc_reader.binlog.event import Event

_TWO_GIB = 1 << 31
_HIGH_BITS = ~0xFFFFFFFF


class Coordinates:
    """File and offset of what was read last, and of the boundary before it.

    ``c = Coordinates(position)``, then `advance` for each event and `move_boundary` at each
    transaction's end; ``c.boundary`` is ``(2, 27999999)``: file number and offset in bytes.
    """

    def __init__(self, position: Position) -> None:
        self.file = self.boundary_file = position.file
        self.file_number = file_number(position.file)
        self.end = position.offset
        """Where the newest event ends."""
        self.boundary = (self.file_number, self.end)

    @property
    def position(self) -> tuple[int, int]:
        """File number and offset of what was read last."""
        return self.file_number, self.end

    def advance(self, event: Event, *, in_transaction: bool) -> None:
        """Go to an event's end."""
        low = event.end_offset
        if low:
            end = (self.end & _HIGH_BITS) | low
            # The header has 32 bits for the offset; a file can be longer (MySQL bug 112189).
            self.end = end if end >= self.end - _TWO_GIB else end + 2 * _TWO_GIB
        elif in_transaction:
            # MariaDB 11.4 and newer write 0 inside a transaction; its events follow each
            # other without a gap.
            self.end += event.size_bytes

    def go_to(self, file: str, offset: int) -> None:
        """Continue in another file."""
        self.file, self.file_number, self.end = file, file_number(file), offset

    def move_boundary(self, end: int | None = None) -> None:
        """Note that a boundary is here, or at `end` of the same file."""
        # A dump by GTID begins at its file's first event, which lies after us (invariant 2).
        position = (self.file_number, self.end if end is None else end)
        if position > self.boundary:
            self.boundary, self.boundary_file = position, self.file
