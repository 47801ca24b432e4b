"""What the three servers say of a pipeline, and what follows from it.

Pure.  `cdc.commands.status` asks and `cdc.status.text` shows; `report` decides, so that text, JSON
and exit code say the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import to_builtins

from cdc.check.estimate import bytes_text
from cdc.jetstream.kept import Held, Holder
from cdc.message import OPERATIONS, SNAPSHOT, Heartbeat, TableProgress, parse_id
from cdc.position import file_number

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
"""What `--check` ends with, as monitoring plug-ins do (Nagios plug-in guidelines)."""
HEADROOM_WARNING, HEADROOM_CRITICAL = 0.2, 0.05
"""Of the time that the binlog is kept for."""
STALE_LEAST_S = 10.0
NAMED_MOST = 10
CAUSE_LONGEST = 300
"""Characters of an error in a line of a monitor; all of it is in ``last_error``."""
OLDER_FORMS = "not exact, rows keep the form of earlier settings"
LogPosition = tuple[int, int]
"""Number of a binlog file, and offset in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinlogState:
    """What MySQL says."""

    server: str
    """``server_uuid``, or ``server_id`` of MariaDB."""
    version: str
    file: str
    offset: int
    gtid_set: str | None
    logs: Sequence[tuple[str, int]]
    """Name and size in bytes of all binlog files, oldest first."""
    expire_s: int
    """How long a file is kept; 0: it is never removed automatically."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Estimate of each table's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What NATS says."""

    name: str
    messages: int
    size_bytes: int
    last_seq: int
    heartbeat: Heartbeat | None
    heartbeat_seq: int
    newest_id: str
    """Of the newest message, where it has one."""
    dead: Mapping[str, int]
    """Dead letters of each table, ``""`` for those of none."""
    held: Held | None = None
    """What it holds and the room that it has; None: not known."""
    holders: Sequence[Holder] = ()
    """Who needs what of it."""
    oldest_us: int = 0
    """When its first message was stored; 0: there is none, or not known."""
    pending_since_us: int = 0
    """When the oldest message that Redis has not was stored; 0: there is none, or not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPosition:
    """How far one partition is in Redis."""

    seq: int
    id: str
    gtid_set: str | None
    ts: int
    upto: int
    applied: int
    """When that was written, microseconds since 1970, as are `ts` and `upto`."""
    reading: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """What Redis says."""

    positions: Sequence[RedisPosition | None]
    """Of each partition; None: it has not begun."""
    counts: Mapping[str, int]
    """``{"shop.users:update": 8123, "bare": 2}``"""
    verified: Mapping[str, Mapping[str, str]]
    """Of each table the fields that `cdc verify` left."""
    error: Mapping[str, Any] | None
    """The last one that ended a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was asked; a text in place of an answer is why there is none."""

    source: BinlogState | str
    stream: Stream | str
    sink: Sink | str
    now_us: int
    is_over: bool = False
    """Whether there is no NATS because no `cdc run` is there, with which the embedded one lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is worth a word."""

    warn_lag_s: float = 30.0
    critical_lag_s: float = 300.0
    stale_s: float = 15.0
    """A heartbeat that is older, or a position that did not move for longer: stopped."""


def report(seen: Seen, limits: Limits) -> dict[str, Any]:
    """Return what `cdc status --json` prints; docs/json-output.md names each field."""
    source = seen.source if isinstance(seen.source, BinlogState) else None
    stream = seen.stream if isinstance(seen.stream, Stream) else None
    sink = seen.sink if isinstance(seen.sink, Sink) else None
    reader = _reader(source, stream, seen.now_us, limits)
    applier = _applier(stream, sink, seen.now_us, limits)
    steps = (reader["behind_s"], applier["behind_s"])
    known = [s for s in steps if s is not None]
    out = {
        "ts": seen.now_us,
        "state": "",
        "why": "",
        "lag_s": max(known) if known else None,
        "mysql": _mysql(seen.source),
        "reader": reader,
        "stream": _stream(seen.stream, seen.now_us),
        "sink": applier,
        "redis": {"error": seen.sink if isinstance(seen.sink, str) else None},
        "tables": _tables(source, stream, sink),
        "bare_messages": sink.counts.get("bare", 0) if sink else None,
        "dead_letters": sum(stream.dead.values()) if stream else None,
        "retention": _retention(source, stream, reader),
        "last_error": dict(sink.error) if sink and sink.error else None,
    }
    out["state"], out["why"] = _state(out, seen, limits)
    out["check"] = _check(out, limits)
    return out


def _age_s(now_us: int, then_us: int) -> float:
    return round(max(0.0, (now_us - then_us) / 1e6), 3)


def _mysql(source: BinlogState | str) -> dict[str, Any]:
    if isinstance(source, str):
        return {"file": None, "offset": None, "gtid_set": None, "version": None, "error": source}
    return {
        "file": source.file,
        "offset": source.offset,
        "gtid_set": source.gtid_set,
        "version": source.version,
        "error": None,
    }


def _stream(stream: Stream | str, now_us: int) -> dict[str, Any]:
    if isinstance(stream, str):
        names = ("name", "messages", "bytes", "limit_bytes", "full", "oldest_age_s", "last_seq")
        return {**dict.fromkeys(names), "held_by": [], "error": stream}
    held = stream.held
    return {
        "name": stream.name,
        "messages": stream.messages,
        "bytes": stream.size_bytes,
        "limit_bytes": (held.room_bytes or None) if held else None,
        "full": held.is_full if held else None,
        "oldest_age_s": _age_s(now_us, stream.oldest_us) if stream.oldest_us else None,
        "last_seq": stream.last_seq,
        "held_by": [
            {
                "name": holder.name,
                "consumer": holder.consumer,
                "seq": holder.seq,
                "behind": max(0, stream.last_seq - holder.seq),
                "seen_age_s": _age_s(now_us, holder.seen_us) if holder.seen_us else None,
            }
            for holder in sorted(stream.holders, key=lambda holder: holder.seq)
        ],
        "error": None,
    }


def _reader(
    source: BinlogState | None, stream: Stream | None, now_us: int, limits: Limits
) -> dict[str, Any]:
    out: dict[str, Any] = dict.fromkeys(
        ("state", "heartbeat_age_s", "file", "offset", "gtid_set", "behind_bytes", "behind_s")
    )
    out["state"] = "unknown"
    beat = stream.heartbeat if stream else None
    if stream is None or beat is None:
        out["state"] = "unknown" if stream is None else "starting"
        return out
    age_s = _age_s(now_us, beat.ts)
    out |= {"heartbeat_age_s": age_s, "file": beat.file, "offset": beat.offset}
    out |= {"gtid_set": beat.gtid_set, "state": "stopped" if age_s > limits.stale_s else "running"}
    if source is not None and source.server == beat.server:
        behind = _bytes_between(source.logs, _newest_place(stream, beat), _end(source))
        out["behind_bytes"] = behind
        out["behind_s"] = 0.0 if not behind else _age_s(now_us, beat.upto or beat.ts)
    return out


def _newest_place(stream: Stream, beat: Heartbeat) -> LogPosition:
    """Return how far the stream is: the newest heartbeat, or a message after it."""
    place = (file_number(beat.file), beat.offset)
    parts = parse_id(stream.newest_id)
    if parts and parts[0] == beat.epoch:
        return max(place, (parts[1], parts[2]))
    return place


def _end(source: BinlogState) -> LogPosition:
    return file_number(source.file), source.offset


def _bytes_between(logs: Sequence[tuple[str, int]], start: LogPosition, end: LogPosition) -> int:
    """Return how many bytes of binlog are between two positions.

    >>> _bytes_between([("b.000001", 500), ("b.000002", 300)], (1, 400), (2, 250))
    350
    """
    sizes = {file_number(name): size for name, size in logs}
    between = sum(size for number, size in sizes.items() if start[0] <= number < end[0])
    return max(0, between - start[1] + end[1])


def _applier(
    stream: Stream | None, sink: Sink | None, now_us: int, limits: Limits
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "state": "unknown",
        "partitions": [],
        "pending_messages": None,
        "pending_age_s": None,
        "moved_age_s": None,
        "behind_s": None,
    }
    if sink is None:
        return out
    begun = [p for p in sink.positions if p is not None]
    out["partitions"] = [
        {"partition": n, "seq": p.seq, "id": p.id or None, "gtid_set": p.gtid_set}
        for n, p in enumerate(sink.positions)
        if p is not None
    ]
    if len(begun) < len(sink.positions):
        out["state"] = "starting"
        return out
    slowest = min(begun, key=lambda p: p.seq)
    out["moved_age_s"] = _age_s(now_us, slowest.applied)
    if stream is None:
        return out
    # A partition passes over messages of others; all take in heartbeats.
    newest = stream.last_seq if len(begun) == 1 else stream.heartbeat_seq
    out["pending_messages"] = pending = max(0, newest - slowest.seq)
    out["state"] = "running"
    if not pending:
        out["behind_s"] = out["pending_age_s"] = 0.0
        return out
    since_us = stream.pending_since_us or slowest.applied
    out["pending_age_s"] = age_s = _age_s(now_us, since_us)
    out["behind_s"] = _age_s(now_us, max(slowest.ts, slowest.upto) or since_us)
    if min(age_s, out["moved_age_s"]) > limits.stale_s:
        out["state"] = "stopped"
    return out


def _tables(
    source: BinlogState | None, stream: Stream | None, sink: Sink | None
) -> list[dict[str, Any]]:
    snapshot = stream.heartbeat.snapshot if stream and stream.heartbeat else {}
    counts = sink.counts if sink else {}
    dead = stream.dead if stream else {}
    verified = sink.verified if sink else {}
    names = {*snapshot, *dead, *verified, *(n.rpartition(":")[0] for n in counts)} - {""}
    out = []
    for name in sorted(names):
        about: dict[str, Any] = {"table": name}
        for op in (*OPERATIONS, SNAPSHOT):
            about[op] = counts.get(f"{name}:{op}", 0) if sink else None
        about["estimated_rows"] = source.rows.get(name) if source else None
        progress = snapshot.get(name)
        about["reading"] = _reading(progress)
        about["older_forms"] = progress.has_older_forms is True if progress else None
        about["aside"] = to_builtins(progress.aside) if progress and progress.aside else None
        about["dead_letters"] = dead.get(name, 0) if stream else None
        about["verify"] = dict(verified[name]) if name in verified else None
        out.append(about)
    return out


def _reading(progress: TableProgress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {
        "done": progress.done and not (progress.open_ranges or progress.partial_keys),
        "after": list(progress.after),
        "ranges": len(progress.open_ranges),
        "partial": len(progress.partial_keys),
        "refresh_due": progress.refresh_due is True,
    }


def _retention(
    source: BinlogState | None, stream: Stream | None, reader: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return how much older the stream's place might get before its binlog is removed."""
    beat = stream.heartbeat if stream else None
    if source is None or beat is None or source.server != beat.server or not source.logs:
        return None
    oldest = file_number(source.logs[0][0])
    place = (file_number(beat.file), beat.offset)
    is_purged = place[0] < oldest
    left_s = max(0.0, source.expire_s - (reader["behind_s"] or 0.0)) if source.expire_s else None
    return {
        "purged": is_purged,
        "bytes": 0 if is_purged else _bytes_between(source.logs, (oldest, 0), place),
        "seconds": 0.0 if is_purged else left_s,
        "expire_s": source.expire_s or None,
    }


