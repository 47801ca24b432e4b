"""Tables that are being read again: which keys stay, and when the rest is removed.

Pure.  From the announcement on, every key that a message of the stream speaks of goes into a
set in Redis, in the transaction of its batch.  Once a heartbeat reports a table as read to
its end, keys under its template that are not in the set are of rows that are gone
(`redis_sink.store.sweep`, docs/adr/0011-refresh.md).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from msgspec import UNSET

from cdc.message import Heartbeat, Refresh
from cdc.table_list import NONE_LISTED, Listed, progress_of, unread_of
from redis_sink.plan.applied import Applied
from redis_sink.plan.state import States


class Refreshing:
    """What of it one batch sees and changes."""

    def __init__(self, applied: Applied, key_of: Callable[[int], str]) -> None:
        """Begin at the position.

        Args:
            key_of: the key of a refresh's set of live keys, by its number.
        """
        self.tables = dict(applied.open_refreshes)
        self.begun: Refresh | None = None
        """The announcement that ends the batch."""
        self.read_again: dict[str, int] = {}
        """Tables that are read to their end, with the number of the refresh."""
        self.lost: list[str] = []
        """Tables whose refresh the stream lost with its newest messages: they are not read."""
        self.reading = () if applied.reading is UNSET else applied.reading
        """Tables whose rows are being read, those of a gap's refresh included."""
        self.unread = applied.unread
        """The GTID set where that began."""
        self._open = {number: key_of(number) for number in sorted(set(self.tables.values()))}
        self.passed_over: list[str] = []
        """Keys of messages that were skipped or refused: their rows are no less alive."""
        self._key_of = key_of
        self._newest = applied.refresh or 0

    @property
    def live_keys(self) -> list[str]:
        """Keys of the sets that this batch adds its keys to."""
        return list(self._open.values())

    def is_known(self, refresh: Refresh) -> bool:
        """Return whether an announcement was taken in before."""
        return refresh.number <= self._newest

    def begin(self, refresh: Refresh, captured: Container[str]) -> None:
        """Take a refresh; what comes after it belongs to the next batch."""
        self.begun = refresh
        for table in refresh.tables:
            if table in captured:
                self.tables[table] = refresh.number
        if refresh.gap:
            self.reading, self.unread = refresh.tables, refresh.boundary.gtid_set

    def look(self, heartbeat: Heartbeat, listed: Listed = NONE_LISTED) -> None:
        """Note which tables have been read, and which are being read.

        Args:
            listed: the list that the heartbeat names.
        """
        reading = unread_of(heartbeat, listed)
        # A refresh without a gap reads what Redis has shown before.
        if set(reading).difference(self.reading, self.tables):
            self.unread = heartbeat.gtid_set
        self.reading = reading
        for table, number in list(self.tables.items()):
            progress = progress_of(heartbeat, listed, table)
            if progress is None:
                del self.tables[table]  # the reader does not capture it any more
            elif (0 if progress.refresh is UNSET else progress.refresh) < number:
                del self.tables[table]
                self.lost.append(table)
            elif progress.done and progress.refresh == number:
                self.read_again[table] = number

    def noted(self) -> dict[str, Any]:
        """Return what of it the position keeps."""
        is_over = not (self.reading or self.tables)
        return {
            "reading": self.reading or UNSET,
            "unread": UNSET if is_over else self.unread,
            "refreshing": self.tables or UNSET,
        }

    def commands(self, states: States) -> list[tuple[str, ...]]:
        """Return what remembers the keys that this batch spoke of."""
        keys = states.live + self.passed_over if self._open else []
        still_open = set(self.tables.values())
        out: list[tuple[str, ...]] = []
        for number, name in self._open.items():
            if number not in still_open:
                out.append(("UNLINK", name))
            elif keys:
                out.append(("SADD", name, *keys))
        if self.begun is not None:
            # A position that was set by hand may come by here a second time.
            out.append(("UNLINK", self._key_of(self.begun.number)))
        return out
