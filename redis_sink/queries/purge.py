"""Keys of a table that is no longer captured, or of an older template: counted and removed.

A key is removed where a template of the table made it as far as can be told: its literal parts
match, it is of the type that rows of the table are, no other captured template may have
made it, and it is not below ``cdc:``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from nats.aio.msg import Msg

from cdc.errors import FencedError, PreflightError, UnavailableError, UsageError
from cdc.jetstream.stream import opened, right_refused
from cdc.key import escaped
from cdc.own_keys import is_of_cdc, position_key
from cdc.settings import Settings
from cdc.sink_state import decode_state, state_subject
from cdc.table import Table
from cdc.telemetry import Log
from redis_sink.plan.state import Ground, grounds_of
from redis_sink.store.sweep import SCAN_COUNT
from redis_sink.store.writer import Writer

LISTEN_S = 5.0
"""A sink that runs names its tables at least every 2 s (`cdc.sink_state`)."""
SAMPLES = 3


@dataclass(slots=True)
class Found:
    """Keys under one template: ``users:{id}`` of ``shop.users``, 3 of them."""

    ground: Ground
    type: str
    """What TYPE returns for such a key."""
    keys: int = 0
    samples: list[str] = field(default_factory=list)


def wanted_of(
    tables: Sequence[Table], captured: Sequence[Table], *, keys_alone: bool
) -> tuple[list[Found], list[Ground]]:
    """Return the templates whose keys go, and those whose keys stay.

    Args:
        captured: all tables of the settings, `tables` as they are there among them.
        keys_alone: the templates are named, so indexes are not meant.

    Raises:
        UsageError: a template begins with a column, or is a captured one.
    """
    grounds = [
        (ground, table)
        for table in tables
        for ground in (grounds_of(table)[:1] if keys_alone else grounds_of(table))
    ]
    for ground, _ in grounds:
        if not ground.template.literal_prefix:
            raise UsageError(
                f"keys of {ground.template.text!r} cannot be told from others: it begins with a "
                "column",
                safe="nothing was removed",
                fix="remove them with a tool that knows their names",
            )
    named = {table.qualified for table in tables}
    stays = [g for table in captured for g in grounds_of(table)]
    if keys_alone:
        for ground, table in grounds:
            if any(
                g.template.text == ground.template.text and g.table == ground.table for g in stays
            ):
                raise UsageError(
                    f"{ground.template.text!r} is the template that {table.qualified} has now",
                    safe="nothing was removed",
                    fix="leave --key out to remove all keys of the table",
                )
    else:
        stays = [g for g in stays if g.table not in named]
    return [Found(ground, ground.kind or table.model) for ground, table in grounds], stays


async def keys_under(
    writer: Writer, found: Found, stays: Sequence[Ground]
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield how many keys were looked at, and those that go, some at a time.

    Raises:
        CdcError: Redis refuses or does not answer.
    """
    template, cursor = found.ground.template, b"0"
    rivals = [ground.template for ground in stays]
    pattern = escaped(template.literal_prefix) + "*"
    while True:
        scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", str(SCAN_COUNT))
        ((cursor, raws),) = await writer.ask(scan)
        keys = []
        for raw in dict.fromkeys(raws):
            with suppress(UnicodeDecodeError):
                key = raw.decode()
                is_made = template.may_have_made(key) and not is_of_cdc(key)
                if is_made and not any(rival.may_have_made(key) for rival in rivals):
                    keys.append(raw)
        kinds = await writer.ask(*(("TYPE", key) for key in keys))
        yield (
            len(raws),
            [key for key, kind in zip(keys, kinds, strict=True) if kind.decode() == found.type],
        )
        if cursor == b"0":
            return


async def written_now(settings: Settings, tables: Sequence[Table], log: Log) -> list[str]:
    """Return which of the tables a `cdc run` of this pipeline writes now.

    Raises:
        PermissionDenied: this login may not receive the reports of sinks.
        UnavailableError: NATS does not answer.
    """
    heard: set[str] = set()

    async def take(message: Msg) -> None:
        with suppress(msgspec.DecodeError):
            heard.update(decode_state(message.data).tables)

    subject = state_subject(settings.stream, settings.pipeline)
    async with opened(settings.nats, name="cdc-purge", inbox_prefix="_INBOX_reader", log=log) as nc:
        await nc.subscribe(subject, cb=take)
        names = {table.qualified for table in tables}
        until_s = time.monotonic() + LISTEN_S
        while time.monotonic() < until_s and not names & heard:
            if nc.has_denied(subject):
                raise right_refused(subject)
            await asyncio.sleep(0.05)
        return sorted(names & heard)


async def purge(
    settings: Settings,
    tables: Sequence[Table],
    captured: Sequence[Table],
    *,
    keys_alone: bool,
    agreed: Callable[[Sequence[Found]], bool],
    progress: Callable[[str, int], None],
    log: Log,
) -> tuple[list[Found], int]:
    """Count the keys of tables, ask, and remove them; return what was found, and how many went.

    Args:
        captured, keys_alone: as `wanted_of`.
        agreed: whether they go.
        progress: called with what is done and how many keys were looked at.

    Raises:
        UsageError: a template cannot be purged.
        PreflightError: a `cdc run` writes one of the tables.
        CdcError: a server refuses or does not answer.
    """
    wanted, stays = wanted_of(tables, captured, keys_alone=keys_alone)
    known = {table.qualified for table in captured}
    writer = Writer(
        settings.redis,
        key=position_key(settings.pipeline, 0, settings.partitions),
        name=f"cdc-purge-{settings.pipeline}",
    )
    try:
        await writer.open()
        looked = 0
        for found in wanted:
            async for count, keys in keys_under(writer, found, stays):
                looked += count
                found.keys += len(keys)
                room = SAMPLES - len(found.samples)
                found.samples += [key.decode() for key in keys[:room]]
                progress("counting", looked)
        if not any(found.keys for found in wanted) or not agreed(wanted):
            return wanted, 0
        written = await written_now(settings, tables, log)
        # A template other than the captured one: no run writes there.
        if written and not (keys_alone and known.issuperset(written)):
            raise PreflightError(
                f"a cdc run writes {', '.join(written)} now",
                safe="nothing was removed",
                fix="stop it, or start it without the table; then cdc purge again",
            )
        return wanted, await _removed(
            writer, wanted, stays, is_fenced=not written, progress=progress
        )
    finally:
        writer.close()


async def _removed(
    writer: Writer,
    wanted: Sequence[Found],
    stays: Sequence[Ground],
    *,
    is_fenced: bool,
    progress: Callable[[str, int], None],
) -> int:
    removed = looked = 0
    # The dialogue may have taken long.
    await writer.open()
    position = await writer.arm() if is_fenced else None
    for found in wanted:
        async for count, keys in keys_under(writer, found, stays):
            looked += count
            if keys and position is None:
                await writer.ask(("UNLINK", *keys))
            elif keys:
                try:
                    await writer.apply([("UNLINK", *keys)], position or b"")
                except FencedError:
                    raise UnavailableError(
                        "a cdc run started to write while keys were removed",
                        safe=f"{removed} keys were removed; those of rows that it captures are "
                        "written again by cdc refresh",
                        fix="stop it, or start it without the table; then cdc purge again",
                    ) from None
            removed += len(keys)
            progress("removing", looked)
    return removed
