"""What `cdc status` asks Redis, and the last error that it shows."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET

from cdc.errors import CdcError
from cdc.own_keys import counts_key, error_key, position_keys, verify_key
from cdc.settings import Settings
from cdc.status import report
from cdc.telemetry import secrets_of
from cdc.url import hide
from redis_sink.plan.applied import decode
from redis_sink.store.writer import Writer

TEXT_LONGEST = 2000


async def sink(settings: Settings, tables: tuple[str, ...]) -> report.Sink:
    """Return how far Redis is, and what was counted and verified.

    Args:
        tables: ``schema.table``, for what `cdc verify` left.

    Raises:
        PositionLostError: a position is not one of this version or number of partitions.
        CdcError: Redis refuses, or does not answer.
    """
    pipeline, n = settings.pipeline, settings.partitions
    keys = position_keys(pipeline, n)
    writer = Writer(settings.redis, key=keys[0], name=f"cdc-status-{pipeline}")
    try:
        await writer.open()
        raws = await writer.ask(*(("GET", key) for key in keys))
        counted = await writer.ask(
            *(("HGETALL", counts_key(pipeline, each, n)) for each in range(n)),
            ("GET", error_key(pipeline)),
        )
        names = sorted(
            {*tables, *(name.rpartition(":")[0] for c in counted[:-1] for name in _of(c))}
        )
        left = await writer.ask(
            *(("HGETALL", verify_key(pipeline, name)) for name in names if name)
        )
    finally:
        writer.close()
    counts: dict[str, int] = {}
    for one in counted[:-1]:
        for name, rows in _of(one).items():
            counts[name] = counts.get(name, 0) + int(rows)
    verified = zip([name for name in names if name], map(_of, left), strict=True)
    return report.Sink(
        positions=[
            None if raw is None else _applied(raw, key, n)
            for key, raw in zip(keys, raws, strict=True)
        ],
        counts=counts,
        verified={name: about for name, about in verified if about},
        error=_error(counted[-1]),
    )


def _applied(raw: bytes, key: str, partitions: int) -> report.RedisPosition:
    found = decode(raw, key=key, partitions=partitions)
    return report.RedisPosition(
        seq=found.seq,
        id=found.id,
        gtid_set=found.gtid_set,
        ts=found.ts,
        upto=found.upto,
        applied=found.applied,
        reading=() if found.reading is UNSET else found.reading,
    )


def _of(fields: list[bytes]) -> dict[str, str]:
    """Return a hash: its reply is field, value, and so on."""
    texts = [field.decode(errors="replace") for field in fields]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _error(raw: bytes | None) -> dict[str, Any] | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(raw, type=dict[str, Any]) if raw else None
    return None


async def remember_error(settings: Settings, role: str, error: CdcError) -> None:
    """Keep an error that ended a role, for `cdc status`; where Redis refuses, only the log has it.

    ``{"ts":1795414891568123,"role":"sink","exit_code":65,"seen":"…","safe":"…","fix":"…"}``
    """
    secrets = secrets_of(settings)
    texts = {
        name: hide(getattr(error, name)[:TEXT_LONGEST], secrets) for name in ("seen", "safe", "fix")
    }
    about = {"ts": time.time_ns() // 1000, "role": role, "exit_code": error.exit_code, **texts}
    key = error_key(settings.pipeline)
    writer = Writer(settings.redis, key=key, name=f"cdc-error-{settings.pipeline}")
    with suppress(CdcError):
        try:
            await writer.open()
            await writer.ask(("SET", key, msgspec.json.encode(about)))
        finally:
            writer.close()
