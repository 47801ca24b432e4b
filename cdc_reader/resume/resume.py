"""Decide where to resume: the stream's end against what the server still has.

Pure.  `cdc_reader.resume.stream_end` reads the one, `cdc_reader.resume.server_log` the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from cdc.errors import REFRESH, PositionLostError
from cdc.message import Heartbeat, Placed, Prepared, TableProgress, parse_id
from cdc.position import (
    GtidSet,
    MariaDbGtidSet,
    MariaDbState,
    MySqlGtidSet,
    Position,
    file_number,
)
from cdc.table_list import Naming
from cdc_reader.resume.published import Published

_NEXT_GTID = re.compile(r"'([0-9a-f-]{36}(?::\w+)?:\d+)'|GTID (\d+-\d+-\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where to resume: a transaction boundary, and the newest message after it."""

    epoch: int
    position: Position
    last: str
    """`id` of the newest message of ours in the stream; rows up to it are skipped."""
    last_of: tuple[str, ...] = ()
    """With several partitions: of the newest in each."""
    published: Published | None = None
    """On another server's binlog: what of it the stream has already."""
    is_position_known: bool = True
    """False: only the GTID set of `position` is exact; the offset is before it."""
    prepared: tuple[Prepared, ...] = ()
    """XA transactions without an outcome there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of the stream."""

    sequence: int
    """Last sequence of the stream, whichever writer's message it is: what the fence expects."""
    heartbeat: Heartbeat | None
    """The newest; None: the stream is new."""
    last: str
    """`id` of the newest message of ours, empty when there is none."""
    last_of: tuple[str, ...] = ()
    """With several partitions: of the newest in each, barriers included."""
    heartbeat_at: int = 0
    """Sequence of the newest heartbeat; 0: there is none."""
    naming: Naming = field(default_factory=Naming)
    """Which tables the newest heartbeat names; `heartbeat` itself has them all."""
    ours_at: int = 0
    """Sequence of the newest message of ours, of any kind; 0: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStart:
    """The list of transactions at the beginning of a binlog file."""

    before: str
    """Transactions in the files before it: a GTID set, or MariaDB's position."""
    first_offset: int = 0
    """Where its first transaction begins; 0: there is none."""
    first_gtid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLog:
    """What a server's binlog holds now."""

    mariadb: bool
    server: str
    """``server_uuid``, or ``server_id`` of MariaDB."""
    newest: Position
    purged: MySqlGtidSet | None
    """None: no GTIDs, or MariaDB."""
    oldest_file: str
    state: MariaDbState | None = None
    """None: MySQL."""
    has_xa: bool = False
    """XA transactions were committed since it was started."""
    file: FileStart | None = None
    """Of the newest heartbeat's file, on MariaDB of the oldest that is left; None: there is no such
    file, or it has no such list."""

    def lacks(self, gtids: GtidSet, published: Published) -> str:
        """Return transactions of ours that the server did not execute; empty: it has all."""
        if self.state is None:
            executed = MySqlGtidSet.parse(self.newest.gtid_set or "")
            if isinstance(gtids, MySqlGtidSet) and not executed.issuperset(gtids):
                return f"{gtids} is not within {executed}"
            there: MySqlGtidSet | MariaDbState = executed
            ours = []
        else:
            there, ours = self.state, [gtid for gtid in str(gtids).split(",") if gtid]
        ours += [gtid for gtid in (*published.whole, published.newest) if gtid]
        return next((gtid for gtid in ours if gtid not in there), "")


def tail_of(
    stream: str,
    sequence: int,
    heartbeat: Heartbeat | None,
    newest: Iterable[tuple[int | None, Placed]],
    partitions: int = 1,
    *,
    needs_heartbeat: bool = True,
    naming: Naming | None = None,
    heartbeat_at: int = 0,
) -> Tail:
    """Return the end of a stream.

    Args:
        heartbeat: the newest, with all tables.
        newest: of each subject the newest message of ours after that heartbeat, with its
            partition (None: a barrier, which is in all).
        needs_heartbeat: False: a refresh comes, which needs no position in the binlog.

    Raises:
        PositionLostError: the stream has messages, but no heartbeat of ours.
    """
    last = heartbeat.last if heartbeat else ""
    last_of = list(heartbeat.last_of if heartbeat else ("",) * partitions)
    for partition, ours in newest:
        if parse_id(ours.id) > parse_id(last):
            last = ours.id
        for n in range(partitions) if partition is None else (partition,):
            if partitions > 1 and parse_id(ours.id) > parse_id(last_of[n]):
                last_of[n] = ours.id
    if heartbeat is None and last and needs_heartbeat:
        raise PositionLostError(
            f"stream {stream} holds messages of ours but no heartbeat",
            safe="nothing was published or skipped",
            fix=REFRESH,
            heals_by_refresh=True,
        )
    return Tail(
        sequence=sequence,
        heartbeat=heartbeat,
        last=last,
        last_of=tuple(last_of) if partitions > 1 else (),
        naming=naming or Naming(),
        heartbeat_at=heartbeat_at,
    )


