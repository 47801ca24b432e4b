"""Whether an account of NATS has room for the streams that cdc makes.

Pure.  An account's limits are in the answer of ``$JS.API.INFO``; where streams are counted by
their copies, each number of copies has its own (``tiers``: ``R1``, ``R3``).
Source: nats-server server/jetstream.go, JetStreamAccountLimits; seen on 2.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdc.check.estimate import bytes_text
from cdc.check.finding import Finding, Fix
from cdc.errors import StreamError
from cdc.jetstream.stream_size import DEAD_BYTES, LEASES_BYTES
from cdc.settings import Settings

_WITHOUT_LIMIT = -1


def check_account(
    info: Mapping[str, Any], settings: Settings, missing: Sequence[str]
) -> Iterator[Finding]:
    """Return what of an account's limits the streams do not fit in.

    Args:
        info: as ``$JS.API.INFO`` gives it.
        missing: names of the streams that are to be made, the main one under its own name.
    """
    of_copies = (info.get("tiers") or {}).get(f"R{settings.stream_replicas}")
    account = of_copies or info
    limits: Mapping[str, Any] = account.get("limits") or {}

    def limit(name: str) -> int:
        return int(limits.get(name, _WITHOUT_LIMIT))

    is_required = bool(limits.get("max_bytes_required"))
    others = [name for name in missing if name != settings.stream]
    more = sum(_size_of(name) for name in others) if is_required else 0
    size = settings.stream_max_bytes if settings.stream in missing else 0
    most = limit("storage_max_stream_bytes")
    free = limit("max_storage") - int(account.get("reserved_storage", 0))
    seen, advice = "", ""
    if settings.stream in missing and is_required and not settings.stream_max_bytes:
        seen = "each stream must have a size limit"
        advice = f"--stream-max-bytes {max(1, min(_known(most, free - more)))}"
    elif 0 < most < size:
        seen = f"a stream may have {bytes_text(most)} at most, stream_max_bytes is {size:,}"
        advice = f"--stream-max-bytes {most}, or a larger disk_max_stream_bytes"
    elif limit("max_storage") >= 0 and size + more > max(0, free):
        seen = f"{bytes_text(max(0, free))} are free, the streams need {bytes_text(size + more)}"
        advice = "a smaller stream_max_bytes, or a larger max_store"
    if seen:
        yield _finding(seen, advice)
    streams = limit("max_streams")
    if 0 <= streams < int(account.get("streams", 0)) + len(missing):
        there = int(account.get("streams", 0))
        yield _finding(
            f"it has {there} of {streams} streams, and {', '.join(missing)} must be created",
            "a larger max_streams, or remove streams",
        )


def _known(*limits: int) -> Sequence[int]:
    """Return the limits that there are; without one, 1 GiB."""
    return [limit for limit in limits if limit > 0] or [1 << 30]


def _size_of(name: str) -> int:
    return LEASES_BYTES if name.startswith("KV_") else DEAD_BYTES


def _finding(seen: str, advice: str) -> Finding:
    return Finding(
        id="nats.account",
        seen=f"NATS: the account's limits do not fit: {seen}",
        fix=Fix(advice=advice),
        kind=StreamError,
    )
