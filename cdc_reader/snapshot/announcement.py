"""What a refresh announces, and whether it is done.  Pure.

An announcement is planned from the stream's end; `cdc_reader.snapshot.refresh` stores it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from cdc.errors import UnavailableError, UsageError
from cdc.message import Aside, Heartbeat, KeyRange, Refresh, TableProgress, parse_id
from cdc.setting import nearest
from cdc.table import Table
from cdc_reader.resume.resume import ServerLog, Tail
from cdc_reader.snapshot.key_range import Ranges, refuse_too_much


def is_read(progress: TableProgress | None, number: int) -> bool:
    """Return whether a table was read to its end for a refresh, or for one after it."""
    return bool(progress and progress.done and (progress.refresh or 0) >= number)


def are_read(progress: TableProgress | None, number: int) -> bool:
    """Return whether the ranges of a refresh were read, or the whole table for one after it."""
    if progress is None:
        return False
    if progress.refresh is not msgspec.UNSET and progress.refresh > number:
        return progress.done  # a whole reading that was announced later took their place
    return all(part.refresh > number for part in progress.open_ranges)


def is_done(refresh: Refresh, snapshot: Mapping[str, TableProgress]) -> bool:
    """Return whether all that a refresh reads is in the stream.

    Raises:
        UnavailableError: the reader that runs does not capture one of the tables.
    """
    partly = () if refresh.ranges_of is msgspec.UNSET else refresh.ranges_of
    if missing := [name for name in (*refresh.tables, *partly) if name not in snapshot]:
        raise UnavailableError(
            f"the running cdc run does not capture {', '.join(missing)}",
            safe="nothing was changed by this",
            fix="give it the same tables, and ask again",
        )
    return all(is_read(snapshot[name], refresh.number) for name in refresh.tables) and all(
        are_read(snapshot[name], refresh.number) for name in partly
    )


def plan_refresh(
    tail: Tail,
    server: ServerLog | None,
    tables: Collection[str],
    only: Collection[str],
    *,
    number: int,
    now_us: int,
) -> Refresh:
    """Return the announcement for the stream's end.

    Without `server`, the boundary stays where it is; else it is the newest place of the binlog, in
    a new epoch, and all tables are read, those too that only the stream knows of.

    Raises:
        UsageError: a table is not captured, or the stream is new.
    """
    progress: Mapping[str, TableProgress] = tail.heartbeat.snapshot if tail.heartbeat else {}
    # What cannot be captured is read when it can be again.
    held = {
        name: one
        for name, one in progress.items()
        if one.aside is not msgspec.UNSET and name not in tables
    }
    wanted = tuple(only or dict.fromkeys([*tables, *(n for n in progress if n not in held)]))
    for name in wanted:
        if only and name not in tables:
            raise UsageError(
                f"{name} is not captured{nearest(name, tables)}",
                fix="captured are " + ", ".join(sorted(tables)),
            )
    fresh = {
        name: progress.get(name, TableProgress()).begun_again(number, keeps_columns=server is None)
        for name in wanted
    }
    if server is None:
        boundary = msgspec.structs.replace(_of_now(tail), snapshot={**progress, **fresh})
    else:
        boundary = Heartbeat(
            epoch=_newest_epoch(tail) + 1,
            server=server.server,
            file=server.newest.file,
            offset=server.newest.offset,
            gtid_set=server.newest.gtid_set,
            last=tail.last,
            partitions=len(tail.last_of) or 1,
            snapshot=held | fresh,
            began=tail.heartbeat.began if tail.heartbeat else now_us,
            ts=now_us,
        )
    boundary = msgspec.structs.replace(boundary, last=tail.last, last_of=tail.last_of, ts=now_us)
    return Refresh(number=number, tables=wanted, gap=server is not None, boundary=boundary)


def plan_changes(
    tail: Tail, read: Sequence[Table], aside: Mapping[str, Aside], *, number: int, now_us: int
) -> Refresh:
    """Return the announcement that tables are read again and others are set aside.

    The rows of a table whose keys are removed are read to their end with it: it has none.

    Raises:
        UsageError: the stream is new.
    """
    heartbeat = _of_now(tail)
    snapshot = dict(heartbeat.snapshot)
    keys = {table.qualified: table.identity for table in read}
    keys_before = _keys_before(snapshot, keys)
    for name, columns in keys.items():
        again = snapshot.get(name, TableProgress()).begun_again(number)
        snapshot[name] = msgspec.structs.replace(again, key=columns)
    for name, why in aside.items():
        before = snapshot.get(name, TableProgress())
        snapshot[name] = msgspec.structs.replace(
            TableProgress(refresh=number, done=True) if why.removed else before,
            ranges=msgspec.UNSET,
            partial=msgspec.UNSET,
            refresh_due=msgspec.UNSET,
            aside=why.after(before.aside),
            columns=msgspec.UNSET,
        )
    boundary = msgspec.structs.replace(
        heartbeat, snapshot=snapshot, last=tail.last, last_of=tail.last_of, ts=now_us
    )
    return Refresh(
        number=number,
        tables=(*keys, *(name for name, why in aside.items() if why.removed)),
        keys=keys or msgspec.UNSET,
        keys_before=keys_before or msgspec.UNSET,
        gap=False,
        boundary=boundary,
    )


def _keys_before(
    snapshot: Mapping[str, TableProgress], keys: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    known = {name: snapshot[name].key for name in keys if name in snapshot}
    return {name: key for name, key in known.items() if key and key != keys[name]}


def plan_ranges(tail: Tail, ranges: Ranges, *, number: int, now_us: int) -> Refresh:
    """Return the announcement of ranges of keys, after all that is being read anyway.

    A table's progress in a whole snapshot stays as it is; ranges are kept separately.

    Raises:
        UsageError: the stream is new, the reader that runs does not capture a table, or too many
            ranges wait already.
    """
    heartbeat = _of_now(tail)
    snapshot = dict(heartbeat.snapshot)
    for name, wanted in ranges.items():
        if name not in snapshot:
            raise UsageError(
                f"{name} is not captured by the cdc run that last wrote to the stream"
                f"{nearest(name, snapshot)}",
                fix="start cdc run with it: it takes a snapshot of the table",
            )
        more = (
            KeyRange(refresh=number, first=tuple(first), last=tuple(last)) for first, last in wanted
        )
        snapshot[name] = snapshot[name].with_ranges((*snapshot[name].open_ranges, *more))
        refuse_too_much(snapshot[name].open_ranges)
    boundary = msgspec.structs.replace(
        heartbeat, snapshot=snapshot, last=tail.last, last_of=tail.last_of, ts=now_us
    )
    return Refresh(number=number, tables=(), ranges_of=tuple(ranges), gap=False, boundary=boundary)


def _of_now(tail: Tail) -> Heartbeat:
    if tail.heartbeat is None:
        raise UsageError(
            "the stream has no binlog position yet, so there is nothing to refresh",
            fix="start cdc run, or refresh all tables",
        )
    return tail.heartbeat


def _newest_epoch(tail: Tail) -> int:
    # A message may be of a later epoch than the boundary before it.
    of_last = parse_id(tail.last)[0] if tail.last else 0
    return max(of_last, tail.heartbeat.epoch if tail.heartbeat else 0)


def claim(tail: Tail, heartbeat: Heartbeat, now_us: int) -> Heartbeat:
    """Return the heartbeat that takes the stream's end over before the announcement.

    It repeats the newest one, so that nothing is lost if we end between the two.
    """
    return msgspec.structs.replace(
        heartbeat,
        snapshot=tail.naming.of(heartbeat.snapshot),
        listed=tail.naming.at,
        last=tail.last,
        last_of=tail.last_of,
        ts=now_us,
    )
