"""How far Redis is: the position, and what follows from it about the stream.

Pure.  The position is in Redis under ``cdc:<pipeline>:position``, with several partitions
one for each under ``cdc:<pipeline>:position:<n>``, as JSON:

```json
{"v":1,"stream":"MYSQL","created":"2026-11-23T12:00:06.98Z","seq":8123,"id":"1.2.27999999.41",
 "id_seq":8121,"gtid_set":"7271e0ec-…:1-8003","began":1795414000000000,"gtid":"7271e0ec-…:8003",
 "ts":1795414891568123,"applied":1795414891569001}
```

It is written by the transaction that writes the data (invariants 1 and 5), and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from cdc.errors import REFRESH, PositionLostError

POSITION_VERSION = 1


class Extent(Protocol):
    """What a stream holds: a `cdc.jetstream.stream.StreamState`, or a test's own."""

    @property
    def name(self) -> str:
        """The stream's name."""

    @property
    def created(self) -> str:
        """When it was created, as the server reports it."""

    @property
    def first_seq(self) -> int:
        """First sequence that is still there; 0 when nothing ever was."""

    @property
    def last_seq(self) -> int:
        """Last sequence ever given."""


Mark = tuple[int, int]
"""``(sequence, when NATS stored it in nanoseconds since 1970)``: no other message has both."""

