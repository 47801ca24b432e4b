"""The role that verifies all tables from time to time, at a low rate, beside reader and sink.

It only reports; `cdc run` starts it where `verify_every_s` is set.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Sequence

from cdc.check.servers import tables_and_lost
from cdc.errors import CdcError
from cdc.process.stopping import until_stopped
from cdc.settings import Settings
from cdc.table import Table
from cdc.telemetry import Log, Meter
from cdc_verify.compare import KINDS
from cdc_verify.once import verify
from cdc_verify.parts import in_words
from cdc_verify.report import SHOWN_DIFFERENCES, Report

LOW_RATE_ROWS_PER_S = 2000
"""Where `verify_rows_per_s` says none."""


class _Counted:
    """Counts the rows that are compared, for the throughput line."""

    def __init__(self, meter: Meter, what: str, *, total: int | None, done: int, unit: str) -> None:
        del what, total, unit
        self._meter, self._before = meter, done

    def show(self, done: int) -> None:
        """Count what is new."""
        self._meter.count("compared", done - self._before)
        self._before = done

    def end(self, done: int | None = None) -> None:
        """Nothing is left to report."""


async def run(
    settings: Settings, _: Sequence[Table], *, stop: asyncio.Event, log: Log, meter: Meter
) -> None:
    """Verify all tables every `verify_every_s` until `stop`, each time as the catalog has them.

    A lost server, or any other end of a verify, is logged; the next one resumes there.
    """
    await until_stopped(_for_ever(settings, log, meter), stop)


async def _for_ever(settings: Settings, log: Log, meter: Meter) -> None:
    while True:
        await asyncio.sleep(settings.verify_every_s)
        try:
            tables, lost = await tables_and_lost(settings)
            reports = await verify(
                settings,
                tables,
                tables,
                lost=lost,
                repair=None,
                shown=functools.partial(_Counted, meter),
                log=log,
                seed=random.randrange(1 << 32),
                chunk_max_rows=min(settings.snapshot_chunk_rows, 1000),
                rows_per_s=settings.verify_rows_per_s or LOW_RATE_ROWS_PER_S,
            )
        except CdcError as error:
            log.warning("verify failed", why=error.seen)
            continue
        for report in reports:
            if isinstance(report, Report):  # the reader tells of the others
                tell(report, log)


def tell(report: Report, log: Log) -> None:
    """Log the result: a warning where Redis differs."""
    tally = report.found.tally
    about = {"table": report.table, "rows": tally.rows, "unsettled": tally.unsettled or None}
    if report.equal:
        log.info("verified: equal", **about, seconds=round(report.seconds, 1))
        return
    keys = [in_words(one.key) for one in report.found.kept[:SHOWN_DIFFERENCES]]
    log.warning(
        "verified: Redis differs from MySQL",
        **about,
        **{kind: tally.counts[kind] or None for kind in KINDS},
        keys=" ".join(keys),
        fix=f"cdc verify --only {report.table} --repair",
    )