def _state(out: Mapping[str, Any], seen: Seen, limits: Limits) -> tuple[str, str]:
    """Return the state in a word, and what it is based on."""
    reader, sink = out["reader"], out["sink"]
    cause = _cause(seen, limits)
    if seen.is_over:
        return "stopped", cause or "cdc run is not running, nor its embedded NATS"
    if isinstance(seen.stream, str):
        return "unknown", "NATS does not answer"
    if isinstance(seen.sink, str):
        return "unknown", "Redis does not answer"
    if (out["retention"] or {}).get("purged"):
        return "stopped", "MySQL has removed the binlog that comes next: cdc refresh"
    if out["stream"]["full"]:
        return "stopped", _why_full(out["stream"])
    if reader["state"] == "starting":
        return "starting", "the stream has no heartbeat yet"
    if reader["state"] == "stopped":
        return "stopped", (
            cause or f"the reader: the newest heartbeat is {reader['heartbeat_age_s']:.0f} s old"
        )
    if sink["state"] == "starting":
        return "starting", "Redis has no position yet"
    if sink["state"] == "stopped":
        return "stopped", cause or (
            f"the sink: {sink['pending_messages']:,} messages wait, and the position in Redis has "
            f"not moved for {sink['moved_age_s']:.0f} s"
        )
    based = f"heartbeat {reader['heartbeat_age_s']:.1f} s ago"
    if isinstance(seen.source, str):
        return "unknown", f"MySQL does not answer; {based}"
    reading = sorted({name for p in seen.sink.positions if p for name in p.reading})
    if reading:
        more = f" and {len(reading) - NAMED_MOST:,} more" if len(reading) > NAMED_MOST else ""
        return "snapshot", f"reading {', '.join(reading[:NAMED_MOST])}{more}; {based}"
    if (out["lag_s"] or 0.0) > limits.warn_lag_s:
        return "behind", based
    return "streaming", based


