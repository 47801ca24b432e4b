"""Keys of rows that a SELECT may not show yet, although their XA COMMIT is in the binlog.

Pure but for the clock.  A usual transaction is waited for before a chunk is read.  XA COMMIT is
executed by GTID, and in MariaDB's consistent snapshot, a moment before InnoDB shows its rows: in
15 s of four writers 85 of 2,500 reads of MySQL 8.0.15 were older, and 9 of 9,700 of MariaDB 11.8
(docs/adr/0031-xa.md).  Their newest values are in the stream already, so that a chunk is exact
without them, however long they are kept here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

KEEP_S = 30.0
"""At least; InnoDB's part takes milliseconds."""
SETTLE_S = 1.0
"""For so long a new connection reads no chunk: it does not know what was committed before it.  Nor
are rows read of which the binlog has only parts: nothing else has their values."""

KeyPlace = tuple[str, str | None]
"""A key in Redis, with the field where the hash of a parent has one for each row."""


class Late:
    """Keeps keys for `KEEP_S` to twice that."""

    def __init__(
        self, *, has_xa: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with none.

        Args:
            has_xa: some may have been committed just before.
        """
        self._clock = clock
        self._settled_s = clock() + SETTLE_S if has_xa else 0.0
        self._settled_of: dict[str, float] = {}
        self._released_of: dict[str, float] = {}
        self._newer: dict[str, set[KeyPlace]] = {}
        self._older: dict[str, set[KeyPlace]] = {}
        self._due_s = 0.0

    def begin(self, table: str) -> None:
        """Note an XA COMMIT of a table."""
        self._settled_of[table] = self._clock() + SETTLE_S

    def release(self, table: str) -> None:
        """Note that a table is read from now on, of which rows were committed and not published."""
        self._released_of[table] = self._settled_of.get(table, 0.0)

    def is_settling(self, table: str, *, by_keys: bool) -> bool:
        """Return whether no chunk of a table may begin yet.

        Args:
            by_keys: it is of rows that the binlog has in part.
        """
        if not self._settled_s and not self._settled_of:
            return False
        now_s = self._clock()
        if by_keys and now_s < self._settled_of.get(table, 0.0):
            return True
        return now_s < max(self._settled_s, self._released_of.get(table, 0.0))

    def note(self, table: str, *places: KeyPlace) -> None:
        """Keep what a row was published as."""
        self._expire()
        self._newer.setdefault(table, set()).update(places)

    def of(self, table: str) -> Collection[KeyPlace]:
        """Return the keys of a table that are kept."""
        self._expire()
        newer, older = self._newer.get(table), self._older.get(table)
        return newer | older if newer and older else newer or older or ()

    def _expire(self) -> None:
        now_s = self._clock()
        if now_s >= self._due_s:
            # After a pause of more than that, the newer ones are old as well.
            self._older = self._newer if now_s < self._due_s + KEEP_S else {}
            self._newer, self._due_s = {}, now_s + KEEP_S