MARK_S = 0.25
"""The newest marks are so far apart, older ones twice as far, and so on."""
MAX_MARKS = 20
"""The oldest is 1.5 days old; NATS loses two minutes at most (``sync_interval``)."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to here is in Redis."""

    v: int = POSITION_VERSION
    partitions: int | msgspec.UnsetType = msgspec.UNSET
    """How many the stream has; absent: one."""
    stream: str
    created: str
    """When the stream was created: another time is another stream of the same name."""
    seq: int
    """Sequence of the last message consumed, of any kind."""
    id: str = ""
    """`id` of the newest message of ours applied; empty: none yet."""
    id_seq: int = 0
    """The sequence of that message.  0 with an id: the stream was rewritten and it is not
    found again yet; see `catching_up`."""
    gtid_set: str | None = None
    """Of the newest heartbeat."""
    began: int = 0
    """Of the newest heartbeat: which history of the stream this is.  0: none was seen yet."""
    gtid: str | None = None
    """Of the newest change."""
    ts: int = 0
    """Commit time of the newest change, microseconds since 1970."""
    applied: int = 0
    """When this was written, microseconds since 1970."""
    upto: int = 0
    """Of the newest heartbeat: all that was committed up to this time is in Redis; 0: unknown."""
    reading: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Tables whose rows are being read, as of the newest heartbeat; absent: none."""
    unread: str | msgspec.UnsetType | None = msgspec.UNSET
    """GTID set where the reading began: until it has ended, and what is gone has been removed,
    Redis need not show these transactions, although `gtid_set` has them.  Absent: it has ended."""
    refresh: int | msgspec.UnsetType = msgspec.UNSET
    """`number` of the newest refresh taken in; absent: none yet."""
    refreshing: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """Tables that are being read again, with the number of that refresh; absent: none."""
    epoch: int | msgspec.UnsetType = msgspec.UNSET
    """Of the newest refresh after a gap: nothing of an earlier epoch follows it.  Absent: none."""
    again_to: int | msgspec.UnsetType = msgspec.UNSET
    """Messages up to this sequence may have been consumed before, see `resume`; absent: none."""
    marks: tuple[Mark, ...] = ()
    """Messages consumed, oldest first, the last one at `seq`: where one of them is unchanged,
    all before it is unchanged.  Absent: of a cdc that kept none."""

    @property
    def open_refreshes(self) -> dict[str, int]:
        """Return tables that are being read again, with the number of that refresh."""
        return {} if self.refreshing is msgspec.UNSET else self.refreshing

    @property
    def catching_up(self) -> bool:
        """Return whether the stream holds again what is applied already."""
        return bool(self.id) and self.id_seq == 0

    @property
    def consumed_to(self) -> int:
        """Return up to where messages may have been consumed, now or before."""
        return max(self.seq, 0 if self.again_to is msgspec.UNSET else self.again_to)


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Applied).decode


def decode(raw: bytes, *, key: str, partitions: int = 1) -> Applied:
    """Return the position that is in Redis.

    Raises:
        PositionLostError: it is no position, or one of a later version, or of another number
            of partitions: other keys than this one's were applied up to it.
    """
    try:
        applied = _decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        applied = None
    if applied is None or applied.v != POSITION_VERSION:
        raise PositionLostError(
            f"the value of the Redis key {key} is not a position of this version of cdc",
            safe="nothing was written",
            fix="give this pipeline another name (setting pipeline), or run the version of\n"
            "cdc that wrote it",
        )
    found = 1 if applied.partitions is msgspec.UNSET else applied.partitions
    if found != partitions:
        raise PositionLostError(
            f"the position {key} is that of {found} partitions, the settings say {partitions}",
            safe="nothing was written",
            fix=f"run with --partitions {found}, or give this pipeline another name",
        )
    return applied


class Why(Enum):
    """Why a sink starts where it does."""

    FIRST = "first start"
    RESUME = "resume"
    LOST_END = "stream lost its end"
    REWRITTEN = "stream was rewritten"
    REFRESH = "refresh"

    @property
    def is_loss(self) -> bool:
        """Whether the stream lost messages that were applied."""
        return self in (Why.LOST_END, Why.REWRITTEN)


@dataclass(frozen=True, slots=True)
class Start:
    """Where to consume from, and what is applied before it."""

    seq: int
    applied: Applied
    why: Why


def first_start(state: Extent, partitions: int = 1) -> Start:
    """Return the start of a Redis that has no position: the stream from its beginning.

    Whether that is also the start of the history is told by the first message's `prev`.
    """
    seq = max(state.first_seq, 1)
    applied = Applied(
        partitions=partitions if partitions > 1 else msgspec.UNSET,
        stream=state.name,
        created=state.created,
        seq=seq - 1,
    )
    return Start(seq, applied, Why.FIRST)


def marked(applied: Applied, stored_ns: int) -> Applied:
    """Return the position with a mark at its message, which NATS stored then (0: not known).

    Of older marks one stays for each doubling of their age, so that a stream that lost its
    newest minutes is looked through from about there and not from its beginning.
    """
    if not stored_ns:
        return applied
    newest = (applied.seq, stored_ns)
    of_age: dict[int, Mark] = {}
    for mark in reversed([mark for mark in applied.marks if mark[0] < applied.seq]):
        age_s = max(0, stored_ns - mark[1]) / 1e9
        of_age[int(age_s / MARK_S).bit_length()] = mark
    kept = sorted(mark for age, mark in of_age.items() if age < MAX_MARKS)
    return msgspec.structs.replace(applied, marks=(*kept, newest))


def resume(applied: Applied, state: Extent, consumed: int) -> Start:
    """Return where to resume after `applied`.

    Args:
        consumed: sequence of the newest of its messages that is still in the stream;
            0: none is.  See `redis_sink.stream.lookup.newest_consumed`.

    Wherever the stream is not the one that was applied, messages are taken again from
    where they can differ; their ids say which of them are applied already, and the
    first new one must follow ``applied.id`` (the `prev` chain), or it is a gap.  What has no id
    (heartbeats, bare messages of applications) may be old or new up to `Applied.again_to`: to
    there the sink had come, and no further did the stream reach when it was looked at.

    Raises:
        PositionLostError: messages that were never applied have left the stream, or the
            position belongs to a stream of another name.
    """
    if applied.stream != state.name:
        raise other_stream(applied, state.name)
    first = max(state.first_seq, 1)
    if applied.created != state.created:
        again = _again(applied, first - 1, state.last_seq)
        again = msgspec.structs.replace(again, created=state.created)
        return Start(first, again, Why.REWRITTEN)
    is_shorter = state.last_seq < applied.seq
    # Of a cdc that kept no marks: what follows the last id was heartbeats, if nothing else.
    is_unmarked = not (applied.marks or applied.catching_up or is_shorter)
    if consumed < applied.seq and not (is_unmarked and consumed == applied.id_seq):
        seq = max(consumed + 1, first)
        again = _again(applied, seq - 1, min(applied.consumed_to, state.last_seq))
        return Start(seq, again, Why.LOST_END if is_shorter else Why.REWRITTEN)
    if applied.seq + 1 < state.first_seq:
        raise PositionLostError(
            f"messages {applied.seq + 1} to {state.first_seq - 1} have left the stream "
            f"{state.name} before they were applied",
            safe=f"Redis is right as of sequence {applied.seq}; nothing after it was written",
            fix=REFRESH + "\n(and give stream_max_age_s more room)",
            heals_by_refresh=True,
        )
    return Start(max(consumed + 1, first), applied, Why.RESUME)


def _again(applied: Applied, seq: int, again_to: int) -> Applied:
    """Return the position for messages that are consumed again after a sequence."""
    return msgspec.structs.replace(
        applied,
        seq=seq,
        id_seq=applied.id_seq if applied.id_seq <= seq else 0,
        again_to=again_to if again_to > seq else msgspec.UNSET,
        marks=tuple(mark for mark in applied.marks if mark[0] <= seq),
    )


def other_stream(applied: Applied, stream: str) -> PositionLostError:
    """Return the error of a position that belongs to a stream of another name."""
    return PositionLostError(
        f"Redis holds data from the stream {applied.stream}, not {stream}",
        safe="nothing was written",
        fix=f"set stream to {applied.stream}, or give this pipeline another name",
    )


def at_refresh(applied: Applied, state: Extent, seq: int) -> Start:
    """Return the start at a refresh after a gap, whose sequence this is."""
    again = msgspec.structs.replace(
        applied, seq=seq - 1, created=state.created, again_to=msgspec.UNSET, marks=()
    )
    return Start(seq, again, Why.REFRESH)


def refreshed(applied: Applied, table: str) -> tuple[Applied, int]:
    """Return the position without a table that was read again, and that refresh's number."""
    left = dict(applied.open_refreshes)
    number = left.pop(table, 0)
    return msgspec.structs.replace(applied, refreshing=left or msgspec.UNSET), number