def _cause(seen: Seen, limits: Limits) -> str:
    """Return the error that ended the run; empty where there is none, or it is an earlier run's.

    ``the reader ended with exit code 65: a row of shop.users is in the binlog without …``
    """
    if isinstance(seen.sink, str) or not seen.sink.error:
        return ""
    error = seen.sink.error
    signs_us = [p.applied for p in seen.sink.positions if p is not None]
    if isinstance(seen.stream, Stream) and seen.stream.heartbeat is not None:
        signs_us.append(seen.stream.heartbeat.ts)
    # The other role drains, for some seconds, and leaves signs of life after the error.
    if max(signs_us, default=0) > int(error.get("ts", 0)) + limits.stale_s * 1e6:
        return ""
    words = textwrap.shorten(str(error.get("seen", "")), CAUSE_LONGEST, placeholder=" …")
    return f"the {error.get('role')} ended with exit code {error.get('exit_code')}: {words}"


def _why_full(stream: Mapping[str, Any]) -> str:
    """Say that the reader waits for room, and for whom."""
    size, limit = bytes_text(stream["bytes"]), bytes_text(stream["limit_bytes"])
    full = f"the stream is full, {size} of {limit}, so the reader waits"
    if not stream["held_by"]:
        return f"{full}: no sink has started on it"
    first = stream["held_by"][0]
    if not first["behind"]:
        return f"{full} for room; all its messages are applied"
    seen = first["seen_age_s"]
    since = "" if seen is None else f", last seen {seen:.0f} s ago"
    return f"{full} for {first['name']}: {first['behind']:,} messages are not applied{since}"


