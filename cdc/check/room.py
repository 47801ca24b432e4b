"""What the tables need against what the servers have: time, room, the size of a message.

Pure.  Only for ``cdc check``: the sizes come from a scan of each table.
"""

from __future__ import annotations

from collections.abc import Iterator

from cdc.check.estimate import bytes_text
from cdc.check.finding import Finding, Fix, Report
from cdc.settings import Settings

PAYLOAD_LARGEST_BYTES = 64 << 20
"""More is no ``max_payload`` of NATS."""
ESCAPED = 2
"""A quote or a backslash of a value takes two characters or more in a message."""


def check_room(settings: Settings, report: Report) -> Iterator[Finding]:
    """Find what does not fit, from a report that has sizes."""
    yield from _stream_room(settings, report)
    yield from _redis_memory(settings, report)
    for name, size in report.sizes.items():
        if size.largest_bytes is not None and report.max_payload_bytes:
            yield from max_payload(name, size.largest_bytes, report.max_payload_bytes)


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


def max_payload(table: str, largest_bytes: int, limit_bytes: int) -> Iterator[Finding]:
    """Compare a table's largest row with what NATS takes.

    Args:
        largest_bytes: at least; what is escaped in it comes on top.
    """
    if largest_bytes * ESCAPED <= limit_bytes:
        return
    is_certain = largest_bytes > limit_bytes
    wanted = min(1 << (largest_bytes * ESCAPED).bit_length(), PAYLOAD_LARGEST_BYTES)
    may = "" if is_certain else ", more where it is escaped"
    yield Finding(
        id="nats.max-payload",
        seen=f"{table}: its largest row needs a message of {bytes_text(largest_bytes)}{may}, "
        f"max_payload of NATS is {bytes_text(limit_bytes)}",
        stops=is_certain,
        table=table,
        fix=Fix(
            file=("nats-server.conf", f"max_payload: {wanted}"),
            advice="(at most 64 MB), or replicate one smaller column: --value COLUMN",
        ),
    )
