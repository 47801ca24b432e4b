"""Messages on their way, and the chains of a stream with several partitions.

Pure.  Each partition has a chain of its own: ``prev`` is the id of the message before it
there.  Ids grow through all of them, so that one id says what a restart has to skip
(docs/adr/0008-partitions.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

WHOLE = -1
"""No row is half published."""


class Run(NamedTuple):
    """Messages of one operation on one table, in order."""

    op: str
    table: str
    bodies: list[bytes]
    addresses: list[bytes] | None = None
    """Of each body, ``b"update.2"``, where there are several partitions: a key that leaves
    its partition is deleted there in the middle of updates.  None: all on `op`."""


@dataclass(slots=True)
class Lanes:
    """The end of each chain, and where the messages of the current run go."""

    last_of: list[str]
    """`id` of the newest message of each partition."""
    half: int = WHOLE
    """Row of the event whose message is in the stream, perhaps without the delete behind it."""

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.last_of)

    def barrier(self, id: str) -> None:
        """Put a message at the end of every chain."""
        self.last_of[:] = [id] * len(self.last_of)


def cut(held: int, bodies: list[bytes], addresses: list[bytes] | None) -> None:
    """Take messages back that were made behind the first `held`."""
    del bodies[held:]
    if addresses is not None:
        del addresses[held:]
