"""One verify of some tables, with repair where it is asked for: what `cdc verify` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from cdc.errors import PermissionDenied, PositionLostError, PreflightError
from cdc.jetstream import dead_letters
from cdc.message import Aside
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log
from cdc_verify.checkpoint import Checkpoint
from cdc_verify.parts import in_words
from cdc_verify.repair import RowReading, read_again, rows_to_read
from cdc_verify.report import Report, SkippedTable
from cdc_verify.servers import Servers, opened
from cdc_verify.verifier import NewShown, Outcome, Verifier, Wish

REPAIRS = 2
"""After this many, one more would not fix what is still wrong."""


async def verify(
    settings: Settings,
    tables: Sequence[Table],
    wanted: Sequence[Table],
    *,
    lost: Mapping[str, str],
    repair: RowReading | None,
    shown: NewShown,
    log: Log,
    **wish: Any,
) -> list[Report | SkippedTable]:
    """Compare some of the captured tables with Redis.

    Args:
        tables: all that are captured: their keys are not orphans.
        wanted: those to compare.
        lost: those that cannot be captured now, each with why.
        repair: how differences are repaired; None: they are reported.
        shown: makes what is told how far a table has come.
        wish: fields of `verifier.Wish`.

    Raises:
        UnavailableError: a server does not answer, or reader or sink makes no progress.
        PositionLostError: something is wrong still after a repair.
        CdcError: a server refuses.
    """
    reports: list[Report | SkippedTable] = []
    async with opened(settings, log) as servers:
        letters = await _dead_letters(servers)
        for table in wanted:
            if (aside := await _aside(servers, table.qualified, lost)) is not None:
                reports.append(SkippedTable(table=table.qualified, aside=aside))
                continue
            others = [other for other in tables if other is not table]
            verifier = Verifier(servers, table, others, Wish(**wish), shown)
            outcome = await verifier.run()
            is_repaired = False
            if repair and outcome.differences:
                await _repair(servers, tables, verifier, outcome, Wish(**wish), repair, log)
                is_repaired = True
            reports.append(
                Report(
                    table=table.qualified,
                    found=outcome.checkpoint,
                    seconds=outcome.seconds,
                    sample=outcome.sample,
                    resumed=outcome.resumed,
                    orphans_checked=outcome.orphans_checked,
                    dead_letters=letters.get(table.qualified, 0),
                    is_being_read=await _is_being_read(servers, table),
                    repaired=is_repaired,
                )
            )
    return reports


async def _dead_letters(servers: Servers) -> dict[str, int]:
    try:
        return await dead_letters.tables_not_exact(servers.nc, servers.settings)
    except PermissionDenied:  # to look at them takes a right more
        return {}


async def _aside(servers: Servers, table: str, lost: Mapping[str, str]) -> Aside | None:
    """Return why a table is set aside, or is about to be."""
    progress = (await servers.window.boundary()).snapshot.get(table)
    if progress is not None and progress.aside is not UNSET:
        return progress.aside
    return Aside(reason=lost[table], position="", since=0) if table in lost else None


async def _is_being_read(servers: Servers, table: Table) -> bool:
    progress = (await servers.window.boundary()).snapshot.get(table.qualified)
    positions = await asyncio.to_thread(servers.positions)
    is_refreshing = any(table.qualified in applied.refreshing for applied in positions)
    return is_refreshing or bool(progress and not progress.done)


async def _repair(
    servers: Servers,
    tables: Sequence[Table],
    verifier: Verifier,
    outcome: Outcome,
    wish: Wish,
    reading: RowReading,
    log: Log,
) -> None:
    """Read the table again until nothing is wrong that was.

    Raises:
        PositionLostError: it does not help.
        PreflightError: it cannot help: rows share keys.
        CdcError: as `read_again`.
    """
    left: Checkpoint = outcome.checkpoint
    if shared := left.tally.counts["shared"]:
        raise PreflightError(
            f"{shared} keys of {outcome.table.qualified} are shared by several rows: only one of "
            "these can exist, however often they are read",
            safe="nothing was written",
            fix="let the key template contain a primary or unique key: --key '{table}:{pk}',\n"
            "then cdc refresh",
        )
    for _ in range(REPAIRS):
        rows = rows_to_read(left)
        await read_again(servers, tables, outcome.table, rows, reading, wait_s=wish.wait_s, log=log)
        left = await verifier.look_again(left)
        if not left.tally.differences:
            return
    first = ", ".join(in_words(one.key) for one in left.kept[:3])
    raise PositionLostError(
        f"{left.tally.differences} keys of {outcome.table.qualified} are wrong still after "
        f"{REPAIRS} repairs, such as {first}",
        safe="only the normal stream wrote to Redis",
        fix="check whether another program writes these keys, and cdc dead list;\n"
        "a key that another program changes between two checks is not an error of cdc",
    )
