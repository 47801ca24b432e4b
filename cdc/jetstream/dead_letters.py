"""Dead letters as they are kept: the shape that the sink writes, read and removed here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from cdc.jetstream.stream import (
    Connection,
    api,
    dead_letter_subject,
    declare_dead_letters,
    message_get,
)
from cdc.settings import Settings


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dead letter as it is published, JSON.

    ``{"reason":"not the contract: …","stream":"MYSQL","seq":812,"subject":"mysql.update",
    "body":"bm90IGpzb24=","body_bytes":8}``
    """

    reason: str
    stream: str
    seq: int
    subject: str
    table: str | None = None
    key: str | None = None
    body: str
    """The message as it came, base64."""
    body_bytes: int
    truncated: bool = False
    """The body is longer than a NATS message may be; the rest is in the stream still."""


_LOOKED_AT = 1000
_decode = msgspec.json.Decoder(Envelope).decode


class Kept(NamedTuple):
    """One dead letter in its stream."""

    number: int
    """Its sequence there, by which it is named."""
    time: str
    """``2026-11-24T10:00:00.123Z``"""
    letter: Envelope


async def kept(
    nc: Connection, settings: Settings, number: int = 0, *, creates: bool = True
) -> AsyncIterator[Kept]:
    """Yield a pipeline's dead letters, oldest first; with `number` that one alone.

    Messages of others there are skipped.

    Args:
        creates: make their stream where it is missing; False: then there are none.

    Raises:
        StreamError: their stream cannot be used.
        UnavailableError: NATS does not answer.
    """
    subject = dead_letter_subject(settings)
    if creates:
        stream = await declare_dead_letters(nc, settings)
    else:
        found = await api(nc, "STREAM.NAMES", {"subject": subject})
        stream = (found.get("streams") or [""])[0]
    at = number or 1
    while stream and (stored := await message_get(nc, stream, seq=at, next_by_subject=subject)):
        if number and stored.seq != number:
            return
        with suppress(msgspec.DecodeError):
            yield Kept(stored.seq, stored.time, _decode(stored.data))
        if number:
            return
        at = stored.seq + 1


async def tables_not_exact(
    nc: Connection, settings: Settings, *, creates: bool = True
) -> dict[str, int]:
    """Return how many dead letters each table has, ``""`` for those of none; the oldest thousand.

    Raises:
        StreamError: their stream cannot be used.
        PermissionDenied: this login may not look at them.
        UnavailableError: NATS does not answer.
    """
    out: dict[str, int] = {}
    async for one in kept(nc, settings, creates=creates):
        table = one.letter.table or ""
        out[table] = out.get(table, 0) + 1
        if sum(out.values()) >= _LOOKED_AT:
            break
    return out


async def remove(nc: Connection, settings: Settings, number: int) -> None:
    """Remove one for good.

    Raises:
        StreamError: NATS refuses.
        UnavailableError: NATS does not answer.
    """
    stream = await declare_dead_letters(nc, settings)
    await api(nc, f"STREAM.MSG.DELETE.{stream}", {"seq": number})
