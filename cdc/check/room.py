"""What the tables need against what the servers have: time, room, the size of a message.

Pure.  Only for ``cdc check``: the sizes come from a scan of each table.
"""

from __future__ import annotations

from collections.abc import Iterator

from cdc.check.estimate import bytes_text
from cdc.check.finding import Finding, Fix, Report
from cdc.settings import Settings

ESCAPED = 2
"""A quote or a backslash of a value takes two characters or more in a message."""


def check_room(settings: Settings, report: Report) -> Iterator[Finding]:
    """Find what does not fit, from a report that has sizes."""
    yield from _stream_room(settings, report)
    yield from _redis_memory(settings, report)
    for name, size in report.sizes.items():
        if size.largest_bytes is not None:
            yield from large_row(name, size.largest_bytes, settings.max_row_bytes)


def _stream_room(settings: Settings, report: Report) -> Iterator[Finding]:
    room, needed = report.stream_room_bytes, 0
    if settings.snapshot:
        needed = sum(size.stream_bytes for size in report.sizes.values())
    if room is None or room > needed:
        return
    yield Finding(
        id="nats.stream-room",
        seen=f"NATS: the stream {settings.stream} has room for {bytes_text(room)}, the rows of "
        f"the tables take about {bytes_text(needed)}",
        stops=False,
        fix=Fix(
            advice="raise the account's max_store and stream_max_bytes, or let applied messages\n"
            "expire: stream_max_age_s"
        ),
    )


def _redis_memory(settings: Settings, report: Report) -> Iterator[Finding]:
    room = report.redis_room_bytes
    needed = sum(size.redis_bytes for size in report.sizes.values())
    if room is None or room > needed:
        return
    wanted_mb = -(-2 * needed // 1_000_000)
    yield Finding(
        id="redis.memory",
        seen=f"Redis has room for {bytes_text(room)}, the tables take about {bytes_text(needed)}",
        stops=False,
        fix=Fix(
            command=f"redis-cli -h {settings.redis.host} -p {settings.redis.port} CONFIG SET "
            f"maxmemory {report.redis_used_bytes // 1_000_000 + 1 + wanted_mb}mb",
            advice="if the machine has the memory; then CONFIG REWRITE",
            managed=(("ElastiCache, Memorystore, Azure", "a larger node"),),
        ),
    )


def large_row(table: str, largest_bytes: int, limit_bytes: int) -> Iterator[Finding]:
    """Compare a table's largest row with what is carried.

    Args:
        largest_bytes: of its message, at least; what is escaped in it comes on top.
        limit_bytes: the setting `max_row_bytes`.
    """
    if largest_bytes * ESCAPED <= limit_bytes:
        return
    may = "" if largest_bytes > limit_bytes else ", more where it is escaped"
    yield Finding(
        id="mysql.large-row",
        seen=f"{table}: its largest row needs a message of {bytes_text(largest_bytes)}{may}, "
        f"max_row_bytes is {bytes_text(limit_bytes)}",
        stops=False,
        table=table,
        fix=Fix(advice="raise max_row_bytes, or leave the column out: columns, --value COLUMN"),
    )
