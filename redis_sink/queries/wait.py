"""Read your writes: whether Redis shows a transaction, and waiting until it does.

A transaction is shown when every partition's position has it in its GTID set: that set is of the
newest heartbeat applied, which comes after all messages of its transactions, and
position and data are one MULTI.  Two things can be missing although the set has them: rows that
existed before a table was captured, while it is read for the first time; and what a
gap lost, until a refresh after it has ended.  The position has both (`Applied.unread`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from cdc.errors import CdcError, PreflightError, UsageError
from cdc.own_keys import position_keys
from cdc.position import MariaDbGtidSet, MySqlGtidSet
from cdc.settings import Settings
from redis_sink.plan.applied import Applied, decode
from redis_sink.store.writer import Writer

POLL_FIRST_S, POLL_LONGEST_S = 0.001, 0.02
RECONNECT_S, LOGIN_AGAIN_S = 0.2, 1.0

Wanted = MySqlGtidSet | tuple[str, ...]
"""Transactions: a set of MySQL, or one of each domain of MariaDB."""


def wanted_of(text: str) -> Wanted:
    """Return the transactions that a person names: a GTID, or a set or position of several.

    >>> wanted_of("0-1-100, 1-2-7")
    ('0-1-100', '1-2-7')

    Raises:
        UsageError: it is not one.
    """
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        if parts and all(":" not in part for part in parts):
            for part in parts:
                MariaDbGtidSet.parse(part)
            return parts
        parsed = MySqlGtidSet.parse(text)
    except ValueError:
        # The parser's words would name one kind of server, and it may be the other.
        raise UsageError(f"{text[:80]!r} is no GTID", fix=_FORMS) from None
    if not parsed.intervals():
        raise UsageError("no transaction is named", fix=_FORMS)
    return parsed


_FORMS = (
    "MySQL:    7271e0ec-e705-11f1-8850-02fc00000001:8003, or a set such as @@gtid_executed\n"
    "MariaDB:  0-1-100, or several as @@gtid_binlog_pos"
)


def is_shown(wanted: Wanted, positions: Sequence[Applied | None]) -> bool:
    """Return whether Redis shows all of these transactions.

    Args:
        positions: of every partition; None: it has not begun.

    Raises:
        PreflightError: the server has no GTIDs, or GTIDs of the other kind.
    """
    return all(applied is not None and _is_in(wanted, applied) for applied in positions)


def _is_in(wanted: Wanted, applied: Applied) -> bool:
    if applied.gtid_set is None:
        if not applied.upto:
            return False  # no heartbeat was applied yet
        raise PreflightError(
            "the position has no GTIDs: the server that cdc follows writes none",
            fix='SET GLOBAL gtid_mode = ON (step by step, MySQL manual, "Enabling GTID\n'
            'Transactions Online"); until then wait for the row itself',
        )
    unread = applied.gtid_set if applied.unread is UNSET else applied.unread or ""
    is_reading = applied.reading is not UNSET or bool(applied.open_refreshes)
    try:
        if isinstance(wanted, MySqlGtidSet):
            before = MySqlGtidSet.parse(unread) if is_reading else MySqlGtidSet()
            executed = MySqlGtidSet.parse(applied.gtid_set)
            return executed.issuperset(wanted) and not before.intersects(wanted)
        newest = MariaDbGtidSet.parse(applied.gtid_set)
        old = MariaDbGtidSet.parse(unread if is_reading else "")
        return all(gtid in newest and gtid not in old for gtid in wanted)
    except ValueError:
        raise PreflightError(
            f"the position has GTIDs of another kind: {applied.gtid_set[:80]}", fix=_FORMS
        ) from None


async def until_shown(settings: Settings, gtids: str, timeout_s: float) -> tuple[bool, list[Any]]:
    """Return whether Redis shows these transactions within a time, and all positions.

    Looks every millisecond at first, every 20 ms later; at least once.  A Redis that is away, or
    refuses a login that it took, is waited for.

    Raises:
        UsageError, PreflightError: as `wanted_of` and `is_shown`.
        PositionLostError: a position is not one of this version or number of partitions.
        CdcError: Redis refuses.
    """
    wanted = wanted_of(gtids)
    keys = position_keys(settings.pipeline, settings.partitions)
    writer = Writer(settings.redis, key=keys[0], name=f"cdc-wait-{settings.pipeline}")
    deadline_s = time.monotonic() + timeout_s
    before: list[bytes | None] = []
    positions: list[Applied | None] = []
    pause_s, is_open, was_open = POLL_FIRST_S, False, False
    try:
        while True:
            try:
                if not is_open:
                    await writer.open()
                    is_open = was_open = True
                raws = await writer.ask(*(("GET", key) for key in keys))
            except CdcError as error:
                # Refused before, it is wrong; refused later, another one is on its way.
                waits = error.retryable or (error.is_login and was_open)
                if not waits or time.monotonic() >= deadline_s:
                    raise
                is_open, pause_s = False, LOGIN_AGAIN_S if error.is_login else RECONNECT_S
            else:
                if raws != before or not positions:
                    before = raws
                    positions = [
                        None if raw is None else decode(raw, key=key, partitions=len(keys))
                        for key, raw in zip(keys, raws, strict=True)
                    ]
                    if is_shown(wanted, positions):
                        return True, positions
                if time.monotonic() >= deadline_s:
                    return False, positions
                pause_s = min(pause_s * 1.05, POLL_LONGEST_S)
            await asyncio.sleep(max(0.0, min(pause_s, deadline_s - time.monotonic())))
    finally:
        writer.close()