def is_by_gtid(tail: Tail, log: ServerLog) -> bool:
    """Return whether only GTIDs tell how much of this server's binlog the stream has.

    So it is on another server, and there until a message with its coordinates is stored.
    """
    heartbeat = tail.heartbeat
    if heartbeat is None or heartbeat.gtid_set is None or log.newest.gtid_set is None:
        return False
    is_of_before = bool(tail.last) and parse_id(tail.last)[0] < heartbeat.epoch
    same_kind = heartbeat.server.isdigit() == log.mariadb
    return same_kind and (is_of_before or heartbeat.server != log.server)


def resume_from(
    tail: Tail,
    log: ServerLog,
    next_event: str | None = "",
    published: Published | None = None,
) -> Resume:
    """Return where to resume.

    Args:
        next_event: the event at the newest heartbeat's position, from `server_log.event_at`.
        published: what the stream holds after that heartbeat, where `is_by_gtid`.

    A new stream begins at the server's newest position.  Else the newest heartbeat's
    boundary counts, and rows up to the stream's newest message are skipped.  On another
    server the GTIDs tell where that is, in a new epoch.

    Raises:
        PositionLostError: the server no longer has that position, or lacks
            transactions that the stream has.
    """
    heartbeat = tail.heartbeat
    if heartbeat is None:
        return Resume(epoch=1, position=log.newest, last="", last_of=tail.last_of)
    position = Position(file=heartbeat.file, offset=heartbeat.offset, gtid_set=heartbeat.gtid_set)
    if published is not None:
        return _by_gtid(tail, heartbeat, log, published)
    if heartbeat.server != log.server:
        raise _lost(
            f"the stream follows server {heartbeat.server}, this is server {log.server}, and "
            "without GTIDs on both its position here is not known",
            position,
        )
    if log.newest.gtid_set is None or position.gtid_set is None:
        position = Position(file=position.file, offset=position.offset, gtid_set=None)
        _check_position(position, log)
    elif log.mariadb:
        position = _position_in_mariadb(position, log)
        _check_position(position, log)
    else:
        position = _with_purged(position, log)
        _check_gtids(position, log)
    _check_next(position, log, next_event)
    return Resume(
        epoch=heartbeat.epoch,
        position=position,
        last=tail.last,
        last_of=tail.last_of,
        prepared=heartbeat.prepared or (),
    )


def _by_gtid(tail: Tail, heartbeat: Heartbeat, log: ServerLog, published: Published) -> Resume:
    """Return where another server's binlog continues after what the stream has."""
    ours = MariaDbGtidSet.parse if log.mariadb else MySqlGtidSet.parse
    gtids: GtidSet = ours(heartbeat.gtid_set or "")
    if lacking := log.lacks(gtids, published):
        raise _lost(
            f"server {log.server} lacks transactions that the stream has from server "
            f"{heartbeat.server}: {lacking}",
            Position(file=heartbeat.file, offset=heartbeat.offset, gtid_set=heartbeat.gtid_set),
        )
    for gtid in reversed(published.whole):
        gtids.add(gtid)
    # Its offset is not known; it is after the beginning of all that the server has.
    moved = heartbeat.server != log.server
    file, offset = (log.oldest_file, 4) if moved else (heartbeat.file, heartbeat.offset)
    position = Position(file=file, offset=offset, gtid_set=str(gtids))
    if isinstance(gtids, MySqlGtidSet) and log.purged and not gtids.issuperset(log.purged):
        raise _lost(f"server {log.server} purged its binlog up to {log.purged}", position)
    return Resume(
        epoch=heartbeat.epoch + moved,
        position=position,
        last=tail.last,
        last_of=tail.last_of,
        published=published if published.newest else None,
        is_position_known=False,
        prepared=_prepared(heartbeat, moved=moved),
    )


def _prepared(heartbeat: Heartbeat, *, moved: bool) -> tuple[Prepared, ...]:
    """Return the prepared transactions; on another server their places mean nothing."""
    prepared = heartbeat.prepared or ()
    if not moved:
        return prepared
    return tuple(msgspec.structs.replace(one, file="", offset=0) for one in prepared)


