"""Lists of all tables, and heartbeats that name what changed since.

Pure.  A heartbeat of a stream with few tables names them all.  With many, a list of all of them
stands in messages of its own (`cdc.message.Tables`), and each heartbeat names it and the tables
that changed since: ``{"listed":{"number":…,"seq":8123},"snapshot":{"shop.users":{…}}}``.  Both
together tell how far each table is, as if the heartbeat named them all
(docs/adr/0024-kept-in-the-stream.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import msgspec
from msgspec import UNSET

from cdc.message import Heartbeat, ListedAt, TableProgress, Tables

NAMED_MOST = 64
"""Up to this many tables are named by each heartbeat, without a list."""


@dataclass(frozen=True)
class Listed:
    """A list of all tables, and where it begins in the stream."""

    at: ListedAt
    tables: Mapping[str, TableProgress]

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Tables that are not read to their end."""
        return tuple(name for name, progress in self.tables.items() if not progress.done)


NONE_LISTED = Listed(ListedAt(number=0, seq=0), {})


class ListMissing(Exception):
    """A heartbeat names another list than the one at hand."""

    def __init__(self, at: ListedAt, seq: int) -> None:
        """Set which, and the heartbeat's position."""
        super().__init__(f"the heartbeat at {seq} names the list at {at.seq}")
        self.at, self.seq = at, seq


def named_by(heartbeat: Heartbeat, listed: Listed) -> bool:
    """Return whether a heartbeat names this list; one that names none goes with `NONE_LISTED`."""
    return (NONE_LISTED.at if heartbeat.listed is UNSET else heartbeat.listed) == listed.at


def progress_of(heartbeat: Heartbeat, listed: Listed, table: str) -> TableProgress | None:
    """Return how far one table is; None: it is not captured."""
    return heartbeat.snapshot.get(table) or listed.tables.get(table)


def unread_of(heartbeat: Heartbeat, listed: Listed) -> tuple[str, ...]:
    """Return the tables that are not read to their end."""
    named = heartbeat.snapshot
    before = (name for name in listed.unread if name not in named)
    return (*before, *(name for name, progress in named.items() if not progress.done))


def whole(heartbeat: Heartbeat, listed: Listed) -> Heartbeat:
    """Return the heartbeat as if it named all tables."""
    if listed is NONE_LISTED:
        return heartbeat
    snapshot = {**listed.tables, **heartbeat.snapshot}
    return msgspec.structs.replace(heartbeat, snapshot=snapshot, listed=UNSET)


class Naming:
    """Which tables a heartbeat names, and when all have to be listed again."""

    def __init__(self, listed: Listed = NONE_LISTED, named: Iterable[str] = ()) -> None:
        """Go on where the newest heartbeat left off.

        Args:
            listed: the list that it names.
            named: tables that it names; they stay named until the next list, so that whoever
                looks at heartbeats alone sees each change.
        """
        self.listed = listed
        self._named = dict.fromkeys(named)
        self._has_lost = False
        self.starts = [] if listed is NONE_LISTED else [listed.at.seq]
        """Where lists begin in the stream that heartbeats name, oldest first."""

    def begin(self, progress: Mapping[str, TableProgress]) -> None:
        """Compare all tables with the list."""
        before = self.listed.tables
        self._named = {name: None for name in self._named if name in progress}
        self.moved(name for name, now in progress.items() if before.get(name) != now)
        self._has_lost = any(name not in progress for name in before)

    def moved(self, names: Iterable[str]) -> None:
        """Note that tables are not as listed any more."""
        self._named.update(dict.fromkeys(names))

    def needs_list(self, tables: int, *, now_us: int, keep_us: int) -> bool:
        """Return whether a list is due before the next heartbeat.

        So many tables are named at most that the lists of a first reading of n tables and its
        heartbeats together stay near n times a constant.

        Args:
            keep_us: a list that is older is to be written again, so that it can be removed.
        """
        if self._has_lost or len(self._named) > max(NAMED_MOST, isqrt(2 * tables)):
            return True
        return self.listed is not NONE_LISTED and now_us - self.listed.at.number > keep_us

    def of(self, progress: Mapping[str, TableProgress]) -> dict[str, TableProgress]:
        """Return the tables that a heartbeat names."""
        return {name: progress[name] for name in self._named}

    @property
    def at(self) -> ListedAt | msgspec.UnsetType:
        """The list that a heartbeat names; none: it names all tables itself."""
        return UNSET if self.listed is NONE_LISTED else self.listed.at

    def is_listed(self, at: ListedAt, progress: Mapping[str, TableProgress]) -> None:
        """Note that all tables were listed."""
        self.listed = Listed(at, dict(progress))
        self._named, self._has_lost = {}, False
        self.starts.append(at.seq)

    def expire(self) -> None:
        """Have all tables listed again, because the list keeps what comes after it."""
        self._has_lost = self.listed is not NONE_LISTED

    def starts_from(self, seq: int) -> list[int]:
        """Return where lists begin that are still in a stream that begins at `seq`."""
        self.starts = [at for at in self.starts if at >= seq]
        return self.starts


def listing(
    progress: Mapping[str, TableProgress], *, number: int, max_bytes: int
) -> Iterator[Tables]:
    """Yield the messages of a list; each takes about `max_bytes` at most.

    One table alone may take more: its ranges are bounded by `cdc_reader.snapshot.key_range`.
    """
    parts: list[dict[str, TableProgress]] = [{}]
    size_bytes = 0
    for name, one in progress.items():
        more_bytes = len(name.encode()) + len(msgspec.json.encode(one)) + 8
        if parts[-1] and size_bytes + more_bytes > max_bytes:
            parts.append({})
            size_bytes = 0
        parts[-1][name] = one
        size_bytes += more_bytes
    for n, part in enumerate(parts, 1):
        yield Tables(number=number, part=n, parts=len(parts), snapshot=part)
