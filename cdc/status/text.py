"""A pipeline's status for people: within 100 columns, one line each for grep.

Pure.  Everything comes from `cdc.status.report.report`.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cdc.check.estimate import bytes_text
from cdc.message import OPERATIONS, SNAPSHOT, keys_text
from cdc.status.progress import in_words
from cdc.status.report import OLDER_FORMS, differences

WIDTH = 100
HOLDERS_SHOWN = 5
_LEVELS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_HEADS = ("TABLE", "INSERTED", "UPDATED", "DELETED", "READ", "OF ABOUT", "READING", "VERIFIED")


def text(said: Mapping[str, Any]) -> str:
    """Return all of it."""
    lag = "" if said["lag_s"] is None else f"   lag {seconds(said['lag_s'])}"
    lines = [f"{said['pipeline']}: {said['state'].upper()}{lag}   ({said['why']})", ""]
    lines += [*_places(said), "", *_tables(said), *_notes(said)]
    return "\n".join(_fitting(row) for row in lines)


def line(said: Mapping[str, Any]) -> str:
    """Return one line: ``12:00:00 default streaming lag_s=0.0 behind_bytes=0 pending=0 …``."""
    moment = time.strftime("%H:%M:%S", time.localtime(said["ts"] / 1e6))
    rows = sum(table[op] or 0 for table in said["tables"] for op in (*OPERATIONS, SNAPSHOT))
    return (
        f"{moment} {said['pipeline']} {said['state']} lag_s={_known(said['lag_s'])} "
        f"behind_bytes={_known(said['reader']['behind_bytes'])} "
        f"pending={_known(said['sink']['pending_messages'])} rows={rows}"
    )


def check_line(said: Mapping[str, Any]) -> str:
    """Return what a monitoring plug-in prints, with performance data after the bar."""
    check = said["check"]
    why = "; ".join(check["why"]) or f"{said['state']}, {said['why']}"
    data = {
        "lag": (said["lag_s"], "s"),
        "behind": (said["reader"]["behind_bytes"], "B"),
        "pending": (said["sink"]["pending_messages"], ""),
    }
    numbers = " ".join(f"{n}={v}{u}" for n, (v, u) in data.items() if v is not None)
    return f"CDC {_LEVELS[check['code']]} - {said['pipeline']}: {why} | {numbers}"


def _places(said: Mapping[str, Any]) -> list[str]:
    mysql, reader, stream = said["mysql"], said["reader"], said["stream"]
    sink, redis = said["sink"], said["redis"]
    rows: list[Sequence[str]] = [
        ("MySQL", mysql["error"] or _place(mysql), _short(mysql["gtid_set"])),
        ("stream", stream["error"] or _place(reader), _short(reader["gtid_set"])),
    ]
    if not stream["error"]:
        behind = _behind(reader["behind_bytes"], "bytes of binlog", reader["behind_s"])
        rows.append(("", f"{behind} behind MySQL", _kept(stream)))
    if redis["error"]:
        rows.append(("Redis", redis["error"], ""))
    for at in sink["partitions"]:
        name = f"Redis {at['partition']}" if len(sink["partitions"]) > 1 else "Redis"
        rows.append((name, f"sequence {at['seq']:,}", _short(at["gtid_set"])))
    if not redis["error"]:
        behind = _behind(sink["pending_messages"], "messages", sink["pending_age_s"])
        rows.append(("", f"{behind} behind the stream", ""))
    if retention := said["retention"]:
        left = retention["seconds"]
        kept = "kept until removed by hand" if left is None else f"kept for {seconds(left)} more"
        rows.append(
            ("binlog", kept, f"{bytes_text(retention['bytes'])} before the stream's position")
        )
    width = max((len(row[1]) for row in rows if row[2]), default=0)
    return [f"{row[0]:9} {row[1]:{width}}  {row[2]}".rstrip() for row in rows]


def _kept(stream: Mapping[str, Any]) -> str:
    """Return ``8,123 messages kept, 12 MB of 100 MB``."""
    limit = stream["limit_bytes"]
    of = f" of {bytes_text(limit)}" if limit else ""
    return f"{stream['messages']:,} messages kept, {bytes_text(stream['bytes'])}{of}"


def _holders(stream: Mapping[str, Any]) -> list[str]:
    """Name who holds the stream, where there are several, or it is full."""
    held_by = [one for one in stream["held_by"] if one["behind"]]
    if not stream["full"] and len(stream["held_by"]) < 2:
        return []
    out = []
    for one in held_by[:HOLDERS_SHOWN]:
        seen = one["seen_age_s"]
        since = "" if seen is None else f", last seen {seconds(seen)} ago"
        out.append(f"held: {one['name']} has {one['behind']:,} messages to apply{since}")
    if stream["full"] and held_by and held_by[0]["consumer"]:
        out += [
            "  fix:  start it; or, if it will not come back:",
            f"  nats consumer rm {stream['name']} {held_by[0]['consumer']} --force",
        ]
    return out


def _place(at: Mapping[str, Any]) -> str:
    return "-" if at["file"] is None else f"{at['file']}:{at['offset']}"


def _behind(amount: int | None, unit: str, age_s: float | None) -> str:
    if amount is None:
        return "?"
    return f"{amount:,} {unit}" + (f", {seconds(age_s)}," if amount and age_s is not None else "")


def _tables(said: Mapping[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = [_HEADS]
    for table in said["tables"]:
        reading = table["reading"]
        done = "-" if reading is None else "done" if reading["done"] else _after(reading)
        if table["aside"]:
            done = "set aside"
        rows.append(
            (
                table["table"],
                *(_known(table[op]) for op in (*OPERATIONS, SNAPSHOT)),
                _known(table["estimated_rows"]),
                done,
                _verified(table["verify"], said["ts"]),
            )
        )
    if len(rows) == 1:
        return ["no table has been followed yet"]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    return [
        "  ".join(
            cell.rjust(width) if 0 < i < 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _after(reading: Mapping[str, Any]) -> str:
    if reading["ranges"]:
        return f"{reading['ranges']} ranges"
    if reading.get("partial"):
        return f"{reading['partial']} keys"
    if reading.get("refresh_due"):
        return "refresh due"
    return "after " + ",".join(str(part) for part in reading["after"])[:12]


def _verified(verify: Mapping[str, str] | None, now_us: int) -> str:
    if not verify:
        return "never"
    found = differences(verify)
    age = _age(now_us, verify.get("ts", ""))
    return (f"{found} differ" if found else "equal") + (f", {age} ago" if age else "")


def _age(now_us: int, text: str) -> str:
    """Return an age; the time is in seconds or microseconds since 1970."""
    try:
        then = float(text)
    except ValueError:
        return ""
    then_s = then / 1e6 if then > 1e12 else then
    return seconds(max(0.0, now_us / 1e6 - then_s))


def _notes(said: Mapping[str, Any]) -> list[str]:
    out = []
    if said["dead_letters"]:
        dead = [f"{t['table']} ({t['dead_letters']})" for t in said["tables"] if t["dead_letters"]]
        of = (
            f"not exact, dead letters are kept: {', '.join(dead)}"
            if dead
            else (f"{said['dead_letters']} dead letters of no table are kept")
        )
        out += [of, "  fix:  cdc dead list"]
    for table in said["tables"]:
        out += _aside(table, said["ts"]) if table["aside"] else []
    if older := [t["table"] for t in said["tables"] if t["older_forms"]]:
        only = "".join(f" --only {table}" for table in older)
        out += [f"{OLDER_FORMS}: {', '.join(older)}", f"  fix:  cdc refresh{only}"]
    out += _holders(said["stream"])
    if error := said["last_error"]:
        age = _age(said["ts"], str(error.get("ts", "")))
        head = f"last error: {error.get('role')}, {age} ago, exit code {error.get('exit_code')}: "
        out += textwrap.wrap(head + str(error.get("seen", "")), WIDTH)
        if error.get("fix"):
            out.append("  fix:  " + str(error["fix"]).splitlines()[0])
    return ["", *out] if out else []


def _aside(table: Mapping[str, Any], now_us: int) -> list[str]:
    """Return why a table is set aside, and what brings it back."""
    aside = table["aside"]
    keys = keys_text(is_removed=aside["removed"])
    about = f"set aside {_age(now_us, str(aside['since']))} ago at {aside['position']}"
    lines = textwrap.wrap(f"{about}, keys {keys}: {table['table']}: {aside['reason']}", WIDTH)
    fix = aside["fix"].splitlines()[:1]
    return [*lines, *(f"  fix:  {line}" for line in fix)]


def seconds(value: float) -> str:
    """Return a time for people.

    >>> seconds(0.123), seconds(75), seconds(200000)
    ('0.1 s', '1 min 15 s', '2 d 7 h')
    """
    return f"{value:.1f} s" if value < 10 else in_words(value)


def _known(value: float | None) -> str:
    return "?" if value is None else f"{value:,}"


def _short(gtid_set: str | None) -> str:
    """Return a GTID set that fits: its end, with the newest transactions of one server."""
    text = gtid_set or ""
    return text if len(text) <= 48 else "…" + text[-47:]


def _fitting(row: str) -> str:
    return row if len(row) <= WIDTH else row[: WIDTH - 1] + "…"