def _position_in_mariadb(position: Position, log: ServerLog) -> Position:
    """Return the oldest file's beginning where all files before it were purged and we have them.

    So it is after FLUSH BINARY LOGS and PURGE BINARY LOGS while we were away.
    """
    if file_number(position.file) >= file_number(log.oldest_file) or log.file is None:
        return position
    ours = MariaDbGtidSet.parse(position.gtid_set or "")
    before = [gtid for gtid in log.file.before.split(",") if gtid]
    if not before or not all(gtid in ours for gtid in before):
        return position
    return Position(file=log.oldest_file, offset=4, gtid_set=position.gtid_set)


def _with_purged(position: Position, log: ServerLog) -> Position:
    """Return the position with the transactions that no event brings.

    ``SET GLOBAL gtid_purged = '+…'``, as the restoring of a dump does, makes transactions executed
    and purged that were never in this binlog.  Nothing is missing as long as the file of our
    position exists and its history is ours: we have all that is before it, except what was
    purged.  A binlog that was reset begins with other transactions.
    """
    purged, file = log.purged, log.file
    if purged is None or file is None:
        return position
    if file_number(position.file) < file_number(log.oldest_file):
        return position
    ours = MySqlGtidSet.parse(position.gtid_set or "")
    if not ours.union(purged).issuperset(MySqlGtidSet.parse(file.before)):
        return position
    is_read = 0 < file.first_offset < position.offset
    if is_read and (file.first_gtid not in ours or file.first_gtid in purged):
        return position
    return dataclasses.replace(position, gtid_set=str(ours.union(purged)))


def _check_gtids(position: Position, log: ServerLog) -> None:
    ours = MySqlGtidSet.parse(position.gtid_set or "")
    if not MySqlGtidSet.parse(log.newest.gtid_set or "").issuperset(ours):
        raise _lost("the server does not know transactions that the stream has (RESET?)", position)
    if log.purged is not None and not ours.issuperset(log.purged):
        raise _lost(f"the server purged its binlog up to {log.purged}", position)
    # Numbers begin again at 1 after a RESET, so that new transactions soon look like ours.
    same_files = position.file.rpartition(".")[0] == log.newest.file.rpartition(".")[0]
    if same_files and _coordinates(position) > _coordinates(log.newest):
        raise _lost(f"the server's binlog ends before, at {log.newest} (RESET?)", position)


def _coordinates(position: Position) -> tuple[int, int]:
    return file_number(position.file), position.offset


def _check_position(position: Position, log: ServerLog) -> None:
    if file_number(position.file) < file_number(log.oldest_file):
        raise _lost(f"the server purged its binlog before {log.oldest_file}", position)
    if _coordinates(position) > _coordinates(log.newest):
        raise _lost(f"the server's binlog ends before, at {log.newest} (RESET?)", position)


def _check_next(position: Position, log: ServerLog, next_event: str | None) -> None:
    """Notice a binlog that was reset and has grown past our position since."""
    if next_event is None:
        raise _lost("no event begins there any more: the server's binlog was reset", position)
    ours = parsed_gtid_set(position, mariadb=log.mariadb)
    found = _NEXT_GTID.search(next_event)
    if ours is not None and found and (found[1] or found[2]) in ours:
        raise _lost("an older transaction is there: the server's binlog was reset", position)


def _lost(seen: str, position: Position) -> PositionLostError:
    return PositionLostError(
        f"cannot resume at {position}: {seen}",
        safe="nothing was skipped; Redis shows the state of that position",
        fix=REFRESH,
        heals_by_refresh=True,
    )


def parsed_gtid_set(position: Position, *, mariadb: bool) -> GtidSet | None:
    """Return a position's GTID set as an object of its own, None without GTIDs."""
    if position.gtid_set is None:
        return None
    kind = MariaDbGtidSet if mariadb else MySqlGtidSet
    return kind.parse(position.gtid_set)


def initial_progress(
    forms: Mapping[str, str], known: Mapping[str, TableProgress], *, snapshot: bool
) -> dict[str, TableProgress]:
    """Return each table's snapshot progress: from the stream, new tables at their start.

    A table that is not captured any more is left out: its changes are not published from here
    on, so it is read again when it is put back.

    Args:
        forms: each captured table and its form, ``{"shop.users": "a3f1902c"}``.
        snapshot: False (``--no-snapshot``): what is not finished counts as done, but for tables
            that a refresh wants read.
    """
    progress: dict[str, TableProgress] = {}
    for table, form in forms.items():
        before = known.get(table, TableProgress())
        is_wanted = snapshot or before.refresh is not UNSET
        has_changed = before.form not in (UNSET, form)
        progress[table] = msgspec.structs.replace(
            before,
            done=before.done or not is_wanted,
            form=form,
            has_older_forms=True if has_changed else before.has_older_forms,
        )
    return progress