def _check(out: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the exit code of `--check`, and why it is not 0."""
    found: list[tuple[int, str]] = []
    state, lag_s = out["state"], out["lag_s"] or 0.0
    if state == "stopped":
        found.append((CRITICAL, out["why"]))
    if state == "unknown":
        found.append((UNKNOWN, out["why"]))
    if state == "starting":
        found.append((WARNING, out["why"]))
    if lag_s > limits.critical_lag_s:
        found.append((CRITICAL, f"lag {lag_s:.0f} s"))
    elif lag_s > limits.warn_lag_s:
        found.append((WARNING, f"lag {lag_s:.0f} s"))
    if out["dead_letters"]:
        dead = [t["table"] for t in out["tables"] if t["dead_letters"]]
        of = f"not exact: {', '.join(dead)}" if dead else "there are dead letters of no table"
        found.append((WARNING, f"{of} (cdc dead list)"))
    if older := [t["table"] for t in out["tables"] if t["older_forms"]]:
        found.append((WARNING, f"{OLDER_FORMS}: {', '.join(older)} (cdc refresh --only)"))
    if aside := [t["table"] for t in out["tables"] if t["aside"]]:
        found.append((WARNING, f"set aside: {', '.join(aside)} (cdc status)"))
    wrong = [t["table"] for t in out["tables"] if differences(t["verify"])]
    if wrong:
        found.append((WARNING, f"cdc verify found differences in {', '.join(wrong)}"))
    retention = out["retention"] or {}
    left_s, expire_s = retention.get("seconds"), retention.get("expire_s")
    if expire_s and left_s is not None and left_s < HEADROOM_WARNING * expire_s:
        level = CRITICAL if left_s < HEADROOM_CRITICAL * expire_s else WARNING
        found.append((level, f"the binlog is kept for {left_s:.0f} s more"))
    # Critical before unknown before warning.
    rank = (OK, WARNING, UNKNOWN, CRITICAL).index
    code = max((level for level, _ in found), key=rank, default=OK)
    return {"code": code, "why": [words for _, words in found]}


def differences(verify: Mapping[str, str] | None) -> int:
    """Return how many differences `cdc verify` found."""
    names = ("missing", "stale", "orphan", "wrong_type", "shared")
    return sum(int(verify.get(name) or 0) for name in names) if verify else 0
