"""What a stream holds, who holds it, and what the account allows: asked of NATS."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from cdc.jetstream.kept import Held
from cdc.jetstream.stream import Connection, api


async def consumers_of(nc: Connection, stream: str) -> list[dict[str, Any]]:
    """Return all consumers of a stream, as ``CONSUMER.LIST`` gives them.

    Raises:
        CdcError: as `cdc.jetstream.stream.api`.
    """
    out: list[dict[str, Any]] = []
    while True:
        some = await api(nc, f"CONSUMER.LIST.{stream}", {"offset": len(out)})
        found = some.get("consumers") or []
        out += found
        if not found or len(out) >= int(some.get("total", 0)):
            return out


def held_of(info: Mapping[str, Any], account: Mapping[str, Any]) -> Held:
    """Return what a stream holds.

    Args:
        info: as ``STREAM.INFO`` gives it.
        account: as ``INFO`` gives it; empty: its limits are not looked at.
    """
    state, config = info["state"], info["config"]
    rooms = [int(config.get("max_bytes", -1))]
    limit, used = account_room(account, int(config.get("num_replicas", 1)))
    if limit >= 0:
        rooms.append(limit - used + int(state["bytes"]))
    known = [room for room in rooms if room > 0]
    return Held(
        first_seq=int(state["first_seq"]),
        last_seq=int(state["last_seq"]),
        messages=int(state["messages"]),
        size_bytes=int(state["bytes"]),
        room_bytes=min(known, default=0),
    )


def account_room(account: Mapping[str, Any], copies: int) -> tuple[int, int]:
    """Return what an account may store and has stored, in bytes; -1: no limit.

    With tiers, those of streams with that many replicas count (``R1``, ``R3``).
    Source: nats-server server/jetstream.go, JetStreamAccountStats and JetStreamTier.
    """
    tier = (account.get("tiers") or {}).get(f"R{copies}") or account
    limit = int((tier.get("limits") or {}).get("max_storage", -1))
    return limit, int(tier.get("storage", 0))


def us_of(time_text: str) -> int:
    """Return a time of NATS, which has nanoseconds, in microseconds since 1970; 0: none.

    >>> us_of("2026-11-24T10:00:00.123456789Z"), us_of("0001-01-01T00:00:00Z")
    (1795514400123456, 0)
    """
    whole, _, fraction = time_text.rstrip("Z").partition(".")
    try:
        seconds = dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC)
    except ValueError:
        return 0
    return max(0, int(seconds.timestamp()) * 1_000_000 + int(fraction[:6].ljust(6, "0") or 0))
